"""Fairness between clients: of each, a few calls are worked on at once, and the next ones wait in their order.

A client is told apart by its connection, else by its token and by the name that it gives itself. This keeps a busy
client from starving others; it is no defence against one that lies about its name. Neighbours: `server` asks for a turn
before it works on a call.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, final

import trio

from vespera_agents.serving.protocol.identity import Identity
from vespera_agents.work.errors import Refusal

__all__ = ["AT_WORK_MAX", "QUEUE_MAX", "Fairness", "FairnessStatistics", "TooManyCalls", "client_of"]

AT_WORK_MAX: Final = 32
"""Calls of one client at once: enough that those of one connection share commits, few enough for others between."""
QUEUE_MAX: Final = 1_000
"""Calls of one client that wait; more are refused."""


@final
class TooManyCalls(Refusal):
    """A client has more calls open than we keep."""


@final
@dataclass(frozen=True, slots=True)
class FairnessStatistics:
    """Who is at work, and who waits."""

    clients: int
    """With a call at work."""
    at_work: int
    waiting: int
    refused: int
    """Calls so far."""


@final
class _Client:
    """The calls of one client."""

    __slots__ = ("at_work", "turns", "waiting")

    def __init__(self) -> None:
        self.at_work = 0
        self.turns = 0
        """Of those at work: given back, and on their way to who waits."""
        self.waiting = trio.lowlevel.ParkingLot()


@final
class Fairness:
    """Gives turns. `begin` and `end` around each call; a client without calls costs nothing."""

    def __init__(self, at_work_max: int = AT_WORK_MAX, queue_max: int = QUEUE_MAX) -> None:
        """Say how many calls of one client are worked on at once, and how many may wait."""
        self._at_work_max = at_work_max
        self._queue_max = queue_max
        self._clients: dict[object, _Client] = {}
        self._refused = 0

    async def begin(self, who: object) -> None:
        """Wait for a turn; a wait that is cancelled leaves the queue.

        Raises:
            TooManyCalls: too many wait already.
        """
        client = self._clients.get(who)
        if client is None:
            client = self._clients[who] = _Client()
        if client.at_work < self._at_work_max:
            client.at_work += 1
            return
        if len(client.waiting) >= self._queue_max:
            self._refused += 1
            raise TooManyCalls(
                f"{client.at_work} calls of yours are at work and {self._queue_max} wait",
                "Wait for some answers, then call again.",
            )
        # Whoever ends hands its turn over, so the number at work stays as it is.
        await client.waiting.park()
        client.turns -= 1
        if client.turns:
            self._hand_over(who, client)

    def end(self, who: object) -> None:
        """Give a turn back: to the next of the same client, if one waits."""
        client = self._clients[who]
        client.turns += 1
        if client.turns == 1:
            self._hand_over(who, client)

    def _hand_over(self, who: object, client: _Client) -> None:
        """Wake who waits longest, who wakes the next: of those woken together, any might run first."""
        if client.waiting:
            client.waiting.unpark()
            return
        client.at_work -= client.turns
        client.turns = 0
        if not client.at_work:
            del self._clients[who]

    def statistics(self) -> FairnessStatistics:
        """Count who is at work and who waits."""
        return FairnessStatistics(
            clients=len(self._clients),
            at_work=sum(client.at_work for client in self._clients.values()),
            waiting=sum(len(client.waiting) for client in self._clients.values()),
            refused=self._refused,
        )


def client_of(identity: Identity, name: str | None) -> object:
    """Say whose turn a call takes."""
    return identity if identity.transport == "stdio" or identity.connection is not None else (identity, name)
