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
    ├── HandlerTimeout (TimeoutError) a handler took longer than its class allows: the actor crashed with this
    ├── LinkBroken                    an actor that this one is linked to crashed, and so did this one
    └── StashFull                     too much mail was put aside

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
class HandlerTimeout(ActorError, TimeoutError):
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
