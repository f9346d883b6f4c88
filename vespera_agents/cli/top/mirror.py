"""What is known of a server at one moment, kept up to date by the lines of its feed. Pure: lines in, facts out.

Every row is replaced by a new one and never changed, so whoever holds one may draw it later. Times that only go on are
told with a row and go on here. Nothing here is made fit for a terminal: that is done where it is shown (`facts`).
Neighbours: `feed` reads the lines, `health.observer` writes them.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple, cast, final

from vespera_agents.workspace import ServerRecord

__all__ = ["FEED_VERSION", "Mirror", "Node", "Reload", "entries", "mapping", "number", "text", "values"]

FEED_VERSION: Final = 1
LOG_MAX: Final = 1_000
STALLS_MAX: Final = 200
HISTORY_MAX: Final = 300


@final
class Reload(Exception):
    """A line does not follow what is known: connect again for a whole picture. Its text says why."""


class Node(NamedTuple):
    """One child of the tree, as it was told last."""

    key: int
    """Names it as long as it exists."""
    parent: int | None
    name: str
    type: str
    """worker or supervisor."""
    state: str
    restarts: int
    incarnation: int
    lived_seconds: float
    kind: str
    """An actor's class; empty where it is none."""
    mailbox: int | None
    capacity: int | None
    oldest_seconds: float | None
    """How long its oldest message waits."""
    busy_seconds: float | None
    """How long its handler has been running."""
    handled: int | None
    """Messages, by all its lives."""
    detail: str
    at: float
    """When this was told, in seconds of the epoch by the server's clock."""
    per_second: float
    """Messages handled per second between the last two lines."""


