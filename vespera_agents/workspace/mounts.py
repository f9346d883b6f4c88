"""Where a workspace's own files lie: in its `.vespera`, unless that is on a file system of another machine.

SQLite's log needs memory that processes share through a file, and locks that hold at once; over NFS, SMB and 9p there
are none. Then the files lie in the user's state directory, under a name that every process on this machine finds.
Nothing is made here (`directory`). Source: DESIGN "Front and worker", rule 14.
"""

from __future__ import annotations

import hashlib
import os
import re
from functools import cache
from pathlib import Path
from typing import Final

from vespera_agents.front import places

__all__ = ["data_directory", "file_system"]

MOUNTS: Path = Path("/proc/self/mountinfo")
"""What is mounted where, as Linux tells it; where there is no such file every directory counts as the machine's own."""
_REMOTE: Final = frozenset({"9p", "afs", "cifs", "fuse.sshfs", "nfs", "nfs4", "smb3", "smbfs"})
_OCTAL: Final = re.compile(r"\\([0-7]{3})")
_NAME_CHARACTERS: Final = 16


def data_directory(dot: Path) -> Path:
    """Give the directory for the files of a workspace, by its `.vespera`."""
    return _data_directory(dot, places.state_directory(), MOUNTS)


@cache
def _data_directory(dot: Path, state: str, mounts: Path) -> Path:
    if file_system(dot, mounts) not in _REMOTE or file_system(Path(os.path.realpath(state)), mounts) in _REMOTE:
        # Where nothing is better the store still looks whether the database can have a log.
        return dot
    return Path(state) / "workspaces" / hashlib.sha256(os.fsencode(dot.parent)).hexdigest()[:_NAME_CHARACTERS]


def file_system(path: Path, mounts: Path) -> str | None:
    """Name the kind of file system that a path lies on, links resolved; None where the kernel does not say."""
    try:
        lines = mounts.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return None
    found, longest = None, -1
    for line in lines:
        place, _, kind = line.partition(" - ")
        point = _OCTAL.sub(lambda code: chr(int(code[1], 8)), place.split(" ")[4])
        # What is mounted later at the same place hides what is below it.
        if len(point) >= longest and path.is_relative_to(point):
            found, longest = kind.partition(" ")[0], len(point)
    return found
