"""Read by pyright, never run: replies are typed on the way out of a system's thread, too."""

from __future__ import annotations

from typing import assert_type

from vespera_agents.actors import Actor, Request, receives
from vespera_agents.actors.embedding.asyncio_edge import AsyncioEdge
from vespera_agents.actors.embedding.asyncio_host import AsyncioHost
from vespera_agents.actors.embedding.outside import ActorHandle
from vespera_agents.actors.embedding.portal import Portal


class Add(Request[int]): ...


class Counter(Actor):
    def __init__(self, start: int) -> None:
        self.total = start

    @receives
    def add(self, _message: Add) -> int:
        return self.total


async def length(text: str) -> int:
    return len(text)


async def from_asyncio(host: AsyncioHost) -> None:
    counter = await host.start(Counter, 1, name="counter")
    assert_type(counter, ActorHandle[Counter])
    assert_type(await host.ask(counter, Add()), int)
    assert_type(await host.run(length, "abc"), int)


def from_sync_code(portal: Portal) -> None:
    counter = portal.start(Counter, 1)
    assert_type(counter, ActorHandle[Counter])
    assert_type(portal.ask(counter, Add(), timeout_seconds=1.0), int)
    assert_type(portal.run(length, "abc", timeout_seconds=1.0), int)


async def from_trio(edge: AsyncioEdge) -> None:
    assert_type(await edge.run(length, "abc"), int)
