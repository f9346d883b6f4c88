"""Where actors wait: `ActorSystem.await_stacks` names the lines of the program, not only those of the runtime."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from opentelemetry.sdk.trace import TracerProvider
from trio.testing import MockClock, wait_all_tasks_blocked

from vespera_agents.actors import Actor, ActorCrashed, ActorSystem, AwaitedLine, Request, open_system, receives
from vespera_agents.actors.stacks import FRAMES_MAX

HERE = Path(__file__)
LINES = HERE.read_text(encoding="utf-8").splitlines()


class Nested: ...


class Nursery: ...


class Deep: ...


class Crash(Request[None]): ...


class Ask(Request[None]): ...


class Own(Request[tuple[AwaitedLine, ...]]):
    def __init__(self, system: ActorSystem) -> None:
        self.system = system


class Sleeper(Actor):
    @receives
    async def nested(self, _: Nested) -> None:
        await self.inner()  # the outer line

    async def inner(self) -> None:
        await trio.sleep_forever()  # the inner line

    @receives
    async def nursery(self, _: Nursery) -> None:
        async with trio.open_nursery() as nursery:  # the line of the nursery
            nursery.start_soon(trio.sleep_forever)

    @receives
    async def deep(self, _: Deep) -> None:
        await descend(3 * FRAMES_MAX)

    @receives
    def crash(self, _: Crash) -> None:
        raise ValueError

    @receives
    async def ask_for_long(self, _: Ask) -> None:
        await trio.sleep_forever()

    @receives
    async def own(self, message: Own) -> tuple[AwaitedLine, ...]:
        await trio.lowlevel.checkpoint()
        return message.system.await_stacks()[self.ref.name]


class Slow(Actor):
    """Never gets ready."""

    async def on_start(self) -> None:
        await trio.sleep_forever()  # the line of on_start


class SlowToReturn(Sleeper):
    lives = 0

    async def on_start(self) -> None:
        type(self).lives += 1
        if self.lives > 1:
            await trio.sleep_forever()  # the line of the second start


async def descend(depth: int) -> None:
    if depth:
        await descend(depth - 1)
    await trio.sleep_forever()


def line_of(mark: str) -> int:
    (number,) = (number for number, line in enumerate(LINES, 1) if line.endswith(f"# {mark}"))
    return number


def ours(stack: tuple[AwaitedLine, ...]) -> list[tuple[int, str]]:
    return [(line.line, line.function) for line in stack if Path(line.file) == HERE]


async def test_an_idle_actor_waits_in_the_runtime_and_in_no_line_of_the_program() -> None:
    async with open_system() as system:
        await system.start(Sleeper, name="idle")
        await wait_all_tasks_blocked()
        stacks = system.await_stacks()
    assert list(stacks) == ["idle"]
    assert ours(stacks["idle"]) == []
    assert stacks["idle"][-1].function == "park"
    assert "serve" in [line.function for line in stacks["idle"]]


@pytest.mark.parametrize("provider", [None, TracerProvider()], ids=["plain", "traced"])
async def test_a_handler_that_waits_is_shown_down_to_its_innermost_line(provider: TracerProvider | None) -> None:
    async with open_system(tracer_provider=provider) as system:
        sleeper = await system.start(Sleeper, name="sleeper")
        sleeper.tell(Nested())
        await wait_all_tasks_blocked()
        stack = system.await_stacks()["sleeper"]
        assert ours(stack) == [
            (line_of("the outer line"), "Sleeper.nested"),
            (line_of("the inner line"), "Sleeper.inner"),
        ]
        shown = f"{HERE}:{line_of('the inner line')} in Sleeper.inner"
        assert shown in [str(line) for line in stack]
        system.supervisor.kill()


async def test_a_handler_at_the_end_of_its_nursery_is_shown_there() -> None:
    async with open_system() as system:
        sleeper = await system.start(Sleeper, name="sleeper")
        sleeper.tell(Nursery())
        await wait_all_tasks_blocked()
        assert ours(system.await_stacks()["sleeper"]) == [(line_of("the line of the nursery"), "Sleeper.nursery")]
        system.supervisor.kill()


async def test_an_actor_that_is_getting_ready_is_shown_in_on_start(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        system.spawn(Slow, name="slow")
        assert system.await_stacks() == {"slow": ()}, "its task has not begun"
        await trio.sleep(1)
        assert ours(system.await_stacks()["slow"]) == [(line_of("the line of on_start"), "Slow.on_start")]
        system.supervisor.kill()


async def test_a_new_incarnation_is_shown_and_not_the_one_before(autojump_clock: MockClock) -> None:
    SlowToReturn.lives = 0
    async with open_system() as system:
        actor = await system.start(SlowToReturn, name="twice")
        with pytest.raises(ActorCrashed):
            await actor.ask(Crash())
        await trio.sleep(1)
        place = (line_of("the line of the second start"), "SlowToReturn.on_start")
        assert ours(system.await_stacks()["twice"]) == [place]
        system.supervisor.kill()


async def test_an_actor_that_has_ended_is_not_shown(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        actor = await system.start(Sleeper)
        await system.stop(actor)
        assert system.await_stacks() == {}


async def test_an_actor_that_asks_for_all_stacks_waits_for_nothing_itself() -> None:
    async with open_system() as system:
        actor = await system.start(Sleeper, name="curious")
        other = await system.start(Sleeper, name="other")
        other.tell(Nested())
        await wait_all_tasks_blocked()
        stack = await actor.ask(Own(system))
        assert ours(stack) == []
        assert len(ours(system.await_stacks()["other"])) == 2
        system.supervisor.kill()


async def test_of_a_deep_stack_the_innermost_lines_are_shown() -> None:
    async with open_system() as system:
        actor = await system.start(Sleeper, name="deep")
        actor.tell(Deep())
        await wait_all_tasks_blocked()
        stack = system.await_stacks()["deep"]
        assert len(stack) == FRAMES_MAX
        assert {line.function for line in stack if Path(line.file) == HERE} == {"descend"}
        assert "sleep_forever" in [line.function for line in stack]
        system.supervisor.kill()


async def test_a_thousand_actors_are_shown_at_once() -> None:
    async with open_system() as system:
        for number in range(1000):
            system.spawn(Sleeper, name=f"sleeper-{number}").tell(Nested())
        await wait_all_tasks_blocked()
        stacks = system.await_stacks()
        assert len(stacks) == 1000
        assert {ours(stack)[-1] for stack in stacks.values()} == {(line_of("the inner line"), "Sleeper.inner")}
        system.supervisor.kill()
