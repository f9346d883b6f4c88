"""The tabs of the tree and of the actors: their columns, and the rows that are made of what is known. Pure.

A view keeps what its user has chosen (what is folded, by what it is sorted, what is filtered out); a row keeps one
thing and writes its texts when it comes into sight. Not Textual: `grid` draws them. Neighbours: `mirror` knows, `facts`
writes, `lists` has the other tabs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, NamedTuple, Protocol, final

from vespera_agents.cli.top.facts import (
    branches,
    context_fills,
    mail_of,
    number_text,
    plain,
    seconds_text,
)
from vespera_agents.cli.top.mirror import Mirror, Node
from vespera_agents.cli.wording import duration

__all__ = ["ActorRow", "ActorsView", "Column", "Row", "TreeRow", "TreeView", "View", "fits"]

FOLD_MIN: Final = 100
"""A node with more children than this is folded until somebody unfolds it."""
FULL_RATIO: Final = 0.8
"""A mailbox that holds more than this share of what it can hold is coloured, as the alert does it."""
_BAD_STATES: Final = frozenset({"down", "restarting", "fenced", "stuck"})
_ODD_STATES: Final = frozenset({"starting", "stopping", "stopped"})


@final
@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table."""

    title: str
    width: int
    """In columns of the terminal; 0 takes what the others leave, for one column only."""
    numeric: bool = False
    """Written at the right end."""
    from_width: int = 0
    """Left out in a table that is narrower than this."""


class Row(Protocol):
    """One line of a table."""

    @property
    def key(self) -> Hashable:
        """Name it, so that the cursor finds it again."""
        ...

    @property
    def tone(self) -> str:
        """Say how it is coloured: `bad`, `odd`, `good` or not at all."""
        ...

    def cells(self) -> Sequence[str]:
        """Write its texts, one for each column."""
        ...

    def detail(self) -> str:
        """Write what there is no room for, in lines."""
        ...


class View(Protocol):
    """What one tab shows."""

    columns: ClassVar[tuple[Column, ...]]
    wanted: str
    """Words that must occur in a row."""

    def rows(self, mirror: Mirror) -> Sequence[Row]:
        """Make the rows of what is known now."""
        ...


# ---- the tree


class TreeRow(NamedTuple):
    """A node in the tree."""

    node: Node
    lived: float
    branch: str
    sign: str
    """Whether something is folded away below it."""
    fill: str

    @property
    def key(self) -> Hashable:
        """Give the node's key."""
        return self.node.key

    @property
    def tone(self) -> str:
        """Colour by state."""
        return _tone_of(self.node)

    def cells(self) -> Sequence[str]:
        """Write it."""
        node = self.node
        return (
            f"{self.branch}{self.sign}{plain(node.name)}",
            plain(node.state),
            duration(self.lived),
            number_text(node.restarts or None),
            mail_of(node),
            self.fill,
            plain(node.kind),
            plain(node.detail),
        )

    def detail(self) -> str:
        """Write nothing more: an actor has a page of its own."""
        return ""


@final
class TreeView:
    """The supervision tree, of which parts may be folded away."""

    columns: ClassVar = (
        Column("Tree", 0),
        Column("State", 10),
        Column("Up", 11, numeric=True, from_width=60),
        Column("Restarts", 8, numeric=True, from_width=50),
        Column("Mailbox", 11, numeric=True, from_width=70),
        Column("Context", 7, numeric=True, from_width=90),
        Column("Kind", 16, from_width=110),
        Column("Says", 34, from_width=140),
    )

    def __init__(self) -> None:
        self.wanted = ""
        self._turned: set[int] = set()
        """Keys of the nodes that are not as they were found."""
        self._life = ""

    def turn(self, row: Row, folded: bool | None = None) -> None:
        """Fold what is below a row, or unfold it; the other of the two unless it is said which."""
        if isinstance(row, TreeRow) and row.sign:
            is_folded = row.sign.startswith("▸")
            if folded is None or folded is not is_folded:
                self._turned ^= {row.node.key}

    def rows(self, mirror: Mirror) -> Sequence[Row]:
        """Give the nodes that are not folded away; with a filter, those that fit and what leads to them."""
        if mirror.life != self._life:
            # Keys mean something else in another life.
            self._life = mirror.life
            self._turned.clear()
        nodes = list(mirror.tree())
        children = Counter(node.parent for node, _, _ in nodes)
        shown = self._fitting(mirror, nodes) if self.wanted else self._unfolded(nodes, children)
        drawn = branches([depth for _, depth, _ in shown])
        fills = context_fills(mirror)
        return [
            TreeRow(
                node,
                mirror.lived(node),
                branch,
                self._sign(node, children[node.key]) if below else "",
                fills.get(node.name, ""),
            )
            for (node, _, below), branch in zip(shown, drawn, strict=True)
        ]

    def _folded(self, key: int, children: int) -> bool:
        return (children > FOLD_MIN) is not (key in self._turned)

    def _sign(self, node: Node, children: int) -> str:
        if self.wanted:
            return ""
        return f"▸ ({number_text(children)}) " if self._folded(node.key, children) else "▾ "

    def _unfolded(
        self, nodes: Sequence[tuple[Node, int, bool]], children: Mapping[int | None, int]
    ) -> list[tuple[Node, int, bool]]:
        shown: list[tuple[Node, int, bool]] = []
        hidden_below: int | None = None
        for entry in nodes:
            node, depth, below = entry
            if hidden_below is not None and depth > hidden_below:
                continue
            hidden_below = depth if below and self._folded(node.key, children[node.key]) else None
            shown.append(entry)
        return shown

    def _fitting(self, mirror: Mirror, nodes: Sequence[tuple[Node, int, bool]]) -> list[tuple[Node, int, bool]]:
        kept: set[int] = set()
        for node, _, _ in nodes:
            if fits(self.wanted, node.name, node.kind, node.state):
                above: Node | None = node
                while above is not None and above.key not in kept:
                    kept.add(above.key)
                    above = None if above.parent is None else mirror.nodes.get(above.parent)
        return [entry for entry in nodes if entry[0].key in kept]


