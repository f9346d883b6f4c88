"""What changes while clients are connected: found in the stores, and told to those who want to hear of it.

One task follows every open workspace for all clients, and only while there are some: it looks at the audit trail when
this process commits, and once a second for what other processes did. It tells that something changed, never what: a
client reads again. So whatever waits to be told is a set, bounded by what is watched, and a burst is told once.

It is the bus of the library's `subscriptions/listen` (2026-07-28), and it writes to the connections of the handshake
era itself, each in a task of its own, so that one that does not read holds up nobody. Neighbours: `subscriptions`
answers the requests of both eras with it; `watching` says what an address names; `store.following` reads what changed.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final, final

import trio
from mcp.server.connection import Connection
from mcp.server.subscriptions import (
    PromptsListChanged,
    ResourcesListChanged,
    ResourceUpdated,
    ServerEvent,
    ToolsListChanged,
)

from supervisors import AlreadyPresent, AlreadyStarted, Backoff, ChildSpec, SupervisorError
from vespera_agents.serving.protocol.notifying.watching import (
    WATCHED_MAX,
    ChangesStatistics,
    Followed,
    Subject,
    Subscriber,
    shape_of,
    subject_of,
    too_many,
)
from vespera_agents.specialists.orchestrator import Orchestrator
from vespera_agents.store import StoreError
from vespera_agents.store.following import Changed, changed_since, last_event
from vespera_agents.work.errors import Refusal

__all__ = ["Changes"]

LOOK_SECONDS: Final = 1.0
"""How often we look for what other processes did."""
GATHER_SECONDS: Final = 0.05
"""How long a burst is gathered before it is told."""
SEND_SECONDS: Final = 10.0
"""How long a connection may take to read one notification; then it gets no more."""
RENEWAL_SECONDS: Final = 30.0
"""How long those who come back are told of what is new since the process before this one: its front repeats at once
that they are there."""
_BACKOFF: Final = Backoff(1.0, 60.0)
_LISTS: Final[Mapping[str, Callable[[], ServerEvent]]] = {
    "tools": ToolsListChanged,
    "prompts": PromptsListChanged,
    "resources": ResourcesListChanged,
}

Listener = Callable[[ServerEvent], None]


@final
class Changes:
    """The changes of everything that the clients of one server can read."""

    def __init__(self, orchestrator: Orchestrator) -> None:
        """Say whose changes; nothing runs before somebody wants to hear of them."""
        self._orchestrator = orchestrator
        self._home = orchestrator.home.resolve()
        self._listeners: dict[object, Listener] = {}
        self._streams: dict[object, Mapping[str, Subject]] = {}
        """What each stream since 2026-07-28 watches."""
        self._subscribers: dict[Subscriber, None] = {}
        self._followed: dict[Path, Followed] = {}
        self._following = False
        self._shape: object = None
        """The tree as it was when it was looked at last, while somebody watches it."""
        self._woken = trio.Event()
        self._wanted = trio.Event()
        """Set while somebody wants to hear."""
        self._nursery: trio.Nursery | None = None
        self._starting = trio.Lock()
        self._started = False
        self._renewed: tuple[ServerEvent, ...] = ()
        """What is told to whoever comes, while it is new."""
        self._renewed_until = 0.0
        self._missed: tuple[ServerEvent, ...] = ()
        """What the next listener hears first."""
        self._told = 0
        self._dropped = 0
        self.at_end: Callable[[], None] | None = None
        """Called when nothing is looked for any more: it ends the streams of those who listen."""

    async def publish(self, event: ServerEvent) -> None:
        """Tell everybody whom it concerns of one change."""
        self._tell(event)
        await trio.lowlevel.checkpoint()

    def renew(self, lists: Iterable[str]) -> None:
        """Tell that lists are others than those of the process before this one, to whoever had them from it.

        Args:
            lists: `tools`, `prompts`, `resources`.
        """
        self._renewed = tuple(_LISTS[name]() for name in lists)
        self._renewed_until = trio.current_time() + RENEWAL_SECONDS
        for event in self._renewed:
            self._tell(event)

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call a listener with each change; gives the way to stop. The library's bus."""
        token = object()
        self._listeners[token] = listener
        missed, self._missed = self._missed, ()
        for event in (*missed, *self._still_new()):
            listener(event)

        def stop() -> None:
            self._listeners.pop(token, None)

        return stop

    def alarm_next(self, watched: Sequence[str]) -> None:
        """Tell whoever subscribes next to read everything again: what changed between two workers nobody told it.

        Args:
            watched: the addresses that it watches.
        """
        self._missed = (ResourcesListChanged(), *map(ResourceUpdated, watched))

    @asynccontextmanager
    async def watching(self, uris: Sequence[str]) -> AsyncGenerator[list[str]]:
        """Look for changes while the block lasts; gives those of the addresses that can be watched.

        Raises:
            InvalidInput: they are too many.
        """
        if len(uris) > WATCHED_MAX:
            raise too_many()
        watched: dict[str, Subject] = {}
        for uri in uris:
            # The acknowledgement says what is watched: a wrong address is no failure of the others.
            with suppress(Refusal):
                watched[uri] = await subject_of(self._orchestrator, uri)
        token = object()
        self._streams[token] = watched
        try:
            await self.begin()
            yield list(watched)
        finally:
            del self._streams[token]
            self._rest()

    def connect(self, connection: Connection) -> Subscriber:
        """Tell a connection of the handshake era of resources that come and go, until it ends; `begin` follows."""
        subscriber = Subscriber(connection)
        self._subscribers[subscriber] = None
        for event in self._still_new():
            subscriber.hear(event)
        connection.exit_stack.callback(self._leave, subscriber)
        if self._nursery is not None:
            self._nursery.start_soon(self._write, subscriber)
        return subscriber

    async def watch(self, subscriber: Subscriber, uri: str) -> None:
        """Tell a connection of changes of what lies at an address.

        Raises:
            NotFound: nothing does.
            InvalidInput: it never changes, or the connection watches too much.
        """
        if uri not in subscriber.watched and len(subscriber.watched) >= WATCHED_MAX:
            raise too_many()
        subscriber.watched[uri] = await subject_of(self._orchestrator, uri)
        await self.begin()

    def unwatch(self, subscriber: Subscriber, uri: str) -> None:
        """Tell a connection no more of an address; it need not have asked for it."""
        subscriber.watched.pop(uri, None)
        subscriber.pending.pop(ResourceUpdated(uri), None)

    async def begin(self) -> None:
        """See to it that every change from now on is found."""
        self._follow_open_ones()
        self._look_at_tree()
        self._wanted.set()
        async with self._starting:
            if not self._started:
                # A start that has begun is finished whoever waits for it.
                with trio.CancelScope(shield=True):
                    await self._start()
        for followed in tuple(self._followed.values()):
            if followed.seen is None:
                await self._look_at(followed)

    async def run(self, *, task_status: trio.TaskStatus[Changes]) -> None:
        """Look for changes until cancelled, while somebody wants to hear of them: a child for a supervisor."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                for subscriber in self._subscribers:
                    nursery.start_soon(self._write, subscriber)
                task_status.started(self)
                while True:
                    await self._wanted.wait()
                    with trio.move_on_after(LOOK_SECONDS):
                        await self._woken.wait()
                    await trio.sleep(GATHER_SECONDS)
                    self._woken = trio.Event()
                    await self._look()
        finally:
            self._nursery = None
            if self.at_end is not None:
                self.at_end()

    def statistics(self) -> ChangesStatistics:
        """Count who listens and what was told."""
        return ChangesStatistics(
            subscribers=len(self._subscribers),
            listeners=len(self._listeners),
            watched=len({uri for watched in self._watches() for uri in watched}),
            followed=len(self._followed),
            told=self._told,
            dropped=self._dropped,
        )

    def tree_detail(self) -> dict[str, str | int | float]:
        """Say what the tree shows of it."""
        now = self.statistics()
        return {"listeners": now.listeners + now.subscribers, "watched": now.watched, "told": now.told}

    async def _start(self) -> None:
        root = self._orchestrator.runtime.root
        for number in itertools.count(1):
            name = "changes" if number == 1 else f"changes-{number}"
            try:
                await root.start_child(ChildSpec(name, self.run, backoff=_BACKOFF))
            except (AlreadyPresent, AlreadyStarted):
                # Another server on the same tree has one of its own.
                continue
            except SupervisorError:
                # The tree ends just now: nothing will change any more.
                return
            self._started = True
            return

    def _rest(self) -> None:
        """Look no more when nobody wants to hear."""
        if self._streams or self._subscribers:
            return
        for followed in self._followed.values():
            followed.stop()
        self._followed.clear()
        self._following = False
        self._shape = None
        if self._wanted.is_set():
            self._wanted = trio.Event()

    def _leave(self, subscriber: Subscriber) -> None:
        self._subscribers.pop(subscriber, None)
        subscriber.leave()
        self._rest()

    def _follow_open_ones(self) -> None:
        for directory, opened in self._orchestrator.runtime.workspaces.items():
            if directory not in self._followed and opened.is_open:
                self._followed[directory] = followed = Followed(opened, self._wake)
                # It was opened while we followed others: what it lists may be new.
                followed.late = self._following
        self._following = True

    def _wake(self) -> None:
        self._woken.set()

    async def _look(self) -> None:
        self._follow_open_ones()
        for followed in tuple(self._followed.values()):
            await self._look_at(followed)
        self._look_at_tree()

    async def _look_at(self, followed: Followed) -> None:
        """Tell what changed in a workspace since we looked last; what cannot be read now is looked at again later."""
        if not followed.opened.is_open:
            return
        store, directory = followed.opened.store, followed.opened.workspace.directory
        before = self._names(directory)
        with suppress(StoreError):
            if followed.seen is None:
                seen = await store.read(last_event)
                followed.seen = seen if followed.seen is None else followed.seen
                missed = self._names(directory) if followed.missed else ()
                if followed.missed or followed.late:
                    self._tell_of(directory, Changed(seen, *missed, listed=True))
                followed.missed = followed.late = False
                return
            changed = await store.read(changed_since, followed.seen, *before)
            if changed.last == followed.seen:
                return
            followed.seen = changed.last
            self._tell_of(directory, changed)
            # Who began to watch meanwhile was not asked for, and may have missed something.
            sessions, tasks, artifacts = (now - then for now, then in zip(self._names(directory), before, strict=True))
            self._tell_of(directory, Changed(changed.last, sessions, tasks, artifacts))

    def _look_at_tree(self) -> None:
        watchers = [uri for watched in self._watches() for uri, subject in watched.items() if subject.kind == "tree"]
        if not watchers:
            self._shape = None
            return
        shape = shape_of(self._orchestrator.runtime.root.snapshot())
        before, self._shape = self._shape, shape
        if before is not None and before != shape:
            for uri in dict.fromkeys(watchers):
                self._tell(ResourceUpdated(uri))

    def _tell_of(self, directory: Path, changed: Changed) -> None:
        """Tell of everything that changed in one workspace."""
        names = {"session": changed.sessions, "task": changed.tasks, "artifact": changed.artifacts}
        watched = {uri: subject for watches in self._watches() for uri, subject in watches.items()}
        for uri, subject in watched.items():
            if subject.directory == directory and subject.name in names[subject.kind]:
                self._tell(ResourceUpdated(uri))
        # Only the home workspace's sessions and artifacts are listed.
        if changed.listed and directory == self._home:
            self._tell(ResourcesListChanged())

    def _tell(self, event: ServerEvent) -> None:
        self._told += 1
        for listener in tuple(self._listeners.values()):
            listener(event)
        for subscriber in tuple(self._subscribers):
            subscriber.hear(event)

    def _still_new(self) -> tuple[ServerEvent, ...]:
        return self._renewed if self._renewed and trio.current_time() < self._renewed_until else ()

    def _watches(self) -> Iterator[Mapping[str, Subject]]:
        yield from self._streams.values()
        for subscriber in self._subscribers:
            yield subscriber.watched

    def _names(self, directory: Path) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
        """Give the sessions, tasks and artifacts of a workspace that somebody watches."""
        mine = [one for watched in self._watches() for one in watched.values() if one.directory == directory]
        sessions, tasks, artifacts = (
            frozenset(one.name for one in mine if one.kind == kind) for kind in ("session", "task", "artifact")
        )
        return sessions, tasks, artifacts

    async def _write(self, subscriber: Subscriber) -> None:
        """Write to a connection what is pending for it, until it ends or does not read."""
        with trio.CancelScope() as subscriber.writing:
            while not subscriber.gone:
                await subscriber.woken.wait()
                subscriber.woken = trio.Event()
                while subscriber.pending:
                    with trio.move_on_after(SEND_SECONDS) as patience:
                        await subscriber.tell_next()
                    if patience.cancelled_caught:
                        self._dropped += 1
                        self._leave(subscriber)
