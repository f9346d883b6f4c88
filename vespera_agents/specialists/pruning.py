"""The records of commands go when nobody can send the commands again: the leader among the servers looks to that.

A record under a client's own key, or of a server that is gone, goes after a day by the wall clock. What a server that
lives may still be asked for again goes after a day, too, but by two looks an hour apart, so that a clock that was set
forward takes no record from a call that is under way. What a front has seen answered goes at once, without us
(`Store.forget`). Neighbours: `store.records` keeps the records, `workspace.leading` says who leads.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, final

import trio

from vespera_agents.store import CommandKey, Store, StoreError
from vespera_agents.store.commands.records import PruneRecords, fronts_known, records_before
from vespera_agents.workspace import Workspace, live_servers, server_alive

__all__ = ["Pruning", "PruningStatistics"]

KEPT_SECONDS: Final = 24 * 3_600.0
"""How long a record is kept."""
LOOK_SECONDS: Final = 3_600.0
_FIRST_LOOK_SECONDS: Final = 2.0
"""What was started to answer one call shall do that first."""
_LEADER_SECONDS: Final = 60.0
"""How soon somebody goes on when the leader has gone."""

log = logging.getLogger(__name__)


@final
@dataclass(frozen=True, slots=True)
class PruningStatistics:
    """What was done so far."""

    looks: int
    removed: int
    """Records."""


@final
class Pruning:
    """The records of one open workspace."""

    def __init__(
        self,
        workspace: Workspace,
        store: Store,
        *,
        leads: Callable[[], bool],
        key: Callable[[], CommandKey],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Say whose records they are.

        Args:
            workspace: where.
            store: its store.
            leads: says whether this server is the one that does it.
            key: mints command keys of our own.
            clock: wall-clock seconds since the epoch.
        """
        self._workspace = workspace
        self._store = store
        self._leads = leads
        self._key = key
        self._clock = clock
        self._before: float | None = None
        """What was a day old when we looked last."""
        self._due = 0.0
        self._looks = 0
        self._removed = 0

    async def run(self, *, task_status: trio.TaskStatus[Pruning]) -> None:
        """Look again and again until cancelled: a child for a supervisor."""
        task_status.started(self)
        await trio.sleep(_FIRST_LOOK_SECONDS)
        while True:
            # Whoever leads keeps the lock, so each server asks at any time, and takes over within a minute.
            if self._leads() and trio.current_time() >= self._due:
                self._due = trio.current_time() + LOOK_SECONDS
                try:
                    await self.prune()
                except StoreError as problem:
                    # The next look finds the same records.
                    log.warning("old records of commands could not be removed: %s", problem)
            await trio.sleep(_LEADER_SECONDS)

    async def prune(self) -> None:
        """Remove what is old.

        Raises:
            StoreError: the store did not take it.
        """
        self._looks += 1
        before = self._clock() - KEPT_SECONDS
        of_the_living = None if self._before is None else min(self._before, before)
        self._before = before
        living = frozenset(server.id for server in live_servers(self._workspace))
        fronts = await self._store.read(fronts_known)
        gone = tuple(front for front in fronts if not server_alive(self._workspace, front))
        last: tuple[str, str] | None = ("", "")
        while last is not None:
            found, last = await self._store.read(records_before, before, of_the_living, living, last)
            if found or gone:
                await self._store.execute(PruneRecords("supervision", tuple(found), gone), self._key())
                self._removed += len(found)
                gone = ()

    def statistics(self) -> PruningStatistics:
        """Count what was done so far."""
        return PruningStatistics(self._looks, self._removed)

    def tree_detail(self) -> dict[str, str | int | float]:
        """Say what the tree shows of it."""
        return {"removed": self._removed}
