"""What the observer takes of a loop with ten thousand actors, for `benchmarks.health`: the population, and who watches.

A tenth of the actors does something each second. Viewers are connections of another process that reads what comes and
throws it away, so that the loop pays for telling and not for reading. What is measured is the processor time of the
loop's thread in a second of the wall: what others do with the machine does not count. Run as a program, this is that
other process.
"""

from __future__ import annotations

import selectors
import socket
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import cast, final

import trio
from hypercorn.config import Config
from hypercorn.trio.run import worker_serve
from hypercorn.typing import AppWrapper

from benchmarks.messages import Add, Adder
from benchmarks.populations import populate
from supervisors import Supervisor
from vespera_agents.actors import ActorRef
from vespera_agents.health.observer.app import ObserverApp, Receive, Scope, Send
from vespera_agents.health.observer.local import LocalSource
from vespera_agents.health.subtree import Health
from vespera_agents.specialists.runtime import Runtime, open_runtime

SETTLE_SECONDS = 4.0
"""After what has changed, until what that costs once is over: the first picture."""
FORGOTTEN_SECONDS = 30.0
"""Within which a feed that nobody watches any more has forgotten the tree."""
ACTIVE = 10
"""One actor of so many is told something each second."""


@final
class ObservedPopulation:
    """A server's tree with so many actors, some of them at work."""

    def __init__(self, runtime: Runtime, health: Health, port: int) -> None:
        """Take what `observed_population` has made."""
        self._runtime = runtime
        self._health = health
        self._port = port

    async def share(self, viewers: int, seconds: float) -> float:
        """Return the part of the loop's time, 0 to 1, that everything takes while so many watch."""
        with _watching(self._port, viewers):
            await trio.sleep(SETTLE_SECONDS)
            with trio.fail_after(FORGOTTEN_SECONDS):
                while not viewers and self._health.feed.statistics().nodes:  # noqa: ASYNC110 - it forgets by the clock
                    await trio.sleep(0.1)
            began, busy = time.perf_counter(), time.thread_time()
            await trio.sleep(seconds)
            share = (time.thread_time() - busy) / (time.perf_counter() - began)
            assert self._health.feed.statistics().viewers == viewers, "somebody has hung up"
        return share

    async def share_without(self, seconds: float) -> float:
        """Return the same where there is no feed at all."""
        branch = cast("Supervisor", self._runtime.root.child_value("health"))
        await branch.terminate_child("feed")
        try:
            return await self.share(0, seconds)
        finally:
            await branch.restart_child("feed")

    async def stacks_seconds(self) -> float:
        """Return how long it takes to read where every actor waits; others run in between."""
        began = time.perf_counter()
        answer = await self._health.answers.stacks()
        seconds = time.perf_counter() - began
        assert answer is not None, "the feed runs"
        return seconds


@asynccontextmanager
async def observed_population(count: int) -> AsyncGenerator[ObservedPopulation]:
    """Keep a server's tree with so many actors for the length of a block, its observer open to viewers."""
    health = Health()
    async with open_runtime("serve", listener=health) as runtime:
        await health.start(runtime)
        actors = await populate(runtime.system, count)
        with socket.create_server(("127.0.0.1", 0)) as listening:
            config = Config()
            config.bind = [f"fd://{listening.dup().detach()}"]
            config.accesslog = config.errorlog = None
            app = _hypercorn(ObserverApp(LocalSource(health)))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(partial(worker_serve, app, config, shutdown_trigger=trio.sleep_forever))
                nursery.start_soon(_keep_busy, actors)
                yield ObservedPopulation(runtime, health, int(listening.getsockname()[1]))
                nursery.cancel_scope.cancel()


async def _keep_busy(actors: Sequence[ActorRef[Adder]]) -> None:
    """Tell some of them something, spread over each second."""
    message, parts = Add(1), 100
    chosen = actors[::ACTIVE]
    while True:
        for part in range(parts):
            for actor in chosen[part::parts]:
                actor.tell(message)
            await trio.sleep(1 / parts)


def _hypercorn(app: ObserverApp) -> AppWrapper:
    """Give it the shape of hypercorn's applications, which get two arguments more."""

    async def answer(scope: Scope, receive: Receive, send: Send, _spawn: object, _soon: object) -> None:
        await app(scope, receive, send)

    return cast("AppWrapper", answer)


@contextmanager
def _watching(port: int, viewers: int) -> Generator[None]:
    """Have another process watch with so many connections."""
    if not viewers:
        yield
        return
    command = [sys.executable, "-m", "benchmarks.observing", str(port), str(viewers)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as other:
        try:
            yield
        finally:
            other.kill()


def _read_for_ever(port: int, viewers: int) -> None:
    """Be so many viewers until killed."""
    ready = selectors.DefaultSelector()
    for _ in range(viewers):
        connection = socket.create_connection(("127.0.0.1", port))
        connection.sendall(b"GET /observer/api/events HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
        ready.register(connection, selectors.EVENT_READ)
    while True:
        for key, _ in ready.select():
            if not cast("socket.socket", key.fileobj).recv(1 << 20):
                raise SystemExit("the server has hung up")


if __name__ == "__main__":
    _read_for_ever(int(sys.argv[1]), int(sys.argv[2]))
