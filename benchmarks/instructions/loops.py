"""The loops whose instructions are counted. It is measured, and measures nothing itself: that is `measured`.

It is always this commit's file, also where it runs on the packages of an older one, so at the top it imports only names
that have long been there; a loop that needs more imports it itself, and is reported as new where that fails.

A count repeats to 1e-5 because nothing in it is left to chance. Time stands still while anything can run, so that no
drain ends because the machine was busy; trio's dice have a seed; `measured` sees to the hash seed and the collector.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, final

import trio

from vespera_agents.actors import Actor, ActorSystem, MailboxSpec, Request, open_system, receives

PACKAGES = ("supervisors", "vespera_agents")
"""What is measured: these must come from the tree in question and from nowhere else."""
BURST = 100
"""Messages told before the teller lets others run; also how many callers ask at once."""
SEED = 7
IDLE_MAX = 1_000
"""Looks in a row that find nothing to do and nothing to wait for."""


@final
class StillClock(trio.abc.Clock):
    """Time that stands still while anything can run, and jumps to the next deadline when nothing can."""

    def __init__(self) -> None:
        self.now = 0.0
        """Seconds since the start."""
        self._idle = 0

    def start_clock(self) -> None:
        """Do nothing: there is nothing to start."""

    def current_time(self) -> float:
        """Return the time."""
        return self.now

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """Jump; never let anyone sleep."""
        if deadline < math.inf:
            self.now = max(self.now, deadline)
            self._idle = 0
        elif self._idle == IDLE_MAX:
            raise RuntimeError("Nothing can run and nothing is due: this loop waits for ever.")
        else:
            # Trio wakes itself up through a socket now and then: what it wrote is there at the next look.
            self._idle += 1
        return 0.0


@final
@dataclass(frozen=True, slots=True)
class Add:
    """A message to tell."""

    amount: int


@final
class Fail:
    """A message that crashes its actor."""


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

    @receives
    def fail(self, message: Fail) -> None:
        """Crash."""
        raise ValueError(message)


@final
class AsyncAdder(Actor):
    """Counts what it is told in a handler that could wait, and does not."""

    def __init__(self) -> None:
        self.total = 0

    @receives
    async def add(self, message: Add) -> None:
        """Count one message."""
        self.total += message.amount

    @receives
    def answer(self, message: Total) -> int:  # noqa: ARG002 - the type chooses the method
        """Say how much there was."""
        return self.total


def opened() -> AbstractAsyncContextManager[ActorSystem]:
    return open_system(name="counted", intensity=1_000_000_000)


async def tell(count: int, actor: type[Adder | AsyncAdder] = Adder) -> None:
    """Tell a sync handler, 100 per wake-up."""
    async with opened() as system:
        adder = await system.start(actor, name="adder", mailbox=MailboxSpec(capacity=2 * BURST))
        message = Add(1)
        for _ in range(count // BURST):
            for _ in range(BURST):
                adder.tell(message)
            await trio.lowlevel.checkpoint()
        assert await adder.ask(Total()) == count


async def tell_async(count: int) -> None:
    """Tell an async handler that does not suspend, 100 per wake-up."""
    await tell(count, AsyncAdder)


async def send(count: int) -> None:
    """Send, with backpressure from a mailbox that holds 100."""
    async with opened() as system:
        adder = await system.start(Adder, name="adder", mailbox=MailboxSpec(capacity=BURST))
        message = Add(1)
        for _ in range(count):
            await adder.send(message)
        assert await adder.ask(Total()) == count


async def ask(count: int) -> None:
    """Ask, one caller."""
    async with opened() as system:
        adder = await system.start(Adder, name="adder", mailbox=MailboxSpec(capacity=2 * BURST))
        question = Total()
        for _ in range(count):
            assert await adder.ask(question) == 0


async def ask_100(count: int) -> None:
    """Ask, 100 callers at once."""
    async with opened() as system:
        adder = await system.start(Adder, name="adder", mailbox=MailboxSpec(capacity=2 * BURST))

        async def caller() -> None:
            question = Total()
            for _ in range(count // BURST):
                assert await adder.ask(question) == 0

        async with trio.open_nursery() as nursery:
            for _ in range(BURST):
                nursery.start_soon(caller)


async def start(count: int) -> None:
    """Start an actor, waiting until it is ready, and stop it with the system."""
    async with opened() as system:
        for _ in range(count):
            await system.start(Adder)


async def spawn(count: int) -> None:
    """Spawn an actor without waiting, let it become ready, and stop it with the system."""
    async with opened() as system:
        for _ in range(count // BURST):
            for _ in range(BURST):
                adder = system.spawn(Adder)
            assert await adder.ask(Total()) == 0


async def restart(count: int) -> None:
    """Crash an actor, and ask the one that its supervisor has started in its place."""
    async with opened() as system:
        adder = await system.start(Adder, name="adder")
        fail, question = Fail(), Total()
        for _ in range(count):
            adder.tell(fail)
            assert await adder.ask(question) == 0


class Loop(NamedTuple):
    """One loop, and the two lengths whose difference is counted."""

    run: Callable[[int], None]
    """Runs the loop with so many messages, from an empty process to its end."""
    few: int
    """Messages in the shorter run: until the interpreter is warm; 100 callers need 10 rounds, or it is 8 % more."""
    many: int
    """Messages in the longer run."""


def run(loop: Callable[[int], Awaitable[None]], count: int) -> None:
    importlib.import_module("trio._core._run")._r.seed(SEED)  # noqa: SLF001 - the dice that order trio's tasks
    trio.run(loop, count, clock=StillClock())


LOOPS = {
    "tell": Loop(partial(run, tell), 1_000, 5_000),
    "tell_async": Loop(partial(run, tell_async), 1_000, 5_000),
    "send": Loop(partial(run, send), 1_000, 5_000),
    "ask": Loop(partial(run, ask), 500, 1_500),
    "ask_100": Loop(partial(run, ask_100), 1_500, 3_000),
    "start": Loop(partial(run, start), 100, 300),
    "spawn": Loop(partial(run, spawn), 100, 300),
    "restart": Loop(partial(run, restart), 150, 450),
}
"""Every loop by name."""
