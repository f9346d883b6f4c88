"""What can go wrong between actors, as exceptions with typed fields.

    ActorError
    ├── InvalidReceiver (TypeError)   a class body is wrong: found when the class is created
    ├── NameTaken                     another living actor has this name
    ├── MailboxFull                   it is full: wait with `send`, or slow down
    ├── ActorStopped                  it is dead: it ended on purpose
    ├── ActorCrashed                  it broke: `cause` says how
    ├── AskTimeout (TimeoutError)     no answer in time; the request may still be carried out
    ├── AskCycle                      waiting would never end; `path` shows the circle
    ├── Unhandled                     the actor has no way to answer this message
    ├── SystemCrashed                 the system that was called from outside broke: `cause` says how
    ├── SystemUnresponsive (TimeoutError)  its thread did not do something in time; `standing` says where it is
    ├── TooManyCalls                  too much is on its way from outside: slow down
    ├── WrongThread (RuntimeError)    called in a thread that this is not for
    ├── AsyncioMissing (ImportError)  the optional dependency is not installed
    ├── AsyncioLoopEnded              the system's asyncio loop ended or broke: `cause` says how
    └── AsyncioTaskCancelled          asyncio code cancelled itself; nobody here asked for it

Cancellation of the caller is never turned into one of these, and the end of a callee never looks like cancellation.
"""

from __future__ import annotations

from typing import final


class ActorError(Exception):
    """The root of everything this package raises on purpose."""


@final
class InvalidReceiver(ActorError, TypeError):
    """A method marked with `@receives` is not a usable message handler."""


@final
class NameTaken(ActorError):
    """The name belongs to a living actor of the same system."""

    def __init__(self, name: str) -> None:
        super().__init__(f"An actor named {name!r} is alive. Choose another name, or find that one with whereis().")
        self.name = name
        """The name that was asked for."""


@final
class MailboxFull(ActorError):
    """The receiver's mailbox had no room and its overflow rule did not let this message in."""

    def __init__(self, name: str, capacity: int) -> None:
        super().__init__(
            f"The mailbox of {name!r} holds its limit of {capacity} messages. "
            "Use `await ref.send(...)` to wait for room, or give the actor a larger MailboxSpec."
        )
        self.name = name
        """The receiver."""
        self.capacity = capacity
        """How many messages its mailbox holds."""


@final
class ActorStopped(ActorError):
    """The receiver ended before it answered, or had ended already."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"The actor {name!r} has ended ({reason}). Find its successor with whereis().")
        self.name = name
        """The receiver."""
        self.reason = reason
        """Why it ended, in a few words."""


@final
class ActorCrashed(ActorError):
    """The receiver broke while it had the request, or with the request in its mailbox and no restart to come."""

    def __init__(self, name: str, cause: BaseException) -> None:
        super().__init__(
            f"The actor {name!r} crashed with {type(cause).__name__}: {cause}. "
            "The request is not retried: ask again only if it is safe to do it twice."
        )
        self.name = name
        """The receiver."""
        self.cause = cause
        """The exception that ended it; also the `__cause__`."""
        self.__cause__ = cause


@final
class AskTimeout(ActorError, TimeoutError):
    """No answer came within the ask's timeout. A request that had started goes on; its late reply is dropped."""

    def __init__(self, name: str, timeout_seconds: float) -> None:
        super().__init__(
            f"The actor {name!r} did not answer within {timeout_seconds:g} s. "
            "Look at its busy time and mailbox depth in ref.statistics(), or allow more time."
        )
        self.name = name
        """The receiver."""
        self.timeout_seconds = timeout_seconds
        """How long the caller was ready to wait."""


@final
class AskCycle(ActorError):
    """This ask, or this send to a full mailbox, would wait for its own sender to finish: that never happens."""

    def __init__(self, path: tuple[str, ...]) -> None:
        super().__init__(
            f"This would wait for ever: {' -> '.join(path)}. An actor handles one message at a time, also while it "
            "waits. Use tell for one step of the circle, or answer the first request before asking."
        )
        self.path = path
        """The names along the circle; the first is also the last."""


@final
class Unhandled(ActorError):
    """The receiver's class has no handler for a request of this type."""

    def __init__(self, name: str, kind: str, message_type: type) -> None:
        super().__init__(
            f"The actor {name!r} has no handler for {message_type.__qualname__}. Add a method to {kind}: "
            f"@receives, with one parameter annotated {message_type.__name__}."
        )
        self.name = name
        """The receiver."""
        self.message_type = message_type
        """The type of the message that nobody handles."""


@final
class SystemCrashed(ActorError):
    """A system that runs in a thread of its own broke; everybody outside who waits for it hears this."""

    def __init__(self, name: str, cause: BaseException) -> None:
        super().__init__(
            f"The system {name!r} crashed with {type(cause).__name__}: {cause}. Its thread has ended: leave the block "
            "that opened it, which raises that error, and open another."
        )
        self.name = name
        """The system."""
        self.cause = cause
        """The exception that ended it; also the `__cause__`."""
        self.__cause__ = cause


@final
class SystemUnresponsive(ActorError, TimeoutError):
    """The thread of a system did not do something in time."""

    def __init__(self, name: str, doing: str, seconds: float, standing: str) -> None:
        super().__init__(
            f"The system {name!r} did not {doing} within {seconds:g} s. Its thread stands at {standing}. "
            "Move blocking work out of handlers with trio.to_thread.run_sync, or allow more time."
        )
        self.name = name
        """The system."""
        self.doing = doing
        """What it should have done."""
        self.seconds = seconds
        """How long it was waited for."""
        self.standing = standing
        """The line of code that its thread was at."""


@final
class TooManyCalls(ActorError):
    """More calls from outside are under way than the limit that was given for them."""

    def __init__(self, name: str, limit: int) -> None:
        super().__init__(
            f"{limit} calls from outside are under way in the system {name!r}, its limit. Wait for some of them, or "
            "open it with a higher calls_max."
        )
        self.name = name
        """The system."""
        self.limit = limit
        """Its calls_max."""


@final
class WrongThread(ActorError, RuntimeError):
    """This object belongs to another thread, or is not for the one that calls."""


@final
class AsyncioMissing(ActorError, ImportError):
    """asyncio code was to be run, and the optional dependency for that is not installed."""

    def __init__(self) -> None:
        super().__init__(
            "Running asyncio code inside an actor system needs trio-asyncio: pip install 'vespera-agents[asyncio]'.",
            name="trio_asyncio",
        )


@final
class AsyncioLoopEnded(ActorError):
    """The asyncio loop of the system ended before the asyncio code did."""

    def __init__(self, name: str, cause: BaseException | None) -> None:
        why = "was closed" if cause is None else f"crashed with {type(cause).__name__}: {cause}"
        advice = "Its system has ended." if cause is None else "The next use opens a new one; what was begun is lost."
        super().__init__(f"The asyncio loop {name!r} {why}. {advice}")
        self.name = name
        """What the loop is called."""
        self.cause = cause
        """The error that ended it, if it was one; also the `__cause__`."""
        self.__cause__ = cause


@final
class AsyncioTaskCancelled(ActorError):
    """asyncio code ended as cancelled though nobody on this side cancelled it."""

    def __init__(self, function: str) -> None:
        super().__init__(
            f"The asyncio function {function} was cancelled from within asyncio. Catch asyncio.CancelledError where "
            "it cancels its own task, or return instead."
        )
        self.function = function
        """The function that was run."""
