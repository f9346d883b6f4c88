"""What is counted per kind of actor, and the frozen pictures of it.

A kind is an actor's class name, so the number of kinds is fixed by the program and not by its load. The live side,
`KindCounts`, is plain ints and histograms that the hot path adds to; the frozen side is what `statistics()` returns
and what health/ turns into the actor and mailbox families. Nothing here looks at a clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum, unique
from typing import final

from supervisors.counting import Histogram, HistogramSnapshot, Tally


@unique
class ActorState(StrEnum):
    """Where an actor is in its life."""

    STARTING = "starting"
    """Its constructor or on_start runs; mail is accepted and waits."""
    RUNNING = "running"
    """It handles mail, or waits for it."""
    STOPPING = "stopping"
    """on_stop runs."""
    RESTARTING = "restarting"
    """It crashed and its supervisor will start it again; mail is accepted and waits."""
    STOPPED = "stopped"
    """It has ended; mail becomes dead letters."""


@unique
class StopReason(StrEnum):
    """Why an incarnation of an actor ended."""

    NORMAL = "normal"
    """It was told to stop, or stopped itself."""
    SHUTDOWN = "shutdown"
    """Its supervisor stopped it."""
    CRASHED = "crashed"
    """A handler, or on_stop, raised."""
    START_FAILED = "start_failed"
    """Its constructor or on_start raised, or was cancelled."""


@unique
class MessageOutcome(StrEnum):
    """What became of a message in an actor's mailbox. Each is counted once as one of the first five."""

    HANDLED = "handled"
    """Its handler returned."""
    CRASHED = "crashed"
    """Its handler raised."""
    CANCELLED = "cancelled"
    """Its handler was cut off, because the actor was stopped."""
    UNHANDLED = "unhandled"
    """The class has no handler for it."""
    WITHDRAWN = "withdrawn"
    """It was an ask whose caller left, or gave up, before a handler had it."""
    STASHED = "stashed"
    """Its handler put it aside: it is taken again later."""
    RETRIED = "retried"
    """Its handler raised, and the class says that it is tried again."""


@unique
class DropReason(StrEnum):
    """Why a mailbox did not keep a message."""

    REJECTED = "rejected"
    """Full: the sender got MailboxFull."""
    OLDEST = "oldest"
    """Full: it was the oldest, and made room."""
    NEWEST = "newest"
    """Full: it was the newest, and did not get in."""


@unique
class DeadLetterReason(StrEnum):
    """Why a message was never handled to its end and nobody was told."""

    STOPPED = "stopped"
    """Its receiver had ended, or ended with the message in its mailbox."""
    DROPPED = "dropped"
    """Its receiver's mailbox overflowed."""
    UNHANDLED = "unhandled"
    """Its receiver has no handler for it."""
    CRASHED = "crashed"
    """Its handler raised, for the last time if the class lets it be tried again."""
    CANCELLED = "cancelled"
    """Its handler was cut off, because the actor was stopped."""


@final
@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that was told and never handled to its end."""

    message: object
    """The message itself."""
    recipient: str
    """The name of the actor that it was for."""
    kind: str
    """That actor's class name."""
    reason: DeadLetterReason
    """What happened to it."""
    cause: str
    """The error that did it, in one line; empty where there was none."""
    at_seconds: float
    """When, on trio's clock."""


@final
class KindCounts:
    """The live numbers of one kind of actor. Attributes are added to directly: that is what makes them cheap."""

    __slots__ = (
        "ask_duration", "ask_timeouts", "asks", "dead_letters", "drops", "handled", "init_duration", "kind",
        "late_replies", "mailbox_wait", "message_duration", "outcomes", "starts", "stop_timeouts", "stops",
    )  # fmt: skip

    def __init__(self, kind: str) -> None:
        self.kind = kind
        """The actors' class name."""
        self.starts = 0
        """Incarnations that became ready."""
        self.stops = Tally(StopReason)
        """Incarnations that ended, by reason."""
        self.stop_timeouts = 0
        """Incarnations whose on_stop was cut off."""
        self.handled = 0
        """Messages whose handlers returned: the outcome that the hot loop counts."""
        self.outcomes = Tally(MessageOutcome)
        """Messages by every other outcome."""
        self.asks = 0
        """Requests sent with ask."""
        self.ask_timeouts = 0
        """Asks whose caller gave up."""
        self.late_replies = 0
        """Replies that nobody waited for any more."""
        self.drops = Tally(DropReason)
        """Messages that a full mailbox did not keep."""
        self.dead_letters = Tally(DeadLetterReason)
        """Messages that nobody handled to the end."""
        self.init_duration = Histogram()
        """Seconds until ready: in on_start of all that have one, and in the constructor of one in seven."""
        self.message_duration = Histogram()
        """Seconds in a handler: of each that had to wait, and of a sample of the others."""
        self.ask_duration = Histogram()
        """Seconds from ask to answer, of one in seven asks, if it was answered."""
        self.mailbox_wait = Histogram()
        """Seconds in a mailbox: a sample."""


