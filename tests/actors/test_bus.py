"""The event bus and the tasks that read it: topics, order, what full readers lose, replay, ending."""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from vespera_agents.actors.deathwatch import ActorTerminated, Watch
from vespera_agents.actors.errors import InvalidTopic, LimitReached, PublishLoop, SubscriptionEnded, SubscriptionInUse
from vespera_agents.actors.events.buffer import EventPriority
from vespera_agents.actors.events.bus import EventBus
from vespera_agents.actors.events.stream import EventStream
from vespera_agents.actors.mailbox import Overflow
from vespera_agents.actors.statistics import DropReason


@dataclass(frozen=True)
class Changed:
    number: int = 0


class Saved(Changed): ...


@dataclass(frozen=True)
class Ticked:
    number: int = 0


async def read(events: EventStream[object], into: list[object]) -> None:
    async for event in events:
        into.append(event)  # noqa: PERF401 - a reader that is cancelled has seen what came before


async def test_a_class_brings_its_subclasses_and_nothing_else() -> None:
    bus = EventBus()
    with bus.subscribe(Changed) as changed, bus.subscribe(Saved) as saved, bus.subscribe((Saved, Ticked)) as both:
        for event in (Changed(1), Saved(2), Ticked(3)):
            assert bus.publish(event) == 0
        assert changed.take_all() == [Changed(1), Saved(2)]
        assert saved.take_all() == [Saved(2)]
        assert both.take_all() == [Saved(2), Ticked(3)]


async def test_object_or_nothing_is_the_wildcard_and_a_union_means_each() -> None:
    bus = EventBus()
    with bus.subscribe() as everything, bus.subscribe(object) as all_too, bus.subscribe(Saved | Ticked) as either:
        for event in (Changed(1), Saved(2), "three"):
            bus.publish(event)
        assert everything.take_all() == all_too.take_all() == [Changed(1), Saved(2), "three"]
        assert either.take_all() == [Saved(2)]


async def test_a_class_that_is_only_registered_as_a_subclass_is_none() -> None:
    class Auditable(ABC): ...  # noqa: B024 - registering needs no abstract method

    Auditable.register(Ticked)
    bus = EventBus()
    with bus.subscribe(Auditable) as events:
        bus.publish(Ticked())
        assert events.take_all() == []


@pytest.mark.parametrize("topic", [3, "Saved", (), (Saved, 3), list[int], Saved | list[int], None])
async def test_what_is_no_class_of_events_is_refused_with_what_to_do(topic: object) -> None:
    with pytest.raises(InvalidTopic, match="Subscribe to a class of events"):
        EventBus().subscribe(topic)


async def test_a_parked_reader_wakes_for_each_event_in_order(autojump_clock: MockClock) -> None:
    bus = EventBus()
    seen: list[object] = []
    with bus.subscribe(Changed) as events:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read, events, seen)
            for number in range(5):
                await wait_all_tasks_blocked()
                assert seen == [Changed(n) for n in range(number)]
                bus.publish(Changed(number))
            await trio.sleep(1)
            nursery.cancel_scope.cancel()
    assert seen == [Changed(n) for n in range(5)]


async def test_a_reader_that_never_waits_gives_way_to_others_and_can_be_cancelled(autojump_clock: MockClock) -> None:
    bus = EventBus()
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    with bus.subscribe(Changed, capacity=1000) as events:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(count)
            for number in range(1000):
                bus.publish(Changed(number))
            for _ in range(1000):
                await events.receive()
            assert turns >= 5
            nursery.cancel_scope.cancel()
        bus.publish(Changed(1))
        with trio.CancelScope() as scope:
            scope.cancel()
            await events.receive()
        assert scope.cancelled_caught
        assert events.take_all() == [Changed(1)], "cancelled: none was taken"


