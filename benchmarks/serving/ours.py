"""`python -m benchmarks.serving.ours stdio|http DIRECTORY [PORT]`: a tool that does nothing, behind our whole stack."""

from __future__ import annotations

import gc
import signal
import sys
from functools import partial
from pathlib import Path

import trio
from mcp.server.lowlevel.server import Server

from benchmarks.serving.clients import NO_OP
from vespera_agents.front.http.listening import listen
from vespera_agents.front.http.wishes import HttpWish
from vespera_agents.serving.protocol.server import build_server
from vespera_agents.serving.serve import SWITCH_INTERVAL_SECONDS, Door, StdioDoor
from vespera_agents.serving.tools.tool import Effects, Parameters, make_tool
from vespera_agents.serving.transports.http.door import HttpDoor
from vespera_agents.serving.transports.stdio import open_stdio
from vespera_agents.serving.wishes import GC_THRESHOLDS
from vespera_agents.specialists.answers import Answer
from vespera_agents.specialists.calls import Call
from vespera_agents.specialists.orchestrator import Orchestrator
from vespera_agents.specialists.runtime import Runtime, open_runtime


class Nothing(Parameters):
    """No arguments."""


class Done(Answer):
    """No answer either."""

    done: bool


async def do_nothing(_: Orchestrator, __: Call, ___: Nothing) -> Done:
    return Done(done=True)


TOOL = make_tool(
    NO_OP, "Nothing", "Does nothing.", Effects(), parameters=Nothing, answer=Done, run=do_nothing, tell=lambda _: "done"
)


def server_of(runtime: Runtime, directory: Path) -> Server[dict[str, object]]:
    return build_server(Orchestrator(runtime, directory), {NO_OP: TOOL})


async def serve_stdio(directory: Path) -> None:
    with open_stdio() as wire:
        async with open_runtime("serve") as runtime:
            await run_door(StdioDoor(server_of(runtime, directory), wire))


async def serve_http(directory: Path, port: int) -> None:
    with listen(HttpWish(f"127.0.0.1:{port}")) as listening:
        async with open_runtime("serve") as runtime:
            opened = await runtime.workspace(directory)
            door = HttpDoor(server_of(runtime, directory), listening, opened.store, name=opened.record.id)
            with trio.open_signal_receiver(signal.SIGTERM) as signals:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(run_door, door)
                    async for _ in signals:
                        nursery.cancel_scope.cancel()


async def run_door(door: Door) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(door.run)
        await door.ended.wait()
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    # As the command does.
    sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    workspace = Path(sys.argv[2])
    trio.run(
        partial(serve_http, workspace, int(sys.argv[3])) if sys.argv[1] == "http" else partial(serve_stdio, workspace)
    )
