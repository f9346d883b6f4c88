"""One task that knows what is due when, for a whole tree: an `Alarm` is set a thousand times and costs one task none.

A cancel scope with a deadline costs 5 us per wait; setting an alarm costs 0.2 us, because it is queued only when it
moves forward: a deadline that moves back (each start and each stop sets a later one) is noticed when it rings. The
price: an alarm that was switched off may wake this task once, for nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Final, final

import trio
from trio.lowlevel import current_clock

_SWEEP_MIN: Final = 1000
"""Up to so many alarms in the queue, those that were discarded stay until they would have rung."""


@final
class Alarm:
    """Something that rings at a moment that can be moved. Ringing is one call, in the timekeeper's task."""

    __slots__ = ("_keeper", "_ring", "due", "queued")

    def __init__(self, keeper: Timekeeper, ring: Callable[[], None]) -> None:
        self._keeper = keeper
        self._ring: Callable[[], None] | None = ring
        self.due = math.inf
        """When it rings, on trio's clock; math.inf while it is off."""
        self.queued = math.inf
        """When the timekeeper will look at it; never later than `due`."""

    def set(self, due: float) -> None:
        """Ring at `due`, and no longer at any earlier moment; math.inf switches it off."""
        self.due = due
        if due < self.queued:
            self._keeper.queue(self, due)

    @property
    def is_live(self) -> bool:
        """Whether it may still ring: it was not discarded."""
        return self._ring is not None

    def now(self) -> float:
        """Return the moment by which it rings."""
        return self._keeper.clock()

    def discard(self) -> None:
        """Switch it off for ever, and keep nothing of whom it would have woken."""
        self.due = math.inf
        self._ring = None

    def ring(self) -> None:
        """Ring, and be off afterwards."""
        self.due = math.inf
        if self._ring is not None:
            self._ring()


@final
class Timekeeper:
    """The task that rings alarms, for everything below one root."""

    __slots__ = ("_life", "_nap", "_numbers", "_queue", "_sweep_at", "clock")

    def __init__(self) -> None:
        self.clock = current_clock().current_time
        """Trio's clock, without the look-up of the current run in each reading."""
        self._queue: list[tuple[float, int, Alarm]] = []
        self._sweep_at = _SWEEP_MIN
        self._numbers = count()
        # Shielded: whoever cancels the tree must not stop the clock by which the tree stops in order.
        self._life = trio.CancelScope(shield=True)
        self._nap = trio.CancelScope()

    async def run(self) -> None:
        """Ring what is due until told to stop."""
        with self._life:
            while True:
                self._ring_due()
                with trio.CancelScope(deadline=self._queue[0][0] if self._queue else math.inf) as self._nap:
                    await trio.sleep_forever()

    def stop(self) -> None:
        """End the task; alarms ring no more."""
        self._life.cancel(reason="the tree has ended")

    def queue(self, alarm: Alarm, due: float) -> None:
        """Look at `alarm` at `due`; called by the alarm."""
        alarm.queued = due
        heappush(self._queue, (due, next(self._numbers), alarm))
        if len(self._queue) > self._sweep_at:
            self._sweep()
        self._nap.deadline = min(self._nap.deadline, due)

    @property
    def queued(self) -> int:
        """How many alarms are queued, those included that will turn out to be off or discarded."""
        return len(self._queue)

    def _sweep(self) -> None:
        """Drop what will never ring: who sets an alarm for an hour and discards it, a thousand times a second, too.

        Only when the queue is twice as long as after the last time, so that each alarm pays for two looks at the most.
        """
        self._queue = [entry for entry in self._queue if entry[2].is_live and entry[0] == entry[2].queued]
        heapify(self._queue)
        self._sweep_at = max(_SWEEP_MIN, 2 * len(self._queue))

    def _ring_due(self) -> None:
        now = self.clock()
        while self._queue and self._queue[0][0] <= now:
            due, _, alarm = heappop(self._queue)
            if due != alarm.queued:
                continue  # It was moved forward after this entry was made, and rang then.
            alarm.queued = math.inf
            if alarm.due <= now:
                alarm.ring()
            elif alarm.due < math.inf:
                self.queue(alarm, alarm.due)
