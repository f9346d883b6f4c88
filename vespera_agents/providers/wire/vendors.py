"""Which library speaks to which vendor, and how it is opened: with our HTTP client, without retries of its own.

A library is imported when the first request needs it, in a thread, because that takes one to two seconds. What is not
installed says so. Neighbours: `connections` opens the clients, `provider` asks the models that are made here.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, final

import trio

from vespera_agents.providers.errors import NotConfigured
from vespera_agents.providers.settings import Kind, ProviderSettings
from vespera_agents.providers.wire.connections import PLACEHOLDER, open_client, open_older_client

if TYPE_CHECKING:
    from pydantic_ai.models import Model

__all__ = ["COMMON_OPTIONS", "Library"]

COMMON_OPTIONS: Final = frozenset(
    {
        "frequency_penalty",
        "parallel_tool_calls",
        "presence_penalty",
        "seed",
        "service_tier",
        "stop_sequences",
        "thinking",
        "top_k",
        "top_p",
    }
)
"""Options that the libraries translate themselves; any other goes into the request's body as it is."""
_MODELS_MAX: Final = 64
"""Names of models whose objects are kept; a name may be anything that a request says."""
_EXTRAS: Final = {Kind.ANTHROPIC: "anthropic", Kind.GOOGLE: "google", Kind.GROQ: "groq", Kind.COHERE: "cohere"}
"""Which extra of this package brings a kind's library; all others speak as OpenAI does."""


@final
@dataclass(frozen=True, slots=True)
class _Vendor:
    """The library of one vendor, open."""

    make_model: Callable[[str], Model]
    """Give the library's object for a model of that name; cheap."""
    aclose: Callable[[], Awaitable[None]]
    """Let go of its connections."""


@final
class Library:
    """The library that speaks to one provider, opened when it is first needed."""

    def __init__(self, settings: ProviderSettings) -> None:
        self._settings = settings
        self._vendor: _Vendor | None = None
        self._opening = trio.Lock()
        self._models: dict[str, Model] = {}

    async def model(self, name: str) -> Model:
        """Give the library's object for a model.

        Raises:
            NotConfigured: the library is not installed.
        """
        if (model := self._models.get(name)) is not None:
            return model
        async with self._opening:
            if self._vendor is None:
                self._vendor = await trio.to_thread.run_sync(_open_vendor, self._settings)
            if len(self._models) >= _MODELS_MAX:
                self._models.clear()
            model = self._models[name] = self._vendor.make_model(name)
            return model

    async def aclose(self) -> None:
        """Let go of its connections."""
        async with self._opening:
            vendor, self._vendor = self._vendor, None
            self._models.clear()
            if vendor is not None:
                await vendor.aclose()

    def statistics(self) -> tuple[str, ...]:
        """Give the names of the models that were asked for."""
        return tuple(self._models)


def _open_vendor(settings: ProviderSettings) -> _Vendor:
    """Import and open the library for a provider. It blocks, so it belongs into a thread.

    Raises:
        NotConfigured: the library is not installed.
    """
    extra = _EXTRAS.get(settings.kind, "openai")
    try:
        # Usage that cannot be read is counted here, so nobody needs to be warned of it.
        warnings.simplefilter("ignore", importlib.import_module("pydantic_ai.exceptions").UsageExtractionFailedWarning)
        importlib.import_module("pydantic_ai.direct")
        return _OPENERS.get(settings.kind, _open_openai)(settings)
    except ImportError as error:
        missing = error.name or "a library"
    what, advice = f"{missing}, which speaks to it, is not installed", f"Install vespera-agents[{extra}]"
    raise NotConfigured(settings.name, what, advice)


