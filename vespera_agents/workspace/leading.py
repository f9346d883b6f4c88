"""Who leads among the servers of a workspace: one of them does what need be done only once.

A lock on a file, which the kernel lets go of at any death, so that the next one that looks leads at once; there is no
clock to argue with and nothing to clean up: the file stays, for whoever removed it would take its name from a lock that
the next one holds already. Nothing goes wrong if for a moment nobody leads, or if a leader is stopped:
what it does is housekeeping. Neighbours: `servers` says who is there, `specialists.claims` does the leader's work.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path
from typing import Final, final

from vespera_agents.workspace.directory import Workspace

__all__ = ["Leadership", "leader_of"]

_ID_BYTES_MAX: Final = 100


@final
class Leadership:
    """One server's place in the succession."""

    def __init__(self, workspace: Workspace) -> None:
        """Name the workspace; `lead` takes the lock."""
        self._path = _path(workspace)
        self._descriptor: int | None = None

    def lead(self, server: str) -> bool:
        """Say whether this server leads, and become the leader if nobody does.

        Args:
            server: its id, which others are told.
        """
        if self._descriptor is not None and _names(self._path, self._descriptor):
            return True
        self.resign()
        # Whoever cannot write here cannot tidy up here.
        with contextlib.suppress(OSError):
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            descriptor = os.open(self._path, flags, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, server.encode(), 0)
            except OSError:
                os.close(descriptor)
                return False
            self._descriptor = descriptor
            return True
        return False

    def resign(self) -> None:
        """Lead no more; whoever looks next does."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def leader_of(workspace: Workspace) -> str | None:
    """Give the id of the server that leads, None while nobody does."""
    try:
        descriptor = os.open(_path(workspace), os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return os.pread(descriptor, _ID_BYTES_MAX, 0).decode(errors="replace") or None
    except OSError:
        return None
    else:
        return None
    finally:
        os.close(descriptor)


def _path(workspace: Workspace) -> Path:
    return workspace.servers / "leader"


def _names(path: Path, descriptor: int) -> bool:
    """Say whether a file still has its name: a lock on one that was removed is a lock on nothing."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except OSError:
        return False
