"""The catalogue is sound in itself, promises only what is measured, and is the same as its documentation."""

from __future__ import annotations

import re
from pathlib import Path

from supervisors import SECONDS_BOUNDS
from vespera_agents.health import CATALOGUE, MetricKind
from vespera_agents.health import catalogue as module
from vespera_agents.store import store as store_module

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"


def test_names_are_unique_prefixed_and_counters_end_in_total() -> None:
    names = [family.name for family in CATALOGUE]
    assert len(set(names)) == len(names)
    for family in CATALOGUE:
        assert re.fullmatch(r"vespera_[a-z]+(_[a-z]+)*", family.name)
        assert family.name.endswith("_total") == (family.kind is MetricKind.COUNTER)
        assert family.help.endswith(".")


def test_units_stand_in_the_names() -> None:
    for family in CATALOGUE:
        assert family.unit in {"", "seconds", "bytes", "ratio"}
        assert (f"_{family.unit}" in family.name) if family.unit else "_seconds" not in family.name


def test_histograms_have_at_most_ten_buckets_and_two_labels() -> None:
    for family in CATALOGUE:
        assert bool(family.bounds) == (family.kind is MetricKind.HISTOGRAM)
        assert len(family.bounds) <= 10
        assert list(family.bounds) == sorted(set(family.bounds))
        assert family.kind is not MetricKind.HISTOGRAM or len(family.labels) <= 2


def test_the_exposed_buckets_are_ones_that_are_counted_in() -> None:
    """A bucket between two counted bounds could only be guessed."""
    assert set(module.SECONDS_BOUNDS) <= set(SECONDS_BOUNDS)
    assert module.COMMIT_BOUNDS == store_module.COMMIT_BOUNDS
    assert module.BATCH_BOUNDS == store_module.BATCH_BOUNDS


def test_the_series_stay_within_the_budget() -> None:
    assert sum(family.series for family in CATALOGUE) < 6_000


def test_families_that_nothing_measures_yet_are_absent() -> None:
    parts = "loop|context|llm|mcp|callback|shutdown|trio_tasks|supervisor_backoff"
    assert [family.name for family in CATALOGUE if re.match(rf"vespera_(?:{parts})", family.name)] == []


def test_the_document_lists_exactly_the_catalogue_with_types_labels_and_meanings() -> None:
    row = re.compile(r"^\| `(vespera_\w+)` \| (\w+) \| (.+?) \| (.+) \|$", re.MULTILINE)
    documented = row.findall(DOCUMENT.read_text(encoding="utf-8"))
    expected = [
        (
            family.name,
            family.kind.value,
            ", ".join(f"`{name}`" for name in family.label_names) or "none",
            family.help,
        )
        for family in CATALOGUE
    ]
    assert documented == expected


def test_the_document_names_the_number_of_series_and_every_label_value() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert f"fixed** at {sum(family.series for family in CATALOGUE)}." in text
    values = {value for family in CATALOGUE for label in family.labels for value in label.values}
    assert [value for value in values if f"`{value}`" not in text] == []
