"""What a supervisor counts: `Figures` while it runs, `SupervisorStatistics` for whoever asks.

Plain numbers only; turning them into metrics is the business of whoever collects them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from supervisors.counting import Histogram, HistogramSnapshot, Tally
from supervisors.exits import ExitKind

if TYPE_CHECKING:
    from supervisors.children import ChildCounts


@final
class Figures:
    """The live numbers of one supervisor; grows only, except `zombies`."""

    __slots__ = (
        "escalations",
        "fenced",
        "forced",
        "hung",
        "ignored",
        "restart_seconds",
        "restarts",
        "start_failures",
        "starts",
        "zombies",
    )

    def __init__(self) -> None:
        self.starts = 0
        self.start_failures = 0
        self.ignored = 0
        self.restarts: Tally[ExitKind] = Tally()
        self.restart_seconds = Histogram()
        self.escalations = 0
        self.forced = 0
        self.hung = 0
        self.fenced = 0
        self.zombies = 0


@final
@dataclass(frozen=True, slots=True)
class SupervisorStatistics:
    """The numbers of one supervisor at one moment."""

    supervisor: str
    """Its name."""
    state: str
    """new, starting, running, stopping or stopped."""
    children: ChildCounts
    """Its children by kind, grandchildren not included."""
    starts: int
    """Children that became ready, restarts included."""
    start_failures: int
    """Starts that ended in an error or ran out of time."""
    ignored: int
    """Starts answered with Ignore."""
    restarts: Mapping[ExitKind, int]
    """Restarts by the exit that led to each; a group counts once, each retry once more."""
    restart_seconds: HistogramSnapshot
    """From a child's end to its being ready again, retries included."""
    intensity_used_ratio: float
    """How full the restart window is now: at 1.0 the next restart is one too many."""
    escalations: int
    """Times it gave up: too many restarts, or an interrupt passed up."""
    forced: int
    """Incarnations stopped by force because they went on past their time."""
    hung: int
    """Incarnations stopped because they broke their promise of a beat."""
    fenced: int
    """Incarnations cut off because not even force stopped them."""
    zombies: int
    """Those of them whose task is still running."""
    listener_failures: int
    """Times the listener, or a watch, raised."""
