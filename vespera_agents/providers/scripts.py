r"""What the scripted provider answers: rules on a request, answers in order, and failures, as values or as a file.

A file is JSON or TOML, and says the same as the values here, field by field:

    models = ["scripted-1"]
    price = { input_usd = 1.0, output_usd = 2.0 }

    [[rules]]                                 # the first rule that fits a request gives its answer
    contains = ["add a retry"]
    lacks = ["result of edit_file"]
    calls = [{ name = "edit_file", arguments = { path = "a.py", text = "x = 1" } }]

    [[rules]]
    pattern = 'task (?P<id>[A-Z]+-\d+)'       # what its groups find can be put into the answer
    text = "The work on {id} is done."
    seconds = 0.2

    [[rules]]
    chance = 0.1
    fails = { kind = "rate-limited", retry_after_seconds = 2.0 }

Neighbours: `scripted` is the provider that answers by it.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import ClassVar, Final, cast, final

from pydantic import ConfigDict, TypeAdapter, ValidationError

from vespera_agents.providers.errors import NotConfigured
from vespera_agents.providers.exchange import Finish, ModelRequest, Price, Usage

__all__ = ["Answer", "Failure", "FailureKind", "Rule", "Script", "ScriptedCall", "read_script", "shown_text"]

_BYTES_MAX: Final = 16 << 20
_STRICT: Final = ConfigDict(extra="forbid")
"""A field of a file that nobody reads is a mistake of whoever wrote it."""


class FailureKind(StrEnum):
    """What a scripted exchange can fail with: each error of `errors`."""

    NOT_CONFIGURED = "not-configured"
    BAD_REQUEST = "bad-request"
    CONTEXT_TOO_LONG = "context-too-long"
    ACCESS_DENIED = "access-denied"
    RATE_LIMITED = "rate-limited"
    UNAVAILABLE = "unavailable"
    TIMED_OUT = "timed-out"
    MALFORMED_ANSWER = "malformed-answer"
    CIRCUIT_OPEN = "circuit-open"
    SPEND_LIMIT_REACHED = "spend-limit-reached"


@final
@dataclass(frozen=True, slots=True)
class Failure:
    """How an exchange fails."""

    __pydantic_config__: ClassVar = _STRICT

    kind: FailureKind = FailureKind.UNAVAILABLE
    retry_after_seconds: float | None = None
    """What a limited or an open one asks for."""
    after_characters: int | None = None
    """How much of the answer's text comes before; None: nothing of it. Only a stream shows the difference."""


@final
@dataclass(frozen=True, slots=True)
class ScriptedCall:
    """A tool that the answer asks for; its id is made up, unique for a provider."""

    __pydantic_config__: ClassVar = _STRICT

    name: str
    arguments: Mapping[str, object] = field(default_factory=dict[str, object])


@final
@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, and how it comes."""

    __pydantic_config__: ClassVar = _STRICT

    text: str = ""
    calls: tuple[ScriptedCall, ...] = ()
    finish: Finish | None = None
    """None: it wants tools if there are calls, else it is at its end."""
    usage: Usage | None = None
    """None: counted, a token for each four bytes begun."""
    seconds: float = 0.0
    """Before the first chunk."""
    chunk_characters: int = 16
    chunk_seconds: float = 0.0
    """Between two chunks."""
    fails: Failure | None = None


@final
@dataclass(frozen=True, slots=True)
class Rule:
    """An answer, and which requests it is for: all of what is said here must be so."""

    answer: Answer = field(default_factory=Answer)
    contains: tuple[str, ...] = ()
    """Each stands somewhere in the request: in its system text, or in a message."""
    lacks: tuple[str, ...] = ()
    """None of these does."""
    pattern: str = ""
    """Is found in it; `{name}` in the answer's text and calls becomes what the group of that name has found."""
    purpose: str = ""
    """Is found in the request's purpose."""
    model: str = ""
    """The request is for this model."""
    tool: str = ""
    """The request offers this tool."""
    times_max: int | None = None
    """How often it is used, in this process."""
    chance: float = 1.0
    """How probable it is that it is used where it fits."""
    when: Callable[[ModelRequest], bool] | None = None
    """Any other condition; not in a file."""

    def fit(self, request: ModelRequest, shown: str) -> Answer | None:
        """Give the answer to a request whose text is `shown`; None where this rule is not for it."""
        fits = (
            (not self.model or request.model == self.model)
            and (not self.tool or any(tool.name == self.tool for tool in request.tools))
            and all(part in shown for part in self.contains)
            and not any(part in shown for part in self.lacks)
            and (not self.purpose or re.search(self.purpose, request.purpose) is not None)
            and (self.when is None or self.when(request))
        )
        if not fits:
            return None
        if not self.pattern:
            return self.answer
        found = re.search(self.pattern, shown)
        return None if found is None else _filled(self.answer, found.groupdict(default=""))


