"""The event bus: whoever publishes an event does not know who wants it, and is never held up by who is slow.

A topic is an event's class. There are two kinds of subscribers: actors (`subscriptions`) and tasks (`stream`).
What a full one does is its own choice, and every loss is counted. The bus belongs to one trio run, starts no tasks and
keeps nothing on disk: durable events are the business of a store.
"""

from __future__ import annotations

from collections import deque
from heapq import nlargest
from itertools import count
from operator import itemgetter
from types import UnionType
from typing import Final, TypeAlias, TypeVar, final, overload

from trio.lowlevel import checkpoint_if_cancelled

from supervisors.counting import Tally
from vespera_agents.actors.actor import Actor
from vespera_agents.actors.errors import LimitReached, PublishLoop
from vespera_agents.actors.events.buffer import EventPriority
from vespera_agents.actors.events.pending_send import PendingSend
from vespera_agents.actors.events.statistics import BusStatistics, TopicStatistics
from vespera_agents.actors.events.stream import EventStream
from vespera_agents.actors.events.subscriptions import Subscription
from vespera_agents.actors.events.topics import EventTopic, Topic, matches, topic_name, topic_types
from vespera_agents.actors.mailbox import Overflow
from vespera_agents.actors.refs import ActorRef
from vespera_agents.actors.statistics import DropReason

Event = TypeVar("Event")

_AnySubscription: TypeAlias = Subscription | EventStream[object]

_NESTED_MAX: Final = 1000
"""Events that receivers may publish while they are told one: more is a circle."""


