"""From numbers to Prometheus: one family of the catalogue with its values, as prometheus_client writes it.

Every label set of the catalogue is written, at 0 where nothing was counted. Values come keyed by label values in the
catalogue's order. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from supervisors import HistogramSnapshot
from vespera_agents.health.catalogue import MetricFamily, MetricKind

__all__ = ["Values", "exposed", "merged"]

Values = Mapping[tuple[str, ...], float | HistogramSnapshot]
"""What was measured, by label values."""


def exposed(family: MetricFamily, values: Values) -> Metric:
    """Give a family in prometheus_client's form, with all of its label sets and no others.

    A family with a label whose value only the process knows (build_info) has just the sets that are given.
    """
    label_sets = family.label_sets or tuple(values)
    assert values.keys() <= set(label_sets), f"{family.name} was measured under labels that it does not have"
    if family.kind is MetricKind.HISTOGRAM:
        return _histogram(family, label_sets, values)
    make = CounterMetricFamily if family.kind is MetricKind.COUNTER else GaugeMetricFamily
    metric = make(family.name, family.help, labels=family.label_names)
    for labels in label_sets:
        value = values.get(labels, 0)
        assert not isinstance(value, HistogramSnapshot), f"{family.name} is no histogram"
        metric.add_metric(labels, value)
    return metric


def merged(snapshots: Iterable[HistogramSnapshot]) -> HistogramSnapshot:
    """Add up histograms with the same bounds; none gives an empty one without bounds."""
    total = HistogramSnapshot((), (0,), 0.0)
    for snapshot in snapshots:
        if not total.bounds:
            total = snapshot
            continue
        assert snapshot.bounds == total.bounds, "histograms of one family have the same bounds"
        counts = tuple(mine + its for mine, its in zip(total.counts, snapshot.counts, strict=True))
        total = HistogramSnapshot(total.bounds, counts, total.sum + snapshot.sum)
    return total


def _histogram(family: MetricFamily, label_sets: tuple[tuple[str, ...], ...], values: Values) -> Metric:
    metric = HistogramMetricFamily(family.name, family.help, labels=family.label_names)
    for labels in label_sets:
        snapshot = values.get(labels)
        assert not isinstance(snapshot, int | float), f"{family.name} is a histogram"
        metric.add_metric(labels, _buckets(family.bounds, snapshot), 0.0 if snapshot is None else snapshot.sum)
    return metric


def _buckets(bounds: tuple[float, ...], snapshot: HistogramSnapshot | None) -> list[tuple[str, float]]:
    """Give the cumulated counts at the exposed bounds, each of which is one that was counted at."""
    names = [*(repr(float(bound)) for bound in bounds), "+Inf"]
    if snapshot is None or not snapshot.bounds:
        return [(name, 0.0) for name in names]
    below = dict(zip(snapshot.bounds, snapshot.cumulative, strict=False))
    counts = [*(float(below[bound]) for bound in bounds), float(snapshot.count)]
    return list(zip(names, counts, strict=True))
