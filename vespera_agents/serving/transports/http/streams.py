"""Messages on their way to one client, in order, and the connection that carries them at the moment.

A stream belongs to a request, or to a session for what belongs to no request. It outlives its connections: a client
that lost one asks for what came after the last number that it saw. Until a stream is opened as such, nothing of it is
kept: most answers are the only message and travel as plain JSON. Not HTTP (`answering`), not the session (`sessions`).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final, final

import trio

from vespera_agents.serving.transports.http.events import EventLog
from vespera_agents.store.stream_events import EVENT_BYTES_MAX, StreamEvent

__all__ = ["Outgoing", "Sink", "Stream"]

UNSENT_MAX: Final = 1_000
"""Messages that wait for a connection to take them; one that is so slow is closed, and may resume."""


@final
@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message of a stream."""

    number: int
    """From 1, without gaps; 0 is the beginning."""
    text: str
    """The JSON of the message."""
    last: bool
    """Whether nothing can follow: the answer of a request."""
    failed: bool
    """Whether it is an error of the protocol."""


@final
class Sink:
    """What a connection takes messages from."""

    def __init__(self, begun: int) -> None:
        self.begun: Final = begun
        """The number of the last message before it."""
        self._waiting: deque[Outgoing] = deque()
        self._changed = trio.Event()
        self.closed = False
        """Whether nothing more comes in."""

    @property
    def waiting(self) -> tuple[Outgoing, ...]:
        """What was not taken yet."""
        return tuple(self._waiting)

    def put(self, message: Outgoing) -> None:
        """Hand a message over."""
        if len(self._waiting) >= UNSENT_MAX:
            self.close()
        if not self.closed:
            self._waiting.append(message)
            self._changed.set()

    def close(self) -> None:
        """Let no more in; what waits can still be taken."""
        self.closed = True
        self._changed.set()

    async def ready(self) -> bool:
        """Wait until there is a message, or none can come any more: False."""
        while not self._waiting:
            if self.closed:
                return False
            self._changed = trio.Event()
            await self._changed.wait()
        return True

    def take(self) -> Outgoing:
        """Take the next message, which is there."""
        return self._waiting.popleft()


@final
class Stream:
    """The messages of one request, or of a session."""

    def __init__(self, name: str, log: EventLog, sent: int = 0) -> None:
        """Name it; the name is unique for ever.

        Args:
            name: ends with a slash and its number.
            log: keeps messages for those who resume.
            sent: the number of the last message that an earlier worker sent.
        """
        self.name: Final = name
        self.over: Final = trio.Event()
        """Set when nothing will be sent any more."""
        self._log = log
        self._sink: Sink | None = None
        self._kept = False
        self.sent = sent
        """The number of the last message."""
        self.ended = False
        """Whether nothing will be sent any more, an answer neither."""

    @property
    def connected(self) -> bool:
        """Whether a connection carries it now."""
        return self._sink is not None

    @property
    def kept(self) -> bool:
        """Whether it can be resumed."""
        return self._kept

    def attach(self) -> Sink:
        """Let a new connection carry it from here on; another one that still does ends."""
        if self._sink is not None:
            self._sink.close()
        self._sink = Sink(self.sent)
        return self._sink

    def detach(self, sink: Sink) -> None:
        """Forget a connection that has ended."""
        if self._sink is sink:
            self._sink = None

    def keep(self) -> None:
        """Keep its messages from now on, those too that its connection has not taken yet."""
        if not self._kept:
            self._kept = True
            for message in () if self._sink is None else self._sink.waiting:
                self._log_message(message)

    def put(self, text: str, *, last: bool = False, failed: bool = False) -> None:
        """Send a message."""
        self.sent += 1
        message = Outgoing(self.sent, text, last, failed)
        if self._kept:
            self._log_message(message)
        if self._sink is not None:
            self._sink.put(message)
            if last:
                self._sink.close()
        if last:
            self.over.set()

    def close(self) -> None:
        """End the connection that carries it."""
        if self._sink is not None:
            self._sink.close()

    def interrupt(self) -> None:
        """End the connection that carries it before the stream ends: the client will come back for the rest."""
        self.keep()
        self.close()

    def end(self) -> None:
        """End it, with its session."""
        self.ended = True
        self.over.set()
        self.close()

    def _log_message(self, message: Outgoing) -> None:
        if len(message.text) <= EVENT_BYTES_MAX:
            self._log.append(StreamEvent(self.name, message.number, message.text))
