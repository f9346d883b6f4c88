"""Where a server is in its life, and how long it took to come after another: `LifecycleFigures`, fed by `serving`.

Only what this process knows of itself; the generations before it and their restarts are rows (`backlog`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import final

from vespera_agents.health.metrics.labels import RuntimePhase

__all__ = ["LifecycleFigures"]


def _never() -> float | None:
    return None


@final
class LifecycleFigures:
    """The life of one server process."""

    __slots__ = ("_predecessor_ended", "is_ending", "served_at")

    def __init__(self) -> None:
        """Not serve yet."""
        self.served_at: float | None = None
        """Since when clients are served, in seconds since the epoch."""
        self.is_ending = False
        """Whether the client has gone, or somebody asked us to end."""
        self._predecessor_ended = _never

    def serves(self, at: float, predecessor_ended: Callable[[], float | None] = _never) -> None:
        """Take note that clients are served.

        Args:
            at: since when, in seconds since the epoch.
            predecessor_ended: when the worker before this one died, as far as that is known by now.
        """
        self.served_at = at
        self._predecessor_ended = predecessor_ended

    def phase(self, *, draining: bool, prepared: bool) -> RuntimePhase:
        """Say what the server does as a whole.

        Args:
            draining: whether another process is about to take over.
            prepared: whether a shutdown is prepared.
        """
        if self.is_ending:
            return RuntimePhase.STOPPING
        if self.served_at is None:
            return RuntimePhase.STARTING
        if draining:
            return RuntimePhase.DRAINING
        return RuntimePhase.PREPARED if prepared else RuntimePhase.RUNNING

    @property
    def recovery_seconds(self) -> float | None:
        """From the death of the worker before this one to our serving; None where none died, or we do not serve."""
        ended = self._predecessor_ended()
        if self.served_at is None or ended is None:
            return None
        # The wall clock, which the front shares, may be set back in between.
        return max(0.0, self.served_at - ended)
