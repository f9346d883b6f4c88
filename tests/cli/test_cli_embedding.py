"""The root of the package: few names, loaded when they are asked for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import vespera_agents

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {"mcp", "pydantic", "click", "rich", "prometheus_client", "sqlite3"}


def loaded(statement: str) -> set[str]:
    program = f"import sys; {statement}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path[:0] = {sys.path!r}; {program}"],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return set(done.stdout.split())


def test_importing_the_root_loads_nothing_heavy():
    assert loaded("import vespera_agents") & {*HEAVY, "trio"} == set()


def test_the_actors_of_the_root_load_neither_pydantic_nor_mcp():
    found = loaded("from vespera_agents import Actor, Request, open_system, receives")
    assert "trio" in found
    assert found & HEAVY == set()


def test_the_tree_that_runs_plans_loads_no_mcp():
    found = loaded("from vespera_agents import PlanRun, RunOptions, open_runtime, read_plan")
    assert "pydantic" in found
    assert found & {"mcp", "click", "rich", "prometheus_client"} == set()


@pytest.mark.parametrize("name", vespera_agents.__all__)
def test_every_name_of_the_root_is_there_and_is_its_wings_own(name):
    value = getattr(vespera_agents, name)
    assert value is getattr(sys.modules[value.__module__], name)
    assert name in dir(vespera_agents)


def test_other_names_are_refused_as_python_does():
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        _ = vespera_agents.Nothing
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = __import__("vespera_agents.cli", fromlist=["cli"]).nothing
