"""What two counts of one loop mean: pure arithmetic, and the table for a reader."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum, unique
from typing import final

TOLERANCE = 0.02
"""How much more a message may cost than before; as much less is worth a word."""


@unique
class Verdict(StrEnum):
    """What became of a loop."""

    SAME = "same"
    """Within the tolerance."""
    SLOWER = "SLOWER"
    """Beyond it: this fails the check."""
    FASTER = "faster"
    """Beyond it in the other direction."""
    NEW = "new"
    """The base cannot run this loop."""


@final
@dataclass(frozen=True, slots=True)
class Compared:
    """One loop on both trees."""

    name: str
    """The loop."""
    base: float | None
    """Instructions of a message on the base; None if it cannot run the loop."""
    this: float
    """Instructions of a message on this tree."""
    base_seconds: float | None = None
    """What a message took on the base by the clock, uncounted."""
    this_seconds: float | None = None
    """What a message took on this tree by the clock, uncounted."""
    why_new: str = ""
    """What went wrong on the base."""

    @property
    def change(self) -> float | None:
        """How much more a message costs than on the base, 0.01 for 1 %."""
        return None if self.base is None else self.this / self.base - 1.0

    @property
    def verdict(self) -> Verdict:
        """What that means."""
        if self.base is None:
            return Verdict.NEW
        if self.this > self.base * (1.0 + TOLERANCE):
            return Verdict.SLOWER
        return Verdict.FASTER if self.this < self.base * (1.0 - TOLERANCE) else Verdict.SAME


def spread(counts: Sequence[float]) -> float:
    """Return how far counts of the same thing lie apart, relative to the smallest."""
    return (max(counts) - min(counts)) / min(counts)


def table(rows: Iterable[Compared]) -> str:
    """Write one line for each loop."""
    lines = [f"{'loop':12}{'base':>12}{'this':>12}{'change':>10}  {'verdict':8}{'by the clock, base and this':>30}"]
    for row in rows:
        base = "" if row.base is None else f"{row.base:,.0f}"
        change = "" if row.change is None else f"{row.change:+.2%}"
        times = f"{_microseconds(row.base_seconds)} {_microseconds(row.this_seconds)}"
        line = f"{row.name:12}{base:>12}{row.this:>12,.0f}{change:>10}  {row.verdict:8}{times:>30}"
        lines.append(line + (f"  {row.why_new}" if row.why_new else ""))
    return "\n".join(lines)


def _microseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1e6:.2f} us"
