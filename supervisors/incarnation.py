"""One life of a child: its trio task, its ready handshake, its promises, the steps by which it is stopped, its end.

It decides nothing: `supervisors.offspring` starts it, waits for it and draws the conclusions. A life that was fenced
(not even force could end it) keeps its number, and nothing it says is heard any more.
"""

from __future__ import annotations

import math
import random
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, final

import trio
from trio.lowlevel import Task, current_task

from supervisors.enclosing import enclose, leave
from supervisors.errors import Ignore
from supervisors.exits import Exit, ExitKind, StopCause, hidden_error
from supervisors.forcing import Killed, force_kill
from supervisors.ladder import NOT_STOPPING, Rung, Stopping
from supervisors.timekeeper import Alarm, Timekeeper

if TYPE_CHECKING:
    from supervisors.children import Child
    from supervisors.listeners import Listener, ReportContext

KILL_GRACE_SECONDS: Final = 1.0
"""How long a task may take to unwind once it is stopped by force; after half of that, force is used again."""


@final
@dataclass(frozen=True, slots=True)
class Ground:
    """What a whole tree stands on; handed down from the root supervisor with each child's task status."""

    nursery: trio.Nursery
    """Where every incarnation of the tree runs, sheltered from all cancellation. One nursery for all, so that a task
    which cannot be stopped keeps only the root waiting at its very end, and never a supervisor in the middle."""
    timekeeper: Timekeeper
    """What rings for every start timeout, stop timeout, backoff and promise of the tree."""
    rng: random.Random
    """Where the jitter of the tree's backoffs comes from."""
    listener: Listener | None
    """The root's listener: supervisors below that have none of their own use it."""


class ChildStatus(Protocol):
    """What a child finds in its `task_status`, beyond trio's `started()`."""

    @property
    def supervisor(self) -> str:
        """The name of the supervisor that started it."""
        ...

    @property
    def incarnation(self) -> int:
        """Which life this is, from 1: a number that only grows, to fence off the lives before."""
        ...

    @property
    def fenced(self) -> bool:
        """Whether this life was cut off; its replacement may run, so leave alone what both would own."""
        ...

    @property
    def stop_cause(self) -> StopCause | None:
        """Why it is being stopped; None while it is not."""
        ...

    @property
    def stop_requested(self) -> bool:
        """Whether it was asked to stop; with `grace_seconds` in its spec it has that long to return by itself."""
        ...

    async def wait_stop_requested(self) -> None:
        """Wait until it is asked to stop."""
        ...

    def started(self, value: object = None) -> None:
        """Say that the child is ready, with the value it is known by; or answer Ignore: "do not run me"."""
        ...

    def beat(self, within_seconds: float | None = None) -> None:
        """Say that it lives, and promise to say so again within `within_seconds` (None: its spec's beat_seconds).

        Raises:
            Killed: this life was fenced; it has nothing to do any more.
        """
        ...

    def rest(self) -> None:
        """Take the promise back until the next beat: it waits for something that may take for ever."""
        ...


class Kin(Protocol):
    """Who hears of a life, in its own task and without waiting."""

    @property
    def name(self) -> str:
        """What the supervisor is called."""
        ...

    def became_ready(self, incarnation: Incarnation) -> None:
        """It has called started()."""
        ...

    def broke_promise(self, incarnation: Incarnation) -> None:
        """Its next beat is late, or the next step of stopping it for that is due."""
        ...

    def ended(self, incarnation: Incarnation, error: BaseException | None, hidden: BaseException | None) -> None:
        """Its task ends; with what came out, and with what its cancellation hid."""
        ...

    def interrupted(self, interrupt: KeyboardInterrupt) -> None:
        """Ctrl-C came while its end was being seen to."""
        ...


_FENCED: Final = Rung.FENCED


