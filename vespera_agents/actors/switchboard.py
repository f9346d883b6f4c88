"""What the actors of one system share: the clock, the deadlines, who waits for whom, dead letters and the counters.

It has no life of its own: `system` owns it, endpoints and cells hold it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import final

from vespera_agents.actors.deadlines import Timekeeper
from vespera_agents.actors.statistics import DeadLetter, KindCounts
from vespera_agents.actors.waits import Waits


@final
class Switchboard:
    """Shared state of one actor system."""

    __slots__ = (
        "clock",
        "dead_letters",
        "dead_letters_total",
        "is_closed",
        "kinds",
        "restart_grace_seconds",
        "timekeeper",
        "waits",
    )

    def __init__(self, clock: Callable[[], float], *, dead_letters_max: int, restart_grace_seconds: float) -> None:
        self.clock = clock
        """Trio's clock."""
        self.is_closed = False
        """Whether the system has ended: its actors take no mail and are not started again."""
        self.timekeeper = Timekeeper(clock)
        """Deadlines of asks."""
        self.waits = Waits()
        """Who waits for whom."""
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
