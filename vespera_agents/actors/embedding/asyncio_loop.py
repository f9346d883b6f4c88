"""One trio-asyncio loop as a task of a trio nursery, from its opening to its end: nobody is left waiting in it.

It says what an error means for a loop that a whole system shares, and ends stubborn tasks within a bound. Who runs
what in it, and how callers wait, is `asyncio_edge`'s business, its only user.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Collection, Coroutine
from contextlib import AbstractAsyncContextManager, suppress
from contextvars import ContextVar
from importlib import import_module
from typing import Any, Final, Protocol, cast, final

import trio

from vespera_agents.actors.errors import AsyncioLoopEnded, AsyncioMissing

FORCED_SECONDS: Final = 1.0
"""How long tasks whose coroutine was closed may take to notice."""


class TrioAsyncioModule(Protocol):
    """What is used of trio_asyncio, which has no types of its own."""

    current_loop: ContextVar[asyncio.AbstractEventLoop | None]
    """The ambient loop."""

    def open_loop(self) -> AbstractAsyncContextManager[asyncio.AbstractEventLoop]:
        """Open a loop."""
        ...


class StoppableLoop(Protocol):
    """What a loop of trio_asyncio has beyond asyncio's."""

    stop: Callable[[], object]
    """Stops it."""

    async def wait_stopped(self) -> None:
        """Wait until it runs no more."""
        ...


class Loser(Protocol):
    """Somebody who waits in the loop."""

    def lose(self, error: AsyncioLoopEnded) -> None:
        """Hear that the loop has ended."""
        ...


@final
class LoopCounts:
    """The live numbers; they outlive each loop."""

    __slots__ = ("cancelled", "crashes", "forced", "loop_errors", "loops", "units")

    def __init__(self) -> None:
        self.units = 0
        """Units begun."""
        self.cancelled = 0
        """Units whose caller was cancelled."""
        self.forced = 0
        """Tasks that did not end when they were cancelled, and were closed."""
        self.loops = 0
        """Loops opened."""
        self.crashes = 0
        """Loops that ended by an error."""
        self.loop_errors = 0
        """Errors in callbacks and in tasks that nobody waits for."""


