"""How often may a supervisor restart: one sliding window, pure (time is an argument; there is no clock here).

Source: OTP `supervisor.erl::add_restart/3`. A restart exactly `period_seconds` ago still counts.
"""

from __future__ import annotations

from collections import deque
from typing import final


@final
class RestartWindow:
    """The restarts of the last `period_seconds`; at most `intensity` + 1 moments are kept."""

    __slots__ = ("_moments", "intensity", "period_seconds")

    def __init__(self, intensity: int, period_seconds: float) -> None:
        self.intensity = intensity
        """Restarts allowed in one period; 0 allows none."""
        self.period_seconds = period_seconds
        """Length of the window in seconds, > 0."""
        self._moments: deque[float] = deque()

    def add(self, now_seconds: float) -> bool:
        """Count a restart at `now_seconds` (never before an earlier one); False when it is one too many."""
        self._forget(now_seconds)
        self._moments.append(now_seconds)
        if len(self._moments) <= self.intensity:
            return True
        # The window is over the limit whatever else happens, so the oldest moment is not needed to say so again.
        while len(self._moments) > self.intensity + 1:
            self._moments.popleft()
        return False

    def change(self, intensity: int, period_seconds: float) -> None:
        """Take other limits from now on; what was counted goes on counting."""
        self.intensity = intensity
        self.period_seconds = period_seconds

    def used(self, now_seconds: float) -> int:
        """Return how many restarts count at `now_seconds`."""
        self._forget(now_seconds)
        return len(self._moments)

    def used_ratio(self, now_seconds: float) -> float:
        """Return how full the window is: at 1.0 the next restart is one too many.

        At intensity 0, where the first restart already is, it is 0.0 until then: no news is no alarm.
        """
        return self.used(now_seconds) / max(1, self.intensity)

    def _forget(self, now_seconds: float) -> None:
        oldest = now_seconds - self.period_seconds
        while self._moments and self._moments[0] < oldest:
            self._moments.popleft()