@pytest.mark.parametrize(
    ("overflow", "refused", "left", "reason"),
    [
        (Overflow.WAIT, 1, [1, 2], DropReason.REJECTED),
        (Overflow.REJECT, 1, [1, 2], DropReason.REJECTED),
        (Overflow.DROP_OLDEST, 0, [2, 3], DropReason.OLDEST),
        (Overflow.DROP_NEWEST, 0, [1, 2], DropReason.NEWEST),
    ],
)
async def test_a_full_reader_loses_by_its_rule_and_the_others_lose_nothing(
    overflow: Overflow, refused: int, left: list[int], reason: DropReason
) -> None:
    bus = EventBus()
    with bus.subscribe(Changed, capacity=2, overflow=overflow) as full, bus.subscribe(Changed) as roomy:
        assert [bus.publish(Changed(number)) for number in (1, 2, 3)] == [0, 0, refused]
        assert full.statistics().dropped == {**dict.fromkeys(DropReason, 0), reason: 1}
        assert bus.statistics().dropped[reason] == 1
        assert [event.number for event in full.take_all()] == left
        assert [event.number for event in roomy.take_all()] == [1, 2, 3]


async def test_urgent_events_are_read_first_and_lost_last() -> None:
    bus = EventBus()
    low, urgent = EventPriority.LOW, EventPriority.URGENT
    with bus.subscribe(Changed, capacity=3, overflow=Overflow.DROP_NEWEST) as events:
        bus.publish(Changed(1), priority=low)
        bus.publish(Changed(2))
        bus.publish(Changed(3), priority=urgent)
        bus.publish(Changed(4), priority=urgent)
        bus.publish(Changed(5), priority=low)
        assert [event.number for event in events.take_all()] == [3, 4, 2]
        assert events.statistics().dropped[DropReason.NEWEST] == 2


async def test_send_waits_for_room_at_all_that_wait_and_the_others_lose_at_once(autojump_clock: MockClock) -> None:
    bus = EventBus()
    with (
        bus.subscribe(Changed, capacity=1, overflow=Overflow.WAIT) as slow,
        bus.subscribe(Changed, capacity=1, overflow=Overflow.WAIT) as slower,
        bus.subscribe(Changed, capacity=1, overflow=Overflow.REJECT) as rejecting,
        bus.subscribe(Changed, capacity=1, overflow=Overflow.DROP_OLDEST) as dropping,
    ):
        assert await bus.send(Changed(1)) == 0
        done: list[tuple[float, int]] = []

        async def send_second() -> None:
            refused = await bus.send(Changed(2))
            done.append((trio.current_time() - begun, refused))

        begun = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send_second)
            await wait_all_tasks_blocked()
            assert dropping.take_all() == [Changed(2)]
            assert slow.statistics().waiting_publishers == 1
            await trio.sleep(1)
            assert slow.take_all() == [Changed(1), Changed(2)]
            await trio.sleep(1)
            assert not done
            assert await slower.receive() == Changed(1)
        assert done == [(2.0, 1)]
        assert slower.take_all() == [Changed(2)]
        assert rejecting.take_all() == [Changed(1)]


async def test_a_cancelled_send_is_lost_where_it_waited_and_counted_there(autojump_clock: MockClock) -> None:
    bus = EventBus()
    with bus.subscribe(Changed, capacity=1, overflow=Overflow.WAIT) as full, bus.subscribe(Changed) as roomy:
        bus.publish(Changed(1))
        with trio.move_on_after(1) as scope:
            await bus.send(Changed(2))
        assert scope.cancelled_caught
        assert full.statistics().dropped[DropReason.REJECTED] == 1
        assert full.statistics().waiting_publishers == 0
        assert full.take_all() == [Changed(1)]
        assert roomy.take_all() == [Changed(1), Changed(2)]


async def test_a_send_may_be_cancelled_at_the_very_moment_when_room_comes(autojump_clock: MockClock) -> None:
    bus = EventBus()
    scope = trio.CancelScope()

    async def send() -> None:
        with scope:
            await bus.send(Changed(2))

    with bus.subscribe(Changed, capacity=1, overflow=Overflow.WAIT) as events:
        bus.publish(Changed(1))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            await wait_all_tasks_blocked()
            scope.cancel()
            assert events.take_all() == [Changed(1), Changed(2)]
        assert scope.cancelled_caught
        assert events.statistics().dropped_total == 0


async def test_waiting_publishers_are_let_in_by_priority_then_in_their_order(autojump_clock: MockClock) -> None:
    bus = EventBus()
    with bus.subscribe(Changed, capacity=1, overflow=Overflow.WAIT) as events:
        bus.publish(Changed(0))
        async with trio.open_nursery() as nursery:
            for number, priority in ((1, EventPriority.NORMAL), (2, EventPriority.NORMAL), (3, EventPriority.URGENT)):
                nursery.start_soon(lambda e=Changed(number), p=priority: bus.send(e, priority=p))
                await wait_all_tasks_blocked()
            assert events.statistics().waiting_publishers == 3
            assert [(await events.receive()).number for _ in range(4)] == [0, 3, 1, 2]


