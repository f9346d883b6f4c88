"""`python -m tests.conformance.server`: our server with the fixtures of the conformance suite, over our HTTP.

It is what `vespera serve --http 127.0.0.1:0` runs, but for the fixtures, and for where it works: in a directory of its
own, which it removes. Prints its address, and ends with SIGTERM or Ctrl-C. Not a test.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import signal
import tempfile
from functools import partial
from pathlib import Path

import trio
from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler
from mcp_types import *

from supervisors import ChildSpec, Restart
from tests.conformance.fixtures import add_fixtures
from vespera_agents.serving.protocol.jobs import LongCalls
from vespera_agents.serving.protocol.server import build_server
from vespera_agents.serving.transports.http.door import HttpDoor
from vespera_agents.serving.transports.http.listening import listen
from vespera_agents.serving.transports.http.wishes import HttpWish
from vespera_agents.specialists.orchestrator import Orchestrator
from vespera_agents.specialists.runtime import open_runtime
from vespera_agents.workspace import Registry


async def serve(root: Path, address: str) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        root: an empty directory to work in.
        address: HOST:PORT.
    """
    project = root / "project"
    project.mkdir()
    with (
        trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals,
        listen(HttpWish(address)) as listening,
    ):
        async with open_runtime("serve", registry=Registry(root / "state")) as runtime:
            opened = await runtime.workspace(project)
            orchestrator = Orchestrator(runtime, opened.workspace.directory)
            server = build_server(orchestrator)
            bus = InMemorySubscriptionBus()
            stand_in(server, bus)
            add_fixtures(server, LongCalls(orchestrator, lambda job: CallToolResult(content=[])), bus.publish)
            door = HttpDoor(server, listening, partial(print, flush=True))
            await runtime.doors.start_child(ChildSpec("mcp", door.run, restart=Restart.TRANSIENT))
            async for _ in signals:
                door.stop()
                break
            await door.ended.wait()


def stand_in(server, bus):
            have=server.get_request_handler
            async def nothing_prompts(ctx, p): return ListPromptsResult(prompts=[])
            async def none_prompt(ctx, p): raise ValueError
            async def empty(ctx, p): return EmptyResult()
            def need(m, t, h):
                if have(m) is None:
                    logging.warning("the product lacks %s", m); server.add_request_handler(m,t,h)
            need("prompts/list", PaginatedRequestParams, nothing_prompts)
            need("prompts/get", GetPromptRequestParams, none_prompt)
            need("completion/complete", CompleteRequestParams, none_prompt)
            need("subscriptions/listen", SubscriptionsListenRequestParams, ListenHandler(bus))
            need("logging/setLevel", SetLevelRequestParams, empty)
            need("resources/subscribe", SubscribeRequestParams, empty)
            need("resources/unsubscribe", UnsubscribeRequestParams, empty)
            server.middleware.append(RequestStateBoundary(RequestStateSecurity.ephemeral(), default_audience="x"))


def main() -> None:
    """Parse and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", default="127.0.0.1:0", help="HOST:PORT; port 0 takes a free one")
    root = Path(tempfile.mkdtemp(prefix="vsp-")).resolve()
    try:
        trio.run(serve, root, parser.parse_args().address)
    finally:
        shutil.rmtree(root)


if __name__ == "__main__":
    main()
