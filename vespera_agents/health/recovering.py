"""When a recovery is due: what is declared for a reason, how long that has lasted, and how often it was tried. Pure.

A recovery is tried at most so often in a period, and after each attempt it waits, twice as long each time; then it has
given up until the period has passed. So one that does not help, or fails, never loops. Neighbours: `settings` reads
what is declared, `recoveries` carries it out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum, unique
from typing import Final, final

from supervisors import RestartWindow
from vespera_agents.health.checks import Grade, Reason

__all__ = ["ALWAYS", "Attempts", "Recovery", "RecoveryAction"]

_DOUBLINGS_MAX: Final = 16


@unique
class RecoveryAction(StrEnum):
    """What can be done."""

    RESTART = "restart"
    """Stop a part of the tree in order, and start it again."""
    OPEN_BREAKER = "open_breaker"
    """Refuse calls of one tool for as long as the reason stands."""
    SHED_LOAD = "shed_load"
    """Refuse all calls that begin new work for as long as the reason stands."""
    REOPEN = "reopen"
    """Open a workspace that gave up, as the next call to it would."""

    @property
    def lasts(self) -> bool:
        """Whether it stays in force until the reason has gone."""
        return self in {RecoveryAction.OPEN_BREAKER, RecoveryAction.SHED_LOAD}


@final
@dataclass(frozen=True, slots=True)
class Recovery:
    """What is done about a reason."""

    when: str
    """What is to blame: its kind, or its kind and name."""
    action: RecoveryAction
    target: str | None = None
    """The part of the tree, or the tool; None is what is to blame, and of `shed_load` everything."""
    grade: Grade = Grade.UNHEALTHY
    """From which grade on."""
    for_seconds: float = 10.0
    """How long the reason must have stood; and how long it must have gone before what was done is undone."""
    deadline_seconds: float = 30.0
    """How long an attempt may take."""
    pause_seconds: float = 60.0
    """How long no other attempt is made after one; twice as long after each more."""
    period_seconds: float = 3_600.0
    most: int = 3
    """Attempts within the period."""

    def matches(self, reason: Reason) -> bool:
        """Say whether this is the reason."""
        bad_enough = reason.grade is Grade.UNHEALTHY or self.grade is Grade.DEGRADED
        return bad_enough and self.when in {reason.kind, reason.component}

    def __str__(self) -> str:
        return self.action.value if self.target is None else f"{self.action.value} {self.target}"


ALWAYS: Final = (
    Recovery("workspace", RecoveryAction.REOPEN, for_seconds=0.0, pause_seconds=10.0, period_seconds=600.0, most=5),
)
"""What is done although nobody asked for it, because it takes nothing from anybody: while a workspace is closed nobody
is sent here whose call would open it."""


@final
class Attempts:
    """What became of one recovery so far. Time is an argument."""

    __slots__ = ("_failures", "_gone", "_not_before", "_since", "_window", "in_force", "reason", "recovery")

    def __init__(self, recovery: Recovery) -> None:
        """Know of none yet."""
        self.recovery: Final = recovery
        self.reason: Reason | None = None
        """Why it is, or was, due."""
        self.in_force = False
        """Whether what it does lasts, and was done and not undone."""
        self._window = RestartWindow(recovery.most, recovery.period_seconds)
        self._since: float | None = None
        self._gone: float | None = None
        self._not_before = 0.0
        self._failures = 0

    def look(self, reasons: Iterable[Reason], now: float) -> None:
        """Take in the reasons of this moment."""
        found = next((one for one in reasons if self.recovery.matches(one)), None)
        if found is None:
            self._gone = now if self._gone is None else self._gone
            if now - self._gone >= self.recovery.for_seconds:
                self._since = None
            if not self._window.used(now):
                self._failures = 0
            return
        self.reason, self._gone = found, None
        self._since = now if self._since is None else self._since

    def is_due(self, now: float) -> bool:
        """Say whether it shall be tried now."""
        return self._wanted(now) and not self.in_force and now >= self._not_before and not self.has_given_up(now)

    def is_over(self) -> bool:
        """Say whether what lasts shall be undone: its reason has gone for long enough."""
        return self.in_force and self._since is None

    def has_given_up(self, now: float) -> bool:
        """Say whether it was tried as often as it may be, and the reason stands."""
        return self._wanted(now) and not self.in_force and self._window.used(now) >= self.recovery.most

    def begin(self, now: float) -> None:
        """Count an attempt."""
        self._window.add(now)
        self._not_before = now + self.recovery.pause_seconds * 2.0 ** min(self._failures, _DOUBLINGS_MAX)
        self._failures += 1

    def _wanted(self, now: float) -> bool:
        return self._since is not None and self._gone is None and now - self._since >= self.recovery.for_seconds
