"""The loops over many actors: what a message costs among 100,000, and what starting and keeping one costs.

Each measurement makes its own population and ends it, so that the other side never pays for it. Bare trio does the same
with the least that it offers: a parked task with a slot. No loop is a benchmark by itself: `actors` puts them beside
each other. All of it runs in one thread, so processor time is the cost.
"""

from __future__ import annotations

import gc
import math
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import final

import trio
from trio.lowlevel import Abort, RaiseCancelT, Task, checkpoint, current_task, reschedule, wait_task_rescheduled
from trio.testing import wait_all_tasks_blocked

from benchmarks.messages import BURST, SENDER, Add, Adder
from vespera_agents.actors import ActorRef, ActorState, ActorSystem, open_system

FEW = 10
"""The small population; also how many actors get a single message before the teller lets them run."""


@final
@dataclass(frozen=True, slots=True)
class Costs:
    """What a message of ours cost in one population, in microseconds."""

    single: float
    """When each of ten actors got one message per wake-up."""
    burst: float
    """When one actor got 100 per wake-up."""


async def populate(system: ActorSystem, count: int) -> list[ActorRef[Adder]]:
    """Start so many actors with everything on, and wait until all of them wait for mail."""
    actors = [system.spawn(Adder) for _ in range(count)]
    await wait_all_tasks_blocked()
    return actors


@asynccontextmanager
async def a_population(count: int) -> AsyncIterator[list[ActorRef[Adder]]]:
    """Keep so many actors for the length of a block, and see afterwards that they all ran."""
    async with open_system(name="benchmark") as system:
        actors = await populate(system, count)
        SENDER.set("the sender")
        yield actors
        kind = system.statistics().kinds["Adder"]
        assert kind.actors[ActorState.RUNNING] == count


async def costs_of_ours(count: int, messages: int, bursts: int) -> Costs:
    """Return what one of so many messages, single or in so many bursts, costs among so many actors."""
    async with a_population(count) as actors:
        passes = math.ceil(messages / count)
        await one_each(actors, 1)  # Whatever an actor makes on its first message is not what a message costs.
        gc.collect()
        single = await one_each(actors, passes)
        gc.collect()
        burst = await a_hundred_each(actors, bursts)
        assert sum(actor.statistics().handled for actor in actors) == count * (passes + 1) + bursts * BURST
    return Costs(single, burst)


async def one_each(actors: Sequence[ActorRef[Adder]], passes: int) -> float:
    """Tell every actor one message, ten actors per wake-up, so many times; return the cost of one in microseconds."""
    message = Add(1)
    began = time.thread_time()
    for _ in range(passes):
        for place in range(0, len(actors), FEW):
            for actor in actors[place : place + FEW]:
                actor.tell(message)
            await checkpoint()
    await wait_all_tasks_blocked()
    return (time.thread_time() - began) / passes / len(actors) * 1e6


async def a_hundred_each(actors: Sequence[ActorRef[Adder]], bursts: int) -> float:
    """Tell one actor after another a hundred messages, spread over all; return the cost of one in microseconds."""
    message = Add(1)
    stride = max(1, len(actors) // bursts)
    chosen = [actors[number * stride % len(actors)] for number in range(bursts)]
    began = time.thread_time()
    for actor in chosen:
        for _ in range(BURST):
            actor.tell(message)
        await checkpoint()
    await wait_all_tasks_blocked()
    return (time.thread_time() - began) / bursts / BURST * 1e6


@final
class Slot:
    """The least that a parked task needs to be told something: a number, and where it is parked."""

    __slots__ = ("handled", "mail", "task")

    def __init__(self) -> None:
        self.mail = 0
        self.handled = 0
        self.task: Task | None = None

    def tell(self) -> None:
        """Leave one message."""
        self.mail += 1
        task = self.task
        if task is not None:
            self.task = None
            reschedule(task)

    async def run(self) -> None:
        """Take messages for ever."""

        def leave(_raise_cancel: RaiseCancelT) -> Abort:
            self.task = None
            return Abort.SUCCEEDED

        while True:
            while self.mail:
                self.mail -= 1
                self.handled += 1
            self.task = current_task()
            await wait_task_rescheduled(leave)


async def costs_of_bare(count: int, messages: int) -> float:
    """Return what one of so many single messages costs among so many bare parked tasks."""
    passes = math.ceil(messages / count)
    slots = [Slot() for _ in range(count)]
    async with trio.open_nursery() as nursery:
        for slot in slots:
            nursery.start_soon(slot.run)
        await wait_all_tasks_blocked()
        await one_each_bare(slots, 1)
        gc.collect()
        single = await one_each_bare(slots, passes)
        nursery.cancel_scope.cancel()
    assert sum(slot.handled for slot in slots) == count * (passes + 1)
    return single


async def one_each_bare(slots: Sequence[Slot], passes: int) -> float:
    """Do with slots what `one_each` does with actors."""
    began = time.thread_time()
    for _ in range(passes):
        for place in range(0, len(slots), FEW):
            for slot in slots[place : place + FEW]:
                slot.tell()
            await checkpoint()
    await wait_all_tasks_blocked()
    return (time.thread_time() - began) / passes / len(slots) * 1e6


async def spawns(count: int) -> float:
    """Spawn so many actors, and return how many were up and waiting for mail per second."""
    async with open_system(name="benchmark") as system:
        return await started_per_second(count, lambda: [system.spawn(Adder) for _ in range(count)], system)


async def starts(count: int) -> float:
    """Start so many actors one after the other, each awaited until it is ready."""
    async with open_system(name="benchmark") as system:
        began = time.thread_time()
        for _ in range(count):
            await system.start(Adder)
        result = count / (time.thread_time() - began)
        assert system.statistics().kinds["Adder"].actors[ActorState.RUNNING] == count
    return result


async def started_per_second(count: int, start: Callable[[], object], system: ActorSystem) -> float:
    """Time starting until nothing is runnable any more, and see that all are up."""
    began = time.thread_time()
    kept = start()
    await wait_all_tasks_blocked()
    result = count / (time.thread_time() - began)
    assert system.statistics().kinds["Adder"].actors[ActorState.RUNNING] == count
    del kept
    return result


async def start_soons(count: int) -> float:
    """Start so many bare tasks that park, and return how many were parked per second."""
    async with trio.open_nursery() as nursery:
        began = time.thread_time()
        for _ in range(count):
            nursery.start_soon(trio.sleep_forever)
        await wait_all_tasks_blocked()
        result = count / (time.thread_time() - began)
        nursery.cancel_scope.cancel()
    return result


async def memory_of_actors(count: int) -> float:
    """Return the bytes of one idle actor with its name, its mailbox and its place in the supervisor."""
    async with open_system(name="benchmark") as system:
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        actors = await populate(system, count)
        gc.collect()
        after = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert len(actors) == count
    return (after - before) / count


async def memory_of_parked(count: int) -> float:
    """Return the bytes of one bare parked task."""
    async with trio.open_nursery() as nursery:
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(count):
            nursery.start_soon(trio.sleep_forever)
        await wait_all_tasks_blocked()
        gc.collect()
        after = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        nursery.cancel_scope.cancel()
    return (after - before) / count
