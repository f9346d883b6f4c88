"""So many times in so much time, and a count of the rest: what keeps a log from being flooded. For any thread."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Throttle"]


@final
class Throttle:
    """Lets something happen `times` times at once, and as often again in each further `seconds`."""

    def __init__(self, times: int, seconds: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with nothing let yet; `clock` gives seconds."""
        self.held_back = 0
        """How often it did not, ever."""
        self._times = times
        self._per_second = times / seconds
        self._clock = clock
        self._left = float(times)
        self._at = clock()
        self._told = 0
        self._lock = threading.Lock()

    def lets(self) -> bool:
        """Say whether it may happen now; if not, it is counted."""
        with self._lock:
            now = self._clock()
            self._left = min(float(self._times), self._left + (now - self._at) * self._per_second)
            self._at = now
            if self._left < 1.0:
                self.held_back += 1
                return False
            self._left -= 1.0
            return True

    def take_held_back(self) -> int:
        """Give how often it did not since this was last asked."""
        with self._lock:
            new, self._told = self.held_back - self._told, self.held_back
            return new
