"""Watchdog: what does it cost the loop that it watches, and does a healthy one ever make it bark?

Its hooks are paid for by each tick of the loop, its thread twenty times a second, and looking through all actors every
five seconds. The healthy loop is as busy as it can be: actors that are told as fast as they can take it, handlers that
compute for 20 ms, garbage, a thread that hashes and one that computes. Each stall that it is blamed for is printed.

`python -m benchmarks watchdog --minutes 10` watches it for ten minutes; without a length it is one.
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final, final

import trio
from trio.lowlevel import checkpoint

from benchmarks.harness import Options, Row, compare, row_of
from benchmarks.messages import BURST, Add, Adder, tells
from benchmarks.populations import populate
from vespera_agents.actors import Actor, MailboxFull, open_system, receives
from vespera_agents.health.watchdog import Stall, Watchdog, WatchdogSettings
from vespera_agents.health.watchdog.wedging import WedgeScan

MANY: Final = 10_000
TICKS: Final = 200_000
TELLS: Final = 4_000_000
ADDERS: Final = 20
COMPUTE_SECONDS: Final = 0.02
"""How long a handler of a healthy program may have the loop for itself: a tenth of what counts as blocked."""
QUICK_SECONDS: Final = 3.0
SCAN_SHARE: Final = 0.01
"""The part of the loop's time that looking through all actors may take."""


async def run(options: Options) -> list[Row]:
    """Measure its cost, then watch a healthy loop."""
    ticks, told = options.scaled(TICKS), options.scaled(TELLS)
    return [
        await compare(
            "tick of a loop that has nothing else to do",
            unit="ns",
            ours=lambda: nanoseconds_of_a_watched_tick(ticks),
            reference="unwatched",
            measure_reference=lambda: nanoseconds_of_a_tick(ticks),
            goal=2.0,
            goal_is="at most",
            clock="processor",
            options=options,
        ),
        await compare(
            "tells with the watchdog",
            unit="tells/s",
            ours=lambda: watched_tells(told),
            reference="unwatched",
            measure_reference=lambda: tells(told, timer=time.process_time),
            goal=0.93,
            clock="processor",
            options=options,
        ),
        *[await scan(options, MANY, has_mail=has_mail) for has_mail in (False, True)],
        await false_alarms(QUICK_SECONDS if options.quick else 60 * options.minutes),
    ]


@asynccontextmanager
async def watched(settings: WatchdogSettings | None = None) -> AsyncIterator[Watchdog]:
    """Watch this loop for the length of a block."""
    dog = Watchdog(settings)
    async with trio.open_nursery() as nursery:
        await nursery.start(dog.run)
        yield dog
        nursery.cancel_scope.cancel()


async def nanoseconds_of_a_watched_tick(count: int) -> float:
    """Give way to nobody so many times, while somebody watches."""
    async with watched():
        return await nanoseconds_of_a_tick(count)


async def nanoseconds_of_a_tick(count: int) -> float:
    """Give way to nobody so many times."""
    began = time.process_time()
    for _ in range(count):
        await checkpoint()
    return (time.process_time() - began) / count * 1e9


async def watched_tells(count: int) -> float:
    """Tell so many messages while somebody watches."""
    async with watched():
        return await tells(count, timer=time.process_time)


async def scan(options: Options, count: int, *, has_mail: bool) -> Row:
    """Look through so many actors, of which each has nothing to do, or is busy and has mail."""
    limits = WatchdogSettings()
    seconds: list[float] = []
    async with open_system(name="benchmark") as system:
        if has_mail:
            for _ in range(count):
                actor = system.spawn(Waiter)
                actor.tell(Add(1))
                actor.tell(Add(1))
            await trio.testing.wait_all_tasks_blocked()
        else:
            await populate(system, count)
        look = WedgeScan(system, limits)
        for _ in range(options.rounds + 1):
            began = time.thread_time()
            await look.look_through()
            seconds.append(time.thread_time() - began)
        assert look.count == 0
    return row_of(
        f"looking through {count:,} actors {'with mail' if has_mail else 'that wait'}",
        unit="ms",
        ours=[each * 1e3 for each in seconds[1:]],
        reference=f"the loop's time in the {limits.scan_seconds:g} s between",
        references=[limits.scan_seconds * 1e3] * (len(seconds) - 1),
        goal=SCAN_SHARE,
        goal_is="at most",
        clock="processor",
    )


