"""What the tests of HTTP share: a door in this process with tools that do as told, and a client without manners.

Not a test. `kit.http_server` starts real server processes instead.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import re
import socket
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx2
import trio
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import Server
from mcp_types import CallToolRequestParams, CallToolResult, ListToolsResult, PaginatedRequestParams, TextContent
from mcp_types import Tool as ListedTool

from vespera_agents.front.http.door import FrontDoor
from vespera_agents.front.http.limits import ORDINARY, Limits
from vespera_agents.front.http.listening import Listening, listen
from vespera_agents.front.http.wishes import HttpWish
from vespera_agents.front.http.workers import HttpWorker
from vespera_agents.serving.front_link import Activation, FrontLink
from vespera_agents.serving.protocol.identity import Identity, identity_of
from vespera_agents.serving.transports.http.door import HttpDoor
from vespera_agents.serving.transports.http.guard import Inner
from vespera_agents.serving.transports.http.private import listen_privately
from vespera_agents.store import Store

HEADERS = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
LEGACY = "2025-11-25"
MODERN = "2026-07-28"


async def until(condition: Callable[[], object], *, seconds: float = 30.0) -> None:
    """Wait for what tells nobody that it happened."""
    with trio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110 - see above
            await trio.sleep(0.005)


@dataclass
class Bench:
    """A server whose tools wait for the test, and what became of their calls."""

    go: trio.Event = field(default_factory=trio.Event)
    begun: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    identities: list[Identity] = field(default_factory=list)
    peers: list[object] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    changed: trio.Event = field(default_factory=trio.Event)

    def server(self) -> Server[dict[str, object]]:
        return Server("bench", on_list_tools=_listed, on_call_tool=self._call)

    async def until(self, where: list[str], count: int) -> None:
        with trio.fail_after(20):
            while len(where) < count:
                self.changed = trio.Event()
                await self.changed.wait()

    async def _call(
        self, ctx: ServerRequestContext[dict[str, object]], params: CallToolRequestParams
    ) -> CallToolResult:
        self.identities.append(identity_of(ctx))
        self.peers.append(getattr(ctx.request, "scope", {}).get("client"))
        self.begun.append(params.name)
        self.changed.set()
        try:
            await self._act(ctx, params.name)
        except trio.Cancelled:
            self.cancelled.append(params.name)
            raise
        else:
            self.ended.append(params.name)
        finally:
            self.changed.set()
        return CallToolResult(content=[TextContent(text=f"{params.name} is done")])

    async def _act(self, ctx: ServerRequestContext[dict[str, object]], name: str) -> None:
        if name == "wait":
            await self.go.wait()
        if name in {"count", "count_and_wait"}:
            for number in (1, 2, 3):
                await ctx.session.report_progress(number, 3, f"step {number}")
        if name == "count_and_wait":
            await self.go.wait()
            await ctx.session.report_progress(4, 4, "step 4")
        if name == "hang_up":
            assert ctx.close_sse_stream is not None
            await ctx.close_sse_stream()
        if name == "close_and_wait":
            assert ctx.close_sse_stream is not None
            await ctx.close_sse_stream()
            await self.go.wait()
        if name == "announce":
            await ctx.session.send_tool_list_changed()
        if name == "ask":
            answer = await ctx.session.elicit_form("Which one?", {"type": "object", "properties": {}}, ctx.request_id)
            self.answers.append(answer.action)


async def _listed(_: ServerRequestContext[dict[str, object]], __: PaginatedRequestParams | None) -> ListToolsResult:
    names = ("quick", "wait", "count", "count_and_wait", "hang_up", "close_and_wait", "announce", "ask")
    return ListToolsResult(tools=[ListedTool(name=name, input_schema={"type": "object"}) for name in names])


class Workers:
    """The workers behind a front in this process, as the front sees them."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._worker: HttpWorker | None = None
        self._changed = trio.Event()
        self.answered: list[int] = []
        self.before_seconds = -math.inf

    def number(self) -> int:
        return next(self._numbers)

    def written(self, number: int) -> None:
        self.answered.append(number)

    def current(self) -> HttpWorker | None:
        return self._worker

    async def changed(self) -> None:
        await self._changed.wait()

    def expired(self, since_seconds: float) -> str | None:
        late = since_seconds <= self.before_seconds
        return "no worker is ready since 12:00. Read `vespera logs`." if late else None

    def change(self, worker: HttpWorker | None) -> None:
        self._worker = worker
        self._changed.set()
        self._changed = trio.Event()


