"""Ends, queue times and working times of tasks, counted from what the store says after a commit."""

from __future__ import annotations

import pytest

from vespera_agents.health import TaskFigures
from vespera_agents.store import StatusChange
from vespera_agents.work.models import TaskStatus

S = TaskStatus


def change(
    before: TaskStatus | None,
    after: TaskStatus,
    *,
    specialist: str = "tester",
    waived: bool = False,
    queued: float | None = None,
    worked: float | None = None,
) -> StatusChange:
    return StatusChange("session_1", "task_1", specialist, before, after, waived, queued, worked)


@pytest.mark.parametrize(
    ("after", "waived", "outcome"),
    [
        (S.COMPLETED, False, "completed"),
        (S.FAILED, False, "failed"),
        (S.CANCELLED, False, "cancelled"),
        (S.CANCELLED, True, "waived"),
    ],
)
def test_an_end_is_counted_by_specialist_and_outcome(after: TaskStatus, waived: bool, outcome: str) -> None:
    figures = TaskFigures()
    figures.changed([change(S.IN_PROGRESS, after, waived=waived, worked=2.0)])
    assert {key: count for key, count in figures.finished.snapshot().items() if count} == {("tester", outcome): 1}
    assert figures.duration["tester", outcome].sum == 2.0


@pytest.mark.parametrize("after", [S.PENDING, S.IN_PROGRESS, S.BLOCKED, S.REVIEW, S.ARCHIVED])
def test_what_is_no_end_is_not_counted(after: TaskStatus) -> None:
    """Archiving puts away what has ended, and the store gives the time since the claim then too."""
    figures = TaskFigures()
    figures.changed([change(S.IN_PROGRESS, after, worked=5.0)])
    assert figures.finished.total == 0
    assert figures.duration.snapshots() == {}


def test_the_wait_for_the_first_claim_is_timed() -> None:
    figures = TaskFigures()
    figures.changed([change(S.PENDING, S.IN_PROGRESS, queued=7.0), change(S.PENDING, S.IN_PROGRESS)])
    waited = figures.queue_wait["tester"]
    assert (waited.count, waited.sum) == (1, 7.0)


def test_a_time_remembers_its_task() -> None:
    figures = TaskFigures()
    figures.changed([change(S.IN_PROGRESS, S.COMPLETED, queued=0.3, worked=2.0)])
    (traced,) = figures.duration.snapshots().values()
    assert [(one.names, one.value) for one in traced.exemplars if one] == [({"task_id": "task_1"}, 2.0)]
    (waited,) = figures.queue_wait.snapshots().values()
    assert [bound for bound, one in zip(waited.histogram.bounds, waited.exemplars, strict=False) if one] == [0.5]


def test_a_task_that_was_given_back_and_called_off_has_an_end_and_no_working_time() -> None:
    figures = TaskFigures()
    figures.changed([change(S.PENDING, S.CANCELLED, worked=100.0)])
    assert figures.finished["tester", "cancelled"] == 1
    assert figures.duration["tester", "cancelled"].count == 0


def test_a_role_of_a_workspace_counts_as_other() -> None:
    figures = TaskFigures()
    before = figures.finished.snapshot().keys()
    figures.changed([change(S.IN_PROGRESS, S.FAILED, specialist="poet", queued=1.0, worked=1.0)])
    assert figures.finished["other", "failed"] == 1
    assert figures.finished.snapshot().keys() == before
