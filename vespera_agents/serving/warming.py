"""How a worker begins: it serves what comes over a link, or a made-up client in a workspace that is thrown away.

What a process does for the first time takes many times as long: pages of memory are copied, caches filled, statements
written. So a worker that waits for another one's death has served both eras once, and then closed everything. Not the
program (`worker`), not the server (`serve`).
"""

from __future__ import annotations

import json
import os
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Final, cast

import trio
from mcp_types import (
    CLIENT_CAPABILITIES_META_KEY,
    CLIENT_INFO_META_KEY,
    PROTOCOL_VERSION_META_KEY,
)
from mcp_types.version import LATEST_HANDSHAKE_VERSION, LATEST_MODERN_VERSION
from pydantic import BaseModel

from vespera_agents.front import framing
from vespera_agents.serving.front_link import Activation, FrontLink
from vespera_agents.serving.serve import serve
from vespera_agents.serving.transports.link import LinkWire
from vespera_agents.serving.wishes import ServeWish

__all__ = ["complete", "serve_link", "warm_up"]

WARM_SECONDS: Final = 20.0
"""How long warming up may take; it takes a quarter of a second."""
_LATE: Final = ("anyio._backends._trio", "yaml", "vespera_agents.actors.spans")
"""Modules that a worker imports with its first calls."""
_PLACES: Final = ("XDG_STATE_HOME", "XDG_RUNTIME_DIR")
_PLACE_MAX: Final = 60
"""Characters of the place in which there may be a socket, whose whole path has at most 103; else HTTP stays cold."""
_URL: Final = "http://localhost/mcp"
_CLIENT: Final = {"name": "warming-up", "version": "1"}
_ENVELOPE: Final = {
    PROTOCOL_VERSION_META_KEY: LATEST_MODERN_VERSION,
    CLIENT_INFO_META_KEY: _CLIENT,
    CLIENT_CAPABILITIES_META_KEY: {},
}


def serve_link(wish: ServeWish, link: int, activation: bytes, lines: framing.Lines, read: list[bytes]) -> None:
    """Serve what comes over a link until it ends.

    Args:
        wish: what to serve.
        link: the descriptor, which must not block.
        activation: the line that told us to.
        lines: what was read already of the line after.
        read: the lines that were read together with it.
    """

    async def run() -> None:
        await serve(wish, LinkWire(link, FrontLink(link, Activation.read(activation)), lines, read))

    trio.run(run)


def complete() -> None:
    """Import and build what is otherwise made when it is first used: once here, not in each process forked from us."""
    for name in _LATE:
        import_module(name)
    for model in _below(BaseModel):
        if not model.__pydantic_complete__:
            model.model_rebuild()


def _below(base: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for model in base.__subclasses__():
        yield model
        yield from _below(model)


def warm_up(wish: ServeWish) -> None:
    """Serve a made-up client once in each era, in a place that is thrown away; where there is none, do without."""
    before = {name: os.environ.get(name) for name in _PLACES}
    interval = sys.getswitchinterval()
    with suppress(OSError), tempfile.TemporaryDirectory(prefix="vespera-", ignore_cleanup_errors=True) as place:
        project = Path(place, "project")
        project.mkdir()
        # The user's registry shall know nothing of it, and no socket shall be left if this process is killed.
        os.environ.update(dict.fromkeys(_PLACES, place))
        try:
            for number, client in enumerate((_modern(), _legacy()), 1):
                behind = _URL if wish.behind is not None and len(place) <= _PLACE_MAX else None
                _serve_made_up(replace(wish, workspace=project, metrics=None, http=None, behind=behind), client, number)
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value
            sys.setswitchinterval(interval)


def _serve_made_up(wish: ServeWish, client: Iterator[Mapping[str, object]], number: int) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setblocking(False)
        activation = json.dumps({"server": f"srv_{number:012x}", "generation": 1, "reason": "start", "log": None})
        wire = LinkWire(
            theirs.fileno(),
            FrontLink(theirs.fileno(), Activation.read(f"! 1 {activation}".encode())),
            framing.Lines(),
            [],
        )
        trio.run(partial(_both, wish, wire, ours, client))


async def _both(wish: ServeWish, wire: LinkWire, front: socket.socket, client: Iterator[Mapping[str, object]]) -> None:
    with trio.move_on_after(WARM_SECONDS):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_speak if wish.behind is None else _post, front, client)
            await serve(wish, wire)
            nursery.cancel_scope.cancel("it is warm")


