"""The door of the tree that HTTP clients come through: accepts connections, hands requests on, ends in good order.

    accepting ── connection ── hypercorn ── guard ─┬─ sessions     the handshake era
                                                   ├─ the library  2026-07-28: each request for itself
                                                   └─ pages        what is no MCP: health

Hypercorn's server of one connection is used, inside a nursery of ours: so connections are counted and limited, what
breaks one ends that one alone, and a peer that does not read cannot hold up the end. Neighbours: `listening` keeps the
socket, `guard` is what hypercorn calls, `connections` what it talks to.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final, cast, final

import trio
from hypercorn.config import Config
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import AppWrapper, ConnectionState
from mcp.server._streamable_http_modern import handle_modern_request
from mcp.server.lowlevel.server import Server
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS

from vespera_agents.front.http.limits import HEAD_BYTES_MAX, ORDINARY, Limits
from vespera_agents.front.http.listening import FULL, Listening
from vespera_agents.front.http.sending import AnyStream
from vespera_agents.health.metrics.labels import Reconnect
from vespera_agents.serving.front_link import FrontLink
from vespera_agents.serving.transports.http.connections import LINK, Link, bounded
from vespera_agents.serving.transports.http.events import EventLog, EventLogStatistics
from vespera_agents.serving.transports.http.guard import (
    Guard,
    GuardStatistics,
    Inner,
    Receive,
    Scope,
    Send,
    headers_of,
)
from vespera_agents.serving.transports.http.keeping import Keeping
from vespera_agents.serving.transports.http.marks import marking
from vespera_agents.serving.transports.http.sessions import Sessions
from vespera_agents.store import Store

__all__ = ["HttpDoor", "HttpStatistics"]

HANDSHAKE_SECONDS: Final = 10.0
_CROWDED: Final = 0.9
CUT_SECONDS: Final = 0.2
"""How long streams that were told to end may take for it."""

logger = logging.getLogger("vespera_agents.serving")


_NO_PAGES: Final[Mapping[str, Inner]] = {}


def _say_nothing(_: str) -> None:
    pass


@final
@dataclass(frozen=True, slots=True)
class HttpStatistics:
    """What came through the door."""

    connections: int
    """Open now."""
    turned_away: int
    """Connections beyond the limit."""
    sessions: int
    """Open now, of the handshake era."""
    guard: GuardStatistics | None
    """Requests; None before the door runs."""
    events: EventLogStatistics
    """Messages for clients that lost their stream."""


@final
class HttpDoor:
    """Serves HTTP clients until it is told to stop."""

    def __init__(
        self,
        server: Server[dict[str, object]],
        listening: Listening,
        store: Store,
        *,
        name: str,
        front: FrontLink | None = None,
        announce: Callable[[str], None] = _say_nothing,
        at_stop: Callable[[], None] | None = None,
        limits: Limits = ORDINARY,
        pages: Mapping[str, Inner] = _NO_PAGES,
        reconnected: Callable[[Reconnect], object] = lambda _: None,
    ) -> None:
        """Say what it works with.

        Args:
            server: who answers.
            listening: where clients connect.
            store: keeps sessions, and messages for clients that lost their stream.
            name: the id of the server, whose sessions those of an earlier worker under the same id are.
            front: in front of which we are, if we are.
            announce: hears the address once clients can connect.
            at_stop: ends what the server itself streams.
            limits: how much, and for how long.
            pages: who answers a request for something else than MCP, by the first part of its path.
            reconnected: hears of clients that are connected again, and what they had lost.
        """
        self.ended = trio.Event()
        """Set when everything is closed after `stop`."""
        self._pages = pages
        self._reconnected = reconnected
        self._server = server
        self._listening = listening
        self._front = front
        self._announce = announce
        self._at_stop = at_stop
        self._limits = limits
        self._stopping = trio.Event()
        self._log = EventLog(store)
        self._keeping = Keeping(store, name, limits.session_seconds)
        self._numbers = itertools.count(1)
        self._guard: Guard | None = None
        self._sessions: Sessions | None = None
        self._connections: set[Link] = set()
        self._gone = trio.Event()
        self._turned_away = 0

    async def run(self, *, task_status: trio.TaskStatus[HttpDoor]) -> None:
        """Serve until `stop`: a child for a supervisor."""
        private = self._listening.private is not None
        self._keeping.forget_process()
        self._sessions = sessions = Sessions(
            self._server,
            self._log,
            self._keeping,
            self._limits,
            behind_a_front=private,
            numbers=self._numbers,
            reconnected=self._reconnected,
        )

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            page = self._pages.get("/" + str(scope["path"]).split("/")[1])
            if page is not None:
                await page(scope, receive, send)
                return
            if private:
                send = marking(send)
            version = headers_of(scope).get(b"mcp-protocol-version")
            if version is None or version in HANDSHAKE_PROTOCOL_VERSIONS:
                await sessions.answer(scope, receive, send)
            else:
                # The hosts were looked at, and our server has no lifespan of its own, so there is no state of one.
                await handle_modern_request(self._server, None, False, {}, scope, receive, send)

        admission = None if self._front is None else self._front.admission
        self._guard = Guard(self._listening, answer, self._limits, admission)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._log.run)
            nursery.start_soon(sessions.run)
            await self._serve(self._guard, sessions, task_status)
            await self._log.flush()
            nursery.cancel_scope.cancel()
        self.ended.set()

    def stop(self) -> None:
        """Accept nobody any more, let requests under way end, end streams, and then set `ended`; again: at once."""
        if self._stopping.is_set():
            self.ended.set()
        self._stopping.set()

    async def drained(self) -> list[str]:
        """Wait until no request is under way but streams, or the time that the front gives is up; name those that are.

        Streams go on at the next worker, as does the request that asked for it.
        """
        if self._guard is None or self._front is None:
            return []
        return await self._guard.drained(self._front.admission.requests_seconds, self._front.awaiting_restart)

    def statistics(self) -> HttpStatistics:
        """Count what came through the door so far."""
        return HttpStatistics(
            connections=len(self._connections),
            turned_away=self._turned_away,
            sessions=0 if self._sessions is None else self._sessions.count,
            guard=None if self._guard is None else self._guard.statistics(),
            events=self._log.statistics(),
        )

    def tree_detail(self) -> dict[str, str | int | float]:
        """Say what the tree shows of it."""
        counted = self.statistics()
        detail: dict[str, str | int | float] = {
            "url": self._listening.url,
            "connections": counted.connections,
            "sessions": counted.sessions,
        }
        if counted.guard is not None:
            refused = counted.guard.refused + counted.turned_away
            detail |= {"requests": counted.guard.requests, "in_flight": counted.guard.in_flight, "refused": refused}
        return detail

    async def check_health(self) -> tuple[str, str] | None:
        """Say whether there is room for more clients: a grade and a sentence when there is hardly any."""
        await trio.lowlevel.checkpoint()
        most, now = self._limits.connections_max, len(self._connections)
        if now < _CROWDED * most:
            return None
        return "degraded", f"{now} of {most} connections are open, and clients beyond are turned away"

    async def _serve(self, guard: Guard, sessions: Sessions, task_status: trio.TaskStatus[HttpDoor]) -> None:
        config, context = _config(self._limits), WorkerContext(None)
        # A duplicate: what accepts closes it in the end, and the next incarnation needs the socket.
        plain = trio.SocketListener(trio.socket.from_stdlib_socket(self._listening.socket.dup()))
        tls = self._listening.tls
        listener = plain if tls is None else trio.SSLListener(plain, tls, https_compatible=True)

        async def connection(stream: AnyStream) -> None:
            # A cast, because hypercorn says that it takes encrypted streams only.
            patient = cast("trio.SSLStream[trio.SocketStream]", bounded(stream, self._limits.send_seconds))
            link = Link(stream)
            state = ConnectionState({LINK: link})
            await self._connection(link, TCPServer(cast("AppWrapper", guard), config, context, state, patient))

        async with trio.open_nursery() as connections:
            async with trio.open_nursery() as accepting:
                accept = partial(trio.serve_listeners, connection, [listener], handler_nursery=connections)
                accepting.start_soon(accept)
                accepting.start_soon(self._cut_idle)
                self._announce(self._listening.url)
                task_status.started(self)
                await self._stopping.wait()
                accepting.cancel_scope.cancel()
            if self._front is None or self._front.is_gone():
                await self._end_in_order(context, sessions)
            # Behind a front that lives only this worker ends: what is under way goes on at the next one, so nothing
            # may look like its end.
            self._cut()
            connections.cancel_scope.cancel()

    async def _end_in_order(self, context: WorkerContext, sessions: Sessions) -> None:
        """End idle connections now, busy ones with their answer, streams now."""
        await context.terminated.set()
        sessions.end_streams()
        if self._at_stop is not None:
            self._at_stop()
        await self._until_gone(self._limits.last_answers_seconds)
        sessions.close()
        await self._until_gone(CUT_SECONDS)

    async def _connection(self, link: Link, serving: TCPServer) -> None:
        if len(self._connections) >= self._limits.connections_max:
            self._turned_away += 1
            with trio.move_on_after(self._limits.send_seconds):
                await _turn_away(link.stream)
            return
        self._connections.add(link)
        try:
            await serving
        except Exception:  # the boundary of a connection: what breaks it must not end the others
            logger.exception("a connection broke")
        finally:
            self._connections.discard(link)
            if not self._connections:
                self._gone.set()
            await trio.aclose_forcefully(link.stream)

    async def _until_gone(self, seconds: float) -> None:
        with trio.move_on_after(seconds):
            while self._connections:
                self._gone = trio.Event()
                await self._gone.wait()

    def _cut(self) -> None:
        """Close what is left: hypercorn shields its writes, so that cancelling alone would wait for the peer."""
        for link in self._connections:
            link.cut()

    async def _cut_idle(self) -> None:
        """Close connections over which nothing is answered, whatever hypercorn waits for."""
        while True:
            await trio.sleep(self._limits.idle_seconds / 4)
            limit = trio.current_time() - 1.5 * self._limits.idle_seconds
            for link in self._connections:
                if not link.busy and link.idle_since < limit:
                    link.cut()


async def _turn_away(stream: AnyStream) -> None:
    try:
        if isinstance(stream, trio.SocketStream):
            await stream.send_all(FULL)
    except trio.BrokenResourceError:
        pass
    finally:
        await trio.aclose_forcefully(stream)


def _config(limits: Limits) -> Config:
    config = Config()
    config.accesslog = None
    config.errorlog = logger
    config.keep_alive_timeout = limits.idle_seconds
    config.keep_alive_max_requests = 1_000_000_000
    config.ssl_handshake_timeout = HANDSHAKE_SECONDS
    config.h11_max_incomplete_size = HEAD_BYTES_MAX
    config.include_server_header = False
    return config
