"""What does a call from outside cost, and how long does a busy system keep the asyncio loop beside it waiting?

A system in a thread of its own is asked by an asyncio program and by sync code. The reference of both is the bare way
there and back: `run_sync_soon` into a trio thread, whose function answers at once by `call_soon_threadsafe` or a lock,
with no actor, no mailbox, no deadline and no batches. The reference of the delays is trio's guest mode in that loop.
Two threads take part, so all of it is taken by the wall. Where other work keeps the processors busy, a lone caller's
rate says little: each question wakes two threads, and each of these waits for a processor and for the interpreter.
"""

from __future__ import annotations

import asyncio
import statistics
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any

import outcome
import trio

from benchmarks.harness import Options, Row, compare
from benchmarks.messages import BURST, CALLERS, LONG_SECONDS, Adder, Total
from vespera_agents.actors import MailboxSpec, open_system
from vespera_agents.actors.embedding.asyncio_host import open_system_from_asyncio
from vespera_agents.actors.embedding.portal import open_system_portal

ROUND_TRIPS = 4_000
"""How many questions are asked one after the other in a round."""
ASKS = 40_000
"""How many questions many callers ask in a round."""
BUSY_SECONDS = 0.03
"""How long one side keeps the interpreter busy at a time."""
PAUSE_SECONDS = 0.005
"""How long it then waits for something."""
TICK_SECONDS = 0.002
"""How often the other side wants to do something."""
TICKS = 300
"""How often it does in a round."""
MILLISECONDS = 1000.0

Program = Callable[[], Coroutine[Any, Any, float]]
"""An asyncio program that measures something."""


async def run(options: Options) -> list[Row]:
    """Measure the ways in, then the delays."""
    trips, asks, ticks = options.scaled(ROUND_TRIPS), options.scaled(ASKS), options.scaled(TICKS)
    return [
        await compare(
            "an asyncio caller asks",
            unit="asks/s",
            ours=_elsewhere(partial(_asyncio_asks, trips, 1)),
            reference="bare way to a trio thread and back",
            measure_reference=_elsewhere(partial(_bare_trips, trips, 1)),
            goal=0.6,
            options=options,
        ),
        await compare(
            f"{CALLERS} asyncio callers ask",
            unit="asks/s",
            ours=_elsewhere(partial(_asyncio_asks, asks, CALLERS)),
            reference=f"bare way there and back, {CALLERS} callers",
            measure_reference=_elsewhere(partial(_bare_trips, asks, CALLERS)),
            goal=2.0,
            options=options,
        ),
        await compare(
            f"{CALLERS} asyncio callers ask",
            unit="asks/s",
            ours=_elsewhere(partial(_asyncio_asks, asks, CALLERS)),
            reference=f"{CALLERS} callers inside the system",
            measure_reference=partial(_inner_asks, asks),
            goal=0.4,
            options=options,
        ),
        await compare(
            "a portal asks",
            unit="asks/s",
            ours=lambda: trio.to_thread.run_sync(_portal_asks, trips),
            reference="bare way to a trio thread and back, by a lock",
            measure_reference=lambda: trio.to_thread.run_sync(_bare_portal_trips, trips),
            goal=0.6,
            options=options,
        ),
        await compare(
            "delay of asyncio beside a busy system",
            unit="ms",
            ours=_elsewhere(partial(_asyncio_delay, ticks)),
            reference="guest mode",
            measure_reference=_elsewhere(partial(_asyncio_delay_of_a_host, ticks)),
            goal=0.6,
            goal_is="at most",
            options=options,
        ),
        await compare(
            "delay of the system beside busy asyncio",
            unit="ms",
            ours=_elsewhere(partial(_system_delay, ticks)),
            reference="guest mode",
            measure_reference=_elsewhere(partial(_system_delay_as_a_guest, ticks)),
            goal=0.6,
            goal_is="at most",
            options=options,
        ),
    ]


def _elsewhere(program: Program) -> Callable[[], Awaitable[float]]:
    """Run an asyncio program in a thread of its own: a guest run cannot be opened inside a run of trio."""
    return lambda: trio.to_thread.run_sync(lambda: asyncio.run(program()))


# The way there and back ---------------------------------------------------------------------------------------------


async def _asyncio_asks(count: int, callers: int) -> float:
    async with open_system_from_asyncio() as host:
        adder = await host.start(Adder, mailbox=MailboxSpec(2 * BURST))

        async def ask(count: int) -> None:
            question = Total()
            for _ in range(count):
                assert await host.ask(adder, question, timeout_seconds=LONG_SECONDS) == 0

        return await _rate(ask, count, callers)


async def _bare_trips(count: int, callers: int) -> float:
    loop = asyncio.get_running_loop()
    with _bare_thread() as token:

        def answer(waiting: asyncio.Future[int]) -> None:
            loop.call_soon_threadsafe(waiting.set_result, 0)

        async def ask(count: int) -> None:
            for _ in range(count):
                waiting: asyncio.Future[int] = loop.create_future()
                token.run_sync_soon(answer, waiting)
                assert await waiting == 0

        return await _rate(ask, count, callers)


