"""What a run looks like at one moment: phases, what runs, how far it is. Pure: events in, facts out.

Not how that is shown (`screens`). Neighbours: `specialists.conductor` sends the events.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, final

from vespera_agents.cli.wording import one_line
from vespera_agents.specialists.conductor import RunEvent, RunEventKind
from vespera_agents.work.machine import TERMINAL
from vespera_agents.work.models import Task, TaskStatus

__all__ = ["Board", "Phase", "Running"]

_NO_PHASE: Final = ""


@final
@dataclass(slots=True)
class Phase:
    """One phase, or whatever contains tasks."""

    title: str
    total: int = 0
    """Its tasks that are no containers."""
    ended: int = 0
    failed: int = 0
    waived: int = 0
    waiting: set[str] = field(default_factory=set[str])
    """Ids of the tasks that are prepared and wait for a client."""


@final
@dataclass(slots=True)
class Running:
    """A task at work."""

    title: str
    since: float
    """In the seconds that `hear` was told."""
    line: str = ""
    """The last line of its output."""


@final
class Board:
    """The facts of a run, kept up to date by `hear`."""

    def __init__(self) -> None:
        self.phases: dict[str, Phase] = {}
        """By the id of the container, in the order of the plan."""
        self.running: dict[str, Running] = {}
        """By the id of the task, the one that began first first."""
        self.stopping = False
        """Nothing new begins."""
        self.reporting = False

    @property
    def total(self) -> int:
        """How many tasks there are."""
        return sum(phase.total for phase in self.phases.values())

    @property
    def ended(self) -> int:
        """How many tasks have ended."""
        return sum(phase.ended for phase in self.phases.values())

    def hear(self, event: RunEvent, now: float) -> None:
        """Take in one event.

        Args:
            event: what happened.
            now: seconds, of any clock that does not stand still.
        """
        task = event.task
        if event.kind is RunEventKind.PLANNED:
            self._plan(event.tasks)
        elif event.kind is RunEventKind.DRAINING:
            self.stopping = True
        elif event.kind is RunEventKind.REPORTING:
            self.reporting = True
        elif task is None:
            return
        elif event.kind is RunEventKind.CLAIMED:
            self.running[task.id] = Running(one_line(task.title), now)
        elif event.kind is RunEventKind.LINE:
            running = self.running.get(task.id)
            if running is not None:
                running.line = one_line(event.text)
        elif event.kind is RunEventKind.FINISHED:
            self.running.pop(task.id, None)
            self._count(task, event.status, waived=event.waived)
        elif event.kind is RunEventKind.PREPARED:
            self._phase(task).waiting.add(task.id)

    def _plan(self, tasks: tuple[Task, ...]) -> None:
        self.phases = {task.id: Phase(one_line(task.title)) for task in tasks if task.is_container}
        for task in tasks:
            if not task.is_container:
                self._phase(task).total += 1
                self._count(task, task.status, waived=task.waived)
        # The container that stands for the whole plan holds only containers.
        self.phases = {identifier: phase for identifier, phase in self.phases.items() if phase.total}

    def _phase(self, task: Task) -> Phase:
        return self.phases.setdefault(task.parent_id or _NO_PHASE, Phase("Tasks"))

    def _count(self, task: Task, status: TaskStatus | None, *, waived: bool) -> None:
        if status is None or status not in TERMINAL:
            return
        phase = self._phase(task)
        phase.ended += 1
        phase.waived += waived
        phase.failed += status is TaskStatus.FAILED
