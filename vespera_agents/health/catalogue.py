"""The catalogue: every metric family that is exposed, with its type, labels and meaning.

Only families whose numbers are measured now are in it. Each label lists its values, so the series of a family are
known beforehand. Not here: where a value comes from (`measuring`), how it is written (`exposition`). The same table
for people is docs/metrics.md; a test holds the two together.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum, unique
from itertools import product
from math import prod
from typing import Final, final

from supervisors import ChildType
from vespera_agents.actors import ActorState, DeadLetterReason, DropReason, MessageOutcome, StopReason
from vespera_agents.health.labels import ACTOR_KINDS, SPECIALISTS, SUPERVISORS
from vespera_agents.health.reports import RESTART_REASONS
from vespera_agents.health.task_figures import TASK_SECONDS_BOUNDS, TaskOutcome
from vespera_agents.work.machine import LIVE
from vespera_agents.work.models import TaskStatus

__all__ = ["CATALOGUE", "Label", "MetricFamily", "MetricKind"]

SECONDS_BOUNDS: Final = (0.0001, 0.001, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0)
"""Exposed buckets of what actors and supervisors time: ten of those that the hot paths count in."""
COMMIT_BOUNDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5)
BATCH_BOUNDS: Final = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0)


@unique
class MetricKind(StrEnum):
    """Prometheus types."""

    COUNTER = "counter"
    """Only grows; its name ends in _total."""
    GAUGE = "gauge"
    """How it is now."""
    HISTOGRAM = "histogram"
    """Observations in buckets, their number and their sum."""


@final
@dataclass(frozen=True, slots=True)
class Label:
    """A label and all of its values."""

    name: str
    """The label's name."""
    values: tuple[str, ...]
    """Every value that it can have; empty where the process knows its one value only at run time."""


@final
@dataclass(frozen=True, slots=True)
class MetricFamily:
    """One family of the exposition."""

    name: str
    """As a query writes it: prefix, base unit, and for counters _total."""
    kind: MetricKind
    """Its Prometheus type."""
    help: str
    """What it means, in one sentence."""
    labels: tuple[Label, ...] = ()
    """In the order in which values are keyed."""
    unit: str = ""
    """seconds, bytes or ratio; empty for plain numbers."""
    bounds: tuple[float, ...] = ()
    """Histograms: the finite upper bounds that are exposed."""

    @property
    def label_names(self) -> tuple[str, ...]:
        """The names of its labels."""
        return tuple(label.name for label in self.labels)

    @property
    def label_sets(self) -> tuple[tuple[str, ...], ...]:
        """Every combination of its label values: all of them are exposed from the first scrape on."""
        return tuple(product(*(label.values for label in self.labels)))

    @property
    def series(self) -> int:
        """How many series it has in the exposition."""
        per_set = len(self.bounds) + 3 if self.kind is MetricKind.HISTOGRAM else 1
        return per_set * prod(max(1, len(label.values)) for label in self.labels)


def _counter(name: str, help_: str, *labels: Label) -> MetricFamily:
    return MetricFamily(f"vespera_{name}", MetricKind.COUNTER, help_, labels)


def _gauge(name: str, help_: str, *labels: Label) -> MetricFamily:
    unit = next((unit for unit in ("seconds", "bytes", "ratio") if f"_{unit}" in name), "")
    return MetricFamily(f"vespera_{name}", MetricKind.GAUGE, help_, labels, unit)


def _seconds(name: str, help_: str, *labels: Label, bounds: tuple[float, ...] = SECONDS_BOUNDS) -> MetricFamily:
    return MetricFamily(f"vespera_{name}", MetricKind.HISTOGRAM, help_, labels, "seconds", bounds)


_KIND = Label("kind", ACTOR_KINDS)
_SUPERVISOR = Label("supervisor", SUPERVISORS)
_CHILD = Label("kind", tuple(ChildType))
_SPECIALIST = Label("specialist", SPECIALISTS)
_OUTCOME = Label("outcome", tuple(TaskOutcome))

