"""Text for people: durations, counts and lines that cannot steer a terminal. Pure.

Output of commands and titles of plans come from anywhere; before they are shown, escape sequences and control
characters are taken out of them. Neighbours: every command that prints.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

__all__ = ["counted", "duration", "one_line", "printable", "shown_path"]

_MINUTE: Final = 60.0
_ESCAPES: Final = re.compile(
    r"\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?"  # OSC: titles and links
    r"|\x1b[PX^_].*?(?:\x1b\\|$)"  # DCS and its kin
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    r"|\x1b[ -/]*[0-~]?"
)
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Control characters but tab and newline, and those that turn the direction of writing."""


def printable(text: str) -> str:
    """Take out everything that would steer a terminal; newlines and tabs stay."""
    return _CONTROLS.sub("", _ESCAPES.sub("", text.replace("\r\n", "\n")))


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
