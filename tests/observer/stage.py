"""`python -m tests.observer.stage DIRECTORY ADDRESS`: `vespera serve --http`, with a troupe of actors who do as told.

What serves is `serve` itself; only its runtime gets one branch more, `stage`, whose actors crash, block the loop and
wait when a line on standard input says so. Each line is JSON, `[what, argument, ...]`, and is answered by a line.
Not a test. Neighbours: `theatre` starts it and tells it what to do.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio

from supervisors import Supervisor, supervisor_spec
from vespera_agents.actors import Actor, ActorRef, MailboxSpec, Request, receives
from vespera_agents.front.http.wishes import HttpWish
from vespera_agents.serving import serve as serving
from vespera_agents.serving.wishes import ServeWish
from vespera_agents.specialists.running import PlanRun, RunOptions
from vespera_agents.specialists.runtime import Runtime
from vespera_agents.work.plans import read_plan

MAILBOX_MESSAGES = 40


@dataclass
class Work:
    """A message that takes a while."""

    seconds: float


@dataclass
class Block:
    """A message whose handler does not let anybody else run."""

    seconds: float


@dataclass
class Crash:
    """A message that cannot be handled."""

    text: str


class Question(Request[int]):
    """A message that somebody waits for the answer of."""


class Player(Actor):
    """Does what its mail says."""

    @receives
    async def work(self, message: Work) -> None:
        await trio.sleep(message.seconds)

    @receives
    def block(self, message: Block) -> None:
        waste_the_loops_time(message.seconds)

    @receives
    def crash(self, message: Crash) -> None:
        raise RuntimeError(message.text)

    @receives
    async def answer(self, _: Question) -> int:
        await trio.sleep_forever()
        raise AssertionError


class Extra(Player):
    """One of a crowd."""


def waste_the_loops_time(seconds: float) -> None:
    """Do what an actor must not do."""
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass


class Troupe:
    """The actors on the stage, by name, and what can be asked of them."""

    def __init__(self, runtime: Runtime, nursery: trio.Nursery) -> None:
        self.runtime = runtime
        self.nursery = nursery
        self.stage = Supervisor(name="stage", intensity=1000, period_seconds=10.0)
        self.actors: dict[str, ActorRef[Player]] = {}

    async def enter(self, *names: str) -> None:
        """Let players enter."""
        await self._start(Player, names)

    async def crowd(self, number: int) -> None:
        """Let a crowd enter."""
        await self._start(Extra, [f"extra-{place}" for place in range(number)])

    async def work(self, name: str, seconds: float, messages: int) -> None:
        """Give somebody work that fills its mailbox."""
        for _ in range(messages):
            self.actors[name].tell(Work(seconds))

    async def bustle(self, share: float) -> None:
        """Keep some of the crowd busy from now on."""
        names = [name for name in self.actors if name.startswith("extra-")]
        chosen = names[: max(1, int(len(names) * share))]
        self.nursery.start_soon(self._bustle, chosen)

    async def block(self, name: str, seconds: float) -> None:
        self.actors[name].tell(Block(seconds))

    async def crash(self, name: str, text: str) -> None:
        self.actors[name].tell(Crash(text))

    async def wait_for(self, name: str, seconds: float) -> None:
        """Ask somebody who never answers."""
        self.nursery.start_soon(self._wait_for, name, seconds)

    async def plan(self, text: str) -> None:
        """Have the server carry out a plan, which goes on meanwhile."""
        self.nursery.start_soon(self._plan, text)

    async def _start(self, kind: type[Player], names: Any) -> None:
        for name in names:
            spec = self.runtime.system.actor_spec(kind, name=name, mailbox=MailboxSpec(MAILBOX_MESSAGES))
            started = await self.stage.start_child(spec)
            self.actors[name] = started.value

    async def _bustle(self, names: list[str]) -> None:
        while True:
            for name in names:
                self.actors[name].tell(Work(0))
            await trio.sleep(0.5)

    async def _wait_for(self, name: str, seconds: float) -> None:
        with trio.move_on_after(seconds):
            await self.actors[name].ask(Question(), timeout_seconds=seconds)

    async def _plan(self, text: str) -> None:
        opened = next(iter(self.runtime.workspaces.values()))
        await PlanRun(opened, lambda _: None).run(read_plan(text, name="dinner.md"), RunOptions())


async def obey(runtime: Runtime, nursery: trio.Nursery) -> None:
    """Read what to do, do it, and say so."""
    troupe = Troupe(runtime, nursery)
    await runtime.root.start_child(supervisor_spec("stage", lambda: troupe.stage))
    pending = b""
    stdin = trio.lowlevel.FdStream(0)
    async for chunk in stdin:
        *lines, pending = (pending + chunk).split(b"\n")
        for line in lines:
            what, *arguments = json.loads(line)
            act: Callable[..., Any] = getattr(troupe, what)
            await act(*arguments)
            sys.stdout.write(json.dumps([what]) + "\n")
            sys.stdout.flush()


def with_a_stage(
    open_runtime: Callable[..., Any],
) -> Callable[..., Any]:
    """Give an `open_runtime` whose runtimes have a stage."""

    @asynccontextmanager
    async def opened(*arguments: Any, **options: Any) -> AsyncIterator[Runtime]:
        async with open_runtime(*arguments, **options) as runtime, trio.open_nursery() as nursery:
            nursery.start_soon(obey, runtime, nursery)
            yield runtime
            nursery.cancel_scope.cancel()

    return opened


if __name__ == "__main__":
    serving.open_runtime = with_a_stage(serving.open_runtime)
    wish = ServeWish(Path(sys.argv[1]), http=HttpWish(sys.argv[2]), in_process=True)
    trio.run(serving.serve, wish, restrict_keyboard_interrupt_to_checkpoints=True)
