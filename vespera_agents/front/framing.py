"""The lines between a front and its worker: one stream socket, one line per message, told apart by how they begin.

The front reads no JSON: it numbers the client's lines, and the worker says with one letter what its own lines are. A
line that was not ended when its sender died is no line. Pure: no socket, no clock. Source: DESIGN "Front and worker".

From the front to the worker:

    w                     warm up, say so, and wait
    ! GENERATION JSON     be the one that works; JSON is an Activation
    SEQ LINE              a line of the client; between `!` and `.` they are repeated: what is kept, what is unanswered
    .                     that was all that had to be repeated
    ? N                   a ping
    ~ SEQ SEQ ...         the answers to these were written to the client
    = drain SECONDS       begin nothing any more, end what is under way within that time, then say `-`
    = resume              the drain is called off
    # JSON                how the front fares: a Standing
    @ N JSON              the answer to the worker's question N

From the worker to the front:

    w                     warmed up, and waiting
    + JSON                it works: a Greeting
    R SEQ LINE            the answer to SEQ
    K SEQ SLOT LINE       the same, and SEQ is to be repeated to later workers; LINE may be empty. A slot holds one line
    U SLOT                that slot is not to be repeated any more
    D SEQ                 SEQ needs no answer, or no longer
    P SEQ VALUE LINE      how far SEQ is; the client gets it if VALUE is above what it got before
    Q ID LINE             a question to the client, whose JSON-RPC id is ID as JSON
    A ID                  that question is settled
    N LINE                anything else for the client
    ? N                   the answer to a ping
    - JSON                drained: what could not be ended
    @ N JSON              a question to the front, one JSON object
    L NAME                keep the descriptor that comes with this for as long as the front lives (a lock)

Neighbours: `relay` is the front's end of it, `vespera_agents.serving.transports.link` the worker's.
"""

from __future__ import annotations

from typing import Final, final

__all__ = [
    "ACTIVATE",
    "ANSWER",
    "ASK",
    "DONE",
    "DRAIN",
    "DRAINED",
    "END_OF_REPLAY",
    "FORGET",
    "KEEP",
    "LINK_VARIABLE",
    "LOCK",
    "MESSAGE",
    "PING",
    "PROGRESS",
    "QUESTION",
    "READY",
    "RESUME",
    "SETTLED",
    "STANDING",
    "WARM",
    "WRITTEN",
    "Lines",
]

LINK_VARIABLE: Final = "VESPERA_LINK"
"""The environment variable that names the worker's end of the socket, a descriptor."""

WARM: Final = b"w"
ACTIVATE: Final = b"!"
END_OF_REPLAY: Final = b"."
PING: Final = b"?"
WRITTEN: Final = b"~"
DRAIN: Final = b"= drain"
RESUME: Final = b"= resume"
STANDING: Final = b"#"
ASK: Final = b"@"
READY: Final = b"+"
ANSWER: Final = b"R"
KEEP: Final = b"K"
FORGET: Final = b"U"
DONE: Final = b"D"
PROGRESS: Final = b"P"
QUESTION: Final = b"Q"
SETTLED: Final = b"A"
MESSAGE: Final = b"N"
DRAINED: Final = b"-"
LOCK: Final = b"L"


@final
class Lines:
    """Cuts what arrives into lines; what is not ended yet waits for the rest."""

    __slots__ = ("_pieces", "_waiting")

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._waiting = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """Give the lines that a chunk ends, without their newlines."""
        if b"\n" not in chunk:
            # Kept in pieces: put together with each chunk, a line of 16 MB would be copied 256 times.
            self._pieces.append(chunk)
            self._waiting += len(chunk)
            return []
        *lines, rest = chunk.split(b"\n")
        lines[0] = self.forget() + lines[0]
        if rest:
            self._pieces.append(rest)
            self._waiting = len(rest)
        return lines

    @property
    def waiting_bytes(self) -> int:
        """How much of a line is there that is not ended yet."""
        return self._waiting

    def forget(self) -> bytes:
        """Take out what is there of a line that is not ended yet."""
        rest = b"".join(self._pieces)
        self._pieces.clear()
        self._waiting = 0
        return rest
