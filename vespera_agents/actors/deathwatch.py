"""Death watch: being told once that an actor has ended and will not come back by itself.

`ActorRef.watch` makes a `Watch` that calls a function; an actor that watches another is told `ActorTerminated` as a
message instead. A restart tells nobody: the reference stays good across it.
Source: Akka, `ActorContext.watch` and `Terminated`, with the cause of a crash.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, final

_log = logging.getLogger(__name__)


@final
@dataclass(frozen=True, slots=True)
class ActorTerminated:
    """An actor has ended for good."""

    name: str
    """Its name; another actor may have it by now."""
    reason: str
    """Why, in a few words."""
    cause: BaseException | None
    """The error that ended it, if it was one; None also where it had ended before it was watched."""


class Owner(Protocol):
    """The incarnation that a watch ends with."""

    def own(self, belonging: Watch, /) -> None:
        """Cancel it with the incarnation."""
        ...

    def disown(self, belonging: Watch, /) -> None:
        """Let go of it, because it is over."""
        ...


@final
class Watch:
    """One interest in one actor's end; over once it has been told, or was withdrawn."""

    __slots__ = ("_owner", "_tell", "_watches")

    def __init__(self, tell: Callable[[ActorTerminated], None], watches: list[Watch] | None) -> None:
        self._tell: Callable[[ActorTerminated], None] | None = tell
        self._watches = watches
        self._owner: Owner | None = None

    @property
    def pending(self) -> bool:
        """Whether it is still waiting for that end."""
        return self._tell is not None

    def cancel(self) -> None:
        """Withdraw it: nothing will be told. Idempotent."""
        if self._tell is not None and self._watches is not None:
            self._watches.remove(self)
        self._tell = self._watches = None
        self._leave_owner()

    def belong_to(self, owner: Owner) -> None:
        """End with `owner`, unless it is over before; who watches many must not keep those that have ended."""
        if self.pending:
            self._owner = owner
            owner.own(self)

    def fire(self, terminated: ActorTerminated) -> None:
        """Tell, once, unless it was withdrawn; what is raised there is logged, and changes nothing for the others."""
        tell, self._tell, self._watches = self._tell, None, None
        self._leave_owner()
        if tell is not None:
            try:
                tell(terminated)
            except Exception:  # noqa: BLE001 - foreign code in the middle of an actor's end, which has to be finished.
                _log.exception("a watch of actor %r raised", terminated.name)

    def _leave_owner(self) -> None:
        owner, self._owner = self._owner, None
        if owner is not None:
            owner.disown(self)
