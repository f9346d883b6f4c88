"""Tokens are counted exactly, without a network, and only by who asks for a count."""

from __future__ import annotations

import base64
import hashlib
import lzma
import subprocess
import sys
from importlib.resources import files

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vespera_agents.context import tokens
from vespera_agents.context.tokens import count_tokens

PUBLISHED_SHA256 = "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"
"""Of o200k_base.tiktoken, which the library itself checks when it fetches that file."""
COUNTS = {
    "": 0,
    "hello world": 2,
    "tiktoken is great!": 6,
    "<|endoftext|>": 7,
    "お誕生日おめでとう": 8,
    "\n\n\n": 1,
    "1234567": 3,
}
"""The second, third and fifth are examples of the library's own documents and of its users' guides."""

texts = st.one_of(
    st.text(max_size=300),
    st.text(alphabet=" \t\n\r/.'sAaé1_", max_size=300),
    st.lists(st.sampled_from(["word", " ", "  ", "\n", "don't", "42", "../", "é", "漢"]), max_size=120).map("".join),
)


@pytest.mark.parametrize("text", COUNTS)
def test_a_count_is_what_the_vocabulary_says(text: str) -> None:
    assert count_tokens(text) == COUNTS[text]


def test_the_vocabulary_is_the_published_one() -> None:
    ranks = tokens._ranks(lzma.decompress(files("vespera_agents.context").joinpath("o200k_base.xz").read_bytes()))
    lines = b"".join(b"%s %d\n" % (base64.b64encode(token), rank) for token, rank in ranks.items())
    assert len(ranks) == 199_998
    assert hashlib.sha256(lines).hexdigest() == PUBLISHED_SHA256


@given(texts, st.integers(8, 64))
@example("a" + " " * 20, 8)
@example("one  two   three    four", 8)
def test_pieces_change_no_count_where_a_word_ends_near_enough(text: str, characters_max: int) -> None:
    pieces = list(tokens._pieces(text, characters_max))
    assert "".join(pieces) == text
    start, forced = 0, False
    for piece in pieces[:-1]:
        window = range(start + 1, start + characters_max + 1)
        ends = [place for place in window if text[place] == " " and not text[place - 1].isspace()]
        assert len(piece) == (ends[-1] - start if ends else characters_max)
        start += len(piece)
        forced = forced or not ends
    whole = len(tokens._encoding().encode_ordinary(text))
    assert forced or sum(len(tokens._encoding().encode_ordinary(piece)) for piece in pieces) == whole


def test_a_long_run_without_a_space_is_counted_in_time_and_nearly_right() -> None:
    length = 1_000_000
    assert count_tokens("a" * length) - length // 8 <= length // 16_384 + 1
    assert count_tokens("word " * 200_000) == 200_001


def test_a_text_that_is_no_unicode_is_counted_too() -> None:
    assert count_tokens("\ud800 and more") > 2


def test_a_damaged_vocabulary_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "_SHA256", "0" * 64)
    tokens._encoding.cache_clear()
    try:
        with pytest.raises(OSError, match="install the package again"):
            count_tokens("x")
    finally:
        tokens._encoding.cache_clear()


def test_who_counts_nothing_loads_nothing() -> None:
    program = (
        "import sys, vespera_agents.context, vespera_agents.context.tokens, vespera_agents.serving.serve\n"
        "print([name for name in ('tiktoken', 'regex', 'requests') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "[]\n", done.stderr