@final
class EventBus:
    """Events by their class, to actors and to tasks.

    The events of one publisher (one task) reach each subscriber in the order in which they were published; a stream
    then reads urgent ones first. Between two publishers there is no promise but that all see one order of `publish`.
    """

    def __init__(self, *, replay_max: int = 16, subscriptions_max: int = 10_000, event_types_max: int = 1000) -> None:
        """Make an open bus.

        Args:
            replay_max: How many of the last events of each class are kept for those who come later, 0 or more.
            subscriptions_max: How many subscriptions there may be.
            event_types_max: How many classes of events are remembered; beyond it, the one that was published longest
                ago loses its counts and its replay.
        """
        if replay_max < 0 or subscriptions_max < 1 or event_types_max < 1:
            raise ValueError(
                f"A bus keeps 0 events or more and allows at least one subscription and one class, not {replay_max}, "
                f"{subscriptions_max} and {event_types_max}."
            )
        self.replay_max = replay_max
        """How many of the last events of each class are kept."""
        self.subscriptions_max = subscriptions_max
        """How many subscriptions there may be."""
        self.event_types_max = event_types_max
        """How many classes of events are remembered."""
        self.is_open = True
        """Whether events are delivered."""
        self._topics: dict[type, EventTopic[_AnySubscription]] = {}
        self._subscriptions: dict[_AnySubscription, None] = {}
        self._by_actor: dict[ActorRef[Actor], list[Subscription]] = {}
        self._numbers = count(1)
        self._is_publishing = False
        self._nested: deque[tuple[object, EventPriority]] = deque()
        self._nested_count = 0
        self._published = 0
        self._delivered = 0
        self._abandoned = 0
        self._dropped: Tally[DropReason] = Tally(DropReason)

    # Publishing -----------------------------------------------------------------------------------------------------

    def publish(self, event: object, *, priority: EventPriority = EventPriority.NORMAL) -> int:
        """Give an event to everybody who asked for its class, without waiting; a full subscriber loses by its rule.

        Published from within a receiver's `tell`, it is delivered when the event being told has reached everybody,
        and the answer is 0.

        Returns:
            How many refused it: they were full, under WAIT or REJECT. What the dropping rules lose is not in it.

        Raises:
            PublishLoop: Receivers publish while they are told, without end.
        """
        return self._publish(event, priority, None)

    async def send(self, event: object, *, priority: EventPriority = EventPriority.NORMAL) -> int:
        """Give an event to everybody who asked for its class, waiting for room where that is the rule.

        It waits at streams under WAIT, and at actors whose mailboxes would refuse the event; all others get it, or
        lose by their rule, at once. It waits as long as it takes: bound it with a cancel scope. Cancelled: who has
        not taken the event has lost it, and it is counted there.

        Returns:
            How many refused it: full streams under REJECT, and full actors that wait, themselves, for the sender.
        """
        await checkpoint_if_cancelled()
        pending = PendingSend()
        refused = self._publish(event, priority, pending)
        if pending.actors or pending.streams:
            try:
                refused += await pending.wait(event)
            finally:
                pending.withdraw()
        return refused

    # Subscribing ----------------------------------------------------------------------------------------------------

    @overload
    def subscribe(
        self,
        topic: type[Event] | tuple[type[Event], ...],
        *,
        capacity: int = 1000,
        overflow: Overflow = Overflow.REJECT,
        replay: int = 0,
        name: str | None = None,
    ) -> EventStream[Event]: ...

    @overload
    def subscribe(
        self,
        topic: UnionType | type[object] = object,
        *,
        capacity: int = 1000,
        overflow: Overflow = Overflow.REJECT,
        replay: int = 0,
        name: str | None = None,
    ) -> EventStream[object]: ...

    def subscribe(
        self,
        topic: Topic = object,
        *,
        capacity: int = 1000,
        overflow: Overflow = Overflow.REJECT,
        replay: int = 0,
        name: str | None = None,
    ) -> EventStream[object]:
        """Return a stream of events for a task; it begins with the `with` block that it is used in.

        Args:
            topic: A class, several in a tuple or union, or `object` for every event. Subclasses are included.
            capacity: Unread events that it holds, at least 1; replayed ones lie beside them.
            overflow: Who loses when it is full. WAIT: `send` waits for room, `publish` is refused. REJECT: both are
                refused. DROP_OLDEST, DROP_NEWEST: the lowest priority loses its oldest or newest event.
            replay: How many of the last events of the topic come first, at most the bus's `replay_max`.
            name: What it is called in statistics.

        Raises:
            InvalidTopic: That is no class of events.
        """
        types = topic_types(topic)
        self._check_replay(replay)
        if capacity < 1:
            raise ValueError(f"A subscription holds at least 1 event, not {capacity}: give a capacity of 1 or more.")
        return EventStream(
            f"{'|'.join(each.__name__ for each in types)}-{next(self._numbers)}" if name is None else name,
            types,
            capacity=capacity,
            overflow=overflow,
            replay=replay,
            begin=self._begin,
            left=self._forget,
        )

    def subscribe_actor(self, ref: ActorRef[Actor], topic: Topic = object, *, replay: int = 0) -> Subscription:
        """Have an actor told the events of a topic, in its mailbox, which bounds them by its own overflow rule.

        It lasts across restarts and ends with the actor. The same actor and topic again, as from `on_start` of the next
        incarnation, is the same subscription, and replays nothing: mail survives a restart. An event of several
        topics of one actor comes once, and what it gets already is not replayed.

        Args:
            ref: Who is told; if it has ended, the subscription has ended too.
            topic: A class, several in a tuple or union, or `object` for every event. Subclasses are included.
            replay: How many of the last events of the topic come first, at most the bus's `replay_max`.

        Raises:
            InvalidTopic: That is no class of events.
            LimitReached: There are too many subscriptions.
        """
        types = topic_types(topic)
        self._check_replay(replay)
        for subscription in self._by_actor.get(ref, ()):
            if set(subscription.types) == set(types):
                return subscription
        subscription = Subscription(ref, types, self._forget)
        if not self.is_open:
            subscription.is_open = False
            return subscription
        self._check_room()
        replayed = self._last_events(subscription, replay)
        self._by_actor.setdefault(ref, []).append(subscription)
        self._add(subscription)
        subscription.watch()
        subscription.replay(replayed)
        return subscription

    def close(self) -> None:
        """Deliver nothing from now on. Streams end when their readers have taken what is unread. Idempotent."""
        self.is_open = False
        for topic in self._topics.values():
            topic.subscribers.clear()
            topic.kept = deque(maxlen=0)
        for subscription in tuple(self._subscriptions):
            if isinstance(subscription, Subscription):
                subscription.cancel()
            else:
                subscription.close()

    # Counting -------------------------------------------------------------------------------------------------------

    def statistics(self) -> BusStatistics:
        """Return a picture of the bus as it is now."""
        living = tuple(subscription.statistics() for subscription in self._subscriptions)
        dropped = {reason: self._dropped[reason] for reason in DropReason}
        for each in living:
            for reason, number in each.dropped.items():
                dropped[reason] += number
        return BusStatistics(
            published=self._published,
            delivered=self._delivered + sum(each.delivered for each in living),
            dropped=dropped,
            abandoned=self._abandoned,
            subscriptions=living,
            topics={
                topic_name(topic.event_type): TopicStatistics(topic.published, len(topic.subscribers), len(topic.kept))
                for topic in self._topics.values()
            },
        )

    # Delivering -----------------------------------------------------------------------------------------------------

    def _publish(self, event: object, priority: EventPriority, pending: PendingSend | None) -> int:
        if self._is_publishing:
            self._put_off(event, priority)
            return 0
        self._is_publishing = True
        try:
            refused = self._deliver(event, priority, pending)
            while self._nested:
                self._deliver(*self._nested.popleft(), None)
        finally:
            self._is_publishing = False
            self._nested_count = 0
            # Nothing is left in it, unless a receiver raised: then the publisher learns that this publish broke.
            self._nested.clear()
        return refused

    def _put_off(self, event: object, priority: EventPriority) -> None:
        """Keep an event until the one that is being told has reached everybody: else some would see them swapped."""
        if self._nested_count >= _NESTED_MAX:
            raise PublishLoop(type(event), _NESTED_MAX)
        self._nested_count += 1
        self._nested.append((event, priority))

    def _deliver(self, event: object, priority: EventPriority, pending: PendingSend | None) -> int:
        topic = self._topics.get(type(event))
        if topic is None:
            topic = self._open_topic(type(event))
        self._published += 1
        topic.published += 1
        topic.last = self._published
        topic.kept.append((self._published, event))
        refused = 0
        # A copy: receivers may subscribe and cancel meanwhile, and who has ended takes no offer.
        for subscription in tuple(topic.subscribers.values()):
            if not subscription.offer(event, priority, pending):
                refused += 1
        return refused

    def _open_topic(self, event_type: type) -> EventTopic[_AnySubscription]:
        if len(self._topics) >= self.event_types_max:
            oldest = min(self._topics.values(), key=lambda topic: topic.last)
            del self._topics[oldest.event_type]
        topic: EventTopic[_AnySubscription] = EventTopic(event_type, self.replay_max if self.is_open else 0)
        if self.is_open:
            for subscription in self._subscriptions:
                if matches(subscription.types, event_type):
                    topic.subscribers.setdefault(subscription.key, subscription)
        self._topics[event_type] = topic
        return topic

    # Subscriptions that come and go ---------------------------------------------------------------------------------

    def _begin(self, stream: EventStream[object]) -> None:
        if self.is_open:
            self._check_room()
        stream.open(self._last_events(stream, stream.replay_count), is_open=self.is_open)
        self._add(stream)

    def _add(self, subscription: _AnySubscription) -> None:
        self._subscriptions[subscription] = None
        if self.is_open:
            for topic in self._topics.values():
                if matches(subscription.types, topic.event_type):
                    topic.subscribers.setdefault(subscription.key, subscription)

    def _forget(self, subscription: _AnySubscription) -> None:
        if subscription not in self._subscriptions:
            return
        del self._subscriptions[subscription]
        others: list[Subscription] = []
        if isinstance(subscription, Subscription):
            others = self._by_actor[subscription.ref]
            others.remove(subscription)
            if not others:
                del self._by_actor[subscription.ref]
        key = subscription.key
        for topic in self._topics.values():
            if topic.subscribers.get(key) is subscription:
                del topic.subscribers[key]
                for other in others:
                    if matches(other.types, topic.event_type):
                        topic.subscribers.setdefault(key, other)
        ended = subscription.statistics()
        self._delivered += ended.delivered
        self._abandoned += ended.unread
        for reason, number in ended.dropped.items():
            self._dropped.increment(reason, number)

    def _last_events(self, subscription: _AnySubscription, number: int) -> list[object]:
        """Return the last events of its topics, oldest first. What its actor gets already is left out."""
        if not number:
            return []
        kept = [
            numbered
            for topic in self._topics.values()
            if matches(subscription.types, topic.event_type) and subscription.key not in topic.subscribers
            for numbered in topic.kept
        ]
        return [event for _, event in reversed(nlargest(number, kept, key=itemgetter(0)))]

    def _check_replay(self, replay: int) -> None:
        if not 0 <= replay <= self.replay_max:
            raise ValueError(
                f"This bus keeps the last {self.replay_max} events of a class, so it cannot replay {replay}. Ask for "
                "fewer, or give it a larger replay_max."
            )

    def _check_room(self) -> None:
        if len(self._subscriptions) >= self.subscriptions_max:
            raise LimitReached("subscriptions", self.subscriptions_max, "subscriptions_max")
