"""Groups: actors that are found together by a name, and told together. A group is its members; without any it is gone.

It chooses nobody (routers do), gathers no answers, and starts no actors. Members that end leave by themselves; one that
is restarted stays.
Source: OTP, `pg`, within one process and with each member once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias, final

from vespera_agents.actors.actor import Actor
from vespera_agents.actors.deathwatch import ActorTerminated, Watch
from vespera_agents.actors.errors import LimitReached, MailboxFull
from vespera_agents.actors.refs import ActorRef

Members: TypeAlias = tuple[ActorRef[Actor], ...]
"""Actors in the order in which they joined."""


@final
@dataclass(frozen=True, slots=True)
class MemberJoined:
    """An actor has become a member of a group."""

    group: str
    """The group's name."""
    member: ActorRef[Actor]
    """Who joined."""


@final
@dataclass(frozen=True, slots=True)
class MemberLeft:
    """An actor is no member of a group any more."""

    group: str
    """The group's name."""
    member: ActorRef[Actor]
    """Who left."""
    terminated: ActorTerminated | None
    """How it ended, if that is why it left."""


MembershipChange: TypeAlias = MemberJoined | MemberLeft
"""What is said of a group's members when they change."""


@final
@dataclass(frozen=True, slots=True)
class GroupStatistics:
    """One group at one moment, since it has had members."""

    name: str
    """Its name."""
    members: int
    """How many it has."""
    told: int
    """Messages told to the whole group."""
    refused: int
    """How often a full member did not take one of them."""


@final
@dataclass(frozen=True, slots=True)
class GroupsStatistics:
    """All groups at one moment. The totals include groups that are gone, and only grow."""

    groups: Mapping[str, GroupStatistics]
    """By name, in the order in which they began."""
    memberships: int
    """Members of all groups; an actor counts once for each of its groups."""
    joined: int
    """Memberships that began."""
    left: int
    """Memberships that ended with `leave`."""
    died: int
    """Memberships that ended with their actor."""
    told: int
    """Messages told to whole groups."""
    refused: int
    """How often a full member did not take one of them."""


@final
class _Roll:
    """The members of one group."""

    __slots__ = ("members", "order", "refused", "told")

    def __init__(self) -> None:
        self.members: dict[ActorRef[Actor], None] = {}
        """In join order."""
        self.order: Members | None = None
        """The same as a tuple, made when it is asked for."""
        self.told = 0
        """Messages told to all."""
        self.refused = 0
        """Full members that did not take one."""


@final
class _Membership:
    """The groups of one actor."""

    __slots__ = ("groups", "watch")

    def __init__(self) -> None:
        self.groups: dict[str, None] = {}
        """Their names."""
        self.watch: Watch | None = None
        """What tells of its end; None once it has."""


