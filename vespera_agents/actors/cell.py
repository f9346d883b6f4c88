"""The life of one actor: its incarnations, one after the other, behind one endpoint.

`Cell.run` is what a supervisor starts as a child. The cell makes the actor object, runs its hooks, and decides what
becomes of the mail when an incarnation ends: kept where a restart follows, failed where none does. Restarts
themselves are the supervisor's business.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol, cast, final

import trio
from trio.lowlevel import Task, current_task

from supervisors.exits import StopCause
from supervisors.forcing import Killed
from supervisors.incarnation import ChildStatus
from supervisors.listeners import Report, ReportKind
from supervisors.specs import ChildSpec, Restart
from supervisors.timekeeper import Alarm
from supervisors.trees import HasTreeDetail
from vespera_agents.actors.actor import Actor
from vespera_agents.actors.drain import serve
from vespera_agents.actors.endpoint import Endpoint
from vespera_agents.actors.errands import Stop
from vespera_agents.actors.parking import SHARED_TRAP, check, park, wake_with
from vespera_agents.actors.registry import Registry
from vespera_agents.actors.settling import CUT_OFF, Fenced, crash_of, settle
from vespera_agents.actors.statistics import ActorState, StopReason
from vespera_agents.actors.waits import CALLERS

_FOR_GOOD: Final = (StopCause.SHUTDOWN, StopCause.KILL)
_TO_BE_REPLACED: Final = (StopCause.HUNG, StopCause.RESTART, StopCause.START_TIMEOUT)
_STARTING: Final = ActorState.STARTING
_RUNNING: Final = ActorState.RUNNING
_RESTARTING: Final = ActorState.RESTARTING
ON_STOP_SHARE: Final = 0.8
"""The part of an actor's shutdown time that its on_stop may use, so that it ends before it is cut off."""


@final
@dataclass(frozen=True, slots=True)
class Terms:
    """On what terms an actor lives; all actors that are started alike share one."""

    restart: Restart
    """When its supervisor starts it again."""
    shutdown_seconds: float
    """How long it may take to end once asked."""
    start_timeout_seconds: float
    """How long it may take to get ready."""

    def child_spec(self, child_id: str, args: tuple[Cell, ...] = ()) -> ChildSpec:
        """Return what a supervisor makes of such an actor; the cell is the start argument."""
        return ChildSpec(
            child_id,
            Cell.run,
            args=args,
            restart=self.restart,
            shutdown_seconds=self.shutdown_seconds,
            start_timeout_seconds=self.start_timeout_seconds,
        )


