"""A provider behind an address: one request, one exchange, one outcome.

It keeps the deadline of a request, counts, and says what an exchange cost. It asks once: retries, limits, the choice of
a provider and what may be spent are the work of `models`. Neighbours: `vendors` opens the library, `streaming` has
answers on their way, `translating`, `counted` and `failures` turn words, figures and errors into ours.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Final, Literal, final

import trio

from vespera_agents.providers.errors import NotConfigured, ProviderError
from vespera_agents.providers.exchange import (
    Capabilities,
    Completion,
    CompletionStream,
    ModelRequest,
    Price,
    ProviderStatistics,
)
from vespera_agents.providers.prices import cost_usd, price_of
from vespera_agents.providers.settings import PRESETS, ProviderSettings
from vespera_agents.providers.wire.connections import is_loopback
from vespera_agents.providers.wire.counted import usage_of
from vespera_agents.providers.wire.failures import failure_of, timed_out
from vespera_agents.providers.wire.streaming import WireStream
from vespera_agents.providers.wire.vendors import Library

if TYPE_CHECKING:
    from pydantic_ai.messages import ModelResponse
    from pydantic_ai.models import StreamedResponse

__all__ = ["WireProvider"]

_FREE: Final = Price(0.0, 0.0)


@final
class WireProvider:
    """One configured address, and the models behind it."""

    keeps_time: Literal[True] = True
    """A second cancel scope around each call would take longer than all that is counted."""

    def __init__(self, settings: ProviderSettings) -> None:
        self.name: Final = settings.name
        """As the configuration names it."""
        self.models: Final = settings.models
        """As the configuration lists them."""
        self._settings = settings
        self._library = Library(settings)
        preset = PRESETS[settings.kind]
        local = preset.local if settings.base_url is None else is_loopback(settings.base_url)
        self._capabilities = Capabilities(
            settings.context_tokens_max or preset.context_tokens_max,
            settings.output_tokens_max or preset.output_tokens_max,
            local=local,
        )
        self._in_flight = 0
        self._requests = 0
        self._failures = 0

    def __repr__(self) -> str:
        return f"<WireProvider {self._settings.name!r}: {self._settings.kind} at {self._settings.address}>"

    async def complete(self, request: ModelRequest) -> Completion:
        """Have one request answered, once.

        Raises:
            ProviderError: see `errors`.
        """
        self._begin()
        completion: Completion | None = None
        failure: ProviderError | None = None
        try:
            with trio.move_on_after(request.timeout_seconds):
                asked = self._asked(request)
                model = await self._library.model(asked)
                from pydantic_ai.direct import model_request  # noqa: PLC0415 - imported by now, in a thread

                from vespera_agents.providers.wire.translating import messages_of, parameters_of, settings_of  # noqa: PLC0415

                response = await model_request(
                    model,
                    messages_of(request),
                    model_settings=settings_of(request, self._settings.options),
                    model_request_parameters=parameters_of(request),
                    instrument=False,
                )
                completion = await self._settle(request, asked, response, streamed=False)
        except Exception as error:  # noqa: BLE001 - what a vendor's library raises may be anything
            failure = failure_of(self.name, error)
        finally:
            self._in_flight -= 1
        if completion is not None:
            return completion
        # Raised out here, an error has no context: those of the libraries hold prompts, answers and headers.
        raise self._failed(failure or timed_out(self.name, request.timeout_seconds))

    def stream(self, request: ModelRequest) -> AbstractAsyncContextManager[CompletionStream]:
        """Have one request answered bit by bit.

        Raises:
            ProviderError: see `errors`; on entering, or while iterating.
        """
        return self._streaming(request)

    def capabilities(self, model: str) -> Capabilities:
        """Say what the configuration says, else what is safe to assume of its kind."""
        del model
        return self._capabilities

    def price(self, model: str) -> Price | None:
        """Say what the configuration says, nothing for a machine of the owner's, else what the table has."""
        if self._settings.price is not None:
            return self._settings.price
        return _FREE if self._capabilities.local else price_of(self._settings.kind, model)

    def statistics(self) -> ProviderStatistics:
        """Give its numbers as they are now."""
        return ProviderStatistics(self.name, self.models, self._in_flight, self._requests, self._failures)

    async def aclose(self) -> None:
        """Let go of its connections; asked again, it connects anew."""
        await self._library.aclose()

    @asynccontextmanager
    async def _streaming(self, request: ModelRequest) -> AsyncGenerator[CompletionStream]:
        self._begin()

        async def start() -> AbstractAsyncContextManager[StreamedResponse]:
            model = await self._library.model(self._asked(request))
            from pydantic_ai.direct import model_request_stream  # noqa: PLC0415 - imported by now, in a thread

            from vespera_agents.providers.wire.translating import messages_of, parameters_of, settings_of  # noqa: PLC0415

            return model_request_stream(
                model,
                messages_of(request),
                model_settings=settings_of(request, self._settings.options),
                model_request_parameters=parameters_of(request),
                instrument=False,
            )

        async def settle(response: ModelResponse) -> Completion:
            return await self._settle(request, self._asked(request), response, streamed=True)

        stream = WireStream(self.name, request.timeout_seconds, start, settle, self._failed)
        try:
            await stream.open()
            yield stream
        finally:
            self._in_flight -= 1
            await stream.close()

    def _begin(self) -> None:
        self._requests += 1
        self._in_flight += 1

    def _failed(self, error: ProviderError) -> ProviderError:
        self._failures += 1
        return error

    def _asked(self, request: ModelRequest) -> str:
        if model := request.model or (self.models[0] if self.models else ""):
            return model
        raise NotConfigured(self.name, "no model is named", "Name its models, the default first, or one in the request")

    async def _settle(
        self, request: ModelRequest, asked: str, response: ModelResponse, *, streamed: bool
    ) -> Completion:
        from vespera_agents.providers.wire.translating import answer_of  # noqa: PLC0415 - as lazy as the libraries

        text, calls, finish = answer_of(self.name, response, streamed=streamed)
        usage = await usage_of(request, response.usage, text, calls)
        price = self.price(asked)
        return Completion(
            provider=self.name,
            model=response.model_name or asked,
            text=text,
            finish=finish,
            usage=usage,
            calls=calls,
            cost_usd=None if price is None else cost_usd(price, usage),
        )
