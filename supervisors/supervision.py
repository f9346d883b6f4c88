"""The engine of a supervisor: one trio task that hears of every end, restarts by OTP's rules and carries out calls.

All that waits is done by that one task, one message at a time: ends of children, retries of failed restarts, calls.
What it knows of its children is in `supervisors.offspring`; the rules are in `supervisors.restarts` and
`supervisors.intensity`, pure; the public face is `supervisors.supervisor`. Source: OTP `supervisor.erl`.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar, final

import trio

from supervisors.children import Child, ChildState, StartedChild
from supervisors.errors import (
    AlreadyPresent,
    AlreadyStarted,
    ChildRestarting,
    ChildRunning,
    MaxRestartsExceeded,
    StartFailed,
    SupervisorNotRunning,
)
from supervisors.exits import Exit
from supervisors.figures import Figures
from supervisors.incarnation import Ground, Incarnation
from supervisors.intensity import RestartWindow
from supervisors.listeners import Listener, ReportContext, Reporter, ReportKind
from supervisors.messages import Call, Message, Notice
from supervisors.offspring import FailedStart, Offspring
from supervisors.restarts import Action, decide, restart_group
from supervisors.specs import ChildSpec, Restart, Strategy

AnswerT = TypeVar("AnswerT")


class SupervisorState(enum.StrEnum):
    """Where a supervisor is in its one life."""

    NEW = "new"
    """Not started."""
    STARTING = "starting"
    """Its static children are being started."""
    RUNNING = "running"
    """All static children were ready; it supervises."""
    STOPPING = "stopping"
    """Its children are being stopped in reverse order."""
    STOPPED = "stopped"
    """It has ended."""


@final
class Supervision:
    """One life of one supervisor."""

    __slots__ = (
        "_inbox",
        "_life",
        "_mail",
        "_name",
        "_strategy",
        "figures",
        "offspring",
        "reporter",
        "started_at",
        "state",
        "verdict",
        "window",
    )

    def __init__(self, name: str, strategy: Strategy, window: RestartWindow, listener: Listener | None) -> None:
        self._name = name
        self._strategy = strategy
        self.window = window
        """The restarts of the last period."""
        self.state = SupervisorState.NEW
        """Where it is in its life."""
        self.started_at: float | None = None
        """When it began, on trio's clock."""
        self.verdict: BaseException | None = None
        """What `run` raises at the end; None while nothing speaks against a quiet one."""
        self.figures = Figures()
        """Its numbers."""
        self.reporter = Reporter(name, listener)
        """Its voice."""
        self.offspring = Offspring(
            name,
            self.figures,
            self.reporter,
            on_end=self._child_ended,
            on_escalation=self._escalate,
        )
        """Its children."""
        self._life = trio.CancelScope()
        self._inbox: deque[Message] = deque()
        self._mail = trio.Event()

    # ---- its life

    async def live(self, ground: Ground, on_running: Callable[[], None]) -> None:
        """Start all, call `on_running`, serve until something ends it, stop all in reverse; then see `verdict`."""
        if self.reporter.listener is None:
            self.reporter.listener = ground.listener
        self.offspring.ground = Ground(ground.nursery, self.reporter.listener)
        self.started_at = trio.current_time()
        try:
            with self._life:
                if await self._start_all():
                    self.state = SupervisorState.RUNNING
                    self.reporter.report(ReportKind.SUPERVISOR_STARTED, ReportContext.START)
                    on_running()
                    await self._serve()
        finally:
            self.state = SupervisorState.STOPPING
            # Shielded: whoever cancels this supervisor must not break the order. Bounded: each child by its own spec.
            with trio.CancelScope(shield=True):
                await self.offspring.stop_all(self.offspring)
            self.state = SupervisorState.STOPPED
            while self._inbox:
                self._inbox.popleft().refuse()
            self._report_stopped()

    def end(self, reason: str) -> None:
        """Make `live` go on to its last part: stop all in reverse. At once and from anywhere in the event loop."""
        self._life.cancel(reason=reason)

    async def _start_all(self) -> bool:
        for child in list(self.offspring):
            failed = await self.offspring.start(child, ReportContext.START)
            if failed is not None:
                if self.verdict is None:
                    self.verdict = self._start_failed(child.spec.id, failed)
                return False
        return True

    async def _serve(self) -> None:
        while self.verdict is None:
            if not self._inbox:
                self._mail = trio.Event()
                await self._mail.wait()
            await self._inbox.popleft().carry_out()

    def _post(self, message: Message) -> None:
        self._inbox.append(message)
        self._mail.set()

    def _report_stopped(self) -> None:
        reason = "stopped" if self.verdict is None else f"{type(self.verdict).__name__}: {self.verdict}"
        if self.figures.zombies:
            left = f"{self.figures.zombies} fenced tasks still run; the root of the tree waits for them"
            self.reporter.report(ReportKind.ZOMBIES_LEFT, ReportContext.STOP, left)
        self.reporter.report(ReportKind.SUPERVISOR_STOPPED, ReportContext.STOP, reason)

    # ---- ends and restarts

    def _child_ended(self, child: Child, incarnation: Incarnation) -> None:
        self._post(Notice(partial(self._decide, child, incarnation)))

    def _escalate(self, interrupt: BaseException) -> None:
        self.figures.escalations += 1
        if self.verdict is None or isinstance(self.verdict, Exception):
            self.verdict = interrupt
        self.end(f"{type(interrupt).__name__} in a child of supervisor {self._name!r}")

    async def _decide(self, child: Child, incarnation: Incarnation) -> None:
        if child.undecided is not incarnation or incarnation.exit is None:
            return  # It was stopped, or restarted with its group, before this notice was read.
        child.undecided = None
        match decide(child.spec.restart, incarnation.exit.kind):
            case Action.DELETE:
                self.offspring.discard(child)
            case Action.KEEP:
                child.ended_at = None
            case Action.RESTART:
                await self._restart(child, incarnation.exit)

    async def _retry(self, child: Child, incarnation: Incarnation | None, exit_: Exit) -> None:
        # A call may have cancelled this restart, or another child's group restart may have tried it in the meantime.
        if child.state is ChildState.RESTARTING and child.incarnation is incarnation:
            await self._restart(child, exit_)

    async def _restart(self, child: Child, exit_: Exit) -> None:
        """Restart `child` and its group once; a start that fails is tried again by a notice, and counted again."""
        if not self.window.add(trio.current_time()):
            self._give_up(child, exit_)
            return
        self.figures.restarts.increment(exit_.kind)
        child.state = ChildState.RESTARTING
        order = (other.spec.id for other in self.offspring)
        group = [self.offspring.get(id_) for id_ in restart_group(self._strategy, order, child.spec.id)]
        await self.offspring.stop_all(other for other in group if other is not child)
        for member in group:
            if self.offspring.find(member.spec.id) is not member:
                continue  # A temporary bystander: stopped and forgotten, never restarted.
            failed = await self.offspring.start(member, ReportContext.RESTART)
            if failed is not None:
                if child.state is ChildState.RESTARTING:
                    child.state = ChildState.DOWN  # The retry is the failed member's; this one comes up with it.
                member.state = ChildState.RESTARTING
                if member.ended_at is None:
                    member.ended_at = failed.exit.at
                self._post(Notice(partial(self._retry, member, member.incarnation, failed.exit)))
                return

    def _give_up(self, child: Child, exit_: Exit) -> None:
        window = self.window
        verdict = MaxRestartsExceeded(self._name, child.spec.id, exit_, window.intensity, window.period_seconds)
        self.verdict = verdict
        self.figures.escalations += 1
        self.reporter.report(
            ReportKind.MAX_RESTARTS_EXCEEDED,
            ReportContext.RESTART,
            str(verdict),
            offender=child.offender(exit_.incarnation),
            exit_=exit_,
        )

    # ---- calls: `call` is for callers, the others are the operations it carries out in the supervisor's task

    async def call(self, operation: Callable[[], Awaitable[AnswerT]]) -> AnswerT:
        """Have `operation` carried out by the supervisor's task, and wait for its answer."""
        if self.state not in {SupervisorState.STARTING, SupervisorState.RUNNING}:
            raise self._not_running()
        call = Call(operation, self._not_running)
        self._post(call)
        return await call.answer()

    def _not_running(self) -> SupervisorNotRunning:
        # A running supervisor refuses only what its own end interrupts.
        running = self.state in {SupervisorState.STARTING, SupervisorState.RUNNING}
        return SupervisorNotRunning(self._name, (SupervisorState.STOPPING if running else self.state).value)

    async def start_child(self, spec: ChildSpec) -> StartedChild:
        """Add and start a child; forget it if its start fails."""
        present = self.offspring.find(spec.id)
        if present is not None:
            refusal = AlreadyPresent if present.state is ChildState.DOWN and not present.alive else AlreadyStarted
            raise refusal(spec.id, present.state.value)
        child = self.offspring.add(spec)
        try:
            return await self._start_by_call(child)
        except StartFailed:
            self.offspring.discard(child)
            raise

    async def terminate_child(self, child_id: str) -> None:
        """Stop a child; forget it if it is temporary."""
        child = self.offspring.get(child_id)
        await self.offspring.stop(child)
        if child.spec.restart is Restart.TEMPORARY:
            self.offspring.discard(child)

    async def restart_child(self, child_id: str) -> StartedChild:
        """Start a child that is down."""
        return await self._start_by_call(self._down(child_id))

    async def delete_child(self, child_id: str) -> None:
        """Forget a child that is down."""
        self.offspring.discard(self._down(child_id))

    def _down(self, child_id: str) -> Child:
        child = self.offspring.get(child_id)
        if child.alive:
            raise ChildRunning(child_id, child.state.value)
        if child.state is ChildState.RESTARTING:
            raise ChildRestarting(child_id, child.state.value)
        return child

    async def _start_by_call(self, child: Child) -> StartedChild:
        failed = await self.offspring.start(child, ReportContext.START)
        if failed is not None:
            raise self._start_failed(child.spec.id, failed)
        incarnation = child.incarnation
        assert incarnation is not None, "a child that was started has an incarnation"
        return StartedChild(child.spec.id, incarnation.value, incarnation.number, ignored=not incarnation.ready)

    def _start_failed(self, child_id: str, failed: FailedStart) -> StartFailed:
        error = StartFailed(self._name, child_id, failed.exit)
        error.__cause__ = failed.error
        return error
