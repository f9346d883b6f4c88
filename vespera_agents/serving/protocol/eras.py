"""A client's conversation over a duplex stream, in the protocol era that its first request opens.

The same rules as the library's own `Server.run`, which relays every message through one more task: here the dispatcher
reads the transport itself. That costs one switch of tasks less for each message, and all requests that are there at
once begin in the same round of the loop, so that the store commits what they write together. Not here: the framing
(`transports`), the requests (`server`). Neighbours: `serve` runs a conversation for the client that started us.
"""

from __future__ import annotations

import contextvars
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, Final, final

from mcp.server.connection import Connection, NotifyOnlyOutbound
from mcp.server.lowlevel.server import Server
from mcp.server.models import InitializationOptions
from mcp.server.runner import ServerRunner, aclose_shielded, modern_error_data
from mcp.shared._stream_protocols import ReadStream, WriteStream
from mcp.shared.dispatcher import DispatchContext, Outbound
from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import InboundLadderRejection, InboundModernRoute, classify_inbound_request
from mcp.shared.jsonrpc_dispatcher import JSONRPCDispatcher
from mcp.shared.message import MessageMetadata, SessionMessage
from mcp.shared.transport_context import TransportContext
from mcp_types import (
    INVALID_REQUEST,
    PROTOCOL_VERSION_META_KEY,
    UNSUPPORTED_PROTOCOL_VERSION,
    JSONRPCRequest,
)
from mcp_types.version import LATEST_MODERN_VERSION, MODERN_PROTOCOL_VERSIONS
from pydantic import ValidationError

__all__ = ["converse"]

State = dict[str, object]
Params = Mapping[str, Any] | None
Incoming = SessionMessage | Exception

LEAD_MAX: Final = 8
"""Messages before the first request that are kept for the era that it opens; nothing is expected of more."""
_HANDSHAKE: Final = "initialize"


async def converse(
    server: Server[State],
    read: ReadStream[Incoming],
    write: WriteStream[SessionMessage],
    options: InitializationOptions,
) -> None:
    """Serve one client until it closes its end.

    Args:
        server: who answers.
        read: where the client's messages come from.
        write: where ours go.
        options: what a client of the older era is told in answer to `initialize`.
    """
    async with server.lifespan(server) as state:
        opening, replayed = await _opening(read)
        if opening is not None and opening.method != _HANDSHAKE and _has_envelope(opening.params):
            await _serve_modern(server, replayed, write, state)
        else:
            await _serve_legacy(server, replayed, write, state, options)


async def _opening(read: ReadStream[Incoming]) -> tuple[JSONRPCRequest | None, _Replayed]:
    """Read up to the first request, and give the stream as if nothing had been read."""
    lead: deque[Incoming] = deque()
    async for item in read:
        request = item.message if isinstance(item, SessionMessage) else None
        if isinstance(request, JSONRPCRequest):
            lead.append(item)
            return request, _Replayed(lead, read)
        if len(lead) < LEAD_MAX:
            lead.append(item)
    return None, _Replayed(lead, read)


async def _serve_legacy(
    server: Server[State],
    read: ReadStream[Incoming],
    write: WriteStream[SessionMessage],
    state: State,
    options: InitializationOptions,
) -> None:
    """Serve a connection that begins with a handshake, up to 2025-11-25."""
    # The handshake is answered before the next message is looked at: a client need not wait for its answer.
    dispatcher = _Orderly(read, write, inline_methods=frozenset({_HANDSHAKE}))
    connection = Connection.for_loop(dispatcher)
    runner = ServerRunner(server, connection, state, init_options=options)

    async def on_request(context: DispatchContext[TransportContext], method: str, params: Params) -> dict[str, Any]:
        if method != _HANDSHAKE and _has_envelope(params):
            raise MCPError(
                code=INVALID_REQUEST,
                message="this connection began with a request of the older protocol era: requests with the envelope "
                "of 2026-07-28 need a connection of their own",
            )
        return await runner.on_request(context, method, params)

    try:
        await dispatcher.run(on_request, runner.on_notify)
    finally:
        await aclose_shielded(connection)


