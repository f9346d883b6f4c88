"""One server, one load, one way of dying: what came of it, with everything that speaks against the promise.

Neighbours: `load` makes the calls, `killer` and `faults` kill, `record` judges; `benchmarks.chaos` makes rows of it.
"""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Final, final

import trio
from mcp import Client

from benchmarks.killing.calls import CALL_SECONDS, Calls
from benchmarks.killing.faults import Faults
from benchmarks.killing.killer import Killer, Watch, rested_spare
from benchmarks.killing.load import Load
from benchmarks.killing.places import Place, gone, new_place, talking, talking_http
from benchmarks.killing.record import Record, Verdict, doubled_titles
from benchmarks.killing.starting import cold_start_seconds
from benchmarks.killing.waiting import until

__all__ = ["Outcome", "control", "forced", "killed", "wedged"]

ENDLESS: Final = 1_000_000
"""Calls of a load that goes on until its killer has done enough."""
PONG_SECONDS: Final = 0.5
"""Where workers are stopped: the product waits longer, a benchmark need not."""
FORCED_PONG_SECONDS: Final = 2.0
"""Where few are stopped: a worker that is only slow must not die there, since nobody books that death."""
PAIR_EVERY: Final = 10
_READY: Final = re.compile(r"^(\S+) front: worker \d+ \(pid \d+\) is ready", re.MULTILINE)
"""When a worker works, as the front's log tells it."""
_CUT_SHORT_SECONDS: Final = 0.0005
"""What a moment in that log is earlier than it was, on average: its milliseconds are cut, not rounded."""


@final
@dataclass(slots=True)
class Outcome:
    """What came of one scenario."""

    calls: Calls = field(default_factory=Calls)
    record: Record = field(default_factory=Record)
    misread: list[str] = field(default_factory=list[str])
    verdict: Verdict = field(default_factory=lambda: Verdict((), (), ()))
    left: Sequence[str] = ()
    """Processes that outlived their front."""
    processes_max: int = 0
    cold_seconds: list[float] = field(default_factory=list[float])
    """How long cold workers took to start meanwhile."""
    log: str = ""
    """What the front and its workers wrote down."""
    doubled: int = 0
    """Titles that are there more than once."""

    def gaps_seconds(self) -> Sequence[float]:
        """Give for each kill that found a spare how long no worker worked: from the kill until the next one said so."""
        # The log tells by the wall clock, its milliseconds cut short; kills are noted by one that is never set.
        offset = time.time() - time.perf_counter() - _CUT_SHORT_SECONDS
        moments = [datetime.fromisoformat(text).timestamp() - offset for text in _READY.findall(self.log)]
        kills = (kill.at for kill in self.calls.kills if kill.spare)
        return [min(after) - at for at in kills if (after := [moment for moment in moments if moment >= at])]

    @property
    def problems(self) -> Sequence[str]:
        """Everything that must not be."""
        verdict = () if self.verdict.sound else (str(self.verdict),)
        return [*self.calls.failures, *self.misread, *verdict, *(f"left behind: {one}" for one in self.left)]


Talk = Callable[[Place], AbstractAsyncContextManager[Client]]
Death = Callable[[Client, Outcome, Load, Place], Awaitable[None]]


async def killed(era: str, calls_max: int, kills: int, *, cold_starts: int, http: bool = False) -> Outcome:
    """Kill workers at random moments with SIGKILL, some of them in pairs, while so many calls are made."""

    async def kill(client: Client, outcome: Outcome, _: Load, place: Place) -> None:
        killer = Killer(place.family(), outcome.calls, client)
        await killer.run(kills, calls_max, pair_every=PAIR_EVERY)

    return await _scenario(partial(_plain, era=era, http=http), kill, calls_max=calls_max, cold_starts=cold_starts)


async def wedged(era: str, kills: int, *, http: bool = False) -> Outcome:
    """Stop workers at random moments: they hold all they had, and the front has to find it out."""

    async def stop(client: Client, outcome: Outcome, load: Load, place: Place) -> None:
        killer = Killer(place.family(), outcome.calls, client, number=signal.SIGSTOP)
        for _ in range(kills):
            await trio.sleep(1.0)
            await killer.kill()
        load.enough.set()

    return await _scenario(partial(_faulty, era=era, http=http, pong_seconds=PONG_SECONDS), stop)


async def forced(points: Mapping[str, int]) -> Outcome:
    """Have workers die at each of these points so often."""

    async def force(_: Client, outcome: Outcome, load: Load, place: Place) -> None:
        faults = Faults(place)
        rounds = max(points.values())
        for number in range(rounds):
            for point, times in points.items():
                if number < times:
                    await faults.force(point, outcome.calls)
        load.enough.set()

    return await _scenario(partial(_faulty, era="auto", http=False, pong_seconds=FORCED_PONG_SECONDS), force)


async def control(times: int) -> Outcome:
    """Force the end after COMMIT on a store that forgets all keys: effects must double."""
    outcome = Outcome()
    with new_place() as place:
        faults = Faults(place, forgetful=True)
        async with talking(place, "auto", faults.command, faults.environment) as client:
            load = Load(outcome.calls, outcome.record, "control", ENDLESS)
            assert await load.open(client)
            for number in range(times):
                # Only while a worker is there is it armed at once, and before the plan.
                await rested_spare(place.family())
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(faults.force, "after-plan", outcome.calls)
                    await until((faults.folder / "after-plan").exists)
                    await load.plan(client, f"control {number}", [{"title": f"control {number}.0"}])
        outcome.left = await gone(place.family())
        outcome.doubled = doubled_titles(place.database) // 2
    return outcome


def _plain(place: Place, *, era: str, http: bool) -> AbstractAsyncContextManager[Client]:
    return talking_http(place) if http else talking(place, era)


def _faulty(place: Place, *, era: str, http: bool, pong_seconds: float) -> AbstractAsyncContextManager[Client]:
    faults = Faults(place, pong_seconds=pong_seconds)
    if http:
        return talking_http(place, faults.command, faults.environment)
    return talking(place, era, faults.command, faults.environment)


async def _scenario(talk: Talk, kill: Death, *, calls_max: int = ENDLESS, cold_starts: int = 0) -> Outcome:
    outcome = Outcome()
    with new_place() as place:
        family = place.family()
        watch = Watch(family)
        async with talk(place) as client, trio.open_nursery() as watching:
            watching.start_soon(watch.run)
            load = Load(outcome.calls, outcome.record, "chaos", calls_max, misread=outcome.misread)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(load.run, client)
                with trio.fail_after(CALL_SECONDS):
                    await load.begun.wait()
                nursery.start_soon(kill, client, outcome, load, place)
                nursery.start_soon(_start_cold, outcome, cold_starts)
            watching.cancel_scope.cancel()
        outcome.left = await gone(family)
        outcome.log = place.logs()
        outcome.processes_max = watch.python_max
        outcome.verdict = outcome.record.judge(place.database)
    return outcome


async def _start_cold(outcome: Outcome, times: int) -> None:
    """Start workers of another place now and then: under the same load as the deaths."""
    for _ in range(times):
        await trio.sleep(2.0)
        with new_place() as place:
            began = time.perf_counter()
            outcome.cold_seconds.append(await trio.to_thread.run_sync(cold_start_seconds, place))
            await trio.sleep(min(5.0, 5 * (time.perf_counter() - began)))
