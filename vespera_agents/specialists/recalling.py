"""What a call came to that was made before: its record, and whether what is handed in now is the same.

All of it is read at once, with the task: each reading thread takes a third of a millisecond of the processor, and a
worker that follows a killed one is asked all at once what its clients wait for. Neighbours: `work_tools` looks here
before it looks at anything that may have changed since.
"""

from __future__ import annotations

import hashlib
import sqlite3
from dataclasses import dataclass
from typing import cast, final

from vespera_agents.store import CommandKey, KeyConflict, queries
from vespera_agents.store.artifacts import ArtifactFiles
from vespera_agents.store.commands import Finished
from vespera_agents.store.jobs import Job, live_jobs_on
from vespera_agents.store.records import recorded_result
from vespera_agents.work.errors import Conflict
from vespera_agents.work.models import Artifact, Task, TaskStatus

__all__ = [
    "Before",
    "Outcome",
    "check_same_work",
    "read_before",
    "read_outcome",
    "recorded_work",
    "used_for_something_else",
]


@final
@dataclass(frozen=True, slots=True)
class Outcome:
    """The rows that the answer to finished work shows."""

    ready: list[Task]
    """What came to be ready."""
    artifacts: list[Artifact]
    """What was kept of the work."""
    parent: Task | None
    leaves: tuple[int, int]
    """Of the parent: how many are done, and how many there are."""


@final
@dataclass(frozen=True, slots=True)
class Before:
    """What is known of a call that hands in work, as of the moment when its task was read."""

    recorded: object
    """What its command came to; None for one that was not carried out."""
    outcome: Outcome | None
    """What there is to tell of that; None if it is not that of finished work."""
    jobs: list[Job]
    """Those of its kind on the task that have not ended."""


def read_before(connection: sqlite3.Connection, task: Task, files: ArtifactFiles, key: CommandKey, kind: str) -> Before:
    """Read what is known of a call by the key of its command, and who works on its task."""
    recorded = recorded_result(connection, key, files)
    outcome = read_outcome(connection, task, cast("Finished", recorded)) if _is_of_finished(recorded) else None
    return Before(recorded, outcome, live_jobs_on(connection, kind, task.id))


def read_outcome(connection: sqlite3.Connection, task: Task, finished: Finished) -> Outcome:
    """Read what the answer to finished work shows."""
    parent = queries.task(connection, task.parent_id) if task.parent_id else None
    leaves = queries.leaves_below(connection, parent.id) if parent else (0, 0)
    kept = frozenset(finished["artifact_ids"])
    artifacts = [one for one in queries.artifacts_of(connection, [task.id]) if one.id in kept] if kept else []
    return Outcome(queries.tasks(connection, finished["ready"]), artifacts, parent, leaves)


def recorded_work(before: Before, task: Task, status: TaskStatus) -> tuple[Finished, Outcome] | None:
    """Give what a call that was made before came to then, and what there is to tell of it; None for a new one.

    Raises:
        Conflict: a gate did not succeed then.
        KeyConflict: the key was used for something else.
    """
    recorded = before.recorded
    if isinstance(recorded, list) and status is TaskStatus.COMPLETED:
        raise Conflict(
            f"task {task.id} did not complete: {task.status_reason or 'a gate did not succeed'}",
            "Correct the work and hand it in again, as a new call.",
        )
    if recorded is None:
        return None
    finished = cast("Finished", recorded)
    if before.outcome is None or (finished["task_id"], finished["status"]) != (task.id, status):
        raise used_for_something_else()
    return finished, before.outcome


def check_same_work(
    task: Task, finished: Finished, kept: list[Artifact], given: tuple[str, str, tuple[str, ...]]
) -> None:
    """Compare a repeated call's summary, work and file names with what was handed in the first time.

    Raises:
        KeyConflict: it hands in something else.
    """
    summary, detailed_work, file_paths = given
    work = [hashlib.sha256(detailed_work.encode()).hexdigest()] if detailed_work.strip() else []
    handed_in = len(work) + len(file_paths)
    same = [one.sha256 for one in kept[: len(work)]] == work
    same = same and [one.name for one in kept[len(work) : handed_in]] == list(file_paths)
    if task.version == finished["version"]:
        # Nothing changed since: the summary is that call's, and gates left one artifact behind the work.
        gated = bool(task.gates) and finished["status"] == TaskStatus.COMPLETED
        same = same and task.summary == summary and len(kept) == handed_in + gated
    if not same:
        raise used_for_something_else()


def _is_of_finished(recorded: object) -> bool:
    return isinstance(recorded, dict) and cast("dict[str, object]", recorded).keys() >= Finished.__required_keys__


def used_for_something_else() -> KeyConflict:
    """Say that a key names another call."""
    return KeyConflict("this command key was used for another call before. Use a new key for a new call.")
