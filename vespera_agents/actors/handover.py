"""The snapshots of a whole system, each taken by its actor between two messages: what another system begins with.

It neither stops anybody nor starts anything; what an actor does with a snapshot is its own business, see `Actor`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import final

import trio
from trio.lowlevel import current_task

from vespera_agents.actors.actor import Actor
from vespera_agents.actors.endpoint import Endpoint
from vespera_agents.actors.statistics import ActorState
from vespera_agents.actors.waits import CALLERS


async def save_all(endpoints: Iterable[Endpoint], timeout_seconds: float) -> None:
    """Have each of these actors that is up save its snapshot; wait until they have, or have ended, or the time is up.

    Cancelled, or late: who has not come to it by then is not asked any more.
    """
    caller = CALLERS.get(current_task())
    round_ = _Round()
    for endpoint in endpoints:
        # An actor that asks for this in a handler would wait for itself.
        if endpoint.state is ActorState.RUNNING and (caller is None or caller.actor is not endpoint):
            _Save(endpoint, round_)
    try:
        with trio.move_on_after(timeout_seconds):
            await round_.wait()
    finally:
        round_.close()


@final
class _Round:
    """Those who have still to save."""

    __slots__ = ("_all_done", "left")

    def __init__(self) -> None:
        self._all_done = trio.Event()
        self.left: dict[_Save, None] = {}
        """What they are asked."""

    def done(self, save: _Save) -> None:
        """Wait for this one no longer."""
        self.left.pop(save, None)
        if not self.left:
            self._all_done.set()

    async def wait(self) -> None:
        """Wait until nobody is left."""
        if self.left:
            await self._all_done.wait()

    def close(self) -> None:
        """Ask no more of those who are left."""
        for save in tuple(self.left):
            save.withdraw()


@final
class _Save:
    """The errand of one actor. It belongs to the incarnation: what ends that ends the wait, too."""

    __slots__ = ("_endpoint", "_round")

    def __init__(self, endpoint: Endpoint, round_: _Round) -> None:
        self._endpoint = endpoint
        self._round = round_
        round_.left[self] = None
        endpoint.own(self)
        endpoint.order(self)

    def __call__(self, actor: Actor) -> None:
        """Be the errand. A snapshot that raises is a crash, as anywhere in an actor."""
        actor.save_snapshot()
        self._endpoint.disown(self)
        self._round.done(self)

    def cancel(self) -> None:
        """Take note of the end of the incarnation: if it was in order, its last snapshot has been taken."""
        self._round.done(self)

    def withdraw(self) -> None:
        """Ask no more."""
        self._endpoint.countermand(self)
        self._endpoint.disown(self)
