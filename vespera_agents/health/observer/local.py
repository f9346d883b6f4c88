"""The observer's source where the server is this process. Neighbours: `app` asks, `feed` and `asking` answer."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, final

from vespera_agents.health.observer.app import Next

if TYPE_CHECKING:
    from vespera_agents.health.subtree import Health

__all__ = ["LocalSource"]


@final
class LocalSource:
    """What this process knows of itself."""

    def __init__(self, health: Health) -> None:
        """Say whose health it is."""
        self._health = health

    @asynccontextmanager
    async def watch(self, last: str | None) -> AsyncGenerator[Next]:
        """Watch while the block lasts; see `Source`."""
        feed = self._health.feed
        async with feed.watch(last) as viewer:

            async def following() -> tuple[str, bytes]:
                frame = await viewer.next()
                return feed.event_id(frame), frame.data

            yield following

    async def actor(self, key: int) -> bytes | None:
        """Tell of one node."""
        return await self._health.answers.actor(key)

    async def stacks(self) -> bytes | None:
        """Tell where all actors wait."""
        return await self._health.answers.stacks()

    async def session(self, session_id: str) -> bytes | None:
        """Tell of the tasks of one session."""
        return await self._health.answers.session(session_id)
