"""Which reply a message type asks for, and whether a handler's annotation fits it.

Pure questions about types, asked once per handler when its class is created. It refuses only what is certainly wrong:
what it cannot judge (type variables, protocols, parameters it does not know) is left to the type checker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, Final, Literal, Never, NewType, NoReturn, TypeVar, Union, cast, get_args, get_origin

from vespera_agents.actors.messages import Request

NOT_A_REQUEST: Final = object()
"""What `reply_type_of` says of a message that wants no answer. (None is a good reply type: "done".)"""

FITS_ANYWHERE: Final[Sequence[object]] = (Any, Never, NoReturn)
"""Annotations that are good as any reply: unchecked, or it never comes to one."""
TAKES_ANYTHING: Final[Sequence[object]] = (Any, object)
"""Reply types that any reply is good for."""


def reply_type_of(message: object) -> object:
    """Return the `R` of a message class or alias that descends from `Request[R]`, or NOT_A_REQUEST."""
    origin = get_origin(message) or message
    if not (isinstance(origin, type) and issubclass(origin, Request)):
        return NOT_A_REQUEST
    if origin is Request:
        arguments = get_args(message)
        return arguments[0] if arguments else Any
    message_class = cast("type", origin)
    given = _parameters_of(message_class, get_args(message))
    for parent in cast("tuple[object, ...]", vars(message_class).get("__orig_bases__", message_class.__bases__)):
        found = reply_type_of(_filled_in(parent, given))
        if found is not NOT_A_REQUEST:
            return found
    return Any


def fits(declared: object, wanted: object) -> bool:
    """Whether a reply annotated `declared` may answer a request that wants `wanted`; True where it cannot be judged."""
    declared, wanted = _plain(declared), _plain(wanted)
    if declared == wanted or _is_in(declared, FITS_ANYWHERE) or _is_in(wanted, TAKES_ANYTHING):
        return True
    if _is_union(declared):
        return all(fits(member, wanted) for member in get_args(declared))
    if _is_union(wanted):
        return any(fits(declared, member) for member in get_args(wanted))
    if get_origin(wanted) is Literal:
        return get_origin(declared) is Literal and set(get_args(declared)) <= set(get_args(wanted))
    if get_origin(declared) is Literal:
        return all(fits(type(cast("object", value)), wanted) for value in get_args(declared))
    return _classes_fit(declared, wanted)


def _classes_fit(declared: object, wanted: object) -> bool:
    declared_class, wanted_class = get_origin(declared) or declared, get_origin(wanted) or wanted
    if not (isinstance(declared_class, type) and isinstance(wanted_class, type)):
        return True
    if getattr(wanted_class, "_is_protocol", False):
        return True
    if (declared_class, wanted_class) in ((int, float), (int, complex), (float, complex)):
        return True
    if not issubclass(declared_class, wanted_class):
        return False
    inner_declared, inner_wanted = get_args(declared), get_args(wanted)
    if len(inner_declared) != len(inner_wanted):
        return True
    return all(fits(one, other) for one, other in zip(inner_declared, inner_wanted, strict=True))


def _plain(annotation: object) -> object:
    if annotation is None:
        return NoneType
    if isinstance(annotation, TypeVar):
        return Any
    while isinstance(annotation, NewType):
        annotation = annotation.__supertype__
    return annotation


def _is_in(annotation: object, choices: Sequence[object]) -> bool:
    return any(annotation is choice for choice in choices)


def _is_union(annotation: object) -> bool:
    return get_origin(annotation) in (Union, UnionType)


def _parameters_of(origin: type, arguments: tuple[object, ...]) -> Mapping[object, object]:
    parameters = cast("tuple[object, ...]", getattr(origin, "__parameters__", ()))
    return dict(zip(parameters, arguments, strict=False))


def _filled_in(parent: object, given: Mapping[object, object]) -> object:
    """Replace the type variables of a generic parent by what the child was given for them."""
    variables = cast("tuple[object, ...]", getattr(parent, "__parameters__", ()))
    if get_origin(parent) is None or not variables:
        return parent
    return cast("Any", parent)[tuple(given.get(variable, Any) for variable in variables)]
