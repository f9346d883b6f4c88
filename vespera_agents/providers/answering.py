"""An answer on its way: a provider's stream with its first chunk read, whose end is noted and charged.

Until the first chunk somebody else may still take over; from then on the answer is this one's. Left before its end it
has no usage, so what had come is estimated. Neighbours: `models` opens it, `asking` keeps the books of the attempt.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import final

import trio

from vespera_agents.context.tokens import estimate_tokens
from vespera_agents.providers.asking import Attempt
from vespera_agents.providers.errors import ProviderError
from vespera_agents.providers.exchange import Chunk, Completion, CompletionStream, Finish, Usage

__all__ = ["Answer"]


@final
class Answer:
    """The answer of one attempt: iterate it, then read `completion`."""

    __slots__ = ("_attempt", "_chunks", "_completion", "_failed", "_first", "_guard", "_stream", "_text")

    def __init__(self, attempt: Attempt, guard: trio.CancelScope) -> None:
        """Wait to be opened.

        Args:
            attempt: what it belongs to.
            guard: around everything that the provider does.
        """
        self._attempt = attempt
        self._guard = guard
        self._stream: CompletionStream | None = None
        self._chunks: AsyncIterator[Chunk] | None = None
        self._first: Chunk | None = None
        self._text: list[str] = []
        self._completion: Completion | None = None
        self._failed = False

    @property
    def cut_off(self) -> bool:
        """Whether its time was over before its end."""
        return self._guard.cancelled_caught

    async def open(self, stack: AsyncExitStack) -> None:
        """Send the request and wait for the first chunk.

        Raises:
            ProviderError: there will be none.
        """
        attempt = self._attempt
        try:
            self._stream = await stack.enter_async_context(attempt.provider.stream(attempt.request))
            self._chunks = aiter(self._stream)
            self._first = await anext(self._chunks, None)
        except ProviderError as error:
            await attempt.failed(error)
            raise
        attempt.first_chunk()

    def __aiter__(self) -> AsyncIterator[Chunk]:
        """Give the chunks as they come."""
        return self

    async def __anext__(self) -> Chunk:
        """Give the next one.

        Raises:
            ProviderError: the answer broke off.
        """
        chunk, self._first = self._first, None
        if chunk is None:
            chunk = await self._next()
        self._text.append(chunk.text)
        return chunk

    async def _next(self) -> Chunk:
        assert self._chunks is not None, "a stream is read after it was opened"
        assert self._stream is not None, "a stream is read after it was opened"
        try:
            return await anext(self._chunks)
        except ProviderError as error:
            self._failed = True
            await self._attempt.failed(error, begun=True)
            raise
        except StopAsyncIteration:
            if self._completion is None:
                self._completion = await self._attempt.answered(self._stream.completion)
            raise

    @property
    def completion(self) -> Completion:
        """The whole answer; only after the last chunk."""
        assert self._completion is not None, "the answer is whole after its last chunk"
        return self._completion

    async def settled(self) -> None:
        """Have what had come charged, if nobody read it to its end."""
        if self._completion is not None or self._failed:
            return
        attempt, text = self._attempt, "".join(self._text)
        context_tokens = attempt.wish.need.context_tokens or estimate_tokens(attempt.request.system)
        sent = attempt.standing.factor.vendor_tokens(context_tokens)
        usage = Usage(sent, estimate_tokens(text), estimated=True)
        left = Completion(attempt.standing.name, attempt.request.model, text, Finish.END, usage)
        await attempt.answered(left, whole=False)
