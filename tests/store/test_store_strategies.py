"""Strategies in rows: what follows from the end of a subtask happens in its own transaction, and holds as structure."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from vespera_agents.store import queries
from vespera_agents.store.checks import CheckBudget, check_structure
from vespera_agents.store.commands import CancelTask, ClaimTask, FinishTask, PlanTasks, UpdateTask
from vespera_agents.store.plans import goes_on_from
from vespera_agents.work.errors import Cycle, InvalidInput, Refusal
from vespera_agents.work.models import CommandLine, Strategy, Task, TaskStatus, TaskType

S = TaskStatus
RUN = CommandLine(text="true")


def task(bench, identifier: str) -> Task:
    return queries.task(bench.connection, identifier)


def do(bench, identifier: str, status: TaskStatus = S.COMPLETED, summary: str | None = None, **more: Any) -> Any:
    bench.apply(ClaimTask("test", identifier, "srv"))
    return bench.apply(FinishTask("test", identifier, "srv", status, summary=summary, **more))


def planned(bench, draft, strategy: str, *below, **more: Any) -> list[str]:
    """Plan a container of that strategy; give its id and those of its subtasks."""
    return bench.plan(draft("top", subtasks=below, strategy=Strategy(strategy), **more))


def ready(bench) -> list[str]:
    return [one.title for one in queries.ready_tasks(bench.connection, bench.session_id, 100)]


def statuses(bench, *ids: str) -> list[str]:
    return [task(bench, identifier).status.value for identifier in ids]


@pytest.fixture(autouse=True)
def sound(bench):
    """Whatever a test does, the rows hold what the checks ask."""
    yield
    assert list(check_structure(bench.connection, CheckBudget(integrity=False))) == []


@pytest.mark.parametrize("strategy", ["sequential", "pipeline"])
def test_one_after_another_each_begins_when_the_one_before_has_ended(bench, draft, strategy: str) -> None:
    answer = bench.apply(
        PlanTasks("test", bench.session_id, (draft("top", subtasks=tuple(map(draft, "abc")), strategy=strategy),))
    )
    top, a, b, c = answer["ids"].values()
    assert answer["ready"] == [a]
    assert ready(bench) == ["a"]
    assert do(bench, a)["ready"] == [b]
    (late,) = bench.plan(draft("d"), parent=top)
    do(bench, b)
    do(bench, c)
    assert ready(bench) == ["d"]
    assert goes_on_from(bench.connection, c) == (b if strategy == "pipeline" else None)
    do(bench, late, S.FAILED)
    assert task(bench, top).status is S.FAILED


def test_a_failure_holds_what_comes_after_it(bench, draft) -> None:
    top, a, b = planned(bench, draft, "sequential", draft("a"), draft("b"))
    do(bench, a, S.FAILED, reason="broken")
    assert ready(bench) == []
    bench.apply(UpdateTask("test", a, "srv", status=S.PENDING))
    do(bench, a)
    do(bench, b)
    assert task(bench, top).status is S.COMPLETED


def test_a_review_sends_work_back_in_the_transaction_that_refuses_it(bench, draft) -> None:
    top, work, review = planned(bench, draft, "review", draft("work"), draft("review"), strategy_n=1)
    assert ready(bench) == ["work"]
    do(bench, work)
    assert goes_on_from(bench.connection, review) == work
    refused = do(bench, review, S.REVIEW, "the title is wrong")
    assert (refused["status"], refused["standing"]) == ("review", "pending")
    assert refused["version"] == task(bench, review).version
    assert [change.after for change in bench.changed if change.task_id == top] == [S.PENDING]
    assert statuses(bench, top, work, review) == ["pending", "pending", "pending"]
    assert task(bench, work).status_reason == "revision 1 of 1, because the review says: the title is wrong"
    assert task(bench, top).rounds == 1
    assert ready(bench) == ["work"]
    do(bench, work)
    assert do(bench, review, S.REVIEW, "still wrong")["standing"] == "failed"
    assert statuses(bench, top, work, review) == ["failed", "completed", "failed"]
    assert task(bench, review).status_reason == "not approved after 1 revisions: still wrong"


def test_a_review_that_is_content_ends_it(bench, draft) -> None:
    top, one, two, review = planned(bench, draft, "review", draft("one"), draft("two"), draft("review", run=RUN))
    do(bench, one)
    assert ready(bench) == ["two"]
    do(bench, two)
    do(bench, review, S.FAILED, reason="exit status 1")
    assert ready(bench) == ["one", "two"]
    do(bench, two)
    do(bench, one)
    do(bench, review)
    assert (task(bench, top).status, task(bench, top).rounds) == (S.COMPLETED, 1)


def test_a_majority_ends_a_consensus_with_what_it_agrees_on(bench, draft) -> None:
    top, a, b, c = planned(bench, draft, "consensus", *map(draft, "abc"))
    (behind,) = bench.plan(draft("behind", top))
    assert ready(bench) == ["a", "b", "c"]
    do(bench, a, summary="Yes")
    do(bench, b, S.FAILED, reason="crashed")
    assert statuses(bench, top, b) == ["in_progress", "failed"]
    assert do(bench, c, summary="yes")["ready"] == [behind]
    assert (task(bench, b).waived, task(bench, b).status_reason) == (True, "no vote: crashed")
    assert (task(bench, top).status, task(bench, top).summary) == (S.COMPLETED, "2 of 3 agree: Yes")


def test_no_majority_is_a_failure_that_says_what_was_voted_and_may_be_voted_again(bench, draft) -> None:
    top, a, b = planned(bench, draft, "consensus", *map(draft, "ab"))
    do(bench, a, summary="yes")
    do(bench, b, summary="no")
    assert (task(bench, top).status, task(bench, top).status_reason) == (
        S.FAILED,
        "no majority of 2: 1 x 'yes', 1 x 'no'",
    )
    bench.apply(UpdateTask("test", b, "srv", status=S.IN_PROGRESS, reason="think again"))
    assert task(bench, top).status is S.IN_PROGRESS
    bench.apply(FinishTask("test", b, "srv", S.COMPLETED, summary="yes"))
    assert (task(bench, top).status, task(bench, top).status_reason) == (S.COMPLETED, None)


def test_a_judge_begins_when_all_have_voted_or_cannot_and_decides(bench, draft) -> None:
    judge = draft("judge", task_type=TaskType.REVIEW)
    top, a, b, j = planned(bench, draft, "consensus", draft("a"), draft("b"), judge)
    do(bench, a, S.BLOCKED, reason="no access")
    assert ready(bench) == ["b"]
    do(bench, b, summary="yes")
    assert ready(bench) == ["judge"]
    do(bench, j, S.REVIEW, "too close")
    assert statuses(bench, top, a, b, j) == ["failed", "cancelled", "completed", "failed"]


def test_where_nobody_could_vote_the_failures_stay_what_holds_it(bench, draft) -> None:
    top, a, b, _ = planned(bench, draft, "consensus", *map(draft, "ab"), draft("judge", task_type=TaskType.REVIEW))
    do(bench, a, S.FAILED, reason="crashed")
    do(bench, b, S.REVIEW, "not sure")
    assert statuses(bench, top, a, b) == ["in_progress", "failed", "failed"]
    assert ready(bench) == []
    bench.apply(UpdateTask("test", a, "srv", status=S.PENDING))
    do(bench, a, summary="yes")
    assert ready(bench) == ["judge"]


def test_a_strategy_is_changed_and_its_order_with_it(bench, draft) -> None:
    top, a, b, c = bench.plan(draft("top", subtasks=tuple(map(draft, "abc"))))
    assert ready(bench) == ["a", "b", "c"]
    changed = bench.apply(UpdateTask("test", top, "srv", edit={"strategy": Strategy.SEQUENTIAL}))
    assert json.loads(json.dumps(changed["changed"])) == {"strategy": [None, "sequential"]}
    assert ready(bench) == ["a"]
    bench.apply(UpdateTask("test", top, "srv", edit={"strategy": Strategy.REVIEW, "strategy_n": 3}))
    assert ready(bench) == ["a", "b"]
    bench.apply(UpdateTask("test", top, "srv", edit={"strategy": None, "strategy_n": None}))
    assert ready(bench) == ["a", "b", "c"]
    with pytest.raises(InvalidInput, match="takes no number"):
        bench.apply(UpdateTask("test", top, "srv", edit={"strategy_n": 3}))
    bench.apply(UpdateTask("test", top, "srv", edit={"strategy": Strategy.PARALLEL}))
    do(bench, c)
    bench.apply(UpdateTask("test", top, "srv", edit={"strategy": Strategy.SEQUENTIAL}))
    assert ready(bench) == ["a"]
    assert statuses(bench, a, b, c) == ["pending", "pending", "completed"]


def test_an_order_that_would_wait_for_itself_is_refused(bench, draft) -> None:
    with pytest.raises(Cycle):
        planned(bench, draft, "sequential", draft("a", "b"), draft("b"))


def test_what_is_cancelled_is_not_sent_back(bench, draft) -> None:
    top, work, review = planned(bench, draft, "review", draft("work"), draft("review"))
    do(bench, work)
    bench.apply(ClaimTask("test", review, "srv"))
    bench.apply(CancelTask("test", top, "not wanted", cascade=True))
    assert statuses(bench, top, work, review) == ["completed", "completed", "cancelled"]


def test_a_task_without_a_strategy_costs_what_it_did(bench, draft) -> None:
    """The end of a subtask reads its siblings only where a strategy asks for it."""

    def statements(strategy: Strategy | None) -> int:
        _, a, _ = bench.plan(draft("top", subtasks=(draft("a"), draft("b")), strategy=strategy))
        bench.apply(ClaimTask("test", a, "srv"))
        seen: list[str] = []
        bench.connection.set_trace_callback(seen.append)
        bench.apply(FinishTask("test", a, "srv", S.COMPLETED))
        bench.connection.set_trace_callback(None)
        return len([one for one in seen if "ORDER BY position" in one])

    assert statements(None) == statements(Strategy.PARALLEL) == 0
    assert statements(Strategy.REVIEW) == 1


@pytest.mark.parametrize("seed", range(8))
def test_whatever_becomes_of_subtasks_a_container_comes_to_an_end(bench, draft, seed: int) -> None:
    """Random ends of every subtask: no strategy goes on for ever, and none stands still while something is ready."""
    chance = random.Random(seed)
    below = tuple(draft(name, run=chance.choice([None, RUN])) for name in "abc")
    kinds = [Strategy.SEQUENTIAL, Strategy.PIPELINE, Strategy.REVIEW, Strategy.CONSENSUS]
    (top, *_) = planned(bench, draft, chance.choice(kinds), *below)
    for _ in range(100):
        waiting = queries.ready_tasks(bench.connection, bench.session_id, 10)
        if not waiting:
            break
        one = chance.choice(waiting)
        ends = [S.COMPLETED, S.FAILED, S.COMPLETED, S.PENDING, *([S.REVIEW] if one.run is None else [])]
        try:
            do(bench, one.id, chance.choice(ends), chance.choice(["yes", "no"]))
        except Refusal as refusal:
            pytest.fail(f"{refusal}")
        assert list(check_structure(bench.connection, CheckBudget(integrity=False))) == []
    else:
        pytest.fail("it goes on for ever")
    assert task(bench, top).rounds <= 2
