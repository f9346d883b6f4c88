"""Counters, tallies, histograms."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisors import Counter, Histogram, Tally


def test_a_counter_counts():
    counter = Counter()
    counter.increment()
    counter.increment(4)
    counter.value += 1
    assert counter.value == 6


def test_a_tally_counts_per_label_and_its_snapshot_stands_still():
    tally = Tally(["a"])
    tally.increment("b", 2)
    before = tally.snapshot()
    tally.increment("b")
    assert before == {"a": 0, "b": 2}
    assert (tally["b"], tally["never seen"], tally.total) == (3, 0, 3)


def test_a_value_on_a_bound_belongs_to_the_bucket_below_it():
    histogram = Histogram([1.0, 2.0])
    for value in (0.5, 1.0, 1.5, 2.0, 2.5):
        histogram.observe(value)
    assert histogram.snapshot().counts == (2, 2, 1)
    assert histogram.snapshot().cumulative == (2, 4, 5)


@given(
    st.lists(st.floats(0, 1000), min_size=1, max_size=8, unique=True).map(sorted),
    st.lists(st.floats(0, 2000), max_size=50),
)
def test_a_histogram_counts_as_prometheus_defines_le(bounds, values):
    histogram = Histogram(bounds)
    for value in values:
        histogram.observe(value)
    snapshot = histogram.snapshot()
    assert snapshot.cumulative == tuple(sum(v <= bound for v in values) for bound in [*bounds, math.inf])
    assert snapshot.count == len(values)
    assert snapshot.sum == pytest.approx(sum(values))


def test_a_quantile_is_the_bound_that_holds_it():
    histogram = Histogram([1.0, 2.0, 3.0])
    assert histogram.snapshot().quantile(0.5) == 0.0
    for value in (0.1, 0.2, 0.3, 1.5, 99.0):
        histogram.observe(value)
    snapshot = histogram.snapshot()
    assert [snapshot.quantile(f) for f in (0.5, 0.8, 1.0)] == [1.0, 2.0, math.inf]


@pytest.mark.parametrize("bounds", [[], [2.0, 1.0], [1.0, 1.0]])
def test_bounds_that_do_not_ascend_are_refused(bounds):
    with pytest.raises(ValueError, match="ascending"):
        Histogram(bounds)


def test_counting_a_value_many_times_is_counting_it_that_often():
    once, many = Histogram([1.0, 2.0]), Histogram([1.0, 2.0])
    for value, times in ((0.5, 3), (1.5, 2), (9.0, 1), (2.0, 0)):
        many.observe_many(value, times)
        for _ in range(times):
            once.observe(value)
    assert many.snapshot() == once.snapshot()


def test_a_snapshot_stands_still():
    histogram = Histogram([1.0])
    before = histogram.snapshot()
    histogram.observe(0.5)
    assert before.count == 0
