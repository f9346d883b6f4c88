"""What a trio task waits for that a thread brings about: the task parks until it is told, or gives up.

Neighbours: a command on its way through the `writer`, a query in one of the `readers`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, Final

import trio
from outcome import Outcome, Value
from trio.lowlevel import Abort, TrioToken, current_task, reschedule, wait_task_rescheduled

__all__ = ["Awaited", "run_soon"]

_NOTHING_YET: Final = Value(None)


class Awaited:
    """One outcome, and the one task that waits for it; made in that task."""

    __slots__ = ("_parked", "_told", "outcome", "waiter")

    def __init__(self) -> None:
        self.waiter: Any = current_task()
        """The trio task that waits; None once it was cancelled."""
        self.outcome: Outcome[Any] = _NOTHING_YET
        self._parked = False
        self._told = False

    async def answer(self) -> object:
        """Be the waiting task: wait until the outcome is told, unless it was already, and give it."""
        if not self._told:
            self._parked = True
            await wait_task_rescheduled(self._abort)
        return self.outcome.unwrap()

    def tell(self) -> None:
        """Tell the waiting task that the outcome stands, in the trio thread."""
        self._told = True
        if self._parked and self.waiter is not None:
            reschedule(self.waiter)

    def _abort(self, _: object) -> Abort:
        """From here on nobody waits for the outcome."""
        self.waiter = None
        return Abort.SUCCEEDED


def run_soon(token: TrioToken, function: Callable[..., object], *arguments: object) -> None:
    """Call a function in the trio thread, from another one; a run that ends before its threads calls it no more."""
    with contextlib.suppress(trio.RunFinishedError):
        token.run_sync_soon(function, *arguments)
