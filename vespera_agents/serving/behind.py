"""What a server says to its front once it serves: that it does, and that it has ended what was under way.

Neighbours: `serve` calls it, `front_link` carries it.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Awaitable, Callable, Mapping

import trio

from vespera_agents.front import framing
from vespera_agents.serving.front_link import FrontLink
from vespera_agents.serving.lifecycle.life import Life, life_of
from vespera_agents.serving.lifecycle.surface import surface_of
from vespera_agents.serving.protocol.server import server_version
from vespera_agents.serving.tools.tool import Tool
from vespera_agents.specialists.orchestrator import Orchestrator
from vespera_agents.specialists.runtime import Runtime
from vespera_agents.store import StoreError
from vespera_agents.store.jobs import live_jobs
from vespera_agents.workspace import Workspace, WorkspaceError, server_record

__all__ = ["drain_when_told", "go_on", "greet"]

log = logging.getLogger(__name__)

Drained = Callable[[], Awaitable[list[str]]]

_LOOK_SECONDS = 0.002
"""How often we look whether the writing threads are at rest."""


async def greet(front: FrontLink, tools: Mapping[str, Tool], http: str | None = None) -> None:
    """Say that we serve.

    Args:
        front: to whom.
        tools: what clients may call.
        http: the path of the socket where we take HTTP from the front, if we do.
    """
    surface = "-".join(surface_of(tools).values())
    greeting = {"pid": os.getpid(), "version": server_version(), "surface": surface, "http": http}
    await front.out.write(b"%s %s\n" % (framing.READY, json.dumps(greeting).encode()))


async def drain_when_told(front: FrontLink, drained: Drained, orchestrator: Orchestrator) -> None:
    """Wait for the wish to drain, again and again, and say when nothing of a client's is under way any more.

    Args:
        front: whose wish it is.
        drained: waits until no request is under way, or the time for it is up, and names those that are left.
        orchestrator: where work is under way.
    """
    admission = orchestrator.runtime.admission
    while True:
        changed = front.admission.changed
        if front.admission.draining:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_drain, front, drained, orchestrator)
                await changed.wait()
                nursery.cancel_scope.cancel("it was called off")
        else:
            if admission.draining:
                (await _life(orchestrator)).resume()
            await changed.wait()


async def _drain(front: FrontLink, drained: Drained, orchestrator: Orchestrator) -> None:
    runtime = orchestrator.runtime
    seconds, begun = front.admission.seconds, trio.current_time()
    runtime.admission.drain()
    numbers = await drained()
    life = await _life(orchestrator)
    left = await life.drain(max(0.0, begun + seconds - trio.current_time()))
    await _at_rest(runtime, seconds)
    told = {"requests": numbers, "jobs": await _jobs(runtime), **left}
    await front.out.write(b"%s %s\n" % (framing.DRAINED, json.dumps(told).encode()))


async def _life(orchestrator: Orchestrator) -> Life:
    life = await life_of(orchestrator)
    assert life is not None, "there is a front"
    return life


async def go_on(front: FrontLink, orchestrator: Orchestrator) -> None:
    """Begin anew the jobs that earlier workers of this front had begun, in every workspace that they had open."""
    runtime = orchestrator.runtime
    known = await trio.to_thread.run_sync(runtime.registry.workspaces)
    mine = [one for one in known if server_record(Workspace(one), front.server).exists()]
    for directory in dict.fromkeys([orchestrator.home, *mine]):
        try:
            opened = await runtime.workspace(directory)
            await opened.release_dead_claims()
            await orchestrator.jobs.adopt_all(opened)
        except (StoreError, WorkspaceError) as problem:
            log.warning("what was begun in %s could not be begun anew: %s", directory, problem)


async def _at_rest(runtime: Runtime, seconds: float) -> None:
    """Wait until nothing waits for a commit, at most that long."""
    with trio.move_on_after(seconds):
        for opened in runtime.workspaces.values():
            while opened.is_open and opened.store.statistics().queue_depth:  # noqa: ASYNC110 - it counts for everybody
                await trio.sleep(_LOOK_SECONDS)


async def _jobs(runtime: Runtime) -> list[str]:
    """Name the jobs at work in this process: the next worker goes on with them."""
    found: list[str] = []
    for opened in runtime.workspaces.values():
        try:
            live = await opened.store.read(live_jobs)
        except StoreError:
            continue
        found.extend(job.id for job in live if opened.jobs.running(job.id) is not None)
    return found
