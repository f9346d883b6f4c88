"""What a server says to its front once it serves: that it does, and that it has ended what was under way.

Neighbours: `serve` calls it, `front_link` carries it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Awaitable, Callable, Mapping

import trio

from vespera_agents.front import framing
from vespera_agents.serving.front_link import FrontLink
from vespera_agents.serving.protocol.reading.prompts import PROMPTS
from vespera_agents.serving.protocol.server import server_version
from vespera_agents.serving.tools.tool import Tool
from vespera_agents.specialists.orchestrator import Orchestrator
from vespera_agents.specialists.runtime import Runtime
from vespera_agents.store import StoreError
from vespera_agents.store.jobs import live_jobs
from vespera_agents.workspace import Workspace, WorkspaceError, server_record

__all__ = ["drain_when_told", "go_on", "greet", "surface_of"]

log = logging.getLogger(__name__)

_GO_ON_SECONDS = 0.05
"""How long requests that are repeated have the loop for themselves."""
_LOOK_SECONDS = 0.002
"""How often we look whether the writing threads are at rest."""


async def greet(front: FrontLink, tools: Mapping[str, Tool], http: str | None = None) -> None:
    """Say that we serve.

    Args:
        front: to whom.
        tools: what clients may call.
        http: the path of the socket where we take HTTP from the front, if we do.
    """
    greeting = {"pid": os.getpid(), "version": server_version(), "surface": surface_of(tools), "http": http}
    await front.out.write(b"%s %s\n" % (framing.READY, json.dumps(greeting).encode()))


def surface_of(tools: Mapping[str, Tool]) -> str:
    """Give a hash of what clients see in the lists: when it differs from an earlier worker's, they are told."""
    shown = [[one.name, one.description, one.input_schema, one.output_schema] for one in tools.values()]
    asked = [[one.name, one.description] for one in PROMPTS]
    text = json.dumps([shown, asked], sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


async def drain_when_told(front: FrontLink, drained: Callable[[], Awaitable[list[str]]], runtime: Runtime) -> None:
    """Wait for the wish to drain, again and again, and say when nothing of a client's is under way any more.

    Args:
        front: whose wish it is.
        drained: waits until no request is under way, or the time for it is up, and names those that are left.
        runtime: where jobs are at work.
    """
    while True:
        changed = front.admission.changed
        if front.admission.draining:
            numbers = await drained()
            await _at_rest(runtime, front.admission.seconds)
            if front.admission.draining:
                left = {"requests": numbers, "jobs": await _jobs(runtime)}
                await front.out.write(b"%s %s\n" % (framing.DRAINED, json.dumps(left).encode()))
        await changed.wait()


async def go_on(front: FrontLink, orchestrator: Orchestrator) -> None:
    """Begin anew the jobs that earlier workers of this front had begun, in every workspace that they had open."""
    if front.generation == 1:
        return
    runtime = orchestrator.runtime
    # What was repeated comes first: its clients wait.
    await trio.sleep(_GO_ON_SECONDS)
    known = await trio.to_thread.run_sync(runtime.registry.workspaces)
    mine = [one for one in known if server_record(Workspace(one), front.server).exists()]
    for directory in dict.fromkeys([orchestrator.home, *mine]):
        try:
            await orchestrator.jobs.adopt_all(await runtime.workspace(directory))
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
