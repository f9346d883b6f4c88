"""A context budget keeps its limit whatever it is fed, drops what is least needed first, and names what is missing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vespera_agents.context import ContextBudget, estimate_tokens


def words(text: str) -> int:
    return len(text.split())


COUNTS = {"estimate": estimate_tokens, "characters": len, "words": words}

names = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=12)
texts = st.one_of(
    st.text(max_size=400),
    st.builds(lambda word, times: f"{word} " * times, st.text(min_size=1, max_size=8), st.integers(1, 200)),
)
sections = st.lists(st.tuples(names, texts, st.integers(0, 3)), max_size=8)


def filled(limit, parts, count=estimate_tokens):
    budget = ContextBudget(limit, count=count)
    for name, text, rank in parts:
        budget.add(name, text, rank=rank)
    return budget


@pytest.mark.parametrize("count", COUNTS.values(), ids=COUNTS)
@given(limit=st.integers(1, 300), parts=sections)
def test_the_text_never_has_more_tokens_than_the_limit(count, limit, parts):
    text, _ = filled(limit, parts, count).render()
    assert count(text) <= limit


@given(limit=st.integers(1, 300), parts=sections)
def test_every_section_is_in_the_text_whole_or_named_among_what_was_dropped(limit, parts):
    text, dropped = filled(limit, parts).render()
    missing = {entry.name for entry in dropped}
    for name, body, _ in parts:
        if body.strip() and f"## {name}\n\n{body.strip()}" not in text:
            assert name in missing or f"the end of {name}" in missing


@given(limit=st.integers(1, 300), parts=sections)
def test_nothing_that_is_pinned_goes_while_something_ranked_is_still_there(limit, parts):
    _, dropped = filled(limit, parts).render()
    ranked = sum(1 for _, body, rank in parts if rank and body.strip())
    gone = [entry.name.removeprefix("the end of ") for entry in dropped]
    pinned = [name for name, _, rank in parts if not rank]
    only_pinned = set(pinned) - {name for name, _, rank in parts if rank}
    if set(gone) & only_pinned:
        assert len(gone) > ranked, "all that is ranked went first"


@given(limit=st.integers(1, 300), parts=sections)
def test_the_same_sections_give_the_same_text(limit, parts):
    assert filled(limit, parts).render() == filled(limit, parts).render()


@given(parts=sections)
def test_with_room_enough_everything_is_there_and_nothing_is_dropped(parts):
    text, dropped = filled(1_000_000, parts).render()
    assert dropped == []
    assert text == "\n\n".join(f"## {name}\n\n{body.strip()}" for name, body, _ in parts if body.strip())


def test_the_highest_rank_goes_first_and_of_equal_ranks_the_last_one():
    budget = filled(
        80, [("pinned", "p" * 60, 0), ("near", "n" * 60, 1), ("far", "f" * 60, 2), ("near too", "m" * 60, 1)]
    )
    text, dropped = budget.render()
    assert [entry.name for entry in dropped] == ["far", "near too"]
    assert text.endswith("## Left out\n\nThese parts did not fit into the context: far, near too.")
    assert dropped[0].context_tokens == 20


def test_a_pinned_section_that_is_too_long_loses_its_end_and_the_short_ones_stay_whole():
    budget = filled(100, [("role", "You test.", 0), ("task", "word " * 500, 0), ("closing", "Report it.", 0)])
    text, dropped = budget.render()
    assert [entry.name for entry in dropped] == ["the end of task"]
    assert "You test." in text
    assert "Report it." in text
    assert "did not fit into the context: the end of task." in text
    assert 90 <= estimate_tokens(text) <= 100, "no room is given away"


def test_where_not_even_the_note_has_room_the_text_is_empty_and_the_list_says_what_was_there():
    text, dropped = filled(2, [("role", "You test.", 0), ("task", "Test.", 0)]).render()
    assert text == ""
    assert {entry.name for entry in dropped} == {"role", "task"}


def test_an_empty_text_adds_nothing():
    assert filled(10, [("role", " \n ", 0)]).render() == ("", [])


def test_the_estimate_is_high_rather_than_low():
    assert estimate_tokens("") == 0
    assert estimate_tokens("abcd") == 2
    assert estimate_tokens("ü" * 3) == 2, "it counts bytes, not characters"
