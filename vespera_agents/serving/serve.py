"""`vespera serve`: one process that serves a workspace to an MCP client over its pipe, or to many over HTTP.

    root
    ├─ health            only with a metrics address
    ├─ workspaces
    └─ doors             rest_for_one
        ├─ mcp           the client's connection, whose end is the end of the program; or the HTTP door
        └─ control       the private socket

The client closing its end, SIGTERM and SIGINT end it the same way: in-flight work is cancelled, everything is closed.
Not the requests (`protocol`), not the framing (`transports`).
"""

from __future__ import annotations

import gc
import logging
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, final

import trio
from mcp.server.lowlevel.server import Server

from supervisors import ChildSpec, Restart
from vespera_agents.serving.control import control_spec
from vespera_agents.serving.protocol.eras import converse
from vespera_agents.serving.protocol.server import OrchestratorServer, build_server
from vespera_agents.serving.tools.catalogue import tool_set
from vespera_agents.serving.tools.tool import Tool
from vespera_agents.serving.transports.ends import ReadEnd, WriteEnd
from vespera_agents.serving.transports.stdio import StdioWire, open_stdio
from vespera_agents.specialists.claims import LEASE_SECONDS
from vespera_agents.specialists.orchestrator import Orchestrator
from vespera_agents.specialists.runtime import Runtime, open_runtime
from vespera_agents.specialists.sessions import OpenWorkspace

if TYPE_CHECKING:
    from vespera_agents.front.http.wishes import HttpWish

__all__ = ["SWITCH_INTERVAL_SECONDS", "StdioDoor", "build_server", "serve"]

SWITCH_INTERVAL_SECONDS: Final = 5e-5
"""How long a thread may keep the interpreter: the store's writer gives it up at each step of SQLite, and with the
default of 5 ms a busy loop made a durable call nine times slower (114 ms against 13.5 ms)."""
_DOOR_SECONDS: Final = 2.0


class Door(Protocol):
    """How clients reach us, as a child of the tree."""

    ended: trio.Event
    """Set when there is nobody to serve any more."""

    async def run(self, *, task_status: trio.TaskStatus[Door]) -> None:
        """Serve."""
        ...

    def stop(self) -> None:
        """End soon; `ended` tells when."""
        ...


MakeDoor = Callable[[OrchestratorServer, OpenWorkspace], Door]


@final
class StdioDoor:
    """The connection of the client that started us. A restart goes on with the client's next line."""

    def __init__(self, server: Server[dict[str, object]], wire: StdioWire) -> None:
        """Say who answers on which wire."""
        self.ended = trio.Event()
        """Set when the client closed its end, or somebody asked us to stop."""
        self._server = server
        self._wire = wire

    async def run(self, *, task_status: trio.TaskStatus[StdioDoor]) -> None:
        """Serve until the client closes its end: a child for a supervisor."""
        self._wire.restart()
        task_status.started(self)
        options = self._server.create_initialization_options()
        await converse(self._server, ReadEnd(self._wire.receive), WriteEnd(self._wire.send), options)
        self.ended.set()

    def stop(self) -> None:
        """End as if the client had closed its end; it still gets the answers that are ready."""
        self._wire.hasten()
        self.ended.set()

    def tree_detail(self) -> dict[str, str | int | float]:
        """Say what the tree shows of it."""
        wire = self._wire
        return {"requests": wire.requests, "in_flight": wire.in_flight, "refused_lines": wire.refused}


@final
@dataclass(frozen=True, slots=True)
class _Wish:
    """What to serve, whatever the transport."""

    workspace: Path
    metrics: str | None
    tools: Mapping[str, Tool]
    lease_seconds: float


async def serve(
    workspace: Path,
    *,
    metrics: str | None = None,
    tools: str = "core",
    http: HttpWish | None = None,
    lease_seconds: float = LEASE_SECONDS,
) -> None:
    """Serve a workspace until the client closes its end of standard input and output, SIGTERM or SIGINT.

    Args:
        workspace: the directory that is meant where a client names none.
        metrics: HOST:PORT to serve metrics on.
        tools: which are served: `core`, `full`, or names between commas.
        http: serve HTTP as wished there instead of standard input and output.
        lease_seconds: how long one of several clients that is not heard of keeps its claims.

    Raises:
        InvalidInput: there are no such tools.
        WorkspaceError: the directory cannot be a workspace.
        StoreError: its database cannot be used.
        HealthError: metrics cannot be served there.
        HttpError: HTTP cannot be served as wished.
        MaxRestartsExceeded: the tree gave up.
    """
    wish = _Wish(workspace, metrics, tool_set(tools), lease_seconds)
    sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    try:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            if http is None:
                with open_stdio() as wire:
                    await _run(wish, lambda server, _: StdioDoor(server, wire), signals)
            else:
                await _serve_http(wish, http, signals)
    finally:
        # The process ends now, and whoever started it waits: without its last collection of garbage it is gone in
        # 20 ms instead of 220.
        gc.freeze()


async def _serve_http(wish: _Wish, http: HttpWish, signals: AsyncIterator[int]) -> None:
    # Only who serves HTTP pays for importing what does.
    from vespera_agents.front.http.listening import listen  # noqa: PLC0415
    from vespera_agents.serving.transports.http.door import HttpDoor  # noqa: PLC0415

    with listen(http) as listening:
        await _run(
            wish,
            lambda server, opened: HttpDoor(
                server,
                listening,
                opened.store,
                name=opened.record.id,
                announce=_announce,
                at_stop=server.at_stop,
            ),
            signals,
        )


def _announce(url: str) -> None:
    """Say where we serve: a line for programs, too, which look for what follows the first words."""
    sys.stderr.write(f"serving {url}\n")
    sys.stderr.flush()


async def _run(wish: _Wish, make_door: MakeDoor, signals: AsyncIterator[int]) -> None:
    if wish.metrics is None:
        async with open_runtime("serve", lease_seconds=wish.lease_seconds) as runtime:
            await _serve(runtime, wish, make_door, signals)
        return
    # Only who asks for metrics pays for importing what shows them.
    from vespera_agents.health import SupervisionFigures, start_health  # noqa: PLC0415

    figures = SupervisionFigures()
    async with open_runtime("serve", listener=figures, lease_seconds=wish.lease_seconds) as runtime:
        await start_health(runtime, figures, wish.metrics)
        await _serve(runtime, wish, make_door, signals)


async def _serve(runtime: Runtime, wish: _Wish, make_door: MakeDoor, signals: AsyncIterator[int]) -> None:
    opened = await runtime.workspace(wish.workspace)
    orchestrator = Orchestrator(runtime, opened.workspace.directory)
    door = make_door(build_server(orchestrator, wish.tools), opened)
    # The door comes first: under rest_for_one nothing that follows it can take it down.
    spec = ChildSpec("mcp", door.run, restart=Restart.TRANSIENT, shutdown_seconds=_DOOR_SECONDS)
    await runtime.doors.start_child(spec)
    await runtime.doors.start_child(control_spec(runtime, opened))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_stop_at_signal, signals, door)
        await door.ended.wait()
        door.stop()
        nursery.cancel_scope.cancel()


async def _stop_at_signal(signals: AsyncIterator[int], door: Door) -> None:
    async for _ in signals:
        door.stop()
