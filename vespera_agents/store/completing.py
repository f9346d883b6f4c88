"""Ids by their beginning: what somebody may mean who has typed a part of one. Functions of a connection.

A long beginning is looked up in the index of the ids; a short one fits so many that only recent rows are looked at, so
that no keystroke reads a large store. Not how one row is found by a prefix that should be unique (`queries`).
"""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, final

from vespera_agents.store.rows import Row

__all__ = ["MATCHES_MAX", "Matches", "artifact_hashes", "session_ids", "task_ids"]

MATCHES_MAX: Final = 100
"""Ids in one answer."""
LOOKED_AT_MAX: Final = 2_000
"""Rows that are looked at for one answer: some 4 ms."""
_LONG: Final = 3
"""Digits of a beginning that fits one task in 4,096: a million tasks leave 244."""
_FEW: Final = 20
"""Rows of one cell that are looked at in any case."""
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
    order = {standing: number for number, standing in enumerate(dict.fromkeys([*likely, *_ORDER]))}
    if len(digits) >= _LONG:
        return _by_id(connection, digits, session_id, order)
    return _along_cells(connection, digits, session_id, order)


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


def _by_id(connection: sqlite3.Connection, digits: str, session_id: str | None, order: Mapping[str, int]) -> Matches:
    """Look into the index of the ids."""
    rows: list[Row] = connection.execute(
        "SELECT id, status, children > 0, status = 'pending' AND children = 0 AND open_dependencies = 0, session_id"
        " FROM task WHERE id >= ? AND id < ? ORDER BY id LIMIT ?",
        (f"{_TASK}{digits}", f"{_TASK}{digits}g", LOOKED_AT_MAX + 1),
    ).fetchall()
    mine = [row for row in rows[:LOOKED_AT_MAX] if session_id in {None, row[4]}]
    # The sort is stable: within one standing the order of the ids stays.
    mine.sort(key=lambda row: order[_standing(row)])
    return _matches([str(row[0]) for row in mine], complete=len(rows) <= LOOKED_AT_MAX)


def _along_cells(
    connection: sqlite3.Connection, digits: str, session_id: str | None, order: Mapping[str, int]
) -> Matches:
    """Look at the newest tasks of each standing, the likeliest standing first, until there are enough."""
    cells: list[Row] = connection.execute(
        "SELECT id, status, container, ready, n FROM cell WHERE n > 0 AND (?1 IS NULL OR session_id = ?1)",
        (session_id,),
    ).fetchall()
    cells.sort(key=lambda row: order[_standing(row)])
    found: list[str] = []
    room, everything = LOOKED_AT_MAX, sum(int(row[4]) for row in cells)
    for _, group in itertools.groupby(cells, _standing):
        some = list(group)
        rows: list[Row] = []
        for cell in some:
            # Of many cells a few tasks each; the newest ones of all of them are put in order below.
            rows += connection.execute(
                "SELECT task.id, task.seq FROM cell_task CROSS JOIN task USING (seq) WHERE cell = ?"
                " ORDER BY cell_task.seq DESC LIMIT ?",
                (cell[0], room // len(some) + _FEW),
            ).fetchall()
        rows.sort(key=lambda row: -int(row[1]))
        room -= len(rows)
        found += [str(row[0]) for row in rows if str(row[0]).startswith(f"{_TASK}{digits}")]
        if room <= 0 or len(found) > MATCHES_MAX:
            break
    if not digits:
        # All of them begin so, and the cells have counted them.
        return Matches(tuple(found[:MATCHES_MAX]), everything, has_more=everything > MATCHES_MAX)
    return _matches(found, complete=LOOKED_AT_MAX - room == everything)


def _standing(row: Row) -> str:
    """Give the status of a row, `ready` for what can be claimed, `container` for what others do."""
    status, container, ready = str(row[1]), bool(row[2]), bool(row[3])
    if container and status in _LIVE:
        return _CONTAINER
    return _READY if ready else status


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
