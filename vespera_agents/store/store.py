"""The Store: a supervised child that others submit commands to and read through.

It owns the writing thread, the readers and the artifact files of one workspace. A caller parks until its command is
committed. The object outlives its incarnations: after a restart by its supervisor, whoever holds it goes on. Not
here: how a batch is written (`writer`), what a command does (`commands/`), what a query asks (`queries`).
"""

from __future__ import annotations

import contextlib
import secrets
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Final, TypeVar, cast, final

import trio
from outcome import Error, Outcome, Value, capture
from trio.lowlevel import checkpoint, checkpoint_if_cancelled

from vespera_agents.store.artifacts import ArtifactFiles
from vespera_agents.store.errors import Fenced, KeyMissing, SchemaTooNew, StoreClosed, StoreLost, StoreUnavailable
from vespera_agents.store.figures import StoreFigures, StoreStatistics
from vespera_agents.store.holding import FileIdentity, Owner
from vespera_agents.store.parking import run_soon
from vespera_agents.store.readers import Readers
from vespera_agents.store.records import Forgettable, recorded_result
from vespera_agents.store.transaction import Command, CommandKey, StatusChange
from vespera_agents.store.writer import Submission, Writer, come_to_rest

__all__ = ["Store"]

R = TypeVar("R")
T = TypeVar("T")

PENDING_MAX: Final = 10_000
"""Commands that may wait for the writer at once."""
OPEN_WAIT_SECONDS: Final = 5.0
"""How long a caller waits while the store is being restarted."""
CLOSE_SECONDS: Final = 10.0
"""How long a stop waits for the last commit."""
GIVE_WAY_SECONDS: Final = 0.003
"""How long the loop stands aside at most for what was submitted in one round of it; a small commit takes a tenth of it.

Only one thread runs Python at a time. A busy loop that goes on meanwhile takes the interpreter back after each step of
SQLite, some twenty times for one command, and the writing thread then waits for a processor to wake up: with 40 calls
in flight p99 was 40 ms, against 1 ms for a commit on the loop. A disk that takes longer holds nobody up beyond this.
"""
_NOT_BEGUN: Final = object()
"""What a caller wakes up with when the store stopped before its command."""


