"""Measuring a running server: its loop, stores, mailboxes, supervisors and disks.

A commit is measured by making one: a synced write of a page that changes nothing, on a connection of its own, so that
it waits for locks and for the disk as any commit does and leaves no row behind. Who looks again and again keeps
`Commits`, so that a disk at rest may rest. Neighbours: `checks` judges, `lag` measures the loop, `model` asks.
"""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar, final

import trio

from supervisors import AnySupervisor
from vespera_agents.health.checks import (
    DiskVital,
    MailboxVital,
    Measurements,
    StallVital,
    StoreVital,
    SupervisorVital,
    WedgedVital,
)
from vespera_agents.health.lag import measure_lag
from vespera_agents.providers.circuit import Circuit, worst_circuits
from vespera_agents.specialists.runtime import Runtime
from vespera_agents.specialists.sessions import OpenWorkspace
from vespera_agents.store import StoreError
from vespera_agents.store.writer import connect

if TYPE_CHECKING:
    from vespera_agents.health.watchdog.watchdog import Watchdog

__all__ = ["LATELY_SECONDS", "Commits", "measure"]

T = TypeVar("T")

_PROBE_SECONDS: Final = 3.0
"""How long a commit may wait for another process's lock before it counts as failed."""
_ANSWER_SECONDS: Final = 10.0
"""How long we wait for a disk at all."""
_PROBES_AT_ONCE: Final = 8
LATELY_SECONDS: Final = 30.0
"""For how long a stall of the loop counts."""
_MAILBOXES_AT_ONCE: Final = 2_000
"""Actors that are looked at before others may run: 10,000 with mail took 5 to 8 ms in one go."""
_SUPERVISORS_AT_ONCE: Final = 200
"""Supervisors that are looked at before others may run: each takes 10 us."""


@final
class Commits:
    """What commits took that were made to find that out, by workspace."""

    def __init__(self) -> None:
        """Know of none."""
        self._found: dict[Path, tuple[float, float | str]] = {}
        self._limiters: dict[Path, trio.CapacityLimiter] = {}

    async def of(self, opened: OpenWorkspace, age_seconds_max: float) -> float | str:
        """Give the seconds of a commit, or why there was none: one made now, or a good one that is not too old."""
        directory = opened.workspace.directory
        at, found = self._found.get(directory, (0.0, "none was made"))
        if isinstance(found, str) or trio.current_time() - at >= age_seconds_max:
            probe = partial(_commit_seconds, opened.store.database)
            at, found = trio.current_time(), await _in_thread(probe, self.limiter(directory))
            self._found[directory] = at, found
        return found

    def limiter(self, directory: Path) -> trio.CapacityLimiter:
        """Give what lets one thread at a time look at a disk: one that hangs has one, however often it is looked at."""
        return self._limiters.setdefault(directory, trio.CapacityLimiter(1))


async def measure(
    runtime: Runtime,
    watchdog: Watchdog | None = None,
    *,
    commits: Commits | None = None,
    age_seconds_max: float = 0.0,
    supervisors: bool = True,
) -> Measurements:
    """Measure everything once, within some tenths of a second; a disk that hangs is given up on after ten seconds.

    Cancelled: it ends at once; a probe under way ends by itself.

    Args:
        runtime: what to look at.
        watchdog: knows what blocked the loop, and who does not get on; without one nobody does.
        commits: those of earlier measurements.
        age_seconds_max: how old one of them may be.
        supervisors: whether all supervisors are looked at.
    """
    stores: dict[Path, StoreVital] = {}
    disks: dict[Path, DiskVital] = {}
    places = trio.Semaphore(_PROBES_AT_ONCE)
    probes = commits or Commits()

    async def probe(directory: Path, opened: OpenWorkspace) -> None:
        async with places:
            stores[directory] = await _store_vital(opened, probes, age_seconds_max)
            free = await _in_thread(partial(_free_bytes, directory), probes.limiter(directory))
        if isinstance(free, int):
            disks[directory] = DiskVital(str(directory), free)

    async with trio.open_nursery() as nursery:
        for directory, opened in runtime.workspaces.items():
            nursery.start_soon(probe, directory, opened)
        lag = await measure_lag()
    return Measurements(
        loop_lag_seconds=lag,
        stores=tuple(stores[directory] for directory in sorted(stores)),
        mailboxes=await _mailboxes(runtime),
        supervisors=await _supervisors(runtime) if supervisors else (),
        disks=tuple(disks[directory] for directory in sorted(disks)),
        providers={name: state.value for name, state in sorted(_circuits(runtime).items())},
        stall=None if watchdog is None else _stall(watchdog),
        wedged=() if watchdog is None else _wedged(watchdog),
    )


