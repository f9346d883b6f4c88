"""triotp: a gen_server, cast and called by its name; its callbacks are functions. See `rounds` for the protocol."""

from __future__ import annotations

import sys
import time

import trio
from trio.testing import wait_all_tasks_blocked
from triotp import application, gen_server, node

from benchmarks.peers.rounds import Add, Round, serve

__module__ = sys.modules[__name__]
NAME = "adder"
ROUNDS: list[Round] = []
"""Where the application leaves what it measured: a node's run returns nothing."""


async def init(total: int) -> int:
    return total


async def handle_cast(message: Add, total: int) -> tuple[gen_server.NoReply, int]:
    return gen_server.NoReply(), total + message.amount


async def handle_call(message: Add, _caller: object, total: int) -> tuple[gen_server.Reply, int]:
    total += message.amount
    return gen_server.Reply(payload=total), total


async def tell(count: int) -> Round:
    message = Add(1)
    started = time.perf_counter()
    for _ in range(count):
        await gen_server.cast(NAME, message)
    handled = await gen_server.call(NAME, Add(0))
    return Round(time.perf_counter() - started, handled)


async def ask(count: int) -> Round:
    message = Add(1)
    handled = 0
    started = time.perf_counter()
    for _ in range(count):
        handled = await gen_server.call(NAME, message)
    return Round(time.perf_counter() - started, handled)


async def start(measure_and_count: tuple[object, int]) -> None:
    """Run as a triotp application: serve, measure, and end."""
    measure, count = measure_and_count
    async with trio.open_nursery() as nursery:
        nursery.start_soon(gen_server.start, __module__, 0, NAME)
        await wait_all_tasks_blocked()
        ROUNDS.append(await measure(count))
        nursery.cancel_scope.cancel()


def run(measure: object, count: int) -> Round:
    ROUNDS.clear()
    node.run(apps=[application.app_spec(module=__module__, start_arg=(measure, count), permanent=False)])
    return ROUNDS[0]


if __name__ == "__main__":
    serve("triotp", {"tell": lambda count: run(tell, count), "ask": lambda count: run(ask, count)})
