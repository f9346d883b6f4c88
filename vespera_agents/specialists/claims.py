"""Who holds claims in an open workspace, and when claims are taken from those who are not heard of any more.

A claim of a server ends with the server: the kernel tells. One client of several of a server keeps its claims by being
heard of: any request of it counts, and when there was none for the length of a lease they are given back. That is
remembered here and not on disk, for when this server dies all of its clients' claims end anyway. A holder that no
server stands for (`cli:<user>`) has a durable lease (`store.commands.leases`). A claim whose gates run is being worked
on by the server itself and is kept. Neighbours: `calls.Call` names the holder, `sessions` runs this as a child.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, final

import trio

from supervisors.guardian import GuardianError, wait_until_released
from vespera_agents.store import CommandKey, Store, StoreError, queries
from vespera_agents.store.commands import ReleaseClaims, ReleaseLapsed, RenewLease
from vespera_agents.workspace import Workspace, WorkspaceError, guardian_lock, machine_time, server_alive

__all__ = ["LEASE_SECONDS", "Claims", "ClaimsStatistics", "Holder", "conductor_name"]

LEASE_SECONDS: Final = 3_600.0
"""How long a client that is not heard of keeps what it has claimed."""
DEAD_COMMANDS_SECONDS: Final = 15.0
"""How long we wait for the commands of a dead server to be killed."""
_LOOK_SECONDS_MAX: Final = 60.0
"""How often we look for claims of the dead; a lease may last that much longer."""
_LOOKS_IN_A_LEASE: Final = 4
_WRITES_IN_A_LEASE: Final = 60
"""How often a durable lease is written at most in the time of one lease: each minute, with the usual hour."""
_CONDUCTORS: Final = "conductor/"

log = logging.getLogger(__name__)


@final
@dataclass(frozen=True, slots=True)
class Holder:
    """Who among several holds what it claims."""

    name: str
    """Unique among the clients of the server; of a durable holder, among all holders."""
    certain: bool = True
    """Whether it is one client. Else others may go by the same name, and a claim under it need not be its own."""
    durable: bool = False
    """Whether it outlives the server that it calls, and holds claims by a durable lease."""


@final
@dataclass(frozen=True, slots=True)
class ClaimsStatistics:
    """What was released so far."""

    clients: int
    """Clients whose lease runs."""
    released: int
    """Claims given back."""
    looks: int


@final
class Claims:
    """The claims of one open workspace."""

    def __init__(
        self,
        workspace: Workspace,
        store: Store,
        *,
        server: Callable[[], str],
        key: Callable[[], CommandKey],
        worked_on: Callable[[], frozenset[str]],
        leads: Callable[[], bool],
        lease_seconds: float,
    ) -> None:
        """Say whose claims they are.

        Args:
            workspace: where.
            store: its store.
            server: gives the id under which this process serves the workspace now.
            key: mints command keys of our own.
            worked_on: gives the tasks that this process works on for a client now.
            leads: says whether this server looks after what the dead had claimed, unless a client asks.
            lease_seconds: how long a client that is not heard of keeps its claims.
        """
        self._workspace = workspace
        self._store = store
        self._server = server
        self._key = key
        self._worked_on = worked_on
        self._leads = leads
        self._lease_seconds = lease_seconds
        self._heard: dict[str, float] = {}
        self._released = 0
        self._looks = 0

    async def run(self, *, task_status: trio.TaskStatus[Claims]) -> None:
        """Look again and again until cancelled: a child for a supervisor."""
        task_status.started(self)
        pause = min(_LOOK_SECONDS_MAX, self._lease_seconds / _LOOKS_IN_A_LEASE)
        while True:
            await trio.sleep(pause)
            try:
                if self._leads():
                    await self.release_abandoned()
                else:
                    await self.release_silent()
            except (StoreError, WorkspaceError) as problem:
                # The next look tries again; whoever needs one of the claims before then is told.
                log.warning("claims of the dead could not be released: %s", problem)

    def name(self, holder: Holder | None) -> str:
        """Give the name under which a holder claims; None is the server itself."""
        if holder is None:
            return self._server()
        return holder.name if holder.durable else f"{self._server()}/{holder.name}"

    async def begin(self, holder: Holder | None) -> str:
        """Let the lease of a holder run, before it claims something; gives its name.

        Raises:
            StoreError: a durable lease could not be written.
        """
        name = self.name(holder)
        if holder is not None and holder.durable:
            now = machine_time()
            await self._store.execute(
                RenewLease(holder.name, name, now.boot, now.seconds, self._lease_seconds), self._key()
            )
        elif holder is not None:
            self._heard[name] = trio.current_time()
        return name

    async def heard(self, holder: Holder) -> None:
        """Note that a holder is there: it keeps its claims. Costs nothing unless it may have some.

        Raises:
            StoreError: its lease could not be read or written.
        """
        name = self.name(holder)
        if not holder.durable:
            if name in self._heard:
                self._heard[name] = trio.current_time()
            return
        now = machine_time()
        pause = self._lease_seconds / _WRITES_IN_A_LEASE
        for lease in await self._store.read(queries.leases):
            # One that has lapsed is ended by `release_abandoned`: what it held may be somebody else's by then.
            running = lease.boot == now.boot and lease.expires > now.seconds
            if lease.holder == name and running and now.seconds - lease.renewed > pause:
                await self.begin(holder)

    async def release_abandoned(self) -> list[str]:
        """Give back what those had claimed who are gone; lists the tasks.

        Gone are servers that no longer live, once their commands are gone, and holders whose lease has ended. Only the
        leader looks for them from time to time; for a client that asks how things stand, any server does.

        Raises:
            WorkspaceError: commands of a dead server could not be killed in time.
            StoreError: the store did not take it.
        """
        self._looks += 1
        claims, leases = await self._store.read(_claims_and_leases)
        now = machine_time()
        released: list[str] = []
        if any(lease.boot != now.boot or lease.expires <= now.seconds for lease in leases):
            command = ReleaseLapsed("supervision", now.boot, now.seconds)
            released += (await self._store.execute(command, self._key()))["task_ids"]
        leased = {lease.holder for lease in leases}
        released += await self._release_dead([name for name in claims if name not in leased])
        released += await self._release_silent(claims)
        self._released += len(released)
        return released

    async def release_silent(self) -> list[str]:
        """Give back what clients of this server had claimed that are not heard of any more, for nobody else knows.

        Raises:
            StoreError: the store did not take it.
        """
        released = await self._release_silent(await self._store.read(queries.claims))
        self._looks += 1
        self._released += len(released)
        return released

    async def _release_dead(self, names: list[str]) -> list[str]:
        servers = {name: name.partition("/")[0] for name in names}
        dead = [name for name, server in servers.items() if not server_alive(self._workspace, server)]
        if not dead:
            return []
        try:
            for server in {servers[name] for name in dead}:
                await wait_until_released(guardian_lock(self._workspace, server), DEAD_COMMANDS_SECONDS)
        except GuardianError as error:
            raise WorkspaceError(f"what a dead server had begun still runs: {error}") from error
        command = ReleaseClaims("supervision", tuple(dead), "its server is gone")
        return (await self._store.execute(command, self._key()))["task_ids"]

    async def _release_silent(self, claims: dict[str, list[str]]) -> list[str]:
        """Give back what clients of ours had claimed that were not heard of for a lease."""
        worked_on = self._worked_on()
        now = trio.current_time()
        if self._looks == 1:
            # Claimed through an earlier worker of our front: the client that holds it may still be there. What a
            # conductor of ours holds, it gives back itself.
            ours = f"{self._server()}/"
            mine = [one for one in claims if one.startswith(ours) and not one.startswith(ours + _CONDUCTORS)]
            self._heard = {**dict.fromkeys(mine, now), **self._heard}
        released: list[str] = []
        for name in tuple(self._heard):
            # Looked up anew: it may have been heard of while the claims of another were released.
            heard = self._heard.get(name, now)
            tasks = claims.get(name, [])
            if worked_on.intersection(tasks):
                self._heard[name] = now
            elif now - heard >= self._lease_seconds:
                # Forgotten first: what it claims from here on is under a new lease, and not among these tasks.
                del self._heard[name]
                if tasks:
                    why = f"not heard of for {(now - heard) / 60:.0f} minutes"
                    command = ReleaseClaims("supervision", (name,), why, tuple(tasks))
                    try:
                        released += (await self._store.execute(command, self._key()))["task_ids"]
                    except StoreError:
                        # Nothing was released: the next look must find it again.
                        self._heard.setdefault(name, heard)
                        raise
        return released

    def statistics(self) -> ClaimsStatistics:
        """Count what was done so far."""
        return ClaimsStatistics(clients=len(self._heard), released=self._released, looks=self._looks)

    def tree_detail(self) -> dict[str, str | int | float]:
        """Say what the tree shows of it."""
        return {"clients": len(self._heard), "released": self._released}


def conductor_name(server: str, session_id: str) -> str:
    """Give the name under which a server's conductor of a session claims: the next one gives back what it holds."""
    return f"{server}/{_CONDUCTORS}{session_id}"


def _claims_and_leases(connection: sqlite3.Connection) -> tuple[dict[str, list[str]], list[queries.Lease]]:
    return queries.claims(connection), queries.leases(connection)
