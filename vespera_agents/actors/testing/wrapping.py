"""Something put around the handlers and hooks of an actor class, from outside: faults and the ledger are made so.

`wrapped` makes a subclass; the class that is wrapped knows nothing of it. What is around a handler decides when it is
called, and sees how it ends.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, Final, Protocol, TypeVar, cast, final

from vespera_agents.actors.actor import Actor

ActorT = TypeVar("ActorT", bound=Actor)
Step = Callable[[], object]
"""The rest of a sync handler."""
AsyncStep = Callable[[], Awaitable[object]]
"""The rest of an async handler, or of a hook."""

MARK: Final = "__vespera_receives__"
"""What `@receives` leaves on a method."""


class Around(Protocol):
    """What may be put around an actor."""

    def handler(self, actor: Actor, message: object, step: Step, /) -> object:
        """Carry out a sync handler."""
        ...

    async def async_handler(self, actor: Actor, message: object, step: AsyncStep, /) -> object:
        """Carry out an async handler."""
        ...

    async def on_start(self, actor: Actor, step: AsyncStep, /) -> object:
        """Carry out on_start."""
        ...

    async def on_stop(self, actor: Actor, step: AsyncStep, /) -> object:
        """Carry out on_stop."""
        ...


@final
class Inside:
    """One thing around another: what is outside sees what is inside as a part of the actor."""

    def __init__(self, outside: Around, inside: Around) -> None:
        self._outside = outside
        self._inside = inside

    def handler(self, actor: Actor, message: object, step: Step) -> object:
        """Carry out a sync handler."""
        return self._outside.handler(actor, message, lambda: self._inside.handler(actor, message, step))

    async def async_handler(self, actor: Actor, message: object, step: AsyncStep) -> object:
        """Carry out an async handler."""
        return await self._outside.async_handler(
            actor, message, lambda: self._inside.async_handler(actor, message, step)
        )

    async def on_start(self, actor: Actor, step: AsyncStep) -> object:
        """Carry out on_start."""
        return await self._outside.on_start(actor, lambda: self._inside.on_start(actor, step))

    async def on_stop(self, actor: Actor, step: AsyncStep) -> object:
        """Carry out on_stop."""
        return await self._outside.on_stop(actor, lambda: self._inside.on_stop(actor, step))


def wrapped(actor_class: type[ActorT], around_of: Callable[[Any], Around]) -> type[ActorT]:
    """Return a subclass of an actor class, of the same name, with something around its handlers and hooks.

    `around_of` says for each actor object what it is. One class so serves many actors: making one takes a third of a
    millisecond per handler, too much for each of the actors of thousands of runs.

    The types of its messages must be found from its module: a class that was made inside a function is refused where
    its messages were made there too.

    Raises:
        InvalidReceiver: The annotations of a handler cannot be read outside of the function that it was made in.
    """
    members: dict[str, object] = {
        "__doc__": actor_class.__doc__,
        "__module__": actor_class.__module__,
        "__qualname__": actor_class.__qualname__,
        "on_start": _hook(actor_class.on_start, lambda actor, step: around_of(actor).on_start(actor, step)),
        "on_stop": _hook(actor_class.on_stop, lambda actor, step: around_of(actor).on_stop(actor, step)),
    }
    for parent in actor_class.__mro__:
        for name, member in vars(parent).items():
            if hasattr(member, MARK) and name not in members:
                members[name] = _handler(cast("Callable[..., Any]", getattr(actor_class, name)), around_of)
    return cast("type[ActorT]", type(actor_class.__name__, (actor_class,), members))


def _handler(method: Callable[..., Any], around_of: Callable[[Any], Around]) -> object:
    if inspect.iscoroutinefunction(method):

        @wraps(method)
        async def handle_later(self: Actor, message: object) -> object:
            return await around_of(self).async_handler(self, message, lambda: method(self, message))

        return handle_later

    @wraps(method)
    def handle(self: Actor, message: object) -> object:
        return around_of(self).handler(self, message, lambda: method(self, message))

    return handle


def _hook(method: Callable[..., Awaitable[None]], around: Callable[[Actor, AsyncStep], Awaitable[object]]) -> object:
    @wraps(method)
    async def hook(self: Actor, *args: object) -> None:
        await around(self, lambda: method(self, *args))

    return hook
