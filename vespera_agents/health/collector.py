"""The one collector: at each scrape it reads the plain numbers of the system and gives Prometheus families.

It runs in the thread that scrapes and never in the event loop, which may be blocked just then. It adds nothing to hot
paths and resets nothing. Neighbours: `measuring` turns pictures into values, `endpoint` serves the registry.
"""

from __future__ import annotations

import platform
import threading
import time
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final, cast, final

import trio
from prometheus_client import CollectorRegistry, Metric, disable_created_metrics

from supervisors import Report, Supervisor
from vespera_agents.actors import ActorSystem, SystemStatistics
from vespera_agents.health.backlog import Backlog, read_backlog, size_bytes
from vespera_agents.health.catalogue import CATALOGUE
from vespera_agents.health.exposition import Values, exposed
from vespera_agents.health.measuring import (
    actor_values,
    backlog_values,
    store_values,
    supervision_values,
    task_values,
)
from vespera_agents.health.reports import SupervisionFigures
from vespera_agents.health.task_figures import TaskFigures
from vespera_agents.health.windows import RestartWindows
from vespera_agents.specialists.runtime import Runtime
from vespera_agents.store import Store, StoreUnavailable

__all__ = ["Collector", "metrics_registry"]

PICTURE_TRIES: Final = 10
"""Attempts to see the actors between two steps of theirs."""


@final
class Collector:
    """All families of one runtime."""

    def __init__(
        self,
        system: ActorSystem,
        figures: SupervisionFigures,
        windows: RestartWindows,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Take what there is to read.

        Args:
            system: the actors.
            figures: what the supervisors told.
            windows: how full their restart windows are.
            clock: wall-clock seconds since the epoch.
        """
        self._system = system
        self._figures = figures
        self._windows = windows
        self._clock = clock
        self._tasks = TaskFigures()
        self._stores: list[Store] = []
        self._backlogs: dict[Path, Backlog] = {}
        self._scrape_errors = 0
        self._one_at_a_time = threading.Lock()

    def follow(self, store: Store) -> None:
        """Count what this store does from now on; in the event loop. A store that is followed already is no news."""
        if store not in self._stores:
            self._stores.append(store)
            store.subscribe(self._tasks.changed)

    def describe(self) -> list[Metric]:
        """Give nothing, so that registering does not scrape."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Read everything once and give the families in the catalogue's order; in any thread but the loop's own."""
        with self._one_at_a_time:
            values = self._values()
        return (exposed(family, values[family.name]) for family in CATALOGUE)

    def _values(self) -> dict[str, Values]:
        stores = tuple(self._stores)
        for store in stores:
            self._read_backlog(store.database)
        return {
            "vespera_build_info": {(_own_version(), platform.python_version(), trio.__version__): 1},
            **actor_values(_picture(self._system)),
            **supervision_values(self._figures, self._windows.used_ratios()),
            **task_values(self._tasks),
            **backlog_values(self._backlogs.values(), self._clock()),
            **store_values(
                (store.statistics() for store in stores),
                sum(size_bytes(store.database) for store in stores),
                self._scrape_errors,
            ),
        }

    def _read_backlog(self, database: Path) -> None:
        """Read a backlog; where that fails, the last one stands and the failure is counted."""
        try:
            self._backlogs[database] = read_backlog(database)
        except StoreUnavailable:
            self._scrape_errors += 1


def metrics_registry(runtime: Runtime, figures: SupervisionFigures) -> CollectorRegistry:
    """Make the registry of a runtime, with every store that is open or will be; call it once, in the event loop.

    Args:
        runtime: what is measured.
        figures: the listener that the runtime was opened with.
    """
    disable_created_metrics()
    windows = RestartWindows(runtime.root, has_restarted=lambda: figures.restarts.total > 0)
    collector = Collector(runtime.system, figures, windows)
    for opened in runtime.workspaces.values():
        collector.follow(opened.store)
    workspaces = cast("Supervisor", runtime.root.child_value("workspaces"))

    def workspace_started(report: Report) -> None:
        if report.supervisor == workspaces.name and report.offender is not None:
            collector.follow(_store_of(workspaces, report.offender.id))

    figures.watch_starts(workspace_started)
    # A collector that describes nothing answers to no name, but ?name[]= on a scrape should still find its families.
    registry = CollectorRegistry(support_collectors_without_names=True)
    registry.register(collector)
    return registry


def _store_of(workspaces: Supervisor, directory: str) -> Store:
    """Give the store of a workspace that has just become ready: it is there before its first command can come."""
    return cast("Store", cast("Supervisor", workspaces.child_value(directory)).child_value("store"))


def _picture(system: ActorSystem) -> SystemStatistics:
    """Take a picture of the actors while their loop may be running.

    An actor may take a step between two looks at it; whoever looks then finds a gap where something was, and looks
    again.
    """
    for _ in range(PICTURE_TRIES - 1):
        try:
            return system.statistics()
        except (IndexError, KeyError, TypeError):
            continue
    return system.statistics()


def _own_version() -> str:
    try:
        return version("vespera-agents")
    except PackageNotFoundError:
        return "not installed"
