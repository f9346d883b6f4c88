"""A whole event bus against a model: a log of everything published, and each subscriber's list of what it must read."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from trio.testing import MockClock

from vespera_agents.actors.events.buffer import EventPriority
from vespera_agents.actors.events.bus import EventBus
from vespera_agents.actors.events.stream import EventStream
from vespera_agents.actors.mailbox import Overflow
from vespera_agents.actors.statistics import DropReason


@dataclass(frozen=True)
class Changed:
    number: int


class Saved(Changed): ...


class Deleted(Changed): ...


@dataclass(frozen=True)
class Ticked:
    number: int


class Autosaved(Saved, Ticked): ...


EVENTS = (Changed, Saved, Deleted, Ticked, Autosaved)
TOPICS = (object, Changed, Saved, Ticked, (Deleted, Ticked), Saved | Ticked)
REPLAY_MAX = 4


@dataclass
class Reader:
    """What one subscriber must see."""

    stream: EventStream[object]
    topic: type | tuple[type, ...]
    capacity: int
    overflow: Overflow
    replayed: list[object]
    unread: list[tuple[EventPriority, object]] = field(default_factory=list)
    offered: int = 0
    delivered: int = 0
    lost: Counter[DropReason] = field(default_factory=Counter)
    replays: int = 0

    def put(self, priority: EventPriority, event: object) -> bool:
        self.offered += 1
        if len(self.unread) < self.capacity:
            self.unread.append((priority, event))
            return True
        if self.overflow in {Overflow.WAIT, Overflow.REJECT}:
            self.lost[DropReason.REJECTED] += 1
            return False
        oldest = self.overflow is Overflow.DROP_OLDEST
        self.unread.append((priority, event))
        losers = [each for each in self.unread if each[0] == min(level for level, _ in self.unread)]
        self.unread.remove(losers[0 if oldest else -1])
        self.lost[DropReason.OLDEST if oldest else DropReason.NEWEST] += 1
        return True

    def take_all(self) -> list[object]:
        order = sorted(self.unread, key=lambda each: -each[0])
        taken = self.replayed + [event for _, event in order]
        self.replayed, self.unread = [], []
        self.delivered += len(taken)
        return taken


class BusMachine(RuleBasedStateMachine):
    """Events of a small class tree, subscribers that come with a replay, read and go."""

    def __init__(self) -> None:
        super().__init__()
        self.bus = EventBus(replay_max=REPLAY_MAX)
        self.log: list[object] = []
        self.readers: list[Reader] = []
        self.gone: Counter[str] = Counter()

    @initialize(event_types_max=st.sampled_from([5, 1000]))
    def make(self, event_types_max: int) -> None:
        self.bus = EventBus(replay_max=REPLAY_MAX, event_types_max=event_types_max)

    @rule(kind=st.sampled_from(EVENTS), priority=st.sampled_from(EventPriority))
    def publish(self, kind: type, priority: EventPriority) -> None:
        event = kind(len(self.log))
        self.log.append(event)
        wanting = [reader for reader in self.readers if isinstance(event, reader.topic)]
        assert self.bus.publish(event, priority=priority) == sum(not each.put(priority, event) for each in wanting)

    @precondition(lambda self: len(self.readers) < 6)
    @rule(
        topic=st.sampled_from(TOPICS),
        capacity=st.integers(1, 3),
        overflow=st.sampled_from(Overflow),
        replay=st.integers(0, REPLAY_MAX),
    )
    def subscribe(self, topic: type, capacity: int, overflow: Overflow, replay: int) -> None:
        stream = self.bus.subscribe(topic, capacity=capacity, overflow=overflow, replay=replay)
        stream.__enter__()
        before = [event for event in self.log if isinstance(event, topic)]
        replayed = before[-replay:] if replay else []
        self.readers.append(Reader(stream, topic, capacity, overflow, replayed, replays=len(replayed)))

    @precondition(lambda self: self.readers)
    @rule(data=st.data())
    def take(self, data: st.DataObject) -> None:
        reader = data.draw(st.sampled_from(self.readers))
        assert reader.stream.take_all() == reader.take_all()

    @precondition(lambda self: self.readers)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        reader = data.draw(st.sampled_from(self.readers))
        reader.stream.__exit__(None, None, None)
        self.readers.remove(reader)
        self.gone["delivered"] += reader.delivered
        self.gone["abandoned"] += len(reader.replayed) + len(reader.unread)
        self.gone.update({reason.value: number for reason, number in reader.lost.items()})

    @invariant()
    def every_event_is_accounted_for(self) -> None:
        total = self.bus.statistics()
        assert total.published == len(self.log)
        assert total.delivered == self.gone["delivered"] + sum(each.delivered for each in self.readers)
        assert total.abandoned == self.gone["abandoned"]
        for reason in DropReason:
            assert total.dropped[reason] == self.gone[reason.value] + sum(each.lost[reason] for each in self.readers)
        for reader, seen in zip(self.readers, total.subscriptions, strict=True):
            assert (seen.offered, seen.replayed, seen.delivered) == (reader.offered, reader.replays, reader.delivered)
            assert seen.unread == len(reader.replayed) + len(reader.unread)
            assert seen.offered + seen.replayed == seen.delivered + seen.dropped_total + seen.unread
        for kind in EVENTS:
            topic = total.topics.get(f"{kind.__module__}.{kind.__qualname__}")
            if topic is not None:
                assert topic.subscribers == sum(issubclass(kind, reader.topic) for reader in self.readers)
                assert topic.published == sum(type(event) is kind for event in self.log)


TestBusAgainstItsModel = pytest.mark.unmeasured(BusMachine.TestCase)
TestBusAgainstItsModel.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)


@settings(max_examples=60, deadline=None)
@given(
    publishers=st.lists(st.lists(st.tuples(st.sampled_from(EventPriority), st.integers(0, 2)), max_size=8), max_size=4),
    readers=st.lists(st.tuples(st.integers(1, 3), st.integers(0, 3), st.integers(0, REPLAY_MAX)), max_size=3),
)
def test_what_is_sent_reaches_all_readers_whole_and_in_the_order_of_each_publisher(
    publishers: list[list[tuple[EventPriority, int]]], readers: list[tuple[int, int, int]]
) -> None:
    """Publishers wait for room, readers are slow and may begin late with a replay: no gap, no duplicate."""
    log: list[Changed] = []
    seen: list[tuple[list[Changed], int]] = []
    sent: list[tuple[int, EventPriority]] = []

    async def publish(bus: EventBus, who: int, events: list[tuple[EventPriority, int]]) -> None:
        for number, (priority, pause) in enumerate(events):
            await trio.sleep(pause)
            event = Changed(100 * who + number)
            log.append(event)
            sent.append((event.number, priority))
            assert await bus.send(event, priority=priority) == 0

    async def read(bus: EventBus, capacity: int, slowness: int, replay: int, stop: trio.Event) -> None:
        await trio.sleep(slowness)
        with bus.subscribe(Changed, capacity=capacity, overflow=Overflow.WAIT, replay=replay) as events:
            expected = max(0, len(log) - replay)
            got: list[Changed] = []
            seen.append((got, expected))
            async for event in events:
                got.append(event)
                await trio.sleep(slowness)
            assert stop.is_set()

    async def main() -> None:
        bus = EventBus(replay_max=REPLAY_MAX)
        stop = trio.Event()
        async with trio.open_nursery() as nursery:
            for each in readers:
                nursery.start_soon(read, bus, *each, stop)
            async with trio.open_nursery() as all_publishers:
                for who, events in enumerate(publishers):
                    all_publishers.start_soon(publish, bus, who, events)
            await trio.sleep(10)
            stop.set()
            bus.close()

    trio.run(main, clock=MockClock(autojump_threshold=0))
    priorities = dict(sent)
    for got, begun_at in seen:
        assert sorted(each.number for each in got) == sorted(each.number for each in log[begun_at:])
        for who in range(len(publishers)):
            for priority in EventPriority:
                mine = [e.number for e in got if e.number // 100 == who and priorities[e.number] is priority]
                assert mine == sorted(mine)
