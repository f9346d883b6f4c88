"""From the type of a message to the method that handles it: `@receives` and the tables behind it.

The tables are built and checked when the actor's class is created, from the annotations of marked methods, and looked
up with one dict access per message: one table for a plain actor, one per state for a state machine. It does not call
handlers; `drain` does.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable, Iterable, Mapping
from functools import partial
from types import FrameType, NoneType, UnionType
from typing import Any, Final, TypeAlias, TypeVar, Union, cast, final, get_args, get_origin, get_type_hints, overload

from vespera_agents.actors.errors import InvalidReceiver
from vespera_agents.actors.replies import NOT_A_REQUEST, fits, reply_type_of

HandlerFunction: TypeAlias = Callable[[Any, Any], object]
"""An unbound handler: it takes the actor and the message, and returns a reply or an awaitable coroutine."""

Handlers: TypeAlias = dict[type, HandlerFunction]
"""What finds the handler of a message by its type: a `Table`, or one that stands in for it."""

Method = TypeVar("Method", bound=Callable[..., object])

_MARK: Final = "__vespera_receives__"


@overload
def receives(method: Method) -> Method: ...
@overload
def receives(*, when: Hashable | tuple[Hashable, ...]) -> Callable[[Method], Method]: ...
def receives(
    method: Method | None = None, *, when: Hashable | tuple[Hashable, ...] = None
) -> Method | Callable[[Method], Method]:
    """Mark a method as the handler of the message type that its one parameter is annotated with.

    The method may be sync or async. For a `Request[R]` it returns an `R`; for any other message it returns nothing.
    A union of message types makes it the handler of each. With `when` it counts only in that state of the actor (or in
    each of a tuple of states), where it comes before every handler for all states, also as that of a parent type:
    see `Actor.become`.
    """
    if method is not None:
        return _mark((None,), method)
    states = cast("tuple[object, ...]", when if isinstance(when, tuple) else (when,))
    if not states or not all(isinstance(state, Hashable) for state in states):
        raise InvalidReceiver(f'{when!r} is no state. Write @receives(when="waiting"), or a tuple of such states.')
    return partial(_mark, cast("tuple[Hashable, ...]", states))


def _mark(states: tuple[Hashable, ...], method: Method) -> Method:
    if not inspect.isfunction(method):
        raise InvalidReceiver(
            f"@receives marks methods, not {method!r}. Put it directly above `def` or `async def`; a state "
            "of the actor has a name: @receives(when=...)."
        )
    setattr(method, _MARK, states)
    return cast("Method", method)


@final
class Unmatched(BaseException):
    """Raised for a message that the actor has no handler for; it never leaves the hot loop."""


def no_handler(_actor: object, _message: object) -> None:
    """Stand in for the handler of a message type that nobody handles."""
    raise Unmatched


@final
class Table(dict[type, HandlerFunction]):
    """The handlers of one actor class in one state by message type. Subclasses of a message are found once and kept."""

    __slots__ = ("_declared", "_for_all")

    def __init__(self, declared: Mapping[type, HandlerFunction] | None = None, for_all: Table | None = None) -> None:
        super().__init__(declared or {})
        # Looked through instead of itself: what was found before must not change what is found next.
        self._declared = dict(self)
        self._for_all = for_all

    def __missing__(self, message_type: type) -> HandlerFunction:
        """Find the handler of the nearest parent type, here or else in the table for every state, and remember it."""
        nearest = next((self._declared[each] for each in message_type.__mro__ if each in self._declared), None)
        if nearest is None:
            nearest = no_handler if self._for_all is None else self._for_all[message_type]
        self[message_type] = nearest
        return nearest


def build_tables(actor_class: type, defined_in: FrameType | None) -> dict[Hashable, Table]:
    """Collect and check the handlers of `actor_class`: one table per state, that of None for every other state.

    Args:
        actor_class: The class just created; its parents' handlers count too, its own come first.
        defined_in: The frame of the class statement, so that annotations may name types local to a function.

    Raises:
        InvalidReceiver: A handler cannot be called with one message, has no usable annotation, returns the wrong reply
            type, or two methods of one class handle the same type in the same state.
    """
    found: dict[Hashable, dict[type, HandlerFunction]] = {None: {}}
    for owner in reversed(actor_class.__mro__):
        own: dict[tuple[Hashable, type], str] = {}
        for name, member in vars(owner).items():
            states: tuple[Hashable, ...] = getattr(member, _MARK, ())
            if not states:
                continue
            method = cast("HandlerFunction", getattr(actor_class, name))
            for message_type in _message_types(actor_class, owner, cast("HandlerFunction", member), defined_in):
                for state in states:
                    if (state, message_type) in own:
                        raise InvalidReceiver(
                            f"{owner.__qualname__}.{own[state, message_type]} and {owner.__qualname__}.{name} both "
                            f"handle {message_type.__qualname__}{'' if state is None else f' in state {state!r}'}. "
                            "Keep one of them."
                        )
                    own[state, message_type] = name
                    found.setdefault(state, {})[message_type] = method
    for_all = Table(found.pop(None))
    return {None: for_all, **{state: Table(declared, for_all) for state, declared in found.items()}}


def check_hooks(actor_class: type, names: Iterable[str]) -> None:
    """Check that these methods of `actor_class` can be awaited.

    Raises:
        InvalidReceiver: One is a plain function.
    """
    for name in names:
        hook = getattr(actor_class, name)
        # One that wraps another may well return something to await.
        if inspect.isfunction(hook) and not inspect.iscoroutinefunction(hook) and not hasattr(hook, "__wrapped__"):
            raise InvalidReceiver(f"{hook.__qualname__} is awaited. Write it as `async def {name}(self, ...)`.")


def takes_one_more(hook: Callable[..., object]) -> bool:
    """Whether a hook has a parameter beside `self`, for the snapshot.

    Raises:
        InvalidReceiver: It has more than one that must be given.
    """
    parameters = list(inspect.signature(hook).parameters.values())[1:]
    if sum(each.default is each.empty and each.kind is each.POSITIONAL_OR_KEYWORD for each in parameters) > 1:
        raise InvalidReceiver(
            f"{getattr(hook, '__qualname__', hook)} is given the snapshot and nothing else. Write it as "
            "`async def on_start(self, snapshot: X | None = None)`."
        )
    return bool(parameters)


def _message_types(
    actor_class: type, owner: type, method: HandlerFunction, defined_in: FrameType | None
) -> tuple[type, ...]:
    """Check one handler, and return the message types it is for."""
    where = f"{owner.__qualname__}.{getattr(method, '__name__', '?')}"
    parameters = list(inspect.signature(method).parameters.values())
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    required = [p for p in parameters if p.default is p.empty and p.kind not in variadic]
    if len(required) != len(("self", "message")) or required[1].kind is inspect.Parameter.KEYWORD_ONLY:
        raise InvalidReceiver(
            f"{where} must take exactly one message: def {method.__name__}(self, message: SomeMessage)."
        )
    hints = _hints(where, actor_class, owner, method, defined_in)
    if required[1].name not in hints:
        raise InvalidReceiver(
            f"{where} does not say which message it handles. Annotate its parameter: {required[1].name}: SomeMessage."
        )
    annotation = hints[required[1].name]
    members = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    found: list[type] = []
    for member in members:
        message_type = get_origin(member) or member
        if not isinstance(message_type, type):
            raise InvalidReceiver(f"{where} is annotated with {member!r}, which is no class. Annotate it with a class.")
        _check_reply(where, member, message_type, hints)
        found.append(message_type)
    return tuple(found)


def _check_reply(where: str, message: object, message_type: type, hints: Mapping[str, object]) -> None:
    wanted = reply_type_of(message)
    if wanted is NOT_A_REQUEST:
        if not fits(hints.get("return"), None):
            raise InvalidReceiver(
                f"{where} returns {_named(hints['return'])}, but {message_type.__qualname__} is not a Request, so "
                f"nobody would see it. Return None, or write class {message_type.__name__}"
                f"(Request[{_named(hints['return'])}])."
            )
        return
    if "return" not in hints:
        raise InvalidReceiver(
            f"{where} answers {message_type.__qualname__} without saying with what. Annotate it: -> {_named(wanted)}."
        )
    if not fits(hints["return"], wanted):
        raise InvalidReceiver(
            f"{where} returns {_named(hints['return'])}, but {message_type.__qualname__} is a "
            f"Request[{_named(wanted)}]. Change the annotation to -> {_named(wanted)}, or the message to "
            f"Request[{_named(hints['return'])}]."
        )


def _hints(
    where: str, actor_class: type, owner: type, method: HandlerFunction, defined_in: FrameType | None
) -> Mapping[str, object]:
    local: dict[str, object] = {}
    if defined_in is not None and defined_in.f_locals is not defined_in.f_globals:
        local |= defined_in.f_locals
    # Types nested in the class, but not its methods: one called `list` must not hide the builtin.
    local |= {name: member for name, member in vars(owner).items() if isinstance(member, type)}
    local[actor_class.__name__] = actor_class
    local[owner.__name__] = owner
    try:
        return get_type_hints(method, localns=local)
    except (NameError, TypeError, AttributeError) as error:
        raise InvalidReceiver(
            f"The annotations of {where} cannot be read: {error}. Its message and reply types must be importable "
            "where the class is defined, not only under TYPE_CHECKING."
        ) from error


def _named(annotation: object) -> str:
    if annotation is NoneType:
        return "None"
    return annotation.__qualname__ if isinstance(annotation, type) else str(annotation)
