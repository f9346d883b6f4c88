"""The MCP transport over standard input and output, native to trio: no threads, cancellable, nothing lost in between.

One JSON-RPC message per line. The process's own descriptors 0 and 1 are taken for the wire: what anything else prints
goes to standard error. A line that is not JSON-RPC, or is too long, is answered as such and the next one is read. The
wire outlives whoever serves it: a door restarted by its supervisor goes on with the next line. Not here: what a
message means (`protocol`). Neighbours: `ends` gives it the shape that the MCP library asks for.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final, final

import trio
from mcp.shared.message import ServerMessageMetadata, SessionMessage
from mcp_types import JSONRPCError, JSONRPCRequest, JSONRPCResponse

from vespera_agents.front.streams import taken_streams
from vespera_agents.serving.transports.lines import (
    AT_ONCE_MAX,
    LAST_ANSWERS_SECONDS,
    LINE_BYTES_MAX,
    READ_BYTES,
    LineWriter,
    message_of,
    refusal_of,
    too_long,
)

__all__ = ["LINE_BYTES_MAX", "StdioWire", "open_stdio"]

REQUESTS_MAX: Final = 1_000
"""Requests in flight; beyond, no further line is read."""


@final
class StdioWire:
    """Two descriptors that carry lines. Made by `open_stdio`."""

    def __init__(self, read_fd: int, write_fd: int, *, line_bytes_max: int = LINE_BYTES_MAX) -> None:
        """Take two descriptors, which must not block.

        Args:
            read_fd: where the client's lines come from.
            write_fd: where ours go.
            line_bytes_max: longer lines are refused.
        """
        self._read_fd = read_fd
        self._line_bytes_max = line_bytes_max
        self._incoming = bytearray()
        self._scanned = 0
        self._skipping = False
        """Whether the rest of a line that is too long still has to be thrown away."""
        self._ended = False
        self._waiting = trio.CancelScope()
        """Around the wait for the client's next bytes: where it no longer reads, nothing that it says matters."""
        self._out = LineWriter(write_fd, self._stop_waiting)
        self._in_flight = 0
        self._read_at_once = 0
        self._settled = trio.Event()
        self.requests = 0
        """Requests so far."""
        self.refused = 0
        """Lines that were no messages."""

    @property
    def in_flight(self) -> int:
        """Requests that were read and not answered yet."""
        return self._in_flight

    def restart(self) -> None:
        """Forget the requests of a reader that has ended: nobody answers them any more."""
        self._in_flight = 0

    def hasten(self) -> None:
        """Give writers a last moment: the process is about to end."""
        self._out.hasten()

    async def receive(self) -> SessionMessage | None:
        """Read the next message, None at the end; what is no message is answered as an error."""
        while True:
            while self._in_flight >= REQUESTS_MAX:
                await self._wait_settled()
            if self._read_at_once >= AT_ONCE_MAX:
                await self._let_others_run()
            line = await self._next_line()
            self._read_at_once += 1
            if line is None:
                await self._last_answers()
                return None
            if not line.strip():
                continue
            message = message_of(line)
            if message is None:
                await self._refuse(refusal_of(line))
                continue
            if not isinstance(message, JSONRPCRequest):
                return SessionMessage(message)
            self.requests += 1
            self._in_flight += 1
            return SessionMessage(message, ServerMessageMetadata(on_request_unanswered=self._unanswered))

    async def send(self, message: SessionMessage) -> None:
        """Write a message; to a client that is gone it is dropped."""
        body = message.message
        answers = isinstance(body, JSONRPCResponse | JSONRPCError)
        if not answers:
            # An answer is the last thing that its task does; who tells of progress in a loop must let others run.
            await trio.lowlevel.checkpoint()
        try:
            await self._out.write(body.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n")
        finally:
            if answers:
                self._settle()

    async def _last_answers(self) -> None:
        """Wait a moment for the answers under way: a client may close its end before it has read the last one."""
        with trio.move_on_after(LAST_ANSWERS_SECONDS):
            while self._in_flight:
                await self._wait_settled()

    async def _let_others_run(self) -> None:
        self._read_at_once = 0
        await trio.lowlevel.checkpoint()

    async def _next_line(self) -> bytes | None:
        while True:
            end = self._incoming.find(b"\n", self._scanned)
            if end < 0 and self._ended:
                rest = b"" if self._skipping else bytes(self._incoming)
                self._incoming.clear()
                return rest or None
            if end < 0:
                self._scanned = len(self._incoming)
                if self._scanned > self._line_bytes_max:
                    await self._begin_skipping()
                await self._fill()
                continue
            line = bytes(self._incoming[:end])
            del self._incoming[: end + 1]
            self._scanned = 0
            if self._skipping:
                self._skipping = False
            elif len(line) > self._line_bytes_max:
                await self._refuse_length()
            else:
                return line

    async def _begin_skipping(self) -> None:
        self._incoming.clear()
        self._scanned = 0
        if not self._skipping:
            self._skipping = True
            await self._refuse_length()

    async def _refuse_length(self) -> None:
        await self._refuse(too_long(self._line_bytes_max))

    async def _fill(self) -> None:
        """Wait for something to read, and read it."""
        # Waiting also where something is there: a flood of lines must not keep others from running.
        with trio.CancelScope() as self._waiting:
            try:
                await trio.lowlevel.wait_readable(self._read_fd)
            except PermissionError:
                # A file is always readable, and the kernel refuses to wait for it.
                await trio.lowlevel.checkpoint()
        self._read_at_once = 0
        chunk = b""
        if not self._out.reader_gone:
            try:
                chunk = os.read(self._read_fd, READ_BYTES)
            except BlockingIOError:
                return
            except OSError:
                pass
        self._incoming += chunk
        self._ended = not chunk

    def _stop_waiting(self) -> None:
        self._waiting.cancel()

    async def _refuse(self, line: bytes) -> None:
        self.refused += 1
        await self._out.write(line)

    async def _unanswered(self) -> None:
        """Hear that a request was cancelled and will have no answer."""
        self._settle()

    def _settle(self) -> None:
        self._in_flight = max(0, self._in_flight - 1)
        self._settled.set()

    async def _wait_settled(self) -> None:
        self._settled = trio.Event()
        await self._settled.wait()


@contextmanager
def open_stdio() -> Generator[StdioWire]:
    """Take standard input and output for the wire while the block lasts."""
    with taken_streams() as (read_fd, write_fd):
        yield StdioWire(read_fd, write_fd)
