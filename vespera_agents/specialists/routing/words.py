"""Texts as stems: what two spellings of one word have in common. Pure.

English only, and coarse: a stem is compared with stems, never shown. Neighbours: `lexicon` is read through it, and so
is every task.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

__all__ = ["WORDS_MAX", "Words", "stem", "words_of"]

WORDS_MAX: Final = 400
"""Words of a text that are looked at: what a task is about stands at its beginning."""
_CHARACTERS_MAX: Final = 4_000
_WORD: Final = re.compile(r"[^\W\d_][\w+#]*|\d{3}(?!\d)", re.UNICODE)
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_SHORT: Final = 3
"""Letters that must be left of a word."""

Words = Sequence[tuple[str, str]]
"""Each word's stem and the word itself, in the order of the text."""


def words_of(text: str) -> list[tuple[str, str]]:
    """Give the words of a text with their stems; `snake_case` and `camelCase` are several words."""
    plain = _CAMEL.sub(" ", text[:_CHARACTERS_MAX].replace("_", " ")).lower()
    found = _WORD.findall(plain)[:WORDS_MAX]
    return [(stem(word), word) for word in found]


@lru_cache(4_096)
def stem(word: str) -> str:
    """Cut the ending off a word, so that `tests`, `tested` and `testing` are one."""
    word = _singular(word)
    for ending in ("ing", "ed"):
        short = word.removesuffix(ending)
        if short != word and len(short) >= _SHORT and any(letter in "aeiouy" for letter in short):
            # `planning` and `plan`, but `calling` and `call`.
            word = short[:-1] if short[-1] == short[-2] and short[-1] not in "lsz" else short
            break
    return word[:-1] if len(word) > _SHORT and word.endswith("e") else word


def _singular(word: str) -> str:
    if len(word) <= _SHORT or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies"):
        return f"{word[:-3]}y"
    if word.endswith(("sses", "shes", "ches", "xes")):
        return word[:-2]
    return word.removesuffix("s")
