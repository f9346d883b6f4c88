"""Examples run to their end, or the check says which does not."""

from __future__ import annotations

from pathlib import Path

from tests.capabilities.project_kit import Project
from vespera_agents.capabilities.checks.examples import find_failing_examples

WAIT = "import threading\nthreading.Event().wait(60)\n"


def test_examples_that_end_well_are_clean_and_see_the_projects_sources(tmp_path: Path) -> None:
    project = Project(
        tmp_path,
        {
            "src/acorn/__init__.py": "SEEDS = 1\n",
            "oak.py": "LEAVES = 2\n",
            "data.txt": "3",
            "examples/a.py": "import acorn, oak\nprint(acorn.SEEDS, oak.LEAVES, open('data.txt').read())\n",
            "examples/_part.py": "raise SystemExit(1)\n",
            "examples/deep/b.py": "raise SystemExit(1)\n",
        },
    )
    assert project.check("examples") == (0, ["examples: clean"])
    assert not list(tmp_path.rglob("__pycache__"))


def test_an_example_that_fails_is_found_with_its_last_words_and_the_others_still_run(tmp_path: Path) -> None:
    project = Project(
        tmp_path,
        {
            "examples/a.py": "import no_such_acorn\n",
            "examples/b.py": "raise SystemExit(3)\n",
            "examples/c.py": "import pathlib\npathlib.Path('ran').touch()\n",
            "examples/d.py": "import os\nos.kill(os.getpid(), 9)\n",
        },
    )
    status, lines = project.check("examples")
    assert status == 1
    assert lines == [
        "examples/a.py: exit status 1: ModuleNotFoundError: No module named 'no_such_acorn'; repair it",
        "examples/b.py: exit status 3: no output; repair it",
        "examples/d.py: exit status -9: no output; repair it",
        "examples: 3 findings",
    ]
    assert (tmp_path / "ran").exists()


def test_an_example_that_does_not_end_is_stopped(tmp_path: Path) -> None:
    project = Project(tmp_path, {"examples/a.py": WAIT})
    assert [str(finding) for finding in find_failing_examples(project.root, timeout_seconds=0.5)] == [
        "examples/a.py: still runs after 0.5 s; make it end by itself"
    ]


def test_the_projects_own_python_runs_them(tmp_path: Path) -> None:
    project = Project(tmp_path, {"examples/a.py": ""})
    own = tmp_path / ".venv" / "bin" / "python"
    own.parent.mkdir(parents=True)
    own.write_text("#!/bin/sh\necho run by $0 with $1\nexit 9\n")
    own.chmod(0o755)
    said = project.check("examples")[1][0]
    assert said == f"examples/a.py: exit status 9: run by {own} with examples/a.py; repair it"
    own.write_text("#!/no/such/interpreter\n")
    status, lines = project.check("examples")
    assert status == 2
    assert "cannot be started" in lines[0]


def test_a_project_without_examples_cannot_be_judged(tmp_path: Path) -> None:
    status, lines = Project(tmp_path, {"examples/notes.md": ""}).check("examples")
    assert status == 2
    assert "there is no examples/*.py" in lines[0]
