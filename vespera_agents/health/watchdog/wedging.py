"""Finding actors that do not get on: all of them are looked through again and again, a slice at a time.

Two things are wrong with an actor: its handler takes longer than it may, or mail waits and nothing is handled. The
second is told from an actor with much to do by what it has done since it was last looked at. An actor that waits for
its restart is its supervisor's affair. Nothing is done about any of them here: it is told, with where they wait.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, NamedTuple, final

import trio

from vespera_agents.actors.stacks import await_stack
from vespera_agents.actors.statistics import ActorState
from vespera_agents.health.watchdog.figures import Wedged
from vespera_agents.logs.events import log_event
from vespera_agents.logs.throttle import Throttle

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vespera_agents.actors import ActorSystem
    from vespera_agents.actors.cell import Cell
    from vespera_agents.health.watchdog.settings import WatchdogSettings

__all__ = ["SLICE_ACTORS", "WedgeScan"]

SLICE_ACTORS: Final = 250
"""Actors that are looked at in one step of the loop: 0.1 ms."""
_BETWEEN_SECONDS: Final = 0.01
_LIVE: Final = frozenset({ActorState.STARTING, ActorState.RUNNING, ActorState.STOPPING})
_logger: Final = logging.getLogger("vespera_agents.watchdog")


class _Standing(NamedTuple):
    """What an actor had done when it was first seen like this."""

    handled: int
    busy_since: float | None
    incarnation: int
    seen: float


class _Found(NamedTuple):
    since: float
    limit: float
    is_busy: bool
    cell: Cell


@final
class WedgeScan:
    """Looks through the actors of one system."""

    def __init__(self, system: ActorSystem, limits: WatchdogSettings) -> None:
        """Say whose actors, and what they are allowed."""
        self.wedged: tuple[Wedged, ...] = ()
        """Those found by the last look through all, the longest first."""
        self.count = 0
        """How many were found, also where that is more than are told."""
        self.rounds = 0
        """Looks through all."""
        self.limits = limits
        """What they are allowed; others count from the next look on."""
        self._system = system
        self._standing: dict[Cell, _Standing] = {}
        self._logged: set[tuple[str, int, float | None]] = set()
        self._throttle = Throttle(100, 60.0)

    async def run(self) -> None:
        """Look through all, again and again, until cancelled."""
        while True:
            await trio.sleep(self.limits.scan_seconds)
            await self.look_through()

    async def look_through(self) -> None:
        """Look at each actor once, with pauses."""
        found: list[_Found] = []
        cells = self._system.cells()
        standing: dict[Cell, _Standing] = {}
        for start in range(0, len(cells), SLICE_ACTORS):
            if start:
                await trio.sleep(_BETWEEN_SECONDS)
            self._look_at(cells[start : start + SLICE_ACTORS], standing, found)
        self._standing = standing
        self.rounds += 1
        self._tell(found)

    def _look_at(self, cells: Iterable[Cell], standing: dict[Cell, _Standing], found: list[_Found]) -> None:
        limits, now = self.limits, trio.current_time()
        for cell in cells:
            endpoint = cell.endpoint
            busy_since = endpoint.busy_since
            has_mail = endpoint.user or endpoint.urgent
            if (busy_since is None and not has_mail) or endpoint.state not in _LIVE:
                continue
            declared = cell.busy_limit_seconds
            limit = limits.busy_seconds if declared is None else declared
            if busy_since is not None and now - busy_since > limit:
                found.append(_Found(busy_since, limit, True, cell))
            elif has_mail:
                last = self._standing.get(cell)
                handled, incarnation = endpoint.handled, endpoint.incarnation
                if last is None or last[:3] != (handled, busy_since, incarnation):
                    last = _Standing(handled, busy_since, incarnation, now)
                standing[cell] = last
                since = max(last.seen, endpoint.woken_at)
                limit = limits.mailbox_seconds if declared is None else max(declared, limits.mailbox_seconds)
                if now - since > limit:
                    found.append(_Found(since, limit, False, cell))

    def _tell(self, found: list[_Found]) -> None:
        now = trio.current_time()
        found.sort(key=lambda each: each.since)
        wedged: list[Wedged] = []
        logged: set[tuple[str, int, float | None]] = set()
        for since, limit, is_busy, cell in found:
            endpoint = cell.endpoint
            if len(wedged) < self.limits.wedged_max:
                stack = tuple(map(str, await_stack(endpoint.task)))
                what = "busy" if is_busy else "mailbox"
                wedged.append(Wedged(endpoint.name, endpoint.kind, what, now - since, limit, stack))
                key = (endpoint.name, endpoint.incarnation, endpoint.busy_since)
                logged.add(key)
                if key not in self._logged:
                    self._log(wedged[-1])
        self._logged = logged
        self.count = len(found)
        self.wedged = tuple(wedged)

    def _log(self, wedged: Wedged) -> None:
        if not self._throttle.lets():
            return
        log_event(
            _logger,
            logging.ERROR,
            "actor wedged",
            actor=wedged.actor,
            kind=wedged.kind,
            what=wedged.what,
            since_seconds=round(wedged.since_seconds, 3),
            limit_seconds=wedged.limit_seconds,
            await_stack=list(wedged.await_stack),
            unlogged=self._throttle.take_held_back(),
        )