@final
class Groups:
    """All groups of a system. It belongs to one trio run."""

    def __init__(
        self, *, on_change: Callable[[MembershipChange], object] | None = None, memberships_max: int = 100_000
    ) -> None:
        """Make a registry without groups.

        Args:
            on_change: Called after each change, in the middle of things: it must be quick, never wait and never raise.
                `EventBus.publish` is such a function, and makes changes events.
            memberships_max: How many members all groups may have together; an actor counts once for each of its groups.
        """
        if memberships_max < 1:
            raise ValueError(f"Groups have room for at least 1 membership, not {memberships_max}: allow 1 or more.")
        self.memberships_max = memberships_max
        """How many members all groups may have together."""
        self._on_change = on_change
        self._rolls: dict[str, _Roll] = {}
        self._memberships: dict[ActorRef[Actor], _Membership] = {}
        self._joined = 0
        self._left = 0
        self._died = 0
        self._told = 0
        self._refused = 0

    # Membership -----------------------------------------------------------------------------------------------------

    def join(self, name: str, ref: ActorRef[Actor]) -> bool:
        """Make an actor a member; False if it is one already, or has ended.

        Raises:
            LimitReached: There are too many memberships.
        """
        membership = self._memberships.get(ref)
        if membership is not None and name in membership.groups:
            return False
        if self._joined - self._left - self._died >= self.memberships_max:
            raise LimitReached("memberships of groups", self.memberships_max, "memberships_max")
        if membership is None:
            membership = _Membership()
            watch = ref.watch(lambda terminated: self._actor_ended(ref, terminated))
            if not watch.pending:
                return False
            membership.watch = watch
            self._memberships[ref] = membership
        membership.groups[name] = None
        roll = self._rolls.get(name)
        if roll is None:
            roll = self._rolls[name] = _Roll()
        roll.members[ref] = None
        roll.order = None
        self._joined += 1
        self._say(MemberJoined(name, ref))
        return True

    def leave(self, name: str, ref: ActorRef[Actor]) -> bool:
        """End an actor's membership; False if it is no member."""
        membership = self._memberships.get(ref)
        if membership is None or name not in membership.groups:
            return False
        del membership.groups[name]
        if not membership.groups:
            del self._memberships[ref]
            if membership.watch is not None:
                membership.watch.cancel()
        self._left += 1
        self._remove(name, ref)
        self._say(MemberLeft(name, ref, None))
        return True

    def leave_all(self, ref: ActorRef[Actor]) -> None:
        """End all memberships of an actor."""
        for name in self.groups_of(ref):
            self.leave(name, ref)

    # Finding and telling --------------------------------------------------------------------------------------------

    def members(self, name: str) -> Members:
        """Return a group's members in the order in which they joined; a group that is not there has none."""
        roll = self._rolls.get(name)
        if roll is None:
            return ()
        if roll.order is None:
            roll.order = tuple(roll.members)
        return roll.order

    def group(self, name: str) -> Group:
        """Return a view of a group, which stays good when its members change, leave, or are yet to come."""
        return Group(self, name)

    def groups_of(self, ref: ActorRef[Actor]) -> tuple[str, ...]:
        """Return the names of the groups that an actor is in, in the order in which it joined them."""
        membership = self._memberships.get(ref)
        return () if membership is None else tuple(membership.groups)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all groups; each has at least one member."""
        return tuple(self._rolls)

    def tell(self, name: str, message: object) -> Members:
        """Tell all members of a group a message, and return those that did not take it.

        A full member, under WAIT or REJECT, does not keep the message from the others. A group without members is no
        error: nobody takes the message, and nobody is returned.
        """
        refused = [member for member in self.members(name) if not _took(member, message)]
        self._told += 1
        self._refused += len(refused)
        roll = self._rolls.get(name)
        if roll is not None:
            roll.told += 1
            roll.refused += len(refused)
        return tuple(refused)

    def statistics(self) -> GroupsStatistics:
        """Return a picture of all groups as they are now."""
        return GroupsStatistics(
            groups={
                name: GroupStatistics(name, len(roll.members), roll.told, roll.refused)
                for name, roll in self._rolls.items()
            },
            memberships=sum(len(roll.members) for roll in self._rolls.values()),
            joined=self._joined,
            left=self._left,
            died=self._died,
            told=self._told,
            refused=self._refused,
        )

    # Below ----------------------------------------------------------------------------------------------------------

    def _actor_ended(self, ref: ActorRef[Actor], terminated: ActorTerminated) -> None:
        membership = self._memberships.pop(ref, None)
        if membership is None:
            return
        # All memberships are gone before anybody hears of the first: who reacts finds the actor in no group.
        for name in membership.groups:
            self._died += 1
            self._remove(name, ref)
        for name in membership.groups:
            self._say(MemberLeft(name, ref, terminated))

    def _remove(self, name: str, ref: ActorRef[Actor]) -> None:
        roll = self._rolls[name]
        del roll.members[ref]
        roll.order = None
        if not roll.members:
            del self._rolls[name]

    def _say(self, change: MembershipChange) -> None:
        if self._on_change is not None:
            self._on_change(change)


@final
class Group:
    """A group by its name: whoever is in it at the moment."""

    __slots__ = ("_groups", "name")

    def __init__(self, groups: Groups, name: str) -> None:
        self._groups = groups
        self.name = name
        """Its name."""

    @property
    def members(self) -> Members:
        """Its members now, in the order in which they joined."""
        return self._groups.members(self.name)

    def join(self, ref: ActorRef[Actor]) -> bool:
        """Make an actor a member. See `Groups.join`."""
        return self._groups.join(self.name, ref)

    def leave(self, ref: ActorRef[Actor]) -> bool:
        """End an actor's membership. See `Groups.leave`."""
        return self._groups.leave(self.name, ref)

    def tell(self, message: object) -> Members:
        """Tell all members a message, and return those that did not take it. See `Groups.tell`."""
        return self._groups.tell(self.name, message)

    def __repr__(self) -> str:
        return f"<Group {self.name!r} of {len(self.members)}>"


def _took(member: ActorRef[Actor], message: object) -> bool:
    try:
        member.tell(message)
    except MailboxFull:
        return False
    return True
