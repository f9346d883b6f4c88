"""A task that says once per turn of trio that something lies ready, however much has come.

Waking another thread at the first answer let it run at once, take that one, and wait again: 19,000 wake-ups for 30,000
answers to 100 callers. One turn later those of the same turn lie ready, too. `trio_thread` has one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import final

from trio.lowlevel import Abort, RaiseCancelT, Task, current_task, reschedule, wait_task_rescheduled


@final
class Flusher:
    """The task, and how it is asked to flush."""

    def __init__(self, flush: Callable[[], object]) -> None:
        self._flush = flush
        self._parked: Task | None = None

    async def run(self) -> None:
        """Flush whenever asked to, until cancelled."""

        def abort(_raise_cancel: RaiseCancelT) -> Abort:
            self._parked = None
            return Abort.SUCCEEDED

        while True:
            self._parked = current_task()
            await wait_task_rescheduled(abort)
            self._flush()

    def soon(self) -> None:
        """Have it flush in the next turn, once."""
        parked = self._parked
        if parked is not None:
            self._parked = None
            reschedule(parked)
