"""Artifacts as files: named by the sha256 of their bytes, durable before any row names them.

A file is written under a temporary name, synced, renamed, and its directory synced; a crash at any moment leaves
either nothing or the whole file. The same bytes are kept once. Rows are the store's business; a file that no row
names is harmless, and `strays` finds and removes it. Neighbours: `commands.claims.NewArtifact` is the row to be.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import secrets
from pathlib import Path
from typing import BinaryIO, Final, final

import trio

from vespera_agents.store.errors import ArtifactMissing, StoreUnavailable
from vespera_agents.work.errors import InvalidInput
from vespera_agents.workspace.opening import open_inside

__all__ = ["ARTIFACT_BYTES_MAX", "INCOMING", "ArtifactFiles", "ArtifactWriter"]

ARTIFACT_BYTES_MAX: Final = 64 * 1024 * 1024
"""Bytes in one artifact."""
INCOMING: Final = "incoming-"
"""How the names of files begin that are on their way; each is locked as long as its writer lives."""


@final
class ArtifactFiles:
    """The directory of artifact files of one workspace."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    @property
    def directory(self) -> Path:
        """Where they lie."""
        return self._directory

    def path(self, sha256: str) -> Path:
        """Name the file of a content hash."""
        return self._directory / sha256[:2] / sha256

    async def save(self, data: bytes) -> str:
        """Make bytes durable and give their sha256.

        Raises:
            InvalidInput: it is larger than ARTIFACT_BYTES_MAX.
            StoreUnavailable: the disk is full or cannot be written.
        """
        with self.writer() as writer:
            writer.write(data)
            return (await writer.finish())[0]

    def keep(self, data: bytes) -> str:
        """Do what `save` does, in a thread that may wait for the disk."""
        with self.writer() as writer:
            writer.write(data)
            return writer.settle()

    def writer(self) -> ArtifactWriter:
        """Begin an artifact that arrives in pieces."""
        return ArtifactWriter(self._directory)

    async def read(self, sha256: str, offset: int = 0, limit: int = ARTIFACT_BYTES_MAX) -> bytes:
        """Read a part of an artifact.

        Raises:
            ArtifactMissing: the file is gone, or, where all of it is read, damaged.
        """
        return await trio.to_thread.run_sync(self.load, sha256, offset, limit)

    def load(self, sha256: str, offset: int = 0, limit: int = ARTIFACT_BYTES_MAX) -> bytes:
        """Do what `read` does, in a thread that may wait for the disk."""
        try:
            with open_inside(self._directory, self.path(sha256)) as file:
                file.seek(offset)
                data = file.read(limit)
                whole = offset == 0 and file.read(1) == b""
        except OSError as error:
            raise ArtifactMissing(
                f"the bytes of artifact {sha256} cannot be read ({error.strerror}). They were removed by hand; "
                "run the task again to make them anew."
            ) from error
        if whole and hashlib.sha256(data).hexdigest() != sha256:
            raise ArtifactMissing(
                f"the bytes of artifact {sha256} are not what they were. The file {self.path(sha256)} was changed or "
                "damaged; remove it and run the task again."
            )
        return data


@final
class ArtifactWriter:
    """One artifact on its way to the disk. Use as a context manager: what is not finished leaves nothing behind."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._path = directory / f"{INCOMING}{secrets.token_hex(8)}"
        self._hash = hashlib.sha256()
        self._size = 0
        self._failure: OSError | None = None
        self._file: BinaryIO | None = None

    def __enter__(self) -> ArtifactWriter:
        try:
            self._file = self._open()
        except OSError as error:
            raise _unavailable(error) from error
        # A command may say nothing for hours: its file is old then, and yet nobody's to remove.
        with contextlib.suppress(OSError):
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return self

    def _open(self) -> BinaryIO:
        try:
            return self._path.open("xb")
        except FileNotFoundError:
            # Somebody removed the folder of artifacts, but not the one that holds it: that would be another workspace.
            self._directory.mkdir(mode=0o700)
            return self._path.open("xb")

    def __exit__(self, *_: object) -> None:
        self._close()
        self._path.unlink(missing_ok=True)

    @property
    def size(self) -> int:
        """Bytes it was given so far."""
        return self._size

    def write(self, data: bytes) -> None:
        """Append a piece. Never raises: what went wrong, or grew too large, is raised by `finish`."""
        assert self._file is not None, "write() belongs inside the with block"
        self._size += len(data)
        if self._failure is not None or self._size > ARTIFACT_BYTES_MAX:
            return
        try:
            self._file.write(data)
        except OSError as error:
            self._failure = error
            return
        self._hash.update(data)

    async def finish(self) -> tuple[str, int]:
        """Make it durable; give its sha256 and size in bytes.

        Raises:
            InvalidInput: it is larger than ARTIFACT_BYTES_MAX.
            StoreUnavailable: the disk is full or cannot be written.
        """
        return await trio.to_thread.run_sync(self.settle), self._size

    def settle(self) -> str:
        """Do what `finish` does, in a thread that may wait for the disk."""
        assert self._file is not None, "finish() belongs inside the with block"
        if self._size > ARTIFACT_BYTES_MAX:
            raise InvalidInput(
                f"{self._size} bytes are more than an artifact may hold ({ARTIFACT_BYTES_MAX})",
                "Keep a part of it, or several artifacts.",
            )
        digest = self._hash.hexdigest()
        target = self._directory / digest[:2] / digest
        try:
            if self._failure is not None:
                raise self._failure
            self._file.flush()
            # The time by which `strays` tells what somebody is about to name in a row.
            os.utime(self._file.fileno())
            os.fsync(self._file.fileno())
            self._close()
            if not target.parent.exists():
                target.parent.mkdir(exist_ok=True)
                _sync_directory(self._directory)
            _move_into(self._path, target)
        except OSError as error:
            raise _unavailable(error) from error
        return digest

    def _close(self) -> None:
        if self._file is not None and not self._file.closed:
            try:
                self._file.close()
            except OSError as error:
                self._failure = self._failure or error


def _move_into(path: Path, target: Path) -> None:
    """Give a file its name in a directory that is one itself: a link would lead our bytes anywhere."""
    descriptor = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.replace(path, target.name, dst_dir_fd=descriptor)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unavailable(error: OSError) -> StoreUnavailable:
    return StoreUnavailable(f"an artifact cannot be written ({error.strerror}). {advice_of(error)}; nothing was kept.")


def advice_of(error: OSError) -> str:
    """Say what to do about a file that cannot be written."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return "Free some disk space and try again"
    if error.errno in {errno.EMFILE, errno.ENFILE}:
        return "Too many files are open: try again, or raise the limit (ulimit -n)"
    if error.errno in {errno.EROFS, errno.EACCES, errno.EPERM}:
        return "Make .vespera writable and try again"
    return "Look at .vespera/artifacts and try again"
