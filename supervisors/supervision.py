"""The engine of a supervisor: one trio task that hears of every end, restarts by OTP's rules and carries out calls.

All that waits is done by that one task, one message at a time: ends of children, retries of failed restarts, calls.
Only what needs no waiting is decided in the dying task itself, and only while this one has nothing else to do: that
saves 5 us of a crash. Its children are in `supervisors.roster` and `supervisors.offspring`; the rules are in
`supervisors.restarts`, `supervisors.intensity` and `supervisors.backoff`, pure; the calls are `supervisors.calls`; the
public face is `supervisors.supervisor`. Source: OTP `supervisor.erl`.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final, final

import trio

from supervisors.children import Child, ChildState
from supervisors.delays import Delays
from supervisors.errors import MaxRestartsExceeded, StartFailed, SupervisorNotRunning
from supervisors.exits import Exit, StopCause
from supervisors.figures import Figures
from supervisors.flags import LIVE, AutoShutdown, Flags, SupervisorState
from supervisors.forcing import Killed
from supervisors.incarnation import Ground, Incarnation
from supervisors.intensity import RestartWindow
from supervisors.listeners import Listener, ReportContext, Reporter, ReportKind
from supervisors.messages import Message, Notice
from supervisors.offspring import FailedStart, Offspring
from supervisors.restarts import Action, decide, restart_group
from supervisors.roster import Roster
from supervisors.specs import ChildSpec, Restart, Strategy
from supervisors.waiting import Waiting

_RESTART: Final = Action.RESTART
_ONE_FOR_ONE: Final = Strategy.ONE_FOR_ONE


@final
class Supervision:
    """One life of one supervisor."""

    __slots__ = (
        "_asked_to_end",
        "_idle",
        "_inbox",
        "_life",
        "_rng",
        "_waiting",
        "delays",
        "ended_significantly",
        "figures",
        "flags",
        "offspring",
        "reporter",
        "roster",
        "started_at",
        "state",
        "template",
        "verdict",
        "window",
    )

    def __init__(
        self, flags: Flags, listener: Listener | None, rng: random.Random | None, template: ChildSpec | None = None
    ) -> None:
        self.flags = flags
        """How it supervises; may change while it does."""
        self.template = template
        """What every child is made of, where it is dynamic (OTP: simple_one_for_one)."""
        self.window = RestartWindow(flags.intensity, flags.period_seconds)
        """The restarts of the last period."""
        self.state = SupervisorState.NEW
        """Where it is in its life."""
        self.started_at: float | None = None
        """When it began, on trio's clock."""
        self.verdict: BaseException | None = None
        """What `run` raises at the end; None while nothing speaks against a quiet one."""
        self.ended_significantly = False
        """Whether it ends because its significant children have."""
        self.figures = Figures()
        """Its numbers."""
        self.reporter = Reporter(flags.name, listener)
        """Its voice."""
        self.roster = Roster(flags.name)
        """Who its children are."""
        self.offspring = Offspring(
            flags.name,
            self.roster,
            self.figures,
            self.reporter,
            on_end=self._child_ended,
            on_escalation=self._escalate,
            on_pending=self.start_in_turn,
        )
        """What it does with them."""
        self.delays = Delays(self.reporter, self._delay_over)
        """Whose restart waits for a backoff."""
        self._rng = rng
        self._life = trio.CancelScope()
        self._asked_to_end = False
        self._inbox: deque[Message] = deque()
        self._waiting: Waiting | None = None
        self._idle = False

    # ---- its life

    async def live(self, ground: Ground, own: Incarnation | None, on_running: Callable[[], None]) -> None:
        """Start all, call `on_running`, serve until something ends it, stop all in reverse; then see `verdict`.

        `own` is its life as a child, where it is one: how that is stopped decides what its children are told.
        """
        if self.reporter.listener is None:
            self.reporter.listener = ground.listener
        if self._rng is None:
            self._rng = ground.rng
        ground = Ground(ground.nursery, ground.timekeeper, self._rng, self.reporter.listener)
        self._waiting = Waiting(ground.timekeeper)
        self.offspring.settle(ground, self._waiting)
        self.started_at = ground.timekeeper.clock()
        killed = False
        try:
            with self._life:
                if await self._start_all():
                    self.state = SupervisorState.RUNNING
                    self.reporter.report(ReportKind.SUPERVISOR_STARTED, ReportContext.START)
                    on_running()
                    await self._serve(self._waiting)
        except Killed:
            killed = True
            raise
        finally:
            self.state = SupervisorState.STOPPING
            if self.offspring.caller is not None:
                self.offspring.caller.refuse()
                self.offspring.caller = self.offspring.quick = None
            again = own is not None and own.stop_cause is StopCause.RESTART
            try:
                # Shielded: whoever cancels this supervisor must not break the order. Bounded: by each child's spec.
                with trio.CancelScope(shield=True):
                    await self._stop_children(StopCause.RESTART if again else StopCause.SHUTDOWN, killed=killed)
            finally:
                self._close(self._waiting)

    def end(self, reason: str) -> None:
        """Make `live` go on to its last part: stop all in reverse. At once and from anywhere in the event loop."""
        self._asked_to_end = True
        self._life.cancel(reason=reason)

    async def _start_all(self) -> bool:
        for child in list(self.roster):
            failed = await self.offspring.start(child, ReportContext.START)
            if failed is not None:
                if self.verdict is None:
                    self.verdict = self.start_failed(child.id, failed)
                return False
        return True

    async def _serve(self, waiting: Waiting) -> None:
        while self.verdict is None and not self.ended_significantly:
            quick = self.offspring.quick
            if quick is not None:
                await self._finish_quick(quick)
            elif self._inbox:
                await self._inbox.popleft().carry_out()
            else:
                self._idle = True
                try:
                    await waiting.park()
                finally:
                    self._idle = False

    async def _stop_children(self, cause: StopCause, *, killed: bool) -> None:
        if not killed:
            try:
                if self.template is None:
                    await self.offspring.stop_all(self.roster, cause)
                else:
                    await self.offspring.stop_together(cause)
            except Killed:
                await self.offspring.kill_all()
                raise
        else:
            await self.offspring.kill_all()

    def _close(self, waiting: Waiting) -> None:
        self.state = SupervisorState.STOPPED
        waiting.alarm.discard()
        self.offspring.newcomers.close()
        self.delays.close()
        while self._inbox:
            self._inbox.popleft().refuse()
        reason = "stopped" if self.verdict is None else f"{type(self.verdict).__name__}: {self.verdict}"
        if self.figures.zombies:
            left = f"{self.figures.zombies} fenced tasks still run; the root of the tree waits for them"
            self.reporter.report(ReportKind.ZOMBIES_LEFT, ReportContext.STOP, left)
        self.reporter.report(ReportKind.SUPERVISOR_STOPPED, ReportContext.STOP, reason)

    def post(self, message: Message) -> None:
        """Put a message into the inbox of the supervisor's task."""
        self._inbox.append(message)
        if self._idle and self._waiting is not None:
            self._waiting.wake()

    @property
    def idle(self) -> bool:
        """Whether its task has nothing to do, so that another may do something in its place."""
        waiting = self._waiting
        return self._idle and waiting is not None and waiting.parked and self.offspring.quick is None

    @property
    def ending(self) -> bool:
        """Whether it takes no more calls, or will not come to them."""
        return self.state not in LIVE or self.verdict is not None or self.ended_significantly or self._asked_to_end

    def start_in_turn(self, child: Child) -> None:
        """Begin the first life of a child that nobody waits for, when all that came before has been carried out."""
        if self.state not in LIVE:
            return
        child.incarnation = None
        child.state = ChildState.STARTING
        self.post(Notice(partial(self._start_pending, child)))

    async def _start_pending(self, child: Child) -> None:
        if child.pending and self.roster.find(child.id) is child:
            self.roster.move_to_end(child)
            self.offspring.spawn_newcomer(child)

    # ---- ends

    def _child_ended(self, child: Child, incarnation: Incarnation) -> None:
        """Hear, in the dying task, that a child has ended by itself; decide here and now if nothing has to wait."""
        if self.idle and incarnation.exit is not None:
            action = decide(child.spec.restart, incarnation.exit.kind)
            if action is not _RESTART:
                child.undecided = None
                self._conclude(child, action)
                return
            if self.flags.strategy is _ONE_FOR_ONE and child.spec.backoff is None:
                child.undecided = None
                if self._count(child, incarnation.exit):
                    self.offspring.quick = self.offspring.spawn(child, ReportContext.RESTART)
                return
        self.post(Notice(partial(self._decide, child, incarnation)))

    def _escalate(self, interrupt: BaseException) -> None:
        self.figures.escalations += 1
        if self.verdict is None or isinstance(self.verdict, Exception):
            self.verdict = interrupt
        self.end(f"{type(interrupt).__name__} in a child of supervisor {self.flags.name!r}")

    async def _decide(self, child: Child, incarnation: Incarnation) -> None:
        if child.undecided is not incarnation or incarnation.exit is None:
            return  # It was stopped, or restarted with its group, before this notice was read.
        child.undecided = None
        action = decide(child.spec.restart, incarnation.exit.kind)
        if action is Action.RESTART:
            await self._restart(child, incarnation.exit)
        else:
            self._conclude(child, action)

    def _conclude(self, child: Child, action: Action) -> None:
        """Draw the conclusions from an end that no restart follows."""
        significant = child.spec.significant
        if action is Action.DELETE or self.template is not None:
            self.offspring.discard(child)
        else:
            child.ended_at = None
            self.offspring.say_farewell(child)
        if significant and self._ends_with(child):
            self.ended_significantly = True
            self.reporter.report(
                ReportKind.AUTO_SHUTDOWN,
                ReportContext.RUN,
                f"{self.flags.auto_shutdown.value}: significant child {child.id!r} has ended",
                offender=child.offender(),
                exit_=child.exit,
            )
            if self._waiting is not None:
                self._waiting.wake()

    def _ends_with(self, child: Child) -> bool:
        match self.flags.auto_shutdown:
            case AutoShutdown.NEVER:
                return False
            case AutoShutdown.ANY_SIGNIFICANT:
                return True
            case AutoShutdown.ALL_SIGNIFICANT:
                others = (each for each in self.roster if each.spec.significant and each is not child)
                return not any(each.alive or each.state is ChildState.RESTARTING for each in others)

    # ---- restarts

    def _count(self, child: Child, exit_: Exit) -> bool:
        """Count a restart; False when it is one too many, and the supervisor gives up."""
        window = self.window
        if window.add(trio.current_time()):
            self.figures.restarts.increment(exit_.kind)
            return True
        verdict = MaxRestartsExceeded(self.flags.name, child.id, exit_, window.intensity, window.period_seconds)
        self.verdict = verdict
        self.figures.escalations += 1
        self.reporter.report(
            ReportKind.MAX_RESTARTS_EXCEEDED,
            ReportContext.RESTART,
            str(verdict),
            offender=child.offender(exit_.incarnation),
            exit_=exit_,
        )
        if self._waiting is not None:
            self._waiting.wake()
        return False

    async def _restart(self, child: Child, exit_: Exit) -> None:
        """Restart `child` and its group, now or when its backoff is over."""
        if not self._count(child, exit_):
            return
        child.state = ChildState.RESTARTING
        if child.spec.backoff is None:
            await self._rebuild(child)
        else:
            # The group does not run on without the one it depends on, while that one waits.
            await self._clear(child)
            assert self._rng is not None, "a supervisor that restarts children is running"
            self.delays.begin(child, exit_, self._rng)

    def _group(self, child: Child) -> list[Child]:
        # One whose first life is still to begin is no part of it: its turn comes afterwards.
        order = (other.id for other in self.roster if not other.pending)
        return [self.roster.get(id_) for id_ in restart_group(self.flags.strategy, order, child.id)]

    async def _clear(self, child: Child) -> list[Child]:
        """Stop all of the group but `child`; return who is left of it: all but the temporary ones."""
        group = self._group(child)
        await self.offspring.stop_all((other for other in group if other is not child), StopCause.RESTART)
        return [member for member in group if self.roster.find(member.id) is member and not member.pending]

    async def _rebuild(self, child: Child) -> None:
        """Start `child` and its group; a start that fails is tried again by a notice, and counted again."""
        for member in await self._clear(child):
            failed = await self.offspring.start(member, ReportContext.RESTART)
            if failed is not None:
                if child.state is ChildState.RESTARTING:
                    child.state = ChildState.DOWN  # The retry is the failed member's; this one comes up with it.
                self._try_again(member, failed)
                return
            if self.template is not None and member.state is ChildState.DOWN and member.ignored:
                self.offspring.discard(member)

    def _try_again(self, child: Child, failed: FailedStart) -> None:
        child.state = ChildState.RESTARTING
        if child.ended_at is None:
            child.ended_at = failed.exit.at
        self.post(Notice(partial(self._retry, child, child.incarnation, failed.exit)))

    async def _retry(self, child: Child, incarnation: Incarnation | None, exit_: Exit) -> None:
        # A call may have cancelled this restart, or another child's group restart may have tried it in the meantime.
        if child.state is ChildState.RESTARTING and child.incarnation is incarnation:
            await self._restart(child, exit_)

    async def _finish_quick(self, quick: Incarnation) -> None:
        """Wait for a life that was begun in another task, as for any other."""
        caller, self.offspring.caller, self.offspring.quick = self.offspring.caller, None, None
        if caller is not None:
            await caller.finish()
            return
        child = quick.child
        failed = await self.offspring.await_start(child, quick)
        if failed is not None:
            self._try_again(child, failed)
        elif self.template is not None and child.ignored:
            self.offspring.discard(child)

    def _delay_over(self, child: Child, incarnation: Incarnation) -> None:
        self.post(Notice(partial(self._restart_now, child, incarnation)))

    async def _restart_now(self, child: Child, incarnation: Incarnation) -> None:
        if child.state is ChildState.RESTARTING and child.incarnation is incarnation:
            await self._rebuild(child)

    # ---- what it says when it cannot

    def not_running(self) -> SupervisorNotRunning:
        """Make the refusal of a call that it cannot carry out, or not finish."""
        # A running supervisor refuses only what its own end interrupts.
        state = SupervisorState.STOPPING if self.state in LIVE else self.state
        return SupervisorNotRunning(self.flags.name, state.value)

    def start_failed(self, child_id: str, failed: FailedStart) -> StartFailed:
        """Make the error of a start that failed, with what the child raised as its cause."""
        error = StartFailed(self.flags.name, child_id, failed.exit)
        error.__cause__ = failed.error
        return error

    def is_temporary(self, child: Child) -> bool:
        """Whether nothing is kept of a child that is stopped: a temporary one, or one of a template."""
        return self.template is not None or child.spec.restart is Restart.TEMPORARY
