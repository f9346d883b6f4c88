"""`vespera serve`: one process that serves a workspace to an MCP client over its pipe, or to many over HTTP.

    root
    ├─ health            what the server knows of itself
    ├─ workspaces
    └─ doors             rest_for_one
        ├─ mcp           the client's connection, whose end is the end of the program; or the HTTP door
        ├─ life          behind a front: what a worker owes it
        └─ control       the private socket

The client closing its end, SIGTERM and SIGINT end it the same way: in-flight work is cancelled, everything is closed.
Behind a front the client's connection is the link to it. Not the requests (`protocol`), not the framing (`transports`),
not how a worker comes to serve (`worker`).
"""

from __future__ import annotations

import gc
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol, final

import trio
from mcp.server.lowlevel.server import Server
from mcp.shared.message import SessionMessage

from supervisors import ChildSpec, Report, ReportKind, Restart
from vespera_agents.health.metrics.labels import Reconnect
from vespera_agents.health.metrics.requests import RequestFigures
from vespera_agents.health.subtree import Health
from vespera_agents.logs import LogFormat, configure_logs
from vespera_agents.serving.behind import drain_when_told, go_on, greet
from vespera_agents.serving.control import control_spec
from vespera_agents.serving.judging import DOOR, judged, starting
from vespera_agents.serving.lifecycle.life import Told, life_spec
from vespera_agents.serving.lifecycle.standing import predecessor_ended
from vespera_agents.serving.lifecycle.surface import surface_of
from vespera_agents.serving.protocol.callers import call_key
from vespera_agents.serving.protocol.eras import converse
from vespera_agents.serving.protocol.server import OrchestratorServer, build_server, server_version
from vespera_agents.serving.tools.catalogue import TOOLS, tool_set
from vespera_agents.serving.tools.tool import Tool
from vespera_agents.serving.transports.ends import ReadEnd, WriteEnd
from vespera_agents.serving.transports.link import LinkWire
from vespera_agents.serving.transports.stdio import open_stdio
from vespera_agents.serving.wishes import ServeWish
from vespera_agents.specialists.orchestrator import Orchestrator
from vespera_agents.specialists.runtime import Runtime, open_runtime
from vespera_agents.specialists.sessions import OpenWorkspace

if TYPE_CHECKING:
    from vespera_agents.front.http.wishes import HttpWish
    from vespera_agents.serving.front_link import FrontLink

__all__ = ["SWITCH_INTERVAL_SECONDS", "StdioDoor", "build_server", "serve"]

SWITCH_INTERVAL_SECONDS: Final = 5e-5
"""How long a thread may keep the interpreter: the store's writer gives it up at each step of SQLite, and with the
default of 5 ms a busy loop made a durable call nine times slower (114 ms against 13.5 ms)."""
_DOOR_SECONDS: Final = 2.0
_GO_ON_SECONDS: Final = 0.25
"""How long requests that are repeated have the loop for themselves."""


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

    async def drained(self) -> list[str]:
        """Wait until no request is under way, or the time that the front gives for it is up; name those that are."""
        ...


MakeDoor = Callable[[OrchestratorServer, OpenWorkspace, Health], Door]


class Wire(Protocol):
    """The messages of one client."""

    @property
    def requests(self) -> int:
        """Requests so far."""
        ...

    @property
    def refused(self) -> int:
        """Lines that were no messages."""
        ...

    @property
    def in_flight(self) -> int:
        """Requests that were read and not answered yet."""
        ...

    async def receive(self) -> SessionMessage | None:
        """Read the next message, None at the end."""
        ...

    async def send(self, message: SessionMessage) -> None:
        """Write a message."""
        ...

    def restart(self) -> None:
        """Begin to be read by somebody else."""
        ...

    def hasten(self) -> None:
        """Give writers a last moment."""
        ...


