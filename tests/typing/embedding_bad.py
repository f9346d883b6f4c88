"""Read by pyright, never run: each line marked with `error` must be refused, and no other line."""

from __future__ import annotations

from vespera_agents.actors import Actor, Request, receives
from vespera_agents.actors.embedding.asyncio_edge import AsyncioEdge
from vespera_agents.actors.embedding.asyncio_host import AsyncioHost
from vespera_agents.actors.embedding.portal import Portal


class Add(Request[int]): ...


class Note: ...


class Counter(Actor):
    def __init__(self, start: int) -> None:
        self.total = start

    @receives
    def add(self, _message: Add) -> int:
        return self.total


async def length(text: str) -> int:
    return len(text)


async def misuse(host: AsyncioHost, portal: Portal, edge: AsyncioEdge) -> None:
    counter = await host.start(Counter, "one")  # error: the constructor wants an int
    other = portal.start(Counter)  # error: an argument is missing
    wrong: str = await host.ask(counter, Add())  # error: the reply is an int
    late: str = portal.ask(other, Add())  # error: the reply is an int
    portal.ask(other, Note())  # error: not a request
    await edge.run(length, 3)  # error: the function wants text
    print(wrong, late)
