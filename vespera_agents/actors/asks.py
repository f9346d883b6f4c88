"""One pending ask: the caller's side of a request, and the letter that carries mail.

The callee, the timekeeper, the end of an actor and the caller's cancellation may all want to finish the same ask.
The state decides: whoever moves it on first wins, everybody else finds it finished and does nothing, so the caller is
woken exactly once. States are module constants, not an enum: they are read for every message.
A caller is a parked trio task, which is rescheduled, or somebody in another thread, for whom a function is called.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context
from typing import Any, Final, Protocol, TypeAlias, final

from trio.lowlevel import Abort, RaiseCancelT, Task, reschedule

from vespera_agents.actors.errors import ActorError
from vespera_agents.actors.messages import Request
from vespera_agents.actors.parking import trap_of

QUEUED: Final = 0
"""In a mailbox, or waiting for room in it, or put aside: no handler has it."""
STARTED: Final = 1
"""Its handler is running."""
ANSWERED: Final = 2
"""The caller was woken with the reply."""
FAILED: Final = 3
"""The error is in `failure`."""
WITHDRAWN: Final = 4
"""The caller was cancelled: never started if it was QUEUED, its reply dropped if it was STARTED."""

FREE_MAX: Final = 1000
"""Finished asks that are kept to be used again."""


class Holder(Protocol):
    """Where a queued ask lies: the mailbox."""

    def forget(self, ask: PendingAsk) -> None:
        """Learn that nobody waits for this queued ask any more."""
        ...


@final
class PendingAsk:
    """A request that waits for its answer, and who waits with it. That of a task is used again once it is ANSWERED."""

    __slots__ = ("due", "failure", "holder", "state", "task", "timeout_seconds", "trap", "waiter", "wake")

    def __init__(
        self,
        holder: Holder,
        task: Task | None,
        waiter: object = None,
        wake: Callable[[Any, Any], object] | None = None,
    ) -> None:
        self.holder = holder
        """The mailbox it was sent to."""
        self.task = task
        """The caller, parked until the state is past STARTED; None where it is no trio task."""
        self.waiter = waiter
        """The caller that is no trio task."""
        self.wake = wake
        """Called with that one and the reply, once, when the state is past STARTED; with None if the ask failed."""
        self.due = 0.0
        """When the caller gives up, on trio's clock."""
        self.timeout_seconds = 0.0
        """How long it was ready to wait, for the error's text."""
        self.state = QUEUED
        """One of the five states above."""
        self.failure: ActorError | None = None
        """What the caller will raise."""
        self.trap: object = None if task is None else trap_of(self._abort)
        """Where the caller parks, if it is a task."""

    def withdraw(self) -> None:
        """Let nobody wait for it any more, without a word to the waiter, which has gone."""
        if self.state <= STARTED:
            self._withdraw()

    def _abort(self, _raise_cancel: RaiseCancelT) -> Abort:
        self._withdraw()
        return Abort.SUCCEEDED

    def _withdraw(self) -> None:
        state, self.state = self.state, WITHDRAWN
        if state == QUEUED:
            self.holder.forget(self)

    def fail(self, failure: ActorError) -> bool:
        """Let the caller raise `failure`; False if it no longer waits."""
        if self.state > STARTED:
            return False
        self.failure = failure
        self.state = FAILED
        if self.task is not None:
            reschedule(self.task)
        else:
            self.answer(None)
        return True

    def answer(self, reply: object) -> None:
        """Wake a caller that is no trio task; a task is rescheduled with its reply instead."""
        wake = self.wake
        assert wake is not None, "who waits is a task, or is woken by a function"
        wake(self.waiter, reply)

    def take_failure(self) -> ActorError:
        """Hand the error over; it is kept no longer, so that its traceback makes no reference cycle."""
        failure = self.failure
        assert failure is not None, "an ask that did not fail has no failure"
        self.failure = None
        return failure


Letter: TypeAlias = tuple[object, Context, PendingAsk | None]
"""What lies in a mailbox: the message, its sender's context variables, and its ask. A bare tuple: 30 ns to build."""


@final
class Tick(tuple[object, Context, None]):
    """A letter of a timer. It ends with the incarnation that set the timer, whatever lane it lies in by then."""

    __slots__ = ()


def unusable(request: object, timeout_seconds: float) -> Exception:
    """Return the error for an ask that makes no sense."""
    if isinstance(request, Request):
        return ValueError(f"An ask waits for more than 0 seconds, not {timeout_seconds}. Use math.inf for no limit.")
    if isinstance(request, type):
        return TypeError(f"{request.__qualname__} is a class. Ask with an object of it: {request.__qualname__}(...).")
    return TypeError(
        f"{type(request).__qualname__} is not a Request, so it has no answer. Use tell, or derive it from "
        "Request[R] with the type of its answer."
    )
