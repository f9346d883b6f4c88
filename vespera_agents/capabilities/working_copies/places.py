"""Where the working copies of a workspace lie, the locks on them, and the record by which one is opened again.

    .vespera/worktrees/NAME             the files
    .vespera/worktrees/.state/NAME/     what we need beside them: a record, and what they are compared with
    .vespera/worktrees/.state/NAME.lock held by whoever works on it

The record is written last and removed first: without one, whatever is there is half made and is made anew. The locks
are the kernel's; a git that outlives its worker keeps the one it was started under. Neighbours: `worktrees`, `plain`.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import stat
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast, final

import trio

__all__ = ["PART_PREFIX", "Place", "WorkingCopyError", "place_of"]

LOCK_TIMEOUT_SECONDS: Final = 60.0
"""How long a working copy is waited for that somebody else is at work on."""
_LOCK_POLL_SECONDS: Final = 0.02
PART_PREFIX: Final = ".vespera-part-"
"""Begins the name of a file that is being written; one that a kill left over is nobody's work."""
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
_RECORD_BYTES_MAX: Final = 1024 * 1024


@final
class WorkingCopyError(Exception):
    """A working copy cannot be had or used; the message says why and what to do."""


@final
@dataclass(frozen=True, slots=True)
class Place:
    """The paths of one working copy."""

    root: Path
    """`.vespera/worktrees` of the workspace."""
    name: str

    @property
    def files(self) -> Path:
        """The working copy itself."""
        return self.root / self.name

    @property
    def state(self) -> Path:
        """What we keep beside it."""
        return self.root / ".state" / self.name

    def record(self) -> Mapping[str, object] | None:
        """Read what it was made of; None while it is not, or only half."""
        try:
            with (self.state / "record.json").open("rb") as file:
                data: object = json.loads(file.read(_RECORD_BYTES_MAX))
        except (FileNotFoundError, ValueError):
            return None
        except OSError as error:
            raise WorkingCopyError(f"{self.state} cannot be read ({error.strerror}). Correct that.") from error
        return cast("dict[str, object]", data) if isinstance(data, dict) and self.files.is_dir() else None

    def keep_record(self, record: Mapping[str, object]) -> None:
        """Write what it was made of, all of it or nothing."""
        beside = self.state / "record.part"
        with beside.open("wb") as file:
            file.write(json.dumps(record).encode())
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self.state / "record.json")

    def clear(self) -> None:
        """Remove the files and what is kept beside them, the record first."""
        (self.state / "record.json").unlink(missing_ok=True)
        for directory in (self.files, self.state):
            if directory.is_symlink():
                directory.unlink()
            elif directory.exists():
                shutil.rmtree(directory, onerror=_make_removable)

    @asynccontextmanager
    async def locked(self) -> AsyncGenerator[int]:
        """Be alone with this working copy; give the descriptor that a process started meanwhile keeps.

        Raises:
            WorkingCopyError: somebody else was at work on it all the time.
        """
        async with _locked(self.state.with_name(f"{self.name}.lock"), self.name) as descriptor:
            yield descriptor

    @asynccontextmanager
    async def administration(self) -> AsyncGenerator[int]:
        """Be alone, among us, with the list of worktrees and with our branches.

        Raises:
            WorkingCopyError: somebody else was at work on them all the time.
        """
        async with _locked(self.state.with_name("administration.lock"), "the list of worktrees") as descriptor:
            yield descriptor


def place_of(dot: Path, name: str) -> Place:
    """Give the place of a working copy, and make the folders that hold it.

    Args:
        dot: `.vespera` of the workspace.
        name: of the working copy; a task's id.

    Raises:
        WorkingCopyError: the name cannot be one, or a link leads out of the workspace.
    """
    if _NAME.fullmatch(name) is None or name == "administration":
        raise WorkingCopyError(f"{name!r:.120} cannot name a working copy. Use letters, digits, - and _.")
    place = Place(dot / "worktrees", name)
    try:
        for folder in (place.root, place.state.parent):
            folder.mkdir(mode=0o700, exist_ok=True, parents=True)
            if folder.is_symlink():
                raise WorkingCopyError(f"{folder} is a symbolic link, which may lead anywhere. Remove it.")
    except OSError as error:
        raise WorkingCopyError(f"{place.root} cannot be made ({error.strerror}). Make room for it.") from error
    return place


@asynccontextmanager
async def _locked(path: Path, what: str) -> AsyncGenerator[int]:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, 0o600)
    except OSError as error:
        raise WorkingCopyError(f"{path} cannot be opened ({error.strerror}). Remove what is there.") from error
    try:
        give_up_at = trio.current_time() + LOCK_TIMEOUT_SECONDS
        while not _try_lock(descriptor):
            if trio.current_time() > give_up_at:
                raise WorkingCopyError(
                    f"somebody else has been at work on {what} for {LOCK_TIMEOUT_SECONDS:g} s. Try again later."
                )
            await trio.sleep(_LOCK_POLL_SECONDS)
        yield descriptor
    finally:
        # A process that was started under the lock has it until it ends, also after this.
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _make_removable(remove: Callable[[str], object], path: str, _: object) -> None:
    """Remove what could not be removed because a directory was made read-only."""
    parent = Path(path).parent
    parent.chmod(parent.stat().st_mode | stat.S_IRWXU)
    target = Path(path)
    if not target.is_symlink() and target.is_dir():
        target.chmod(target.stat().st_mode | stat.S_IRWXU)
    remove(path)
