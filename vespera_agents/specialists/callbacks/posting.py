"""One attempt to deliver a callback over HTTP: signed, to an address that may be spoken to, and no further.

Each attempt has a connection of its own. A receiver that answers twice would answer the next request on the same
connection, too, without having seen it: five of 2,000 callbacks were lost so, and HTTP/1.1 has nothing else by which an
answer is known. With that, a library for HTTP has little left to do: h11 reads and writes, and the address is looked at
when it is connected to, so that no name can lead to a private one in between. No redirect is followed, no proxy used.
This module is imported when the first callback is sent. Neighbours: `signing` has the headers, `retrying` judges.
"""

from __future__ import annotations

import ipaddress
import os
import ssl
from collections.abc import Callable, Mapping
from typing import Final, cast, final
from urllib.parse import urlsplit

import h11
import trio

from vespera_agents.specialists.callbacks.retrying import Answer, retry_after_seconds
from vespera_agents.specialists.callbacks.settings import TargetSettings
from vespera_agents.specialists.callbacks.signing import headers_of
from vespera_agents.store.callbacks import CallbackRow
from vespera_agents.workspace import WorkspaceError

__all__ = ["Poster", "may_speak_to"]

ANSWER_BYTES_MAX: Final = 64 * 1024
"""Bytes of an answer's body that are read and thrown away, so that its end is not cut off for who sends it."""
HEAD_BYTES_MAX: Final = 16 * 1024
NAME_SECONDS: Final = 30.0
"""How long it is remembered to which addresses a name leads."""
_CHUNK: Final = 65_536
_FAILURES: Final = (h11.RemoteProtocolError, trio.BrokenResourceError, ssl.SSLError, OSError)


