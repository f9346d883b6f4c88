"""What became of contexts in this process: plain counts by role, for metrics. Neighbours: `loop` counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

__all__ = ["ContextCounts", "ContextFigures"]


@final
@dataclass(frozen=True, slots=True)
class ContextCounts:
    """The counts of one role at one moment."""

    role: str
    compactions: int
    """Contexts that were made smaller."""
    failed: int
    """Contexts that were as full after it as before."""
    respawns: int
    """Specialists that were replaced because of a full context."""
    reclaimed_tokens: int
    """What that freed."""


@final
class ContextFigures:
    """Counts of all roles."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: dict[str, list[int]] = {}

    def compacted(self, role: str, reclaimed_tokens: int) -> None:
        """Count a context that was to be made smaller, and what that freed."""
        counts = self._of(role)
        counts[0 if reclaimed_tokens else 1] += 1
        counts[3] += reclaimed_tokens

    def respawned(self, role: str, reclaimed_tokens: int) -> None:
        """Count a specialist that was replaced, and what that freed."""
        counts = self._of(role)
        counts[2] += 1
        counts[3] += reclaimed_tokens

    def statistics(self) -> tuple[ContextCounts, ...]:
        """Give the counts as they are now."""
        return tuple(ContextCounts(role, *counts) for role, counts in self._counts.items())

    def _of(self, role: str) -> list[int]:
        return self._counts.setdefault(role, [0, 0, 0, 0])
