"""The connection as hypercorn sees it: a stream whose writes end, also when the peer reads nothing any more.

Hypercorn shields its writes from cancellation and sets them no limit. Not the limit of connections (`door`).
"""

from __future__ import annotations

from typing import Final, final

import trio

__all__ = ["FULL", "AnyStream", "bounded"]

AnyStream = trio.SocketStream | trio.SSLStream[trio.SocketStream]

_WORDS: Final = (
    b'{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"too many connections are open. Try again."}}'
)
FULL: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\n"
    b"Connection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(_WORDS), _WORDS)
)
"""What a connection hears that is one too many."""


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
        self.receive_some: Final = stream.receive_some
        self.send_eof: Final = stream.send_eof
        self.aclose: Final = stream.aclose

    async def send_all(self, data: bytes) -> None:
        """Send, for a bounded time."""
        await _send(self._stream, data, self._send_seconds)


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
        await _send(self._stream, data, self._send_seconds)


async def _send(stream: AnyStream, data: bytes, seconds: float) -> None:
    with trio.move_on_after(seconds) as patience:
        await stream.send_all(data)
    if patience.cancelled_caught:
        raise trio.BrokenResourceError("the peer does not read")
