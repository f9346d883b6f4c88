"""Steps as rows: begun before, ended after, repeated and counted, closed with the status of their task."""

from __future__ import annotations

import hashlib

import pytest

from vespera_agents.store import steps
from vespera_agents.store.commands import (
    BeginStep,
    CancelTask,
    ClaimTask,
    DeleteTask,
    EndAttempt,
    EndStep,
    FinishTask,
    ReleaseClaims,
    RemoveStrays,
    StepPlace,
    UpdateTask,
)
from vespera_agents.store.strays import find_strays
from vespera_agents.work.errors import Conflict, NotFound
from vespera_agents.work.models import TaskStatus

DAY = 86_400.0


@pytest.fixture
def task(bench, draft):
    (task_id,) = bench.plan(draft("it"))
    bench.apply(ClaimTask("test", task_id, "me"))
    return task_id


def begin(task_id, number, kind="think", attempt=1, holder="me", **more):
    return BeginStep("me", StepPlace(task_id, attempt, number), holder, steps.StepKind(kind), {"n": number}, **more)


def end(task_id, number, attempt=1, **more):
    return EndStep("me", StepPlace(task_id, attempt, number), {"text": f"{number}"}, **more)


def current(bench, task_id):
    return steps.current_attempt(bench.connection, task_id, bench.files)


def events(bench, task_id):
    rows = bench.connection.execute("SELECT what, detail FROM event WHERE task_id=? ORDER BY seq", (task_id,))
    return [tuple(row) for row in rows]


def test_a_step_is_there_before_it_is_done_and_has_its_result_and_cost_after(bench, task):
    assert current(bench, task) == steps.Attempt(1)
    assert bench.apply(begin(task, 1)) == {"repeats": 0}
    (begun,) = current(bench, task).steps
    assert (begun.result, begun.ended, begun.intent) == (None, None, {"n": 1})
    bench.apply(end(task, 1, provider="p", model="m", input_tokens=10, output_tokens=2, cost_micro_usd=7))
    (ended,) = current(bench, task).steps
    assert ended.result == {"text": "1"}
    assert steps.models_at_work(bench.connection, bench.session_id) == [
        steps.ModelWork(task, "p", "m", 1, 0, 10, 2, 0.000007, 0)
    ]
    bench.apply(end(task, 1, provider="other"))
    assert current(bench, task).steps == (ended,), "the first end stands"
    with pytest.raises(Conflict, match="has ended already"):
        bench.apply(begin(task, 1))


def test_a_step_of_which_nothing_is_known_is_begun_again_and_counted(bench, task):
    bench.apply(begin(task, 1))
    assert bench.apply(begin(task, 1)) == {"repeats": 1}
    assert bench.apply(begin(task, 1)) == {"repeats": 2}
    bench.apply(end(task, 1, provider="p", model="m"))
    assert current(bench, task).steps[0].repeats == 2
    (work,) = steps.models_at_work(bench.connection, bench.session_id)
    assert (work.calls, work.repeats, work.cost_usd, work.unpriced) == (1, 2, None, 1)
    assert [what for what, _ in events(bench, task)].count("step_repeated") == 2
    assert steps.step_counts(bench.connection, bench.session_id) == [("think", 1, 2)]


def test_only_who_holds_the_task_begins_a_step_but_what_was_paid_is_written_down_anyway(bench, task):
    bench.apply(begin(task, 1))
    bench.apply(ReleaseClaims("test", ("me",)))
    with pytest.raises(Conflict, match="not held by me"):
        bench.apply(begin(task, 1))
    bench.apply(end(task, 1, provider="p", model="m", cost_micro_usd=5))
    assert steps.models_at_work(bench.connection, bench.session_id)[0].cost_usd == 0.000005
    bench.apply(ClaimTask("test", task, "other"))
    assert [step.result for step in current(bench, task).steps] == [{"text": "1"}], "the next one goes on after it"
    with pytest.raises(Conflict, match="not held by me"):
        bench.apply(begin(task, 2))
    with pytest.raises(NotFound):
        bench.apply(end(task, 2))


def test_an_attempt_ends_with_the_status_of_its_task_and_not_without(bench, task):
    bench.apply(begin(task, 1))
    bench.apply(end(task, 1))
    finish = FinishTask("me", task, "me", TaskStatus.REVIEW, reason="look at it", summary="done")
    with pytest.raises(Conflict, match="held by"):
        bench.apply(EndAttempt("x", FinishTask("x", task, "x", TaskStatus.REVIEW), StepPlace(task, 1, 2)))
    assert current(bench, task).number == 1
    assert bench.apply(EndAttempt("me", finish, StepPlace(task, 1, 2)))["status"] == "review"
    assert current(bench, task) == steps.Attempt(2)
    bench.apply(ClaimTask("test", task, "me"))
    bench.apply(begin(task, 1, attempt=2))
    assert current(bench, task).number == 2
    assert len(steps.steps_of(bench.connection, task, 1, bench.files)) == 2
    assert steps.steps_recorded(bench.connection, task) == 2


def test_a_task_that_fails_without_closing_its_attempt_goes_on_where_it_was(bench, task):
    bench.apply(begin(task, 1))
    bench.apply(end(task, 1))
    bench.apply(FinishTask("me", task, "me", TaskStatus.FAILED, reason="no provider"))
    bench.apply(UpdateTask("test", task, "me", status=TaskStatus.PENDING))
    bench.apply(ClaimTask("test", task, "me"))
    assert [step.number for step in current(bench, task).steps] == [1]


def test_what_is_told_beside_a_step_stands_in_the_audit_trail(bench, task):
    bench.apply(begin(task, 1, notes=(("context_dropped", "step 3 (9 tokens)"),)))
    bench.apply(end(task, 1, detail="step 1: p/m", notes=(("context_shortened", "x"),)))
    told = events(bench, task)
    assert ("context_dropped", "step 3 (9 tokens)") in told
    assert ("context_shortened", "x") in told
    assert told[-1] == ("step", "step 1: p/m")


def test_the_file_of_a_large_result_is_nobodys_leftover_until_its_task_is_deleted(bench, task, tmp_path):
    data = b'{"text": "large"}'
    sha256 = bench.files.keep(data)
    assert sha256 == hashlib.sha256(data).hexdigest()
    bench.apply(begin(task, 1))
    bench.apply(EndStep("me", StepPlace(task, 1, 1), None, sha256))
    assert current(bench, task).steps[0].result == {"text": "large"}
    bench.apply(CancelTask("test", task, "enough"))
    later = bench.files.path(sha256).stat().st_mtime + 60 * DAY
    assert find_strays(bench.connection, tmp_path, later) == []
    bench.now = later
    assert bench.apply(RemoveStrays("test", str(tmp_path), (sha256,)))["names"] == []
    bench.apply(DeleteTask("test", task, delete=True, force=True))
    assert bench.connection.execute("SELECT count(*) FROM step").fetchone() == (0,)
    assert [one.name for one in find_strays(bench.connection, tmp_path, later + DAY)] == [sha256]
