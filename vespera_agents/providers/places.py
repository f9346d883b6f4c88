"""So many requests to one provider at once, shared fairly: those who wait take turns by whose work it is.

A session with a hundred requests waiting holds up another one's first request by one place, not by a hundred. Within a
session who came first goes first. Waiting ends with the waiter's cancellation; how long it may take is the caller's
business. Neighbours: `standing` has one for each provider.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Final, final

import trio

from vespera_agents.providers.errors import Unavailable

__all__ = ["WAITING_MAX", "Places"]

WAITING_MAX: Final = 1_000
"""Requests that may wait for one provider; one more is refused."""


@final
class Places:
    """The places of one provider."""

    __slots__ = ("_free", "_name", "_queues", "_taken", "_waiting")

    def __init__(self, name: str, number: int) -> None:
        """Have all free.

        Args:
            name: the provider's.
            number: how many requests it gets at once, at least 1.
        """
        assert number >= 1, "a provider without a place is asked never"
        self._name = name
        self._free = number
        self._taken = 0
        self._waiting = 0
        # The first key is whose turn it is next; a queue that is empty is not there.
        self._queues: OrderedDict[str, deque[trio.Event]] = OrderedDict()

    @property
    def taken(self) -> int:
        """How many requests are under way."""
        return self._taken

    @property
    def waiting(self) -> int:
        """How many wait for a place."""
        return self._waiting

    def take_nowait(self) -> bool:
        """Have a place until it is given back, if one is free and nobody waits for it."""
        if not self._free or self._queues:
            return False
        self._free -= 1
        self._taken += 1
        return True

    async def take(self, owner: str) -> None:
        """Have a place until it is given back, waiting for one.

        Args:
            owner: whose work it is; the owners take turns.

        Raises:
            Unavailable: too many wait already.
        """
        if not self.take_nowait():
            await self._wait(owner)
            self._taken += 1

    def give_back(self) -> None:
        """Let somebody else have the place."""
        self._taken -= 1
        self._free += 1
        if self._queues:
            self._hand_on()

    async def _wait(self, owner: str) -> None:
        if self._waiting >= WAITING_MAX:
            advice = "Ask for less at once, or raise its concurrency"
            raise Unavailable(self._name, f"{WAITING_MAX} requests wait for it already", advice)
        turn = trio.Event()
        self._queues.setdefault(owner, deque()).append(turn)
        self._waiting += 1
        try:
            await turn.wait()
        except trio.Cancelled:
            if turn.is_set():
                # The place came together with the cancellation: it goes on to the next.
                self._free += 1
                self._hand_on()
            else:
                queue = self._queues[owner]
                queue.remove(turn)
                if not queue:
                    del self._queues[owner]
            raise
        finally:
            self._waiting -= 1

    def _hand_on(self) -> None:
        """Give a free place to whose turn it is."""
        if not self._free or not self._queues:
            return
        owner, queue = self._queues.popitem(last=False)
        turn = queue.popleft()
        if queue:
            # Its next one comes after one of everybody else's.
            self._queues[owner] = queue
        self._free -= 1
        turn.set()
