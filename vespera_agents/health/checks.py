"""The health of a server: measurements, thresholds, and what follows from them. Pure.

Each reason names the component to blame, and the worst of them is the grade. Nothing here measures (`vitals`), and
every threshold stands in `Thresholds`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
    "StoreVital",
    "SupervisorVital",
    "Thresholds",
    "Verdict",
    "grade",
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
class StoreVital:
    """The store of one workspace."""

    workspace: str
    commit_seconds: float | None
    """What a synced commit took just now; None when it came to nothing."""
    problem: str | None
    """Why it came to nothing, or why the workspace is not running."""
    queue_depth: int
    """Commands that wait for the disk."""
    errors: int
    """Commits and reads that failed since the server began; shown, and no reason by themselves."""


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


@final
@dataclass(frozen=True, slots=True)
class Thresholds:
    """From where on a measurement is a reason: (degraded, unhealthy) each."""

    loop_lag_seconds: tuple[float, float] = (0.1, 1.0)
    commit_seconds: tuple[float, float] = (0.25, 2.0)
    queue_depth: tuple[float, float] = (1_000, 9_000)
    mailbox_fill_ratio: tuple[float, float] = (0.8, 1.0)
    intensity_used_ratio: tuple[float, float] = (0.7, 1.0)
    disk_free_bytes: tuple[float, float] = (512 * _MIB, 64 * _MIB)
    crashes_lately: tuple[float, float] = (3, 10)


@final
@dataclass(frozen=True, slots=True)
class Reason:
    """One thing that is not well."""

    grade: Grade
    component: str
    """Who is to blame: `loop`, `store <workspace>`, `mailbox <actor>`, ..."""
    what: str


@final
@dataclass(frozen=True, slots=True)
class Verdict:
    """How well a server is, and why."""

    grade: Grade
    reasons: tuple[Reason, ...]
    """The worst first."""


def grade(measured: Measurements, thresholds: Thresholds | None = None) -> Verdict:
    """Judge what was measured."""
    reasons = tuple(_reasons(measured, thresholds or Thresholds()))
    bad = tuple(one for one in reasons if one.grade is Grade.UNHEALTHY)
    rest = tuple(one for one in reasons if one.grade is Grade.DEGRADED)
    worst = Grade.UNHEALTHY if bad else Grade.DEGRADED if rest else Grade.HEALTHY
    return Verdict(worst, (*bad, *rest))


def _reasons(measured: Measurements, thresholds: Thresholds) -> Iterator[Reason]:
    lag = measured.loop_lag_seconds
    yield from _above(lag, thresholds.loop_lag_seconds, "loop", f"the event loop was {lag:.2f} s late")
    for store in measured.stores:
        name = f"store {store.workspace}"
        if store.problem is not None:
            yield Reason(Grade.UNHEALTHY, name, store.problem)
        if store.commit_seconds is not None:
            what = f"a commit took {store.commit_seconds:.2f} s"
            yield from _above(store.commit_seconds, thresholds.commit_seconds, name, what)
        what = f"{store.queue_depth} commands wait for the disk"
        yield from _above(store.queue_depth, thresholds.queue_depth, name, what)
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


def _front_reasons(front: FrontVital, thresholds: Thresholds) -> Iterator[Reason]:
    what = f"{front.crashes_lately} workers died lately"
    yield from _above(front.crashes_lately, thresholds.crashes_lately, "front", what)
    if front.failed is not None:
        yield Reason(Grade.DEGRADED, "front", f"the last restart failed: {front.failed}")


def _above(value: float, limits: tuple[float, float], component: str, what: str) -> Iterator[Reason]:
    degraded, unhealthy = limits
    if value >= unhealthy:
        yield Reason(Grade.UNHEALTHY, component, what)
    elif value >= degraded:
        yield Reason(Grade.DEGRADED, component, what)
