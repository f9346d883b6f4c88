"""What briefings, syntheses and the state of a session read: rows around one task, of a whole piece of work, or counts.

Queries of several steps, each run in one transaction by `Store.read`. What was written about the work (briefings,
reports, syntheses) is no result of it and is left out. Neighbours: `briefing` and `synthesis` turn the rows to text.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, final

from vespera_agents.specialists.answers import BlockedTask
from vespera_agents.specialists.briefing import Surroundings
from vespera_agents.specialists.standing import blocked_tasks
from vespera_agents.specialists.synthesis import WorkRows
from vespera_agents.store import queries
from vespera_agents.store.notes import notes_of
from vespera_agents.store.steps import ModelWork, models_at_work
from vespera_agents.work.models import Artifact, Task, TaskStatus

__all__ = [
    "BRIEFING_NAME",
    "HANDOVER_NAME",
    "OFFLOADED_NAME",
    "REPORT_NAME",
    "SYNTHESIS_NAME",
    "Standing",
    "artifact_files",
    "counts_in",
    "read_rows",
    "read_standing",
    "surroundings_of",
]

_LATEST: Final = 20
"""Completed tasks and artifacts that are read, the latest ones."""

BRIEFING_NAME: Final = "briefing"
"""The artifact that holds a prepared task's briefing."""
REPORT_NAME: Final = "report"
"""The artifact that holds the report of a run."""
HANDOVER_NAME: Final = "hand-over of "
"""How the names of artifacts begin that a hand-over was written into."""
OFFLOADED_NAME: Final = "context of "
"""How the names of artifacts begin that hold what was too long for a specialist's context."""
SYNTHESIS_NAME: Final = "synthesis of "
"""How the names of artifacts begin that orchestrator_synthesize_results made."""
_WRITTEN_ABOUT: Final = (SYNTHESIS_NAME, HANDOVER_NAME, OFFLOADED_NAME)


def surroundings_of(connection: sqlite3.Connection, task_id: str) -> tuple[Task, Surroundings]:
    """Read a task and what a briefing tells beside it: what it and its containers depend on, and the container."""
    task = queries.task(connection, task_id)
    parent = queries.task(connection, task.parent_id) if task.parent_id else None
    holders, above = [task.id], parent
    while above is not None:
        holders.append(above.id)
        above = queries.task(connection, above.parent_id) if above.parent_id else None
    dependencies = queries.dependencies_of(connection, holders)
    targets = queries.oldest_first(connection, [dependency.on_task_id for dependency in dependencies])
    # Ids are random: in their order the same plan would be told differently each time.
    dependencies.sort(key=lambda one: (holders.index(one.task_id), targets.index(one.on_task_id)))
    depends_on = {one.id: one for one in queries.tasks(connection, targets)}
    below = [
        child.id
        for target in depends_on.values()
        if target.is_container
        for child in queries.session_tasks(connection, task.session_id, target.id)
    ]
    makers: list[str] = [task.id, *([parent.id] if parent else []), *targets, *below]
    return task, Surroundings(
        parent,
        dependencies,
        depends_on,
        _results(queries.artifacts_of(connection, sorted(set(makers)))),
        notes_of(connection, task.session_id, task.specialist),
    )


@final
@dataclass(frozen=True, slots=True)
class Standing:
    """How a session stands: counts of everything, and the first tasks of each kind, none of them containers."""

    counts: dict[str, int]
    """By status; `waived` apart from `cancelled`."""
    ready: list[Task]
    in_progress: list[Task]
    in_review: list[Task]
    completed: list[Task]
    """The latest first."""
    blocked: list[BlockedTask]
    artifacts: list[Artifact]
    """The latest first."""
    models: list[ModelWork]
    """Which models worked on which tasks."""
    oldest: dict[str, float]
    """For each live status, since when its oldest task has stood there, in seconds since the epoch."""


def counts_in(connection: sqlite3.Connection, session_id: str) -> dict[str, int]:
    """Count a session's tasks that are no containers by status; `waived` apart from `cancelled`."""
    counts = Counter[str]()
    for status, _, waived, number in queries.status_counts(connection, session_id):
        counts["waived" if waived else status] += number
    return dict(sorted(counts.items()))


def read_standing(connection: sqlite3.Connection, session_id: str, most: int) -> Standing:
    """Read how a session stands, with the first `most` tasks of each kind, at one price for any size."""

    def first(*statuses: TaskStatus, ready: bool | None = None) -> list[Task]:
        wanted = queries.TaskFilter(session_id=session_id, status=statuses, ready=ready, leaves=True)
        return queries.first_tasks(connection, wanted, most)

    stuck, dependencies = queries.stuck_tasks(connection, session_id)
    return Standing(
        counts=counts_in(connection, session_id),
        ready=first(ready=True),
        in_progress=first(TaskStatus.IN_PROGRESS),
        in_review=first(TaskStatus.REVIEW),
        completed=queries.latest_completed(connection, session_id, min(most, _LATEST)),
        blocked=blocked_tasks(stuck, dependencies, most),
        artifacts=queries.latest_artifacts(connection, session_id, min(most, _LATEST)),
        models=models_at_work(connection, session_id),
        oldest=dict(queries.oldest_waiting(connection, session_id)),
    )


def read_rows(connection: sqlite3.Connection, session_id: str, root: str | None, title: str) -> WorkRows:
    """Read everything that a synthesis of a subtree, or of a whole session, needs."""
    tasks = queries.session_tasks(connection, session_id, root)
    ids = [task.id for task in tasks]
    dependencies = queries.dependencies_of(connection, ids)
    # What blocks a task of the subtree may lie outside of it.
    everything = queries.session_tasks(connection, session_id)
    blocked = blocked_tasks(everything, queries.dependencies_of(connection, [task.id for task in everything]))
    artifacts = _results(queries.artifacts_of(connection, ids))
    inside = set(ids)
    models = [work for work in models_at_work(connection, session_id) if work.task_id in inside]
    return WorkRows(title, tasks, dependencies, artifacts, models=models, blocked=blocked)


def artifact_files(artifacts: Iterable[Artifact]) -> dict[str, str]:
    """Say where the bytes of artifacts lie, by content hash, as links from `.vespera/reports`."""
    return {one.sha256: f"../artifacts/{one.sha256[:2]}/{one.sha256}" for one in artifacts}


def _results(artifacts: Iterable[Artifact]) -> list[Artifact]:
    """Pick what clients made; of what a task was handed in with again, the last: what its gates refused is over."""
    results = [
        one
        for one in artifacts
        if one.name not in {BRIEFING_NAME, REPORT_NAME} and not one.name.startswith(_WRITTEN_ABOUT)
    ]
    return list({(one.task_id, one.name): one for one in results}.values())
