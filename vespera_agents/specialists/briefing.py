"""The briefing: everything that somebody needs to carry out one task, within the context budget of its role.

Pinned: the role, the task, its gates. Droppable, the last first: the container's text, the artifacts and the
summaries of what it depends on. Whoever calls has read the rows. Neighbours: `specialist` writes it when it is asked
to; `context` keeps it within the limit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import final

import trio

from vespera_agents.context.budget import ContextBudget
from vespera_agents.context.sections import Dropped, Section, SectionKind
from vespera_agents.context.sources import Source
from vespera_agents.specialists.roles import Role
from vespera_agents.store.notes import Note, begun_text, note_title
from vespera_agents.work.models import Artifact, Dependency, Task

__all__ = ["Briefing", "Surroundings", "add_task", "brief", "role_source", "role_text"]

_SUMMARIES, _ARTIFACTS, _CONTAINER = 3, 2, 1
"""The lower goes first."""


@final
@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a briefing tells beside the task itself."""

    parent: Task | None = None
    dependencies: Sequence[Dependency] = ()
    depends_on: Mapping[str, Task] = field(default_factory=dict[str, Task])
    artifacts: Sequence[Artifact] = ()
    """Of the task itself, of its dependencies and of its container."""
    notes: Sequence[Note] = ()
    """What the role may see of the session's shared context; where a specialist works by itself, it asks for them."""


@final
@dataclass(frozen=True, slots=True)
class Briefing:
    """A specialist's prompt for one task."""

    prompt: str
    context_tokens: int
    """Counted where the text has more bytes than it may have tokens, else estimated."""
    context_tokens_max: int
    dropped: tuple[Dropped, ...]
    sections: tuple[Section, ...]
    """The prompt's parts, each with what it was made of."""


async def brief(role: Role, task: Task, around: Surroundings) -> Briefing:
    """Write the briefing for a task.

    Where its bytes do not prove that it fits, it is counted, in a thread: the vocabulary alone takes 0.4 s to read.
    """
    # Nobody compacts a briefing or begins afresh over it: the limit is its only threshold.
    budget = ContextBudget(role.context_tokens_max, compact_at=1.0, respawn_at=1.0)
    itself, named = (_task_source(task),), (role_source(role),)
    budget.add("Your role", role_text(role), SectionKind.ROLE, sources=named)
    add_task(budget, task, around)
    for one in around.notes:
        known = (Source("note", f"{one.session_id}/{one.name}", str(one.version)),)
        budget.add(f"Shared note: {note_title(one)}", begun_text(one), SectionKind.SHARED, sources=known)
    budget.add("When you are done", _closing_text(role, task), SectionKind.GATES, sources=(*named, *itself))
    made = budget.assemble_uncounted() or await trio.to_thread.run_sync(budget.assemble)
    return Briefing(made.text, made.context_tokens, role.context_tokens_max, made.dropped, made.kept)


def add_task(budget: ContextBudget, task: Task, around: Surroundings) -> None:
    """Add what there is to tell of a task: itself, its gates, what it builds on, and the larger piece of work."""
    itself = (_task_source(task),)
    budget.add("Your task", _task_text(task), SectionKind.TASK, sources=itself)
    budget.add("Gates", _gates_text(task), SectionKind.GATES, sources=itself)
    builds_on = tuple(map(_task_source, around.depends_on.values()))
    shown = tuple(Source("artifact", one.id, one.sha256) for one in around.artifacts)
    for name, text, priority, sources in (
        ("What this builds on", _dependencies_text(around), _SUMMARIES, builds_on),
        ("Artifacts", _artifacts_text(around), _ARTIFACTS, shown),
        ("The larger piece of work", *_container(around)),
    ):
        budget.add(name, text, SectionKind.DEPENDENCIES, priority=priority, sources=sources)


@lru_cache(maxsize=64)
def role_source(role: Role) -> Source:
    """Name a role as it is now."""
    return Source("role", role.name, hashlib.sha256(role.model_dump_json().encode()).hexdigest()[:16])


def _task_source(task: Task) -> Source:
    return Source("task", task.id, str(task.version))


def role_text(role: Role) -> str:
    """Tell a role to whoever plays it."""
    parts = [f"You are the {role.name}. {role.role_definition}"]
    if role.expertise:
        parts.append(f"Your expertise: {', '.join(role.expertise)}.")
    if role.approach:
        parts.append("\n".join(f"- {line}" for line in role.approach))
    return "\n\n".join(parts)


def _task_text(task: Task) -> str:
    lines = [f"{task.title} ({task.id})", f"Type: {task.task_type}. Complexity: {task.complexity}."]
    if task.estimated_effort:
        lines.append(f"Estimated effort: {task.estimated_effort}.")
    if task.summary:
        lines.append(f"Handed in before: {task.summary}")
    if task.status_reason and task.status_reason != task.summary:
        lines.append(f"It comes back to you because: {task.status_reason}")
    if task.run is not None:
        lines.append(f"The work is this command: `{task.run.text}`")
    return "\n".join(lines) + (f"\n\n{task.description}" if task.description else "")


def _gates_text(task: Task) -> str:
    if not task.gates:
        return ""
    lines = [f"- `{gate.text}` (within {gate.timeout_seconds:g} s)" for gate in task.gates]
    return "\n".join(["These commands must succeed before the task may complete:", *lines])


def _dependencies_text(around: Surroundings) -> str:
    lines: list[str] = []
    for dependency in around.dependencies:
        on = around.depends_on.get(dependency.on_task_id)
        if on is None:
            continue
        outcome = on.summary or on.status_reason or "no summary was given"
        lines.append(f"- {on.title} ({on.id}, {on.status}): {outcome}")
    return "\n".join(lines)


def _artifacts_text(around: Surroundings) -> str:
    return "\n".join(
        f"- {artifact.name} ({artifact.kind}, {artifact.size} bytes): vespera://artifact/{artifact.sha256}"
        for artifact in around.artifacts
    )


def _container(around: Surroundings) -> tuple[str, int, tuple[Source, ...]]:
    parent = around.parent
    if parent is None:
        return "", _CONTAINER, ()
    return f"{parent.title}\n\n{parent.description}", _CONTAINER, (_task_source(parent),)


def _closing_text(role: Role, task: Task) -> str:
    form = f"Deliver: {role.output_format}\n\n" if role.output_format else ""
    return (
        f"{form}Report with orchestrator_complete_task(task_id={task.id!r}, summary=..., detailed_work=..., "
        "next_action=complete | needs_revision | blocked)."
    )
