"""`ActorRef`: all that anybody holds of an actor. Safe to keep, share and compare; it stays good across restarts.

It is an abstract face: `endpoint` is what stands behind it, and whatever else takes mail (a pool of actors) wears it
too. It never reveals the actor object: state is reached by messages only. It works inside the trio run of its system.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Generic, TypeVar

from vespera_agents.actors.deathwatch import ActorTerminated, Watch
from vespera_agents.actors.messages import Request
from vespera_agents.actors.statistics import ActorStatistics

ActorT_co = TypeVar("ActorT_co", covariant=True)
Reply = TypeVar("Reply")


class ActorRef(ABC, Generic[ActorT_co]):
    """A reference to an actor of class `ActorT_co`."""

    __slots__ = ()

    name: str
    """The actor's name, unique among the living actors of its system."""

    @property
    @abstractmethod
    def kind(self) -> str:
        """The actor's class name."""
        ...

    @property
    @abstractmethod
    def load(self) -> int:
        """How much it has to do: messages in its mailbox or waiting for room, and the one in hand. Costs 0.1 us."""
        ...

    @property
    @abstractmethod
    def has_room(self) -> bool:
        """Whether a `tell` would find room now; never so when the actor has ended."""
        ...

    @abstractmethod
    def tell(self, message: object) -> None:
        """Leave a message and go on. Mail for an actor that has ended becomes a dead letter, without an error.

        Raises:
            MailboxFull: There is no room, and the overflow rule is WAIT or REJECT.
        """
        ...

    @abstractmethod
    async def send(self, message: object) -> None:
        """Leave a message, waiting until the mailbox has room, whatever its overflow rule.

        It is a checkpoint only if it has to wait. Cancelled while it waits: the message was not left.

        Raises:
            ActorStopped: The actor has ended, or ended while this waited.
            AskCycle: The actor itself waits for the sender.
        """
        ...

    @abstractmethod
    async def ask(self, request: Request[Reply], *, timeout_seconds: float = 5.0) -> Reply:
        """Send a request and wait for its answer.

        Cancelled: a request that has not been started is withdrawn; one that has goes on, and its reply is dropped.

        Args:
            request: What is asked; its class says what the answer is.
            timeout_seconds: How long to wait, more than 0; the time in the mailbox counts. math.inf waits for ever.

        Raises:
            ActorStopped: The actor has ended, or ended before it answered.
            ActorCrashed: The handler raised; the error is in `cause`.
            AskTimeout: No answer came in time.
            AskCycle: The actor itself waits, perhaps through others, for the sender.
            MailboxFull: There is no room, or the request was the oldest and had to make room.
            Unhandled: The actor's class has no handler for this type.
        """
        ...

    @abstractmethod
    def stop(self) -> None:
        """Let the actor end after the message in hand. A PERMANENT actor is then started again, with its mail."""
        ...

    @abstractmethod
    def watch(self, tell: Callable[[ActorTerminated], None]) -> Watch:
        """Have `tell` called once, when the actor has ended and no restart will follow; at once where that is so now.

        `tell` is called in the event loop, in the middle of things: it must be quick and never wait. What it raises is
        logged, and changes nothing.
        """
        ...

    @abstractmethod
    def statistics(self) -> ActorStatistics:
        """Return a picture of the actor as it is now."""
        ...