@final
class Mirror:
    """Everything that the feed of one life of a server has told."""

    def __init__(self, server: ServerRecord, snapshot: Mapping[str, object]) -> None:
        """Begin with a whole picture.

        Args:
            server: whose it is.
            snapshot: the first line of its feed.

        Raises:
            Reload: it is of another version.
        """
        if snapshot.get("v") != FEED_VERSION:
            raise Reload(f"its feed has version {text(snapshot.get('v'))[:20]}, this program knows {FEED_VERSION}")
        self.record = server
        """Whom to ask more."""
        self.at = 0.0
        """When the last line was written, in seconds of the epoch by the server's clock."""
        self.seq = 0
        self.life = text(snapshot.get("life"))
        """Server and generation."""
        self.server: Mapping[str, object] = {}
        self.health: Mapping[str, object] = {}
        self.loop: Mapping[str, object] = {}
        self.nodes: dict[int, Node] = {}
        """By key."""
        self.shape = 0
        """Another number whenever nodes came, went or moved."""
        self.stalls: deque[Mapping[str, object]] = deque(maxlen=STALLS_MAX)
        """The newest last, as in the log."""
        self.wedged: Sequence[Mapping[str, object]] = ()
        self.log: deque[Mapping[str, object]] = deque(maxlen=LOG_MAX)
        self.sessions: Sequence[Mapping[str, object]] = ()
        self.context: Sequence[Mapping[str, object]] = ()
        self.history: deque[Mapping[str, float]] = deque(maxlen=HISTORY_MAX)
        self._children: dict[int | None, dict[int, None]] = {}
        self._columns: tuple[str, ...] = ()
        self._history_columns: tuple[str, ...] = ()
        self._before = 0.0
        self._hear(snapshot)

    def hear(self, line: Mapping[str, object]) -> None:
        """Take in a change.

        Raises:
            Reload: it does not follow what is known.
        """
        if text(line.get("life")) != self.life:
            raise Reload("it has begun another life")
        if number(line.get("seq")) != self.seq + 1:
            raise Reload("a line of its feed is missing")
        self._hear(line)

    def tree(self) -> Iterator[tuple[Node, int, bool]]:
        """Give all nodes from the top down, each with its depth and whether it has children."""
        stack = [(key, 0) for key in reversed(self._children.get(None, {}))]
        while stack:
            key, depth = stack.pop()
            below = self._children.get(key, {})
            yield self.nodes[key], depth, bool(below)
            stack.extend((child, depth + 1) for child in reversed(below))

    def path(self, key: int) -> str:
        """Name a node by all names from the top down."""
        names: list[str] = []
        node = self.nodes.get(key)
        while node is not None:
            names.append(node.name)
            node = None if node.parent is None else self.nodes.get(node.parent)
        return "/".join(reversed(names))

    def at_path(self, path: str) -> Node | None:
        """Find a node by all names from the top down, as `path` gives them."""
        last = path.rpartition("/")[2]
        return next(
            (node for node in self.nodes.values() if node.name.endswith(last) and self.path(node.key) == path), None
        )

    def actors(self) -> list[Node]:
        """List the nodes that are actors."""
        return [node for node in self.nodes.values() if node.kind]

    def lived(self, node: Node) -> float:
        """Say how long a node's life lasts by now, or lasted."""
        goes_on = node.state in {"running", "starting", "stopping"}
        return node.lived_seconds + (max(0.0, self.at - node.at) if goes_on else 0.0)

    def busy_for(self, node: Node) -> float | None:
        """Say how long a node's handler has been running by now."""
        return node.busy_seconds and node.busy_seconds + max(0.0, self.at - node.at)

    def waits_for(self, node: Node) -> float | None:
        """Say how long a node's oldest message has been waiting by now."""
        return node.oldest_seconds and node.oldest_seconds + max(0.0, self.at - node.at)

    def rate_of(self, node: Node) -> float:
        """Say how many messages a second a node handles now."""
        return node.per_second if node.at == self.at else 0.0

    def _hear(self, line: Mapping[str, object]) -> None:
        self.seq = int(number(line.get("seq")) or 0)
        self._before, self.at = self.at, number(line.get("at")) or self.at
        self.server = mapping(line.get("server", self.server))
        self.health = mapping(line.get("health", self.health))
        self.loop = mapping(line.get("loop", self.loop))
        if "wedged" in line:
            self.wedged = entries(line["wedged"])
        if "sessions" in line:
            self.sessions = entries(line["sessions"])
        if "context" in line:
            self.context = entries(line["context"])
        self.stalls.extend(entries(line.get("stalls")))
        self.log.extend(entries(line.get("log")))
        history = mapping(line.get("history"))
        if "columns" in history:
            self._history_columns = tuple(text(column) for column in values(history["columns"]))
        for row in values(history.get("rows")):
            cells = zip(self._history_columns, values(row), strict=False)
            self.history.append({column: number(cell) or 0.0 for column, cell in cells})
        tree = mapping(line.get("tree"))
        if "columns" in tree:
            self._columns = tuple(text(column) for column in values(tree["columns"]))
        for row in values(tree.get("rows")):
            self._put(dict(zip(self._columns, values(row), strict=False)))
        for key in values(tree.get("gone")):
            self._forget(int(number(key) or 0))

    def _put(self, row: Mapping[str, object]) -> None:
        key = int(number(row.get("key")) or 0)
        before = self.nodes.get(key)
        handled = _whole(row.get("handled"))
        per_second = 0.0
        if before is not None and before.handled is not None and handled is not None and self.at > self._before:
            per_second = max(0, handled - before.handled) / (self.at - self._before)
        parent = _whole(row.get("parent"))
        self.nodes[key] = Node(
            key=key,
            parent=parent,
            name=text(row.get("name")),
            type=text(row.get("type")),
            state=text(row.get("state")),
            restarts=_whole(row.get("restarts")) or 0,
            incarnation=_whole(row.get("incarnation")) or 0,
            lived_seconds=number(row.get("lived_seconds")) or 0.0,
            kind=text(row.get("kind")),
            mailbox=_whole(row.get("mailbox")),
            capacity=_whole(row.get("capacity")),
            oldest_seconds=number(row.get("oldest_seconds")),
            busy_seconds=number(row.get("busy_seconds")),
            handled=handled,
            detail=text(row.get("detail")),
            at=self.at,
            per_second=per_second,
        )
        if before is None or before.parent != parent:
            if before is not None:
                self._children.get(before.parent, {}).pop(key, None)
            self._children.setdefault(parent, {})[key] = None
            self.shape += 1

    def _forget(self, key: int) -> None:
        node = self.nodes.pop(key, None)
        if node is not None:
            self._children.get(node.parent, {}).pop(key, None)
            # Whoever was below it has gone, too, or is told anew with another parent.
            for child in [*self._children.pop(key, {})]:
                self._forget(child)
            self.shape += 1


# ---- values as they come out of JSON


def text(value: object) -> str:
    """Read a text; None is the empty one."""
    return "" if value is None else value if isinstance(value, str) else str(value)


def number(value: object) -> float | None:
    """Read a number; None where it is something else, or none that can be counted with."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) else None


def mapping(value: object) -> Mapping[str, object]:
    """Read an object; an empty one where it is something else."""
    return cast("Mapping[str, object]", value) if isinstance(value, dict) else {}


def entries(value: object) -> list[Mapping[str, object]]:
    """Read a list of objects, leaving out what is none."""
    return [cast("Mapping[str, object]", entry) for entry in values(value) if isinstance(entry, dict)]


def values(value: object) -> list[object]:
    """Read a list; an empty one where it is something else."""
    return cast("list[object]", value) if isinstance(value, list) else []


def _whole(value: object) -> int | None:
    found = number(value)
    return None if found is None else int(found)
