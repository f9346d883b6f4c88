"""The door of the tree that HTTP clients come through: accepts connections, hands requests on, ends in good order.

    accepting ── connection ── hypercorn ── guard ── what answers

Hypercorn's server of one connection is used, inside a nursery of ours: so connections are counted and limited, what
breaks one ends that one alone, and a peer that does not read cannot hold up the end. Neighbours: `listening` keeps the
socket, `guard` is what hypercorn calls.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, cast, final

import trio
from hypercorn.config import Config
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import AppWrapper, ConnectionState
from mcp.server.lowlevel.server import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

from vespera_agents.serving.transports.http.guard import BODY_BYTES_MAX, Guard
from vespera_agents.serving.transports.http.listening import Listening

__all__ = ["HttpDoor"]

CONNECTIONS_MAX: Final = 1_000
"""Connections at once; one more is told to come again."""
LAST_ANSWERS_SECONDS: Final = 1.0
"""How long requests under way may take when the program is asked to end."""
KEEP_ALIVE_SECONDS: Final = 30.0
"""How long a connection may be idle, or take to send the head of a request."""
HANDSHAKE_SECONDS: Final = 10.0
HEAD_BYTES_MAX: Final = 64 * 1024
"""Bytes in the head of one request."""
_FULL: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\nConnection: close\r\n"
    b"Content-Length: 119\r\n\r\n"
)


def _say_nothing(_: str) -> None:
    pass


Stream = trio.SocketStream | trio.SSLStream[trio.SocketStream]

logger = logging.getLogger("vespera_agents.serving")


@final
class HttpDoor:
    """Serves HTTP clients until it is told to stop."""

    def __init__(
        self, server: Server[dict[str, object]], listening: Listening, announce: Callable[[str], None] = _say_nothing
    ) -> None:
        """Say who answers, where clients connect, and who is told once they can."""
        self.ended = trio.Event()
        """Set when everything is closed after `stop`."""
        self._server = server
        self._listening = listening
        self._announce = announce
        self._stopping = trio.Event()
        self._guard: Guard | None = None
        self._connections: set[Stream] = set()

    async def run(self, *, task_status: trio.TaskStatus[HttpDoor]) -> None:
        """Serve until `stop`: a child for a supervisor."""
        manager = StreamableHTTPSessionManager(self._server, max_request_body_size=BODY_BYTES_MAX)
        async with manager.run():
            self._guard = guard = Guard(self._listening, manager.handle_request)
            await self._accept(guard, task_status)
        self.ended.set()

    def stop(self) -> None:
        """Accept nobody any more, let requests under way end, end streams, and then set `ended`; again: at once."""
        if self._stopping.is_set():
            self.ended.set()
        self._stopping.set()

    def tree_detail(self) -> dict[str, str | int | float]:
        """Say what the tree shows of it."""
        detail: dict[str, str | int | float] = {"url": self._listening.url, "connections": len(self._connections)}
        if self._guard is not None:
            counted = self._guard.statistics()
            detail |= {"requests": counted.requests, "in_flight": counted.in_flight, "refused": counted.refused}
        return detail

    async def _accept(self, guard: Guard, task_status: trio.TaskStatus[HttpDoor]) -> None:
        config, context = _config(), WorkerContext(None)
        # A duplicate: what a nursery closes in the end must not close the socket that the next incarnation needs.
        plain = trio.SocketListener(trio.socket.from_stdlib_socket(self._listening.socket.dup()))
        tls = self._listening.tls
        listener = plain if tls is None else trio.SSLListener(plain, tls, https_compatible=True)

        async def connection(stream: Stream) -> None:
            await self._serve_connection(
                stream,
                TCPServer(
                    cast("AppWrapper", guard),
                    config,
                    context,
                    ConnectionState({}),
                    cast("trio.SSLStream[trio.SocketStream]", stream),
                ),
            )

        async with trio.open_nursery() as connections:
            async with trio.open_nursery() as accepting:
                accepting.start_soon(trio.serve_listeners, connection, [listener])
                self._announce(self._listening.url)
                task_status.started(self)
                await self._stopping.wait()
                accepting.cancel_scope.cancel()
            # Idle connections end now, busy ones with their answer.
            await context.terminated.set()
            connections.cancel_scope.deadline = trio.current_time() + LAST_ANSWERS_SECONDS

    async def _serve_connection(self, stream: Stream, serving: TCPServer) -> None:
        if len(self._connections) >= CONNECTIONS_MAX:
            await trio.aclose_forcefully(stream)
            return
        self._connections.add(stream)
        try:
            await serving
        except Exception:
            logger.exception("connection broke")
        finally:
            self._connections.discard(stream)
            await trio.aclose_forcefully(stream)


def _config() -> Config:
    config = Config()
    config.accesslog = None
    config.errorlog = logger
    config.keep_alive_timeout = KEEP_ALIVE_SECONDS
    config.keep_alive_max_requests = 1_000_000_000
    config.ssl_handshake_timeout = HANDSHAKE_SECONDS
    config.h11_max_incomplete_size = HEAD_BYTES_MAX
    config.include_server_header = False
    return config
