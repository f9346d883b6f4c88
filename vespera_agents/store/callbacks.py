"""Callbacks as rows, and how they are read. Functions of a connection; `outbox` writes the rows."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

from vespera_agents.store.outbox import CallbackEvent, CallbackStatus
from vespera_agents.store.rows import Row

__all__ = [
    "CallbackRow",
    "callback",
    "callback_backlog",
    "callback_counts",
    "callbacks",
    "deadlines_near",
    "due_callbacks",
    "held_by_others",
    "next_due",
    "registered_targets",
]

_COLUMNS: Final = (
    "seq, id, target, event, session_id, task_id, body, status, due, holder, attempts, failures, problem,"
    " created, ended"
)
_STATUS: Final = 7
"""The place of the status in it."""
_UNFINISHED: Final = "status IN ('pending', 'in_progress', 'blocked', 'review')"
"""Letter by letter as the index `task_due` has it, or SQLite does not use it."""


@final
@dataclass(frozen=True, slots=True)
class CallbackRow:
    """One event for one target."""

    seq: int
    id: str
    target: str
    event: str
    session_id: str | None
    task_id: str | None
    body: str
    """The bytes that are sent, as text; the same at every attempt."""
    status: CallbackStatus
    due: float | None
    """When it may be sent, in seconds since the epoch; None behind another one of its task."""
    holder: str | None
    """Who sends it right now."""
    attempts: int
    """How often it was sent, or was about to be when somebody died."""
    failures: int
    """How many of these are known to have failed."""
    problem: str | None
    """What the last failure was."""
    created: float
    ended: float | None


def due_callbacks(connection: sqlite3.Connection, target: str, now: float, limit: int) -> list[CallbackRow]:
    """Read what may be sent to a target now, what is due longest first."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM callback WHERE target=? AND due <= ? AND holder IS NULL ORDER BY due, seq LIMIT ?",
        (target, now, limit),
    ).fetchall()
    return [_callback_of(row) for row in rows]


def next_due(connection: sqlite3.Connection, target: str) -> float | None:
    """Say when the next one for a target is due."""
    row = connection.execute(
        "SELECT min(due) FROM callback WHERE target=? AND due IS NOT NULL AND holder IS NULL", (target,)
    ).fetchone()
    return None if row[0] is None else float(row[0])


def held_by_others(connection: sqlite3.Connection, target: str, holder: str) -> bool:
    """Say whether somebody else was about to send something to a target."""
    row = connection.execute(
        "SELECT 1 FROM callback WHERE target=? AND holder IS NOT NULL AND holder != ? LIMIT 1", (target, holder)
    ).fetchone()
    return row is not None


def registered_targets(connection: sqlite3.Connection) -> dict[str, tuple[str, ...]]:
    """Read which events each registered target is told of."""
    rows = connection.execute("SELECT name, events FROM callback_target ORDER BY name").fetchall()
    return {str(name): tuple(str(events).split()) for name, events in rows}


def callback(connection: sqlite3.Connection, reference: str) -> list[CallbackRow]:
    """Find callbacks by id or its beginning, with or without `callback_`; two at most."""
    prefix = reference if reference.startswith("callback_") else f"callback_{reference}"
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM callback WHERE id >= ? AND id < ? ORDER BY id LIMIT 2", (prefix, f"{prefix}g")
    ).fetchall()
    return [_callback_of(row) for row in rows]


def callbacks(
    connection: sqlite3.Connection, statuses: Sequence[CallbackStatus], target: str | None, limit: int
) -> list[CallbackRow]:
    """Read callbacks of these statuses, the newest first."""
    found: list[CallbackRow] = []
    for status in statuses:
        rows = connection.execute(
            f"SELECT {_COLUMNS} FROM callback WHERE status=?1 AND (?2 IS NULL OR +target=?2)"
            " ORDER BY seq DESC LIMIT ?3",
            (status, target, limit),
        ).fetchall()
        found += [_callback_of(row) for row in rows]
    return sorted(found, key=lambda one: -one.seq)[:limit]


def callback_counts(connection: sqlite3.Connection) -> dict[tuple[str, CallbackStatus], int]:
    """Count the callbacks of each target by what became of them."""
    rows = connection.execute("SELECT target, status, count(*) FROM callback GROUP BY target, status").fetchall()
    return {(str(target), CallbackStatus(status)): int(number) for target, status, number in rows}


def callback_backlog(connection: sqlite3.Connection) -> tuple[int, float | None]:
    """Count what waits to be delivered, and say since when the oldest of it does."""
    number = connection.execute("SELECT count(*) FROM callback WHERE status='pending'").fetchone()[0]
    row = connection.execute("SELECT created FROM callback WHERE status='pending' ORDER BY seq LIMIT 1").fetchone()
    return int(number), None if row is None else float(row[0])


def deadlines_near(connection: sqlite3.Connection, before: float, limit: int) -> list[str]:
    """List tasks whose work is not over, that are due before a time, and of which nobody was told yet."""
    rows = connection.execute(
        f"SELECT id FROM task WHERE due <= ? AND {_UNFINISHED} AND NOT EXISTS (SELECT 1 FROM callback_once"
        " WHERE what=? AND subject = task.id || '@' || task.due) ORDER BY due LIMIT ?",
        (before, CallbackEvent.DEADLINE_NEAR, limit),
    ).fetchall()
    return [str(row[0]) for row in rows]


def _callback_of(row: Row) -> CallbackRow:
    fields = list(row)
    fields[_STATUS] = CallbackStatus(row[_STATUS])
    return CallbackRow(*fields)
