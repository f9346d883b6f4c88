"""The benchmark harness: its arithmetic, its order of measuring, and its exit status. No speed is judged here."""

from __future__ import annotations

import ast
import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import benchmarks
from benchmarks.__main__ import main
from benchmarks.document import document
from benchmarks.harness import Options, Row, compare, found_benchmarks, judged, row_of

ROOT = Path(__file__).resolve().parent.parent


def a_row(ratio: float, **changes: object) -> Row:
    return row_of("reads", unit="reads/s", ours=[ratio], reference="bare", references=[1.0], goal=0.5, **changes)


@pytest.fixture
def add_benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """Write further benchmarks into a folder that the harness looks into."""
    monkeypatch.setattr(benchmarks, "__path__", [str(tmp_path)])
    added: list[str] = []

    def add(name: str, text: str) -> None:
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
        added.append(f"benchmarks.{name}")

    yield add
    for name in added:
        sys.modules.pop(name, ModuleType(name))


GOOD = '''"""Reads: how fast?"""
from benchmarks.document import document
from benchmarks.harness import compare
async def run(options):
    return [await compare("reads", unit="reads/s", ours=lambda: 3.0, reference="bare", measure_reference=lambda: 4.0,
                          goal=0.9, options=options)]
'''


def test_a_row_holds_the_median_of_the_paired_ratios_and_their_spread() -> None:
    row = row_of("reads", unit="reads/s", ours=[1, 6, 9], reference="bare", references=[2, 2, 3], goal=3)
    assert (row.value, row.reference_value) == (6, 2)
    assert (row.ratio, row.ratio_min, row.ratio_max) == (3, 0.5, 3)
    assert row.met


def test_a_goal_is_a_floor_for_rates_and_a_ceiling_for_durations() -> None:
    assert [a_row(0.4).met, a_row(0.5).met] == [False, True]
    assert [a_row(0.4, goal_is="at most").met, a_row(0.6, goal_is="at most").met] == [True, False]


def test_a_reference_that_could_not_be_measured_misses_the_goal_and_leaves_dashes() -> None:
    row = row_of("reads", unit="reads/s", ours=[3], reference="not installed", references=[], goal=1)
    assert (row.value, row.reference_value, row.ratio, row.met) == (3, None, None, False)
    assert judged(row) == ("-", "-", "at least 1", "not met")


def test_a_row_without_a_goal_is_neither_met_nor_missed() -> None:
    row = row_of("reads", unit="reads/s", ours=[3], reference="bare", references=[2], goal=None)
    assert row.met is None
    assert judged(row) == ("2 reads/s", "1.50 (1.50..1.50)", "-", "-")


async def test_ours_and_the_reference_are_measured_in_turns_after_a_round_that_does_not_count() -> None:
    order: list[str] = []

    async def ours() -> float:
        order.append("ours")
        return 100.0 if len(order) <= 2 else 1.0

    def reference() -> float:
        order.append("reference")
        return 2.0

    row = await compare(
        "x", unit="1/s", ours=ours, reference="r", measure_reference=reference, goal=1, options=Options(quick=True)
    )
    assert order == ["ours", "reference"] * 4
    assert (row.rounds, row.ratio_max) == (3, 0.5)


def test_every_module_beside_the_harness_is_a_benchmark_with_a_question() -> None:
    found = found_benchmarks()
    assert {"actors", "store", "supervision"} <= found.keys()
    assert not {"harness", "document", "messages"} & found.keys()
    assert all(found.values())


def test_a_missed_goal_is_said_and_fails_nothing(add_benchmark, tmp_path: Path, capsys) -> None:
    add_benchmark("reads", GOOD)
    results = tmp_path / "results.json"
    assert main(["reads", "--quick", "--json", str(results)]) == 0
    said = capsys.readouterr().out
    assert "not met: reads: reads" in said
    assert "0.75 (0.75..0.75)" in said
    (row,) = json.loads(results.read_text(encoding="utf-8"))["rows"]
    assert {"name", "value", "unit", "reference", "reference_value", "ratio", "goal", "met"} <= row.keys()
    assert row["met"] is False


def test_the_document_holds_the_rows_and_the_notes_and_says_when_the_run_was_quick(add_benchmark, tmp_path) -> None:
    add_benchmark("reads", GOOD + '\ndef notes():\n    return "Cold disks are slower."\n')
    written = tmp_path / "performance.md"
    assert main(["reads", "--quick", "--document", str(written)]) == 0
    text = written.read_text(encoding="utf-8")
    assert "| reads | 3 reads/s | bare | 4 reads/s | 0.75 (0.75..0.75) | at least 0.9 | not met | wall |" in text
    assert "Cold disks are slower." in text
    assert "quick run" in text
    assert "quick" not in document({"reads": []}, Options())


def test_a_run_that_crashed_leaves_the_document_alone(add_benchmark, tmp_path, capsys) -> None:
    add_benchmark("broken", '"""Nothing: why?"""\ndef run(options):\n    raise ValueError("no disk")\n')
    written = tmp_path / "performance.md"
    assert main(["broken", "--document", str(written)]) == 1
    assert not written.exists()
    assert "no disk" in capsys.readouterr().err


def test_a_benchmark_that_crashes_fails_the_run_and_lets_the_others_finish(add_benchmark, capsys) -> None:
    add_benchmark("broken", '"""Nothing: why?"""\ndef run(options):\n    raise ValueError("no disk")\n')
    add_benchmark("reads", GOOD)
    assert main(["broken", "reads", "--quick"]) == 1
    said = capsys.readouterr()
    assert "no disk" in said.err
    assert "crashed: broken" in said.out
    assert "not met: reads: reads" in said.out


def test_an_unknown_benchmark_is_refused_with_the_names_that_exist(capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["nothing"])
    assert stopped.value.code == 2
    assert "actors" in capsys.readouterr().err


@pytest.mark.parametrize("folder", ["benchmarks", "grafana", "examples"])
def test_what_is_imported_from_the_packages_is_there(folder: str) -> None:
    """A part that only a long run needs is imported by no test, and a name that moved would be missed then."""
    wanted = {
        (node.module, alias.name)
        for path in sorted((ROOT / folder).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in {"supervisors", "vespera_agents"}
        for alias in node.names
    }
    assert wanted
    missing = [
        f"{module}.{name}"
        for module, name in sorted(wanted)
        if not hasattr(importlib.import_module(module), name) and importlib.util.find_spec(f"{module}.{name}") is None
    ]
    assert not missing