def _circuits(runtime: Runtime) -> dict[str, Circuit]:
    """Give the circuit of each provider of models, where somebody asked for models already."""
    return worst_circuits(opened.model_source.circuits for opened in runtime.workspaces.values())


def _stall(watchdog: Watchdog) -> StallVital | None:
    """Give the longest of the last half minute."""
    now = time.time()
    ended = [(one, now - one.at - one.seconds) for one in watchdog.stalls]
    # One that seems to end in the future is from before the clock was set.
    lately = [
        StallVital(one.seconds - one.starved_seconds, max(0.001, ago), one.actor or one.task, one.line)
        for one, ago in ended
        if -1.0 < ago < LATELY_SECONDS
    ]
    return max(lately, key=lambda one: one.seconds, default=None)


def _wedged(watchdog: Watchdog) -> tuple[WedgedVital, ...]:
    return tuple(WedgedVital(one.actor, one.what, one.since_seconds, one.limit_seconds) for one in watchdog.wedged)


async def _store_vital(opened: OpenWorkspace, commits: Commits, age_seconds_max: float) -> StoreVital:
    name = str(opened.workspace.directory)
    statistics = opened.store.statistics()
    errors = sum(statistics.errors.values())
    found: float | str
    # Of one that gave up because its file is gone, that is the reason to tell.
    there = partial(_is_there, opened.store.database)
    if opened.is_open or not await _in_thread(there, commits.limiter(opened.workspace.directory)):
        # A good commit of before says nothing of a file that is gone.
        found = await commits.of(opened, age_seconds_max if opened.is_open else 0.0)
    elif opened.store.holds_its_file():
        return StoreVital(name, None, None, statistics.queue_depth, errors, runs=False)
    else:
        found = "its database was replaced. The next call to it says so, and then takes the one that is there"
    if isinstance(found, str):
        return StoreVital(name, None, found, statistics.queue_depth, errors)
    return StoreVital(name, found, None, statistics.queue_depth, errors)


async def _in_thread(function: Callable[[], T], limiter: trio.CapacityLimiter) -> T | str:
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


def _is_there(database: Path) -> bool:
    try:
        return database.exists()
    except OSError:
        # Whoever opens it hears what is wrong with it.
        return True


def _free_bytes(directory: Path) -> int | str:
    try:
        return shutil.disk_usage(directory).free
    except OSError as error:
        return str(error)


async def _mailboxes(runtime: Runtime) -> tuple[MailboxVital, ...]:
    """Give the mailboxes that hold anything, the fullest first."""
    cells = runtime.system.cells()
    found: list[MailboxVital] = []
    for begin in range(0, len(cells), _MAILBOXES_AT_ONCE):
        if begin:
            await trio.lowlevel.checkpoint()
        endpoints = (cell.endpoint for cell in cells[begin : begin + _MAILBOXES_AT_ONCE])
        found.extend(MailboxVital(one.name, len(one.user) / one.capacity) for one in endpoints if one.user)
    return tuple(sorted(found, key=lambda one: -one.fill_ratio))


async def _supervisors(runtime: Runtime) -> tuple[SupervisorVital, ...]:
    """Give every supervisor of the tree, the one that is nearest to giving up first."""
    found: list[SupervisorVital] = []
    waiting: list[AnySupervisor] = [runtime.root]
    while waiting:
        if len(found) % _SUPERVISORS_AT_ONCE == _SUPERVISORS_AT_ONCE - 1:
            await trio.lowlevel.checkpoint()
        supervisor = waiting.pop()
        ratio, intensity = supervisor.statistics().intensity_used_ratio, supervisor.flags.intensity
        left = max(0, intensity - round(ratio * max(1, intensity)))
        found.append(SupervisorVital(supervisor.name, left, ratio))
        waiting.extend(supervisor.nested())
    return tuple(sorted(found, key=lambda one: (-one.used_ratio, one.supervisor)))
