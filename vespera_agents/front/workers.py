"""The worker of a front, one after the other: activated, listened to, and replaced when it is dead.

A worker that had become ready and died is replaced at once, here. One that died before it was ready is a crash of this
child of the tree, so that its supervisor waits longer each time and never gives up. Who is activated is the only one:
the whole group of the one before is killed, and the kernel has confirmed its death. Neighbours: `processes` is one
process, `vigil` watches it, `spares` has another one ready, `restarting` a fresh one, `doors` is what clients see.
"""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple, cast, final

import trio

from vespera_agents.front.doors import Door
from vespera_agents.front.fleet import Fleet, WorkerFailed, shown_status
from vespera_agents.front.framing import ACTIVATE, ASK, DRAINED, END_OF_REPLAY, LOCK, PING, READY, WARM
from vespera_agents.front.launch import Launch
from vespera_agents.front.lives import LAST_SECONDS, Life
from vespera_agents.front.locks import Locks
from vespera_agents.front.log import Log
from vespera_agents.front.parking import NEVER_TAKEN, Parked, no_spare
from vespera_agents.front.processes import FrontProcess
from vespera_agents.front.questions import Questions
from vespera_agents.front.settings import Settings
from vespera_agents.front.standing import Standing
from vespera_agents.front.vigil import Vigil

__all__ = ["EXIT_BAD_INPUT", "Workers", "WorkersStatistics"]

EXIT_BAD_INPUT: Final = 2
"""The exit status of a worker whose words or workspace are wrong: no other worker would fare better."""
_POISON: Final = (
    "the server process died three times while it carried out this request, so it is not tried again. The log says why:"
)
_EXPIRE_SECONDS: Final = 0.5
"""How often requests are looked for that have waited for too long."""


