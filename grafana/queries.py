"""Expressions over the catalogue's families, written the same way in every panel.

Each begins with the target that the dashboard's variables pick, and refuses a family that nobody exposes. Not the
rules: those are read by Prometheus as they stand in `rules/`, and have no variables.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, final

from vespera_agents.health.metrics.catalogue import CATALOGUE
from vespera_agents.health.metrics.families import MetricFamily, MetricKind

__all__ = ["BESIDE", "INTERVAL", "TARGET", "Query", "average", "filled", "grown", "largest", "now", "picked"]
__all__ += ["quantiles", "rate", "share"]

TARGET: Final = 'job="$job",instance=~"$instance"'
"""Which servers: the variables of every dashboard."""
INTERVAL: Final = "$__rate_interval"
"""Grafana makes it at least four scrapes long, whatever the zoom."""
BESIDE: Final = frozenset(
    {
        "up",
        "ALERTS",
        "scrape_duration_seconds",
        "scrape_samples_post_metric_relabeling",
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "process_open_fds",
        "process_max_fds",
        "python_gc_collections_total",
    }
)
"""What is not in the catalogue: Prometheus's own series, and those of its client library."""
FAMILIES: Final[Mapping[str, MetricFamily]] = {family.name: family for family in CATALOGUE}
_A_LITTLE: Final = "1e-9"
"""What a share is divided by where nothing happened: then it is 0, not a gap."""


@final
@dataclass(frozen=True, slots=True)
class Query:
    """One query of a panel."""

    expr: str
    """PromQL with the dashboard's variables."""
    legend: str
    """What its series are called, with their labels in double braces."""


def picked(name: str, where: str = "", *, part: str = "") -> str:
    """Select a family's series of the chosen servers.

    Args:
        name: as the catalogue has it.
        where: more label matchers.
        part: bucket, sum or count of a histogram.
    """
    family = FAMILIES.get(name)
    if family is None and name not in BESIDE:
        raise ValueError(
            f"{name} is not in the catalogue; choose a family of vespera_agents/health/metrics/catalogue.py"
        )
    if family is not None and (family.kind is MetricKind.HISTOGRAM) is not bool(part):
        raise ValueError(f"{name} is a {family.kind}; {'say which part of it' if not part else 'it has no parts'}")
    suffix = f"_{part}" if part else ""
    return f"{name}{suffix}{{{TARGET}{',' if where else ''}{where}}}"


def _by(labels: tuple[str, ...]) -> str:
    return f" by ({', '.join(labels)})" if labels else ""


def _legend(labels: tuple[str, ...], otherwise: str) -> str:
    return " ".join(f"{{{{{label}}}}}" for label in labels) or otherwise


def rate(name: str, *by: str, where: str = "", legend: str = "") -> Query:
    """How often a second, summed over the servers."""
    counted = picked(name, where)
    return Query(f"sum{_by(by)} (rate({counted}[{INTERVAL}]))", legend or _legend(by, "all"))


def grown(name: str, *by: str, over: str = "$__range", where: str = "", legend: str = "") -> Query:
    """How many in a time, by default in what the dashboard shows."""
    return Query(f"sum{_by(by)} (increase({picked(name, where)}[{over}]))", legend or _legend(by, "all"))


def now(name: str, *by: str, where: str = "", legend: str = "") -> Query:
    """How it is, summed over the servers."""
    return Query(f"sum{_by(by)} ({picked(name, where)})", legend or _legend(by, "all"))


def largest(name: str, *by: str, where: str = "", legend: str = "") -> Query:
    """How it is where it is most."""
    return Query(f"max{_by(by)} ({picked(name, where)})", legend or _legend(by, "largest"))


def quantiles(name: str, *by: str, of: tuple[float, ...] = (0.5, 0.95, 0.99)) -> tuple[Query, ...]:
    """The times that this share of observations stay below."""
    labels = ", ".join(("le", *by))
    rates = f"sum by ({labels}) (rate({picked(name, part='bucket')}[{INTERVAL}]))"
    return tuple(
        Query(f"histogram_quantile({share_}, {rates})", f"p{share_ * 100:g} {_legend(by, '')}".strip()) for share_ in of
    )


def average(name: str, *by: str, legend: str = "") -> Query:
    """The mean observation; 0 where there were none."""
    total, count = (f"sum{_by(by)} (rate({picked(name, part=part)}[{INTERVAL}]))" for part in ("sum", "count"))
    return Query(f"{total} / clamp_min({count}, {_A_LITTLE})", legend or _legend(by, "mean"))


def share(name: str, where: str, *by: str, legend: str = "") -> Query:
    """Which part of a counter's growth matches, 0 to 1; 0 where nothing happened."""
    some, all_ = (f"sum{_by(by)} (rate({picked(name, each)}[{INTERVAL}]))" for each in (where, ""))
    return Query(f"{some} / clamp_min({all_}, {_A_LITTLE})", legend or _legend(by, "share"))


def filled(expr: str, *, job: str, instance: str = ".*", interval: str = "1m", range_: str = "1h") -> str:
    """Put values where the variables are, as Grafana does."""
    for name, value in {
        "$job": job,
        "$instance": instance,
        "$__rate_interval": interval,
        "$__range": range_,
    }.items():
        expr = expr.replace(name, value)
    return expr
