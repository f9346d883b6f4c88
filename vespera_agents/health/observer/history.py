"""The last five minutes of a server, a row each second: kept always, because it costs some 20 us, and shown as curves.

Neighbours: `health.watchdog` measures the loop, `feed` asks for a row each second and sends it on.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple, final

from vespera_agents.actors.switchboard import Switchboard

if TYPE_CHECKING:
    from vespera_agents.health.subtree import Health
    from vespera_agents.specialists.runtime import Runtime

__all__ = ["HISTORY_COLUMNS", "History"]

HISTORY_COLUMNS: Final = (
    "at", "utilisation", "lag_seconds", "messages_per_second", "restarts", "commits_per_second", "in_flight",
)  # fmt: skip
"""What a row holds, in this order."""
ROWS_MAX: Final = 300


class _Totals(NamedTuple):
    """What only grows, at one moment."""

    moment: float
    busy_seconds: float
    idle_seconds: float
    messages: int
    restarts: int
    commits: int


@final
class History:
    """The rows, and the totals that the next one is counted from."""

    def __init__(self, health: Health, runtime: Runtime) -> None:
        """Begin with no rows."""
        self._health = health
        self._runtime = runtime
        self._switchboard: Switchboard | None = None
        self._rows: deque[str] = deque(maxlen=ROWS_MAX)
        self._before = self._totals()

    @property
    def rows(self) -> tuple[str, ...]:
        """The rows as JSON, the newest last."""
        return tuple(self._rows)

    def add(self) -> str:
        """Add the row of the time since the last one, and give it as JSON."""
        before, now = self._before, self._totals()
        self._before = now
        seconds = max(now.moment - before.moment, 1e-6)
        busy = now.busy_seconds - before.busy_seconds
        measured = busy + now.idle_seconds - before.idle_seconds
        row = (
            f"[{time.time():.3f},{busy / measured if measured > 0 else 0.0:.4f},"
            f"{self._health.watchdog.lag_seconds:.4f},{(now.messages - before.messages) / seconds:.1f},"
            f"{now.restarts - before.restarts},{(now.commits - before.commits) / seconds:.1f},{self._in_flight()}]"
        )
        self._rows.append(row)
        return row

    def _totals(self) -> _Totals:
        figures = self._health.watchdog.figures
        if self._switchboard is None:
            living = self._runtime.system.cells()
            self._switchboard = living[0].endpoint.switchboard if living else None
        kinds = () if self._switchboard is None else tuple(self._switchboard.kinds.values())
        return _Totals(
            time.perf_counter(),
            figures.busy_seconds,
            figures.idle_seconds,
            sum(kind.handled for kind in kinds),
            self._health.supervision.restarts.total,
            sum(opened.store.statistics().commits for opened in self._runtime.workspaces.values()),
        )

    def _in_flight(self) -> int:
        return sum(self._health.requests.in_flight.values())
