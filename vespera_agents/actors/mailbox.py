"""The mailbox: two bounded lanes and whoever waits at either end.

It is a data structure with two parking places, one for its actor and one for senders that wait for room. It knows no
names, counts nothing and raises nothing: `endpoint` turns what it reports into errors, dead letters and statistics.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum, unique
from typing import final

from trio.lowlevel import Abort, RaiseCancelT, Task, current_task, reschedule, wait_task_rescheduled

from vespera_agents.actors.asks import QUEUED, Letter, PendingAsk


@unique
class Overflow(Enum):
    """What a full mailbox does with a sender that cannot wait. `await ref.send(...)` waits under every rule."""

    WAIT = "wait"
    """`ask` waits for room within its timeout; `tell`, which never waits, raises MailboxFull."""
    REJECT = "reject"
    """`tell` and `ask` raise MailboxFull."""
    DROP_OLDEST = "drop_oldest"
    """The oldest message becomes a dead letter, and if it was an ask, its caller gets MailboxFull."""
    DROP_NEWEST = "drop_newest"
    """The new message becomes a dead letter; `ask` raises MailboxFull, `tell` does not."""


@unique
class Signal(Enum):
    """System mail: served before any user mail."""

    STOP = "stop"
    """Finish the message in hand, run on_stop, end normally."""


@final
@dataclass(frozen=True, slots=True)
class MailboxSpec:
    """How much mail an actor holds, and what happens beyond."""

    capacity: int
    """User messages it holds, at least 1. System mail has its own lane."""
    overflow: Overflow = Overflow.WAIT
    """What a full mailbox does."""

    def __post_init__(self) -> None:
        if self.capacity < 1:
            raise ValueError(f"A mailbox holds at least 1 message, not {self.capacity}: give a capacity of 1 or more.")


@final
class WaitingLetter:
    """A letter that waits for room. A waiting sender is parked in `task`; a waiting ask parks itself for its answer."""

    __slots__ = ("letter", "task")

    def __init__(self, letter: Letter, task: Task | None) -> None:
        self.letter = letter
        """What is to go in."""
        self.task = task
        """Who is rescheduled when it has gone in."""


@final
class Mailbox:
    """Bounded user lane, system lane, waiting letters; one reader."""

    __slots__ = ("capacity", "has_forgotten", "limit", "overflow", "reader", "system", "user", "waiting")

    def __init__(self, spec: MailboxSpec) -> None:
        self.capacity = spec.capacity
        """Room for user mail while open."""
        self.limit = 0
        """Room for user mail now: 0 while closed, so that senders make one comparison for both cases."""
        self.overflow = spec.overflow
        """The rule for a full user lane."""
        self.user: deque[Letter] = deque()
        """User mail, oldest first."""
        self.system: deque[Signal] = deque()
        """System mail. Each signal is in it at most once, so it needs no other limit."""
        self.waiting: deque[WaitingLetter] = deque()
        """Letters that wait for room, oldest first. While there are any, the user lane is full."""
        self.reader: Task | None = None
        """The parked actor, if it is parked."""
        self.has_forgotten = False
        """Whether the user lane may hold asks whose callers have gone."""

    @property
    def is_open(self) -> bool:
        """Whether mail is accepted."""
        return self.limit > 0

    # Sending --------------------------------------------------------------------------------------------------------

    def put(self, letter: Letter) -> Letter | None:
        """Put mail in without waiting; return the letter that found no place: None, the given one, or the oldest."""
        user = self.user
        if len(user) >= self.limit:
            return self._overflow(letter)
        user.append(letter)
        reader = self.reader
        if reader is not None:
            # Forgotten before it is rescheduled: trio dies on a second reschedule of the same task.
            self.reader = None
            reschedule(reader)
        return None

    def put_when_room(self, letter: Letter) -> None:
        """Put an ask in as soon as there is room, behind those that wait already; the caller parks for the answer."""
        self.waiting.append(WaitingLetter(letter, None))

    async def wait_and_put(self, letter: Letter) -> bool:
        """Put mail in, waiting for room; False if the mailbox was closed. Cancelled: the letter was not put in."""
        task = current_task()
        entry = WaitingLetter(letter, task)
        self.waiting.append(entry)

        def leave(_raise_cancel: RaiseCancelT) -> Abort:
            self.waiting.remove(entry)
            return Abort.SUCCEEDED

        await wait_task_rescheduled(leave)
        return entry.task is None

    def forget(self, ask: PendingAsk) -> None:
        """Take note that the caller of a queued ask has gone: it leaves the waiting line, or is skipped when taken."""
        for entry in self.waiting:
            if entry.letter[2] is ask:
                self.waiting.remove(entry)
                return
        self.has_forgotten = True

    def signal(self, signal: Signal) -> None:
        """Put system mail in; a signal that is there already is not repeated."""
        if signal not in self.system:
            self.system.append(signal)
        reader = self.reader
        if reader is not None:
            self.reader = None
            reschedule(reader)

    # Receiving ------------------------------------------------------------------------------------------------------

    def admit(self) -> None:
        """Let waiting letters in, as far as there is room. The reader calls this after taking while any wait."""
        waiting = self.waiting
        while waiting and len(self.user) < self.limit:
            entry = waiting.popleft()
            self.user.append(entry.letter)
            task, entry.task = entry.task, None
            if task is not None:
                reschedule(task)

    async def wait_for_mail(self) -> None:
        """Park the reader until either lane has mail. A checkpoint; cancelled: nothing is lost."""
        self.reader = current_task()
        await wait_task_rescheduled(self._forget_reader)

    # Opening and closing --------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Accept mail, from now on."""
        self.limit = self.capacity
        self.has_forgotten = False

    def close(self) -> list[Letter]:
        """Accept no more mail and return what was in it, waiting asks included. Waiting senders learn it by waking."""
        self.limit = 0
        left = list(self.user)
        self.user.clear()
        self.system.clear()
        while self.waiting:
            entry = self.waiting.popleft()
            if entry.task is None:
                left.append(entry.letter)
            else:
                reschedule(entry.task)
        return left

    # Below ----------------------------------------------------------------------------------------------------------

    def _overflow(self, letter: Letter) -> Letter | None:
        if not self.limit:
            return letter
        user = self.user
        if self.has_forgotten:
            self._sweep()
            if len(user) < self.limit:
                user.append(letter)
                return None
        if self.overflow is not Overflow.DROP_OLDEST:
            return letter
        oldest = user.popleft()
        user.append(letter)
        return oldest

    def _sweep(self) -> None:
        """Make room by dropping asks whose callers have gone: they would only be skipped later."""
        self.has_forgotten = False
        live = [letter for letter in self.user if letter[2] is None or letter[2].state == QUEUED]
        self.user.clear()
        self.user.extend(live)
        self.admit()

    def _forget_reader(self, _raise_cancel: RaiseCancelT) -> Abort:
        self.reader = None
        return Abort.SUCCEEDED
