"""The instrument: exact accounting of a loop's ticks, at two hooks each.

A tick is what runs between two looks for events. Counting happens here and not in the thread that looks for culprits
(`watchdog`), so that no stall is ever missed. What every tick pays is 1 us; everything else is for the slow ones.

The lag is that of a probe that rings every 10 ms, without the probe: how late each of its rings would have been heard
follows from when ticks begin and end. A histogram of ticks would say little, because a blocked loop has few of them.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, final

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

    from vespera_agents.health.watchdog.figures import LoopFigures

__all__ = ["PROBE_SECONDS", "LoopMeter"]

PROBE_SECONDS: Final = 0.01
"""How often the probe would ring."""
_PROBES_MAX: Final = 6_000
"""Rings within one tick that are counted each for itself: a minute of them."""


@final
class LoopMeter(trio.abc.Instrument):
    """Counts the ticks of the loop that it is added to."""

    __slots__ = (
        "_deadline", "_figures", "_next_probe", "_slow", "_wait_began", "threshold_seconds", "tick_began", "worst",
    )  # fmt: skip

    def __init__(self, figures: LoopFigures, threshold_seconds: float, slow: Callable[[float, float], None]) -> None:
        """Make one; add it with `trio.lowlevel.add_instrument`, in the loop.

        Args:
            figures: what it adds to.
            threshold_seconds: above which a tick is slow.
            slow: called at the end of each slow tick with when that began, and how long it took.
        """
        now = time.perf_counter()
        self._figures = figures
        self.threshold_seconds = threshold_seconds
        """Above which a tick is slow."""
        self._slow = slow
        self._wait_began = self._deadline = now
        self._next_probe = now + PROBE_SECONDS
        self.tick_began = now
        """When the tick under way began, by `time.perf_counter`; 0.0 while the loop waits."""
        self.worst = 0.0
        """The longest tick since somebody set this to 0."""

    def before_io_wait(self, timeout: float) -> None:
        """End a tick."""
        now = time.perf_counter()
        began = self.tick_began
        self.tick_began = 0.0
        busy = now - began
        self._figures.busy_seconds += busy
        if busy > self.worst:  # noqa: PLR1730 - a call of max takes a tenth of all that is done for a tick
            self.worst = busy
        if busy > self.threshold_seconds:
            self._slow(began, busy)
        if now >= self._next_probe:
            self._probe_tick(now)
        self._wait_began = now
        self._deadline = now + timeout

    def after_io_wait(self, timeout: float) -> None:  # noqa: ARG002 - trio says it a second time
        """Begin a tick."""
        now = self.tick_began = time.perf_counter()
        figures = self._figures
        figures.idle_seconds += now - self._wait_began
        figures.ticks += 1
        if now >= self._next_probe:
            self._probe_wait(now)

    def _probe_tick(self, now: float) -> None:
        """Count what the probe would have found during a tick: it waits for the end of it."""
        ring, observe = self._next_probe, self._figures.lag.observe
        for _ in range(_PROBES_MAX):
            if ring > now:
                break
            observe(now - ring)
            ring += PROBE_SECONDS
        self._next_probe = max(ring, now)

    def _probe_wait(self, now: float) -> None:
        """Count what it would have found during a wait: it is heard at once, unless the wait itself ended late."""
        in_time = min(now, self._deadline) - self._next_probe
        if in_time >= 0.0:
            rings = int(in_time / PROBE_SECONDS) + 1
            self._figures.lag.observe_many(0.0, rings)
            self._next_probe += rings * PROBE_SECONDS
        self._probe_tick(now)
