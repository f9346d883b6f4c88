"""Tasks under supervision: functions that are run once each, and a stream of items through such tasks.

A task is a temporary child: its crash is an outcome for whoever waits for it, never a restart, and stopping its
supervisor stops it in order. `async_stream` keeps a bounded number of them going. Source: Elixir `task/supervisor.ex`
and `Task.Supervisor.async_stream_nolink`.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final, Generic, TypeVar, cast, final

import trio

from supervisors.any_supervisor import AnySupervisor
from supervisors.deathwatch import Terminated
from supervisors.draining import Unfinished
from supervisors.errors import ChildNotFound, SpecError, SupervisorError
from supervisors.exits import Exit, ExitKind
from supervisors.flags import Flags
from supervisors.incarnation import ChildStatus, Incarnation
from supervisors.listeners import Listener
from supervisors.specs import ChildSpec, Restart

CONCURRENCY_MAX: Final = 8
"""How many tasks of a stream run at once unless it says otherwise."""
TASK_TIMEOUT_SECONDS: Final = 5.0
"""How long one task of a stream may take unless it says otherwise (Elixir: 5000 ms)."""

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


@final
class TaskFailed(SupervisorError):
    """A task has no result: it crashed, was late, or was stopped. `exit` says which, and has the traceback's text."""

    def __init__(self, exit_: Exit | None, *, timed_out: bool = False) -> None:
        said = "never started" if exit_ is None else f"{exit_.kind.value}: {exit_.reason}"
        super().__init__(f"the task was out of time, and was stopped ({said})" if timed_out else f"the task {said}")
        self.exit = exit_
        """How it ended; None where it never began."""
        self.timed_out = timed_out
        """Whether it was stopped because it was out of time."""


@final
class AdmissionClosed(SupervisorError):
    """The task supervisor takes no new tasks: it is being drained."""


@final
class TaskHandle(Generic[ResultT]):
    """A task that was started; the value of its child."""

    def __init__(self, supervisor: TaskSupervisor, function: Callable[[], Awaitable[ResultT]], name: str) -> None:
        self.name = name
        """What it is called."""
        self.id = ""
        """Its id among the children of its supervisor."""
        self.since = trio.current_time()
        """When it was made."""
        self._supervisor = supervisor
        self._function = function
        self._results: list[ResultT] = []
        self._exit: Exit | None = None
        self._over = trio.Event()

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self._over.is_set()

    async def wait(self) -> None:
        """Wait until it has ended, in whatever way; cancelling this changes nothing about it."""
        await self._over.wait()

    async def result(self) -> ResultT:
        """Wait for its result.

        Raises:
            TaskFailed: it has none.
        """
        await self._over.wait()
        if not self._results:
            raise TaskFailed(self._exit)
        return self._results[0]

    async def stop(self) -> None:
        """Stop it, in its time, and wait until it has ended. Idempotent."""
        if not self.over:
            await self._supervisor.stop_task(self.id)
            await self._over.wait()

    def begin(self, child_id: str) -> None:
        """Take note of its child's id; called by its child, before anything else can happen to that."""
        self.id = child_id
        self._supervisor.watch(child_id, self.ended)

    async def carry_out(self) -> None:
        """Run the function; called by its child."""
        self._results.append(await self._function())

    def ended(self, terminated: Terminated) -> None:
        """Take note of its end; called by its watch."""
        self._exit = terminated.exit
        if terminated.exit is None or terminated.exit.kind is not ExitKind.NORMAL:
            self._results.clear()
        self._over.set()


@final
@dataclass(frozen=True, slots=True)
class TaskOutcome(Generic[ItemT, ResultT]):
    """What came of one item of a stream."""

    item: ItemT
    """The item."""
    results: tuple[ResultT, ...]
    """The result, where there is one."""
    failure: TaskFailed | None
    """Why there is none."""

    @property
    def succeeded(self) -> bool:
        """Whether it has a result."""
        return self.failure is None

    @property
    def result(self) -> ResultT:
        """The result.

        Raises:
            TaskFailed: there is none.
        """
        if self.failure is not None:
            raise self.failure
        return self.results[0]