@final
class Poster:
    """Sends to one target."""

    def __init__(self, target: TargetSettings, environ: Mapping[str, str], clock: Callable[[], float]) -> None:
        """Say to whom.

        Args:
            target: where, and how.
            environ: where its secret may be.
            clock: wall-clock seconds since the epoch.

        Raises:
            WorkspaceError: its certificates cannot be read.
        """
        self._target = target
        self._environ = environ
        self._clock = clock
        parts = urlsplit(target.url)
        assert parts.hostname is not None, "an address without a host is no target"
        self._host: Final = parts.hostname
        self._tls = _ssl_context(target) if parts.scheme == "https" else None
        self._port: Final = parts.port or (80 if self._tls is None else 443)
        # As a browser would name it: with the port where it is not the usual one.
        self._named = parts.netloc
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._addresses: tuple[str, ...] = ()
        self._looked_up = -NAME_SECONDS

    async def post(self, row: CallbackRow) -> Answer:
        """Send a callback once and say what came of it; never raises for what the other side does."""
        now, body = self._clock(), row.body.encode()
        try:
            secret = self._target.secret.read(self._environ)
        except WorkspaceError as error:
            return Answer(problem=str(error))
        headers = headers_of(
            secret, timestamp=int(now), identifier=row.id, event=row.event, attempt=row.attempts, body=body
        )
        with trio.move_on_after(self._target.timeout_seconds):
            try:
                stream = await self._connect()
                try:
                    return await self._exchange(stream, headers, body, now)
                finally:
                    await trio.aclose_forcefully(stream)
            except _FAILURES as error:
                return Answer(problem=_told(error))
        return Answer(problem=f"no answer within {self._target.timeout_seconds:g} s")

    async def _exchange(self, stream: trio.abc.Stream, headers: Mapping[str, str], body: bytes, now: float) -> Answer:
        connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_BYTES_MAX)
        request = h11.Request(
            method="POST",
            target=self._path,
            headers=[
                ("Host", self._named), *headers.items(), ("Content-Length", str(len(body))), ("Connection", "close")
            ],
        )  # fmt: skip
        parts = [connection.send(request), connection.send(h11.Data(body)), connection.send(h11.EndOfMessage())]
        await stream.send_all(b"".join(part for part in parts if part))
        answer: Answer | None = None
        received = 0
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(bytes(await stream.receive_some(_CHUNK)))
            elif isinstance(event, h11.Response):
                asked = dict(event.headers).get(b"retry-after")
                seconds = retry_after_seconds(None if asked is None else asked.decode("latin-1"), now)
                answer = Answer(event.status_code, retry_after_seconds=seconds)
            elif isinstance(event, h11.Data):
                received += len(event.data)
            if answer is not None and (
                isinstance(event, h11.EndOfMessage | h11.ConnectionClosed) or received > ANSWER_BYTES_MAX
            ):
                return answer
            if isinstance(event, h11.ConnectionClosed) or event is h11.PAUSED:
                return Answer(problem="the connection was closed without an answer")

    async def _connect(self) -> trio.abc.Stream:
        """Connect to the first address of the receiver that may be spoken to and answers."""
        *others, last = await self._allowed()
        for address in others:
            try:
                return self._secured(await trio.open_tcp_stream(address, self._port))
            except OSError:
                continue
        return self._secured(await trio.open_tcp_stream(last, self._port))

    async def _allowed(self) -> tuple[str, ...]:
        """Look the name up, and give its addresses that may be spoken to.

        Raises:
            OSError: there are none.
        """
        if self._addresses and trio.current_time() < self._looked_up + NAME_SECONDS:
            return self._addresses
        found = await trio.socket.getaddrinfo(self._host, self._port, type=trio.socket.SOCK_STREAM)
        addresses = dict.fromkeys(str(one[4][0]) for one in found)
        allowed = [one for one in addresses if may_speak_to(one, private=self._target.allow_private)]
        if self._tls is None:
            # Without TLS nothing leaves the private network, whatever the owner allowed.
            allowed = [one for one in allowed if not may_speak_to(one, private=False)]
        if not allowed:
            raise _Refused(
                "its address is a public one without TLS: use https"
                if self._tls is None
                else "its address is a private one: set allow_private = true if that is meant"
            )
        self._addresses, self._looked_up = tuple(allowed), trio.current_time()
        return self._addresses

    def _secured(self, stream: trio.SocketStream) -> trio.abc.Stream:
        if self._tls is None:
            return stream
        # The certificate is checked against the name, whichever of its addresses this is.
        return trio.SSLStream(stream, self._tls, server_hostname=self._host, https_compatible=True)


def may_speak_to(address: str, *, private: bool) -> bool:
    """Say whether an address may be connected to: a public one, or any that is no multicast where private ones are."""
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        ip = ip.ipv4_mapped or ip.sixtofour or ip
    if ip.is_multicast or ip.is_unspecified:
        return False
    return private or ip.is_global


class _Refused(OSError):
    """The address may not be spoken to."""


def _ssl_context(target: TargetSettings) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=None if target.ca_file is None else str(target.ca_file))
    except OSError as error:
        reason = error.strerror or error
        raise WorkspaceError(
            f"[callbacks.{target.name}] ca_file {target.ca_file} cannot be used ({reason}). Correct it."
        ) from None


def _told(error: Exception) -> str:
    """Say what went wrong between us and a receiver, without what came from it."""
    cause: BaseException = error
    while (deeper := cause.__cause__ or cause.__context__ or _first(cause)) is not None:
        cause = deeper
    if isinstance(error, _Refused):
        return str(error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate does not hold: {cause.verify_message}"
    if isinstance(error, h11.RemoteProtocolError):
        return "it does not answer in HTTP"
    if isinstance(cause, OSError) and cause.strerror:
        # Trio puts the address before it; what has a number below zero is about names.
        number = cause.errno or 0
        return f"the connection failed: {os.strerror(number) if number > 0 else cause.strerror}"
    return f"the connection failed: {type(cause).__name__}"


def _first(error: BaseException) -> BaseException | None:
    """Give the first of several errors: each address of a receiver fails with its own."""
    return cast("BaseExceptionGroup", error).exceptions[0] if isinstance(error, BaseExceptionGroup) else None
