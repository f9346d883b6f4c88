"""Where a text may be cut so that its parts have exactly as many tokens as the whole.

o200k splits a text into words by a pattern before it looks for tokens, so no token reaches across the end of a word.
The places here are ends of words whatever stands before and after them: the characters on both sides decide it alone.
That is proved by hand for each rule, and by tests against the library. Only characters whose class no version of
Unicode changes are named. Pure. Neighbours: `tokens` and `counting` count the pieces, `sections` joins parts so that
each begins at such a place.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

__all__ = ["PIECE_CHARACTERS", "last_cut", "pieces"]

PIECE_CHARACTERS: Final = 16_384
"""At most 64 KB: the library's time grows with the square of a word that it cannot split."""
_NEAR: Final = 256
"""Characters in which most texts have a space, and others some place to cut, which takes a hundred times as long."""
_CUT: Final = re.compile(
    # A space after anything but white space: no word holds a space but in front, and white space is a word of its own.
    r"(?<=\S)(?= )"
    # A line's end before anything visible. Punctuation takes line ends and slashes behind it with it: no cut at those.
    r"|(?<=\n)(?=[^\s/])"
    # Digits are words of their own, up to three; what is in front of them never is white space here, which looks ahead.
    r"|(?<=[!-/:-~])(?=[0-9])|(?<=[0-9])(?=[!-/:-~])"
    # Nothing but an apostrophe, a letter or a mark goes on with a word of letters, of Chinese, Japanese, Korean, too.
    r"|(?<=[A-Za-z\u3041-\u3096\u30a1-\u30fa\u4e00-\u9fa5\uac00-\ud7a3])"
    r"(?=[!-&(-/:-@\[-`{-~\u3001\u3002\u300c-\u300f\uff01\uff08\uff09\uff0c\uff1a\uff1b\uff1f])"
)
"""Matches nothing, between two characters where a word ends."""


def pieces(text: str, characters_max: int = PIECE_CHARACTERS) -> Iterator[tuple[str, bool]]:
    """Cut a text into pieces that are counted on their own, and say of each whether it has at most so many characters.

    One that has more is a single stretch in which there is no place to cut. A piece depends on what is before its end
    and a character behind it only, so a text that grows keeps its pieces but the last.
    """
    start, length = 0, len(text)
    while length - start > characters_max:
        end = start + characters_max
        cut = _last_space(text, max(start + 1, end - _NEAR), end)
        if cut < 0:
            cut = last_cut(text, max(start + 1, end - _NEAR), end)
        if cut < 0:
            cut = last_cut(text, start + 1, end)
        fits = cut >= 0
        if not fits:
            found = _CUT.search(text, end)
            cut = found.start() if found else length
        yield text[start:cut], fits
        start = cut
    if start < length:
        yield text[start:], True


def _last_space(text: str, first: int, last: int) -> int:
    """Find the last space between two places that is behind anything but white space; -1 where there is none."""
    cut = text.rfind(" ", first, last + 1)
    while cut >= 0 and text[cut - 1].isspace():
        cut = text.rfind(" ", first, cut)
    return cut


def last_cut(text: str, first: int, last: int) -> int:
    """Find the last place to cut between two places, both counted; -1 where there is none."""
    cut = -1
    # The pattern looks at the character behind the place, too.
    for found in _CUT.finditer(text, first, last + 1):
        cut = found.start()
    return cut
