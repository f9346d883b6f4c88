"""`ActorRef`: all that anybody holds of an actor. Safe to keep, share and compare; it stays good across restarts.

It never reveals the actor object: state is reached by messages only. It works inside the trio run of its system.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar, final

from trio.lowlevel import current_task, wait_task_rescheduled

from vespera_agents.actors.asks import ANSWERED
from vespera_agents.actors.deathwatch import ActorTerminated, Watch
from vespera_agents.actors.endpoint import Endpoint
from vespera_agents.actors.mailbox import Signal
from vespera_agents.actors.messages import Request
from vespera_agents.actors.statistics import ActorStatistics

ActorT_co = TypeVar("ActorT_co", covariant=True)
Reply = TypeVar("Reply")


@final
class ActorRef(Generic[ActorT_co]):
    """A reference to an actor of class `ActorT_co`."""

    __slots__ = ("_endpoint",)

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    @property
    def name(self) -> str:
        """The actor's name, unique among the living actors of its system."""
        return self._endpoint.name

    @property
    def kind(self) -> str:
        """The actor's class name."""
        return self._endpoint.counts.kind

    @property
    def load(self) -> int:
        """How much it has to do: messages in its mailbox or waiting for room, and the one in hand. Costs 0.1 us."""
        endpoint = self._endpoint
        mailbox = endpoint.mailbox
        return len(mailbox.user) + len(mailbox.waiting) + (endpoint.busy_since is not None)

    @property
    def has_room(self) -> bool:
        """Whether a `tell` would find room now; never so when the actor has ended."""
        mailbox = self._endpoint.mailbox
        return len(mailbox.user) < mailbox.limit

    def tell(self, message: object) -> None:
        """Leave a message and go on. Mail for an actor that has ended becomes a dead letter, without an error.

        Raises:
            MailboxFull: There is no room, and the overflow rule is WAIT or REJECT.
        """
        self._endpoint.tell(message)

    async def send(self, message: object) -> None:
        """Leave a message, waiting until the mailbox has room, whatever its overflow rule.

        It does not give way to other tasks when there is room. Cancelled: the message was not left.

        Raises:
            ActorStopped: The actor has ended, or ended while this waited.
            AskCycle: The actor itself waits for the sender.
        """
        await self._endpoint.send(message)

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
        endpoint = self._endpoint
        task = current_task()
        caller = endpoint.switchboard.waits.begin(task, endpoint.party)
        try:
            ask = endpoint.submit(task, request, timeout_seconds)
            await wait_task_rescheduled(ask.abort)
        finally:
            if caller is not None:
                caller.waiting_on = None
        if ask.state == ANSWERED:
            endpoint.counts.ask_duration.observe(endpoint.clock() - ask.sent_at)
            reply: Reply = ask.reply
            return reply
        raise ask.take_failure()

    def stop(self) -> None:
        """Let the actor end after the message in hand. A PERMANENT actor is then started again, with its mail."""
        if self._endpoint.mailbox.is_open:
            self._endpoint.mailbox.signal(Signal.STOP)

    def watch(self, tell: Callable[[ActorTerminated], None]) -> Watch:
        """Have `tell` called once, when the actor has ended and no restart will follow; at once where that is so now.

        `tell` is called in the event loop, in the middle of things: it must be quick, never wait and never raise.
        """
        return self._endpoint.watch(tell)

    def statistics(self) -> ActorStatistics:
        """Return a picture of the actor as it is now."""
        return self._endpoint.statistics()

    def tree_detail(self) -> dict[str, str | int | float]:
        """Say what a supervision tree shows beside the actor: its mail, and what it says itself in `tree_detail`."""
        endpoint = self._endpoint
        depth = len(endpoint.mailbox.user)
        ours: dict[str, str | int | float] = {"kind": self.kind, "mailbox": depth, "handled": endpoint.handled}
        return ours if endpoint.facts is None else {**endpoint.facts(), **ours}

    def __repr__(self) -> str:
        return f"<ActorRef {self.name!r} of {self.kind}, {self._endpoint.state}>"
