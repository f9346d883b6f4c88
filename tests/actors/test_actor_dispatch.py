"""Handlers are found by the type of the message, and wrong ones are refused when the class is created."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Generic, TypeAlias, TypeVar

import pytest

from vespera_agents.actors import Actor, InvalidReceiver, Request, receives
from vespera_agents.actors.dispatch import no_handler

T = TypeVar("T")
Mark: TypeAlias = Callable[[Callable[..., Any]], Callable[..., Any]]


def repr_of(mark: object) -> str:
    return "always" if mark is receives else "with when"


class Note: ...


class SpecialNote(Note): ...


class Other: ...


class Get(Request[int]): ...


class Fetch(Request[T], Generic[T]): ...


def test_a_handler_is_found_by_the_exact_type_and_by_a_parent_type() -> None:
    class Reader(Actor):
        @receives
        def note(self, message: Note) -> None: ...

    assert Reader.tables[None][Note] is Reader.note
    assert Reader.tables[None][SpecialNote] is Reader.note
    assert SpecialNote in Reader.tables[None]
    assert Reader.tables[None][Other] is no_handler
    assert Reader.tables[None][Other] is no_handler


def test_the_nearest_parent_type_wins() -> None:
    class Reader(Actor):
        @receives
        def anything(self, message: object) -> None: ...

        @receives
        def note(self, message: Note) -> None: ...

    assert Reader.tables[None][SpecialNote] is Reader.note
    assert Reader.tables[None][int] is Reader.anything


def test_what_was_found_before_does_not_change_what_is_found_next() -> None:
    class Top: ...

    class Left(Top): ...

    class Right(Top): ...

    class Both(Left, Right): ...

    class Reader(Actor):
        @receives
        def top(self, message: Top) -> None: ...

        @receives
        def right(self, message: Right) -> None: ...

    table = Reader.tables[None]
    assert table[Left] is Reader.top
    assert table[Both] is Reader.right, "Right is nearer than Top, whether a Left has come before or not"


def test_a_handler_of_one_state_comes_before_those_for_all_also_by_a_parent_type() -> None:
    class Reader(Actor):
        @receives
        def note(self, message: Note) -> None: ...

        @receives
        def other(self, message: Other) -> None: ...

        @receives(when="asleep")
        def any_note(self, message: Note) -> None: ...

        @receives(when=("away", "gone"))
        def anything(self, message: object) -> None: ...

    assert set(Reader.tables) == {None, "asleep", "away", "gone"}
    assert Reader.tables[None][SpecialNote] is Reader.note
    assert Reader.tables["asleep"][SpecialNote] is Reader.any_note
    assert Reader.tables["asleep"][Other] is Reader.other
    assert Reader.tables["asleep"][int] is no_handler
    assert Reader.tables["away"][Note] is Reader.tables["gone"][Other] is Reader.anything
    assert Reader.tables[None][int] is no_handler


def test_a_subclass_inherits_handlers_of_states_and_may_replace_them() -> None:
    class Parent(Actor):
        @receives(when="on")
        def note(self, message: Note) -> None: ...

        @receives(when="on")
        def other(self, message: Other) -> None: ...

    class Child(Parent):
        @receives(when="on")
        def new_note(self, message: Note) -> None: ...

    assert Child.tables["on"][Note] is Child.new_note
    assert Child.tables["on"][Other] is Child.other
    assert Parent.tables["on"][Note] is Parent.note


def test_a_subclass_inherits_handlers_and_may_replace_them_by_name_or_by_type() -> None:
    class Parent(Actor):
        @receives
        def note(self, message: Note) -> None: ...

        @receives
        def get(self, _message: Get) -> int:
            return 1

    class Child(Parent):
        def note(self, message: Note) -> None: ...

        @receives
        async def other_get(self, _message: Get) -> int:
            return 2

    assert Child.tables[None][Note] is Child.note
    assert Child.tables[None][Get] is Child.other_get
    assert Parent.tables[None][Get] is Parent.get


def test_a_union_is_handled_by_one_method() -> None:
    class Reader(Actor):
        @receives
        def both(self, message: Note | Other) -> None: ...

    assert Reader.tables[None][Note] is Reader.tables[None][Other] is Reader.both


def test_a_generic_request_is_handled_by_its_class() -> None:
    class Reader(Actor):
        @receives
        def fetch(self, _message: Fetch[int]) -> int:
            return 1

    assert Reader.tables[None][Fetch] is Reader.fetch


def test_messages_may_be_local_or_nested_in_the_actor_and_methods_may_be_called_like_builtins() -> None:
    class Local(Request[list[int]]): ...

    class Reader(Actor):
        class Inner: ...

        @receives
        def list(self, _message: Local) -> list[int]:
            return []

        @receives
        def inner(self, message: Inner) -> None: ...

    assert Reader.tables[None][Local] is Reader.list
    assert Reader.tables[None][Reader.Inner] is Reader.inner


def test_a_decorated_handler_keeps_its_mark() -> None:
    def logged(method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def inner(*args: Any) -> Any:
            return method(*args)

        return inner

    class Reader(Actor):
        @logged
        @receives
        def note(self, message: Note) -> None: ...

    assert Reader.tables[None][Note] is Reader.note


# Wrong handlers: each is refused when the class is created, with what to write instead; with `when` as without.

WHENS = pytest.mark.parametrize("mark", [receives, receives(when="on"), receives(when=("on", "off"))], ids=repr_of)


@WHENS
def test_two_handlers_for_one_type_are_refused(mark: Mark) -> None:
    with pytest.raises(InvalidReceiver, match=r"one and .*two both handle Note"):

        class Reader(Actor):
            @mark
            def one(self, message: Note) -> None: ...

            @mark
            def two(self, message: Note) -> None: ...


@WHENS
def test_a_reply_that_does_not_match_the_request_is_refused_with_the_fix(mark: Mark) -> None:
    with pytest.raises(InvalidReceiver, match=r"returns str, but Get is a Request\[int\].*-> int.*Request\[str\]"):

        class Reader(Actor):
            @mark
            def get(self, _message: Get) -> str:
                return ""


@WHENS
def test_an_async_handler_is_checked_by_what_it_awaits_to(mark: Mark) -> None:
    with pytest.raises(InvalidReceiver, match=r"returns None, but Get is a Request\[int\]"):

        class Reader(Actor):
            @mark
            async def get(self, message: Get) -> None: ...


@WHENS
def test_a_request_handler_must_say_what_it_answers(mark: Mark) -> None:
    with pytest.raises(InvalidReceiver, match=r"Annotate it: -> int"):

        class Reader(Actor):
            @mark
            def get(self, _message: Get):  # type: ignore[no-untyped-def]
                return 1


@WHENS
def test_a_reply_to_a_message_that_is_no_request_is_refused(mark: Mark) -> None:
    with pytest.raises(InvalidReceiver, match=r"nobody would see it.*class Note\(Request\[int\]\)"):

        class Reader(Actor):
            @mark
            def note(self, _message: Note) -> int:
                return 1


@WHENS
def test_a_handler_without_annotation_is_refused(mark: Mark) -> None:
    with pytest.raises(InvalidReceiver, match="Annotate its parameter: message: SomeMessage"):

        class Reader(Actor):
            @mark
            def note(self, message): ...  # type: ignore[no-untyped-def]


@WHENS
def test_a_handler_that_does_not_take_one_message_is_refused(mark: Mark) -> None:
    with pytest.raises(InvalidReceiver, match="exactly one message"):

        class TooFew(Actor):
            @mark
            def note(self) -> None: ...

    with pytest.raises(InvalidReceiver, match="exactly one message"):

        class TooMany(Actor):
            @mark
            def note(self, message: Note, more: int) -> None: ...

    with pytest.raises(InvalidReceiver, match="exactly one message"):

        class KeywordOnly(Actor):
            @mark
            def note(self, *, message: Note) -> None: ...


@WHENS
def test_an_annotation_that_cannot_be_read_is_refused(mark: Mark) -> None:
    with pytest.raises(InvalidReceiver, match=r"cannot be read.*TYPE_CHECKING"):

        class Reader(Actor):
            @mark
            def note(self, message: Missing) -> None: ...  # type: ignore[name-defined]  # noqa: F821


@WHENS
def test_an_annotation_that_is_no_class_is_refused(mark: Mark) -> None:
    with pytest.raises(InvalidReceiver, match="no class"):

        class Reader(Actor):
            @mark
            def note(self, message: T) -> None: ...


def test_two_handlers_of_one_type_in_one_state_are_refused_and_in_two_states_they_are_good() -> None:
    with pytest.raises(InvalidReceiver, match=r"one and .*two both handle Note in state 'on'\. Keep one"):

        class Wrong(Actor):
            @receives(when=("off", "on"))
            def one(self, message: Note) -> None: ...

            @receives(when="on")
            def two(self, message: Note) -> None: ...

    class Good(Actor):
        @receives(when="off")
        def one(self, message: Note) -> None: ...

        @receives(when="on")
        def two(self, message: Note) -> None: ...

        @receives
        def three(self, message: Note) -> None: ...

    assert [Good.tables[state][Note] for state in ("off", "on", None)] == [Good.one, Good.two, Good.three]


@WHENS
def test_a_wrong_member_of_a_union_is_refused(mark: Mark) -> None:
    with pytest.raises(InvalidReceiver, match=r"returns None, but Get is a Request\[int\].*-> int"):

        class Reader(Actor):
            @mark
            def both(self, message: Note | Get) -> None: ...


@WHENS
def test_a_handler_inherited_from_a_class_that_is_no_actor_is_checked_too(mark: Mark) -> None:
    class Mixin:
        @mark
        def get(self, _message: Get) -> str:
            return ""

    with pytest.raises(InvalidReceiver, match=r"Mixin.get returns str, but Get is a Request\[int\]"):

        class Reader(Mixin, Actor): ...


@WHENS
def test_only_functions_can_be_marked(mark: Mark) -> None:
    with pytest.raises(InvalidReceiver, match="marks methods"):
        mark(property(len))  # type: ignore[type-var]


def test_a_state_without_its_name_is_refused_with_the_fix() -> None:
    with pytest.raises(InvalidReceiver, match=r"@receives\(when=\.\.\.\)"):

        class Reader(Actor):
            @receives("asleep")  # type: ignore[type-var]
            def note(self, message: Note) -> None: ...


@pytest.mark.parametrize("when", [(), ["asleep"], ("asleep", [])], ids=repr)
def test_what_is_no_state_is_refused(when: Any) -> None:
    with pytest.raises(InvalidReceiver, match='when="waiting"'):
        receives(when=when)


def test_a_hook_that_cannot_be_awaited_is_refused_with_what_to_write() -> None:
    with pytest.raises(InvalidReceiver, match=r"on_stop is awaited. Write it as `async def on_stop\(self"):

        class Hasty(Actor):
            def on_stop(self) -> None:  # type: ignore[override]
                pass


def test_an_on_start_that_wants_more_than_a_snapshot_is_refused_with_what_to_write() -> None:
    with pytest.raises(InvalidReceiver, match=r"on_start\(self, snapshot: X \| None = None\)"):

        class Demanding(Actor):
            async def on_start(self, snapshot: object, more: object) -> None:  # type: ignore[override]
                pass
