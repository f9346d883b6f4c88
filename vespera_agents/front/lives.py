"""What is known of one worker, from its activation to its death. Neighbours: `workers` has one, `vigil` watches it."""

from __future__ import annotations

from typing import final

from vespera_agents.front.processes import FrontProcess

__all__ = ["Life"]


@final
class Life:
    """One worker."""

    __slots__ = ("heir", "process", "replaced", "unheard", "wedged")

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

    @property
    def ready(self) -> bool:
        """Whether it has become ready."""
        return self.process.became_ready.is_set()
