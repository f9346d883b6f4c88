"""From numbers to Prometheus: one family of the catalogue with its values, as prometheus_client writes it.

Every label set of the catalogue is written, at 0 where nothing was counted. Values come keyed by label values in the
catalogue's order; only OpenMetrics shows the names that a bucket remembers. What comes under a label value that the
catalogue does not have counts as "other" where there is one, and is left out elsewhere: a mistake of ours in one family
costs no scrape. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.samples import Exemplar as Written

from supervisors import HistogramSnapshot
from vespera_agents.health.metrics.exemplars import Exemplar, Traced
from vespera_agents.health.metrics.families import MetricFamily, MetricKind
from vespera_agents.health.metrics.labels import OTHER

__all__ = ["Values", "exposed", "merged"]

Value = float | HistogramSnapshot | Traced
Values = Mapping[tuple[str, ...], Value]
"""What was measured, by label values."""
Bucket = tuple[str, float] | tuple[str, float, Written]


def exposed(
    family: MetricFamily, values: Values, notice: Callable[[MetricFamily, tuple[str, ...]], None] | None = None
) -> Metric:
    """Give a family in prometheus_client's form, with all of its label sets and no others.

    A family with a label whose value only the process knows (build_info) has just the sets that are given.

    Args:
        family: which.
        values: what was measured.
        notice: hears of labels that the catalogue does not have; without it they are an error.
    """
    label_sets = family.label_sets or tuple(values)
    declared = set(label_sets)
    if not values.keys() <= declared:
        assert notice is not None, f"{family.name} was measured under labels that it does not have"
        for labels in values.keys() - declared:
            notice(family, labels)
        values = _folded(family, values, declared)
    if family.kind is MetricKind.HISTOGRAM:
        return _histogram(family, label_sets, values)
    make = CounterMetricFamily if family.kind is MetricKind.COUNTER else GaugeMetricFamily
    metric = make(family.name, family.help, labels=family.label_names)
    for labels in label_sets:
        value = values.get(labels, 0)
        assert isinstance(value, int | float), f"{family.name} is no histogram"
        metric.add_metric(labels, value)
    return metric


def _folded(family: MetricFamily, values: Values, declared: set[tuple[str, ...]]) -> Values:
    """Count what was measured under other labels as "other", and leave out what cannot be."""
    found = {labels: value for labels, value in values.items() if labels in declared}
    for labels, value in values.items():
        if labels in declared or len(labels) != len(family.labels):
            continue
        pairs = zip(labels, family.labels, strict=True)
        other = tuple(one if one in label.values else OTHER for one, label in pairs)
        if other in declared:
            found[other] = _together(family, found[other], value) if other in found else value
    return found


def _together(family: MetricFamily, one: Value, another: Value) -> Value:
    if isinstance(one, int | float) and isinstance(another, int | float):
        # Ages and ratios do not add up.
        is_level = family.kind is MetricKind.GAUGE and family.unit in {"seconds", "ratio"}
        return max(one, another) if is_level else one + another
    histograms = [each.histogram if isinstance(each, Traced) else each for each in (one, another)]
    return merged(each for each in histograms if isinstance(each, HistogramSnapshot) and each.bounds)


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
    names = [*(repr(float(bound)) for bound in family.bounds), "+Inf"]
    nothing: list[Bucket] = [(name, 0.0) for name in names]
    for labels in label_sets:
        value = values.get(labels)
        assert not isinstance(value, int | float), f"{family.name} is a histogram"
        snapshot = value.histogram if isinstance(value, Traced) else value
        if snapshot is None or not snapshot.bounds:
            metric.add_metric(labels, nothing, 0.0)
            continue
        buckets: list[Bucket] = list(zip(names, _counts(family.bounds, snapshot), strict=True))
        if isinstance(value, Traced):
            assert snapshot.bounds == family.bounds, f"{family.name} remembers names for other buckets than it exposes"
            buckets = [_named(bucket, each) for bucket, each in zip(buckets, value.exemplars, strict=True)]
        metric.add_metric(labels, buckets, snapshot.sum)
    return metric


def _counts(bounds: tuple[float, ...], snapshot: HistogramSnapshot) -> list[float]:
    """Give the cumulated counts at the exposed bounds, each of which is one that was counted at."""
    below = dict(zip(snapshot.bounds, snapshot.cumulative, strict=False))
    return [*(float(below[bound]) for bound in bounds), float(snapshot.count)]


def _named(bucket: Bucket, exemplar: Exemplar | None) -> Bucket:
    if exemplar is None:
        return bucket
    return bucket[0], bucket[1], Written(dict(exemplar.names), exemplar.value, exemplar.at)
