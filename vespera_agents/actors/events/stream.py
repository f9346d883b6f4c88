"""A task's subscription to the event bus: a block, a bounded buffer of its own, and an `async for`.

How unread events lie in memory is the business of `buffer`; which events come, and from when on, that of `bus`.
An actor subscribes through `subscriptions` instead.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Generic, Self, TypeVar, cast, final

from trio.lowlevel import (
    Abort,
    RaiseCancelT,
    Task,
    checkpoint,
    checkpoint_if_cancelled,
    current_task,
    reschedule,
    wait_task_rescheduled,
)

from supervisors.counting import Tally
from vespera_agents.actors.errors import SubscriptionEnded, SubscriptionInUse
from vespera_agents.actors.events.buffer import EventBuffer, EventPriority, WaitingEvent
from vespera_agents.actors.events.pending_send import PendingSend
from vespera_agents.actors.events.statistics import SubscriptionStatistics
from vespera_agents.actors.events.topics import topic_name
from vespera_agents.actors.mailbox import Overflow
from vespera_agents.actors.statistics import DropReason

Event_co = TypeVar("Event_co", covariant=True)

_READS_MAX: Final = 100
"""Events that a reader takes before other tasks get a turn, as an actor with its mail."""


@final
class EventStream(Generic[Event_co]):
    """A task's subscription: `with bus.subscribe(Saved) as events: async for event in events: ...`.

    It begins where the block begins and ends where the block ends. One task reads it at a time.
    """

    __slots__ = (
        "_abandoned", "_begin", "_buffer", "_delivered", "_dropped", "_has_begun", "_left", "_offered", "_reader",
        "_reads", "_replayed", "is_open", "key", "name", "replay_count", "types",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        types: tuple[type, ...],
        *,
        capacity: int,
        overflow: Overflow,
        replay: int,
        begin: Callable[[EventStream[object]], None],
        left: Callable[[EventStream[object]], None],
    ) -> None:
        self.name = name
        """What it is called in statistics."""
        self.types = types
        """The topics."""
        self.replay_count = replay
        """How many events from before its beginning it asks for."""
        self.key: object = self
        """Who this is: each stream is a subscriber of its own."""
        self.is_open = False
        """Whether events still come."""
        self._buffer: EventBuffer[object] = EventBuffer(capacity, overflow)
        self._begin = begin
        self._left = left
        self._has_begun = False
        self._reader: Task | None = None
        self._reads = 0
        self._offered = 0
        self._replayed = 0
        self._delivered = 0
        self._abandoned = 0
        self._dropped: Tally[DropReason] = Tally(DropReason)

    # Beginning and ending -------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        """Begin: events that are published from now on come, after those that are replayed."""
        if self._has_begun:
            raise SubscriptionEnded(self.name)
        self._begin(self)
        self._has_begun = True
        return self

    def __exit__(self, *_error: object) -> None:
        self.cancel()

    def cancel(self) -> None:
        """End it at once: what is unread is forgotten, `async for` ends. Idempotent, also in mid-publish."""
        self.close()
        if not self._has_begun:
            return
        self._abandoned += len(self._buffer)
        for waiting in self._buffer.clear():
            waiting.settle()
        self._left(self)

    def open(self, replayed: list[object], *, is_open: bool) -> None:
        """Take what came before. The bus calls this when the block begins; a closed bus has nothing more to come."""
        self.is_open = is_open
        self._replayed = len(replayed)
        self._buffer.replay(replayed)

    def close(self) -> None:
        """Let the reader take what is unread, and then end."""
        self.is_open = False
        for waiting in self._buffer.waiting:
            waiting.settle()
        self._buffer.waiting.clear()
        self._wake()

    # Reading --------------------------------------------------------------------------------------------------------

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event_co:
        try:
            return await self.receive()
        except SubscriptionEnded:
            raise StopAsyncIteration from None

    async def receive(self) -> Event_co:
        """Return the next event, waiting for one. Cancelled: none was taken.

        Raises:
            SubscriptionEnded: Nothing will come any more.
            SubscriptionInUse: Another task is waiting for the next event.
        """
        buffer = self._buffer
        if buffer.has_events:
            if self._reads < _READS_MAX:
                await checkpoint_if_cancelled()
            else:
                self._reads = 0
                await checkpoint()
        while not buffer.has_events:
            if not self.is_open:
                raise SubscriptionEnded(self.name)
            if self._reader is not None:
                raise SubscriptionInUse(self.name)
            self._reads = 0
            self._reader = current_task()
            await wait_task_rescheduled(self._forget_reader)
        self._reads += 1
        return self._take()

    def take_all(self) -> list[Event_co]:
        """Take all that is unread now, without waiting: for readers that look from time to time."""
        taken: list[Event_co] = []
        while self._buffer.has_events:
            taken.append(self._take())
        return taken

    # The bus's side -------------------------------------------------------------------------------------------------

    def offer(self, event: object, priority: EventPriority, pending: PendingSend | None) -> bool:
        """Put an event in; False if it was refused. With `pending`, a full buffer under WAIT is waited for."""
        if not self.is_open:
            return True
        buffer = self._buffer
        reason = buffer.put(event, priority)
        if reason is None:
            self._offered += 1
            reader = self._reader
            if reader is not None:
                # Forgotten before it is rescheduled: trio dies on a second reschedule of the same task.
                self._reader = None
                reschedule(reader)
            return True
        if pending is not None and buffer.overflow is Overflow.WAIT:
            waiting = WaitingEvent(event, priority, lambda: pending.settle(self))
            pending.streams[self] = waiting
            buffer.wait(waiting)
            return True
        self._offered += 1
        self._dropped.increment(reason)
        return reason is not DropReason.REJECTED

    def withdraw(self, waiting: WaitingEvent[object]) -> None:
        """Take an event out of the line: its publisher waits no longer."""
        self._buffer.withdraw(waiting)
        self._offered += 1
        self._dropped.increment(DropReason.REJECTED)

    def statistics(self) -> SubscriptionStatistics:
        """Return a picture of it as it is now."""
        return SubscriptionStatistics(
            name=self.name,
            topics=tuple(topic_name(each) for each in self.types),
            is_open=self.is_open,
            offered=self._offered,
            replayed=self._replayed,
            delivered=self._delivered,
            dropped=self._dropped.snapshot(),
            unread=self._abandoned + len(self._buffer),
            waiting_publishers=len(self._buffer.waiting),
            capacity=self._buffer.capacity,
        )

    # Below ----------------------------------------------------------------------------------------------------------

    def _take(self) -> Event_co:
        buffer = self._buffer
        event = buffer.take()
        self._delivered += 1
        if buffer.waiting:
            admitted = buffer.admit()
            if admitted is not None:
                self._offered += 1
                admitted.settle()
        return cast("Event_co", event)

    def _wake(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reschedule(reader)

    def _forget_reader(self, _raise_cancel: RaiseCancelT) -> Abort:
        self._reader = None
        return Abort.SUCCEEDED
