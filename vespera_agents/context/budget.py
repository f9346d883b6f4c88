"""A context budget: sections of text with a rank, a limit in tokens, and what had to be left out.

What is pinned stays; of the rest the least important sections go first when the limit is reached, and a note in the
text says so: a reader must know that something is missing. Tokens are counted by the function that is passed in; the
default is an estimate and says so. Pure: no I/O, no clock. Neighbours: `specialists.briefing` fills it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, final

from vespera_agents.context.sources import Source

__all__ = ["ContextBudget", "Dropped", "Section", "estimate_tokens"]

_BYTES_PER_TOKEN: Final = 3.0
"""English prose takes about 4 bytes a token and code about 3: the estimate errs on the side of too many."""
PINNED: Final = 0
"""The rank of a section that is never dropped."""


def estimate_tokens(text: str) -> int:
    """Estimate the tokens of a text from its bytes; high rather than low."""
    return math.ceil(len(text.encode()) / _BYTES_PER_TOKEN)


@final
@dataclass(frozen=True, slots=True)
class Section:
    """One part of a context."""

    name: str
    text: str
    rank: int = PINNED
    """0 is pinned; a higher rank is dropped earlier."""
    sources: tuple[Source, ...] = ()
    """What it was made of."""


@final
@dataclass(frozen=True, slots=True)
class Dropped:
    """A section that had no room."""

    name: str
    context_tokens: int


@final
class ContextBudget:
    """Collects sections and renders those that fit."""

    def __init__(self, context_tokens_max: int, *, count: Callable[[str], int] = estimate_tokens) -> None:
        """Begin an empty context.

        Args:
            context_tokens_max: the limit, at least 1.
            count: tokens of a text.
        """
        assert context_tokens_max > 0, "a context needs room for at least one token"
        self.context_tokens_max = context_tokens_max
        self.count = count
        self._sections: list[Section] = []
        self.kept: tuple[Section, ...] = ()
        """What the last rendering holds, shortened where it shortened something."""

    def add(self, name: str, text: str, *, rank: int = PINNED, sources: tuple[Source, ...] = ()) -> None:
        """Add a section at the end; an empty text adds nothing."""
        if text.strip():
            self._sections.append(Section(name, text.strip(), rank, sources))

    def render(self) -> tuple[str, list[Dropped]]:
        """Give the text that fits, in the order of adding, and what was left out.

        The text never has more than `context_tokens_max` tokens. What is ranked goes first, whole; where even the
        pinned sections have more, the end of the longest is cut off. Whatever is missing is listed, and the text says
        so where that has room.
        """
        kept = list(self._sections)
        dropped: list[Dropped] = []
        while self.count(text := _text(kept, dropped)) > self.context_tokens_max:
            if not kept:
                self.kept = ()
                return "", dropped
            last = max(reversed(kept), key=lambda section: section.rank)
            if last.rank > PINNED:
                kept.remove(last)
                dropped.append(Dropped(last.name, self.count(last.text)))
            else:
                self._shorten(kept, dropped)
        self.kept = tuple(kept)
        return text, dropped

    def _shorten(self, kept: list[Section], dropped: list[Dropped]) -> None:
        """Cut the end off the longest section, so far that all of the text fits; without room for any, drop it."""
        longest = max(kept, key=lambda section: self.count(section.text))
        place = kept.index(longest)
        name = f"the end of {longest.name}"
        fits, over = 0, len(longest.text)
        while over - fits > 1:
            middle = (fits + over) // 2
            shorter = replace(longest, text=longest.text[:middle])
            tried = _text([*kept[:place], shorter, *kept[place + 1 :]], [*dropped, Dropped(name, 0)])
            if self.count(tried) <= self.context_tokens_max:
                fits = middle
            else:
                over = middle
        beginning = longest.text[:fits].rstrip()
        if beginning:
            kept[place] = replace(longest, text=beginning)
            dropped.append(Dropped(name, self.count(longest.text[fits:])))
        else:
            del kept[place]
            dropped.append(Dropped(longest.name, self.count(longest.text)))


def _text(sections: list[Section], dropped: list[Dropped]) -> str:
    parts = [f"## {section.name}\n\n{section.text}" for section in sections]
    if dropped:
        names = ", ".join(entry.name for entry in dropped)
        parts.append(f"## Left out\n\nThese parts did not fit into the context: {names}.")
    return "\n\n".join(parts)
