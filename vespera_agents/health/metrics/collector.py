"""The one collector: at each scrape it reads the plain numbers of the system and gives Prometheus families.

It runs in the thread that scrapes and never in the event loop, which may be blocked just then. It adds nothing to hot
paths and resets nothing. Neighbours: `sources` has the numbers, `measuring` turns pictures into values, `rendering`
makes text of it.
"""

from __future__ import annotations

import logging
import platform
import threading
import time
from collections.abc import Callable, Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import cast, final

import trio
from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    Metric,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)

from vespera_agents.health.metrics.backlog import Backlog, read_backlog, size_bytes
from vespera_agents.health.metrics.catalogue import CATALOGUE
from vespera_agents.health.metrics.exposition import Values, exposed
from vespera_agents.health.metrics.families import MetricFamily
from vespera_agents.health.metrics.labels import SPECIALISTS
from vespera_agents.health.metrics.measuring import (
    actor_values,
    backlog_values,
    callback_values,
    context_values,
    life_values,
    loop_values,
    request_values,
    store_values,
    supervision_values,
    task_values,
)
from vespera_agents.health.metrics.models import model_values
from vespera_agents.health.metrics.sources import Sources
from vespera_agents.providers.circuit import worst_circuits
from vespera_agents.specialists.roles import CONTEXT_TOKENS_MAX, load_roles
from vespera_agents.specialists.specialist import Specialist
from vespera_agents.store import StoreUnavailable

__all__ = ["Collector", "metrics_registry"]

log = logging.getLogger(__name__)


@final
class Collector:
    """All families of one runtime."""

    def __init__(self, sources: Sources, *, clock: Callable[[], float] = time.time) -> None:
        """Take what there is to read; `clock` gives wall-clock seconds since the epoch."""
        self._sources = sources
        self._clock = clock
        self._backlogs: dict[Path, Backlog] = {}
        self._scrape_errors = 0
        self._undeclared: set[str] = set()
        self._one_at_a_time = threading.Lock()

    def describe(self) -> list[Metric]:
        """Give nothing, so that registering does not scrape."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Read everything once and give the families in the catalogue's order; in any thread but the loop's own."""
        with self._one_at_a_time:
            values = self._values()
        return (exposed(family, values.get(family.name, {}), self._notice) for family in CATALOGUE)

    def _notice(self, family: MetricFamily, labels: tuple[str, ...]) -> None:
        """Log, once for each family, that it has values under labels that the catalogue does not have."""
        if family.name not in self._undeclared:
            self._undeclared.add(family.name)
            log.warning(
                "%s was measured under labels %r, which the catalogue does not have: they count as other, or not at "
                "all. It is a mistake in the program: report it.",
                family.name,
                labels,
            )

    def _values(self) -> dict[str, Values]:
        sources = self._sources
        stores = tuple(sources.stores)
        for store in stores:
            self._read_backlog(store.database)
        statistics, view = sources.system.statistics(), sources.look.view()
        backlogs = list(self._backlogs.values())
        draining = sum(kind.occupied for kind in statistics.kinds.values()) if not sources.admission.is_open else 0
        return {
            "vespera_build_info": {(_own_version(), platform.python_version(), trio.__version__): 1},
            **actor_values(statistics),
            **supervision_values(sources.supervision, view),
            **loop_values(sources.loop.statistics(), view),
            **context_values(
                self._facts(),
                _limits(),
                [one for opened in tuple(sources.workspaces.values()) for one in opened.context_figures.statistics()],
            ),
            **self._model_values(),
            **request_values(sources.requests),
            **task_values(sources.tasks),
            **backlog_values(backlogs, self._clock()),
            **callback_values(
                backlogs, [one.callbacks.figures for one in tuple(sources.workspaces.values())], self._clock()
            ),
            **store_values(
                (store.statistics() for store in stores),
                sum(size_bytes(store.database) for store in stores),
                self._scrape_errors,
            ),
            **life_values(sources, backlogs),
            "vespera_shutdown_draining_actors": {(): draining},
        }

    def _model_values(self) -> dict[str, Values]:
        """Ask each workspace for what it counted of models."""
        sources = [opened.model_source for opened in tuple(self._sources.workspaces.values())]
        figures = [source.figures for source in sources if source.figures is not None]
        return model_values(figures, worst_circuits(source.circuits for source in sources))

    def _facts(self) -> list[dict[str, str | int | float]]:
        """Ask each specialist that is at work what it says of itself."""
        endpoints = [cell.endpoint for cell in self._sources.system.cells()]
        told = [each.facts for each in endpoints if each.counts.kind == Specialist.__name__]
        return [dict(each()) for each in told if each is not None]

    def _read_backlog(self, database: Path) -> None:
        """Read a backlog; where that fails, the last one stands and the failure is counted."""
        front = self._sources.front
        try:
            self._backlogs[database] = read_backlog(database, None if front is None else front.server)
        except StoreUnavailable:
            self._scrape_errors += 1


def metrics_registry(sources: Sources) -> CollectorRegistry:
    """Make the registry of a runtime, with what prometheus_client itself knows of the process."""
    disable_created_metrics()
    # A collector that describes nothing answers to no name, but ?name[]= on a scrape should still find its families.
    registry = CollectorRegistry(support_collectors_without_names=True)
    registry.register(Collector(sources))
    # The annotations of these say more than strict checking takes: any registry at all.
    for make in (ProcessCollector, GCCollector, PlatformCollector):
        cast("Callable[..., object]", make)(registry=registry)
    return registry


@cache
def _limits() -> dict[str, int]:
    """Give the context limits of packaged roles; at the first scrape, for a server that starts needs no roles yet."""
    roles = load_roles()
    return {name: roles[name].context_tokens_max if name in roles else CONTEXT_TOKENS_MAX for name in SPECIALISTS}


def _own_version() -> str:
    try:
        return version("vespera-agents")
    except PackageNotFoundError:
        return "not installed"
