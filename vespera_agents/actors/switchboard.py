"""What the actors of one system share: the clock, the deadlines, who waits for whom, dead letters and the counters.

It has no life of its own: `system` owns it, endpoints and cells hold it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, final

from supervisors.timekeeper import Timekeeper
from vespera_agents.actors.asks import PendingAsk
from vespera_agents.actors.statistics import DeadLetter, KindCounts

if TYPE_CHECKING:
    from vespera_agents.actors.tracing import Tracing


@final
class Switchboard:
    """Shared state of one actor system."""

    __slots__ = (
        "clock", "dead_letters", "dead_letters_total", "free_asks", "is_closed", "kinds",
        "restart_grace_seconds", "snapshots", "timekeeper", "tracing",
    )  # fmt: skip

    def __init__(
        self,
        *,
        dead_letters_max: int,
        restart_grace_seconds: float,
        snapshots: Mapping[str, object] | None,
        tracing: Tracing | None,
    ) -> None:
        self.timekeeper = Timekeeper()
        """Deadlines of asks, timers, idle times."""
        self.clock = self.timekeeper.clock
        """Trio's clock."""
        self.free_asks: list[PendingAsk] = []
        """Answered asks, to be used again."""
        self.snapshots = dict(snapshots or {})
        """What actors of these names start from when they are first started: a hand-over."""
        self.tracing = tracing
        """What puts handlers inside spans; None where nobody collects them."""
        self.is_closed = False
        """Whether the system has ended: its actors take no mail and are not started again."""
        self.kinds: dict[str, KindCounts] = {}
        """Counters by class name."""
        self.dead_letters: deque[DeadLetter] = deque(maxlen=dead_letters_max)
        """The last dead letters."""
        self.dead_letters_total = 0
        """All dead letters ever."""
        self.restart_grace_seconds = restart_grace_seconds
        """How long mail is kept for an actor that crashed and has not been started again."""

    def counts_of(self, kind: str) -> KindCounts:
        """Return the counters of a kind, made when it is first seen."""
        counts = self.kinds.get(kind)
        if counts is None:
            counts = self.kinds[kind] = KindCounts(kind)
        return counts

    def bury(self, letter: DeadLetter) -> None:
        """Keep a dead letter, for as long as there is room, and count it."""
        self.dead_letters_total += 1
        self.counts_of(letter.kind).dead_letters.increment(letter.reason)
        self.dead_letters.append(letter)
