"""Measuring a running server now: its loop, stores, mailboxes, supervisors and disks. No constants, no memory.

A commit is measured by making one: a synced write of a page that changes nothing, on a connection of its own, so that
it waits for locks and for the disk as any commit does and leaves no row behind. Neighbours: `checks` judges, `lag`
measures the loop.
"""

from __future__ import annotations

import shutil
import sqlite3
import time
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Final

import trio

from supervisors import AnySupervisor
from vespera_agents.health.checks import DiskVital, MailboxVital, Measurements, StoreVital, SupervisorVital
from vespera_agents.health.lag import measure_lag
from vespera_agents.specialists.runtime import Runtime
from vespera_agents.specialists.sessions import OpenWorkspace
from vespera_agents.store import StoreError
from vespera_agents.store.writer import connect

__all__ = ["measure"]

_PROBE_SECONDS: Final = 3.0
"""How long a commit may wait for another process's lock before it counts as failed."""
_ANSWER_SECONDS: Final = 10.0
"""How long we wait for a disk at all."""
_PROBES_AT_ONCE: Final = 8


async def measure(runtime: Runtime) -> Measurements:
    """Measure everything once, within some tenths of a second; a disk that hangs is given up on after ten.

    Cancelled: it ends at once; a probe under way ends by itself.
    """
    stores: dict[Path, StoreVital] = {}
    disks: dict[Path, DiskVital] = {}
    lag = 0.0
    limiter = trio.CapacityLimiter(_PROBES_AT_ONCE)

    async def probe(directory: Path, opened: OpenWorkspace) -> None:
        stores[directory] = await _store_vital(opened, limiter)
        free = await _in_thread(partial(_free_bytes, directory), limiter)
        if isinstance(free, int):
            disks[directory] = DiskVital(str(directory), free)

    async with trio.open_nursery() as nursery:
        for directory, opened in runtime.workspaces.items():
            nursery.start_soon(probe, directory, opened)
        lag = await measure_lag()
    return Measurements(
        loop_lag_seconds=lag,
        stores=tuple(stores[directory] for directory in sorted(stores)),
        mailboxes=_mailboxes(runtime),
        supervisors=_supervisors(runtime),
        disks=tuple(disks[directory] for directory in sorted(disks)),
    )


async def _store_vital(opened: OpenWorkspace, limiter: trio.CapacityLimiter) -> StoreVital:
    name = str(opened.workspace.directory)
    statistics = opened.store.statistics()
    errors = sum(statistics.errors.values())
    found: float | str
    # Of one that gave up because its file is gone, that is the reason to tell.
    if opened.is_open or not await trio.Path(opened.store.database).exists():
        found = await _in_thread(partial(_commit_seconds, opened.store.database), limiter)
    else:
        found = "the workspace is not running: its part of the tree gave up. The next call to it starts it anew"
    if isinstance(found, str):
        return StoreVital(name, None, found, statistics.queue_depth, errors)
    return StoreVital(name, found, None, statistics.queue_depth, errors)


async def _in_thread(function: partial[float | str], limiter: trio.CapacityLimiter) -> float | str:
    with trio.move_on_after(_ANSWER_SECONDS):
        return await trio.to_thread.run_sync(function, abandon_on_cancel=True, limiter=limiter)
    return f"the disk did not answer within {_ANSWER_SECONDS:.0f} s"


def _commit_seconds(database: Path) -> float | str:
    """Commit something that changes nothing, and say how long it took, or why it could not be done."""
    try:
        if not database.exists():
            return (
                "its database was removed. The next call to it makes a new one, or takes the one that is there by then"
            )
        with closing(connect(database)) as connection:
            connection.execute(f"PRAGMA busy_timeout={_PROBE_SECONDS * 1_000:.0f}")
            begun = time.perf_counter()
            connection.execute("BEGIN IMMEDIATE")
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            # Writes the first page as it is: the commit has something to sync.
            connection.execute(f"PRAGMA user_version={int(version)}")
            connection.execute("COMMIT")
            return time.perf_counter() - begun
    except (sqlite3.Error, StoreError, OSError) as error:
        return f"a commit failed: {error}"


def _free_bytes(directory: Path) -> int | str:
    try:
        return shutil.disk_usage(directory).free
    except OSError as error:
        return str(error)


def _mailboxes(runtime: Runtime) -> tuple[MailboxVital, ...]:
    """Give the mailboxes that hold anything, the fullest first."""
    found = [MailboxVital(one.name, one.mailbox.fill_ratio) for one in runtime.system.living() if one.mailbox.depth]
    return tuple(sorted(found, key=lambda one: -one.fill_ratio))


def _supervisors(runtime: Runtime) -> tuple[SupervisorVital, ...]:
    """Give every supervisor of the tree, the one that is nearest to giving up first."""
    found: list[SupervisorVital] = []
    waiting: list[AnySupervisor] = [runtime.root]
    while waiting:
        supervisor = waiting.pop()
        ratio, intensity = supervisor.statistics().intensity_used_ratio, supervisor.flags.intensity
        left = max(0, intensity - round(ratio * max(1, intensity)))
        found.append(SupervisorVital(supervisor.name, left, ratio))
        waiting.extend(child.value for child in supervisor.which_children() if isinstance(child.value, AnySupervisor))
    return tuple(sorted(found, key=lambda one: (-one.used_ratio, one.supervisor)))
