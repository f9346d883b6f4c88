"""A counter that remembers what it counted: a context that is put together again is not counted again.

The counts of pieces are kept under the hash of their content, never the content itself, and within a bound: of what
was not asked for the longest, half is forgotten at once. Not a budget. Neighbours: `pieces` cuts, `tokens` counts,
`budget` asks. It may be asked from several threads; then its statistics are nearly right.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from typing import Final, final

from vespera_agents.context.pieces import PIECE_CHARACTERS, pieces
from vespera_agents.context.tokens import bound_tokens, count_piece

__all__ = ["CounterStatistics", "TokenCounter", "shared_counter"]

CACHE_BYTES_MAX: Final = 8 * 1024 * 1024
"""Of the process's own counter: about 46,000 pieces, which is 400 contexts of 100,000 tokens."""
_ENTRY_BYTES: Final = 180
"""A digest, its count and their place in a dictionary."""


@final
@dataclass(frozen=True, slots=True)
class CounterStatistics:
    """A counter at one moment."""

    found: int
    """Pieces whose count was remembered."""
    counted: int
    """Pieces that had to be counted."""
    entries: int
    """Counts that are remembered."""
    entries_max: int
    """How many there can be."""


@final
class TokenCounter:
    """Counts o200k tokens, exactly, each piece of text once."""

    __slots__ = ("_counted", "_entries_max", "_found", "_old", "_young")

    def __init__(self, cache_bytes_max: int = CACHE_BYTES_MAX) -> None:
        """Begin with nothing remembered; the vocabulary is read at the first count.

        Args:
            cache_bytes_max: about what the remembered counts may take.
        """
        self._entries_max = max(2, cache_bytes_max // _ENTRY_BYTES)
        self._young: dict[bytes, int] = {}
        self._old: dict[bytes, int] = {}
        self._found = 0
        self._counted = 0

    def count(self, text: str) -> int:
        """Count the tokens of a text as `count_tokens` does."""
        if len(text) <= PIECE_CHARACTERS:
            return self._piece(text)
        return sum(self._piece(piece) if fits else bound_tokens(piece) for piece, fits in pieces(text))

    def statistics(self) -> CounterStatistics:
        """Give its numbers as they are now."""
        entries = len(self._young) + len(self._old)
        return CounterStatistics(self._found, self._counted, entries, self._entries_max)

    def _piece(self, piece: str) -> int:
        # Processors compute this hash themselves: a third of what blake2b takes.
        key = hashlib.sha256(piece.encode("utf-8", "surrogatepass"), usedforsecurity=False).digest()
        count = self._young.get(key)
        if count is not None:
            self._found += 1
            return count
        count = self._old.get(key)
        if count is None:
            self._counted += 1
            count = count_piece(piece)
        else:
            self._found += 1
        if len(self._young) * 2 >= self._entries_max:
            # Two halves instead of one list in the order of use: a hit then costs nothing but the look.
            self._old, self._young = self._young, {}
        self._young[key] = count
        return count


@cache
def shared_counter() -> TokenCounter:
    """Give the process's own counter: counts of one specialist are good for the next, and none holds any text."""
    return TokenCounter()
