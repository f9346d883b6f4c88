"""What the database is asked at a scrape: tasks and callbacks that wait, and which workers a front has had.

A short-lived connection that can only read, and that makes no file: where the store is not open there is nothing to
ask. It waits for nobody longer than a moment. Neighbours: `store.queries` and `store.lifecycle` have the statements.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

from vespera_agents.store import StoreUnavailable, lifecycle, queries
from vespera_agents.store.callbacks import callback_backlog

__all__ = ["Backlog", "read_backlog", "size_bytes"]

BUSY_SECONDS: Final = 0.25
"""How long a scrape waits for a database that somebody holds exclusively."""
_BESIDE: Final = ("", "-wal")


@final
@dataclass(frozen=True, slots=True)
class Backlog:
    """The tasks of one workspace at one moment, containers aside, and the lives of the workers of one front."""

    counts: tuple[tuple[str, str, int], ...] = ()
    """Status, specialist and number; a pair may stand there twice."""
    oldest: tuple[tuple[str, float], ...] = ()
    """Live status, and since when its oldest task has stood there, in seconds since the epoch."""
    generations: tuple[tuple[str, int], ...] = ()
    """Why workers of the front began, and how many did."""
    restarts: tuple[tuple[int | None, tuple[tuple[str, float], ...]], ...] = ()
    """Of each restart of the front that was asked for: which generation took over, and the seconds of each phase."""
    callbacks: int = 0
    """Callbacks that wait to be delivered."""
    callbacks_since: float | None = None
    """Since when the oldest of them does, in seconds since the epoch."""


def read_backlog(database: Path, front: str | None = None) -> Backlog:
    """Read a workspace's backlog.

    Args:
        database: where it is.
        front: the id of the front whose workers are told of; none without one.

    Raises:
        StoreUnavailable: the database is not open, is held, or is not readable.
    """
    # Without its shared memory the database is open nowhere, and even a reader would make the file anew.
    if not database.with_name(f"{database.name}-shm").exists():
        raise StoreUnavailable(f"{database} is not open. Look at the workspace's store in `vespera tree`.")
    try:
        connection = sqlite3.connect(
            f"{database.as_uri()}?mode=ro", uri=True, timeout=BUSY_SECONDS, isolation_level=None
        )
        with closing(connection):
            # One transaction, so that all questions see one state.
            connection.execute("BEGIN")
            counts = queries.status_counts(connection)
            oldest = queries.oldest_waiting(connection)
            generations = [] if front is None else lifecycle.generation_counts(connection, front)
            restarts = [] if front is None else lifecycle.restart_phases(connection, front)
            callbacks, since = callback_backlog(connection)
    except sqlite3.Error as error:
        raise StoreUnavailable(f"{database} cannot be read: {error}. The next scrape tries again.") from error
    waiting = tuple((status, role, number) for status, role, _, number in counts)
    return Backlog(waiting, tuple(oldest), tuple(generations), tuple(restarts), callbacks, since)


def size_bytes(database: Path) -> int:
    """Give the bytes of a database and of its write-ahead log; a file that is not there has none."""
    total = 0
    for suffix in _BESIDE:
        try:
            total += database.with_name(f"{database.name}{suffix}").stat().st_size
        except OSError:
            continue
    return total
