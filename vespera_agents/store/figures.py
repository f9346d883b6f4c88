"""What a store tells of itself in plain numbers. Neighbours: `store` counts, the health wing shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, final

from outcome import Error, Outcome

from supervisors import Histogram
from vespera_agents.store.errors import StoreUnavailable

__all__ = ["BATCH_BOUNDS", "COMMIT_BOUNDS", "StoreFigures", "StoreStatistics"]

COMMIT_BOUNDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5)
"""Seconds of a commit."""
BATCH_BOUNDS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500)
"""Commands in a commit."""


@final
@dataclass(frozen=True, slots=True)
class StoreStatistics:
    """What a store did so far, in plain numbers."""

    queue_depth: int
    commits: int
    commands: int
    errors: Mapping[tuple[str, str], int]
    """By operation (commit, read) and reason (unavailable)."""
    commit_duration_seconds: Histogram
    commit_batch_size: Histogram


@final
class StoreFigures:
    """Counts what a store does."""

    def __init__(self) -> None:
        self._commits = 0
        self._commands = 0
        self._errors = {("commit", "unavailable"): 0, ("read", "unavailable"): 0}
        self._commit_duration = Histogram(COMMIT_BOUNDS)
        self._batch_size = Histogram(BATCH_BOUNDS)

    def committed(self, commands: int, seconds: float, outcome: Outcome[object]) -> None:
        """Count a commit, or the attempt at one, by what one of its commands came to."""
        self._commits += 1
        self._commands += commands
        self._commit_duration.observe(seconds)
        self._batch_size.observe(commands)
        if isinstance(outcome, Error) and isinstance(outcome.error, StoreUnavailable):
            self._errors["commit", "unavailable"] += 1

    def could_not_read(self) -> None:
        """Count a read that found the database unavailable."""
        self._errors["read", "unavailable"] += 1

    def statistics(self, queue_depth: int) -> StoreStatistics:
        """Give what was counted so far."""
        return StoreStatistics(
            queue_depth=queue_depth,
            commits=self._commits,
            commands=self._commands,
            errors=dict(self._errors),
            commit_duration_seconds=self._commit_duration,
            commit_batch_size=self._batch_size,
        )
