"""Pools: several actors of one class behind one face that is used like a reference.

`Pool` can be resized and routes as it is told to; `PartitionedPool` has a fixed number of members and gives all
messages of one key to one of them. Which member is chosen is `routing`, who the members are is `membership`; `opening`
starts pools. A pool is no actor: it has no mailbox and no task, and `whereis` finds its members but not the pool.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Generic, TypeVar, TypeVarTuple, final

import trio

from vespera_agents.actors.actor import Actor
from vespera_agents.actors.errors import ActorStopped
from vespera_agents.actors.messages import Request
from vespera_agents.actors.pools.membership import Membership
from vespera_agents.actors.pools.routing import Chooser, Routing
from vespera_agents.actors.refs import ActorRef
from vespera_agents.actors.statistics import ActorStatistics

ActorT = TypeVar("ActorT", bound=Actor)
Arguments = TypeVarTuple("Arguments")
Reply = TypeVar("Reply")

POOL_MEMBERS_MAX: Final = 10_000
"""More members than this are a mistake."""
_CLOSING: Final = "its pool is being closed"
_CLOSED: Final = "its pool was closed"


@final
@dataclass(frozen=True, slots=True)
class PoolStatistics:
    """One pool at one moment."""

    name: str
    """What it is called."""
    kind: str
    """Its members' class name."""
    size: int
    """Members that take mail."""
    leaving: int
    """Members that are drained before they are stopped."""
    routed: int
    """Messages for which a member was chosen."""
    diverted: int
    """Those of them that another member got, because the chosen one had no room."""
    handled: int
    """Messages handled by all members there ever were."""
    members: tuple[ActorStatistics, ...]
    """Each member, those that are leaving included; `mailbox.depth` and `handled` say who has how much to do."""


class _Face(Generic[ActorT]):
    """What pools of both kinds have in common: they are sent to, asked, looked at and ended."""

    def __init__(self, kind: str, membership: Membership[ActorT], routing: Routing) -> None:
        self._kind = kind
        self._membership = membership
        self._routing = routing
        self._changing = trio.Lock()
        self._ending = ""
        self._routed = 0
        self._diverted = 0
        self._targets: tuple[ActorRef[ActorT], ...] = ()
        self._choose: Chooser
        self._stale = True
        self._take_members()
        membership.on_change = self._members_changed

    @property
    def name(self) -> str:
        """What it is called; also the name of the supervisor of its members."""
        return self._membership.name

    @property
    def kind(self) -> str:
        """The class name of its members."""
        return self._kind

    @property
    def members(self) -> tuple[ActorRef[ActorT], ...]:
        """Who takes mail now, in the order of their numbers; none once it is closed."""
        return () if self._ending == _CLOSED else tuple(member.ref for member in self._membership.present)

    def tell(self, message: object) -> None:
        """Leave a message with a member and go on. Where none is left, it becomes a dead letter, without an error.

        Raises:
            MailboxFull: The chosen member has no room, no other may have the message or has room, and the overflow
                rule is WAIT or REJECT.
        """
        self._pick(message).tell(message)

    async def send(self, message: object) -> None:
        """Leave a message with a member, waiting for room at the chosen one if nobody else has any.

        Cancelled: the message was not left.

        Raises:
            ActorStopped: No member is left, or the one it waited for ended.
            AskCycle: The chosen member waits for the sender.
        """
        if self._ending:
            raise ActorStopped(self.name, self._ending)
        await self._pick(message).send(message)

    async def ask(self, request: Request[Reply], *, timeout_seconds: float = 5.0) -> Reply:
        """Send a request to a member and wait for its answer. Arguments, errors and cancellation as in `ActorRef.ask`.

        Raises:
            ActorError: As in `ActorRef.ask`. A request is never given to a second member: it may have been begun.
        """
        if self._ending:
            raise ActorStopped(self.name, self._ending)
        return await self._pick(request).ask(request, timeout_seconds=timeout_seconds)

    def stop(self) -> None:
        """Let each member end after its message in hand, as `ActorRef.stop` does: their mail fails. See `close`."""
        for member in self.members:
            member.stop()

    async def close(self, *, drain_seconds: float = 5.0) -> None:
        """End the pool for good: what its members have is handled first, then they are stopped. Idempotent.

        From its beginning `ask` and `send` raise ActorStopped; what is told meanwhile is handled, or a dead letter.
        Never call it from a member: it would wait for that member's handler, until the time is up.
        Cancelled while it drains: the pool goes on.

        Args:
            drain_seconds: How long the mail may take; what is left then fails as for any actor that is stopped.
        """
        _check_seconds(drain_seconds)
        async with self._changing:
            if self._ending:
                return
            self._ending = _CLOSING
            try:
                await self._membership.close(drain_seconds)
                self._ending = _CLOSED
            finally:
                if self._ending == _CLOSING:
                    self._ending = ""

    def statistics(self) -> PoolStatistics:
        """Return a picture of the pool as it is now; it looks at every member."""
        membership = self._membership
        members = tuple(member.ref.statistics() for member in membership.members)
        return PoolStatistics(
            name=self.name,
            kind=self._kind,
            size=len(self.members),
            leaving=membership.leaving,
            routed=self._routed,
            diverted=self._diverted,
            handled=membership.handled_before + sum(member.handled for member in members),
            members=members,
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} of {len(self.members)} {self._kind}>"

    # Below ----------------------------------------------------------------------------------------------------------

    def _pick(self, message: object) -> ActorRef[ActorT]:
        if self._stale:
            self._take_members()
        place = self._choose(message, self._load)
        self._routed += 1
        chosen = self._targets[place]
        if self._routing.is_sticky or chosen.has_room:
            return chosen
        # Asked before it is sent, not tried: a refusal would be counted as a drop, and nothing was dropped.
        for ref in self._targets[place + 1 :] + self._targets[:place]:
            if ref.has_room:
                self._diverted += 1
                return ref
        return chosen

    def _load(self, place: int) -> int:
        return self._targets[place].load

    def _members_changed(self) -> None:
        # Looked at with the next message: a hundred members may come or go before it, and a ring is slow to lay out.
        self._stale = True

    def _take_members(self) -> None:
        """Take note of who takes mail. The last to leave stays: what is sent to it fails as for any ended actor."""
        self._stale = False
        present = self._membership.present
        targets = tuple(member.ref for member in present)
        if targets and targets != self._targets:
            self._targets = targets
            self._choose = self._routing.among([member.number for member in present])


