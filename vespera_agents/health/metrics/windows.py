"""What only the event loop can tell, asked of it from the scraping thread: restart windows, backoffs, tasks, threads.

A loop that does not answer at once is blocked: then the last answer stands. The tree is looked through only when
anything was ever restarted. Neighbours: `reports` counts the restarts.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, final

import trio

from supervisors import AnySupervisor
from vespera_agents.health.metrics.labels import declared_supervisor

__all__ = ["LoopLook", "LoopView"]

ANSWER_SECONDS: Final = 0.1
"""How long a scrape waits for the loop."""


@final
@dataclass(frozen=True, slots=True)
class LoopView:
    """What the loop said."""

    used_ratios: Mapping[str, float] = field(default_factory=dict[str, float])
    """The fullest restart window for each declared name of a supervisor, 0 to 1; missing names have 0."""
    backoffs: Mapping[str, int] = field(default_factory=dict[str, int])
    """Children that wait out a backoff, by declared name of their supervisor."""
    tasks: int = 0
    """Living tasks of trio."""
    threads: int = 0
    """Worker threads of trio's own limiter that are at work."""


@final
class LoopLook:
    """Asks a loop for its view."""

    def __init__(self, root: AnySupervisor, *, has_restarted: Callable[[], bool]) -> None:
        """Take the root of a running tree; called in its event loop.

        Args:
            root: the top of the tree.
            has_restarted: whether any restart was ever reported, or put off; while not, every window is empty.
        """
        self._root = root
        self._has_restarted = has_restarted
        self._token = trio.lowlevel.current_trio_token()
        self._limiter = trio.to_thread.current_default_thread_limiter()
        self._answered = threading.Event()
        self._view = LoopView(tasks=trio.lowlevel.current_statistics().tasks_living)

    def view(self) -> LoopView:
        """Give what the loop says, or said last; called in any thread but the loop's own."""
        self._answered.clear()
        try:
            # Idempotent, so that the scrapes of a blocked loop do not queue up in it.
            self._token.run_sync_soon(self._look, idempotent=True)
        except trio.RunFinishedError:
            return self._view
        self._answered.wait(ANSWER_SECONDS)
        return self._view

    def _look(self) -> None:
        ratios: dict[str, float] = {}
        backoffs: dict[str, int] = {}
        waiting: list[AnySupervisor] = [self._root] if self._has_restarted() else []
        while waiting:
            supervisor = waiting.pop()
            name = declared_supervisor(supervisor.name)
            ratios[name] = max(ratios.get(name, 0.0), supervisor.intensity_used_ratio)
            backoffs[name] = backoffs.get(name, 0) + supervisor.delayed_restarts
            waiting.extend(supervisor.nested())
        self._view = LoopView(
            ratios, backoffs, trio.lowlevel.current_statistics().tasks_living, self._limiter.borrowed_tokens
        )
        self._answered.set()
