"""`vespera tree --watch`: the trees of a workspace again and again, until Ctrl-C.

On a terminal a picture that is drawn anew; in a pipe the tree once, then a line for each change. Every server is asked
as `vespera tree` asks it, so a `vespera run` can be watched, too; asking a large tree less often keeps what that costs
the server below a fiftieth of its time. Neighbours: `looking` shows it once, `top` watches more of a server.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import trio
from rich.live import Live
from rich.text import Text

from supervisors import TreeNode
from vespera_agents.cli.looking import tree_text
from vespera_agents.cli.outcomes import EXIT_DONE
from vespera_agents.cli.printing import Printer
from vespera_agents.cli.wording import one_line
from vespera_agents.serving.control import ask_server, tree_of
from vespera_agents.workspace import (
    ServerNotFound,
    ServerRecord,
    Workspace,
    WorkspaceError,
    live_servers,
    open_workspace,
)

__all__ = ["changes_between", "watch_trees"]

LOOK_SECONDS: Final = 1.0
COST_SHARE: Final = 50
"""The time that an answer took is waited for so many times before the next question."""
_PATH_MAX: Final = 300
"""Characters of a path that are told."""

_Facts = tuple[str, int]
"""State and restarts of one node."""


def watch_trees(directory: Path) -> int:
    """Show the trees of all servers of a workspace until Ctrl-C, or nobody reads any more; give the exit status.

    Raises:
        ServerNotFound: none runs now.
        WorkspaceError: the directory cannot be a workspace.
    """
    workspace = open_workspace(directory, make=False)
    if not live_servers(workspace):
        raise ServerNotFound(f"no server runs on {workspace.directory}. Start one with `vespera serve`.")
    printer = Printer(sys.stdout)
    trio.run(_draw if printer.live else _tell, workspace, printer)
    return EXIT_DONE


async def _look(workspace: Workspace) -> tuple[list[tuple[ServerRecord, TreeNode]], list[str], float]:
    """Ask all servers; give their trees, what went wrong, and for how long to rest before the next look."""
    begun = trio.current_time()
    trees: list[tuple[ServerRecord, TreeNode]] = []
    problems: list[str] = []
    for server in await trio.to_thread.run_sync(live_servers, workspace):
        try:
            answer = await ask_server(workspace, "tree", server.id)
            trees.append((server, tree_of(answer["tree"])))
        except WorkspaceError as error:
            problems.append(one_line(str(error)))
    if not trees and not problems:
        problems.append(f"no server runs on {one_line(str(workspace.directory))}")
    return trees, problems, max(LOOK_SECONDS, COST_SHARE * (trio.current_time() - begun))


async def _draw(workspace: Workspace, printer: Printer) -> None:
    with Live(
        console=printer.console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False
    ) as live:
        while True:
            trees, problems, rest = await _look(workspace)
            lines = [time.strftime("%H:%M:%S")]
            for server, tree in trees:
                lines += [
                    f"{server.kind} {server.id} (process {server.pid})",
                    *tree_text(tree).split("\n"),
                ]
            room = max(2, printer.console.height - len(problems) - 1)
            if len(lines) > room:
                lines[room - 1 :] = [
                    f"and {len(lines) - room + 1} more lines; `vespera tree` without --watch shows all"
                ]
            picture = Text("\n".join(lines), no_wrap=True, overflow="ellipsis")
            live.update(picture.append("".join(f"\n{problem}" for problem in problems), "bold red"), refresh=True)
            await trio.sleep(rest)


async def _tell(workspace: Workspace, printer: Printer) -> None:
    known: dict[str, dict[str, _Facts]] = {}
    troubled: list[str] = []
    while not printer.gone:
        trees, problems, rest = await _look(workspace)
        moment = time.strftime("%H:%M:%S")
        seen = {server.id: dict(_flat(tree, server.id)) for server, tree in trees}
        for server, tree in trees:
            if server.id not in known:
                printer.line(f"{server.kind} {server.id} (process {server.pid})\n{tree_text(tree)}")
            else:
                for line in changes_between(known[server.id], seen[server.id]):
                    printer.line(f"{moment}  {line}")
        if problems != troubled:
            for problem in problems or ["all servers answer again"]:
                printer.line(f"{moment}  {problem}")
            troubled = problems
        # What did not answer this time is compared with what it said last.
        known.update(seen)
        await trio.sleep(rest)


def changes_between(before: Mapping[str, _Facts], now: Mapping[str, _Facts]) -> Iterator[str]:
    """Tell what has become of the nodes of a tree, by path; pure."""
    for path, (state, restarts) in now.items():
        if path not in before:
            yield f"new        {path} ({state})"
            continue
        state_before, restarts_before = before[path]
        if restarts != restarts_before:
            yield f"restarted  {path} ({restarts} restarts, {state})"
        elif state != state_before:
            yield f"{state:<9}  {path} (was {state_before})"
    for path in before.keys() - now.keys():
        yield f"gone       {path}"


def _flat(node: TreeNode, above: str) -> Iterator[tuple[str, _Facts]]:
    path = f"{above}/{one_line(node.id[:_PATH_MAX])}"
    yield path, (node.state, node.restarts)
    for child in node.children:
        yield from _flat(child, path)
