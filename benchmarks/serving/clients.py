"""Hand-written minimal clients: JSON lines over pipes, and one kept connection over HTTP. They cost next to nothing.

A call that fails is no measurement: every answer is checked.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, cast, final

import trio

NO_OP: Final = "nothing"
"""The name of the tool that does nothing."""
ERAS: Final[Mapping[str, str]] = {"legacy": "2025-11-25", "modern": "2026-07-28"}
"""The two eras of the protocol, and the version of each that is spoken."""
ROOT: Final = Path(__file__).resolve().parent.parent.parent
WAIT_SECONDS: Final = 60.0
"""How long a server may take to start or to end."""
_INFO: Final = {"name": "benchmark", "version": "1"}
_META: Final = {
    "io.modelcontextprotocol/protocolVersion": ERAS["modern"],
    "io.modelcontextprotocol/clientInfo": _INFO,
    "io.modelcontextprotocol/clientCapabilities": {},
}

Arguments = Mapping[str, object]


@contextmanager
def environment() -> Generator[dict[str, str]]:
    """Give the environment of a server that shall see nothing of the user's own."""
    with tempfile.TemporaryDirectory(prefix="vsp-") as home:
        # Sockets have short paths only, so this directory is made close to the root.
        found = {**os.environ, "HOME": home, "XDG_STATE_HOME": home, "XDG_RUNTIME_DIR": home, "PYTHONPATH": str(ROOT)}
        # What is installed has its bytecode beside it. A tree that may not keep any is compiled at each start, which
        # made a front's own start 1.6 times that of the library beside it, instead of 1.2.
        found.pop("PYTHONDONTWRITEBYTECODE", None)
        yield found


@contextmanager
def process(arguments: Sequence[str], surroundings: Mapping[str, str]) -> Generator[subprocess.Popen[bytes]]:
    """Run a Python program for the length of the block."""
    with subprocess.Popen(
        [sys.executable, *arguments], env=surroundings, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    ) as started:
        try:
            yield started
        finally:
            started.kill()


def request(identifier: int, method: str, params: Arguments, era: str) -> bytes:
    """Write a request."""
    body = {**params, "_meta": _META} if era == "modern" else dict(params)
    return json.dumps({"jsonrpc": "2.0", "id": identifier, "method": method, "params": body}).encode()


def result_of(line: bytes) -> dict[str, Any]:
    """Read an answer that must be a success."""
    answer = cast("dict[str, Any]", json.loads(line))
    result = answer.get("result")
    if result is None or result.get("isError"):
        raise RuntimeError(f"the call failed: {line[:500]!r}")
    return cast("dict[str, Any]", result)


@final
class LineClient:
    """JSON lines over the pipes of a process."""

    def __init__(self, server: subprocess.Popen[bytes], era: str) -> None:
        assert server.stdin is not None
        assert server.stdout is not None
        self._in, self._out = server.stdout.fileno(), server.stdin.fileno()
        self._clock = (~server.pid << 3) | 2
        """The kernel's clock of the server's processor time, as Linux numbers them."""
        self._era = era
        self._number = 0
        self._unread = b""
        if era == "legacy":
            self.ask("initialize", {"protocolVersion": ERAS[era], "capabilities": {}, "clientInfo": _INFO})
            os.write(self._out, b'{"jsonrpc":"2.0","method":"notifications/initialized"}\n')

    def ask(self, method: str, params: Arguments) -> dict[str, Any]:
        """Ask and wait for the answer."""
        self._say(method, params)
        return result_of(self._line())

    def call(self, tool: str, arguments: Arguments) -> dict[str, Any]:
        """Call a tool."""
        return self.ask("tools/call", {"name": tool, "arguments": arguments})

    def calls(self, count: int, tool: str, arguments: Arguments) -> float:
        """Call a tool one time after another; seconds for each call."""
        started = time.perf_counter()
        for _ in range(count):
            self.call(tool, arguments)
        return (time.perf_counter() - started) / count

    def processor_seconds(self, count: int, tool: str, arguments: Arguments) -> float:
        """Call a tool one time after another; seconds of processor time that the server took for each call."""
        before = time.clock_gettime(self._clock)
        self.calls(count, tool, arguments)
        return (time.clock_gettime(self._clock) - before) / count

    def calls_in_flight(self, count: int, at_once: int, tool: str, arguments: Arguments) -> float:
        """Keep so many calls in flight; seconds for each call."""
        params = {"name": tool, "arguments": arguments}
        started = time.perf_counter()
        for _ in range(at_once):
            self._say("tools/call", params)
        for number in range(count):
            result_of(self._line())
            if number + at_once < count:
                self._say("tools/call", params)
        return (time.perf_counter() - started) / count

    def _say(self, method: str, params: Arguments) -> None:
        self._number += 1
        os.write(self._out, request(self._number, method, params, self._era) + b"\n")

    def _line(self) -> bytes:
        while (end := self._unread.find(b"\n")) < 0:
            chunk = os.read(self._in, 1 << 16)
            if not chunk:
                raise RuntimeError("the server has ended")
            self._unread += chunk
        line, self._unread = self._unread[:end], self._unread[end + 1 :]
        return line


@final
class HttpClient:
    """One kept connection over HTTP."""

    def __init__(self, port: int, era: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_SECONDS)
        self._era = era
        self._number = 0
        self._headers = {
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
            "MCP-Protocol-Version": ERAS[era],
        }
        if era == "legacy":
            del self._headers["MCP-Protocol-Version"]
            self.ask("initialize", {"protocolVersion": ERAS[era], "capabilities": {}, "clientInfo": _INFO})
            self._headers["MCP-Protocol-Version"] = ERAS[era]
            self._post(b'{"jsonrpc":"2.0","method":"notifications/initialized"}', {})

    def calls(self, count: int, tool: str, arguments: Arguments) -> float:
        """Call a tool one time after another; seconds for each call."""
        started = time.perf_counter()
        for _ in range(count):
            self.ask("tools/call", {"name": tool, "arguments": arguments})
        return (time.perf_counter() - started) / count

    def ask(self, method: str, params: Arguments) -> dict[str, Any]:
        """Ask and wait for the answer, which comes as JSON or as the last event of a stream."""
        self._number += 1
        extra: dict[str, str] = {}
        if self._era == "modern":
            extra = {"Mcp-Method": method}
            if "name" in params:
                extra["Mcp-Name"] = str(params["name"])
        text = self._post(request(self._number, method, params, self._era), extra)
        data = [line for line in text.splitlines() if line.startswith(b"data:") and len(line) > len(b"data: ")]
        return result_of(data[-1][len(b"data:") :] if data else text)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _post(self, body: bytes, extra: Mapping[str, str]) -> bytes:
        self._connection.request("POST", "/mcp", body, {**self._headers, **extra})
        answer = self._connection.getresponse()
        identifier = answer.getheader("mcp-session-id")
        if identifier is not None:
            self._headers["Mcp-Session-Id"] = identifier
        return answer.read()


def free_port() -> int:
    """Name a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


async def wait_for_port(port: int) -> None:
    """Wait until somebody listens on a port."""
    with trio.fail_after(WAIT_SECONDS):
        while True:
            try:
                stream = await trio.open_tcp_stream("127.0.0.1", port)
            except OSError:
                await trio.sleep(0.05)
            else:
                await stream.aclose()
                return
