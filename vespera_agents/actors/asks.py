"""One pending ask: the caller's side of a request, and the letter that carries mail.

The callee, the timekeeper, the end of an actor and the caller's cancellation may all want to finish the same ask.
The state decides: whoever moves it on first wins, everybody else finds it finished and does nothing, so the caller is
woken exactly once. States are module constants, not an enum: they are read for every message.
A caller is a parked trio task, which is rescheduled, or somebody in another thread, for whom a function is called. The
second kind has states of its own, so that the hot loop asks for it only where it did not find the first.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context
from typing import Any, Final, Protocol, TypeAlias, final

from trio.lowlevel import Abort, RaiseCancelT, reschedule

from vespera_agents.actors.errors import ActorError
from vespera_agents.actors.messages import Request
from vespera_agents.actors.parking import trap_of

POSTED: Final = -2
"""As QUEUED, for a caller outside."""
BEGUN: Final = -1
"""As STARTED, for a caller outside."""
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

    __slots__ = ("caller", "due", "failure", "holder", "state", "timeout_seconds", "trap", "wake")

    def __init__(self, holder: Holder, caller: Any, wake: Callable[[Any, Any], object] | None = None) -> None:
        self.holder = holder
        """The mailbox it was sent to."""
        self.caller: Any = caller
        """A trio task that is parked until the state is past STARTED; or anybody else, if there is a `wake`."""
        self.wake = wake
        """Called with the caller and the reply, once, when the state is past STARTED; with None if the ask failed."""
        self.due = 0.0
        """When the caller gives up, on trio's clock."""
        self.timeout_seconds = 0.0
        """How long it was ready to wait, for the error's text."""
        self.state = QUEUED
        """One of the states above. That of a caller outside is QUEUED on its way to its mailbox."""
        self.failure: ActorError | None = None
        """What the caller will raise."""
        self.trap: object = trap_of(self._abort) if wake is None else None
        """Where the caller parks, if it is a task."""

    def withdraw(self) -> None:
        """Let nobody wait for it any more, if it is that of a caller outside, and has come to its mailbox."""
        if self.state < QUEUED:
            self._withdraw()

    def _abort(self, _raise_cancel: RaiseCancelT) -> Abort:
        self._withdraw()
        return Abort.SUCCEEDED

    def _withdraw(self) -> None:
        state, self.state = self.state, WITHDRAWN
        if state in {QUEUED, POSTED}:
            self.holder.forget(self)

    def fail(self, failure: ActorError) -> bool:
        """Let the caller raise `failure`; False if it no longer waits."""
        if self.state > STARTED:
            return False
        self.failure = failure
        self.state = FAILED
        if self.wake is None:
            reschedule(self.caller)
        else:
            self.wake(self.caller, None)
        return True

    def begin(self) -> bool:
        """Let its handler run, if a caller outside waits for it."""
        if self.state != POSTED:
            return False
        self.state = BEGUN
        return True

    def answer(self, reply: object) -> bool:
        """Answer a caller outside; False if none waits. A task is rescheduled with its reply instead."""
        if self.state != BEGUN:
            return False
        self.state = ANSWERED
        assert self.wake is not None, "a caller outside is woken by a function"
        self.wake(self.caller, reply)
        return True

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
