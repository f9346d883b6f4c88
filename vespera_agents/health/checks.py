"""The health of a server: measurements, thresholds, and what follows from them. Pure.

Each reason names the component to blame, and the worst of them is the grade. Nothing here measures (`vitals`), and
every threshold stands in `Thresholds`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum, unique
from typing import Final, final

__all__ = [
    "DiskVital",
    "FrontVital",
    "Grade",
    "MailboxVital",
    "Measurements",
    "Reason",
    "StallVital",
    "StoreVital",
    "SupervisorVital",
    "Thresholds",
    "Verdict",
    "WedgedVital",
    "grade",
    "worst_of",
]

_MIB: Final = 1024 * 1024


@unique
class Grade(StrEnum):
    """How well something is."""

    HEALTHY = "healthy"
    """Nothing is wrong."""
    DEGRADED = "degraded"
    """It works, and somebody should look."""
    UNHEALTHY = "unhealthy"
    """Something does not work, or will not in a moment."""


@final
@dataclass(frozen=True, slots=True)
class StallVital:
    """The longest time that the event loop was blocked lately."""

    seconds: float
    ago_seconds: float
    """Since its end; 0 while it goes on."""
    who: str | None
    """The actor or the task that blocked it, where that is known."""
    line: str | None
    """Where it was then."""


@final
@dataclass(frozen=True, slots=True)
class WedgedVital:
    """An actor that does not get on."""

    actor: str
    what: str
    """`busy`: one message is in hand for too long; `mailbox`: mail waits, and none is handled."""
    since_seconds: float
    limit_seconds: float
    """How long that may take."""


@final
@dataclass(frozen=True, slots=True)
class StoreVital:
    """The store of one workspace."""

    workspace: str
    commit_seconds: float | None
    """What a synced commit took just now; None when it came to nothing."""
    problem: str | None
    """Why it came to nothing."""
    queue_depth: int
    """Commands that wait for the disk."""
    errors: int
    """Commits and reads that failed since the server began; shown, and no reason by themselves."""
    runs: bool = True
    """Whether the workspace's part of the tree runs; if not, nothing else is known of it."""


@final
@dataclass(frozen=True, slots=True)
class MailboxVital:
    """One actor's mailbox."""

    actor: str
    fill_ratio: float
    """0 to 1."""


@final
@dataclass(frozen=True, slots=True)
class SupervisorVital:
    """One supervisor's restart window."""

    supervisor: str
    restarts_left: int
    """Restarts that it may still make within its period before it gives up."""
    used_ratio: float
    """How full the window is; at 1 the next restart is one too many."""


@final
@dataclass(frozen=True, slots=True)
class DiskVital:
    """The file system of one workspace."""

    workspace: str
    free_bytes: int


@final
@dataclass(frozen=True, slots=True)
class FrontVital:
    """The front that replaces this process when it has to be."""

    generation: int
    """Which of its workers we are."""
    crashes_lately: int
    """Workers that ended without being asked to, in the last minutes."""
    spare: bool | None
    """Whether a process waits to take over; None where it did not say."""
    restarting: str | None
    """The phase of a restart that is under way."""
    failed: str | None
    """Why the last restart came to nothing."""


@final
@dataclass(frozen=True, slots=True)
class Measurements:
    """Everything that was measured, at one moment."""

    loop_lag_seconds: float = 0.0
    stores: tuple[StoreVital, ...] = ()
    mailboxes: tuple[MailboxVital, ...] = ()
    supervisors: tuple[SupervisorVital, ...] = ()
    disks: tuple[DiskVital, ...] = ()
    providers: Mapping[str, str] = field(default_factory=dict[str, str])
    """The circuit of each model provider: closed, half_open or open."""
    front: FrontVital | None = None
    """None without a front."""
    stall: StallVital | None = None
    """None where the loop was not blocked lately, or nobody watches it."""
    wedged: tuple[WedgedVital, ...] = ()


@final
@dataclass(frozen=True, slots=True)
class Thresholds:
    """From where on a measurement is a reason: (degraded, unhealthy) each."""

    loop_lag_seconds: tuple[float, float] = (0.1, 1.0)
    """How late the event loop is now."""
    stall_seconds: tuple[float, float] = (0.5, 5.0)
    """For how long one task blocked it, within the last half minute."""
    wedged_ratio: tuple[float, float] = (1.0, 5.0)
    """How long an actor has not got on, in multiples of how long that may take."""
    commit_seconds: tuple[float, float] = (0.25, 2.0)
    queue_depth: tuple[float, float] = (1_000, 9_000)
    """Commands that wait for the disk."""
    mailbox_fill_ratio: tuple[float, float] = (0.8, 1.0)
    intensity_used_ratio: tuple[float, float] = (0.7, 1.0)
    """How full a supervisor's restart window is."""
    disk_free_bytes: tuple[float, float] = (512 * _MIB, 64 * _MIB)
    """The one measurement that is worse when it is smaller."""
    crashes_lately: tuple[float, float] = (3, 10)
    """Workers that ended without being asked to, within ten minutes."""


@final
@dataclass(frozen=True, slots=True)
class Reason:
    """One thing that is not well."""

    grade: Grade
    component: str
    """Who is to blame: what it is, and then its name, if it has one: `loop`, `store <workspace>`, `actor <name>`."""
    what: str

    @property
    def kind(self) -> str:
        """What is to blame, without its name: a word of ours, which tells strangers nothing."""
        return self.component.partition(" ")[0]

    @property
    def name(self) -> str:
        """The name of what is to blame; empty where it has none."""
        return self.component.partition(" ")[2]