async def _serve_modern(
    server: Server[State], read: ReadStream[Incoming], write: WriteStream[SessionMessage], state: State
) -> None:
    """Serve a connection of 2026-07-28, where every request brings its own envelope."""
    dispatcher = _Orderly(read, write, transport_builder=_without_asking)
    outbound = NotifyOnlyOutbound(dispatcher)
    envelopes = _Envelopes(outbound)

    async def on_request(context: DispatchContext[TransportContext], method: str, params: Params) -> dict[str, Any]:
        if method == _HANDSHAKE:
            raise MCPError(
                code=UNSUPPORTED_PROTOCOL_VERSION,
                message="this connection began with a request of 2026-07-28: a handshake needs one of its own",
                data={"supported": list(MODERN_PROTOCOL_VERSIONS), **_requested(params)},
            )
        route = classify_inbound_request({"method": method, "params": params})
        if isinstance(route, InboundLadderRejection):
            raise MCPError(code=route.code, message=route.message, data=route.data)
        connection = envelopes.connection(route)
        try:
            return await ServerRunner(server, connection, state).on_request(context, method, params)
        except (MCPError, ValidationError):
            raise
        except Exception as error:  # the boundary: a fault of ours becomes an error that shows nothing of our insides
            told = modern_error_data(error)
            raise MCPError(code=told.code, message=told.message, data=told.data) from error
        finally:
            # Nearly no request leaves anything to undo, and the way to find that out took as long as parsing it.
            if vars(connection.exit_stack)["_exit_callbacks"]:
                await aclose_shielded(connection)

    async def on_notify(context: DispatchContext[TransportContext], method: str, params: Params) -> None:
        connection = Connection.from_envelope(LATEST_MODERN_VERSION, None, None, outbound=outbound)
        try:
            await ServerRunner(server, connection, state).on_notify(context, method, params)
        finally:
            await aclose_shielded(connection)

    await dispatcher.run(on_request, on_notify)


@final
class _Envelopes:
    """Who sends the requests of one pipe: each brings the same envelope, which is read anew only when it differs."""

    def __init__(self, outbound: Outbound) -> None:
        self._outbound = outbound
        self._read: tuple[object, Connection] | None = None

    def connection(self, route: InboundModernRoute) -> Connection:
        """Give the connection of a request."""
        envelope = (route.protocol_version, route.client_info, route.client_capabilities)
        if self._read is None or self._read[0] != envelope:
            connection = Connection.from_envelope(*envelope, outbound=self._outbound)
            self._read = (envelope, connection)
            return connection
        before = self._read[1]
        connection = Connection(
            self._outbound, protocol_version=route.protocol_version, client_params=before.client_params
        )
        connection.client_capabilities = before.client_capabilities
        connection.initialized.set()
        return connection


@final
class _Orderly(JSONRPCDispatcher[TransportContext]):
    """The library's dispatcher, whose handlers begin in the order of their messages."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._to_begin: deque[tuple[Callable[..., Awaitable[Any]], tuple[object, ...]]] = deque()

    def _spawn(self, fn: Callable[..., Awaitable[Any]], *args: object, sender_ctx: contextvars.Context | None) -> None:
        # Tasks that were started in one round of the loop run in whatever order it likes. Whichever of them comes
        # first takes what came first: a client may send a plan and the next one without waiting in between.
        assert sender_ctx is None, "no message of a pipe brings a context of its own"
        assert self._tg is not None
        self._to_begin.append((fn, args))
        self._tg.start_soon(self._begin_next)

    async def _begin_next(self) -> None:
        function, arguments = self._to_begin.popleft()
        await function(*arguments)


def _without_asking(_: MessageMetadata) -> TransportContext:
    """Describe a pipe on which the protocol forbids a server's own requests."""
    return TransportContext(kind="jsonrpc", can_send_request=False)


def _has_envelope(params: Params) -> bool:
    """Say whether a request belongs to 2026-07-28: the key of the version alone tells, however broken the rest is."""
    meta = None if params is None else params.get("_meta")
    return isinstance(meta, Mapping) and PROTOCOL_VERSION_META_KEY in meta


def _requested(params: Params) -> dict[str, str]:
    version = None if params is None else params.get("protocolVersion")
    return {"requested": version} if isinstance(version, str) else {}


@final
class _Replayed:
    """A stream of which something was read already."""

    def __init__(self, lead: deque[Incoming], rest: ReadStream[Incoming]) -> None:
        self._lead = lead
        self._rest = rest

    async def receive(self) -> Incoming:
        return self._lead.popleft() if self._lead else await self._rest.receive()

    async def aclose(self) -> None:
        await self._rest.aclose()

    def __aiter__(self) -> _Replayed:
        return self

    async def __anext__(self) -> Incoming:
        return self._lead.popleft() if self._lead else await self._rest.__anext__()

    async def __aenter__(self) -> _Replayed:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> None:
        await self.aclose()
