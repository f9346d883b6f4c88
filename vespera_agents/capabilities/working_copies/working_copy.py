"""What a working copy is, whichever kind it is of.

Values and a protocol, no I/O. Neighbours: `worktrees` and `plain` are the two kinds, `opening` gives one; `tools`
works in one.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, Protocol, final

__all__ = ["PATCH_BYTES_MAX", "Commit", "CopyKind", "CopyLimits", "WorkingCopy"]

PATCH_BYTES_MAX: Final = 16 * 1024 * 1024
"""The largest patch that is given back."""


class CopyKind(StrEnum):
    """How a working copy came about."""

    WORKTREE = "worktree"
    """A git worktree on a branch of ours."""
    COPY = "copy"
    """A copy of the directory."""


@final
@dataclass(frozen=True, slots=True)
class CopyLimits:
    """How much is copied where there is no git."""

    files_max: int = 20_000
    bytes_max: int = 512 * 1024 * 1024
    file_bytes_max: int = 64 * 1024 * 1024
    """A larger file is left out."""


@final
@dataclass(frozen=True, slots=True)
class Commit:
    """What a commit came to."""

    id: str
    """Of the newest commit of the branch."""
    made: bool
    """False: nothing had changed since the one before."""


class WorkingCopy(Protocol):
    """Files that may be changed; what was changed comes out as a patch, and with git as a commit."""

    @property
    def directory(self) -> Path:
        """What stands for the workspace's own directory; with git perhaps a folder of the whole copy."""
        ...

    @property
    def branch(self) -> str | None:
        """The branch that `commit` moves; None where there is no git."""
        ...

    @property
    def kind(self) -> CopyKind:
        """How it came about."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What whoever uses the result should know: why there is no git, what was left out."""
        ...

    async def diff(self) -> bytes:
        """Give everything that has changed since the beginning, committed or not, as a patch that git applies.

        Raises:
            WorkingCopyError: it is larger than `PATCH_BYTES_MAX`, or a file cannot be read.
        """
        ...

    async def commit(self, message: str) -> Commit | None:
        """Commit everything to the branch; None where there is no git. Repeated, it commits nothing new.

        Raises:
            WorkingCopyError: git could not do it.
        """
        ...

    async def remove(self) -> None:
        """Remove the files; the branch with what was committed stays. Repeated, it does nothing.

        Raises:
            WorkingCopyError: they could not be removed.
        """
        ...

    def tree_detail(self) -> dict[str, str | int | float]:
        """Say what a tree shows of it."""
        ...
