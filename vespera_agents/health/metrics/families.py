"""What a family of the exposition is: its name, type, labels, unit and buckets. Pure.

Every label lists its values, so the series of a family are known beforehand. Where labels depend on each other, the
family lists its label sets instead of having all combinations. Neighbours: `catalogue` lists the families.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum, unique
from itertools import product
from math import prod
from typing import Final, final

__all__ = ["SECONDS_BOUNDS", "Label", "MetricFamily", "MetricKind", "counter", "gauge", "histogram"]

SECONDS_BOUNDS: Final = (0.0001, 0.001, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0)
"""Exposed buckets of what actors and supervisors time: ten of those that the hot paths count in."""
_UNITS: Final = ("seconds", "bytes", "ratio")


@unique
class MetricKind(StrEnum):
    """Prometheus types."""

    COUNTER = "counter"
    """Only grows; its name ends in _total."""
    GAUGE = "gauge"
    """How it is now."""
    HISTOGRAM = "histogram"
    """Observations in buckets, their number and their sum."""


@final
@dataclass(frozen=True, slots=True)
class Label:
    """A label and all of its values."""

    name: str
    """The label's name."""
    values: tuple[str, ...]
    """Every value that it can have; empty where the process knows its one value only at run time."""


@final
@dataclass(frozen=True, slots=True)
class MetricFamily:
    """One family of the exposition."""

    name: str
    """As a query writes it: prefix, base unit, and for counters _total."""
    kind: MetricKind
    """Its Prometheus type."""
    help: str
    """What it means, in one sentence."""
    labels: tuple[Label, ...] = ()
    """In the order in which values are keyed."""
    unit: str = ""
    """seconds, bytes or ratio; empty for plain numbers."""
    bounds: tuple[float, ...] = ()
    """Histograms: the finite upper bounds that are exposed."""
    chosen: tuple[tuple[str, ...], ...] = ()
    """The label sets that exist, where not every combination can."""

    @property
    def label_names(self) -> tuple[str, ...]:
        """The names of its labels."""
        return tuple(label.name for label in self.labels)

    @property
    def label_sets(self) -> tuple[tuple[str, ...], ...]:
        """Every set of label values that it can have: all of them are exposed from the first scrape on."""
        return self.chosen or tuple(product(*(label.values for label in self.labels)))

    @property
    def series(self) -> int:
        """How many series it has in the exposition."""
        per_set = len(self.bounds) + 3 if self.kind is MetricKind.HISTOGRAM else 1
        return per_set * (len(self.chosen) or prod(max(1, len(label.values)) for label in self.labels))


def counter(name: str, help_: str, *labels: Label) -> MetricFamily:
    """Describe a counter of ours."""
    return MetricFamily(f"vespera_{name}", MetricKind.COUNTER, help_, labels, _unit(name))


def gauge(name: str, help_: str, *labels: Label) -> MetricFamily:
    """Describe a gauge of ours."""
    return MetricFamily(f"vespera_{name}", MetricKind.GAUGE, help_, labels, _unit(name))


def histogram(name: str, help_: str, *labels: Label, bounds: tuple[float, ...] = SECONDS_BOUNDS) -> MetricFamily:
    """Describe a histogram of ours."""
    return MetricFamily(f"vespera_{name}", MetricKind.HISTOGRAM, help_, labels, _unit(name), bounds)


def _unit(name: str) -> str:
    return next((unit for unit in _UNITS if f"_{unit}" in name), "")
