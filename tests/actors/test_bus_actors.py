"""Actors as subscribers of the event bus: their mailboxes bound the events, their end ends the subscription."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from supervisors import Restart
from vespera_agents.actors import Actor, ActorRef, ActorSystem, MailboxSpec, Overflow, open_system, receives
from vespera_agents.actors.errors import LimitReached
from vespera_agents.actors.events.buffer import EventPriority
from vespera_agents.actors.events.bus import EventBus
from vespera_agents.actors.statistics import DropReason


@dataclass(frozen=True)
class Changed:
    number: int = 0


class Saved(Changed): ...


class Crash: ...


class Hold:
    """Keeps the actor busy, so that its mailbox fills."""


@dataclass(frozen=True)
class Publish:
    bus: EventBus
    event: object


class Recorder(Actor):
    def __init__(self, log: list[object]) -> None:
        self.log = log

    @receives
    def record(self, event: Changed) -> None:
        self.log.append(event)

    @receives
    async def hold(self, _message: Hold) -> None:
        await trio.sleep(10)

    @receives
    def crash(self, _message: Crash) -> None:
        raise LookupError("broken")

    @receives
    async def publish(self, message: Publish) -> None:
        self.log.append(await message.bus.send(message.event))


async def start(
    system: ActorSystem, log: list[object], mailbox: MailboxSpec | None = None, restart: Restart = Restart.TRANSIENT
) -> ActorRef[Recorder]:
    return await system.start(Recorder, log, mailbox=mailbox or MailboxSpec(10), restart=restart)


async def test_an_actor_is_told_the_events_of_its_topics_each_once(autojump_clock: MockClock) -> None:
    bus = EventBus()
    log: list[object] = []
    async with open_system() as system:
        ref = await start(system, log)
        narrow = bus.subscribe_actor(ref, Saved)
        bus.publish(Changed(1))
        bus.publish(Saved(2))
        wide = bus.subscribe_actor(ref, Changed, replay=5)
        bus.publish(Saved(3), priority=EventPriority.URGENT)
        await trio.sleep(1)
        assert log == [Saved(2), Changed(1), Saved(3)], "what it had is not replayed, and mail keeps its order"
        narrow.cancel()
        bus.publish(Saved(4))
        wide.cancel()
        wide.cancel()
        bus.publish(Saved(5))
        await trio.sleep(1)
        assert log[3:] == [Saved(4)]
        assert bus.statistics().delivered == 4


async def test_the_same_topic_again_is_the_same_subscription_and_replays_nothing(autojump_clock: MockClock) -> None:
    bus = EventBus()
    log: list[object] = []
    async with open_system() as system:
        ref = await start(system, log)
        bus.publish(Changed(1))
        first = bus.subscribe_actor(ref, (Changed, int), replay=1)
        assert bus.subscribe_actor(ref, (int, Changed), replay=1) is first
        await trio.sleep(1)
        assert log == [Changed(1)]


@pytest.mark.parametrize(
    ("overflow", "refused", "left"),
    [
        (Overflow.WAIT, 1, [1, 2]),
        (Overflow.REJECT, 1, [1, 2]),
        (Overflow.DROP_OLDEST, 0, [2, 3]),
        (Overflow.DROP_NEWEST, 0, [1, 2]),
    ],
)
async def test_a_full_mailbox_loses_by_its_own_rule_and_the_others_lose_nothing(
    overflow: Overflow, refused: int, left: list[int], autojump_clock: MockClock
) -> None:
    bus = EventBus()
    log: list[object] = []
    async with open_system() as system:
        ref = await start(system, log, MailboxSpec(2, overflow))
        ref.tell(Hold())
        await wait_all_tasks_blocked()
        subscription = bus.subscribe_actor(ref)
        with bus.subscribe() as others:
            assert [bus.publish(Changed(number)) for number in (1, 2, 3)] == [0, 0, refused]
            assert others.take_all() == [Changed(1), Changed(2), Changed(3)]
        assert subscription.statistics().dropped[DropReason.REJECTED] == refused
        assert subscription.statistics().offered == 3
        await trio.sleep(20)
        assert log == [Changed(number) for number in left]


async def test_send_waits_for_room_in_a_mailbox_that_would_refuse(autojump_clock: MockClock) -> None:
    bus = EventBus()
    log: list[object] = []
    async with open_system() as system:
        ref = await start(system, log, MailboxSpec(1))
        ref.tell(Hold())
        await wait_all_tasks_blocked()
        subscription = bus.subscribe_actor(ref)
        begun = trio.current_time()
        assert await bus.send(Changed(1)) == 0
        assert trio.current_time() == begun
        with trio.move_on_after(1):
            await bus.send(Changed(2))
        assert subscription.statistics().dropped[DropReason.REJECTED] == 1
        assert await bus.send(Changed(3)) == 0
        assert trio.current_time() == begun + 10
        await trio.sleep(1)
        assert log == [Changed(1), Changed(3)]
        assert subscription.statistics().delivered == 2


async def test_an_actor_that_sends_to_itself_with_a_full_mailbox_is_refused_not_stuck(
    autojump_clock: MockClock,
) -> None:
    bus = EventBus()
    log: list[object] = []
    async with open_system() as system:
        ref = await start(system, log, MailboxSpec(1))
        bus.subscribe_actor(ref, Changed)
        ref.tell(Publish(bus, Changed(2)))
        await wait_all_tasks_blocked()
        log.clear()
        ref.tell(Hold())
        await wait_all_tasks_blocked()
        ref.tell(Publish(bus, Changed(3)))
        with trio.move_on_after(10.5):
            await ref.send(Changed(4))
        await trio.sleep(30)
        assert log == [1, Changed(4)]


async def test_an_actors_end_ends_its_subscriptions_and_a_waiting_send(autojump_clock: MockClock) -> None:
    bus = EventBus()
    async with open_system() as system:
        ref = await start(system, [], MailboxSpec(1))
        subscription = bus.subscribe_actor(ref, Changed)
        bus.subscribe_actor(ref, int)
        ref.tell(Hold())
        await wait_all_tasks_blocked()
        bus.publish(Changed(1))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bus.send, Changed(2))
            await wait_all_tasks_blocked()
            await system.stop(ref, timeout_seconds=1)
        assert not subscription.is_open
        assert bus.statistics().subscriptions == ()
        dead_letters = len(system.dead_letters)
        assert bus.publish(Changed(3)) == 0
        assert len(system.dead_letters) == dead_letters
        assert bus.statistics().delivered == 1
        assert not bus.subscribe_actor(ref, Changed, replay=2).is_open
        assert bus.statistics().subscriptions == ()


async def test_a_crash_that_is_restarted_keeps_the_subscription_and_one_that_is_not_ends_it(
    autojump_clock: MockClock,
) -> None:
    bus = EventBus()
    log: list[object] = []
    async with open_system(intensity=5) as system:
        kept = await start(system, log)
        lost = await start(system, log, restart=Restart.TEMPORARY)
        subscription = bus.subscribe_actor(kept, Changed)
        other = bus.subscribe_actor(lost, Changed)
        kept.tell(Crash())
        lost.tell(Crash())
        await trio.sleep(60)
        bus.publish(Changed(1))
        await trio.sleep(1)
        assert (subscription.is_open, other.is_open) == (True, False)
        assert log == [Changed(1)]
        assert kept.statistics().incarnations == 2


async def test_a_replay_that_does_not_fit_is_counted(autojump_clock: MockClock) -> None:
    bus = EventBus()
    for number in (1, 2, 3):
        bus.publish(Changed(number))
    async with open_system() as system:
        ref = await start(system, [], MailboxSpec(2))
        ref.tell(Hold())
        await wait_all_tasks_blocked()
        seen = bus.subscribe_actor(ref, Changed, replay=3).statistics()
        assert (seen.offered, seen.replayed, seen.delivered, seen.dropped_total) == (0, 3, 2, 1)


async def test_closing_the_bus_and_the_limit_hold_for_actors_too(autojump_clock: MockClock) -> None:
    bus = EventBus(subscriptions_max=1)
    log: list[object] = []
    async with open_system() as system:
        ref = await start(system, log)
        subscription = bus.subscribe_actor(ref, Changed)
        with pytest.raises(LimitReached, match="subscriptions_max"):
            bus.subscribe_actor(ref, int)
        bus.close()
        bus.publish(Changed(1))
        await trio.sleep(1)
        assert (log, subscription.is_open) == ([], False)
        assert not bus.subscribe_actor(ref, Changed).is_open


async def test_a_thousand_actors_come_and_go_and_nothing_is_left(autojump_clock: MockClock) -> None:
    bus = EventBus()
    log: list[object] = []
    async with open_system() as system:
        refs = [await start(system, log) for _ in range(1000)]
        for ref in refs:
            bus.subscribe_actor(ref, Changed)
        bus.publish(Changed(1))
        await trio.sleep(1)
        assert len(log) == 1000
        for ref in refs[::2]:
            ref.stop()
        await trio.sleep(1)
        assert len(bus.statistics().subscriptions) == 500
        bus.publish(Changed(2))
        await trio.sleep(1)
    assert len(log) == 1500
    assert bus.statistics().subscriptions == ()
    assert bus.statistics().delivered == 1500