_RUNTIME: Final = (
    _gauge(
        "build_info",
        "Always 1; the labels say which versions run.",
        Label("version", ()),
        Label("python", ()),
        Label("trio", ()),
    ),
    _gauge("start_time_seconds", "When this process began to run a tree, in seconds since the epoch."),
)
_ACTORS: Final = (
    _gauge(
        "actors",
        "Living actors by state.",
        _KIND,
        Label("state", tuple(state for state in ActorState if state is not ActorState.STOPPED)),
    ),
    _counter("actor_starts_total", "Incarnations of actors that became ready.", _KIND),
    _counter("actor_stops_total", "Incarnations of actors that ended.", _KIND, Label("reason", tuple(StopReason))),
    _seconds("actor_init_duration_seconds", "From an actor's construction to its being ready.", _KIND),
    _gauge("actor_busy_seconds_max", "The longest that any message now in hand has been in hand.", _KIND),
    _counter(
        "actor_messages_total",
        "Messages taken out of mailboxes, by what became of them.",
        _KIND,
        Label("outcome", tuple(MessageOutcome)),
    ),
    _seconds("actor_message_duration_seconds", "Time in a message's receiver; a sample of all messages.", _KIND),
    _seconds("ask_duration_seconds", "From an ask to its answer, of the asks that were answered.", _KIND),
    _counter("ask_timeouts_total", "Asks whose caller gave up.", _KIND),
    _counter("unhandled_messages_total", "Messages that their receiver's class does not know.", _KIND),
)
_MAILBOXES: Final = (
    _gauge("mailbox_messages", "User messages in all mailboxes now.", _KIND),
    _gauge("mailbox_fill_ratio_max", "How full the fullest mailbox is, 0 to 1.", _KIND),
    _gauge("mailbox_oldest_message_age_seconds", "The longest that a message now in a mailbox has waited.", _KIND),
    _seconds("mailbox_wait_seconds", "Time in a mailbox; a sample of all messages.", _KIND),
    _counter(
        "mailbox_dropped_total", "Messages that a full mailbox did not keep.", _KIND, Label("reason", tuple(DropReason))
    ),
    _counter(
        "dead_letters_total",
        "Messages that nobody worked off to the end.",
        _KIND,
        Label("reason", tuple(DeadLetterReason)),
    ),
)
_SUPERVISORS: Final = (
    _counter(
        "supervisor_restarts_total",
        "Restarts of children, failed attempts included, by the end that led to each.",
        _SUPERVISOR,
        _CHILD,
        Label("reason", RESTART_REASONS),
    ),
    _counter("supervisor_escalations_total", "Failures that a supervisor passed up, giving up included.", _SUPERVISOR),
    _counter(
        "supervisor_intensity_exhausted_total",
        "Times that a supervisor gave up, because one restart was too many.",
        _SUPERVISOR,
    ),
    _gauge(
        "supervisor_intensity_used_ratio",
        "How much of its allowed restarts the worst supervisor has used: at 1 the next is too many.",
        _SUPERVISOR,
    ),
    _seconds("supervisor_restart_duration_seconds", "From a child's end to its being ready again.", _CHILD),
)
_TASKS: Final = (
    _gauge("tasks", "Tasks in the database, containers aside.", Label("status", tuple(TaskStatus)), _SPECIALIST),
    _gauge(
        "task_oldest_age_seconds",
        "How long the task that has waited longest in a status has been there; 0 where there is none.",
        Label("status", tuple(status for status in TaskStatus if status in LIVE)),
    ),
    _seconds(
        "task_queue_wait_seconds",
        "From a task's creation to its first claim.",
        _SPECIALIST,
        bounds=TASK_SECONDS_BOUNDS,
    ),
    _seconds(
        "task_duration_seconds",
        "From a task's claim to its end.",
        _SPECIALIST,
        _OUTCOME,
        bounds=TASK_SECONDS_BOUNDS,
    ),
    _counter("tasks_finished_total", "Ends of tasks that this process committed.", _SPECIALIST, _OUTCOME),
)
_STORE: Final = (
    _seconds("store_commit_duration_seconds", "Time of one group commit.", bounds=COMMIT_BOUNDS),
    MetricFamily(
        "vespera_store_commit_batch_size", MetricKind.HISTOGRAM, "Commands in one group commit.", bounds=BATCH_BOUNDS
    ),
    _gauge("store_queue_depth", "Commands that wait for the writer."),
    _gauge("store_size_bytes", "Database files of the open workspaces, with their write-ahead logs."),
    _counter(
        "store_errors_total",
        "Failures of the database, by what it was asked for.",
        Label("operation", ("commit", "read", "scrape")),
        Label("reason", ("unavailable",)),
    ),
)

CATALOGUE: Final[tuple[MetricFamily, ...]] = (*_RUNTIME, *_ACTORS, *_MAILBOXES, *_SUPERVISORS, *_TASKS, *_STORE)
"""Every family, in the order of the exposition."""
