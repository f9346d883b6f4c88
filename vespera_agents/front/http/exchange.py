"""One request of a client, until its answer is complete, whatever becomes of the workers that have it.

A request has one number, whoever answers it: a worker that finds its effect in the store gives the recorded result. So
a request whose worker is gone is sent to the next one. An answer that is one document begins anew: nothing of it was
sent on before it was complete. A stream that had begun goes on: its head is not repeated, progress that does not
increase is dropped, questions that were open are taken back, and the new worker is told the last event that the client
has. Neighbours: `connection` reads requests and writes answers, `upstream` talks to workers.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Final, Protocol, cast, final

import trio

from vespera_agents.front.http.entrance import Entrance
from vespera_agents.front.http.events import Events, Passing, cancellation, event_of
from vespera_agents.front.http.facts import REPLAY, SEQ
from vespera_agents.front.http.limits import Limits
from vespera_agents.front.http.refusals import INTERNAL_ERROR, refusal
from vespera_agents.front.http.upstream import Answer, Headers, Pool, Upstream, UpstreamLost
from vespera_agents.front.http.workers import HttpWorker, HttpWorkers

__all__ = ["Client", "Exchange", "Request", "Road"]

DEATHS_MAX: Final = 3
"""Workers that may end while they have a request; the last one has no other suspect."""
_AGAIN_SECONDS: Final = 1.0
"""How long it takes at most until an ended worker is known to have ended."""
_SESSION: Final = b"mcp-session-id"
_VERSION: Final = b"mcp-protocol-version"
_HANDSHAKE_ERA_ENDS: Final = b"2026-07-28"
"""The first protocol version without sessions; versions are dates."""
_LAST: Final = b"last-event-id"
_JSON: Final = ((b"content-type", b"application/json"),)


@final
@dataclass(frozen=True, slots=True)
class Request:
    """A request, whole."""

    method: bytes
    target: bytes
    headers: Headers
    """Names in small letters, without those that belong to the connection or only the front may set."""
    body: bytes

    def header(self, name: bytes) -> bytes | None:
        """Give the value of a header, None without it."""
        return next((value for known, value in self.headers if known == name), None)


class Client(Protocol):
    """Who waits for the answer."""

    async def answer(self, status: int, headers: Headers, body: bytes) -> None:
        """Take a whole answer."""
        ...

    async def begin(self, status: int, headers: Headers) -> None:
        """Take the head of a stream."""
        ...

    async def write(self, data: bytes) -> None:
        """Take a part of a stream."""
        ...

    async def end(self) -> None:
        """Take the end of a stream."""
        ...

    def cut(self) -> None:
        """Lose the connection in the middle of a stream: what its client expects cannot come over it any more."""
        ...


@final
class Road:
    """What the requests of one front share on their way to workers."""

    def __init__(self, entrance: Entrance, workers: HttpWorkers, pool: Pool, limits: Limits) -> None:
        """Say who may come in, who answers, and over which connections."""
        self.entrance: Final = entrance
        self.workers: Final = workers
        self.pool: Final = pool
        self.limits: Final = limits
        self.suspects: Final = trio.Lock()
        """Held by the one request that may be what ends workers, while a worker has it."""
        self.ending = False
        """Whether the front ends: then nothing is repeated."""
        self.waiting = 0
        """Requests whose clients wait for an answer."""
        self.repeated = 0
        """Requests that were sent to another worker."""
        self.refused = 0
        """Requests that no worker heard of."""
        self.given_up = 0
        """Requests that were answered with an error of ours."""


@final
class Exchange:
    """One request on its road."""

    def __init__(self, request: Request, about: Headers, client: Client, road: Road) -> None:
        """Take a request.

        Args:
            request: as the client sent it.
            about: headers that tell the worker of the client.
            client: gets the answer.
            road: leads to workers.
        """
        self.lasting: Final = (
            request.method == b"POST" and request.header(_SESSION) is not None and _knows_sessions(request)
        )
        """Whether it goes on when its client hangs up: in the handshake era, where it may come back for the answer."""
        self._request = request
        self._seq = road.workers.number()
        self._about = about
        self._client = client
        self._road = road
        self._since_seconds = trio.current_time()
        self._worker: HttpWorker | None = None
        self._sent = False
        """Whether the worker that has ended had it."""
        self._deaths = 0
        self._begun = False
        self._answered = False
        """Whether its client has the answer in a stream: then whatever becomes of the worker changes nothing."""
        self._sent_away = False
        """Whether its client's stream was ended without the answer: it may come back for it."""
        self._listening = False
        self._last = request.header(_LAST)
        self._highest = -math.inf
        self._questions: list[bytes] = []

    async def run(self) -> None:
        """See it answered.

        Cancelled, its worker's connection is closed; that cancels it there, too, unless it lasts.
        """
        self._road.waiting += self._counts
        try:
            await self._run()
        finally:
            self._road.waiting -= self._counts

    @property
    def _counts(self) -> bool:
        """Whether its client waits for an answer, and not only for what may happen."""
        return not self._listening and self._request.method != b"GET"

    async def _run(self) -> None:
        while True:
            worker = await self._next()
            if isinstance(worker, str):
                await self._give_up(503, worker)
                return
            if self._worker is not None:
                self._road.repeated += 1
            try:
                await self._attempt(worker)
            except UpstreamLost:
                if self._road.ending and not self._answered:
                    self._client.cut()
                    return
            else:
                self._answered = True
            if self._answered:
                self._road.workers.written(self._seq)
                return
            self._worker = worker
            if await self._is_poison(worker):
                await self._give_up(500, worker.why or "the connection to the worker broke three times. Try again.")
                return

    async def _next(self) -> HttpWorker | str:
        """Give the worker that shall have it, or why it shall wait no longer for one."""
        workers = self._road.workers
        while (worker := workers.current()) is None:
            why = "the server ends. Connect again when it is back." if self._road.ending else None
            why = why or workers.expired(self._since_seconds)
            if why is not None:
                return why
            await workers.changed()
        return worker

    async def _is_poison(self, worker: HttpWorker) -> bool:
        """Say whether too many workers ended with it, now that a connection to one is lost."""
        with trio.move_on_after(_AGAIN_SECONDS):
            while self._road.workers.current() is worker:
                await self._road.workers.changed()
        # A subscription is there at each death and is none; nor is a stream that only waits for what others do.
        if self._sent and self._counts and (worker.blamed or not worker.ended.is_set()):
            self._deaths += 1
        self._sent = False
        return self._deaths >= DEATHS_MAX

    async def _attempt(self, worker: HttpWorker) -> None:
        """Have a worker answer.

        Raises:
            UpstreamLost: it did not, or not to the end.
        """
        if self._deaths < DEATHS_MAX - 1:
            await self._ask(worker)
            return
        async with self._road.suspects:
            # The worker may have ended while another suspect was with it.
            if worker.ended.is_set():
                raise UpstreamLost
            await self._ask(worker)

    async def _ask(self, worker: HttpWorker) -> None:
        upstream = await self._road.pool.take(worker)
        complete = False
        try:
            await upstream.send(self._written(), without_body=self._request.method == b"HEAD")
            self._sent = True
            answer = await upstream.answer()
            if answer.streams:
                await self._stream(upstream, answer)
            else:
                await self._document(answer, await self._body(upstream))
            complete = True
        finally:
            if complete:
                self._road.pool.give(upstream)
            else:
                upstream.close()

    async def _body(self, upstream: Upstream) -> bytes:
        parts: list[bytes] = []
        size = 0
        while part := await upstream.part():
            size += len(part)
            if size > self._road.limits.answer_bytes_max:
                raise UpstreamLost
            parts.append(part)
        return b"".join(parts)

    async def _document(self, answer: Answer, body: bytes) -> None:
        """Pass on an answer that is one document.

        Raises:
            UpstreamLost: it is none.
        """
        if answer.status == 500 and not body and self._request.method != b"HEAD":  # noqa: PLR2004 - see below
            # An Internal Server Error without a word is the worker's library, whose application broke off.
            raise UpstreamLost
        if not self._begun:
            await self._client.answer(answer.status, answer.headers, body)
        elif answer.status == 200 or self._request.header(_SESSION) is None:  # noqa: PLR2004 - OK
            await self._client.write(event_of(body))
            await self._client.end()
        else:
            # A refusal by the new worker is no answer to the request: the client comes back and hears it.
            self._client.cut()

    async def _stream(self, upstream: Upstream, answer: Answer) -> None:
        """Pass on a stream.

        Raises:
            UpstreamLost: it ended before the answer.
        """
        if not self._begun:
            self._begun = True
            await self._client.begin(answer.status, answer.headers)
        for question in self._questions:
            await self._client.write(cancellation(question))
        self._questions.clear()
        events = Events()
        while part := await upstream.part():
            for event in events.feed(part):
                await self._pass_on(event)
            if events.waiting_bytes > self._road.limits.answer_bytes_max:
                raise UpstreamLost
        if self._request.method != b"GET" and not (self._answered or self._sent_away):
            # Whatever ended this stream in good order, its client has no answer.
            raise UpstreamLost
        await self._client.end()

    async def _pass_on(self, event: Passing) -> None:
        if event.progress is not None:
            if event.progress == 0 and not self._listening:
                # From here on it is no request that somebody waits for.
                self._road.waiting -= 1
                self._listening = True
            if event.progress <= self._highest:
                return
            self._highest = event.progress
        if event.ends:
            self._sent_away = True
            await self._client.end()
            # The client may use its connection no more while its request goes on.
            self._client.cut()
            return
        if event.question is not None:
            self._questions.append(event.question)
        self._last = event.id or self._last
        await self._client.write(event.data)
        if event.answers:
            self._answered = True
            await self._client.end()

    def _written(self) -> bytes:
        request = self._request
        lines = [b"%s %s HTTP/1.1" % (request.method, request.target)]
        lines += [b"%s: %s" % header for header in request.headers if header[0] != _LAST]
        lines += [b"%s: %s" % header for header in self._about]
        lines.append(b"%s: %d" % (SEQ, self._seq))
        if self._worker is not None:
            lines.append(REPLAY + b": 1")
        if self._last is not None:
            lines.append(b"%s: %s" % (_LAST, self._last))
        lines.append(b"content-length: %d\r\n\r\n" % len(request.body))
        return b"\r\n".join(lines) + request.body

    async def _give_up(self, status: int, words: str) -> None:
        self._road.given_up += 1
        body = refusal(words, INTERNAL_ERROR, _id_of(self._request.body))
        if self._begun:
            await self._client.write(event_of(body))
            await self._client.end()
        else:
            retry = ((b"retry-after", b"5"),) if status == 503 else ()  # noqa: PLR2004 - Service Unavailable
            await self._client.answer(status, (*_JSON, *retry), body)


def _knows_sessions(request: Request) -> bool:
    """Say whether a request is of the handshake era; later ones have no sessions, whatever their headers say."""
    version = request.header(_VERSION)
    return version is None or version < _HANDSHAKE_ERA_ENDS


def _id_of(body: bytes) -> object:
    """Give the id of a request: read only where the front itself must answer it."""
    try:
        message = cast("object", json.loads(body))
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, object]", message).get("id") if isinstance(message, dict) else None
