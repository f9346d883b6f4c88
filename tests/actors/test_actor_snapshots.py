"""What one incarnation hands to the next: snapshots, and what is said of the last end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from supervisors import Restart, Strategy, Supervisor, supervisor_spec
from vespera_agents.actors import Actor, ActorCrashed, ActorRef, ActorSystem, Request, open_system, receives


@dataclass
class Add(Request[int]):
    amount: int = 1


class Save: ...


class Crash(Request[None]): ...


class Retire: ...


@dataclass
class Sleep(Request[None]):
    seconds: float


class Counter(Actor):
    def __init__(self, log: list[str]) -> None:
        self.log = log
        self.total = 0

    async def on_restart(self, cause: BaseException | None) -> None:
        self.log.append(f"restart after {type(cause).__name__}")

    async def on_start(self, snapshot: int | None = None) -> None:
        self.total = snapshot or 0
        self.log.append(f"start from {snapshot}")

    def snapshot(self) -> int:
        return self.total

    @receives
    def add(self, message: Add) -> int:
        self.total += message.amount
        return self.total

    @receives
    def save(self, _message: Save) -> None:
        self.save_snapshot()

    @receives
    def crash(self, _message: Crash) -> None:
        raise LookupError("broken")

    @receives
    def retire(self, _message: Retire) -> None:
        self.stop()

    @receives
    async def sleep(self, message: Sleep) -> None:
        await trio.sleep(message.seconds)


async def test_the_first_incarnation_hears_of_no_restart_and_starts_from_nothing(autojump_clock: MockClock) -> None:
    log: list[str] = []
    async with open_system() as system:
        await system.start(Counter, log)
        assert log == ["start from None"]


async def test_an_end_in_order_hands_its_state_over(autojump_clock: MockClock) -> None:
    log: list[str] = []
    async with open_system() as system:
        ref = await system.start(Counter, log, restart=Restart.PERMANENT)
        assert await ref.ask(Add(5)) == 5
        ref.tell(Retire())
        assert await ref.ask(Add(1)) == 6
    assert log == ["start from None", "restart after NoneType", "start from 5"]


async def test_a_crash_hands_over_what_was_saved_last_and_never_the_state_that_may_have_broken_it(
    autojump_clock: MockClock,
) -> None:
    log: list[str] = []
    async with open_system() as system:
        ref = await system.start(Counter, log)
        await ref.ask(Add(5))
        ref.tell(Save())
        await ref.ask(Add(5))
        ref.tell(Crash())
        assert await ref.ask(Add(1)) == 6
        ref.tell(Crash())
        assert await ref.ask(Add(1)) == 6
    assert log[1:3] == ["restart after LookupError", "start from 5"]


async def test_a_crash_before_anything_was_saved_starts_from_nothing(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        ref = await system.start(Counter, [])
        await ref.ask(Add(5))
        ref.tell(Crash())
        assert await ref.ask(Add(1)) == 1


async def test_a_failed_restart_is_the_cause_of_the_next(autojump_clock: MockClock) -> None:
    class Unlucky(Counter):
        starts = 0

        async def on_start(self, snapshot: int | None = None) -> None:
            Unlucky.starts += 1
            self.total = snapshot or 0
            if Unlucky.starts == 2:
                raise OSError("not yet")

    log: list[str] = []
    async with open_system() as system:
        ref = await system.start(Unlucky, log)
        ref.tell(Crash())
        await ref.ask(Add())
    assert log == ["restart after LookupError", "restart after OSError"]


async def test_an_old_cause_is_not_told_again(autojump_clock: MockClock) -> None:
    log: list[str] = []
    async with open_system() as system:
        ref = await system.start(Counter, log, restart=Restart.PERMANENT)
        ref.tell(Crash())
        ref.tell(Retire())
        await ref.ask(Add())
    assert [line for line in log if "restart" in line] == ["restart after LookupError", "restart after NoneType"]


async def test_a_snapshot_that_fails_is_a_crash_and_the_actor_cleans_up_all_the_same(
    autojump_clock: MockClock,
) -> None:
    class Broken(Counter):
        def snapshot(self) -> int:
            raise OSError("cannot save")

        async def on_stop(self) -> None:
            self.log.append("stop")

    log: list[str] = []
    async with open_system() as system:
        ref = await system.start(Broken, log)
        ref.tell(Retire())
        await wait_all_tasks_blocked()
        assert log == ["start from None", "stop", "restart after OSError", "start from None"]


async def test_a_handed_over_snapshot_is_what_the_actor_of_that_name_starts_from(autojump_clock: MockClock) -> None:
    log: list[str] = []
    async with open_system(snapshots={"counter": 40, "nobody": 1}) as system:
        ref = await system.start(Counter, log, name="counter")
        assert await ref.ask(Add(2)) == 42
        ref.tell(Crash())
        assert await ref.ask(Add(1)) == 41
        await system.stop(ref)
        again = await system.start(Counter, log, name="counter")
        assert await again.ask(Add(2)) == 2


async def test_a_start_without_a_parameter_is_not_asked_to_take_a_snapshot(autojump_clock: MockClock) -> None:
    class Plain(Actor):
        async def on_start(self) -> None:
            self.total = 7

        @receives
        def add(self, message: Add) -> int:
            return self.total + message.amount

    async with open_system(snapshots={"plain": 40}) as system:
        ref = await system.start(Plain, name="plain")
        assert await ref.ask(Add(1)) == 8


async def group_of_two(
    system: ActorSystem, log: list[str], test: Callable[[ActorRef[Counter], ActorRef[Counter]], Awaitable[None]]
) -> None:
    def group() -> Supervisor:
        children = [system.actor_spec(Counter, [], name="culprit"), system.actor_spec(Counter, log, name="bystander")]
        return Supervisor(children, strategy=Strategy.ONE_FOR_ALL, name="group")

    await system.supervisor.start_child(supervisor_spec("group", group))
    refs = [system.whereis(name) for name in ("culprit", "bystander")]
    assert all(refs)
    await test(*refs)  # type: ignore[arg-type]


async def test_a_bystander_of_a_group_restart_keeps_its_mail_and_its_state(autojump_clock: MockClock) -> None:
    log: list[str] = []
    answers: list[int] = []

    async def test(culprit: ActorRef[Counter], bystander: ActorRef[Counter]) -> None:
        await bystander.ask(Add(5))
        bystander.tell(Sleep(100.0))
        await wait_all_tasks_blocked()

        async def ask() -> None:
            answers.append(await bystander.ask(Add(1)))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            nursery.start_soon(ask)
            await wait_all_tasks_blocked()
            with pytest.raises(ActorCrashed):
                await culprit.ask(Crash())

    async with open_system() as system:
        await group_of_two(system, log, test)
    assert sorted(answers) == [6, 7]
    assert log == ["start from None", "restart after NoneType", "start from 5"]
