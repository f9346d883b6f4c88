"""What every request passes before anybody looks into it: the entrance, room, size, and the time it takes.

What it refuses it answers itself, as JSON that says what to do. Not the protocol: what a request asks for is the
business of `inner`. Neighbours: `door` gives it to hypercorn, `front.http.entrance` knows who may come in, `private`
reads what a front says of a request: it has asked already.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Final, cast, final

import trio

from vespera_agents.front.http.entrance import PROBES
from vespera_agents.front.http.limits import Limits
from vespera_agents.front.http.listening import Listening
from vespera_agents.front.http.refusals import DRAINED, INVALID_REQUEST, Refused, refusal, slow_body, too_long
from vespera_agents.serving.front_link import Admission
from vespera_agents.serving.protocol.identity import Identity, put_identity
from vespera_agents.serving.transports.http.connections import LINK, Link
from vespera_agents.serving.transports.http.private import NOBODY, Told, told_of

__all__ = [
    "Guard",
    "GuardStatistics",
    "Inner",
    "Message",
    "Receive",
    "Scope",
    "Send",
    "answer_json",
    "headers_of",
    "refuse",
]

Scope = MutableMapping[str, object]
Message = MutableMapping[str, object]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Inner = Callable[[Scope, Receive, Send], Awaitable[None]]

RETRY_SECONDS: Final = 1
LISTEN: Final = "subscriptions/listen"

logger = logging.getLogger("vespera_agents.serving")


@final
@dataclass(frozen=True, slots=True)
class GuardStatistics:
    """What came to the door so far."""

    requests: int
    """That were let in."""
    refused: int
    """That were not."""
    in_flight: int
    """That are being answered now, open streams among them."""


@final
class Guard:
    """The application that hypercorn calls for each request."""

    def __init__(self, listening: Listening, inner: Inner, limits: Limits, admission: Admission | None = None) -> None:
        """Say who answers what is let in.

        Args:
            listening: knows who may come in.
            inner: answers.
            limits: how much, and for how long.
            admission: behind a front, whether requests may begin.
        """
        self._admission = admission
        self._limits = limits
        self._listening = listening
        self._inner = inner
        self._requests = 0
        self._refused = 0
        self._in_flight = 0
        self._under_way: set[str] = set()
        """Numbers of those in flight that are no streams, which only their client or the end of the server ends."""
        self._settled = trio.Event()

    async def __call__(
        self, scope: Scope, receive: Receive, send: Send, _spawn: object = None, _soon: object = None
    ) -> None:
        """Answer one request. The shape, with two arguments more than ASGI has, is that of hypercorn's applications."""
        if scope["type"] != "http":
            # A WebSocket: hypercorn answers 403 for us.
            await send({"type": "websocket.close"})
            return
        told = NOBODY if self._listening.private is None else told_of(scope)
        if told.echo is not None:
            await answer_json(send, 200, told.echo.encode())
            return
        headers = headers_of(scope)
        # Counted before the answer is sent, and taken back before anybody can look.
        self._refused += 1
        if not await self._let_in(scope, headers, told, send):
            return
        self._refused -= 1
        link = cast("dict[str, Link]", scope["state"])[LINK]
        self._requests += 1
        self._in_flight += 1
        link.begin()
        try:
            if told.sequence is not None and scope["method"] != "GET" and headers.get(b"mcp-method") != LISTEN:
                await self._until_admitted()
                self._under_way.add(told.sequence)
            await self._serve(scope, receive, send)
        finally:
            link.end()
            self._in_flight -= 1
            if told.sequence is not None:
                self._under_way.discard(told.sequence)
                self._settled.set()

    def statistics(self) -> GuardStatistics:
        """Count what came."""
        return GuardStatistics(self._requests, self._refused, self._in_flight)

    async def drained(self, seconds: float, beside: Collection[bytes]) -> list[str]:
        """Wait until nothing is under way but streams, or the time is up, and name what is.

        Args:
            seconds: how long.
            beside: numbers of requests that nobody waits for.
        """
        left = {number.decode() for number in beside}
        with trio.move_on_after(seconds):
            while self._under_way - left:
                self._settled = trio.Event()
                await self._settled.wait()
        return sorted(self._under_way - left)

    async def _until_admitted(self) -> None:
        """Wait while no request may begin: another worker will have it, or the drain is called off."""
        while self._admission is not None and self._admission.draining:
            await self._admission.changed.wait()

    async def _let_in(self, scope: Scope, headers: Mapping[bytes, str], told: Told, send: Send) -> bool:
        entrance, principal = self._listening.entrance, told.principal
        if entrance is not None:
            try:
                principal = entrance.principal(str(scope["path"]), headers)
            except Refused as refused:
                await refuse(send, refused.status, str(refused), *refused.headers)
                return False
        # A server with much to do lives, and may say so.
        if self._in_flight >= self._limits.exchanges_max and scope["path"] not in PROBES:
            most = self._limits.exchanges_max
            words = f"{most} requests are open already. Close streams that nobody reads, and try again."
            await refuse(send, 503, words, (b"retry-after", str(RETRY_SECONDS).encode()))
            return False
        put_identity(scope, Identity(principal, None, "http", told.sequence, told.repeated))
        return True

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        entrance, usual = self._listening.entrance, self._limits.body_bytes_max
        limit = usual if entrance is None else entrance.body_bytes_max(str(scope["path"]), usual)
        body = await _body(receive, send, limit, self._limits.body_seconds)
        if body is None:
            self._refused += 1
            return
        messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def received() -> Message:
            return messages.pop() if messages else await receive()

        entered = (
            None
            if entrance is None
            else entrance.enter(str(scope["method"]), target_of(scope), body, encrypted=scope["scheme"] == "https")
        )
        if entered is None:
            await self._inner(scope, received, send)
            return
        about = (*entered.headers, (b"content-length", str(len(entered.body)).encode()))
        await send({"type": "http.response.start", "status": entered.status, "headers": about})
        await send({"type": "http.response.body", "body": entered.body, "more_body": False})


