"""How long to wait before a restart: exponential backoff with jitter. Pure: no clock, no state, no dice of its own.

`supervisors.supervision` counts the failures and waits. Source: Akka, `BackoffSupervisor.calculateDelay`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, final

from supervisors.errors import SpecError

DOUBLINGS_MAX: Final = 64
"""From here on doubling changes nothing: no delay is that long, and a float must not overflow."""


@final
@dataclass(frozen=True, slots=True)
class Backoff:
    """Wait longer before each restart of a child that keeps failing. Raises SpecError when invalid."""

    min_seconds: float
    """The delay before the first restart, > 0."""
    max_seconds: float
    """No delay is longer than this, jitter not included; >= min_seconds."""
    jitter: float = 0.2
    """A delay is stretched by a random part of this fraction, 0.0..1.0, so that a crowd does not come back at once."""
    reset_seconds: float | None = None
    """A life this long after it became ready ends the series; None is (min + max) / 2, as in Akka."""

    def __post_init__(self) -> None:
        if not 0.0 < self.min_seconds <= self.max_seconds < math.inf:
            raise SpecError(
                f"backoff needs 0 < min_seconds <= max_seconds < inf, not {self.min_seconds!r} and {self.max_seconds!r}"
            )
        if not 0.0 <= self.jitter <= 1.0:
            raise SpecError(f"backoff: jitter is a fraction between 0.0 and 1.0, not {self.jitter!r}")
        if self.reset_seconds is not None and not self.reset_seconds > 0.0:
            raise SpecError(f"backoff: reset_seconds is a number of seconds > 0 or None, not {self.reset_seconds!r}")

    @property
    def resets_after_seconds(self) -> float:
        """`reset_seconds` with its default filled in."""
        return (self.min_seconds + self.max_seconds) / 2 if self.reset_seconds is None else self.reset_seconds

    def delay_seconds(self, failures: int, chance: float) -> float:
        """Return the delay after `failures` earlier failures in a row; `chance` (0.0..1.0) is the dice's word."""
        doubled = self.min_seconds * 2.0 ** min(failures, DOUBLINGS_MAX)
        return min(self.max_seconds, doubled) * (1.0 + chance * self.jitter)

    def series(self, failures: int, ready_seconds: float) -> int:
        """Return how many failures in a row count, after a life that was ready for `ready_seconds` (0.0: never)."""
        return 0 if ready_seconds >= self.resets_after_seconds else failures
