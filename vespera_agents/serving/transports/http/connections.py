"""A connection: what hypercorn writes to, and whether anything is being answered over it.

Hypercorn shields its writes from cancellation and sets them no limit, and it knows ways to be silent for ever (its
HTTP/2 after garbage). Here writes end, and `door` closes what is idle. Not the limit of connections (`door`).
"""

from __future__ import annotations

from typing import Final, final

import trio

from vespera_agents.front.http.sending import AnyStream, send_bounded

__all__ = ["LINK", "Link", "bounded"]

LINK: Final = "vespera.link"
"""Where a request finds its connection, in the state of its scope."""
_HEAD: Final = b"HTTP/1.1 "
_LENGTH: Final = b"\r\ncontent-length: "


@final
class Link:
    """One connection, as long as it is open."""

    __slots__ = ("busy", "idle_since", "stream")

    def __init__(self, stream: AnyStream) -> None:
        self.stream: Final = stream
        self.busy = 0
        """Requests that are being answered over it."""
        self.idle_since = trio.current_time()
        """Since when none is, where none is."""

    def begin(self) -> None:
        """Hear that a request is being answered."""
        self.busy += 1

    def end(self) -> None:
        """Hear that one was answered."""
        self.busy -= 1
        self.idle_since = trio.current_time()

    def cut(self) -> None:
        """Close it, whoever waits for it."""
        plain = self.stream if isinstance(self.stream, trio.SocketStream) else self.stream.transport_stream
        plain.socket.close()


def bounded(stream: AnyStream, send_seconds: float) -> PlainConnection | EncryptedConnection:
    """Give a connection whose writes take a bounded time."""
    if isinstance(stream, trio.SocketStream):
        return PlainConnection(stream, send_seconds)
    return EncryptedConnection(stream, send_seconds)


@final
class PlainConnection:
    """A connection that is not encrypted: hypercorn knows it by what it lacks."""

    def __init__(self, stream: trio.SocketStream, send_seconds: float) -> None:
        self.socket: Final = stream.socket
        self._send_seconds = send_seconds
        self._stream = stream
        self._head = b""
        self.receive_some: Final = stream.receive_some
        self.send_eof: Final = stream.send_eof
        self.aclose: Final = stream.aclose

    async def send_all(self, data: bytes) -> None:
        """Send, for a bounded time; what the system takes at once without any wait.

        Hypercorn calls this for each part of an answer, one call at a time: its head, its body, and an empty end. A
        head that promises a body of known length waits for it, so that the client wakes up once.
        """
        if data.startswith(_HEAD) and _LENGTH in data:
            self._head = data
            return
        if self._head:
            data, self._head = self._head + data, b""
        if data:
            await send_bounded(self._stream, data, self._send_seconds)


@final
class EncryptedConnection:
    """A connection over TLS."""

    def __init__(self, stream: trio.SSLStream[trio.SocketStream], send_seconds: float) -> None:
        self.transport_stream: Final = stream.transport_stream
        self._send_seconds = send_seconds
        self._stream = stream
        self.do_handshake: Final = stream.do_handshake
        self.receive_some: Final = stream.receive_some
        self.aclose: Final = stream.aclose

    def selected_alpn_protocol(self) -> str | None:
        """Say which protocol the handshake agreed on."""
        return self._stream.selected_alpn_protocol()

    async def send_all(self, data: bytes) -> None:
        """Send, for a bounded time."""
        await send_bounded(self._stream, data, self._send_seconds)
