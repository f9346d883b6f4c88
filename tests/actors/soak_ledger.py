"""The ledger of a soak: what senders were told of each message, what handlers saw of it, and whether all of it adds up.

Pure: no clock, no actors, no randomness. `soak_actors` writes into it, `soak` closes it. Three parties keep books, the
senders, the handlers and the actor system, and none of them may know of a message that another one does not know of.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum, auto, unique
from typing import Final, final

from vespera_agents.actors import (
    DeadLetterReason,
    DropReason,
    KindStatistics,
    MessageOutcome,
    Overflow,
    StopReason,
    SystemStatistics,
)

PROBLEMS_MAX: Final = 20
"""Of one sort; the rest is only counted."""


@unique
class Means(IntEnum):
    """How a message was sent."""

    TELL = auto()
    SEND = auto()
    ASK = auto()


@unique
class Back(IntEnum):
    """What its sender was told."""

    NOTHING_YET = 0
    """The call has not come back: never so in the end."""
    ACCEPTED = auto()
    ANSWERED = auto()
    FULL = auto()
    STOPPED = auto()
    CRASHED = auto()
    TIMEOUT = auto()
    UNHANDLED = auto()
    CYCLE = auto()
    CANCELLED = auto()


@unique
class Seen(IntEnum):
    """What its handler did."""

    NEVER = 0
    BEGUN = auto()
    """The handler has neither returned nor raised: never so in the end."""
    RETURNED = auto()
    RAISED = auto()
    CUT_OFF = auto()


Fate = tuple[Means, Back, Seen, DeadLetterReason | None]
_LETTERS: Final = {
    (Seen.RETURNED, None),
    (Seen.RAISED, DeadLetterReason.CRASHED),
    (Seen.CUT_OFF, DeadLetterReason.CANCELLED),
    (Seen.NEVER, DeadLetterReason.STOPPED),
    (Seen.NEVER, DeadLetterReason.DROPPED),
    (Seen.NEVER, DeadLetterReason.UNHANDLED),
}
_ENDS: Final = (Seen.NEVER, Seen.RETURNED, Seen.RAISED, Seen.CUT_OFF)
_ASKS: Final = {
    Back.ANSWERED: (Seen.RETURNED,),
    Back.CRASHED: (Seen.RAISED, Seen.NEVER),
    Back.STOPPED: (Seen.CUT_OFF, Seen.NEVER),
    Back.TIMEOUT: _ENDS,
    Back.CANCELLED: _ENDS,
    Back.FULL: (Seen.NEVER,),
    Back.UNHANDLED: (Seen.NEVER,),
    Back.CYCLE: (Seen.NEVER,),
}
POSSIBLE: Final[frozenset[Fate]] = frozenset(
    {(means, Back.ACCEPTED, *end) for means in (Means.TELL, Means.SEND) for end in _LETTERS}
    | {(Means.TELL, Back.FULL, Seen.NEVER, None)}
    | {(Means.SEND, back, Seen.NEVER, None) for back in (Back.STOPPED, Back.CANCELLED)}
    | {(Means.ASK, back, seen, None) for back, ends in _ASKS.items() for seen in ends}
)
"""Every way in which a message may end. All others are holes: lost, doubled, or told wrongly."""


@final
@dataclass(slots=True)
class KindBook:
    """What the actors of one kind did, apart from messages."""

    overflow: Overflow
    """The rule of their mailboxes."""
    starts: int = 0
    """Times that on_start came to its end."""
    failed_starts: int = 0
    """Times that on_start raised or was cut off."""
    failed_stops: int = 0
    """Times that on_stop raised, and no handler had before."""
    stop_timeouts: int = 0
    """Times that on_stop was cut off."""


@final
@dataclass(slots=True)
class Ledger:
    """One byte for each message in each column; the message's id is its row."""

    kinds: dict[str, KindBook]
    """By class name."""
    means: bytearray = field(default_factory=bytearray)
    back: bytearray = field(default_factory=bytearray)
    seen: bytearray = field(default_factory=bytearray)
    kind: bytearray = field(default_factory=bytearray)
    """The receiver's kind, as its place in `kinds`."""
    latest: dict[tuple[int, int], int] = field(default_factory=dict)
    """(sender, receiver) -> the last message of the one that the other saw."""
    problems: Counter[str] = field(default_factory=Counter)
    """What was wrong at once, by sort."""
    ended: int = 0
    """Actors whose final end was told to a watcher."""

    # While it runs --------------------------------------------------------------------------------------------------

    def issue(self, means: Means, kind: int) -> int:
        """Begin a row for a message that is about to be sent; return its id."""
        self.means.append(means)
        self.back.append(Back.NOTHING_YET)
        self.seen.append(Seen.NEVER)
        self.kind.append(kind)
        return len(self.means) - 1

    def came_back(self, number: int, back: Back) -> None:
        """Note what the sender was told; it is told once."""
        if self.back[number] != Back.NOTHING_YET:
            self.problems["a sender was told twice"] += 1
        self.back[number] = back

    def begin(self, number: int, sender: int, receiver: int) -> None:
        """Note that a handler has begun: the first time for this message, and after all earlier ones of its sender."""
        if self.seen[number] != Seen.NEVER:
            self.problems["a message was handled twice"] += 1
        self.seen[number] = Seen.BEGUN
        if self.latest.get((sender, receiver), -1) > number:
            self.problems["a later message of the same sender was handled first"] += 1
        self.latest[sender, receiver] = number

    def end(self, number: int, seen: Seen) -> None:
        """Note how the handler ended."""
        self.seen[number] = seen

    # In the end -----------------------------------------------------------------------------------------------------

    def fates(self, dead: Mapping[int, DeadLetterReason]) -> Iterator[tuple[int, Fate]]:
        """Go through all messages."""
        for number, (means, back, seen) in enumerate(zip(self.means, self.back, self.seen, strict=True)):
            yield number, (Means(means), Back(back), Seen(seen), dead.get(number))

    def discrepancies(
        self, statistics: SystemStatistics, letters: Iterable[tuple[int, DeadLetterReason]], *, watched: int
    ) -> list[str]:
        """Return everything that does not add up, after the system was closed.

        Args:
            statistics: What the system counted.
            letters: Every dead letter: its message's id, and the reason.
            watched: How many actors' final ends were watched.
        """
        found = [f"{sort}: {times} times" for sort, times in self.problems.items()]
        buried = list(letters)
        dead = dict(buried)
        if len(dead) != len(buried):
            found.append(f"{len(buried) - len(dead)} dead letters hold a message that another one holds as well")
        if statistics.dead_letters != len(buried):
            found.append(f"{statistics.dead_letters} dead letters were counted, and {len(buried)} are kept")
        if self.ended != watched:
            found.append(f"{self.ended} ends were told to watchers, of {watched} that were watched")
        found += self._impossible(dead)
        by_kind: dict[str, Counter[Fate]] = {name: Counter() for name in self.kinds}
        counters = list(by_kind.values())
        for number, fate in self.fates(dead):
            counters[self.kind[number]][fate] += 1
        for name, fates in by_kind.items():
            found += _compared(name, self.kinds[name], fates, statistics.kinds[name])
        return found

    def _impossible(self, dead: Mapping[int, DeadLetterReason]) -> list[str]:
        wrong = [(number, fate) for number, fate in self.fates(dead) if fate not in POSSIBLE]
        sorts = Counter(fate for _, fate in wrong)
        found = [f"{times} messages ended as none may: {_written(fate)}" for fate, times in sorts.items()]
        return [*found, *(f"  message {number}: {_written(fate)}" for number, fate in wrong[:PROBLEMS_MAX])]


