"""How close each supervisor is to giving up, asked of the event loop from the scraping thread.

A restart window only its own loop can read, so the loop is asked, and only when anything was ever restarted. A loop
that does not answer at once is blocked: then the last answer stands. Neighbour: `reports` counts the restarts.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Final, final

import trio

from supervisors import Supervisor
from vespera_agents.health.labels import declared_supervisor

__all__ = ["RestartWindows"]

ANSWER_SECONDS: Final = 0.1
"""How long a scrape waits for the loop."""


@final
class RestartWindows:
    """The fullest restart window for each declared name of a supervisor."""

    def __init__(self, root: Supervisor, *, has_restarted: Callable[[], bool]) -> None:
        """Take the root of a running tree; called in its event loop.

        Args:
            root: the top of the tree.
            has_restarted: whether any restart was ever reported; while not, every window is empty.
        """
        self._root = root
        self._has_restarted = has_restarted
        self._token = trio.lowlevel.current_trio_token()
        self._answered = threading.Event()
        self._ratios: Mapping[str, float] = {}

    def used_ratios(self) -> Mapping[str, float]:
        """Give the ratios by declared name, 0 to 1, missing names 0; called in any thread but the loop's own."""
        if self._has_restarted():
            self._answered.clear()
            try:
                # Idempotent, so that the scrapes of a blocked loop do not queue up in it.
                self._token.run_sync_soon(self._look, idempotent=True)
            except trio.RunFinishedError:
                return self._ratios
            self._answered.wait(ANSWER_SECONDS)
        return self._ratios

    def _look(self) -> None:
        ratios: dict[str, float] = {}
        waiting = [self._root]
        while waiting:
            supervisor = waiting.pop()
            name = declared_supervisor(supervisor.name)
            ratios[name] = max(ratios.get(name, 0.0), supervisor.statistics().intensity_used_ratio)
            waiting.extend(child.value for child in supervisor.which_children() if isinstance(child.value, Supervisor))
        self._ratios = ratios
        self._answered.set()
