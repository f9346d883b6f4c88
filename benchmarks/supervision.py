"""Supervision: what do a restart, a start and a stop, and a hundred thousand children cost beside bare trio?

Ours runs as it ships: start timeouts armed, crashes summarized, restarts counted in the window, statistics kept. The
reference does the same work with the least that trio offers, and supervises nothing. For 10,000 children and more set
`gc.set_threshold(50_000, 20, 100)` when the program starts, as these rows do: with Python's own thresholds the cyclic
collector walks over all that lives again and again, for both sides.
"""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import trio
from trio.testing import wait_all_tasks_blocked

from benchmarks.harness import Options, Row, compare, row_of
from supervisors import ChildSpec, DynamicSupervisor, Supervisor

CRASHES = 5_000
CHILDREN = 2_000
SIZES = (1_000, 10_000, 100_000)
PARKED = 5_000
SPAWNED = 20_000
THRESHOLDS = (50_000, 20, 100)
"""The documented settings of the cyclic garbage collector."""


async def run(options: Options) -> list[Row]:
    """Measure."""
    crashes, children = options.scaled(CRASHES), options.scaled(CHILDREN)
    with gc_settings():
        return [
            await compare(
                "crash to running again",
                unit="us",
                ours=lambda: crash_and_restart(crashes),
                reference="start_soon, each task starts the next",
                measure_reference=lambda: chain(crashes),
                goal=3.5,
                goal_is="at most",
                options=options,
            ),
            await compare(
                "start and ordered stop of a child",
                unit="us",
                ours=lambda: static_children(children),
                reference="nursery.start, cancel, wait",
                measure_reference=lambda: bare_children(children),
                goal=1.15,
                goal_is="at most",
                options=options,
            ),
            await compare(
                "start_child and terminate_child",
                unit="us",
                ours=lambda: called_children(children),
                reference="nursery.start, cancel, wait",
                measure_reference=lambda: bare_children(children),
                goal=1.5,
                goal_is="at most",
                options=options,
            ),
            *await spawning(options),
            *await growth(options),
            await compare(
                "memory of a parked child",
                unit="bytes",
                ours=lambda: memory_of_children(options.scaled(PARKED)),
                reference="a parked task",
                measure_reference=lambda: memory_of_tasks(options.scaled(PARKED)),
                goal=2.0,
                goal_is="at most",
                options=options,
            ),
            await compare(
                "memory of a parked child of a template",
                unit="bytes",
                ours=lambda: memory_of_spawned(options.scaled(PARKED)),
                reference="a parked task of start_soon",
                measure_reference=lambda: memory_of_spawned_tasks(options.scaled(PARKED)),
                goal=1.5,
                goal_is="at most",
                options=options,
            ),
            await garbage(options.scaled(CRASHES)),
        ]


@contextmanager
def gc_settings() -> Iterator[None]:
    """Collect as rarely as the documentation recommends."""
    before = gc.get_threshold()
    gc.set_threshold(*THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*before)


async def parked(*, task_status: trio.TaskStatus[None]) -> None:
    """Be ready, and wait for the end."""
    task_status.started()
    await trio.sleep_forever()


async def timed(count: int, work: Callable[[], Awaitable[object]]) -> float:
    """Do the work, which is so many units, and return microseconds of this thread's processor time per unit.

    Nothing here waits for anything outside the process, so processor time is the cost; wall time would add what else
    the machine does.
    """
    began = time.thread_time()
    await work()
    return (time.thread_time() - began) / count * 1e6


async def crash_and_restart(count: int) -> float:
    """Let one child crash and come back so many times."""
    lives = 0
    done = trio.Event()

    async def child(*, task_status: trio.TaskStatus[None]) -> None:
        nonlocal lives
        lives += 1
        task_status.started()
        if lives == 1:
            await wait_all_tasks_blocked()  # From here on the supervisor has nothing else to do.
        if lives <= count:
            raise ValueError
        done.set()
        await trio.sleep_forever()

    supervisor = Supervisor([ChildSpec("child", child)], name="s", intensity=count)
    async with trio.open_nursery() as nursery:

        async def work() -> None:
            await nursery.start(supervisor.run)
            await done.wait()

        result = await timed(count, work)
        supervisor.stop()
    assert supervisor.statistics().starts == count + 1
    return result