def _written(fate: Fate) -> str:
    means, back, seen, reason = fate
    return f"{means.name}, its sender heard {back.name}, its handler {seen.name}, dead letter {reason}"


def _compared(name: str, book: KindBook, fates: Counter[Fate], counted: KindStatistics) -> list[str]:
    """Compare one kind's books with what the system counted of it."""

    def total(
        *, means: Means | None = None, back: Back | None = None, seen: Seen | None = None,
        dead: DeadLetterReason | None = None,
    ) -> int:  # fmt: skip
        wanted = (means, back, seen, dead)
        return sum(
            times
            for fate, times in fates.items()
            if all(want is None or want is has for want, has in zip(wanted, fate, strict=True))
        )

    full = total(back=Back.FULL)
    dropped = total(dead=DeadLetterReason.DROPPED)
    gone = total(back=Back.TIMEOUT, seen=Seen.NEVER) + total(means=Means.ASK, back=Back.CANCELLED, seen=Seen.NEVER)
    unanswered = total(means=Means.ASK, seen=Seen.RETURNED) - total(back=Back.ANSWERED)
    expected: dict[str, tuple[int, int]] = {
        "handled": (total(seen=Seen.RETURNED), counted.messages[MessageOutcome.HANDLED]),
        "crashed": (total(seen=Seen.RAISED), counted.messages[MessageOutcome.CRASHED]),
        "cut off": (total(seen=Seen.CUT_OFF), counted.messages[MessageOutcome.CANCELLED]),
        "unhandled": (
            total(dead=DeadLetterReason.UNHANDLED) + total(back=Back.UNHANDLED),
            counted.messages[MessageOutcome.UNHANDLED],
        ),
        "asks": (total(means=Means.ASK) - total(back=Back.CYCLE), counted.asks),
        "timeouts": (total(back=Back.TIMEOUT), counted.ask_timeouts),
        "late replies": (unanswered, counted.late_replies),
        "dropped as the oldest": (
            full + dropped if book.overflow is Overflow.DROP_OLDEST else 0,
            counted.drops[DropReason.OLDEST],
        ),
        "dropped as the newest": (
            full + dropped if book.overflow is Overflow.DROP_NEWEST else 0,
            counted.drops[DropReason.NEWEST],
        ),
        "rejected": (
            full if book.overflow in {Overflow.WAIT, Overflow.REJECT} else 0,
            counted.drops[DropReason.REJECTED],
        ),
        "starts": (book.starts, counted.starts),
        "failed starts": (book.failed_starts, counted.stops[StopReason.START_FAILED]),
        "stop timeouts": (book.stop_timeouts, counted.stop_timeouts),
        "crashes": (total(seen=Seen.RAISED) + book.failed_stops, counted.stops[StopReason.CRASHED]),
        "ends": (book.starts + book.failed_starts, sum(counted.stops.values())),
        "mail left": (0, counted.mailbox_messages),
        **{
            f"dead letters ({reason})": (total(dead=reason), counted.dead_letters[reason])
            for reason in DeadLetterReason
        },
    }
    found = [
        f"{name}, {what}: {ours} by senders and handlers, {theirs} by the system"
        for what, (ours, theirs) in expected.items()
        if ours != theirs
    ]
    if counted.messages[MessageOutcome.WITHDRAWN] > gone:
        found.append(f"{name}: {counted.messages[MessageOutcome.WITHDRAWN]} withdrawn, of {gone} whose caller had gone")
    return found
