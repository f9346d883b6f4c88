"""The observer over HTTP: its page, the feed as server-sent events, and answers to questions. An ASGI application.

    /observer/                 the page, its scripts and its style: the files of the folder `page`, and no others
    /observer/api/snapshot     the whole picture
    /observer/api/events       the picture, then each change; who says what it had last is given what it missed
    /observer/api/actor?key=K  one node; stacks: where all actors wait; session?id=S: the tasks of one

Who may come in was decided before (`front.http.entrance`). Here nothing is changed, and every answer forbids browsers
to load, frame or keep anything that is not ours. Where the feed comes from is a `Source`: this process, or another one
that is asked over its private socket. Neighbours: `vespera_agents.serving` serves it.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextlib import AbstractAsyncContextManager
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final, Protocol, cast, final
from urllib.parse import parse_qs

import trio

from vespera_agents.front.http.passes import OBSERVER
from vespera_agents.health.errors import FeedRefused

__all__ = ["Next", "ObserverApp", "Receive", "Scope", "Send", "Source"]

Scope = MutableMapping[str, object]
Message = MutableMapping[str, object]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

PING_SECONDS: Final = 15.0
"""How long a stream may be silent before it shows that it is alive; the feed tells something each second."""
RETRY_MS: Final = 500
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
_GUARDED: Final = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_API: Final = f"{OBSERVER}/api/"
_TYPES: Final = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_DIGITS: Final = 19
_FIELDS_MAX: Final = 8


Next = Callable[[], Awaitable[tuple[str, bytes]]]
"""Waits for the next thing that a viewer is told: the name of it, by which one that comes back says that it had it, and
JSON in one line."""


class Source(Protocol):
    """Where the feed comes from, and the answers; None where what was asked for is not there."""

    def watch(self, last: str | None) -> AbstractAsyncContextManager[Next]:
        """Watch while the block lasts.

        Args:
            last: the name of what the viewer had last.

        Raises:
            FeedRefused: that cannot be now; also what the given function raises.
        """
        ...

    async def actor(self, key: int) -> bytes | None:
        """Tell of one node."""
        ...

    async def stacks(self) -> bytes | None:
        """Tell where all actors wait."""
        ...

    async def session(self, session_id: str) -> bytes | None:
        """Tell of the tasks of one session."""
        ...


@final
class ObserverApp:
    """The application; whoever serves it gives it every request for `/observer` and what is below."""

    def __init__(self, source: Source) -> None:
        """Say where the feed comes from."""
        self._source = source
        self._stopping = trio.Event()

    def stop(self) -> None:
        """End all streams: their viewers come back to the next server."""
        self._stopping.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or what a server asks at its start and its end."""
        if scope["type"] == "lifespan":
            for moment in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{moment}.complete"})
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close"})
            return
        path, method = str(scope["path"]), str(scope["method"])
        if method not in {"GET", "HEAD"}:
            await _answer(
                send, method, 405, _words("the observer is only looked at. Send GET."), (b"allow", b"GET, HEAD")
            )
        elif path == OBSERVER:
            await _answer(send, method, 308, b"", (b"location", f"{OBSERVER}/".encode()))
        elif not path.startswith(_API):
            await self._file(send, method, path.removeprefix(f"{OBSERVER}/") or "index.html")
        elif path == f"{_API}events" and method == "GET":
            await self._events(scope, receive, send)
        else:
            await self._ask(send, method, path.removeprefix(_API), _query(scope))

    async def _file(self, send: Send, method: str, name: str) -> None:
        found = (await trio.to_thread.run_sync(_page)).get(name)
        if found is None:
            await _answer(send, method, 404, _words(f"there is nothing here. The page is {OBSERVER}/."))
        else:
            content_type, body = found
            await _answer(send, method, 200, body, content_type=content_type)

    async def _ask(self, send: Send, method: str, question: str, query: Mapping[str, str]) -> None:
        try:
            answer = await self._answer_to(question, query)
        except FeedRefused as refused:
            await _answer(send, method, 503, _words(str(refused)), (b"retry-after", b"1"))
            return
        if answer is None:
            await _answer(send, method, 404, _words("there is no such thing here, or no longer."))
        else:
            await _answer(send, method, 200, answer)

    async def _answer_to(self, question: str, query: Mapping[str, str]) -> bytes | None:
        source = self._source
        match question:
            case "snapshot":
                async with source.watch(None) as following:
                    return (await following())[1]
            case "actor":
                key = query.get("key", "")
                return await source.actor(int(key)) if key.isascii() and key.isdigit() and len(key) < _DIGITS else None
            case "stacks":
                return await source.stacks()
            case "session":
                return await source.session(query.get("id", ""))
            case _:
                return None

    async def _events(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Tell all there is, until the viewer has gone or we stop."""
        last = _header(scope, b"last-event-id") or _query(scope).get("last")
        try:
            async with self._source.watch(last) as following:
                await self._stream(following, receive, send)
        except FeedRefused as refused:
            await _answer(send, "GET", 503, _words(str(refused)), (b"retry-after", b"1"))

    async def _stream(self, following: Next, receive: Receive, send: Send) -> None:
        about = ((b"content-type", b"text/event-stream"), (b"x-accel-buffering", b"no"), *_GUARDED)
        await send({"type": "http.response.start", "status": 200, "headers": [*about]})
        await _write(send, b"retry: %d\r\n\r\n" % RETRY_MS)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_until_gone, receive, nursery.cancel_scope)
            nursery.start_soon(_until_set, self._stopping, nursery.cancel_scope)
            try:
                while True:
                    with trio.move_on_after(PING_SECONDS) as patience:
                        name, data = await following()
                        # One piece of the body is one event: then nobody on the way has to put them together.
                        await _write(send, b"id: %s\r\ndata: %s\r\n\r\n" % (name.encode(), data))
                    if patience.cancelled_caught:
                        await _write(send, b": ping\r\n\r\n")
            except FeedRefused:
                # The response has begun; its viewer comes back and is told why.
                nursery.cancel_scope.cancel(reason="the feed has ended")
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _until_gone(receive: Receive, scope: trio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel(reason="the viewer has gone")


async def _until_set(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel(reason="the server ends")


async def _write(send: Send, data: bytes) -> None:
    await send({"type": "http.response.body", "body": data, "more_body": True})


async def _answer(
    send: Send,
    method: str,
    status: int,
    body: bytes,
    *headers: tuple[bytes, bytes],
    content_type: str = "application/json",
) -> None:
    about = [
        (b"content-type", content_type.encode()),
        (b"content-length", str(len(body)).encode()),
        *_GUARDED,
        *headers,
    ]
    await send({"type": "http.response.start", "status": status, "headers": about})
    await send({"type": "http.response.body", "body": b"" if method == "HEAD" else body, "more_body": False})


def _words(words: str) -> bytes:
    return json.dumps({"error": words}).encode()


def _query(scope: Scope) -> dict[str, str]:
    text = cast("bytes", scope.get("query_string", b"")).decode("latin-1")
    try:
        return {name: values[-1] for name, values in parse_qs(text, max_num_fields=_FIELDS_MAX).items()}
    except ValueError:
        return {}


def _header(scope: Scope, name: bytes) -> str | None:
    headers = cast("Headers", scope["headers"])
    return next((value.decode("latin-1") for known, value in headers if known == name), None)


@cache
def _page() -> Mapping[str, tuple[str, bytes]]:
    """Read the files of the page, each with its type: 0.4 MB, by their paths below its folder."""
    found: dict[str, tuple[str, bytes]] = {}
    folder = files("vespera_agents.health.observer").joinpath("page")
    waiting: list[tuple[str, Traversable]] = [("", folder)] if folder.is_dir() else []
    while waiting:
        above, place = waiting.pop()
        for entry in place.iterdir():
            name = f"{above}{entry.name}"
            if entry.is_dir():
                waiting.append((f"{name}/", entry))
            else:
                kind = _TYPES.get(name.rpartition(".")[2], "text/plain; charset=utf-8")
                found[name] = (kind, entry.read_bytes())
    return found
