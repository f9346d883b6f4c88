"""What briefings and syntheses read: rows around one task, and rows of a whole piece of work.

Queries of several steps, each run in one transaction by `Store.read`. What was written about the work (briefings,
reports, syntheses) is no result of it and is left out. Neighbours: `briefing` and `synthesis` turn the rows to text.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Final

from vespera_agents.specialists.briefing import Surroundings
from vespera_agents.specialists.standing import blocked_tasks
from vespera_agents.specialists.synthesis import WorkRows
from vespera_agents.store import queries
from vespera_agents.work.models import Artifact, Task

__all__ = [
    "BRIEFING_NAME",
    "HANDOVER_NAME",
    "REPORT_NAME",
    "SYNTHESIS_NAME",
    "artifact_files",
    "read_rows",
    "surroundings_of",
]

BRIEFING_NAME: Final = "briefing"
"""The artifact that holds a prepared task's briefing."""
REPORT_NAME: Final = "report"
"""The artifact that holds the report of a run."""
HANDOVER_NAME: Final = "hand-over of "
"""How the names of artifacts begin that a hand-over was written into."""
SYNTHESIS_NAME: Final = "synthesis of "
"""How the names of artifacts begin that orchestrator_synthesize_results made."""


def surroundings_of(connection: sqlite3.Connection, task_id: str) -> tuple[Task, Surroundings]:
    """Read a task and what a briefing tells beside it: what it and its containers depend on, and the container."""
    task = queries.task(connection, task_id)
    parent = queries.task(connection, task.parent_id) if task.parent_id else None
    holders, above = [task.id], parent
    while above is not None:
        holders.append(above.id)
        above = queries.task(connection, above.parent_id) if above.parent_id else None
    dependencies = queries.dependencies_of(connection, holders)
    targets = [dependency.on_task_id for dependency in dependencies]
    depends_on = {one.id: one for one in queries.tasks(connection, targets)}
    below = [
        child.id
        for target in depends_on.values()
        if target.is_container
        for child in queries.session_tasks(connection, task.session_id, target.id)
    ]
    makers: list[str] = [task.id, *([parent.id] if parent else []), *targets, *below]
    return task, Surroundings(
        parent, dependencies, depends_on, _results(queries.artifacts_of(connection, sorted(set(makers))))
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
    return WorkRows(title, tasks, dependencies, artifacts, blocked=blocked)


def artifact_files(artifacts: Iterable[Artifact]) -> dict[str, str]:
    """Say where the bytes of artifacts lie, by content hash, as links from `.vespera/reports`."""
    return {one.sha256: f"../artifacts/{one.sha256[:2]}/{one.sha256}" for one in artifacts}


def _results(artifacts: Iterable[Artifact]) -> list[Artifact]:
    return [
        one
        for one in artifacts
        if one.name not in {BRIEFING_NAME, REPORT_NAME} and not one.name.startswith((SYNTHESIS_NAME, HANDOVER_NAME))
    ]
