"""Typed, bounded, supervised actors on trio. Usable alone: nothing here loads mcp or pydantic.

actor, dispatch, replies    the class to derive from, and how its handlers are found and checked
messages, refs, asks        what is sent, through what, and who waits for the answer
mailbox, endpoint, drain    where mail lies, what becomes of it, and the loop that handles it
cell, registry, system      the life of one actor, its name, and all actors together
deathwatch                  who wants to know of an actor's end
switchboard, waits          what the actors of a system share; who waits for whom
routing, membership         several actors behind one face: who gets a message, and who belongs to them
pools, pooling              the face, and how it is started
gathering                   many asks at once, with a limit
deadlines, statistics       timeouts without a scope each; plain numbers per kind of actor
"""

from vespera_agents.actors.actor import Actor
from vespera_agents.actors.deathwatch import ActorTerminated, Watch
from vespera_agents.actors.dispatch import receives
from vespera_agents.actors.errors import (
    ActorCrashed,
    ActorError,
    ActorStopped,
    AskCycle,
    AskTimeout,
    InvalidReceiver,
    MailboxFull,
    NameTaken,
    Unhandled,
)
from vespera_agents.actors.gathering import CanBeAsked, ask_many, gather_answers
from vespera_agents.actors.mailbox import MailboxSpec, Overflow
from vespera_agents.actors.messages import Request
from vespera_agents.actors.pooling import open_partitions, open_pool
from vespera_agents.actors.pools import PartitionedPool, Pool, PoolStatistics
from vespera_agents.actors.refs import ActorRef
from vespera_agents.actors.routing import ConsistentHash, LeastBusy, RoundRobin, RouteKey, Routing
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
from vespera_agents.actors.system import DEFAULT_MAILBOX, ActorSystem, open_system

__all__ = [
    "DEFAULT_MAILBOX",
    "Actor",
    "ActorCrashed",
    "ActorError",
    "ActorRef",
    "ActorState",
    "ActorStatistics",
    "ActorStopped",
    "ActorSystem",
    "ActorTerminated",
    "AskCycle",
    "AskTimeout",
    "CanBeAsked",
    "ConsistentHash",
    "DeadLetter",
    "DeadLetterReason",
    "DropReason",
    "InvalidReceiver",
    "KindStatistics",
    "LeastBusy",
    "MailboxFull",
    "MailboxSpec",
    "MailboxStatistics",
    "MessageOutcome",
    "NameTaken",
    "Overflow",
    "PartitionedPool",
    "Pool",
    "PoolStatistics",
    "Request",
    "RoundRobin",
    "RouteKey",
    "Routing",
    "StopReason",
    "SystemStatistics",
    "Unhandled",
    "Watch",
    "ask_many",
    "gather_answers",
    "open_partitions",
    "open_pool",
    "open_system",
    "receives",
]
