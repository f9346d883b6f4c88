"""Read by pyright, never run: each line marked with `error` must be refused, and no other line."""

from __future__ import annotations

from vespera_agents.actors import Actor, ActorSystem, Request, receives


class Add(Request[int]): ...


class Note: ...


class Counter(Actor):
    def __init__(self, start: int) -> None:
        self.total = start

    @receives
    def add(self, _message: Add) -> int:
        return self.total


async def misuse(system: ActorSystem) -> None:
    ref = await system.start(Counter, "one")  # error: the constructor wants an int
    other = await system.start(Counter)  # error: an argument is missing
    await system.start(Note)  # error: not an actor
    wrong: str = await ref.ask(Add())  # error: the reply is an int
    await ref.ask(Note())  # error: not a request
    await other.ask(Add(), 3.0)  # error: the timeout has a name
    total = ref.total  # error: a reference does not reveal the actor's state
    print(wrong, total)
