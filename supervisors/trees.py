"""A picture of a supervision tree at one moment: `TreeNode`, and its text as `vespera tree` prints it.

Only data; `Supervisor.snapshot()` makes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol, final, runtime_checkable

from supervisors.children import Child
from supervisors.specs import ChildType

SHOWN_LETTERS_MAX: Final = 100
"""Letters of a name, and of each fact, that the text of a tree shows."""

Detail = Mapping[str, str | int | float]
"""What a child says about itself in the tree."""


@runtime_checkable
class HasTreeDetail(Protocol):
    """A child's `started()` value that has more to say in the tree, for example its mailbox depth."""

    def tree_detail(self) -> Detail:
        """Return a few short facts; called in the event loop, must not wait."""
        ...


@runtime_checkable
class HasTreeChildren(Protocol):
    """A child's `started()` value that has a tree of its own below it, as a Supervisor has."""

    def tree_children(self) -> tuple[TreeNode, ...]:
        """Return what is below it, in start order; called in the event loop, must not wait."""
        ...


@final
@dataclass(frozen=True, slots=True)
class TreeNode:
    """One child, or the supervisor at the top, and everything below it."""

    id: str
    """The child's id; at the top the supervisor's name."""
    type: ChildType
    """Worker or supervisor."""
    state: str
    """down, starting, running, stopping, restarting; at the top also new and stopped."""
    restarts: int
    """How often it was restarted."""
    incarnation: int
    """Which life it is in, from 1; 0 before the first."""
    lived_seconds: float
    """How long that life lasts, or lasted."""
    detail: Detail = field(default_factory=dict[str, str | int | float])
    """What it says about itself."""
    children: tuple[TreeNode, ...] = ()
    """What is below it, in start order."""

    def to_dict(self) -> dict[str, object]:
        """Return plain values for JSON, children nested."""
        return {
            "id": self.id,
            "type": self.type.value,
            "state": self.state,
            "restarts": self.restarts,
            "incarnation": self.incarnation,
            "lived_seconds": self.lived_seconds,
            "detail": dict(self.detail),
            "children": [child.to_dict() for child in self.children],
        }


def node_of(child: Child, now: float) -> TreeNode:
    """Return the node of one child at `now` (seconds of trio's clock), with everything below it."""
    value = child.value
    return TreeNode(
        id=child.id,
        type=child.spec.type,
        state=child.state.value,
        restarts=child.restarts,
        incarnation=child.incarnations,
        lived_seconds=child.lived_seconds(now),
        detail=detail_of(value),
        children=value.tree_children() if isinstance(value, HasTreeChildren) else (),
    )


def detail_of(value: object) -> Detail:
    """Return what a child's value says about itself; nothing where it has no `tree_detail`."""
    if not isinstance(value, HasTreeDetail):
        return {}
    try:
        return dict(value.tree_detail())
    except Exception as error:  # noqa: BLE001 - a child's own code: its mistake must not hide the rest of the tree.
        return {"detail_error": type(error).__name__}


def render_tree(node: TreeNode) -> str:
    """Return the tree as lines of text without a final newline: branch and id, then state and what differs.

    Each node is one line that does nothing to a terminal, whatever it is called: what cannot be printed is escaped, and
    the end of a long text left out.
    """
    rows = list(_rows(node, "", ""))
    width = max(len(label) for label, _ in rows)
    return "\n".join(f"{label:<{width}}  {facts}".rstrip() for label, facts in rows)


def _rows(node: TreeNode, branch: str, indent: str) -> Iterator[tuple[str, str]]:
    yield branch + _shown(node.id), _facts(node)
    for number, child in enumerate(node.children, start=1):
        last = number == len(node.children)
        yield from _rows(child, indent + ("└─ " if last else "├─ "), indent + ("   " if last else "│  "))


def _facts(node: TreeNode) -> str:
    facts = [node.state, _duration(node.lived_seconds)]
    if node.restarts:
        facts.append(f"restarts={node.restarts}")
    facts.extend(
        f"{key}={value:g}" if isinstance(value, float) else f"{key}={_shown(str(value))}"
        for key, value in node.detail.items()
    )
    return " ".join(facts)


def _shown(text: str) -> str:
    if len(text) > SHOWN_LETTERS_MAX:
        text = f"{text[:SHOWN_LETTERS_MAX]}…"
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def _duration(seconds: float) -> str:
    if seconds < 60:  # noqa: PLR2004 - a minute
        return f"{seconds:.1f}s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{rest:02}s"
