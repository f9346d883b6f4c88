"""Opening files in a directory that others may be changing meanwhile: no link is followed, nothing is waited for.

A path that was looked at may be a link by the time it is opened. So each part of it is opened below the one before, and
a link, a pipe or a device there is refused. Not here: which paths are allowed (`directory.confined`).
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

__all__ = ["open_inside"]

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def open_inside(directory: Path, path: Path) -> BinaryIO:
    """Open a regular file for reading.

    Args:
        directory: where nobody else may put links into the way to it.
        path: below it, links resolved; one that has become a link since is refused.

    Raises:
        OSError: there is no such file, something else is there, or a link is in the way.
    """
    *folders, name = path.relative_to(directory).parts or (".",)
    below = os.open(directory, _DIRECTORY & ~os.O_NOFOLLOW)
    try:
        for folder in folders:
            above, below = below, os.open(folder, _DIRECTORY, dir_fd=below)
            os.close(above)
        descriptor = os.open(name, _FILE, dir_fd=below)
    finally:
        os.close(below)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "no regular file")
    return os.fdopen(descriptor, "rb")
