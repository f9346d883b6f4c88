"""`vespera health`: how well the servers of a workspace are, asked of each over its private socket.

The exit status is made for monitors: 0, 1 and 2 are healthy, degraded and unhealthy, and a server that cannot be asked
is as bad as one that is unhealthy. Neighbours: `serving.control` asks, `health.model` judges.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, cast

import click
import trio

from vespera_agents.cli.outcomes import EXIT_BAD_INPUT, EXIT_DONE, EXIT_FAILED
from vespera_agents.cli.wording import one_line
from vespera_agents.health.checks import Grade
from vespera_agents.serving.control import EXAMINATION_SECONDS, ask_server
from vespera_agents.workspace import (
    ServerNotFound,
    ServerRecord,
    Workspace,
    WorkspaceError,
    live_servers,
    open_workspace,
)

__all__ = ["show_health"]

_STATUSES: Final = {Grade.HEALTHY: EXIT_DONE, Grade.DEGRADED: EXIT_FAILED, Grade.UNHEALTHY: EXIT_BAD_INPUT}

Health = Mapping[str, object]


def show_health(directory: Path, *, as_json: bool) -> int:
    """Print how well each server of a workspace is; give the exit status: 0 healthy, 1 degraded, 2 unhealthy.

    Raises:
        ServerNotFound: none runs.
        WorkspaceError: the directory cannot be a workspace.
    """
    workspace = open_workspace(directory, make=False)
    servers = live_servers(workspace)
    asked = [(server, trio.run(_health_of, workspace, server)) for server in servers]
    # One that has ended meanwhile is not ill.
    found = [(server, health) for server, health in asked if health is not None]
    if not found:
        raise ServerNotFound(
            f"no server runs on {workspace.directory}. Start one with `vespera serve`, or look while a `vespera run` "
            "goes on."
        )
    if as_json:
        document = [{"id": one.id, "kind": one.kind, "pid": one.pid, "health": health} for one, health in found]
        click.echo(json.dumps({"workspace": str(workspace.directory), "servers": document}, indent=2))
    else:
        for server, health in found:
            click.echo("\n".join(_lines(server, health)))
    return max(_STATUSES[_grade(health)] for _, health in found)


async def _health_of(workspace: Workspace, server: ServerRecord) -> Health | None:
    """Ask a server; one that does not answer is unhealthy, for a reason that says so; None of one that has ended."""
    try:
        answer = await ask_server(workspace, "health", server.id, EXAMINATION_SECONDS)
    except ServerNotFound:
        return None
    except WorkspaceError as error:
        return _ill(str(error))
    health = answer.get("health")
    if not isinstance(health, dict):
        return _ill("its answer is none. It may run another version: restart it")
    return cast("Health", health)


def _ill(what: str) -> Health:
    return {"grade": "unhealthy", "reasons": [{"grade": "unhealthy", "component": "server", "what": what}]}


def _grade(health: Health) -> Grade:
    try:
        return Grade(str(health.get("grade")))
    except ValueError:
        return Grade.UNHEALTHY


def _lines(server: ServerRecord, health: Health) -> Iterator[str]:
    yield f"{server.kind} {server.id} (process {server.pid}): {_grade(health)}"
    for one in _objects(health.get("reasons")):
        yield f"  {one.get('grade')}: {one_line(str(one.get('component')))}: {one_line(str(one.get('what')))}"
    for one in _objects(health.get("recoveries")):
        what, outcome = one_line(str(one.get("what"))), one_line(str(one.get("outcome")))
        yield f"  recovery: {what}, because of {one_line(str(one.get('because')))}: {outcome}"


def _objects(told: object) -> Sequence[Health]:
    if not isinstance(told, list):
        return ()
    return [cast("Health", one) for one in cast("list[object]", told) if isinstance(one, dict)]
