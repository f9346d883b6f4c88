"""The worker of a front, one after the other: activated, listened to, pinged, and replaced when it is dead.

A worker that had become ready and died is replaced at once, here. One that died before it was ready is a crash of this
child of the tree, so that its supervisor waits longer each time and never gives up. Whoever is activated is the only one:
the whole group of the one before is killed, and the kernel has confirmed its death. Neighbours: `processes` is one
process, `spares` has another one ready, `restarting` asks for a fresh one, `doors` is what clients see.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, cast, final

import trio
import trio.lowlevel

from vespera_agents.front.doors import Door
from vespera_agents.front.framing import (
    ACTIVATE,
    ASK,
    END_OF_REPLAY,
    LINK_VARIABLE,
    LOCK,
    PING,
    READY,
    WARM,
)
from vespera_agents.front.launch import Launch, spawn_linked
from vespera_agents.front.log import Log
from vespera_agents.front.processes import FrontProcess
from vespera_agents.front.settings import Settings
from vespera_agents.front.standing import Standing

__all__ = ["EXIT_BAD_INPUT", "WorkerFailed", "Workers", "WorkersStatistics"]

EXIT_BAD_INPUT: Final = 2
"""The exit status of a worker whose words or workspace are wrong: no other worker would fare better."""
_EXPIRE_SECONDS: Final = 0.5
_DEAD_SECONDS: Final = 10.0
"""How often the log says that a process does not die."""
_LOCKS_MAX: Final = 1_000


class WorkerFailed(Exception):
    """A worker did not become ready."""


@final
@dataclass(frozen=True, slots=True)
class WorkersStatistics:
    """What a front has done with its workers."""

    generation: int
    """Which worker works, or is about to."""
    ready: bool
    """Whether it does."""
    processes: int
    """Processes of the front's that live."""
    deaths: int
    """Workers that died though nobody had asked."""
    failed_starts: int
    """Those among them that had never been ready."""
    wedged: int
    """Workers that did not answer a ping and were killed."""
    late_pongs: int
    """Workers that answered after they had been told to write down where they are."""


