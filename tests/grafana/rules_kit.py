"""The rules as data, their expressions without comparisons, and promtool over changed copies of them. Not a test."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import promql_parser
import yaml

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "grafana" / "rules"
PROMTOOL = shutil.which("promtool")
COMPARISONS = frozenset({"==", "!=", ">", "<", ">=", "<="})
SETS = frozenset({"and", "or", "unless"})


def rules(name: str) -> list[dict[str, Any]]:
    loaded = yaml.safe_load((RULES / name).read_text(encoding="utf-8"))
    return [rule for group in loaded["groups"] for rule in group["rules"]]


ALERTS = {rule["alert"]: rule for rule in rules("alerts.yml")}
RECORDINGS = {rule["record"]: rule for rule in rules("recording.yml")}


def uncompared(expr: str) -> str:
    """Leave out every comparison of an expression with a threshold: what is compared stays."""
    return _uncompared(promql_parser.parse(expr))


def _uncompared(node: Any) -> str:
    if isinstance(node, promql_parser.ParenExpr):
        return f"({_uncompared(node.expr)})"
    if isinstance(node, promql_parser.BinaryExpr):
        word = str(node.op)
        if word in COMPARISONS:
            return str(node.lhs)
        if word in SETS:
            assert node.modifier is None or str(node.modifier) == "", "write the modifier here, too"
            return f"({_uncompared(node.lhs)}) {word} ({_uncompared(node.rhs)})"
    return str(node)


def metrics_in(expr: str) -> Iterator[tuple[str, frozenset[str]]]:
    """Give each metric of an expression with the labels that its matchers name."""
    found: list[tuple[str, frozenset[str]]] = []

    def see(node: Any) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            found.append((node.name, frozenset(matcher.name for matcher in node.matchers.matchers)))

    promql_parser.walk(promql_parser.parse(expr), see)
    yield from found


def values_in(expr: str) -> Iterator[tuple[str, str, str]]:
    """Give each value that a matcher names, alternatives one by one, with its metric and its label."""
    found: list[tuple[str, str, str]] = []

    def see(node: Any) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            found.extend(
                (node.name, matcher.name, value)
                for matcher in node.matchers.matchers
                for value in matcher.value.split("|")
            )

    promql_parser.walk(promql_parser.parse(expr), see)
    yield from found


def promtool(*words: str, cwd: Path = ROOT, text: str | None = None) -> subprocess.CompletedProcess[str]:
    assert PROMTOOL is not None
    # It makes much garbage in a short life: collecting less of it takes a fifth off.
    return subprocess.run(
        [PROMTOOL, *words],
        cwd=cwd,
        input=text,
        env={**os.environ, "GOGC": "800"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def failing(place: Path, change: Callable[[dict[str, Any]], None]) -> set[str]:
    """Run the tests of all alerts over a changed copy of each and give the names of the cases that fail."""
    for name in ("recording.yml", "alerts.test.yml"):
        shutil.copy(RULES / name, place)
    loaded = yaml.safe_load((RULES / "alerts.yml").read_text(encoding="utf-8"))
    for group in loaded["groups"]:
        for rule in group["rules"]:
            change(rule)
    (place / "alerts.yml").write_text(yaml.safe_dump(loaded), encoding="utf-8")
    done = promtool("test", "rules", "alerts.test.yml", cwd=place)
    output = done.stdout + done.stderr
    assert "FAILED" in output or done.returncode == 0, output
    return set(re.findall(r"^ +name: (.+),$", output, re.MULTILINE))
