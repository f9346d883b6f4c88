"""Which reply a request wants, and which annotations fit it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Generic, Literal, NewType, NoReturn, Protocol, TypeVar

import pytest

from vespera_agents.actors import Request
from vespera_agents.actors.replies import NOT_A_REQUEST, fits, reply_type_of

T = TypeVar("T")
U = TypeVar("U")
UserId = NewType("UserId", int)


class Plain(Request[int]): ...


class Deeper(Plain): ...


class Fetch(Request[T], Generic[T]): ...


class FetchText(Fetch[str]): ...


class Pair(Request[tuple[T, U]], Generic[T, U]): ...


class Bare(Request): ...  # type: ignore[type-arg]


class Mixed(dict[str, int], Request[None]): ...


class Speaks(Protocol):
    def speak(self) -> str: ...


@pytest.mark.parametrize(
    ("message", "reply"),
    [
        (Plain, int),
        (Deeper, int),
        (FetchText, str),
        (Fetch[bytes], bytes),
        (Pair[int, str], tuple[int, str]),
        (Request[float], float),
        (Request, Any),
        (Bare, Any),
        (Mixed, None),
        (int, NOT_A_REQUEST),
        (list[int], NOT_A_REQUEST),
        ("text", NOT_A_REQUEST),
    ],
)
def test_the_reply_type_is_read_through_parents_and_parameters(message: object, reply: object) -> None:
    found = reply_type_of(message)
    assert found == reply or (reply is None and found is type(None))


@pytest.mark.parametrize(
    ("declared", "wanted"),
    [
        (int, int),
        (bool, int),
        (int, float),
        (None, type(None)),
        (int, int | None),
        (None, int | None),
        (int | None, int | str | None),
        (list[int], list[int]),
        (list[int], Sequence[int]),
        (dict[str, int], Mapping[str, int]),
        (tuple[int, str], tuple[int, str]),
        (list, Sequence[int]),
        (Literal["a"], str),
        (Literal["a"], Literal["a", "b"]),
        (UserId, int),
        (UserId, UserId),
        (Any, int),
        (int, Any),
        (int, object),
        (NoReturn, int),
        (T, int),
        (int, Speaks),
        (int, "not a type at all"),
    ],
)
def test_replies_that_may_fit_are_accepted(declared: object, wanted: object) -> None:
    assert fits(declared, wanted)


@pytest.mark.parametrize(
    ("declared", "wanted"),
    [
        (str, int),
        (object, int),
        (None, int),
        (int | None, int),
        (int | str, int | None),
        (list[int], list[str]),
        (list[int], tuple[int, ...]),
        (Sequence[int], list[int]),
        (Literal["a"], int),
        (str, Literal["a"]),
        (Literal["c"], Literal["a", "b"]),
        (UserId, str),
    ],
)
def test_replies_that_cannot_fit_are_refused(declared: object, wanted: object) -> None:
    assert not fits(declared, wanted)
