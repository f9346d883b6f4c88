"""How the front fares, as it tells its workers: a Standing in JSON, with the deaths of the last workers.

Neighbours: `workers` writes it at each change, `restarting` fills in the restart; the worker's lifecycle tools show it.
"""

from __future__ import annotations

import json
import time
from collections import deque
from typing import Final, Protocol, final

from vespera_agents.front.framing import STANDING

__all__ = ["DEATHS_KEPT", "Standing"]

DEATHS_KEPT: Final = 20


class Restarting(Protocol):
    """A restart that is under way, or has failed."""

    def facts(self) -> dict[str, object]:
        """Give what workers are told of it."""
        ...

    def fail(self, why: str) -> None:
        """Take in that it has failed."""
        ...

    def served_by(self, generation: int, *, old_code: bool) -> None:
        """Take in who works, once it has failed."""
        ...


@final
class Standing:
    """What is known of a front at this moment."""

    def __init__(self) -> None:
        self.generation = 0
        """Which worker works, or is about to."""
        self.since = time.time()
        """Since when, in seconds of the wall clock."""
        self.restarting: Restarting | None = None
        """The restart that is under way, or the last one if it failed."""
        self.spare = False
        """Whether a spare waits."""
        self.processes = 0
        """Processes of the front's that live."""
        self._crashes: deque[dict[str, object]] = deque(maxlen=DEATHS_KEPT)

    def died(self, generation: int, pid: int, status: int | None, *, ready: bool) -> None:
        """Remember the end of a worker that nobody asked to end."""
        self._crashes.append(
            {"generation": generation, "at": time.time(), "pid": pid, "status": status, "ready": ready}
        )

    @property
    def crashes(self) -> int:
        """How many deaths are remembered."""
        return len(self._crashes)

    def facts(self) -> dict[str, object]:
        """Give all of it."""
        return {
            "generation": self.generation,
            "since": self.since,
            "restarting": None if self.restarting is None else self.restarting.facts(),
            "crashes": [*self._crashes],
            "spare": self.spare,
            "processes": self.processes,
        }

    def line(self) -> bytes:
        """Give the line that tells a worker."""
        return b"%s %s\n" % (STANDING, json.dumps(self.facts()).encode())
