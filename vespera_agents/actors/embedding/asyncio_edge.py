"""Asyncio at the edge: await a whole unit of asyncio-only work from trio code, in one long-lived loop per system.

The loop is trio-asyncio's, an optional dependency, and is opened on first use in the nursery that is given. This is
not a way to mix the two line by line: a unit starts as asyncio code and ends as such. Neighbours: `asyncio_loop` is
the loop's own life; `asyncio_host` is the other way round, an asyncio program that holds a system. This module
imports asyncio, so import it when it is needed.

trio-asyncio finds the current loop in a context variable, and contexts travel with our messages. So the loop is named
explicitly for each unit, and each unit runs in a copy of its caller's context in which this loop is the current one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Context, copy_context
from dataclasses import dataclass
from typing import Any, TypeVar, TypeVarTuple, cast, final

import outcome
import trio
from trio.lowlevel import (
    Abort,
    RaiseCancelT,
    Task,
    checkpoint_if_cancelled,
    current_task,
    reschedule,
    wait_task_rescheduled,
)

from vespera_agents.actors.embedding.asyncio_loop import LoopCounts, LoopLife, load_trio_asyncio
from vespera_agents.actors.errors import AsyncioLoopEnded, AsyncioTaskCancelled

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")


@final
@dataclass(frozen=True, slots=True)
class AsyncioEdgeStatistics:
    """The asyncio edge of one system at one moment; counters only grow."""

    name: str
    """What it is called."""
    is_open: bool
    """Whether its loop is there now."""
    running: int
    """Units that have begun and not ended."""
    units: int
    """Units begun."""
    cancelled: int
    """Units whose caller was cancelled."""
    forced: int
    """Units and other tasks that did not end when they were cancelled, and were closed."""
    loops: int
    """Loops opened."""
    crashes: int
    """Loops that ended by an error."""
    loop_errors: int
    """Errors in callbacks and in tasks that nobody waits for; asyncio's logger has each."""


@final
class AsyncioEdge:
    """Where the trio code of one system meets asyncio code. It belongs to one trio run."""

    def __init__(
        self,
        nursery: trio.Nursery,
        *,
        name: str = "asyncio",
        cancel_seconds: float = 5.0,
        until_closed: bool = False,
    ) -> None:
        """Remember where the loop will live; nothing is imported or opened yet.

        Args:
            nursery: What the loop's task is started in. It waits for the loop, so call `close` before its end.
            name: What the loop is called in errors, and its task in trio's task tree.
            cancel_seconds: How long asyncio code may take to end when it is cancelled; then its coroutine is closed.
            until_closed: Whether cancelling the nursery leaves the loop alone until `close`, which must come: for a
                system, whose actors may need it to clean up.
        """
        self.name = name
        """What it is called."""
        self._nursery = nursery
        self._cancel_seconds = cancel_seconds
        self._until_closed = until_closed
        # The loop's task must not keep the context of whoever happens to use it first.
        self._context = copy_context()
        self._life: LoopLife | None = None
        self._closed = False
        self._counts = LoopCounts()

    async def run(self, function: Callable[[*Arguments], Awaitable[Result]], *args: *Arguments) -> Result:
        """Call an asyncio function in the system's asyncio loop and wait for its result; its own error is raised here.

        It sees the caller's context variables; what it sets stays with it. Any number of callers may be in it at once.
        Cancelled: the asyncio task is cancelled and waited for, at most `cancel_seconds`, after which it is closed by
        force. If it ends with a result or an error of its own all the same, that is what comes back.

        Raises:
            AsyncioMissing: trio-asyncio is not installed.
            AsyncioLoopEnded: The loop was closed, or broke; after a break the next call opens a new one.
            AsyncioTaskCancelled: The function let an asyncio.CancelledError out that nobody here had asked for.
        """
        await checkpoint_if_cancelled()
        life = await self._opened()
        unit = _Unit(life, current_task(), getattr(function, "__qualname__", repr(function)))
        result = await unit.run(function, args)
        return cast("Result", result)

    def close(self) -> None:
        """Accept no more work, cancel what runs and end the loop. Idempotent; the nursery waits for the end."""
        self._closed = True
        if self._life is not None:
            self._life.closing.cancel(reason="the system closes its asyncio loop")

    def statistics(self) -> AsyncioEdgeStatistics:
        """Return a picture of it as it is now."""
        counts = self._counts
        return AsyncioEdgeStatistics(
            name=self.name,
            is_open=self._life is not None and self._life.loop is not None,
            running=0 if self._life is None else len(self._life.units),
            units=counts.units,
            cancelled=counts.cancelled,
            forced=counts.forced,
            loops=counts.loops,
            crashes=counts.crashes,
            loop_errors=counts.loop_errors,
        )

    async def _opened(self) -> LoopLife:
        life = self._life
        if life is None:
            if self._closed:
                raise AsyncioLoopEnded(self.name, None)
            life = LoopLife(
                load_trio_asyncio(),
                self.name,
                self._cancel_seconds,
                self._counts,
                self._ended,
                until_closed=self._until_closed,
            )
            # A nursery that has ended refuses with a RuntimeError that says so.
            self._context.copy().run(self._start, life)
            self._life = life
        if life.loop is None:
            await life.opened.wait()
            if life.loop is None:
                raise life.error()
        return life

    def _start(self, life: LoopLife) -> None:
        self._nursery.start_soon(life.run, name=f"{self.name} loop")

    def _ended(self, life: LoopLife) -> None:
        if self._life is life:
            self._life = None