async def _speak(front: socket.socket, client: Iterator[Mapping[str, object]]) -> None:
    """Be a front whose client calls again when it has its answer."""
    stream = trio.SocketStream(trio.socket.from_stdlib_socket(front.dup()))
    lines = framing.Lines()
    async with stream:
        await stream.send_all(framing.END_OF_REPLAY + b"\n")
        for number, message in enumerate(client, 1):
            await stream.send_all(b"%d %s\n" % (number, json.dumps({"jsonrpc": "2.0", **message}).encode()))
            answered = False
            while not answered:
                chunk = await stream.receive_some()
                if not chunk:
                    return
                answered = any(line[:1] in b"RKD" for line in lines.feed(bytes(chunk)))
        # The end of the link is the end of the client. Shut down, because another descriptor of it is open.
        front.shutdown(socket.SHUT_RDWR)


async def _post(front: socket.socket, client: Iterator[Mapping[str, object]]) -> None:
    """Be a front whose client speaks HTTP, and calls again when it has its answer."""
    from vespera_agents.front.http.upstream import Pool  # noqa: PLC0415 - only who serves HTTP pays for it
    from vespera_agents.front.http.workers import HttpWorker  # noqa: PLC0415

    pool = Pool(WARM_SECONDS)
    stream = trio.SocketStream(trio.socket.from_stdlib_socket(front.dup()))
    async with stream:
        await stream.send_all(framing.END_OF_REPLAY + b"\n")
        path = await _path(stream)
        if path is None:
            return
        worker, session = HttpWorker(path), None
        for number, message in enumerate(client, 1):
            upstream = await pool.take(worker)
            await upstream.send(_request(number, message, session), without_body=False)
            answer = await upstream.answer()
            session = dict(answer.headers).get(b"mcp-session-id", session)
            while await upstream.part():
                pass
            pool.give(upstream)
        pool.close()
        front.shutdown(socket.SHUT_RDWR)


async def _path(stream: trio.SocketStream) -> str | None:
    """Read where the worker takes requests, when it has said that it is ready."""
    lines = framing.Lines()
    while chunk := await stream.receive_some():
        for line in lines.feed(bytes(chunk)):
            if line[:1] == framing.READY:
                return str(cast("dict[str, object]", json.loads(line[2:]))["http"])
    return None


def _request(number: int, message: Mapping[str, object], session: bytes | None) -> bytes:
    """Write a message as the front passes it on."""
    params = cast("dict[str, object]", message.get("params", {}))
    lines = [
        b"POST /mcp HTTP/1.1",
        b"host: localhost",
        b"accept: application/json, text/event-stream",
        b"content-type: application/json",
        b"vespera-client: 127.0.0.1 1",
        b"vespera-scheme: http",
        b"vespera-seq: %d" % number,
    ]
    if "_meta" in params:
        lines += [b"mcp-protocol-version: %s" % LATEST_MODERN_VERSION.encode()]
        lines += [b"mcp-method: %s" % str(message["method"]).encode()]
        lines += [b"mcp-name: %s" % str(params["name"]).encode()] if "name" in params else []
    elif session is not None:
        lines += [b"mcp-session-id: " + session, b"mcp-protocol-version: %s" % LATEST_HANDSHAKE_VERSION.encode()]
    body = json.dumps({"jsonrpc": "2.0", **message}).encode()
    return b"\r\n".join([*lines, b"content-length: %d" % len(body), b"", body])


def _modern() -> Iterator[Mapping[str, object]]:
    for number, (method, params) in enumerate(_requests(), 1):
        yield {"id": number, "method": method, "params": {**params, "_meta": {**_ENVELOPE, "progressToken": number}}}


def _legacy() -> Iterator[Mapping[str, object]]:
    hello = {"protocolVersion": LATEST_HANDSHAKE_VERSION, "capabilities": {}, "clientInfo": _CLIENT}
    yield {"id": 0, "method": "initialize", "params": hello}
    yield {"method": "notifications/initialized"}
    yield {"id": "level", "method": "logging/setLevel", "params": {"level": "warning"}}
    for number, (method, params) in enumerate(_requests(), 1):
        if method != "server/discover":
            yield {"id": number, "method": method, "params": params}


def _requests() -> Iterator[tuple[str, dict[str, object]]]:
    yield "server/discover", {}
    yield "tools/list", {}
    yield "tools/call", _call("initialize_session", name="warming up")
    yield "tools/call", _call("list_sessions")
    plan = [{"key": "a", "title": "one"}, {"key": "b", "title": "two", "dependencies": ["a"]}]
    yield "tools/call", _call("plan_task", tasks=plan)
    for _ in range(2):
        yield "tools/call", _call("plan_task", title="three")
        yield "tools/call", _call("query_tasks")
        yield "tools/call", _call("get_status")


def _call(tool: str, **arguments: object) -> dict[str, object]:
    return {"name": f"orchestrator_{tool}", "arguments": arguments}
