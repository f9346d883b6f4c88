"""The loops that send messages: ours with everything on, and the least that bare trio offers for the same.

Ours runs supervised, with a bounded mailbox, counters, a registered name, and a sender whose context differs from the
system's, so that each message carries one. The reference of tell and send is a memory channel with an awaiting sender
and an awaiting receiver; the reference of ask is two tasks that park and reschedule each other, which is the least that
a question with an answer can cost. No loop is a benchmark by itself: `actors` puts them beside each other.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import final

import trio
from trio.lowlevel import Abort, RaiseCancelT, Task, current_task, reschedule, wait_task_rescheduled
from trio.testing import wait_all_tasks_blocked

from vespera_agents.actors import (
    Actor,
    ActorRef,
    MailboxFull,
    MailboxSpec,
    MessageOutcome,
    Request,
    open_system,
    receives,
)

BURST = 100
"""How many messages are told before the teller lets others run; also the channel's buffer."""
CALLERS = 100
"""How many ask at once."""
LONG_SECONDS = 60.0
"""The timeout of every ask: armed, as in earnest, and never reached."""
SENDER: ContextVar[str] = ContextVar("SENDER", default="")
"""Set by every sender of ours, so that its context is worth carrying."""

Timer = Callable[[], float]
"""`time.thread_time` where one thread does all the work; `time.perf_counter` beside peers with threads or processes."""


@final
@dataclass(frozen=True, slots=True)
class Add:
    """A message to tell."""

    amount: int


@final
class Total(Request[int]):
    """A message to ask."""

    __slots__ = ()


@final
class WhoAsks(Request[str]):
    """A message to ask for the context that the handler of the last Add ran in."""

    __slots__ = ()


@final
class Adder(Actor):
    """Counts what it is told, in a sync handler."""

    def __init__(self) -> None:
        self.total = 0

    @receives
    def add(self, message: Add) -> None:
        """Count one message."""
        self.total += message.amount

    @receives
    def answer(self, message: Total) -> int:  # noqa: ARG002 - the type chooses the method
        """Say how much there was."""
        return self.total


@final
class AsyncAdder(Actor):
    """Counts what it is told, in an async handler that never suspends."""

    def __init__(self) -> None:
        self.total = 0

    @receives
    async def add(self, message: Add) -> None:
        """Count one message."""
        self.total += message.amount

    @receives
    async def answer(self, message: Total) -> int:  # noqa: ARG002
        """Say how much there was."""
        return self.total


@final
class Witness(Actor):
    """Remembers the context that a message came with."""

    def __init__(self) -> None:
        self.sender = ""

    @receives
    def add(self, message: Add) -> None:  # noqa: ARG002
        """Look at the context."""
        self.sender = SENDER.get()

    @receives
    def answer(self, message: WhoAsks) -> str:  # noqa: ARG002
        """Say what the last message's context was."""
        return self.sender


async def context_is_carried() -> bool:
    """Tell a message, and see whether its handler ran in the sender's context."""
    async with open_system(name="benchmark") as system:
        witness = await system.start(Witness)
        SENDER.set("the teller")
        witness.tell(Add(1))
        return await witness.ask(WhoAsks()) == "the teller"


@asynccontextmanager
async def an_actor(
    kind: Callable[[], Adder] | Callable[[], AsyncAdder] = Adder, *, capacity: int = 10 * BURST
) -> AsyncIterator[ActorRef[Adder] | ActorRef[AsyncAdder]]:
    """Start one actor with everything on, and check its name and its counters afterwards."""
    async with open_system(name="benchmark") as system:
        actor = await system.start(kind, name="adder", mailbox=MailboxSpec(capacity))
        SENDER.set("the sender")
        yield actor
        assert system.whereis("adder") is actor
        counted = system.statistics().kinds[actor.kind].messages[MessageOutcome.HANDLED]
        assert counted == actor.statistics().handled > 0
        assert system.statistics().dead_letters == 0


