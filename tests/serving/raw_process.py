"""Real server processes that a test talks to in lines of its own, without any client's library. Not a test."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from tests.serving.kit import Place

INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "raw", "version": "1"}},
}
END_SECONDS = 10.0
"""How long a server may take to end; alone it takes 0.03 s, and a front waits for nothing longer than 1.6 s on purpose
(`test_no_orphans`)."""


@contextmanager
def started(place: Place, *arguments: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start a server process, and leave none behind whatever happens."""
    with subprocess.Popen(
        [*place.command, *arguments],
        env={**place.environment, **environment},
        cwd=place.root,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def serving(place: Place, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start a server process that has answered `initialize`."""
    with started(place, *arguments) as process:
        reply = say(process, INITIALIZE)
        assert reply["result"]["serverInfo"]["name"] == "vespera-agents"
        yield process


def say(process: subprocess.Popen[bytes], message: dict[str, Any] | bytes) -> dict[str, Any]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(message if isinstance(message, bytes) else json.dumps(message).encode() + b"\n")
    process.stdin.flush()
    return cast("dict[str, Any]", json.loads(process.stdout.readline()))


def call(identifier: int, tool: str, **arguments: object) -> dict[str, Any]:
    params = {"name": tool, "arguments": arguments}
    return {"jsonrpc": "2.0", "id": identifier, "method": "tools/call", "params": params}


def processes_in(place: Place) -> list[str]:
    """List the processes that name the place, among them every guardian of its servers."""
    listed = subprocess.run(["ps", "-ewwo", "pid,args"], capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if str(place.root) in line]
