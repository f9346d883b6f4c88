"""One connection of a client: its requests one after another, their bodies, its hanging up.

One task reads what arrives, another answers; so a client that hangs up is noticed while its request is under way. h11
says what is HTTP, and it is strict; what could be read in two ways is refused here. Neighbours: `door` accepts
connections, `exchange` has requests answered.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import suppress
from typing import Final, final

import h11
import trio

from vespera_agents.front.http.exchange import Exchange, Request, Road
from vespera_agents.front.http.facts import CLIENT, OURS, PRINCIPAL, SCHEME
from vespera_agents.front.http.limits import HEAD_BYTES_MAX
from vespera_agents.front.http.probes import answer_probe, is_probe
from vespera_agents.front.http.refusals import DRAINED, Refused, refusal, slow_body, too_long
from vespera_agents.front.http.sending import AnyStream, send_bounded
from vespera_agents.front.http.upstream import Headers

__all__ = ["Bodies", "Connection"]

READ_BYTES: Final = 64 * 1024
_UNREAD_MAX: Final = 4 * READ_BYTES
"""Bytes that a client may send ahead of what is answered."""
_LAST_SECONDS: Final = 1.0
"""How long a client that was refused may go on writing."""
_JSON: Final = (b"content-type", b"application/json")
_DROPPED: Final = frozenset(
    {
        b"connection",
        b"content-length",
        b"expect",
        b"http2-settings",
        b"keep-alive",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""Headers that belong to the connection, or that the front has dealt with."""

logger = logging.getLogger("vespera_agents.front")


@final
class Bodies:
    """The bytes of all bodies that are kept until they are answered."""

    def __init__(self, bytes_max: int) -> None:
        """Say how many there may be."""
        self._bytes_max = bytes_max
        self.bytes = 0

    def add(self, count: int) -> bool:
        """Take some more, if there is room."""
        if self.bytes + count > self._bytes_max:
            return False
        self.bytes += count
        return True

    def leave(self, count: int) -> None:
        """Give some back."""
        self.bytes -= count


class _Gone(Exception):
    """The client has hung up."""


