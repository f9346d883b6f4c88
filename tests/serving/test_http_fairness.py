"""Turns: of each client a few calls are worked on at once, the next ones wait in their order, and nobody starves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import httpx2
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.serving.http_kit import HEADERS, call, handshake, message_of, until
from tests.serving.kit import Place, new_place
from vespera_agents.front.http.listening import listen
from vespera_agents.front.http.wishes import HttpWish
from vespera_agents.serving.protocol.fairness import AT_WORK_MAX, Fairness, FairnessStatistics, TooManyCalls, client_of
from vespera_agents.serving.protocol.identity import LOCAL, Identity
from vespera_agents.serving.protocol.server import build_server
from vespera_agents.serving.tools.catalogue import TOOLS
from vespera_agents.serving.tools.tool import Telling
from vespera_agents.serving.transports.http.door import HttpDoor
from vespera_agents.specialists.calls import Call
from vespera_agents.specialists.orchestrator import Orchestrator
from vespera_agents.specialists.runtime import open_runtime

PATIENCE_SECONDS = 300.0
"""What hangs takes longer, and nothing else does on however slow a machine."""


async def test_a_client_has_its_turns_in_order_and_others_have_theirs(autojump_clock: MockClock) -> None:
    fairness, order = Fairness(at_work_max=2, queue_max=3), list[str]()

    async def work(who: str, name: str, seconds: float) -> None:
        await fairness.begin(who)
        order.append(name)
        await trio.sleep(seconds)
        fairness.end(who)

    async with trio.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(work, "busy", f"busy {number}", 10.0 + number)
            await wait_all_tasks_blocked()
        assert fairness.statistics() == FairnessStatistics(clients=1, at_work=2, waiting=3, refused=0)
        with pytest.raises(TooManyCalls, match="call again"):
            await fairness.begin("busy")
        await work("other", "other", 0.0)
        assert order == ["busy 0", "busy 1", "other"]
    assert order[3:] == ["busy 2", "busy 3", "busy 4"]
    assert fairness.statistics() == FairnessStatistics(clients=0, at_work=0, waiting=0, refused=1)


@pytest.mark.parametrize("_try", range(5))
async def test_those_who_get_a_turn_together_have_it_in_their_order(_try: int) -> None:
    fairness, order = Fairness(at_work_max=20), list[int]()

    async def work(number: int) -> None:
        await fairness.begin("one")
        order.append(number)
        fairness.end("one")

    for _ in range(20):
        await fairness.begin("one")
    async with trio.open_nursery() as nursery:
        for number in range(40):
            nursery.start_soon(work, number)
            await wait_all_tasks_blocked()
        for _ in range(19):
            fairness.end("one")
        await wait_all_tasks_blocked()
        assert order == list(range(40))
        fairness.end("one")
    assert fairness.statistics() == FairnessStatistics(clients=0, at_work=0, waiting=0, refused=0)


async def test_a_wait_that_is_cancelled_takes_no_turn(autojump_clock: MockClock) -> None:
    fairness = Fairness(at_work_max=1)
    await fairness.begin("one")
    with trio.move_on_after(1) as patience:
        await fairness.begin("one")
    assert patience.cancelled_caught
    fairness.end("one")
    await fairness.begin("one")
    assert fairness.statistics().at_work == 1


def test_clients_are_told_apart_by_connection_else_by_token_and_name() -> None:
    modern, other = Identity("alice", None, "http"), Identity("bob", None, "http")
    assert client_of(modern, "editor") != client_of(other, "editor") != client_of(other, "shell")
    session = Identity("alice", "s1", "http")
    assert client_of(session, "editor") == client_of(session, "another name")
    assert client_of(LOCAL, "editor") == client_of(LOCAL, None)


@pytest.fixture(name="place")
def a_place() -> Iterator[Place]:
    with new_place() as found:
        yield found


async def test_over_http_a_flood_of_one_client_leaves_room_for_another(place: Place) -> None:
    """200 calls that wait, and a call of somebody else that is answered meanwhile."""
    listing, begun, go = TOOLS["orchestrator_list_sessions"], [0], trio.Event()

    async def slowly(orchestrator: Orchestrator, wish: Call, arguments: Mapping[str, object]) -> Telling:
        begun[0] += 1
        await go.wait()
        return await listing.invoke(orchestrator, wish, arguments)

    tools = {"slow": replace(listing, name="slow", invoke=slowly), "quick": replace(listing, name="quick")}
    async with open_runtime("serve", registry=place.registry) as runtime:
        opened = await runtime.workspace(place.project)
        server = build_server(Orchestrator(runtime, place.project), tools)
        with listen(HttpWish("127.0.0.1:0")) as listening:
            door = HttpDoor(server, listening, opened.store, name=opened.record.id, at_stop=server.at_stop)
            async with (
                trio.open_nursery() as nursery,
                httpx2.AsyncClient(
                    base_url=listening.url,
                    headers=HEADERS,
                    timeout=PATIENCE_SECONDS,
                    limits=httpx2.Limits(max_connections=None),
                ) as client,
            ):
                await nursery.start(door.run)
                flood, other = await handshake(client), await handshake(client)
                answers: list[int] = []

                async def ask(number: int) -> None:
                    message = call("slow", number)
                    answer = await client.post("", json=message, headers=flood)
                    answers.append(answer.status_code)

                async with trio.open_nursery() as asking:
                    for number in range(200):
                        asking.start_soon(ask, number + 1)
                    await until(
                        lambda: (guard := door.statistics().guard) and guard.in_flight == 200, seconds=PATIENCE_SECONDS
                    )
                    with trio.fail_after(PATIENCE_SECONDS):
                        quick = await client.post("", json=call("quick"), headers=other)
                    assert not message_of(quick)["result"].get("isError")
                    assert begun == [AT_WORK_MAX]
                    assert not answers
                    go.set()
                assert begun == [200]
                door.stop()
                await door.ended.wait()
