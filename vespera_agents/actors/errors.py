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
    ├── ActorHung (TimeoutError)      a handler took longer than its class allows: the actor crashed with this
    ├── LinkBroken                    an actor that this one is linked to crashed, and so did this one
    ├── StashFull                     too much mail was put aside
    ├── InvalidTopic (TypeError)      an event bus was asked for something that is no class of events
    ├── PublishLoop                   events that publish events, without end
    ├── SubscriptionEnded             you closed it: nothing can be read from it any more
    ├── SubscriptionInUse             another task is waiting for its next event
    ├── LimitReached                  a bus or the groups hold as much as they may
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
            "It is not tried again by itself: ask once more only if that is safe."
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
class ActorHung(ActorError, TimeoutError):
    """A handler did not end within the actor's `handler_timeout_seconds`: it was cancelled, and the actor restarted."""

    def __init__(self, name: str, timeout_seconds: float) -> None:
        super().__init__(
            f"A handler of {name!r} took longer than {timeout_seconds:g} s and was cancelled. "
            "Find what it waits for, or raise the class's handler_timeout_seconds."
        )
        self.name = name
        """The actor."""
        self.timeout_seconds = timeout_seconds
        """How long a handler may take."""


@final
class LinkBroken(ActorError):
    """A linked actor crashed; raised in this one between two messages, so that both start anew."""

    def __init__(self, name: str, cause: BaseException) -> None:
        super().__init__(
            f"The linked actor {name!r} crashed with {type(cause).__name__}: {cause}. "
            "Override on_link_broken to go on without it."
        )
        self.name = name
        """The actor that crashed."""
        self.cause = cause
        """What it crashed with; also the `__cause__`."""
        self.__cause__ = cause


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
class StashFull(ActorError):
    """An actor put more messages aside than its mailbox may hold."""

    def __init__(self, name: str, capacity: int) -> None:
        super().__init__(
            f"{name!r} has put {capacity} messages aside, as many as its mailbox holds. "
            "Call unstash_all() when it is ready for them, or refuse what comes too early."
        )
        self.name = name
        """The actor."""
        self.capacity = capacity
        """How many messages it may put aside."""


class InvalidTopic(ActorError, TypeError):
    """A subscription was asked for with something that is no class of events."""

    def __init__(self, topic: object) -> None:
        super().__init__(
            f"{topic!r} is no topic. Subscribe to a class of events, a tuple or union of classes, or `object` for all; "
            "of a generic class, subscribe to the class without its parameters."
        )
        self.topic = topic
        """What was given."""


@final
class PublishLoop(ActorError):
    """Receivers that publish while they are told an event have kept one publish going for too long."""

    def __init__(self, event_type: type, limit: int) -> None:
        super().__init__(
            f"One publish has led to {limit} more from within receivers, the last of {event_type.__qualname__}. Let a "
            "receiver handle the event as a message later, instead of publishing while it is told."
        )
        self.event_type = event_type
        """The class of the event that was refused."""
        self.limit = limit
        """How many were let through."""


@final
class SubscriptionEnded(ActorError):
    """The subscription was cancelled, its block was left, or its bus was closed."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"The subscription {name!r} has not begun, or has ended. Read inside `with bus.subscribe(...) as events`, "
            "once for each call of subscribe; `async for` ends by itself."
        )
        self.name = name
        """The subscription."""


@final
class SubscriptionInUse(ActorError):
    """Two tasks wait for the next event of one subscription."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"Another task waits for the next event of {name!r}. Give each reader a subscription of its own, or share "
            "the work among actors."
        )
        self.name = name
        """The subscription."""


@final
class LimitReached(ActorError):
    """There are as many of something as the system was told to allow."""

    def __init__(self, what: str, limit: int, option: str) -> None:
        super().__init__(f"There are {limit} {what}, which is the limit. End some, or allow more with {option}.")
        self.what = what
        """What there is too much of."""
        self.limit = limit
        """How many are allowed."""
        self.option = option
        """The argument that says how many."""


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
