"""The model of the client that asked for the work, as the provider `client`.

A client that offers its own model lends it to the session that its work is in, for as long as that work goes on; a
request of that session is put to it, and to nobody else's. How a question reaches a client is passed in with each
lender: here is no protocol. It costs the owner of this server nothing: who asks for the work pays for its own model.
Neighbours: `serving.protocol.sampling` makes lenders, `specialists.agents` lends them while a job works.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Final, Protocol, final

import trio

from vespera_agents.providers.errors import NotConfigured, ProviderError, TimedOut
from vespera_agents.providers.exchange import (
    Capabilities,
    Chunk,
    Completion,
    CompletionStream,
    ModelRequest,
    Price,
    ProviderStatistics,
)

__all__ = ["CLIENT", "ClientModel", "Lender"]

CLIENT: Final = "client"
"""The name of the provider."""
_CONTEXT_TOKENS_MAX: Final = 128_000
"""Nobody says which model it is; the smallest windows in use today are of this size."""
_OUTPUT_TOKENS_MAX: Final = 8_192


class Lender(Protocol):
    """A client that lends its model."""

    async def answer(self, request: ModelRequest) -> Completion:
        """Have its model answer.

        Asked again for the same purpose, it gives the answer that came meanwhile, where it keeps answers.

        Raises:
            ProviderError: it could not, or did not want to.
        """
        ...


@final
class ClientModel:
    """The models of the clients of one workspace."""

    def __init__(self) -> None:
        self._lenders: dict[str, list[Lender]] = {}
        self._in_flight = 0
        self._requests = 0
        self._failures = 0

    @property
    def name(self) -> str:
        """As everywhere."""
        return CLIENT

    @property
    def models(self) -> Sequence[str]:
        """None by name: the client chooses."""
        return ()

    @contextmanager
    def lent(self, session_id: str, lender: Lender | None) -> Generator[None]:
        """Ask this client for the requests of a session while the block lasts; the last one to come is asked."""
        if lender is None:
            yield
            return
        lenders = self._lenders.setdefault(session_id, [])
        lenders.append(lender)
        try:
            yield
        finally:
            lenders.remove(lender)
            if not lenders:
                self._lenders.pop(session_id, None)

    def hindrance(self, session_id: str | None) -> str | None:
        """Say why it cannot be asked for a session's work; None where it can."""
        if session_id in self._lenders:
            return None
        return "the client that asked for this work offers no model (it declares no sampling), or asks no more"

    def capabilities(self, model: str) -> Capabilities:  # noqa: ARG002 - nobody knows which model it is
        """Say what is safe to assume. Tools are described in words to a client that takes none."""
        return Capabilities(_CONTEXT_TOKENS_MAX, _OUTPUT_TOKENS_MAX, streams=False)

    def price(self, model: str) -> Price | None:  # noqa: ARG002 - as above
        """Nothing, for the owner of this server."""
        return Price(0.0, 0.0)

    def statistics(self) -> ProviderStatistics:
        """Give its numbers as they are now."""
        return ProviderStatistics(CLIENT, (), self._in_flight, self._requests, self._failures)

    def tree_detail(self) -> dict[str, str | int | float]:
        """Say what the tree shows of it."""
        return {"sessions": len(self._lenders), "requests": self._requests, "failures": self._failures}

    async def aclose(self) -> None:
        """Do nothing: it has no connections of its own."""
        await trio.lowlevel.checkpoint()

    async def complete(self, request: ModelRequest) -> Completion:
        """Have the client's model answer.

        Raises:
            NotConfigured: no client lends its model to this session.
            ProviderError: the client could not, or did not want to.
        """
        self._requests += 1
        self._in_flight += 1
        try:
            return await self._answered(request)
        except ProviderError:
            self._failures += 1
            raise
        finally:
            self._in_flight -= 1

    @asynccontextmanager
    async def stream(self, request: ModelRequest) -> AsyncGenerator[CompletionStream]:
        """Give the whole answer as one piece: clients tell no less."""
        yield _Whole(await self.complete(request))

    async def _answered(self, request: ModelRequest) -> Completion:
        lenders = self._lenders.get(request.session_id or "")
        if not lenders:
            raise NotConfigured(
                CLIENT,
                str(self.hindrance(request.session_id)),
                "Call from a client with sampling, or configure a provider (docs/providers.md).",
            )
        with trio.move_on_after(request.timeout_seconds):
            return await lenders[-1].answer(request)
        raise TimedOut(
            CLIENT,
            f"the client did not answer within {request.timeout_seconds:g} s",
            "See whether it waits for its user to agree; its late answer still counts.",
        )


@final
@dataclass(frozen=True, slots=True)
class _Whole:
    """An answer that came at once."""

    completion: Completion
    """The answer."""

    async def __aiter__(self) -> AsyncIterator[Chunk]:
        """Give it."""
        await trio.lowlevel.checkpoint()
        yield Chunk(self.completion.text)
