"""What a writer must still have in order to write: its file, a schema that it knows, and the ownership of its front.

A file that was removed takes every commit with it, a newer version may have changed what rows mean, and a worker that
was taken for dead may wake up beside its successor. All three are looked at in the transaction of each batch, where
nobody else can change the last two. Not the writing (`writer`). Source: DESIGN "Front and worker", rules 3, 5 and 14.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

from vespera_agents.store.errors import Fenced, StoreLost
from vespera_agents.store.schema import check_version

__all__ = ["FileIdentity", "Holding", "Owner", "identity_of", "lost"]

FileIdentity = tuple[int, int]
"""A device and an inode."""
TICK_NANOSECONDS: Final = 50_000_000
"""Far above the grain of a good file system's times, which is that of a timer on Linux before 6.13: 1 to 10 ms."""
_HUNDREDTH: Final = 10_000_000


def _nothing(*_: object) -> None:
    """Do what a process does that goes on without its store, and has nothing to look at in it."""


@final
@dataclass(frozen=True, slots=True)
class Owner:
    """Who writes for a front: one generation of its workers after the other, and never two."""

    front: str
    """The front's id, which is its server's id and the origin of the keys that it gives."""
    generation: int
    """Counts its workers."""
    on_fenced: Callable[[], None] = _nothing
    """Called in the trio thread, once, when a newer generation has taken over: this process serves nobody any more."""
    on_taken: Callable[[sqlite3.Connection], None] = _nothing
    """Called in the writing thread when the database is open and nobody is served yet, to read what stands in it."""


@final
class Holding:
    """What one writing connection holds."""

    __slots__ = ("_database", "_directory", "_files", "_listing", "_log", "_owner", "_seen")

    def __init__(self, database: Path, owner: Owner | None) -> None:
        """Name the file, and for whom it is written."""
        self._database = str(database)
        self._log = f"{database}-wal"
        self._directory = str(database.parent)
        self._owner = owner
        self._files: tuple[FileIdentity | None, FileIdentity | None] = (None, None)
        self._listing: tuple[int, int, int] | None = None
        """Their directory as it was when both had their names; None where it had just changed."""
        self._seen = -1
        """The state of the database that was looked at last; it changes with each commit of another connection."""

    def take(self, connection: sqlite3.Connection) -> None:
        """Hold the database from now on.

        A worker becomes its owner only when it writes: one that dies before it serves leaves its predecessor, which
        then serves on, the right to.

        Raises:
            Fenced: a newer generation is the owner.
            StoreLost: the file is gone already.
        """
        self._check_owner(connection)
        self._files = (identity_of(self._database), identity_of(self._log))
        if self._files[0] is None:
            raise lost(self._database)
        if self._owner is not None:
            self._owner.on_taken(connection)

    @property
    def file(self) -> FileIdentity | None:
        """Which file the database is."""
        return self._files[0]

    @property
    def takes_over(self) -> bool:
        """Whether another process wrote for the same front before."""
        return self._owner is not None and self._owner.generation > 1

    def check_files(self) -> None:
        """Look whether what is about to be committed goes into files that still have their names.

        The files themselves are asked only where their directory has changed: since Linux 6.13 the next write to a file
        whose times were asked for notes its own precisely, and to sync that, too, makes a commit a third longer.

        Raises:
            StoreLost: it does not.
        """
        listing = _listing_of(self._directory)
        if listing is not None and listing == self._listing:
            return
        # Judged before the names are looked at. Where a link leads to the database, they are elsewhere.
        is_told = listing is not None and _tells_the_next(listing[2]) and not os.path.islink(self._database)  # noqa: PTH114
        if (identity_of(self._database), identity_of(self._log)) != self._files:
            raise lost(self._database)
        self._listing = listing if is_told else None

    def check(self, connection: sqlite3.Connection) -> bool:
        """Look, inside a writing transaction, whether we may write, and own the database from then on.

        Costs one statement unless others have written; says whether they may have.

        Raises:
            SchemaTooNew, Fenced: we may not.
        """
        seen: int = connection.execute("PRAGMA data_version").fetchone()[0]
        if seen == self._seen:
            return False
        owner, newest = self._owner, self.check_rights(connection)
        if owner is not None and newest < owner.generation:
            connection.execute(
                "INSERT INTO owner(front, generation) VALUES (?,?)"
                " ON CONFLICT(front) DO UPDATE SET generation = excluded.generation",
                (owner.front, owner.generation),
            )
        self._seen = seen
        return True

    def check_rights(self, connection: sqlite3.Connection) -> int:
        """Look, inside a writing transaction, whether we may write; gives the newest generation that wrote, or 0.

        Raises:
            SchemaTooNew: a newer version has migrated the database.
            Fenced: a newer generation has taken over.
        """
        check_version(connection)
        return self._check_owner(connection)

    def doubt(self) -> None:
        """Look at everything again: the transaction of the last look was rolled back, and what it wrote with it."""
        self._seen = -1

    def _check_owner(self, connection: sqlite3.Connection) -> int:
        owner = self._owner
        if owner is None:
            return 0
        row = connection.execute("SELECT generation FROM owner WHERE front=?", (owner.front,)).fetchone()
        newest = 0 if row is None else int(row[0])
        if newest > owner.generation:
            raise Fenced(
                f"generation {owner.generation} of the server {owner.front} was replaced by generation {newest} and "
                "writes no more. Its process ends; send the call again."
            )
        return newest


def identity_of(path: str) -> FileIdentity | None:
    """Say which file has that name, None if there is none."""
    try:
        status = os.stat(path)  # noqa: PTH116 - for every batch and every query, and a Path takes three times as long
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _listing_of(directory: str) -> tuple[int, int, int] | None:
    """Say which directory has that name, and when an entry of it changed last; None if there is none."""
    try:
        status = os.stat(directory)  # noqa: PTH116 - for every batch
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_ctime_ns


def _tells_the_next(changed: int) -> bool:
    """Say whether one more change of a directory would give it another time than this, in nanoseconds.

    Not within the tick of a coarse clock, nor on a file system that keeps hundredths, whole or even seconds.
    """
    return changed % _HUNDREDTH != 0 and abs(time.time_ns() - changed) > TICK_NANOSECONDS


def lost(database: str) -> StoreLost:
    """Say that the database is not where it was."""
    return StoreLost(
        f"{database} was removed or replaced while it was open, and what it held is gone with it. Nothing was kept of "
        "this call. If you have a copy put it back; the next call uses what is there, or begins an empty workspace."
    )
