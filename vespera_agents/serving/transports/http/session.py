"""One session of the handshake era: the two ends that the MCP library reads and writes, between its HTTP exchanges.

What the server writes goes to the stream of the request that it belongs to, or to the session's own. Not HTTP
(`sessions`, `answering`). Neighbours: `streams`, `ends`.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final, final

import trio
from mcp.server.lowlevel.server import Server
from mcp.server.runner import serve_loop
from mcp.shared.message import ServerMessageMetadata, SessionMessage
from mcp_types import (
    ErrorData,
    JSONRPCError,
    JSONRPCMessage,
    JSONRPCRequest,
    JSONRPCResponse,
    RequestId,
)

from vespera_agents.serving.transports.ends import ReadEnd, WriteEnd
from vespera_agents.serving.transports.http.events import EventLog
from vespera_agents.serving.transports.http.guard import Scope
from vespera_agents.serving.transports.http.streams import Stream

__all__ = ["HttpRequest", "HttpSession"]

CANCELLED: Final = -32800
"""What a cancelled request is answered with: in this era a stream ends with an answer only."""
_UNREAD_MAX: Final = 16
"""Messages of the client that wait to be read; the library reads at once."""


@final
@dataclass(frozen=True, slots=True)
class HttpRequest:
    """What a handler finds in `ctx.request`."""

    scope: Scope
    """The ASGI scope of the exchange."""


@final
class HttpSession:
    """A client between its handshake and its end."""

    def __init__(self, identifier: str, principal: str | None, log: EventLog) -> None:
        """Name it.

        Args:
            identifier: hard to guess: whoever knows it, and bears a token of the principal, is this client.
            principal: whose token opened it.
            log: keeps messages for those who resume.
        """
        self.id: Final = identifier
        self.principal: Final = principal
        self.stream: Final = Stream(f"{identifier}/0", log)
        """For what belongs to no request."""
        self.used = 0
        """HTTP exchanges that are open."""
        self.idle_since = trio.current_time()
        self._log = log
        self._numbers = 0
        self._by_request: dict[RequestId, Stream] = {}
        self._by_number: dict[int, Stream] = {0: self.stream}
        self._incoming, self._read_end = trio.open_memory_channel[SessionMessage](_UNREAD_MAX)

    async def run(self, server: Server[dict[str, object]]) -> None:
        """Answer until it is closed."""
        # Our server has no lifespan of its own, so there is no state of one.
        read, write = ReadEnd(self._receive, self._read_end.close), WriteEnd(self._send)
        await serve_loop(server, read, write, lifespan_state={}, session_id=self.id)

    def close(self) -> None:
        """End it: what it works on is cancelled, and its streams end."""
        self._incoming.close()
        for stream in self._by_number.values():
            stream.end()

    def end_stream(self) -> None:
        """End the connection of the stream that no answer ends."""
        self.stream.close()

    @contextmanager
    def in_use(self) -> Generator[None]:
        """Keep it from being taken for idle."""
        self.used += 1
        try:
            yield
        finally:
            self.used -= 1
            self.idle_since = trio.current_time()

    def open_stream(self, request: RequestId) -> Stream | None:
        """Give the stream of a new request; None when one of that id is being answered."""
        if request in self._by_request:
            return None
        self._numbers += 1
        stream = Stream(f"{self.id}/{self._numbers}", self._log)
        self._by_request[request] = self._by_number[self._numbers] = stream
        return stream

    def stream_of(self, number: int) -> tuple[Stream, bool]:
        """Find a stream by its number, and whether it has ended: then only what was kept of it is left."""
        stream = self._by_number.get(number)
        return (Stream(f"{self.id}/{number}", self._log), True) if stream is None else (stream, False)

    async def ask(self, request: JSONRPCRequest, scope: Scope, *, closable: bool) -> None:
        """Let the server read a request.

        Args:
            request: its stream is open.
            scope: the exchange that it came with.
            closable: whether the client can resume, so that the server may close its connection early.
        """
        stream = self._by_request[request.id]
        about = ServerMessageMetadata(
            request_context=HttpRequest(scope), on_request_unanswered=partial(self._unanswered, request.id)
        )
        if closable:
            about.close_sse_stream = partial(_interrupt, stream)
            about.close_standalone_sse_stream = partial(_interrupt, self.stream)
        await self._feed(SessionMessage(request, about))

    async def tell(self, message: JSONRPCMessage, scope: Scope) -> None:
        """Let the server read a notification, or the client's answer to a request of ours."""
        await self._feed(SessionMessage(message, ServerMessageMetadata(request_context=HttpRequest(scope))))

    def deliver(self, message: SessionMessage) -> None:
        """Put what the server says on the stream that it belongs to."""
        body = message.message
        text = body.model_dump_json(by_alias=True, exclude_unset=True)
        if isinstance(body, JSONRPCResponse | JSONRPCError):
            stream = None if body.id is None else self._by_request.pop(body.id, None)
            if stream is not None:
                del self._by_number[int(stream.name.rpartition("/")[2])]
                stream.put(text, last=True, failed=isinstance(body, JSONRPCError))
            return
        about = message.metadata
        related = about.related_request_id if isinstance(about, ServerMessageMetadata) else None
        stream = self.stream if related is None else self._by_request.get(related)
        # What nobody ever listened to is not kept for anybody.
        if stream is not None and (stream.connected or stream.kept):
            stream.put(text)

    async def _feed(self, message: SessionMessage) -> None:
        # Closed meanwhile: the streams of the session end, and so does the exchange.
        try:
            await self._incoming.send(message)
        except (trio.ClosedResourceError, trio.BrokenResourceError):
            self.close()

    async def _receive(self) -> SessionMessage | None:
        try:
            return await self._read_end.receive()
        except (trio.EndOfChannel, trio.ClosedResourceError):
            return None

    async def _send(self, message: SessionMessage) -> None:
        self.deliver(message)
        await trio.lowlevel.checkpoint()

    async def _unanswered(self, request: RequestId) -> None:
        """Hear that a request was cancelled and will have no answer."""
        error = ErrorData(code=CANCELLED, message="The request was cancelled.")
        self.deliver(SessionMessage(JSONRPCError(jsonrpc="2.0", id=request, error=error)))


async def _interrupt(stream: Stream) -> None:
    stream.interrupt()
