"""Writes to a connection that end, also when its peer does not read.

Neighbours: `connection`, `upstream`, and the worker's `transports.http.connections`.
"""

from __future__ import annotations

import os

import trio

__all__ = ["AnyStream", "send_bounded"]

AnyStream = trio.SocketStream | trio.SSLStream[trio.SocketStream]


async def send_bounded(stream: AnyStream, data: bytes, seconds: float) -> None:
    """Send, for a bounded time; what the system takes at once without any wait.

    Raises:
        trio.BrokenResourceError: the peer is gone, or does not read.
        trio.ClosedResourceError: the connection was closed on our side.
    """
    if isinstance(stream, trio.SocketStream):
        number = stream.socket.fileno()
        if number < 0:
            raise trio.ClosedResourceError("the connection was closed")
        try:
            sent = os.write(number, data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            raise trio.BrokenResourceError(str(error)) from error
        if sent == len(data):
            return
        data = data[sent:]
    with trio.move_on_after(seconds) as patience:
        await stream.send_all(data)
    if patience.cancelled_caught:
        raise trio.BrokenResourceError("the peer does not read")
