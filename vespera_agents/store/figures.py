"""What a store tells of itself in plain numbers. Neighbours: `store` counts, the health wing shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, final

from supervisors import Histogram

__all__ = ["BATCH_BOUNDS", "COMMIT_BOUNDS", "StoreStatistics"]

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
