"""From values to Prometheus families: every label set, exact buckets, nothing undeclared."""

from __future__ import annotations

import pytest

from supervisors import Histogram, HistogramSnapshot
from vespera_agents.health import CATALOGUE, MetricFamily, MetricKind
from vespera_agents.health.metrics.backlog import Backlog
from vespera_agents.health.metrics.exposition import exposed, merged
from vespera_agents.health.metrics.families import Label
from vespera_agents.health.metrics.measuring import backlog_values

BY_NAME = {family.name: family for family in CATALOGUE}


@pytest.mark.parametrize("family", CATALOGUE, ids=lambda family: family.name)
def test_a_family_that_nothing_was_counted_for_has_all_its_series_at_zero(family: MetricFamily) -> None:
    samples = exposed(family, {}).samples
    assert len(samples) == (0 if not family.label_sets else family.series)
    assert {sample.value for sample in samples} <= {0.0}


def test_buckets_are_exact_although_fewer_are_exposed_than_counted() -> None:
    counted = Histogram((0.1, 0.5, 1.0, 5.0))
    for value in (0.05, 0.1, 0.3, 0.7, 3.0, 60.0):
        counted.observe(value)
    family = MetricFamily("vespera_x_seconds", MetricKind.HISTOGRAM, "X.", bounds=(0.5, 5.0))
    samples = {
        sample.name + str(sample.labels.get("le", "")): sample.value
        for sample in exposed(family, {(): counted.snapshot()}).samples
    }
    assert samples == {
        "vespera_x_seconds_bucket0.5": 3,
        "vespera_x_seconds_bucket5.0": 5,
        "vespera_x_seconds_bucket+Inf": 6,
        "vespera_x_seconds_count": 6,
        "vespera_x_seconds_sum": pytest.approx(64.15),
    }


def test_a_label_value_that_the_catalogue_does_not_have_is_our_mistake() -> None:
    family = MetricFamily("vespera_x", MetricKind.GAUGE, "X.", (Label("kind", ("a",)),))
    with pytest.raises(AssertionError, match="does not have"):
        exposed(family, {("b",): 1.0})


def test_undeclared_label_values_count_as_other_or_not_at_all_and_cost_no_scrape() -> None:
    noticed: list[tuple[str, ...]] = []

    def notice(_: MetricFamily, labels: tuple[str, ...]) -> None:
        noticed.append(labels)

    def shown(family: MetricFamily, values: dict[tuple[str, ...], float]) -> dict[tuple[str, ...], float]:
        return {tuple(one.labels.values()): one.value for one in exposed(family, values, notice).samples}

    labels = (Label("kind", ("a", "other")), Label("state", ("on", "off")))
    counts = MetricFamily("vespera_x", MetricKind.GAUGE, "X.", labels)
    given = {("a", "on"): 1.0, ("b", "on"): 2.0, ("c", "on"): 4.0, ("a", "broken"): 8.0, ("a",): 16.0}
    assert shown(counts, given) == {("a", "on"): 1, ("a", "off"): 0, ("other", "on"): 6, ("other", "off"): 0}
    assert set(noticed) == {("b", "on"), ("c", "on"), ("a", "broken"), ("a",)}
    ages = MetricFamily("vespera_x_seconds", MetricKind.GAUGE, "X.", labels[:1], "seconds")
    assert shown(ages, {("other",): 3.0, ("b",): 5.0, ("c",): 4.0}) == {("a",): 0, ("other",): 5}
    counted = Histogram((1.0,))
    counted.observe(0.5)
    timed = MetricFamily("vespera_x_seconds", MetricKind.HISTOGRAM, "X.", labels[:1], "seconds", (1.0,))
    found = exposed(timed, {("b",): counted.snapshot(), ("c",): counted.snapshot()}, notice).samples
    assert {one.labels["kind"]: one.value for one in found if one.name.endswith("_count")} == {"a": 0, "other": 2}


def test_histograms_add_up() -> None:
    one, two = Histogram((1.0,)), Histogram((1.0,))
    one.observe(0.5)
    two.observe(3.0)
    assert merged([one.snapshot(), two.snapshot()]) == HistogramSnapshot((1.0,), (1, 1), 3.5)
    assert merged([]).count == 0


def test_backlogs_of_several_workspaces_add_up_and_the_oldest_counts() -> None:
    one = Backlog((("pending", "tester", 2), ("pending", "poet", 1)), (("pending", 70.0), ("review", 200.0)))
    two = Backlog((("pending", "tester", 3), ("dreamt", "tester", 9)), (("pending", 40.0),))
    values = backlog_values([one, two], now=100.0)
    assert values["vespera_tasks"] == {("pending", "tester"): 5, ("pending", "other"): 1}
    assert values["vespera_task_oldest_age_seconds"] == {("pending",): 60.0, ("review",): 0.0}
    assert exposed(BY_NAME["vespera_tasks"], values["vespera_tasks"]).samples