@final
class WorkersStatistics(NamedTuple):
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
    locks: int
    """Locks that are held for workers."""


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
        self.fleet = Fleet(settings, launched, log, self.standing)
        """All processes of the front."""
        self.ending = trio.Event()
        """Set when the front is about to end."""
        self.gone = trio.Event()
        """Set when it has no worker any more and will have none."""
        self.exit_status = 0
        """How the front shall end."""
        self.greeting: dict[str, object] = {}
        """What the worker said when it became ready."""
        self.first_ready = trio.Event()
        """Set when the first worker has become ready."""
        self.take_spare: Callable[[], Awaitable[FrontProcess | None]] = no_spare
        """Gives a process that only waits to be activated, if there is one."""
        self.questions = Questions(self.standing)
        """What workers ask of the front."""
        self.renew_spares: Callable[[], object] = lambda: None
        """Has spares made of the code on disk, and takes none of the code before any more."""
        self.heir: Parked | None = None
        """The process that takes over when the worker ends, because a restart was asked for."""
        self.drained = trio.Event()
        """Set when the worker has ended what was under way, after it was told to."""
        self._door: Door | None = None
        self._first: FrontProcess | None = self.fleet.first
        self._life: Life | None = None
        self._vigil = Vigil(settings, log)
        self._locks = Locks()
        self._ready = trio.Event()
        self._lost = trio.Event()
        self._patient = True
        self._from_disk = False
        self._running = False
        self._without_since = time.monotonic()
        self._without_why = "the first worker has not become ready yet"
        self._deaths = self._failed = 0

    # ---- for the doors

    @property
    def active(self) -> FrontProcess | None:
        """The worker that is told what clients say."""
        return None if self._life is None else self._life.process

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
        if self._life is not None:
            self._life.process.tell(data)

    async def wait_ready(self) -> None:
        """Wait until there is a worker that works."""
        while not self._ready.is_set():
            await self._ready.wait()

    def end(self, why: str, *, patient: bool) -> None:
        """End the front.

        Args:
            why: for the log.
            patient: whether a worker, even one that is not ready yet, shall first say what it has to say.
        """
        if not self.ending.is_set():
            self.log.say(f"ends: {why}")
        self._patient = self._patient and patient
        self.ending.set()
        if not self._running:
            self.gone.set()

    # ---- for restarts

    def announce(self) -> None:
        """Tell the worker how the front fares."""
        if self._ready.is_set():
            self.tell(self.standing.line())

    async def replace_active(self, *, kill: bool) -> None:
        """End the worker, so that the heir takes over.

        Args:
            kill: whether by force, and not in order.
        """
        life = self._life
        if life is None:
            return
        life.replaced = True
        await life.end(0.0 if kill else self.settings.stop_seconds)

    # ---- as a child of the tree

    async def run(self, *, task_status: trio.TaskStatus[Workers]) -> None:
        """Have a worker until the front ends.

        Raises:
            WorkerFailed: one died before it was ready, or no more processes may live.
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

    async def keep_expiring(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Answer requests that have waited for a worker for too long: another child."""
        task_status.started()
        wait = self.settings.wait_seconds
        while True:
            if self._ready.is_set():
                await self._lost.wait()
            await trio.sleep(min(_EXPIRE_SECONDS, wait / 4))
            if self._ready.is_set() or self._door is None or time.monotonic() - self._without_since < wait:
                continue
            why = (
                f"no worker has been ready for {wait:g} s: {self._without_why}. Whether this request was begun is "
                f"not known, so look before you repeat it. The log says more: {self.launched.log}"
            )
            self._door.expire(trio.current_time() - wait, why)

    def tree_detail(self) -> dict[str, str | int | float]:
        """Say what the tree shows of it."""
        active = self.active
        return {
            "generation": self.standing.generation,
            "ready": int(self.ready),
            "pid": 0 if active is None else active.pid,
            "deaths": self._deaths,
        }

    def statistics(self) -> WorkersStatistics:
        """Give its numbers as they are now."""
        return WorkersStatistics(
            generation=self.standing.generation,
            ready=self.ready,
            processes=len(self.fleet),
            deaths=self._deaths,
            failed_starts=self._failed,
            wedged=self._vigil.wedged,
            late_pongs=self._vigil.late,
            locks=len(self._locks),
        )

    # ---- one worker

    async def _have_one(self, reason: str) -> str:
        """Have one worker until it is dead; gives the reason of the next."""
        life = self._life = await self._next()
        try:
            self._activate(life, "restart" if life.heir else reason)
            await self._listen_to_its_end(life)
        finally:
            await self.fleet.kill(life.process)
            self._finish(life)
        # Code on disk may work where that of before does not: a newer version may have migrated the database.
        self._from_disk = not (life.ready or life.heir or self._from_disk)
        if not life.ready and not self.ending.is_set():
            if life.heir:
                # What was asked for does not work, but what was there before may: no reason to wait.
                return "restart"
            raise WorkerFailed(self._without_why)
        return "wedged" if life.wedged else "restart" if life.replaced else "crash"

    async def _next(self) -> Life:
        """Give the process that shall work: the first, the one of a restart, a spare, or a new one."""
        if self._first is not None:
            first, self._first = self._first, None
            return Life(first)
        heir, self.heir = self.heir, None
        if heir is not None and (process := await heir.take()) is not None:
            return Life(process, heir=True)
        if heir is not None and self.standing.restarting is not None:
            self.standing.restarting.fail(f"{NEVER_TAKEN}; the log says more")
        return Life((None if self._from_disk else await self.take_spare()) or self.fleet.spawn("worker"))

    def _activate(self, life: Life, reason: str) -> None:
        standing, process = self.standing, life.process
        standing.generation += 1
        standing.since = time.time()
        assert self._door is not None, "whoever makes the workers says who stands before them"
        process.activated.set()
        if standing.generation == 1:
            # It was told before we were there, and there was nothing to repeat.
            self.log.say(f"worker 1 (pid {process.pid}) starts")
            return
        if standing.restarting is not None:
            standing.restarting.served_by(standing.generation, old_code=process.what != "worker")
        activation = {
            "server": self.launched.server,
            "generation": standing.generation,
            "reason": reason,
            "restart": None if standing.restarting is None else standing.restarting.facts(),
            "log": self.launched.log,
        }
        head = b"%s %d %s\n" % (ACTIVATE, standing.generation, json.dumps(activation).encode())
        process.tell(head + b"".join(self._door.repeat()) + END_OF_REPLAY + b"\n" + standing.line())
        self.log.say(f"worker {standing.generation} (pid {process.pid}, {process.what}) takes over: {reason}")

    async def _listen_to_its_end(self, life: Life) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(life.process.keep_sending)
            nursery.start_soon(self._keep_listening, life)
            nursery.start_soon(self._vigil.watch, life)
            nursery.start_soon(self._end_when_told, life)
            await life.process.wait_ended()
            nursery.cancel_scope.cancel()

    async def _keep_listening(self, life: Life) -> None:
        assert self._door is not None
        while (lines := await life.process.lines()) is not None:
            for line in lines:
                self._hear(life, line)
            life.heard.set()
            while self._door.stuffed():
                life.unheard = True
                await self._door.wait_taken()
            life.unheard = False

    async def _end_when_told(self, life: Life) -> None:
        """Let a worker end by itself once the front ends, for a while."""
        await self.ending.wait()
        process, settings = life.process, self.settings
        if self._patient:
            # Who has closed its end before anybody could answer waits for the start: it can wait for the answers, too.
            seconds = LAST_SECONDS if life.ready else settings.end_seconds
            with trio.move_on_after(settings.start_seconds):
                await process.became_ready.wait()
            await life.say_last(self.busy, seconds)
        await life.end(settings.end_seconds if life.ready else 0.0)

    def _finish(self, life: Life) -> None:
        """Hear the last words of a worker that is dead, and say that there is none."""
        process, generation = life.process, self.standing.generation
        for line in process.rest():
            self._hear(life, line)
        self._life = None
        # Who waits for one that works waits on, if this one has never worked.
        self._ready = trio.Event() if self._ready.is_set() else self._ready
        self._lost.set()
        if life.ready:
            self._without_since = time.monotonic()
        asked = self.ending.is_set() or life.replaced
        how, moment = shown_status(process.status), time.strftime("%H:%M:%S", time.gmtime())
        unready = "" if life.ready else " before it was ready"
        words = "" if life.ready else self.log.last_words()
        self._without_why = f"worker {generation} (pid {process.pid}) ended with {how} at {moment} UTC{unready}{words}"
        if not asked:
            self._deaths += 1
            self._failed += not life.ready
            self.standing.died(generation, process.pid, process.status, ready=life.ready)
        (self.log.say if asked else self.log.tell)(f"worker {generation} (pid {process.pid}) ended with {how}{unready}")
        if life.heir and not life.ready and self.standing.restarting is not None:
            self.standing.restarting.fail(f"the new worker ended with {how} before it was ready{words}")
        if not self.first_ready.is_set() and process.status == EXIT_BAD_INPUT:
            self.exit_status = EXIT_BAD_INPUT
            self.end("the first worker refused what it was told", patient=False)
        if self._door is not None:
            self._door.lose(blamed=life.ready and not asked, why=f"{_POISON} {self.launched.log}")
        self.fleet.bury(process)

    # ---- what it says

    def _hear(self, life: Life, line: bytes) -> None:
        flag = line[:1]
        try:
            if flag == PING:
                self._vigil.answered(int(line[2:]))
            elif flag == READY:
                self._became_ready(life, line[2:])
            elif flag == ASK:
                number, _, question = line[2:].partition(b" ")
                self._answer(life, int(number), cast("object", json.loads(question)))
            elif flag == LOCK:
                self._locks.keep(line[2:], life.process)
            elif flag == DRAINED:
                self.log.say(f"worker {life.process.pid} is drained: {line[2:200].decode(errors='replace')}")
                self.drained.set()
            elif flag != WARM and self._door is not None:
                # One that was taken early says that it is warm only now.
                self._door.hear(line)
        except (ValueError, RecursionError) as error:
            self.log.tell(f"worker {life.process.pid} speaks another language ({error}): it is replaced")
            life.process.kill()

    def _became_ready(self, life: Life, greeting: bytes) -> None:
        facts = cast("object", json.loads(greeting or b"{}"))
        self.greeting = cast("dict[str, object]", facts) if isinstance(facts, dict) else {}
        took = time.monotonic() - self._without_since
        life.process.became_ready.set()
        self._ready.set()
        self._lost = trio.Event()
        self.first_ready.set()
        if life.heir:
            self.renew_spares()
        self.log.say(f"worker {self.standing.generation} (pid {life.process.pid}) is ready after {took * 1000:.1f} ms")
        self.announce()

    def _answer(self, life: Life, number: int, question: object) -> None:
        def reply(answer: dict[str, object]) -> None:
            # The next worker numbers its questions anew.
            if self._life is life:
                self.tell(b"%s %d %s\n" % (ASK, number, json.dumps(answer).encode()))

        self.questions.answer(question, reply)
