"""The child of the front's tree that HTTP clients come through: accepts connections, and ends them in good order.

    accepting ── connection ── exchange ── upstream ── the worker's private socket

It serves as long as the front lives: workers come and go behind it, and a client sees that an answer takes longer. Who
may come in says `entrance`. Neighbours: `listening` keeps the socket, `workers` says what it needs of the
front.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, final

import trio

from vespera_agents.front.http.connection import Bodies, Connection
from vespera_agents.front.http.exchange import Road
from vespera_agents.front.http.limits import ORDINARY, Limits
from vespera_agents.front.http.listening import FULL, Listening
from vespera_agents.front.http.sending import AnyStream
from vespera_agents.front.http.upstream import Pool, UpstreamLost
from vespera_agents.front.http.workers import HttpWorkers

__all__ = ["FrontDoor", "FrontStatistics"]

HANDSHAKE_SECONDS: Final = 10.0
REACH_SECONDS: Final = 5.0
"""How long the way to the worker's private socket and back may take."""
CUT_SECONDS: Final = 0.3
"""How long the worker may take to end streams, beyond the time that it gives to requests under way."""

logger = logging.getLogger("vespera_agents.front")


def _do_nothing() -> None:
    pass


@final
@dataclass(frozen=True, slots=True)
class FrontStatistics:
    """What came through the door."""

    connections: int
    """Open now."""
    turned_away: int
    """Connections beyond the limit."""
    busy: int
    """Connections over which a request is under way."""
    refused: int
    """Requests that were not passed on: who sent them may not come in, or what was sent is too much or no HTTP."""
    repeated: int
    """Requests that were sent to another worker."""
    given_up: int
    """Requests that no worker answered."""
    bodies_bytes: int
    """Bytes of requests under way."""
    upstreams: int
    """Connections to workers so far."""


@final
class FrontDoor:
    """Serves HTTP clients until it is told to stop."""

    def __init__(
        self,
        listening: Listening,
        workers: HttpWorkers,
        *,
        at_stop: Callable[[], None] = _do_nothing,
        limits: Limits = ORDINARY,
    ) -> None:
        """Say what it works with.

        Args:
            listening: where clients connect.
            workers: who answers.
            at_stop: tells the worker to end streams, let requests under way end, and end.
            limits: how much, and for how long.
        """
        self.ended = trio.Event()
        """Set when everything is closed after `stop`."""
        self._listening = listening
        self._at_stop = at_stop
        self._limits = limits
        self._pool = Pool(limits.send_seconds)
        assert listening.entrance is not None, "clients connect there"
        self._road = Road(listening.entrance, workers, self._pool, limits)
        self._bodies = Bodies(limits.bodies_bytes_max)
        self._stopping = trio.Event()
        self._connections: set[Connection] = set()
        self._gone = trio.Event()
        self._turned_away = 0

    async def run(self, *, task_status: trio.TaskStatus[FrontDoor]) -> None:
        """Serve until `stop`: a child for a supervisor."""
        # A duplicate: what accepts closes it in the end, and the next incarnation needs the socket.
        plain = trio.SocketListener(trio.socket.from_stdlib_socket(self._listening.socket.dup()))
        tls = self._listening.tls
        listener = plain if tls is None else trio.SSLListener(plain, tls, https_compatible=True)
        async with trio.open_nursery() as connections:
            async with trio.open_nursery() as accepting:
                accept = partial(trio.serve_listeners, self._connect, [listener], handler_nursery=connections)
                accepting.start_soon(accept)
                task_status.started(self)
                await self._stopping.wait()
                accepting.cancel_scope.cancel()
            for connection in tuple(self._connections):
                connection.leave()
            self._at_stop()
            with trio.move_on_after(self._limits.last_answers_seconds + CUT_SECONDS):
                while self._connections:
                    self._gone = trio.Event()
                    await self._gone.wait()
            for connection in tuple(self._connections):
                connection.cut()
            connections.cancel_scope.cancel()
        self._pool.close()
        self.ended.set()

    def stop(self) -> None:
        """Accept nobody any more, let requests under way end, and then set `ended`; again: at once."""
        if self._stopping.is_set():
            self.ended.set()
        # At once, so that nobody who is woken by the end goes on waiting for a worker.
        self._road.ending = True
        self._stopping.set()

    def busy(self) -> bool:
        """Say whether a client waits for an answer."""
        return self._road.waiting > 0

    async def reach(self, text: bytes) -> str | None:
        """Go to the worker's private socket and back, and say what went wrong.

        Args:
            text: what the worker shall give back; it may stand in a header.
        """
        worker = self._road.workers.current()
        if worker is None:
            return "no worker takes HTTP requests at the moment"
        with trio.move_on_after(REACH_SECONDS):
            try:
                given = await self._pool.echo(worker, text)
            except UpstreamLost:
                return "the connection to the worker's private socket broke"
            return None if given == text else "the worker's private socket gave something else back"
        return f"the worker's private socket did not answer within {REACH_SECONDS:g} s"

    def statistics(self) -> FrontStatistics:
        """Count what came through the door so far."""
        return FrontStatistics(
            connections=len(self._connections),
            turned_away=self._turned_away,
            busy=sum(connection.busy for connection in self._connections),
            refused=self._road.refused,
            repeated=self._road.repeated,
            given_up=self._road.given_up,
            bodies_bytes=self._bodies.bytes,
            upstreams=self._pool.opened,
        )

    def tree_detail(self) -> dict[str, str | int | float]:
        """Say what the tree shows of it."""
        now = self.statistics()
        return {
            "url": self._listening.url,
            "connections": now.connections,
            "busy": now.busy,
            "repeated": now.repeated,
            "refused": now.refused + now.turned_away,
        }

    async def _connect(self, stream: AnyStream) -> None:
        try:
            await self._serve(stream)
        except Exception:  # the boundary of a connection: what breaks it must not end the others
            logger.exception("a connection broke")
        finally:
            await trio.aclose_forcefully(stream)

    async def _serve(self, stream: AnyStream) -> None:
        if len(self._connections) >= self._limits.connections_max:
            self._turned_away += 1
            with trio.move_on_after(self._limits.send_seconds):
                await _turn_away(stream)
            return
        peer = _peer_of(stream)
        if peer is None:
            return
        encrypted = isinstance(stream, trio.SSLStream)
        connection = Connection(stream, peer, b"https" if encrypted else b"http", self._road, self._bodies)
        self._connections.add(connection)
        try:
            if isinstance(stream, trio.SSLStream) and not await _shake_hands(stream):
                return
            await connection.run()
        finally:
            self._connections.discard(connection)
            if not self._connections:
                self._gone.set()


async def _shake_hands(stream: trio.SSLStream[trio.SocketStream]) -> bool:
    with trio.move_on_after(HANDSHAKE_SECONDS):
        try:
            await stream.do_handshake()
        except trio.BrokenResourceError:
            return False
        return True
    return False


def _peer_of(stream: AnyStream) -> bytes | None:
    """Give HOST PORT; None where the client is gone already."""
    plain = stream if isinstance(stream, trio.SocketStream) else stream.transport_stream
    try:
        host, port = plain.socket.getpeername()[:2]
    except OSError:
        return None
    return f"{host} {port}".encode("ascii", "replace")


async def _turn_away(stream: AnyStream) -> None:
    try:
        if isinstance(stream, trio.SocketStream):
            await stream.send_all(FULL)
    except trio.BrokenResourceError:
        pass
