"""A hand-over: the snapshots of one system are what the actors of the next begin with."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from supervisors import Restart, StartFailed
from vespera_agents.actors import Actor, ActorCrashed, ActorRef, ActorSystem, Request, open_system, receives


@dataclass
class Add(Request[int]):
    amount: int


@dataclass
class Work(Request[None]):
    """Adds one, after so many seconds."""

    seconds: float


@dataclass
class FailLater(Request[None]):
    """Crashes, after so many seconds."""

    seconds: float


class Crash(Request[None]): ...


class Save(Request[None]): ...


class HandOver(Request[dict[str, object]]):
    def __init__(self, system: ActorSystem) -> None:
        self.system = system


class Counter(Actor):
    snapshots_taken = 0

    async def on_start(self, snapshot: int | None = None) -> None:
        self.total = snapshot or 0

    def snapshot(self) -> int | None:
        type(self).snapshots_taken += 1
        return self.total or None

    @receives
    def add(self, message: Add) -> int:
        self.total += message.amount
        return self.total

    @receives
    async def work(self, message: Work) -> None:
        await trio.sleep(message.seconds)
        self.total += 1

    @receives
    async def fail_later(self, message: FailLater) -> None:
        await trio.sleep(message.seconds)
        raise ValueError

    @receives
    def crash(self, _: Crash) -> None:
        self.total = -1000
        raise ValueError

    @receives
    def save(self, _: Save) -> None:
        self.save_snapshot()

    @receives
    async def hand_over(self, message: HandOver) -> dict[str, object]:
        return await message.system.take_snapshots()


class SlowToReturn(Counter):
    """Needs an hour to come back after a crash."""

    async def on_restart(self, _: BaseException | None) -> None:
        await trio.sleep(3600)


class Unready(Counter):
    """Fails to start, once."""

    failed = False

    async def on_start(self, snapshot: int | None = None) -> None:
        if not self.failed:
            type(self).failed = True
            raise OSError
        await super().on_start(snapshot)


class Faulty(Counter):
    def snapshot(self) -> int | None:
        raise RuntimeError("no picture")


class Plain(Actor):
    """Takes no snapshots."""


async def busy(system: ActorSystem, actor: ActorRef[Counter], seconds: float) -> None:
    with suppress(ActorCrashed):
        await actor.ask(Work(seconds), timeout_seconds=1000)


async def test_actors_of_the_next_system_begin_where_those_of_the_last_were(autojump_clock: MockClock) -> None:
    async with open_system() as first:
        for number in (1, 2, 3):
            await (await first.start(Counter, name=f"counter-{number}")).ask(Add(number))
        await first.start(Counter, name="zero")
        await first.start(Plain, name="plain")
        snapshots = await first.take_snapshots()
        assert snapshots == {"counter-1": 1, "counter-2": 2, "counter-3": 3}
    async with open_system(snapshots=snapshots) as second:
        assert await (await second.start(Counter, name="counter-3")).ask(Add(10)) == 13
        assert await (await second.start(Counter, name="zero")).ask(Add(10)) == 10
        assert await (await second.start(Counter, name="new")).ask(Add(10)) == 10
    assert snapshots == {"counter-1": 1, "counter-2": 2, "counter-3": 3}, "the caller's own mapping is left alone"


async def test_the_hand_over_itself_takes_no_time_when_nobody_is_busy(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        await system.start(Counter)
        began = trio.current_time()
        await system.take_snapshots()
        assert await open_nothing() == {}
        assert trio.current_time() == began


async def open_nothing() -> dict[str, object]:
    async with open_system() as system:
        return await system.take_snapshots()


async def test_a_snapshot_is_used_once(autojump_clock: MockClock) -> None:
    async with open_system(snapshots={"counter": 5}) as system:
        counter = await system.start(Counter, name="counter")
        assert await counter.ask(Add(0)) == 5
        await system.stop(counter)
        assert await (await system.start(Counter, name="counter")).ask(Add(1)) == 1


async def test_a_start_that_fails_does_not_use_it_up(autojump_clock: MockClock) -> None:
    Unready.failed = False
    async with open_system(snapshots={"counter": 5}) as system:
        with pytest.raises(StartFailed):
            await system.start(Unready, name="counter")
        assert await system.take_snapshots() == {"counter": 5}
        assert await (await system.start(Unready, name="counter")).ask(Add(1)) == 6


async def test_what_was_never_begun_with_is_handed_on(autojump_clock: MockClock) -> None:
    async with open_system(snapshots={"used": 5, "unused": 7}) as system:
        await (await system.start(Counter, name="used")).ask(Add(1))
        assert await system.take_snapshots() == {"used": 6, "unused": 7}
        system.spawn(Counter, name="unused")
        assert await system.take_snapshots() == {"used": 6, "unused": 7}, "it is only starting"


async def test_a_busy_actor_is_waited_for_and_takes_it_after_the_message_in_hand(autojump_clock: MockClock) -> None:
    async with open_system() as system, trio.open_nursery() as nursery:
        counter = await system.start(Counter, name="busy")
        nursery.start_soon(busy, system, counter, 3.0)
        await wait_all_tasks_blocked(0.01)
        later = [Add(10), Add(10)]
        for message in later:
            counter.tell(message)
        began = trio.current_time()
        assert await system.take_snapshots() == {"busy": 1}, "before the mail that still waits"
        assert trio.current_time() - began == pytest.approx(3.0, abs=0.1)
        assert await counter.ask(Add(0)) == 21


async def test_one_that_is_busy_for_too_long_gives_what_it_had_or_nothing(autojump_clock: MockClock) -> None:
    Counter.snapshots_taken = 0
    async with open_system() as system, trio.open_nursery() as nursery:
        never, before, free = [await system.start(Counter, name=name) for name in ("never", "before", "free")]
        await free.ask(Add(1))
        await before.ask(Add(4))
        await before.ask(Save())
        for counter in (never, before):
            nursery.start_soon(busy, system, counter, 60.0)
        await wait_all_tasks_blocked(0.01)
        began = trio.current_time()
        assert await system.take_snapshots(timeout_seconds=2.0) == {"before": 4, "free": 1}
        assert trio.current_time() - began == pytest.approx(2.0)
        taken = Counter.snapshots_taken
        await trio.sleep(100)
        assert Counter.snapshots_taken == taken, "whoever came too late is not asked any more"
        assert await system.take_snapshots() == {"never": 1, "before": 5, "free": 1}


async def test_a_hand_over_that_is_cancelled_asks_nobody_any_more(autojump_clock: MockClock) -> None:
    Counter.snapshots_taken = 0
    async with open_system() as system, trio.open_nursery() as nursery:
        counter = await system.start(Counter)
        nursery.start_soon(busy, system, counter, 60.0)
        await wait_all_tasks_blocked(0.01)
        with trio.move_on_after(1) as scope:
            await system.take_snapshots(timeout_seconds=1000)
        assert scope.cancelled_caught
        await trio.sleep(100)
        assert Counter.snapshots_taken == 0


@pytest.mark.parametrize("restart", [Restart.TRANSIENT, Restart.TEMPORARY])
async def test_one_that_crashes_meanwhile_is_waited_for_no_longer_and_gives_what_it_had(
    restart: Restart, autojump_clock: MockClock
) -> None:
    async with open_system() as system, trio.open_nursery() as nursery:
        counter = await system.start(Counter, name="counter", restart=restart)
        await counter.ask(Add(3))
        await counter.ask(Save())
        await counter.ask(Add(3))

        async def crash_in_a_while() -> None:
            with pytest.raises(ActorCrashed):
                await counter.ask(FailLater(1.0))

        nursery.start_soon(crash_in_a_while)
        await wait_all_tasks_blocked(0.01)
        began = trio.current_time()
        assert await system.take_snapshots(timeout_seconds=1000) == {"counter": 3}
        assert trio.current_time() - began == pytest.approx(1.0, abs=0.1)


async def test_one_that_has_crashed_and_is_not_back_gives_what_it_had_at_once(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        counter = await system.start(SlowToReturn, name="counter")
        await counter.ask(Add(3))
        await counter.ask(Save())
        with pytest.raises(ActorCrashed):
            await counter.ask(Crash())
        began = trio.current_time()
        assert await system.take_snapshots(timeout_seconds=1000) == {"counter": 3}
        assert trio.current_time() == began
        system.supervisor.kill()


@pytest.mark.parametrize("by_whom", ["itself", "the system"])
async def test_one_that_stops_in_order_meanwhile_gives_its_last(by_whom: str, autojump_clock: MockClock) -> None:
    async with open_system() as system, trio.open_nursery() as nursery:
        counter = await system.start(Counter, name="counter")
        nursery.start_soon(busy, system, counter, 2.0)
        await wait_all_tasks_blocked(0.01)
        # Its order to stop comes first, so it never gets to ours.
        if by_whom == "itself":
            counter.stop()
        else:
            nursery.start_soon(system.stop, counter)
            await wait_all_tasks_blocked(0.01)
        began = trio.current_time()
        assert await system.take_snapshots(timeout_seconds=1000) == {"counter": 1}
        assert trio.current_time() - began < 5.0


async def test_two_hand_overs_at_once_both_get_all(autojump_clock: MockClock) -> None:
    async with open_system() as system, trio.open_nursery() as nursery:
        counter = await system.start(Counter, name="counter")
        nursery.start_soon(busy, system, counter, 2.0)
        await wait_all_tasks_blocked(0.01)
        found: list[dict[str, object]] = []

        async def take(timeout_seconds: float) -> None:
            found.append(await system.take_snapshots(timeout_seconds=timeout_seconds))

        for seconds in (100.0, 100.0, 1.0):
            nursery.start_soon(take, seconds)
        await trio.sleep(5)
        assert found == [{}, {"counter": 1}, {"counter": 1}]


async def test_an_actor_that_hands_over_does_not_wait_for_itself(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        counter = await system.start(Counter, name="counter")
        await (await system.start(Counter, name="other")).ask(Add(2))
        await counter.ask(Add(1))
        began = trio.current_time()
        assert await counter.ask(HandOver(system)) == {"other": 2}
        await counter.ask(Save())
        assert await counter.ask(HandOver(system)) == {"counter": 1, "other": 2}
        assert trio.current_time() == began


async def test_an_actor_whose_snapshot_raises_crashes_and_holds_nobody_up(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        await (await system.start(Counter, name="good")).ask(Add(1))
        faulty = await system.start(Faulty, name="faulty")
        began = trio.current_time()
        assert await system.take_snapshots(timeout_seconds=1000) == {"good": 1}
        assert trio.current_time() == began
        assert await faulty.ask(Add(1)) == 1
        assert faulty.statistics().incarnations == 2
