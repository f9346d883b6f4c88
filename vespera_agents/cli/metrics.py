"""`vespera metrics`: what a scrape of a running server gives, once, asked of it over its private socket.

So it needs no `--metrics`, and a server pays for writing metrics only when somebody asks. Neighbours: `serving.control`
asks, `health.metrics` has the numbers.
"""

from __future__ import annotations

from pathlib import Path

import click
import trio

from vespera_agents.cli.outcomes import EXIT_DONE
from vespera_agents.serving.control import METRICS, OPEN_METRICS, SCRAPE_SECONDS, ask_server
from vespera_agents.workspace import ServerNotFound, WorkspaceError, live_servers, open_workspace

__all__ = ["show_metrics"]

_SERVE = "serve"


def show_metrics(directory: Path, server_id: str | None, *, openmetrics: bool) -> int:
    """Print the metrics of a `vespera serve` on a workspace; give the exit status.

    Args:
        directory: the workspace.
        server_id: which of its servers; any of them unless given.
        openmetrics: as OpenMetrics, with exemplars.

    Raises:
        ServerNotFound: none runs, or not that one.
        WorkspaceError: the directory cannot be a workspace, or the server does not answer.
    """
    workspace = open_workspace(directory, make=False)
    serving = [one for one in live_servers(workspace) if one.kind == _SERVE and server_id in {None, one.id}]
    if not serving:
        which = "no `vespera serve` runs" if server_id is None else f"no `vespera serve` {server_id} runs"
        raise ServerNotFound(f"{which} on {workspace.directory}. Start one; `vespera status` lists who serves.")
    question = OPEN_METRICS if openmetrics else METRICS
    answer = trio.run(ask_server, workspace, question, serving[0].id, SCRAPE_SECONDS)
    if "metrics" not in answer:
        raise WorkspaceError(
            f"{serving[0].id} shows no metrics: {answer.get('error', 'it may run another version')}. Restart it."
        )
    click.echo(str(answer["metrics"]), nl=False)
    return EXIT_DONE
