"""What the transports of lines share: a line as a message, what is said to a line that is none, and a writer of lines.

One JSON-RPC message per line, in UTF-8. Not a transport. Neighbours: `stdio` and `link` read and write with it.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from typing import Final, cast, final

import trio
from mcp_types import INVALID_REQUEST, PARSE_ERROR, JSONRPCMessage, JSONRPCNotification
from mcp_types.jsonrpc import jsonrpc_message_adapter

__all__ = [
    "AT_ONCE_MAX",
    "LAST_ANSWERS_SECONDS",
    "LINE_BYTES_MAX",
    "READ_BYTES",
    "LineWriter",
    "message_of",
    "refusal_of",
    "refused",
    "too_long",
]

LINE_BYTES_MAX: Final = 16 * 1024 * 1024
"""Bytes in one line."""
READ_BYTES: Final = 1 << 18
AT_ONCE_MAX: Final = 32
"""Messages that are read in one round of the loop. What they ask for begins in the next round all together, so that the
store can commit it together; a thousand would hold up everybody else for a second."""
LAST_ANSWERS_SECONDS: Final = 0.1
"""How long a wire that ends waits for answers under way, and for a reader that does not read."""


@final
class LineWriter:
    """Writes lines into a descriptor that does not block; none is ever torn, whoever is cancelled."""

    def __init__(self, descriptor: int, gone: Callable[[], object]) -> None:
        """Take a descriptor.

        Args:
            descriptor: where the lines go.
            gone: hears that nobody reads any more.
        """
        self._descriptor = descriptor
        self._gone = gone
        self._unsent = bytearray()
        """What a cancelled writer left of its line: the next writer sends it first."""
        self._writing = trio.Lock()
        self._deadline = math.inf
        self.reader_gone = False
        """Whether nobody reads any more: then what is written is dropped."""

    @property
    def unsent_bytes(self) -> int:
        """How much waits for the reader."""
        return len(self._unsent)

    def hasten(self) -> None:
        """Give writers a last moment: the process is about to end."""
        self._deadline = trio.current_time() + LAST_ANSWERS_SECONDS

    async def write(self, data: bytes) -> None:
        """Write lines; to a reader that is gone they are dropped."""
        if not self.post(data):
            await self.flush()

    def post(self, data: bytes) -> bool:
        """Write what can be written now; say whether that was all, else the next `write` or `flush` sends the rest."""
        if self.reader_gone:
            return True
        if not self._unsent:
            # Nearly always the pipe takes it at once: then there is nobody to take turns with.
            data = data[self._write_some(data) :]
        self._unsent += data
        return not self._unsent

    async def flush(self) -> None:
        """Write what is left."""
        async with self._writing:
            with trio.CancelScope(deadline=self._deadline):
                while self._unsent and not self.reader_gone:
                    await trio.lowlevel.wait_writable(self._descriptor)
                    del self._unsent[: self._write_some(self._unsent)]

    def _write_some(self, data: bytes | bytearray) -> int:
        """Write what the descriptor takes now."""
        try:
            return os.write(self._descriptor, data)
        except BlockingIOError:
            return 0
        except OSError:
            self.reader_gone = True
            self._unsent.clear()
            self._gone()
            return len(data)


def message_of(line: bytes) -> JSONRPCMessage | None:
    """Read a line as a message, None if it is none."""
    try:
        message = jsonrpc_message_adapter.validate_json(line, by_name=False)
    except ValueError:
        return None
    # A request whose id is of no use would pass for a notification, and its sender would wait for ever.
    if isinstance(message, JSONRPCNotification) and b'"id"' in line and "id" in json.loads(line):
        return None
    return message


def refusal_of(line: bytes) -> bytes:
    """Say what is wrong with a line that is no message, as a line."""
    shown = line[:60].decode(errors="replace")
    try:
        value = cast("object", json.loads(line))
    except (ValueError, RecursionError):
        return refused(None, PARSE_ERROR, f"this line is not JSON: {shown!r}")
    identifier: object = None
    if isinstance(value, dict) and "method" in value:
        identifier = cast("dict[str, object]", value).get("id")
    if isinstance(identifier, bool) or not isinstance(identifier, str | int):
        identifier = None
    return refused(identifier, INVALID_REQUEST, f"this line is not a JSON-RPC 2.0 message: {shown!r}")


def too_long(bytes_max: int) -> bytes:
    """Refuse a line for its length, as a line."""
    return refused(None, INVALID_REQUEST, f"a line has more than {bytes_max} bytes: send less")


def refused(identifier: str | int | None, code: int, message: str) -> bytes:
    """Write an error as a line."""
    error = {"jsonrpc": "2.0", "id": identifier, "error": {"code": code, "message": message}}
    return json.dumps(error).encode() + b"\n"
