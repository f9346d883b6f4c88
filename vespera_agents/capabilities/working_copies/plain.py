"""A working copy without git: a bounded copy of the workspace beside a second one that stays as it was.

What is left out is what nobody works on (git's and our own directories, virtual environments, what is built or
fetched), links that lead out of the workspace, files that are too large, and whatever is no file. The result is a
patch; there is no branch. Neighbours: `patches` writes it; `worktrees` is the kind with git.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, Self, cast, final

import trio

from vespera_agents.capabilities.working_copies.patches import difference, paths_below, read_entry
from vespera_agents.capabilities.working_copies.places import Place, WorkingCopyError
from vespera_agents.capabilities.working_copies.working_copy import PATCH_BYTES_MAX, Commit, CopyKind, CopyLimits

__all__ = ["LEFT_OUT", "PlainCopy"]

LEFT_OUT: Final = frozenset(
    {
        *(".git", ".hg", ".svn", ".vespera"),
        *(".venv", "venv", ".tox", ".nox", "node_modules", ".direnv"),
        *("__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".hypothesis", ".gradle", ".cache"),
    }
)
"""Names of what is not copied, wherever it lies."""
_NAMED_MAX: Final = 20
"""Files that were left out and are named one by one."""


@final
class PlainCopy:
    """A copy, and what it was copied from as it was then."""

    def __init__(self, place: Place, record: Mapping[str, object]) -> None:
        """Know a copy that was made before.

        Args:
            place: where it lies.
            record: what `make` wrote.
        """
        self._place = place
        self._notes = tuple(map(str, cast("Sequence[object]", record["notes"])))

    @classmethod
    async def make(cls, place: Place, workspace: Path, limits: CopyLimits, why: str) -> Self:
        """Copy a workspace.

        Args:
            place: where the copy shall lie.
            workspace: what is copied.
            limits: how much at most.
            why: there is no git.

        Raises:
            WorkingCopyError: it is larger than the limits allow.
        """

        def copy() -> Mapping[str, object]:
            place.clear()
            before = place.state / "before"
            skipped = _copy(workspace, before, limits)
            shutil.copytree(before, place.files, symlinks=True)
            notes = (why, *_tell(skipped))
            record = {"kind": CopyKind.COPY, "notes": notes}
            place.keep_record(record)
            return record

        # Not abandoned when cancelled: the next one to open it would copy into the same place.
        return cls(place, await trio.to_thread.run_sync(copy))

    @property
    def directory(self) -> Path:
        """The copy."""
        return self._place.files

    @property
    def branch(self) -> None:
        """There is none without git."""
        return

    @property
    def kind(self) -> CopyKind:
        """A copy."""
        return CopyKind.COPY

    @property
    def notes(self) -> tuple[str, ...]:
        """Why there is no branch, and what was left out."""
        return self._notes

    async def diff(self) -> bytes:
        """Give everything that has changed since the copy was made, as a patch."""
        async with self._place.locked():
            try:
                return await trio.to_thread.run_sync(self._difference)
            except OSError as error:
                raise WorkingCopyError(f"{self._place.files}: {error}. Correct that, then try again.") from error

    async def commit(self, message: str) -> Commit | None:  # noqa: ARG002 - there is nothing to commit to
        """Commit nothing: there is no git."""
        await trio.lowlevel.checkpoint()
        return None

    async def remove(self) -> None:
        """Remove both copies."""
        async with self._place.locked():
            try:
                await trio.to_thread.run_sync(self._place.clear)
            except OSError as error:
                raise WorkingCopyError(f"{self._place.files} cannot be removed: {error}. Remove it.") from error

    def tree_detail(self) -> dict[str, str | int | float]:
        """Say what a tree shows of it."""
        return {"kind": str(self.kind)}

    def _difference(self) -> bytes:
        before = self._place.state / "before"
        pieces: list[bytes] = []
        size = 0
        for path in sorted({*paths_below(before, LEFT_OUT), *paths_below(self._place.files, LEFT_OUT)}):
            had, has = _status(before / path), _status(self._place.files / path)
            if had == has:
                continue
            size += max(one[1] if one is not None else 0 for one in (had, has))
            if size <= PATCH_BYTES_MAX:
                piece = difference(path, read_entry(before / path), read_entry(self._place.files / path))
                size += len(piece)
                pieces.append(piece)
            if size > PATCH_BYTES_MAX:
                raise WorkingCopyError(
                    f"the changes make a patch of more than {PATCH_BYTES_MAX} bytes, up to {path!r}. "
                    "Remove what was built there."
                )
        return b"".join(pieces)


def _copy(source: Path, target: Path, limits: CopyLimits) -> list[str]:
    """Copy what is worked on; give what was left out beyond the names that always are."""
    skipped: list[str] = []
    target.mkdir(mode=0o700, parents=True)
    files = size = 0
    for path in paths_below(source, LEFT_OUT):
        origin, copied = source / path, target / path
        if origin.is_symlink():
            if not _stays_inside(source, origin):
                skipped.append(f"{path} (a link that leads out)")
                continue
            taken = 0
        elif (taken := origin.stat().st_size) > limits.file_bytes_max:
            skipped.append(f"{path} (larger than {limits.file_bytes_max} bytes)")
            continue
        files, size = files + 1, size + taken
        if files > limits.files_max or size > limits.bytes_max:
            raise WorkingCopyError(
                f"{source} is more than is copied ({limits.files_max} files, {limits.bytes_max} bytes). "
                "Make it a git repository: a worktree has no limit."
            )
        copied.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copy2(origin, copied, follow_symlinks=False)
        except (FileNotFoundError, PermissionError) as error:
            skipped.append(f"{path} ({error.strerror})")
    return skipped


def _status(path: Path) -> tuple[int, int, int] | None:
    """Give what changes with a file: copying keeps the time of its last change."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    return status.st_mode, status.st_size, status.st_mtime_ns


def _stays_inside(top: Path, link: Path) -> bool:
    to = link.readlink()
    return not to.is_absolute() and Path(os.path.normpath(link.parent / to)).is_relative_to(top)


def _tell(skipped: Sequence[str]) -> Iterator[str]:
    if skipped:
        more = f" and {len(skipped) - _NAMED_MAX} more" if len(skipped) > _NAMED_MAX else ""
        yield f"Left out: {', '.join(skipped[:_NAMED_MAX])}{more}."