@final
class Incarnation:
    """The live side of a child, from its start to the end of its trio task; also the `task_status` it is given."""

    __slots__ = (
        "_alarm",
        "_answered",
        "_kin",
        "_stop_event",
        "_stopping",
        "_task",
        "child",
        "context",
        "error",
        "exit",
        "ground",
        "number",
        "ready_at",
        "since",
        "value",
    )

    def __init__(self, child: Child, number: int, kin: Kin, ground: Ground, context: ReportContext) -> None:
        self.child = child
        """Whose life it is."""
        self.number = number
        """Which life of the child this is, from 1."""
        self.ground = ground
        """What its tree stands on: a supervisor that runs as a child finds it here."""
        self.context = context
        """Whether this is a start or a restart."""
        self.since = ground.timekeeper.clock()
        """When it began, on trio's clock."""
        self.ready_at: float | None = None
        """When it called started(), if that still counted."""
        self.value: object = None
        """What it gave to started()."""
        self.exit: Exit | None = None
        """How it ended."""
        self.error: BaseException | None = None
        """What a failed start raised, until whoever waits for the start has taken it."""
        self._stopping = NOT_STOPPING
        self._task: Task | None = None
        self._kin = kin
        self._alarm: Alarm | None = None
        self._stop_event: trio.Event | None = None
        self._answered = False

    # ---- its task

    async def live(self) -> None:
        """Run the child to its end and tell its kin what came out; raises nothing, whatever the child does."""
        # This frame lives as long as the child: each local variable is 8 bytes of every child, and keeps what is in it.
        error: BaseException | None = None
        self._task = current_task()
        try:
            if self._stopping.scope is not None:
                self._stopping.scope.__enter__()  # It was stopped before its first step.
            await self.child.start(self)
        except BaseException:  # noqa: BLE001 - the boundary of supervision: a crash becomes a value here.
            error = sys.exception()
        try:
            self._over(error)
        finally:
            # An error's traceback holds this frame, so keeping the error in it would make garbage of every crash.
            del error

    def _over(self, error: BaseException | None) -> None:
        hidden: BaseException | None = None
        self._task = None
        stopping = self._stopping
        if stopping is not NOT_STOPPING:
            if error is not None:
                hidden = hidden_error(error, stopping.amid)
            stopping.amid = None
            if stopping.scope is not None:
                error = leave(stopping.scope, error)
        if self._alarm is not None:
            self._alarm.discard()
            self._alarm = None
        try:
            self._kin.ended(self, error, hidden)
        except KeyboardInterrupt as interrupt:
            # Let out of here it would cancel the nursery of all children, and so stop the tree without any order.
            self._kin.interrupted(interrupt)
        finally:
            # An error's traceback holds this frame, so keeping the error in it would make garbage of every crash.
            del error, hidden

    # ---- how far stopping it has come

    @property
    def rung(self) -> Rung:
        """How far stopping it has come."""
        return self._stopping.rung

    @property
    def stop_cause(self) -> StopCause | None:
        """Why it is being stopped; None while it is not."""
        return self._stopping.cause

    @property
    def stop_requested_at(self) -> float:
        """When that began."""
        return self._stopping.requested_at

    @property
    def stop_due(self) -> float:
        """When the next rung is due."""
        return self._stopping.due

    @property
    def forced(self) -> ExitKind | None:
        """How its end is named if force was used: KILLED or STOP_TIMEOUT."""
        return self._stopping.forced

    # ---- what the child says

    @property
    def supervisor(self) -> str:
        """The name of the supervisor that started it."""
        return self._kin.name

    @property
    def incarnation(self) -> int:
        """Which life this is, as the child calls it."""
        return self.number

    @property
    def fenced(self) -> bool:
        """Whether it was cut off."""
        return self._stopping.rung is _FENCED

    @property
    def stop_requested(self) -> bool:
        """Whether it was asked to stop."""
        return self._stopping is not NOT_STOPPING

    async def wait_stop_requested(self) -> None:
        """Wait until it is asked to stop."""
        if self._stop_event is None:
            self._stop_event = trio.Event()
            if self.stop_requested:
                self._stop_event.set()
        await self._stop_event.wait()

    def started(self, value: object = None) -> None:
        """Take the child's answer: it is ready, or (Ignore) it does not want to run."""
        if self._answered:
            raise RuntimeError("started() was called twice; call it once, when the child is ready")
        self._answered = True
        if self._stopping is not NOT_STOPPING:
            return
        if value is Ignore or isinstance(value, Ignore):
            self.request_stop(StopCause.IGNORED, math.inf)
            return
        self.value = value
        self.ready_at = self.ground.timekeeper.clock()
        if self.child.spec.beat_seconds < math.inf:
            self.beat()
        self._kin.became_ready(self)

    def beat(self, within_seconds: float | None = None) -> None:
        """Move the moment at which it counts as hung."""
        if self._stopping is not NOT_STOPPING or self.ready_at is None:
            if self.fenced:
                raise Killed("this life was cut off; its replacement may run")
            return  # Its start and its stop have limits of their own.
        promise = self.child.spec.beat_seconds if within_seconds is None else within_seconds
        if self._alarm is None:
            self._alarm = Alarm(self.ground.timekeeper, self._rang)
        self._alarm.set(self.ground.timekeeper.clock() + promise)

    def rest(self) -> None:
        """Promise nothing until the next beat."""
        if self._alarm is not None and self._stopping is NOT_STOPPING:
            self._alarm.set(math.inf)

    def _rang(self) -> None:
        self._kin.broke_promise(self)

    # ---- how it is stopped

    def request_stop(self, cause: StopCause, patience_seconds: float) -> None:
        """Take the first step: ask, cancel or kill; asking again gives a new cause at most, and never more time."""
        stopping = self._stopping
        if stopping is not NOT_STOPPING:
            if stopping.cause in {StopCause.IGNORED, StopCause.HUNG} and stopping.due == math.inf:
                stopping.due = self.ground.timekeeper.clock() + patience_seconds
            if stopping.cause is StopCause.HUNG:
                stopping.cause = cause
            return
        stopping = self._stopping = Stopping()
        stopping.cause = cause
        now = stopping.requested_at = self.ground.timekeeper.clock()
        if self._alarm is not None:
            self._alarm.set(math.inf)
        if self._stop_event is not None:
            self._stop_event.set()
        # Only one who could listen is asked: not one that hung, or was not even ready.
        grace = self.child.spec.grace_seconds if cause in {StopCause.SHUTDOWN, StopCause.RESTART} else 0.0
        if patience_seconds == 0.0:
            self.force(ExitKind.KILLED)
        elif grace > 0.0:
            stopping.rung = Rung.ASKED
            stopping.due = now + grace
        else:
            self._cancel(stopping, now + patience_seconds)

    def climb(self, patience_seconds: float) -> None:
        """Take the next step, because its time has come."""
        stopping = self._stopping
        match stopping.rung:
            case Rung.ASKED:
                self._cancel(stopping, stopping.requested_at + patience_seconds)
            case Rung.CANCELLED | Rung.FORCED:
                self.force(stopping.forced or ExitKind.STOP_TIMEOUT)
            case _:
                self.cut_off()

    def force(self, named: ExitKind) -> None:
        """Throw Killed into all its tasks, once it is being stopped; `named` is its end's name if that ends it."""
        stopping = self._stopping
        assert stopping is not NOT_STOPPING, "force is used on what was asked to stop"
        stopping.rung = Rung.FORCED_AGAIN if stopping.rung is Rung.FORCED else Rung.FORCED
        stopping.forced = named
        stopping.due = self.ground.timekeeper.clock() + KILL_GRACE_SECONDS / 2
        self._cancel_scope(stopping)
        if self._task is not None:
            force_kill(self._task)

    def cut_off(self) -> None:
        """Take the last step: nothing that it still says is heard."""
        if self._stopping is NOT_STOPPING:
            self._stopping = Stopping()
        self._stopping.rung = _FENCED
        self._stopping.due = math.inf

    def drive(self) -> None:
        """Have its own alarm ring when the next rung is due: nobody waits for it."""
        if self._alarm is not None:
            self._alarm.set(self._stopping.due)

    def _cancel(self, stopping: Stopping, due: float) -> None:
        stopping.rung = Rung.CANCELLED
        stopping.due = due
        self._cancel_scope(stopping)

    def _cancel_scope(self, stopping: Stopping) -> None:
        if stopping.cause is not None and stopping.scope is None:
            stopping.amid = sys.exception()
            # Shielded: only its supervisor stops it, in the supervisor's order.
            stopping.scope = trio.CancelScope(shield=True)
            if self._task is not None:
                enclose(self._task, stopping.scope)
            stopping.scope.cancel(reason=stopping.cause.value)
