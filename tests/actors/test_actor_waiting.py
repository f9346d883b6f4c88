"""Whoever waits for an actor: circles of waiting, callees that are killed in mid-handler, callers that are gone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from supervisors import Restart
from supervisors.forcing import Killed, force_kill
from vespera_agents.actors import (
    Actor,
    ActorCrashed,
    ActorRef,
    ActorStopped,
    ActorSystem,
    AskCycle,
    AskTimeout,
    MailboxSpec,
    Request,
    open_system,
    receives,
)
from vespera_agents.actors.endpoint import Endpoint


class Ping(Request[str]): ...


@dataclass
class Work(Request[str]):
    seconds: float


@dataclass
class AskFrom(Request[str]):
    """Ask `to` what it is given."""

    to: ActorRef[Any]
    request: Request[str]


@dataclass
class SendTo(Request[str]):
    """Send a ping to `to`, waiting for room."""

    to: ActorRef[Any]


class Worker(Actor):
    def __init__(self, log: list[str]) -> None:
        self.log = log

    @receives
    def ping(self, _message: Ping) -> str:
        self.log.append(f"{self.ref.name} ping")
        return "pong"

    @receives
    async def work(self, message: Work) -> str:
        await trio.sleep(message.seconds)
        return "done"

    @receives
    async def ask_from(self, message: AskFrom) -> str:
        try:
            return await message.to.ask(message.request, timeout_seconds=50.0)
        except AskCycle as cycle:
            return " -> ".join(cycle.path)

    @receives
    async def send_to(self, message: SendTo) -> str:
        try:
            await message.to.send(Ping())
        except AskCycle as cycle:
            return " -> ".join(cycle.path)
        return "sent"


async def three(system: ActorSystem, log: list[str]) -> list[ActorRef[Worker]]:
    return [await system.start(Worker, log, name=name, mailbox=MailboxSpec(1)) for name in "abc"]


# Circles -------------------------------------------------------------------------------------------------------------


async def test_circles_of_one_two_and_three_are_refused_where_they_would_close(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        a, b, c = await three(system, [])
        assert await a.ask(AskFrom(a, Ping())) == "a -> a"
        assert await a.ask(AskFrom(b, AskFrom(a, Ping()))) == "b -> a -> b"
        assert await a.ask(AskFrom(b, AskFrom(c, AskFrom(a, Ping())))) == "c -> a -> b -> c"
        assert await a.ask(AskFrom(b, AskFrom(c, AskFrom(b, Ping())))) == "c -> b -> c"
        assert await a.ask(AskFrom(b, AskFrom(c, Ping()))) == "pong"
        assert [ref.statistics().incarnations for ref in (a, b, c)] == [1, 1, 1]


async def test_a_send_that_would_wait_for_its_own_sender_is_refused(autojump_clock: MockClock) -> None:
    """a waits for b's answer, b for room in a's full mailbox: a would never take a message again."""
    log: list[str] = []
    async with open_system() as system:
        a, b, c = await three(system, log)
        answers: list[str] = []

        async def ask() -> None:
            answers.append(await a.ask(AskFrom(b, AskFrom(c, SendTo(a)))))

        b.tell(Work(1.0))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await wait_all_tasks_blocked()
            a.tell(Ping())
        assert answers == ["c -> a -> b -> c"]


async def test_a_send_that_has_room_waits_for_nobody_and_is_not_refused(autojump_clock: MockClock) -> None:
    log: list[str] = []
    async with open_system() as system:
        a, b, _ = await three(system, log)
        assert await a.ask(AskFrom(b, SendTo(a))) == "sent"
        await wait_all_tasks_blocked()
    assert log == ["a ping"]


async def test_an_ask_of_somebody_who_waits_for_room_with_the_asker_is_refused(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        a, b, _ = await three(system, [])
        answers: list[str] = []

        async def ask(ref: ActorRef[Worker], request: Request[str]) -> None:
            answers.append(await ref.ask(request, timeout_seconds=100.0))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, b, Work(1.0))
            await wait_all_tasks_blocked()
            nursery.start_soon(ask, b, AskFrom(a, Ping()))
            await wait_all_tasks_blocked()
            nursery.start_soon(ask, a, SendTo(b))
        assert sorted(answers) == ["b -> a -> b", "done", "sent"]


async def test_a_wait_that_was_cut_off_forbids_nothing_afterwards(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        a, b, _ = await three(system, [])
        with trio.move_on_after(1):
            await a.ask(AskFrom(b, Work(3.0)))
        with pytest.raises(AskTimeout):
            await a.ask(AskFrom(b, Work(1000.0)), timeout_seconds=10.0)
        assert isinstance(a, Endpoint)
        await trio.sleep(100)
        assert a.waiting_on is None
        await trio.sleep(1000)
        assert await b.ask(AskFrom(a, Ping())) == "pong"


async def test_tasks_that_have_no_actor_may_wait_for_anybody(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        a, b, _ = await three(system, [])
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(a.ask, AskFrom(b, Ping()))


# Callees that are killed ---------------------------------------------------------------------------------------------


async def waiting(ref: ActorRef[Worker], request: Request[str], ends: list[object]) -> None:
    try:
        ends.append(await ref.ask(request, timeout_seconds=100.0))
    except (ActorCrashed, ActorStopped, AskTimeout) as error:
        ends.append(error)


@pytest.mark.parametrize("restart", [Restart.TEMPORARY, Restart.TRANSIENT])
async def test_a_callee_that_is_killed_in_mid_handler_answers_the_one_in_hand_and_keeps_or_fails_the_rest(
    restart: Restart, autojump_clock: MockClock
) -> None:
    async with open_system() as system:
        ref = await system.start(Worker, [], restart=restart)
        in_hand: list[object] = []
        queued: list[object] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(waiting, ref, Work(1000.0), in_hand)
            await wait_all_tasks_blocked()
            nursery.start_soon(waiting, ref, Ping(), queued)
            await wait_all_tasks_blocked()
            assert isinstance(ref, Endpoint)
            assert ref.task is not None
            began = trio.current_time()
            force_kill(ref.task)
        assert trio.current_time() == began
        [error] = in_hand
        assert isinstance(error, ActorCrashed)
        assert isinstance(error.cause, Killed)
        [answer] = queued
        if restart is Restart.TEMPORARY:
            assert isinstance(answer, ActorCrashed)
        else:
            assert answer == "pong"


async def test_a_callee_that_its_supervisor_kills_answers_everybody(autojump_clock: MockClock) -> None:
    ends: list[object] = []
    async with open_system() as system:
        ref = await system.start(Worker, [], shutdown_seconds=0.0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(waiting, ref, Work(1000.0), ends)
            await wait_all_tasks_blocked()
            nursery.start_soon(waiting, ref, Ping(), ends)
            await wait_all_tasks_blocked()
            await system.supervisor.terminate_child(ref.name)
    assert [type(end) for end in ends] == [ActorStopped, ActorStopped]
    assert "middle of this request" in str(ends[0]) or "middle of this request" in str(ends[1])


async def test_an_actor_that_is_killed_while_it_waits_for_an_answer_withdraws_its_request(
    autojump_clock: MockClock,
) -> None:
    log: list[str] = []
    ends: list[object] = []
    async with open_system() as system:
        a, b, _ = await three(system, log)
        b.tell(Work(5.0))
        await wait_all_tasks_blocked()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(waiting, a, AskFrom(b, Ping()), ends)
            await wait_all_tasks_blocked()
            assert isinstance(a, Endpoint)
            assert a.task is not None
            force_kill(a.task)
        assert isinstance(ends[0], ActorCrashed)
        await trio.sleep(10)
        assert log == []
        assert await b.ask(AskFrom(a, Ping())) == "pong"
