"""The words of one exchange with a model: what is asked, what comes back, and what a provider is.

Every provider speaks these and nothing else: whoever asks knows no vendor. Values only, no I/O; `errors` holds what an
exchange can fail with. Neighbours: the adapters translate these to a wire, `models` adds retries, limits and prices.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, Protocol, final, runtime_checkable

__all__ = [
    "Capabilities",
    "Chunk",
    "Completion",
    "CompletionStream",
    "Conditional",
    "Finish",
    "ModelMessage",
    "ModelRequest",
    "Need",
    "Price",
    "Provider",
    "ProviderStatistics",
    "Punctual",
    "ToolCall",
    "ToolResult",
    "ToolSpec",
    "Usage",
]


class Finish(StrEnum):
    """Why a model stopped."""

    END = "end"
    TOOLS = "tools"
    """It wants tools to be called."""
    LENGTH = "length"
    """It reached the limit of its answer."""
    REFUSED = "refused"
    """It, or a filter of its vendor, does not want to answer."""


@final
@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool that a model may ask for."""

    name: str
    description: str
    parameters: Mapping[str, object]
    """A JSON Schema of an object."""


@final
@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool that a model asks for."""

    id: str
    name: str
    arguments: Mapping[str, object]


@final
@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool gave."""

    call_id: str
    name: str
    text: str
    is_error: bool = False


@final
@dataclass(frozen=True, slots=True)
class ModelMessage:
    """One turn of a conversation; an assistant's may hold calls, a user's the results of calls."""

    author: Literal["user", "assistant"]
    text: str = ""
    calls: tuple[ToolCall, ...] = ()
    results: tuple[ToolResult, ...] = ()


@final
@dataclass(frozen=True, slots=True)
class ModelRequest:
    """What a model is asked."""

    model: str
    """The vendor's name of it; empty: the provider's default."""
    system: str
    messages: tuple[ModelMessage, ...]
    tools: tuple[ToolSpec, ...] = ()
    output_tokens_max: int = 4_096
    temperature: float | None = None
    timeout_seconds: float = 120.0
    """For all of it; past it the exchange ends with `TimedOut`."""
    purpose: str = ""
    """The `Need.purpose` that it is for, where there is one; it is not sent, a provider may write it down."""
    session_id: str | None = None
    """The `Need.session_id` that it is for; it is not sent, but says whose client is asked for its model."""


@final
@dataclass(frozen=True, slots=True)
class Usage:
    """What an exchange took, in the vendor's own tokens."""

    input_tokens: int
    """With those that came out of a cache."""
    output_tokens: int
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    estimated: bool = False
    """Counted here, because the vendor did not say it."""


@final
@dataclass(frozen=True, slots=True)
class Completion:
    """What a model answered."""

    provider: str
    model: str
    """As the vendor names the one that answered."""
    text: str
    finish: Finish
    usage: Usage
    calls: tuple[ToolCall, ...] = ()
    cost_usd: float | None = None
    """None: the price of this model is not known."""
    why: str = ""
    """Why this provider and model, in a sentence; written by who chose it."""


@final
@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of an answer on its way."""

    text: str


class CompletionStream(Protocol):
    """An answer on its way: iterate the chunks, then read the whole."""

    def __aiter__(self) -> AsyncIterator[Chunk]:
        """Give the chunks as they come.

        Raises:
            ProviderError: the answer broke off.
        """
        ...

    @property
    def completion(self) -> Completion:
        """The whole answer; only after the last chunk."""
        ...


@final
@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a model can do."""

    context_tokens_max: int
    """Of input and output together, in the vendor's tokens."""
    output_tokens_max: int
    tools: bool = True
    streams: bool = True
    local: bool = False
    """Runs on a machine of the owner's: nothing leaves it, and it costs nothing."""
    acts_alone: bool = False
    """Works in a directory with tools of its own (Claude Code): it is given a whole task, not a step."""


@final
@dataclass(frozen=True, slots=True)
class Price:
    """What a model costs, in US dollars for a million tokens."""

    input_usd: float
    output_usd: float
    cache_read_usd: float | None = None
    """None: as other input."""
    cache_write_usd: float | None = None


@final
@dataclass(frozen=True, slots=True)
class ProviderStatistics:
    """One provider at one moment."""

    name: str
    models: tuple[str, ...]
    in_flight: int
    requests: int
    failures: int


class Provider(Protocol):
    """Whoever has models: a vendor's address, the client's own model, a process, a script."""

    @property
    def name(self) -> str:
        """As the configuration names it."""
        ...

    @property
    def models(self) -> Sequence[str]:
        """Its models, the default first; empty: whatever the other side has."""
        ...

    async def complete(self, request: ModelRequest) -> Completion:
        """Have one request answered, once: no retry, no waiting for room.

        Cancelled: the connection is closed at once.

        Raises:
            ProviderError: see `errors`; every failure of the other side is one.
        """
        ...

    def stream(self, request: ModelRequest) -> AbstractAsyncContextManager[CompletionStream]:
        """Have one request answered bit by bit; leaving the block closes the connection.

        Raises:
            ProviderError: as `complete`, on entering or while iterating.
        """
        ...

    def capabilities(self, model: str) -> Capabilities:
        """Say what a model can do; of one that is not known, what is safe to assume."""
        ...

    def price(self, model: str) -> Price | None:
        """Say what a model costs; None where nobody knows."""
        ...

    def statistics(self) -> ProviderStatistics:
        """Give its numbers as they are now."""
        ...

    async def aclose(self) -> None:
        """Let go of its connections; whoever opened it does this, once nobody asks it any more."""
        ...


@runtime_checkable
class Conditional(Protocol):
    """A provider that is there for some sessions only."""

    def hindrance(self, session_id: str | None) -> str | None:
        """Say why it cannot be asked for the work of a session; None where it can."""
        ...


@runtime_checkable
class Punctual(Protocol):
    """A provider whose `complete` ends by the time of its request for certain: nobody else has to cut it off."""

    keeps_time: Literal[True]


@final
@dataclass(frozen=True, slots=True)
class Need:
    """What somebody needs a model for: what a choice is made by, and whom it is charged to."""

    purpose: str
    """Unique for one wish, the same when it is repeated: a reservation is made under it once."""
    session_id: str | None = None
    task_id: str | None = None
    role: str = ""
    model: str | None = None
    """`provider/model`, or a model of any provider; preferred while it is well."""
    policy: str | None = None
    """cheapest | fastest | best | local; the configuration's unless given."""
    context_tokens: int = 0
    """o200k tokens that are sent."""
    tools: bool = False
    """Whether tools are called."""
    complexity: str = "moderate"
    tried: tuple[str, ...] = field(default=())
    """Providers that are not to be asked again for this."""

    def naming(self, model: str) -> Need:
        """Give the same with a model that is asked for by name."""
        # `replace` takes three times as long.
        return Need(
            self.purpose,
            self.session_id,
            self.task_id,
            self.role,
            model,
            self.policy,
            self.context_tokens,
            self.tools,
            self.complexity,
            self.tried,
        )