@dataclass
class Worker:
    """A worker in this process: its door, and how it is killed."""

    door: HttpDoor
    bench: Bench
    link: FrontLink | None = None
    """What it hears of its front."""
    about: HttpWorker | None = None
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    gone: trio.Event = field(default_factory=trio.Event)


@dataclass
class Opened:
    """A door in this process, perhaps behind a front."""

    store: Store
    listening: Listening
    limits: Limits
    nursery: trio.Nursery
    worker: Worker = field(init=False)
    workers: Workers = field(default_factory=Workers)
    front: FrontDoor | None = None
    generation: int = 0
    pages: Mapping[str, Inner] = field(default_factory=dict)

    @property
    def door(self) -> HttpDoor:
        return self.worker.door

    @property
    def bench(self) -> Bench:
        return self.worker.bench

    @property
    def url(self) -> str:
        return self.listening.url

    @property
    def port(self) -> int:
        return int(self.listening.socket.getsockname()[1])

    def client(self, **options: Any) -> httpx2.AsyncClient:
        headers = HEADERS | options.pop("headers", {})
        return httpx2.AsyncClient(base_url=self.url, headers=headers, timeout=20, **options)

    async def stop(self) -> None:
        """End in good order."""
        with trio.CancelScope(shield=True), trio.fail_after(20):
            if self.front is not None:
                self.front.stop()
                await self.front.ended.wait()
            self.door.stop()
            await self.door.ended.wait()

    def end_worker(self) -> None:
        """Let the worker end in good order, as the front does."""
        if self.worker.link is not None:
            self.worker.link.close()
        self.door.stop()

    async def start(self) -> None:
        """Start the next worker behind the front."""
        self.generation += 1
        # What a test limits is counted at the worker, whichever of the two counts it.
        patient = replace(self.limits, connections_max=4_000, idle_seconds=3_600.0, body_seconds=3_600.0)
        await self.nursery.start(self._work, patient)
        self.workers.change(self.worker.about)

    async def kill(self) -> None:
        """Kill the worker: whatever it has open ends in the middle, and it does nothing any more."""
        worker = self.worker
        assert worker.about is not None
        for link in tuple(worker.door._connections):
            link.cut()
        worker.scope.cancel()
        await worker.gone.wait()
        worker.about.end(blamed=True, why="three workers ended with this request. Read `vespera logs`.")
        self.workers.change(None)

    async def replace(self) -> None:
        """Kill the worker and start the next one."""
        await self.kill()
        await self.start()

    async def _work(self, limits: Limits, *, task_status: trio.TaskStatus[None]) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs, listen_privately(self.url) as private:
            link = FrontLink(theirs.fileno(), Activation(self.generation, "srv_0", "start", None))
            bench = Bench()
            door = HttpDoor(
                bench.server(), private, self.store, name="srv_0", front=link, limits=limits, pages=self.pages
            )
            self.worker = Worker(door, bench, link)
            assert private.private is not None
            self.worker.about = HttpWorker(private.private)
            mine = self.worker
            try:
                with mine.scope:
                    async with trio.open_nursery() as nursery:
                        await nursery.start(mine.door.run)
                        task_status.started()
                        await mine.door.ended.wait()
                        nursery.cancel_scope.cancel()
            finally:
                mine.gone.set()


BEHIND: ContextVar[bool] = ContextVar("BEHIND", default=False)
"""Whether a door is opened behind a front; tests of both set it."""


