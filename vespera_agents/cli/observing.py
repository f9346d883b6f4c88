"""`vespera observe`: the observer's page from a shell. Neighbours: `vespera_agents.serving.observe` serves it."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import click
import trio

from vespera_agents.cli.outcomes import EXIT_DONE
from vespera_agents.serving.observe import observe

__all__ = ["show_observer"]


def show_observer(directory: Path, port: int, *, opens: bool) -> int:
    """Serve the observer of a workspace until Ctrl-C or SIGTERM; give the exit status.

    Args:
        directory: the workspace.
        port: of 127.0.0.1; 0 takes a free one.
        opens: whether to open a browser, where somebody sits at a terminal.

    Raises:
        WorkspaceError: the directory cannot be a workspace.
        HttpError: the port is taken.
    """
    # Without a terminal nobody sees the browser, and one that draws text would take what is not there.
    trio.run(partial(observe, directory, port, _tell, opens=opens and sys.stdout.isatty()))
    return EXIT_DONE


def _tell(address: str) -> None:
    click.echo(f"observer {address}")
    sys.stdout.flush()
