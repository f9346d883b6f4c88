"""The one writing thread of a process, and its group commit.

The thread waits for a submission, takes what else has queued up meanwhile, applies all of it in one transaction,
commits once, and only then answers. A command that is refused takes nothing else with it: nearly all are refused
before they wrote anything; where one had written, the batch is rolled back and applied again with a savepoint per
command. (Savepoints from the start cost a fifth of the rate: SQLite copies every page that changes inside one.)
Not here: what commands do (`commands/`), who submits them (`store`). Source: DESIGN "Durable work"; a long-lived
thread with a SimpleQueue in and `TrioToken.run_sync_soon` out costs half of a thread hop per command.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final, final

from outcome import Error, Value

from vespera_agents.store.artifacts import ArtifactFiles
from vespera_agents.store.derived import index_words, spaced_words
from vespera_agents.store.errors import Fenced, StoreError, StoreLost, StoreUnavailable
from vespera_agents.store.holding import FileIdentity, Holding, Owner
from vespera_agents.store.outbox import read_audience
from vespera_agents.store.parking import Awaited
from vespera_agents.store.records import Forgettable, apply_once
from vespera_agents.store.schema import migrate
from vespera_agents.store.transaction import Command, CommandKey, StatusChange, Transaction

__all__ = ["Submission", "Writer", "come_to_rest", "connect"]

BATCH_MAX: Final = 500
"""Commands in one commit: keeps the time that others wait for the lock in the tens of milliseconds."""
UNTIDIED_MAX: Final = 200
"""Commands after which the full-text index learns what they wrote, and records go, even when others wait."""
PAUSE_SECONDS: Final = 0.1
"""A time without commands in which the index learns: a client that plans task after task leaves none."""
LOGGED_MAX: Final = 20
"""Commands after which the log is begun anew in the next breath: some 200 pages, 0.3 ms of the next recovery."""
BREATH_SECONDS: Final = 0.005
"""A time without commands in which the log is begun anew, so that nobody waits for it."""
COMMITS_MAX: Final = 80
"""Commits after which the log is begun anew without a breath, where a client calls and calls: to write over what is
there already saves each a third of its sync, on ext4. Many clients share commits, and fill the log before."""
BUSY_TIMEOUT_SECONDS: Final = 20.0
"""How long a batch waits for another process's transaction: twice what a backup or a person at a prompt may take."""
_ONE_COMMANDS_FAULT: Final = (
    sqlite3.IntegrityError,
    sqlite3.ProgrammingError,
    sqlite3.DataError,
    sqlite3.NotSupportedError,
)
"""What SQLite says of a statement or a value; everything else it says is about the database."""


class _HalfApplied(Exception):
    """A command failed after it had written something, and no savepoint was there to go back to."""


@final
class Submission(Awaited):
    """A command on its way through the writer; one that nobody waits for any more before it is begun is skipped."""

    __slots__ = ("command", "key", "query")

    def __init__(
        self, command: Command[Any], key: CommandKey, query: Callable[[sqlite3.Connection, Any], object]
    ) -> None:
        super().__init__()
        self.command = command
        self.key = key
        self.query = query
        """Reads in the command's transaction what shall be known of its effect."""


