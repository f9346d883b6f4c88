"""`vespera top --once`: a picture of a server at one moment, as plain text or JSON; needs no terminal and no Textual.

Neighbours: `feed` reads the moment, `facts` writes it, `app` is the picture that goes on.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import aclosing
from typing import Final

from vespera_agents.cli.printing import Printer
from vespera_agents.cli.top.facts import (
    branches,
    clock_time,
    context_fills,
    fitted,
    head_lines,
    log_cells,
    mail_of,
    node_facts,
    number_text,
    plain,
    seconds_text,
)
from vespera_agents.cli.top.feed import RETRY_SECONDS, FeedProblem, lines_of, servers_of
from vespera_agents.cli.top.mirror import Mirror, Node, Reload, number
from vespera_agents.workspace import ServerNotFound, ServerRecord, Workspace, WorkspaceError

__all__ = ["show_once"]

PATIENCE_SECONDS: Final = 3.0
"""How long a server that lives but does not listen yet, as while it begins, is waited for."""
_TREE_MAX: Final = 60
"""Lines of the tree; `vespera tree` shows all of it."""
_ACTORS_MAX: Final = 15
_LOG_MAX: Final = 15
_STALLS_MAX: Final = 5
_NAME_WIDTH: Final = 48
_WORDS_MAX: Final = 160
"""Characters of a name or a reason that stands alone at the end of a line."""


def show_once(workspace: Workspace, server_id: str | None, printer: Printer, *, as_json: bool) -> None:
    """Print how a server is now.

    Raises:
        ServerNotFound: none runs there.
        WorkspaceError: none that runs tells.
    """
    server, snapshot = asyncio.run(_first_line(workspace, server_id))
    if as_json:
        printer.line(json.dumps(snapshot, indent=2))
        return
    for line in _lines(Mirror(server, snapshot)):
        printer.line(line)


async def _first_line(workspace: Workspace, server_id: str | None) -> tuple[ServerRecord, Mapping[str, object]]:
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        servers = await asyncio.to_thread(servers_of, workspace, server_id)
        if not servers:
            which = "no server" if server_id is None else f"no server {server_id}"
            raise ServerNotFound(f"{which} runs on {workspace.directory}. Start one with `vespera serve`.")
        problems: list[str] = []
        may_pass = False
        for server in servers:
            try:
                async with aclosing(lines_of(server)) as lines:
                    async for line in lines:
                        Mirror(server, line)
                        return server, line
            except Reload as reason:
                problems.append(str(reason))
            except FeedProblem as problem:
                problems.append(str(problem))
                may_pass |= problem.may_pass
        if not may_pass or time.monotonic() >= end:
            raise WorkspaceError(
                f"no server on {workspace.directory} tells how it is: {'; '.join(problems)}. "
                "Try again; a server of another version tells its own `vespera top`."
            )
        await asyncio.sleep(RETRY_SECONDS)


def _lines(mirror: Mirror) -> Iterator[str]:
    yield from head_lines(mirror)
    yield from _tree(mirror)
    yield from _actors(mirror)
    if mirror.log:
        yield from ("", "Supervision, the newest last")
    for entry in list(mirror.log)[-_LOG_MAX:]:
        at, kind, who, reason = log_cells(entry)
        yield f"  {at}  {kind:<16} {': '.join(_short(part) for part in (who, reason) if part)}"
    if mirror.stalls or mirror.wedged:
        yield from ("", "Stalls and wedged actors")
    for stall in list(mirror.stalls)[-_STALLS_MAX:]:
        took = seconds_text(number(stall.get("seconds")))
        who = _short(plain(stall.get("actor")) or plain(stall.get("task")))
        yield f"  {clock_time(number(stall.get('at')))}  blocked for {took}: {who}"
    for wedged in mirror.wedged:
        since = seconds_text(number(wedged.get("since_seconds")))
        yield f"  now       wedged for {since}: {_short(plain(wedged.get('actor')))} ({plain(wedged.get('what'))})"


def _short(text: str) -> str:
    """Cut what somebody else wrote: a picture has lines, no pages."""
    return text if len(text) <= _WORDS_MAX else f"{text[:_WORDS_MAX]}…"


def _tree(mirror: Mirror) -> Iterator[str]:
    fills = context_fills(mirror)
    rows = list(mirror.tree())
    drawn = branches([depth for _, depth, _ in rows])
    shown = rows[:_TREE_MAX]
    yield from ("", "Tree")
    for (node, _, _), branch in zip(shown, drawn, strict=False):
        label = fitted(f"{branch}{plain(node.name)}", _NAME_WIDTH)
        yield f"  {label}  {plain(node.state):<10} {node_facts(mirror, node, fills)}".rstrip()
    if len(rows) > len(shown):
        yield f"  and {number_text(len(rows) - len(shown))} more; `vespera tree` shows all"


def _actors(mirror: Mirror) -> Iterator[str]:
    actors = sorted(mirror.actors(), key=_busiest, reverse=True)
    if not actors:
        return
    yield from ("", "Actors, the fullest mailboxes first")
    titles = f"{'kind':<16} {'state':<10} {'mailbox':>11} {'waits':>12} {'busy':>12} {'handled':>11}"
    yield f"  {'name':<{_NAME_WIDTH}}  {titles}"
    for node in actors[:_ACTORS_MAX]:
        yield (
            f"  {fitted(plain(node.name), _NAME_WIDTH)}  {fitted(plain(node.kind), 16)} {plain(node.state):<10} "
            f"{mail_of(node):>11} {seconds_text(mirror.waits_for(node)):>12} {seconds_text(mirror.busy_for(node)):>12} "
            f"{number_text(node.handled):>11}"
        )
    if len(actors) > _ACTORS_MAX:
        yield f"  and {number_text(len(actors) - _ACTORS_MAX)} more"


def _busiest(node: Node) -> tuple[int, float, int]:
    return node.mailbox or 0, node.busy_seconds or 0.0, node.handled or 0
