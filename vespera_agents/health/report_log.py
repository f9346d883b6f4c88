"""`ReportLog`: the last reports of supervision, and one event of the log for each.

A report says the same four things whatever happened: supervisor, context, reason, offender. What went well is
information, so that a log at its usual level is about what did not. Kept are the reports themselves, which
hold no frames; a traceback becomes text when somebody reads it.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, final

from supervisors import Report, ReportContext, ReportKind
from vespera_agents.logs.correlation import uncorrelated
from vespera_agents.logs.events import log_event
from vespera_agents.logs.throttle import Throttle

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CRASHES_MAX", "REPORTS_MAX", "ReportLog", "ReportLogStatistics", "Reported"]

REPORTS_MAX: Final = 1_000
"""Reports that are kept, the newest."""
CRASHES_MAX: Final = 200
"""Reports of failures that are kept, however much went well since."""
_LOGGED_MAX: Final = 1_000
"""Reports that are logged at once; as many again in each minute."""
_logger: Final = logging.getLogger("vespera_agents.supervision")
_LEVELS: Final = {
    ReportKind.SUPERVISOR_STARTED: logging.INFO,
    ReportKind.SUPERVISOR_STOPPED: logging.INFO,
    ReportKind.CHILD_STARTED: logging.INFO,
    ReportKind.CHILD_ENDED: logging.INFO,
    ReportKind.CHILD_IGNORED: logging.INFO,
    ReportKind.CHILD_RESTARTED: logging.WARNING,
    ReportKind.RESTART_DELAYED: logging.WARNING,
    ReportKind.ZOMBIE_ENDED: logging.WARNING,
    ReportKind.AUTO_SHUTDOWN: logging.INFO,
}
"""How grave; whatever is not here is an error."""


@final
@dataclass(frozen=True, slots=True)
class Reported:
    """One report, and when it was heard."""

    seq: int
    """From 1, without gaps."""
    at: float
    """Seconds since the epoch."""
    report: Report
    """The four keys, what happened, and how the offender ended if it did."""

    def to_dict(self) -> dict[str, object]:
        """Return plain values; no traceback."""
        return {**self.report.to_dict(), "seq": self.seq, "at": self.at}

    @property
    def traceback(self) -> str | None:
        """How the offender failed, as Python prints it; None where it did not."""
        failure = None if self.report.exit is None else self.report.exit.failure
        return None if failure is None else failure.formatted()


@final
@dataclass(frozen=True, slots=True)
class ReportLogStatistics:
    """What a log of reports holds."""

    reports: int
    """How many were heard, ever."""
    unlogged: int
    """How many were not written to the log because there were too many."""


@final
class ReportLog:
    """Remembers reports, and writes them down. Called in the event loop, read from any thread."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        """Begin with none; `clock` gives seconds since the epoch."""
        self.seq = 0
        """The number of the last report."""
        self._clock = clock
        self._entries: deque[Reported] = deque(maxlen=REPORTS_MAX)
        self._failures: deque[Reported] = deque(maxlen=CRASHES_MAX)
        self._throttle = Throttle(_LOGGED_MAX, 60.0)

    def on_report(self, report: Report) -> None:
        """Hear one report."""
        self.seq += 1
        entry = Reported(self.seq, self._clock(), report)
        self._entries.append(entry)
        if report.exit is not None and report.exit.failure is not None:
            self._failures.append(entry)
        level = _LEVELS.get(report.kind, logging.ERROR)
        if report.kind is ReportKind.START_FAILED and report.context is ReportContext.START:
            # Whoever starts it is told, and says what is to be done: a wrong address is no crash.
            level = logging.INFO
        if _logger.isEnabledFor(level) and self._throttle.lets():
            self._write(report, level)

    @property
    def entries(self) -> tuple[Reported, ...]:
        """The last reports, the newest last."""
        return tuple(self._entries.copy())

    def since(self, seq: int) -> tuple[Reported, ...]:
        """Give those after one with this number, as far as they are still known."""
        new = self.seq - seq
        return self.entries[-new:] if new > 0 else ()

    def last_failure(self, offender: str) -> Reported | None:
        """Give the last failure of a child of this id, as far as it is still known."""
        return next((each for each in reversed(self._failures.copy()) if _is_about(each.report, offender)), None)

    def statistics(self) -> ReportLogStatistics:
        """Return a picture of now."""
        return ReportLogStatistics(self.seq, self._throttle.held_back)

    def _write(self, report: Report, level: int) -> None:
        fields = report.to_dict()
        # The log has a time of its own; trio's clock says nothing there.
        del fields["at"]
        if unlogged := self._throttle.take_held_back():
            fields["unlogged"] = unlogged
        error = None if report.exit is None else report.exit.failure
        with uncorrelated():
            log_event(_logger, level, "supervision", error=error, **fields)


def _is_about(report: Report, offender: str) -> bool:
    return report.offender is not None and report.offender.id == offender
