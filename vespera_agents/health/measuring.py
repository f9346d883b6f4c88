"""From statistics to the values of the catalogue's families, one function for each part of the system.

Each takes plain pictures and gives values by family name and label values, with names that nobody declared folded
into "other". Pure: who takes the pictures, and when, is `collector`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from supervisors import HistogramSnapshot
from vespera_agents.actors import KindStatistics, SystemStatistics
from vespera_agents.health.backlog import Backlog
from vespera_agents.health.exposition import Values, merged
from vespera_agents.health.labels import declared_kind, declared_specialist
from vespera_agents.health.reports import SupervisionFigures
from vespera_agents.health.task_figures import TaskFigures
from vespera_agents.store import StoreStatistics
from vespera_agents.work.models import TaskStatus

__all__ = ["actor_values", "backlog_values", "store_values", "supervision_values", "task_values"]


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


def supervision_values(figures: SupervisionFigures, used_ratios: Mapping[str, float]) -> dict[str, Values]:
    """Measure the supervisors; `used_ratios` are their restart windows by declared name."""
    return {
        "vespera_start_time_seconds": {(): figures.started_at},
        "vespera_supervisor_restarts_total": figures.restarts.snapshot(),
        "vespera_supervisor_escalations_total": _single(figures.escalations.snapshot()),
        "vespera_supervisor_intensity_exhausted_total": _single(figures.exhausted.snapshot()),
        "vespera_supervisor_intensity_used_ratio": _single(used_ratios),
        "vespera_supervisor_restart_duration_seconds": {
            (kind,): histogram.snapshot() for kind, histogram in figures.restart_seconds.items()
        },
    }


def task_values(figures: TaskFigures) -> dict[str, Values]:
    """Measure what became of tasks in this process."""
    return {
        "vespera_task_queue_wait_seconds": {(name,): waits.snapshot() for name, waits in figures.queue_wait.items()},
        "vespera_task_duration_seconds": {key: seconds.snapshot() for key, seconds in figures.duration.items()},
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