@final
class TaskSupervisor(AnySupervisor):
    """Runs functions as tasks; none is ever restarted.

    Args:
        name: what it is called in reports, errors and task names.
        max_children: how many tasks may run at once; None is no limit.
        shutdown_seconds: how long a task may take to end once it is asked to.
        listener: who is told of every event; a nested supervisor without one uses its root's.

    Raises:
        SpecError: a flag makes no sense.
    """

    def __init__(
        self,
        *,
        name: str,
        max_children: int | None = None,
        shutdown_seconds: float = 5.0,
        listener: Listener | None = None,
    ) -> None:
        template = ChildSpec("task", _run_task, restart=Restart.TEMPORARY, shutdown_seconds=shutdown_seconds)
        # A temporary child is never restarted, so no dice are ever thrown.
        super().__init__(
            Flags(name, max_children=max_children), listener=listener, rng=random.Random(0), template=template  # noqa: S311
        )  # fmt: skip
        self._admits = True

    async def start(
        self, function: Callable[..., Awaitable[ResultT]], *args: object, name: str = ""
    ) -> TaskHandle[ResultT]:
        """Start a task and return at once; its end, whatever it is, concerns nobody who does not ask.

        Raises:
            AdmissionClosed: it is being drained.
            TooManyChildren: it has its max_children.
            SupervisorNotRunning: it has not started, or has ended.
        """
        if not self._admits:
            raise AdmissionClosed(f"supervisor {self.name!r} takes no new tasks: wait until it is open again")
        handle = TaskHandle(self, partial(function, *args), name or getattr(function, "__name__", "task"))
        await self._calls.start_new(partial(self._calls.add_dynamic, (handle,)))
        return handle

    async def stop_task(self, task_id: str) -> None:
        """Stop a task, in its time; nothing happens where it has ended."""
        with contextlib.suppress(ChildNotFound):
            await self.terminate_child(task_id)

    @asynccontextmanager
    async def async_stream(
        self,
        items: Iterable[ItemT] | AsyncIterable[ItemT],
        function: Callable[[ItemT], Awaitable[ResultT]],
        *,
        max_concurrency: int = CONCURRENCY_MAX,
        ordered: bool = True,
        timeout_seconds: float = TASK_TIMEOUT_SECONDS,
    ) -> AsyncGenerator[AsyncIterator[TaskOutcome[ItemT, ResultT]], None]:
        """Run `function` on each item in a task of its own: `async with tasks.async_stream(...) as outcomes`.

        Leaving the block stops the tasks that still run. Items are taken only as outcomes are consumed.

        Args:
            items: what to work on; may be endless.
            function: called with one item.
            max_concurrency: how many tasks, or outcomes nobody has taken yet, there are at once, >= 1.
            ordered: whether the outcomes come in the order of the items, or as they are ready.
            timeout_seconds: how long one task may take; then it is stopped, and its outcome says so.

        Raises:
            SpecError: max_concurrency makes no sense.
            AdmissionClosed, TooManyChildren, SupervisorNotRunning: in a group, when a task could not be started.
        """
        if max_concurrency < 1:
            raise SpecError(f"max_concurrency is a number of tasks >= 1, not {max_concurrency!r}")
        sending, receiving = trio.open_memory_channel[TaskOutcome[ItemT, ResultT]](0)
        stream = _Stream(self, function, sending, timeout_seconds, ordered=ordered)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.feed, items, trio.Semaphore(max_concurrency))
            async with receiving:
                yield receiving
            nursery.cancel_scope.cancel(reason="nobody takes the outcomes of the stream any more")

    # ---- being drained

    def close_admission(self) -> None:
        """Start no new tasks."""
        self._admits = False

    def open_admission(self) -> None:
        """Start tasks again."""
        self._admits = True

    def unfinished(self) -> list[Unfinished]:
        """Return the tasks that run."""
        handles = (info.value for info in self.which_children())
        return [Unfinished(each.since, f"task {each.name}") for each in handles if isinstance(each, TaskHandle)]


@final
class _Stream(Generic[ItemT, ResultT]):
    """One async_stream while it runs."""

    def __init__(
        self,
        supervisor: TaskSupervisor,
        function: Callable[[ItemT], Awaitable[ResultT]],
        sending: trio.MemorySendChannel[TaskOutcome[ItemT, ResultT]],
        timeout_seconds: float,
        *,
        ordered: bool,
    ) -> None:
        self._supervisor = supervisor
        self._function = function
        self._sending = sending
        self._timeout_seconds = timeout_seconds
        self._ordered = ordered

    async def feed(self, items: Iterable[ItemT] | AsyncIterable[ItemT], slots: trio.Semaphore) -> None:
        """Start a task for each item, as slots become free."""
        before = trio.Event()
        before.set()
        async with self._sending, trio.open_nursery() as nursery, aclosing(_each(items)) as each:
            async for item in each:
                await slots.acquire()
                after = trio.Event()
                nursery.start_soon(self._carry_out, item, slots, before, after)
                before = after

    async def _carry_out(self, item: ItemT, slots: trio.Semaphore, before: trio.Event, after: trio.Event) -> None:
        handle = await self._supervisor.start(self._function, item)
        try:
            with trio.move_on_after(self._timeout_seconds) as patience:
                await handle.wait()
        finally:
            # Also when nobody waits for it any more. Bounded: by shutdown_seconds, and force after that.
            with trio.CancelScope(shield=True):
                await handle.stop()
        if self._ordered:
            await before.wait()
        await self._sending.send(await _outcome(item, handle, timed_out=patience.cancelled_caught))
        after.set()
        slots.release()


async def _each(items: Iterable[ItemT] | AsyncIterable[ItemT]) -> AsyncGenerator[ItemT, None]:
    if isinstance(items, AsyncGenerator):
        # Closed here and now, and not when the garbage collector comes to it.
        async with aclosing(cast("AsyncGenerator[ItemT, None]", items)) as given:  # isinstance leaves it unknown.
            async for item in given:
                yield item
    elif isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item


async def _outcome(item: ItemT, handle: TaskHandle[ResultT], *, timed_out: bool) -> TaskOutcome[ItemT, ResultT]:
    try:
        return TaskOutcome(item, (await handle.result(),), None)
    except TaskFailed as failure:
        return TaskOutcome(item, (), TaskFailed(failure.exit, timed_out=timed_out))


async def _run_task(handle: TaskHandle[object], *, task_status: ChildStatus) -> None:
    assert isinstance(task_status, Incarnation), "a task is a child of its supervisor"
    handle.begin(task_status.child.id)
    task_status.started(handle)
    await handle.carry_out()
