"""The process that waits to become the worker, and the forker that makes it in milliseconds.

The forker is a process that has only imported; it forks again and again, so a burst of deaths is covered. A spare is
told to warm itself and then waits, with nothing open but its link. Where there is no forker, a spare is a worker of its
own that waits. Neighbours: `workers` takes the spare; `vespera_agents.serving.forker` is the other process.
"""

from __future__ import annotations

import random
import socket
import time
from collections import deque
from contextlib import suppress
from typing import Final, NamedTuple, final

import trio

from vespera_agents.front.fleet import WorkerFailed, shown_status
from vespera_agents.front.launch import Launched
from vespera_agents.front.parking import Parked
from vespera_agents.front.processes import FrontProcess
from vespera_agents.front.workers import Workers

__all__ = ["FORKER_VARIABLE", "SpareFailed", "Spares", "SparesStatistics"]

FORKER_VARIABLE: Final = "VESPERA_FORKER"
"""The environment variable that names the forker's end of its socket, a descriptor."""
_FORK_SECONDS: Final = 30.0
"""How long a forker may take to fork; the first time it imports before that."""
_URGENT_SECONDS: Final = 1.0
"""How long a fork may take that a client waits for."""
_QUIET_STEP_SECONDS: Final = 0.05
_QUIET_SECONDS_MAX: Final = 1.0
"""How long the first spare waits at most for a pause of the client's: its first calls are answered by then."""
_BEGIN_SECONDS: Final = 0.1
"""How long a spare that has become the worker has the machine for itself before the next one is made: it has calls to
answer that waited for it, and to warm up takes a quarter of a second of another processor."""


class SpareFailed(WorkerFailed):
    """There is no spare, because its forker died, or it did itself."""


@final
class SparesStatistics(NamedTuple):
    """What came of the spares."""

    waiting: bool
    """Whether one waits."""
    made: int
    """Spares so far."""
    taken: int
    """Those that became workers."""
    died: int
    """Those that died while they waited."""


@final
class Spares:
    """The child of the tree that has a spare ready."""

    def __init__(self, workers: Workers) -> None:
        """Make spares for these workers."""
        self._workers = workers
        self._parked: Parked | None = None
        self._forker: _Forker | None = None
        self._round = trio.CancelScope()
        self._made = self._taken = self._died = 0
        workers.take_spare = self.take
        workers.renew_spares = self.renew

    async def run(self, *, task_status: trio.TaskStatus[Spares]) -> None:
        """Have a spare ready, from the time on when the first worker has become ready.

        Raises:
            SpareFailed: the forker has died.
            WorkerFailed: there may be no further process.
            OSError: nothing could be started.
        """
        task_status.started(self)
        await self._workers.first_ready.wait()
        await self._quiet()
        while True:
            with trio.CancelScope() as self._round:
                if self._workers.settings.forker is None:
                    await self._make(None)
                else:
                    await self._fork_them(self._workers.settings.forker)

    async def take(self) -> FrontProcess | None:
        """Give a process that can be activated at once; None if it takes as long to start one."""
        process = None if self._parked is None else await self._parked.take()
        if process is None and self._forker is not None and self._forker.proven:
            # In a burst the next spare is not there yet; to fork one is still much faster than to start one.
            process = await self._forker.fork_now("fork")
        if process is not None:
            self._taken += 1
            process.schedule_normally()
        return process

    def renew(self) -> None:
        """Make spares from what is on disk now: the code has changed, and nothing of the code before is taken."""
        self._parked = self._forker = None
        self._round.cancel()

    def tree_detail(self) -> dict[str, str | int | float]:
        """Say what the tree shows of it."""
        return {"waiting": int(self._parked is not None), "made": self._made, "taken": self._taken}

    def statistics(self) -> SparesStatistics:
        """Give its numbers as they are now."""
        return SparesStatistics(waiting=self._parked is not None, made=self._made, taken=self._taken, died=self._died)

    async def _quiet(self) -> None:
        """Wait for a pause of the client's: its first calls shall not share the machine with an import."""
        quiet = 0.0
        with trio.move_on_after(_QUIET_SECONDS_MAX):
            while quiet < self._workers.settings.spare_delay_seconds:
                await trio.sleep(_QUIET_STEP_SECONDS)
                quiet = 0.0 if self._workers.busy() else quiet + _QUIET_STEP_SECONDS

    async def _fork_them(self, command: tuple[str, ...]) -> None:
        """Have a forker, and a spare from it."""
        workers = self._workers
        workers.fleet.adopt_orphans()
        process = workers.fleet.start(command, FORKER_VARIABLE, "forker")
        process.schedule_behind()
        forker = self._forker = _Forker(process, workers)
        workers.log.say(f"forker (pid {process.pid}) starts")
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(forker.keep_hearing)
                await self._make(forker)
        finally:
            self._forker = None
            await workers.fleet.destroy(process)
            workers.log.say(f"forker (pid {process.pid}) is dead")

    async def _make(self, forker: _Forker | None) -> None:
        """Have one spare after the other ready."""
        failures = 0
        while True:
            started = time.monotonic()
            try:
                process = self._workers.fleet.spawn("spare") if forker is None else await forker.fork("spare")
                self._made += 1
                if await self._park(process):
                    failures = 0
                    with trio.move_on_after(_QUIET_SECONDS_MAX):
                        await self._workers.wait_ready()
                        await trio.sleep(_BEGIN_SECONDS)
                    continue
                self._died += 1
                why = f"spare {process.pid} died while it waited, with {shown_status(process.status)}"
            except SpareFailed:
                raise
            except (WorkerFailed, OSError) as error:
                # The forker stays: it may fork again in a moment, and a new one would import first.
                why = f"no spare could be made: {error}"
            backoff = self._workers.settings.backoff
            failures = backoff.series(failures, time.monotonic() - started)
            delay = backoff.delay_seconds(failures, random.random())  # noqa: S311 - it protects no secret
            failures += 1
            self._workers.log.tell(f"{why}; the next one comes in {delay:.1f} s")
            await trio.sleep(delay)

    async def _park(self, process: FrontProcess) -> bool:
        """Let a process wait; say whether it was taken and has not died."""
        parked = self._parked = Parked(process, self._waits)
        try:
            await parked.keep()
        finally:
            self._parked = None
            self._workers.standing.spare = False
            if not parked.taken:
                await self._workers.fleet.destroy(process)
        return parked.taken

    def _waits(self) -> None:
        self._workers.log.say("a spare waits")
        self._workers.standing.spare = True
        self._workers.announce()


