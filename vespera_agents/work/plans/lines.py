"""The document as numbered lines, the limits on it, and the ledger that accounts for each line.

Lines are counted from 0 here and shown from 1. The ledger is what makes "nothing is dropped silently" checkable: each
line that is not blank ends as understood, kept or unplaced, and only once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, final

from vespera_agents.work.errors import PlanError

__all__ = ["LINE_CHARS_MAX", "PLAN_BYTES_MAX", "PLAN_LINES_MAX", "Ledger", "decode_plan", "split_lines"]

PLAN_BYTES_MAX: Final = 2_000_000
"""Bytes in a plan; a caller refuses a larger file by its size, without reading it."""
PLAN_LINES_MAX: Final = 20_000
"""Lines in a plan. The worst document measured (every line a bullet) needs 45 microseconds for each: under a second."""
LINE_CHARS_MAX: Final = 8_000
"""Characters in a line that is looked into; a longer one is listed as unplaced."""

# Not str.splitlines: that also splits at form feeds and Unicode separators, which editors do not count as lines.
_LINE_END = re.compile(r"\r\n|\n|\r")

_UNDERSTOOD, _KEPT, _UNPLACED = 1, 2, 3


def decode_plan(data: bytes, name: str) -> str:
    """Turn the bytes of a file into text.

    Raises:
        PlanError: too large, binary, or not UTF-8.
    """
    if len(data) > PLAN_BYTES_MAX:
        raise too_large(name, len(data))
    if b"\0" in data:
        raise PlanError(f"{name} is a binary file, not a plan. Give a Markdown file.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as broken:
        raise PlanError(
            f"{name} is not UTF-8 text (byte {broken.start}). Save it as UTF-8 Markdown and read it again."
        ) from broken


def split_lines(text: str, name: str) -> list[str]:
    """Split a text into lines without their ends.

    Raises:
        PlanError: too large, too many lines, empty, or binary.
    """
    if len(text) > PLAN_BYTES_MAX:
        raise too_large(name, len(text))
    if "\0" in text:
        raise PlanError(f"{name} holds NUL characters: it is binary, not a plan. Give a Markdown file.")
    text = text.removeprefix("\ufeff")
    if not text.strip():
        raise PlanError(f"{name} is empty. Write at least one phase or task heading into it.")
    lines = _LINE_END.split(text)
    if len(lines) > PLAN_LINES_MAX:
        raise PlanError(
            f"{name} has {len(lines):,} lines; a plan may have {PLAN_LINES_MAX:,}. Split it into several plans."
        )
    return lines


def too_large(name: str, size: int) -> PlanError:
    """Say that a plan is over the limit."""
    return PlanError(
        f"{name} has {size:,} bytes; a plan may have {PLAN_BYTES_MAX:,}. Split it into several plans, "
        "or check that this is the right file."
    )


@final
class Ledger:
    """Which lines are accounted for, and how."""

    __slots__ = ("_lines", "_state")

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines
        self._state = bytearray(len(lines))

    def is_free(self, line: int) -> bool:
        """Whether a line has something in it that nobody accounted for yet."""
        return not self._state[line] and bool(self._lines[line].strip())

    def free(self, lines: Iterable[int]) -> list[int]:
        """Give those of these lines that nobody accounted for yet."""
        return [line for line in lines if self.is_free(line)]

    def understand(self, lines: Iterable[int]) -> None:
        """These lines went into fields."""
        self._mark(lines, _UNDERSTOOD)

    def keep(self, lines: Iterable[int]) -> None:
        """These lines are kept as text."""
        self._mark(lines, _KEPT)

    def leave(self, lines: Iterable[int]) -> None:
        """These lines could not be placed."""
        self._mark(lines, _UNPLACED)

    def unplaced(self) -> list[int]:
        """Give the lines that could not be placed, those nobody looked at included."""
        return [
            line
            for line, state in enumerate(self._state)
            if state == _UNPLACED or (not state and self._lines[line].strip())
        ]

    def counts(self) -> tuple[int, int]:
        """Give how many lines were understood, and how many were kept."""
        return self._state.count(_UNDERSTOOD), self._state.count(_KEPT)

    def _mark(self, lines: Iterable[int], state: int) -> None:
        for line in lines:
            if self.is_free(line):
                self._state[line] = state
