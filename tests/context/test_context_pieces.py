"""A text is cut only where no token reaches across, and what cannot be cut counts no less than it has."""

from __future__ import annotations

import itertools

import pytest
import regex
from hypothesis import example, given
from hypothesis import strategies as st

from tests.context.hostile import PASTES, exactly, texts
from vespera_agents.context import tokens
from vespera_agents.context.pieces import PIECE_CHARACTERS, last_cut, pieces
from vespera_agents.context.tokens import bound_tokens, count_tokens, estimate_tokens

WORDS = regex.compile(tokens._PATTERN)
CLASSES = "asA1²  \n\r\t'/-é漢。\u0301\u00a0#"
"""One of each kind of character that the pattern or the places to cut tell apart."""


def split(text: str) -> list[str]:
    return WORDS.findall(text)


def test_at_a_place_to_cut_a_word_ends_whatever_is_around_it() -> None:
    places = 0
    sides = ["".join(side) for side in itertools.product(dict.fromkeys(CLASSES), repeat=2)]
    words = {side: split(side) for side in sides}
    for left, right in itertools.product(sides, sides):
        if last_cut(left + right, 2, 2) == 2:
            places += 1
            assert split(left + right) == words[left] + words[right], repr(left + right)
    assert places > 10_000


@given(texts(200), st.integers(4, 64))
@example("a" + " " * 20, 8)
@example("one  two   three    four", 8)
@example("!\n/\n/x y", 4)
def test_pieces_change_no_count_and_what_is_too_long_for_one_holds_no_place_to_cut(text: str, characters: int) -> None:
    cut = list(pieces(text, characters))
    assert "".join(piece for piece, _ in cut) == text
    assert sum(exactly(piece) for piece, _ in cut) == exactly(text)
    for piece, fits in cut:
        assert fits == (len(piece) <= characters)
        assert fits or last_cut(piece, 1, characters) == -1


@given(texts(200), texts(50), st.integers(4, 64))
def test_a_text_that_grows_keeps_its_pieces_but_the_last(text: str, more: str, characters: int) -> None:
    before = [piece for piece, _ in pieces(text, characters)]
    after = [piece for piece, _ in pieces(text + more, characters)]
    assert after[: max(0, len(before) - 1)] == before[:-1]


@pytest.mark.parametrize("name", PASTES)
def test_a_megabyte_is_counted_in_time_and_never_too_low(name: str) -> None:
    text = PASTES[name][: 4 * PIECE_CHARACTERS]
    cuttable = all(fits for _, fits in pieces(text))
    assert cuttable == (
        name not in {"one letter", "one emoji", "families", "digits", "spaces", "newlines", "slashes", "marks",
                     "chinese without a stop", "controls"}
    )  # fmt: skip
    if cuttable:
        assert count_tokens(text) == exactly(text)
    else:
        assert exactly(text) <= count_tokens(text)
    assert count_tokens(PASTES[name]) <= bound_tokens(PASTES[name])


@given(texts(300))
def test_no_text_has_more_tokens_than_bytes(text: str) -> None:
    assert count_tokens(text) <= bound_tokens(text)


def test_the_estimate_is_high_rather_than_low_and_takes_any_text() -> None:
    assert estimate_tokens("") == 0
    assert estimate_tokens("abcd") == 2
    assert estimate_tokens("ü" * 3) == 2, "it counts bytes, not characters"
    assert estimate_tokens("\ud800") == 1
