"""The locks that workers hand to their front, which holds them for as long as it lives.

A worker's lock says that its server is alive, and a server outlives its workers. Neighbours: `workers` takes them in.
"""

from __future__ import annotations

import os
from typing import Final, final

from vespera_agents.front.processes import FrontProcess

__all__ = ["Locks"]

LOCKS_MAX: Final = 1_000
"""Locks that are held; a server opens a workspace for each."""


@final
class Locks:
    """Descriptors by name."""

    def __init__(self) -> None:
        self._held: dict[bytes, int] = {}

    def __len__(self) -> int:
        """Count them."""
        return len(self._held)

    def keep(self, name: bytes, process: FrontProcess) -> None:
        """Keep the descriptor that a process sent with a name; one of that name before is let go.

        Raises:
            ValueError: none came with it.
        """
        if not process.descriptors:
            raise ValueError(f"no descriptor came with the lock {name[:80]!r}")
        descriptor = process.descriptors.popleft()
        if name not in self._held and len(self._held) >= LOCKS_MAX:
            os.close(descriptor)
            return
        former = self._held.get(name)
        self._held[name] = descriptor
        if former is not None:
            os.close(former)