# ---- actors


class ActorRow(NamedTuple):
    """An actor in the table."""

    node: Node
    mirror: Mirror
    fill: str

    @property
    def key(self) -> Hashable:
        """Give the node's key."""
        return self.node.key

    @property
    def tone(self) -> str:
        """Colour by state, and by a mailbox that is nearly full."""
        return _tone_of(self.node)

    def cells(self) -> Sequence[str]:
        """Write it."""
        node = self.node
        return (
            plain(node.name),
            plain(node.kind),
            plain(node.state),
            mail_of(node),
            seconds_text(self.mirror.waits_for(node)),
            seconds_text(self.mirror.busy_for(node)),
            number_text(node.handled),
            number_text(self.mirror.rate_of(node) or None),
            number_text(node.restarts or None),
            self.fill,
        )

    def detail(self) -> str:
        """Write nothing more: an actor has a page of its own."""
        return ""


_Order = Callable[[ActorRow], str | float]


@final
class ActorsView:
    """All actors in an order of choice: the first of them are the top."""

    columns: ClassVar = (
        Column("Actor", 0),
        Column("Kind", 16, from_width=90),
        Column("State", 10, from_width=60),
        Column("Mailbox", 11, numeric=True),
        Column("Waits", 9, numeric=True, from_width=70),
        Column("Busy", 9, numeric=True, from_width=50),
        Column("Handled", 12, numeric=True, from_width=100),
        Column("Per s", 8, numeric=True, from_width=80),
        Column("Restarts", 9, numeric=True, from_width=110),
        Column("Context", 8, numeric=True, from_width=120),
    )
    _orders: ClassVar[tuple[_Order, ...]] = (
        lambda row: row.node.name,
        lambda row: row.node.kind,
        lambda row: row.node.state,
        lambda row: row.node.mailbox or 0,
        lambda row: row.mirror.waits_for(row.node) or 0.0,
        lambda row: row.mirror.busy_for(row.node) or 0.0,
        lambda row: row.node.handled or 0,
        lambda row: row.mirror.rate_of(row.node),
        lambda row: row.node.restarts,
        lambda row: float(row.fill.rstrip("%") or -1),
    )

    def __init__(self) -> None:
        self.wanted = ""
        self.column = 3
        """Number of the column by which they are sorted."""
        self.largest_first = True

    def sort_by(self, column: int) -> None:
        """Sort by a column, numbers from the largest and texts from the first."""
        self.column = column % len(self.columns)
        self.largest_first = self.columns[self.column].numeric

    def rows(self, mirror: Mirror) -> Sequence[Row]:
        """Give the actors that fit the filter, in order."""
        fills = context_fills(mirror)
        rows = [
            ActorRow(node, mirror, fills.get(node.name, ""))
            for node in mirror.actors()
            if fits(self.wanted, node.name, node.kind, node.state)
        ]
        rows.sort(key=self._orders[self.column], reverse=self.largest_first)
        return rows


def fits(wanted: str, *texts: str) -> bool:
    """Say whether all words of a filter occur, whatever the case."""
    if not wanted:
        return True
    whole = " ".join(texts).lower()
    return all(word in whole for word in wanted.lower().split())


def _tone_of(node: Node) -> str:
    if node.state in _BAD_STATES:
        return "bad"
    full = node.mailbox is not None and node.capacity and node.mailbox > FULL_RATIO * node.capacity
    return "odd" if full or node.state in _ODD_STATES else ""
