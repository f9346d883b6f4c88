"""The frozen pictures of an event bus: what was published, who got it, and what was lost where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from vespera_agents.actors.statistics import DropReason


@final
@dataclass(frozen=True, slots=True)
class SubscriptionStatistics:
    """One subscription at one moment: `offered + replayed == delivered + dropped_total + unread`."""

    name: str
    """The actor's name, or what the stream was called."""
    topics: tuple[str, ...]
    """The classes that were asked for."""
    is_open: bool
    """Whether events still come."""
    offered: int
    """Events published since it began; one that waits for room is not in it yet."""
    replayed: int
    """Events from before it began."""
    delivered: int
    """Events that the reader took, or the actor's mailbox let in (what became of them is in its own statistics)."""
    dropped: Mapping[DropReason, int]
    """Events that it did not get, by reason. Under REJECTED, also those of a `send` that was cancelled."""
    unread: int
    """Events in its buffer; of a subscription that has ended, those that nobody will read."""
    waiting_publishers: int
    """Events of `send` that wait for room in its buffer."""
    capacity: int | None
    """Events its buffer holds; None for an actor, whose mailbox has a capacity of its own."""

    @property
    def dropped_total(self) -> int:
        """Events that it did not get."""
        return sum(self.dropped.values())


@final
@dataclass(frozen=True, slots=True)
class TopicStatistics:
    """One class of events."""

    published: int
    """Events of exactly this class."""
    subscribers: int
    """Who gets them now, each counted once."""
    kept: int
    """Events of exactly this class that can be replayed."""


@final
@dataclass(frozen=True, slots=True)
class BusStatistics:
    """A whole bus. The totals include subscriptions that have ended, and only grow."""

    published: int
    """Events that were published."""
    delivered: int
    """Events that subscribers took; one event counts once for each."""
    dropped: Mapping[DropReason, int]
    """Events that subscribers did not get, by reason."""
    abandoned: int
    """Events that were unread when their subscriptions ended."""
    subscriptions: tuple[SubscriptionStatistics, ...]
    """Those that are open, the oldest first."""
    topics: Mapping[str, TopicStatistics]
    """By module and name of the class; classes of which nothing was published are not in it."""
