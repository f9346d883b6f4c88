"""What a worker and its front say to each other beside the client's messages: the worker's end of it.

Pings are answered as they are read, so that a loop that is blocked shows. Not the client's messages
(`transports.link`), not what a worker does with them (`worker`). Neighbours: `vespera_agents.front.framing` defines the
lines; the lifecycle tools ask the front through this.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, cast, final

import trio

from vespera_agents.front import framing
from vespera_agents.serving.transports.lines import LineWriter

__all__ = ["Activation", "FrontLink", "FrontLinkStatistics", "LinkClosed"]

ASK_SECONDS: Final = 10.0
"""How long the front may take to answer a question; it answers at once."""

_REPLACED: Final = 1
"""The exit status of a worker that had a successor while it lived."""

_REQUESTS_SHARE: Final = 0.8

Answer = dict[str, object]


class LinkClosed(Exception):
    """Raised to whoever asks a front that is gone, or does not answer."""


@final
@dataclass(frozen=True, slots=True)
class Activation:
    """What a worker is told when it shall be the one that works."""

    generation: int
    """One more than that of the worker before; the first is 1."""
    server: str
    """The id of the server, `srv_` and 12 hex digits: the same for all of its workers."""
    reason: str
    """`start`, `crash`, `wedged` or `restart`."""
    log: str | None
    """Where what workers print is kept, a path."""
    restart: Mapping[str, object] | None = None
    """The restart that this worker is part of."""

    @staticmethod
    def read(line: bytes) -> Activation:
        """Read the line `! GENERATION JSON`.

        Raises:
            ValueError: it is none.
        """
        _, generation, text = line.split(b" ", 2)
        told = _object(text)
        restart = told.get("restart")
        log = told.get("log")
        return Activation(
            int(generation),
            str(told["server"]),
            str(told.get("reason", "start")),
            None if log is None else str(log),
            cast("Answer", restart) if isinstance(restart, dict) else None,
        )


@final
@dataclass(frozen=True, slots=True)
class FrontLinkStatistics:
    """What a worker and its front have said to each other."""

    generation: int
    asked: int
    """Questions to the front so far."""
    unanswered: int
    """Those among them that it has not answered yet."""
    unsent_bytes: int
    """How much was said to it that the link had no room for yet."""
    draining: bool
    gone: bool
    """Whether it has ended."""


@final
@dataclass(slots=True)
class Admission:
    """Whether requests may begin."""

    draining: bool = False
    seconds: float = 0.0
    """How long what is under way may take."""
    changed: trio.Event = field(default_factory=trio.Event)

    @property
    def requests_seconds(self) -> float:
        """How long requests that are under way may take; in the rest is written down what specialists hold."""
        return self.seconds * _REQUESTS_SHARE

    def change(self, *, draining: bool, seconds: float = 0.0) -> None:
        """Begin to drain, or end it."""
        self.draining, self.seconds = draining, seconds
        self.changed.set()
        self.changed = trio.Event()


@final
class FrontLink:
    """The front, as the worker that serves behind it sees it."""

    def __init__(self, descriptor: int, activation: Activation) -> None:
        """Take the worker's end of the link, which must not block."""
        self.activation: Final = activation
        self.out: Final = LineWriter(descriptor, lambda: None)
        """Where our lines go."""
        self.admission: Final = Admission()
        self.gone: Final = trio.Event()
        """Set when the front has ended, or no longer needs this process."""
        self.brings_http = False
        """Whether it brings requests of HTTP clients, over a socket of ours."""
        self._standing: Mapping[str, object] = {}
        self.at_written: Callable[[list[str]], object] = lambda _: None
        """Hears the numbers of requests whose answers were written to the client."""
        self.at_standing: Callable[[], object] = lambda: None
        """Hears that the front fares otherwise."""
        self.awaiting_restart: Final[set[bytes]] = set()
        """Requests whose answer a later worker gives."""
        self._descriptor = descriptor
        self._questions: dict[int, tuple[trio.Event, list[Answer]]] = {}
        self._asked = 0
        self._behind = trio.Event()
        """Set when something is to be written that could not be written at once."""

    @property
    def server(self) -> str:
        """The id under which all workers of this front serve."""
        return self.activation.server

    @property
    def generation(self) -> int:
        """Which of its workers this is."""
        return self.activation.generation

    @property
    def standing(self) -> Mapping[str, object]:
        """How the front fares, as it said last."""
        return self._standing

    def is_gone(self) -> bool:
        """Say whether the front has ended; one that had us drained lives, and has another worker take our place."""
        return self.gone.is_set() and not self.admission.draining

    def give_way(self) -> None:
        """End this process: a newer one has taken its place, which it learns when it wants to write."""
        sys.stderr.write(f"generation {self.generation} of the server {self.server} was replaced, and ends\n")
        sys.stderr.flush()
        # Nothing is put in order: what it would close and remove is the newer one's.
        os._exit(_REPLACED)

    async def ask(self, question: Mapping[str, object]) -> Answer:
        """Ask the front, and give its answer.

        Args:
            question: `ask` says what for; a restart names as `seq` the request that a later worker answers.

        Raises:
            LinkClosed: it is gone, or did not answer in time.
        """
        self._asked += 1
        number, answered, answers = self._asked, trio.Event(), list[Answer]()
        if question.get("ask") == "restart" and "seq" in question:
            self.answered_later(str(question["seq"]))
        self._questions[number] = (answered, answers)
        try:
            await self.out.write(b"%s %d %s\n" % (framing.ASK, number, json.dumps(dict(question)).encode()))
            with trio.move_on_after(ASK_SECONDS):
                await answered.wait()
        finally:
            del self._questions[number]
        if not answers:
            raise LinkClosed(
                "the front of this server is gone: start the server again"
                if self.gone.is_set()
                else f"the front of this server did not answer within {ASK_SECONDS:g} s: ask again"
            )
        return answers[0]

    def answered_later(self, request: str) -> None:
        """Leave the answer to a request to a later worker: this one can be drained without it."""
        self.awaiting_restart.add(request.encode())

    async def keep_lock(self, name: str, descriptor: int) -> None:
        """Give the front a descriptor, whose lock is then held for as long as the front lives."""
        line = b"%s %s\n" % (framing.LOCK, name.replace("\n", " ").encode())
        end = socket.socket(fileno=self._descriptor)
        try:
            while not self.out.reader_gone:
                # Nothing may be half written: the descriptor goes with the first byte of its own line.
                await self.out.flush()
                try:
                    sent = socket.send_fds(end, [line], [descriptor])
                except BlockingIOError:
                    await trio.lowlevel.wait_writable(self._descriptor)
                except OSError:
                    return
                else:
                    self.out.post(line[sent:])
                    return
        finally:
            end.detach()

    def hear(self, line: bytes) -> None:
        """Take a line of the front that is none of the client's."""
        sign, _, rest = line.partition(b" ")
        if sign == framing.PING:
            self.post(line + b"\n")
        elif sign == framing.WRITTEN:
            self.at_written([number.decode() for number in rest.split()])
        elif sign == framing.STANDING:
            self._standing = _object(rest)
            self.at_standing()
        elif sign == framing.ASK:
            number, _, text = rest.partition(b" ")
            waiting = self._questions.get(int(number))
            if waiting is not None:
                waiting[1].append(_object(text))
                waiting[0].set()
        elif line.startswith(framing.DRAIN):
            self.admission.change(draining=True, seconds=float(line[len(framing.DRAIN) :]))
        elif line == framing.RESUME:
            self.admission.change(draining=False)

    def close(self) -> None:
        """Hear that the front is gone: who asked is told."""
        self.gone.set()
        for answered, _ in self._questions.values():
            answered.set()

    def statistics(self) -> FrontLinkStatistics:
        """Give its numbers as they are now."""
        return FrontLinkStatistics(
            generation=self.generation,
            asked=self._asked,
            unanswered=len(self._questions),
            unsent_bytes=self.out.unsent_bytes,
            draining=self.admission.draining,
            gone=self.gone.is_set(),
        )

    async def write_behind(self) -> None:
        """Write, until cancelled, what could not be written when it was said."""
        while True:
            await self._behind.wait()
            self._behind = trio.Event()
            await self.out.flush()

    def post(self, data: bytes) -> None:
        """Write lines now or a little later; never waits."""
        if not self.out.post(data):
            self._behind.set()


def _object(text: bytes) -> Answer:
    value = cast("object", json.loads(text))
    assert isinstance(value, dict), "the front sends objects"
    return cast("Answer", value)
