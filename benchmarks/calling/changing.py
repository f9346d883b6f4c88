"""Real changes of tasks in a store that a server has open as well: planned, claimed, completed, many in one commit."""

from __future__ import annotations

import itertools
from typing import Final

import trio

from vespera_agents.store import CommandKey, Store
from vespera_agents.store.callbacks import callback_backlog
from vespera_agents.store.commands import ClaimTask, FinishTask, OpenSession, PlanTasks, RenewLease
from vespera_agents.work.drafts import TaskDraft
from vespera_agents.work.models import TaskStatus
from vespera_agents.workspace import Workspace, machine_time

__all__ = ["change_tasks"]

_BATCH: Final = 100
"""Tasks of one plan."""
_LANES: Final = 40
BACKLOG_MAX: Final = 2_000
"""Callbacks that may wait before more happens."""
_HOLDER: Final = "cli:benchmark"


async def change_tasks(workspace: Workspace, store: Store, count: int) -> list[str]:
    """Plan, claim and complete so many tasks; gives their ids."""
    keys = (CommandKey("benchmark", f"callbacks/{number}") for number in itertools.count())
    now = machine_time()
    lease = RenewLease("benchmark", _HOLDER, now.boot, now.seconds, 86_400.0)
    await store.execute(lease, next(keys))
    opened = await store.execute(OpenSession("benchmark", str(workspace.directory), "callbacks"), next(keys))
    done: list[str] = []
    sending, waiting = trio.open_memory_channel[str](_BATCH)

    async def carry_out(tasks: trio.MemoryReceiveChannel[str]) -> None:
        async with tasks:
            async for task in tasks:
                await store.execute(ClaimTask("benchmark", task, _HOLDER), next(keys))
                await store.execute(FinishTask("benchmark", task, _HOLDER, TaskStatus.COMPLETED), next(keys))
                done.append(task)

    async with trio.open_nursery() as nursery, sending, waiting:
        for _ in range(_LANES):
            nursery.start_soon(carry_out, waiting.clone())
        for first in range(0, count, _BATCH):
            drafts = tuple(
                TaskDraft(key=f"k{number}", title=f"task {number}")
                for number in range(first, min(first + _BATCH, count))
            )
            planned = await store.execute(PlanTasks("benchmark", opened["session_id"], drafts), next(keys))
            for task in planned["ids"].values():
                await sending.send(task)
            # A process that commits without a pause leaves another one hardly a moment for the lock of the database:
            # the server that delivers waited for more than twenty seconds.
            while (await store.read(callback_backlog))[0] > BACKLOG_MAX:  # noqa: ASYNC110 - of another process
                await trio.sleep(0.05)
        await sending.aclose()
    return done
