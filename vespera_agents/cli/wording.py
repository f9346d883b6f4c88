"""Text for people: durations, counts and lines that cannot steer a terminal. Pure.

Neighbours: every command that prints; `work.plain` takes out what would steer a terminal.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from vespera_agents.work.plain import printable

__all__ = ["counted", "duration", "one_line", "shown_path"]

_MINUTE: Final = 60.0


def one_line(text: str) -> str:
    """Make one printable line of a text."""
    return " ".join(printable(text).split())


def duration(seconds: float | None) -> str:
    """Write a duration: tenths of a second below a minute, then minutes, then hours."""
    if seconds is None:
        return ""
    if seconds < _MINUTE:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def counted(counts: Mapping[str, int]) -> str:
    """Write counts by name: `3 completed, 1 failed`."""
    return ", ".join(f"{number} {name.replace('_', ' ')}" for name, number in counts.items()) or "no tasks"


def shown_path(path: Path) -> str:
    """Write a path as short as it is still right: relative to the current directory where it lies below it."""
    try:
        return str(path.relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)
