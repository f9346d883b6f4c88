"""`vespera top`: the interface on a terminal, one picture elsewhere. Textual is imported only when that is wanted.

Neighbours: `app` and `once`.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import final

from vespera_agents.cli.outcomes import EXIT_DONE, EXIT_INTERNAL, EXIT_INTERRUPTED
from vespera_agents.cli.printing import Printer
from vespera_agents.cli.top.feed import servers_of
from vespera_agents.cli.top.once import show_once
from vespera_agents.work.errors import InvalidInput
from vespera_agents.workspace import ServerNotFound, Workspace, open_workspace

__all__ = ["TopWish", "show_top"]


@final
@dataclass(frozen=True, slots=True)
class TopWish:
    """What to watch, and how."""

    workspace: Path
    server: str | None = None
    """The id of a server; any of the workspace unless given."""
    once: bool = False
    as_json: bool = False


def show_top(wish: TopWish) -> int:
    """Watch a server until the user has seen enough; give the exit status.

    Raises:
        InvalidInput: the interface is wanted, and Textual is not installed.
        ServerNotFound: no server runs there.
        WorkspaceError: the directory cannot be a workspace, or no server tells.
    """
    workspace = open_workspace(wish.workspace, make=False)
    printer = Printer(sys.stdout)
    # Without a terminal on both sides nobody can press a key; `vespera top | less` is a wish for a picture.
    if wish.once or wish.as_json or not (sys.stdin.isatty() and printer.live):
        show_once(workspace, wish.server, printer, as_json=wish.as_json)
        return EXIT_DONE
    if find_spec("textual") is None:
        raise InvalidInput(
            "the interface of `vespera top` needs Textual, which is not installed",
            "Install it with pip install 'vespera-agents[observer]', or use `vespera top --once`.",
        )
    if not servers_of(workspace, wish.server):
        who = "server" if wish.server is None else f"server {wish.server}"
        raise ServerNotFound(f"no {who} runs on {workspace.directory}. Start one with `vespera serve`.")
    return asyncio.run(_watch(workspace, wish.server))


async def _watch(workspace: Workspace, server_id: str | None) -> int:
    from vespera_agents.cli.top.app import TopApp  # noqa: PLC0415 - only who watches waits for Textual

    app = TopApp(workspace, server_id)
    # Whoever ends it gets the terminal back as it was.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, app.exit, EXIT_INTERRUPTED)
    status = await app.run_async()
    if status is not None:
        return status
    # An error has been told with its traceback; else SIGINT came, which Textual takes for its end.
    return EXIT_INTERNAL if app.return_code else EXIT_INTERRUPTED