@final
class Waiter(Actor):
    """Never gets to its second message."""

    @receives
    async def add(self, _: Add) -> None:
        """Wait."""
        await trio.sleep_forever()


@final
class Computer(Actor):
    """Keeps the loop for itself, as long as a healthy program may."""

    @receives
    def add(self, _: Add) -> None:
        """Compute."""
        end = time.thread_time() + COMPUTE_SECONDS
        while time.thread_time() < end:
            sum(range(1_000))


async def false_alarms(seconds: float) -> Row:
    """Keep a healthy loop as busy as can be, and count what it is blamed for."""
    over = trio.current_time() + seconds
    last = -1
    async with watched() as dog, open_system(name="benchmark") as system, trio.open_nursery() as nursery:
        for actor in [system.spawn(Adder) for _ in range(ADDERS)]:
            nursery.start_soon(tell_on, actor.tell, over, 1)
        nursery.start_soon(tell_on, system.spawn(Computer).tell, over, 0)
        nursery.start_soon(make_garbage, over)
        for work in (hash_much, compute_much):
            nursery.start_soon(trio.to_thread.run_sync, work, over - trio.current_time())
        while trio.current_time() < over:
            await trio.sleep(1.0)
            for stall in dog.stalls[last + 1 :]:
                tell_of(stall)
            last = len(dog.stalls) - 1
        figures = dog.statistics()
    print(
        f"{figures.ticks:,} ticks, {figures.busy_seconds / (figures.busy_seconds + figures.idle_seconds):.0%} busy, "
        f"lag at the 99th of 100: at most {figures.lag.quantile(0.99):g} s, "
        f"{figures.starved_seconds:.1f} s without a processor",
        file=sys.stderr,
    )
    return row_of(
        f"false alarms in {seconds:.0f} s",
        unit="stalls",
        ours=[figures.stalls],
        reference="what a healthy loop is worth",
        references=[1.0],
        goal=0.0,
        goal_is="at most",
    )


async def tell_on(tell: Callable[[object], None], until: float, burst: int) -> None:
    """Tell an actor as much as it takes."""
    message = Add(1)
    while trio.current_time() < until:
        try:
            for _ in range(BURST * burst or 1):
                tell(message)
        except MailboxFull:
            await trio.sleep(0.001)
        if burst:
            await checkpoint()
        else:
            await trio.sleep(COMPUTE_SECONDS * 5)


async def make_garbage(until: float) -> None:
    """Make what only a collection finds; ten times as much makes a collection that blocks the loop for 0.3 s."""
    kept: list[list[object]] = []
    while trio.current_time() < until:
        for _ in range(20):
            circle: list[object] = []
            circle.append(circle)
            kept.append(circle)
        del kept[:-5_000]
        await trio.sleep(0.001)


def hash_much(seconds: float) -> None:
    """Work without the interpreter, a third of the time."""
    data, end = bytes(1 << 22), time.perf_counter() + seconds
    while time.perf_counter() < end:
        hashlib.sha256(data)
        time.sleep(0.03)


def compute_much(seconds: float) -> None:
    """Work with the interpreter, which it gives away when it is asked to."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        sum(range(100))
        # Not always, so that something is left for the loop.
        time.sleep(0.001)


def tell_of(stall: Stall) -> None:
    """Print a false alarm."""
    print(
        f"{stall.seconds:.3f} s ({stall.starved_seconds:.3f} s starved), {stall.actor or stall.task}: {stall.line}",
        file=sys.stderr,
    )