@final
class Workers:
    """The child of the tree that has a worker, and the one place where a worker is activated."""

    def __init__(self, settings: Settings, launched: Launch, log: Log) -> None:
        """Begin with the worker that was started before anything else."""
        self.settings = settings
        """What the front was told."""
        self.launched = launched
        """How the front began."""
        self.log = log
        """Where events are written down."""
        self.standing = Standing()
        """What workers are told of the front."""
        self.ending = trio.Event()
        """Set when the front is about to end."""
        self.gone = trio.Event()
        """Set when it has no worker any more and will have none."""
        self.exit_status = 0
        """How the front shall end."""
        self.greeting: dict[str, object] = {}
        """What the worker said when it became ready."""
        self.active: FrontProcess | None = None
        """The worker that is told what clients say."""
        self.first_ready = trio.Event()
        """Set when the first worker has become ready."""
        self.take_spare: Callable[[], Awaitable[FrontProcess | None]] = _no_spare
        """Gives a process that only waits to be activated, if there is one."""
        self.asked: Callable[[int, dict[str, object]], None] = self._refuse_question
        """Hears a worker's question that is not answered here."""
        self._door: Door | None = None
        self._patient = True
        self._running = False
        self._ready = trio.Event()
        self._processes: dict[int, FrontProcess] = {}
        self._locks: dict[bytes, int] = {}
        self._pong = trio.Event()
        self._ping = 0
        self._without_since = time.monotonic()
        self._without_why = "the first worker has not become ready yet"
        self._deaths = self._failed = self._wedged = self._late = 0
        self._first: FrontProcess | None = self.adopt(FrontProcess(launched.first, ours=True, what="worker"))

    # ---- for the doors

    @property
    def listens(self) -> bool:
        """Whether there is a worker that is told what clients say."""
        return self.active is not None

    @property
    def ready(self) -> bool:
        """Whether there is a worker that works."""
        return self._ready.is_set()

    def busy(self) -> bool:
        """Say whether a client waits for an answer."""
        return self._door is not None and self._door.busy()

    def serve(self, door: Door) -> None:
        """Say who stands between the workers and the clients."""
        self._door = door

    def tell(self, data: bytes) -> None:
        """Say whole lines to the worker, if there is one."""
        if self.active is not None:
            self.active.tell(data)

    async def wait_ready(self) -> None:
        """Wait until there is a worker that works."""
        while not self._ready.is_set():
            await self._ready.wait()

    def end(self, why: str, *, patient: bool) -> None:
        """End the front.

        Args:
            why: for the log.
            patient: whether a worker that is about to become ready shall first say what it has to say.
        """
        if not self.ending.is_set():
            self.log.say(f"ends: {why}")
        self._patient = self._patient and patient
        self.ending.set()
        if not self._running:
            self.gone.set()

    # ---- processes

    def adopt(self, process: FrontProcess) -> FrontProcess:
        """Count a process as one of the front's, until `disown`."""
        self._processes[process.pid] = process
        self.standing.processes = len(self._processes)
        return process

    async def destroy(self, process: FrontProcess) -> None:
        """Kill a process with its group and return when the kernel has confirmed its death, cancelled or not."""
        with trio.CancelScope(shield=True):
            process.kill()
            while not await process.wait_dead(_DEAD_SECONDS):
                self.log.tell(
                    f"{process.what} {process.pid} does not die; it may be waiting for a disk. Still waiting."
                )
                process.kill()

    def disown(self, process: FrontProcess) -> None:
        """Forget a process that is dead."""
        process.bury()
        if self._processes.get(process.pid) is process:
            del self._processes[process.pid]
        self.standing.processes = len(self._processes)

    def check_room(self) -> None:
        """Refuse a process above the ceiling.

        Raises:
            WorkerFailed: no more may live at once.
        """
        if len(self._processes) >= self.settings.processes_max:
            raise WorkerFailed(f"{len(self._processes)} processes of this server live, and no more may")

    def spawn(self, what: str) -> FrontProcess:
        """Start a worker from what is on disk now; it is told nothing yet.

        Raises:
            WorkerFailed: no more may live at once.
            OSError: the machine has no room for one.
        """
        self.check_room()
        launched = spawn_linked(self.settings.worker, LINK_VARIABLE, self.launched.output[1])
        return self.adopt(FrontProcess(launched, ours=True, what=what))

    def learn(self, pid: int, status: int) -> None:
        """Take in how a forked process has ended."""
        self.log.say(f"process {pid} has ended with {_shown(status)}")
        self.standing.learned(pid, status)
        if pid in self._processes:
            self._processes[pid].status = status

    def kill_all(self) -> None:
        """Kill every process at once, without waiting."""
        for process in [*self._processes.values()]:
            process.kill()

    # ---- as a child of the tree

    async def run(self, *, task_status: trio.TaskStatus[Workers]) -> None:
        """Have a worker until the front ends.

        Raises:
            WorkerFailed: one died before it was ready.
            OSError: none could be started.
        """
        task_status.started(self)
        self._running = True
        try:
            reason = "start" if self._first is not None else "crash"
            while not self.ending.is_set():
                reason = await self._have_one(reason)
        finally:
            self._running = False
            if self.ending.is_set():
                self.gone.set()

    def tree_detail(self) -> dict[str, str | int | float]:
        """Say what the tree shows of it."""
        return {
            "generation": self.standing.generation,
            "ready": self.ready,
            "pid": 0 if self.active is None else self.active.pid,
            "deaths": self._deaths,
        }

    def statistics(self) -> WorkersStatistics:
        """Give its numbers as they are now."""
        return WorkersStatistics(
            generation=self.standing.generation,
            ready=self.ready,
            processes=len(self._processes),
            deaths=self._deaths,
            failed_starts=self._failed,
            wedged=self._wedged,
            late_pongs=self._late,
        )

    async def _have_one(self, reason: str) -> str:
        """Have one worker until it is dead; gives the reason of the next."""
        process, self._first = self._first, None
        if process is None:
            process = await self.take_spare() or self.spawn("worker")
        life = _Life(process)
        try:
            self._activate(process, reason)
            await self._live(life)
        finally:
            await self._finish(life)
        if life.ready_seconds is None and not self.ending.is_set():
            raise WorkerFailed(f"worker {process.pid} ended with {_shown(process.status)} before it was ready")
        return "wedged" if life.wedged else "crash"

    def _activate(self, process: FrontProcess, reason: str) -> None:
        standing = self.standing
        standing.generation += 1
        standing.since = time.time()
        assert self._door is not None
        self.active = process
        if standing.generation == 1:
            self.log.say(f"worker 1 (pid {process.pid}) starts")
            return  # It was told before we were there, and there was nothing to repeat.
        activation = {
            "server": self.launched.server,
            "generation": standing.generation,
            "reason": reason,
            "restart": standing.restarting,
            "log": self.launched.log,
        }
        head = b"%s %d %s\n" % (ACTIVATE, standing.generation, json.dumps(activation).encode())
        process.tell(head + b"".join(self._door.repeat()) + END_OF_REPLAY + b"\n" + standing.line())
        self.log.say(f"worker {standing.generation} (pid {process.pid}, {process.what}) takes over: {reason}")

    async def _live(self, life: _Life) -> None:
        """Listen to a worker until it ends."""
        process = life.process
        async with trio.open_nursery() as nursery:
            nursery.start_soon(process.keep_sending)
            nursery.start_soon(self._keep_listening, life)
            nursery.start_soon(self._keep_pinging, life)
            nursery.start_soon(self._end_when_told, life)
            await process.wait_ended()
            nursery.cancel_scope.cancel()

    async def _finish(self, life: _Life) -> None:
        """Make sure that a worker is dead, hear its last words, and say that there is none."""
        process = life.process
        await self.destroy(process)
        for line in process.rest():
            self._hear(life, line)
        self.active = None
        self._ready = trio.Event()
        self._without_since = time.monotonic()
        generation = self.standing.generation
        ready = life.ready_seconds is not None
        asked = self.ending.is_set()
        if not asked:
            self._deaths += 1
            self._failed += not ready
            self.standing.died(generation, process.pid, process.status, ready=ready)
        moment = time.strftime("%H:%M:%S", time.gmtime())
        self._without_why = (
            f"worker {generation} (pid {process.pid}) ended with {_shown(process.status)} at {moment} UTC"
            + ("" if ready else " before it was ready")
        )
        (self.log.say if asked else self.log.tell)(
            f"worker {generation} (pid {process.pid}) is dead, {_shown(process.status)}, "
            f"{'ready' if ready else 'not ready'}"
        )
        if not ready and generation == 1 and process.status == EXIT_BAD_INPUT:
            self.exit_status = EXIT_BAD_INPUT
            self.end("the first worker refused what it was told", patient=False)
        if self._door is not None:
            self._door.lose(blamed=ready and not asked, why=self._poison())
        self.disown(process)

    # ---- while one lives

    async def _keep_listening(self, life: _Life) -> None:
        process = life.process
        assert self._door is not None
        while (lines := await process.lines()) is not None:
            for line in lines:
                self._hear(life, line)
            while self._door.stuffed():
                life.unheard = True
                await self._door.wait_taken()
            life.unheard = False
        life.unheard = False

    def _hear(self, life: _Life, line: bytes) -> None:
        flag = line[:1]
        try:
            if flag == PING:
                self._heard_pong(int(line[2:]))
            elif flag == READY:
                self._became_ready(life, line[2:])
            elif flag == ASK:
                number, _, question = line[2:].partition(b" ")
                self._question(int(number), cast("object", json.loads(question)))
            elif flag == WARM:
                pass  # It was taken before it had said that it is warm.
            elif flag == LOCK:
                self._keep_lock(life.process, line[2:])
            elif self._door is not None:
                self._door.hear(line)
        except (ValueError, RecursionError) as error:
            self.log.tell(f"worker {life.process.pid} speaks another language ({error}); it is replaced")
            life.process.kill()

    def _became_ready(self, life: _Life, greeting: bytes) -> None:
        facts = cast("object", json.loads(greeting or b"{}"))
        self.greeting = cast("dict[str, object]", facts) if isinstance(facts, dict) else {}
        now = time.monotonic()
        life.ready_seconds = now
        self._ready.set()
        self.first_ready.set()
        took = now - self._without_since
        self.log.say(f"worker {self.standing.generation} (pid {life.process.pid}) is ready after {took * 1000:.1f} ms")
        self.announce()

    def announce(self) -> None:
        """Tell the worker how the front fares."""
        if self._ready.is_set():
            self.tell(self.standing.line())

    def answer(self, number: int, facts: dict[str, object]) -> None:
        """Answer a worker's question."""
        self.tell(b"%s %d %s\n" % (ASK, number, json.dumps(facts).encode()))

    def _question(self, number: int, question: object) -> None:
        asked = cast("dict[str, object]", question) if isinstance(question, dict) else {}
        match asked.get("ask"):
            case "echo":
                self.answer(number, asked)
            case "standing":
                self.answer(number, self.standing.facts())
            case _:
                self.asked(number, asked)

    def _refuse_question(self, number: int, asked: dict[str, object]) -> None:
        self.answer(number, {"error": f"the front knows no question {asked.get('ask')!r}"})

    def _keep_lock(self, process: FrontProcess, name: bytes) -> None:
        if not process.descriptors:
            raise ValueError(f"no descriptor came with the lock {name[:80]!r}")
        descriptor = process.descriptors.popleft()
        if name not in self._locks and len(self._locks) >= _LOCKS_MAX:
            os.close(descriptor)
            return
        former = self._locks.get(name)
        self._locks[name] = descriptor
        if former is not None:
            os.close(former)

    # ---- wedged, late, ending

    def _heard_pong(self, number: int) -> None:
        if number == self._ping:
            self._pong.set()

    async def _keep_pinging(self, life: _Life) -> None:
        """Replace a worker that starts for too long, or does not answer."""
        process, settings = life.process, self.settings
        with trio.move_on_after(settings.start_seconds) as patience:
            await self.wait_ready()
        if patience.cancelled_caught:
            self.log.tell(f"worker {process.pid} is not ready after {settings.start_seconds:g} s; it is replaced")
            process.kill()
            return
        while True:
            self._ping += 1
            self._pong = trio.Event()
            process.tell(b"%s %d\n" % (PING, self._ping))
            while not await self._ponged(settings.pong_seconds):
                if life.unheard:
                    continue  # Its answer may lie behind what the client does not take.
                self.log.tell(
                    f"worker {process.pid} did not answer within {settings.pong_seconds:g} s: "
                    "where its threads are follows, then it is replaced"
                )
                process.signal(signal.SIGUSR2)
                if await self._ponged(settings.dump_seconds):
                    self._late += 1
                    self.log.tell(f"worker {process.pid} has answered after all and stays")
                    break
                self._wedged += 1
                life.wedged = True
                process.kill()
                return
            await trio.sleep(settings.ping_seconds)

    async def _ponged(self, seconds: float) -> bool:
        with trio.move_on_after(seconds):
            await self._pong.wait()
        # A front that was stopped itself finds the deadline passed and the answer unread: read first.
        await trio.lowlevel.checkpoint()
        return self._pong.is_set()

    async def _end_when_told(self, life: _Life) -> None:
        """Let a worker end by itself once the front ends, for a while."""
        await self.ending.wait()
        process, settings = life.process, self.settings
        if life.ready_seconds is None and self._patient:
            with trio.move_on_after(settings.start_seconds):
                await self.wait_ready()
        if life.ready_seconds is not None:
            process.close()
            with trio.move_on_after(settings.end_seconds):
                await process.ended.wait()
        process.kill()

    async def keep_expiring(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Answer requests that have waited for a worker for too long: a child for a supervisor."""
        task_status.started()
        while True:
            if self._ready.is_set():
                # Nobody tells of the end of readiness; the shortest wait is far above this.
                await trio.sleep(_EXPIRE_SECONDS)
                continue
            wait = self.settings.wait_seconds
            if self._door is not None and time.monotonic() - self._without_since >= wait:
                why = (
                    f"no worker has been ready for {wait:g} s: {self._without_why}. Whether this request was begun is "
                    f"not known, so look before you repeat it. The log says more: {self.launched.log}"
                )
                self._door.expire(trio.current_time() - wait, why)
            await trio.sleep(min(_EXPIRE_SECONDS, wait / 4))

    def _poison(self) -> str:
        return (
            "the server process died three times while it carried out this request, so it is not tried again. "
            f"The log says why: {self.launched.log}"
        )


@final
class _Life:
    """One worker, from its activation to its death."""

    __slots__ = ("process", "ready_seconds", "unheard", "wedged")

    def __init__(self, process: FrontProcess) -> None:
        self.process = process
        self.ready_seconds: float | None = None
        self.wedged = False
        self.unheard = False
        """Whether it is not listened to, because the client does not read."""


async def _no_spare() -> FrontProcess | None:
    return None


def _shown(status: int | None) -> str:
    """Say how a process has ended."""
    if status is None:
        return "its status not known"
    return f"status {status}" if status >= 0 else f"signal {-status}"
