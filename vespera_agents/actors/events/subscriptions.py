"""An actor's subscription to the event bus: events are told to its mailbox, and it ends with the actor.

The mailbox bounds the events, by its own overflow rule; nothing is kept here. A task subscribes through `stream`
instead. Which events come is the business of `bus`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import final

from vespera_agents.actors.actor import Actor
from vespera_agents.actors.deathwatch import ActorTerminated, Watch
from vespera_agents.actors.errors import ActorStopped, AskCycle, MailboxFull
from vespera_agents.actors.events.buffer import EventPriority
from vespera_agents.actors.events.pending_send import PendingSend
from vespera_agents.actors.events.statistics import SubscriptionStatistics
from vespera_agents.actors.events.topics import topic_name
from vespera_agents.actors.refs import ActorRef
from vespera_agents.actors.statistics import DropReason


@final
class Subscription:
    """An actor that is told events. Made by `EventBus.subscribe_actor`; it ends with the actor, or with `cancel`."""

    __slots__ = ("_cancelled", "_delivered", "_rejected", "_replayed", "_watch", "is_open", "key", "ref", "types")

    def __init__(
        self, ref: ActorRef[Actor], types: tuple[type, ...], cancelled: Callable[[Subscription], None]
    ) -> None:
        self.ref = ref
        """Who is told."""
        self.types = types
        """The topics."""
        self.key: object = ref
        """Who this is, when it has several subscriptions."""
        self.is_open = True
        """Whether events still come."""
        self._cancelled = cancelled
        self._watch: Watch | None = None
        self._delivered = 0
        self._rejected = 0
        self._replayed = 0

    @property
    def name(self) -> str:
        """The actor's name."""
        return self.ref.name

    def watch(self) -> None:
        """End with the actor, from now on. It may have ended already."""
        watch = self.ref.watch(self._actor_ended)
        if watch.pending:
            self._watch = watch

    def cancel(self) -> None:
        """End it: no event comes from now on; those in the mailbox stay there. Idempotent, also in mid-publish."""
        if self.is_open:
            self.is_open = False
            if self._watch is not None:
                self._watch.cancel()
                self._watch = None
            self._cancelled(self)

    def offer(self, event: object, _priority: EventPriority, pending: PendingSend | None) -> bool:
        """Tell the actor an event; False if its mailbox refused it. With `pending`, a full mailbox is waited for."""
        if not self.is_open:
            return True
        try:
            self.ref.tell(event)
        except MailboxFull:
            if pending is None:
                return self.refuse()
            pending.actors.append(self)
            return True
        self._delivered += 1
        return True

    async def send(self, event: object) -> bool:
        """Tell the actor an event as soon as there is room; False if it waits, itself, for whoever sends."""
        settled = False
        try:
            if self.is_open:
                await self.ref.send(event)
                self._delivered += 1
            settled = True
        except ActorStopped:
            settled = True
        except AskCycle:
            return False
        finally:
            # Also when this was cancelled: then the event is lost to this actor.
            if not settled:
                self.refuse()
        return True

    def replay(self, events: Iterable[object]) -> None:
        """Tell the actor events from before the subscription, as far as its mailbox takes them."""
        for event in events:
            self._replayed += 1
            self.offer(event, EventPriority.NORMAL, None)

    def _actor_ended(self, _terminated: ActorTerminated) -> None:
        self._watch = None
        self.cancel()

    def refuse(self) -> bool:
        """Count an event that the actor did not get."""
        self._rejected += 1
        return False

    def statistics(self) -> SubscriptionStatistics:
        """Return a picture of it as it is now."""
        return SubscriptionStatistics(
            name=self.name,
            topics=tuple(topic_name(each) for each in self.types),
            is_open=self.is_open,
            offered=self._delivered + self._rejected - self._replayed,
            replayed=self._replayed,
            delivered=self._delivered,
            dropped={**dict.fromkeys(DropReason, 0), DropReason.REJECTED: self._rejected},
            unread=0,
            waiting_publishers=0,
            capacity=None,
        )
