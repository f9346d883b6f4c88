"""What became of tasks in this process: `TaskFigures`, a subscriber of every store.

Ends, queue times and working times by specialist, counted after the commit that made them durable; a time remembers its
task. Not how many tasks there are: that is asked of the database (`backlog`), because other processes work on it too.
"""

from __future__ import annotations

from enum import StrEnum, unique
from typing import Final, final

from supervisors import Tally
from vespera_agents.health.metrics.exemplars import TracedHistograms
from vespera_agents.health.metrics.labels import SPECIALISTS, declared_specialist
from vespera_agents.store import StatusChange
from vespera_agents.work.models import TaskStatus

__all__ = ["TASK_SECONDS_BOUNDS", "TaskFigures", "TaskOutcome"]

TASK_SECONDS_BOUNDS: Final = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0)
"""From a command of a moment to a piece of work of half a day."""
_NOT_BEGUN: Final = frozenset({None, TaskStatus.PENDING})


@unique
class TaskOutcome(StrEnum):
    """How a task ended."""

    COMPLETED = "completed"
    """It was done."""
    FAILED = "failed"
    """It, or a gate of it, failed."""
    CANCELLED = "cancelled"
    """Somebody called it off."""
    WAIVED = "waived"
    """Its own condition did not hold; what depends on it went on."""


@final
class TaskFigures:
    """The numbers of all tasks that this process moved."""

    def __init__(self) -> None:
        keys = [(specialist, outcome.value) for specialist in SPECIALISTS for outcome in TaskOutcome]
        self.finished: Tally[tuple[str, str]] = Tally(keys)
        """Ends by specialist and outcome."""
        self.duration: TracedHistograms[tuple[str, str]] = TracedHistograms(TASK_SECONDS_BOUNDS)
        """Seconds from claim to end, by specialist and outcome."""
        self.queue_wait: TracedHistograms[str] = TracedHistograms(TASK_SECONDS_BOUNDS)
        """Seconds from creation to the first claim, by specialist."""

    def changed(self, changes: list[StatusChange]) -> None:
        """Count what a commit changed: the listener for `Store.subscribe`."""
        for change in changes:
            specialist = declared_specialist(change.specialist)
            if change.queued_seconds is not None:
                self.queue_wait.observe(specialist, change.queued_seconds, {"task_id": change.task_id})
            outcome = _outcome(change)
            if outcome is None:
                continue
            self.finished.increment((specialist, outcome.value))
            # A task that was given back and then called off was claimed once, and has not been worked on since.
            if change.worked_seconds is not None and change.before not in _NOT_BEGUN:
                key = specialist, outcome.value
                self.duration.observe(key, change.worked_seconds, {"task_id": change.task_id})


def _outcome(change: StatusChange) -> TaskOutcome | None:
    """Say how a change ended its task; None where it did not: archiving puts away what has ended before."""
    match change.after:
        case TaskStatus.COMPLETED:
            return TaskOutcome.COMPLETED
        case TaskStatus.FAILED:
            return TaskOutcome.FAILED
        case TaskStatus.CANCELLED:
            return TaskOutcome.WAIVED if change.waived else TaskOutcome.CANCELLED
        case _:
            return None