@final
class Store:
    """The durable state of one workspace."""

    def __init__(
        self,
        database: Path,
        artifacts: Path,
        *,
        clock: Callable[[], float] = time.time,
        mint: Callable[[], str] = lambda: secrets.token_hex(6),
        owner: Owner | None = None,
        elder: Callable[[int], str | None] = lambda _: None,
    ) -> None:
        """Name the files; `run` opens them.

        Args:
            database: the SQLite file, made when missing.
            artifacts: the directory of artifact files; it exists.
            clock: wall-clock seconds since the epoch.
            mint: gives 12 new hex digits for an id.
            owner: the front for which this process writes while no newer generation does; nobody asks without one.
            elder: given a version of the schema, names a server on this workspace that knows only an older one; asked
                in a thread, before the schema is changed.
        """
        self.artifacts: Final = ArtifactFiles(artifacts)
        self.database: Final = database
        self._clock = clock
        self._mint = mint
        self._owner = owner
        self._elder = elder
        self._over: StoreLost | Fenced | None = None
        """Why nobody is served: until it is opened anew, or for ever."""
        self._served = False
        self._forgettable = None if owner is None else Forgettable(owner.front)
        self._queue: SimpleQueue[Submission | None] = SimpleQueue()
        self._pending = 0
        self._at_rest = threading.Lock()
        """Held from the moment when something is handed over until the thread has nothing to do."""
        self._standing_aside = False
        """Whether the loop waits for the thread right now, and settles what comes of it by itself."""
        self._submitted: list[Submission] = []
        """What was submitted in this round of the loop; who came first hands it over in the next one. The thread gets
        it together: from the first one on it would fight for the interpreter with the tasks that are about to submit
        more, and commit that one alone."""
        self._delivered: deque[tuple[list[Submission], list[StatusChange], float]] = deque()
        self._opened = trio.Event()
        self._ended = trio.Event()
        """Set when this incarnation has ended, or is to."""
        self._subscribers: list[Callable[[list[StatusChange]], None]] = []
        self._commit_listeners: list[Callable[[], None]] = []
        self._readers = Readers(database)
        self._figures = StoreFigures()

    async def run(self, *, task_status: trio.TaskStatus[Store] = trio.TASK_STATUS_IGNORED) -> None:
        """Be open until cancelled: a child for a supervisor. What is queued at the end is still committed.

        It returns when the database is not the file any more that was opened. Fenced, it stays and refuses everything.

        Raises:
            SchemaTooNew: the database is from a newer version.
            StoreUnavailable: it cannot be opened.
            Fenced: a newer generation of the owner writes.
        """
        self._reopen()
        soon = partial(run_soon, trio.lowlevel.current_trio_token())
        ready, ended = trio.Event(), trio.Event()
        self._ended = ended
        ends: list[Outcome[None]] = []

        def deliver(batch: list[Submission], changed: list[StatusChange], seconds: float) -> None:
            self._delivered.append((batch, changed, seconds))
            if not self._standing_aside:
                soon(self._settle_delivered)

        # A queue of its own, so that a thread that was given up on can never take a later incarnation's commands.
        queue: SimpleQueue[Submission | None] = SimpleQueue()
        at_rest = self._at_rest = threading.Lock()
        stopping = False

        def body() -> None:
            writer = Writer(
                self.database, queue, clock=self._clock, mint=self._mint, files=self.artifacts, owner=self._owner,
                elder=self._elder, forgettable=self._forgettable, at_rest=at_rest, deliver=deliver,
            )  # fmt: skip
            ends.append(capture(writer.run, lambda file: soon(opened, file)))
            come_to_rest(at_rest)
            soon(over)

        def over() -> None:
            self._over = self._over or _final_cause(ends[0])
            ended.set()
            ready.set()

        def opened(file: FileIdentity | None) -> None:
            if not stopping:
                self._queue = queue
                self._served = True
                self._readers.open(file)
                self._opened.set()
                ready.set()

        thread = threading.Thread(target=body, name="vespera-store", daemon=True)
        thread.start()
        try:
            await ready.wait()
            if not ends:
                task_status.started(self)
                await ended.wait()
        finally:
            stopping = True
            self._close()
            self._put_submitted(queue)
            queue.put(None)
            with trio.CancelScope(shield=True):
                # Waiting in a thread bounds the stop in real time, whatever clock the run has.
                await trio.to_thread.run_sync(thread.join, CLOSE_SECONDS, limiter=trio.CapacityLimiter(1))
            self._fail_rest(queue)
        await self._end(ends[0])

    def _reopen(self) -> None:
        if isinstance(self._over, Fenced):
            raise self._over
        self._over = None
        self._served = False

    def _close(self) -> None:
        if self._opened.is_set():
            self._opened = trio.Event()
        self._readers.close()

    async def _end(self, end: Outcome[None]) -> None:
        """End as the writing thread has ended."""
        if isinstance(self._over, Fenced) and self._owner is not None:
            self._owner.on_fenced()
            if self._served:
                # A supervisor would only start it again.
                await trio.sleep_forever()
        if self._over is None or not self._served:
            end.unwrap()

    async def execute(self, command: Command[R], key: CommandKey) -> R:
        """Apply a command durably and give its result; the same key again gives the first result.

        A cancelled caller's command is skipped if the writer has not begun it; otherwise its effect stays.

        Args:
            command: what to change.
            key: the name of this wish, for ever.

        Raises:
            Refusal: the rows do not allow it; nothing was kept.
            KeyConflict: the key was used for another command.
            KeyMissing: the key is empty.
            StoreUnavailable: the disk is full, or the database is locked; nothing was kept.
            StoreLost, SchemaTooNew, Fenced: it can be written no more; nothing was kept.
            StoreClosed: the store is not running, nor restarted within a few seconds.
        """
        return (await self.execute_and_read(command, key, lambda _connection, _result: None))[0]

    async def execute_and_read(
        self, command: Command[R], key: CommandKey, query: Callable[[sqlite3.Connection, R], T]
    ) -> tuple[R, T]:
        """Apply a command as `execute` does, and read in its transaction: with its effect, before any later one.

        All who wait for the writer wait for the query, too: it is for a few rows, to read which takes a thread longer.

        Args:
            command: what to change.
            key: the name of this wish, for ever.
            query: called with a connection, on which it only reads, and the result, also if that was recorded before.
                What it raises is raised, and of the command nothing is kept.

        Raises:
            Refusal, KeyConflict, StoreError: as for `execute`.
        """
        await checkpoint_if_cancelled()
        if not (key.origin and key.key):
            raise KeyMissing(f"the command {type(command).__name__} came without a key. Name it by a CommandKey.")
        while True:
            if not self._opened.is_set():
                await self._wait_open()
            if self._pending >= PENDING_MAX:
                raise StoreUnavailable(f"{PENDING_MAX} commands wait for the disk already. Try again later.")
            submission = Submission(command, key, query)
            self._pending += 1
            self._submitted.append(submission)
            if len(self._submitted) == 1:
                await self._lead(submission)
            result = await submission.answer()
            if result is not _NOT_BEGUN:
                return cast("tuple[R, T]", result)

    async def read(self, query: Callable[..., R], *arguments: object) -> R:
        """Run a query in a thread, on a read-only connection of its own, and give what it returns.

        A cancelled caller's query is interrupted.

        Args:
            query: called with a connection and the arguments.
            arguments: passed on.

        Raises:
            StoreUnavailable, StoreLost, SchemaTooNew: the database cannot be read.
            StoreClosed: the store is not running, nor restarted within a few seconds.
        """
        while True:
            if not self._opened.is_set():
                await self._wait_open()
            try:
                return await self._readers.read(query, *arguments)
            except StoreLost as error:
                self._over = self._over or error
                self._ended.set()
                raise
            except StoreClosed:
                # It stopped before the query began: wait for the next incarnation.
                continue
            except (sqlite3.Error, StoreUnavailable, SchemaTooNew) as error:
                self._figures.could_not_read()
                raise StoreUnavailable.because(error) if isinstance(error, sqlite3.Error) else error from error

    async def recorded(self, key: CommandKey) -> object:
        """Give the recorded result of a command by its key, None if there is none: whether a call was made before.

        Raises:
            ArtifactMissing: the file of the result is gone; and what `read` raises.
        """
        return await self.read(recorded_result, key, self.artifacts)

    def forget(self, keys: Iterable[str]) -> None:
        """Remove, in a pause, the records of the front's calls with these keys: their answers were written."""
        if self._forgettable is not None:
            self._forgettable.forget(keys)

    def holds_its_file(self) -> bool:
        """Say whether the database is still the file that was opened, as far as it is open."""
        return self._over is None and self._readers.same_file()

    def subscribe(self, listener: Callable[[list[StatusChange]], None]) -> Callable[[], None]:
        """Call `listener` in the trio thread after each commit of ours that changed a status; gives the way to stop.

        The listener must not raise.
        """
        self._subscribers.append(listener)
        return lambda: self._subscribers.remove(listener)

    def subscribe_commits(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` in the trio thread after each commit, whatever it changed; gives the way to stop.

        The listener must not raise. It hears only of this process's commits.
        """
        self._commit_listeners.append(listener)
        return lambda: self._commit_listeners.remove(listener)

    def statistics(self) -> StoreStatistics:
        """Count what was done so far."""
        return self._figures.statistics(self._pending)

    def tree_detail(self) -> dict[str, str | int | float]:
        """Say what the tree shows of it."""
        return {"waiting": self._pending, "commits": self.statistics().commits}

    async def _lead(self, submission: Submission) -> None:
        """Hand over for all that submit in this round of the loop.

        One of them does it, not a task of the store's own: it goes on with what came of its command at once, and not in
        the round after, which took as long as waking the thread.
        """
        try:
            await checkpoint()
        except trio.Cancelled:
            submission.waiter = None
            raise
        finally:
            self._hand_over()

    def _hand_over(self) -> None:
        """Give the writing thread what was submitted, and the interpreter until it is at rest, for a bounded moment."""
        if not self._submitted:
            return
        self._at_rest.acquire(blocking=False)
        self._standing_aside = True
        self._put_submitted(self._queue)
        self._at_rest.acquire(timeout=GIVE_WAY_SECONDS)
        # In this order: what the thread delivers while it is set is settled here, whatever comes later it announces.
        self._standing_aside = False
        self._settle_delivered()

    def _put_submitted(self, queue: SimpleQueue[Submission | None]) -> None:
        for submission in self._submitted:
            queue.put(submission)
        self._submitted.clear()

    def _settle_delivered(self) -> None:
        while self._delivered:
            self._settle(*self._delivered.popleft())

    async def _wait_open(self) -> None:
        if self._over is not None:
            raise self._over
        with trio.move_on_after(OPEN_WAIT_SECONDS):
            await self._opened.wait()
            return
        raise StoreClosed("the store of this workspace is not running. Try again; if it stays so, restart the server.")

    def _settle(self, batch: list[Submission], changed: list[StatusChange], seconds: float) -> None:
        """Answer the callers of a committed batch; runs in the trio thread."""
        self._pending -= len(batch)
        self._figures.committed(len(batch), seconds, batch[0].outcome)
        for submission in batch:
            if self._forgettable is not None:
                self._forgettable.note(submission.key)
            submission.tell()
        if changed:
            for listener in tuple(self._subscribers):
                listener(changed)
        for hear in tuple(self._commit_listeners):
            hear()

    def _fail_rest(self, queue: SimpleQueue[Submission | None]) -> None:
        """Take out of the queue what the writer did not come to."""
        rest: list[Submission] = []
        with contextlib.suppress(Empty):
            while True:
                submission = queue.get_nowait()
                if submission is not None:
                    rest.append(submission)
        # A thread that was given up on still finds its end.
        queue.put(None)
        self._turn_away(rest)

    def _turn_away(self, submitted: list[Submission]) -> None:
        """Let those whose command was not begun wait for the next incarnation, if there will be one."""
        self._pending -= len(submitted)
        for submission in submitted:
            submission.outcome = Value(_NOT_BEGUN) if self._over is None else Error(self._over)
            submission.tell()


def _final_cause(end: Outcome[None]) -> StoreLost | Fenced | None:
    return end.error if isinstance(end, Error) and isinstance(end.error, (StoreLost, Fenced)) else None
