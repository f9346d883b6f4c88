"""What a caller asks to be created: a task or a whole breakdown, before it has ids.

Drafts carry local keys; `store/` gives ids when it writes them. The plan reader and the `plan_task` tool both end in
drafts, so a plan file and a breakdown by hand meet here and nowhere else. Pure checks only; the rows decide the rest.
Neighbours: `plans/` makes them, `graph` orders them, `store/` writes them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, field_validator

from vespera_agents.work.errors import Cycle, InvalidInput
from vespera_agents.work.graph import find_cycle
from vespera_agents.work.models import (
    DESCRIPTION_MAX,
    TITLE_MAX,
    CommandLine,
    Complexity,
    DependencyKind,
    Strategy,
    TaskType,
    role_name,
)

__all__ = ["DRAFTS_MAX", "DependencyDraft", "TaskDraft", "check_drafts", "walk_drafts"]

DRAFTS_MAX: Final = 2_000
"""Tasks in one breakdown."""
_BEGINNING: Final = "\0begins"
"""Marks the node of a task's beginning beside the one of its end."""


class DependencyDraft(BaseModel):
    """A wish to wait for another task, named by local key or by id."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    on: Annotated[str, Field(min_length=1, max_length=200)]
    """A key of the same breakdown, or the id (or unique id prefix) of a task of the session."""
    kind: DependencyKind = DependencyKind.COMPLETION
    mandatory: bool = True


class TaskDraft(BaseModel):
    """A task that does not exist yet."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: Annotated[str, Field(min_length=1, max_length=200)]
    """Unique in its breakdown."""
    title: Annotated[str, Field(min_length=1, max_length=TITLE_MAX)]
    description: Annotated[str, Field(max_length=DESCRIPTION_MAX)] = ""
    task_type: TaskType = TaskType.STANDARD
    complexity: Complexity = Complexity.MODERATE
    specialist: str | None = None
    """The role that it is for; None: nobody named one, and one is chosen."""
    estimated_effort: Annotated[str, Field(max_length=100)] | None = None
    due: float | None = None
    dependencies: Annotated[tuple[DependencyDraft, ...], Field(max_length=DRAFTS_MAX)] = ()
    run: CommandLine | None = None
    when: CommandLine | None = None
    gates: tuple[CommandLine, ...] = ()
    strategy: Strategy | None = None
    """How its subtasks are worked on."""
    strategy_n: int | None = None
    """For a strategy that counts: rounds of review, voters of a consensus."""
    done: bool = False
    """The plan says that this is finished already: it is created completed."""
    subtasks: tuple[TaskDraft, ...] = ()

    @field_validator("specialist")
    @classmethod
    def _canonical(cls, name: str | None) -> str | None:
        return None if name is None else role_name(name)


def walk_drafts(
    drafts: Sequence[TaskDraft], parent: TaskDraft | None = None
) -> Iterator[tuple[TaskDraft, TaskDraft | None, int]]:
    """Yield every draft with its parent and its position, parents before children."""
    # An explicit stack, because a plan may nest deeper than Python's recursion allows.
    stack = [(parent, enumerate(drafts))]
    while stack:
        above, siblings = stack[-1]
        position, draft = next(siblings, (0, None))
        if draft is None:
            stack.pop()
            continue
        yield draft, above, position
        if draft.subtasks:
            stack.append((draft, enumerate(draft.subtasks)))


def check_drafts(drafts: Sequence[TaskDraft]) -> dict[str, TaskDraft]:
    """Check a breakdown in itself and give it by key.

    Raises:
        InvalidInput: nothing in it, too much in it, a key twice, a task that waits for its own container.
        Cycle: its dependencies, or a container and what it holds, close a circle.
    """
    by_key: dict[str, TaskDraft] = {}
    above: dict[str, str | None] = {}
    connected = False
    for draft, parent, _ in walk_drafts(drafts):
        if draft.key in by_key:
            raise InvalidInput(f"the key {draft.key!r} stands twice in this breakdown", "Give each task its own key.")
        by_key[draft.key] = draft
        above[draft.key] = None if parent is None else parent.key
        connected = connected or bool(draft.dependencies)
    if not by_key:
        raise InvalidInput("there is no task in this breakdown", "Give at least one task with a title.")
    if len(by_key) > DRAFTS_MAX:
        raise InvalidInput(
            f"{len(by_key)} tasks are more than one breakdown may hold ({DRAFTS_MAX})",
            "Split it: create the containers first, then add their subtasks with parent_task_id.",
        )
    if connected:
        _check_dependencies(by_key, above)
    return by_key


def _check_dependencies(by_key: Mapping[str, TaskDraft], above: Mapping[str, str | None]) -> None:
    """Check that no task waits for its own container, nor for itself through others.

    What a container waits for holds everything below it. So a task has two nodes, its end (the key) and its beginning:
    it begins after its dependencies and after its container began, and a container ends after its subtasks.
    """
    edges: dict[str, list[str]] = {}
    for key, draft in by_key.items():
        waits = [dependency.on for dependency in draft.dependencies if dependency.kind is not DependencyKind.RELATED]
        if waits and (container := next((name for name in _containers(key, above) if name in waits), None)):
            raise InvalidInput(
                f"{key!r} depends on {container!r}, the container that it belongs to",
                "A container ends when its subtasks end: remove that dependency.",
            )
        parent = above[key]
        edges[key] = [key + _BEGINNING, *(child.key for child in draft.subtasks)]
        edges[key + _BEGINNING] = [on for on in waits if on in by_key]
        if parent is not None:
            edges[key + _BEGINNING].append(parent + _BEGINNING)
    try:
        find_cycle(edges)
    except Cycle as cycle:
        names = [node.removesuffix(_BEGINNING) for node in cycle.path]
        steps = [name for before, name in pairwise(names) if name != before]
        raise Cycle([names[0], *(steps or names[:1])]) from None


def _containers(key: str, above: Mapping[str, str | None]) -> Iterator[str]:
    container = above[key]
    while container is not None:
        yield container
        container = above[container]
