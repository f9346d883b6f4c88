"""What a system has beside its actors: bus, groups and asyncio edge. They are there from the start and end with it."""

from __future__ import annotations

import asyncio
import gc
import weakref
from contextvars import ContextVar
from dataclasses import dataclass

import pytest
import trio
from trio.testing import MockClock

from vespera_agents.actors import (
    Actor,
    ActorCrashed,
    ActorSystem,
    EventStream,
    MemberJoined,
    MemberLeft,
    Request,
    open_system,
    receives,
)
from vespera_agents.actors.errors import AsyncioLoopEnded


@dataclass(frozen=True)
class Saved:
    number: int


class Heard(Request[list[int]]): ...


class Crash(Request[None]): ...


class Double(Request[int]):
    def __init__(self, number: int) -> None:
        self.number = number


class Linger: ...


class Remembered:
    """Something that can be seen to be gone."""


KEPT: ContextVar[Remembered | None] = ContextVar("kept", default=None)


class Member(Actor):
    def __init__(self, system: ActorSystem) -> None:
        self.system = system
        self.heard: list[int] = []

    async def on_start(self) -> None:
        self.system.bus.subscribe_actor(self.ref, Saved)
        self.system.groups.join("members", self.ref)

    @receives
    def saved(self, message: Saved) -> None:
        self.heard.append(message.number)

    @receives
    def tell_heard(self, _: Heard) -> list[int]:
        return self.heard

    @receives
    def crash(self, _: Crash) -> None:
        raise ValueError


class AtTheEdge(Actor):
    """Uses asyncio in a handler and, if it is told to, at its end."""

    def __init__(self, system: ActorSystem, at_the_end: list[int]) -> None:
        self.system = system
        self.at_the_end = at_the_end

    async def on_stop(self) -> None:
        self.at_the_end.append(await self.system.asyncio.run(double, 100))

    @receives
    async def double(self, message: Double) -> int:
        return await self.system.asyncio.run(double, message.number)

    @receives
    async def linger(self, _: Linger) -> None:
        await self.system.asyncio.run(linger)


async def linger() -> None:
    await asyncio.sleep(1_000_000)


async def double(number: int) -> int:
    await asyncio.sleep(0.01)
    return 2 * number


async def collect(stream: EventStream[object], into: list[object]) -> None:
    with stream as events:
        into.extend([event async for event in events])
    into.append("the end")


async def test_a_subscribed_task_gets_what_was_published_and_then_its_end(autojump_clock: MockClock) -> None:
    heard: list[object] = []
    async with trio.open_nursery() as nursery:
        async with open_system() as system:
            nursery.start_soon(collect, system.bus.subscribe(Saved), heard)
            await trio.sleep(1)
            assert system.bus.publish(Saved(1)) == 0
        system.bus.publish(Saved(2))
    assert heard == [Saved(1), "the end"]
    assert not system.bus.is_open
    assert system.bus.statistics().delivered == 1


async def test_a_subscribed_task_gets_its_end_also_when_the_system_breaks(autojump_clock: MockClock) -> None:
    heard: list[object] = []
    async with trio.open_nursery() as nursery:
        with pytest.raises(RuntimeError):
            async with open_system() as system:
                nursery.start_soon(collect, system.bus.subscribe(Saved), heard)
                await trio.sleep(1)
                raise RuntimeError
    assert heard == ["the end"]


async def test_actors_hear_events_of_their_systems_bus_also_after_a_restart(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        members = [await system.start(Member, system) for _ in range(2)]
        system.bus.publish(Saved(1))
        assert [await member.ask(Heard()) for member in members] == [[1], [1]]
        with pytest.raises(ActorCrashed):
            await members[0].ask(Crash())
        system.bus.publish(Saved(2))
        assert [await member.ask(Heard()) for member in members] == [[2], [1, 2]]


async def test_joining_leaving_and_dying_are_events_on_the_bus(autojump_clock: MockClock) -> None:
    heard: list[object] = []
    async with trio.open_nursery() as nursery, open_system() as system:
        nursery.start_soon(collect, system.bus.subscribe(MemberJoined | MemberLeft), heard)
        await trio.sleep(1)
        one = await system.start(Member, system)
        other = await system.start(Member, system)
        system.groups.leave("members", one)
    joined_one, joined_other, left_one, died_other, end = heard
    assert [joined_one, joined_other] == [MemberJoined("members", one), MemberJoined("members", other)]
    assert left_one == MemberLeft("members", one, None)
    assert isinstance(died_other, MemberLeft)
    assert died_other.member is other
    assert died_other.terminated is not None
    assert end == "the end"


async def test_groups_are_empty_once_the_system_is_closed(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        for _ in range(10):
            await system.start(Member, system)
        late = system.spawn(Member, system)
        assert system.groups.join("others", late)
        assert len(system.groups.members("members")) == 10
    assert system.groups.names == ()
    assert system.groups.statistics().memberships == 0
    assert not system.groups.join("members", late)
    assert system.groups.tell("members", Saved(1)) == ()


async def test_an_actor_awaits_asyncio_code_in_its_systems_loop_down_to_its_on_stop(autojump_clock: MockClock) -> None:
    at_the_end: list[int] = []
    async with open_system(name="edged") as system:
        actor = await system.start(AtTheEdge, system, at_the_end)
        assert await actor.ask(Double(21)) == 42
        assert system.asyncio is system.asyncio
        assert system.asyncio.name == "edged asyncio"
        assert system.asyncio.statistics().is_open
    assert at_the_end == [200]
    assert not system.asyncio.statistics().is_open
    with pytest.raises(AsyncioLoopEnded):
        await system.asyncio.run(double, 1)


async def test_also_in_a_system_that_is_cancelled_an_on_stop_can_await_asyncio_code(autojump_clock: MockClock) -> None:
    at_the_end: list[int] = []
    with trio.move_on_after(10) as scope:
        async with open_system() as system:
            actor = await system.start(AtTheEdge, system, at_the_end)
            assert await actor.ask(Double(21)) == 42
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert at_the_end == [200]
    assert not system.asyncio.statistics().is_open


async def test_asyncio_code_that_an_actor_is_in_is_cancelled_with_its_system(autojump_clock: MockClock) -> None:
    with trio.move_on_after(10) as scope:
        async with open_system() as system:
            actor = await system.start(AtTheEdge, system, [])
            actor.tell(Linger())
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert system.asyncio.statistics().cancelled == 1
    assert system.asyncio.statistics().forced == 0


async def test_a_closed_system_that_never_used_asyncio_says_that_it_is_too_late() -> None:
    async with open_system() as system:
        pass
    with pytest.raises(AsyncioLoopEnded):
        await system.asyncio.run(double, 1)


async def test_the_loop_does_not_keep_the_context_of_the_first_message_that_used_it(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        actor = await system.start(AtTheEdge, system, [])
        remembered = Remembered()
        gone = weakref.ref(remembered)
        token = KEPT.set(remembered)
        assert await actor.ask(Double(1)) == 2
        KEPT.reset(token)
        del remembered, token
        await trio.sleep(1)
        gc.collect()
        assert gone() is None
