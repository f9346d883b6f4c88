"""The ordered children of one supervisor: starts one, stops one, stops all, and sees every end.

It makes no decision about restarts: an end that nobody asked for goes to `on_end`, an interrupt to `on_escalation`,
both at once and in the ending task (`supervisors.supervision` has both). The child's spec bounds every wait here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import final

import trio

from supervisors.children import Child, ChildState
from supervisors.errors import ChildNotFound, SpecError
from supervisors.exits import Exit, ExitKind, Failure, StopCause, classify
from supervisors.figures import Figures
from supervisors.incarnation import KILL_GRACE_SECONDS, Ground, Incarnation
from supervisors.listeners import ReportContext, Reporter, ReportKind
from supervisors.specs import ChildSpec, Restart

NOT_READY = "ended without calling task_status.started(); call it once the child is ready"


@final
@dataclass(frozen=True, slots=True)
class FailedStart:
    """A start that did not work out."""

    exit: Exit
    """How it ended: START_ERROR, START_TIMEOUT, FENCED, SHUTDOWN_ERROR or ESCALATED."""
    error: BaseException | None
    """What the child raised, where it raised something."""


@final
class Offspring:
    """The children of one supervisor, in start order."""

    __slots__ = ("_children", "_figures", "_name", "_on_end", "_on_escalation", "_reporter", "ground")

    def __init__(
        self,
        name: str,
        figures: Figures,
        reporter: Reporter,
        *,
        on_end: Callable[[Child, Incarnation], None],
        on_escalation: Callable[[BaseException], None],
    ) -> None:
        self._name = name
        self._figures = figures
        self._reporter = reporter
        self._on_end = on_end
        self._on_escalation = on_escalation
        self._children: dict[str, Child] = {}
        self.ground: Ground | None = None
        """What the children run on; there from the moment the supervisor runs."""

    def __iter__(self) -> Iterator[Child]:
        """Go through the children in start order."""
        return iter(self._children.values())

    def find(self, child_id: str) -> Child | None:
        """Return the child with this id, or None."""
        return self._children.get(child_id)

    def get(self, child_id: str) -> Child:
        """Return the child with this id.

        Raises:
            ChildNotFound: there is none.
        """
        child = self._children.get(child_id)
        if child is None:
            raise ChildNotFound(child_id, "unknown")
        return child

    def add(self, spec: ChildSpec) -> Child:
        """Record a child at the end of the order, without starting it.

        Raises:
            SpecError: the spec makes no sense below this supervisor.
        """
        if spec.significant:
            # OTP refuses significant children where auto_shutdown is never, and no supervisor here shuts itself down.
            raise SpecError(f"child {spec.id!r}: supervisor {self._name!r} has no use for a significant child")
        if spec.id in self._children:
            raise SpecError(f"supervisor {self._name!r}: two children have the id {spec.id!r}; ids are unique")
        child = self._children[spec.id] = Child(spec)
        return child

    def discard(self, child: Child) -> None:
        """Forget a child that is not running."""
        self._children.pop(child.spec.id, None)

    async def start(self, child: Child, context: ReportContext) -> FailedStart | None:
        """Start a new life and wait until it is ready, has ended or is late; None where nothing went wrong.

        A child that answers Ignore is down afterwards (`child.ignored`); a temporary one is forgotten. A child that
        becomes ready and crashes in the same step has started: its crash is the supervisor's next message.
        Cancelled: the new life goes on, and the supervisor's ordered stop ends it.
        """
        ground = self.ground
        assert ground is not None, "a supervisor that starts children is running"
        child.incarnations += 1
        on_ready = partial(self._ready, child, context)
        incarnation = child.incarnation = Incarnation(child.incarnations, trio.current_time(), on_ready)
        child.state = ChildState.RESTARTING if context is ReportContext.RESTART else ChildState.STARTING
        start_soon = partial(
            ground.nursery.start_soon,
            name=f"{self._name}/{child.spec.id}#{incarnation.number}",
        )
        on_end = partial(self._ended, child, incarnation, context)
        # Each life starts with the context variables of the spec, never with those of whoever restarts it. The copy
        # allows supervisors in two threads to share a spec: a context can be entered only once at a time.
        child.spec.context.copy().run(start_soon, incarnation.live, child.spec, ground, on_end)
        with trio.move_on_after(child.spec.start_timeout_seconds):
            await incarnation.settled.wait()
        if not incarnation.settled.is_set():
            await self._end(child, incarnation, StopCause.START_TIMEOUT)
        if incarnation.ready:
            return None
        if child.ignored:
            if child.spec.restart is Restart.TEMPORARY:
                self.discard(child)
            return None
        error, incarnation.error = incarnation.error, None
        exit_ = incarnation.exit
        assert exit_ is not None, "a start that is over is ready or has an exit"
        return FailedStart(exit_, error)

    async def stop(self, child: Child) -> None:
        """Stop a child and wait until it has ended or is fenced; a pending restart is cancelled; idempotent.

        Cancelled: the child stays asked to stop, and stopping it again waits only for the rest of its time.
        """
        child.undecided = None
        child.ended_at = None
        if child.incarnation is None or child.incarnation.exit is not None:
            child.state = ChildState.DOWN
            return
        cause = StopCause.SHUTDOWN if child.spec.stop_seconds > 0.0 else StopCause.KILL
        await self._end(child, child.incarnation, cause)

    async def stop_all(self, children: Iterable[Child]) -> None:
        """Stop `children` one after the other, last started first; temporary ones are forgotten."""
        for child in reversed(list(children)):
            await self.stop(child)
            if child.spec.restart is Restart.TEMPORARY:
                self.discard(child)

    async def _end(self, child: Child, incarnation: Incarnation, cause: StopCause) -> None:
        child.state = ChildState.STOPPING
        incarnation.request_stop(cause, KILL_GRACE_SECONDS if cause is StopCause.KILL else child.spec.stop_seconds)
        with trio.move_on_at(incarnation.stop_deadline):
            await incarnation.ended.wait()
        if not incarnation.ended.is_set():
            self._fence(child, incarnation)

    def _ready(self, child: Child, context: ReportContext, incarnation: Incarnation) -> None:
        child.state = ChildState.RUNNING
        child.forget_arguments()
        self._figures.starts += 1
        kind = ReportKind.CHILD_STARTED
        if context is ReportContext.RESTART:
            kind = ReportKind.CHILD_RESTARTED
            child.restarts += 1
        if child.ended_at is not None:
            self._figures.restart_seconds.observe(trio.current_time() - child.ended_at)
            child.ended_at = None
        self._reporter.report(kind, context, offender=child.offender(incarnation.number))

    def _ended(
        self,
        child: Child,
        incarnation: Incarnation,
        context: ReportContext,
        error: BaseException | None,
    ) -> None:
        """Take note of an end, in the ending task and without waiting."""
        kind, found = classify(
            error,
            ready=incarnation.ready,
            stop_cause=incarnation.stop_cause,
            hidden=incarnation.hidden,
        )
        if kind is ExitKind.ESCALATED and found is not None:
            self._on_escalation(found)
        if incarnation.fenced:
            self._figures.zombies -= 1
            offender = child.offender(incarnation.number)
            self._reporter.report(ReportKind.ZOMBIE_ENDED, ReportContext.STOP, offender=offender)
            return
        exit_ = incarnation.exit = self._exit(child, incarnation, kind, found)
        again = context is ReportContext.RESTART and kind in {ExitKind.START_ERROR, ExitKind.START_TIMEOUT}
        child.state = ChildState.RESTARTING if again else ChildState.DOWN
        child.remember(exit_)
        by_itself = incarnation.ready and incarnation.stop_cause is None
        if not incarnation.ready:
            incarnation.error = found
        elif incarnation.stop_cause is None:
            context = ReportContext.RUN
        else:
            context = ReportContext.STOP
        self._report_end(child, exit_, context)
        if by_itself:
            child.undecided = incarnation
            if child.ended_at is None:
                child.ended_at = exit_.at
            self._on_end(child, incarnation)
        incarnation.settled.set()
        incarnation.ended.set()

    def _fence(self, child: Child, incarnation: Incarnation) -> None:
        """Cut off a life that went on past its time: whatever it still says or does, the child is down."""
        incarnation.fenced = True
        self._figures.fenced += 1
        self._figures.zombies += 1
        late_start = incarnation.stop_cause is StopCause.START_TIMEOUT
        kind = ExitKind.START_TIMEOUT if late_start else ExitKind.FENCED
        exit_ = incarnation.exit = self._exit(child, incarnation, kind, None)
        child.state = ChildState.DOWN
        child.remember(exit_)
        offender = child.offender(incarnation.number)
        self._reporter.report(
            ReportKind.CHILD_FENCED, ReportContext.STOP, exit_.reason, offender=offender, exit_=exit_,
        )  # fmt: skip
        if late_start:
            self._report_end(child, exit_, ReportContext.START)

    def _report_end(self, child: Child, exit_: Exit, context: ReportContext) -> None:
        match exit_.kind:
            case ExitKind.NORMAL | ExitKind.SHUTDOWN | ExitKind.KILLED:
                kind = ReportKind.CHILD_ENDED
            case ExitKind.IGNORED:
                kind = ReportKind.CHILD_IGNORED
                self._figures.ignored += 1
            case ExitKind.START_ERROR | ExitKind.START_TIMEOUT:
                kind = ReportKind.START_FAILED
                self._figures.start_failures += 1
            case ExitKind.SHUTDOWN_ERROR:
                kind = ReportKind.SHUTDOWN_ERROR
            case ExitKind.ESCALATED:
                kind = ReportKind.ESCALATED
            case ExitKind.CRASHED | ExitKind.MAX_RESTARTS_EXCEEDED | ExitKind.FENCED:
                kind = ReportKind.CHILD_CRASHED
        self._reporter.report(kind, context, exit_.reason, offender=child.offender(exit_.incarnation), exit_=exit_)

    def _exit(self, child: Child, incarnation: Incarnation, kind: ExitKind, error: BaseException | None) -> Exit:
        now = trio.current_time()
        failure = None if error is None else Failure.of(error)
        if kind is ExitKind.START_TIMEOUT:
            reason = (
                f"not ready within {child.spec.start_timeout_seconds:g} s; raise start_timeout_seconds or start faster"
            )
        elif kind is ExitKind.FENCED:
            late = now - incarnation.stop_requested_at
            reason = f"still running {late:g} s after it was cancelled; cut off, its task may go on"
        elif failure is not None:
            reason = str(failure)
        else:
            reason = NOT_READY if kind is ExitKind.START_ERROR else kind.value
        return Exit(kind, reason, incarnation.number, now, now - incarnation.since, failure)
