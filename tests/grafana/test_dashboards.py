"""The dashboards: built as committed, read by Grafana's own library, sound PromQL over families that exist."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from grafana import queries
from grafana.boards import BOARDS
from grafana.build import DASHBOARDS, again, texts
from grafana.queries import BESIDE, FAMILIES, Query, filled
from tests.grafana.rules_kit import ALERTS, RECORDINGS, ROOT, metrics_in, values_in
from vespera_agents.health.metrics.catalogue import CATALOGUE
from vespera_agents.health.metrics.families import MetricKind

FILES = {board.name: json.loads((DASHBOARDS / f"{board.name}.json").read_text(encoding="utf-8")) for board in BOARDS}
PARTS = ("_bucket", "_sum", "_count")


def panels() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, board in FILES.items():
        for panel in board["panels"]:
            if panel["type"] != "row":
                yield f"{name}: {panel['title']}", panel


PANELS = dict(panels())


def expressions(place: str) -> list[str]:
    return [filled(target["expr"], job="vespera") for target in PANELS[place]["targets"]]


def family_of(metric: str) -> str:
    """Give the family that a series belongs to: a histogram has three kinds of them."""
    for part in PARTS:
        name = metric.removesuffix(part)
        if name != metric and name in FAMILIES and FAMILIES[name].kind is MetricKind.HISTOGRAM:
            return name
    return metric


def test_the_committed_files_are_what_build_writes_byte_for_byte() -> None:
    assert {path.name: path.read_text(encoding="utf-8") for path in DASHBOARDS.iterdir()} == dict(texts())


@pytest.mark.parametrize("name", FILES)
def test_what_grafanas_library_reads_it_writes_again(name: str) -> None:
    text = (DASHBOARDS / f"{name}.json").read_text(encoding="utf-8")
    assert again(text) == text


def test_there_are_five_dashboards_that_find_each_other_by_their_tag() -> None:
    assert [board["title"] for board in FILES.values()] == [
        "Vespera: Overview",
        "Vespera: Actors and mailboxes",
        "Vespera: Supervision",
        "Vespera: Models and context",
        "Vespera: MCP, tasks and store",
    ]
    for name, board in FILES.items():
        (link,) = board["links"]
        assert link["type"] == "dashboards"
        assert link["tags"] == board["tags"] == ["vespera"]
        assert link["keepTime"]
        assert link["includeVars"]
        assert board["uid"] == f"vespera-{name}"
    assert len({board["uid"] for board in FILES.values()}) == len(FILES)


@pytest.mark.parametrize("name", FILES)
def test_source_job_and_instance_are_variables(name: str) -> None:
    variables = {each["name"]: each for each in FILES[name]["templating"]["list"]}
    assert list(variables) == ["datasource", "job", "instance"]
    assert variables["datasource"]["query"] == "prometheus"
    assert variables["instance"]["multi"]
    assert variables["instance"]["includeAll"]
    (restarts,) = FILES[name]["annotations"]["list"]
    assert restarts["enable"]
    assert restarts["datasource"]["uid"] == "${datasource}"
    assert [metric for metric, _ in metrics_in(filled(restarts["expr"], job="x"))] == ["vespera_start_time_seconds"]


@pytest.mark.parametrize("place", PANELS)
def test_a_panel_says_what_it_shows_in_which_unit_of_which_servers(place: str) -> None:
    panel = PANELS[place]
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    for target in panel["targets"]:
        assert target["datasource"] == panel["datasource"]
        assert target["legendFormat"]
        found = list(metrics_in(filled(target["expr"], job="vespera")))
        assert found
        assert all({"job", "instance"} <= labels for _, labels in found), target["expr"]


@pytest.mark.parametrize("name", FILES)
def test_panels_have_ids_of_their_own_and_do_not_overlap(name: str) -> None:
    listed = FILES[name]["panels"]
    assert len({panel["id"] for panel in listed}) == len(listed)
    taken: set[tuple[int, int]] = set()
    for panel in listed:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells


@pytest.mark.parametrize("place", PANELS)
def test_rates_look_as_far_back_as_the_scrapes_ask_for(place: str) -> None:
    for target in PANELS[place]["targets"]:
        for word in ("rate(", "increase(", "changes("):
            if word in target["expr"]:
                assert "[$__rate_interval]" in target["expr"] or "[$__range]" in target["expr"]


@pytest.mark.parametrize("place", PANELS)
def test_every_metric_of_a_panel_is_in_the_catalogue_and_is_asked_as_what_it_is(place: str) -> None:
    for expr in expressions(place):
        for metric, labels in metrics_in(expr):
            family = family_of(metric)
            assert family in FAMILIES or family in BESIDE, metric
            if family in FAMILIES:
                known = {*FAMILIES[family].label_names, "job", "instance", "le"}
                assert labels <= known, f"{metric} has no label {labels - known}"
        for counted, rated in counted_in(expr):
            assert rated, f"{counted} only grows: ask for its rate"


def counted_in(expr: str) -> Iterator[tuple[str, bool]]:
    """Give each counter of an expression, and whether it stands in a range."""
    found: list[tuple[str, bool]] = []

    def see(node: Any) -> None:
        if isinstance(node, promql_parser.MatrixSelector):
            found.append((node.vector_selector.name, True))
        elif isinstance(node, promql_parser.VectorSelector):
            found.append((node.name, False))

    promql_parser.walk(promql_parser.parse(expr), see)
    ranged = {name for name, is_ranged in found if is_ranged}
    yield from ((name, name in ranged) for name, _ in found if name.endswith(("_total", *PARTS)))


def used_by_panels() -> set[str]:
    return {family_of(metric) for place in PANELS for expr in expressions(place) for metric, _ in metrics_in(expr)}


def used_by_rules() -> set[str]:
    listed = [*ALERTS.values(), *RECORDINGS.values()]
    return {family_of(metric) for rule in listed for metric, _ in metrics_in(rule["expr"])}


def test_every_metric_of_the_catalogue_is_used_and_every_metric_that_is_used_is_known() -> None:
    """The third list, docs/metrics.md, is held to the catalogue both ways by tests/health/test_health_catalogue.py."""
    used = used_by_panels() | used_by_rules()
    names = {family.name for family in CATALOGUE}
    assert names - used == set(), "show it in a panel or use it in an alert"
    assert used - names - BESIDE - set(RECORDINGS) == set()
    assert used_by_panels() >= names, "every metric can be looked at"
    assert used >= BESIDE, "take out what nobody asks for"


@pytest.mark.parametrize("name", [*ALERTS, *RECORDINGS])
def test_a_rule_names_only_metrics_and_labels_that_exist(name: str) -> None:
    rule = ALERTS.get(name) or RECORDINGS[name]
    for metric, labels in metrics_in(rule["expr"]):
        family = family_of(metric)
        assert family in FAMILIES or family in BESIDE or family in RECORDINGS
        if family in FAMILIES:
            assert labels <= {*FAMILIES[family].label_names, "le"}


def unknown_values(expr: str) -> list[str]:
    known = {(name, label.name): label.values for name, family in FAMILIES.items() for label in family.labels}
    return [
        f'{metric} has no {label}="{value}"'
        for metric, label, value in values_in(expr)
        if value not in known.get((family_of(metric), label), (value,))
    ]


def test_every_value_that_a_query_looks_for_is_one_that_its_label_can_have() -> None:
    """A value that is not there is no error to Prometheus: the alert would be silent for ever."""
    asked = [expr for place in PANELS for expr in expressions(place)]
    asked += [rule["expr"] for rule in [*ALERTS.values(), *RECORDINGS.values()]]
    assert [complaint for expr in asked for complaint in unknown_values(expr)] == []
    assert unknown_values('vespera_front_generations_total{reason=~"crash|boredom"}')


def test_a_family_that_nobody_exposes_is_refused_when_it_is_written() -> None:
    with pytest.raises(ValueError, match="not in the catalogue"):
        queries.rate("vespera_dreams_total")
    with pytest.raises(ValueError, match="say which part"):
        queries.rate("vespera_mailbox_wait_seconds")
    with pytest.raises(ValueError, match="has no parts"):
        queries.average("vespera_actors")


def test_every_query_has_all_of_its_variables_filled_in() -> None:
    for place in PANELS:
        for expr in expressions(place):
            assert "$" not in expr
    assert filled(Query("up[$__rate_interval]", "").expr, job="x", interval="5s") == "up[5s]"


def test_what_is_started_beside_a_server_mounts_what_there_is() -> None:
    place = ROOT / "grafana"
    services = yaml.safe_load((place / "compose.yml").read_text(encoding="utf-8"))["services"]
    mounts = dict(
        volume.split(":")[:2] for service in services.values() for volume in service["volumes"] if volume[0] == "."
    )
    assert all((place / source).exists() for source in mounts)
    prometheus = yaml.safe_load((place / "prometheus.yml").read_text(encoding="utf-8"))
    assert all((place / name).is_file() for name in prometheus["rule_files"])
    (source,) = yaml.safe_load((place / "provisioning/datasources/prometheus.yml").read_text())["datasources"]
    assert source["url"].removeprefix("http://") in str(services["prometheus"]["command"])
    assert source["jsonData"]["timeInterval"] == prometheus["global"]["scrape_interval"]
    (provider,) = yaml.safe_load((place / "provisioning/dashboards/vespera.yml").read_text())["providers"]
    assert Path(mounts["./dashboards"]) == Path(provider["options"]["path"])
    assert services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"].startswith(
        provider["options"]["path"]
    )
