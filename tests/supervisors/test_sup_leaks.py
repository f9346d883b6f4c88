"""Nothing leaks: tasks, cancel scopes, descriptors, processes and memory after ten thousand crashes and restarts."""

from __future__ import annotations

import gc
import os
import tracemalloc
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from supervisors import Backoff, ChildSpec, DynamicSupervisor, Strategy, Supervisor
from tests.supervisors.otp import spec

CYCLES = 10_000
GROWTH_BYTES_MAX = 1_000_000
TRIO_KEEPS = 1_010
"""Trio forgets scopes whose deadline was moved or is over only when a thousand of them have gathered."""


def living() -> dict[str, int]:
    """Count what could leak: trio's tasks, the cancel scopes that are alive, open descriptors, child processes."""
    gc.collect()
    scopes = sum(isinstance(each, trio.CancelScope) for each in gc.get_objects())
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
    return {
        "tasks": trio.lowlevel.current_statistics().tasks_living,
        "scopes": scopes,
        "descriptors": len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0,
        "processes": len(children.read_text().split()) if children.exists() else 0,
    }


class Crashing:
    """A child that crashes again and again until its count is reached, every second time below a nursery of its own."""

    def __init__(self) -> None:
        self.lives = 0
        self.until = 0
        self.more = trio.Event()
        self.done = trio.Event()

    async def child(self, *, task_status: trio.TaskStatus[object]) -> None:
        self.lives += 1
        task_status.started(self.lives)
        if self.lives >= self.until:
            self.done.set()
            await self.more.wait()
        await trio.lowlevel.checkpoint()
        if self.lives % 2:
            raise ValueError(f"crash {self.lives}")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            raise LookupError(f"crash {self.lives}")

    async def crash(self, count: int) -> None:
        """Let it crash so many times."""
        self.until, self.done = self.lives + count, trio.Event()
        more, self.more = self.more, trio.Event()
        more.set()
        await self.done.wait()
        await wait_all_tasks_blocked()


@pytest.mark.unmeasured
@pytest.mark.parametrize("kind", ["one_for_one", "one_for_all", "dynamic", "backoff", "calls"])
async def test_nothing_leaks_in_ten_thousand_cycles(autojump_clock, kind):
    """Half of the crashes come out of a nursery; where possible they are decided in the dying task."""
    cycles = {"one_for_one": CYCLES, "backoff": CYCLES // 5}.get(kind, CYCLES // 10)
    crashing = Crashing()
    flags = {"name": "s", "intensity": 10 * CYCLES}
    if kind == "dynamic":
        supervisor = DynamicSupervisor(ChildSpec("c", crashing.child), max_children=2, **flags)
    else:
        backoff = Backoff(0.01, 0.02) if kind == "backoff" else None
        strategy = Strategy.ONE_FOR_ALL if kind == "one_for_all" else Strategy.ONE_FOR_ONE
        children = [] if kind == "calls" else [spec("other"), ChildSpec("c", crashing.child, backoff=backoff)]
        supervisor = Supervisor(children, strategy=strategy, **flags)

    async def cycle(count: int) -> None:
        if kind == "calls":
            for number in range(count):
                await supervisor.start_child(spec(f"c{number}"))
                await supervisor.terminate_child(f"c{number}")
                await supervisor.delete_child(f"c{number}")
            return
        await crashing.crash(count)

    async with trio.open_nursery() as nursery:
        await nursery.start(supervisor.run)
        if kind == "dynamic":
            await supervisor.start_child()
        await cycle(cycles // 10)
        tracemalloc.start()
        try:
            before, bytes_before = living(), tracemalloc.get_traced_memory()[0]
            await cycle(cycles)
            after, bytes_after = living(), tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
        supervisor.stop()
    scopes = after.pop("scopes") - before.pop("scopes")
    assert scopes <= (TRIO_KEEPS if kind == "backoff" else 0)
    assert after == before
    assert bytes_after - bytes_before < GROWTH_BYTES_MAX
