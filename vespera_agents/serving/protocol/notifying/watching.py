"""Those who watch, and what they watch: the parts of `changes` that decide nothing.

A subject is what an address names, found once when somebody begins to watch it: one task has several spellings.
Neighbours: `changes` puts these together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, NamedTuple, final

import trio
from mcp.server.connection import Connection
from mcp.server.subscriptions import PromptsListChanged, ResourcesListChanged, ResourceUpdated, ServerEvent

from supervisors import TreeNode
from vespera_agents.serving.protocol.reading.resources import address_of
from vespera_agents.specialists.orchestrator import Orchestrator
from vespera_agents.specialists.sessions import OpenWorkspace
from vespera_agents.work.errors import InvalidInput

__all__ = [
    "WATCHED_MAX",
    "ChangesStatistics",
    "Followed",
    "Subject",
    "Subscriber",
    "shape_of",
    "subject_of",
    "too_many",
]

WATCHED_MAX: Final = 500
"""Addresses that one connection or stream may watch."""


class Subject(NamedTuple):
    """What an address names."""

    kind: Literal["session", "task", "artifact", "tree"]
    directory: Path | None
    """Of its workspace; None for the tree."""
    name: str
    """The whole id or content hash, however much of it the address has."""


@final
@dataclass(frozen=True, slots=True)
class ChangesStatistics:
    """Who listens, and what they were told."""

    subscribers: int
    """Connections of the handshake era."""
    listeners: int
    """Streams since 2026-07-28."""
    watched: int
    """Addresses."""
    followed: int
    """Workspaces."""
    told: int
    """Changes so far, each counted once for all who heard of it."""
    dropped: int
    """Connections that did not read."""


@final
class Subscriber:
    """A connection of the handshake era."""

    def __init__(self, connection: Connection) -> None:
        self.watched: Final[dict[str, Subject]] = {}
        """What it subscribed to, by address."""
        self.pending: Final[dict[ServerEvent, None]] = {}
        """What it was not told yet, in order."""
        self.woken = trio.Event()
        """Set when something is pending."""
        self.writing = trio.CancelScope()
        """Around the task that writes to it."""
        self.gone = False
        self._connection = connection

    def hear(self, event: ServerEvent) -> None:
        """Have it told of a change that concerns it, once."""
        if not isinstance(event, ResourceUpdated) or event.uri in self.watched:
            self.pending[event] = None
            self.woken.set()

    def leave(self) -> None:
        """Have it told nothing more."""
        self.gone = True
        self.pending.clear()
        self.watched.clear()
        self.writing.cancel(reason="the connection ended, or did not read")

    async def tell_next(self) -> None:
        """Write the first thing that is pending; what is written to a connection that has ended is lost."""
        event = next(iter(self.pending))
        del self.pending[event]
        if isinstance(event, ResourceUpdated):
            await self._connection.send_resource_updated(event.uri)
        elif isinstance(event, ResourcesListChanged):
            await self._connection.send_resource_list_changed()
        elif isinstance(event, PromptsListChanged):
            await self._connection.send_prompt_list_changed()
        else:
            await self._connection.send_tool_list_changed()


@final
class Followed:
    """A workspace whose changes are looked for."""

    def __init__(self, opened: OpenWorkspace, committed: Callable[[], None]) -> None:
        """Hear of its commits.

        Args:
            opened: the workspace.
            committed: called after each commit of this process.
        """
        self.opened: Final = opened
        self.seen: int | None = None
        """The last event that was looked at; None before the first look."""
        self.missed = False
        """Whether something was committed before the first look, which will not find it."""
        self.late = False
        """Whether it was opened while others were followed already."""
        self.stop: Final = opened.store.subscribe_commits(self._hear)
        """Hear of its commits no more."""
        self._committed = committed

    def _hear(self) -> None:
        self.missed = self.missed or self.seen is None
        self._committed()


async def subject_of(orchestrator: Orchestrator, uri: str) -> Subject:
    """Find what an address names.

    Raises:
        NotFound: nothing lies there.
        InvalidInput: it is a page, or a role, of whose changes nobody hears.
    """
    address = address_of(uri)
    if address.query:
        raise InvalidInput(f"{uri[:200]!r} is a page", "Watch the artifact: leave the query out.")
    if address.kind == "role":
        raise InvalidInput(
            f"{uri[:200]!r} is a role, and nobody is told when its file changes", "Read it when you need it."
        )
    if address.kind == "tree":
        return Subject("tree", None, "")
    if address.kind in {"session", "notes", "note"}:
        # What its specialists share is a part of a session, and so are changes of it.
        opened, session = await orchestrator.lookup.session(address.name)
        return Subject("session", opened.workspace.directory, session.id)
    if address.kind == "task":
        opened, task = await orchestrator.lookup.task(address.name, None)
        return Subject("task", opened.workspace.directory, task.id)
    opened, artifact = await orchestrator.lookup.artifact(address.name)
    return Subject("artifact", opened.workspace.directory, artifact.sha256)


def shape_of(node: TreeNode) -> object:
    """Give what of a tree is worth a notification: who is there, in which state and life; not figures and times."""
    return node.id, node.state, node.incarnation, tuple(shape_of(child) for child in node.children)


def too_many() -> InvalidInput:
    """Say that somebody watches too much."""
    return InvalidInput(
        f"at most {WATCHED_MAX} addresses can be watched at once", "Watch the session instead of each of its tasks."
    )
