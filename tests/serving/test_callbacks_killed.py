"""At least once and in order, whoever fails, hangs or is killed: `make callbacks` in small."""

from __future__ import annotations

import socket

import pytest

from benchmarks import callbacks
from benchmarks.callbacks import PROMISES
from benchmarks.calling.judging import judge
from benchmarks.harness import Options, run_benchmark


@pytest.mark.unmeasured
def test_everybody_is_told_at_least_once_and_in_order_although_worker_and_receiver_are_killed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.socket() as held:
        # Bound and not listening it leaves the port to the receiver, now and when that begins anew, and to nobody else.
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        monkeypatch.setattr(callbacks, "_free_port", lambda: held.getsockname()[1])
        rows = run_benchmark("callbacks", Options(quick=True))
    promised = [row for row in rows if any(promise in row.name for promise in PROMISES)]
    assert len(promised) == 4
    assert [f"{row.name}: {row.value:g} of {row.reference_value:g}" for row in rows if row.met is False] == []


def test_the_judge_finds_what_is_lost_doubled_forged_or_out_of_order() -> None:
    lines = [
        "c1 task_1 on_task_start", "c1 task_1 on_task_start", "c3 task_2 on_task_complete", "c4 task_2 on_task_start",
        "c5 task_1 refused", "c6 task_3 forged", "c7 task_3 on_task_start", "c8 task_3 on_task_start",
    ]  # fmt: skip
    found = judge(["task_1", "task_2", "task_3"], lines)
    assert found.lost == ("task_1 on_task_complete", "task_3 on_task_complete")
    assert (found.expected, found.received, found.duplicates, found.forged, found.attempts) == (6, 4, 1, 1, 8)
    assert (found.disordered, found.two_ids) == (("task_2",), ("task_3 on_task_start",))
