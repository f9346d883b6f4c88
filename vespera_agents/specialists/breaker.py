"""A breaker: while it is open, work of its kind is refused, with the reason and when to come again.

Whoever opens it says for how long; it closes by itself then, so that one who opened it and is gone refuses nobody for
ever. Not a judge of anything: `health` opens it for a reason. Neighbours: `admission` keeps the breakers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, final

import trio

from vespera_agents.work.errors import Overloaded

__all__ = ["Breaker", "BreakerStatistics"]


@final
@dataclass(frozen=True, slots=True)
class BreakerStatistics:
    """One breaker at one moment."""

    kind: str
    """Which work it is about."""
    is_open: bool
    why: str
    """Why it is open, or was last."""
    opened: int
    """How often it was opened."""
    refused: int
    """What was refused so far."""


@final
class Breaker:
    """Lets work of one kind begin, or refuses it."""

    __slots__ = ("_clock", "_opened", "_refused", "_retry_seconds", "_until", "_why", "kind")

    def __init__(self, kind: str, clock: Callable[[], float] = trio.current_time) -> None:
        """Be closed.

        Args:
            kind: which work it is about.
            clock: seconds from any moment on.
        """
        self.kind: Final = kind
        """Which work it is about."""
        self._clock = clock
        self._until = 0.0
        self._retry_seconds = 0.0
        self._why = ""
        self._opened = 0
        self._refused = 0

    @property
    def is_open(self) -> bool:
        """Whether work is refused now."""
        return self._clock() < self._until

    def open(self, why: str, seconds: float, retry_seconds: float) -> None:
        """Refuse work from now on; while it is open, go on doing so.

        Args:
            why: what is wrong, a sentence without a full stop.
            seconds: for how long, unless it is opened again.
            retry_seconds: when whoever is refused should come again.
        """
        self._opened += not self.is_open
        self._until, self._why, self._retry_seconds = self._clock() + seconds, why, retry_seconds

    def close(self) -> None:
        """Refuse nothing any more."""
        self._until = 0.0

    def refuse(self, what: str) -> None:
        """Refuse to begin something while it is open.

        Raises:
            Overloaded: it is.
        """
        if self.is_open:
            self._refused += 1
            raise Overloaded(what, self._why, self._retry_seconds)

    def statistics(self) -> BreakerStatistics:
        """Give its numbers as they are now."""
        return BreakerStatistics(self.kind, self.is_open, self._why, self._opened, self._refused)
