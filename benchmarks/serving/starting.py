"""From the start of a server's process to its first answer, and from the client's sign to the process's end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from typing import Final

from benchmarks.serving.clients import WAIT_SECONDS, process, request, result_of

ENDS: Final = ("stdin EOF", "SIGTERM", "SIGINT")
"""The ways in which a client ends its server."""


def seconds_to_import(surroundings: Mapping[str, str]) -> float:
    """Import the library in a process that does nothing else."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import mcp.server"], env=surroundings, check=True)
    return time.perf_counter() - started


def seconds_to_start_and_end(surroundings: Mapping[str, str], how: str) -> tuple[float, float]:
    """Start the real server, get an answer of its first tool, and end it."""
    with tempfile.TemporaryDirectory(prefix="vsp-") as workspace:
        first = request(1, "tools/call", {"name": "orchestrator_list_sessions", "arguments": {}}, "modern") + b"\n"
        second = (
            request(2, "tools/call", {"name": "orchestrator_initialize_session", "arguments": {}}, "modern") + b"\n"
        )
        started = time.perf_counter()
        with process(["-m", "vespera_agents", "serve", "--workspace", workspace], surroundings) as server:
            assert server.stdin is not None
            assert server.stdout is not None
            server.stdin.write(first)
            result_of(read_line(server.stdout.fileno()))
            answered = time.perf_counter()
            # A server that holds a session has more to close.
            server.stdin.write(second)
            result_of(read_line(server.stdout.fileno()))
            told = time.perf_counter()
            if how == "stdin EOF":
                server.stdin.close()
            else:
                server.send_signal(signal.Signals[how])
            status = server.wait(WAIT_SECONDS)
            ended = time.perf_counter()
            if status != 0:
                raise RuntimeError(f"the server ended with status {status} after {how}")
    return answered - started, ended - told


def read_line(descriptor: int) -> bytes:
    text = b""
    while not text.endswith(b"\n"):
        chunk = os.read(descriptor, 1 << 16)
        if not chunk:
            raise RuntimeError("the server has ended")
        text += chunk
    return text
