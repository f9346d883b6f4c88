"""One actor as the rest of the program reaches it: its mailbox, its name, and what becomes of mail that fails.

It outlives the actor's incarnations. References send through it, the cell lives behind it. It runs no handlers and
knows no actor classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import cast, final

from trio.lowlevel import Task, checkpoint_if_cancelled, current_task

from vespera_agents.actors.asks import STARTED, Letter, PendingAsk
from vespera_agents.actors.deathwatch import ActorTerminated, Watch
from vespera_agents.actors.errors import ActorCrashed, ActorStopped, AskTimeout, MailboxFull
from vespera_agents.actors.mailbox import Mailbox, MailboxSpec, Overflow
from vespera_agents.actors.messages import Request
from vespera_agents.actors.statistics import (
    ActorState,
    ActorStatistics,
    DeadLetter,
    DeadLetterReason,
    DropReason,
    MailboxStatistics,
)
from vespera_agents.actors.switchboard import Switchboard
from vespera_agents.actors.waits import Party


@final
class Endpoint:
    """The address of one actor."""

    __slots__ = (
        "busy_since", "clock", "counts", "current", "end_reason", "facts", "handled", "incarnation", "mailbox",
        "name", "next_due", "party", "state", "switchboard", "watches",
    )  # fmt: skip

    def __init__(self, switchboard: Switchboard, name: str, kind: str, spec: MailboxSpec) -> None:
        self.switchboard = switchboard
        """What it shares with the others of its system."""
        self.clock = switchboard.clock
        """Trio's clock, one attribute nearer."""
        self.name = name
        """The actor's unique name."""
        self.counts = switchboard.counts_of(kind)
        """The counters of its kind."""
        self.mailbox = Mailbox(spec)
        """Its mail."""
        self.party = Party(name)
        """It as somebody who waits."""
        self.state = ActorState.STOPPED
        """Where the actor is in its life; the cell moves it."""
        self.incarnation = 0
        """The number of the incarnation that may take mail: an older one that still runs is fenced off."""
        self.current: PendingAsk | None = None
        """The ask whose handler is running."""
        self.busy_since: float | None = None
        """When the message in hand was begun; None while the actor waits for mail."""
        self.handled = 0
        """Messages handled by all incarnations."""
        self.next_due = math.inf
        """The earliest deadline armed for its asks."""
        self.end_reason = "it has not been started"
        """Why it takes no mail, while it does not."""
        self.watches: list[Watch] | None = None
        """Who is told of its end; made with the first of them."""
        self.facts: Callable[[], Mapping[str, str | int | float]] | None = None
        """The living actor's own `tree_detail`, if it has one."""

    # Mail that comes in ---------------------------------------------------------------------------------------------

    def tell(self, message: object) -> None:
        """Put a message in without waiting. See `ActorRef.tell`."""
        letter = (message, self.clock(), None)
        lost = self.mailbox.put(letter)
        if lost is not None:
            self._tell_overflowed(letter, lost)

    async def send(self, message: object) -> None:
        """Put a message in, waiting for room. See `ActorRef.send`."""
        await checkpoint_if_cancelled()
        mailbox = self.mailbox
        letter = (message, self.clock(), None)
        if len(mailbox.user) < mailbox.limit:
            mailbox.put(letter)
            return
        if not mailbox.is_open:
            raise self.stopped()
        caller = self.switchboard.waits.begin(current_task(), self.party)
        try:
            entered = await mailbox.wait_and_put(letter)
        finally:
            if caller is not None:
                caller.waiting_on = None
        if not entered:
            raise self.stopped()

    def submit(self, task: Task, request: object, timeout_seconds: float) -> PendingAsk:
        """Put a request in; its caller then parks until it is finished. See `ActorRef.ask`."""
        if not isinstance(request, Request):
            raise TypeError(
                f"{type(request).__qualname__} is not a Request, so it has no answer. Use tell, or derive it from "
                "Request[R] with the type of its answer."
            )
        if not timeout_seconds > 0.0:
            raise ValueError(f"An ask waits for more than 0 seconds, not {timeout_seconds}. Use math.inf for no limit.")
        self.counts.asks += 1
        now = self.clock()
        ask = PendingAsk(self.mailbox, task, now, timeout_seconds)
        letter: Letter = (cast("object", request), now, ask)
        lost = self.mailbox.put(letter)
        if lost is not None:
            self._ask_overflowed(letter, lost)
        if ask.due < self.next_due:
            self._arm(ask.due)
        return ask

    # Mail that fails ------------------------------------------------------------------------------------------------

    def bury(self, letter: Letter, reason: DeadLetterReason, cause: str = "") -> None:
        """Make a dead letter of a message that nobody will handle to its end."""
        self.switchboard.bury(DeadLetter(letter[0], self.name, self.counts.kind, reason, cause, self.clock()))

    def close(self, reason: str, crash: BaseException | None) -> None:
        """Accept no more mail. What is in the mailbox fails: asks with ActorStopped or ActorCrashed, the rest dies.

        Args:
            reason: Why, in a few words; later senders read it.
            crash: The error that ended the actor, if it was one.
        """
        self.end_reason = reason
        for letter in self.mailbox.close():
            ask = letter[2]
            if ask is None:
                self.bury(letter, DeadLetterReason.STOPPED, reason)
            else:
                ask.fail(self.stopped() if crash is None else ActorCrashed(self.name, crash))

        watches, self.watches = self.watches, None
        for watch in tuple(watches or ()):
            watch.fire(ActorTerminated(self.name, reason, crash))

    def watch(self, tell: Callable[[ActorTerminated], None]) -> Watch:
        """Have `tell` called once it has ended for good. See `ActorRef.watch`."""
        if self.state is ActorState.STOPPED:
            watch = Watch(tell, None)
            watch.fire(ActorTerminated(self.name, self.end_reason, None))
            return watch
        if self.watches is None:
            self.watches = []
        watch = Watch(tell, self.watches)
        self.watches.append(watch)
        return watch

    def stopped(self) -> ActorStopped:
        """Return the error for somebody who wants something of an actor that has ended."""
        return ActorStopped(self.name, self.end_reason)

    def _full(self) -> MailboxFull:
        return MailboxFull(self.name, self.mailbox.capacity)

    def _tell_overflowed(self, letter: Letter, lost: Letter) -> None:
        if not self.mailbox.is_open:
            self.bury(letter, DeadLetterReason.STOPPED, self.end_reason)
        elif lost is not letter:
            self._displaced(lost)
        elif self.mailbox.overflow is Overflow.DROP_NEWEST:
            self.counts.drops.increment(DropReason.NEWEST)
            self.bury(letter, DeadLetterReason.DROPPED)
        else:
            self.counts.drops.increment(DropReason.REJECTED)
            raise self._full()

    def _ask_overflowed(self, letter: Letter, lost: Letter) -> None:
        if not self.mailbox.is_open:
            raise self.stopped()
        overflow = self.mailbox.overflow
        if lost is not letter:
            self._displaced(lost)
        elif overflow is Overflow.WAIT:
            self.mailbox.put_when_room(letter)
        else:
            newest = overflow is Overflow.DROP_NEWEST
            self.counts.drops.increment(DropReason.NEWEST if newest else DropReason.REJECTED)
            raise self._full()

    def _displaced(self, oldest: Letter) -> None:
        self.counts.drops.increment(DropReason.OLDEST)
        ask = oldest[2]
        if ask is None:
            self.bury(oldest, DeadLetterReason.DROPPED)
        else:
            ask.fail(self._full())

    # Deadlines of asks ----------------------------------------------------------------------------------------------

    def _arm(self, due: float) -> None:
        self.next_due = due
        self.switchboard.timekeeper.at(due, self._expire)

    def _expire(self, now: float) -> None:
        """Fail every ask that is due, and arm the next deadline: one scan for all of them, only when one is due."""
        if now < self.next_due:
            return
        pending = [self.current, *(letter[2] for letter in self.mailbox.user)]
        pending.extend(entry.letter[2] for entry in self.mailbox.waiting)
        self.next_due = math.inf
        next_due = math.inf
        for ask in pending:
            if ask is None or ask.state > STARTED:
                continue
            if ask.due > now:
                next_due = min(next_due, ask.due)
            elif ask.fail(AskTimeout(self.name, ask.timeout_seconds)):
                self.counts.ask_timeouts += 1
        if next_due < math.inf:
            self._arm(next_due)

    # Statistics -----------------------------------------------------------------------------------------------------

    def statistics(self) -> ActorStatistics:
        """Return a picture of the actor as it is now."""
        now = self.clock()
        mailbox = self.mailbox
        return ActorStatistics(
            name=self.name,
            kind=self.counts.kind,
            state=self.state,
            incarnations=self.incarnation,
            handled=self.handled,
            busy_seconds=0.0 if self.busy_since is None else now - self.busy_since,
            mailbox=MailboxStatistics(
                depth=len(mailbox.user),
                capacity=mailbox.capacity,
                waiting_senders=len(mailbox.waiting),
                oldest_age_seconds=now - mailbox.user[0][1] if mailbox.user else 0.0,
            ),
        )
