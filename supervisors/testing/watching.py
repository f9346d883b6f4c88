"""One real supervisor under observation: its reports go to its model, and at each quiet point the two are compared.

It is the listener of that supervisor, and wraps the start functions of its children, so that also a first step is seen.
It never raises into the supervisor: what it finds wrong goes to `on_violation`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, final

import trio

from supervisors.any_supervisor import AnySupervisor
from supervisors.exits import ExitKind
from supervisors.flags import Flags, SupervisorState
from supervisors.incarnation import ChildStatus, Incarnation
from supervisors.listeners import Report, ReportContext, ReportKind
from supervisors.specs import ChildSpec
from supervisors.testing.choices import Dice
from supervisors.testing.kids import ALIVE, End
from supervisors.testing.model import Model
from supervisors.testing.model_calls import REFUSED, ModelCalls, Reply
from supervisors.testing.violations import Violation

if TYPE_CHECKING:
    from supervisors.testing.simulation import Simulation

_ENDS: Final = frozenset(
    {
        ReportKind.CHILD_ENDED,
        ReportKind.CHILD_CRASHED,
        ReportKind.CHILD_IGNORED,
        ReportKind.START_FAILED,
        ReportKind.SHUTDOWN_ERROR,
        ReportKind.ESCALATED,
    }
)
_STEADY: Final = {"down": "down", "restarting": "restarting"}


@final
class Watched:
    """One life of one supervisor under observation."""

    def __init__(self, simulation: Simulation, flags: Flags, parent: Watched | None, child_id: str) -> None:
        self.name = flags.name
        """The supervisor's name."""
        self.parent = parent
        """What watches the supervisor that it is a child of."""
        self.child_id = child_id
        """Its id there."""
        self.dice = Dice(f"{simulation.choices.seed}/{flags.name}/jitter")
        """Where the supervisor's jitter comes from."""
        self.stop_requested = False
        """Whether the scenario has stopped it."""
        self.bodies: dict[str, int] = {}
        """How many lives of each child run their code and are not cut off."""
        self.zombies: set[tuple[str, int]] = set()
        """The lives that were cut off, and go on."""
        self.pending: set[Reply] = set()
        """Calls that wait for their answer."""
        self.changed = False
        """Whether anything has happened since the last quiet point."""
        self.model = Model(flags, (), None)
        """What the supervisor must do."""
        self._simulation = simulation
        self._flags = flags
        self.supervisor: AnySupervisor
        self._calls = ModelCalls(self.model)

    def adopt(self, supervisor: AnySupervisor, specs: list[ChildSpec], template: ChildSpec | None) -> None:
        """Begin to watch `supervisor`, which was made just now of `specs` or of a `template`."""
        self.supervisor = supervisor
        self.model = Model(self._flags, specs, template)
        self._calls = ModelCalls(self.model)
        self.model.begin(self._simulation.now)

    @property
    def over(self) -> bool:
        """Whether the supervisor has ended."""
        return self.model.stopped

    # ---- what it hears

    def on_report(self, report: Report) -> None:
        """Take a report of the supervisor."""
        offender = report.offender
        self._simulation.note(
            self.name,
            report.kind.value,
            "" if offender is None else offender.id,
            0 if offender is None else offender.incarnation,
            "" if report.exit is None else report.exit.kind.value,
        )
        if self._simulation.violation is None:
            try:
                self.sync()
                self._hear(
                    report, "" if offender is None else offender.id, 0 if offender is None else offender.incarnation
                )
            except Violation as violation:
                self._simulation.violated(violation)

    def _hear(self, report: Report, child_id: str, number: int) -> None:
        kind, model, now = report.kind, self.model, self._simulation.now
        if kind in {ReportKind.CHILD_STARTED, ReportKind.CHILD_RESTARTED}:
            model.ready(now, child_id)
        elif kind in _ENDS and report.exit is not None:
            ready = report.context in {ReportContext.RUN, ReportContext.STOP}
            model.ended(now, child_id, End(report.exit.kind, report.context, ready))
        elif kind is ReportKind.CHILD_FENCED and report.exit is not None:
            self.bodies[child_id] = self.bodies.get(child_id, 0) - 1
            self.zombies.add((child_id, number))
            if report.exit.kind is ExitKind.FENCED:
                ready = child_id in model.kids and model.kids[child_id].ready
                model.ended(now, child_id, End(report.exit.kind, report.context, ready))
        elif kind is ReportKind.MAX_RESTARTS_EXCEEDED:
            model.gave_up(child_id)
        elif kind is ReportKind.RESTART_DELAYED:
            model.delayed(now, child_id, self.dice.last)
        elif kind is ReportKind.SUPERVISOR_STOPPED:
            model.has_stopped(report.reason)

    def sync(self) -> None:
        """Tell the model if the supervisor has begun to stop since it was looked at last."""
        self.changed = True
        if not self.model.stopping and self.supervisor.state in _STOPPING:
            self.model.stops(self._simulation.now, asked=self._asked_to_stop())

    def _asked_to_stop(self) -> bool:
        if self.stop_requested or self.parent is None:
            return self.stop_requested
        self.parent.sync()
        return self.parent.model.wants_end_of(self.child_id)

    # ---- its children

    def observed(self, spec: ChildSpec) -> ChildSpec:
        """Return `spec` with its first and last steps observed."""
        start, founders, simulation, child_id = spec.start, self._simulation.founders, self._simulation, spec.id

        async def observed_start(*args: object, task_status: ChildStatus) -> None:
            task = trio.lowlevel.current_task()
            # The children of a dynamic supervisor share a spec, and each has a name of its own.
            name = task_status.child.id if isinstance(task_status, Incarnation) else child_id
            number = task_status.incarnation
            self._body_begins(name, number)
            founders[task] = (self, name)
            try:
                await start(*args, task_status=task_status)
            finally:
                del founders[task]
                simulation.promises.pop(task_status, None)
                if (name, number) in self.zombies:
                    self.zombies.discard((name, number))
                else:
                    self.bodies[name] -= 1
                simulation.note(self.name, "body_ends", name, number, "")

        return replace(spec, start=observed_start)

    def _body_begins(self, child_id: str, number: int) -> None:
        self._simulation.note(self.name, "began", child_id, number, "")
        running = self.bodies.get(child_id, 0)
        self.bodies[child_id] = running + 1
        if self._simulation.violation is None:
            try:
                self.sync()
                self.model.began(self._simulation.now, child_id, number)
            except Violation as violation:
                self._simulation.violated(violation)
            if running:
                self._simulation.violated(Violation(f"supervisor {self.name}: two lives of {child_id} run at once"))

    # ---- calls

    def call(self, name: str, child_id: str, spec: ChildSpec | None) -> Reply:
        """Take note of a call that is made in this step."""
        self.sync()
        overtaken = self.model.stopping or self._asked_to_stop()
        reply = self._calls.submit(self._simulation.now, name, child_id, spec)
        reply.overtaken = overtaken
        self.pending.add(reply)
        return reply

    def answered(self, reply: Reply, answer: str) -> None:
        """Compare the answer of a call with the one that it must get."""
        self.sync()
        self.pending.discard(reply)
        self.model.step(self._simulation.now, lambda: reply.answer is not None)
        expected = {REFUSED} if reply.answer is None else {reply.answer}
        if reply.overtaken or self.model.stopping or self._asked_to_stop() or self.model.finished:
            expected.add(REFUSED)
        if answer not in expected:
            wanted = " or ".join(sorted(expected))
            raise Violation(f"supervisor {self.name}: {reply.call} was answered {answer} instead of {wanted}")

    # ---- quiet points

    def check_quiet(self, now: float) -> None:
        """Compare the supervisor with its model, at a moment when nothing can run.

        Raises:
            Violation: they differ.
        """
        model = self.model
        self.sync()
        model.check_quiet(now, stopping=model.stopping)
        for reply in self.pending:
            if model.stopped or (reply.answer is not None and not model.stopping):
                raise Violation(f"supervisor {self.name}: {reply.call} gets no answer")
        if self.changed and not model.stopping:
            self._compare()
        self.changed = False

    def _compare(self) -> None:
        real = {info.id: _STEADY.get(info.state.value, ALIVE) for info in self.supervisor.which_children()}
        wanted = self.model.states()
        if list(real) != list(wanted):
            raise Violation(f"supervisor {self.name}: its children are {list(real)} instead of {list(wanted)}")
        for child_id, kid in self.model.kids.items():
            bodies = self.bodies.get(child_id, 0)
            if bodies != kid.live:
                raise Violation(f"supervisor {self.name}: {bodies} lives of {child_id} run their code")
            if kid.live:
                if real[child_id] == "down":
                    raise Violation(f"supervisor {self.name}: {child_id} lives, and is said to be down")
            elif real[child_id] != wanted[child_id]:
                raise Violation(f"supervisor {self.name}: {child_id} is {real[child_id]} instead of {wanted[child_id]}")


_STOPPING: Final = frozenset({SupervisorState.STOPPING, SupervisorState.STOPPED})