def _open_openai(settings: ProviderSettings) -> _Vendor:
    from openai import AsyncOpenAI  # noqa: PLC0415 - see the module's docstring; so are all of these
    from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel  # noqa: PLC0415
    from pydantic_ai.profiles.openai import OpenAIModelProfile  # noqa: PLC0415
    from pydantic_ai.providers.openai import OpenAIProvider  # noqa: PLC0415
    from pydantic_ai.providers.openai_compatible import OpenAICompatibleProvider  # noqa: PLC0415

    http = open_client(settings)
    client = AsyncOpenAI(api_key=PLACEHOLDER, base_url=_openai_address(settings), max_retries=0, http_client=http)
    # A stream that ends without saying so was cut off, also where it was cut between two chunks.
    profile = OpenAIModelProfile(openai_chat_streaming_requires_finish_reason=True)
    make: Callable[[str], Model]
    match settings.kind:
        case Kind.OPENAI:
            openai = OpenAIProvider(openai_client=client)
            make = lambda name: OpenAIChatModel(name, provider=openai, profile=profile)
        case Kind.OPENAI_RESPONSES:
            openai = OpenAIProvider(openai_client=client)
            make = lambda name: OpenAIResponsesModel(name, provider=openai)
        case Kind.OLLAMA:
            from pydantic_ai.models.ollama import OllamaModel  # noqa: PLC0415
            from pydantic_ai.providers.ollama import OllamaProvider  # noqa: PLC0415

            ollama = OllamaProvider(openai_client=client)
            make = lambda name: OllamaModel(name, provider=ollama, profile=profile)
        case Kind.OPENROUTER:
            from pydantic_ai.models.openrouter import OpenRouterModel  # noqa: PLC0415
            from pydantic_ai.providers.openrouter import OpenRouterProvider  # noqa: PLC0415

            openrouter = OpenRouterProvider(openai_client=client)
            make = lambda name: OpenRouterModel(name, provider=openrouter, profile=profile)
        case Kind.DEEPSEEK:
            from pydantic_ai.providers.deepseek import DeepSeekProvider  # noqa: PLC0415

            deepseek = DeepSeekProvider(openai_client=client)
            make = lambda name: OpenAIChatModel(name, provider=deepseek, profile=profile)
        case _:
            # The newer name of the answer's limit is OpenAI's alone; the older one is understood everywhere.
            profile["openai_chat_supports_max_completion_tokens"] = False
            other = OpenAICompatibleProvider(settings.kind.value, openai_client=client)
            make = lambda name: OpenAIChatModel(name, provider=other, profile=profile)
    return _Vendor(make, http.aclose)


def _openai_address(settings: ProviderSettings) -> str | None:
    """Ollama is known by its root; what speaks as OpenAI does lies below it."""
    address = settings.address
    if settings.kind is Kind.OLLAMA and address is not None and not address.rstrip("/").endswith("/v1"):
        return address.rstrip("/") + "/v1"
    return address


def _open_anthropic(settings: ProviderSettings) -> _Vendor:
    from anthropic import AsyncAnthropic  # noqa: PLC0415
    from pydantic_ai.models.anthropic import AnthropicModel  # noqa: PLC0415
    from pydantic_ai.providers.anthropic import AnthropicProvider  # noqa: PLC0415

    http = open_client(settings)
    # With a timeout of ours the library no longer refuses answers that it thinks will take ten minutes.
    timeout_seconds = settings.first_byte_timeout_seconds
    client = AsyncAnthropic(
        api_key=PLACEHOLDER, base_url=settings.address, max_retries=0, http_client=http, timeout=timeout_seconds
    )
    provider = AnthropicProvider(anthropic_client=client)
    return _Vendor(lambda name: AnthropicModel(name, provider=provider), http.aclose)


def _open_google(settings: ProviderSettings) -> _Vendor:
    from pydantic_ai.models.google import GoogleModel  # noqa: PLC0415
    from pydantic_ai.providers.google import GoogleProvider  # noqa: PLC0415

    http = open_client(settings)
    provider = GoogleProvider(api_key=PLACEHOLDER, base_url=settings.address, http_client=http)
    return _Vendor(lambda name: GoogleModel(name, provider=provider), http.aclose)


def _open_groq(settings: ProviderSettings) -> _Vendor:
    from groq import AsyncGroq  # noqa: PLC0415
    from pydantic_ai.models.groq import GroqModel  # noqa: PLC0415
    from pydantic_ai.providers.groq import GroqProvider  # noqa: PLC0415

    http = open_older_client(settings)
    client = AsyncGroq(api_key=PLACEHOLDER, base_url=settings.address, max_retries=0, http_client=http)
    provider = GroqProvider(groq_client=client)
    return _Vendor(lambda name: GroqModel(name, provider=provider), http.aclose)


def _open_cohere(settings: ProviderSettings) -> _Vendor:
    from cohere import AsyncClientV2  # noqa: PLC0415
    from pydantic_ai.models.cohere import CohereModel  # noqa: PLC0415
    from pydantic_ai.providers.cohere import CohereProvider  # noqa: PLC0415

    http = open_older_client(settings)
    client = AsyncClientV2(api_key=PLACEHOLDER, base_url=settings.address, max_retries=0, httpx_client=http)
    provider = CohereProvider(cohere_client=client)
    return _Vendor(lambda name: CohereModel(name, provider=provider), http.aclose)


_OPENERS: Final[dict[Kind, Callable[[ProviderSettings], _Vendor]]] = {
    Kind.ANTHROPIC: _open_anthropic,
    Kind.GOOGLE: _open_google,
    Kind.GROQ: _open_groq,
    Kind.COHERE: _open_cohere,
}
