"""What a front must know of an event that passes through it, as comments in front of the event.

The front reads no JSON, and yet must drop progress that does not increase, take back questions of a worker that is
gone, and know whether a stream that ends had its answer. Written only behind a front. Neighbours:
`vespera_agents.front.http.events` reads the comments, `door` puts them in.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, cast

from vespera_agents.front.http.events import ANSWER, END, PROGRESS, QUESTION
from vespera_agents.serving.transports.http.guard import Message, Send

__all__ = ["RESPONSE_ENDS", "marking"]

RESPONSE_ENDS: Final = END.decode() + "\r\n\r\n"
"""Written where the client's response ends without the answer."""
_DATA: Final = b"data: "
_LOOKED_AT: Final = 160
"""Bytes in which a message says what it is."""


def marking(send: Send) -> Send:
    """Put comments in front of the events that are sent, each of which is one part of a body."""

    async def send_marked(message: Message) -> None:
        body = message.get("body")
        if isinstance(body, bytes) and body:
            mark = _mark_of(body)
            if mark:
                message = {**message, "body": mark + b"\r\n" + body}
        await send(message)

    return send_marked


def _mark_of(event: bytes) -> bytes:
    begin = event.find(_DATA, 0, _LOOKED_AT)
    if begin < 0:
        return b""
    begin += len(_DATA)
    end = event.index(b"\r\n", begin)
    head = event[begin : min(end, begin + _LOOKED_AT)]
    if b'"notifications/subscriptions/acknowledged"' in head:
        return PROGRESS + b"0"
    if b'"method":' not in head:
        return ANSWER if head else b""
    if not (b'"notifications/progress"' in head or b'"id":' in head):
        return b""
    return _mark_of_message(cast("dict[str, Any]", json.loads(event[begin:end])))


def _mark_of_message(message: Mapping[str, Any]) -> bytes:
    if message.get("method") == "notifications/progress":
        return PROGRESS + json.dumps(message["params"]["progress"]).encode()
    if "id" not in message:
        return b""
    # A request, and so a question; what only speaks of methods is an answer.
    return QUESTION + json.dumps(message["id"]).encode() if "method" in message else ANSWER
