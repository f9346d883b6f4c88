"""What a stream of the event bus has not read yet: a bounded buffer with three priorities, and who waits for room.

A pure data structure: it has no task, no clock and no names, and counts nothing. `stream` parks its reader
and counts what `put` says was lost, `pending_send` parks its waiting publishers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from enum import IntEnum, unique
from typing import Generic, TypeVar, final

from vespera_agents.actors.mailbox import Overflow
from vespera_agents.actors.statistics import DropReason

Event = TypeVar("Event")


@unique
class EventPriority(IntEnum):
    """Which of a subscriber's unread events it reads first. Within one priority it reads them as they were published.

    It has no meaning for an actor that subscribed: its mailbox keeps the order in which mail comes.
    """

    LOW = 0
    """Read when nothing else is unread; the first to be lost when the buffer is full."""
    NORMAL = 1
    """What an event has that is given no other."""
    URGENT = 2
    """Read before the others; the last to be lost."""


@final
class WaitingEvent(Generic[Event]):
    """An event whose publisher waits until there is room for it."""

    __slots__ = ("event", "priority", "settle")

    def __init__(self, event: Event, priority: EventPriority, settle: Callable[[], None]) -> None:
        self.event = event
        """What is to go in."""
        self.priority = priority
        """Its priority, in the buffer and in the line before it."""
        self.settle = settle
        """Called by whoever let it in, or knows that it never will be."""


@final
class EventBuffer(Generic[Event]):
    """Replayed events first, then three lanes, the most urgent first.

    `capacity` bounds the lanes together. Replayed events lie beside them, bounded by what the bus keeps: they take no
    room from live ones, so a replay never begins with a loss.
    """

    __slots__ = ("capacity", "depth", "lanes", "overflow", "replayed", "waiting")

    def __init__(self, capacity: int, overflow: Overflow) -> None:
        self.capacity = capacity
        """Room in the lanes, at least 1."""
        self.overflow = overflow
        """Who loses when there is none."""
        self.depth = 0
        """Events in the lanes."""
        self.lanes: tuple[deque[Event], ...] = tuple(deque[Event]() for _ in EventPriority)
        """Unread events by priority, each lane oldest first."""
        self.replayed: deque[Event] = deque()
        """Unread events from before the subscription, oldest first."""
        self.waiting: list[WaitingEvent[Event]] = []
        """Events that wait for room, oldest first. While there are any, the lanes are full."""

    def __len__(self) -> int:
        """Count the unread events."""
        return self.depth + len(self.replayed)

    @property
    def has_events(self) -> bool:
        """Whether there is anything to take."""
        return self.depth > 0 or bool(self.replayed)

    def put(self, event: Event, priority: EventPriority) -> DropReason | None:
        """Put an event in without waiting; return why one was lost, the new one or another, or None.

        A full buffer under WAIT or REJECT refuses the new event: REJECTED. Under the dropping rules the lowest
        priority among the unread and the new one loses an event: its oldest (OLDEST) or its newest (NEWEST).
        """
        if self.depth < self.capacity:
            self.lanes[priority].append(event)
            self.depth += 1
            return None
        overflow = self.overflow
        if overflow is Overflow.WAIT or overflow is Overflow.REJECT:
            return DropReason.REJECTED
        lowest = next(level for level, lane in enumerate(self.lanes) if lane)
        if overflow is Overflow.DROP_OLDEST:
            if lowest <= priority:
                self.lanes[lowest].popleft()
                self.lanes[priority].append(event)
            return DropReason.OLDEST
        if lowest < priority:
            self.lanes[lowest].pop()
            self.lanes[priority].append(event)
        return DropReason.NEWEST

    def replay(self, events: Iterable[Event]) -> None:
        """Put events from before the subscription in; they are read before all others."""
        self.replayed.extend(events)

    def take(self) -> Event:
        """Take the next event out. Call `admit` afterwards while any wait.

        Raises:
            IndexError: There is none.
        """
        if self.replayed:
            return self.replayed.popleft()
        for lane in reversed(self.lanes):
            if lane:
                self.depth -= 1
                return lane.popleft()
        raise IndexError("The buffer is empty: look at its length first.")

    def wait(self, waiting: WaitingEvent[Event]) -> None:
        """Put an event in the line for room; the buffer is full."""
        self.waiting.append(waiting)

    def withdraw(self, waiting: WaitingEvent[Event]) -> None:
        """Take an event out of the line."""
        self.waiting.remove(waiting)

    def clear(self) -> list[WaitingEvent[Event]]:
        """Forget all unread events, and return those that wait."""
        for lane in (self.replayed, *self.lanes):
            lane.clear()
        self.depth = 0
        waiting, self.waiting = self.waiting, []
        return waiting

    def admit(self) -> WaitingEvent[Event] | None:
        """Let one waiting event in, if there is room: the most urgent, of these the one that has waited longest."""
        if not self.waiting or self.depth >= self.capacity:
            return None
        first = max(self.waiting, key=lambda waiting: waiting.priority)
        self.waiting.remove(first)
        self.lanes[first.priority].append(first.event)
        self.depth += 1
        return first
