"""The dashboard of supervision: restarts with their reasons, how close a supervisor is to giving up, ends in order."""

from __future__ import annotations

from typing import Final

from grafana.panels import Board, Section, bars, lines, number
from grafana.queries import Query, average, grown, largest, now, picked, quantiles, rate

__all__ = ["SUPERVISION"]

_RESTARTS: Final = Section(
    "Restarts",
    (
        lines(
            "By reason",
            "Restarts of children per second, failed attempts included, by the end that led to each.",
            "cps",
            rate("vespera_supervisor_restarts_total", "reason"),
        ),
        lines(
            "By supervisor",
            "The same, by who restarted and what.",
            "cps",
            rate("vespera_supervisor_restarts_total", "supervisor", "kind"),
        ),
        lines(
            "Time to be ready again",
            "From a child's end to its being ready again.",
            "s",
            *quantiles("vespera_supervisor_restart_duration_seconds", "kind", of=(0.5, 0.95)),
        ),
        bars(
            "Restarts used up",
            "How much of its allowed restarts each supervisor has used: at 100 % the next one is too many.",
            "percentunit",
            largest("vespera_supervisor_intensity_used_ratio", "supervisor"),
            limits=((0.5, "orange"), (0.7, "red")),
            top=1,
        ),
        lines(
            "Used up, over time",
            "The same over time; the windows are short, so look at the peaks.",
            "percentunit",
            largest("vespera_supervisor_intensity_used_ratio", "supervisor"),
            limits=((0.7, "red"),),
            top=1,
        ),
        lines(
            "Children that wait",
            "Children whose next start is put off, because the last ones failed.",
            "short",
            now("vespera_supervisor_backoff_children", "supervisor"),
        ),
    ),
)
_ESCALATIONS: Final = Section(
    "Escalations",
    (
        lines(
            "Passed up",
            "Failures per second that a supervisor passed to the one above it.",
            "cps",
            rate("vespera_supervisor_escalations_total", "supervisor"),
        ),
        number(
            "Given up",
            "Times that a supervisor gave up, within the time that the dashboard shows.",
            "short",
            grown("vespera_supervisor_intensity_exhausted_total"),
            limits=((1, "red"),),
        ),
        lines(
            "Given up, by supervisor",
            "Times per second that a supervisor gave up, because one restart was too many.",
            "cps",
            rate("vespera_supervisor_intensity_exhausted_total", "supervisor"),
            width=12,
        ),
    ),
)
_PROCESSES: Final = Section(
    "Workers, starts and ends",
    (
        lines(
            "Workers",
            "Processes that were told to work, per second, by why the front needed a new one.",
            "cps",
            rate("vespera_front_generations_total", "reason"),
        ),
        number(
            "Since the last restart",
            "How long ago a worker was last replaced.",
            "dtdurations",
            Query(f"time() - max ({picked('vespera_last_restart_timestamp_seconds')})", "ago"),
        ),
        number(
            "Recovery",
            "How long the last worker took from its start until everything that it had to take over went on.",
            "s",
            largest("vespera_recovery_duration_seconds"),
        ),
        lines(
            "Phase",
            "Which phase the server is in: 1 is the one.",
            "short",
            largest("vespera_runtime_phase", "phase"),
            top=1,
        ),
        lines(
            "Actors that end",
            "Actors that a shutdown still waits for.",
            "short",
            now("vespera_shutdown_draining_actors", legend="draining"),
        ),
        lines(
            "Phases of a shutdown",
            "The mean time that each phase of a shutdown took.",
            "s",
            average("vespera_shutdown_phase_duration_seconds", "phase"),
        ),
    ),
)
SUPERVISION: Final = Board(
    "supervision",
    "Supervision",
    "What crashes, why, who restarts it, and how close that one is to giving up.",
    (_RESTARTS, _ESCALATIONS, _PROCESSES),
)
