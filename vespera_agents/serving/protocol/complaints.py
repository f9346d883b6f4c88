"""What went wrong, in one shape: what is wrong with which value, and the next call to make.

Every failure that a client can cause or must know of becomes a Complaint, whoever raised it; wrong arguments are told
in our words, not in those of the validating library. Pure. Neighbours: `server` sends a Complaint as `isError`.
"""

from __future__ import annotations

import difflib
import errno
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, cast, final

from pydantic import BaseModel, ValidationError

from vespera_agents.store.errors import ArtifactMissing, KeyConflict, StoreError
from vespera_agents.work.errors import PlanError, Refusal
from vespera_agents.workspace.errors import WorkspaceError

__all__ = [
    "ERROR_META",
    "EXPECTED",
    "Complaint",
    "about_arguments",
    "about_failure",
    "about_fault",
    "about_kept",
    "about_unknown_tool",
    "about_unserved_tool",
    "is_ours",
]

ERROR_META: Final = "io.vespera/error"
"""Where a failed call tells programs the kind of its failure."""

EXPECTED: Final = (Refusal, WorkspaceError, StoreError, PlanError)
"""What the facade raises to be told to the client; anything else is our own fault."""

_OF_THE_MACHINE: Final = {
    errno.EMFILE: "Call again in a moment: too many files are open (ulimit -n)",
    errno.ENFILE: "Call again in a moment: too many files are open on this machine",
    errno.ENOMEM: "Call again when there is memory",
    errno.ENOSPC: "Free some disk space and call again",
    errno.EDQUOT: "Free some disk space and call again",
    errno.EROFS: "Make the file system writable and call again",
    errno.EIO: "Look whether the disk is sound and call again",
}
"""What is nobody's fault, wherever it strikes, and what to do about it."""
_MACHINE: Final = "machine_trouble"
_INTERNAL: Final = "internal_error"
_PROBLEMS_MAX: Final = 5
_VALUE_MAX: Final = 80


@final
@dataclass(frozen=True, slots=True)
class Complaint:
    """One failure."""

    kind: str
    """A word for programs: the class of the failure in snake case."""
    what: str
    """What is wrong, with the offending value."""
    next_action: str
    """What to do next."""

    @property
    def text(self) -> str:
        """The complaint as a client reads it."""
        return f"{self.what}{'' if self.what.endswith('?') else '.'}\nNext: {self.next_action}"


def about_failure(error: Exception) -> Complaint:
    """Tell what the facade refused or could not do."""
    kind = _kind(type(error).__name__)
    if isinstance(error, Refusal):
        return Complaint(kind, error.what.rstrip("."), error.next_action)
    if isinstance(error, KeyConflict):
        return Complaint(kind, str(error).rstrip("."), "Use a new key for a new wish, or repeat the call unchanged.")
    # These errors say in their last sentence what to do next.
    what, _, next_action = str(error).rstrip().removesuffix(".").rpartition(". ")
    if not what:
        what, next_action = next_action, "Correct this and call again"
    return Complaint(kind, what, f"{next_action}.")


def about_kept(refusal: Mapping[str, str]) -> Complaint:
    """Tell a refusal that ended a job: its class, what, and the next action."""
    return Complaint(_kind(refusal["kind"]), refusal["what"].rstrip("."), refusal["next_action"])


def about_fault(error: Exception, identifier: str) -> Complaint:
    """Tell of a fault of ours; the traceback is in the server's log under the identifier."""
    if isinstance(error, OSError) and error.errno in _OF_THE_MACHINE:
        return Complaint(
            _MACHINE,
            f"the machine refused what this call needs: {error.strerror} ({error.filename})",
            f"{_OF_THE_MACHINE[error.errno]}; the server's log on its standard error tells more under {identifier}.",
        )
    return Complaint(
        _INTERNAL,
        f"internal error {identifier}: {type(error).__name__}",
        "Look at the state with orchestrator_get_status before you call again; the server's log on its standard error "
        f"tells more under {identifier}.",
    )


def about_unknown_tool(name: str, known: Sequence[str]) -> Complaint:
    """Tell that there is no such tool, with near ones."""
    near = difflib.get_close_matches(name, known, 3, 0.5) or list(known)
    return Complaint("unknown_tool", f"there is no tool {_shown(name)}", f"Call one of: {', '.join(near)}.")


