"""What the watchdog knows, as plain values: the figures of the loop, what blocked it, and who is stuck.

`LoopFigures` is written in the event loop alone and read from any thread; a reader sees values that may be one step
old, never torn ones. Nothing here looks at a clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, final

from supervisors import Histogram, HistogramSnapshot

__all__ = ["LAG_BOUNDS", "LoopFigures", "LoopStatistics", "Stall", "Wedged"]

LAG_BOUNDS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
"""In seconds: from a loop with nothing to do to one that clients give up on."""


@final
@dataclass(frozen=True, slots=True)
class Stall:
    """One tick of the loop that took too long, and what was running meanwhile."""

    at: float
    """When it began, in seconds since the epoch."""
    seconds: float
    """How long it took; of one that goes on, how long until now."""
    task: str | None
    """The name of the trio task that ran when it was looked at; None where that could not be found out."""
    actor: str | None
    """The actor in whose handler, or in a task of whose handler, that was; None where it was no actor's."""
    stack: tuple[str, ...]
    """`file:line in function`, outermost first, below the frames of trio; empty where nobody came to look."""
    line: str | None
    """The innermost of them that is not a library's or the runtime's: where to look first. Where most of the time went
    into collecting garbage, it says so before."""
    starved_seconds: float = 0.0
    """The part of it in which the machine gave us no processor, as far as the system tells."""


@final
@dataclass(frozen=True, slots=True)
class Wedged:
    """An actor that does not get on."""

    actor: str
    """Its name."""
    kind: str
    """Its class name."""
    what: Literal["busy", "mailbox"]
    """Its handler takes longer than it may; or mail waits and nothing is handled."""
    since_seconds: float
    """For how long now."""
    limit_seconds: float
    """What it was allowed."""
    await_stack: tuple[str, ...]
    """Where it waits: `file:line in function`, outermost first."""


@final
@dataclass(frozen=True, slots=True)
class LoopStatistics:
    """The figures of a loop at one moment."""

    ticks: int
    """How often it looked for what is ready, and ran that."""
    busy_seconds: float
    """Spent in tasks."""
    idle_seconds: float
    """Spent waiting for something to do."""
    stalls: int
    """Ticks that blocked it for longer than the threshold."""
    stall_seconds: float
    """What those took."""
    starved_seconds: float
    """Of ticks longer than the threshold, the part in which the machine gave us no processor."""
    lag: HistogramSnapshot
    """Seconds by which something due would have been late: asked every 10 ms."""


@final
class LoopFigures:
    """The live numbers of one loop; they only grow."""

    __slots__ = ("busy_seconds", "idle_seconds", "lag", "stall_seconds", "stalls", "starved_seconds", "ticks")

    def __init__(self) -> None:
        """Start at zero."""
        self.ticks = 0
        """How often it looked for what is ready, and ran that."""
        self.busy_seconds = 0.0
        """Spent in tasks."""
        self.idle_seconds = 0.0
        """Spent waiting for something to do."""
        self.stalls = 0
        """Ticks that blocked it for longer than the threshold."""
        self.stall_seconds = 0.0
        """What those took."""
        self.starved_seconds = 0.0
        """Of ticks longer than the threshold, the part in which the machine gave us no processor."""
        self.lag = Histogram(LAG_BOUNDS)
        """Seconds by which something due would have been late: asked every 10 ms."""

    def statistics(self) -> LoopStatistics:
        """Return a picture of now."""
        return LoopStatistics(
            self.ticks,
            self.busy_seconds,
            self.idle_seconds,
            self.stalls,
            self.stall_seconds,
            self.starved_seconds,
            self.lag.snapshot(),
        )
