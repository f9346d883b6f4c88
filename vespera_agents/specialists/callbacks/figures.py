"""What deliveries count, in plain numbers. Neighbours: `delivery` counts, the health wing shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from supervisors import Histogram
from supervisors.counting import SECONDS_BOUNDS

__all__ = ["CallbackFigures", "CallbackStatistics"]


@final
@dataclass(frozen=True, slots=True)
class CallbackStatistics:
    """What was done so far in this process."""

    delivered: int
    failed: int
    """Attempts that failed and are repeated."""
    given_up: int
    repeated: int
    """Callbacks that a process which died may have sent, and that were sent once more."""
    dropped: int
    """What functions in this process did not hear, because they were too slow."""
    handler_failures: int
    """Times that one of them took too long."""


@final
class CallbackFigures:
    """The counters."""

    __slots__ = ("attempt_seconds", "delivered", "dropped", "failed", "given_up", "handler_failures", "repeated")

    def __init__(self) -> None:
        self.delivered = 0
        self.failed = 0
        self.given_up = 0
        self.repeated = 0
        self.dropped = 0
        self.handler_failures = 0
        self.attempt_seconds = Histogram(SECONDS_BOUNDS)

    def statistics(self) -> CallbackStatistics:
        """Give the numbers as they are now."""
        return CallbackStatistics(
            self.delivered, self.failed, self.given_up, self.repeated, self.dropped, self.handler_failures
        )
