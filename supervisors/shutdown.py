"""Coordinated shutdown: what a program does before it ends, in phases that depend on each other, each within its time.

A phase begins when all phases before it are over; its tasks run together. One that fails or is late is reported, and
the shutdown goes on (unless the phase says otherwise). It runs once: who asks again gets the same report. Source: Akka,
`CoordinatedShutdown`. How a tree is drained and stopped, as tasks of such phases or alone, is `supervisors.draining`.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Final, final

import trio

from supervisors.errors import SpecError, SupervisorError
from supervisors.exits import Failure, leaves
from supervisors.forcing import force_kill
from supervisors.specs import is_seconds

UNWIND_SECONDS: Final = 1.0
"""How long a task may take to unwind once it is cancelled, before it is stopped by force, and again after that."""

Work = Callable[[], Awaitable[object]]
"""What a task does; cancelled when its phase is out of time."""


@final
@dataclass(frozen=True, slots=True)
class Phase:
    """A step of the shutdown. Raises SpecError when invalid."""

    name: str
    """What it is called; not empty."""
    after: tuple[str, ...] = ()
    """The phases that must be over before it begins."""
    timeout_seconds: float = 5.0
    """How long its tasks may take, all together; math.inf waits."""
    recover: bool = True
    """Whether the shutdown goes on when one of its tasks fails or is late."""
    enabled: bool = True
    """Whether its tasks are run at all."""

    def __post_init__(self) -> None:
        if not self.name:
            raise SpecError("a phase has a name: it is what its tasks and the phases after it ask for")
        if not is_seconds(self.timeout_seconds) or self.timeout_seconds == 0.0:
            raise SpecError(f"phase {self.name!r}: timeout_seconds is a number > 0, not {self.timeout_seconds!r}")


DEFAULT_PHASES: Final = (
    Phase("close_admission"),
    Phase("drain", after=("close_admission",), timeout_seconds=30.0),
    Phase("snapshot", after=("drain",)),
    Phase("stop_tree", after=("snapshot",), timeout_seconds=30.0),
    Phase("before_exit", after=("stop_tree",)),
)
"""The phases of a program that takes work from outside and supervises a tree."""


class TaskEnd(enum.StrEnum):
    """How a task of a shutdown ended."""

    DONE = "done"
    """It returned."""
    FAILED = "failed"
    """It raised."""
    TIMED_OUT = "timed_out"
    """It was cancelled, or at last stopped by force, because its phase was out of time."""


@final
@dataclass(frozen=True, slots=True)
class TaskReport:
    """What became of one task."""

    name: str
    """What it is called."""
    end: TaskEnd
    """How it ended."""
    seconds: float
    """How long it took."""
    problem: str = ""
    """One line: what it raised."""


@final
@dataclass(frozen=True, slots=True)
class PhaseReport:
    """What became of one phase."""

    name: str
    """Which."""
    seconds: float
    """How long it took."""
    tasks: tuple[TaskReport, ...]
    """Its tasks, in the order in which they ended."""

    @property
    def succeeded(self) -> bool:
        """Whether all its tasks are done."""
        return all(task.end is TaskEnd.DONE for task in self.tasks)


@final
@dataclass(frozen=True, slots=True)
class ShutdownReport:
    """What a shutdown did."""

    reason: str
    """Why it was asked for."""
    phases: tuple[PhaseReport, ...]
    """The phases that were run, in order; disabled ones are not among them."""
    aborted_in: str | None
    """The phase whose failure ended it, where one without `recover` failed."""

    @property
    def succeeded(self) -> bool:
        """Whether all tasks of all phases are done."""
        return self.aborted_in is None and all(phase.succeeded for phase in self.phases)


@final
class ShutdownTooLate(SupervisorError):
    """A task came for a phase that is over: nothing would run it."""

    def __init__(self, phase: str, task: str) -> None:
        super().__init__(f"task {task!r} comes too late for phase {phase!r}: add it to a later one, or do it now")
        self.phase = phase
        """The phase that is over."""
        self.task = task
        """The task that will not be run."""


@final
class ShutdownTask:
    """A task of a phase; its end is in the report of the shutdown."""

    __slots__ = ("began", "cancelled", "name", "scope", "trio_task", "work")

    def __init__(self, name: str, work: Work) -> None:
        self.name = name
        """What it is called."""
        self.work = work
        """What it does."""
        self.cancelled = False
        """Whether it was withdrawn."""
        self.scope = trio.CancelScope()
        """What it runs in."""
        self.began = 0.0
        """When it began."""
        self.trio_task: trio.lowlevel.Task | None = None
        """What runs it, while something does."""

    def cancel(self) -> None:
        """Withdraw it: it will not be run. Nothing happens where it runs already. Idempotent."""
        self.cancelled = True


@final
class CoordinatedShutdown:
    """Phases in order, and the tasks that their users have added. Raises SpecError when the phases have no order."""

    def __init__(self, phases: Iterable[Phase] = DEFAULT_PHASES) -> None:
        self.phases = _in_order(tuple(phases))
        """The phases, in the order in which they run."""
        self.reason: str | None = None
        """Why it was asked for; None before."""
        self._tasks: dict[str, list[ShutdownTask]] = {phase.name: [] for phase in self.phases}
        self._open: _OpenPhase | None = None
        self._past: set[str] = set()
        self._over = trio.Event()
        self._report: ShutdownReport | None = None

    @property
    def total_timeout_seconds(self) -> float:
        """How long it may take at most; unwinding not included."""
        return sum(phase.timeout_seconds for phase in self.phases if phase.enabled)

    def add_task(self, phase: str, name: str, work: Work) -> ShutdownTask:
        """Have `work` done in a phase; also while the shutdown runs, if the phase is not over.

        Raises:
            SpecError: there is no such phase.
            ShutdownTooLate: the phase is over.
        """
        if phase not in self._tasks:
            raise SpecError(f"no phase {phase!r}: the phases are {', '.join(self._tasks)}")
        if phase in self._past:
            raise ShutdownTooLate(phase, name)
        task = ShutdownTask(name, work)
        if self._open is not None and self._open.phase.name == phase:
            self._open.begin(task)
        else:
            self._tasks[phase].append(task)
        return task

    async def run(self, reason: str, *, from_phase: str | None = None) -> ShutdownReport:
        """Run the phases, or those from `from_phase` on; whoever asks later waits for the same report.

        Cancelling this does not stop a shutdown that has begun. A task that not even force can stop keeps it from
        returning at its very end, and holds up no phase.

        Raises:
            SpecError: there is no such phase.
        """
        if from_phase is not None and from_phase not in self._tasks:
            raise SpecError(f"no phase {from_phase!r}: the phases are {', '.join(self._tasks)}")
        if self.reason is None:
            self.reason = reason
            with trio.CancelScope(shield=True):
                await self._run_phases(from_phase)
        await self._over.wait()
        assert self._report is not None, "a shutdown that is over has its report"
        return self._report

    async def _run_phases(self, from_phase: str | None) -> None:
        reports: list[PhaseReport] = []
        aborted_in: str | None = None
        begun = from_phase is None
        async with trio.open_nursery() as nursery:
            for phase in self.phases:
                begun = begun or phase.name == from_phase
                if begun and phase.enabled and aborted_in is None:
                    self._open = _OpenPhase(phase, nursery)
                    report = await self._open.run(self._tasks[phase.name])
                    reports.append(report)
                    if not report.succeeded and not phase.recover:
                        aborted_in = phase.name
                self._open = None
                self._past.add(phase.name)
            self._report = ShutdownReport(self.reason or "", tuple(reports), aborted_in)
            self._over.set()


@final
class _OpenPhase:
    """A phase while it runs."""

    def __init__(self, phase: Phase, nursery: trio.Nursery) -> None:
        self.phase = phase
        self._nursery = nursery
        self._running: list[ShutdownTask] = []
        self._reports: list[TaskReport] = []
        self._changed = trio.Event()

    def begin(self, task: ShutdownTask) -> None:
        if not task.cancelled:
            self._running.append(task)
            self._nursery.start_soon(self._carry_out, task, name=f"shutdown {self.phase.name}/{task.name}")

    async def run(self, tasks: Iterable[ShutdownTask]) -> PhaseReport:
        began = trio.current_time()
        for task in tasks:
            self.begin(task)
        if not await self._settled(self.phase.timeout_seconds):
            for task in self._running:
                task.scope.cancel(reason=f"phase {self.phase.name!r} is out of time")
            if not await self._settled(UNWIND_SECONDS):
                for task in self._running:
                    if task.trio_task is not None:
                        force_kill(task.trio_task)
                await self._settled(UNWIND_SECONDS)
            for task in self._running:
                self._note(task, TaskEnd.TIMED_OUT, "not even force has stopped it")
            self._running.clear()
        return PhaseReport(self.phase.name, trio.current_time() - began, tuple(self._reports))

    async def _settled(self, seconds: float) -> bool:
        """Wait until all tasks have ended; say whether they have."""
        with trio.move_on_after(seconds) if seconds < math.inf else trio.CancelScope():
            while self._running:
                self._changed = trio.Event()
                await self._changed.wait()
        return not self._running

    async def _carry_out(self, task: ShutdownTask) -> None:
        task.began = trio.current_time()
        task.trio_task = trio.lowlevel.current_task()
        end, problem = TaskEnd.DONE, ""
        try:
            with task.scope:
                await task.work()
        except BaseException as error:
            # One task's failure must not keep the others from being run.
            if any(isinstance(leaf, KeyboardInterrupt | SystemExit) for leaf in leaves(error)):
                raise
            end, problem = TaskEnd.FAILED, str(Failure.of(error))
        task.trio_task = None
        if task not in self._running:
            return  # Its phase has gone on without it.
        self._running.remove(task)
        self._note(task, TaskEnd.TIMED_OUT if task.scope.cancel_called else end, problem)
        self._changed.set()

    def _note(self, task: ShutdownTask, end: TaskEnd, problem: str) -> None:
        self._reports.append(TaskReport(task.name, end, trio.current_time() - task.began, problem))


def _in_order(phases: tuple[Phase, ...]) -> tuple[Phase, ...]:
    """Return the phases so that each comes after those it names; otherwise in the order given."""
    known = {phase.name: phase for phase in phases}
    if len(known) < len(phases):
        raise SpecError("two phases have the same name; names are unique")
    for phase in phases:
        missing = [name for name in phase.after if name not in known]
        if missing:
            raise SpecError(f"phase {phase.name!r} comes after {missing[0]!r}, and there is no such phase")
    ordered: dict[str, Phase] = {}
    left = list(phases)
    while left:
        nxt = next((phase for phase in left if all(name in ordered for name in phase.after)), None)
        if nxt is None:
            raise SpecError(f"the phases {', '.join(phase.name for phase in left)} wait for each other in a circle")
        ordered[nxt.name] = nxt
        left.remove(nxt)
    return tuple(ordered.values())
