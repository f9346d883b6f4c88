"""How work stands: counts, and who is to blame for what cannot go on. Pure functions over rows.

Neighbours: `session_tools` and `synthesis` show it, the run's report ends with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from vespera_agents.specialists.answers import BlockedTask
from vespera_agents.work.graph import root_blockers
from vespera_agents.work.models import Dependency, DependencyKind, DependencyState, Strategy, Task, TaskStatus

__all__ = ["blocked_tasks", "counts_of", "edges_of", "inherited_edges", "outcome_of"]

_SHOWN: Final = 5
"""Blockers that are named for one task."""


def counts_of(tasks: Iterable[Task]) -> dict[str, int]:
    """Count the tasks that are no containers by status; `waived` apart from `cancelled`.

    A vote that came to nothing counts as a failure of its own: all who voted have completed.
    """
    every = list(tasks)
    counts = Counter("waived" if task.waived else str(task.status) for task in every if not task.is_container)
    failed = {task.parent_id for task in every if task.status is TaskStatus.FAILED}
    undecided = [
        task
        for task in every
        if task.strategy is Strategy.CONSENSUS and task.status is TaskStatus.FAILED and task.id not in failed
    ]
    if undecided:
        counts["failed"] += len(undecided)
    return dict(sorted(counts.items()))


def outcome_of(counts: dict[str, int]) -> str:
    """Say in one word how work with these counts stands: failed, in_progress, waiting, cancelled or completed."""
    if not counts:
        return "waiting"
    if counts.get("failed"):
        return "failed"
    if counts.get("in_progress") or counts.get("review"):
        return "in_progress"
    if counts.get("pending") or counts.get("blocked"):
        return "waiting"
    if counts.get("cancelled") and not counts.get("completed"):
        return "cancelled"
    return "completed"


def edges_of(tasks: Sequence[Task], dependencies: Sequence[Dependency]) -> dict[str, list[str]]:
    """Give what each task waits for now: its own and its containers' unmet dependencies, and what it contains."""
    own: dict[str, list[str]] = {}
    for dependency in dependencies:
        unmet = dependency.state in {DependencyState.OPEN, DependencyState.FAILED}
        if unmet and dependency.mandatory and dependency.kind is not DependencyKind.RELATED:
            own.setdefault(dependency.task_id, []).append(dependency.on_task_id)
    return inherited_edges(tasks, own)


def inherited_edges(tasks: Sequence[Task], own: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Give each task its own edges and those of its containers, and each container edges to what it contains."""
    parents = {task.id: task.parent_id for task in tasks}
    edges: dict[str, list[str]] = {}
    for task in tasks:
        waits = edges.setdefault(task.id, [])
        above: str | None = task.id
        while above is not None:
            waits.extend(own.get(above, ()))
            above = parents.get(above)
        if task.parent_id is not None:
            edges.setdefault(task.parent_id, []).append(task.id)
    return edges


def blocked_tasks(
    tasks: Sequence[Task], dependencies: Sequence[Dependency], most: int | None = None
) -> list[BlockedTask]:
    """List the tasks that cannot go on by themselves, with those at the root of it; no more than `most`."""
    by_id = {task.id: task for task in tasks}
    broken = {
        task.id
        for task in tasks
        if not task.is_container
        and not task.waived
        and task.status in {TaskStatus.FAILED, TaskStatus.CANCELLED, TaskStatus.BLOCKED}
    }
    edges = edges_of(tasks, dependencies)
    found: list[BlockedTask] = []
    for task in tasks:
        if len(found) == most:
            break
        if task.is_container:
            continue
        if task.status is TaskStatus.BLOCKED:
            found.append(_blocked(task, [task.status_reason or "no reason given"]))
        elif task.status is TaskStatus.PENDING and task.open_dependencies:
            culprits = [by_id[identifier] for identifier in root_blockers(edges, broken, task.id)]
            if culprits:
                names = [f"{culprit.id} {culprit.title}: {culprit.status}" for culprit in culprits[:_SHOWN]]
                found.append(_blocked(task, names))
    return found


def _blocked(task: Task, blocked_by: list[str]) -> BlockedTask:
    return BlockedTask(id=task.id, title=task.title, status=task.status, blocked_by=blocked_by)
