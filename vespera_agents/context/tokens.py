"""How many tokens a text has for a model of the o200k family: an exact count, without a network.

The vocabulary is a file of this package: the tokens of o200k_base in the order of their ranks, each as a byte with its
length and its bytes, in xz (0.8 MB instead of 3.6). It is read, checked and handed to the library at the first count;
that costs about 0.4 s and 60 MB, so a server that counts nothing pays nothing. Pure but for that file.
Neighbours: `pieces` cuts long texts; `counting` remembers what was counted, and is what a budget counts with.
"""

from __future__ import annotations

import hashlib
import lzma
import math
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from vespera_agents.context.pieces import pieces

if TYPE_CHECKING:
    from tiktoken import Encoding

__all__ = ["bound_tokens", "count_piece", "count_tokens", "estimate_tokens", "load_vocabulary"]

_FILE: Final = "o200k_base.xz"
_SHA256: Final = "910ed5313f019127afe08babc2a079fc5a071dd88a40877e7b60c8b1787e06f2"
_BYTES_PER_TOKEN: Final = 3.0
"""English prose takes about 4 bytes a token and code about 3: the estimate errs on the side of too many."""
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

    Exact, but for a stretch of more than `PIECE_CHARACTERS` in which no word ends for certain: that counts as its
    bytes, which are never fewer than its tokens.
    """
    return sum(count_piece(piece) if fits else bound_tokens(piece) for piece, fits in pieces(text))


def count_piece(piece: str) -> int:
    """Count a text that is short enough to be counted in one go."""
    return len(_encoding().encode_ordinary(piece))


def bound_tokens(text: str) -> int:
    """Say how many tokens a text can have at most, without the vocabulary: each has at least one byte."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def estimate_tokens(text: str) -> int:
    """Estimate the tokens of a text from its bytes; high rather than low."""
    return math.ceil(bound_tokens(text) / _BYTES_PER_TOKEN)


def load_vocabulary() -> None:
    """Read the vocabulary now, in a thread, so that the first count does not hold up a loop for 0.4 s.

    Raises:
        OSError: the file of the package is damaged.
    """
    _encoding()


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
