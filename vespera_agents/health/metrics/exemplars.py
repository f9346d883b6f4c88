"""Histograms that remember, for each bucket, one observation by name: a trace, or a task, to look at.

The names are exemplars and never labels: they make no series, and only a scraper that asks for OpenMetrics sees them.
Histograms are made when their label values are first observed, because most never are. Written in the event loop, read
in the thread that scrapes.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar, final

from supervisors import Histogram, HistogramSnapshot

__all__ = ["Exemplar", "Traced", "TracedHistograms"]

KeyT = TypeVar("KeyT", bound=Hashable)
Named = tuple[Mapping[str, str], float, float]
"""The names of an observation, what was observed, and when."""


@final
@dataclass(frozen=True, slots=True)
class Exemplar:
    """One observation by name."""

    names: Mapping[str, str]
    """`trace_id`, `task_id`, or both."""
    value: float
    """What was observed."""
    at: float
    """When, in seconds since the epoch."""


@final
@dataclass(frozen=True, slots=True)
class Traced:
    """A histogram at one moment, with an observation by name for each bucket that has one."""

    histogram: HistogramSnapshot
    """The counts."""
    exemplars: tuple[Exemplar | None, ...]
    """One for each bucket, the one without a bound last."""


@final
class TracedHistograms(Generic[KeyT]):
    """Histograms with the same bounds by label values; nothing here bounds the number of those."""

    __slots__ = ("_bounds", "_clock", "_histograms", "_named")

    def __init__(self, bounds: tuple[float, ...], *, clock: Callable[[], float] = time.time) -> None:
        """Have none yet; `clock` gives wall-clock seconds since the epoch."""
        self._bounds = bounds
        self._clock = clock
        self._histograms: dict[KeyT, Histogram] = {}
        self._named: dict[KeyT, list[Named | None]] = {}

    def observe(self, key: KeyT, value: float, names: Mapping[str, str] | None = None) -> None:
        """Count one value, and remember its names, if it has any, as the newest of its bucket."""
        histogram = self._histograms.get(key)
        if histogram is None:
            self._named[key] = [None] * (len(self._bounds) + 1)
            histogram = self._histograms[key] = Histogram(self._bounds)
        histogram.observe(value)
        if names:
            # A bare tuple: to make an Exemplar takes longer than all the rest of this.
            self._named[key][bisect_left(self._bounds, value)] = (names, value, self._clock())

    def __getitem__(self, key: KeyT) -> HistogramSnapshot:
        found = self._histograms.get(key)
        return Histogram(self._bounds).snapshot() if found is None else found.snapshot()

    def snapshots(self) -> dict[KeyT, Traced]:
        """Return copies of those that were observed."""
        found = dict(self._histograms)
        return {key: Traced(each.snapshot(), tuple(map(_exemplar, self._named[key]))) for key, each in found.items()}


def _exemplar(named: Named | None) -> Exemplar | None:
    return None if named is None else Exemplar(*named)
