"""Where a supervisor's own task waits: one place, one alarm, woken by whoever has something for it.

Parking and waking costs 1 us, a trio.Event with a timeout 8 us; a supervisor does it for each start and each stop.
"""

from __future__ import annotations

from typing import final

from trio.lowlevel import Abort, RaiseCancelT, Task, current_task, reschedule, wait_task_rescheduled

from supervisors.timekeeper import Alarm, Timekeeper


@final
class Waiting:
    """The waiting of one task. Made by that task."""

    __slots__ = ("_task", "alarm", "clock", "parked")

    def __init__(self, timekeeper: Timekeeper) -> None:
        self._task: Task = current_task()
        self.clock = timekeeper.clock
        """Trio's clock."""
        self.alarm = Alarm(timekeeper, self.wake)
        """Wakes the task at a moment."""
        self.parked = False
        """Whether the task waits, and nobody has woken it yet."""

    async def park(self) -> None:
        """Wait until woken, which may be for nothing: look again at what was waited for. A checkpoint."""
        self.parked = True
        await wait_task_rescheduled(self._abort)

    def wake(self) -> None:
        """Wake the task, if it waits here."""
        if self.parked:
            # Before the reschedule, and in the abort function too: trio dies when a task is woken twice.
            self.parked = False
            reschedule(self._task)

    def _abort(self, _raise_cancel: RaiseCancelT) -> Abort:
        self.parked = False
        return Abort.SUCCEEDED
