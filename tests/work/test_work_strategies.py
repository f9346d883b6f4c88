"""How a container has its subtasks worked on: what is drafted for it, who waits for whom, what follows from an end."""

from __future__ import annotations

import pytest

from vespera_agents.work.drafts import TaskDraft, check_drafts
from vespera_agents.work.errors import InvalidInput
from vespera_agents.work.models import CommandLine, Strategy, Task, TaskStatus, TaskType
from vespera_agents.work.plans import plan_drafts, read_plan
from vespera_agents.work.strategies import (
    Again,
    Fail,
    NoVote,
    decision,
    edges,
    expand,
    starts_from,
    steps,
)

S = TaskStatus
TRUE = CommandLine(text="true")


def draft(key: str, strategy: str | None = None, number: int | None = None, *below: TaskDraft, **more) -> TaskDraft:
    return TaskDraft(
        key=key, title=key, strategy=Strategy(strategy) if strategy else None, strategy_n=number, subtasks=below, **more
    )


def task(name: str, status: TaskStatus = S.PENDING, **more) -> Task:
    return Task(id=name, session_id="s", title=name, status=status, created=1.0, updated=1.0, **more)


def container(strategy: str, number: int | None = None, rounds: int = 0) -> Task:
    return task("container", S.IN_PROGRESS, strategy=Strategy(strategy), strategy_n=number, rounds=rounds, children=3)


def keys(drafts: tuple[TaskDraft, ...]) -> dict[str, list[str]]:
    return {key: [below.key for below in one.subtasks] for key, one in check_drafts(drafts).items() if one.subtasks}


def test_what_a_strategy_needs_is_drafted_once() -> None:
    drafts = (
        draft("plain"),
        draft("alone", "review", None, run=TRUE, gates=(TRUE,), description="Do it."),
        draft("asked", "consensus", 3, draft("q"), draft("judge", task_type=TaskType.REVIEW)),
        draft("many", "consensus", None, draft("x"), draft("y")),
        draft("voted", "consensus"),
        draft("outer", "pipeline", None, draft("inner", "review", 5)),
    )
    expanded = expand(drafts)
    assert keys(expanded) == {
        "alone": ["alone-work", "alone-review"],
        "asked": ["q", "q-2", "q-3", "judge"],
        "many": ["x", "y"],
        "voted": ["voted-work", "voted-work-2", "voted-work-3"],
        "outer": ["inner"],
        "inner": ["inner-work", "inner-review"],
    }
    assert expand(expanded) == expanded
    alone = expanded[1]
    assert (alone.run, alone.gates, alone.strategy_n) == (None, (), 2)
    assert (alone.subtasks[0].run, alone.subtasks[0].gates) == (TRUE, (TRUE,))
    assert alone.subtasks[1].specialist == "reviewer"
    assert "Do it." in alone.subtasks[1].description
    assert [one.strategy_n for one in expanded] == [None, 2, 3, 2, 3, None]
    assert expanded[2].subtasks[1].title == "q (2 of 3)"
    assert expand(drafts[:1]) == drafts[:1]


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (draft("a", "sequential", 2), "takes no number"),
        (draft("a", None, 2), "takes no number"),
        (draft("a", "review", 11), "Give 1 to 10"),
        (draft("a", "consensus", 1), "Give 2 to 9"),
        (draft("a", "consensus", 3, draft("x"), draft("y")), "has 2 subtasks that vote"),
        (draft("a", "consensus", 3, draft("x", None, None, draft("y"))), "has subtasks of its own"),
    ],
)
def test_a_strategy_that_cannot_be_is_refused(wrong: TaskDraft, why: str) -> None:
    with pytest.raises(InvalidInput, match=why):
        expand((draft("above", "parallel", None, wrong) if wrong.strategy else draft("b", "parallel"), wrong))


def test_who_waits_for_whom() -> None:
    a, b, c = task("a"), task("b"), task("c")
    judge = task("judge", task_type=TaskType.REVIEW)
    archived = task("gone", S.ARCHIVED)
    chain = [("b", "a"), ("c", "b")]
    assert edges(Strategy.SEQUENTIAL, [a, archived, b, c]) == chain
    assert edges(Strategy.PIPELINE, [a, b, c]) == chain
    assert edges(Strategy.REVIEW, [a, b, c]) == [("c", "a"), ("c", "b")]
    assert edges(Strategy.CONSENSUS, [a, b, judge]) == [("judge", "a"), ("judge", "b")]
    assert edges(Strategy.CONSENSUS, [a, b, c]) == []
    assert edges(Strategy.PARALLEL, [a, b]) == edges(None, [a, b]) == edges(Strategy.SEQUENTIAL, [a]) == []


def test_from_whose_files_one_goes_on() -> None:
    a, b, c = task("a", S.COMPLETED), task("b", S.CANCELLED, waived=True), task("c")
    assert starts_from(Strategy.PIPELINE, [a, b, c], "c") == "a"
    assert starts_from(Strategy.PIPELINE, [a, b, c], "a") is None
    assert starts_from(Strategy.REVIEW, [a, c], "c") == "a"
    assert starts_from(Strategy.REVIEW, [a, c], "a") is None
    assert starts_from(Strategy.SEQUENTIAL, [a, c], "c") is None
    assert starts_from(Strategy.CONSENSUS, [a, c], "c") is None