@final
class Pool(_Face[ActorT]):
    """Several actors of one class that share the work. Made by `open_pool`.

    Messages of one sender keep their order only where they go to one member: with ConsistentHash those of one key, as
    long as nobody comes or goes. A member that crashes is restarted with its mail, and goes on getting its share
    meanwhile. One that ends by itself, without a restart to come, leaves the pool, with its mail; `resize` fills up.
    """

    async def resize(self, size: int, *, drain_seconds: float = 5.0) -> None:
        """Start or stop members until there are `size` of them; several calls take turns.

        Who leaves, gets no new mail from the pool; what it has is handled first, and then it is stopped. Cancelled: a
        member that is just being started still joins, one that is still being drained stays. Never call it from a
        member, for the handler of one that leaves would wait for itself, until the time is up.

        Args:
            size: How many members from now on, 1 to POOL_MEMBERS_MAX.
            drain_seconds: How long all those that leave may take for their mail. What is left then fails as for any
                actor that is stopped: asks and waiting senders get ActorStopped, the rest become dead letters.

        Raises:
            ActorStopped: The pool was closed.
            supervisors.StartFailed: A member did not become ready; those that came before it stay.
            supervisors.SupervisorNotRunning: Too many crashes: its supervisor is being restarted, or has ended.
        """
        check_size(size)
        _check_seconds(drain_seconds)
        async with self._changing:
            if self._ending:
                raise ActorStopped(self.name, self._ending)
            await self._membership.grow(size)
            await self._membership.shrink(size, drain_seconds)


@final
class PartitionedPool(_Face[ActorT]):
    """A fixed number of actors; those of one key are handled by one of them, in order, one at a time.

    Made by `open_partitions`. Its members are permanent: one that ends, also by itself, is started again with its
    mail, so a key never changes its member. Many keys share a member.
    """

    @property
    def partitions(self) -> int:
        """How many members it has."""
        return len(self._targets)

    def member_for(self, message: object) -> ActorRef[ActorT]:
        """Return the member that gets this message, and all others of its key."""
        if self._stale:
            self._take_members()
        return self._targets[self._choose(message, self._load)]


def check_size(size: int) -> None:
    """Refuse what is no number of members.

    Raises:
        ValueError: It is below 1 or above POOL_MEMBERS_MAX.
    """
    if not 1 <= size <= POOL_MEMBERS_MAX:
        raise ValueError(f"A pool has from 1 to {POOL_MEMBERS_MAX} members, not {size!r}; close() ends it.")


def _check_seconds(drain_seconds: float) -> None:
    if not drain_seconds >= 0.0:
        raise ValueError(f"drain_seconds is 0 or more, not {drain_seconds!r}.")
