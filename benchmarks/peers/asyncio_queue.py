"""No library at all: asyncio's queue, and a future for an answer. See `rounds` for the protocol."""

from __future__ import annotations

import asyncio
import time

from benchmarks.peers.rounds import BURST, Add, Round, serve

Letter = tuple[Add, "asyncio.Future[int] | None"]


async def adder(queue: asyncio.Queue[Letter]) -> None:
    """Add up what comes, and answer with the sum."""
    total = 0
    while True:
        message, answer = await queue.get()
        total += message.amount
        if answer is not None:
            answer.set_result(total)


async def put_and_wait(queue: asyncio.Queue[Letter], message: Add) -> int:
    answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    await queue.put((message, answer))
    return await answer


async def tell(count: int) -> Round:
    queue: asyncio.Queue[Letter] = asyncio.Queue(BURST)
    task = asyncio.create_task(adder(queue))
    message = Add(1)
    started = time.perf_counter()
    for _ in range(count):
        await queue.put((message, None))
    handled = await put_and_wait(queue, Add(0))
    seconds = time.perf_counter() - started
    task.cancel()
    return Round(seconds, handled)


async def ask(count: int) -> Round:
    queue: asyncio.Queue[Letter] = asyncio.Queue(BURST)
    task = asyncio.create_task(adder(queue))
    message = Add(1)
    handled = 0
    started = time.perf_counter()
    for _ in range(count):
        handled = await put_and_wait(queue, message)
    seconds = time.perf_counter() - started
    task.cancel()
    return Round(seconds, handled)


if __name__ == "__main__":
    serve("", {"tell": lambda count: asyncio.run(tell(count)), "ask": lambda count: asyncio.run(ask(count))})
