"""What is known of one worker, from its activation to its death. Neighbours: `workers` has one, `vigil` watches it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, final

import trio

from vespera_agents.front.processes import FrontProcess

__all__ = ["LAST_SECONDS", "Life"]

LAST_SECONDS: Final = 0.1
"""How long the answers under way may take when the client has closed its end; without a front it is as much."""


@final
class Life:
    """One worker."""

    __slots__ = ("heard", "heir", "process", "replaced", "unheard", "wedged")

    def __init__(self, process: FrontProcess, *, heir: bool = False) -> None:
        """Begin with a process.

        Args:
            process: which one works.
            heir: whether it takes over because somebody asked for a restart.
        """
        self.process = process
        """The process that works."""
        self.heir = heir
        """Whether it takes over because somebody asked for a restart."""
        self.wedged = False
        """Whether it was killed because it did not answer."""
        self.replaced = False
        """Whether it was told to end, because another one takes over."""
        self.unheard = False
        """Whether it is not listened to, because the client does not read."""
        self.heard = trio.Event()
        """Set when it has said something."""

    async def say_last(self, awaited: Callable[[], bool], timeout_seconds: float) -> None:
        """Let it give the answers that are still awaited, within that time."""
        with trio.move_on_after(timeout_seconds):
            while awaited():
                self.heard = trio.Event()
                await self.heard.wait()

    async def end(self, timeout_seconds: float) -> None:
        """Tell it to end, and kill it if it has not within that time; 0 kills it at once."""
        if timeout_seconds:
            self.process.close()
            with trio.move_on_after(timeout_seconds):
                await self.process.ended.wait()
        self.process.kill()

    @property
    def ready(self) -> bool:
        """Whether it has become ready."""
        return self.process.became_ready.is_set()
