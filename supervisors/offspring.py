"""What a supervisor does with its children: starts one, stops one, stops all, and sees every end.

It makes no decision about restarts: an end that nobody asked for goes to `on_end`, an interrupt to `on_escalation`,
both at once and in the ending task (`supervisors.supervision` has both). The child's spec bounds every wait here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Final, final

from supervisors.children import Child, ChildState, StartedChild
from supervisors.deathwatch import Watch
from supervisors.endings import exit_of, report_end
from supervisors.exits import Exit, ExitKind, StopCause, classify
from supervisors.figures import Figures
from supervisors.incarnation import KILL_GRACE_SECONDS, Ground, Incarnation
from supervisors.ladder import Rung
from supervisors.listeners import ReportContext, Reporter, ReportKind
from supervisors.messages import Call
from supervisors.newcomers import Newcomers
from supervisors.roster import Roster
from supervisors.specs import Restart
from supervisors.waiting import Waiting


@final
@dataclass(frozen=True, slots=True)
class FailedStart:
    """A start that did not work out."""

    exit: Exit
    """How it ended: START_ERROR, START_TIMEOUT, FENCED, SHUTDOWN_ERROR or ESCALATED."""
    error: BaseException | None
    """What the child raised, where it raised something."""


_DOWN: Final = ChildState.DOWN
_STARTING: Final = ChildState.STARTING
_RESTARTING: Final = ChildState.RESTARTING
_RUNNING: Final = ChildState.RUNNING
_RESTART: Final = ReportContext.RESTART
_TEMPORARY: Final = Restart.TEMPORARY
_FENCED: Final = Rung.FENCED
_ESCALATED: Final = ExitKind.ESCALATED


@final
class Offspring:
    """The living side of one supervisor's children; who they are is in its roster."""

    __slots__ = (
        "_awaited",
        "_crowd",
        "_figures",
        "_ground",
        "_name",
        "_on_end",
        "_on_escalation",
        "_reporter",
        "_roster",
        "_waiting",
        "caller",
        "newcomers",
        "quick",
    )

    def __init__(
        self,
        name: str,
        roster: Roster,
        figures: Figures,
        reporter: Reporter,
        *,
        on_end: Callable[[Child, Incarnation], None],
        on_escalation: Callable[[BaseException], None],
        on_pending: Callable[[Child], None],
    ) -> None:
        self._name = name
        self._figures = figures
        self._reporter = reporter
        self._on_end = on_end
        self._on_escalation = on_escalation
        self._roster = roster
        self._ground: Ground | None = None
        self._waiting: Waiting | None = None
        self._awaited: Incarnation | None = None
        self._crowd: set[Incarnation] | None = None
        self.newcomers = Newcomers(self._ask, self._climb, self.discard, on_pending)
        """Those whose start nobody waits for."""
        self.quick: Incarnation | None = None
        """A new life that was begun in another task, and for which the supervisor's does not wait yet."""
        self.caller: Call[StartedChild] | None = None
        """Who waits for it, if it was begun by a call; else it was begun in the dying task of the life before."""

    def settle(self, ground: Ground, waiting: Waiting) -> None:
        """Give the children what they run on; `waiting` is that of the task which starts and stops them."""
        self._ground = ground
        self._waiting = waiting
        self.newcomers.settle(ground.timekeeper)

    def discard(self, child: Child) -> None:
        """Forget a child that is not running."""
        if self._roster.remove(child):
            # It and its last life know each other; a pair that nobody else knows would be garbage.
            child.incarnation = None
            self.say_farewell(child)

    def say_farewell(self, child: Child) -> None:
        """Tell those who watch a child that it has ended for good."""
        if child.watches:
            watches, child.watches = child.watches, None
            for watch in watches:
                self.tell(watch, child)

    def tell(self, watch: Watch, child: Child) -> None:
        """Tell one of them, and survive what it raises."""
        self._reporter.survive(partial(watch.fire, child.terminated()))

    # ---- starting

    async def start(self, child: Child, context: ReportContext) -> FailedStart | None:
        """Start a new life and wait until it is ready, has ended or is late; None where nothing went wrong.

        Cancelled: the new life goes on, and the supervisor's ordered stop ends it.
        """
        return await self.await_start(child, self.spawn(child, context))

    def spawn(self, child: Child, context: ReportContext) -> Incarnation:
        """Begin a new life, without waiting; whoever does, goes on with `await_start`."""
        assert self._waiting is not None, "a supervisor that starts children is running"
        incarnation = self._begin(child, context)
        self._waiting.alarm.set(incarnation.since + child.spec.start_timeout_seconds)
        return incarnation

    def spawn_newcomer(self, child: Child) -> None:
        """Begin the first life of a child for whose start nobody will wait."""
        self.newcomers.add(self._begin(child, ReportContext.START))

    def _begin(self, child: Child, context: ReportContext) -> Incarnation:
        ground = self._ground
        assert ground is not None, "a supervisor that starts children is running"
        child.incarnations = number = child.incarnations + 1
        incarnation = child.incarnation = Incarnation(child, number, self, ground, context)
        child.state = _RESTARTING if context is _RESTART else _STARTING
        spec = child.spec
        # Each life starts with the context variables of the spec, never with those of whoever restarts it. The copy
        # allows supervisors in two threads to share a spec: a context can be entered only once at a time.
        # The first life is named by the child's id itself: a text of its own would cost each of them 60 bytes.
        name = child.id if number == 1 else f"{child.id}#{number}"
        spec.context.copy().run(ground.nursery.start_soon, incarnation.live, name=name)
        return incarnation

    async def await_start(self, child: Child, incarnation: Incarnation) -> FailedStart | None:
        """Wait until a new life is ready, has ended or is late; None where nothing went wrong.

        A child that answers Ignore is down afterwards (`child.ignored`); a temporary one is forgotten. A child that
        becomes ready and crashes in the same step has started: its crash is the supervisor's next message.
        """
        waiting = self._waiting
        assert waiting is not None, "a supervisor that starts children is running"
        due = incarnation.since + child.spec.start_timeout_seconds
        while incarnation.ready_at is None and incarnation.exit is None:
            # Looked at before waiting: the alarm of a start that was begun in a dying task may have rung already.
            if waiting.clock() >= due:
                await self._end(child, incarnation, StopCause.START_TIMEOUT)
            else:
                self._awaited = incarnation
                await waiting.park()
        self._awaited = None
        if incarnation.ready_at is not None:
            return None
        error, incarnation.error = incarnation.error, None
        if child.ignored:
            if child.spec.restart is Restart.TEMPORARY:
                self.discard(child)
            return None
        exit_ = incarnation.exit
        assert exit_ is not None, "a start that is over is ready or has an exit"
        return FailedStart(exit_, error)

    # ---- stopping

    async def stop(self, child: Child, cause: StopCause = StopCause.SHUTDOWN) -> None:
        """Stop a child and wait until it has ended or is fenced; a pending restart is cancelled; idempotent.

        Cancelled: the child stays asked to stop, and stopping it again waits only for the rest of its time.
        """
        incarnation = self._put_down(child)
        if incarnation is not None:
            await self._end(child, incarnation, cause)
        if cause is not StopCause.RESTART:
            self.say_farewell(child)

    async def stop_all(self, children: Iterable[Child], cause: StopCause = StopCause.SHUTDOWN) -> None:
        """Stop `children` one after the other, last started first; temporary ones are forgotten."""
        for child in reversed(list(children)):
            temporary = child.spec.restart is Restart.TEMPORARY
            await self.stop(child, StopCause.SHUTDOWN if temporary and cause is StopCause.RESTART else cause)
            if temporary:
                self.discard(child)

    async def stop_together(self, cause: StopCause) -> None:
        """Stop all children at once, each within its own time, and forget them."""
        await self._await_crowd(cause, math.inf)
        for child in list(self._roster):
            self.say_farewell(child)
            self.discard(child)

    async def kill_all(self) -> None:
        """Stop all children at once and by force, because this supervisor is; what resists is cut off quickly."""
        assert self._waiting is not None, "a supervisor that is killed was running"
        try:
            await self._await_crowd(StopCause.KILL, self._waiting.clock() + KILL_GRACE_SECONDS / 4)
        finally:
            # Also when this supervisor is killed for the second time: nothing of it may be heard after its own end.
            for child in list(self._roster):
                if child.incarnation is not None and child.incarnation.exit is None:
                    self._fence(child, child.incarnation)
                self.say_farewell(child)

    async def _await_crowd(self, cause: StopCause, until: float) -> None:
        waiting = self._waiting
        assert waiting is not None, "a supervisor that stops children was running"
        # A start whose waiting was cancelled is awaited still, and the end of that child must reach the crowd.
        self._awaited = self.quick = None
        self._crowd = set()
        for child in list(self._roster):
            incarnation = self._put_down(child)
            if incarnation is not None:
                self._crowd.add(incarnation)
                self._ask(child, incarnation, cause)
        while self._crowd and (now := waiting.clock()) < until:
            for incarnation in [each for each in self._crowd if each.stop_due <= now]:
                self._climb(incarnation.child, incarnation)
            if self._crowd:
                waiting.alarm.set(min(until, *(each.stop_due for each in self._crowd)))
                await waiting.park()
        self._crowd = None

    def _put_down(self, child: Child) -> Incarnation | None:
        """Cancel whatever is to happen to a child; return its life, if that must still be ended."""
        child.undecided = None
        child.ended_at = None
        if child.incarnation is None or child.incarnation.exit is not None:
            child.state = ChildState.DOWN
            return None
        return child.incarnation

    async def _end(self, child: Child, incarnation: Incarnation, cause: StopCause) -> None:
        waiting = self._waiting
        assert waiting is not None, "a supervisor that stops children was running"
        self._ask(child, incarnation, cause)
        self._awaited = incarnation
        while incarnation.exit is None:
            waiting.alarm.set(incarnation.stop_due)
            await waiting.park()
            if incarnation.exit is None and waiting.clock() >= incarnation.stop_due:
                self._climb(child, incarnation)
        self._awaited = None

    def _ask(self, child: Child, incarnation: Incarnation, cause: StopCause) -> None:
        child.state = ChildState.STOPPING
        incarnation.request_stop(cause, 0.0 if cause is StopCause.KILL else child.spec.stop_seconds)
        if cause is StopCause.KILL and incarnation.rung < Rung.FORCED:
            incarnation.force(ExitKind.KILLED)

    def _climb(self, child: Child, incarnation: Incarnation) -> None:
        if incarnation.rung is Rung.FORCED_AGAIN:
            self._fence(child, incarnation)
        else:
            incarnation.climb(child.spec.stop_seconds)

    # ---- what incarnations say, in their own tasks and without waiting

    @property
    def name(self) -> str:
        """The supervisor's name."""
        return self._name

    def became_ready(self, incarnation: Incarnation) -> None:
        """Take note that a child is ready."""
        child, context = incarnation.child, incarnation.context
        child.state = _RUNNING
        if child.spec.restart is _TEMPORARY:
            child.forget_arguments()
        self._figures.starts += 1
        restarted = context is _RESTART
        child.restarts += restarted
        if child.ended_at is not None and incarnation.ready_at is not None:
            self._figures.restart_seconds.observe(incarnation.ready_at - child.ended_at)
            child.ended_at = None
        if self._reporter.tells_starts:
            kind = ReportKind.CHILD_RESTARTED if restarted else ReportKind.CHILD_STARTED
            self._reporter.report(kind, context, offender=child.offender(incarnation.number))
        if self.newcomers.due:
            self.newcomers.became_ready(incarnation)
        self._settled(incarnation)

    def broke_promise(self, incarnation: Incarnation) -> None:
        """Stop a child that hung, step by step; nobody waits for that, so its supervisor goes on serving others."""
        child = incarnation.child
        if incarnation.rung is Rung.NONE:
            self._figures.hung += 1
            self._report_about(ReportKind.CHILD_HUNG, incarnation, "no beat when one was promised; it is stopped")
            child.state = ChildState.STOPPING
            incarnation.request_stop(StopCause.HUNG, child.spec.stop_seconds)
        elif incarnation.stop_cause is StopCause.HUNG:
            self._climb(child, incarnation)
        else:
            return  # Somebody stops it in the meantime, and waits for each step.
        incarnation.drive()

    def ended(self, incarnation: Incarnation, error: BaseException | None, hidden: BaseException | None) -> None:
        """Take note of an end."""
        child, cause, ready = incarnation.child, incarnation.stop_cause, incarnation.ready_at is not None
        kind, found = classify(error, ready=ready, stop_cause=cause, hidden=hidden, forced=incarnation.forced)
        if kind is _ESCALATED and found is not None:
            self._on_escalation(found)
        if incarnation.rung is _FENCED:
            self._figures.zombies -= 1
            self._report_about(ReportKind.ZOMBIE_ENDED, incarnation, "")
            return
        context = incarnation.context
        exit_ = incarnation.exit = exit_of(incarnation, kind, found)
        child.state = _DOWN
        child.remember(exit_)
        by_itself = ready and (cause is None or cause is StopCause.HUNG)
        if not ready:
            incarnation.error = found
            if context is _RESTART and kind in {ExitKind.START_ERROR, ExitKind.START_TIMEOUT}:
                child.state = ChildState.RESTARTING
        else:
            context = ReportContext.RUN if by_itself else ReportContext.STOP
        report_end(self._reporter, self._figures, child, exit_, context)
        self._over(child, incarnation, by_itself=by_itself)

    def interrupted(self, interrupt: KeyboardInterrupt) -> None:
        """Pass on a Ctrl-C that came in the middle of all this: the tree stops in order."""
        self._on_escalation(interrupt)

    def _fence(self, child: Child, incarnation: Incarnation) -> None:
        """Cut off a life that nothing could end: whatever it still says or does, the child is down."""
        incarnation.cut_off()
        self._figures.fenced += 1
        self._figures.zombies += 1
        kind = {StopCause.START_TIMEOUT: ExitKind.START_TIMEOUT, StopCause.HUNG: ExitKind.HUNG}.get(
            incarnation.stop_cause or StopCause.SHUTDOWN, ExitKind.FENCED
        )
        exit_ = incarnation.exit = exit_of(incarnation, kind, None)
        child.state = ChildState.DOWN
        child.remember(exit_)
        offender = child.offender(incarnation.number)
        self._reporter.report(
            ReportKind.CHILD_FENCED, ReportContext.STOP, exit_.reason, offender=offender, exit_=exit_,
        )  # fmt: skip
        by_itself = kind is ExitKind.HUNG
        if kind is not ExitKind.FENCED:
            context = ReportContext.RUN if by_itself else ReportContext.START
            report_end(self._reporter, self._figures, child, exit_, context)
        self._over(child, incarnation, by_itself=by_itself)

    def _over(self, child: Child, incarnation: Incarnation, *, by_itself: bool) -> None:
        if by_itself:
            child.undecided = incarnation
            if child.ended_at is None and incarnation.exit is not None:
                child.ended_at = incarnation.exit.at
            self._on_end(child, incarnation)
        self._settled(incarnation)
        if self.newcomers.due:
            self.newcomers.over(incarnation)

    def _settled(self, incarnation: Incarnation) -> None:
        """Wake the supervisor's task if it waits for just this, or has to do something about it."""
        awaited = self._awaited is incarnation
        if awaited:
            self._awaited = None
        elif self.quick is incarnation:
            # Ready: nobody has to do anything. Otherwise the supervisor finds it here, and tries again.
            awaited = incarnation.ready_at is None
            if not awaited:
                caller, self.quick, self.caller = self.caller, None, None
                if caller is not None:
                    caller.succeed(StartedChild(incarnation.child.id, incarnation.value, incarnation.number))
        elif self._crowd is not None and incarnation.exit is not None:
            self._crowd.discard(incarnation)
            awaited = not self._crowd
        if awaited and self._waiting is not None:
            self._waiting.wake()

    def _report_about(self, kind: ReportKind, incarnation: Incarnation, reason: str) -> None:
        if self._reporter.listener is not None:
            offender = incarnation.child.offender(incarnation.number)
            context = ReportContext.RUN if kind is ReportKind.CHILD_HUNG else ReportContext.STOP
            self._reporter.report(kind, context, reason, offender=offender)
