"""Every query of every panel and every rule returns data from a real Prometheus that scraped a real server in trouble.

The server is `vespera serve` over HTTP with its worker and a spare; it carries out a plan in which a command and the
worker are killed, and one whose specialist crashes. Then a specialist works with models, one of which fails, in a
context that is too small, and every callback arrives at the second attempt.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import partial

import pytest
import trio

from grafana.private import PROGRAM, Prometheus
from grafana.queries import filled
from grafana.trouble import eventually, seen_running, thinking, trouble
from tests.grafana.rules_kit import ALERTS, PROMTOOL, RECORDINGS, promtool, uncompared
from tests.grafana.test_dashboards import FILES, PANELS
from tests.health.kit import fetch

QUIET = re.compile(r"vespera_ask_")
"""Only some asks are timed, and there are hardly any in this run. A quantile of no observations is not a number."""
MOVING = re.compile(r"vespera_(?:llm|context|callback)s?_")
"""What there was nothing of before specialists worked with models: zeros would be the data of a server without them."""
STILL = re.compile(r"in_flight|pending|state=\"open\"")
"""Is zero between two pieces of work."""

pytestmark = pytest.mark.skipif(
    PROGRAM is None or PROMTOOL is None, reason="prometheus is missing: install it with `apt-get install prometheus`"
)


def silent(prometheus: Prometheus, queries: Mapping[str, str]) -> list[str]:
    """Ask everything and name what returns nothing, or nothing that is a number."""
    found: list[str] = []
    for place, expr in queries.items():
        answer = prometheus.now(expr)
        if not answer:
            found.append(f"{place} returns nothing: {expr}")
        elif all(math.isnan(series.value) for series in answer) and not QUIET.search(expr):
            found.append(f"{place} returns no number: {expr}")
    return found


def resting(prometheus: Prometheus, queries: Mapping[str, str]) -> list[str]:
    """Ask about models, contexts and callbacks, and name what returns nothing but zeros."""
    asked = {place: expr for place, expr in queries.items() if MOVING.search(expr) and not STILL.search(expr)}
    assert len(asked) > 15, "the pattern finds them"
    return [
        f"{place} returns zeros: {expr}"
        for place, expr in asked.items()
        if not any(series.value > 0 for series in prometheus.now(expr))
    ]


def queries_of_panels() -> dict[str, str]:
    fill = partial(filled, job="vespera", interval="30s", range_="1m")
    panels = {
        f"{place} [{target['refId']}]": fill(target["expr"])
        for place, panel in PANELS.items()
        for target in panel["targets"]
    }
    marks = {
        f"{name}: {mark['name']}": uncompared(fill(mark["expr"]))
        for name, board in FILES.items()
        for mark in board["annotations"]["list"]
    }
    return {**panels, **marks}


def queries_of_rules() -> dict[str, str]:
    return {name: uncompared(rule["expr"]) for name, rule in {**ALERTS, **RECORDINGS}.items()}


async def test_every_query_of_every_panel_and_rule_returns_data_after_a_run_with_crashes() -> None:
    async with seen_running() as (place, client, prometheus, address):
        await trouble(place, client, prometheus)
        for _ in range(2):
            await thinking(place, client, prometheus)
        await eventually(lambda: all(prometheus.now(name) for name in RECORDINGS))
        queries = {**queries_of_panels(), **queries_of_rules()}
        missing = await trio.to_thread.run_sync(silent, prometheus, queries)
        missing += await trio.to_thread.run_sync(resting, prometheus, queries)
        kept = prometheus.ask("query_exemplars", query="vespera_task_duration_seconds_bucket", start=0, end=2**32)
        exposition = (await trio.to_thread.run_sync(fetch, f"http://{address}/metrics"))[1]
    assert not missing, "\n".join(missing)
    assert all(each["labels"]["task_id"].startswith("task_") for series in kept for each in series["exemplars"])
    assert kept, "Prometheus keeps which task took how long"
    done = promtool("check", "metrics", text=exposition)
    assert (done.returncode, done.stderr) == (0, "")
