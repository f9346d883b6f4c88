"""What supervisors told, counted by declared name: `SupervisionFigures`, the Listener of a runtime.

A supervisor's own numbers end with it, and dynamic supervisors end all the time; these are kept for the whole process,
so no counter ever falls back. Called in the event loop, read from the scraping thread: plain ints only.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, final

from supervisors import (
    SECONDS_BOUNDS,
    ChildType,
    Exit,
    ExitKind,
    Histogram,
    Offender,
    Report,
    ReportContext,
    ReportKind,
    Restart,
    Tally,
)
from supervisors.restarts import Action, decide
from vespera_agents.health.metrics.labels import SUPERVISORS, declared_supervisor

__all__ = ["RESTART_REASONS", "SupervisionFigures"]

SIBLING: Final = "sibling"
"""The reason of a child that did not end itself: it was restarted along with one that did."""
RESTART_REASONS: Final = (
    ExitKind.NORMAL.value,
    ExitKind.SHUTDOWN.value,
    ExitKind.CRASHED.value,
    ExitKind.MAX_RESTARTS_EXCEEDED.value,
    ExitKind.START_ERROR.value,
    ExitKind.START_TIMEOUT.value,
    SIBLING,
)
"""Every end that a supervisor answers with a restart."""
PENDING_MAX: Final = 10_000
"""Restarts under way that are remembered; a tree with more of them at once has other sorrows than their metrics."""

_STARTED: Final = frozenset({ReportKind.CHILD_STARTED, ReportKind.CHILD_RESTARTED})
_ENDED: Final = frozenset({ReportKind.CHILD_ENDED, ReportKind.CHILD_CRASHED})


@final
class SupervisionFigures:
    """The numbers of all supervisors of a runtime; give it to `open_runtime(listener=...)`."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        """Start at zero; `clock` gives wall-clock seconds since the epoch."""
        self.started_at = clock()
        """When this process began to run a tree."""
        self.restarts: Tally[tuple[str, str, str]] = Tally()
        """By declared supervisor, child type and reason."""
        self.escalations: Tally[str] = Tally(SUPERVISORS)
        """By declared supervisor: failures passed up, giving up included."""
        self.exhausted: Tally[str] = Tally(SUPERVISORS)
        """By declared supervisor: times it gave up."""
        self.restart_seconds = {kind.value: Histogram(SECONDS_BOUNDS) for kind in ChildType}
        """By child type."""
        self.delays = 0
        """Restarts that were put off by a backoff."""
        self._pending: dict[tuple[str, str], tuple[str, float]] = {}
        self._watchers: list[Callable[[Report], None]] = []

    @property
    def has_restarted(self) -> bool:
        """Whether anything was ever restarted, or its restart put off."""
        return self.delays > 0 or self.restarts.total > 0

    def watch_starts(self, watcher: Callable[[Report], None]) -> None:
        """Call `watcher` with each report of a child that became ready; it must neither wait nor raise."""
        self._watchers.append(watcher)

    def on_report(self, report: Report) -> None:
        """Count one report."""
        kind, offender = report.kind, report.offender
        if kind is ReportKind.MAX_RESTARTS_EXCEEDED:
            self.exhausted.increment(declared_supervisor(report.supervisor))
            self.escalations.increment(declared_supervisor(report.supervisor))
        elif kind is ReportKind.ESCALATED:
            self.escalations.increment(declared_supervisor(report.supervisor))
        elif kind is ReportKind.SUPERVISOR_STOPPED:
            self._forget(report.supervisor)
        elif kind is ReportKind.RESTART_DELAYED:
            self.delays += 1
        elif offender is not None:
            self._child_reported(report, offender)

    def _child_reported(self, report: Report, offender: Offender) -> None:
        kind, place = report.kind, (report.supervisor, offender.id)
        if kind in _STARTED:
            reason, since = self._pending.pop(place, (SIBLING, report.at))
            if kind is ReportKind.CHILD_RESTARTED:
                self._count_restart(report, offender, reason)
                if reason != SIBLING:
                    self.restart_seconds[offender.type].observe(report.at - since)
            for watcher in self._watchers:
                watcher(report)
        elif kind is ReportKind.START_FAILED:
            self._restart_failed(report, offender)
        elif kind in _ENDED and report.context is ReportContext.RUN and report.exit is not None:
            self._ended_by_itself(place, offender, report.exit)

    def _ended_by_itself(self, place: tuple[str, str], offender: Offender, exit_: Exit) -> None:
        if decide(Restart(offender.restart), exit_.kind) is Action.RESTART:
            self._remember(place, exit_.kind.value, exit_.at)

    def _restart_failed(self, report: Report, offender: Offender) -> None:
        """Count an attempt that failed; the next one is due to this failure, and the time runs on from the first."""
        place = (report.supervisor, offender.id)
        pending = self._pending.pop(place, None)
        if report.exit is None or (pending is None and report.context is not ReportContext.RESTART):
            return
        reason, since = pending or (SIBLING, report.at)
        self._count_restart(report, offender, reason)
        self._remember(place, report.exit.kind.value, since)

    def _count_restart(self, report: Report, offender: Offender, reason: str) -> None:
        self.restarts.increment((declared_supervisor(report.supervisor), offender.type, reason))

    def _remember(self, place: tuple[str, str], reason: str, since: float) -> None:
        if len(self._pending) >= PENDING_MAX:
            del self._pending[next(iter(self._pending))]
        self._pending[place] = (reason, since)

    def _forget(self, supervisor: str) -> None:
        for place in [place for place in self._pending if place[0] == supervisor]:
            del self._pending[place]
