"""The examples about supervision print what they promise."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[1] / "examples"
TREE = """\
shop         running 0.0s strategy=rest_for_one restarts_in_period=0/3
├─ database  running 0.0s
├─ cache     running 0.0s
└─ clients   running 0.0s

shop         running 1.0s strategy=rest_for_one restarts_in_period=1/3
├─ database  running 1.0s
├─ cache     running 0.4s restarts=1
└─ clients   running 0.4s restarts=1
"""


def test_the_supervision_example_is_forty_lines_and_prints_its_tree() -> None:
    path = EXAMPLES / "supervision_tree.py"
    assert path.read_text(encoding="utf-8").count("\n") <= 40
    environment = {**os.environ, "PYTHONPATH": str(EXAMPLES.parent), "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(
        [sys.executable, str(path)], env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == TREE


def test_the_simulation_example_finds_no_violation(capsys) -> None:
    spec = importlib.util.spec_from_file_location("simulate_a_tree", EXAMPLES / "simulate_a_tree.py")
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    example.main(seeds=50)
    assert capsys.readouterr().out.startswith("50 runs, no violation; the till was jammed ")
