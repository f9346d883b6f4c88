"""From the type of a message to the method that handles it: `@receives` and the table behind it.

The table is built and checked when the actor's class is created, from the annotations of marked methods, and looked up
with one dict access per message. It does not call handlers; the actor's cell does.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from types import FrameType, NoneType, UnionType
from typing import Any, Final, TypeAlias, TypeVar, Union, cast, final, get_args, get_origin, get_type_hints

from vespera_agents.actors.errors import InvalidReceiver
from vespera_agents.actors.replies import NOT_A_REQUEST, fits, reply_type_of

HandlerFunction: TypeAlias = Callable[[Any, Any], object]
"""An unbound handler: it takes the actor and the message, and returns a reply or an awaitable coroutine."""

Method = TypeVar("Method", bound=Callable[..., object])

_MARK: Final = "__vespera_receives__"


def receives(method: Method) -> Method:
    """Mark a method as the handler of the message type that its one parameter is annotated with.

    The method may be sync or async. For a `Request[R]` it returns an `R`; for any other message it returns nothing.
    A union of message types makes it the handler of each.
    """
    if not inspect.isfunction(method):
        raise InvalidReceiver(f"@receives marks methods, not {method!r}. Put it directly above `def` or `async def`.")
    setattr(method, _MARK, True)
    return cast("Method", method)


def no_handler(_actor: object, _message: object) -> None:
    """Stand in for the handler of a message type that nobody handles; the cell compares with it, nobody calls it."""


@final
class Table(dict[type, HandlerFunction]):
    """The handlers of one actor class by message type. Subclasses of a message are looked up once, then cached."""

    __slots__ = ()

    def __missing__(self, message_type: type) -> HandlerFunction:
        """Find the handler of the nearest parent type, and remember it."""
        for parent in message_type.__mro__[1:]:
            handler = self.get(parent)
            if handler is not None and handler is not no_handler:
                self[message_type] = handler
                return handler
        self[message_type] = no_handler
        return no_handler


def build_table(actor_class: type, defined_in: FrameType | None) -> Table:
    """Collect and check the handlers of `actor_class`.

    Args:
        actor_class: The class just created; its parents' handlers count too, its own come first.
        defined_in: The frame of the class statement, so that annotations may name types local to a function.

    Raises:
        InvalidReceiver: A handler cannot be called with one message, has no usable annotation, returns the wrong reply
            type, or two methods of one class handle the same type.
    """
    table = Table()
    for owner in reversed(actor_class.__mro__):
        own: dict[type, str] = {}
        for name, member in vars(owner).items():
            if not getattr(member, _MARK, False):
                continue
            method = cast("HandlerFunction", getattr(actor_class, name))
            for message_type in _message_types(actor_class, owner, cast("HandlerFunction", member), defined_in):
                if message_type in own:
                    raise InvalidReceiver(
                        f"{owner.__qualname__}.{own[message_type]} and {owner.__qualname__}.{name} both handle "
                        f"{message_type.__qualname__}. Keep one of them."
                    )
                own[message_type] = name
                table[message_type] = method
    return table


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
