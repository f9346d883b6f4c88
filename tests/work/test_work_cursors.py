"""Cursors: what was given out leads on, and nothing else does."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vespera_agents.work.cursors import cursor_of, place_of
from vespera_agents.work.errors import InvalidInput

PLACES = st.lists(st.text(max_size=20) | st.integers(-(1 << 62), 1 << 62) | st.floats(-1e15, 1e15), max_size=3)


def written(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


@given(PLACES)
def test_a_place_comes_back_as_it_was_written_down(place: list[str | float]) -> None:
    assert place_of("task", cursor_of("task", *place)) == place


@given(st.text(max_size=600))
def test_what_was_not_given_out_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="was not given out"):
        place_of("task", text)


@pytest.mark.parametrize(
    "value",
    [["session", 1], [], {}, "task", ["task", True], ["task", None], ["task", [1]], ["task", 1 << 63], ["task", 1e400]],
)
def test_what_is_of_another_list_or_shape_is_refused(value: object) -> None:
    with pytest.raises(InvalidInput):
        place_of("task", written(value))


def test_a_long_cursor_is_refused_without_being_read_whole() -> None:
    with pytest.raises(InvalidInput) as refused:
        place_of("task", "A" * 1_000_000)
    assert len(refused.value.what) < 200