@final
class Cell:
    """One actor across its incarnations."""

    __slots__ = (
        "_actor", "_actor_class", "_args", "_crash", "_done", "_names", "_starter", "_status", "_supervisor", "_terms",
        "_was_restarting", "endpoint", "is_final", "is_own",
    )  # fmt: skip

    def __init__(
        self,
        actor_class: Callable[..., Actor],
        args: tuple[object, ...],
        terms: Terms,
        endpoint: Endpoint,
        names: Registry[Cell],
    ) -> None:
        self._actor_class = actor_class
        self._args = args
        self._terms = terms
        self._names = names
        self._crash: BaseException | None = None
        self._supervisor: str | None = None
        self._done: trio.Event | None = None
        self._starter: Task | None = None
        self._actor: Actor | None = None
        self._status: ChildStatus | None = None
        self._was_restarting = False
        self.endpoint = endpoint
        """Its address, and the reference to it."""
        self.is_final = False
        """Whether the next end is the last, whatever the restart type says."""
        self.is_own = False
        """Whether it was started by the system itself, and is a child of its root."""

    # One incarnation ------------------------------------------------------------------------------------------------

    async def run(self, *, task_status: ChildStatus) -> None:
        """Live one incarnation. Cancelled: the message in hand is cut off, on_stop runs, the mail fails.

        Raises:
            NameTaken: Another living actor has the name.
            Exception: Whatever the constructor, a hook or a handler raised.
        """
        endpoint = self.endpoint
        self._begin()
        task = endpoint.task = current_task()
        CALLERS[task] = endpoint
        self._status = task_status
        actor: Actor | None = None
        try:
            # A sample of those that have nothing to do: reading the clock twice is a twentieth of starting one.
            counts = endpoint.counts
            began = None if counts.starts % 7 else endpoint.clock()
            actor = self._actor = self._actor_class(*self._args)
            actor.attach(endpoint)
            if actor.gets_ready:
                began = endpoint.clock() if began is None else began
                await self._get_ready(actor)
            counts.starts += 1
            if began is not None:
                counts.init_duration.observe(endpoint.clock() - began)
            endpoint.state = _RUNNING
            if endpoint.switchboard.snapshots:
                # Not before: a start that failed has not used it up.
                endpoint.switchboard.snapshots.pop(endpoint.name, None)
            if actor.tells_tree_detail:
                endpoint.facts = cast("HasTreeDetail", actor).tree_detail
            self._crash = None
            task_status.started(endpoint)
            self._tell_starter((True, None))
            await serve(actor, endpoint, task_status)
        except Fenced:
            return
        except BaseException as error:
            if endpoint.task is task:
                await self._end(actor, error, task_status)
            if not isinstance(error, Stop):
                raise
        finally:
            CALLERS.pop(task, None)
        if self.is_final:
            # A permanent child that returned would be restarted: whoever stopped it for good ends it from outside.
            await trio.sleep_forever()

    def _begin(self) -> None:
        """Take up the name and the mail."""
        endpoint = self.endpoint
        if endpoint.switchboard.is_closed:
            raise RuntimeError(f"The system of actor {endpoint.name!r} is closed: keep it open while its actors live.")
        if endpoint.task is not None:
            self._fence_predecessor()
        if not endpoint.is_open:
            self._names.claim(self)
            endpoint.open()
        self._was_restarting = endpoint.state is _RESTARTING
        endpoint.incarnation += 1
        endpoint.state = _STARTING
        snapshots = endpoint.switchboard.snapshots
        if snapshots and endpoint.incarnation == 1:
            endpoint.saved = snapshots.get(endpoint.name)

    async def _get_ready(self, actor: Actor) -> None:
        endpoint = self.endpoint
        task = endpoint.task
        if self._was_restarting:
            await actor.on_restart(self._crash)
            if endpoint.task is not task:
                raise Fenced
        if actor.takes_snapshot:
            await cast("TakesSnapshot", actor).on_start(endpoint.saved)
        else:
            await actor.on_start()
        if endpoint.task is not task:
            raise Fenced

    # Its end --------------------------------------------------------------------------------------------------------

    async def _end(self, actor: Actor | None, error: BaseException, status: ChildStatus) -> None:
        """Clean up after an incarnation that got ready, and draw the conclusions.

        Raises:
            Exception: What on_stop raised, where nothing else had broken the actor.
        """
        endpoint = self.endpoint
        task = endpoint.task
        crash = crash_of(error, actor, endpoint.name, status)
        try:
            if actor is not None and endpoint.state is _RUNNING:
                await self._clean_up(actor, crash)
        except BaseException as unclean:
            crash = crash_of(unclean, actor, endpoint.name, status)
            raise
        finally:
            if endpoint.task is task:  # Not fenced in its on_stop: then its successor may have ended already.
                self._ended(crash, status)

    async def _clean_up(self, actor: Actor, crash: BaseException | None) -> None:
        """Take a snapshot and run on_stop, in bounded time; an error is raised, or noted on the crash before it."""
        endpoint = self.endpoint
        endpoint.state = ActorState.STOPPING
        endpoint.busy_since = None
        endpoint.facts = None
        seconds = min(actor.stop_timeout_seconds, ON_STOP_SHARE * self._terms.shutdown_seconds)
        with trio.move_on_after(seconds, shield=True) as scope:
            try:
                try:
                    if crash is None:
                        endpoint.saved = actor.snapshot()
                finally:
                    await actor.on_stop()
            except Exception as error:
                if crash is None:
                    raise
                crash.add_note(f"on_stop failed as well: {type(error).__name__}: {error}")
        if scope.cancelled_caught:
            endpoint.counts.stop_timeouts += 1

    def _ended(self, crash: BaseException | None, status: ChildStatus) -> None:
        """Draw the conclusions from the end of the incarnation."""
        endpoint = self.endpoint
        # The exception's type lies: an error may come out of a child that was asked to stop. Its supervisor does not.
        cause = status.stop_cause
        if endpoint.state is _STARTING:
            reason = StopReason.START_FAILED
            restarts = self._was_restarting
        elif crash is not None:
            reason = StopReason.CRASHED
            restarts = self._terms.restart is not Restart.TEMPORARY and isinstance(crash, Exception | Killed)
        elif cause is None:
            reason = StopReason.NORMAL
            restarts = self._terms.restart is Restart.PERMANENT
        else:
            reason = StopReason.SHUTDOWN
            restarts = False
        if cause is StopCause.RESTART:
            restarts = self._terms.restart is not Restart.TEMPORARY
        elif cause in _FOR_GOOD:
            restarts = False
        endpoint.counts.stops.increment(reason)
        self._crash = crash or self._crash
        self._supervisor = status.supervisor
        self._actor = self._status = None
        endpoint.leave(crash)
        if restarts and not self.is_final:
            self._await_restart()
        else:
            self.give_up("it stopped" if crash is None else f"it crashed with {type(crash).__name__}: {crash}")

    def _await_restart(self) -> None:
        """Keep the mail for the next incarnation, and not for ever: a supervisor may give up without a word."""
        endpoint = self.endpoint
        endpoint.state = ActorState.RESTARTING
        switchboard = endpoint.switchboard
        alarm = Alarm(switchboard.timekeeper, partial(self._grace_over, endpoint.incarnation))
        alarm.set(endpoint.clock() + switchboard.restart_grace_seconds)

    def _grace_over(self, incarnation: int) -> None:
        if self.endpoint.incarnation == incarnation:
            self.give_up_restart("it ended and was not restarted in time")

    def give_up_restart(self, reason: str) -> None:
        """End for good if it is between two incarnations; otherwise do nothing."""
        if self.endpoint.state is ActorState.RESTARTING:
            self.give_up(reason)

    def give_up(self, reason: str) -> None:
        """End for good, unless a supervisor starts it again: the mail fails, the name is free. Idempotent."""
        endpoint = self.endpoint
        if endpoint.state is not ActorState.STOPPED:
            endpoint.state = ActorState.STOPPED
            crash, self._crash = self._crash, None
            endpoint.shut(reason, crash)
            self._tell_starter((False, crash))
        if not self.is_final:
            self.free_name()
        elif self._done is not None:
            self._done.set()

    def free_name(self) -> None:
        """Let others have its name. Whoever stops it for good does so last: by its name it is taken out of the tree."""
        self._names.release(self)

    def abandon(self) -> None:
        """End for good because its supervisor has: what still runs of it is ignored from now on. Idempotent."""
        self._fence_predecessor()
        self.give_up("it was not started")

    def expect_mail(self) -> None:
        """Accept mail from now on: it is about to be started."""
        self.endpoint.state = _STARTING
        self.endpoint.open()

    async def wait_started(self) -> tuple[bool, BaseException | None]:
        """Wait until it is ready, or is not going to be: whether it is, and otherwise what its start raised.

        To be called in the step in which it was begun. Cancelled: the start goes on, and nobody hears of it.
        """
        task = self._starter = current_task()
        task.custom_sleep_data = self
        try:
            heard: tuple[bool, BaseException | None] = await park(SHARED_TRAP)
        finally:
            self._starter = None
        check(heard)
        return heard

    def _tell_starter(self, heard: tuple[bool, BaseException | None]) -> None:
        task, self._starter = self._starter, None
        if task is not None and task.custom_sleep_data is not None:
            wake_with(task, heard)

    async def wait_done(self) -> None:
        """Wait until its last end is over, after `is_final` was set."""
        if self.endpoint.state is ActorState.STOPPED:
            return
        if self._done is None:
            self._done = trio.Event()
        await self._done.wait()

    @property
    def busy_limit_seconds(self) -> float | None:
        """How long the message in hand may take, as far as its actor says so."""
        actor = self._actor
        if actor is None:
            return None
        if actor.busy_limit_seconds is None and actor.handler_timeout_seconds < math.inf:
            return actor.handler_timeout_seconds
        return actor.busy_limit_seconds

    # What supervisors say -------------------------------------------------------------------------------------------

    def hear(self, report: Report) -> None:
        """Take a supervisor's report about a child that has this actor's name, and may be somebody else."""
        if report.kind is ReportKind.CHILD_FENCED and self.is_below(report.supervisor):
            self._fence_predecessor()

    def is_below(self, supervisor: str) -> bool:
        """Whether it was last started by a supervisor of this name."""
        status = self._status
        return supervisor == (self._supervisor if status is None else status.supervisor)

    def _fence_predecessor(self) -> None:
        """Settle what an incarnation holds that its supervisor gave up waiting for; it still runs, and is ignored."""
        endpoint = self.endpoint
        if endpoint.task is None:
            return
        status = self._status
        crash = None if status is None else crash_of(None, self._actor, endpoint.name, status)
        # What it asks from now on must not look like a question of its successor.
        CALLERS.pop(endpoint.task, None)
        endpoint.waiting_on = endpoint.branches = None
        if endpoint.current is not None:
            settle(endpoint, endpoint.current, crash, CUT_OFF)
        if status is not None and status.stop_cause in _TO_BE_REPLACED:
            self._ended(crash, status)
            return
        self._actor = self._status = None
        endpoint.counts.stops.increment(StopReason.SHUTDOWN)
        endpoint.leave(None)
        self.give_up(CUT_OFF)


class TakesSnapshot(Protocol):
    """An actor whose on_start wants the snapshot."""

    async def on_start(self, snapshot: object, /) -> None:
        """Get ready, from there."""
        ...