@contextlib.asynccontextmanager
async def open_door(
    root: Path,
    limits: Limits = ORDINARY,
    *,
    clock: Callable[[], float] = time.time,
    behind: bool | None = None,
    pages: Mapping[str, Inner] | None = None,
    **wish: Any,
) -> AsyncIterator[Opened]:
    """Serve the bench over HTTP in this process, and end in good order."""
    (root / "artifacts").mkdir(exist_ok=True)
    store = Store(root / "events.db", root / "artifacts", clock=clock)
    address = wish.pop("address", "127.0.0.1:0")
    asked = HttpWish(address, **wish)
    with listen(asked) as listening:
        async with trio.open_nursery() as nursery:
            await nursery.start(store.run)
            opened = Opened(store, listening, limits, nursery, pages=pages or {})
            if BEHIND.get() if behind is None else behind:
                opened.front = FrontDoor(listening, opened.workers, limits=limits, at_stop=opened.end_worker)
                await opened.start()
                await nursery.start(opened.front.run)
            else:
                bench = Bench()
                door = HttpDoor(bench.server(), listening, store, name="srv_0", limits=limits, pages=opened.pages)
                opened.worker = Worker(door, bench)
                await nursery.start(opened.door.run)
            try:
                yield opened
            finally:
                await opened.stop()
                nursery.cancel_scope.cancel()


def request(method: str, identifier: int = 1, **params: object) -> dict[str, object]:
    return {"jsonrpc": "2.0", "id": identifier, "method": method, "params": params}


MODERN_META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "raw", "version": "1"},
}


def modern(name: str) -> dict[str, str]:
    """Give the headers of a call since 2026-07-28."""
    return {"mcp-protocol-version": MODERN, "mcp-method": "tools/call", "mcp-name": name}


def call(name: str, identifier: int = 1, **meta: object) -> dict[str, object]:
    return request("tools/call", identifier, name=name, arguments={}, **({"_meta": meta} if meta else {}))


async def handshake(client: httpx2.AsyncClient, version: str = LEGACY, **capabilities: object) -> dict[str, str]:
    """Open a session and give the headers that name it."""
    about_it = {"name": "raw", "version": "1"}
    hello = request("initialize", 0, protocolVersion=version, capabilities=capabilities, clientInfo=about_it)
    answer = await client.post("", json=hello)
    assert answer.status_code == 200, answer.text
    about = {"mcp-session-id": answer.headers["mcp-session-id"], "mcp-protocol-version": version}
    done = await client.post("", json={"jsonrpc": "2.0", "method": "notifications/initialized"}, headers=about)
    assert done.status_code == 202
    return about


@dataclass
class Event:
    """One server-sent event."""

    id: str | None
    retry: int | None
    data: Any
    """Its message; None without data."""


async def events(response: httpx2.Response) -> AsyncGenerator[Event]:
    """Read the events of a stream until it ends, comments left out."""
    fields: dict[str, str] = {}
    async for line in response.aiter_lines():
        if not line and fields:
            data = fields.get("data", "")
            retry = fields.get("retry")
            yield Event(fields.get("id"), None if retry is None else int(retry), json.loads(data) if data else None)
            fields = {}
        elif not line.startswith(":") and line:
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")


def message_of(response: httpx2.Response) -> Any:
    """Read the answer to a call that tells nothing before it; after 2 s, as on a slow machine, it comes as a stream."""
    if response.headers["content-type"] != "text/event-stream":
        return response.json()
    (line,) = [line for line in response.text.splitlines() if line.startswith("data: {")]
    return json.loads(line.removeprefix("data: "))


@contextlib.asynccontextmanager
async def streaming(client: httpx2.AsyncClient, method: str, **options: Any) -> AsyncIterator[AsyncIterator[Event]]:
    """Read the events of a response that is a stream."""
    async with client.stream(method, "", **options) as response:
        assert response.status_code == 200, await response.aread()
        assert response.headers["content-type"] == "text/event-stream"
        async with contextlib.aclosing(events(response)) as found:
            yield found


def post(body: bytes, *headers: str, path: str = "/mcp") -> bytes:
    """Write a request by hand, the last on its connection."""
    lines = [f"POST {path} HTTP/1.1", *headers, f"Content-Length: {len(body)}", "Connection: close"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def status_of(answer: bytes) -> int:
    """Read the status of an answer."""
    found = re.match(rb"HTTP/1.1 (\d+)", answer)
    assert found is not None, answer
    return int(found[1])


async def raw(port: int, data: bytes, *, host: str = "127.0.0.1", seconds: float = 20.0) -> bytes:
    """Send bytes and read until the server closes."""
    with trio.fail_after(seconds):
        async with await trio.open_tcp_stream(host, port) as stream:
            with contextlib.suppress(trio.BrokenResourceError):
                await stream.send_all(data)
            received = b""
            with contextlib.suppress(trio.BrokenResourceError):
                async for chunk in stream:
                    received += chunk
            return received
