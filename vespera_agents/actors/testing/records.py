"""What the ledger of a simulation writes down: each message, each actor, each life of one. Data only, no rules."""

from __future__ import annotations

import inspect
import math
from dataclasses import dataclass, field
from typing import Final, final

import trio

from vespera_agents.actors.actor import Actor
from vespera_agents.actors.mailbox import MailboxSpec
from vespera_agents.actors.refs import ActorRef

TELL: Final = "tell"
SEND: Final = "send"
ASK: Final = "ask"
ACCEPTED: Final = "accepted"
REPLY: Final = "reply"
CANCELLED: Final = "Cancelled"
BROKEN: Final = "broken"
"""How a send or an ask ended whose sender was struck by a fault while it waited: nobody knows what became of it."""


@final
@dataclass(slots=True, eq=False)
class Mail:
    """One message from one sender to one actor, and all that was seen of it."""

    message: object
    """The message itself; another one for each mail, so that it is known by its identity."""
    sender: str
    """Who sent it: a task, or one life of an actor."""
    receiver: Recipient
    """Whom it is for."""
    number: int
    """Which it is, from 1, of those from this sender to this receiver."""
    how: str
    """tell, send or ask."""
    sent_at: float
    """When, in the time of the run."""
    timeout_seconds: float = math.inf
    """How long its sender is ready to wait for an answer."""
    answer: str = ""
    """What its sender was told: accepted, reply, the name of an error; empty while it waits for that."""
    begun: int = 0
    """How often a handler was called with it."""
    done: int = 0
    """How often a handler of a life that counted returned."""
    dead: int = 0
    """How often it became a dead letter."""
    broken_by: BaseException | None = None
    """What ended its handler, where that did not return."""
    may_return: bool = False
    """Whether its class allows that it is tried again after the crash that it met."""
    cut_off: bool = False
    """Whether its handler belongs to a life that was cut off."""
    result: object = None
    """What its handler returned."""

    @property
    def is_open(self) -> bool:
        """Whether its sender waits."""
        return not self.answer

    @property
    def is_over(self) -> bool:
        """Whether a handler has had it, and has not got it any more."""
        return bool(self.done) or self.cut_off or (self.broken_by is not None and not self.may_return)

    def __str__(self) -> str:
        return f"{self.how} {self.number} from {self.sender} to {self.receiver.name}"


@final
@dataclass(slots=True, eq=False)
class Life:
    """One incarnation of one actor."""

    receiver: Recipient
    """Whose it is."""
    number: int
    """Which one, of all actors of its name."""
    task: trio.lowlevel.Task
    """What runs it."""
    before: Life | None = None
    """The life before it, of the same actor."""
    stopped_by_supervisor: bool = False
    """Whether its supervisor has stopped it."""
    followed_the_end: bool = False
    """Whether everybody had been told, before it began, that the actor had ended for good."""
    ready: bool = False
    """Whether on_start has succeeded."""
    over: bool = False
    """Whether its last hook has ended."""
    fenced: bool = False
    """Whether it was cut off: it runs on, and counts no more."""
    busy: bool = False
    """Whether one of its handlers runs."""
    in_hand: Mail | None = None
    """The mail that this handler has."""
    waits_for: Recipient | None = None
    """Whose answer, or room in whose mailbox, its handler waits for."""

    @property
    def has_gone(self) -> bool:
        """Whether it is over, or was cut off where nobody sees it, and its task has ended."""
        return self.over or (self.fenced and inspect.getcoroutinestate(self.task.coro) == inspect.CORO_CLOSED)

    @property
    def name(self) -> str:
        """The actor's name and its number."""
        return f"{self.receiver.name}#{self.number}"


@final
@dataclass(slots=True, eq=False)
class Recipient:
    """One actor, across its lives."""

    ref: ActorRef[Actor]
    """The reference to it."""
    name: str
    """Its name, which others may have had before it."""
    spec: MailboxSpec | None = None
    """Its mailbox, where that is known."""
    life: Life | None = None
    """The life that was begun last."""
    ends: int = 0
    """How often it has ended for good; a supervisor may start it again."""
    watched: bool = False
    """Whether its next end will be heard of."""
    is_final: bool = False
    """Whether somebody has stopped it for good: its supervisor may still start it once more if it crashes meanwhile."""
    slack: int = 0
    """How much mail may be in its mailbox that nobody waits for, or of which nobody knows what became of it."""
    queued: dict[Mail, None] = field(default_factory=dict[Mail, None])
    """The mail that is in its mailbox, or in line for it, or on its way into a dead letter."""
    begun_from: dict[str, int] = field(default_factory=dict[str, int])
    """The number of the mail that was begun last, by sender."""
    errors: list[BaseException] = field(default_factory=list[BaseException])
    """Everything that a handler or a hook of it has raised."""
