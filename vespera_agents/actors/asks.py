"""One pending ask: the caller's side of a request, and the letter that carries mail.

The callee, the timekeeper, the end of an actor and the caller's cancellation may all want to finish the same ask.
The state decides: whoever moves it on first wins, everybody else finds it finished and does nothing, so the caller is
rescheduled exactly once. States are module constants, not an enum: they are read for every message.
"""

from __future__ import annotations

from typing import Any, Final, Protocol, TypeAlias, final

from trio.lowlevel import Abort, RaiseCancelT, Task, reschedule

from vespera_agents.actors.errors import ActorError

QUEUED: Final = 0
"""In a mailbox, or waiting for room in it: nobody has looked at it."""
STARTED: Final = 1
"""Its handler is running."""
ANSWERED: Final = 2
"""The reply is in `reply`."""
FAILED: Final = 3
"""The error is in `failure`."""
WITHDRAWN: Final = 4
"""The caller was cancelled: never started if it was QUEUED, its reply dropped if it was STARTED."""


class Holder(Protocol):
    """Where a queued ask lies: the mailbox."""

    def forget(self, ask: PendingAsk) -> None:
        """Learn that nobody waits for this queued ask any more."""
        ...


@final
class PendingAsk:
    """A request that waits for its answer, and the trio task that waits with it."""

    __slots__ = ("due", "failure", "holder", "reply", "sent_at", "state", "task", "timeout_seconds")

    def __init__(self, holder: Holder, task: Task, sent_at: float, timeout_seconds: float) -> None:
        self.holder = holder
        """The mailbox it was sent to."""
        self.task = task
        """The caller, parked until the state is past STARTED."""
        self.sent_at = sent_at
        """When it was sent, on trio's clock."""
        self.due = sent_at + timeout_seconds
        """When the caller gives up, on trio's clock."""
        self.timeout_seconds = timeout_seconds
        """How long it was ready to wait, for the error's text."""
        self.state = QUEUED
        """One of the five states above."""
        self.reply: Any = None
        """The answer. `dispatch` has proved that it fits the request's reply type, which no annotation here can say."""
        self.failure: ActorError | None = None
        """What the caller will raise."""

    def abort(self, _raise_cancel: RaiseCancelT) -> Abort:
        """Withdraw, because the caller is being cancelled; trio calls this."""
        state, self.state = self.state, WITHDRAWN
        if state == QUEUED:
            self.holder.forget(self)
        return Abort.SUCCEEDED

    def answer(self, reply: object) -> bool:
        """Give the caller its reply; False if the caller no longer waits (the reply is late)."""
        if self.state > STARTED:
            return False
        self.reply = reply
        self.state = ANSWERED
        reschedule(self.task)
        return True

    def fail(self, failure: ActorError) -> bool:
        """Let the caller raise `failure`; False if it no longer waits."""
        if self.state > STARTED:
            return False
        self.failure = failure
        state, self.state = self.state, FAILED
        if state == QUEUED:
            self.holder.forget(self)
        reschedule(self.task)
        return True

    def take_failure(self) -> ActorError:
        """Hand the error over; it is kept no longer, so that its traceback makes no reference cycle."""
        failure = self.failure
        assert failure is not None, "an ask that did not fail has no failure"
        self.failure = None
        return failure


Letter: TypeAlias = tuple[object, float, PendingAsk | None]
"""What lies in a mailbox: the message, when it was sent on trio's clock, and its ask. A bare tuple: 30 ns to build."""
