"""A vendor's server on this machine: HTTP/1.1 on a free port, with replies that a test chooses.

It speaks as real ones do where it matters: connections stay open, streams are chunked, one that is cut is cut in the
middle. It keeps what it was asked, and notices when a client leaves. Not for the network: no TLS, no limits.
Neighbours: `replies` says what it answers, `formats` and `chat` in which words.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, cast, final

import h11
import trio

from vespera_agents.providers.settings import Kind
from vespera_agents.providers.testing.formats import format_of
from vespera_agents.providers.testing.replies import Format, Reply, ServerEvent

__all__ = ["SeenRequest", "VendorServer", "open_vendor_server"]

_READ_BYTES: Final = 65_536
_ROOTS: Final = frozenset({Kind.ANTHROPIC, Kind.GOOGLE, Kind.GROQ, Kind.COHERE, Kind.OLLAMA})
"""Whose address is that of the machine; all others end with /v1."""


@final
@dataclass(slots=True)
class SeenRequest:
    """One request that came."""

    path: str
    headers: Mapping[str, str]
    body: Mapping[str, object]
    streamed: bool
    left: trio.Event = field(default_factory=trio.Event)
    """Set when its client closed the connection before the answer was at its end."""
    holding: trio.Event = field(default_factory=trio.Event)
    """Set when the answer came to where it is held."""


@final
class VendorServer:
    """One server that answers as a vendor does."""

    def __init__(self, kind: Kind, reply: Reply) -> None:
        self.kind = kind
        self.reply = reply
        """What it answers when nothing else is said."""
        self.seen: list[SeenRequest] = []
        self.connections = 0
        self._address = ""
        self._format: Format = format_of(kind)
        self._next: deque[Reply] = deque()
        self._arrivals = trio.lowlevel.ParkingLot()

    @property
    def address(self) -> str:
        """What to configure as `base_url`."""
        return self._address + ("" if self.kind in _ROOTS else "/v1")

    @property
    def root(self) -> str:
        """Where it listens."""
        return self._address

    def reply_next(self, *replies: Reply) -> None:
        """Give these to the next requests."""
        self._next.extend(replies)

    async def request(self, number: int) -> SeenRequest:
        """Wait until so many requests have come, and give the last of them; the first is 0."""
        while len(self.seen) <= number:
            await self._arrivals.park()
        return self.seen[number]

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled."""
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self._address = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        task_status.started()
        await trio.serve_listeners(self._connection, listeners)

    def statistics(self) -> tuple[int, int]:
        """Give the numbers of connections and of requests so far."""
        return self.connections, len(self.seen)

    async def _connection(self, stream: trio.SocketStream) -> None:
        self.connections += 1
        speaker = h11.Connection(h11.SERVER)
        try:
            while await self._exchange(stream, speaker):
                speaker.start_next_cycle()
        except (trio.BrokenResourceError, trio.ClosedResourceError, h11.ProtocolError):
            return
        finally:
            await trio.aclose_forcefully(stream)

    async def _exchange(self, stream: trio.SocketStream, speaker: h11.Connection) -> bool:
        """Answer one request; say whether another may follow on the connection."""
        request, body = await _read(stream, speaker)
        if request is None:
            return False
        path = request.target.decode()
        parsed: object = json.loads(body) if body else {}
        fields: Mapping[str, object] = cast("dict[str, object]", parsed) if isinstance(parsed, dict) else {}
        headers = {name.decode(): value.decode() for name, value in request.headers}
        seen = SeenRequest(path, headers, fields, self._format.wants_stream(path, fields))
        self.seen.append(seen)
        self._arrivals.unpark_all()
        reply = self._next.popleft() if self._next else self.reply
        await _silent(stream, seen, reply.first_byte_seconds)
        if seen.left.is_set():
            return False
        model = str(fields.get("model") or path.rpartition("/")[2].partition(":")[0])
        try:
            if seen.streamed and reply.complaint is None and reply.location is None:
                return await self._stream(stream, speaker, seen, reply, model)
            return await self._whole(stream, speaker, reply, model)
        except trio.BrokenResourceError:
            seen.left.set()
            return False

    async def _whole(self, stream: trio.SocketStream, speaker: h11.Connection, reply: Reply, model: str) -> bool:
        status, extra = 200, list[tuple[str, str]]()
        if reply.complaint is not None:
            status, answer = self._format.complaint(reply.complaint)
            data = json.dumps(answer).encode()
        elif reply.body is not None:
            data = reply.body
        else:
            data = json.dumps(self._format.whole(reply, model)).encode()
        if reply.location is not None:
            status = 307
            extra.append(("location", reply.location))
        if reply.retry_after is not None:
            extra.append(("retry-after", reply.retry_after))
        headers = [("content-type", "application/json"), ("content-length", str(len(data))), *extra]
        sent = speaker.send(h11.Response(status_code=status, headers=headers))
        if reply.breaks_after_bytes is not None:
            await stream.send_all(sent + data[: reply.breaks_after_bytes])
            return False
        await stream.send_all(sent + speaker.send(h11.Data(data)) + speaker.send(h11.EndOfMessage()))
        return True

    async def _stream(
        self,
        stream: trio.SocketStream,
        speaker: h11.Connection,
        seen: SeenRequest,
        reply: Reply,
        model: str,
    ) -> bool:
        headers = [("content-type", "text/event-stream"), ("transfer-encoding", "chunked")]
        await stream.send_all(speaker.send(h11.Response(status_code=200, headers=headers)))
        events = self._format.events(reply, model) if reply.body is None else [reply.body]
        if reply.stops_before_end:
            events = [one for one in events if not isinstance(one, ServerEvent) or not one.closing]
        sent_bytes = 0
        for number, event in enumerate(events):
            if number == reply.holds_after_events:
                seen.holding.set()
                await _gone(stream, seen)
                return False
            data = event if isinstance(event, bytes) else _written(event)
            if reply.breaks_after_bytes is not None and sent_bytes + len(data) > reply.breaks_after_bytes:
                await stream.send_all(speaker.send(h11.Data(data))[: reply.breaks_after_bytes - sent_bytes])
                return False
            sent_bytes += len(data)
            await stream.send_all(speaker.send(h11.Data(data)))
        await stream.send_all(speaker.send(h11.EndOfMessage()))
        return True


