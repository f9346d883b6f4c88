"""A counter counts each piece once, keeps within its bound, and a stream is counted as it comes."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.context.hostile import PASTES, exactly, texts
from vespera_agents.context import StreamCounter, TokenCounter, VendorFactor, count_tokens, shared_counter
from vespera_agents.context.vendors import AT_LEAST, AT_MOST, START


@given(texts(400))
def test_a_counter_counts_what_the_vocabulary_says_the_second_time_too(text: str) -> None:
    counter = TokenCounter()
    assert counter.count(text) == count_tokens(text) == exactly(text)
    assert counter.count(text) == exactly(text)
    assert (counter.statistics().counted, counter.statistics().found) == (1, 1)


def test_of_a_text_that_grows_only_the_end_is_counted_again() -> None:
    counter, text = TokenCounter(), PASTES["prose"][:200_000]
    counter.count(text)
    before = counter.statistics().counted
    assert counter.count(text + "and more") == count_tokens(text + "and more")
    assert counter.statistics().counted == before + 1


def test_a_counter_remembers_no_more_than_its_bound_and_what_was_used_last() -> None:
    counter = TokenCounter(18_000)
    for number in range(1_000):
        counter.count("often")
        counter.count(f"text number {number}")
        assert counter.statistics().entries <= counter.statistics().entries_max == 100
    assert counter.statistics().counted == 1_001, "what is asked for often is never forgotten"
    counter.count("text number 0")
    assert counter.statistics().counted == 1_002


@pytest.mark.parametrize("name", PASTES)
def test_a_counter_and_a_plain_count_agree_on_what_cannot_be_cut(name: str) -> None:
    text = PASTES[name][:40_000]
    assert TokenCounter().count(text) == count_tokens(text) >= exactly(text)


def test_there_is_one_counter_for_the_process() -> None:
    assert shared_counter() is shared_counter()


@settings(deadline=None, max_examples=60)
@given(texts(300), st.lists(st.integers(1, 60), min_size=1))
@example("a" * 300, [3])
def test_a_stream_counts_as_much_as_its_text_at_each_moment(text: str, sizes: list[int]) -> None:
    stream, place, turn = StreamCounter(), 0, 0
    while place < len(text):
        size = sizes[turn % len(sizes)]
        found = stream.feed(text[place : place + size])
        place, turn = place + size, turn + 1
        assert found == exactly(text[:place])
    assert stream.statistics().context_tokens == exactly(text)


@pytest.mark.parametrize("name", PASTES)
@pytest.mark.parametrize("size", [7, 5_000])
def test_an_endless_stream_takes_no_memory_and_is_nearly_right(name: str, size: int) -> None:
    text, stream = PASTES[name][:20_000], StreamCounter()
    found = 0
    for place in range(0, len(text), size):
        found = stream.feed(text[place : place + size])
        assert stream.statistics().waiting_characters < 1_024
    assert abs(found - exactly(text)) <= 2 * len(text) // 1_024 + 1
    if name in {"prose", "base64", "base64 in lines", "chinese", "minified"}:
        assert found == exactly(text)


def test_a_factor_follows_what_a_vendor_says() -> None:
    factor = VendorFactor()
    assert factor.factor == START == 1.25
    assert (factor.vendor_tokens(100), factor.context_tokens(125)) == (125, 100)
    for _ in range(20):
        factor.learn(10_000, 15_000)
    assert factor.factor == pytest.approx(1.5, rel=0.01)
    assert factor.statistics().learned_from == 20
    factor.learn(3, 900)
    assert factor.statistics().learned_from == 20, "what a message costs by itself says nothing"


@given(st.lists(st.tuples(st.integers(-10, 10**9), st.integers(-10, 10**9))), st.floats(0, 100))
def test_a_factor_is_never_absurd(told: list[tuple[int, int]], start: float) -> None:
    factor = VendorFactor(start)
    for ours, theirs in told:
        factor.learn(ours, theirs)
    assert AT_LEAST <= factor.factor <= AT_MOST
    assert factor.vendor_tokens(factor.context_tokens(1_000)) <= 1_001, "rounded down, but for what floats lose"