def test_a_review_sends_back_as_often_as_it_may_and_then_fails() -> None:
    work = task("work", S.COMPLETED)
    refused = task("review", S.REVIEW, summary="the title is wrong")
    sent = steps(container("review", 2, 1), [work, refused])
    reason = "revision 2 of 2, because the review says: the title is wrong"
    assert sent == (Again("work", reason), Again("review", reason))
    assert steps(container("review", 2, 2), [work, refused]) == (
        Fail("review", "not approved after 2 revisions: the title is wrong"),
    )
    failed = task("review", S.FAILED, status_reason="`pytest`: exit status 1", run=TRUE)
    assert steps(container("review"), [work, failed])[0] == Again(
        "work", "revision 1 of 2, because the review says: `pytest`: exit status 1"
    )
    assert steps(container("review", 2, 2), [work, failed]) == ()
    # What was lost has judged nothing, and what was not done cannot be revised.
    assert steps(container("review"), [work, task("review", S.FAILED, status_reason="crashed")]) == ()
    assert steps(container("review", 2), [task("work", S.FAILED), refused])[0] == Fail(
        "review", "not approved after 0 revisions: the title is wrong"
    )
    for status in (S.PENDING, S.IN_PROGRESS, S.COMPLETED, S.BLOCKED, S.CANCELLED):
        assert steps(container("review"), [work, task("review", status)]) == ()


def test_who_gives_no_vote_is_passed_over_where_there_are_enough_without() -> None:
    a, b = task("a", S.COMPLETED, summary="yes"), task("b", S.COMPLETED, summary="yes")
    out, asked = task("o", S.IN_PROGRESS), container("consensus")
    failed, unsure = task("c", S.FAILED, status_reason="crashed"), task("d", S.REVIEW, summary="not sure")
    passed = (NoVote("c", "no vote: crashed"), NoVote("d", "no vote: not sure"))
    assert steps(asked, [a, b, task("e", S.COMPLETED, summary="yes"), failed, unsure]) == passed
    # Somebody is still out; or those who voted are no majority.
    assert steps(asked, [a, b, out, failed]) == ()
    assert steps(asked, [a, b, failed, unsure]) == (Fail("d", "no vote: not sure"),)
    assert steps(asked, [failed, unsure]) == (Fail("d", "no vote: not sure"),)
    # A judge needs no more than one to judge.
    waiting = task("j", task_type=TaskType.REVIEW)
    assert steps(asked, [a, failed, unsure, waiting]) == passed
    assert steps(asked, [failed, unsure, waiting]) == (Fail("d", "no vote: not sure"),)
    judge = task("j", S.REVIEW, summary="too close", task_type=TaskType.REVIEW)
    assert steps(container("consensus"), [a, judge]) == (Fail("j", "the judge could not decide: too close"),)


def votes(*summaries: str | None) -> list[Task]:
    return [
        task(f"v{number}", S.COMPLETED if said else S.CANCELLED, waived=not said, summary=said)
        for number, said in enumerate(summaries)
    ]


def test_the_majority_decides() -> None:
    asked = container("consensus", 3)
    for agreed in (
        votes("Yes.", "yes", "no"),
        votes("Long text\nVote:  YES", "vote: yes!", "no"),
        votes("yes", "yes", None),
    ):
        found = decision(asked, agreed)
        assert found is not None
        assert found.status is S.COMPLETED
        assert found.text.startswith("2 of 3 agree: ")
    none = decision(asked, votes("yes", "no", None))
    assert none is not None
    assert (none.status, none.text) == (S.FAILED, "no majority of 3: 1 x 'yes', 1 x 'no', 1 x no vote")
    commands = [task(name, S.COMPLETED, run=TRUE, summary=f"{name} took long") for name in "ab"]
    found = decision(asked, [*commands, *votes(None)])
    assert found is not None
    assert found.status is S.COMPLETED
    assert decision(asked, [*votes("yes"), task("late", S.IN_PROGRESS)]) is None
    assert decision(asked, votes(None, None)) is None
    judge = task("j", S.COMPLETED, task_type=TaskType.APPROVAL)
    assert decision(asked, [*votes("yes", "no"), judge]) is None
    assert decision(container("review"), votes("yes", "yes")) is None


def test_a_plan_says_it_of_a_phase_and_of_a_task() -> None:
    text = """# T
## Phase 1: One
Strategy: pipeline
### a
```yaml
run: "true"
strategy: consensus of 3
```
### b
```yaml
run: "true"
```
## Phase 2: Two
**Strategy**: Be careful, and ask often.
### c
```yaml
strategy: review
```
"""
    plan = read_plan(text, name="x.md")
    first, second = plan_drafts(plan)
    assert first.strategy is Strategy.PIPELINE
    assert [len(one.subtasks) for one in first.subtasks] == [3, 0]
    assert (first.subtasks[0].strategy, first.subtasks[0].strategy_n) == (Strategy.CONSENSUS, 3)
    assert first.subtasks[0].run is None
    assert second.strategy is None
    assert list(plan.phases[1].fields.values()) == ["Be careful, and ask often."]
    assert [one.key for one in second.subtasks[0].subtasks] == ["c-work", "c-review"]
    wrong = read_plan(text.replace("consensus of 3", "consensus of 30"), name="x.md")
    assert any(note.blocking and "Give 2 to 9" in note.text for note in wrong.notes)
