"""The `health` branch of a runtime's tree: what shows how it is doing, below a supervisor of its own.

    root
    └─ health        one_for_one
        └─ metrics   answers scrapes from a thread

A branch that melts down is not started again: what watches the work must never take it down. Neighbours: `endpoint`
is the child, `collector` what it shows.
"""

from __future__ import annotations

from typing import cast

from supervisors import ChildSpec, Restart, StartFailed, Supervisor, supervisor_spec
from vespera_agents.health.collector import metrics_registry
from vespera_agents.health.endpoint import MetricsEndpoint, metrics_child
from vespera_agents.health.errors import HealthError
from vespera_agents.health.reports import SupervisionFigures
from vespera_agents.specialists.runtime import Runtime

__all__ = ["start_health"]


async def start_health(runtime: Runtime, figures: SupervisionFigures, metrics_address: str) -> MetricsEndpoint:
    """Start the health branch of a runtime; best before its first workspace is opened, so that nothing is missed.

    Args:
        runtime: whose health it is.
        figures: the listener that the runtime was opened with.
        metrics_address: HOST:PORT to serve metrics on.

    Raises:
        AddressRefused: the address is wrong, taken or not ours.
    """
    registry = metrics_registry(runtime, figures)

    def branch() -> Supervisor:
        return Supervisor([ChildSpec("metrics", metrics_child, args=(registry, metrics_address))], name="health")

    try:
        started = await runtime.root.start_child(supervisor_spec("health", branch, restart=Restart.TEMPORARY))
    except StartFailed as failed:
        cause: BaseException | None = failed
        while cause is not None and not isinstance(cause, HealthError):
            cause = cause.__cause__
        raise (cause or failed) from failed
    return cast("MetricsEndpoint", cast("Supervisor", started.value).child_value("metrics"))