async def test_a_publisher_goes_on_when_the_reader_it_waits_for_leaves(autojump_clock: MockClock) -> None:
    bus = EventBus()
    async with trio.open_nursery() as nursery:
        with bus.subscribe(Changed, capacity=1, overflow=Overflow.WAIT) as events:
            bus.publish(Changed(1))
            nursery.start_soon(bus.send, Changed(2))
            await wait_all_tasks_blocked()
    assert events.statistics().dropped_total == 0
    assert bus.statistics().abandoned == 1


async def test_replay_brings_the_last_of_the_topic_in_order_before_what_is_live() -> None:
    bus = EventBus(replay_max=3)
    for event in (Changed(1), Saved(2), Ticked(3), Saved(4), Changed(5), Ticked(6), Ticked(7), Ticked(8)):
        bus.publish(event, priority=EventPriority.URGENT if event.number == 4 else EventPriority.NORMAL)
    with bus.subscribe(Changed, replay=3) as changed, bus.subscribe(replay=2) as last:
        bus.publish(Saved(9), priority=EventPriority.URGENT)
        assert [event.number for event in changed.take_all()] == [2, 4, 5, 9]
        assert [event.number for event in last.take_all()] == [7, 8, 9]
        assert changed.statistics().replayed == 3


async def test_what_is_replayed_takes_no_room_from_what_is_live() -> None:
    bus = EventBus(replay_max=3)
    for number in (1, 2, 3):
        bus.publish(Changed(number))
    with bus.subscribe(Changed, capacity=1, replay=3) as events:
        assert bus.publish(Changed(4)) == 0
        assert [event.number for event in events.take_all()] == [1, 2, 3, 4]


async def test_more_replay_than_is_kept_is_refused_with_what_to_do() -> None:
    with pytest.raises(ValueError, match="larger replay_max"):
        EventBus(replay_max=3).subscribe(Changed, replay=4)
    with pytest.raises(ValueError, match="cannot replay -1"):
        EventBus().subscribe(Changed, replay=-1)
    with pytest.raises(ValueError, match="capacity of 1 or more"):
        EventBus().subscribe(Changed, capacity=0)
    with pytest.raises(ValueError, match="A bus keeps 0 events or more"):
        EventBus(replay_max=-1)


async def test_a_subscription_begins_and_ends_with_its_block_also_when_cancelled(autojump_clock: MockClock) -> None:
    bus = EventBus()
    events = bus.subscribe(Changed)
    bus.publish(Changed(1))
    assert bus.statistics().subscriptions == ()
    with trio.move_on_after(1), events:
        await events.receive()
    assert bus.statistics().subscriptions == ()
    assert not events.is_open
    assert all(topic.subscribers == 0 for topic in bus.statistics().topics.values())
    with pytest.raises(SubscriptionEnded, match="once for each call of subscribe"), events:
        pass
    with pytest.raises(SubscriptionEnded, match="has not begun"):
        await bus.subscribe(Changed).receive()


async def test_cancelling_a_stream_ends_its_reader_and_forgets_what_is_unread(autojump_clock: MockClock) -> None:
    bus = EventBus()
    seen: list[object] = []
    with bus.subscribe(Changed) as events:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read, events, seen)
            await wait_all_tasks_blocked()
            bus.publish(Changed(1))
            events.cancel()
            events.cancel()
        bus.publish(Changed(2))
    assert seen == []
    assert (bus.statistics().abandoned, bus.statistics().delivered) == (1, 0)


async def test_two_tasks_cannot_wait_for_one_stream(autojump_clock: MockClock) -> None:
    bus = EventBus()
    with bus.subscribe(Changed) as events:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read, events, [])
            await wait_all_tasks_blocked()
            with pytest.raises(SubscriptionInUse, match="subscription of its own"):
                await events.receive()
            nursery.cancel_scope.cancel()