async def _rate(ask: Callable[[int], Coroutine[Any, Any, None]], count: int, callers: int) -> float:
    await ask(BURST)
    began = time.perf_counter()
    await asyncio.gather(*(ask(count // callers) for _ in range(callers)))
    return count // callers * callers / (time.perf_counter() - began)


async def _inner_asks(count: int) -> float:
    async with open_system(name="benchmark") as system:
        adder = await system.start(Adder, mailbox=MailboxSpec(2 * BURST))

        async def ask(count: int) -> None:
            question = Total()
            for _ in range(count):
                assert await adder.ask(question, timeout_seconds=LONG_SECONDS) == 0

        await ask(BURST)
        began = time.perf_counter()
        async with trio.open_nursery() as nursery:
            for _ in range(CALLERS):
                nursery.start_soon(ask, count // CALLERS)
        return count // CALLERS * CALLERS / (time.perf_counter() - began)


def _portal_asks(count: int) -> float:
    with open_system_portal() as portal:
        adder = portal.start(Adder)
        question = Total()
        began = 0.0
        for number in range(-BURST, count):
            if number == 0:
                began = time.perf_counter()
            assert portal.ask(adder, question, timeout_seconds=LONG_SECONDS) == 0
        return count / (time.perf_counter() - began)


def _bare_portal_trips(count: int) -> float:
    with _bare_thread() as token:
        began = 0.0
        for number in range(-BURST, count):
            if number == 0:
                began = time.perf_counter()
            waiting = threading.Lock()
            waiting.acquire()
            token.run_sync_soon(waiting.release)
            assert waiting.acquire(timeout=LONG_SECONDS)
        return count / (time.perf_counter() - began)


@contextmanager
def _bare_thread() -> Iterator[trio.lowlevel.TrioToken]:
    """Run trio in a thread, with nothing in it."""
    tokens: list[trio.lowlevel.TrioToken] = []
    started, ended = threading.Event(), trio.Event()

    async def main() -> None:
        tokens.append(trio.lowlevel.current_trio_token())
        started.set()
        await ended.wait()

    thread = threading.Thread(target=trio.run, args=(main,))
    thread.start()
    assert started.wait(LONG_SECONDS)
    try:
        yield tokens[0]
    finally:
        tokens[0].run_sync_soon(ended.set)
        thread.join(LONG_SECONDS)


# One side waits while the other is busy -----------------------------------------------------------------------------


async def _asyncio_delay(ticks: int) -> float:
    async with open_system_from_asyncio() as host:
        busy = asyncio.create_task(host.run(_busy, trio.sleep))
        delay = await _delay(ticks, asyncio.sleep)
        busy.cancel()
        await asyncio.wait([busy])
        return delay


async def _asyncio_delay_of_a_host(ticks: int) -> float:
    async with _guest(partial(_busy, trio.sleep)):
        return await _delay(ticks, asyncio.sleep)


async def _system_delay(ticks: int) -> float:
    async with open_system_from_asyncio() as host:
        busy = asyncio.create_task(_busy(asyncio.sleep))
        delay = await host.run(_delay, ticks, trio.sleep)
        busy.cancel()
        await asyncio.wait([busy])
        return delay


async def _system_delay_as_a_guest(ticks: int) -> float:
    delays: list[float] = []

    async def measure() -> None:
        delays.append(await _delay(ticks, trio.sleep))

    busy = asyncio.create_task(_busy(asyncio.sleep))
    async with _guest(measure, cancel=False):
        pass
    busy.cancel()
    await asyncio.wait([busy])
    return delays[0]


@asynccontextmanager
async def _guest(function: Callable[[], Awaitable[None]], *, cancel: bool = True) -> AsyncIterator[None]:
    """Run trio as a guest of this loop, and wait for its end."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[outcome.Outcome[None]] = loop.create_future()
    scope = trio.CancelScope()

    async def main() -> None:
        with scope:
            await function()

    trio.lowlevel.start_guest_run(
        main,
        run_sync_soon_threadsafe=loop.call_soon_threadsafe,
        done_callback=ended.set_result,
        host_uses_signal_set_wakeup_fd=True,
    )
    try:
        yield
    finally:
        if cancel:
            # Called as trio's own work: a scope may only be cancelled from there.
            scope.cancel()
        (await ended).unwrap()


async def _busy(sleep: Callable[[float], Awaitable[None]]) -> None:
    """Keep the interpreter busy, with a short pause now and then, until cancelled."""
    while True:
        until = time.perf_counter() + BUSY_SECONDS
        while time.perf_counter() < until:
            pass
        await sleep(PAUSE_SECONDS)


async def _delay(ticks: int, sleep: Callable[[float], Awaitable[None]]) -> float:
    """Return by how many milliseconds, on average, a short sleep was longer than it should be."""
    delays: list[float] = []
    for _ in range(ticks):
        began = time.perf_counter()
        await sleep(TICK_SECONDS)
        delays.append(time.perf_counter() - began - TICK_SECONDS)
    return statistics.mean(delays) * MILLISECONDS
