"""`Measured`: the metrics of a runtime for whoever wants them, whether or not anybody was expected to.

The library that writes them is imported with the first wish. Neighbours: `sources` has the numbers, `endpoint`, the
HTTP door and the control socket show them.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, final

from vespera_agents.health.metrics.sources import Sources

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from vespera_agents.health.metrics.rendering import Exposition

__all__ = ["Measured"]


@final
class Measured:
    """The metrics of one runtime."""

    def __init__(self, sources: Sources) -> None:
        """Take where the numbers come from."""
        self._sources = sources
        self._registry: CollectorRegistry | None = None
        self._making = threading.Lock()

    def registry(self) -> CollectorRegistry:
        """Give the registry, made when it is first asked for; from any thread."""
        # It takes 80 ms, which nobody should pay for who wants no metrics.
        from vespera_agents.health.metrics.collector import metrics_registry  # noqa: PLC0415

        with self._making:
            if self._registry is None:
                self._registry = metrics_registry(self._sources)
            return self._registry

    def scrape(self, accept: str = "", names: Sequence[str] = ()) -> Exposition:
        """Give the metrics as text; in any thread but the loop's own.

        Args:
            accept: what the scraper takes, as an Accept header says it.
            names: families, or series of them, that are wanted; all unless given.
        """
        from vespera_agents.health.metrics.rendering import render  # noqa: PLC0415 - as above

        return render(self.registry(), accept, names)
