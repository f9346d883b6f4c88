"""How a runtime is doing, for people and for Prometheus.

catalogue, labels          every metric family that is exposed, and every label value that it can have
reports, task_figures      what supervisors and stores told, counted for as long as the process lives
windows, backlog           what is asked at each scrape: restart windows of the loop, tasks of the database
measuring, exposition      from pictures to values, and from values to Prometheus families
collector                  the one collector, and the registry with it
endpoint, subtree          `/metrics` from a thread, and its place in the tree
checks, vitals, lag        the model of health: what is measured now, and what follows from it
errors                     what can go wrong with showing it

Names are loaded when they are asked for: a server that shows no metrics does not pay for the library that does.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from vespera_agents.health.catalogue import CATALOGUE, Label, MetricFamily, MetricKind
    from vespera_agents.health.collector import Collector, metrics_registry
    from vespera_agents.health.endpoint import MetricsEndpoint, metrics_child, parse_address
    from vespera_agents.health.errors import AddressRefused, EndpointEnded, HealthError
    from vespera_agents.health.labels import declared_supervisor
    from vespera_agents.health.reports import SupervisionFigures
    from vespera_agents.health.subtree import start_health
    from vespera_agents.health.task_figures import TaskFigures, TaskOutcome

__all__ = [
    "CATALOGUE",
    "AddressRefused",
    "Collector",
    "EndpointEnded",
    "HealthError",
    "Label",
    "MetricFamily",
    "MetricKind",
    "MetricsEndpoint",
    "SupervisionFigures",
    "TaskFigures",
    "TaskOutcome",
    "declared_supervisor",
    "metrics_child",
    "metrics_registry",
    "parse_address",
    "start_health",
]

_HOMES: Final = {
    "AddressRefused": "errors",
    "CATALOGUE": "catalogue",
    "Collector": "collector",
    "EndpointEnded": "errors",
    "HealthError": "errors",
    "Label": "catalogue",
    "MetricFamily": "catalogue",
    "MetricKind": "catalogue",
    "MetricsEndpoint": "endpoint",
    "SupervisionFigures": "reports",
    "TaskFigures": "task_figures",
    "TaskOutcome": "task_figures",
    "declared_supervisor": "labels",
    "metrics_child": "endpoint",
    "metrics_registry": "collector",
    "parse_address": "endpoint",
    "start_health": "subtree",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # Kept, so that it is looked up once.
    value = globals()[name] = getattr(import_module(f"{__name__}.{home}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
