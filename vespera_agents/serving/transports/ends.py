"""The two ends of a transport, as the streams that the MCP library reads and writes: each stands for one function.

Not a transport. Neighbours: `stdio` and `http.session` put their own reading and writing behind them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import final

import trio
from mcp.shared.message import SessionMessage

__all__ = ["ReadEnd", "WriteEnd"]


@final
class ReadEnd:
    """What the client says."""

    def __init__(
        self, receive: Callable[[], Awaitable[SessionMessage | None]], close: Callable[[], object] = lambda: None
    ) -> None:
        """Stand for a function.

        Args:
            receive: gives the next message, None at the end.
            close: hears that nobody will read any more.
        """
        self._receive = receive
        self._close = close
        self._closed = False

    async def receive(self) -> SessionMessage | Exception:
        """Read the next message.

        Raises:
            EOFError: there is none any more.
        """
        message = None if self._closed else await self._receive()
        if message is None:
            raise EOFError
        return message

    async def aclose(self) -> None:
        """Read no more."""
        self._closed = True
        self._close()
        await trio.lowlevel.checkpoint()

    def __aiter__(self) -> ReadEnd:
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        try:
            return await self.receive()
        except EOFError:
            raise StopAsyncIteration from None

    async def __aenter__(self) -> ReadEnd:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> None:
        await self.aclose()


@final
class WriteEnd:
    """What the server says; whose it is stays open when the library closes it."""

    def __init__(self, send: Callable[[SessionMessage], Awaitable[None]]) -> None:
        """Stand for a function that sends one message."""
        self._send = send

    async def send(self, item: SessionMessage, /) -> None:
        """Write a message."""
        await self._send(item)

    async def aclose(self) -> None:
        """Write no more."""
        await trio.lowlevel.checkpoint()

    async def __aenter__(self) -> WriteEnd:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> None:
        await self.aclose()