@final
class StdioDoor:
    """The connection of the client that started us. A restart goes on with the client's next line."""

    def __init__(
        self,
        server: Server[dict[str, object]],
        wire: Wire,
        drained: Callable[[], Awaitable[list[str]]] | None = None,
    ) -> None:
        """Say who answers on which wire.

        Args:
            server: who answers.
            wire: where the messages come from.
            drained: behind a front, waits until no request is under way.
        """
        self._drained = drained
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

    async def drained(self) -> list[str]:
        """Wait until no request is under way."""
        return [] if self._drained is None else await self._drained()

    def tree_detail(self) -> dict[str, str | int | float]:
        """Say what the tree shows of it."""
        wire = self._wire
        return {"requests": wire.requests, "in_flight": wire.in_flight, "refused_lines": wire.refused}


async def serve(wish: ServeWish, wire: LinkWire | None = None) -> None:
    """Serve a workspace until the client closes its end of standard input and output, SIGTERM or SIGINT.

    Args:
        wish: what to serve, and how.
        wire: the link of a worker to its front, whose end is the end of the client.

    Raises:
        InvalidInput: there are no such tools.
        WorkspaceError: the directory cannot be a workspace.
        StoreError: its database cannot be used.
        HealthError: metrics cannot be served there.
        HttpError: HTTP cannot be served as wished.
        MaxRestartsExceeded: the tree gave up.
    """
    sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)
    configure_logs(LogFormat(wish.log_format), wish.log_level)
    try:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            serving = _Serving(wish, tool_set(wish.tools), signals, wire)
            if wish.http is not None:
                await _serve_http(serving, wish.http)
            elif wire is not None and wish.behind is not None:
                await _serve_http_behind(serving, wire.front, wish.behind)
            elif wire is not None:
                await serving.behind_a_front(lambda server, _, __: StdioDoor(server, wire, wire.drained))
            else:
                with open_stdio() as stdio:
                    await serving.run(lambda server, _, __: StdioDoor(server, stdio))
    finally:
        # The process ends now, and whoever started it waits: without its last collection of garbage it is gone in
        # 20 ms instead of 220.
        gc.freeze()


async def _serve_http(serving: _Serving, http: HttpWish) -> None:
    # Only who serves HTTP pays for importing what does.
    from vespera_agents.front.http.listening import listen  # noqa: PLC0415
    from vespera_agents.serving.transports.http.beside import beside  # noqa: PLC0415
    from vespera_agents.serving.transports.http.door import HttpDoor  # noqa: PLC0415

    def door(server: OrchestratorServer, opened: OpenWorkspace, health: Health) -> Door:
        more = beside(health, server.at_stop)
        return HttpDoor(
            server,
            listening,
            opened.store,
            name=opened.record.id,
            announce=_announce,
            at_stop=more.at_stop,
            reconnected=health.requests.reconnected,
            pages=more.pages,
        )

    with listen(http) as listening:
        await serving.run(door)


async def _serve_http_behind(serving: _Serving, front: FrontLink, url: str) -> None:
    from vespera_agents.front.http.limits import BEHIND_A_FRONT  # noqa: PLC0415
    from vespera_agents.serving.transports.http.beside import beside  # noqa: PLC0415
    from vespera_agents.serving.transports.http.door import HttpDoor  # noqa: PLC0415
    from vespera_agents.serving.transports.http.private import listen_privately  # noqa: PLC0415

    def door(server: OrchestratorServer, opened: OpenWorkspace, health: Health) -> Door:
        more = beside(health, server.at_stop)
        return HttpDoor(
            server,
            listening,
            opened.store,
            name=front.server,
            front=front,
            at_stop=more.at_stop,
            reconnected=health.requests.reconnected,
            limits=BEHIND_A_FRONT,
            pages=more.pages,
        )

    front.brings_http = True
    with listen_privately(url) as listening:
        await replace(serving, private=listening.private).behind_a_front(door)


def _announce(url: str) -> None:
    """Say where we serve: a line for programs, too, which look for what follows the first words."""
    sys.stderr.write(f"serving {url}\n")
    sys.stderr.flush()


