"""A process that waits to be activated: warmed up, with nothing open but its link, listened to until somebody takes it.

Neighbours: `spares` parks one for the worker's death, `restarting` one that shall take over.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, final

import trio

from vespera_agents.front.framing import WARM
from vespera_agents.front.processes import FrontProcess

__all__ = ["NEVER_TAKEN", "Parked", "no_spare"]

NEVER_TAKEN: Final = "the new process ended before it could take over"


@final
class Parked:
    """One process that waits."""

    def __init__(self, process: FrontProcess, at_warm: Callable[[], object] = lambda: None) -> None:
        """Park a process once `keep` runs.

        Args:
            process: which.
            at_warm: hears that it has warmed up.
        """
        self.process = process
        """Which process."""
        self.warm = trio.Event()
        """Set when it has warmed up."""
        self.over = trio.Event()
        """Set when it no longer waits: it was taken, or is dead or about to be killed."""
        self.taken = False
        """Whether somebody has taken it."""
        self._at_warm = at_warm
        self._wanted = trio.Event()

    @property
    def lost(self) -> bool:
        """Whether it is dead and was not taken. Asked of the kernel: `over` comes some rounds of the loop later."""
        return not self.taken and (self.over.is_set() or not self.process.alive())

    async def keep(self) -> None:
        """Let it warm up and wait, until it is taken or ends. Unless it was taken, its end is the caller's business."""
        self.process.tell(WARM + b"\n")
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.process.keep_sending)
                nursery.start_soon(self._hear)
                nursery.start_soon(self._watch, nursery.cancel_scope)
                await self._wanted.wait()
                nursery.cancel_scope.cancel()
        finally:
            self.over.set()

    async def take(self) -> FrontProcess | None:
        """Take it; None if it is not alive."""
        if self.lost:
            return None
        self.taken = True
        self._wanted.set()
        # Two tasks may not listen to one process.
        await self.over.wait()
        return self.process

    async def _hear(self) -> None:
        while (lines := await self.process.lines()) is not None:
            if WARM in lines:
                self.warm.set()
                self._at_warm()

    async def _watch(self, scope: trio.CancelScope) -> None:
        await self.process.wait_ended()
        scope.cancel()


async def no_spare() -> FrontProcess | None:
    """Give none: then a new worker is a cold one."""
    return None