@final
@dataclass(frozen=True, slots=True)
class Script:
    """All that a scripted provider does."""

    rules: tuple[Rule, ...] = ()
    answers: tuple[Answer, ...] = ()
    """For requests that no rule fits, in this order, each once."""
    otherwise: Answer | None = None
    """After these; None: such a request is refused as a bad one."""
    models: tuple[str, ...] = ("scripted-1",)
    price: Price | None = None
    context_tokens_max: int = 1_000_000
    """A request and its answer that are longer fail as they do at a vendor."""
    output_tokens_max: int = 64_000
    tools: bool = True
    local: bool = True
    acts_alone: bool = False
    in_flight_max: int | None = None
    """How many requests it takes at once; what is more is limited, as at a vendor."""
    seed: int = 0
    """What chances begin with."""


@final
@dataclass(frozen=True, slots=True)
class _RuleInFile:
    """A rule as a file has it: condition and answer beside each other."""

    __pydantic_config__: ClassVar = _STRICT

    contains: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    pattern: str = ""
    purpose: str = ""
    model: str = ""
    tool: str = ""
    times_max: int | None = None
    chance: float = 1.0
    text: str = ""
    calls: tuple[ScriptedCall, ...] = ()
    finish: Finish | None = None
    usage: Usage | None = None
    seconds: float = 0.0
    chunk_characters: int = 16
    chunk_seconds: float = 0.0
    fails: Failure | None = None

    def rule(self) -> Rule:
        """Give the rule."""
        return Rule(
            Answer(
                self.text,
                self.calls,
                self.finish,
                self.usage,
                self.seconds,
                self.chunk_characters,
                self.chunk_seconds,
                self.fails,
            ),
            self.contains,
            self.lacks,
            re.compile(self.pattern).pattern,
            re.compile(self.purpose).pattern,
            self.model,
            self.tool,
            self.times_max,
            self.chance,
        )


def shown_text(request: ModelRequest) -> str:
    """Put together all that a model reads of a request, what tools gave included, without the tools' descriptions."""
    parts = [request.system]
    for message in request.messages:
        parts.append(message.text)
        parts.extend(json.dumps(dict(call.arguments), default=str) for call in message.calls)
        parts.extend(result.text for result in message.results)
    return "\n".join(parts)


def read_script(provider: str, path: Path) -> Script:
    """Read a script out of a file that ends with .json or .toml.

    Raises:
        NotConfigured: there is none, or it is not valid.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_BYTES_MAX + 1)
        if len(data) > _BYTES_MAX:
            raise ValueError(f"it is larger than {_BYTES_MAX} bytes")  # noqa: TRY301 - one sentence for all of it
        table = json.loads(data) if path.suffix == ".json" else tomllib.loads(data.decode())
        if not isinstance(table, dict):
            raise ValueError("it is not a table")  # noqa: TRY004, TRY301 - as above
        fields = cast("dict[str, object]", table)
        rules = TypeAdapter(tuple[_RuleInFile, ...]).validate_python(fields.pop("rules", ()))
        if unknown := fields.keys() - Script.__dataclass_fields__.keys():
            raise ValueError(f"nothing is known of {', '.join(sorted(unknown))}")  # noqa: TRY301 - as above
        return replace(TypeAdapter(Script).validate_python(fields), rules=tuple(rule.rule() for rule in rules))
    except (OSError, ValueError, ValidationError, re.error) as error:
        what = f"its script {path.name} cannot be used ({str(error).strip() or type(error).__name__})"
        raise NotConfigured(provider, what, "Correct the script; providers/scripts says what it may hold") from None


def _filled(answer: Answer, found: Mapping[str, str]) -> Answer:
    calls = tuple(
        ScriptedCall(call.name, cast("Mapping[str, object]", _filled_value(call.arguments, found)))
        for call in answer.calls
    )
    return replace(answer, text=_filled_text(answer.text, found), calls=calls)


def _filled_text(text: str, found: Mapping[str, str]) -> str:
    for name, value in found.items():
        text = text.replace("{" + name + "}", value)
    return text


def _filled_value(value: object, found: Mapping[str, str]) -> object:
    if isinstance(value, str):
        return _filled_text(value, found)
    if isinstance(value, Mapping):
        return {key: _filled_value(one, found) for key, one in cast("Mapping[str, object]", value).items()}
    if isinstance(value, list | tuple):
        return [_filled_value(one, found) for one in cast("list[object]", value)]
    return value
