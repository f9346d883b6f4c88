"""One session of the handshake era: the two ends that the MCP library reads and writes, between its HTTP exchanges.

What the server writes goes to the stream of the request that it belongs to, or to the session's own. Not HTTP
(`sessions`, `answering`). Neighbours: `streams`, `ends`.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final, cast, final

import trio
from mcp.server.lowlevel.server import Server
from mcp.server.runner import serve_loop
from mcp.shared.message import ServerMessageMetadata, SessionMessage
from mcp_types import (
    ErrorData,
    JSONRPCError,
    JSONRPCMessage,
    JSONRPCNotification,
    JSONRPCRequest,
    JSONRPCResponse,
    RequestId,
)

from vespera_agents.serving.transports.ends import ReadEnd, WriteEnd
from vespera_agents.serving.transports.http.events import EventLog
from vespera_agents.serving.transports.http.guard import Scope
from vespera_agents.serving.transports.http.keeping import Change, State, change_of, messages_of, name_of
from vespera_agents.serving.transports.http.streams import Stream

__all__ = ["HttpRequest", "HttpSession"]

CANCELLED: Final = -32800
"""What a cancelled request is answered with: in this era a stream ends with an answer only."""
REPEATED_SECONDS: Final = 5.0
"""How long who resumes a stream waits until its request is repeated to a new worker."""
_EARLY_MAX: Final = 16
"""Messages that wait until the client of an earlier worker listens again: mostly that lists are others."""
_UNREAD_MAX: Final = 16
"""Messages of the client that wait to be read; the library reads at once."""


@final
@dataclass(frozen=True, slots=True)
class HttpRequest:
    """What a handler finds in `ctx.request`."""

    scope: Scope
    """The ASGI scope of the exchange."""


Keep = Callable[["HttpSession"], Awaitable[None]]


@final
class HttpSession:
    """A client between its handshake and its end."""

    def __init__(
        self, identifier: str, principal: str | None, log: EventLog, keep: Keep, state: State | None = None
    ) -> None:
        """Name it.

        Args:
            identifier: hard to guess: whoever knows it, and bears a token of the principal, is this client.
            principal: whose token opened it.
            log: keeps messages for those who resume.
            keep: writes what it is for the next worker.
            state: what it was in an earlier one.
        """
        self.id: Final = identifier
        self.name: Final = name_of(identifier)
        """What it is called where its id must not be read."""
        self.principal: Final = principal
        self.stream: Final = Stream(f"{self.name}/0", log)
        """For what belongs to no request."""
        self.used = 0
        """HTTP exchanges that are open."""
        self.idle_since = trio.current_time()
        self.state: Final = {} if state is None else state
        """What a new worker must know of it."""
        self._early: dict[str, None] | None = None if state is None else {}
        """What it was told in this worker before its client was back to listen; None in the worker that opened it."""
        self.ready: Final = trio.Event()
        """Set when it has heard all that made it so."""
        if state is None:
            self.ready.set()
        self._keep = keep
        self._changes: dict[RequestId, Change] = {}
        """What requests will have changed, once they have succeeded."""
        self._mark = secrets.token_hex(3)
        """Begins the ids of our questions: an answer to one of an earlier worker is nobody's."""
        self._log = log
        self._began = trio.Event()
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

    async def restore(self) -> None:
        """Let the server hear what made the session what it was in an earlier worker; nobody hears the answers."""
        try:
            for message in messages_of(self.state):
                await self._feed(SessionMessage(message, ServerMessageMetadata(request_context=HttpRequest({}))))
        finally:
            self.ready.set()

    def catch_up(self) -> None:
        """Tell the client, which listens now, what it was told before."""
        early, self._early = self._early or {}, None
        for text in early:
            self.stream.put(text)

    def alarm(self) -> None:
        """Tell the client to read again what it watches: what changed between two workers was told to nobody."""
        self.stream.put(_told("notifications/resources/list_changed", {}))
        for said in self.state.values():
            if said["method"] == "resources/subscribe":
                uri = cast("dict[str, object]", said["params"])["uri"]
                self.stream.put(_told("notifications/resources/updated", {"uri": uri}))

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

    def open_stream(self, request: RequestId, number: int, sent: int = 0) -> Stream | None:
        """Give the stream of a new request; None when one of that id is being answered.

        Args:
            request: its id.
            number: of the stream, unique in the session for ever.
            sent: the number of the last message that an earlier worker sent.
        """
        if request in self._by_request or number in self._by_number:
            return None
        stream = Stream(f"{self.name}/{number}", self._log, sent)
        self._by_request[request] = self._by_number[number] = stream
        self._began.set()
        self._began = trio.Event()
        return stream

    def stream_of(self, number: int) -> tuple[Stream, bool]:
        """Find a stream by its number, and whether it has ended: then only what was kept of it is left."""
        stream = self._by_number.get(number)
        return (Stream(f"{self.name}/{number}", self._log), True) if stream is None else (stream, False)

    async def until_open(self, number: int) -> None:
        """Wait, for a bounded time, until the request of a stream is repeated to this worker."""
        with trio.move_on_after(REPEATED_SECONDS):
            while number not in self._by_number:
                await self._began.wait()

    async def ask(self, request: JSONRPCRequest, scope: Scope, *, closable: bool) -> None:
        """Let the server read a request.

        Args:
            request: its stream is open.
            scope: the exchange that it came with.
            closable: whether the client can resume, so that the server may close its connection early.
        """
        stream = self._by_request[request.id]
        change = change_of(request)
        if change is not None:
            self._changes[request.id] = change
        about = ServerMessageMetadata(
            request_context=HttpRequest(scope), on_request_unanswered=partial(self._unanswered, request.id)
        )
        if closable:
            about.close_sse_stream = partial(_interrupt, stream)
            about.close_standalone_sse_stream = partial(_interrupt, self.stream)
        await self._feed(SessionMessage(request, about))

    async def tell(self, message: JSONRPCMessage, scope: Scope) -> None:
        """Let the server read a notification, or the client's answer to a request of ours."""
        if isinstance(message, JSONRPCNotification):
            change = change_of(message)
            if change is not None:
                change.apply(self.state)
                await self._keep(self)
        elif isinstance(message, JSONRPCResponse | JSONRPCError):
            mark, _, number = str(message.id).rpartition("-")
            if mark != self._mark or not number.isdecimal():
                return
            message = message.model_copy(update={"id": int(number)})
        await self._feed(SessionMessage(message, ServerMessageMetadata(request_context=HttpRequest(scope))))

    def deliver(self, message: SessionMessage) -> None:
        """Put what the server says on the stream that it belongs to."""
        body = message.message
        if isinstance(body, JSONRPCRequest):
            body = body.model_copy(update={"id": f"{self._mark}-{body.id}"})
        elif isinstance(body, JSONRPCNotification) and body.method == "notifications/cancelled":
            # A question is taken back: the client knows it by another id than the library.
            params = {**(body.params or {}), "requestId": f"{self._mark}-{(body.params or {}).get('requestId')}"}
            body = body.model_copy(update={"params": params})
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
        elif stream is self.stream and self._early is not None and len(self._early) < _EARLY_MAX:
            self._early[text] = None

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
        body = message.message
        if self._changes and isinstance(body, JSONRPCResponse | JSONRPCError) and body.id is not None:
            change = self._changes.pop(body.id, None)
            if change is not None and isinstance(body, JSONRPCResponse):
                change.apply(self.state)
                await self._keep(self)
        self.deliver(message)
        await trio.lowlevel.checkpoint()

    async def _unanswered(self, request: RequestId) -> None:
        """Hear that a request was cancelled and will have no answer."""
        error = ErrorData(code=CANCELLED, message="The request was cancelled.")
        self.deliver(SessionMessage(JSONRPCError(jsonrpc="2.0", id=request, error=error)))


def _told(method: str, params: Mapping[str, object]) -> str:
    return json.dumps({"jsonrpc": "2.0", "method": method, "params": dict(params)})


async def _interrupt(stream: Stream) -> None:
    stream.interrupt()
