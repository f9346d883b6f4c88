"""Whose work a line is about: it travels with messages to actors and into tasks, and no further than it should."""

from __future__ import annotations

import trio
import trio.lowlevel

from vespera_agents.actors import Actor, Request, open_system, receives
from vespera_agents.logs import NOBODY, Correlation, correlated, correlation, uncorrelated


class Whose(Request[Correlation]):
    pass


class Pass(Request[Correlation]):
    def __init__(self, to: object) -> None:
        self.to = to


class Known(Actor):
    @receives
    def whose(self, _: Whose) -> Correlation:
        return correlation()

    @receives
    async def hand_on(self, message: Pass) -> Correlation:
        await trio.lowlevel.checkpoint()
        with correlated(task="task_of_the_first"):
            return await message.to.ask(Whose())


async def test_it_travels_with_messages_and_ends_with_them():
    async with open_system() as system:
        first, second = [await system.start(Known) for _ in range(2)]
        with correlated(session="session_1", request=5, tool="some_tool"):
            assert await first.ask(Whose()) == Correlation("session_1", None, 5, "some_tool")
            assert await first.ask(Pass(second)) == Correlation("session_1", "task_of_the_first", 5, "some_tool")
        assert await first.ask(Whose()) == await second.ask(Whose()) == NOBODY


async def test_it_travels_into_tasks_and_what_they_add_stays_there():
    seen = {}

    async def child() -> None:
        with correlated(task="task_2"):
            seen["child"] = correlation()

    with correlated(session="session_1"):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(child)
        seen["parent"] = correlation()
        with uncorrelated():
            assert correlation() == NOBODY
        assert correlation() == seen["parent"]
    assert seen == {"child": Correlation("session_1", "task_2"), "parent": Correlation("session_1")}
    assert correlation() == NOBODY


def test_only_what_is_known_is_told():
    assert NOBODY.fields() == {}
    assert Correlation(session="s", request=0).fields() == {"session": "s", "request": 0}
