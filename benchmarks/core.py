"""Messages: how fast are tell and ask beside what bare trio offers for the same?

Ours runs with everything on: supervision, a bounded mailbox, counters, a registered name. The reference of tell is a
memory channel with one awaiting sender and one awaiting receiver, the reference of ask is two tasks that park and
reschedule each other, which is the least that a question with an answer can cost.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import final

import trio
import trio.testing
from trio.lowlevel import Abort, RaiseCancelT, Task, current_task, reschedule, wait_task_rescheduled

from benchmarks.harness import Options, Row, compare
from vespera_agents.actors import Actor, MailboxSpec, Request, open_system, receives

TELLS = 100_000
TELLS_BARE = 20_000
ASKS = 20_000
BURST = 100
"""How many messages are told before the teller lets others run; also the channel's buffer."""


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
class Adder(Actor):
    """Counts what it is told."""

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


async def run(options: Options) -> list[Row]:
    """Measure tell, then ask."""
    return [
        await compare(
            "tell, 100 per wake-up",
            unit="tells/s",
            ours=lambda: tells(options.scaled(TELLS)),
            reference="trio memory channel, awaited send and receive",
            measure_reference=lambda: channel(options.scaled(TELLS_BARE)),
            goal=0.55,
            options=options,
        ),
        await compare(
            "ask, one caller",
            unit="asks/s",
            ours=lambda: asks(options.scaled(ASKS)),
            reference="two tasks that park and reschedule",
            measure_reference=lambda: parks(options.scaled(ASKS)),
            goal=0.55,
            options=options,
        ),
    ]


async def rate(count: int, work: Callable[[], Awaitable[object]]) -> float:
    """Do the work, which handles so many messages, and return how many it did per second."""
    started = time.perf_counter()
    await work()
    return count / (time.perf_counter() - started)


async def tells(count: int) -> float:
    async with open_system(name="benchmark") as system:
        adder = await system.start(Adder, name="adder", mailbox=MailboxSpec(capacity=20 * BURST))

        async def work() -> None:
            message = Add(1)
            for _ in range(count // BURST):
                for _ in range(BURST):
                    adder.tell(message)
                await trio.lowlevel.checkpoint()
            assert await adder.ask(Total(), timeout_seconds=60) == count // BURST * BURST

        return await rate(count, work)


async def channel(count: int) -> float:
    async def receive(channel: trio.MemoryReceiveChannel[Add]) -> None:
        total = 0
        async with channel:
            async for message in channel:
                total += message.amount
        assert total == count

    async def work() -> None:
        sender, receiver = trio.open_memory_channel[Add](BURST)
        message = Add(1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive, receiver)
            async with sender:
                for _ in range(count):
                    await sender.send(message)

    return await rate(count, work)


async def asks(count: int) -> float:
    async with open_system(name="benchmark") as system:
        adder = await system.start(Adder, name="adder", mailbox=MailboxSpec(capacity=20 * BURST))

        async def work() -> None:
            question = Total()
            for _ in range(count):
                assert await adder.ask(question, timeout_seconds=60) == 0

        return await rate(count, work)


async def parks(count: int) -> float:
    callee: list[Task] = []

    def stay(_raise_cancel: RaiseCancelT) -> Abort:
        return Abort.FAILED

    async def answer(caller: Task) -> None:
        callee.append(current_task())
        for _ in range(count):
            await wait_task_rescheduled(stay)
            reschedule(caller)

    async def work() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer, current_task())
            await trio.testing.wait_all_tasks_blocked()
            for _ in range(count):
                reschedule(callee[0])
                await wait_task_rescheduled(stay)

    return await rate(count, work)
