"""Lending the specialists of one session: an idle one of the role, a new one, or for want of room one that is busy.

They live below the session's dynamic supervisor and outlive who borrowed them. Neighbours: `sessions` has the subtree,
`specialist` is who is lent.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Final, cast, final

import trio

from supervisors import ChildInfo, ChildState, Supervisor, SupervisorError
from vespera_agents.actors import ActorRef, ActorStopped, ActorSystem, MailboxSpec, Overflow
from vespera_agents.specialists.roles import Role
from vespera_agents.specialists.specialist import Specialist, Workbench

__all__ = ["Lending"]

SPECIALISTS_MAX: Final = 64
"""Specialists of one session at once; beyond, work queues in their mailboxes."""
MAILBOX_MAX: Final = 256
"""Requests that may wait for one specialist."""


@final
class Lending:
    """Who of one session's specialists is lent."""

    def __init__(
        self,
        session_id: str,
        system: ActorSystem,
        bench: Callable[[], Workbench],
        specialists: Callable[[], Supervisor],
    ) -> None:
        """Say whose they are.

        Args:
            session_id: the session.
            system: where they live.
            bench: gives what a new one works with.
            specialists: gives their supervisor; raises SupervisorError while it does not run.
        """
        self.busy: Final[dict[str, int]] = {}
        """How many have each specialist that somebody has."""
        self._session_id = session_id
        self._system = system
        self._bench = bench
        self._specialists = specialists
        self._roles: dict[str, Role] = {}
        self._numbers: dict[str, int] = {}
        self._starting = trio.Lock()

    @asynccontextmanager
    async def borrow(self, role: Role) -> AsyncGenerator[ActorRef[Specialist]]:
        """Have a specialist of a role while the block lasts: an idle one if there is one, else a new one.

        Raises:
            ActorStopped: the session's subtree is down or just being restarted.
        """
        try:
            # Not beside a start: whoever started a specialist has it first.
            name = None if self._starting.locked() else self._idle(role)
            if name is None:
                async with self._starting:
                    name = self._idle(role) or await self._find(role)
            ref = cast("ActorRef[Specialist]", self._specialists().child_value(name))
        except SupervisorError as error:
            raise ActorStopped(role.name, str(error)) from error
        self.busy[name] = self.busy.get(name, 0) + 1
        try:
            yield ref
        finally:
            self.busy[name] -= 1
            if not self.busy[name]:
                del self.busy[name]

    async def respawn(self, ref: ActorRef[Specialist]) -> None:
        """Replace a specialist that is lent by a fresh incarnation; its reference stays good.

        Raises:
            ActorStopped: the session's subtree is down or just being restarted.
        """
        # One that several share has other work in hand, which must not end with its context.
        if self.busy.get(ref.name) == 1:
            try:
                await self._specialists().terminate_child(ref.name)
                await self._specialists().restart_child(ref.name)
            except SupervisorError as error:
                raise ActorStopped(ref.name, str(error)) from error

    def _running(self) -> list[ChildInfo]:
        """List the specialists; one that has just crashed is passed over while its restart is under way."""
        return [one for one in self._specialists().which_children() if one.state is ChildState.RUNNING]

    def _idle(self, role: Role) -> str | None:
        """Name a specialist of the role that nobody has, if there is one."""
        for one in self._running():
            if one.id not in self.busy and self._roles.get(one.id) == role:
                return one.id
        return None

    async def _find(self, role: Role) -> str:
        """Name a new specialist of the role, or for want of room the one that the fewest have."""
        running = self._running()
        await self._retire(role, running)
        mine = [one.id for one in running if self._roles.get(one.id) == role]
        if len(running) >= SPECIALISTS_MAX and mine:
            return min(mine, key=lambda name: self.busy.get(name, 0))
        return await self._start(role)

    async def _retire(self, role: Role, running: list[ChildInfo]) -> None:
        """Stop idle specialists of this role as it was before its file changed; for want of room, one of any role."""
        idle = [one.id for one in running if one.id not in self.busy]
        outdated = [name for name in idle if self._roles[name].name == role.name]
        for name in outdated or (idle[:1] if len(running) >= SPECIALISTS_MAX else []):
            del self._roles[name]
            await self._specialists().terminate_child(name)
            await self._specialists().delete_child(name)

    async def _start(self, role: Role) -> str:
        system = self._system
        while True:
            self._numbers[role.name] = number = self._numbers.get(role.name, 0) + 1
            name = f"{role.name}-{self._session_id[-6:]}.{number}"
            # A copy of a workspace has the same sessions; names are unique among all actors of the system.
            if system.whereis(name) is None:
                break
        mailbox = MailboxSpec(MAILBOX_MAX, Overflow.REJECT)
        spec = system.actor_spec(Specialist, role, self._bench(), name=name, mailbox=mailbox)
        self._roles[name] = role
        await self._specialists().start_child(spec)
        return name
