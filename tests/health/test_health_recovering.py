"""When a recovery is due: after how long, how often, and never in a loop. Time is an argument."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vespera_agents.health.checks import Grade, Reason
from vespera_agents.health.recovering import Attempts, Recovery, RecoveryAction

FULL = Reason(Grade.UNHEALTHY, "mailbox writer", "its mailbox is 100% full")
RESTART = Recovery(
    "mailbox",
    RecoveryAction.RESTART,
    for_seconds=10,
    pause_seconds=60,
    period_seconds=3_600,
    most=3,
    deadline_seconds=5,
)


@pytest.mark.parametrize(
    ("when", "grade", "reason", "matches"),
    [
        ("mailbox", Grade.UNHEALTHY, FULL, True),
        ("mailbox writer", Grade.UNHEALTHY, FULL, True),
        ("mailbox reader", Grade.UNHEALTHY, FULL, False),
        ("store", Grade.UNHEALTHY, FULL, False),
        ("mailbox", Grade.UNHEALTHY, replace(FULL, grade=Grade.DEGRADED), False),
        ("mailbox", Grade.DEGRADED, replace(FULL, grade=Grade.DEGRADED), True),
        ("mailbox", Grade.DEGRADED, FULL, True),
    ],
)
def test_a_recovery_is_for_a_kind_or_a_name_from_a_grade_on(
    when: str, grade: Grade, reason: Reason, *, matches: bool
) -> None:
    assert Recovery(when, RecoveryAction.SHED_LOAD, grade=grade).matches(reason) is matches


def tried(recovery: Recovery, seconds: int, stands: set[int] | None = None) -> list[int]:
    """Look once a second, and list the seconds at which it is tried; the reason stands then, always unless given."""
    attempts, found = Attempts(recovery), []
    for now in range(seconds):
        attempts.look([FULL] if stands is None or now in stands else [], float(now))
        if attempts.is_due(now):
            attempts.begin(now)
            found.append(now)
    return found


def test_what_does_not_help_is_tried_less_and_less_often_and_then_no_more() -> None:
    assert tried(RESTART, 3_600) == [10, 70, 190]
    # An hour after the first one there is room for another.
    assert tried(RESTART, 3_700) == [10, 70, 190, 3_611]


def test_a_reason_that_stands_only_for_a_moment_is_no_reason_to_do_anything() -> None:
    assert tried(RESTART, 1_000, stands={*range(9), *range(30, 39), *range(100, 109)}) == []


def test_a_reason_that_flickers_counts_as_one_that_stands() -> None:
    assert tried(RESTART, 60, stands=set(range(0, 60, 2))) == [10]


def test_it_has_given_up_while_the_reason_stands_and_not_longer() -> None:
    attempts = Attempts(replace(RESTART, most=1))
    for now in range(30):
        attempts.look([FULL], now)
        if attempts.is_due(now):
            attempts.begin(now)
    assert attempts.has_given_up(30)
    assert not attempts.is_due(30)
    attempts.look([], 31)
    assert not attempts.has_given_up(31)


def test_what_lasts_is_over_when_the_reason_has_gone_for_long_enough() -> None:
    attempts = Attempts(Recovery("mailbox", RecoveryAction.SHED_LOAD, for_seconds=10))
    for now in range(20):
        attempts.look([FULL], now)
    assert attempts.is_due(20)
    attempts.begin(20)
    attempts.in_force = True
    assert not attempts.is_due(20)
    for now in range(20, 30):
        attempts.look([], now)
        assert not attempts.is_over()
    attempts.look([], 30)
    assert attempts.is_over()
