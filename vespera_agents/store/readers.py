"""The reading side of the store: queries in threads, each on a read-only connection of its own.

Readers see committed state only and never wait for the writer. At most READERS_MAX queries run at once; a connection
is opened when it is first needed and kept. Neighbours: `queries` is what they run, `store` opens and closes them.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final, TypeVar, cast, final

import trio
from outcome import Outcome
from trio.lowlevel import current_trio_token, start_thread_soon

from vespera_agents.store.errors import StoreClosed
from vespera_agents.store.holding import FileIdentity, identity_of, lost
from vespera_agents.store.parking import Awaited, run_soon
from vespera_agents.store.schema import check_version
from vespera_agents.store.writer import connect

__all__ = ["READERS_MAX", "Readers"]

R = TypeVar("R")

READERS_MAX: Final = 4
"""Reading connections, and so reading threads, of one store."""
GIVE_WAY_SECONDS: Final = 0.0005
"""How long the loop stands aside at most for a query. To be woken by the thread takes as long as most queries do, and a
loop that goes on meanwhile takes the interpreter back after each of its steps."""
_STEPS_BETWEEN_LOOKS: Final = 10_000
"""Steps of SQLite's machine, about a tenth of a millisecond, after which a query looks whether anybody still waits."""


@final
class _Reading(Awaited):
    """A query on its way through a thread, which has a token of the limiter as long as it runs."""

    __slots__ = ("_done", "_limiter", "_standing_aside", "_token")

    def __init__(self, limiter: trio.CapacityLimiter) -> None:
        super().__init__()
        self._limiter: trio.CapacityLimiter | None = limiter
        self._token = current_trio_token()
        self._done = threading.Lock()
        """Released by the thread when its outcome stands."""
        self._done.acquire()
        self._standing_aside = True
        """Whether the loop waits for the thread right now, and settles what comes of it by itself."""

    def is_abandoned(self) -> bool:
        """Say whether nobody waits any more; SQLite asks it in the thread."""
        return self.waiter is None

    def deliver(self, outcome: Outcome[object]) -> None:
        """Keep what the query came to, in the thread."""
        self.outcome = outcome
        self._done.release()
        if not self._standing_aside:
            run_soon(self._token, self._settle)

    def stand_aside(self) -> None:
        """Give the thread the interpreter for a bounded moment: most queries are over in a tenth of it."""
        done = self._done.acquire(timeout=GIVE_WAY_SECONDS)
        # In this order: what is delivered while it is set is settled here, whatever comes later is announced.
        self._standing_aside = False
        if done or self._done.acquire(blocking=False):
            self._settle()

    def _settle(self) -> None:
        if self._limiter is not None:
            self._limiter.release_on_behalf_of(self)
            self._limiter = None
            self.tell()


@final
class Readers:
    """The reading connections of one database."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._path = str(database)
        self._file: FileIdentity | None = None
        self._limiter = trio.CapacityLimiter(READERS_MAX)
        self._lock = threading.Lock()
        self._idle: list[sqlite3.Connection] = []
        self._open = False

    def open(self, file: FileIdentity | None) -> None:
        """Keep connections from now on, to this file and no other."""
        self._file = file
        self._open = True

    def same_file(self) -> bool:
        """Say whether the database is the file that was opened last; also before it was opened."""
        return self._file is None or identity_of(self._path) == self._file

    def close(self) -> None:
        """Close the idle connections now, and each busy one as soon as its query ends."""
        with self._lock:
            self._open = False
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    async def read(self, query: Callable[..., R], *arguments: object) -> R:
        """Run a query in a thread and give what it returns; when the caller is cancelled the query is interrupted.

        Raises:
            sqlite3.Error: the database cannot be read.
            StoreUnavailable: it cannot be opened.
            StoreLost: it was removed or replaced.
            SchemaTooNew: a newer version has migrated it.
            StoreClosed: the readers were closed before the query began.
        """
        reading = _Reading(self._limiter)
        # The limiter's token stays with the thread: an abandoned query counts until it has really ended.
        await self._limiter.acquire_on_behalf_of(reading)
        try:
            start_thread_soon(partial(self._run, reading, query, arguments), reading.deliver, "vespera-reader")
        except RuntimeError:
            # No thread can be had.
            self._limiter.release_on_behalf_of(reading)
            raise
        reading.stand_aside()
        return cast("R", await reading.answer())

    def _run(self, reading: _Reading, query: Callable[..., R], arguments: tuple[object, ...]) -> R:
        if not self.same_file():
            raise lost(self._path)
        connection = self._take()
        try:
            # Not connection.interrupt(): between two statements it stops nothing, and it might come after the end.
            connection.set_progress_handler(reading.is_abandoned, _STEPS_BETWEEN_LOOKS)
            # One transaction, so that several statements of a query see one state.
            connection.execute("BEGIN")
            check_version(connection)
            return query(connection, *arguments)
        finally:
            connection.set_progress_handler(None, 0)
            if connection.in_transaction:
                connection.rollback()
            self._give_back(connection)

    def _take(self) -> sqlite3.Connection:
        with self._lock:
            if not self._open:
                raise StoreClosed("the store was stopped before it came to this query. Try again.")
            if self._idle:
                return self._idle.pop()
        return connect(self._database, read_only=True)

    def _give_back(self, connection: sqlite3.Connection) -> None:
        with self._lock:
            if self._open:
                self._idle.append(connection)
                return
        connection.close()