def about_unserved_tool(name: str, served: Sequence[str]) -> Complaint:
    """Tell that a tool exists, but that this server was started without it."""
    return Complaint(
        "unknown_tool",
        f"the tool {name} is not served here",
        f"Call one of: {', '.join(served)}. Who starts the server can add it: `vespera serve --tools core,{name}`, or "
        "`--tools full`.",
    )


def about_arguments(tool: str, parameters: type[BaseModel], error: ValidationError) -> Complaint:
    """Tell which arguments are wrong and how."""
    found = error.errors(include_url=False)
    problems = [_problem(one, parameters) for one in found[:_PROBLEMS_MAX]]
    if len(found) > _PROBLEMS_MAX:
        problems.append(f"and {len(found) - _PROBLEMS_MAX} more")
    return Complaint("invalid_arguments", "; ".join(problems), f"Correct this and call {tool} again.")


def is_ours(kind: str) -> bool:
    """Say whether a failure of this kind is our fault, the database's or the machine's, and not the client's."""
    return kind in _OURS


def _kind(name: str) -> str:
    """Give the word for a class of failures."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name.lstrip("_")).lower()


_OF_CLIENTS: Final = (KeyConflict, ArtifactMissing)
_OURS: Final = frozenset(
    {_MACHINE, _INTERNAL, *(_kind(error.__name__) for error in StoreError.__subclasses__() if error not in _OF_CLIENTS)}
)


def _problem(detail: Mapping[str, object], parameters: type[BaseModel]) -> str:
    """Tell one entry of `ValidationError.errors`."""
    location = cast("tuple[int | str, ...]", detail["loc"])
    place = _place(location)
    kind = str(detail["type"])
    if kind == "extra_forbidden":
        return _unknown_parameter(location, parameters, place)
    if kind == "missing":
        return f"{place} is missing"
    context = cast("Mapping[str, object]", detail.get("ctx", {}))
    rule = _RULES.get(kind)
    if kind == "value_error":
        wish = str(context["error"])
    else:
        message = str(detail["msg"])
        wish = rule(context) if rule else message[:1].lower() + message[1:]
    return f"{place} {wish}" if kind in _LENGTHS else f"{place} {wish}, not {_shown(detail['input'])}"


def _place(location: Sequence[int | str]) -> str:
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in location]
    return "".join(parts).lstrip(".") or "the arguments"


def _unknown_parameter(location: Sequence[int | str], parameters: type[BaseModel], place: str) -> str:
    if len(location) > 1:
        return f"{place} is not known"
    name, known = str(location[-1]), list(parameters.model_fields)
    near = difflib.get_close_matches(name, known, 1)
    hint = f"; did you mean {near[0]}?" if near else f"; it takes {', '.join(known)}"
    return f"{_shown(name)} is not a parameter{hint}"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _VALUE_MAX else f"{text[:_VALUE_MAX]}..."


def _choices(context: Mapping[str, object]) -> str:
    return f"must be one of {str(context['expected']).replace(chr(39), '')}"


def _count(limit: str, words: str) -> Callable[[Mapping[str, object]], str]:
    return lambda context: words.format(context[limit])


def _fixed(words: str) -> Callable[[Mapping[str, object]], str]:
    return lambda _: words


_LENGTHS: Final[Collection[str]] = ("string_too_long", "string_too_short", "too_long")
_RULES: Final[Mapping[str, Callable[[Mapping[str, object]], str]]] = {
    "bool_parsing": _fixed("must be true or false"),
    "bool_type": _fixed("must be true or false"),
    "dict_type": _fixed("must be an object"),
    "enum": _choices,
    "float_parsing": _fixed("must be a number"),
    "float_type": _fixed("must be a number"),
    "greater_than": _count("gt", "must be more than {}"),
    "greater_than_equal": _count("ge", "must be at least {}"),
    "int_from_float": _fixed("must be a whole number"),
    "int_parsing": _fixed("must be a whole number"),
    "int_type": _fixed("must be a whole number"),
    "less_than_equal": _count("le", "must be at most {}"),
    "list_type": _fixed("must be a list"),
    "literal_error": _choices,
    "model_type": _fixed("must be an object"),
    "string_too_long": _count("max_length", "must have at most {} characters"),
    "string_too_short": _count("min_length", "must have at least {} character(s)"),
    "string_type": _fixed("must be a text"),
    "string_unicode": _fixed("must be a valid Unicode text"),
    "tuple_type": _fixed("must be a list"),
    "too_long": _count("max_length", "must have at most {} entries"),
}
"""Our words for each kind of problem that the validating library tells of."""
