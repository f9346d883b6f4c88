"""One timekeeper per system: many deadlines, one trio task, one heap.

A cancel scope per ask costs 8 us; here arming costs a comparison, because callees arm only when an ask is due earlier
than everything they already armed. Callbacks are sync, quick and never raise. It is not a scheduler for user code.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from typing import final

import trio


@final
class Timekeeper:
    """Calls back when a time on trio's clock has come."""

    __slots__ = ("_clock", "_heap", "_next_due", "_scope", "_sequence", "_stopped")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._heap: list[tuple[float, int, Callable[[float], None]]] = []
        self._next_due = math.inf
        self._scope: trio.CancelScope | None = None
        self._sequence = count()
        self._stopped = False

    def at(self, due: float, callback: Callable[[float], None]) -> None:
        """Call `callback(now)` once, as soon as trio's clock has reached `due`."""
        heappush(self._heap, (due, next(self._sequence), callback))
        if due < self._next_due:
            self._next_due = due
            if self._scope is not None:
                self._scope.deadline = due

    async def run(self) -> None:
        """Serve deadlines until `stop`. Shielded: asks made while everything shuts down still end in time."""
        while not self._stopped:
            with trio.CancelScope(deadline=self._next_due, shield=True) as self._scope:
                await trio.sleep_forever()
            self._scope = None
            if not self._stopped:
                self._fire(self._clock())

    def stop(self) -> None:
        """Let `run` return; deadlines still in the heap never fire."""
        self._stopped = True
        if self._scope is not None:
            self._scope.cancel(reason="the timekeeper was stopped")

    def _fire(self, now: float) -> None:
        heap = self._heap
        while heap and heap[0][0] <= now:
            heappop(heap)[2](now)
        self._next_due = heap[0][0] if heap else math.inf
