"""What passes between a system's thread and other threads: handles of actors, messages, calls, and their counts.

Plain values and slots, without threads or locks: those are `trio_thread`'s. `asyncio_host` and `portal` make them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from concurrent.futures import Future, wait
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar, cast, final

from vespera_agents.actors.actor import Actor
from vespera_agents.actors.asks import Letter
from vespera_agents.actors.refs import ActorRef
from vespera_agents.actors.system import ActorSystem

Result = TypeVar("Result")
ActorT_co = TypeVar("ActorT_co", covariant=True)


@final
class ActorHandle(Generic[ActorT_co]):
    """An actor as other threads hold it: pass it to the host or portal that it came from."""

    __slots__ = ("ref",)

    def __init__(self, ref: ActorRef[ActorT_co]) -> None:
        self.ref = ref
        """The reference, good only inside the system's thread; as a part of a message it gets there."""

    @property
    def name(self) -> str:
        """The actor's unique name."""
        return self.ref.name

    @property
    def kind(self) -> str:
        """The actor's class name."""
        return self.ref.kind

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ActorHandle) and cast("ActorHandle[Any]", other).ref is self.ref

    def __hash__(self) -> int:
        return hash(self.ref)

    def __repr__(self) -> str:
        return f"<ActorHandle {self.name!r} of {self.kind}>"


@final
class Call(Generic[Result]):
    """A call from outside: what to await in the system's thread, and who waits for what comes of it."""

    __slots__ = ("at_once", "context", "function", "waiter", "whom")

    def __init__(
        self,
        whom: str,
        function: Callable[[], Awaitable[Result]],
        waiter: object,
        at_once: Callable[[], bool] | None = None,
    ) -> None:
        self.whom = whom
        """Who is asked, for errors."""
        self.function = function
        """What is awaited."""
        self.waiter = waiter
        """Is told the outcome, unless the call was withdrawn."""
        self.at_once = at_once
        """Does it without waiting and returns True, if that can be; else it does nothing, and `function` is awaited."""
        self.context = copy_context()
        """The caller's context; the call runs in it."""


Posted: TypeAlias = tuple[ActorRef[Any], Letter]
"""A message from outside on its way: its receiver, and the letter, which holds the ask if it is one."""


@final
@dataclass(frozen=True, slots=True)
class ThreadStatistics:
    """The thread of one system at one moment, as seen from outside; counters only grow."""

    name: str
    """The system's name."""
    is_open: bool
    """Whether it takes calls."""
    pending: int
    """Calls that were made and are not answered."""
    carriers_idle: int
    """Trio tasks that are kept for the next calls."""
    calls: int
    """Calls made."""
    withdrawn: int
    """Calls whose caller was cancelled or stopped waiting."""
    tells: int
    """Messages told from outside."""
    tells_refused: int
    """Messages told that their receiver did not take."""
    last_refusal: str
    """The last reason for that; empty while there is none."""
    batches: int
    """How often the thread was woken for calls and tells: few for many is what makes them cheap."""


async def whereis(system: ActorSystem, name: str) -> ActorRef[Actor] | None:
    """Find a living actor; a call, so that it happens inside the thread."""
    return system.whereis(name)


def wait_until_done(future: Future[Any], timeout_seconds: float) -> None:
    """Wait in a thread without a loop; an interruption goes on up, and leaves the future as it is."""
    wait([future], timeout=timeout_seconds)
