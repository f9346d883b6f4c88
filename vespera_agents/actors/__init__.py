"""Typed, bounded, supervised actors on trio. Usable alone: nothing here loads mcp or pydantic.

actor, dispatch, replies    the class to derive from, and how its handlers are found and checked
messages, refs, gathering   what is sent, through what, and many asks at once
mailbox, ties, endpoint     where mail lies, what an actor is tied to, and the address with both in it
asks, parking, waits        who waits for an answer, how, and for whom
drain, errands, settling    the loop that handles mail, what else it does, and what becomes of mail that fails
cell, registry, system      the life of one actor, its name, and all actors together (opening, cells: how they begin)
timers, idling, deathwatch  what happens to an actor later, never, and at the end of another
groups, events, pools       many actors: by a common name, by what they want to hear, behind one face
switchboard, statistics     what the actors of a system share; plain numbers per kind of actor
census                      the living added up by kind, for whoever asks often
stacks, handover            where an actor waits, and what the next system begins with
tracing, spans              messages in traces, where somebody collects spans

Imported by themselves, because not everybody needs them:

embedding                   asyncio inside a system, and systems inside asyncio programs and sync code
testing                     probes, faults on purpose, and simulation of whole systems
"""

from vespera_agents.actors.actor import Actor
from vespera_agents.actors.deathwatch import ActorTerminated, Watch
from vespera_agents.actors.dispatch import receives
from vespera_agents.actors.errors import (
    ActorCrashed,
    ActorError,
    ActorHung,
    ActorStopped,
    AskCycle,
    AskTimeout,
    InvalidReceiver,
    InvalidTopic,
    LimitReached,
    LinkBroken,
    MailboxFull,
    NameTaken,
    PublishLoop,
    StashFull,
    SubscriptionEnded,
    SubscriptionInUse,
    Unhandled,
)
from vespera_agents.actors.events import (
    BusStatistics,
    EventBus,
    EventPriority,
    EventStream,
    Subscription,
    SubscriptionStatistics,
    TopicStatistics,
)
from vespera_agents.actors.gathering import CanBeAsked, ask_many, gather_answers
from vespera_agents.actors.groups import Group, Groups, GroupsStatistics, GroupStatistics, MemberJoined, MemberLeft
from vespera_agents.actors.mailbox import MailboxSpec, Overflow
from vespera_agents.actors.messages import Request
from vespera_agents.actors.opening import open_system
from vespera_agents.actors.pools import (
    ConsistentHash,
    LeastBusy,
    PartitionedPool,
    Pool,
    PoolStatistics,
    RoundRobin,
    RouteKey,
    Routing,
    open_partitions,
    open_pool,
)
from vespera_agents.actors.refs import ActorRef
from vespera_agents.actors.stacks import AwaitedLine
from vespera_agents.actors.statistics import (
    ActorState,
    ActorStatistics,
    DeadLetter,
    DeadLetterReason,
    DropReason,
    KindStatistics,
    MailboxStatistics,
    MessageOutcome,
    StopReason,
    SystemStatistics,
)
from vespera_agents.actors.system import DEFAULT_MAILBOX, ActorSystem
from vespera_agents.actors.timers import Timer

__all__ = [
    "DEFAULT_MAILBOX",
    "Actor",
    "ActorCrashed",
    "ActorError",
    "ActorHung",
    "ActorRef",
    "ActorState",
    "ActorStatistics",
    "ActorStopped",
    "ActorSystem",
    "ActorTerminated",
    "AskCycle",
    "AskTimeout",
    "AwaitedLine",
    "BusStatistics",
    "CanBeAsked",
    "ConsistentHash",
    "DeadLetter",
    "DeadLetterReason",
    "DropReason",
    "EventBus",
    "EventPriority",
    "EventStream",
    "Group",
    "GroupStatistics",
    "Groups",
    "GroupsStatistics",
    "InvalidReceiver",
    "InvalidTopic",
    "KindStatistics",
    "LeastBusy",
    "LimitReached",
    "LinkBroken",
    "MailboxFull",
    "MailboxSpec",
    "MailboxStatistics",
    "MemberJoined",
    "MemberLeft",
    "MessageOutcome",
    "NameTaken",
    "Overflow",
    "PartitionedPool",
    "Pool",
    "PoolStatistics",
    "PublishLoop",
    "Request",
    "RoundRobin",
    "RouteKey",
    "Routing",
    "StashFull",
    "StopReason",
    "Subscription",
    "SubscriptionEnded",
    "SubscriptionInUse",
    "SubscriptionStatistics",
    "SystemStatistics",
    "Timer",
    "TopicStatistics",
    "Unhandled",
    "Watch",
    "ask_many",
    "gather_answers",
    "open_partitions",
    "open_pool",
    "open_system",
    "receives",
]
