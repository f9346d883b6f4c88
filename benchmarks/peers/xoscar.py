"""xoscar in one process, by messages: a plain ActorRef over the in-process channel. See `rounds` for the protocol.

`xoscar_local` measures the other kind of reference, which calls the actor without a message; it uses what is here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import xoscar
from xoscar.core import ActorRef

from benchmarks.peers.rounds import Add, Round, serve

ADDRESS = "test://127.0.0.1:0"
"""The scheme whose channel stays in the process; nothing listens on a port."""
Refer = Callable[[ActorRef], ActorRef]
"""Make the kind of reference that is measured out of the one that create_actor returned."""


class Adder(xoscar.Actor):
    """Adds up what it is told, and answers with the sum."""

    def __init__(self) -> None:
        self.total = 0

    def add(self, message: Add) -> int:
        """Handle one message."""
        self.total += message.amount
        return self.total


def by_message(created: ActorRef) -> ActorRef:
    return ActorRef(created.address, created.uid)


async def tell(count: int, refer: Refer) -> Round:
    pool = await xoscar.create_actor_pool(ADDRESS, n_process=0)
    async with pool:
        adder = refer(await xoscar.create_actor(Adder, address=pool.external_address))
        message = Add(1)
        started = time.perf_counter()
        for _ in range(count):
            await adder.add.tell(message)
        # The actor's lock is fair, so this waits for all that was told before.
        handled = await adder.add(Add(0))
        return Round(time.perf_counter() - started, handled)


async def ask(count: int, refer: Refer) -> Round:
    pool = await xoscar.create_actor_pool(ADDRESS, n_process=0)
    async with pool:
        adder = refer(await xoscar.create_actor(Adder, address=pool.external_address))
        message = Add(1)
        handled = 0
        started = time.perf_counter()
        for _ in range(count):
            handled = await adder.add(message)
        return Round(time.perf_counter() - started, handled)


def serve_kind(refer: Refer) -> None:
    """Answer with rounds over one kind of reference."""
    serve(
        "xoscar",
        {
            "tell": lambda count: asyncio.run(tell(count, refer)),
            "ask": lambda count: asyncio.run(ask(count, refer)),
        },
    )


if __name__ == "__main__":
    serve_kind(by_message)
