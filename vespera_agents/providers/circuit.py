"""A circuit breaker: a provider that fails again and again is left alone for a while, then tried with one request.

    closed ── so many failures in a row ──> open ── its time is over ──> half open ── the probe succeeds ──> closed
                                             ^────────── the probe fails, and it is left alone for longer ──┘

Pure but for the clock that is passed in. Not the breaker of `specialists`, which somebody else opens for a time: this
one judges by itself. Neighbours: `standing` keeps one for each provider, the metrics and the health show its state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum, unique
from typing import Final, final

import trio

__all__ = ["Circuit", "CircuitBreaker", "CircuitStatistics", "worst_circuits"]


@unique
class Circuit(StrEnum):
    """The state of a circuit breaker."""

    CLOSED = "closed"
    """Requests go through."""
    HALF_OPEN = "half_open"
    """One is tried."""
    OPEN = "open"
    """None goes through."""


_BEST_FIRST: Final = tuple(Circuit)


def worst_circuits(circuits: Iterable[Mapping[str, Circuit]]) -> dict[str, Circuit]:
    """Give the worst state that each provider is in, where several ask it."""
    found: dict[str, Circuit] = {}
    for each in circuits:
        for name, state in each.items():
            found[name] = max(found.get(name, state), state, key=_BEST_FIRST.index)
    return found


@final
@dataclass(frozen=True, slots=True)
class CircuitStatistics:
    """One circuit breaker at one moment."""

    state: Circuit
    failures: int
    """In a row."""
    opened: int
    """How often it was opened."""
    opens_again_seconds: float
    """From now until a request is tried; 0 where one may go."""
    why: str
    """What failed last."""


@final
class CircuitBreaker:
    """Says whether a provider may be asked, by what came of the requests before."""

    __slots__ = (
        "_clock", "_entered", "_failures", "_failures_max", "_max_seconds", "_min_seconds", "_opened", "_probe",
        "_until", "_waits", "_why",
    )  # fmt: skip

    def __init__(
        self,
        failures_max: int,
        min_seconds: float,
        max_seconds: float,
        clock: Callable[[], float] = trio.current_time,
    ) -> None:
        """Be closed.

        Args:
            failures_max: failures in a row that open it, at least 1.
            min_seconds: how long it is open the first time; twice as long after each probe that fails.
            max_seconds: the longest that it is open without a probe.
            clock: seconds from any moment on.
        """
        self._failures_max, self._min_seconds, self._max_seconds = failures_max, min_seconds, max_seconds
        self._clock = clock
        self._failures = 0
        self._waits = 0
        """How often it was opened since it was closed last; 0 while it is closed."""
        self._until = 0.0
        self._entered = 0
        self._probe: int | None = None
        """The number of the request that is tried while it is half open."""
        self._opened = 0
        self._why = ""

    @property
    def state(self) -> Circuit:
        """How it is now."""
        if not self._waits:
            return Circuit.CLOSED
        return Circuit.OPEN if self._clock() < self._until else Circuit.HALF_OPEN

    @property
    def wait_seconds(self) -> float:
        """How long from now until a request may be tried, as far as that is known; 0 where one may go now."""
        if not self._waits:
            return 0.0
        left = self._until - self._clock()
        # How long a probe takes nobody knows; until it has ended, looking again in a moment is the best there is.
        return left if left > 0.0 else self._min_seconds if self._probe is not None else 0.0

    def enter(self) -> int | None:
        """Take the right to ask it now; None if there is none.

        The number belongs to the request, whose end one of the three below is told.
        """
        if self._waits and (self._probe is not None or self._clock() < self._until):
            return None
        self._entered += 1
        if self._waits:
            self._probe = self._entered
        return self._entered

    def succeeded(self) -> None:
        """Note that it answered, be that with a refusal: it works."""
        self._failures = self._waits = 0
        self._probe = None

    def failed(self, number: int, why: str) -> None:
        """Note that it failed by itself.

        Args:
            number: of the request.
            why: what happened, a sentence without a full stop.
        """
        self._failures += 1
        self._why = why
        was_probe = number == self._probe
        if self._waits and not was_probe:
            # It was asked before the circuit opened: the news is old.
            return
        if was_probe or self._failures >= self._failures_max:
            self._probe = None
            self._until = self._clock() + min(self._max_seconds, self._min_seconds * 2.0 ** min(self._waits, 32))
            self._waits += 1
            self._opened += 1

    def gave_up(self, number: int) -> None:
        """Note that nothing is known of it: whoever asked wanted no answer any more."""
        if number == self._probe:
            self._probe = None

    def statistics(self) -> CircuitStatistics:
        """Give its numbers as they are now."""
        return CircuitStatistics(self.state, self._failures, self._opened, self.wait_seconds, self._why)
