"""The mailbox: its lanes and whoever waits at either end.

User mail lies in one lane in the order in which it came; messages of the types that a spec calls urgent lie in a second
one that is served first; what the runtime itself wants of an actor lies in the system lane, before both. It is a data
structure with two parking places, one for its actor and one for senders that wait for room. It knows no names, counts
nothing and raises nothing: `endpoint` turns what it reports into errors, dead letters and statistics.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, unique
from typing import Final, final

from trio.lowlevel import Abort, RaiseCancelT, Task, current_task, reschedule, wait_task_rescheduled

from vespera_agents.actors.asks import POSTED, QUEUED, Letter, PendingAsk, Tick
from vespera_agents.actors.errands import Errand


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


@final
@dataclass(frozen=True, slots=True)
class MailboxSpec:
    """How much mail an actor holds, and what happens beyond."""

    capacity: int
    """User messages it holds, at least 1; as many again of urgent ones. System mail has its own lane."""
    overflow: Overflow = Overflow.WAIT
    """What a full mailbox does."""
    urgent: tuple[type, ...] = ()
    """Messages of these types are handled before all others, in their own order; `tell` costs 0.3 us more for all."""

    def __post_init__(self) -> None:
        if self.capacity < 1:
            raise ValueError(f"A mailbox holds at least 1 message, not {self.capacity}: give a capacity of 1 or more.")


NO_MAIL: Final = deque[Letter](maxlen=0)
"""The lane of a mailbox that never had mail: most actors wait for their first message, and a deque is 760 bytes."""


@final
class WaitingLetter:
    """A letter that waits for room. A waiting sender is parked in `task`; a waiting ask parks itself for its answer."""

    __slots__ = ("letter", "task")

    def __init__(self, letter: Letter, task: Task | None) -> None:
        self.letter = letter
        """What is to go in."""
        self.task = task
        """Who is rescheduled when it has gone in."""


class Mailbox:
    """Bounded lanes, and letters that wait for room; one reader. `Endpoint` is the mailbox with a name on it."""

    __slots__ = (
        "alert", "capacity", "has_forgotten", "is_open", "limit", "overflow", "reader", "system", "urgent",
        "urgent_types", "user", "waiting",
    )  # fmt: skip

    def __init__(self, spec: MailboxSpec) -> None:
        self.capacity = spec.capacity
        """Room for user mail while open."""
        self.limit = 0
        """Below which length `user` may be appended to without a further question. 0 while closed, before the first
        message, and where some types are urgent, so that senders make one comparison for all of these."""
        self.is_open = False
        """Whether mail is accepted."""
        self.overflow = spec.overflow
        """The rule for a full lane."""
        self.user: deque[Letter] = NO_MAIL
        """User mail, oldest first."""
        self.urgent_types = spec.urgent
        """Whose messages go into the urgent lane."""
        self.urgent: deque[Letter] | None = None
        """Urgent user mail, oldest first; made with the first of it."""
        self.system: deque[Errand] | None = None
        """System mail; made with the first of it. It is the runtime's own and needs no limit: each kind is in it once
        per cause."""
        self.alert = False
        """Whether the reader must look beyond the user lane before it takes the next letter."""
        self.waiting: deque[WaitingLetter] | None = None
        """Letters that wait for room, oldest first; made with the first of them."""
        self.reader: Task | None = None
        """The actor, if it is parked; its `custom_sleep_data` is None once anything, also a cancellation, woke it."""
        self.has_forgotten = False
        """Whether a lane may hold asks whose callers have gone."""

    # Sending --------------------------------------------------------------------------------------------------------

    def put(self, letter: Letter) -> Letter | None:
        """Put mail in without waiting; return the letter that found no place: None, the given one, or the oldest."""
        if not self.is_open:
            return letter
        lane = self._lane_for(letter)
        lost = None
        if len(lane) >= self.capacity:
            lost = self._overflow(lane, letter)
            if lost is letter:
                return letter
        lane.append(letter)
        self.alert = self.alert or bool(self.urgent)
        self.wake()
        return lost

    def put_always(self, letter: Letter) -> None:
        """Put mail of the runtime into the user lane, also beyond its capacity: it comes once per cause."""
        self._lane_for(letter).append(letter)
        self.alert = self.alert or bool(self.urgent)
        self.wake()

    def put_back(self, letter: Letter) -> None:
        """Put a letter that was taken back in front of its lane."""
        self._lane_for(letter).appendleft(letter)
        self.alert = self.alert or bool(self.urgent)

    def put_when_room(self, letter: Letter) -> None:
        """Put an ask in as soon as there is room, behind those that wait already; the caller parks for the answer."""
        self._line().append(WaitingLetter(letter, None))

    async def wait_and_put(self, letter: Letter) -> bool:
        """Put mail in, waiting for room; False if the mailbox was closed. Cancelled: the letter was not put in."""
        task = current_task()
        entry = WaitingLetter(letter, task)
        line = self._line()
        line.append(entry)

        def leave(_raise_cancel: RaiseCancelT) -> Abort:
            line.remove(entry)
            return Abort.SUCCEEDED

        await wait_task_rescheduled(leave)
        return entry.task is None

    def forget(self, ask: PendingAsk) -> None:
        """Take note that the caller of a queued ask has gone: it leaves the waiting line, or is skipped when taken."""
        for entry in self.waiting or ():
            if entry.letter[2] is ask:
                self._line().remove(entry)
                return
        self.has_forgotten = True

    def order(self, errand: Errand) -> None:
        """Put system mail in; an errand that is in it already is not repeated."""
        if self.system is None:
            self.system = deque()
        if errand not in self.system:
            self.system.append(errand)
        self.alert = True
        self.wake()

    def countermand(self, errand: Errand) -> None:
        """Take system mail out again, if it is still there."""
        if self.system and errand in self.system:
            self.system.remove(errand)

    def wake(self) -> None:
        """Wake the reader, if it is parked."""
        reader = self.reader
        if reader is not None:
            # Forgotten before it is rescheduled: trio dies on a second reschedule of the same task.
            self.reader = None
            if reader.custom_sleep_data is not None:
                reschedule(reader)

    # Receiving ------------------------------------------------------------------------------------------------------

    def room_for(self, letter: Letter) -> bool:
        """Whether the letter's lane is below its capacity."""
        return len(self._lane_for(letter)) < self.capacity

    @property
    def depth(self) -> int:
        """User messages in it, urgent ones included."""
        return len(self.user) + (len(self.urgent) if self.urgent else 0)

    def admit(self) -> None:
        """Let waiting letters in, as far as there is room. The reader calls this after taking while any wait."""
        waiting = self.waiting
        while waiting and self.is_open:
            entry = waiting[0]
            lane = self._lane_for(entry.letter)
            if len(lane) >= self.capacity:
                return
            waiting.popleft()
            lane.append(entry.letter)
            self.alert = self.alert or bool(self.urgent)
            task, entry.task = entry.task, None
            if task is not None:
                reschedule(task)

    def next_urgent(self) -> Letter | None:
        """Take the oldest urgent letter, if there is one; once there is none, and no system mail, the alert is over."""
        if self.urgent:
            return self.urgent.popleft()
        self.alert = bool(self.system)
        return None

    def holds(self, letter: Letter) -> bool:
        """Whether this very letter is in it."""
        return any(each is letter for each in self.letters())

    def take_back(self, letter: Letter) -> None:
        """Take this very letter out again, if it is still in a lane."""
        for lane in (self.user, self.urgent or NO_MAIL):
            for index, each in enumerate(lane):
                if each is letter:
                    del lane[index]
                    # Nobody need be taking: a letter that waits for this room might wait for ever.
                    self.admit()
                    return

    def drop_ticks(self) -> None:
        """Take out what timers have put in: they have ended with their incarnation."""
        self._keep(lambda letter: type(letter) is not Tick)

    def letters(self) -> list[Letter]:
        """Return all user mail in it, in the order in which it would be taken, letters that wait for room last."""
        return [*(self.urgent or ()), *self.user, *(entry.letter for entry in self.waiting or ())]

    # Opening and closing --------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Accept mail, from now on."""
        self.is_open = True
        self.limit = 0 if self.user is NO_MAIL or self.urgent_types else self.capacity

    def close(self) -> list[Letter]:
        """Accept no more mail and return what was in it, waiting asks included. Waiting senders learn it by waking."""
        self.is_open = self.has_forgotten = self.alert = False
        self.limit = 0
        left = [*(self.urgent or ()), *self.user]
        self.user = NO_MAIL
        self.urgent = self.system = None
        waiting, self.waiting = self.waiting, None
        for entry in waiting or ():
            if entry.task is None:
                left.append(entry.letter)
            else:
                reschedule(entry.task)
        return left

    # Below ----------------------------------------------------------------------------------------------------------

    def _lane_for(self, letter: Letter) -> deque[Letter]:
        """Return the lane that a letter belongs into."""
        if self.urgent_types and isinstance(letter[0], self.urgent_types):
            if self.urgent is None:
                self.urgent = deque()
            return self.urgent
        if self.user is NO_MAIL:
            self.user = deque()
            if self.is_open and not self.urgent_types:
                self.limit = self.capacity
        return self.user

    def _line(self) -> deque[WaitingLetter]:
        if self.waiting is None:
            self.waiting = deque()
        return self.waiting

    def _overflow(self, lane: deque[Letter], letter: Letter) -> Letter | None:
        """Make room in a full lane by its rule; return what was lost: the given letter, the oldest, or nothing."""
        if self.has_forgotten:
            self._sweep()
            if len(lane) < self.capacity:
                return None
        return lane.popleft() if self.overflow is Overflow.DROP_OLDEST else letter

    def _sweep(self) -> None:
        """Make room by dropping asks whose callers have gone: they would only be skipped later."""
        self.has_forgotten = False
        self._keep(lambda letter: letter[2] is None or letter[2].state in {QUEUED, POSTED})

    def _keep(self, wanted: Callable[[Letter], bool]) -> None:
        for lane in (self.user, self.urgent or NO_MAIL):
            kept = [letter for letter in lane if wanted(letter)]
            if len(kept) < len(lane):
                lane.clear()
                lane.extend(kept)
        self.admit()
