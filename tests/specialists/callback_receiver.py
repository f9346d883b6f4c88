"""A receiver of callbacks in the same event loop: it writes down what comes, and answers as a test says."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import trio

from vespera_agents.specialists.callbacks.signing import verify
from vespera_agents.workspace import Registry, Workspace, load_settings

SECRET = "a text that nobody guesses"  # noqa: S105 - of this test
OK = "200 OK"
Answers = Callable[[dict], str | tuple[str, str] | None]
"""From a body to a status line, perhaps with a header; None hangs."""


@dataclass
class Receiver:
    port: int = 0
    answers: Answers = lambda _: OK
    bodies: list[dict] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    forged: int = 0
    arrived: trio.Event = field(default_factory=trio.Event)
    at_once: int = 0
    at_once_max: int = 0
    scheme: str = "http"
    held: trio.Event | None = None
    """While it is not set nobody is answered."""

    @property
    def url(self) -> str:
        return f"{self.scheme}://localhost:{self.port}/hook/secret-path"

    def told(self, task: str | None = None) -> list[str]:
        return [one["event"] for one in self.bodies if task is None or one["task"]["id"] == task]

    async def until(self, count: int, seconds: float = 10.0) -> None:
        with trio.fail_after(seconds):
            while len(self.bodies) < count:
                await self.arrived.wait()

    async def serve(self, stream: trio.abc.Stream) -> None:
        data = b""
        async with stream:
            while True:
                while b"\r\n\r\n" not in data:
                    try:
                        chunk = await stream.receive_some()
                    except trio.BrokenResourceError:
                        return
                    if not chunk:
                        return
                    data += chunk
                head, _, data = data.partition(b"\r\n\r\n")
                lines = head.decode().split("\r\n")
                headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
                while len(data) < int(headers["content-length"]):
                    try:
                        chunk = await stream.receive_some()
                    except trio.BrokenResourceError:
                        return
                    if not chunk:
                        return
                    data += chunk
                body, data = data[: int(headers["content-length"])], data[int(headers["content-length"]) :]
                self.at_once += 1
                self.at_once_max = max(self.at_once, self.at_once_max)
                self.forged += not verify(SECRET.encode(), headers, body, float(headers["vespera-timestamp"]))
                self.headers.append({**headers, "line": lines[0]})
                self.bodies.append(json.loads(body))
                self.arrived.set()
                self.arrived = trio.Event()
                answer = self.answers(self.bodies[-1])
                if self.held is not None:
                    await self.held.wait()
                if answer is None:
                    await trio.sleep_forever()
                    return
                status, more = (answer, "") if isinstance(answer, str) else answer
                try:
                    await stream.send_all(f"HTTP/1.1 {status}\r\n{more}Content-Length: 0\r\n\r\n".encode())
                except trio.BrokenResourceError:
                    return
                finally:
                    self.at_once -= 1


@asynccontextmanager
async def receiving(context: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    receiver = Receiver(scheme="http" if context is None else "https")
    async with trio.open_nursery() as nursery:
        if context is None:
            serve = partial(trio.serve_tcp, receiver.serve, 0, host="127.0.0.1")
        else:
            serve = partial(trio.serve_ssl_over_tcp, receiver.serve, 0, context, host="127.0.0.1")
        listeners = await nursery.start(serve)
        first = listeners[0]
        socket = first.socket if context is None else first.transport_listener.socket
        receiver.port = socket.getsockname()[1]
        yield receiver
        nursery.cancel_scope.cancel()


def configure(home: Path, url: str, *, name: str = "bench", trusted: bool = True, **more: object) -> None:
    """Write a target into the workspace's configuration and trust it."""
    workspace = Workspace(home.resolve())
    workspace.make()
    (workspace.dot / "secret").write_text(SECRET)
    settings = {
        "url": url, "secret_file": ".vespera/secret", "allow_private": True, "backoff_seconds": 0.02,
        "backoff_seconds_max": 0.1, **more,
    }  # fmt: skip
    lines = "\n".join(f"{key} = {json.dumps(value)}" for key, value in settings.items())
    workspace.config.write_text(f"[callbacks.{name}]\n{lines}\n")
    fingerprint = load_settings(workspace, Registry()).fingerprint
    if trusted and fingerprint is not None:
        Registry().trust(workspace.directory, fingerprint)
