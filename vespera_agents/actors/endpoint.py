"""One actor as the rest of the program reaches it: its mailbox, its name, and what becomes of mail that fails.

It is what stands behind an `ActorRef`, and outlives the actor's incarnations: `cell` lives behind it, `drain` takes its
mail. It runs no handlers and knows no actor classes. It is one object with the mailbox because a call in between would
cost `tell` a tenth of its speed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, final

from trio.lowlevel import Task, current_task

from supervisors.timekeeper import Alarm
from vespera_agents.actors.asks import ANSWERED, FAILED, FREE_MAX, POSTED, QUEUED, STARTED, Letter, PendingAsk, unusable
from vespera_agents.actors.errands import stop
from vespera_agents.actors.errors import ActorCrashed, AskTimeout, MailboxFull
from vespera_agents.actors.mailbox import MailboxSpec, Overflow
from vespera_agents.actors.messages import REQUESTS, Request
from vespera_agents.actors.parking import check, park, wake_with
from vespera_agents.actors.refs import ActorRef, Reply
from vespera_agents.actors.statistics import (
    ActorStatistics,
    DeadLetter,
    DeadLetterReason,
    DropReason,
    KindCounts,
    MailboxStatistics,
    MessageOutcome,
)
from vespera_agents.actors.ties import TiedMailbox
from vespera_agents.actors.waits import CALLERS, Branch, Party, refuse_cycle

if TYPE_CHECKING:
    from vespera_agents.actors.switchboard import Switchboard


@final
class Endpoint(TiedMailbox, ActorRef[Any]):
    """The address of one actor."""

    __slots__ = (
        "alarm", "branches", "busy_since", "clock", "counts", "current", "facts", "handled", "incarnation", "marked",
        "next_due", "retried", "saved", "switchboard", "task", "turns", "waiting_on", "woken_at",
    )  # fmt: skip

    def __init__(self, switchboard: Switchboard, name: str, counts: KindCounts, spec: MailboxSpec) -> None:
        TiedMailbox.__init__(self, spec, name)
        self.switchboard = switchboard
        """What it shares with the others of its system."""
        self.clock = switchboard.clock
        """Trio's clock, one attribute nearer."""
        self.counts = counts
        """The counters of its kind."""
        self.incarnation = 0
        """The number of the incarnation that may take mail: an older one that still runs is fenced off."""
        self.task: Task | None = None
        """The trio task of that incarnation."""
        self.current: Letter | None = None
        """What the handler has that is waiting for something."""
        self.busy_since: float | None = None
        """When the message in hand was begun; None while the actor waits for mail."""
        self.woken_at = 0.0
        """When the first message came into its empty mailbox, or a turn left some in it."""
        self.turns = 0
        """How often it took mail: one in eight is timed."""
        self.marked = 0
        """How many messages of those that were there at `woken_at` have not been taken."""
        self.retried: list[tuple[Letter, int]] | None = None
        """The messages in it that are being retried, and how often each was; made with the first of them."""
        self.handled = 0
        """Messages handled by all incarnations."""
        self.waiting_on: Party | None = None
        """Whose answer, or room in whose mailbox, its handler waits for."""
        self.branches: list[Branch] | None = None
        """The tasks that wait in its place, while its handler asks many at once."""
        self.alarm: Alarm | None = None
        """Rings when an ask is due; made with the first one."""
        self.next_due = math.inf
        """The earliest deadline armed for its asks."""
        self.saved: object = None
        """The snapshot that the next incarnation may start from."""
        self.facts: Callable[[], Mapping[str, str | int | float]] | None = None
        """The living actor's own `tree_detail`, if it has one."""

    # Mail that comes in ---------------------------------------------------------------------------------------------

    @property
    def kind(self) -> str:
        """The actor's class name."""
        return self.counts.kind

    @property
    def actor(self) -> Endpoint:
        """Itself: whoever waits here waits in nobody's place."""
        return self

    @property
    def load(self) -> int:
        """How much it has to do."""
        return self.depth + len(self.waiting or ()) + (self.busy_since is not None)

    @property
    def has_room(self) -> bool:
        """Whether a `tell` would find room now."""
        return self.is_open and len(self.user) < self.capacity

    def tell(self, message: object) -> None:
        """Put a message in without waiting."""
        lane = self.user
        depth = len(lane)
        if depth >= self.limit:
            self._tell_slowly((message, copy_context(), None))
            return
        lane.append((message, copy_context(), None))
        if not depth:
            self.first_came()

    async def send(self, message: object) -> None:
        """Put a message in, waiting for room."""
        lane = self.user
        depth = len(lane)
        if depth >= self.limit:
            await self._send_slowly((message, copy_context(), None))
            return
        lane.append((message, copy_context(), None))
        if not depth:
            self.first_came()

    async def ask(  # noqa: C901, PLR0912, PLR0915 - flat, because a call less is a twentieth of its speed
        self, request: Request[Reply], *, timeout_seconds: float = 5.0
    ) -> Reply:
        """Put a request in and wait for its answer."""
        if not isinstance(request, REQUESTS) or not timeout_seconds > 0.0:
            raise unusable(request, timeout_seconds)
        switchboard = self.switchboard
        task = current_task()
        caller = CALLERS.get(task)
        if caller is not None:
            if self.waiting_on is not None or self.branches is not None or caller.actor is self:
                refuse_cycle(caller, self)
            caller.waiting_on = self
        now = self.clock()
        free = switchboard.free_asks
        if free:
            ask = free.pop()
            ask.holder = self
            ask.caller = task
            ask.state = QUEUED
        else:
            ask = PendingAsk(self, task)
        ask.timeout_seconds = timeout_seconds
        ask.due = due = now + timeout_seconds
        counts = self.counts
        counts.asks = number = counts.asks + 1
        try:
            lane = self.user
            depth = len(lane)
            if depth < self.limit:
                lane.append((request, copy_context(), ask))
                if not depth:
                    # As `first_came`, with the time that is known already.
                    self.woken_at = now
                    self.marked = 1
                    reader = self.reader
                    if reader is not None:
                        self.reader = None
                        if reader.custom_sleep_data is not None:
                            wake_with(reader, None)
            else:
                self.ask_slowly((request, copy_context(), ask), ask)
            if due < self.next_due:
                self.arm(due)
            reply = await park(ask.trap)
        finally:
            if caller is not None:
                caller.waiting_on = None
        if ask.state == ANSWERED:
            # A sample: timing each would cost a tenth of the speed with many callers. Seven is in step with nothing.
            if number % 7 == 1:
                counts.ask_duration.observe(self.clock() - now)
            if len(free) < FREE_MAX:
                free.append(ask)
            else:
                ask.trap = None
            return reply
        # A trap and its ask know each other: a pair that nobody else knows would be garbage.
        ask.trap = None
        if ask.state == FAILED:
            raise ask.take_failure()
        try:
            check(reply)
        finally:
            del reply  # What was raised holds this frame: together they would be garbage.
        raise AssertionError("a parked ask was woken by nobody who may")

    def stop(self) -> None:
        """Let the actor end after the message in hand."""
        if self.is_open:
            self.order(stop)

    def tell_always(self, message: object) -> None:
        """Put mail of the runtime in, also into a full mailbox: it comes once per cause."""
        letter = (message, copy_context(), None)
        if self.is_open:
            self.put_always(letter)
        else:
            self.bury(letter, DeadLetterReason.STOPPED, self.end_reason)

    def deliver(self, letter: Letter) -> None:
        """Put in a letter of the runtime's own, as `tell` does, and with its errors."""
        self._tell_slowly(letter)

    def first_came(self) -> None:
        """Take note of the first message in an empty lane: only there can the actor be parked."""
        self.woken_at = self.clock()
        self.marked = 1
        reader = self.reader
        if reader is not None:
            self.reader = None
            if reader.custom_sleep_data is not None:
                # With a value: trio makes an Outcome where none is given, which costs as much as this call.
                wake_with(reader, None)

    def wake(self) -> None:
        """Wake the actor, if it waits for mail."""
        if len(self.user) <= 1:
            self.first_came()
        else:
            super().wake()

    def forget(self, ask: PendingAsk) -> None:
        """Take note that the caller of a queued ask has gone."""
        self.counts.outcomes.increment(MessageOutcome.WITHDRAWN)
        super().forget(ask)

    def _tell_slowly(self, letter: Letter) -> None:
        lost = self.put(letter)
        if lost is None:
            return
        if not self.is_open:
            self.bury(letter, DeadLetterReason.STOPPED, self.end_reason)
        elif lost is not letter:
            self._displaced(lost)
        elif self.overflow is Overflow.DROP_NEWEST:
            self.counts.drops.increment(DropReason.NEWEST)
            self.bury(letter, DeadLetterReason.DROPPED)
        else:
            self.counts.drops.increment(DropReason.REJECTED)
            raise self._full()

    async def _send_slowly(self, letter: Letter) -> None:
        if not self.is_open:
            raise self.stopped()
        # Nobody waits for the lane that has room, so nobody is overtaken: who waits, waits for the other one.
        if self.room_for(letter):
            self.put(letter)
            return
        caller = CALLERS.get(current_task())
        if caller is not None:
            refuse_cycle(caller, self)
            caller.waiting_on = self
        try:
            entered = await self.wait_and_put(letter)
        finally:
            if caller is not None:
                caller.waiting_on = None
        if not entered:
            raise self.stopped()

    def ask_slowly(self, letter: Letter, ask: PendingAsk) -> None:
        """Put a request in where `limit` says that there is a question: is it open, is there room, which lane."""
        lost = self.put(letter)
        if lost is None:
            return
        if self.is_open and lost is letter and self.overflow is Overflow.WAIT:
            self.put_when_room(letter)
        elif self.is_open and lost is not letter:
            self._displaced(lost)
        else:
            ask.trap = None
            if not self.is_open:
                raise self.stopped()
            newest = self.overflow is Overflow.DROP_NEWEST
            self.counts.drops.increment(DropReason.NEWEST if newest else DropReason.REJECTED)
            raise self._full()

    # Mail that fails ------------------------------------------------------------------------------------------------

    def bury(self, letter: Letter, reason: DeadLetterReason, cause: str = "") -> None:
        """Make a dead letter of a message that nobody will handle to its end."""
        self.switchboard.bury(DeadLetter(letter[0], self.name, self.counts.kind, reason, cause, self.clock()))

    def shut(self, reason: str, crash: BaseException | None) -> None:
        """Accept no more mail. What is in the mailbox fails: asks with ActorStopped or ActorCrashed, the rest dies.

        Args:
            reason: Why, in a few words; later senders read it.
            crash: The error that ended the actor, if it was one.
        """
        self.end_reason = reason
        for letter in self.close():
            ask = letter[2]
            if ask is None:
                self.bury(letter, DeadLetterReason.STOPPED, reason)
            else:
                ask.fail(self.stopped() if crash is None else ActorCrashed(self.name, crash))
        if self.alarm is not None:
            self.alarm.discard()
            self.alarm = None
            self.next_due = math.inf
        # Somebody may have made a link with it while it waited for a restart that does not come now.
        self.unlink(crash=crash)
        self.tell_watches(crash)

    # Its statistics -------------------------------------------------------------------------------------------------

    def statistics(self) -> ActorStatistics:
        """Return a picture of the actor as it is now."""
        now = self.clock()
        depth = self.depth
        return ActorStatistics(
            name=self.name,
            kind=self.counts.kind,
            state=self.state,
            incarnations=self.incarnation,
            handled=self.handled,
            busy_seconds=0.0 if self.busy_since is None else now - self.busy_since,
            mailbox=MailboxStatistics(
                depth=depth,
                capacity=self.capacity,
                waiting_senders=len(self.waiting or ()),
                oldest_age_seconds=now - self.woken_at if depth else 0.0,
            ),
        )

    def tree_detail(self) -> dict[str, str | int | float]:
        """Say what a supervision tree shows beside the actor: its mail, and what it says itself in `tree_detail`."""
        ours: dict[str, str | int | float] = {"kind": self.kind, "mailbox": self.depth, "handled": self.handled}
        return ours if self.facts is None else {**self.facts(), **ours}

    def __repr__(self) -> str:
        return f"<ActorRef {self.name!r} of {self.kind}, {self.state}>"

    # What it answers when it cannot ----------------------------------------------------------------------------------

    def _full(self) -> MailboxFull:
        return MailboxFull(self.name, self.capacity)

    def _displaced(self, oldest: Letter) -> None:
        self.counts.drops.increment(DropReason.OLDEST)
        ask = oldest[2]
        if ask is None:
            self.bury(oldest, DeadLetterReason.DROPPED)
        else:
            ask.fail(self._full())

    # Deadlines of asks ----------------------------------------------------------------------------------------------

    def arm(self, due: float) -> None:
        """See to it that what is due then fails then."""
        self.next_due = due
        if self.alarm is None:
            self.alarm = Alarm(self.switchboard.timekeeper, self._expire)
        self.alarm.set(due)

    def _expire(self) -> None:
        """Fail every ask that is due, and arm the next deadline: one scan for all of them, only when one is due."""
        now = self.clock()
        next_due = math.inf
        current = () if self.current is None else (self.current,)
        for _, _, ask in (*current, *self.letters(), *(self.stash or ())):
            if ask is None or ask.state > STARTED:
                continue
            if ask.due > now:
                next_due = min(next_due, ask.due)
                continue
            if ask.state in {QUEUED, POSTED}:
                self.forget(ask)
            ask.fail(AskTimeout(self.name, ask.timeout_seconds))
            self.counts.ask_timeouts += 1
        self.next_due = math.inf
        if next_due < math.inf:
            self.arm(next_due)

    # The end of an incarnation ---------------------------------------------------------------------------------------

    def leave(self, crash: BaseException | None) -> None:
        """End an incarnation."""
        self.busy_since = None
        self.facts = self.task = None
        self.end_ties(crash)
