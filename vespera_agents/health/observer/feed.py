"""`Feed`: what everybody sees who watches a server, built once a second for all of them, and only while somebody does.

    tree      looked through in slices, at most `WORK_SHARE` of the time: a large tree takes longer, not more
    telling   small values, encoded and compared; only those that changed are sent
    history   a row each second, also while nobody watches
    frames    the changes of the last minute, and the whole picture

The first viewer waits until the tree was looked through once. Half a minute after the last one has left, everything but
the history is forgotten. Neighbours: `app` and the control socket give frames to viewers, `asking` answers about one
actor.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, final

import trio
from trio.lowlevel import checkpoint

from vespera_agents.health.errors import FeedRefused
from vespera_agents.health.observer.frames import BEHIND_MAX, CHANGES_MAX, Frame, Frames
from vespera_agents.health.observer.history import HISTORY_COLUMNS, History
from vespera_agents.health.observer.nodes import COLUMNS
from vespera_agents.health.observer.sections import Section, life_of
from vespera_agents.health.observer.sessions import read_sessions
from vespera_agents.health.observer.telling import Telling
from vespera_agents.health.observer.tree import ObservedTree
from vespera_agents.store import StoreError

if TYPE_CHECKING:
    from vespera_agents.health.subtree import Health
    from vespera_agents.specialists.runtime import Runtime

__all__ = ["VIEWERS_MAX", "Feed", "FeedStatistics", "Viewer"]

FEED_VERSION: Final = 1
PERIOD_SECONDS: Final = 1.0
VIEWERS_MAX: Final = 64
"""Viewers at once; one more is told to close another one."""
WORK_SHARE: Final = 0.012
"""The part of the loop's time that looking through the tree may take."""
FIRST_SHARE: Final = 0.5
"""The same while a viewer waits for its first picture: 10,000 actors are there after 0.2 s."""
READY_SECONDS: Final = 30.0
"""How long a viewer waits at most."""
FORGET_SECONDS: Final = 10.0
"""How long after the last viewer all goes on, for one that comes back."""
SESSIONS_SECONDS: Final = 2.0
"""How often the sessions are read."""
_EARLY_SECONDS: Final = 0.02
_MARGIN: Final = 1.5
"""How much longer than the last time it may take to look through the tree, and be told in time."""
_DIGITS_MAX: Final = 19
_END: Final = object()


@final
@dataclass(frozen=True, slots=True)
class FeedStatistics:
    """What a feed does."""

    viewers: int
    """Who watch now."""
    nodes: int
    """Nodes of the tree that are known; none while nobody watches."""
    changes: int
    """The number of the last change."""
    kept_bytes: int
    """Bytes of the changes that are kept."""
    work_seconds: float
    """What looking and encoding took so far, in the event loop."""


@final
class Viewer:
    """One who watches: knows how far it got, and is given what it needs next."""

    def __init__(self, feed: Feed, last: str | None) -> None:
        self._feed = feed
        self._last = last
        self._seq: int | None = None

    async def next(self) -> Frame:
        """Wait for what comes next: a change, or a whole picture for who is new or too far behind.

        Raises:
            FeedRefused: the feed has ended.
        """
        frame = await self._feed.after(self._seq, self._last)
        self._seq, self._last = frame.seq, None
        return frame