@final
@dataclass(frozen=True, slots=True)
class Verdict:
    """How well a server is, and why."""

    grade: Grade
    reasons: tuple[Reason, ...]
    """The worst first."""
    at: float = 0.0
    """When it was found, in seconds since the epoch."""
    since: float = 0.0
    """Since when the grade is this one."""


def grade(measured: Measurements, thresholds: Thresholds | None = None, noted: Iterable[Reason] = ()) -> Verdict:
    """Judge what was measured.

    Args:
        measured: what was.
        thresholds: from where on it is a reason.
        noted: reasons that were found in another way, as by a component's own check.
    """
    return worst_of((*_reasons(measured, thresholds or Thresholds()), *noted))


def worst_of(reasons: Iterable[Reason]) -> Verdict:
    """Put reasons in order, and take the grade of the worst."""
    given = tuple(reasons)
    bad = tuple(one for one in given if one.grade is Grade.UNHEALTHY)
    rest = tuple(one for one in given if one.grade is Grade.DEGRADED)
    worst = Grade.UNHEALTHY if bad else Grade.DEGRADED if rest else Grade.HEALTHY
    return Verdict(worst, (*bad, *rest))


def _reasons(measured: Measurements, thresholds: Thresholds) -> Iterator[Reason]:
    yield from _loop_reasons(measured, thresholds)
    for store in measured.stores:
        yield from _store_reasons(store, thresholds)
    for mailbox in measured.mailboxes:
        what = f"its mailbox is {mailbox.fill_ratio:.0%} full"
        yield from _above(mailbox.fill_ratio, thresholds.mailbox_fill_ratio, f"mailbox {mailbox.actor}", what)
    for supervisor in measured.supervisors:
        what = f"it gives up after {supervisor.restarts_left} more restarts"
        name = f"supervisor {supervisor.supervisor}"
        yield from _above(supervisor.used_ratio, thresholds.intensity_used_ratio, name, what)
    for disk in measured.disks:
        degraded, unhealthy = thresholds.disk_free_bytes
        what = f"{disk.free_bytes / _MIB:.0f} MiB are free"
        yield from _above(-disk.free_bytes, (-degraded, -unhealthy), f"disk {disk.workspace}", what)
    if measured.front is not None:
        yield from _front_reasons(measured.front, thresholds)
    for provider, circuit in measured.providers.items():
        if circuit != "closed":
            yield Reason(Grade.DEGRADED, f"provider {provider}", f"its circuit is {circuit}")


def _loop_reasons(measured: Measurements, thresholds: Thresholds) -> Iterator[Reason]:
    lag = measured.loop_lag_seconds
    yield from _above(lag, thresholds.loop_lag_seconds, "loop", f"the event loop was {lag:.2f} s late")
    if measured.stall is not None:
        yield from _above(measured.stall.seconds, thresholds.stall_seconds, "loop", _told(measured.stall))
    for wedged in measured.wedged:
        ratio = wedged.since_seconds / wedged.limit_seconds
        doing = "one message is in hand" if wedged.what == "busy" else "mail waits and none is handled"
        what = f"{doing} for {wedged.since_seconds:.0f} s; {wedged.limit_seconds:.0f} s are allowed"
        yield from _above(ratio, thresholds.wedged_ratio, f"actor {wedged.actor}", what)


def _store_reasons(store: StoreVital, thresholds: Thresholds) -> Iterator[Reason]:
    name = f"store {store.workspace}"
    if not store.runs:
        what = "its part of the tree gave up. The next call to it starts it anew"
        yield Reason(Grade.UNHEALTHY, f"workspace {store.workspace}", what)
    if store.problem is not None:
        yield Reason(Grade.UNHEALTHY, name, store.problem)
    if store.commit_seconds is not None:
        what = f"a commit took {store.commit_seconds:.2f} s"
        yield from _above(store.commit_seconds, thresholds.commit_seconds, name, what)
    yield from _above(
        store.queue_depth, thresholds.queue_depth, name, f"{store.queue_depth} commands wait for the disk"
    )


def _front_reasons(front: FrontVital, thresholds: Thresholds) -> Iterator[Reason]:
    what = f"{front.crashes_lately} workers died lately"
    yield from _above(front.crashes_lately, thresholds.crashes_lately, "front", what)
    if front.failed is not None:
        yield Reason(Grade.DEGRADED, "front", f"the last restart failed: {front.failed}")


def _told(stall: StallVital) -> str:
    blocker = "somebody" if stall.who is None else stall.who
    place = "" if stall.line is None else f" at {stall.line}"
    if not stall.ago_seconds:
        return f"{blocker} has blocked it for {stall.seconds:.1f} s{place}"
    return f"{blocker} blocked it for {stall.seconds:.1f} s{place}, {stall.ago_seconds:.0f} s ago"


def _above(value: float, limits: tuple[float, float], component: str, what: str) -> Iterator[Reason]:
    degraded, unhealthy = limits
    if value >= unhealthy:
        yield Reason(Grade.UNHEALTHY, component, what)
    elif value >= degraded:
        yield Reason(Grade.DEGRADED, component, what)
