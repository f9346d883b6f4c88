"""Opening, listing and replacing files below one directory so that nothing outside is ever reached.

Each part of a path is opened below the one before, and a link is refused wherever it stands: what is checked is what is
opened, whoever moves things about meanwhile. A file is replaced as a whole by a new one, so that one that has a second
name elsewhere is not written through. Neighbours: `texts` and `searching` read what is opened here.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
import unicodedata
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

from vespera_agents.capabilities.working_copies.places import PART_PREFIX

__all__ = ["Confined", "FileRefused", "Listed", "shown"]

FILE_BYTES_MAX: Final = 8 * 1024 * 1024
"""The largest file that is read."""
_OURS: Final = frozenset({".git", ".vespera"})
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@final
class FileRefused(Exception):
    """A path cannot be used; the message says why and what to do."""


@final
@dataclass(frozen=True, slots=True)
class Listed:
    """One entry of a listing."""

    path: str
    is_directory: bool
    link_to: str | None
    size: int


@final
class Confined:
    """One directory, and what is below it."""

    __slots__ = ("_identity", "directory")

    def __init__(self, directory: Path) -> None:
        """Keep to a directory.

        Args:
            directory: must exist; should another one take its place, nothing is opened in that.
        """
        self.directory = directory
        status = directory.stat(follow_symlinks=False)
        self._identity = (status.st_dev, status.st_ino)

    def parts(self, path: str) -> tuple[str, ...]:
        """Take a path apart.

        Raises:
            FileRefused: it leads outside, or to what is git's or ours.
        """
        try:
            path.encode()
        except UnicodeEncodeError as error:
            raise FileRefused(f"{shown(path)!r} holds characters that no path can. Name another.") from error
        if "\0" in path:
            raise FileRefused("a path cannot hold a NUL character. Name another.")
        if path.startswith("/"):
            inside = Path(os.path.normpath(path))
            if not inside.is_relative_to(self.directory):
                raise FileRefused(f"{path!r:.200} lies outside the working copy. Give a path relative to it.")
            path = str(inside.relative_to(self.directory))
        parts = tuple(part for part in path.split("/") if part not in {"", "."})
        if ".." in parts:
            raise FileRefused(f"{path!r:.200} goes up with `..`. Give the path from the top of the working copy.")
        for part in parts:
            if _plain(part) in _OURS or part.startswith(PART_PREFIX):
                raise FileRefused(f"{part!r:.100} is not part of the work. Leave it alone.")
        return parts

    def read(self, path: str) -> bytes:
        """Read a whole regular file.

        Raises:
            FileRefused: there is none, it is too large, or a link is in the way.
        """
        *folders, name = self._file_parts(path)
        with self._opened(folders, path) as above, _told(path):
            descriptor = os.open(name, _FILE, dir_fd=above)
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                os.close(descriptor)
                if stat.S_ISDIR(status.st_mode):
                    raise FileRefused(f"{path!r:.200} is a folder. List it with list_files.")
                raise FileRefused(f"{path!r:.200} is neither file nor folder. Leave it alone.")
            with os.fdopen(descriptor, "rb") as file:
                data = file.read(FILE_BYTES_MAX + 1)
        if len(data) > FILE_BYTES_MAX:
            raise FileRefused(
                f"{path!r:.200} has {status.st_size} bytes, and {FILE_BYTES_MAX} is the most that is read. "
                "Look at it with a command."
            )
        return data

    def replace(self, path: str, data: bytes, *, make: bool) -> bool:
        """Write a whole file; say whether one was there. Its permissions are kept.

        Args:
            path: where.
            data: what it shall hold.
            make: make its folders where they are missing.

        Raises:
            FileRefused: something else is there, or a link is in the way.
        """
        *folders, name = self._file_parts(path)
        with self._opened(folders, path, make=make) as above, _told(path):
            mode = None
            with contextlib.suppress(FileNotFoundError):
                mode = os.stat(name, dir_fd=above, follow_symlinks=False).st_mode
            if mode is not None and not stat.S_ISREG(mode):
                what = "a symbolic link" if stat.S_ISLNK(mode) else "no regular file"
                raise FileRefused(f"{path!r:.200} is {what}. Write to another path.")
            part = f"{PART_PREFIX}{secrets.token_hex(8)}"
            descriptor = os.open(part, _NEW, 0o666, dir_fd=above)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(data)
                    file.flush()
                    if mode is not None:
                        os.fchmod(descriptor, stat.S_IMODE(mode) & 0o777)
                    os.fsync(descriptor)
                os.replace(part, name, src_dir_fd=above, dst_dir_fd=above)
            except OSError:
                with contextlib.suppress(OSError):
                    os.unlink(part, dir_fd=above)
                raise
        return mode is not None

    def walk(self, path: str, depth: int) -> Iterator[Listed]:
        """Give what is below a folder, in the order of its paths; of a file, itself. Links are not followed.

        Raises:
            FileRefused: there is nothing, or a link is in the way.
        """
        parts = self.parts(path)
        if parts:
            *folders, name = parts
            with self._opened(folders, path) as above, _told(path):
                status = os.stat(name, dir_fd=above, follow_symlinks=False)
                if stat.S_ISREG(status.st_mode):
                    yield Listed("/".join(parts), is_directory=False, link_to=None, size=status.st_size)
                    return
        yield from self._below(parts, path, depth)

    def _below(self, parts: tuple[str, ...], path: str, depth: int) -> Iterator[Listed]:
        # Each folder is opened from the top: however deep it goes, few descriptors are open.
        entries: list[Listed] = []
        with self._opened(parts, path) as here, _told(path), os.scandir(here) as found:
            for entry in found:
                if _plain(entry.name) in _OURS or entry.name.startswith(PART_PREFIX):
                    continue
                link = None
                if entry.is_symlink():
                    with contextlib.suppress(OSError):
                        link = os.readlink(entry.name, dir_fd=here)
                is_directory = entry.is_dir(follow_symlinks=False)
                size = 0
                with contextlib.suppress(OSError):
                    size = entry.stat(follow_symlinks=False).st_size
                entries.append(Listed("/".join((*parts, entry.name)), is_directory, link, size))
        for entry in sorted(entries, key=lambda one: one.path):
            yield entry
            if entry.is_directory and depth > 1:
                name = entry.path.rpartition("/")[2]
                # It may have gone, or become something else, since it was listed.
                with contextlib.suppress(FileRefused):
                    yield from self._below((*parts, name), entry.path, depth - 1)

    def _file_parts(self, path: str) -> tuple[str, ...]:
        parts = self.parts(path)
        if not parts:
            raise FileRefused(f"{path!r:.200} is the working copy itself. Name a file in it.")
        return parts

    @contextlib.contextmanager
    def _opened(self, folders: tuple[str, ...] | list[str], path: str, *, make: bool = False) -> Generator[int]:
        """Open a folder, each part below the one before."""
        with _told(path):
            below = os.open(self.directory, _DIRECTORY)
        try:
            status = os.fstat(below)
            if (status.st_dev, status.st_ino) != self._identity:
                raise FileRefused("the working copy has been replaced by something else. Stop, and say so.")
            for folder in folders:
                with _told(path):
                    if make:
                        with contextlib.suppress(FileExistsError):
                            os.mkdir(folder, dir_fd=below)
                    above, below = below, os.open(folder, _DIRECTORY, dir_fd=below)
                os.close(above)
            yield below
        finally:
            os.close(below)


def shown(name: str) -> str:
    """Write a name so that it can be sent and stays in its line, whatever it holds."""
    return name if name.isprintable() else name.encode("unicode_escape").decode()


def _plain(part: str) -> str:
    """Give the name that a file system which folds case and drops marks would take a part for."""
    kept = "".join(one for one in unicodedata.normalize("NFKC", part) if unicodedata.category(one) != "Cf")
    return kept.casefold().rstrip(". ")


@contextlib.contextmanager
def _told(path: str) -> Generator[None]:
    """Say in words what the system refuses."""
    try:
        yield
    except FileNotFoundError as error:
        raise FileRefused(f"there is no {path!r:.200}. Look with list_files.") from error
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.EMLINK}:
            raise FileRefused(f"{path!r:.200} is a symbolic link. Use the path of what it names.") from error
        if error.errno == errno.ENOTDIR:
            text = f"a part of {path!r:.200} is a symbolic link or a file. Use the path of what it names."
            raise FileRefused(text) from error
        raise FileRefused(f"{path!r:.200} cannot be used ({error.strerror}). Choose another path.") from error
