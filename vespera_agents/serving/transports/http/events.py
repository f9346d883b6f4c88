"""What a client that lost its stream can still get: messages by stream and number, kept in the workspace's store.

A message is sent on at once and written behind, many in one command: no answer waits for the disk on this account. Who
resumes first waits until everything is written, then reads. What cannot be written is lost to a resumption and to
nothing else. Bounded by count, bytes and age. Neighbours: `streams` numbers the messages, the store keeps them.
"""

from __future__ import annotations

import logging
import secrets
from collections import deque
from dataclasses import dataclass
from typing import Final, final

import trio

from vespera_agents.store import CommandKey, Store
from vespera_agents.store.commands import KeepStreamEvents
from vespera_agents.store.errors import StoreError
from vespera_agents.store.stream_events import StreamEvent, stream_events

__all__ = ["EventLog", "EventLogStatistics"]

PENDING_MAX: Final = 10_000
"""Messages that wait for the disk; beyond, new ones are not kept."""
BATCH_MAX: Final = 200
"""Messages in one command."""
FLUSH_SECONDS: Final = 5.0

logger = logging.getLogger("vespera_agents.serving")


@final
@dataclass(frozen=True, slots=True)
class EventLogStatistics:
    """What became of messages so far."""

    kept: int
    """Written."""
    commands: int
    """Writes that took."""
    lost: int
    """Neither written nor going to be."""
    pending: int
    """Waiting for the disk."""


@final
class EventLog:
    """Keeps messages for those who may resume. The object outlives the child that writes."""

    def __init__(self, store: Store) -> None:
        """Say where to keep them."""
        self._store = store
        self._origin = f"http_{secrets.token_hex(6)}"
        self._pending: deque[StreamEvent] = deque()
        self._appended = 0
        self._settled = 0
        self._wake = trio.Event()
        self._progress = trio.Event()
        self._keys = 0
        self._kept = 0
        self._commands = 0
        self._lost = 0

    def append(self, event: StreamEvent) -> None:
        """Keep a message soon."""
        if len(self._pending) >= PENDING_MAX:
            self._lost += 1
            return
        self._pending.append(event)
        self._appended += 1
        self._wake.set()

    async def run(self) -> None:
        """Write until cancelled; what is too old goes at once, also when nothing new comes."""
        await self._write(())
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            while self._pending:
                batch = tuple(self._pending.popleft() for _ in range(min(BATCH_MAX, len(self._pending))))
                try:
                    await self._write(batch)
                finally:
                    # Cancelled, too: the object outlives this child, and nobody shall wait for what was cut off.
                    self._settled += len(batch)
                    self._progress.set()
                    self._progress = trio.Event()

    async def flush(self) -> None:
        """Wait until what was appended so far is written, for a bounded time."""
        goal = self._appended
        with trio.move_on_after(FLUSH_SECONDS):
            while self._settled < goal:
                await self._progress.wait()

    async def after(self, stream: str, number: int, last: int) -> list[StreamEvent]:
        """Read the messages of a stream behind a number, up to the last that is not sent in another way."""
        await self.flush()
        try:
            return await self._store.read(stream_events, stream, number, last)
        except StoreError as error:
            logger.warning("messages of a lost stream cannot be read: %s", error)
            return []

    def statistics(self) -> EventLogStatistics:
        """Count what became of messages."""
        return EventLogStatistics(self._kept, self._commands, self._lost, self._appended - self._settled)

    async def _write(self, batch: tuple[StreamEvent, ...]) -> None:
        self._keys += 1
        try:
            await self._store.execute(
                KeepStreamEvents("server", self._origin, batch), CommandKey(self._origin, str(self._keys))
            )
        except StoreError as error:
            self._lost += len(batch)
            logger.warning("messages are not kept for clients that resume: %s", error)
        else:
            self._commands += 1
            self._kept += len(batch)
