"""What is written down about an end: its `Exit`, and the report and the count it gets.

Only the writing: what follows from an end is decided in `supervisors.supervision`.
"""

from __future__ import annotations

from typing import Final

from supervisors.children import Child
from supervisors.exits import Exit, ExitKind, Failure
from supervisors.figures import Figures
from supervisors.incarnation import Incarnation
from supervisors.listeners import ReportContext, Reporter, ReportKind

NOT_READY: Final = "ended without calling task_status.started(); call it once the child is ready"
_REPORTS: Final = {
    ExitKind.NORMAL: ReportKind.CHILD_ENDED,
    ExitKind.SHUTDOWN: ReportKind.CHILD_ENDED,
    ExitKind.KILLED: ReportKind.CHILD_ENDED,
    ExitKind.IGNORED: ReportKind.CHILD_IGNORED,
    ExitKind.START_ERROR: ReportKind.START_FAILED,
    ExitKind.START_TIMEOUT: ReportKind.START_FAILED,
    ExitKind.SHUTDOWN_ERROR: ReportKind.SHUTDOWN_ERROR,
    ExitKind.STOP_TIMEOUT: ReportKind.SHUTDOWN_ERROR,
    ExitKind.ESCALATED: ReportKind.ESCALATED,
    ExitKind.CRASHED: ReportKind.CHILD_CRASHED,
    ExitKind.HUNG: ReportKind.CHILD_CRASHED,
    ExitKind.MAX_RESTARTS_EXCEEDED: ReportKind.CHILD_CRASHED,
    ExitKind.FENCED: ReportKind.CHILD_FENCED,
}
_EXPLAINED: Final = frozenset({ExitKind.START_TIMEOUT, ExitKind.STOP_TIMEOUT, ExitKind.FENCED, ExitKind.HUNG})
_CRASHED: Final = ExitKind.CRASHED


def exit_of(incarnation: Incarnation, kind: ExitKind, error: BaseException | None) -> Exit:
    """Describe the end of `incarnation`, now; keeps nothing of `error` but its summary."""
    now = incarnation.ground.timekeeper.clock()
    if error is None:
        return Exit(kind, _reason(incarnation, kind, now), incarnation.number, now, now - incarnation.since)
    failure = Failure.of(error)
    explained = kind is not _CRASHED and kind in _EXPLAINED
    reason = _reason(incarnation, kind, now) if explained else str(failure)
    return Exit(kind, reason, incarnation.number, now, now - incarnation.since, failure)


def _reason(incarnation: Incarnation, kind: ExitKind, now: float) -> str:
    late = now - incarnation.stop_requested_at
    match kind:
        case ExitKind.START_TIMEOUT:
            allowed = incarnation.child.spec.start_timeout_seconds
            return f"not ready within {allowed:g} s; raise start_timeout_seconds or start faster"
        case ExitKind.STOP_TIMEOUT:
            return f"still running {late:g} s after it was asked to stop; stopped by force"
        case ExitKind.FENCED:
            return f"still running {late:g} s after it was asked to stop, by force at last; cut off, its task may go on"
        case ExitKind.HUNG:
            cut_off = "; could not be stopped, its task may go on" if incarnation.fenced else ""
            return f"hung: broke its promise of a beat{cut_off}"
        case ExitKind.START_ERROR:
            return NOT_READY
        case _:
            return kind.value


def report_end(reporter: Reporter, figures: Figures, child: Child, exit_: Exit, context: ReportContext) -> None:
    """Count an end, and tell the listener of it."""
    kind = exit_.kind
    if kind is _CRASHED:
        pass
    elif kind is ExitKind.START_ERROR or kind is ExitKind.START_TIMEOUT:
        figures.start_failures += 1
    elif kind is ExitKind.IGNORED:
        figures.ignored += 1
    elif kind is ExitKind.STOP_TIMEOUT:
        figures.forced += 1
    if reporter.listener is not None:
        reporter.report(_REPORTS[kind], context, exit_.reason, offender=child.offender(exit_.incarnation), exit_=exit_)
