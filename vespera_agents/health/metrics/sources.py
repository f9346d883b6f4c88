"""Where the numbers of a runtime come from: `Sources`, which is there from its start, whether or not anybody scrapes.

What is counted as it happens has to be heard from the beginning; everything else is asked at the scrape. Made and fed
in the event loop. Neighbours: `collector` reads it, `subtree` makes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast, final

from supervisors import Report, Supervisor
from vespera_agents.health.metrics.lifecycle import LifecycleFigures
from vespera_agents.health.metrics.reports import SupervisionFigures
from vespera_agents.health.metrics.requests import RequestFigures
from vespera_agents.health.metrics.task_figures import TaskFigures
from vespera_agents.health.metrics.windows import LoopLook
from vespera_agents.health.watchdog.figures import LoopFigures
from vespera_agents.specialists.runtime import Runtime
from vespera_agents.store import Store

if TYPE_CHECKING:
    from vespera_agents.actors import ActorSystem
    from vespera_agents.specialists.admission import Admission
    from vespera_agents.specialists.front import Front
    from vespera_agents.specialists.sessions import OpenWorkspace

__all__ = ["Sources"]


@final
class Sources:
    """Everything that is measured of one runtime."""

    def __init__(
        self,
        runtime: Runtime,
        supervision: SupervisionFigures,
        requests: RequestFigures,
        lifecycle: LifecycleFigures,
        loop: LoopFigures,
    ) -> None:
        """Take what there is to read, with every store that is open or will be; in the event loop.

        Args:
            runtime: what is measured.
            supervision: the listener that the runtime was opened with.
            requests: what clients ask for.
            lifecycle: where the server is in its life.
            loop: how busy the event loop is.
        """
        self.system: ActorSystem = runtime.system
        """The actors."""
        self.admission: Admission = runtime.admission
        """Whether new work may begin."""
        self.workspaces: Mapping[Path, OpenWorkspace] = runtime.workspaces
        """Those that are open."""
        self.front: Front | None = runtime.front
        """The front before us, if there is one."""
        self.supervision = supervision
        """What the supervisors told."""
        self.requests = requests
        """What clients asked for."""
        self.lifecycle = lifecycle
        """Where the server is in its life."""
        self.tasks = TaskFigures()
        """What became of tasks."""
        self.workspaces = runtime.workspaces
        """The workspaces that were opened, by directory."""
        self.stores: list[Store] = []
        """Every store that was ever open, in the order of their opening."""
        self.loop = loop
        """How busy the event loop is."""
        self.look = LoopLook(runtime.root, has_restarted=lambda: supervision.has_restarted)
        """Asks the loop for what only it can tell."""
        for opened in runtime.workspaces.values():
            self.follow(opened.store)
        self._workspaces = cast("Supervisor", runtime.root.child_value("workspaces"))
        supervision.watch_starts(self._started)

    def follow(self, store: Store) -> None:
        """Count what this store does from now on; in the event loop. A store that is followed already is no news."""
        if store not in self.stores:
            self.stores.append(store)
            store.subscribe(self.tasks.changed)

    def _started(self, report: Report) -> None:
        """Follow the store of a workspace that has just become ready: before its first command can come."""
        if report.supervisor == self._workspaces.name and report.offender is not None:
            workspace = cast("Supervisor", self._workspaces.child_value(report.offender.id))
            self.follow(cast("Store", workspace.child_value("store")))