async def chain(count: int) -> float:
    """Let a task live for as long as our child, and start the next one."""
    lives = 0
    done = trio.Event()

    async with trio.open_nursery() as nursery:

        async def task() -> None:
            nonlocal lives
            lives += 1
            if lives > count:
                done.set()
                return
            nursery.start_soon(task)

        async def work() -> None:
            nursery.start_soon(task)
            await done.wait()

        return await timed(count, work)


async def static_children(count: int) -> float:
    """Start a supervisor with so many children, and stop it: in order and in reverse order."""
    specs = [ChildSpec(str(number), parked) for number in range(count)]
    supervisor = Supervisor(specs, name="s")

    async def work() -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(supervisor.run)
            supervisor.stop()

    return await timed(count, work)


async def called_children(count: int) -> float:
    """Start and stop so many children by calls."""
    specs = [ChildSpec(str(number), parked) for number in range(count)]
    supervisor = Supervisor(name="s")

    async def work() -> None:
        for spec in specs:
            await supervisor.start_child(spec)
        for spec in reversed(specs):
            await supervisor.terminate_child(spec.id)

    async with trio.open_nursery() as nursery:
        await nursery.start(supervisor.run)
        result = await timed(count, work)
        supervisor.stop()
    return result


async def bare_children(count: int) -> float:
    """Start so many tasks with nursery.start, then cancel each and wait for it, the last one first."""

    async def life(
        scope: trio.CancelScope, ended: trio.Event, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        with scope:
            await parked(task_status=task_status)
        ended.set()

    async def work() -> None:
        tasks: list[tuple[trio.CancelScope, trio.Event]] = []
        async with trio.open_nursery() as nursery:
            for _ in range(count):
                scope, ended = trio.CancelScope(), trio.Event()
                await nursery.start(life, scope, ended)
                tasks.append((scope, ended))
            for scope, ended in reversed(tasks):
                scope.cancel()
                await ended.wait()

    return await timed(count, work)


async def spawning(options: Options) -> list[Row]:
    """Compare how fast children come into being with how fast bare tasks do, until all of them wait."""
    count = options.scaled(SPAWNED)
    kinds: list[tuple[str, Callable[[], Awaitable[float]], float]] = [
        ("start_child_nowait of a template", lambda: spawned(count, dynamic=True, awaited=False), 0.4),
        ("start_child_nowait of a spec", lambda: spawned(count, dynamic=False, awaited=False), 0.4),
        ("start_child of a template", lambda: spawned(count, dynamic=True, awaited=True), 0.25),
        ("start_child of a spec", lambda: spawned(count, dynamic=False, awaited=True), 0.25),
    ]
    return [
        await compare(
            name,
            unit="starts/s",
            ours=ours,
            reference="start_soon of a task that waits",
            measure_reference=lambda: bare_spawned(count),
            goal=goal,
            options=options,
        )
        for name, ours, goal in kinds
    ]


async def spawned(count: int, *, dynamic: bool, awaited: bool) -> float:
    """Return how many children a second a supervisor that has nothing else to do can be given."""
    specs = [ChildSpec(str(number), parked) for number in range(count)]
    ordered = Supervisor(name="s")
    pool = DynamicSupervisor(ChildSpec("child", parked), name="s", max_children=None)

    async def work() -> None:
        for spec in specs:
            if awaited:
                await (pool.start_child() if dynamic else ordered.start_child(spec))
            elif dynamic:
                pool.start_child_nowait()
            else:
                ordered.start_child_nowait(spec)
        await wait_all_tasks_blocked()

    async with trio.open_nursery() as nursery:
        await nursery.start(pool.run if dynamic else ordered.run)
        await wait_all_tasks_blocked()
        microseconds = await timed(count, work)
        nursery.cancel_scope.cancel()
    return 1e6 / microseconds


async def bare_spawned(count: int) -> float:
    """Return how many tasks a second a nursery can be given."""

    async def work() -> None:
        for _ in range(count):
            nursery.start_soon(wait)
        await wait_all_tasks_blocked()

    async with trio.open_nursery() as nursery:
        microseconds = await timed(count, work)
        nursery.cancel_scope.cancel()
    return 1e6 / microseconds


async def growth(options: Options) -> list[Row]:
    """Compare the cost of a child among ever more of them; bare trio pays for its own growth in the same run."""
    smallest, *larger = (options.scaled(size) for size in SIZES)
    rounds = 3
    ours = {size: [await collected(static_children, size) for _ in range(rounds)] for size in (smallest, *larger)}
    bare = {size: [await collected(bare_children, size) for _ in range(rounds)] for size in (smallest, *larger)}
    rows: list[Row] = []
    for side, measured in (("ours", ours), ("bare trio", bare)):
        rows += [
            row_of(
                f"start and stop of one of {size:,} children, {side}",
                unit="us",
                ours=measured[size],
                reference=f"one of {smallest:,}, {side}",
                references=measured[smallest],
                goal=1.5,
                goal_is="at most",
            )
            for size in larger
        ]
    return rows


async def collected(measure: Callable[[int], Awaitable[float]], size: int) -> float:
    """Measure without the rubbish of the measurement before."""
    gc.collect()
    return await measure(size)


async def memory_of_children(count: int) -> float:
    """Return the bytes of one parked child, its spec and its place in the supervisor included."""
    async with trio.open_nursery() as nursery:
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        supervisor = Supervisor([ChildSpec(str(number), parked) for number in range(count)], name="s")
        await nursery.start(supervisor.run)
        gc.collect()
        after = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        supervisor.stop()
    return (after - before) / count


async def memory_of_tasks(count: int) -> float:
    """Return the bytes of one parked task."""
    async with trio.open_nursery() as nursery:
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(count):
            await nursery.start(parked)
        gc.collect()
        after = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        nursery.cancel_scope.cancel()
    return (after - before) / count


async def memory_of_spawned(count: int) -> float:
    """Return the bytes of one parked child that has a template in common with all others."""
    pool = DynamicSupervisor(ChildSpec("child", parked), name="s", max_children=None)
    async with trio.open_nursery() as nursery:
        await nursery.start(pool.run)
        await wait_all_tasks_blocked()
        result = await memory_of(count, pool.start_child_nowait)
        pool.stop()
    return result


async def memory_of_spawned_tasks(count: int) -> float:
    """Return the bytes of one parked task that was begun with start_soon."""
    async with trio.open_nursery() as nursery:
        result = await memory_of(count, lambda: nursery.start_soon(wait))
        nursery.cancel_scope.cancel()
    return result


async def wait() -> None:
    """Wait for the end: what `parked` is without a supervisor."""
    await trio.sleep_forever()


async def memory_of(count: int, spawn: Callable[[], object]) -> float:
    """Return the bytes of one of so many things that are begun by `spawn` and then wait."""
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(count):
        spawn()
    await wait_all_tasks_blocked()
    gc.collect()
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return (after - before) / count


async def garbage(count: int) -> Row:
    """Count what only the cyclic collector could free after so many crashes."""
    crashed = 0
    done = trio.Event()

    async def child(*, task_status: trio.TaskStatus[None]) -> None:
        nonlocal crashed
        task_status.started()
        if not crashed:
            await wait_all_tasks_blocked()
        crashed += 1
        if crashed > count:
            done.set()
            await trio.sleep_forever()
        raise ValueError

    supervisor = Supervisor([ChildSpec("child", child)], name="s", intensity=count)
    async with trio.open_nursery() as nursery:
        await nursery.start(supervisor.run)
        await trio.lowlevel.checkpoint()
        gc.collect()
        gc.disable()
        try:
            await done.wait()
            found = gc.collect()
        finally:
            gc.enable()
        supervisor.stop()
    return row_of(
        f"objects left to the cyclic collector by {count:,} crashes",
        unit="objects",
        ours=[float(found)],
        reference="one object per crash",
        references=[float(count)],
        goal=0.0,
        goal_is="at most",
    )
