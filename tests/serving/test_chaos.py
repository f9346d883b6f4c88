"""A client whose server is killed again and again sees latency, nothing else: the short chaos and a minute of soak."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from benchmarks.chaos import PROMISES
from benchmarks.harness import Options, Row, run_benchmark

FLAT = ("memory", "open files", "threads")
"""What is judged only after minutes: a worker that has just begun still grows."""
SOAK_SECONDS_MAX = 180.0


@pytest.mark.unmeasured
def test_nothing_fails_is_lost_or_doubled_whenever_a_worker_dies_while_workflows_come_through_beside_it() -> None:
    """The soak mostly waits, for a minute: the chaos takes place meanwhile, on another server."""
    with ThreadPoolExecutor(1) as pool:
        soak = pool.submit(run_benchmark, "soak", Options(minutes=1))
        _judge_chaos(run_benchmark("chaos", Options(quick=True)))
        _judge_soak(soak.result(SOAK_SECONDS_MAX))


def _judge_chaos(rows: list[Row]) -> None:
    promised = [row for row in rows if any(promise in row.name for promise in PROMISES)]
    assert len(promised) >= 10
    assert [f"{row.name}: {row.value:g}, {row.reference}" for row in promised if not row.met] == []


def _judge_soak(rows: list[Row]) -> None:
    # How long things take depends on what else the machine does.
    counted = [row for row in rows if any(word in row.name for word in ("completed", "deaths", "processes"))]
    assert len(counted) == 3
    assert [f"{row.name}: {row.value:g}" for row in counted if not row.met] == []
    assert {row.name.split(" of the")[0] for row in rows} >= set(FLAT)
