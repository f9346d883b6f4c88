"""What a viewer is told only when it asks: one node of the tree, where all actors wait, the tasks of one session.

Of a message its type and its age are told, never what is in it; of a handler the lines that it waits at, never its
values. Answers are bounded, and made in slices or threads where they are large. Neighbours: `app` and the control
socket pass the questions on.
"""

from __future__ import annotations

import json
import math
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, final

import trio
from trio.lowlevel import Task, checkpoint

from vespera_agents.actors.asks import Letter
from vespera_agents.actors.endpoint import Endpoint
from vespera_agents.actors.stacks import AwaitedLine, await_stack
from vespera_agents.actors.waits import CALLERS
from vespera_agents.health.observer.nodes import ROOT_KEY, Node
from vespera_agents.health.observer.sections import Section, context_of, crash_entry, cut, log_entry
from vespera_agents.health.observer.sessions import read_session
from vespera_agents.store import StoreError
from vespera_agents.work.errors import NotFound

if TYPE_CHECKING:
    from vespera_agents.health.observer.feed import Feed
    from vespera_agents.specialists.runtime import Runtime

__all__ = ["Answers"]

PEEK_MAX: Final = 50
"""Messages of a mailbox that are shown, the oldest."""
EVENTS_MAX: Final = 50
"""Reports about one node that are shown, the newest."""
STACKS_SLICE: Final = 100
"""Actors whose stacks are read without letting others run: some 0.5 ms."""
STACKS_MAX: Final = 100_000
_NOTHING: Final[Section] = {
    "name": "", "kind": "", "state": "", "mailbox": None, "events": [], "crash": None, "await_stack": [],
    "context": None,
}  # fmt: skip
"""What is told of a node of which nothing is known."""
ID_LETTERS_MAX: Final = 200
_TRIO: Final = f"{Path(trio.__file__).parent}/"


@final
class Answers:
    """Answers about one server, as JSON; None where what was asked for is not there."""

    def __init__(self, feed: Feed) -> None:
        """Say whose server it is."""
        self._feed = feed

    async def actor(self, key: int) -> bytes | None:
        """Tell of one node of the tree, by its number in the feed."""
        tree = self._feed.tree
        node = None if tree is None else tree.find(key)
        runtime = self._feed.runtime
        if tree is not None and runtime is not None and key == ROOT_KEY:
            root = runtime.root
            return json.dumps(_NOTHING | {"name": root.name, "state": root.state.value}).encode()
        if node is None or runtime is None:
            return None
        now, wall = trio.current_time(), time.time()
        endpoint = node.endpoint
        history = node.child.history
        last = history[-1] if history else None
        answer: Section = {
            "name": cut(node.child.id),
            "kind": "" if endpoint is None else endpoint.kind,
            "state": node.child.state.value,
            "mailbox": None if endpoint is None else _mailbox(endpoint, now),
            "events": self._events(node),
            # A traceback reads the source files.
            "crash": None if last is None else await trio.to_thread.run_sync(crash_entry, last, now, wall),
            "await_stack": [] if endpoint is None else _stack(endpoint.task),
            "context": None if endpoint is None else _context(endpoint),
        }
        return json.dumps(answer).encode()

    async def stacks(self) -> bytes | None:
        """Tell, for each living actor, the line that it waits at."""
        runtime = self._feed.runtime
        if runtime is None:
            return None
        begun = time.perf_counter()
        parts: list[str] = []
        cells = runtime.system.cells()[:STACKS_MAX]
        for number, cell in enumerate(cells):
            lines = await_stack(cell.endpoint.task)
            if lines:
                parts.append(json.dumps((cell.endpoint.name, str(_innermost(lines)))))
            if number % STACKS_SLICE == STACKS_SLICE - 1:
                await checkpoint()
        took = time.perf_counter() - begun
        return f'{{"actors":[{",".join(parts)}],"took_seconds":{took:.4f}}}'.encode()

    async def session(self, session_id: str) -> bytes | None:
        """Tell of the tasks of one session, whichever workspace it is in."""
        runtime = self._feed.runtime
        # Half a surrogate, which JSON can say, no database can be asked for.
        if runtime is None or len(session_id) > ID_LETTERS_MAX or not session_id.isascii():
            return None
        return await _first(runtime, lambda connection: read_session(connection, session_id))

    def _events(self, node: Node) -> list[Section]:
        above = None if node.parent is None else node.parent.supervisor
        runtime = self._feed.runtime
        if above is None:
            above = None if runtime is None else runtime.root
        name = None if above is None else above.name
        found: list[Section] = []
        for reported in reversed(self._feed.health.reports.entries):
            report = reported.report
            if report.supervisor == name and report.offender is not None and report.offender.id == node.child.id:
                found.append(log_entry(reported))
                if len(found) == EVENTS_MAX:
                    break
        return found[::-1]


async def _first(runtime: Runtime, query: Callable[[sqlite3.Connection], bytes]) -> bytes | None:
    """Ask one store after the other until one knows."""
    for opened in [*runtime.workspaces.values()]:
        try:
            return await opened.store.read(query)
        except (NotFound, StoreError, sqlite3.Error):
            continue
    return None


def _mailbox(endpoint: Endpoint, now: float) -> Section:
    depth = endpoint.depth
    return {
        "depth": depth,
        "capacity": endpoint.capacity,
        "oldest_seconds": round(now - endpoint.woken_at, 3) if depth else 0.0,
        "peek": [_message(letter, now) for letter in endpoint.letters()[:PEEK_MAX]],
    }


def _message(letter: Letter, now: float) -> Section:
    """Tell the type of a message, and of one that somebody waits for how long that is, and who."""
    message, _, ask = letter
    told: Section = {"type": type(message).__qualname__, "age_seconds": None}
    if ask is not None:
        # One that waits for ever does not say since when.
        if math.isfinite(ask.due):
            told["age_seconds"] = round(now - (ask.due - ask.timeout_seconds), 3)
        caller: object = ask.caller
        if isinstance(caller, Task):
            party = CALLERS.get(caller)
            told["from"] = cut(caller.name if party is None else party.actor.name)
    return told


def _stack(task: Task | None) -> list[Section]:
    return [{"file": line.file, "line": line.line, "function": line.function} for line in await_stack(task)]


def _innermost(lines: tuple[AwaitedLine, ...]) -> AwaitedLine:
    """Give the line that says most: the innermost that is not trio's, where all waiting ends alike."""
    return next((line for line in reversed(lines) if not line.file.startswith(_TRIO)), lines[-1])


def _context(endpoint: Endpoint) -> Section | None:
    facts = endpoint.facts
    if facts is None:
        return None
    detail = endpoint.tree_detail()
    return context_of(endpoint.name, detail) if "context_tokens_max" in detail else None
