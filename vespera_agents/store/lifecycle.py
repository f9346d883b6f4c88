"""The lives of workers behind a front, and the restarts that were asked for, as rows, and how they are read.

A front is told by its server id, which is the same for all of its workers; each worker is one generation. Not here: how
rows change (`commands.lifecycle`), how a worker is replaced (`vespera_agents.front`).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, final

from vespera_agents.store.rows import Row

__all__ = [
    "GENERATION_COLUMNS",
    "RESTART_COLUMNS",
    "Generation",
    "Restart",
    "RestartStatus",
    "generation",
    "generation_counts",
    "generation_of",
    "generations",
    "last_restart",
    "prepared_since",
    "restart",
    "restart_of",
    "restart_phases",
    "restarts",
]

GENERATION_COLUMNS: Final = "front, number, reason, pid, version, surface, started, ended, ending"
RESTART_COLUMNS: Final = (
    "seq, front, generation, actor, reason, mode, preserve_state, asked, status, following, ended, phases,"
    " left_behind, handed_over, error"
)


class RestartStatus(StrEnum):
    """What came of a restart that was asked for."""

    ASKED = "asked"
    DONE = "done"
    FAILED = "failed"


@final
@dataclass(frozen=True, slots=True)
class Generation:
    """One worker of a front."""

    front: str
    number: int
    reason: str | None
    """Why it began: start, crash, wedged or restart; None for one that was never ready."""
    pid: int | None
    version: str | None
    surface: Mapping[str, str]
    """What its lists held, by list, as hashes; empty where that is not known."""
    started: float | None
    """Seconds since the epoch."""
    ended: float | None
    ending: str | None
    """What it died of; None for one that was replaced on request, or lives."""


@final
@dataclass(frozen=True, slots=True)
class Restart:
    """One restart that somebody asked for."""

    seq: int
    front: str
    generation: int
    """The one that was to be replaced."""
    actor: str
    reason: str
    mode: str
    preserve_state: bool
    asked: float
    """Seconds since the epoch."""
    status: RestartStatus
    following: int | None
    """The generation that took over."""
    ended: float | None
    phases: tuple[tuple[str, float], ...]
    """Each with the seconds that it took, in order."""
    left_behind: Mapping[str, Any]
    """What the old worker could not end in time, as it said itself."""
    handed_over: Mapping[str, Any]
    """What the new one took over, and what it had to make anew."""
    error: str | None


def generation_of(row: Row) -> Generation:
    """Read a row of GENERATION_COLUMNS."""
    front, number, reason, pid, version, surface, started, ended, ending = row
    held: dict[str, str] = json.loads(surface) if surface else {}
    return Generation(front, number, reason, pid, version, held, started, ended, ending)


def restart_of(row: Row) -> Restart:
    """Read a row of RESTART_COLUMNS."""
    seq, front, number, actor, reason, mode, preserve, asked, status, following, ended, phases, left, handed, error = (
        row
    )
    return Restart(
        seq,
        front,
        number,
        actor,
        reason,
        mode,
        bool(preserve),
        asked,
        RestartStatus(status),
        following,
        ended,
        tuple((str(name), float(seconds)) for name, seconds in json.loads(phases)),
        json.loads(left),
        json.loads(handed),
        error,
    )


def generation(connection: sqlite3.Connection, front: str, number: int) -> Generation | None:
    """Give one worker of a front; None when nothing was written of it."""
    row = connection.execute(
        f"SELECT {GENERATION_COLUMNS} FROM generation WHERE front=? AND number=?", (front, number)
    ).fetchone()
    return None if row is None else generation_of(row)


def generations(connection: sqlite3.Connection, limit: int) -> list[Generation]:
    """List the workers of every front of the workspace, the newest first."""
    rows = connection.execute(
        f"SELECT {GENERATION_COLUMNS} FROM generation ORDER BY seq DESC LIMIT ?", (limit,)
    ).fetchall()
    return [generation_of(row) for row in rows]


def generation_counts(connection: sqlite3.Connection, front: str) -> list[tuple[str, int]]:
    """Count the workers of a front by why they began, as far as they are remembered; empty of those that never said."""
    return connection.execute(
        "SELECT coalesce(reason, ''), count(*) FROM generation WHERE front=? GROUP BY reason", (front,)
    ).fetchall()


def restart_phases(
    connection: sqlite3.Connection, front: str
) -> list[tuple[int | None, tuple[tuple[str, float], ...]]]:
    """List the restarts of a front that are remembered: who took over, and the seconds of each phase."""
    rows = connection.execute("SELECT following, phases FROM restart WHERE front=? ORDER BY seq", (front,)).fetchall()
    return [
        (following, tuple((str(name), float(seconds)) for name, seconds in json.loads(phases)))
        for following, phases in rows
    ]


def restart(connection: sqlite3.Connection, seq: int) -> Restart | None:
    """Give one restart; None when its row was pruned."""
    row = connection.execute(f"SELECT {RESTART_COLUMNS} FROM restart WHERE seq=?", (seq,)).fetchone()
    return None if row is None else restart_of(row)


def restarts(connection: sqlite3.Connection, limit: int) -> list[Restart]:
    """List the restarts that were asked for in the workspace, the newest first."""
    rows = connection.execute(f"SELECT {RESTART_COLUMNS} FROM restart ORDER BY seq DESC LIMIT ?", (limit,)).fetchall()
    return [restart_of(row) for row in rows]


def last_restart(connection: sqlite3.Connection, front: str) -> Restart | None:
    """Give the last restart that was asked for of a front; None when there was none."""
    row = connection.execute(
        f"SELECT {RESTART_COLUMNS} FROM restart WHERE front=? ORDER BY seq DESC LIMIT 1", (front,)
    ).fetchone()
    return None if row is None else restart_of(row)


def prepared_since(connection: sqlite3.Connection, server: str) -> float | None:
    """Say since when the shutdown of a server is prepared, for a worker that begins, in seconds since the epoch.

    None when it is not, or when the worker is the outcome of a restart, which ends it.
    """
    row = connection.execute(
        "SELECT at FROM shutdown WHERE server=?1"
        " AND NOT EXISTS (SELECT 1 FROM restart WHERE front=?1 AND status='asked')",
        (server,),
    ).fetchone()
    return None if row is None else float(row[0])
