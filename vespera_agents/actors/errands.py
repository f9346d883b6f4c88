"""Errands: what the runtime asks an actor to do between two messages. They lie in the mailbox's system lane.

The actor's own task does them, with the actor object, so that nobody else ever touches it. An errand that raises ends
the incarnation; an errand of another kind is a function beside its cause (`idling`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeAlias, final

from vespera_agents.actors.errors import LinkBroken

Errand: TypeAlias = Callable[[Any], Awaitable[None] | None]
"""It is given the actor object."""


@final
class Stop(BaseException):
    """Raised by the errand that ends an actor: it leaves the hot loop, and nobody who handles errors means it."""


class HasLinks(Protocol):
    """An actor, as one that it is linked with."""

    def on_link_broken(self, broken: LinkBroken) -> Awaitable[None] | None:
        """Hear that the other has crashed."""
        ...


def stop(_actor: object) -> None:
    """Be the errand that ends an actor."""
    raise Stop


def break_link(broken: LinkBroken, actor: HasLinks) -> Awaitable[None] | None:
    """Be, with its first argument given, the errand that tells an actor of a broken link."""
    return actor.on_link_broken(broken)
