"""From statistics to the values of the catalogue's families, one function for each part of the system.

Each takes plain pictures and gives values by family name and label values, with names that nobody declared folded
into "other". Pure: who takes the pictures, and when, is `collector`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from supervisors import Histogram, HistogramSnapshot
from vespera_agents.actors import KindStatistics, SystemStatistics
from vespera_agents.health.metrics.backlog import Backlog
from vespera_agents.health.metrics.exposition import Values, merged
from vespera_agents.health.metrics.labels import (
    PHASE_BOUNDS,
    TAKING_OVER,
    CallbackOutcome,
    CompactionOutcome,
    declared_kind,
    declared_phase,
    declared_reason,
    declared_specialist,
)
from vespera_agents.health.metrics.reports import SupervisionFigures
from vespera_agents.health.metrics.requests import RequestFigures
from vespera_agents.health.metrics.sources import Sources
from vespera_agents.health.metrics.task_figures import TaskFigures
from vespera_agents.health.metrics.windows import LoopView
from vespera_agents.health.watchdog.figures import LoopStatistics
from vespera_agents.specialists.agent.figures import ContextCounts
from vespera_agents.specialists.callbacks.figures import CallbackFigures
from vespera_agents.store import StoreStatistics
from vespera_agents.work.models import TaskStatus

__all__ = [
    "actor_values",
    "backlog_values",
    "callback_values",
    "context_values",
    "life_values",
    "loop_values",
    "request_values",
    "store_values",
    "supervision_values",
    "task_values",
]

Facts = Mapping[str, str | int | float]


def actor_values(statistics: SystemStatistics) -> dict[str, Values]:
    """Measure the actors and their mailboxes."""
    kinds = [((declared_kind(name),), kind) for name, kind in statistics.kinds.items()]

    def by_kind(read: Callable[[KindStatistics], float]) -> Values:
        return _summed((label, read(kind)) for label, kind in kinds)

    def by_two(read: Callable[[KindStatistics], Iterable[tuple[str, int]]]) -> Values:
        return _summed(((*label, value), count) for label, kind in kinds for value, count in read(kind))

    def largest(read: Callable[[KindStatistics], float]) -> Values:
        return _largest((label, read(kind)) for label, kind in kinds)

    def timed(read: Callable[[KindStatistics], HistogramSnapshot]) -> Values:
        found: dict[tuple[str, ...], list[HistogramSnapshot]] = {}
        for label, kind in kinds:
            found.setdefault(label, []).append(read(kind))
        return {label: merged(snapshots) for label, snapshots in found.items()}

    return {
        "vespera_actors": by_two(lambda kind: kind.actors.items()),
        "vespera_actor_starts_total": by_kind(lambda kind: kind.starts),
        "vespera_actor_stops_total": by_two(lambda kind: kind.stops.items()),
        "vespera_actor_init_duration_seconds": timed(lambda kind: kind.init_duration),
        "vespera_actor_busy_seconds_max": largest(lambda kind: kind.busy_seconds_max),
        "vespera_actor_messages_total": by_two(lambda kind: kind.messages.items()),
        "vespera_actor_message_duration_seconds": timed(lambda kind: kind.message_duration),
        "vespera_ask_duration_seconds": timed(lambda kind: kind.ask_duration),
        "vespera_ask_timeouts_total": by_kind(lambda kind: kind.ask_timeouts),
        "vespera_unhandled_messages_total": by_kind(lambda kind: kind.unhandled),
        "vespera_mailbox_messages": by_kind(lambda kind: kind.mailbox_messages),
        "vespera_mailbox_fill_ratio_max": largest(lambda kind: kind.mailbox_fill_ratio_max),
        "vespera_mailbox_oldest_message_age_seconds": largest(lambda kind: kind.mailbox_oldest_age_seconds),
        "vespera_mailbox_wait_seconds": timed(lambda kind: kind.mailbox_wait),
        "vespera_mailbox_dropped_total": by_two(lambda kind: kind.drops.items()),
        "vespera_dead_letters_total": by_two(lambda kind: kind.dead_letters.items()),
    }


def supervision_values(figures: SupervisionFigures, view: LoopView) -> dict[str, Values]:
    """Measure the supervisors."""
    return {
        "vespera_start_time_seconds": {(): figures.started_at},
        "vespera_supervisor_restarts_total": figures.restarts.snapshot(),
        "vespera_supervisor_escalations_total": _single(figures.escalations.snapshot()),
        "vespera_supervisor_intensity_exhausted_total": _single(figures.exhausted.snapshot()),
        "vespera_supervisor_intensity_used_ratio": _single(view.used_ratios),
        "vespera_supervisor_backoff_children": _single(view.backoffs),
        "vespera_supervisor_restart_duration_seconds": {
            (kind,): histogram.snapshot() for kind, histogram in figures.restart_seconds.items()
        },
    }


def loop_values(loop: LoopStatistics, view: LoopView) -> dict[str, Values]:
    """Measure the event loop, as its watchdog counts it and as it sees itself."""
    return {
        "vespera_loop_lag_seconds": {(): loop.lag},
        "vespera_loop_ticks_total": {(): loop.ticks},
        "vespera_loop_busy_seconds_total": {(): loop.busy_seconds},
        "vespera_loop_stalls_total": {(): loop.stalls},
        "vespera_loop_stall_seconds_total": {(): loop.stall_seconds},
        "vespera_trio_tasks_living": {(): view.tasks},
        "vespera_worker_threads_used": {(): view.threads},
    }


def context_values(
    facts: Iterable[Facts], limits: Mapping[str, int], counts: Iterable[ContextCounts] = ()
) -> dict[str, Values]:
    """Measure the contexts of specialists.

    Args:
        facts: what each living specialist says of itself.
        limits: by declared role, where nobody plays it.
        counts: what became of contexts, by role.
    """
    done = [(declared_specialist(one.role), one) for one in counts]
    known = [((declared_specialist(str(one["role"])),), one) for one in facts]
    largest = _largest((role, float(one["context_tokens_max"])) for role, one in known)
    return {
        "vespera_context_tokens_used_max": _largest((role, float(one["context_tokens"])) for role, one in known),
        "vespera_context_tokens_limit": {(role,): limit for role, limit in limits.items()} | largest,
        "vespera_context_fill_ratio_max": _largest(
            (role, float(one["context_tokens"]) / float(one["context_tokens_max"])) for role, one in known
        ),
        "vespera_context_compactions_total": _summed(
            ((role, outcome.value), number)
            for role, one in done
            for outcome, number in (
                (CompactionOutcome.SUCCEEDED, one.compactions + one.respawns),
                (CompactionOutcome.FAILED, one.failed),
            )
        ),
        "vespera_context_tokens_reclaimed_total": _summed(((role,), one.reclaimed_tokens) for role, one in done),
    }


def request_values(figures: RequestFigures) -> dict[str, Values]:
    """Measure what clients asked for."""
    return {
        "mcp_server_operation_duration_seconds": figures.durations.snapshots(),
        "vespera_mcp_requests_total": figures.calls.snapshot(),
        "vespera_mcp_in_flight": _single(dict(figures.in_flight)),
        "vespera_mcp_reconnects_total": _single(figures.reconnects.snapshot()),
    }


def life_values(sources: Sources, backlogs: Iterable[Backlog]) -> dict[str, Values]:
    """Measure the life of the server, and of those before it behind the same front."""
    known, lifecycle, admission, front = list(backlogs), sources.lifecycle, sources.admission, sources.front
    phase = lifecycle.phase(draining=admission.draining, prepared=admission.prepared_since is not None)
    generation = 1 if front is None else front.generation
    phases: dict[str, Histogram] = {}
    recovered = lifecycle.recovery_seconds
    for following, parts in (restart for one in known for restart in one.restarts):
        for name, seconds in parts:
            phases.setdefault(declared_phase(name), Histogram(PHASE_BOUNDS)).observe(seconds)
            if recovered is None and following == generation and name == TAKING_OVER:
                recovered = seconds
    took_over = lifecycle.served_at if generation > 1 else None
    return {
        "vespera_runtime_phase": {(phase.value,): 1},
        "vespera_front_generations_total": _summed(
            ((declared_reason(reason),), number) for one in known for reason, number in one.generations
        ),
        "vespera_shutdown_phase_duration_seconds": {(name,): each.snapshot() for name, each in phases.items()},
        "vespera_recovery_duration_seconds": {(): recovered or 0.0},
        "vespera_last_restart_timestamp_seconds": {(): took_over or 0.0},
    }


def task_values(figures: TaskFigures) -> dict[str, Values]:
    """Measure what became of tasks in this process."""
    return {
        "vespera_task_queue_wait_seconds": {(name,): each for name, each in figures.queue_wait.snapshots().items()},
        "vespera_task_duration_seconds": figures.duration.snapshots(),
        "vespera_tasks_finished_total": figures.finished.snapshot(),
    }


def backlog_values(backlogs: Iterable[Backlog], now: float) -> dict[str, Values]:
    """Measure the tasks of all workspaces at `now`, in seconds since the epoch."""
    known = list(backlogs)
    # A database may hold a status that only a newer version knows.
    statuses = frozenset(TaskStatus)
    return {
        "vespera_tasks": _summed(
            ((status, declared_specialist(role)), number)
            for one in known
            for status, role, number in one.counts
            if status in statuses
        ),
        "vespera_task_oldest_age_seconds": _largest(
            # A clock that was set back must not make an age negative.
            ((status,), max(0.0, now - since))
            for one in known
            for status, since in one.oldest
        ),
    }


def callback_values(backlogs: Iterable[Backlog], figures: Iterable[CallbackFigures], now: float) -> dict[str, Values]:
    """Measure the callbacks of all workspaces at `now`, in seconds since the epoch."""
    waiting, counted = list(backlogs), list(figures)
    since = min((one.callbacks_since for one in waiting if one.callbacks_since is not None), default=now)
    return {
        "vespera_callbacks_pending": {(): sum(one.callbacks for one in waiting)},
        "vespera_callback_oldest_pending_age_seconds": {(): max(0.0, now - since)},
        "vespera_callbacks_total": _single(
            {
                CallbackOutcome.DELIVERED.value: sum(one.delivered for one in counted),
                CallbackOutcome.FAILED.value: sum(one.failed for one in counted),
                CallbackOutcome.GIVEN_UP.value: sum(one.given_up for one in counted),
            }
        ),
        "vespera_callback_delivery_duration_seconds": {(): merged(one.attempt_seconds.snapshot() for one in counted)}
        if counted
        else {},
    }


def store_values(statistics: Iterable[StoreStatistics], size_bytes: int, scrape_errors: int) -> dict[str, Values]:
    """Measure the stores of all workspaces together.

    Args:
        statistics: one for each store.
        size_bytes: of all their database files.
        scrape_errors: backlogs that could not be read.
    """
    stores = list(statistics)
    errors = _summed((key, count) for store in stores for key, count in store.errors.items())
    return {
        "vespera_store_commit_duration_seconds": {
            (): merged(store.commit_duration_seconds.snapshot() for store in stores)
        },
        "vespera_store_commit_batch_size": {(): merged(store.commit_batch_size.snapshot() for store in stores)},
        "vespera_store_queue_depth": {(): sum(store.queue_depth for store in stores)},
        "vespera_store_size_bytes": {(): size_bytes},
        "vespera_store_errors_total": {**errors, ("scrape", "unavailable"): scrape_errors},
    }


def _summed(pairs: Iterable[tuple[tuple[str, ...], float]]) -> dict[tuple[str, ...], float]:
    totals: dict[tuple[str, ...], float] = {}
    for key, value in pairs:
        totals[key] = totals.get(key, 0) + value
    return totals


def _largest(pairs: Iterable[tuple[tuple[str, ...], float]]) -> dict[tuple[str, ...], float]:
    found: dict[tuple[str, ...], float] = {}
    for key, value in pairs:
        found[key] = max(found.get(key, value), value)
    return found


def _single(values: Mapping[str, float]) -> Values:
    return {(key,): value for key, value in values.items()}
