"""The supervision tree as rows, kept up to date by going through it again and again, a slice at a time.

It reads the supervisors' own records instead of taking a snapshot of all of them: an actor that did nothing since the
last look costs half a microsecond. Whoever drives it decides how long it rests between two slices, so that a large tree
takes longer to go through and no more of the loop. Neighbours: `nodes`, `feed`.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Final, final

import trio

from supervisors.any_supervisor import AnySupervisor
from supervisors.children import Child
from vespera_agents.health.observer.nodes import ROOT_KEY, Node, row_of_root

__all__ = ["SLICE_ROWS", "ObservedTree", "Rows"]

SLICE_ROWS: Final = 250
"""Rows that are looked at without letting others run: some 0.2 ms, 1 ms where all have changed."""


@final
class Rows:
    """What came of looking: rows that are new or changed, and keys of what is gone."""

    __slots__ = ("changed", "gone")

    def __init__(self, changed: list[str], gone: list[int]) -> None:
        self.changed = changed
        self.gone = gone


@final
class ObservedTree:
    """All nodes below a root."""

    def __init__(self, root: AnySupervisor) -> None:
        """Know nothing of it yet."""
        self._root = root
        self._since = trio.current_time()
        self._below_root: dict[Child, Node] = {}
        self._nodes: dict[int, Node] = {}
        self._root_mark: tuple[object, object] = ("", "")
        self._pending: list[Node] = []
        self._gone: list[int] = []
        self._last_key = ROOT_KEY
        self._is_root_pending = False

    def __len__(self) -> int:
        """How many nodes there are below the root."""
        return len(self._nodes)

    def find(self, key: int) -> Node | None:
        """Give the node with this number."""
        return self._nodes.get(key)

    def named(self, name: str) -> Node | None:
        """Give the actor of this name."""
        return next((node for node in self._nodes.values() if node.endpoint and node.endpoint.name == name), None)

    def written(self) -> Generator[list[str]]:
        """Give all rows with the times of this moment, each after the one that it is below, a slice at a time."""
        nodes = list(self._nodes.values())
        yield [self._root_row_at(trio.current_time())]
        for begin in range(0, len(nodes), SLICE_ROWS):
            now = trio.current_time()
            yield [node.written(now) for node in nodes[begin : begin + SLICE_ROWS]]

    def take(self) -> Rows:
        """Give what has changed since the last time."""
        pending, self._pending = self._pending, []
        gone, self._gone = self._gone, []
        changed: list[str] = []
        if self._is_root_pending:
            self._is_root_pending = False
            changed.append(self._root_row_at(trio.current_time()))
        for node in pending:
            node.is_pending = False
            if node.key in self._nodes:
                changed.append(node.row)
        return Rows(changed, gone)

    def look(self) -> Generator[None]:
        """Go through the tree once, and yield after each slice."""
        self._look_at_root()
        waiting: list[tuple[AnySupervisor, Node | None, dict[Child, Node]]] = [(self._root, None, self._below_root)]
        while waiting:
            supervisor, above, known = waiting.pop()
            children = supervisor.records()
            for begin in range(0, len(children), SLICE_ROWS):
                for node in self._look_at(children[begin : begin + SLICE_ROWS], above, known):
                    if node.supervisor is not None:
                        waiting.append((node.supervisor, node, node.below))
                    elif node.below:
                        self._forget_all(node.below)
                yield
            # All that are there are known by now: what is known beyond them is there no more.
            if len(known) != len(children):
                self._forget_missing(known, children)

    def _look_at(self, children: tuple[Child, ...], above: Node | None, known: dict[Child, Node]) -> list[Node]:
        """Look at some siblings; give those that are no actors."""
        now = trio.current_time()
        others: list[Node] = []
        for child in children:
            node = known.get(child)
            if node is None:
                self._last_key += 1
                node = known[child] = self._nodes[self._last_key] = Node(self._last_key, above, child)
            endpoint = node.endpoint
            if endpoint is None:
                others.append(node)
            elif (
                # Flat, because this is all that most of ten thousand actors cost, each second.
                endpoint.handled == node.handled
                and len(endpoint.user) == node.depth
                and endpoint.busy_since is node.busy_since
                and child.state is node.state
                and child.incarnations == node.incarnation
                and endpoint.facts is None
                and not endpoint.urgent
            ):
                continue
            if node.look(now) and not node.is_pending:
                node.is_pending = True
                self._pending.append(node)
        return others

    def _look_at_root(self) -> None:
        mark = (self._root.state, self._root.tree_detail())
        if mark != self._root_mark:
            self._root_mark = mark
            self._is_root_pending = True

    def _root_row_at(self, now: float) -> str:
        return row_of_root(self._root, now - self._since)

    def _forget_missing(self, known: dict[Child, Node], children: tuple[Child, ...]) -> None:
        for child in known.keys() - set(children):
            self._forget(known.pop(child))

    def _forget_all(self, known: dict[Child, Node]) -> None:
        for node in known.values():
            self._forget(node)
        known.clear()

    def _forget(self, node: Node) -> None:
        """Forget a node and what is below it."""
        leaving = [node]
        while leaving:
            gone = leaving.pop()
            del self._nodes[gone.key]
            self._gone.append(gone.key)
            leaving.extend(gone.below.values())
