"""Jobs: long work that goes on after the call which asked for it, as rows, and how they are read.

A job is a handle that outlives its server: whoever knows its id reads how far it is, from any server of the
workspace. What it works on has rows of its own; the job only says who works since when and what came of it. Not here:
how a job changes (`commands.jobs`), how it runs (`specialists.jobs`).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, cast, final

from vespera_agents.store.rows import Row
from vespera_agents.work.errors import NotFound

__all__ = ["Job", "JobStatus", "job", "jobs_of_session", "live_jobs", "live_jobs_on"]


class JobStatus(StrEnum):
    """Where a job stands."""

    WORKING = "working"
    INPUT_REQUIRED = "input_required"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


@final
@dataclass(frozen=True, slots=True)
class Job:
    """One job."""

    id: str
    """`job_` and 36 hex digits: who does not know it cannot guess it."""
    kind: str
    """What was asked for: the name of a tool."""
    principal: str
    """Who asked for it."""
    server: str
    """Whose work it is."""
    session_id: str | None
    task_id: str | None
    status: JobStatus
    done: float
    total: float | None
    message: str | None
    """What is being done, or the reason of the end."""
    asked: Mapping[str, object]
    """With input_required: the questions that nobody has answered yet, by their ids."""
    answers: Mapping[str, object]
    """What was answered so far in this round."""
    stop: str | None
    """Why somebody wants it to be cancelled."""
    result: Mapping[str, object] | None
    error: Mapping[str, object] | None
    intent: Mapping[str, object] | None
    """What another process needs to begin the work anew; None where nobody but the first can."""
    attempts: int
    """How often it was begun."""
    got_on: int
    """How many of these count no more, because it has got on since."""
    ttl_seconds: float
    """How long it can be asked for after its end."""
    poll_seconds: float
    """How often it is worth asking."""
    created: float
    updated: float

    @property
    def ended(self) -> bool:
        """Whether its outcome stands."""
        return self.status not in {JobStatus.WORKING, JobStatus.INPUT_REQUIRED}


JOB_COLUMNS: Final = (
    "id, kind, principal, server, session_id, task_id, status, done, total, message, asked, answers, stop, result,"
    " error, intent, attempts, got_on, ttl_seconds, poll_seconds, created, updated"
)
_LIVE: Final = f"SELECT {JOB_COLUMNS} FROM job INDEXED BY job_live WHERE status IN ('working', 'input_required')"
"""Left to itself SQLite goes through all jobs for the sake of their order, and a day's worth of them has ended."""
_LIVE_MAX: Final = 1_000


def job_of(row: Row) -> Job:
    """Read a row of JOB_COLUMNS."""
    values: dict[str, Any] = dict(zip(JOB_COLUMNS.split(", "), row, strict=True))
    values["status"] = JobStatus(values["status"])
    for name in ("asked", "answers", "result", "error", "intent"):
        values[name] = _object(values[name])
    values["asked"] = values["asked"] or {}
    values["answers"] = values["answers"] or {}
    return Job(**values)


def job(connection: sqlite3.Connection, job_id: str) -> Job:
    """Read one job.

    Raises:
        NotFound: there is none of that id, or it ended so long ago that it was forgotten.
    """
    row = connection.execute(f"SELECT {JOB_COLUMNS} FROM job WHERE id=?", (job_id,)).fetchone()
    if row is None:
        raise NotFound(
            f"there is no job {job_id!r:.80}", "See orchestrator_get_status; an ended job is kept for a day."
        )
    return job_of(row)


def live_jobs(connection: sqlite3.Connection) -> list[Job]:
    """Read the jobs of the workspace that have not ended, the oldest first."""
    return [job_of(row) for row in connection.execute(f"{_LIVE} ORDER BY seq LIMIT ?", (_LIVE_MAX,))]


def live_jobs_on(connection: sqlite3.Connection, kind: str, task_id: str) -> list[Job]:
    """Read the jobs of a kind on a task that have not ended, the oldest first."""
    rows = connection.execute(f"{_LIVE} AND kind=? AND task_id=? ORDER BY seq", (kind, task_id))
    return [job_of(row) for row in rows]


def jobs_of_session(connection: sqlite3.Connection, session_id: str, limit: int) -> list[Job]:
    """Read the newest jobs of a session, the newest first."""
    rows = connection.execute(
        f"SELECT {JOB_COLUMNS} FROM job WHERE session_id=? ORDER BY seq DESC LIMIT ?", (session_id, limit)
    )
    return [job_of(row) for row in rows]


def _object(text: str | None) -> Mapping[str, object] | None:
    return None if text is None else cast("Mapping[str, object]", json.loads(text))
