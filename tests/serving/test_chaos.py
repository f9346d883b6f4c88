"""A client whose server is killed again and again sees latency, nothing else: the short chaos and a minute of soak."""

from __future__ import annotations

from benchmarks.chaos import PROMISES
from benchmarks.harness import Options, run_benchmark

FLAT = ("memory", "open files", "threads")
"""What is judged only after minutes: a worker that has just begun still grows."""


def test_nothing_fails_is_lost_or_doubled_whenever_a_worker_dies() -> None:
    rows = run_benchmark("chaos", Options(quick=True))
    promised = [row for row in rows if any(promise in row.name for promise in PROMISES)]
    assert len(promised) >= 10
    assert [f"{row.name}: {row.value:g}, {row.reference}" for row in promised if not row.met] == []


def test_workflows_come_through_while_workers_are_killed() -> None:
    rows = run_benchmark("soak", Options(minutes=1))
    # How long things take depends on what else the machine does.
    counted = [row for row in rows if any(word in row.name for word in ("completed", "deaths", "processes"))]
    assert len(counted) == 3
    assert [f"{row.name}: {row.value:g}" for row in counted if not row.met] == []
    assert {row.name.split(" of the")[0] for row in rows} >= set(FLAT)
