"""Connections to the private socket of a worker, and the answers that come back over them.

The worker is our own program, so its answers are read by a few lines of ours: h11 takes 70 us for what takes 15 here,
and would check what nobody sends. Anything unexpected counts as a lost connection. Neighbours: `exchange`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

import trio

from vespera_agents.front.http.facts import ECHO
from vespera_agents.front.http.limits import HEAD_BYTES_MAX
from vespera_agents.front.http.sending import send_bounded
from vespera_agents.front.http.workers import HttpWorker

__all__ = ["Answer", "Pool", "Upstream", "UpstreamLost"]

IDLE_MAX: Final = 64
"""Connections that are kept open for the next request."""
READ_BYTES: Final = 64 * 1024
_CONNECT_SECONDS: Final = 10.0

Headers = Sequence[tuple[bytes, bytes]]


@final
class UpstreamLost(Exception):
    """The connection to a worker ended before the answer was complete."""


@final
@dataclass(frozen=True, slots=True)
class Answer:
    """The head of an answer."""

    status: int
    headers: Headers
    """Names in small letters, without those that belong to the connection."""
    length: int | None
    """Bytes that follow; None where they come in chunks until one is empty."""

    @property
    def streams(self) -> bool:
        """Whether it is a stream of events."""
        return any(name == b"content-type" and value.startswith(b"text/event-stream") for name, value in self.headers)


_OF_THE_CONNECTION: Final = frozenset({b"connection", b"keep-alive", b"transfer-encoding", b"content-length"})


@final
class Upstream:
    """One connection to a worker: a request, its answer, the next request."""

    __slots__ = ("_data", "_left", "_send_seconds", "_stream", "_without_body", "worker")

    def __init__(self, worker: HttpWorker, stream: trio.SocketStream, send_seconds: float) -> None:
        self.worker: Final = worker
        self._stream = stream
        self._send_seconds = send_seconds
        self._data = b""
        self._left: int | None = 0
        """Bytes of the body that are still to come; None while they come in chunks."""
        self._without_body = False

    async def send(self, request: bytes, *, without_body: bool) -> None:
        """Send a whole request.

        Args:
            request: its head and body.
            without_body: whether its answer has none, whatever its head says: HEAD.

        Raises:
            UpstreamLost: the worker is gone.
        """
        self._without_body = without_body
        try:
            await send_bounded(self._stream, request, self._send_seconds)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise UpstreamLost from error

    async def answer(self) -> Answer:
        """Read the head of the answer.

        Raises:
            UpstreamLost: the worker is gone, or that is no answer.
        """
        while (end := self._data.find(b"\r\n\r\n")) < 0:
            if len(self._data) > HEAD_BYTES_MAX:
                raise UpstreamLost
            self._data += await self._receive()
        head, self._data = self._data[:end], self._data[end + 4 :]
        try:
            answer = _read_head(head)
        except (ValueError, IndexError) as error:
            raise UpstreamLost from error
        self._left = 0 if self._without_body or answer.status in {204, 304} else answer.length
        return answer

    async def part(self) -> bytes:
        """Read the next part of the body; nothing is its end.

        Raises:
            UpstreamLost: the worker is gone.
        """
        if self._left is None:
            return await self._chunk()
        if not self._left:
            return b""
        if not self._data:
            self._data = await self._receive()
        part, self._data = self._data[: self._left], self._data[self._left :]
        self._left -= len(part)
        return part

    def close(self) -> None:
        """End it: what the worker does for it is cancelled, if the protocol wants that."""
        self._stream.socket.close()

    async def _chunk(self) -> bytes:
        while (end := self._data.find(b"\r\n")) < 0:
            self._data += await self._receive()
        try:
            size = int(self._data[:end], 16)
        except ValueError as error:
            raise UpstreamLost from error
        whole = end + 2 + size + 2
        while len(self._data) < whole:
            self._data += await self._receive()
        part, self._data = self._data[end + 2 : whole - 2], self._data[whole:]
        if not size:
            self._left = 0
        return part

    async def _receive(self) -> bytes:
        try:
            data = await self._stream.receive_some(READ_BYTES)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise UpstreamLost from error
        if not data:
            raise UpstreamLost
        return bytes(data)


def _read_head(head: bytes) -> Answer:
    first, *lines = head.split(b"\r\n")
    status = int(first.split(b" ", 2)[1])
    headers: list[tuple[bytes, bytes]] = []
    length: int | None = 0
    for line in lines:
        name, _, value = line.partition(b":")
        name, value = name.lower(), value.strip()
        if name == b"content-length":
            length = int(value)
        elif name == b"transfer-encoding":
            length = None
        if name not in _OF_THE_CONNECTION:
            headers.append((name, value))
    return Answer(status, headers, length)


@final
class Pool:
    """Connections that wait for a request."""

    def __init__(self, send_seconds: float) -> None:
        """Say how long a worker may take to read what is sent at once."""
        self._send_seconds = send_seconds
        self._idle: list[Upstream] = []
        self.opened = 0
        """Connections so far."""

    async def take(self, worker: HttpWorker) -> Upstream:
        """Give a connection to a worker.

        Raises:
            UpstreamLost: it is gone, or takes none.
        """
        while self._idle:
            upstream = self._idle.pop()
            if upstream.worker is worker:
                return upstream
            upstream.close()
        try:
            with trio.fail_after(_CONNECT_SECONDS):
                stream = await trio.open_unix_socket(worker.path)
        except (OSError, trio.TooSlowError) as error:
            raise UpstreamLost from error
        self.opened += 1
        return Upstream(worker, stream, self._send_seconds)

    async def echo(self, worker: HttpWorker, text: bytes) -> bytes:
        """Have a worker give a text back, and nothing else.

        Raises:
            UpstreamLost: it is gone, or answers nothing.
        """
        upstream = await self.take(worker)
        whole = False
        try:
            await upstream.send(b"GET / HTTP/1.1\r\nhost: worker\r\n%s: %s\r\n\r\n" % (ECHO, text), without_body=False)
            await upstream.answer()
            parts: list[bytes] = []
            while part := await upstream.part():
                parts.append(part)
            whole = True
            return b"".join(parts)
        finally:
            if whole:
                self.give(upstream)
            else:
                upstream.close()

    def give(self, upstream: Upstream) -> None:
        """Take back a connection whose answer was read to its end."""
        if len(self._idle) < IDLE_MAX and not upstream.worker.ended.is_set():
            self._idle.append(upstream)
        else:
            upstream.close()

    def close(self) -> None:
        """End those that wait."""
        for upstream in self._idle:
            upstream.close()
        self._idle.clear()
