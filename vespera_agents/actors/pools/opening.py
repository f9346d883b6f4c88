"""How pools are started: below the root supervisor of a system, with all members ready.

What a pool is, once it is there, is `pool`; who its members are, and how they come and go, is `membership`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from typing import Any, TypeVar, TypeVarTuple

from supervisors.children import ChildState
from supervisors.errors import AlreadyStarted, ChildNotFound
from supervisors.specs import ChildSpec, Restart
from vespera_agents.actors.actor import Actor
from vespera_agents.actors.errors import NameTaken
from vespera_agents.actors.mailbox import MailboxSpec
from vespera_agents.actors.pools.membership import Membership
from vespera_agents.actors.pools.pool import PartitionedPool, Pool, check_size
from vespera_agents.actors.pools.routing import ByPartition, RoundRobin, RouteKey, Routing
from vespera_agents.actors.system import DEFAULT_MAILBOX, ActorSystem

ActorT = TypeVar("ActorT", bound=Actor)
Arguments = TypeVarTuple("Arguments")


async def open_pool(
    system: ActorSystem,
    actor: Callable[[*Arguments], ActorT],
    *args: *Arguments,
    size: int,
    routing: Routing | None = None,
    name: str | None = None,
    mailbox: MailboxSpec = DEFAULT_MAILBOX,
    restart: Restart = Restart.TRANSIENT,
    shutdown_seconds: float = 5.0,
    start_timeout_seconds: float = 30.0,
    intensity: int = 3,
    period_seconds: float = 5.0,
) -> Pool[ActorT]:
    """Start a pool below the system's root supervisor, and wait until all its members are ready.

    Args:
        system: Where.
        actor: The members' class.
        args: What each incarnation of each member is constructed with.
        size: How many, 1 to POOL_MEMBERS_MAX.
        routing: Who gets a message: RoundRobin() unless given.
        name: Of the pool; class name, "pool" and a number unless given. Members add a number to it.
        mailbox: How much mail each member holds.
        restart: PERMANENT restarts a member after every end, TRANSIENT after crashes, TEMPORARY never.
        shutdown_seconds: How long a member may take to end when stopped.
        start_timeout_seconds: How long constructor and on_start of a member may take.
        intensity: Restarts, of all members together, that the pool's supervisor allows in `period_seconds`. When it
            gives up, all members end with their mail, and the root restarts the pool, which the root counts.
        period_seconds: Length of that window.

    Raises:
        NameTaken: A living actor, or another pool, has the name.
        supervisors.StartFailed: A member did not become ready; the others were stopped.
    """
    make_spec = partial(
        system.actor_spec, actor, *args, mailbox=mailbox, restart=restart,
        shutdown_seconds=shutdown_seconds, start_timeout_seconds=start_timeout_seconds,
    )  # fmt: skip
    membership = await _open(
        system, actor, lambda child: make_spec(name=child), name, size,
        intensity=intensity, period_seconds=period_seconds,
    )  # fmt: skip
    return Pool(_kind_of(actor), membership, RoundRobin() if routing is None else routing)


async def open_partitions(
    system: ActorSystem,
    actor: Callable[[*Arguments], ActorT],
    *args: *Arguments,
    partitions: int,
    key: Callable[[Any], RouteKey],
    name: str | None = None,
    mailbox: MailboxSpec = DEFAULT_MAILBOX,
    shutdown_seconds: float = 5.0,
    start_timeout_seconds: float = 30.0,
    intensity: int = 3,
    period_seconds: float = 5.0,
) -> PartitionedPool[ActorT]:
    """Start a partitioned pool below the system's root supervisor, and wait until all its members are ready.

    Args:
        system: Where.
        actor: The members' class.
        args: What each incarnation of each member is constructed with.
        partitions: How many members, 1 to POOL_MEMBERS_MAX.
        key: Returns a message's key, a str, bytes or int; what it raises, the sender gets.
        name: As for `open_pool`, and so are the rest.
        mailbox: How much mail each member holds.
        shutdown_seconds: How long a member may take to end when stopped.
        start_timeout_seconds: How long constructor and on_start of a member may take.
        intensity: Restarts, of all members together, that the pool's supervisor allows in `period_seconds`.
        period_seconds: Length of that window.

    Raises:
        NameTaken: A living actor, or another pool, has the name.
        supervisors.StartFailed: A member did not become ready; the others were stopped.
    """
    make_spec = partial(
        system.actor_spec, actor, *args, mailbox=mailbox, restart=Restart.PERMANENT,
        shutdown_seconds=shutdown_seconds, start_timeout_seconds=start_timeout_seconds,
    )  # fmt: skip
    membership = await _open(
        system, actor, lambda child: make_spec(name=child), name, partitions,
        intensity=intensity, period_seconds=period_seconds,
    )  # fmt: skip
    return PartitionedPool(_kind_of(actor), membership, ByPartition(key))


async def _open(
    system: ActorSystem,
    actor: Callable[..., ActorT],
    make_spec: Callable[[str], ChildSpec],
    wanted: str | None,
    size: int,
    *,
    intensity: int,
    period_seconds: float,
) -> Membership[ActorT]:
    """Start the members below the wanted name, or below the first free one."""
    check_size(size)
    kind = _kind_of(actor)
    for name in _names(kind, wanted):
        if system.whereis(name) is not None or _is_child(system, name):
            continue
        membership: Membership[ActorT] = Membership(
            system, name, make_spec, intensity=intensity, period_seconds=period_seconds
        )
        try:
            await membership.open(size)
        except AlreadyStarted:
            continue  # Another pool of the name was being started at the same time.
        return membership
    raise NameTaken(wanted or kind)


def _names(kind: str, wanted: str | None) -> Iterator[str]:
    if wanted is not None:
        return iter((wanted,))
    return (f"{kind}-pool-{number}" for number in count(1))


def _is_child(system: ActorSystem, name: str) -> bool:
    try:
        return system.supervisor.which_child(name).state is not ChildState.DOWN
    except ChildNotFound:
        return False


def _kind_of(actor: object) -> str:
    if not (isinstance(actor, type) and issubclass(actor, Actor)):
        raise TypeError(f"The members of a pool are of a class derived from Actor, not {actor!r}.")
    return actor.__name__
