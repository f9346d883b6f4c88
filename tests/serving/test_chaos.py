"""A client whose server is killed again and again sees latency, nothing else: the short chaos and a minute of soak."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from benchmarks import soak
from benchmarks.chaos import PROMISES
from benchmarks.harness import Options, Row, run_benchmark
from benchmarks.killing import faulty_front
from benchmarks.killing.faults import Faults
from benchmarks.killing.places import gone
from tests.serving import calm_front

FLAT = ("memory", "open files", "threads")
"""What is judged only after minutes: a worker that has just begun still grows."""
SOAK_SECONDS_MAX = 180.0
GONE_SECONDS = 20.0
"""Judged is that nobody is left. How soon is a promise for machines with a processor for us: `make soak` judges it."""


@pytest.mark.unmeasured
def test_nothing_fails_is_lost_or_doubled_whenever_a_worker_dies_while_workflows_come_through_beside_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The soak mostly waits, for a minute: the chaos takes place meanwhile, on another server."""
    monkeypatch.setattr(soak, "gone", partial(gone, seconds=GONE_SECONDS))
    monkeypatch.setattr(Faults, "command", property(_calm))
    with ThreadPoolExecutor(1) as pool:
        soaking = pool.submit(run_benchmark, "soak", Options(minutes=1))
        _judge_chaos(run_benchmark("chaos", Options(quick=True)))
        _judge_soak(soaking.result(SOAK_SECONDS_MAX))


_COMMAND: Any = Faults.command


def _calm(faults: Faults) -> list[str]:
    """Start a front under which no worker dies of being slow: nobody books that death."""
    return [calm_front.__name__ if word == faulty_front.__name__ else word for word in _COMMAND.fget(faults)]


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