@asynccontextmanager
async def open_vendor_server(kind: Kind, reply: Reply | None = None) -> AsyncGenerator[VendorServer]:
    """Have a server that speaks as the vendors of a kind do, until the block is left."""
    async with trio.open_nursery() as nursery:
        server = VendorServer(kind, reply or Reply())
        await nursery.start(server.serve)
        yield server
        nursery.cancel_scope.cancel()


def _written(event: ServerEvent) -> bytes:
    text = event.data if isinstance(event.data, str) else json.dumps(event.data)
    name = "" if event.name is None else f"event: {event.name}\n"
    return f"{name}data: {text}\n\n".encode()


async def _read(stream: trio.SocketStream, speaker: h11.Connection) -> tuple[h11.Request | None, bytes]:
    """Read one request; None when the client has closed the connection."""
    request: h11.Request | None = None
    body = bytearray()
    while True:
        event = speaker.next_event()
        if event is h11.NEED_DATA:
            speaker.receive_data(await stream.receive_some(_READ_BYTES))
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            return request, bytes(body)
        else:
            return None, b""


async def _silent(stream: trio.SocketStream, seen: SeenRequest, seconds: float) -> None:
    """Say nothing for a while, and notice when the client leaves meanwhile."""
    if seconds > 0:
        with trio.move_on_after(seconds):
            await _gone(stream, seen)


async def _gone(stream: trio.SocketStream, seen: SeenRequest) -> None:
    """Wait until the client has closed the connection."""
    try:
        while await stream.receive_some(_READ_BYTES):
            pass
    except trio.BrokenResourceError:
        pass
    seen.left.set()