@final
@dataclass(frozen=True, slots=True)
class _Serving:
    """What to serve, whatever the transport."""

    wish: ServeWish
    tools: Mapping[str, Tool]
    signals: AsyncIterator[int]
    wire: LinkWire | None
    private: str | None = None
    """Where the front brings HTTP requests."""

    async def behind_a_front(self, make_door: MakeDoor) -> None:
        """Serve, and answer the front from the beginning."""
        assert self.wire is not None, "there is no front without a link to it"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.wire.attend)
            await self.run(make_door)
            nursery.cancel_scope.cancel("the client is gone")

    async def run(self, make_door: MakeDoor) -> None:
        """Open the tree and serve until the door has ended."""
        lease_seconds = self.wish.lease_minutes * 60
        front = None if self.wire is None else self.wire.front
        health = Health()
        async with open_runtime("serve", listener=health, lease_seconds=lease_seconds, front=front) as runtime:
            health.model.unready = starting
            health.count(runtime)
            if not self._takes_over:
                await health.start(runtime, self.wish.metrics)
            await self._serve(runtime, make_door, health)

    async def _serve(self, runtime: Runtime, make_door: MakeDoor, health: Health) -> None:
        if self.wire is not None:
            self.wire.front.at_written = partial(_forget, runtime)
        opened = await runtime.workspace(self.wish.workspace)
        orchestrator = Orchestrator(runtime, opened.workspace.directory)
        server = build_server(orchestrator, self.tools, figures=health.requests)
        door = make_door(server, opened, health)
        # The door comes first: under rest_for_one nothing that follows it can take it down.
        spec = ChildSpec(DOOR, door.run, restart=Restart.TRANSIENT, shutdown_seconds=_DOOR_SECONDS)
        await runtime.doors.start_child(spec)
        health.supervision.watch_starts(partial(_count_restart, health.requests))
        judged(health.model, orchestrator, opened, door, [tool.name for tool in TOOLS.values() if tool.begins])
        if self.wire is not None:
            front = self.wire.front
            told = Told(front.activation.reason, server_version(), surface_of(self.tools), front.activation.restart)
            life = life_spec(orchestrator, front, told, server.renew)
            await greet(front, self.tools, self.private)
            health.lifecycle.serves(time.time(), partial(predecessor_ended, front))
            await runtime.doors.start_child(life)
        else:
            health.lifecycle.serves(time.time())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_stop_at_signal, self.signals, door)
            if self._takes_over:
                nursery.start_soon(self._go_on, orchestrator, opened, health)
            else:
                await runtime.doors.start_child(control_spec(runtime, opened))
            if self.wire is not None:
                nursery.start_soon(drain_when_told, self.wire.front, door.drained, orchestrator)
                nursery.start_soon(_stop_with_front, self.wire.front, door)
            await door.ended.wait()
            health.lifecycle.is_ending = True
            door.stop()
            nursery.cancel_scope.cancel()

    @property
    def _takes_over(self) -> bool:
        """Whether another worker served before us: then clients wait, and only for what answers them."""
        return self.wire is not None and self.wire.front.generation > 1

    async def _go_on(self, orchestrator: Orchestrator, opened: OpenWorkspace, health: Health) -> None:
        """Do what can wait a moment when clients wait for what an earlier worker did not answer."""
        assert self.wire is not None, "there is no earlier worker without a front"
        await trio.sleep(_GO_ON_SECONDS)
        await health.start(orchestrator.runtime, self.wish.metrics)
        await orchestrator.runtime.doors.start_child(control_spec(orchestrator.runtime, opened))
        await go_on(self.wire.front, orchestrator)


def _count_restart(figures: RequestFigures, report: Report) -> None:
    """Hear of a door that was started again."""
    offender = report.offender
    if report.kind is ReportKind.CHILD_RESTARTED and report.supervisor == "doors" and offender and offender.id == DOOR:
        figures.reconnected(Reconnect.DOOR)


async def _stop_with_front(front: FrontLink, door: Door) -> None:
    """End when the front does, or no longer needs us."""
    await front.gone.wait()
    door.stop()


def _forget(runtime: Runtime, numbers: list[str]) -> None:
    """Hear that these calls were answered: nobody asks again for what they came to."""
    for opened in runtime.workspaces.values():
        opened.store.forget(map(call_key, numbers))


async def _stop_at_signal(signals: AsyncIterator[int], door: Door) -> None:
    async for _ in signals:
        door.stop()
