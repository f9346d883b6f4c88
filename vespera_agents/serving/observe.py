"""`vespera observe`: the observer's page in a process of its own, at a loopback address that only its user knows.

    browser ── /observer/enter?once=... ── cookie ── the application ── private socket ── whichever server runs

The address that is printed is good for one use and ten minutes; when it was used, another one is printed. No other
page, no other name of this machine and nobody without the cookie is answered. Neighbours: `front.http.entrance` decides
that, `relaying` asks the server.
"""

from __future__ import annotations

import logging
import signal
import webbrowser
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Final, cast, final

import trio
from hypercorn.config import Config
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import AppWrapper, ConnectionState

from vespera_agents.front.http.entrance import ENDPOINT, Entrance
from vespera_agents.front.http.limits import HEAD_BYTES_MAX, ORDINARY
from vespera_agents.front.http.listening import LOOPBACK, Listening, listen
from vespera_agents.front.http.passes import ENTER, OBSERVER
from vespera_agents.front.http.refusals import Refused
from vespera_agents.front.http.tokens import Tokens
from vespera_agents.front.http.wishes import HttpWish
from vespera_agents.health.observer.app import ObserverApp
from vespera_agents.serving.relaying import RelayedSource
from vespera_agents.serving.transports.http.connections import bounded
from vespera_agents.serving.transports.http.guard import Receive, Scope, Send, headers_of, refuse, target_of
from vespera_agents.workspace import open_workspace

__all__ = ["Gate", "observe"]

PRINCIPAL: Final = "observer"
END_SECONDS: Final = 0.5
"""How long streams may take for their end."""

logger = logging.getLogger("vespera_agents.serving")


async def observe(directory: Path, port: int, tell: Callable[[str], None], *, opens: bool) -> None:
    """Show the observer of a workspace's server until SIGTERM or Ctrl-C.

    Args:
        directory: the workspace.
        port: of 127.0.0.1; 0 takes a free one.
        tell: hears each address that lets a browser in.
        opens: whether to open a browser there.

    Raises:
        WorkspaceError: the directory cannot be a workspace.
        AddressRefused: the port is taken.
    """
    workspace = open_workspace(directory, make=False)
    signals_of = trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT)
    with signals_of as signals, listen(HttpWish(f"{LOOPBACK}:{port}")) as on:
        app = ObserverApp(RelayedSource(workspace))
        gate = Gate(app, on, tell)
        address = gate.invite()
        if opens:
            await trio.to_thread.run_sync(webbrowser.open, address, abandon_on_cancel=True)
        await _serve(gate, on, partial(_until_told, signals, app))


@final
class Gate:
    """What every request passes on its way to the application: the entrance, with nothing but a cookie to show."""

    def __init__(self, app: ObserverApp, listening: Listening, tell: Callable[[str], None]) -> None:
        """Say what is behind it, where it is, and who hears the addresses that lead in."""
        assert listening.entrance is not None, "clients connect there"
        self._app = app
        # No token opens it: only words for one use, and the cookies that they are exchanged for.
        self._entrance = Entrance(listening.entrance.hosts, Tokens({}))
        self._address = listening.url.removesuffix(ENDPOINT)
        self._tell = tell

    def invite(self) -> str:
        """Give, and tell, an address that lets one browser in."""
        address = f"{self._address}{ENTER}?once={self._entrance.passes.once(PRINCIPAL)}"
        self._tell(address)
        return address

    async def __call__(
        self, scope: Scope, receive: Receive, send: Send, _spawn: object = None, _soon: object = None
    ) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            self._entrance.principal(str(scope["path"]), headers_of(scope))
        except Refused as refused:
            await refuse(send, refused.status, str(refused), *refused.headers)
            return
        entered = self._entrance.enter(str(scope["method"]), target_of(scope), b"", encrypted=False)
        if entered is not None:
            about = [*entered.headers, (b"content-length", str(len(entered.body)).encode())]
            await send({"type": "http.response.start", "status": entered.status, "headers": about})
            await send({"type": "http.response.body", "body": entered.body, "more_body": False})
            if any(name == b"set-cookie" for name, _ in entered.headers):
                self.invite()
        elif str(scope["path"]).startswith(OBSERVER):
            await self._app(scope, receive, send)
        else:
            await refuse(send, 404, f"there is nothing here. The observer is {OBSERVER}/.")


async def _serve(gate: Gate, on: Listening, until_told: Callable[[], Awaitable[None]]) -> None:
    """Serve connections until told; then what is under way has a moment, and nobody who does not read has more."""
    config, context = _config(), WorkerContext(None)
    listener = trio.SocketListener(trio.socket.from_stdlib_socket(on.socket.dup()))
    streams: set[trio.SocketStream] = set()

    async def connection(stream: trio.SocketStream) -> None:
        # A cast, because hypercorn says that it takes encrypted streams only.
        patient = cast("trio.SSLStream[trio.SocketStream]", bounded(stream, ORDINARY.send_seconds))
        streams.add(stream)
        try:
            await TCPServer(cast("AppWrapper", gate), config, context, ConnectionState({}), patient)
        finally:
            streams.discard(stream)
            await trio.aclose_forcefully(stream)

    async with trio.open_nursery() as connections:
        async with trio.open_nursery() as accepting:
            accepting.start_soon(partial(trio.serve_listeners, connection, [listener], handler_nursery=connections))
            await until_told()
            accepting.cancel_scope.cancel()
        await context.terminated.set()
        with trio.move_on_after(END_SECONDS):
            while streams:  # noqa: ASYNC110 - for half a second, once
                await trio.sleep(END_SECONDS / 20)
        # Hypercorn shields its writes, so that cancelling alone would wait for the peer.
        for stream in streams:
            stream.socket.close()
        connections.cancel_scope.cancel()


async def _until_told(signals: AsyncIterator[int], app: ObserverApp) -> None:
    async for _ in signals:
        app.stop()
        return


def _config() -> Config:
    config = Config()
    config.accesslog = None
    config.errorlog = logger
    config.h11_max_incomplete_size = HEAD_BYTES_MAX
    config.include_server_header = False
    return config
