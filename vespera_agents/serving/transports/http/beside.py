"""What a server answers over HTTP beside MCP: how well it is, its metrics, and the observer.

Neighbours: `door` hands requests for these pages on, `health` and `metrics` are some of them, the others are those of
`vespera_agents.health.observer`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import final

from vespera_agents.front.http.passes import OBSERVER
from vespera_agents.health.observer.app import ObserverApp
from vespera_agents.health.observer.local import LocalSource
from vespera_agents.health.subtree import Health
from vespera_agents.serving.transports.http.guard import Inner
from vespera_agents.serving.transports.http.health import health_pages
from vespera_agents.serving.transports.http.metrics import metrics_pages

__all__ = ["Beside", "beside"]


@final
@dataclass(frozen=True, slots=True)
class Beside:
    """The pages, and their end."""

    pages: Mapping[str, Inner]
    """Who answers, by the first part of the path."""
    at_stop: Callable[[], None]
    """Ends what the pages stream."""


def beside(health: Health, at_stop: Callable[[], None] | None) -> Beside:
    """Give what is answered beside MCP.

    Args:
        health: of the server.
        at_stop: ends what MCP streams.
    """
    observer = ObserverApp(LocalSource(health))

    def stop() -> None:
        if at_stop is not None:
            at_stop()
        observer.stop()

    assert health.measured is not None, "its branch was started"
    return Beside({**health_pages(health.model), **metrics_pages(health.measured), OBSERVER: observer}, stop)