def headers_of(scope: Scope) -> dict[bytes, str]:
    """Give the headers by name in small letters; of a repeated one the last, which no honest client sends."""
    return {name: value.decode("latin-1") for name, value in cast("list[tuple[bytes, bytes]]", scope["headers"])}


def target_of(scope: Scope) -> str:
    """Give the path and the query of a request."""
    query = cast("bytes", scope.get("query_string", b"")).decode("latin-1")
    return f"{scope['path']}?{query}" if query else str(scope["path"])


async def _body(receive: Receive, send: Send, bytes_max: int, seconds: float) -> bytes | None:
    """Read the whole body; None when the client is gone or was told that it is too long or too slow."""
    parts: list[bytes] = []
    size = 0
    with trio.move_on_after(seconds) as patience:
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return None
            part = cast("bytes", message.get("body", b""))
            size += len(part)
            if size <= bytes_max:
                parts.append(part)
            elif parts:
                parts.clear()
            if not message.get("more_body", False) or size > DRAINED * bytes_max:
                break
    if patience.cancelled_caught:
        await refuse(send, 408, slow_body(seconds))
        return None
    if size > bytes_max:
        await refuse(send, 413, too_long(bytes_max))
        return None
    return b"".join(parts)


async def refuse(
    send: Send, status: int, words: str, *headers: tuple[bytes, bytes], code: int = INVALID_REQUEST
) -> None:
    """Answer with an error that belongs to no request of the protocol."""
    await answer_json(send, status, refusal(words, code), *headers)


async def answer_json(send: Send, status: int, body: bytes, *headers: tuple[bytes, bytes]) -> None:
    """Answer with one JSON document."""
    about = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *headers]
    await send({"type": "http.response.start", "status": status, "headers": about})
    await send({"type": "http.response.body", "body": body, "more_body": False})