@final
class Connection:
    """A client, as long as it is connected."""

    def __init__(self, stream: AnyStream, peer: bytes, scheme: bytes, road: Road, bodies: Bodies) -> None:
        """Take a connection.

        Args:
            stream: to the client.
            peer: the client's address, HOST PORT.
            scheme: http or https.
            road: how requests are answered.
            bodies: of all connections.
        """
        self.stream: Final = stream
        self._about: Final = ((CLIENT, peer), (SCHEME, scheme))
        self._road = road
        self._limits = road.limits
        self._bodies = bodies
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES_MAX)
        self._arrived = trio.Event()
        self._taken = trio.Event()
        self._unread = 0
        self._deaf = False
        """Whether what still arrives is thrown away."""
        self._bodiless = False
        """Whether what the request under way is answered with has no body: HEAD."""
        self._gone = False
        self._ended = False
        """Whether the response of the request under way has ended, for its client."""
        self._leaving = trio.CancelScope()
        self._waiting: trio.CancelScope | None = None
        """Waits for the next request, while there is none."""
        self._asking: trio.CancelScope | None = None
        """The request under way, if it ends with its client."""
        self.exchanges = 0
        """Requests so far."""

    @property
    def busy(self) -> bool:
        """Whether a request is under way."""
        return self._waiting is None

    async def run(self) -> None:
        """Answer until the client has hung up, or was idle for too long."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._read)
            try:
                while await self._serve_next():
                    pass
            except Refused as refused:
                await self._refuse(refused)
            except (_Gone, trio.BrokenResourceError, trio.ClosedResourceError):
                pass
            nursery.cancel_scope.cancel()

    def leave(self) -> None:
        """End it now if nothing is under way; what is ends with its answer once the road is ending."""
        if self._waiting is not None:
            self._waiting.cancel()

    def cut(self) -> None:
        """Close it, whatever is under way."""
        self._ended = self._gone = True
        plain = self.stream if isinstance(self.stream, trio.SocketStream) else self.stream.transport_stream
        plain.socket.close()

    # ---- reading

    async def _read(self) -> None:
        while not self._gone:
            while self._unread > _UNREAD_MAX:
                self._taken = trio.Event()
                await self._taken.wait()
            try:
                data = bytes(await self.stream.receive_some(READ_BYTES))
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                data = b""
            if data and self._deaf:
                continue
            if data:
                self._unread += len(data)
                self._http.receive_data(data)
            else:
                self._hang_up()
            self._arrived.set()

    def _hang_up(self) -> None:
        self._gone = True
        if self._asking is not None:
            self._asking.cancel()

    async def _event(self) -> h11.Event:
        """Give what the client sent next.

        Raises:
            _Gone: it hung up.
            Refused: that is no HTTP.
        """
        while (event := self._event_at_hand()) is None:
            if self._gone:
                raise _Gone
            self._unread = 0
            self._taken.set()
            self._arrived = trio.Event()
            await self._arrived.wait()
        return event

    def _event_at_hand(self) -> h11.Event | None:
        """Give what the client sent next, if it has arrived."""
        try:
            event = self._http.next_event()
        except h11.RemoteProtocolError as error:
            raise Refused(error.error_status_hint, "that is no well-formed HTTP request. Send one.") from error
        if isinstance(event, h11.ConnectionClosed):
            raise _Gone
        return event if isinstance(event, h11.Event) else None

    # ---- one request

    async def _serve_next(self) -> bool:
        """Have the next request answered; says whether there can be another."""
        head: h11.Event | None = None
        with trio.move_on_after(self._limits.idle_seconds) as self._waiting:
            head = await self._event()
        self._waiting = None
        if head is None:
            return False
        if not isinstance(head, h11.Request):
            raise Refused(400, "a request was expected. Send one.")
        self._bodiless = head.method == b"HEAD"
        headers = [*_passed_on(head), *self._who(head)]
        limit = self._road.entrance.body_bytes_max(_path(head), self._limits.body_bytes_max)
        body = await self._body(head, limit)
        try:
            await self._exchange(Request(head.method, head.target, headers, body))
        finally:
            self._bodies.leave(len(body))
        if self._gone or self._road.ending or self._http.our_state is not h11.DONE:
            return False
        if self._http.their_state is not h11.DONE:
            return False
        self._http.start_next_cycle()
        return True

    def _who(self, head: h11.Request) -> Headers:
        """Let a request in by its head alone, and give what the worker must know of who sent it.

        Raises:
            Refused: it may not come in.
        """
        headers = {name: value.decode("latin-1") for name, value in head.headers}
        principal = self._road.entrance.principal(_path(head), headers)
        return () if principal is None else ((PRINCIPAL, principal.encode()),)

    async def _exchange(self, request: Request) -> None:
        self.exchanges += 1
        self._ended = False
        exchange = Exchange(request, self._about, self, self._road)
        with trio.CancelScope() as scope:
            if not exchange.lasting:
                self._asking = scope
                if self._gone:
                    scope.cancel()
            entered = self._road.entrance.enter(
                request.method.decode("latin-1"),
                request.target.decode("latin-1"),
                request.body,
                encrypted=isinstance(self.stream, trio.SSLStream),
            )
            if entered is not None:
                await self.answer(entered.status, entered.headers, b"" if self._bodiless else entered.body)
            elif is_probe(request):
                await answer_probe(request, exchange, self, self._road)
            else:
                await exchange.run()
        self._asking = None

    async def _body(self, head: h11.Request, limit: int) -> bytes:
        """Read the whole body, of at most `limit` bytes; what is read counts while the request is under way."""
        parts: list[bytes] = []
        whole = False
        try:
            # Most bodies come with their head: then there is nothing to wait for, nor a deadline to pay for.
            while isinstance(event := self._event_at_hand(), h11.Data):
                self._take(bytes(event.data), parts, limit)
            if event is None:
                with trio.fail_after(self._limits.body_seconds):
                    await self._continue(head, limit)
                    while isinstance(event := await self._event(), h11.Data):
                        self._take(bytes(event.data), parts, limit)
            whole = True
        except trio.TooSlowError:
            raise Refused(408, slow_body(self._limits.body_seconds)) from None
        finally:
            if not whole:
                self._bodies.leave(sum(map(len, parts)))
        return b"".join(parts)

    async def _continue(self, head: h11.Request, limit: int) -> None:
        """Tell a client that asks first whether it may send its body; throw away a body that is too long."""
        length = next((int(value) for name, value in head.headers if name == b"content-length"), 0)
        if self._http.they_are_waiting_for_100_continue and length <= limit:
            await self._send(self._http.send(h11.InformationalResponse(status_code=100, headers=[])))
        elif length > limit:
            left = min(length, DRAINED * limit)
            while left > 0 and not self._http.they_are_waiting_for_100_continue:
                event = await self._event()
                left = left - len(event.data) if isinstance(event, h11.Data) else 0
            raise Refused(413, too_long(limit))

    def _take(self, part: bytes, parts: list[bytes], limit: int) -> None:
        if not self._bodies.add(len(part)):
            raise Refused(503, "the requests of others fill the room that there is for them. Try again.")
        parts.append(part)
        if sum(map(len, parts)) > limit:
            raise Refused(413, too_long(limit))

    # ---- the answer, as `exchange` gives it

    async def answer(self, status: int, headers: Headers, body: bytes) -> None:
        """Send a whole answer."""
        if self._gone or self._ended:
            return
        # What HEAD is answered with has no body, whatever its length says.
        length = (b"content-length", b"%d" % len(body))
        data = self._head(status, (*headers, length))
        if body:
            data += self._http.send(h11.Data(data=body)) or b""
        data += self._http.send(h11.EndOfMessage()) or b""
        self._ended = True
        await self._send(data)

    async def begin(self, status: int, headers: Headers) -> None:
        """Send the head of a stream."""
        if not self._gone:
            await self._send(self._head(status, headers))

    async def write(self, data: bytes) -> None:
        """Send a part of a stream."""
        if not (self._gone or self._ended):
            await self._send(self._http.send(h11.Data(data=data)))

    async def end(self) -> None:
        """Send the end of a stream."""
        if not (self._gone or self._ended):
            self._ended = True
            await self._send(self._http.send(h11.EndOfMessage()))

    def _head(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
        ending = [(b"connection", b"close")] if self._road.ending else []
        return self._http.send(h11.Response(status_code=status, headers=[*headers, *ending])) or b""

    async def _refuse(self, refused: Refused) -> None:
        self._road.refused += 1
        if self._gone or self._http.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            return
        body = refusal(str(refused))
        headers = [_JSON, (b"content-length", b"%d" % len(body)), (b"connection", b"close"), *refused.headers]
        if refused.status == 503:  # noqa: PLR2004 - Service Unavailable
            headers.append((b"retry-after", b"1"))
        data = self._http.send(h11.Response(status_code=refused.status, headers=headers)) or b""
        if not self._bodiless:
            data += self._http.send(h11.Data(data=body)) or b""
        self._deaf = True
        self._taken.set()
        await self._send(data)
        # Closed while the client still writes, the connection would be reset before the client has read the answer.
        with trio.move_on_after(_LAST_SECONDS), suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            if isinstance(self.stream, trio.SocketStream):
                await self.stream.send_eof()
            while not self._gone:
                self._arrived = trio.Event()
                await self._arrived.wait()

    async def _send(self, data: bytes | None) -> None:
        if not data:
            return
        try:
            await send_bounded(self.stream, data, self._limits.send_seconds)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            # It is gone, or reads nothing: then it is not told any more, and what lasts goes on.
            self.cut()
            self._hang_up()


def _path(head: h11.Request) -> str:
    return head.target.partition(b"?")[0].decode("latin-1")


def _passed_on(head: h11.Request) -> Headers:
    """Give the headers that the worker gets.

    Raises:
        Refused: its body could be read in two ways.
    """
    names = [name for name, _ in head.headers]
    if b"transfer-encoding" in names and b"content-length" in names:
        raise Refused(400, "a body has a Content-Length or a Transfer-Encoding, not both. Send one of them.")
    named = {one.strip().lower() for name, value in head.headers if name == b"connection" for one in value.split(b",")}
    dropped = _DROPPED | named
    return [(name, value) for name, value in head.headers if name not in dropped and not name.startswith(OURS)]
