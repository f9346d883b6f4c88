"""A front of a test's own: it starts real workers, says to them what a front says, and reads what they answer.

Not a test. It keeps nothing and repeats nothing by itself: a test says what is repeated, and in which order.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from mcp_types import CLIENT_CAPABILITIES_META_KEY, CLIENT_INFO_META_KEY, PROTOCOL_VERSION_META_KEY

from tests.serving.kit import SERVER_SECONDS, Place
from vespera_agents.front import framing
from vespera_agents.serving.forker import FORKER_VARIABLE

SERVER = "srv_0123456789ab"
MODERN = {
    PROTOCOL_VERSION_META_KEY: "2026-07-28",
    CLIENT_INFO_META_KEY: {"name": "raw", "version": "1"},
    CLIENT_CAPABILITIES_META_KEY: {},
}
INITIALIZE = {
    "id": 0,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "raw", "version": "1"}},
}
INITIALIZED = {"method": "notifications/initialized"}


@dataclass
class End:
    """Our end of a socket to one of our processes."""

    socket: socket.socket
    incoming: bytes = b""
    descriptors: list[int] = field(default_factory=list[int])

    def send(self, *lines: str) -> None:
        self.socket.sendall("".join(f"{line}\n" for line in lines).encode())

    def line(self, seconds: float = SERVER_SECONDS) -> str:
        """Read the next line; EOFError at the end."""
        deadline = time.monotonic() + seconds
        while b"\n" not in self.incoming:
            left = deadline - time.monotonic()
            if not select.select([self.socket], [], [], max(0.0, left))[0]:
                raise TimeoutError(self.incoming)
            try:
                data, descriptors, _, _ = socket.recv_fds(self.socket, 1 << 18, 8)
            except ConnectionResetError:
                data, descriptors = b"", []
            self.descriptors += descriptors
            if not data:
                raise EOFError(self.incoming)
            self.incoming += data
        line, _, self.incoming = self.incoming.partition(b"\n")
        return line.decode()

    def until(self, *beginnings: str, seconds: float = SERVER_SECONDS) -> list[str]:
        """Read up to the first line that begins so; it is the last of those that are given."""
        lines = [self.line(seconds)]
        while not lines[-1].startswith(beginnings):
            lines.append(self.line(seconds))
        return lines

    def ping(self) -> list[str]:
        """Wait until a ping is answered; gives what was said before."""
        self.send("? 0")
        return self.until("? 0")[:-1]

    def until_done(self, lines: set[str], seconds: float = SERVER_SECONDS) -> list[str]:
        """Read until all of these lines were there."""
        found: list[str] = []
        while not lines <= set(found):
            found.append(self.line(seconds))
        return found

    def close(self) -> None:
        self.socket.close()
        for descriptor in self.descriptors:
            os.close(descriptor)
        self.descriptors.clear()


@dataclass
class Worker(End):
    """A worker process, as its front knows it."""

    pid: int = 0
    process: subprocess.Popen[bytes] | None = None
    """None for one that was forked."""

    def activate(self, generation: int = 1, *repeated: str, reason: str = "start") -> None:
        told = {"server": SERVER, "generation": generation, "reason": reason, "restart": None, "log": None}
        self.send(f"{framing.ACTIVATE.decode()} {generation} {json.dumps(told)}", *repeated, ".")

    def call(self, number: int, tool: str, **arguments: object) -> Any:
        """Make a call and give its result."""
        self.send(calling(number, tool, **arguments))
        return self.answer(number)

    def answer(self, number: int) -> Any:
        """Wait for the answer to a number; give its result, or its error."""
        line = self.until(f"R {number} ", f"K {number} ")[-1]
        told = json.loads(line[line.index("{") :])
        return told.get("result", told.get("error"))

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Kill it, and wait until it is gone."""
        os.killpg(self.pid, number)
        self.gone()

    def rest(self) -> list[str]:
        """Read up to the end of the link."""
        lines: list[str] = []
        with contextlib.suppress(EOFError):
            while True:
                lines.append(self.line())
        return lines

    def gone(self, seconds: float = SERVER_SECONDS) -> int | None:
        """Wait until it has ended; give its exit status where we are its parent."""
        deadline = time.monotonic() + seconds
        self.rest()
        if self.process is not None:
            return self.process.wait(max(0.1, deadline - time.monotonic()))
        return None


def line_of(number: int, **message: object) -> str:
    return f"{number} {json.dumps({'jsonrpc': '2.0', **message})}"


def calling(number: int, tool: str, *, meta: dict[str, object] | None = None, **arguments: object) -> str:
    """Write a call of an orchestrator's tool, of the modern era unless `meta` says otherwise."""
    params = {"name": f"orchestrator_{tool}", "arguments": arguments, "_meta": MODERN if meta is None else meta}
    return line_of(number, id=f"id-{number}", method="tools/call", params=params)


def handshake() -> tuple[str, str]:
    """Give the lines with numbers 1 and 2 that open a connection of the older era."""
    return line_of(1, **INITIALIZE), line_of(2, **INITIALIZED)


@contextlib.contextmanager
def started_worker(place: Place, *options: str, **environment: str) -> Iterator[Worker]:
    """Start a worker that imports, and leave none behind."""
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            _command(place, "worker", *options),
            env={**place.environment, **environment, framing.LINK_VARIABLE: str(theirs.fileno())},
            cwd=place.root,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    worker = Worker(ours, pid=process.pid, process=process)
    try:
        yield worker
    finally:
        _end(worker)


@dataclass
class Forks(End):
    """A forker, as its front knows it."""

    process: subprocess.Popen[bytes] | None = None
    workers: list[Worker] = field(default_factory=list[Worker])

    def fork(self) -> Worker:
        """Have a worker forked."""
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self.socket, [b"fork\n"], [theirs.fileno(), 2])
        told = self.until("pid ")[-1]
        worker = Worker(ours, pid=int(told.split()[1]))
        self.workers.append(worker)
        return worker


@contextlib.contextmanager
def started_forker(place: Place) -> Iterator[Forks]:
    """Start a process that workers are forked from, and leave none behind."""
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            _command(place, "forker"),
            env={**place.environment, FORKER_VARIABLE: str(theirs.fileno())},
            cwd=place.root,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    forks = Forks(ours, process=process)
    try:
        yield forks
    finally:
        for worker in forks.workers:
            worker.close()
        forks.close()
        try:
            process.wait(SERVER_SECONDS)
        finally:
            process.kill()
            process.wait()


def _command(place: Place, program: str, *options: str) -> list[str]:
    module = f"vespera_agents.serving.{program}"
    return [sys.executable, "-m", module, "--workspace", str(place.project), "--tools", "full", *options]


def _end(worker: Worker) -> None:
    worker.close()
    assert worker.process is not None
    try:
        worker.process.wait(SERVER_SECONDS)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(worker.pid, signal.SIGKILL)
        worker.process.wait()
