"""What viewers are sent, built once for all of them: a change each second, kept for a minute, and whole pictures.

A viewer keeps no queue here. It has a number, that of the change it had last: what follows is taken from the changes
that all share, and who comes too late for them, because it is slow or was away, gets a whole picture instead. So a
thousand viewers need no more memory than one. Pure. Neighbour: `feed` makes the changes.
"""

from __future__ import annotations

from collections import deque
from typing import Final, final

__all__ = ["BEHIND_MAX", "CHANGES_MAX", "Frame", "Frames"]

CHANGES_MAX: Final = 60
"""Changes that are kept: a minute of them."""
BYTES_MAX: Final = 16 * 1024 * 1024
"""Bytes of all changes that are kept."""
BEHIND_MAX: Final = 15
"""Changes after which a viewer is better off with a whole picture, if it is slow; who was away may want more."""


@final
class Frame:
    """One thing that a viewer is sent."""

    __slots__ = ("data", "seq")

    def __init__(self, seq: int, data: bytes) -> None:
        self.seq: Final = seq
        """The number of the change that it is, or that it includes last."""
        self.data: Final = data
        """JSON in one line."""


@final
class Frames:
    """The last changes."""

    def __init__(self) -> None:
        """Keep none yet."""
        self._changes: deque[Frame] = deque()
        self.kept_bytes = 0
        """Bytes of the changes that are kept."""
        self.seq = 0
        """The number of the last change."""

    def add(self, data: bytes) -> None:
        """Add the next change."""
        self.seq += 1
        self._changes.append(Frame(self.seq, data))
        self.kept_bytes += len(data)
        while len(self._changes) > CHANGES_MAX or (self.kept_bytes > BYTES_MAX and len(self._changes) > 1):
            self.kept_bytes -= len(self._changes.popleft().data)

    def follows(self, seq: int | None, behind_max: int = CHANGES_MAX) -> bool:
        """Say whether a viewer can go on with changes, those to come included.

        Args:
            seq: the change that it had last; None if it had nothing.
            behind_max: changes that it may still be sent one by one.
        """
        first = self._changes[0].seq if self._changes else self.seq + 1
        return seq is not None and first <= seq <= self.seq and self.seq - seq <= behind_max

    def after(self, seq: int) -> Frame | None:
        """Give the change after this one, to a viewer that can go on with it; None while there is none."""
        return None if seq >= self.seq else self._changes[seq - self.seq]

    def clear(self) -> None:
        """Keep nothing; numbers go on, so that nobody takes an old one for a new one."""
        self._changes.clear()
        self.kept_bytes = 0
        self.seq += 1
