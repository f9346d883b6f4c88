"""The commands that go on looking, with their options and their help, and the options that most commands have.

Thin, as `commands`, which adds these to its own. Neighbours: `monitor`, `looking`, `watching`, `top`.
"""

# ruff: noqa: PLC0415 - the late imports are the point; see `commands`.

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

__all__ = ["JSON", "WATCH_COMMANDS", "WORKSPACE"]

WORKSPACE = click.option(
    "--workspace",
    type=click.Path(path_type=Path),
    default=Path(),
    metavar="DIR",
    help="The project's directory; the current one unless given.",
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")


@click.command(epilog="Exit status: 0 shown or all went well, 1 --watch saw it fail, 2 bad input, 130 ended by Ctrl-C.")
@WORKSPACE
@click.option("--session", metavar="ID", help="Which session, by id or name; the newest open one unless given.")
@click.option("--watch", is_flag=True, help="Go on until nothing more happens in the session.")
@JSON
def monitor(workspace: Path, session: str | None, watch: bool, as_json: bool) -> int:
    """Show how far a session is: phases, what is at work, what waits for what, and how long the rest may take.

    That is guessed from past tasks of the same roles, and where there are none it says so. Reads the database and
    writes nothing; no server needs to run.
    """
    from vespera_agents.cli.monitor import MonitorWish
    from vespera_agents.cli.monitor import monitor as show

    return show(MonitorWish(workspace, session, watch, as_json))


@click.command(epilog="Exit status: 0 shown, 2 no server runs there, 130 --watch was ended by Ctrl-C.")
@WORKSPACE
@click.option("--watch", is_flag=True, help="Draw it again and again; in a pipe, tell each change in a line.")
@JSON
def tree(workspace: Path, watch: bool, as_json: bool) -> int:
    """Show the supervision tree of every server that runs on a workspace.

    Each `vespera serve` and `vespera run` answers over a private socket that only its owner can open.
    """
    if watch:
        if as_json:
            raise click.UsageError(
                "--watch goes on and --json is one document; `vespera top --json` has a moment of all."
            )
        from vespera_agents.cli.watching import watch_trees

        return watch_trees(workspace)
    from vespera_agents.cli.looking import show_tree

    return show_tree(workspace, as_json=as_json)


@click.command(epilog="Exit status: 0 seen, 2 no server runs there or it does not tell, 130 ended by Ctrl-C.")
@WORKSPACE
@click.option("--server", metavar="ID", help="Which server; any of the workspace unless given.")
@click.option("--once", is_flag=True, help="Print one picture in plain text; in a pipe this is what is done anyway.")
@JSON
def top(workspace: Path, server: str | None, once: bool, as_json: bool) -> int:
    """Watch a server: its tree, actors, supervision log, tasks and stalls, once a second.

    Keys do everything; the foot of the screen and ? tell them. A restart of the server is survived.
    """
    from vespera_agents.cli.top.command import TopWish, show_top

    return show_top(TopWish(workspace, server, once, as_json))


WATCH_COMMANDS: Final = (monitor, tree, top)
