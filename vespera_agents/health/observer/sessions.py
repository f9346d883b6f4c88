"""What a viewer is told of sessions and their tasks: read from the store by its readers, in threads.

Titles of tasks are shown; descriptions, commands, summaries and artifacts are content and are not. Neighbours: `feed`
asks for the sessions now and then, `asking` for the tasks of one.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from typing import Final

from vespera_agents.store import queries
from vespera_agents.work.models import Task, TaskStatus

__all__ = ["SESSIONS_MAX", "TASKS_MAX", "read_session", "read_sessions"]

SESSIONS_MAX: Final = 50
"""Sessions of a workspace that are shown, the newest."""
TASKS_MAX: Final = 5_000
"""Tasks of one session that are shown, in the order of their plan."""

Section = dict[str, object]


def read_sessions(connection: sqlite3.Connection) -> list[Section]:
    """Read the newest sessions of a workspace, each with the number of its tasks by status."""
    found: list[Section] = []
    for session in queries.sessions(connection, SESSIONS_MAX):
        counts: Counter[str] = Counter()
        for status, _, _, number in queries.status_counts(connection, session.id):
            counts[status] += number
        found.append(
            {
                "id": session.id,
                "name": session.name,
                "workspace": session.directory,
                "status": session.status.value,
                "counts": dict(sorted(counts.items())),
                "created_at": session.created,
            }
        )
    return found


def read_session(connection: sqlite3.Connection, session_id: str) -> bytes:
    """Read the tasks of a session with what they wait for, as JSON; encoded here, in the reader's thread.

    Raises:
        NotFound: there is no such session.
    """
    session = queries.session(connection, session_id)
    tasks = queries.session_tasks(connection, session_id)
    shown = tasks[:TASKS_MAX]
    depends_on: dict[str, list[str]] = {}
    for dependency in queries.dependencies_of(connection, [task.id for task in shown]):
        depends_on.setdefault(dependency.task_id, []).append(dependency.on_task_id)
    answer = {
        "id": session.id,
        "name": session.name,
        "tasks": [_task(task, depends_on.get(task.id, [])) for task in shown],
        "tasks_total": len(tasks),
        "durations": _durations(tasks),
    }
    return json.dumps(answer).encode()


def _task(task: Task, depends_on: list[str]) -> Section:
    return {
        "id": task.id,
        "title": task.title,
        "status": task.status.value,
        "role": task.specialist,
        "parent": task.parent_id,
        "depends_on": depends_on,
        "created_at": task.created,
        "started_at": task.started,
        "ended_at": task.finished,
        "attempts": task.attempts,
    }


def _durations(tasks: list[Task]) -> dict[str, float]:
    """Give the median seconds of the completed tasks of each role."""
    seconds: dict[str, list[float]] = {}
    for task in tasks:
        if task.status is TaskStatus.COMPLETED and task.started is not None and task.finished is not None:
            seconds.setdefault(task.specialist, []).append(task.finished - task.started)
    return {role: round(_median(found), 3) for role, found in sorted(seconds.items())}


def _median(found: list[float]) -> float:
    """Give the middle one; the standard library's own costs 4 ms of import, in every server."""
    ordered, middle = sorted(found), len(found) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
