"""Messages of a stream as HTTP: one JSON document where the answer is all there is, else server-sent events.

    answer within 2 s, nothing before it   application/json
    anything else                          text/event-stream, with ids to resume from, and a sign of life while silent

Not which stream (`sessions`), not the 2026-07-28 era, whose library decides in the same way. Neighbours: `streams`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, final

import trio

from vespera_agents.serving.transports.http.guard import Receive, Send, answer_json, refuse
from vespera_agents.serving.transports.http.marks import RESPONSE_ENDS
from vespera_agents.serving.transports.http.streams import Outgoing, Sink, Stream

__all__ = ["JSON_SECONDS", "EventStream", "answer_request"]

JSON_SECONDS: Final = 2.0
"""How long an answer may take and still be plain JSON; a client that waits longer wants a stream that it can resume."""
PING_SECONDS: Final = 15.0
"""How long a stream may be silent before it shows that it is alive."""
RETRY_MS: Final = 500
"""After how long a client that lost its stream comes back."""
_HEAD: Final = (
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
)


@final
class EventStream:
    """The events of one stream over one connection."""

    def __init__(
        self,
        stream: Stream,
        sink: Sink,
        receive: Receive,
        send: Send,
        headers: Sequence[tuple[bytes, bytes]],
        *,
        lasting: bool = False,
    ) -> None:
        """Say what travels, and where.

        Args:
            stream: what.
            sink: its messages for this connection.
            receive: tells when the client has hung up.
            send: the connection.
            headers: of the response.
            lasting: whether whom we send to repeats the request until the stream is over, and not only until the
                client's response has ended: a front.
        """
        self._lasting = lasting
        self._stream = stream
        self._sink = sink
        self._receive = receive
        self._send = send
        self._headers = headers

    async def run(self, *, primed: bool, missed: Sequence[tuple[int, str]] = (), ended: bool = False) -> None:
        """Send what was missed and what comes, until the stream ends, or its connection.

        Args:
            primed: whether the client understands an event without data, that gives it an id to resume from.
            missed: number and text of messages that came before the sink was attached.
            ended: whether nothing follows what was missed.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch, nursery.cancel_scope)
            await self._send({"type": "http.response.start", "status": 200, "headers": [*_HEAD, *self._headers]})
            if primed:
                begun = missed[0][0] - 1 if missed else self._sink.begun
                await self._write(f"id: {self._id(begun)}\r\nretry: {RETRY_MS}\r\ndata: \r\n\r\n")
            for number, text in missed:
                await self._event(number, text)
            answered = False if ended else await self._follow()
            if self._lasting and not answered:
                await self._write(RESPONSE_ENDS)
                await self._stream.over.wait()
            await self._write("", more=False)
            nursery.cancel_scope.cancel()

    async def _follow(self) -> bool:
        """Send what comes until nothing more does; says whether the answer did."""
        while True:
            with trio.move_on_after(PING_SECONDS) as patience:
                if not await self._sink.ready():
                    return False
            if patience.cancelled_caught:
                await self._write(": ping\r\n\r\n")
                continue
            message = self._sink.take()
            await self._event(message.number, message.text)
            if message.last:
                return True

    async def _event(self, number: int, text: str) -> None:
        await self._write(f"id: {self._id(number)}\r\nevent: message\r\ndata: {text}\r\n\r\n")

    def _id(self, number: int) -> str:
        return f"{self._stream.name.rpartition('/')[2]}-{number}"

    async def _write(self, text: str, *, more: bool = True) -> None:
        await self._send({"type": "http.response.body", "body": text.encode(), "more_body": more})

    async def _watch(self, scope: trio.CancelScope) -> None:
        """End when the client hangs up; its request goes on, as the protocol wants."""
        while (await self._receive())["type"] != "http.disconnect":
            pass
        scope.cancel()


async def answer_request(
    stream: Stream,
    sink: Sink,
    receive: Receive,
    send: Send,
    headers: Sequence[tuple[bytes, bytes]],
    *,
    primed: bool,
    lasting: bool = False,
) -> Outgoing | None:
    """Answer a request with what its stream brings; gives the answer if it was plain JSON.

    Args:
        stream: of the request.
        sink: its messages for this connection.
        receive: tells when the client has hung up.
        send: the connection.
        headers: of the response.
        primed: whether the client understands an event without data.
        lasting: as in `EventStream`.
    """
    with trio.move_on_after(JSON_SECONDS):
        await sink.ready()
    waiting = sink.waiting
    if waiting and waiting[0].last:
        about = () if waiting[0].failed else headers
        await answer_json(send, 200, waiting[0].text.encode(), *about)
        return waiting[0]
    if stream.ended and not waiting:
        await refuse(send, 404, "the session has ended before its answer. Initialize a new one.")
        return None
    stream.keep()
    await EventStream(stream, sink, receive, send, headers, lasting=lasting).run(primed=primed)
    return None
