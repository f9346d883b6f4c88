"""What a check says: findings, or why it cannot look.

Not the checks: each of those is a module beside this one, and `catalogue` lists them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

__all__ = ["CannotCheck", "Finding"]


@final
@dataclass(frozen=True, slots=True)
class Finding:
    """One fault, where it is, and what to do about it."""

    path: str
    """The file, relative to the project's root."""
    line: int | None
    """From 1; None when the finding is about the whole file."""
    message: str
    """What is wrong; what to do."""

    def __str__(self) -> str:
        """Give it as compilers do, so that editors jump there."""
        place = self.path if self.line is None else f"{self.path}:{self.line}"
        return f"{place}: {self.message}"


@final
class CannotCheck(Exception):
    """There is nothing that this check could judge; the message says why and what to do."""
