"""What the supervision tree shows of an actor: its mail, and what the living object says of itself."""

from __future__ import annotations

import pytest
from trio.testing import MockClock

from vespera_agents.actors import Actor, ActorCrashed, Request, open_system, receives


class Paint(Request[None]):
    pass


class Painter(Actor):
    lives = 0

    def __init__(self) -> None:
        type(self).lives += 1
        self.colour = f"colour {self.lives}"

    def tree_detail(self) -> dict[str, str | int | float]:
        return {"colour": self.colour, "mailbox": "not its own to say"}

    @receives
    def paint(self, message: Paint) -> None:
        raise RuntimeError(f"out of paint for {message}")


class Silent(Actor):
    pass


class Confused(Actor):
    def tree_detail(self) -> dict[str, str | int | float]:
        raise RuntimeError("who am I?")


async def test_an_actors_own_facts_stand_beside_its_mail_and_follow_its_incarnations(autojump_clock: MockClock) -> None:
    Painter.lives = 0
    async with open_system() as system:
        ref = await system.start(Painter, name="painter")
        assert ref.tree_detail() == {"colour": "colour 1", "kind": "Painter", "mailbox": 0, "handled": 0}
        (node,) = system.supervisor.snapshot().children
        assert node.detail == ref.tree_detail()
        with pytest.raises(ActorCrashed):
            await ref.ask(Paint())
        while (colour := ref.tree_detail().get("colour")) != "colour 2":
            assert colour is None, "a dead actor says nothing"
            await _step()
        await system.stop(ref)
        assert "colour" not in ref.tree_detail()


async def test_an_actor_that_says_nothing_shows_its_mail(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        ref = await system.start(Silent)
        assert ref.tree_detail() == {"kind": "Silent", "mailbox": 0, "handled": 0}


async def test_an_actor_whose_own_facts_fail_hides_nothing_of_the_tree(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        await system.start(Confused, name="a")
        await system.start(Silent, name="b")
        nodes = {node.id: node.detail for node in system.supervisor.snapshot().children}
        assert nodes["a"] == {"detail_error": "RuntimeError"}
        assert nodes["b"]["kind"] == "Silent"


async def _step() -> None:
    import trio  # noqa: PLC0415

    await trio.sleep(0.01)
