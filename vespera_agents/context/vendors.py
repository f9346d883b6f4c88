"""How many tokens a vendor counts where o200k counts one: learned from what it says that it used.

A budget is kept in o200k tokens; a vendor with another vocabulary counts more or fewer. Pure. Neighbours: whoever asks
a model tells what was sent and what came back as usage, and asks how much of the vendor's context that is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, final

__all__ = ["VendorFactor", "VendorFactorStatistics"]

START: Final = 1.25
"""Until something is known: the vocabularies of other vendors are smaller."""
AT_LEAST: Final = 0.5
AT_MOST: Final = 4.0
"""What a vendor may say without being believed: its own instructions and cached parts count for it, too."""
_WEIGHT: Final = 0.2
"""Of the newest: after ten exchanges nine tenths of the factor are learned."""
_TOKENS_MIN: Final = 200
"""Of what was sent; what a vendor adds to each message would outweigh less."""


@final
@dataclass(frozen=True, slots=True)
class VendorFactorStatistics:
    """A factor at one moment."""

    factor: float
    learned_from: int
    """Exchanges."""


@final
class VendorFactor:
    """The factor of one vendor."""

    __slots__ = ("_factor", "_learned_from")

    def __init__(self, start: float = START) -> None:
        """Begin with what is assumed."""
        self._factor = min(AT_MOST, max(AT_LEAST, start))
        self._learned_from = 0

    @property
    def factor(self) -> float:
        """Tokens of the vendor for one of o200k."""
        return self._factor

    def learn(self, context_tokens: int, vendor_tokens: int) -> None:
        """Take in what a vendor counted, where so many tokens were sent."""
        if context_tokens < _TOKENS_MIN or vendor_tokens <= 0:
            return
        real = min(AT_MOST, max(AT_LEAST, vendor_tokens / context_tokens))
        self._factor += _WEIGHT * (real - self._factor)
        self._learned_from += 1

    def vendor_tokens(self, context_tokens: int) -> int:
        """Say how many tokens of the vendor's these are, rounded up."""
        return math.ceil(context_tokens * self._factor)

    def context_tokens(self, vendor_tokens: int) -> int:
        """Say how many tokens of ours are within so many of the vendor's, rounded down."""
        return math.floor(vendor_tokens / self._factor)

    def statistics(self) -> VendorFactorStatistics:
        """Give its numbers as they are now."""
        return VendorFactorStatistics(self._factor, self._learned_from)
