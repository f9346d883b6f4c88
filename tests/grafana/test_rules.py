"""The alerts: promtool accepts them, each fires and keeps silent, and a change of any of them is noticed.

promtool runs all cases in one process; a mutation changes every alert in the same way at once, and each alert has cases
of its own, so four runs are eighty mutants.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.grafana.rules_kit import ALERTS, PROMTOOL, RECORDINGS, ROOT, RULES, failing, metrics_in, promtool, uncompared

NAMES = (
    "Down", "EventLoopBlocked", "EventLoopLagging", "RestartIntensityExhausted", "RestartIntensityHigh", "CrashLoop",
    "MailboxNearlyFull", "ActorStuck", "DeadLetters", "LLMErrors", "AllLLMProvidersOpen", "LLMBudgetBurn",
    "ContextNearlyFull", "TaskQueueOld", "MCPErrorBudgetBurn", "CallbacksStuck", "StoreCommitSlow", "ShutdownStuck",
    "CardinalityHigh", "AlwaysFiring",
)  # fmt: skip
ALWAYS = "AlwaysFiring"
needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="promtool is missing: install it with `apt-get install prometheus`"
)


def test_there_are_the_alerts_that_the_operations_guide_promises() -> None:
    assert sorted(ALERTS) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_an_alert_says_how_bad_it_is_what_happened_and_what_to_do(name: str) -> None:
    rule = ALERTS[name]
    assert rule["labels"]["severity"] in {"critical", "warning", "none"}
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["runbook_url"] == f"docs/operations.md#{name.lower()}"
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    section = re.search(rf"^### {name}\n(.*?)(?=^##|\Z)", text, re.MULTILINE | re.DOTALL)
    assert section is not None, f"docs/operations.md has no section ### {name}"
    assert len(section[1].split()) > 20, "say what it means, how to look, and what to do"


def test_no_runbook_is_left_of_an_alert_that_is_no_more() -> None:
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    part = re.search(r"^## Alerts\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert part is not None
    assert sorted(re.findall(r"^### (\w+)$", part[1], re.MULTILINE)) == sorted(NAMES)


@needs_promtool
def test_promtool_accepts_the_configuration_and_the_rules() -> None:
    done = promtool("check", "rules", "--lint=all", "--lint-fatal", *(str(path) for path in rule_files()))
    assert done.returncode == 0, done.stdout + done.stderr
    done = promtool("check", "config", "--lint=all", "--lint-fatal", str(RULES.parent / "prometheus.yml"))
    assert done.returncode == 0, done.stdout + done.stderr


def rule_files() -> list[Path]:
    return [RULES / "recording.yml", RULES / "alerts.yml"]


@needs_promtool
def test_every_alert_fires_in_its_first_case_and_is_silent_in_its_second() -> None:
    cases = [group["name"] for group in yaml.safe_load((RULES / "alerts.test.yml").read_text())["tests"]]
    wanted = {f"{name} fires" for name in NAMES} | {f"{name} is silent" for name in NAMES if name != ALWAYS}
    assert wanted <= set(cases)
    assert len(set(cases)) == len(cases)
    done = promtool("test", "rules", str(RULES / "alerts.test.yml"))
    assert done.returncode == 0, done.stdout + done.stderr


def disable(rule: dict[str, Any]) -> None:
    rule["expr"] = "vector(1) < 0"


def let_through(rule: dict[str, Any]) -> None:
    rule["expr"] = uncompared(rule["expr"])


def stretch(rule: dict[str, Any]) -> None:
    if "for" in rule:
        rule["for"] = "1h"


def hurry(rule: dict[str, Any]) -> None:
    rule.pop("for", None)


PATIENT = {name for name, rule in ALERTS.items() if "for" in rule}
MUTATIONS = {
    "its expression is disabled": (disable, {f"{name} fires" for name in NAMES}),
    "its comparison is left out": (let_through, {f"{name} is silent" for name in NAMES if name != ALWAYS}),
    "its time is stretched": (stretch, {f"{name} fires" for name in PATIENT}),
    "its time is left out": (hurry, {f"{name} fires" for name in PATIENT}),
}


@needs_promtool
@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_changed_alert_fails_its_own_cases(mutation: str, tmp_path: Path) -> None:
    change, caught = MUTATIONS[mutation]
    missed = caught - failing(tmp_path, change)
    assert not missed


def test_most_alerts_wait_so_that_a_moment_alarms_nobody() -> None:
    assert len(PATIENT) >= len(NAMES) / 2


def test_every_recording_is_used_by_an_alert() -> None:
    used = {metric for rule in ALERTS.values() for metric, _ in metrics_in(rule["expr"])}
    assert set(RECORDINGS) <= used


def test_a_comparison_is_left_out_and_nothing_else() -> None:
    assert uncompared("up == 0 or absent(up) == 1") == "(up{}) or (absent(up{}))"
    assert uncompared("a > 14.4 * 0.01 and b > 2") == "(a{}) and (b{})"
    assert uncompared("vector(1)") == "vector(1)"
