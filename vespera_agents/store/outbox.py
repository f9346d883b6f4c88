"""The outbox: what somebody is to be told of, written in the transaction of the change that it tells of.

Where nobody is registered for anything a change costs nothing more: the writer knows the audience without asking. A row
is for one target; rows of one task at one target are a lane, and only the first pending row of a lane has a time at
which it is due, so that whoever delivers keeps the order without looking. Bodies hold ids, names and numbers, never a
description, an output or a reason: those may quote a secret. Neighbours: `changes` tells of tasks, `commands.callbacks`
of the rest and of what becomes of the rows, `callbacks` reads them, `specialists.callbacks` delivers.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from vespera_agents.store.transaction import Transaction
from vespera_agents.work.models import Task, TaskStatus

__all__ = ["SCRIPT", "CallbackEvent", "CallbackStatus", "event_of", "read_audience", "tell", "tell_status"]


class CallbackEvent(StrEnum):
    """What can be told of."""

    TASK_START = "on_task_start"
    """Somebody began to work on a task."""
    TASK_COMPLETE = "on_task_complete"
    ERROR = "on_error"
    """A task failed."""
    HELP_NEEDED = "on_help_needed"
    """A task is blocked, or a specialist asked another one."""
    BUDGET_LOW = "on_budget_low"
    """Little is left of what may be spent."""
    DEADLINE_NEAR = "on_deadline_near"
    """A task that is not finished is due soon, or was."""


class CallbackStatus(StrEnum):
    """What became of a row."""

    PENDING = "pending"
    DELIVERED = "delivered"
    """Its target took it."""
    DEAD = "dead"
    """It was given up, and can be replayed."""


_OF_STATUS: Final[Mapping[TaskStatus, CallbackEvent]] = {
    TaskStatus.IN_PROGRESS: CallbackEvent.TASK_START,
    TaskStatus.COMPLETED: CallbackEvent.TASK_COMPLETE,
    TaskStatus.FAILED: CallbackEvent.ERROR,
    TaskStatus.BLOCKED: CallbackEvent.HELP_NEEDED,
}
_TITLE_MAX: Final = 200

SCRIPT: Final = """
    CREATE TABLE callback (
        seq INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        target TEXT NOT NULL,
        event TEXT NOT NULL,
        session_id TEXT,
        task_id TEXT,
        lane TEXT NOT NULL,
        body TEXT NOT NULL,
        status TEXT NOT NULL DEFAULT 'pending',
        due REAL,
        holder TEXT,
        attempts INTEGER NOT NULL DEFAULT 0,
        failures INTEGER NOT NULL DEFAULT 0,
        problem TEXT,
        created REAL NOT NULL,
        ended REAL
    );
    CREATE INDEX callback_due ON callback(target, due, seq) WHERE due IS NOT NULL AND holder IS NULL;
    CREATE INDEX callback_lane ON callback(target, lane, seq) WHERE status = 'pending';
    CREATE INDEX callback_held ON callback(target) WHERE holder IS NOT NULL;
    CREATE INDEX callback_by_status ON callback(status, seq);
    CREATE TABLE callback_target (
        name TEXT PRIMARY KEY,
        events TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE callback_once (
        what TEXT NOT NULL,
        subject TEXT NOT NULL,
        at REAL NOT NULL,
        PRIMARY KEY (what, subject)
    ) WITHOUT ROWID;
    CREATE TABLE help (
        seq INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        session_id TEXT NOT NULL,
        task_id TEXT,
        asker TEXT NOT NULL,
        role TEXT NOT NULL,
        question TEXT NOT NULL,
        deadline REAL NOT NULL,
        status TEXT NOT NULL,
        answer TEXT,
        asked INTEGER NOT NULL DEFAULT 0,
        created REAL NOT NULL,
        ended REAL
    );
"""
"""The tables of what goes out: callbacks, who is registered for them, and questions to others."""


def event_of(status: TaskStatus) -> CallbackEvent | None:
    """Give what is told of a task that gets this status, if anything is."""
    return _OF_STATUS.get(status)


def read_audience(connection: sqlite3.Connection, audience: dict[str, tuple[str, ...]]) -> None:
    """Read who is registered for what, into a mapping from events to names of targets."""
    audience.clear()
    for name, events in connection.execute("SELECT name, events FROM callback_target ORDER BY name").fetchall():
        for event in str(events).split():
            audience[event] = (*audience.get(event, ()), str(name))


def tell_status(transaction: Transaction, task: Task, status: TaskStatus) -> None:
    """Tell of a task that gets a status; `task` is the row as it was before."""
    event = _OF_STATUS.get(status)
    if event is None or event not in transaction.audience:
        return
    begins = status is TaskStatus.IN_PROGRESS and not task.is_container
    facts = {"status": status, "before": task.status, "attempt": task.attempts + begins}
    tell(transaction, event, session_id=task.session_id, task=task, facts=facts)


def tell(
    transaction: Transaction,
    event: CallbackEvent,
    *,
    session_id: str | None = None,
    task: Task | None = None,
    facts: Mapping[str, object],
) -> None:
    """Write a row for each target that is registered for an event.

    Args:
        transaction: of the change that is told of.
        event: which.
        session_id: whose it is.
        task: what it is about.
        facts: what else is told, as JSON can carry it; no secret, and no text that somebody else wrote.
    """
    for target in transaction.audience.get(event, ()):
        identifier = f"callback_{transaction.mint()}{transaction.mint()}"
        lane = (session_id or "") if task is None else task.id
        body: dict[str, object] = {"id": identifier, "event": event, "at": transaction.now, "session_id": session_id}
        if task is not None:
            body["task"] = {
                "id": task.id,
                "title": task.title[:_TITLE_MAX],
                "type": task.task_type,
                "specialist": task.specialist,
                "container": task.is_container,
            }
        waits = transaction.execute(
            "SELECT 1 FROM callback WHERE target=? AND lane=? AND status='pending' LIMIT 1", (target, lane)
        ).fetchone()
        transaction.execute(
            "INSERT INTO callback(id, target, event, session_id, task_id, lane, body, due, created)"
            " VALUES (?,?,?,?,?,?,?,?,?)",
            (
                identifier, target, event, session_id, None if task is None else task.id, lane,
                json.dumps({**body, **facts}, ensure_ascii=False), None if waits else transaction.now, transaction.now,
            ),
        )  # fmt: skip
