"""Ids by their beginning: what somebody may mean who has typed a part of one. Functions of a connection.

A long beginning is looked up in the index of the ids; a short one fits so many that only recent rows are looked at, so
that no keystroke reads a large store. Not how one row is found by a prefix that should be unique (`queries`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

from vespera_agents.store.rows import Row

__all__ = ["MATCHES_MAX", "Matches", "artifact_hashes", "session_ids", "task_ids"]

MATCHES_MAX: Final = 100
"""Ids in one answer."""
LOOKED_AT_MAX: Final = 2_000
"""Rows that are looked at for one answer: some 4 ms."""
SESSIONS_MAX: Final = 20
"""Sessions whose tasks are looked at when none is named."""
_LONG: Final = 3
"""Digits of a beginning that fits one task in 4,096: a million tasks leave 244."""
_TASK: Final = "task_"
_SESSION: Final = "session_"
_READY: Final = "ready"
_CONTAINER: Final = "container"
_ORDER: Final = (
    *("in_progress", "review", _READY, "blocked", "pending"),
    _CONTAINER,
    *("failed", "completed", "cancelled", "archived"),
)
"""What comes first where nothing else is likelier; nobody works on a live container itself."""
_LIVE: Final = frozenset({"in_progress", "review", "blocked", "pending"})
_STATUSES: Final = ("in_progress", "review", "blocked", "pending", "failed", "completed", "cancelled", "archived")


@final
@dataclass(frozen=True, slots=True)
class Matches:
    """Ids that begin so, those first that are most likely meant."""

    values: tuple[str, ...]
    total: int | None
    """How many there are; None where nobody counted them."""
    has_more: bool


def task_ids(
    connection: sqlite3.Connection, beginning: str, session_id: str | None = None, likely: Sequence[str] = ()
) -> Matches:
    """Find tasks by the beginning of their id, with or without `task_`.

    Args:
        connection: where to read.
        beginning: may be empty.
        session_id: only tasks of this session.
        likely: statuses in the order in which they come first, `ready` for a task that can be claimed now; the rest
            follow, live ones first.
    """
    digits = _digits(beginning, _TASK)
    if digits is None:
        return Matches((), 0, has_more=False)
    rank = {status: number for number, status in enumerate(dict.fromkeys([*likely, *_ORDER]))}
    if len(digits) >= _LONG:
        rows, complete = _by_id(connection, digits, session_id)
    else:
        rows, complete = _recent(connection, digits, session_id)
    # The sort is stable: within one rank the order of the rows stays.
    found = [str(row[0]) for row in sorted(rows, key=lambda row: rank[_standing(row)])]
    return _matches(found, complete=complete)


def session_ids(connection: sqlite3.Connection, beginning: str) -> Matches:
    """Find sessions by the beginning of their id, with or without `session_`: open ones first, then the newest."""
    digits = _digits(beginning, _SESSION)
    if digits is None:
        return Matches((), 0, has_more=False)
    rows: list[Row] = connection.execute(
        "SELECT id FROM session WHERE id >= ? AND id < ? ORDER BY status <> 'open', created DESC, id LIMIT ?",
        (f"{_SESSION}{digits}", f"{_SESSION}{digits}g", LOOKED_AT_MAX + 1),
    ).fetchall()
    return _matches([str(row[0]) for row in rows[:LOOKED_AT_MAX]], complete=len(rows) <= LOOKED_AT_MAX)


def artifact_hashes(connection: sqlite3.Connection, beginning: str) -> Matches:
    """Find artifacts by the beginning of their content hash, the newest first."""
    digits = _digits(beginning, "")
    if digits is None:
        return Matches((), 0, has_more=False)
    if len(digits) >= _LONG:
        rows: list[Row] = connection.execute(
            "SELECT sha256, max(seq) FROM artifact WHERE sha256 >= ? AND sha256 < ? GROUP BY sha256 LIMIT ?",
            (digits, f"{digits}g", LOOKED_AT_MAX + 1),
        ).fetchall()
        rows.sort(key=lambda row: -int(row[1]))
    else:
        rows = connection.execute(
            "SELECT sha256 FROM artifact ORDER BY seq DESC LIMIT ?", (LOOKED_AT_MAX + 1,)
        ).fetchall()
    found = [str(row[0]) for row in rows[:LOOKED_AT_MAX] if str(row[0]).startswith(digits)]
    return _matches(list(dict.fromkeys(found)), complete=len(rows) <= LOOKED_AT_MAX)


def _by_id(connection: sqlite3.Connection, digits: str, session_id: str | None) -> tuple[list[Row], bool]:
    """Look into the index of the ids."""
    rows: list[Row] = connection.execute(
        "SELECT id, status, children, open_dependencies, session_id FROM task WHERE id >= ? AND id < ?"
        " ORDER BY id LIMIT ?",
        (f"{_TASK}{digits}", f"{_TASK}{digits}g", LOOKED_AT_MAX + 1),
    ).fetchall()
    mine = [row for row in rows[:LOOKED_AT_MAX] if session_id in {None, row[4]}]
    return mine, len(rows) <= LOOKED_AT_MAX


def _recent(connection: sqlite3.Connection, digits: str, session_id: str | None) -> tuple[list[Row], bool]:
    """Look at the newest tasks of each status, in one session or in the newest ones."""
    sessions, complete = [session_id], True
    if session_id is None:
        rows: list[Row] = connection.execute(
            "SELECT id FROM session ORDER BY status <> 'open', created DESC, id LIMIT ?", (SESSIONS_MAX + 1,)
        ).fetchall()
        sessions, complete = [str(row[0]) for row in rows[:SESSIONS_MAX]], len(rows) <= SESSIONS_MAX
    found: list[Row] = []
    room = LOOKED_AT_MAX
    for one in sessions:
        for status in _STATUSES:
            rows = connection.execute(
                "SELECT id, status, children, open_dependencies FROM task WHERE session_id=? AND status=?"
                " ORDER BY seq DESC LIMIT ?",
                (one, status, room + 1),
            ).fetchall()
            complete = complete and len(rows) <= room
            found.extend(row for row in rows[:room] if str(row[0]).startswith(f"{_TASK}{digits}"))
            room = max(0, room - len(rows))
    return found, complete


def _standing(row: Row) -> str:
    """Give the status of a row, `ready` for what can be claimed, `container` for what others do."""
    status, children, waits_for = str(row[1]), int(row[2]), int(row[3])
    if children and status in _LIVE:
        return _CONTAINER
    return _READY if status == "pending" and not waits_for else status


def _digits(beginning: str, prefix: str) -> str | None:
    """Give the hexadecimal digits of a beginning, None where no id begins so."""
    text = beginning.strip().lower()
    if prefix.startswith(text):
        return ""
    text = text.removeprefix(prefix)
    return text if all(character in "0123456789abcdef" for character in text) else None


def _matches(found: list[str], *, complete: bool) -> Matches:
    more = len(found) > MATCHES_MAX or not complete
    return Matches(tuple(found[:MATCHES_MAX]), len(found) if complete else None, has_more=more)