@final
class Writer:
    """The body of the writing thread: owns its connection, calls nothing of trio."""

    def __init__(
        self,
        database: Path,
        queue: SimpleQueue[Submission | None],
        *,
        clock: Callable[[], float],
        mint: Callable[[], str],
        files: ArtifactFiles,
        owner: Owner | None,
        elder: Callable[[int], str | None],
        forgettable: Forgettable | None,
        at_rest: threading.Lock,
        deliver: Callable[[list[Submission], list[StatusChange], float], None],
    ) -> None:
        """Name what it works with.

        Args:
            database: the SQLite file.
            queue: where submissions come from; None ends the thread.
            clock: wall-clock seconds since the epoch.
            mint: gives 12 new hex digits.
            files: where large results go.
            owner: for which front it writes, if for one.
            elder: names a server of an older version on this workspace, before the schema is changed.
            forgettable: the records of the owner's calls that may go.
            at_rest: released whenever a batch is done and nothing waits; who submits acquires it. A bare lock: an
                event has one inside, and a queue and Python's code around it, which the other thread waits for.
            deliver: called with a batch whose outcomes are set, what it changed, and the seconds that it took.
        """
        self._database = database
        self._queue = queue
        self._clock = clock
        self._mint = mint
        self._at_rest = at_rest
        self._deliver = deliver
        self._files = files
        self._elder = elder
        self._forgettable = forgettable
        self._holding = Holding(database, owner)
        self._audience: dict[str, tuple[str, ...]] = {}
        """Who is told of what: read anew whenever others may have changed it."""
        self._over: StoreLost | Fenced | None = None
        """Why it can write no more."""
        self._unindexed = 0
        """Commands since the full-text index was brought up to date."""
        self._untidied = 0
        """Commands since records were removed, too."""
        self._logged = LOGGED_MAX - 1
        """Commands since the log was copied; a process that was killed may have left nearly as many."""
        self._commits = 0
        """Commits since then."""

    def run(self, ready: Callable[[FileIdentity | None], None]) -> None:
        """Write until None comes out of the queue; what is queued before it is still written.

        Args:
            ready: called when the database is open, with which file it is.

        Raises:
            SchemaTooNew: the database is from a newer version.
            StoreUnavailable: it cannot be opened.
            StoreLost: the file was removed or replaced.
            Fenced: a newer generation of the owner has taken over.
        """
        with contextlib.closing(connect(self._database)) as connection:
            try:
                migrate(connection, self._elder)
                self._holding.take(connection)
            except sqlite3.Error as error:
                raise StoreUnavailable.because(error) from error
            if self._holding.takes_over:
                # Somebody may wait: what the process before left to be learned is learned in the first pause.
                self._unindexed = 1
            else:
                self._tidy(connection)
            ready(self._holding.file)
            while (first := self._next(connection)) is not None:
                batch, ended = self._gather(first)
                started = time.perf_counter()
                changed: list[StatusChange] = []
                try:
                    changed = self._commit(connection, batch)
                finally:
                    # Also when this thread ends by a fault of its own: nobody may wait for ever.
                    self._deliver(batch, changed, time.perf_counter() - started)
                    if self._queue.empty():
                        come_to_rest(self._at_rest)
                if self._over is not None:
                    raise self._over
                if ended:
                    return
                self._unindexed += len(batch)
                self._untidied += len(batch)
                self._logged += len(batch)
                self._commits += 1
                if self._commits >= COMMITS_MAX:
                    self._shorten_log(connection)
                if self._untidied >= UNTIDIED_MAX:
                    self._tidy(connection)

    def _next(self, connection: sqlite3.Connection) -> Submission | None:
        """Wait for the next submission; breaths and the first pause are for what need not be done at once."""
        if self._logged >= LOGGED_MAX:
            try:
                return self._queue.get(timeout=BREATH_SECONDS)
            except Empty:
                self._shorten_log(connection)
        if self._unindexed or (self._forgettable is not None and self._forgettable.waiting):
            try:
                return self._queue.get(timeout=PAUSE_SECONDS)
            except Empty:
                self._tidy(connection)
        return self._queue.get()

    def _shorten_log(self, connection: sqlite3.Connection) -> None:
        """Copy the log into the database and begin it anew, so that a successor has little to recover.

        No commit is worth less for it: SQLite syncs the log before it copies, the database before the log may be
        written over, and the head of the new log before what follows, at either level of `synchronous`. What fails, or
        is held up by a reader of an older state or by a server that does the same, leaves all in the log, and is tried
        again as many commands later.
        """
        self._logged = self._commits = 0
        with contextlib.suppress(sqlite3.Error, StoreError):
            # Somebody else may have begun another log beside the same database.
            self._holding.check_files()
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        # It comes first in the new log, so that no command waits until the log's head is synced.
        self._learn(connection)

    def _tidy(self, connection: sqlite3.Connection) -> None:
        """Teach the full-text index what was written, and remove records, which takes as long as a command."""
        self._untidied = 0
        self._learn(connection)
        if self._forgettable is not None:
            self._unwaited(connection, self._forgettable.remove)

    def _learn(self, connection: sqlite3.Connection) -> None:
        self._unindexed = 0
        self._unwaited(connection, index_words)

    def _unwaited(
        self, connection: sqlite3.Connection, change: Callable[[sqlite3.Connection, Callable[..., object]], None]
    ) -> None:
        """Make a change for which nobody waits.

        What the index has not learned yet, queries look up by themselves, and a record that stays does no harm; so a
        failure loses nothing.
        """
        # It need not survive a power cut: the mark of what was learned goes back together with the index.
        connection.execute("PRAGMA synchronous=NORMAL")
        with contextlib.suppress(sqlite3.Error, StoreError):
            change(connection, self._holding.check_rights)
        self._roll_back(connection)
        connection.execute("PRAGMA synchronous=FULL")

    def _gather(self, first: Submission) -> tuple[list[Submission], bool]:
        batch = [first]
        try:
            while len(batch) < BATCH_MAX:
                following = self._queue.get_nowait()
                if following is None:
                    return batch, True
                batch.append(following)
        except Empty:
            return batch, False
        return batch, False

    def _commit(self, connection: sqlite3.Connection, batch: list[Submission]) -> list[StatusChange]:
        """Apply a batch in one transaction; a failure of the transaction itself is every command's failure."""
        try:
            self._begin(connection)
            try:
                changed = self._apply_all(connection, batch, savepoints=False)
            except _HalfApplied:
                self._roll_back(connection)
                self._begin(connection)
                changed = self._apply_all(connection, batch, savepoints=True)
            # Nothing goes into a file without a name, nor into another database's log. One that loses its name from
            # here on might as well lose it after the commit.
            self._holding.check_files()
            connection.execute("COMMIT")
        except BaseException as error:
            failure = error if isinstance(error, StoreError) else StoreUnavailable.because(error)
            for submission in batch:
                submission.outcome = Error(failure)
            self._roll_back(connection)
            if isinstance(error, (StoreLost, Fenced)):
                self._over = error
            elif not isinstance(error, (sqlite3.Error, StoreError)):
                raise
            return []
        return changed

    def _roll_back(self, connection: sqlite3.Connection) -> None:
        """End a transaction that failed, if one did; some failures (a full disk) have ended it already."""
        self._holding.doubt()
        if connection.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")

    def _begin(self, connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")
        if self._holding.check(connection):
            read_audience(connection, self._audience)

    def _apply_all(
        self, connection: sqlite3.Connection, batch: list[Submission], *, savepoints: bool
    ) -> list[StatusChange]:
        """Apply the commands one after another and set their outcomes.

        Raises:
            _HalfApplied: without savepoints, when a command wrote something before it failed.
        """
        now = self._clock()
        changed: list[StatusChange] = []
        for submission in batch:
            if submission.waiter is None:
                continue
            transaction = Transaction(connection, now, self._mint, self._audience)
            written = connection.total_changes
            if savepoints:
                connection.execute("SAVEPOINT command")
            try:
                result = apply_once(transaction, submission.command, submission.key, self._files)
                submission.outcome = Value((result, submission.query(connection, result)))
            except Exception as error:
                if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, _ONE_COMMANDS_FAULT):
                    raise
                # A refusal, or a fault of one command, is that caller's alone.
                if savepoints:
                    connection.execute("ROLLBACK TO command")
                elif connection.total_changes != written:
                    raise _HalfApplied from error
                submission.outcome = Error(error)
            else:
                changed.extend(transaction.changed)
            if savepoints:
                connection.execute("RELEASE command")
        return changed


