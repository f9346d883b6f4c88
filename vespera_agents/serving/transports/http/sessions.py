"""The handshake era over HTTP, up to 2025-11-25: sessions with an id, one stream for each request, one for the rest.

    POST     a request, answered by `answering`; a notification or an answer of the client, taken with 202
    GET      the stream of what belongs to no request, or with Last-Event-ID a stream that was lost
    DELETE   the end of the session

A client that hangs up does not cancel what it asked for: it may come back for the answer. It cancels by saying so, or
by ending its session. Ours instead of the library's, because that one answers everything as a stream, and keeps
nothing beyond the process. Neighbours: `session` is one of them, `door` runs this.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Final, cast, final

import trio
from mcp.server.lowlevel.server import Server
from mcp_types import JSONRPCMessage, JSONRPCNotification, JSONRPCRequest
from mcp_types.jsonrpc import jsonrpc_message_adapter
from mcp_types.version import is_version_at_least

from vespera_agents.front.http.limits import Limits
from vespera_agents.health.metrics.labels import Reconnect
from vespera_agents.serving.protocol.identity import identity_of_scope, put_identity
from vespera_agents.serving.transports.http.answering import EventStream, answer_request
from vespera_agents.serving.transports.http.events import EventLog
from vespera_agents.serving.transports.http.guard import Receive, Scope, Send, answer_json, headers_of, refuse
from vespera_agents.serving.transports.http.keeping import Keeping, State
from vespera_agents.serving.transports.http.session import HttpSession

__all__ = ["Sessions"]

SWEEP_SECONDS: Final = 60.0
RESTORE_SECONDS: Final = 5.0
"""How long a session of an earlier worker takes at most to hear again what made it so."""
SESSION: Final = b"mcp-session-id"
_OLDEST: Final = "2025-03-26"
"""What a client speaks that does not say it."""
_PRIMED_SINCE: Final = "2025-11-25"
PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
_EVENT_ID: Final = re.compile(r"([0-9]{1,15})-([0-9]{1,15})", re.ASCII)

logger = logging.getLogger("vespera_agents.serving")


@final
class Sessions:
    """The sessions of a server."""

    def __init__(
        self,
        server: Server[dict[str, object]],
        log: EventLog,
        keeping: Keeping,
        limits: Limits,
        *,
        behind_a_front: bool,
        numbers: Iterator[int],
        reconnected: Callable[[Reconnect], object],
    ) -> None:
        """Say how they are served.

        Args:
            server: who answers.
            log: keeps messages for those who resume.
            keeping: keeps sessions for the next worker.
            limits: how many there may be, and for how long.
            behind_a_front: whether requests are repeated to the next worker.
            numbers: gives numbers of streams where no front numbers requests.
            reconnected: hears of clients that are connected again.
        """
        self._limits = limits
        self._server = server
        self._log = log
        self._keeping = keeping
        self._lasting = behind_a_front
        self._numbers = numbers
        self._reconnected = reconnected
        self._ended: set[str] = set()
        """Names of those whose rows are to be removed."""
        self._sessions: dict[str, HttpSession] = {}
        self._opened, self._to_run = trio.open_memory_channel[HttpSession](limits.sessions_max)

    @property
    def count(self) -> int:
        """How many are open, those of earlier workers among them."""
        return len(self._sessions) + self._keeping.parked

    async def run(self) -> None:
        """Run the sessions that are opened, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._sweep)
            async for session in self._to_run:
                nursery.start_soon(self._run_session, session)

    def close(self) -> None:
        """End all of them."""
        for session in tuple(self._sessions.values()):
            # Its row stays: this process ends, and not what its client has with the server.
            self._sessions.pop(session.id, None)
            session.close()

    def end_streams(self) -> None:
        """End the streams that no answer will end: the program is about to."""
        for session in self._sessions.values():
            session.end_stream()

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        headers = headers_of(scope)
        method = scope["method"]
        await self._keeping.load()
        identity = identity_of_scope(scope)
        session = self._sessions.get(headers.get(SESSION, ""))
        if session is None and SESSION in headers:
            session = await self._restored(headers[SESSION], identity.principal)
        elif session is not None and not session.ready.is_set():
            await session.ready.wait()
        if session is not None and session.principal != identity.principal:
            # As if there were none: whose token it is not must not learn that there is one.
            session = None
        if session is None and method == "DELETE" and identity.repeated:
            # An earlier worker has ended it, and was ended before it could say so.
            await answer_json(send, 200, b"{}")
        elif session is None and SESSION in headers:
            await refuse(send, 404, "there is no such session any more. Initialize a new one.")
        elif session is None and method != "POST":
            status = 400 if method in {"GET", "DELETE"} else 405
            await refuse(send, status, "the Mcp-Session-Id header is missing. Initialize a session first.", *_ALLOW)
        elif method == "POST":
            await self._post(session, headers, scope, receive, send)
        elif session is not None and method == "GET":
            with session.in_use():
                await self._get(session, headers, receive, send, repeated=identity.repeated)
        elif session is not None and method == "DELETE":
            self._discard(session)
            await self._keeping.end(session.name)
            await answer_json(send, 200, b"{}")
        else:
            await refuse(send, 405, "this address takes GET, POST and DELETE.", *_ALLOW)

    async def _post(
        self,
        session: HttpSession | None,
        headers: Mapping[bytes, str],
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        accepted = _accepted(headers)
        if not accepted >= {"application/json", "text/event-stream"}:
            await refuse(send, 406, "answers are application/json or text/event-stream. Accept both.")
            return
        if headers.get(b"content-type", "").partition(";")[0].strip().lower() != "application/json":
            await refuse(send, 415, "the body is a JSON-RPC message. Send it with Content-Type: application/json.")
            return
        message = await _message(cast("bytes", (await receive())["body"]), send)
        if message is None:
            return
        opening = session is None
        if session is None:
            if not (isinstance(message, JSONRPCRequest) and message.method == "initialize"):
                await refuse(send, 400, "the Mcp-Session-Id header is missing. Initialize a session first.")
                return
            session = self._open(secrets.token_hex(16), identity_of_scope(scope).principal)
        if session is None:
            words = f"{self._limits.sessions_max} sessions are open and at work. Try again later."
            await refuse(send, 503, words, (b"retry-after", b"10"))
            return
        told = identity_of_scope(scope)
        put_identity(scope, replace(told, connection=session.id))
        with session.in_use():
            if not isinstance(message, JSONRPCRequest):
                await session.tell(message, scope)
                await answer_json(send, 202, b"", (SESSION, session.id.encode()))
                return
            if opening:
                await self._initialize(session, message, scope, receive, send)
            else:
                primed = _primed(headers.get(b"mcp-protocol-version"))
                await self._ask(session, message, scope, receive, send, primed=primed)

    async def _initialize(
        self, session: HttpSession, message: JSONRPCRequest, scope: Scope, receive: Receive, send: Send
    ) -> None:
        established = False
        try:
            version = (message.params or {}).get("protocolVersion")
            primed = _primed(version if isinstance(version, str) else None)
            established = await self._ask(session, message, scope, receive, send, primed=primed)
        finally:
            if not established:
                self._discard(session)

    async def _ask(
        self,
        session: HttpSession,
        message: JSONRPCRequest,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        primed: bool,
    ) -> bool:
        """Put a request to a session and answer it; False when the answer was an error of the protocol."""
        told = identity_of_scope(scope)
        number = next(self._numbers) if told.sequence is None else int(told.sequence)
        sent = await self._sent(session, number, headers_of(scope)) if told.repeated else 0
        stream = session.open_stream(message.id, number, sent)
        if stream is None:
            await refuse(send, 400, f"a request with the id {message.id!r} is being answered. Use another id.")
            return False
        sink = stream.attach()
        try:
            await session.ask(message, scope, closable=primed)
            about = [(SESSION, session.id.encode())]
            answer = await answer_request(
                stream, sink, receive, send, about, primed=primed and not sent, lasting=self._lasting
            )
        finally:
            stream.detach(sink)
        return answer is None or not answer.failed

    async def _sent(self, session: HttpSession, number: int, headers: Mapping[bytes, str]) -> int:
        """Give the number of the last message that an earlier worker sent on a stream: kept, or seen by the client."""
        found = _EVENT_ID.fullmatch(headers.get(b"last-event-id", ""))
        seen = int(found[2]) if found is not None and int(found[1]) == number else 0
        return max(seen, await self._keeping.last_number(f"{session.name}/{number}"))

    async def _get(
        self, session: HttpSession, headers: Mapping[bytes, str], receive: Receive, send: Send, *, repeated: bool
    ) -> None:
        if "text/event-stream" not in _accepted(headers):
            await refuse(send, 406, "the answer is a text/event-stream. Accept it.")
            return
        about = [(SESSION, session.id.encode())]
        primed = _primed(headers.get(b"mcp-protocol-version"))
        last = headers.get(b"last-event-id")
        found = None if last is None else _EVENT_ID.fullmatch(last)
        if last is not None and found is None:
            await refuse(send, 400, "this server gave no such event id. Send Last-Event-ID as you received it.")
            return
        number = 0 if found is None else int(found[1])
        if repeated and number:
            await session.until_open(number)
        if found is None and session.stream.connected:
            await refuse(send, 409, "this session has its stream already. Read that one.")
            return
        stream, ended = session.stream_of(number)
        seen = stream.sent if found is None else int(found[2])
        if repeated:
            stream.sent = max(stream.sent, seen)
        sink = stream.attach()
        before = stream.sent
        try:
            stream.keep()
            missed = [] if found is None else await self._log.after(stream.name, seen, before if not ended else _ALL)
            if ended and not missed:
                await refuse(send, 404, "what came after this event is not kept any more. Send the request again.")
                return
            if found is not None and not repeated:
                self._reconnected(Reconnect.STREAM)
            if stream is session.stream:
                session.catch_up()
                if repeated:
                    session.alarm()
            await EventStream(stream, sink, receive, send, about).run(
                primed=primed, missed=[(one.number, one.message) for one in missed], ended=ended
            )
        finally:
            stream.detach(sink)

    async def _restored(self, identifier: str, principal: str | None) -> HttpSession | None:
        """Give a session that an earlier worker opened."""
        state = self._keeping.unpark(identifier, principal)
        if state is None:
            return None
        session = self._open(identifier, principal, state)
        if session is None:
            return None
        self._reconnected(Reconnect.WORKER)
        # Others of its requests wait for this, so it is finished whatever becomes of the one that began it.
        with trio.move_on_after(RESTORE_SECONDS, shield=True):
            session.stream.sent = await self._keeping.last_number(session.stream.name)
            if session.stream.sent:
                # Somebody listened, and comes back in a moment.
                session.stream.keep()
            await session.restore()
        return session

    def _open(self, identifier: str, principal: str | None, state: State | None = None) -> HttpSession | None:
        """Open a session; where there are too many, one that nobody uses ends."""
        if self.count >= self._limits.sessions_max and not self._make_room():
            return None
        session = HttpSession(identifier, principal, self._log, self._keep, state)
        self._sessions[session.id] = session
        self._opened.send_nowait(session)
        return session

    def _make_room(self) -> bool:
        parked = self._keeping.evict()
        if parked is not None:
            self._ended.add(parked)
            return True
        idle = [session for session in self._sessions.values() if not session.used]
        if not idle:
            return False
        self._discard(min(idle, key=lambda session: session.idle_since))
        return True

    async def _keep(self, session: HttpSession) -> None:
        await self._keeping.keep(session.name, session.principal, session.state)

    def _discard(self, session: HttpSession) -> None:
        if self._sessions.pop(session.id, None) is not None and session.state:
            self._ended.add(session.name)
        session.close()

    async def _run_session(self, session: HttpSession) -> None:
        try:
            await session.run(self._server)
        except Exception:  # the boundary of a session: its crash must not end the others
            logger.exception("a session crashed; its client must initialize another")
        finally:
            self._discard(session)

    async def _sweep(self) -> None:
        while True:
            limit = trio.current_time() - SWEEP_SECONDS
            await trio.sleep(SWEEP_SECONDS)
            old = trio.current_time() - self._limits.session_seconds
            for session in [one for one in self._sessions.values() if not one.used and one.idle_since < old]:
                self._discard(session)
            used = [one.name for one in self._sessions.values() if one.used or one.idle_since >= limit]
            ended, self._ended = tuple(self._ended), set()
            await self._keeping.sweep(tuple(used), ended)


_ALLOW: Final = ((b"allow", b"GET, POST, DELETE"),)
_ALL: Final = 10**15


async def _message(body: bytes, send: Send) -> JSONRPCMessage | None:
    """Read a body as a message; None when the client was told that it is none."""
    try:
        message = jsonrpc_message_adapter.validate_json(body, by_name=False)
    except ValueError:
        message = None
    try:
        value = cast("object", json.loads(body)) if not isinstance(message, JSONRPCRequest) else None
    except (ValueError, RecursionError):
        await refuse(send, 400, "the body is not JSON. Send one JSON-RPC message.", code=PARSE_ERROR)
        return None
    # A request whose id is of no use would pass for a notification, and its sender would wait for ever.
    if message is None or (isinstance(message, JSONRPCNotification) and isinstance(value, dict) and "id" in value):
        await refuse(send, 400, "the body is not one JSON-RPC 2.0 message. Send one request, notification or answer.")
        return None
    return message


def _accepted(headers: Mapping[bytes, str]) -> set[str]:
    """Give which of our two media types a client takes."""
    asked = {part.partition(";")[0].strip().lower() for part in headers.get(b"accept", "").split(",")}
    takes = {
        "application/json": {"application/json", "application/*", "*/*"},
        "text/event-stream": {"text/event-stream", "text/*", "*/*"},
    }
    return {ours for ours, names in takes.items() if names & asked}


def _primed(version: str | None) -> bool:
    """Say whether a client understands events without data."""
    return is_version_at_least(version or _OLDEST, _PRIMED_SINCE)