@final
class LoopLife:
    """One loop, from its opening to its end."""

    def __init__(
        self,
        library: TrioAsyncioModule,
        name: str,
        cancel_seconds: float,
        counts: LoopCounts,
        on_end: Callable[[LoopLife], None],
        *,
        until_closed: bool,
    ) -> None:
        self.library = library
        """trio_asyncio."""
        self.name = name
        """What the loop is called."""
        self.cancel_seconds = cancel_seconds
        """How long a cancelled task may take to end."""
        self.counts = counts
        """Where it counts."""
        self.loop: asyncio.AbstractEventLoop | None = None
        """The loop while it takes work."""
        self.units: set[Loser] = set()
        """Who waits in it."""
        self.forced: set[asyncio.Task[Any]] = set()
        """Tasks whose coroutine was closed and that have not ended yet."""
        self.opened = trio.Event()
        """Set once it is known whether the loop opened."""
        self.closing = trio.CancelScope()
        """Cancel it to close the loop."""
        self._until_closed = until_closed
        self._on_end = on_end
        self._cause: BaseException | None = None

    async def run(self) -> None:
        """Open the loop, keep it until it is closed or breaks, and let nobody wait in it after that."""
        try:
            with trio.CancelScope(shield=self._until_closed):
                async with self.library.open_loop() as loop:
                    await self._keep(loop)
        except Exception as crash:  # noqa: BLE001 - the boundary of the loop
            self.counts.crashes += 1
            self._cause = crash
        finally:
            self._on_end(self)
            self.opened.set()
            for unit in tuple(self.units):
                unit.lose(self.error())

    def error(self) -> AsyncioLoopEnded:
        """Return the error for those who wanted something of this loop."""
        return AsyncioLoopEnded(self.name, self._cause)

    async def _keep(self, loop: asyncio.AbstractEventLoop) -> None:
        stoppable = cast("StoppableLoop", loop)
        stop = stoppable.stop
        stoppable.stop = _refuse_to_stop
        loop.set_exception_handler(self._on_loop_error)
        self.loop = loop
        self.counts.loops += 1
        self.opened.set()
        try:
            with self.closing:
                await stoppable.wait_stopped()
        finally:
            # From here on a unit that ends as cancelled was cancelled by this end.
            self.loop = None
            self._on_end(self)
            with trio.CancelScope(shield=True):
                await self._end_tasks(loop)
            stoppable.stop = stop

    async def _end_tasks(self, loop: asyncio.AbstractEventLoop) -> None:
        """End every task of the loop within a bound: cancel, then close, then strike off."""
        if loop.is_running():
            tasks = asyncio.all_tasks(loop)
            for task in tasks:
                task.cancel()
            await _wait_until_done(tasks, self.cancel_seconds)
            stubborn = asyncio.all_tasks(loop)
            for task in stubborn:
                self.force(task)
            await _wait_until_done(stubborn, FORCED_SECONDS)
        for task in asyncio.all_tasks(loop):
            # The loop broke and will never step this task again; trio-asyncio would wait for it for ever.
            _strike_off(task)
            _close_coroutine(task)

    def force(self, task: asyncio.Task[Any]) -> None:
        """End a task that does not end when it is cancelled: its next step finds its coroutine closed."""
        self.counts.forced += 1
        self.forced.add(task)
        _close_coroutine(task)
        task.add_done_callback(self._look_at)
        task.cancel()

    def _look_at(self, task: asyncio.Task[Any]) -> None:
        """Take note of a forced task's error, so that asyncio does not log it as one that nobody has seen."""
        self.forced.discard(task)
        if not task.cancelled():
            task.exception()

    def _on_loop_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Do what asyncio does: log it. trio-asyncio would end the loop, and with it the work of all other actors."""
        self.counts.loop_errors += 1
        asyncio.BaseEventLoop.default_exception_handler(cast("asyncio.BaseEventLoop", loop), context)


def load_trio_asyncio() -> TrioAsyncioModule:
    """Import trio-asyncio, and leave `asyncio.run` of other threads as it was.

    trio-asyncio makes asyncio.new_event_loop return loops of its own in every thread, so that a later asyncio.run
    would run on trio. Who imported it before us wants that; an actor that uses some asyncio library does not.

    Raises:
        AsyncioMissing: It is not installed.
    """
    was_there = "trio_asyncio" in sys.modules
    new_event_loop = asyncio.new_event_loop
    try:
        library = import_module("trio_asyncio")
    except ModuleNotFoundError as missing:
        if missing.name != "trio_asyncio":
            raise
        raise AsyncioMissing from missing
    if not was_there:
        asyncio.new_event_loop = asyncio.events.new_event_loop = new_event_loop
    return cast("TrioAsyncioModule", library)


async def _wait_until_done(tasks: Collection[asyncio.Task[Any]], seconds: float) -> None:
    waiting = {task for task in tasks if not task.done()}
    if not waiting:
        return
    all_done = trio.Event()

    def done(task: asyncio.Task[Any]) -> None:
        waiting.discard(task)
        if not waiting:
            all_done.set()

    for task in tuple(waiting):
        task.add_done_callback(done)
    with trio.move_on_after(seconds):
        await all_done.wait()


def _refuse_to_stop() -> None:
    raise RuntimeError(
        "This asyncio loop is shared by all actors of a system, so nobody may stop it. Return from your own function."
    )


def _strike_off(task: asyncio.Future[Any]) -> None:
    # Not the task's own cancel(), which asks the loop for one more step.
    strike_off: Callable[[asyncio.Future[Any]], bool] = asyncio.Future[Any].cancel
    strike_off(task)


def _close_coroutine(task: asyncio.Task[Any]) -> None:
    coroutine = task.get_coro()
    if isinstance(coroutine, Coroutine):
        # A coroutine that catches even GeneratorExit says so with a RuntimeError; its task is struck off later.
        with suppress(RuntimeError):
            coroutine.close()
