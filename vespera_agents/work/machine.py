"""The one task state machine, and the status of a container, which follows its children. Pure.

Neighbours: `store/` asks it before every change of status; nothing else decides a transition.
Source: the status lines of the orchestrator contract.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from vespera_agents.work.errors import BadTransition
from vespera_agents.work.models import DependencyState, TaskStatus

__all__ = ["LIVE", "TERMINAL", "TRANSITIONS", "check_again", "check_transition", "container_status", "dependency_state"]

_S = TaskStatus
TRANSITIONS: Final[Mapping[TaskStatus, tuple[TaskStatus, ...]]] = MappingProxyType(
    {
        _S.PENDING: (_S.IN_PROGRESS, _S.BLOCKED, _S.CANCELLED, _S.ARCHIVED),
        _S.IN_PROGRESS: (_S.COMPLETED, _S.REVIEW, _S.BLOCKED, _S.FAILED, _S.CANCELLED, _S.PENDING),
        _S.BLOCKED: (_S.PENDING, _S.IN_PROGRESS, _S.FAILED, _S.CANCELLED),
        _S.REVIEW: (_S.COMPLETED, _S.IN_PROGRESS, _S.FAILED, _S.CANCELLED),
        _S.COMPLETED: (_S.IN_PROGRESS, _S.ARCHIVED),
        _S.FAILED: (_S.PENDING, _S.ARCHIVED),
        _S.CANCELLED: (_S.PENDING, _S.ARCHIVED),
        _S.ARCHIVED: (),
    }
)
"""Every allowed edge; `archived` is final."""

TERMINAL: Final = frozenset({_S.COMPLETED, _S.FAILED, _S.CANCELLED, _S.ARCHIVED})
"""Where nothing more happens by itself."""
_SENT_BACK: Final = frozenset({_S.COMPLETED, _S.REVIEW, _S.FAILED, _S.BLOCKED})
LIVE: Final = frozenset(_S) - TERMINAL
"""Where work is still to come."""


def check_transition(subject: str, status: TaskStatus, wanted: TaskStatus) -> None:
    """Check one edge of the machine.

    Raises:
        BadTransition: there is no such edge; it names those that exist.
    """
    if wanted not in TRANSITIONS[status]:
        raise BadTransition(subject, status, wanted, TRANSITIONS[status])


def check_again(subject: str, status: TaskStatus, wanted: TaskStatus) -> None:
    """Check a step of a strategy: what has ended or waits is sent back or passed over, which nobody may ask for.

    Raises:
        BadTransition: it is at work, or has ended for another reason.
    """
    if status not in _SENT_BACK or wanted not in {_S.PENDING, _S.CANCELLED}:
        raise BadTransition(subject, status, wanted, TRANSITIONS[status])


def dependency_state(status: TaskStatus, *, waived: bool) -> DependencyState | None:
    """Say what a dependency on a task becomes when that task gets `status`; None keeps what it is.

    A waived task lets its dependents go on. Archiving keeps what was reached before.
    """
    if status is _S.ARCHIVED:
        return None
    if status is _S.COMPLETED:
        return DependencyState.SATISFIED
    if status is _S.CANCELLED and waived:
        return DependencyState.WAIVED
    if status in {_S.FAILED, _S.CANCELLED}:
        return DependencyState.FAILED
    return DependencyState.OPEN


def container_status(children: Mapping[tuple[TaskStatus, bool], int]) -> tuple[TaskStatus, bool]:
    """Derive the status of a container, and whether it is waived, from how many children are (status, waived).

    Archived children do not count unless there are no others. While any child is live the container is in progress
    as soon as something has begun; when all have ended it failed if one failed, is cancelled if all were cancelled
    (waived if all of those were waived), and is completed otherwise.
    """
    counts = Counter[str]()
    for (status, waived), number in children.items():
        # An archived task keeps its mark; it counts as archived all the same.
        counts["waived" if waived and status is _S.CANCELLED else status] += number
    archived = counts.pop("archived", 0)
    total = counts.total()
    if not total:
        return (_S.ARCHIVED if archived else _S.PENDING), False
    ended = counts["completed"] + counts["failed"] + counts["cancelled"] + counts["waived"]
    if ended < total:
        if counts["in_progress"] or counts["review"] or ended:
            return _S.IN_PROGRESS, False
        return (_S.BLOCKED if counts["blocked"] == total else _S.PENDING), False
    if counts["failed"]:
        return _S.FAILED, False
    if counts["cancelled"] + counts["waived"] == total:
        return _S.CANCELLED, counts["waived"] == total
    # A child that was cancelled by hand beside completed ones was decided on; the container is done without it.
    return _S.COMPLETED, False
