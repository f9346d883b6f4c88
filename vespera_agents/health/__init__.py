"""How a runtime is doing, for people and for Prometheus.

metrics                    what Prometheus sees: the catalogue, the collector, the endpoint
observer                   what people see who watch a server: the feed, and the page
subtree                    `Health`: everything that a server knows of itself, and its branch of the tree
model                      whether it lives, is ready, and how well it is; pages: the same over HTTP
checks, vitals, lag        what is measured, and what follows from it; component_checks: what components say themselves
settings, settings_file    from where on a measurement is a reason, and what is done then
recovering, recoveries     when a recovery is due, and carrying it out
errors                     what can go wrong with showing it

Names are loaded when they are asked for: a server that shows no metrics does not pay for the library that does.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from vespera_agents.health.checks import Grade, Reason, Thresholds, Verdict
    from vespera_agents.health.component_checks import ComponentChecks
    from vespera_agents.health.errors import (
        AddressRefused,
        EndpointEnded,
        FeedRefused,
        HealthError,
        RecoveryFailed,
        SettingsRefused,
    )
    from vespera_agents.health.metrics.catalogue import CATALOGUE
    from vespera_agents.health.metrics.collector import Collector, metrics_registry
    from vespera_agents.health.metrics.endpoint import MetricsEndpoint, metrics_child, parse_address
    from vespera_agents.health.metrics.families import Label, MetricFamily, MetricKind
    from vespera_agents.health.metrics.labels import declared_supervisor
    from vespera_agents.health.metrics.reports import SupervisionFigures
    from vespera_agents.health.metrics.task_figures import TaskFigures, TaskOutcome
    from vespera_agents.health.model import HealthModel
    from vespera_agents.health.recovering import Recovery, RecoveryAction
    from vespera_agents.health.settings import HealthSettings, read_settings
    from vespera_agents.health.subtree import Health, health_of

__all__ = [
    "CATALOGUE",
    "AddressRefused",
    "Collector",
    "ComponentChecks",
    "EndpointEnded",
    "FeedRefused",
    "Grade",
    "Health",
    "HealthError",
    "HealthModel",
    "HealthSettings",
    "Label",
    "MetricFamily",
    "MetricKind",
    "MetricsEndpoint",
    "Reason",
    "Recovery",
    "RecoveryAction",
    "RecoveryFailed",
    "SettingsRefused",
    "SupervisionFigures",
    "TaskFigures",
    "TaskOutcome",
    "Thresholds",
    "Verdict",
    "declared_supervisor",
    "health_of",
    "metrics_child",
    "metrics_registry",
    "parse_address",
    "read_settings",
]

_HOMES: Final = {
    "ComponentChecks": "component_checks",
    "Grade": "checks",
    "HealthModel": "model",
    "HealthSettings": "settings",
    "Reason": "checks",
    "Recovery": "recovering",
    "RecoveryAction": "recovering",
    "RecoveryFailed": "errors",
    "SettingsRefused": "errors",
    "Thresholds": "checks",
    "Verdict": "checks",
    "read_settings": "settings",
    "AddressRefused": "errors",
    "CATALOGUE": "metrics.catalogue",
    "Collector": "metrics.collector",
    "EndpointEnded": "errors",
    "FeedRefused": "errors",
    "Health": "subtree",
    "HealthError": "errors",
    "Label": "metrics.families",
    "MetricFamily": "metrics.families",
    "MetricKind": "metrics.families",
    "MetricsEndpoint": "metrics.endpoint",
    "SupervisionFigures": "metrics.reports",
    "TaskFigures": "metrics.task_figures",
    "TaskOutcome": "metrics.task_figures",
    "declared_supervisor": "metrics.labels",
    "metrics_child": "metrics.endpoint",
    "metrics_registry": "metrics.collector",
    "parse_address": "metrics.endpoint",
    "health_of": "subtree",
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
