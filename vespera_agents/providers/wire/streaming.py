"""One answer on its way from a vendor.

The deadline of its request holds in each wait, never across what the reader does between two chunks. Whoever leaves in
the middle closes the connection, cancelled or not. Neighbours: `provider` opens these.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Final, Self, TypeVar, cast, final

import trio

from vespera_agents.providers.errors import ProviderError
from vespera_agents.providers.exchange import Chunk, Completion
from vespera_agents.providers.wire.connections import responses_kept
from vespera_agents.providers.wire.failures import failure_of, timed_out

if TYPE_CHECKING:
    import httpx
    import httpx2
    from pydantic_ai.messages import ModelResponse, ModelResponseStreamEvent
    from pydantic_ai.models import StreamedResponse

__all__ = ["WireStream"]

_CLOSE_SECONDS: Final = 1.0
_T = TypeVar("_T")


@final
class WireStream:
    """An answer on its way: iterate the chunks, then read the whole."""

    __slots__ = (
        "_completion",
        "_deadline_seconds",
        "_events",
        "_fail",
        "_opened",
        "_provider",
        "_response",
        "_responses",
        "_settle",
        "_start",
        "_timeout_seconds",
    )

    def __init__(
        self,
        provider: str,
        timeout_seconds: float,
        start: Callable[[], Awaitable[AbstractAsyncContextManager[StreamedResponse]]],
        settle: Callable[[ModelResponse], Awaitable[Completion]],
        fail: Callable[[ProviderError], ProviderError],
    ) -> None:
        self._provider = provider
        self._timeout_seconds = timeout_seconds
        self._deadline_seconds = trio.current_time() + timeout_seconds
        self._start = start
        self._settle = settle
        self._fail = fail
        self._opened: AbstractAsyncContextManager[StreamedResponse] | None = None
        self._response: StreamedResponse | None = None
        self._events: AsyncGenerator[ModelResponseStreamEvent] | None = None
        self._responses: list[httpx.Response | httpx2.Response] = []
        self._completion: Completion | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Chunk:
        """Give the next chunk; after the last one the whole answer is there.

        Raises:
            ProviderError: the answer broke off, or is not what it should be.
        """
        if self._completion is not None:
            raise StopAsyncIteration
        chunk = await self._bounded(self._next)
        if chunk is None:
            raise StopAsyncIteration
        return chunk

    @property
    def completion(self) -> Completion:
        """The whole answer; only after the last chunk."""
        assert self._completion is not None, "the last chunk has not come yet"
        return self._completion

    async def open(self) -> None:
        """Send the request, and wait for the first sign of an answer."""
        await self._bounded(self._open)

    async def close(self) -> None:
        """Close the connection unless all of the answer was read. It takes a second at most, and is not cancelled."""
        opened, self._opened = self._opened, None
        with trio.move_on_after(_CLOSE_SECONDS, shield=True):
            try:
                for response in self._responses:
                    await response.aclose()
                if self._events is not None:
                    await self._events.aclose()
                if opened is not None:
                    await opened.__aexit__(None, None, None)
            except Exception:  # noqa: BLE001 - a connection that breaks while it is closed is closed
                return

    async def _open(self) -> None:
        opened = await self._start()
        with responses_kept() as self._responses:
            self._response = await opened.__aenter__()
        self._opened = opened
        # It is a generator, though its type does not say so.
        self._events = cast("AsyncGenerator[ModelResponseStreamEvent]", aiter(self._response))

    async def _next(self) -> Chunk | None:
        from pydantic_ai.messages import PartDeltaEvent, PartStartEvent, TextPart, TextPartDelta  # noqa: PLC0415

        assert self._events is not None, "it is open"
        assert self._response is not None, "it is open"
        async for event in self._events:
            text = ""
            if isinstance(event, PartStartEvent) and isinstance(event.part, TextPart):
                text = event.part.content
            elif isinstance(event, PartDeltaEvent) and isinstance(event.delta, TextPartDelta):
                text = event.delta.content_delta
            if text:
                return Chunk(text)
        self._completion = await self._settle(self._response.get())
        return None

    async def _bounded(self, wait: Callable[[], Awaitable[_T]]) -> _T:
        """Wait for something of the library within the deadline, and have its errors as ours, without theirs."""
        failure: ProviderError | None = None
        with trio.CancelScope(deadline=self._deadline_seconds):
            try:
                return await wait()
            except Exception as error:  # noqa: BLE001 - what a vendor's library raises may be anything
                failure = failure_of(self._provider, error)
        raise self._fail(failure or timed_out(self._provider, self._timeout_seconds))