@final
@dataclass(frozen=True, slots=True)
class MailboxStatistics:
    """One mailbox at one moment."""

    depth: int
    """User messages in it."""
    capacity: int
    """User messages it can hold."""
    waiting_senders: int
    """Senders and asks that wait for room."""
    oldest_age_seconds: float
    """How long its oldest message has been in it; 0.0 when it is empty."""

    @property
    def fill_ratio(self) -> float:
        """Depth over capacity, 0 to 1."""
        return self.depth / self.capacity


@final
@dataclass(frozen=True, slots=True)
class ActorStatistics:
    """One actor at one moment."""

    name: str
    """Its unique name."""
    kind: str
    """Its class name."""
    state: ActorState
    """Where it is in its life."""
    incarnations: int
    """How often it was started."""
    handled: int
    """Messages handled by all its incarnations."""
    busy_seconds: float
    """How long the handler in hand has been running; 0.0 when none is."""
    mailbox: MailboxStatistics
    """Its mailbox."""


@final
@dataclass(frozen=True, slots=True)
class Present:
    """The living actors of one class, added up."""

    actors: Mapping[ActorState, int]
    """By state."""
    mailbox_messages: int
    """User messages in all mailboxes."""
    mailbox_fill_ratio_max: float
    """The fullest mailbox, 0 to 1."""
    mailbox_oldest_age_seconds: float
    """The longest that any of those messages has been there."""
    busy_seconds_max: float
    """The longest that any handler now running has been running."""
    occupied: int
    """Those that handle a message, or have mail."""


@final
@dataclass(frozen=True, slots=True)
class KindStatistics:
    """All actors of one class, those that have ended included; counters only grow."""

    kind: str
    """The class name."""
    actors: Mapping[ActorState, int]
    """Living actors by state."""
    starts: int
    """Incarnations that became ready."""
    stops: Mapping[StopReason, int]
    """Incarnations that ended, by reason."""
    stop_timeouts: int
    """Incarnations whose on_stop was cut off."""
    messages: Mapping[MessageOutcome, int]
    """Messages taken out of mailboxes, by outcome."""
    asks: int
    """Requests sent with ask."""
    ask_timeouts: int
    """Asks whose caller gave up."""
    late_replies: int
    """Replies that nobody waited for any more."""
    drops: Mapping[DropReason, int]
    """Messages that full mailboxes did not keep."""
    dead_letters: Mapping[DeadLetterReason, int]
    """Messages that nobody handled to the end."""
    init_duration: HistogramSnapshot
    """Seconds until ready, sampled where there is no on_start."""
    message_duration: HistogramSnapshot
    """Seconds in a handler, sampled."""
    ask_duration: HistogramSnapshot
    """Seconds from ask to answer, sampled."""
    mailbox_wait: HistogramSnapshot
    """Seconds in a mailbox, sampled."""
    mailbox_messages: int
    """User messages in all mailboxes now."""
    mailbox_fill_ratio_max: float
    """The fullest mailbox, 0 to 1."""
    mailbox_oldest_age_seconds: float
    """The longest that any message now in a mailbox has been there."""
    busy_seconds_max: float
    """The longest that any handler now running has been running."""
    occupied: int
    """Actors that handle a message, or have mail."""

    @property
    def unhandled(self) -> int:
        """Messages that the class has no handler for."""
        return self.messages[MessageOutcome.UNHANDLED]


@final
@dataclass(frozen=True, slots=True)
class SystemStatistics:
    """All kinds of one actor system."""

    name: str
    """The system's name."""
    kinds: Mapping[str, KindStatistics]
    """By class name, sorted."""
    dead_letters: int
    """Messages that nobody handled to the end; the last of them are in `ActorSystem.dead_letters`."""


def freeze(counts: KindCounts, present: Present) -> KindStatistics:
    """Make the picture of one kind from its counters and its living actors."""
    return KindStatistics(
        kind=counts.kind,
        actors=present.actors,
        starts=counts.starts,
        stops=counts.stops.snapshot(),
        stop_timeouts=counts.stop_timeouts,
        messages={**counts.outcomes.snapshot(), MessageOutcome.HANDLED: counts.handled},
        asks=counts.asks,
        ask_timeouts=counts.ask_timeouts,
        late_replies=counts.late_replies,
        drops=counts.drops.snapshot(),
        dead_letters=counts.dead_letters.snapshot(),
        init_duration=counts.init_duration.snapshot(),
        message_duration=counts.message_duration.snapshot(),
        ask_duration=counts.ask_duration.snapshot(),
        mailbox_wait=counts.mailbox_wait.snapshot(),
        mailbox_messages=present.mailbox_messages,
        mailbox_fill_ratio_max=present.mailbox_fill_ratio_max,
        mailbox_oldest_age_seconds=present.mailbox_oldest_age_seconds,
        busy_seconds_max=present.busy_seconds_max,
        occupied=present.occupied,
    )
