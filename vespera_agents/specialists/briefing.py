"""The briefing: everything that somebody needs to carry out one task, within the context budget of its role.

Pinned: the role, the task, its gates. Droppable, the last first: the container's text, the artifacts and the
summaries of what it depends on. Pure: whoever calls has read the rows. Neighbours: `specialist` writes it when it is
asked to; `context` keeps it within the limit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import final

from vespera_agents.context.budget import ContextBudget, Dropped, Section
from vespera_agents.context.sources import Source
from vespera_agents.specialists.roles import Role
from vespera_agents.work.models import Artifact, Dependency, Task

__all__ = ["Briefing", "Surroundings", "brief", "role_source"]

_SUMMARIES, _ARTIFACTS, _CONTAINER = 1, 2, 3


@final
@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a briefing tells beside the task itself."""

    parent: Task | None = None
    dependencies: Sequence[Dependency] = ()
    depends_on: Mapping[str, Task] = field(default_factory=dict[str, Task])
    artifacts: Sequence[Artifact] = ()
    """Of the task itself, of its dependencies and of its container."""


@final
@dataclass(frozen=True, slots=True)
class Briefing:
    """A specialist's prompt for one task."""

    prompt: str
    context_tokens: int
    """An estimate."""
    context_tokens_max: int
    dropped: tuple[Dropped, ...]
    sections: tuple[Section, ...]
    """The prompt's parts, each with what it was made of."""


def brief(role: Role, task: Task, around: Surroundings) -> Briefing:
    """Write the briefing for a task."""
    budget = ContextBudget(role.context_tokens_max)
    itself, named = (_task_source(task),), (role_source(role),)
    budget.add("Your role", _role_text(role), sources=named)
    budget.add("Your task", _task_text(task), sources=itself)
    budget.add("Gates", _gates_text(task), sources=itself)
    builds_on = tuple(map(_task_source, around.depends_on.values()))
    budget.add("What this builds on", _dependencies_text(around), rank=_SUMMARIES, sources=builds_on)
    shown = tuple(Source("artifact", one.id, one.sha256) for one in around.artifacts)
    budget.add("Artifacts", _artifacts_text(around), rank=_ARTIFACTS, sources=shown)
    if around.parent is not None:
        parent = f"{around.parent.title}\n\n{around.parent.description}"
        budget.add("The larger piece of work", parent, rank=_CONTAINER, sources=(_task_source(around.parent),))
    budget.add("When you are done", _closing_text(role, task), sources=(*named, *itself))
    prompt, dropped = budget.render()
    return Briefing(prompt, budget.count(prompt), role.context_tokens_max, tuple(dropped), budget.kept)


def role_source(role: Role) -> Source:
    """Name a role as it is now."""
    return Source("role", role.name, hashlib.sha256(role.model_dump_json().encode()).hexdigest()[:16])


def _task_source(task: Task) -> Source:
    return Source("task", task.id, str(task.version))


def _role_text(role: Role) -> str:
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


def _closing_text(role: Role, task: Task) -> str:
    form = f"Deliver: {role.output_format}\n\n" if role.output_format else ""
    return (
        f"{form}Report with orchestrator_complete_task(task_id={task.id!r}, summary=..., detailed_work=..., "
        "next_action=complete | needs_revision | blocked)."
    )
