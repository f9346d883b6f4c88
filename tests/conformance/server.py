"""`python -m tests.conformance.server DIRECTORY`: our server with the fixtures of the conformance suite, over our HTTP.

It is what `vespera serve --workspace DIRECTORY --http 127.0.0.1:0` runs, but for the fixtures: it says on standard
error where it serves, and ends with SIGTERM or Ctrl-C. Not a test.
"""

from __future__ import annotations

import logging
import signal
import sys
from pathlib import Path

import trio
from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity

from supervisors import ChildSpec, Restart
from tests.conformance.fixtures import add_fixtures
from vespera_agents.front.http.listening import listen
from vespera_agents.front.http.wishes import HttpWish
from vespera_agents.serving.protocol.notifying.changes import Changes
from vespera_agents.serving.protocol.server import build_server
from vespera_agents.serving.transports.http.door import HttpDoor
from vespera_agents.specialists.orchestrator import Orchestrator
from vespera_agents.specialists.runtime import open_runtime


async def serve(project: Path, address: str) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        project: the directory to work in.
        address: HOST:PORT.
    """
    with (
        trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals,
        listen(HttpWish(address)) as listening,
    ):
        async with open_runtime("serve") as runtime:
            opened = await runtime.workspace(project)
            orchestrator = Orchestrator(runtime, opened.workspace.directory)
            changes = Changes(orchestrator)
            server = build_server(orchestrator, changes=changes)
            add_fixtures(server, orchestrator, changes)
            if not any(isinstance(one, RequestStateBoundary) for one in server.middleware):
                # No tool of ours leaves state with its client, fixtures do.
                boundary = RequestStateBoundary(RequestStateSecurity.ephemeral(), default_audience=server.name)
                server.middleware.append(boundary)
            door = HttpDoor(server, listening, opened.store, name=opened.record.id, announce=announce)
            await runtime.doors.start_child(ChildSpec("mcp", door.run, restart=Restart.TRANSIENT))
            async for _ in signals:
                door.stop()
                break
            await door.ended.wait()


def announce(url: str) -> None:
    """Say where we serve, as `vespera serve` does."""
    sys.stderr.write(f"serving {url}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    trio.run(serve, Path(sys.argv[1]), "127.0.0.1:0")
