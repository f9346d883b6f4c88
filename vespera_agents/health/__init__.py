"""How a runtime is doing, for people and for Prometheus.

catalogue, labels          every metric family that is exposed, and every label value that it can have
reports, task_figures      what supervisors and stores told, counted for as long as the process lives
windows, backlog           what is asked at each scrape: restart windows of the loop, tasks of the database
measuring, exposition      from pictures to values, and from values to Prometheus families
collector                  the one collector, and the registry with it
endpoint, subtree          `/metrics` from a thread, and its place in the tree
errors                     what can go wrong with showing it
"""

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
