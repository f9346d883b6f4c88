"""Read by pyright, never run: each line marked with `error` must be refused, and no other line."""

from __future__ import annotations

from vespera_agents.actors import (
    Actor,
    ActorRef,
    ActorSystem,
    ConsistentHash,
    Request,
    ask_many,
    gather_answers,
    open_partitions,
    open_pool,
    receives,
)


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


def no_key(_message: Add) -> float:
    return 1.0


async def share(system: ActorSystem, refs: list[ActorRef[Counter]]) -> None:
    pool = await open_pool(system, Counter, 1, size=2)
    wrong: str = await pool.ask(Add())  # error: the reply is an int
    await pool.ask(Note())  # error: not a request
    await open_pool(system, Counter, "one", size=2)  # error: the constructor wants an int
    await open_pool(system, Counter, 1)  # error: the size is missing
    await open_pool(system, Note, size=2)  # error: not an actor
    await open_pool(system, Counter, 1, size=2, routing=ConsistentHash(no_key))  # error: a float has no stable hash
    parts = await open_partitions(system, Counter, 1, partitions=2, key=str)
    await parts.resize(3)  # error: partitions are fixed
    words: list[str] = await ask_many(refs, Add())  # error: the replies are ints
    await ask_many(refs, Note())  # error: not a request
    await ask_many(refs, [Add(), Note()])  # error: not all are requests
    await ask_many([1, 2], Add())  # error: nobody to ask
    numbers: list[int] = await gather_answers(refs, Add())  # error: errors may be among them
    print(wrong, words, numbers)


class Door(Actor):
    async def on_start(self, snapshot: int) -> None: ...  # error: a first start has no snapshot

    @receives(when="open")
    def add(self, _message: Add) -> int:
        self.become(["open"])  # error: a state is hashable
        return "one"  # error: the reply is an int

    @receives("open")  # error: a state has a name
    def note(self, _message: Note) -> None:
        self.tell_after(Note(), 1.0)  # error: the time comes first
        self.tell_every("1", Note())  # error: seconds are a number

    def tie(self, other: Actor) -> None:
        self.watch(other)  # error: a reference is watched, not an actor
        self.link(other)  # error: a reference is linked, not an actor
        names: list[str] = self.add(Add())  # error: a marked method keeps its type
        print(names)
