"""One node of the tree as viewers see it: what was told of it last, and its row, ready as JSON.

A node that has not changed costs a few comparisons and is not encoded again. Times that only go on (how long it lives,
is busy, or its oldest message waits) are no change: they are told with the row, and a viewer lets them go on by itself.
Neighbours: `tree` finds the nodes, `feed` sends the rows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final, final

from supervisors.any_supervisor import AnySupervisor
from supervisors.children import Child, ChildState
from supervisors.trees import detail_of
from vespera_agents.actors.endpoint import Endpoint
from vespera_agents.health.observer.blanking import blanked
from vespera_agents.health.observer.sections import cut

__all__ = ["COLUMNS", "DETAIL_LETTERS_MAX", "ROOT_KEY", "Node", "row_of_root"]

COLUMNS: Final = (
    "key", "parent", "name", "type", "state", "restarts", "incarnation", "lived_seconds", "kind", "mailbox",
    "capacity", "oldest_seconds", "busy_seconds", "handled", "detail",
)  # fmt: skip
"""What a row holds, in this order."""
ROOT_KEY: Final = 0
"""The number of the root, which has no record of its own."""
DETAIL_LETTERS_MAX: Final = 500
_SHOWN_APART: Final = frozenset({"kind", "mailbox", "handled"})
"""Facts of an actor that have columns of their own."""
_STATES: Final = {state: json.dumps(state.value) for state in ChildState}
_NO_ACTOR: Final = '"",null,null,null,null,null'

Detail = Mapping[str, str | int | float]


@final
class Node:
    """One child of one supervisor."""

    __slots__ = (
        "_begin", "_detail", "_kind", "_mark", "_value", "below", "busy_since", "child", "depth", "endpoint", "handled",
        "incarnation", "is_pending", "key", "parent", "row", "state", "supervisor",
    )  # fmt: skip

    def __init__(self, key: int, parent: Node | None, child: Child) -> None:
        """Begin to show a child of `parent`; None is the root, which is nobody's child."""
        self.key: Final = key
        """Its number for as long as it exists."""
        self.parent: Final = parent
        """The supervisor that it belongs to; None is the root."""
        self.child: Final = child
        """Its supervisor's record."""
        self.below: dict[Child, Node] = {}
        """What is below it, if it is a supervisor."""
        self.endpoint: Endpoint | None = None
        """Its mailbox, if it is an actor: the same for all its lives."""
        self.supervisor: AnySupervisor | None = None
        """What it is, if it is a supervisor that runs."""
        self.row = ""
        """Its row as JSON, as it was when it last changed."""
        self.is_pending = False
        """Whether viewers have yet to be told of this row."""
        # What was told, to be compared with what is:
        self.state: object = None
        self.incarnation = -1
        self.handled = 0
        self.depth = 0
        self.busy_since: float | None = None
        self._mark: tuple[object, ...] = ()
        self._value: object = None
        above = ROOT_KEY if parent is None else parent.key
        self._begin = f"[{key},{above},{_text(cut(child.id))},{_text(child.spec.type.value)},"
        self._kind = self._detail = '""'

    def look(self, now: float) -> bool:
        """Take in what the child is now; say whether its row is another one, which is made then.

        Args:
            now: seconds of trio's clock.
        """
        child = self.child
        value = child.value
        if value is not self._value:
            self._meet(value)
        endpoint = self.endpoint
        self.state, self.incarnation = child.state, child.incarnations
        if endpoint is None:
            detail = detail_text(detail_of(value))
        else:
            self.handled, self.depth, self.busy_since = endpoint.handled, endpoint.depth, endpoint.busy_since
            detail = "" if endpoint.facts is None else detail_text(detail_of(endpoint))
        mark = (child.state, child.incarnations, child.restarts, self.handled, self.depth, self.busy_since, detail)
        if mark == self._mark:
            return False
        self._mark = mark
        self._detail = _text(detail)
        self.row = self.written(now)
        return True

    def written(self, now: float) -> str:
        """Give its row as JSON, with the times of this moment."""
        child, endpoint = self.child, self.endpoint
        if endpoint is None:
            figures = _NO_ACTOR
        elif not self.depth and self.busy_since is None:
            figures = f"{self._kind},0,{endpoint.capacity},0,0,{self.handled}"
        else:
            # Zero is nothing, for as long as this row is the last one: what has just begun has been there for a moment.
            oldest = max(0.001, now - endpoint.woken_at) if self.depth else 0.0
            busy = 0.0 if self.busy_since is None else max(0.001, now - self.busy_since)
            figures = f"{self._kind},{self.depth},{endpoint.capacity},{oldest:.3f},{busy:.3f},{self.handled}"
        return (
            f"{self._begin}{_STATES[child.state]},{child.restarts},{child.incarnations},"
            f"{child.lived_seconds(now):.1f},{figures},{self._detail}]"
        )

    def _meet(self, value: object) -> None:
        """Learn what another life of the child is; of one that does not run, what it was is kept."""
        self._value = value
        self.supervisor = value if isinstance(value, AnySupervisor) else None
        if isinstance(value, Endpoint):
            self.endpoint = value
            self._kind = _text(value.kind)


def row_of_root(root: AnySupervisor, lived_seconds: float) -> str:
    """Give the row of the supervisor at the top, as JSON."""
    return (
        f'[{ROOT_KEY},null,{_text(cut(root.name))},"supervisor","{root.state.value}",0,1,{lived_seconds:.1f},{_NO_ACTOR},'
        f"{_text(detail_text(root.tree_detail()))}]"
    )


def detail_text(detail: Detail) -> str:
    """Write the facts that have no column of their own, as `vespera tree` does."""
    facts = (
        f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in detail.items()
        if name not in _SHOWN_APART
    )
    return blanked(" ".join(facts))[:DETAIL_LETTERS_MAX]


def _text(text: str) -> str:
    return json.dumps(text)