@final
class Feed:
    """The feed of one server."""

    def __init__(self, health: Health) -> None:
        """Say whose health it shows; `run` does the work."""
        self._health = health
        self._runtime: Runtime | None = None
        self._tree: ObservedTree | None = None
        self._looking: Generator[None] | None = None
        self._look_seconds = 0.0
        self._frames = Frames()
        self._picture: Frame | None = None
        self._painting = trio.Lock()
        self._viewers = 0
        self._watched_until = 0.0
        self._wanted = trio.Event()
        self._changed = trio.Event()
        self._is_ready = False
        self._life = ""
        self._telling: Telling | None = None
        self._history: tuple[str, ...] = ()
        self._sessions: list[Section] = []
        self._work_seconds = 0.0

    # ---- its life

    async def run(self, runtime: Runtime, *, task_status: trio.TaskStatus[Feed]) -> None:
        """Keep the history, and build what viewers see while there are any: a child for a supervisor."""
        self._runtime = runtime
        self._wanted, self._is_ready = trio.Event(), False
        if self._viewers:
            # Some watched the life before this one, and wait.
            self._wanted.set()
        task_status.started(self)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._read_sessions, runtime)
                await self._keep_time(runtime, History(self._health, runtime))
        finally:
            self._runtime = None
            self._forget()
            self._changed.set()
            self._changed = trio.Event()

    def statistics(self) -> FeedStatistics:
        """Count what it does."""
        nodes = 0 if self._tree is None else len(self._tree)
        return FeedStatistics(self._viewers, nodes, self._frames.seq, self._frames.kept_bytes, self._work_seconds)

    def tree_detail(self) -> dict[str, str | int | float]:
        """Say what the tree shows of it."""
        return {"viewers": self._viewers}

    # ---- for viewers

    @asynccontextmanager
    async def watch(self, last: str | None = None) -> AsyncGenerator[Viewer]:
        """Watch while the block lasts.

        Args:
            last: the change that the viewer had last, LIFE/NUMBER or NUMBER, if it goes on watching.

        Raises:
            FeedRefused: too many watch, or the feed does not run.
        """
        if self._runtime is None:
            raise FeedRefused("the observer does not run in this server. Look at `health` in `vespera tree`.")
        if self._viewers >= VIEWERS_MAX:
            raise FeedRefused(f"{VIEWERS_MAX} others watch already. Close one of them, and try again.")
        self._viewers += 1
        self._wanted.set()
        try:
            yield Viewer(self, last)
        finally:
            self._viewers -= 1
            self._watched_until = trio.current_time() + FORGET_SECONDS

    async def snapshot(self) -> bytes:
        """Give the whole picture as JSON.

        Raises:
            FeedRefused: as for `watch`; or it takes too long.
        """
        async with self.watch() as viewer:
            return (await viewer.next()).data

    def event_id(self, frame: Frame) -> str:
        """Give the name by which a viewer that comes back says what it had last."""
        return f"{self._life}/{frame.seq}"

    async def after(self, seq: int | None, last: str | None = None) -> Frame:
        """Wait for what a viewer needs next; see `Viewer.next`.

        Args:
            seq: the change that it was given last; None at first.
            last: what it had before that, as it says itself.

        Raises:
            FeedRefused: the feed has ended.
        """
        with trio.move_on_after(READY_SECONDS):
            while self._runtime is not None:
                if self._is_ready:
                    if seq is None:
                        seq, behind_max = self._number(last), CHANGES_MAX
                    else:
                        behind_max = BEHIND_MAX
                    if seq is None or not self._frames.follows(seq, behind_max):
                        return await self._whole()
                    frame = self._frames.after(seq)
                    if frame is not None:
                        return frame
                await self._changed.wait()
        raise FeedRefused("the observer has ended, or does not get on. Connect again.")

    @property
    def tree(self) -> ObservedTree | None:
        """The nodes that are known; None while nobody watches."""
        return self._tree

    @property
    def runtime(self) -> Runtime | None:
        """Whose feed it is, while it runs."""
        return self._runtime

    @property
    def health(self) -> Health:
        """Whose health it shows."""
        return self._health

    def _number(self, last: str | None) -> int | None:
        life, slash, number = (last or "").rpartition("/")
        if (slash and life != self._life) or not (number.isascii() and number.isdigit() and len(number) < _DIGITS_MAX):
            return None
        return int(number)

    # ---- each second

    async def _keep_time(self, runtime: Runtime, history: History) -> None:
        due = trio.current_time()
        while True:
            due = max(due + PERIOD_SECONDS, trio.current_time())
            with trio.move_on_at(due):
                if not self._is_ready:
                    await self._wanted.wait()
                    self._begin(runtime)
                    await self._look(FIRST_SHARE)
                    self._is_ready = True
                    self._publish(history, ())
                # As late as it can be, so that what is told is as new as it can be.
                await trio.sleep_until(due - _MARGIN * self._look_seconds - _EARLY_SECONDS)
                await self._look(WORK_SHARE)
                await trio.sleep_forever()
            row = history.add()
            if self._is_ready and not self._viewers and trio.current_time() >= self._watched_until:
                self._forget()
            elif self._is_ready:
                self._publish(history, (row,))

    def _begin(self, runtime: Runtime) -> None:
        """Begin to look, unless that was begun a second ago."""
        if self._tree is None:
            self._tree = ObservedTree(runtime.root)
            self._telling = Telling(self._health, runtime)
            self._life = life_of(runtime)

    def _forget(self) -> None:
        """Keep nothing that only viewers need."""
        self._is_ready = False
        self._wanted = trio.Event()
        self._tree = self._looking = self._picture = None
        self._frames.clear()
        self._telling = None
        self._history = ()

    async def _look(self, share: float) -> None:
        """Go through the tree, from where the last time had to end.

        Args:
            share: of the time, between two slices of work the rest is left to others.
        """
        assert self._tree is not None, "there is a tree while somebody watches"
        if self._looking is None:
            self._looking = self._tree.look()
            self._look_seconds = 0.0
        while True:
            begun = time.perf_counter()
            over = next(self._looking, _END) is _END
            worked = time.perf_counter() - begun
            self._work_seconds += worked
            self._look_seconds += worked / WORK_SHARE
            if over:
                self._looking = None
                return
            await trio.sleep(worked * (1 / share - 1))

    def _publish(self, history: History, new_rows: tuple[str, ...]) -> None:
        """Make the next change out of what is another than in the one before."""
        assert self._tree is not None, "there is a tree while somebody watches"
        assert self._telling is not None, "somebody is told, while somebody watches"
        begun = time.perf_counter()
        parts = self._telling.news(self._sessions)
        rows = self._tree.take()
        if rows.changed or rows.gone:
            gone = ",".join(map(str, rows.gone))
            parts.append(f'"tree":{{"rows":[{",".join(rows.changed)}],"gone":[{gone}]}}')
        self._history = history.rows
        if new_rows:
            parts.append(f'"history":{{"rows":[{",".join(new_rows)}]}}')
        self._frames.add(f"{{{self._head(self._frames.seq + 1)},{','.join(parts)}}}".encode())
        self._picture = None
        self._changed.set()
        self._changed = trio.Event()
        self._work_seconds += time.perf_counter() - begun

    def _head(self, seq: int) -> str:
        return f'"seq":{seq},"at":{time.time():.3f},"life":{json.dumps(self._life)}'

    # ---- the whole picture

    async def _whole(self) -> Frame:
        """Give the whole picture; made once for all who want the same, in slices."""
        async with self._painting:
            if self._picture is not None:
                return self._picture
            tree, telling = self._tree, self._telling
            if tree is None or telling is None:
                raise FeedRefused("nobody watched any more. Connect again.")
            # What comes while the rows are written is in the next change, too: a viewer that has it already is told
            # it again, and that is all.
            seq, head, told = self._frames.seq, self._head(self._frames.seq), telling.whole()
            history = ",".join(self._history)
            rows: list[str] = []
            for part in tree.written():
                rows.extend(part)
                await checkpoint()
            data = (
                f'{{"v":{FEED_VERSION},{head},{told},'
                f'"tree":{{"columns":{json.dumps(COLUMNS)},"rows":[{",".join(rows)}]}},'
                f'"history":{{"columns":{json.dumps(HISTORY_COLUMNS)},"rows":[{history}]}}}}'
            )
            frame = Frame(seq, data.encode())
            if seq == self._frames.seq:
                self._picture = frame
            return frame

    # ---- what lies in stores

    async def _read_sessions(self, runtime: Runtime) -> None:
        """Read the sessions again and again while somebody watches; a store that does not answer keeps its last."""
        known: dict[Path, list[Section]] = {}
        while True:
            await self._wanted.wait()
            for directory, opened in [*runtime.workspaces.items()]:
                try:
                    with trio.move_on_after(SESSIONS_SECONDS):
                        known[directory] = await opened.store.read(read_sessions)
                except (StoreError, sqlite3.Error):
                    continue
            self._sessions = [session for directory in runtime.workspaces for session in known.get(directory, [])]
            await trio.sleep(SESSIONS_SECONDS)
