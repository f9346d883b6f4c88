"""Death watch: being told once that a child has ended and will not be restarted. `Supervisor.watch` makes a `Watch`.

A listener hears of every end and every restart; a watch answers the one question that those who depend on a child have.
Source: Akka, `ActorContext.watch` and `Terminated`, with the cause of a crash.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from supervisors.exits import Exit


@final
@dataclass(frozen=True, slots=True)
class Terminated:
    """A child has ended, and its supervisor will not restart it by itself."""

    child_id: str
    """Which child."""
    incarnation: int
    """The last life it had; 0 where it never had one."""
    exit: Exit | None
    """How that ended: for a crash with its failure; None where it never had one."""


@final
class Watch:
    """One interest in one child's end; over once it has been told, or was withdrawn."""

    __slots__ = ("_tell",)

    def __init__(self, tell: Callable[[Terminated], None]) -> None:
        self._tell: Callable[[Terminated], None] | None = tell

    @property
    def pending(self) -> bool:
        """Whether it is still waiting for that end."""
        return self._tell is not None

    def cancel(self) -> None:
        """Withdraw it: nothing will be told. Idempotent."""
        self._tell = None

    def fire(self, terminated: Terminated) -> None:
        """Tell, once, unless it was withdrawn; what the watcher raises is its supervisor's to survive."""
        tell, self._tell = self._tell, None
        if tell is not None:
            tell(terminated)
