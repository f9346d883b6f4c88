"""The choice of specialists on labelled tasks: the figures that the guide prints, which no machine changes."""

from __future__ import annotations

import statistics

import pytest

from benchmarks import routing
from benchmarks.harness import Options
from vespera_agents.specialists.routing.suggesting import BELIEF, GENERIC
from vespera_agents.work.models import ROLE_NAMES, Complexity, TaskType


@pytest.mark.parametrize("name", routing.SETS)
def test_the_sets_have_tasks_for_every_role_and_none_twice(name: str) -> None:
    tasks = routing.labelled(name)
    assert {task.role for task in tasks} == set(ROLE_NAMES)
    assert {task.facts.task_type for task in tasks} <= set(TaskType)
    assert {task.facts.complexity for task in tasks} <= set(Complexity)
    mine = {task.facts.title for task in tasks}
    others = {task.facts.title for other in routing.SETS if other != name for task in routing.labelled(other)}
    assert len(mine) == len(tasks)
    assert not mine & others


def test_what_was_held_back_is_large_enough_to_judge_by() -> None:
    tasks = routing.labelled("held_back")
    assert len(tasks) >= 120
    assert all(sum(task.role == role for task in tasks) >= 12 for role in ROLE_NAMES if role != GENERIC)


def test_the_specialists_of_the_plans_are_found_without_their_names() -> None:
    tasks = routing.plan_tasks()
    assert len(tasks) == 14
    found = routing.judged(tasks)
    assert routing.top(found, 1) >= 0.85
    assert routing.top(found, 2) >= 0.95
    assert routing.top(found, 1) > max(routing.by_keywords(tasks), routing.by_majority(tasks))


def test_what_was_held_back_is_found_and_the_confidence_is_true() -> None:
    tasks = routing.labelled("held_back")
    found = routing.judged(tasks)
    assert routing.top(found, 1) >= 0.85
    assert routing.top(found, 2) >= 0.95
    assert routing.top(found, 1) > 2 * max(routing.by_keywords(tasks), routing.by_majority(tasks))
    sure, right = statistics.fmean(one.confidence for one in found), routing.top(found, 1)
    assert abs(sure - right) < 0.1
    assert routing.calibration_error(found) < 0.12
    # Not generic as a way out.
    assert all(one.ranked[0] != GENERIC or one.task.role == GENERIC or one.confidence < 0.7 for one in found)


def test_on_strange_words_it_is_less_often_right_and_says_so() -> None:
    strange = routing.judged(routing.labelled("held_back"), known=routing.ignorance("held_back"))
    sure, right = statistics.fmean(one.confidence for one in strange), routing.top(strange, 1)
    assert 0.6 < right < routing.top(routing.judged(routing.labelled("held_back")), 1)
    assert abs(sure - right) < 0.1


def test_belief_is_the_one_that_was_fitted() -> None:
    assert routing.fitted_belief() == pytest.approx(BELIEF, abs=0.1)


def test_the_arithmetic_of_the_figures() -> None:
    task = routing.labelled("held_back")[0]
    right = routing.Judged(task, (task.role, "x"), 0.9)
    wrong = routing.Judged(task, ("x", task.role), 0.9)
    assert routing.top([right, right, wrong, wrong], 1) == 0.5
    assert routing.top([right, right, wrong, wrong], 2) == 1.0
    assert routing.calibration_error([right] * 10) == pytest.approx(0.1)
    assert routing.calibration_error([wrong] * 10) == pytest.approx(0.9)
    assert routing.calibration_error([right] * 9 + [wrong]) < 0.25


def test_the_benchmark_gives_its_rows_and_what_was_taken_for_what() -> None:
    rows = routing.run(Options(quick=True))
    assert [row.goal for row in rows if row.goal is not None] == [0.85, 0.95, 0.85, 0.95]
    assert all(f"| {role} |" in routing.notes() for role in ROLE_NAMES)