async def rate(count: int, work: Callable[[], Awaitable[object]], timer: Timer) -> float:
    """Do the work, which is so many messages, and return how many it did per second."""
    began = timer()
    await work()
    return count / (timer() - began)


async def tells(
    count: int,
    kind: Callable[[], Adder] | Callable[[], AsyncAdder] = Adder,
    timer: Timer = time.thread_time,
) -> float:
    """Tell so many messages, 100 per wake-up of the actor."""
    async with an_actor(kind) as adder:
        return await rate(count // BURST * BURST, lambda: tell_all(adder, count), timer)


async def tell_all(adder: ActorRef[Adder] | ActorRef[AsyncAdder], count: int) -> None:
    """Tell so many messages, 100 per wake-up of the actor, and see that the last one was handled."""
    message = Add(1)
    before = await adder.ask(Total(), timeout_seconds=LONG_SECONDS)
    for _ in range(count // BURST):
        for _ in range(BURST):
            try:
                adder.tell(message)
            except MailboxFull:
                # On a busy machine the actor's time is up before its mail is, and it never catches up.
                await adder.send(message)
        await trio.lowlevel.checkpoint()
    assert await adder.ask(Total(), timeout_seconds=LONG_SECONDS) - before == count // BURST * BURST


async def sends(count: int) -> float:
    """Send so many messages with backpressure: the sender waits whenever 100 lie in the mailbox."""
    async with an_actor(capacity=BURST) as adder:

        async def work() -> None:
            message = Add(1)
            for _ in range(count):
                await adder.send(message)
            assert await adder.ask(Total(), timeout_seconds=LONG_SECONDS) == count

        return await rate(count, work, time.thread_time)


async def channel(count: int, timer: Timer = time.thread_time) -> float:
    """Send so many messages through a memory channel."""
    total = 0

    async def receive(channel: trio.MemoryReceiveChannel[Add]) -> None:
        nonlocal total
        async with channel:
            async for message in channel:
                total += message.amount

    async def work() -> None:
        sender, receiver = trio.open_memory_channel[Add](BURST)
        message = Add(1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive, receiver)
            async with sender:
                for _ in range(count):
                    await sender.send(message)

    result = await rate(count, work, timer)
    assert total == count
    return result


async def asks(count: int, timer: Timer = time.thread_time) -> float:
    """Ask so many questions, one after the other."""
    async with an_actor() as adder:

        async def work() -> None:
            question = Total()
            for _ in range(count):
                assert await adder.ask(question, timeout_seconds=LONG_SECONDS) == 0

        return await rate(count, work, timer)


async def asks_of_many(count: int) -> float:
    """Ask so many questions, from 100 callers at once."""
    async with an_actor() as adder:
        answers = 0

        async def ask() -> None:
            nonlocal answers
            question = Total()
            for _ in range(count // CALLERS):
                assert await adder.ask(question, timeout_seconds=LONG_SECONDS) == 0
                answers += 1

        async def work() -> None:
            async with trio.open_nursery() as nursery:
                for _ in range(CALLERS):
                    nursery.start_soon(ask)

        result = await rate(count // CALLERS * CALLERS, work, time.thread_time)
        assert answers == count // CALLERS * CALLERS
        return result


async def parks(count: int) -> float:
    """Let two tasks park and reschedule each other so many times, by public calls only."""
    callee: list[Task] = []

    def stay(_raise_cancel: RaiseCancelT) -> Abort:
        return Abort.FAILED

    async def answer(caller: Task) -> None:
        callee.append(current_task())
        for _ in range(count):
            await wait_task_rescheduled(stay)
            reschedule(caller)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer, current_task())
        await wait_all_tasks_blocked()

        async def work() -> None:
            for _ in range(count):
                reschedule(callee[0])
                await wait_task_rescheduled(stay)

        return await rate(count, work, time.thread_time)
