"""Server-sent events on their way from a worker to a client: cut apart, and read as far as a repetition needs it.

A worker writes what the front must know of an event as comments in front of it, which the client never sees:

    : P VALUE    how far its request is; an acknowledgement of a subscription is 0
    : Q ID       a question to the client, by its JSON-RPC id as JSON
    : R          the answer of the request: without it, nothing that ends here is answered
    : E          no event: the client's response ends here without an answer, and that is no accident

An event that was not ended when its worker died is none. Pure. Neighbours: `exchange` passes events on; the worker's
`transports.http.marks` writes the comments.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final, final

__all__ = ["ANSWER", "END", "PROGRESS", "QUESTION", "Events", "Passing", "cancellation", "event_of"]

PROGRESS: Final = b": P "
QUESTION: Final = b": Q "
ANSWER: Final = b": R"
END: Final = b": E"
_ID: Final = b"id: "
_EVENT_END: Final = b"\r\n\r\n"


@final
@dataclass(frozen=True, slots=True)
class Passing:
    """One event."""

    data: bytes
    """As the client shall get it."""
    id: bytes | None = None
    """Where a client that lost its stream goes on."""
    progress: float | None = None
    """Passed on only if it is above what came before."""
    question: bytes | None = None
    """The id of a question that it puts to the client."""
    answers: bool = False
    """Whether it is the answer of the request."""
    ends: bool = False
    """Whether the client's response ends here."""


@final
class Events:
    """Cuts what arrives into events; what is not ended yet waits for the rest."""

    __slots__ = ("_parts", "_seam", "waiting_bytes")

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._seam = b""
        self.waiting_bytes = 0
        """How much of an event is there that is not ended yet."""

    def feed(self, chunk: bytes) -> list[Passing]:
        """Give the events that a chunk ends."""
        # An event may have megabytes and come in hundreds of chunks: put together each time, 10 MB took half a second.
        seam = self._seam + chunk
        self._parts.append(chunk)
        self._seam = seam[-len(_EVENT_END) + 1 :]
        self.waiting_bytes += len(chunk)
        if _EVENT_END not in seam:
            return []
        *blocks, rest = b"".join(self._parts).split(_EVENT_END)
        self._parts, self._seam, self.waiting_bytes = [rest], rest[-len(_EVENT_END) + 1 :], len(rest)
        return [_read(block) for block in blocks]


def _read(block: bytes) -> Passing:
    if not block.startswith((b": ", _ID)):
        return Passing(block + _EVENT_END)
    lines = block.split(b"\r\n")
    kept: list[bytes] = []
    identifier: bytes | None = None
    progress: float | None = None
    question: bytes | None = None
    answers = False
    for line in lines:
        if line.startswith(PROGRESS):
            progress = float(line[len(PROGRESS) :])
        elif line.startswith(QUESTION):
            question = line[len(QUESTION) :]
        elif line == ANSWER:
            answers = True
        elif line == END:
            return Passing(b"", ends=True)
        else:
            if line.startswith(_ID):
                identifier = line[len(_ID) :]
            kept.append(line)
    return Passing(b"\r\n".join(kept) + _EVENT_END, identifier, progress, question, answers)


def event_of(message: bytes) -> bytes:
    """Give a message, JSON in one line, as an event."""
    return b"event: message\r\ndata: " + message + _EVENT_END


def cancellation(question: bytes) -> bytes:
    """Give the event that takes a question back: its worker is gone, and the next one asks anew."""
    params = {"requestId": json.loads(question), "reason": "asked anew"}
    return event_of(json.dumps({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}).encode())
