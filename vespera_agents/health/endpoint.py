"""`/metrics` over HTTP, answered from a thread: a scrape gets its answer while the event loop is blocked.

prometheus_client's own WSGI application and server, below a supervisor, with limits. Loopback unless an address says
otherwise; there is no token, so whoever reaches the address reads the numbers. Neighbours: `collector` has the
numbers, `subtree` places this child in the tree.
"""

from __future__ import annotations

import socket
import socketserver
import sys
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Final, cast, final
from wsgiref.simple_server import WSGIRequestHandler
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import trio
from prometheus_client import CollectorRegistry, exposition
from prometheus_client.exposition import ThreadingWSGIServer

from vespera_agents.health.errors import AddressRefused, EndpointEnded

__all__ = ["MetricsEndpoint", "metrics_child", "parse_address"]

LOOPBACK: Final = "127.0.0.1"
PATH: Final = "/metrics"
CONNECTIONS_MAX: Final = 8
"""Scrapes at once; one more is closed unanswered."""
CLIENT_SECONDS: Final = 5.0
"""How long a client may be silent before it is given up."""
POLL_SECONDS: Final = 0.25
"""How often the serving thread looks whether it should end."""
STOP_SECONDS: Final = 0.9
_PORT_MAX: Final = 65_535


def parse_address(text: str) -> tuple[str, int]:
    """Read HOST:PORT; an empty host is loopback, an IPv6 host stands in brackets, port 0 is any free one.

    Raises:
        AddressRefused: it is written in another way.
    """
    host, colon, port = text.strip().rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    plain = host[1:-1] if bracketed else host
    number = int(port) if port.isascii() and port.isdigit() and len(port) <= len(str(_PORT_MAX)) else -1
    unusable = any(letter.isspace() or letter in "[]/\0" for letter in plain) or (":" in plain and not bracketed)
    if not colon or unusable or not 0 <= number <= _PORT_MAX or (bracketed and not plain):
        raise AddressRefused(
            f"{text!r} is not an address. Write HOST:PORT, for example {LOOPBACK}:9464 or [::1]:9464; "
            "port 0 takes a free one."
        )
    return plain or LOOPBACK, number


@final
class MetricsEndpoint:
    """What is known of a running endpoint."""

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        """Where it listens: an IP address."""
        self.port = port
        """Its port, never 0."""

    @property
    def url(self) -> str:
        """What to give to Prometheus, or to a browser."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}{PATH}"

    def tree_detail(self) -> dict[str, str | int | float]:
        """Say what the tree shows of it."""
        return {"address": self.url}


async def metrics_child(
    registry: CollectorRegistry, address: str, *, task_status: trio.TaskStatus[MetricsEndpoint]
) -> None:
    """Serve a registry until cancelled: a child for a supervisor. It has ended a second after it was cancelled.

    Args:
        registry: what is scraped.
        address: HOST:PORT.
        task_status: is given the endpoint once it listens.

    Raises:
        AddressRefused: the address is wrong, taken or not ours.
        EndpointEnded: the serving thread broke.
    """
    host, port = parse_address(address)
    # A host name is looked up, which may take its time.
    server = await trio.to_thread.run_sync(_listen, host, port, registry)
    ended = trio.Event()
    token = trio.lowlevel.current_trio_token()
    thread = threading.Thread(target=_serve, args=(server, token, ended), name="vespera-metrics", daemon=True)
    thread.start()
    try:
        listening = cast("tuple[str, int]", server.server_address)
        task_status.started(MetricsEndpoint(listening[0], listening[1]))
        await ended.wait()
    finally:
        with trio.move_on_after(STOP_SECONDS, shield=True):
            await trio.to_thread.run_sync(server.shutdown, abandon_on_cancel=True, limiter=trio.CapacityLimiter(1))
        server.server_close()
    raise EndpointEnded("the thread that answers scrapes has ended; its supervisor starts another. See the log above.")


@final
class _Exchange(WSGIRequestHandler):
    """One request and its answer; says nothing on standard error, which belongs to the program."""

    timeout = CLIENT_SECONDS

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that it overrides
        """Keep quiet."""


@final
class _Server(ThreadingWSGIServer):
    """A thread for each connection, up to a limit."""

    def __init__(self, family: socket.AddressFamily, address: tuple[str, int], app: WSGIApplication) -> None:
        self.address_family = family
        self._free = threading.BoundedSemaphore(CONNECTIONS_MAX)
        super().__init__(address, _Exchange)
        self.set_app(app)

    def server_bind(self) -> None:
        """Bind without asking the name service who we are, which may take longer than a scrape is allowed to."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def process_request(self, request: object, client_address: object) -> None:
        """Answer in a thread, or close at once when too many are being answered."""
        connection = cast("socket.socket", request)
        if not self._free.acquire(blocking=False):
            self.shutdown_request(connection)
            return
        super().process_request(connection, cast("tuple[str, int]", client_address))

    def process_request_thread(self, request: object, client_address: object) -> None:
        """Answer, and give the place back."""
        try:
            super().process_request_thread(cast("socket.socket", request), cast("tuple[str, int]", client_address))
        finally:
            self._free.release()

    def handle_error(self, request: object, client_address: object) -> None:
        """Keep quiet about clients that went away or fell silent; anything else is a mistake of ours and is shown."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(cast("socket.socket", request), cast("tuple[str, int]", client_address))


def _listen(host: str, port: int, registry: CollectorRegistry) -> _Server:
    advice = "Free it, or give another HOST:PORT; port 0 takes a free one."
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        return _Server(family, (str(address[0]), port), _only_metrics(registry))
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise AddressRefused(f"metrics cannot be served on {host}:{port} ({reason}). {advice}") from error


def _serve(server: _Server, token: trio.lowlevel.TrioToken, ended: trio.Event) -> None:
    try:
        server.serve_forever(POLL_SECONDS)
    finally:
        # The trio run may be over before the thread is, when a stop ran out of time.
        with suppress(trio.RunFinishedError):
            token.run_sync_soon(ended.set)


def _only_metrics(registry: CollectorRegistry) -> WSGIApplication:
    # By name, because its annotation says less than strict checking takes.
    make_app = cast("Callable[[CollectorRegistry], WSGIApplication]", vars(exposition)["make_wsgi_app"])
    return partial(_answer, make_app(registry))


def _answer(app: WSGIApplication, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Give the metrics at their one path; prometheus_client would give them at every path."""
    if environ.get("PATH_INFO") == PATH:
        return app(environ, start_response)
    start_response("404 Not Found", [("Content-Type", "text/plain; charset=utf-8")])
    return [f"there is only {PATH} here\n".encode()]
