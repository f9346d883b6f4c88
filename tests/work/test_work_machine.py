"""The task state machine, edge by edge, and the status of containers."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vespera_agents.work.errors import BadTransition
from vespera_agents.work.machine import (
    LIVE,
    TERMINAL,
    TRANSITIONS,
    check_transition,
    container_status,
    dependency_state,
)
from vespera_agents.work.models import DependencyState, TaskStatus

CONTRACT = """
pending -> in_progress | blocked | cancelled | archived
in_progress -> completed | review | blocked | failed | cancelled | pending
blocked -> pending | in_progress | failed | cancelled
review -> completed | in_progress | failed | cancelled
completed -> in_progress | archived
failed -> pending | archived
cancelled -> pending | archived
"""
"""The status lines of the orchestrator contract, as they stand there."""

EDGES = {
    (TaskStatus(source.strip()), TaskStatus(target.strip()))
    for line in CONTRACT.strip().splitlines()
    for source, targets in [line.split("->")]
    for target in targets.split("|")
}
PAIRS = [(source, target) for source in TaskStatus for target in TaskStatus]
S = TaskStatus


@pytest.mark.parametrize(("source", "target"), [pair for pair in PAIRS if pair in EDGES])
def test_an_edge_of_the_contract_is_allowed(source: TaskStatus, target: TaskStatus) -> None:
    check_transition("task x", source, target)


@pytest.mark.parametrize(("source", "target"), [pair for pair in PAIRS if pair not in EDGES])
def test_any_other_edge_is_refused_with_those_that_exist(source: TaskStatus, target: TaskStatus) -> None:
    with pytest.raises(BadTransition) as refused:
        check_transition("task x (Title)", source, target)
    assert "task x (Title)" in refused.value.what
    for allowed in TRANSITIONS[source]:
        assert allowed in refused.value.next_action
    assert TRANSITIONS[source] or "final" in refused.value.next_action


def test_every_status_is_either_live_or_ended() -> None:
    assert set(TaskStatus) == LIVE | TERMINAL
    assert not LIVE & TERMINAL


@pytest.mark.parametrize(
    ("status", "waived", "state"),
    [
        (S.PENDING, False, DependencyState.OPEN),
        (S.IN_PROGRESS, False, DependencyState.OPEN),
        (S.BLOCKED, False, DependencyState.OPEN),
        (S.REVIEW, False, DependencyState.OPEN),
        (S.COMPLETED, False, DependencyState.SATISFIED),
        (S.FAILED, False, DependencyState.FAILED),
        (S.CANCELLED, False, DependencyState.FAILED),
        (S.CANCELLED, True, DependencyState.WAIVED),
        (S.ARCHIVED, False, None),
        (S.ARCHIVED, True, None),
    ],
)
def test_a_dependency_becomes_what_the_awaited_status_says(status, waived, state) -> None:
    assert dependency_state(status, waived=waived) is state


@pytest.mark.parametrize(
    ("children", "expected"),
    [
        ({}, (S.PENDING, False)),
        ({(S.PENDING, False): 2}, (S.PENDING, False)),
        ({(S.PENDING, False): 2, (S.BLOCKED, False): 1}, (S.PENDING, False)),
        ({(S.BLOCKED, False): 2}, (S.BLOCKED, False)),
        ({(S.BLOCKED, False): 2, (S.ARCHIVED, False): 1}, (S.BLOCKED, False)),
        ({(S.PENDING, False): 2, (S.IN_PROGRESS, False): 1}, (S.IN_PROGRESS, False)),
        ({(S.REVIEW, False): 1}, (S.IN_PROGRESS, False)),
        ({(S.COMPLETED, False): 1, (S.PENDING, False): 1}, (S.IN_PROGRESS, False)),
        ({(S.FAILED, False): 1, (S.PENDING, False): 1}, (S.IN_PROGRESS, False)),
        ({(S.CANCELLED, False): 1, (S.BLOCKED, False): 1}, (S.IN_PROGRESS, False)),
        ({(S.COMPLETED, False): 3}, (S.COMPLETED, False)),
        ({(S.COMPLETED, False): 1, (S.FAILED, False): 1}, (S.FAILED, False)),
        ({(S.COMPLETED, False): 1, (S.CANCELLED, False): 1}, (S.COMPLETED, False)),
        ({(S.COMPLETED, False): 1, (S.CANCELLED, True): 1}, (S.COMPLETED, False)),
        ({(S.CANCELLED, False): 2}, (S.CANCELLED, False)),
        ({(S.CANCELLED, True): 2}, (S.CANCELLED, True)),
        ({(S.CANCELLED, True): 1, (S.CANCELLED, False): 1}, (S.CANCELLED, False)),
        ({(S.ARCHIVED, False): 2}, (S.ARCHIVED, False)),
        ({(S.ARCHIVED, True): 2}, (S.ARCHIVED, False)),
        ({(S.ARCHIVED, False): 2, (S.COMPLETED, False): 1}, (S.COMPLETED, False)),
        ({(S.ARCHIVED, True): 1, (S.CANCELLED, False): 1}, (S.CANCELLED, False)),
    ],
)
def test_a_containers_status_follows_from_its_children(children, expected) -> None:
    assert container_status(children) == expected


CHILDREN = st.lists(
    st.sampled_from([(status, False) for status in TaskStatus] + [(S.CANCELLED, True), (S.ARCHIVED, True)]), max_size=8
)


@given(CHILDREN)
def test_a_container_is_live_exactly_while_a_child_is(children) -> None:
    status, _ = container_status(Counter(children))
    if children:
        assert (status in LIVE) == any(child in LIVE for child, _ in children)


@given(CHILDREN, st.integers(1, 5))
def test_a_containers_status_depends_on_kinds_of_children_and_archived_ones_do_not_count(children, times) -> None:
    once = container_status(Counter(children))
    assert container_status(Counter(children * times)) == once
    if any(child is not S.ARCHIVED for child, _ in children):
        assert container_status(Counter([*children, (S.ARCHIVED, False)])) == once


@given(CHILDREN)
def test_a_container_is_waived_only_when_all_that_counts_was_waived(children) -> None:
    status, waived = container_status(Counter(children))
    counting = [child for child in children if child[0] is not S.ARCHIVED]
    assert waived == (bool(counting) and all(child == (S.CANCELLED, True) for child in counting))
    assert not waived or status is S.CANCELLED
