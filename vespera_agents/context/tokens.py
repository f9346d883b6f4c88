"""How many tokens a text has for a model of the o200k family: an exact count, without a network.

The vocabulary is a file of this package: the tokens of o200k_base in the order of their ranks, each as a byte with its
length and its bytes, in xz (0.8 MB instead of 3.6). It is read, checked and handed to the library at the first count;
that costs about 0.4 s and 60 MB, so a server that counts nothing pays nothing. Pure but for that file.
Neighbours: `budget` estimates, which is enough for most budgets and costs a thousandth.
"""

from __future__ import annotations

import hashlib
import lzma
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tiktoken import Encoding

__all__ = ["count_tokens"]

_FILE: Final = "o200k_base.xz"
_SHA256: Final = "910ed5313f019127afe08babc2a079fc5a071dd88a40877e7b60c8b1787e06f2"
_PIECE_CHARACTERS: Final = 16_384
"""At most 64 KB: the library's time grows with the square of a run of characters that it cannot split."""
_PATTERN: Final = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    r"\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n/]*|"
    r"\s*[\r\n]+|"
    r"\s+(?!\S)|"
    r"\s+"
)
"""How o200k_base splits a text into words before it looks for tokens."""


def count_tokens(text: str) -> int:
    """Count the o200k tokens of a text; what looks like a control token counts as the text that it is.

    A stretch of more than 16,384 characters without a space in it is cut somewhere, and may count a few tokens more for
    each cut.
    """
    encoding = _encoding()
    return sum(len(encoding.encode_ordinary(piece)) for piece in _pieces(text, _PIECE_CHARACTERS))


def _pieces(text: str, characters_max: int) -> Iterator[str]:
    """Cut a text where no token reaches across: before a space that follows something else than white space."""
    start = 0
    while len(text) - start > characters_max:
        end = start + characters_max
        cut = text.rfind(" ", start + 1, end + 1)
        while cut > 0 and text[cut - 1].isspace():
            cut = text.rfind(" ", start + 1, cut)
        cut = end if cut < 0 else cut
        yield text[start:cut]
        start = cut
    yield text[start:]


@cache
def _encoding() -> Encoding:
    from tiktoken import Encoding  # noqa: PLC0415 - most programs that import this package count nothing

    packed = files("vespera_agents.context").joinpath(_FILE).read_bytes()
    if hashlib.sha256(packed).hexdigest() != _SHA256:
        raise OSError(f"{_FILE} of vespera_agents.context is damaged: install the package again")
    return Encoding("o200k_base", pat_str=_PATTERN, mergeable_ranks=_ranks(lzma.decompress(packed)), special_tokens={})


def _ranks(data: bytes) -> dict[bytes, int]:
    ranks: dict[bytes, int] = {}
    place = 0
    while place < len(data):
        end = place + 1 + data[place]
        ranks[data[place + 1 : end]] = len(ranks)
        place = end
    return ranks
