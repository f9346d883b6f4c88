"""How many tokens of an answer have come, while it is still coming.

Counting each delta on its own says 63 % too many: a token seldom ends where a delta does. So the end of the text waits
until a word has ended for certain. Pure. Neighbours: `pieces` knows where words end, `tokens` counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, final

from vespera_agents.context.pieces import last_cut
from vespera_agents.context.tokens import count_piece

__all__ = ["StreamCounter", "StreamStatistics"]

_SETTLE_CHARACTERS: Final = 200
"""What waits is counted again with each delta; from here on all but its last word is settled."""
_WAIT_CHARACTERS_MAX: Final = 1_024
"""A stretch in which no word ends is settled as it is, and may be a token off: an endless one must not fill memory."""


@final
@dataclass(frozen=True, slots=True)
class StreamStatistics:
    """A stream at one moment."""

    context_tokens: int
    waiting_characters: int
    """Counted, but not settled."""


@final
class StreamCounter:
    """Counts one answer."""

    __slots__ = ("_settled", "_waiting", "_waiting_tokens")

    def __init__(self) -> None:
        """Begin with nothing; the vocabulary is read at the first count."""
        self._settled = 0
        self._waiting = ""
        self._waiting_tokens = 0

    def feed(self, text: str) -> int:
        """Take in what came, and give the tokens of everything so far."""
        place = 0
        while True:
            room = _WAIT_CHARACTERS_MAX - len(self._waiting)
            self._waiting += text[place : place + room]
            place += room
            self._settle(full=place < len(text))
            if place >= len(text):
                break
        self._waiting_tokens = count_piece(self._waiting)
        return self._settled + self._waiting_tokens

    def statistics(self) -> StreamStatistics:
        """Give its numbers as they are now."""
        return StreamStatistics(self._settled + self._waiting_tokens, len(self._waiting))

    def _settle(self, *, full: bool) -> None:
        if len(self._waiting) <= _SETTLE_CHARACTERS and not full:
            return
        cut = last_cut(self._waiting, 1, len(self._waiting) - 1)
        if cut < 0 and len(self._waiting) >= _WAIT_CHARACTERS_MAX:
            cut = len(self._waiting)
        if cut > 0:
            self._settled += count_piece(self._waiting[:cut])
            self._waiting = self._waiting[cut:]