@final
class _Forker:
    """Our side of the process that forks."""

    def __init__(self, process: FrontProcess, workers: Workers) -> None:
        self.proven = False
        """Whether it has forked before: then it does not import any more."""
        self._process = process
        self._workers = workers
        self._asked: deque[_Fork] = deque()

    async def keep_hearing(self) -> None:
        """Listen to it.

        Raises:
            SpareFailed: it has died.
        """
        while (lines := await self._process.lines()) is not None:
            for line in lines:
                word, _, rest = line.partition(b" ")
                if word == b"pid" and self._asked:
                    self.proven = True
                    self._asked.popleft().became(int(rest))
        raise SpareFailed(f"the forker (pid {self._process.pid}) has ended")

    async def fork(self, what: str, timeout_seconds: float = _FORK_SECONDS) -> FrontProcess:
        """Have a process forked.

        Raises:
            SpareFailed: it was not forked in time.
            OSError: the forker is gone.
        """
        fork = _Fork()
        self._workers.fleet.check_room()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._process.hand_over(b"fork\n", [theirs.fileno(), self._workers.launched.output[1]])
            self._asked.append(fork)
            with trio.move_on_after(timeout_seconds):
                await fork.done.wait()
        finally:
            theirs.close()
            if not fork.pid:
                # What is forked too late finds its link closed, and ends.
                ours.close()
        if not fork.pid:
            raise SpareFailed(f"the forker did not fork within {timeout_seconds:g} s")
        launched = Launched(fork.pid, ours, time.monotonic())
        return self._workers.fleet.adopt_forked(launched, what)

    async def fork_now(self, what: str) -> FrontProcess | None:
        """Have a process forked for a client that waits; None if that does not work."""
        with suppress(WorkerFailed, OSError):
            return await self.fork(what, _URGENT_SECONDS)
        return None


@final
class _Fork:
    """One process that was asked for."""

    def __init__(self) -> None:
        self.pid = 0
        self.done = trio.Event()

    def became(self, pid: int) -> None:
        """Hear which it is."""
        self.pid = pid
        self.done.set()
