"""What a call came to that was made before: its record, and whether what is handed in now is the same.

Neighbours: `work_tools` and `calls` ask here before they look at anything that may have changed since.
"""

from __future__ import annotations

import hashlib
from typing import cast

from vespera_agents.specialists.calls import Call
from vespera_agents.specialists.sessions import OpenWorkspace
from vespera_agents.store import KeyConflict, queries
from vespera_agents.store.commands import Finished
from vespera_agents.work.errors import Conflict
from vespera_agents.work.models import Task, TaskStatus

__all__ = ["check_same_work", "recorded_work", "used_for_something_else"]


async def recorded_work(opened: OpenWorkspace, call: Call, task: Task, status: TaskStatus) -> Finished | None:
    """Give what a call that was made before came to then; None for a new one.

    Raises:
        Conflict: a gate did not succeed then.
        KeyConflict: the key was used for something else.
    """
    recorded = await opened.store.recorded(call.key.step(1))
    if isinstance(recorded, list) and status is TaskStatus.COMPLETED:
        raise Conflict(
            f"task {task.id} did not complete: {task.status_reason or 'a gate did not succeed'}",
            "Correct the work and hand it in again, as a new call.",
        )
    if recorded is None:
        return None
    finished = cast("Finished", recorded)
    if not isinstance(recorded, dict) or finished.get("task_id") != task.id or finished.get("status") != status:
        raise used_for_something_else()
    return finished


async def check_same_work(
    opened: OpenWorkspace, task: Task, finished: Finished, given: tuple[str, str, tuple[str, ...]]
) -> None:
    """Compare a repeated call's summary, work and file names with what was handed in the first time.

    Raises:
        KeyConflict: it hands in something else.
    """
    summary, detailed_work, file_paths = given
    everything = await opened.store.read(queries.artifacts_of, [task.id])
    kept = [one for one in everything if one.id in finished["artifact_ids"]]
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


def used_for_something_else() -> KeyConflict:
    """Say that a key names another call."""
    return KeyConflict("this command key was used for another call before. Use a new key for a new call.")