@final
class _Unit:
    """One asyncio function that is being run, and the trio task that waits for it."""

    __slots__ = ("_is_lost", "_life", "_name", "_raise_cancel", "_task", "_timer", "_trio_task")

    def __init__(self, life: LoopLife, trio_task: Task, name: str) -> None:
        self._life = life
        self._trio_task = trio_task
        self._name = name
        self._task: asyncio.Task[outcome.Value[Any] | outcome.Error] | None = None
        self._raise_cancel: RaiseCancelT | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_lost = False

    async def run(self, function: Callable[..., Awaitable[object]], args: tuple[object, ...]) -> object:
        life = self._life
        loop = life.loop
        assert loop is not None, "a unit was begun in a loop that is not there"
        context = self._context(loop)

        async def unit() -> outcome.Value[object] | outcome.Error:
            # Its error is a value, so that a SystemExit reaches the caller and does not stop everybody's loop.
            # Also the call is made in here: a function may look for its loop before its first await.
            return await outcome.acapture(function, *args)

        life.counts.units += 1
        self._task = loop.create_task(unit(), name=self._name, context=context)
        self._task.add_done_callback(self._done)
        life.units.add(self)
        result = cast("outcome.Value[object] | outcome.Error", await wait_task_rescheduled(self._abort))
        return result.unwrap()

    def lose(self, error: AsyncioLoopEnded) -> None:
        """Let the caller hear that the loop has ended under it."""
        raise_cancel = self._raise_cancel
        self._resume(outcome.Error(error) if raise_cancel is None else outcome.capture(raise_cancel))

    def _context(self, loop: asyncio.AbstractEventLoop) -> Context:
        context = copy_context()
        context.run(self._life.library.current_loop.set, loop)
        return context

    def _abort(self, raise_cancel: RaiseCancelT) -> Abort:
        if self._is_lost:
            self._life.units.discard(self)
            return Abort.SUCCEEDED
        self._raise_cancel = raise_cancel
        self._life.counts.cancelled += 1
        task, loop = self._task, self._life.loop
        assert task is not None, "a unit is waited for after it was begun"
        task.cancel()
        if loop is not None:
            self._timer = loop.call_later(self._life.cancel_seconds, self._force, task)
        return Abort.FAILED

    def _force(self, task: asyncio.Task[Any]) -> None:
        if not task.done():
            self._life.force(task)

    def _done(self, task: asyncio.Task[outcome.Value[Any] | outcome.Error]) -> None:
        """Hand the result over; asyncio calls this in the loop."""
        if self not in self._life.units:
            return
        if self._timer is not None:
            self._timer.cancel()
        result: outcome.Value[Any] | outcome.Error = (
            outcome.Error(asyncio.CancelledError()) if task.cancelled() else outcome.capture(_unpacked, task)
        )
        if isinstance(result, outcome.Error) and (
            task in self._life.forced or isinstance(result.error, (asyncio.CancelledError, GeneratorExit))
        ):
            if self._raise_cancel is not None:
                result = outcome.capture(self._raise_cancel)
            elif self._life.loop is None:
                # The loop is ending and nobody knows yet why: `lose` will tell.
                self._is_lost = True
                return
            else:
                result = outcome.Error(AsyncioTaskCancelled(self._name))
        self._resume(result)

    def _resume(self, result: outcome.Value[Any] | outcome.Error) -> None:
        self._life.units.discard(self)
        reschedule(self._trio_task, outcome.Value(result))


def _unpacked(task: asyncio.Task[outcome.Value[Any] | outcome.Error]) -> object:
    return task.result().unwrap()
