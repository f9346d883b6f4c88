"""Texts that a context is fed by those who mean it no good, or by chance: for tests of budgets and counters."""

from __future__ import annotations

import base64
import random

from hypothesis import strategies as st

from vespera_agents.context import tokens

ALPHABETS = (
    None,
    " \t\n\r/.'sAaé1_",
    "abc' \n",
    "0123456789 a.",
    "漢字かなカナ、。「」 \n1a",
    "\u0301\u200d\ufe0f\u00a0\u0085\x1c\u2028a 1\n/'",
    "😀👩👨‍👩‍👧🏽🇩🇪 \n",
    "\ud800\udc00\udfffa \n",
    "#\n ",
)
"""What the pattern treats differently, side by side; the first is all of Unicode."""


def exactly(text: str) -> int:
    """Count with the library alone, the whole text in one go."""
    return len(tokens._encoding().encode_ordinary(text))


def random_bytes(seed: int, count: int) -> bytes:
    return random.Random(seed).randbytes(count)


def _base64(seed: int, count: int) -> str:
    return base64.b64encode(random_bytes(seed, count)).decode()


def texts(size: int) -> st.SearchStrategy[str]:
    """Give texts of about so many characters at most."""
    seeds, counts = st.integers(0, 1_000_000), st.integers(1, size)
    short = st.one_of(*(st.text(one or st.characters(), max_size=40) for one in ALPHABETS))
    return st.one_of(
        short,
        *(st.text(one or st.characters(), max_size=size) for one in ALPHABETS),
        st.builds(lambda one, times: one * (times // max(1, len(one))), short, counts),
        st.builds(_base64, seeds, st.integers(1, size * 3 // 4)),
        st.builds(lambda seed, count: random_bytes(seed, count).decode("latin-1"), seeds, counts),
        st.builds(lambda name, body: f"\n\n## {name}\n\n{body}", st.sampled_from(["Your task", "Left out"]), short),
    )


MEGABYTE = 1_000_000
PASTES = {
    "prose": "The quick brown fox didn't jump over 13 lazy dogs; they were asleep.\n" * (MEGABYTE // 69),
    "base64": _base64(1, MEGABYTE * 3 // 4),
    "base64 in lines": base64.encodebytes(random_bytes(2, MEGABYTE * 3 // 4)).decode(),
    "one letter": "a" * MEGABYTE,
    "one emoji": "😀" * (MEGABYTE // 4),
    "families": "👨‍👩‍👧" * (MEGABYTE // 18),
    "digits": "7" * MEGABYTE,
    "spaces": "x" + " " * MEGABYTE + "x",
    "newlines": "x" + "\n" * MEGABYTE + "x",
    "slashes": "!\n/" * (MEGABYTE // 3),
    "marks": "a\u0301\u0302" * (MEGABYTE // 5),
    "chinese": "我们今天讨论的问题、是怎样数字符。" * (MEGABYTE // 51),
    "chinese without a stop": "我们今天讨论的问题是怎样数字符" * (MEGABYTE // 45),
    "minified": "function(a,b){return a?b.c(d[0],e)===1:f};" * (MEGABYTE // 42),
    "bytes": random_bytes(3, MEGABYTE // 2).decode("latin-1"),
    "controls": "".join(map(chr, range(1, 32))) * (MEGABYTE // 31),
}
"""A megabyte of each."""