def come_to_rest(at_rest: threading.Lock) -> None:
    """Tell who waits for the lock that nothing is to be done; for the writing thread, which alone releases it."""
    if at_rest.locked():
        at_rest.release()


def connect(database: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """Open the database as every part of the store does.

    Raises:
        StoreUnavailable: it cannot be opened, or the file system cannot carry a write-ahead log.
    """
    try:
        # A reader that finds no file must not make an empty one.
        connection = sqlite3.connect(
            f"{database.absolute().as_uri()}?mode={'rw' if read_only else 'rwc'}",
            uri=True,
            timeout=BUSY_TIMEOUT_SECONDS,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        )
    except sqlite3.Error as error:
        raise StoreUnavailable.because(error) from error
    with contextlib.ExitStack() as stack:
        stack.callback(connection.close)
        try:
            _configure(connection, database, read_only=read_only)
        except sqlite3.Error as error:
            raise StoreUnavailable.because(error) from error
        stack.pop_all()
    return connection


def _configure(connection: sqlite3.Connection, database: Path, *, read_only: bool) -> None:
    if _switch_to_wal(connection) != "wal":
        raise StoreUnavailable(
            f"{database} lies on a file system without a write-ahead log. Use a workspace on a local disk."
        )
    connection.execute("PRAGMA synchronous=FULL")
    # Fewer, larger checkpoints: 2.5 times better p99 than the default of 1000 pages.
    connection.execute("PRAGMA wal_autocheckpoint=4000")
    connection.execute("PRAGMA foreign_keys=ON")
    connection.create_function("words", 1, spaced_words, deterministic=True)
    if read_only:
        connection.execute("PRAGMA query_only=ON")
        # Megabytes, not the default of two: looking up a few hundred rows among a million read every page anew.
        connection.execute("PRAGMA cache_size=-16000")


def _switch_to_wal(connection: sqlite3.Connection) -> str:
    """Use a write-ahead log and give the journal mode that is in force then.

    SQLite does not wait for its busy timeout here: of two processes that open a new database one is turned away.
    """
    deadline = time.monotonic() + BUSY_TIMEOUT_SECONDS
    pause = threading.Event()
    while True:
        try:
            return str(connection.execute("PRAGMA journal_mode=WAL").fetchone()[0])
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
        pause.wait(0.01)
