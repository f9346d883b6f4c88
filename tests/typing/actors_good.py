"""Read by pyright, never run: what must be accepted, and which types are inferred."""

from __future__ import annotations

from typing import assert_type

from vespera_agents.actors import (
    Actor,
    ActorError,
    ActorRef,
    ActorSystem,
    ActorTerminated,
    CanBeAsked,
    ConsistentHash,
    LinkBroken,
    MailboxSpec,
    PartitionedPool,
    Pool,
    Request,
    RoundRobin,
    Routing,
    Timer,
    Watch,
    ask_many,
    gather_answers,
    open_partitions,
    open_pool,
    receives,
)


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


def key_of(message: Add) -> int:
    return message.amount


async def share(system: ActorSystem) -> None:
    routing: Routing = RoundRobin()
    pool = await open_pool(system, Counter, 1, "label", size=3, routing=routing, mailbox=MailboxSpec(10))
    assert_type(pool, Pool[Counter])
    assert_type(await pool.ask(Add(1)), int)
    assert_type(await pool.ask(Names(), timeout_seconds=1.0), list[str])
    assert_type(pool.members, tuple[ActorRef[Counter], ...])
    await open_pool(system, Counter, 1, size=3, routing=ConsistentHash(key_of))
    parts = await open_partitions(system, Counter, 1, partitions=3, key=key_of)
    assert_type(parts, PartitionedPool[Counter])
    assert_type(await parts.ask(Add(1)), int)


async def gather(one: ActorRef[Counter], refs: list[ActorRef[Counter]], pool: Pool[Counter]) -> None:
    assert_type(await ask_many(refs, Add(1)), list[int])
    assert_type(await ask_many(one, [Add(1), Add(2)], concurrency=3, timeout_seconds=1.0), list[int])
    assert_type(await ask_many(refs, (Add(number) for number in range(3))), list[int])
    assert_type(await ask_many([one, pool], [Add(1), Names()]), list[int | list[str]])
    assert_type(await ask_many(pool, Nothing()), list[None])
    assert_type(await gather_answers(pool.members, Names()), list[list[str] | ActorError])
    for each in await gather_answers(pool, [Add(1)]):
        if not isinstance(each, ActorError):
            assert_type(each, int)
    anybody: list[CanBeAsked] = [one, pool]
    assert_type(await ask_many(anybody, Names()), list[list[str]])


class Opened: ...


class Door(Actor):
    """A state machine with timers, links and watches."""

    initial_state = "closed"
    idle_timeout_seconds = 60.0
    handler_timeout_seconds = 5.0
    crash_retries = 1

    async def on_start(self, snapshot: int | None = None) -> None:
        self.opened = snapshot or 0

    async def on_restart(self, cause: BaseException | None) -> None: ...

    def snapshot(self) -> int:
        return self.opened

    @receives(when="closed")
    def later(self, _message: Add) -> int:
        self.stash()

    @receives(when=("closed", "ajar"))
    async def names_later(self, _message: Names) -> list[str]:
        if not self.opened:
            self.stash()
        return []

    @receives(when="open")
    def add(self, message: Add) -> int:
        return self.opened + message.amount

    @receives
    def open(self, _message: Opened) -> None:
        self.become("open")
        self.unstash_all()
        self.save_snapshot()
        timer = self.tell_after(1.0, Opened())
        assert_type(timer, Timer)
        assert_type(timer.active, bool)
        assert_type(timer.cancel(), None)
        assert_type(self.tell_every(1.0, Opened()), Timer)

    def tie(self, other: ActorRef[Counter], pool: Pool[Counter]) -> None:
        assert_type(self.watch(other), Watch)
        assert_type(self.watch(pool.members[0]).pending, bool)
        assert_type(self.link(other), None)
        assert_type(self.unlink(other), None)

    @receives
    def ended(self, message: ActorTerminated) -> None:
        assert_type(message.cause, BaseException | None)


class Patient(Door):
    async def on_start(self, snapshot: int | None = None) -> None:
        await super().on_start(snapshot)

    async def on_idle(self) -> None: ...

    async def on_link_broken(self, broken: LinkBroken) -> None:
        assert_type(broken.cause, BaseException)


async def decorated(door: Door) -> None:
    assert_type(door.later(Add(1)), int)
    assert_type(await door.names_later(Names()), list[str])
    assert_type(door.open(Opened()), None)
