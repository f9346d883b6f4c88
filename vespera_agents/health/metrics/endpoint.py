"""`/metrics` over HTTP, answered from a thread: a scrape gets its answer while the event loop is blocked.

prometheus_client's own WSGI application and server, below a supervisor, with limits. Loopback unless an address says
otherwise; there is no token, so whoever reaches the address reads the numbers, and how the server is; names of actors
and directories are told on loopback alone, where a page whose name was rebound to it is told nothing. Neighbours:
`collector` has the numbers, `pages` the health, `subtree` places this child in the tree.
"""

from __future__ import annotations

import ipaddress
import logging
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import Final, cast, final
from wsgiref.simple_server import WSGIRequestHandler
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import trio
from prometheus_client import CollectorRegistry, exposition
from prometheus_client.exposition import ThreadingWSGIServer

from vespera_agents.front.http.entrance import Hosts
from vespera_agents.health.errors import AddressRefused, EndpointEnded
from vespera_agents.health.model import HealthModel
from vespera_agents.health.pages import PATHS, page_of

__all__ = ["MetricsEndpoint", "metrics_child", "parse_address"]

LOOPBACK: Final = "127.0.0.1"
PATH: Final = "/metrics"
CONNECTIONS_MAX: Final = 8
"""Scrapes at once; one more is closed unanswered."""
CLIENT_SECONDS: Final = 5.0
"""How long a client may be silent before it is given up."""
REQUEST_SECONDS: Final = 20.0
"""How long a request and its answer may take: one that comes letter by letter must not keep a place from scrapes."""
POLL_SECONDS: Final = 0.25
"""How often the serving thread looks whether it should end, and who takes too long."""
STOP_SECONDS: Final = 0.9
GIVE_WAY_SECONDS: Final = 0.01
"""How much later than its worker a patient endpoint begins."""
RETRY_SECONDS: Final = 1.0
"""How often a patient endpoint tries to bind an address that somebody else has."""
_PORT_MAX: Final = 65_535
_LOCAL: Final = Hosts(loopback=True, names=frozenset({"localhost"}))

log = logging.getLogger(__name__)


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
        """Its port; 0 only while it is still to be bound."""

    @property
    def url(self) -> str:
        """What to give to Prometheus, or to a browser."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}{PATH}"

    def tree_detail(self) -> dict[str, str | int | float]:
        """Say what the tree shows of it."""
        return {"address": self.url}


async def metrics_child(
    registry: Callable[[], CollectorRegistry],
    address: str,
    model: HealthModel | None = None,
    *,
    patient: bool = False,
    task_status: trio.TaskStatus[MetricsEndpoint],
) -> None:
    """Serve a registry until cancelled: a child for a supervisor. It has ended a second after it was cancelled.

    Args:
        registry: gives what is scraped; called in a thread.
        address: HOST:PORT.
        model: whose health is told there, too.
        patient: whether to begin at once, and to try again as long as the address is not free.
        task_status: is given the endpoint once it listens, or at once.

    Raises:
        AddressRefused: the address is wrong, taken or not ours.
        EndpointEnded: the serving thread broke.
    """
    host, port = parse_address(address)
    endpoint = MetricsEndpoint(host, port)
    if patient:
        task_status.started(endpoint)
    listen = partial(_listen, host, port, registry, model)
    # A host name is looked up, which may take its time.
    server = await (_when_free(listen) if patient else trio.to_thread.run_sync(listen))
    ended = trio.Event()
    token = trio.lowlevel.current_trio_token()
    thread = threading.Thread(target=_serve, args=(server, token, ended), name="vespera-metrics", daemon=True)
    thread.start()
    try:
        listening = cast("tuple[str, int]", server.server_address)
        endpoint.host, endpoint.port = listening[:2]
        if not patient:
            task_status.started(endpoint)
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
        self._begun: dict[socket.socket, float] = {}
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
        self._begun[connection] = time.monotonic()
        try:
            super().process_request(connection, cast("tuple[str, int]", client_address))
        except (RuntimeError, MemoryError) as error:
            # No thread could be started, so that nobody else gives the place back.
            self._leave(connection)
            self.shutdown_request(connection)
            log.warning("A scrape was closed unanswered: %s. Raise the limit of threads, or free memory.", error)

    def process_request_thread(self, request: object, client_address: object) -> None:
        """Answer, and give the place back."""
        try:
            super().process_request_thread(cast("socket.socket", request), cast("tuple[str, int]", client_address))
        finally:
            self._leave(cast("socket.socket", request))

    def _leave(self, connection: socket.socket) -> None:
        self._begun.pop(connection, None)
        self._free.release()

    def service_actions(self) -> None:
        """Cut those who take too long; called by the serving thread at each look."""
        limit = time.monotonic() - REQUEST_SECONDS
        for connection, begun in tuple(self._begun.items()):
            if begun < limit:
                # It may have ended just now.
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: object, client_address: object) -> None:
        """Keep quiet about clients that went away or fell silent; anything else is a mistake of ours and is shown."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(cast("socket.socket", request), cast("tuple[str, int]", client_address))


async def _when_free(listen: Callable[[], _Server]) -> _Server:
    told = False
    # Whoever waits for this worker comes first.
    await trio.sleep(GIVE_WAY_SECONDS)
    while True:
        try:
            return await trio.to_thread.run_sync(listen)
        except AddressRefused as refused:
            if not told:
                log.warning("%s It is tried again every %g s.", refused, RETRY_SECONDS)
            told = True
        await trio.sleep(RETRY_SECONDS)


def _listen(host: str, port: int, registry: Callable[[], CollectorRegistry], model: HealthModel | None) -> _Server:
    advice = "Free it, or give another HOST:PORT; port 0 takes a free one."
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        loopback = ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback
        return _Server(family, (str(address[0]), port), _pages(registry(), model, loopback=loopback))
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


def _pages(registry: CollectorRegistry, model: HealthModel | None, *, loopback: bool) -> WSGIApplication:
    # By name, because its annotation says less than strict checking takes.
    make_app = cast("Callable[[CollectorRegistry], WSGIApplication]", vars(exposition)["make_wsgi_app"])
    return partial(_answer, make_app(registry), model, loopback)


def _answer(
    app: WSGIApplication,
    model: HealthModel | None,
    loopback: bool,
    environ: WSGIEnvironment,
    start_response: StartResponse,
) -> Iterable[bytes]:
    """Give the metrics at their one path, where prometheus_client would give them at every path; and the health."""
    path, host = str(environ.get("PATH_INFO")), environ.get("HTTP_HOST")
    # A browser sends the host, always: see `Hosts`.
    if loopback and host is not None and not _LOCAL.serves(str(host)):
        start_response("421 Misdirected Request", [("Content-Type", "text/plain; charset=utf-8")])
        return [b"the Host header names another server. Ask by the address, or as localhost.\n"]
    if path == PATH:
        return app(environ, start_response)
    page = None if model is None else page_of(model, path, names=loopback)
    if page is None:
        start_response("404 Not Found", [("Content-Type", "text/plain; charset=utf-8")])
        there = (PATH,) if model is None else (PATH, *PATHS)
        return [f"there is only {', '.join(there)} here\n".encode()]
    start_response(
        f"{page.status} {HTTPStatus(page.status).phrase}",
        [("Content-Type", page.content_type), ("Cache-Control", "no-store")],
    )
    return [page.body]
