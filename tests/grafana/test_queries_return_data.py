"""Every query of every panel and every rule returns data from a real Prometheus that scraped a real server in trouble.

The server is `vespera serve` over HTTP with its worker and a spare; it carries out a plan in which a command and the
worker are killed, and one whose specialist crashes. Then a specialist works with models, one of which fails, in a
context that is too small, and every callback arrives at the second attempt.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from contextlib import suppress
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


def moves(expr: str) -> bool:
    """Say whether a query is about models, contexts or callbacks, of which there was something."""
    return MOVING.search(expr) is not None and STILL.search(expr) is None


def complaints(prometheus: Prometheus, queries: Mapping[str, str]) -> dict[str, str]:
    """Ask everything and name what returns nothing, nothing that is a number, or zeros where something has moved."""
    found: dict[str, str] = {}
    for place, expr in queries.items():
        answer = prometheus.now(expr)
        if not answer:
            found[place] = f"{place} returns nothing: {expr}"
        elif all(math.isnan(series.value) for series in answer) and not QUIET.search(expr):
            found[place] = f"{place} returns no number: {expr}"
        elif moves(expr) and not any(series.value > 0 for series in answer):
            found[place] = f"{place} returns zeros: {expr}"
    return found


async def unanswered(prometheus: Prometheus, queries: Mapping[str, str]) -> dict[str, str]:
    """Ask until each query was answered, and name what was not.

    A scrape that takes longer than its second leaves nothing to be found until the next.
    """
    left = dict(queries)
    missing: dict[str, str] = {}

    def ask_again() -> bool:
        nonlocal left, missing
        missing = complaints(prometheus, left)
        left = {place: left[place] for place in missing}
        return not left

    with suppress(trio.TooSlowError):
        await eventually(ask_again)
    return missing


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
        assert len([expr for expr in queries.values() if moves(expr)]) > 15, "the pattern finds them"
        missing = await unanswered(prometheus, queries)
        kept = prometheus.ask("query_exemplars", query="vespera_task_duration_seconds_bucket", start=0, end=2**32)
        exposition = (await trio.to_thread.run_sync(fetch, f"http://{address}/metrics"))[1]
    assert not missing, "\n".join(missing.values())
    assert all(each["labels"]["task_id"].startswith("task_") for series in kept for each in series["exemplars"])
    assert kept, "Prometheus keeps which task took how long"
    done = promtool("check", "metrics", text=exposition)
    assert (done.returncode, done.stderr) == (0, "")
