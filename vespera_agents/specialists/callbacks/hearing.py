"""Functions of an embedder that hear what happens in this process: each a child of its own, with its own queue.

One that raises is restarted by its supervisor and goes on with the next happening; one that takes too long is
cancelled; one that is too slow loses the oldest happenings, which are counted. None of this is durable, and none hears
of what other processes do: for what must not be lost there are targets over HTTP. Neighbour: `callbacks` hands out.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, final

import trio

from supervisors import Backoff, ChildSpec
from vespera_agents.specialists.callbacks.figures import CallbackFigures
from vespera_agents.store.outbox import CallbackEvent

__all__ = ["Happening", "Hearing", "Hears"]

WAITING_MAX: Final = 1_000
"""Happenings that wait for one function."""
HEARING_SECONDS: Final = 30.0
"""How long a function may take for one."""
_BACKOFF: Final = Backoff(0.05, 5.0)

log = logging.getLogger(__name__)


@final
@dataclass(frozen=True, slots=True)
class Happening:
    """Something that happened."""

    event: CallbackEvent
    session_id: str | None
    task_id: str | None
    facts: Mapping[str, object] = field(default_factory=dict[str, object])
    """What else is known, as it is told to targets."""


Hears = Callable[[Happening], Awaitable[object]]
"""What an embedder registers."""


@final
class Hearing:
    """One function, and what it is still to hear; outlives its incarnations."""

    def __init__(self, name: str, event: CallbackEvent, hears: Hears, figures: CallbackFigures) -> None:
        self.event: Final = event
        self._name = name
        self._hears = hears
        self._figures = figures
        self._waiting: deque[Happening] = deque()
        self._arrived = trio.Event()

    @property
    def spec(self) -> ChildSpec:
        """The child that it is."""
        return ChildSpec(self._name, self.run, backoff=_BACKOFF, shutdown_seconds=1.0)

    def tell(self, happening: Happening) -> None:
        """Let it hear of something, when it comes to it."""
        if len(self._waiting) >= WAITING_MAX:
            self._waiting.popleft()
            self._figures.dropped += 1
        self._waiting.append(happening)
        self._arrived.set()

    async def run(self, *, task_status: trio.TaskStatus[Hearing]) -> None:
        """Hand over one after the other until cancelled; what the function raises ends this incarnation."""
        task_status.started(self)
        while True:
            while self._waiting:
                happening = self._waiting.popleft()
                with trio.move_on_after(HEARING_SECONDS) as scope:
                    await self._hears(happening)
                if scope.cancelled_caught:
                    self._figures.handler_failures += 1
                    log.warning("%s took more than %g s and was cancelled", self._name, HEARING_SECONDS)
            self._arrived = trio.Event()
            await self._arrived.wait()

    def tree_detail(self) -> dict[str, str | int | float]:
        """Say what the tree shows of it."""
        return {"event": self.event.value, "waiting": len(self._waiting)}
