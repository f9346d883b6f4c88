"""The side of a front that HTTP clients are on: it follows the front's workers and ends with the front.

Neighbours: `door` serves the clients, `vespera_agents.front.workers` has the workers; `cli.serving` puts them together.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Final, final

import trio

from vespera_agents.front.framing import WRITTEN
from vespera_agents.front.http.door import FrontDoor, FrontStatistics
from vespera_agents.front.http.listening import Listening
from vespera_agents.front.http.workers import HttpWorker
from vespera_agents.front.questions import Reply
from vespera_agents.front.settings import Settings
from vespera_agents.front.workers import Workers

__all__ = ["HttpSide", "http_side"]

_WRITTEN_SECONDS: Final = 1.0
"""How often workers are told which answers were written: what is recorded of them can go then."""
_WRITTEN_MAX: Final = 1_000
"""How many numbers one line has."""


def http_side(listening: Listening) -> Callable[[Workers, Settings, ExitStack], HttpSide]:
    """Give what makes the side of the front that listens there."""

    def make(workers: Workers, _settings: Settings, _stack: ExitStack) -> HttpSide:
        return HttpSide(workers, listening)

    return make


@final
class HttpSide:
    """HTTP clients, as the front's workers see them; and the workers, as requests see them."""

    def __init__(self, workers: Workers, listening: Listening) -> None:
        """Stand between an address and the workers."""
        self._workers = workers
        self._listening = listening
        self._door = FrontDoor(listening, self)
        self._numbers = itertools.count(1)
        self._worker: HttpWorker | None = None
        self._changed = trio.Event()
        self._expired: tuple[float, str] | None = None
        """Who came before that moment waits no longer, and why."""
        self._written: list[int] = []
        self._nursery: trio.Nursery | None = None
        workers.questions.http = self._reach

    # ---- as a child of the tree

    async def run(self, *, task_status: trio.TaskStatus[HttpSide]) -> None:
        """Serve until the front ends."""
        async with trio.open_nursery() as self._nursery:
            nursery = self._nursery
            await nursery.start(self._door.run)
            nursery.start_soon(self._keep_following)
            nursery.start_soon(self._keep_reporting)
            nursery.start_soon(self._announce)
            task_status.started(self)
            await self._workers.ending.wait()
            self._door.stop()
            self._change()
            await self._door.ended.wait()
            await self._workers.gone.wait()
            nursery.cancel_scope.cancel()

    def tree_detail(self) -> dict[str, str | int | float]:
        """Say what the tree shows of it."""
        return self._door.tree_detail()

    def statistics(self) -> FrontStatistics:
        """Give its numbers as they are now."""
        return self._door.statistics()

    def _reach(self, asked: dict[str, object], reply: Reply) -> None:
        """Go to the worker's private socket and back, as a client's request does, and then answer the worker."""
        if self._nursery is None:
            reply({"error": "the front serves no HTTP at the moment"})
        else:
            self._nursery.start_soon(self._go, asked, reply)

    async def _go(self, asked: dict[str, object], reply: Reply) -> None:
        problem = await self._door.reach(str(asked.get("text")).encode().hex().encode())
        reply(asked if problem is None else {"error": problem})

    async def _keep_following(self) -> None:
        """Learn which worker takes requests, again and again."""
        while True:
            await self._workers.wait_ready()
            path = self._workers.greeting.get("http")
            if self._worker is None and isinstance(path, str):
                self._worker = HttpWorker(path)
                self._expired = None
                self._change()
            await self.changed()

    async def _keep_reporting(self) -> None:
        while True:
            await trio.sleep(_WRITTEN_SECONDS)
            while self._written and self._workers.ready:
                numbers, self._written = self._written[:_WRITTEN_MAX], self._written[_WRITTEN_MAX:]
                self._workers.tell(b"%s %s\n" % (WRITTEN, b" ".join(map(b"%d".__mod__, numbers))))

    async def _announce(self) -> None:
        """Say where we serve: a line for programs, too, which look for what follows the first word."""
        await self._workers.first_ready.wait()
        sys.stderr.write(f"serving {self._listening.url}\n")
        sys.stderr.flush()

    def _change(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    # ---- for the workers

    def repeat(self) -> list[bytes]:
        """Give what a new worker hears first: nothing, for requests come over its private socket."""
        return []

    def hear(self, line: bytes) -> None:
        """Drop what a worker says to clients over the link: what HTTP clients get comes over its private socket."""

    def lose(self, *, blamed: bool, why: str) -> None:
        """Take in that the worker is dead."""
        worker, self._worker = self._worker, None
        if worker is not None:
            # It could not remove its socket itself.
            with suppress(OSError):
                os.unlink(worker.path)  # noqa: PTH108 - no path objects here
            worker.end(blamed=blamed, why=why)
        self._change()

    def expire(self, before_seconds: float, why: str) -> None:
        """Give up what has waited for too long."""
        self._expired = (before_seconds, why)
        self._change()

    def busy(self) -> bool:
        """Say whether a client waits for an answer."""
        return self._door.busy()

    def stuffed(self) -> bool:
        """Say whether clients take so little that the worker's lines must wait: they carry nothing for clients."""
        return False

    async def wait_taken(self) -> None:
        """Wait for nothing."""
        await trio.lowlevel.checkpoint()

    # ---- for the requests

    def number(self) -> int:
        """Give the next number for a request."""
        return next(self._numbers)

    def written(self, number: int) -> None:
        """Hear that an answer was written to its client."""
        self._written.append(number)

    def current(self) -> HttpWorker | None:
        """Give the worker that takes requests."""
        return self._worker

    async def changed(self) -> None:
        """Wait until there is another worker, or none, or it is waited no longer."""
        await self._changed.wait()

    def expired(self, since_seconds: float) -> str | None:
        """Say why a request that came then waits no longer."""
        if self._expired is None or since_seconds > self._expired[0]:
            return None
        return self._expired[1]
