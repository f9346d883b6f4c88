"""Kills workers at random moments, one by one and in pairs, asks at once for an answer, and watches who is there.

A call that is in flight at three deaths is answered with an error on purpose (the poison rule), so a moment is random
only among those at which no call in flight has met two deaths already, and for a pair, any. A spare counts as found
when it had come to rest before the kill: it took no processor time for a moment. Linux only, as `processes` is.
"""

from __future__ import annotations

import os
import random
import signal
from dataclasses import dataclass, field
from typing import Final, final

import trio
from mcp import Client

from benchmarks.killing.calls import CALL_SECONDS, Calls
from benchmarks.killing.processes import Family, Member
from benchmarks.killing.waiting import until
from vespera_agents.front.framing import LINK_VARIABLE
from vespera_agents.front.spares import FORKER_VARIABLE

__all__ = ["Killer", "Roles", "Watch", "rested_spare", "roles_of"]

PAIR_SECONDS: Final = (0.003, 0.045)
"""Between the two kills of a pair: always within 50 ms."""
REST_SECONDS: Final = 0.03
"""A spare that takes no processor time for so long has come to rest."""
WARM_TICKS: Final = 5
"""Processor time that no spare warms itself up without: one that others keep from running has not come to rest."""
_LOOK_SECONDS: Final = 0.2


@final
@dataclass(frozen=True, slots=True)
class Roles:
    """Who is who in a family: found by what they are and have, not by what they say of themselves."""

    front: Member | None
    worker: Member | None
    """The one that has the store open."""
    spares: tuple[Member, ...]
    """Forked, and without a store: they wait."""
    forker: Member | None
    fresh: tuple[Member, ...]
    """Workers that were started, not forked: the first one, and those of restarts."""
    everybody: tuple[Member, ...]

    @property
    def spare(self) -> Member | None:
        """The one that waits longest."""
        return min(self.spares, key=lambda one: one.started, default=None)


def roles_of(family: Family) -> Roles:
    """Look at a family whose front is a child of this process."""
    everybody = tuple(family.members())
    ours = [one for one in everybody if one.python and "guardian_process.py" not in " ".join(one.command)]
    front = next((one for one in ours if one.parent == os.getpid()), None)
    # Only among its children: until it executes its program, what a worker starts is a copy of the worker.
    children = [one for one in ours if front is not None and one.parent == front.pid]
    workers = [one for one in children if one.holds(family.database)]
    worker = max(workers, key=lambda one: one.started, default=None)
    forking = [one for one in children if one.was_told(FORKER_VARIABLE)]
    # A worker has a thread that watches its link, and whoever forks has none.
    forker = min((one for one in forking if one.threads == 1), key=lambda one: one.started, default=None)
    spares = [one for one in forking if one.threads > 1 and one not in workers]
    fresh = tuple(one for one in children if one.was_told(LINK_VARIABLE))
    return Roles(front, worker, tuple(spares), forker, fresh, everybody)


@final
@dataclass(slots=True)
class Watch:
    """Counts the processes of a family for as long as it runs."""

    family: Family
    python_max: int = 0
    """The most processes of ours at one time, commands of gates left out."""
    everybody_max: int = 0
    looks: int = 0

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            members = self.family.members()
            self.looks += 1
            self.python_max = max(self.python_max, sum(one.python for one in members))
            self.everybody_max = max(self.everybody_max, len(members))
            await trio.sleep(_LOOK_SECONDS)


@final
@dataclass(slots=True)
class Killer:
    """Kills the workers behind one front."""

    family: Family
    calls: Calls
    client: Client
    seed: int = 1
    number: signal.Signals = signal.SIGKILL
    """SIGSTOP leaves a worker that no longer answers: the front has to find that out."""
    _chance: random.Random = field(default_factory=random.Random)

    def __post_init__(self) -> None:
        """Choose the moments by the seed."""
        self._chance = random.Random(self.seed)

    async def run(self, kills: int, calls_max: int, *, pair_every: int = 0) -> None:
        """Kill so many times, spread over so many calls.

        Args:
            kills: how many, those of pairs counted as two.
            calls_max: the calls over which they are spread.
            pair_every: every how many kills two come within 50 ms; 0 for never.
        """
        done = 0
        while done < kills:
            await self._until_begun(calls_max * (done + self._chance.random()) / (kills + 1))
            await trio.sleep(self._chance.uniform(0.0, 0.2))
            pair = bool(pair_every) and done % pair_every == pair_every - 2 and done + 2 <= kills
            done += await self.kill(pair=pair)

    async def kill(self, *, pair: bool = False) -> int:
        """Kill the worker that works now, or it and its successor; says how many died, and waits for an answer."""
        roles, rested = await _settled(self.family)
        await self.calls.fit(2 if pair else 1)
        target = roles.worker
        assert target is not None
        if not self._signal(target):
            return 0
        self.calls.killed(self.number.name, spare=rested)
        died = 1
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._probe)
            if pair:
                await trio.sleep(self._chance.uniform(*PAIR_SECONDS))
                died += self._kill_second(roles)
        return died

    def _kill_second(self, roles: Roles) -> int:
        """Kill the successor, in its activation or after it."""
        successor = roles.spare or roles_of(self.family).worker
        if successor is None or successor == roles.worker or not self._signal(successor):
            return 0
        self.calls.killed(f"second {self.number.name}", spare=False)
        # The first death of a pair found a spare that could not help.
        self.calls.kills[-2].spare = False
        return 1

    async def _probe(self) -> None:
        """Ask for something small, so that the end of the gap is seen."""
        await self.calls.call(self.client, "orchestrator_list_sessions", {"limit": 1})

    async def _until_begun(self, number: float) -> None:
        await until(lambda: self.calls.begun >= number)

    def _signal(self, target: Member) -> bool:
        try:
            os.kill(target.pid, self.number)
        except ProcessLookupError:
            return False
        return True


async def rested_spare(family: Family) -> bool:
    """Say whether a spare has come to rest, once there is a worker."""
    return (await _settled(family))[1]


async def _settled(family: Family) -> tuple[Roles, bool]:
    """Wait until there is a worker; gives who is there, and whether a spare has come to rest."""
    with trio.fail_after(CALL_SECONDS):
        while True:
            before = roles_of(family)
            await trio.sleep(REST_SECONDS)
            now = roles_of(family)
            if now.worker is not None and before.worker is not None and now.worker.pid == before.worker.pid:
                return now, _rested(before.spare, now.spare)


def _rested(before: Member | None, now: Member | None) -> bool:
    if before is None or now is None or now.ticks < WARM_TICKS:
        return False
    return (before.pid, before.ticks) == (now.pid, now.ticks)