async def test_after_close_readers_take_what_is_unread_and_end(autojump_clock: MockClock) -> None:
    bus = EventBus()
    seen: list[object] = []
    idle: list[object] = []
    with bus.subscribe(Changed) as events, bus.subscribe(Ticked) as ticks:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read, ticks, idle)
            await wait_all_tasks_blocked()
            bus.publish(Changed(1))
            bus.close()
            assert bus.publish(Changed(2)) == 0
            assert bus.publish("of a class that was not seen before") == 0
            await read(events, seen)
    assert (seen, idle) == ([Changed(1)], [])
    with bus.subscribe(replay=2) as late:
        assert [event async for event in late] == []
    assert bus.statistics().subscriptions == ()
    assert (bus.statistics().published, bus.statistics().delivered) == (3, 1)


async def test_a_publisher_goes_on_when_the_bus_is_closed(autojump_clock: MockClock) -> None:
    bus = EventBus()
    with bus.subscribe(Changed, capacity=1, overflow=Overflow.WAIT) as events:
        bus.publish(Changed(1))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bus.send, Changed(2))
            await wait_all_tasks_blocked()
            bus.close()
        assert events.take_all() == [Changed(1)]


async def test_there_is_a_limit_of_subscriptions() -> None:
    bus = EventBus(subscriptions_max=1)
    with bus.subscribe() as _events, pytest.raises(LimitReached, match="subscriptions_max"), bus.subscribe():
        pass
    with bus.subscribe():
        pass


async def test_beyond_the_limit_of_classes_the_one_published_longest_ago_loses_its_replay() -> None:
    bus = EventBus(event_types_max=2)
    with bus.subscribe() as events:
        for event in (Changed(1), Ticked(2), Changed(3), Saved(4), Ticked(5)):
            bus.publish(event)
        assert len(events.take_all()) == 5
    with bus.subscribe(replay=10) as late:
        assert [event.number for event in late.take_all()] == [4, 5]
    assert len(bus.statistics().topics) == 2
    assert bus.statistics().published == 5


class Receiver:
    """A receiver that runs code while it is told: what an actor's reference never does, and a foreign one may."""

    def __init__(self, react: Callable[[object], object]) -> None:
        self.name = "receiver"
        self.react = react
        self.watches: list[Watch] = []

    def tell(self, event: object) -> None:
        self.react(event)

    def watch(self, tell: Callable[[ActorTerminated], None]) -> Watch:
        watch = Watch(tell, self.watches)
        self.watches.append(watch)
        return watch


async def test_an_event_published_while_another_is_told_comes_after_it_everywhere() -> None:
    bus = EventBus()
    with bus.subscribe() as before:
        bus.subscribe_actor(Receiver(lambda event: event == 1 and bus.publish(2)), int)
        with bus.subscribe() as after:
            bus.publish(1)
            assert before.take_all() == after.take_all() == [1, 2]


async def test_subscribing_and_cancelling_in_mid_publish_is_safe() -> None:
    bus = EventBus()
    begun: list[EventStream[object]] = []

    def react(_event: object) -> None:
        victim.cancel()
        subscription.cancel()
        begun.append(bus.subscribe(replay=1).__enter__())

    subscription = bus.subscribe_actor(Receiver(react), int)
    with bus.subscribe() as victim:
        bus.publish(1)
        bus.publish(2)
        assert victim.take_all() == []
        assert [stream.take_all() for stream in begun] == [[1, 2]]


async def test_a_cancelled_subscription_watches_its_actor_no_longer() -> None:
    bus = EventBus()
    receiver = Receiver(print)
    subscription = bus.subscribe_actor(receiver, int)
    assert len(receiver.watches) == 1
    subscription.cancel()
    assert receiver.watches == []


async def test_receivers_that_publish_without_end_are_stopped_and_the_bus_goes_on() -> None:
    bus = EventBus()
    subscription = bus.subscribe_actor(Receiver(bus.publish), int)
    with pytest.raises(PublishLoop, match="has led to 1000 more"):
        bus.publish(1)
    subscription.cancel()
    with bus.subscribe(int) as events:
        bus.publish(2)
        assert events.take_all() == [2]


async def test_what_a_receiver_published_before_it_broke_does_not_come_up_later() -> None:
    bus = EventBus()

    def react(event: object) -> None:
        bus.publish(f"because of {event}")
        raise ValueError(event)

    subscription = bus.subscribe_actor(Receiver(react), int)
    with bus.subscribe() as events:
        with pytest.raises(ValueError, match="1"):
            bus.publish(1)
        subscription.cancel()
        bus.publish(2)
        assert "because of 1" not in events.take_all()
