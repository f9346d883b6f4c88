"""Context variables travel with each message, and what a handler changes in them ends with it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from vespera_agents.actors import Actor, ActorRef, MailboxSpec, Overflow, Request, open_system, receives

WHO: ContextVar[str] = ContextVar("WHO", default="nobody")


@dataclass
class Sync(Request[str]): ...


@dataclass
class Quick(Request[str]):
    """Async, and never suspended."""


@dataclass
class Slow(Request[str]):
    """Async; looks before and after each of two waits."""


@dataclass
class Nested(Request[str]):
    """Asks in a nursery and in a thread that it starts."""


@dataclass
class Dirty(Request[str]):
    """Changes the variable, before and after a wait."""


@dataclass
class Relay(Request[str]):
    to: ActorRef[Reader]


@dataclass
class Later:
    seconds: float
    every: bool = False


class Tick: ...


class Reader(Actor):
    def __init__(self, log: list[str]) -> None:
        self.log = log

    def look(self, where: str) -> str:
        self.log.append(f"{where} {WHO.get()}")
        return WHO.get()

    @receives
    def sync(self, _message: Sync) -> str:
        return self.look("sync")

    @receives
    async def quick(self, _message: Quick) -> str:
        return self.look("quick")

    @receives
    async def slow(self, _message: Slow) -> str:
        seen = {WHO.get()}
        for _ in range(2):
            await trio.sleep(1)
            seen.add(WHO.get())
        return self.look(f"slow {len(seen)}")

    @receives
    async def nested(self, _message: Nested) -> str:
        seen: list[str] = []

        async def child() -> None:
            seen.append(WHO.get())
            await trio.lowlevel.checkpoint()
            seen.append(WHO.get())

        await trio.lowlevel.checkpoint()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(child)
        seen.append(await trio.to_thread.run_sync(WHO.get))
        return " ".join(seen)

    @receives
    async def dirty(self, _message: Dirty) -> str:
        WHO.set("dirty")
        await trio.sleep(1)
        before = WHO.get()
        WHO.set("dirtier")
        await trio.sleep(1)
        return f"{before} {WHO.get()}"

    @receives
    async def relay(self, message: Relay) -> str:
        await trio.sleep(1)
        return await message.to.ask(Slow())

    @receives
    def later(self, message: Later) -> None:
        if message.every:
            self.tell_every(message.seconds, Tick())
        else:
            self.tell_after(message.seconds, Tick())
        WHO.set("after the timer was set")

    @receives
    def tick(self, _message: Tick) -> None:
        self.look("tick")
        WHO.set("changed by a tick")


@pytest.mark.parametrize("request_", [Sync(), Quick(), Slow()], ids=["sync", "async", "suspended"])
@pytest.mark.parametrize("how", ["tell", "send", "ask"])
async def test_a_handler_runs_with_the_variables_of_whoever_sent_the_message(
    how: str, request_: Request[str], autojump_clock: MockClock
) -> None:
    log: list[str] = []
    async with open_system() as system:
        ref = await system.start(Reader, log)
        for name in ("ann", "bob"):
            WHO.set(name)
            if how == "tell":
                ref.tell(request_)
            elif how == "send":
                await ref.send(request_)
            else:
                assert await ref.ask(request_) == name
        WHO.set("changed afterwards")
        await trio.sleep(10)
    assert [line.split()[-1] for line in log] == ["ann", "bob"]
    if isinstance(request_, Slow):
        assert log == ["slow 1 ann", "slow 1 bob"]


async def test_they_are_those_of_the_moment_of_sending_also_where_the_letter_had_to_wait_for_room(
    autojump_clock: MockClock,
) -> None:
    log: list[str] = []
    async with open_system() as system:
        ref = await system.start(Reader, log, mailbox=MailboxSpec(1, Overflow.WAIT))
        ref.tell(Slow())
        await wait_all_tasks_blocked()
        ref.tell(Sync())

        async def as_(name: str, leave: Callable[[], Awaitable[object]]) -> None:
            WHO.set(name)
            await leave()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(as_, "cid", lambda: ref.send(Sync()))
            await wait_all_tasks_blocked()
            nursery.start_soon(as_, "dan", lambda: ref.ask(Sync(), timeout_seconds=100.0))
    assert log == ["slow 1 nobody", "sync nobody", "sync cid", "sync dan"]


async def test_urgent_mail_carries_them_too(autojump_clock: MockClock) -> None:
    log: list[str] = []
    async with open_system() as system:
        ref = await system.start(Reader, log, mailbox=MailboxSpec(1, urgent=(Sync,)))
        WHO.set("eve")
        assert await ref.ask(Sync()) == "eve"


async def test_what_a_handler_changes_is_seen_by_itself_and_by_no_later_message(autojump_clock: MockClock) -> None:
    log: list[str] = []
    async with open_system() as system:
        ref = await system.start(Reader, log)
        WHO.set("ann")
        assert await ref.ask(Dirty()) == "dirty dirtier"
        assert await ref.ask(Sync()) == "ann"
        assert WHO.get() == "ann", "nor by whoever asked"
        WHO.set("bob")
        assert await ref.ask(Dirty()) == "dirty dirtier"
        assert await ref.ask(Slow()) == "bob"


async def test_two_handlers_that_wait_at_the_same_time_do_not_mix_theirs(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        refs = [await system.start(Reader, []) for _ in range(3)]
        answers: list[tuple[str, str]] = []

        async def ask(ref: ActorRef[Reader], name: str) -> None:
            WHO.set(name)
            answers.append((name, await ref.ask(Slow())))

        async with trio.open_nursery() as nursery:
            for number, ref in enumerate(refs):
                nursery.start_soon(ask, ref, str(number))
        assert sorted(answers) == [("0", "0"), ("1", "1"), ("2", "2")]


async def test_a_nursery_and_a_thread_that_a_handler_starts_inherit_them() -> None:
    async with open_system() as system:
        ref = await system.start(Reader, [])
        WHO.set("ann")
        assert await ref.ask(Nested(), timeout_seconds=60.0) == "ann ann ann"


async def test_they_go_on_with_what_a_handler_sends(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        first, second = await system.start(Reader, []), await system.start(Reader, [])
        WHO.set("ann")
        assert await first.ask(Relay(second)) == "ann"


@pytest.mark.parametrize("every", [False, True])
async def test_a_timer_carries_those_of_the_moment_when_it_was_set_to_each_tick(
    every: bool, autojump_clock: MockClock
) -> None:
    log: list[str] = []
    async with open_system() as system:
        ref = await system.start(Reader, log)
        WHO.set("ann")
        ref.tell(Later(1.0, every))
        WHO.set("bob")
        await trio.sleep(3.5)
    assert log == ["tick ann"] * (3 if every else 1)


async def test_the_hooks_of_an_actor_see_those_of_whoever_started_the_system_and_no_message_s(
    autojump_clock: MockClock,
) -> None:
    class Hooked(Reader):
        idle_timeout_seconds = 1.0

        async def on_idle(self) -> None:
            self.look("idle")
            self.stop()

        async def on_stop(self) -> None:
            self.look("stop")

    log: list[str] = []
    async with open_system() as system:
        ref = await system.start(Hooked, log)
        WHO.set("ann")
        await ref.ask(Dirty())
        await trio.sleep(5)
    assert log == ["idle nobody", "stop nobody"]
