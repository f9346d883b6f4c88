"""Read by pyright, never run: what must be accepted, and which types are inferred."""

from __future__ import annotations

from typing import assert_type

from vespera_agents.actors import Actor, ActorRef, ActorSystem, MailboxSpec, Request, receives


class Add(Request[int]):
    def __init__(self, amount: int) -> None:
        self.amount = amount


class Names(Request[list[str]]): ...


class Nothing(Request[None]): ...


class Counter(Actor):
    def __init__(self, start: int, label: str = "") -> None:
        self.total = start
        self.label = label

    async def on_start(self) -> None:
        myself: ActorRef[Counter] = self.ref
        myself.stop()

    @receives
    def add(self, message: Add) -> int:
        self.total += message.amount
        return self.total

    @receives
    async def names(self, _message: Names) -> list[str]:
        return [self.label]


async def use(system: ActorSystem) -> None:
    ref = await system.start(Counter, 1, "label", name="counter", mailbox=MailboxSpec(10))
    assert_type(ref, ActorRef[Counter])
    assert_type(await ref.ask(Add(1)), int)
    assert_type(await ref.ask(Names(), timeout_seconds=1.0), list[str])
    assert_type(await ref.ask(Nothing()), None)
    assert_type(system.whereis("counter"), ActorRef[Actor] | None)
    anybody: ActorRef[Actor] = ref
    anybody.tell(Add(1))
    await system.stop(ref)
    system.actor_spec(Counter, 1)
