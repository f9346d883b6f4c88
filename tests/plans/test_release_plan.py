"""The plan release-readiness on small projects, as a maintainer runs it: `vespera run PLAN --workspace PROJECT --json`.

Every run is a real one, with the real tools, in a repository made here. It never runs on this repository: that is
`make run`, whose unit tests these are a part of.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.capabilities.project_kit import Project
from vespera_agents.capabilities.checks.catalogue import CHECKS
from vespera_agents.capabilities.checks.uses import TOPICS
from vespera_agents.work.plans import Plan, read_plan

ROOT = Path(__file__).resolve().parent.parent.parent
PLAN = ROOT / "docs" / "plans" / "release-readiness.md"
RUN_SECONDS_MAX = 240

TASKS = (
    *("git-clean", "secrets", "large-files", "changelog"),
    *("format", "lint", "types", "import-floors", "docs-links"),
    *("unit-tests", "examples"),
    *("build", "contents", "metadata", "install"),
)
AFTER_BUILD = {"contents", "metadata", "install"}
WAITS = {"build": ("git-clean", "secrets", "lint"), **dict.fromkeys(AFTER_BUILD, ("build",))}

PYPROJECT = """\
[build-system]
{build}

[project]
name = "acorn"
version = "1.2.0"
description = "An acorn."
readme = "README.md"
requires-python = ">=3.11"
license = "MIT"
license-files = ["LICENSE"]
authors = [{{ name = "An oak" }}]
classifiers = ["Programming Language :: Python :: 3"]

{tools}"""
OWN_BACKEND = 'requires = []\nbuild-backend = "backend"\nbackend-path = ["."]'
HATCHLING = 'requires = ["hatchling"]\nbuild-backend = "hatchling.build"'
RUFF = "[tool.ruff]\nline-length = 120\n\n[tool.ruff.format]\n"
BACKEND = '''\
"""Builds this project: a backend of its own needs nothing from a registry."""

import pathlib
import tarfile
import tomllib
import zipfile

ROOT = pathlib.Path(__file__).resolve().parent
SHIPPED = ["acorn"]
NAME = "acorn-1.2.0"
WHEEL = "Wheel-Version: 1.0\\nGenerator: own\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"


def metadata():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    head = f"Metadata-Version: 2.4\\nName: {project['name']}\\nVersion: {project['version']}\\n"
    head += f"Summary: {project['description']}\\nRequires-Python: {project['requires-python']}\\n"
    return head + f"Description-Content-Type: text/markdown\\n\\n{(ROOT / 'README.md').read_text()}"


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    paths = [path for name in SHIPPED for path in (ROOT / name).glob("*.py")]
    files = {path.relative_to(ROOT).as_posix(): path.read_text() for path in paths}
    info = f"{NAME}.dist-info"
    files |= {f"{info}/METADATA": metadata(), f"{info}/WHEEL": WHEEL}
    files[f"{info}/RECORD"] = "".join(f"{name},,\\n" for name in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(pathlib.Path(wheel_directory, f"{NAME}-py3-none-any.whl"), "w") as wheel:
        for name, text in files.items():
            wheel.writestr(name, text)
    return f"{NAME}-py3-none-any.whl"


def without_bytecode(item):
    return None if "__pycache__" in item.name else item


def build_sdist(sdist_directory, config_settings=None):
    info = pathlib.Path(sdist_directory, "PKG-INFO")
    info.write_text(metadata())
    with tarfile.open(pathlib.Path(sdist_directory, f"{NAME}.tar.gz"), "w:gz") as sdist:
        for name in ["pyproject.toml", "README.md", "LICENSE", "backend.py", *SHIPPED]:
            sdist.add(ROOT / name, f"{NAME}/{name}", filter=without_bytecode)
        sdist.add(info, f"{NAME}/PKG-INFO")
    info.unlink()
    return f"{NAME}.tar.gz"
'''
FILES = {
    ".gitignore": "__pycache__/\n.vespera/\n",
    "README.md": "# Acorn\n\nSee the [changelog](CHANGELOG.md#unreleased).\n",
    "LICENSE": "Do as you like.\n",
    "CHANGELOG.md": "# Changelog\n\n## Unreleased\n\n- More acorns.\n",
    "acorn/__init__.py": '"""An acorn."""\n\nSEEDS: int = 1\n',
}
TESTS = {"tests/unit/test_seeds.py": "import acorn\n\n\ndef test_seeds() -> None:\n    assert acorn.SEEDS == 1\n"}
FLOORS = {"tests/test_floors.py": "def test_floors() -> None:\n    assert True\n"}
EXAMPLES = {"examples/count.py": "import acorn\n\nprint(acorn.SEEDS)\n"}


def files_with(tools: str, *more: Mapping[str, str], build: str = OWN_BACKEND) -> dict[str, str]:
    files = {**FILES, "pyproject.toml": PYPROJECT.format(build=build, tools=tools)}
    if build == OWN_BACKEND:
        files["backend.py"] = BACKEND
    for some in more:
        files.update(some)
    return files


WHOLE = files_with(
    f'{RUFF}\n[tool.mypy]\nstrict = true\nfiles = ["acorn"]\n\n[tool.pytest.ini_options]\ntestpaths = ["tests/unit"]\n',
    TESTS,
    FLOORS,
    EXAMPLES,
)
"""A project that has a use for every task of the plan."""


@dataclass(frozen=True)
class Ended:
    """How a run ended."""

    status: int
    outcomes: Mapping[str, str]
    reasons: Mapping[str, str]
    report: str

    def with_outcome(self, outcome: str) -> set[str]:
        return {key for key, ended in self.outcomes.items() if ended == outcome}


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder with the command `vespera`, also where this project is not installed."""
    folder = tmp_path / "bin"
    folder.mkdir()
    command = folder / "vespera"
    command.write_text(
        f"#!{sys.executable}\nimport sys\n\nsys.path.insert(0, {str(ROOT)!r})\n"
        "from vespera_agents.__main__ import main\n\nmain()\n"
    )
    command.chmod(0o755)
    return folder


def run_the_plan(project: Project, programs: Path) -> Ended:
    dropped = {"PYTEST_ADDOPTS", "PYTHONPATH", "VIRTUAL_ENV"}
    environment = {name: value for name, value in os.environ.items() if name not in dropped}
    path = os.pathsep.join([str(programs), sysconfig.get_path("scripts"), os.environ["PATH"]])
    environment |= {
        "PATH": path,
        "XDG_STATE_HOME": str(programs.parent / "state"),
        # One cache for all runs: what mypy knows of the standard library costs seconds each time.
        "MYPY_CACHE_DIR": str(programs.parent.parent / "mypy"),
    }
    done = subprocess.run(
        [sys.executable, "-m", "vespera_agents", "run", str(PLAN), "--workspace", str(project.root), "--json"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS_MAX,
        check=False,
    )
    assert done.stdout, done.stderr
    document = json.loads(done.stdout)
    assert document["exit_status"] == done.returncode
    tasks = {task["key"]: task for task in document["tasks"]}
    return Ended(
        done.returncode,
        {key: tasks[key]["outcome"] for key in TASKS},
        {key: tasks[key]["reason"] or "" for key in TASKS},
        Path(document["report"]).read_text(encoding="utf-8"),
    )


def expect(ended: Ended, *, failed: set[str], blocked: set[str], waived: set[str]) -> None:
    """Expect exactly these outcomes, and that every other task was carried out."""
    assert ended.with_outcome("failed") == failed, ended.reasons
    assert ended.with_outcome("blocked") == blocked, ended.reasons
    assert ended.with_outcome("waived") == waived, ended.reasons
    assert ended.with_outcome("completed") == set(TASKS) - failed - blocked - waived, ended.outcomes
    assert ended.status == (1 if failed else 0)
    for key in waived:
        assert "`vespera check uses " in ended.reasons[key]
    for key in TASKS:
        assert key in ended.report


@pytest.fixture(scope="module")
def plan() -> Plan:
    return read_plan(PLAN.read_text(encoding="utf-8"), name=PLAN.name)


def test_the_plan_is_read_without_a_line_left_over(plan: Plan) -> None:
    assert plan.notes == ()
    assert plan.unplaced == ()
    assert [item.key for item in plan.items] == list(TASKS)
    assert all(item.run is not None and item.description and item.specialist for item in plan.items)


def test_every_task_names_what_it_waits_for_itself_so_that_nothing_else_is_held_up(plan: Plan) -> None:
    assert {item.key: item.dependencies for item in plan.items} == {key: WAITS.get(key, ()) for key in TASKS}
    assert all(item.dependencies_explicit for item in plan.items)


def test_the_plans_picture_shows_its_dependencies(plan: Plan) -> None:
    drawn = {(edge.before, edge.after) for edge in plan.graph}
    assert drawn == {(before, after) for after, befores in WAITS.items() for before in befores}


def test_every_check_and_topic_that_the_plan_names_exists(plan: Plan) -> None:
    """A condition with a misspelt topic would waive its task for ever."""
    texts = [command.text for item in plan.items for command in (item.run, item.when) if command is not None]
    words = [part for text in texts for part in text.replace("\n", ";").split(";") if "vespera check" in part]
    calls = [shlex.split(part.partition("vespera check")[2]) for part in words]
    assert len(calls) > len(TASKS)
    for name, *arguments in calls:
        assert name in CHECKS
        assert name != "uses" or (arguments and set(arguments) <= set(TOPICS))


def test_the_unit_tests_have_time_and_do_not_run_the_plan(plan: Plan) -> None:
    unit_tests = next(item for item in plan.items if item.key == "unit-tests")
    assert unit_tests.run is not None
    assert unit_tests.run.timeout_seconds >= 600
    assert "make" not in unit_tests.run.text.split()


def test_a_project_without_tests_is_ready_and_what_it_lacks_is_waived(tmp_path: Path, programs: Path) -> None:
    project = Project(tmp_path / "project", files_with(RUFF))
    ended = run_the_plan(project, programs)
    expect(ended, failed=set(), blocked=set(), waived={"types", "import-floors", "unit-tests", "examples"})
    assert project.git("status", "--porcelain") == ""


def test_a_project_with_mypy_and_black_is_judged_by_them(tmp_path: Path, programs: Path) -> None:
    """Neither names files for mypy, nor uses ruff; its distributions come from a backend of the registry."""
    project = Project(
        tmp_path / "project", files_with("[tool.black]\n\n[tool.mypy]\nstrict = true\n", TESTS, build=HATCHLING)
    )
    ended = run_the_plan(project, programs)
    expect(ended, failed=set(), blocked=set(), waived={"lint", "import-floors", "examples"})


def test_a_lint_fault_fails_lint_and_blocks_exactly_what_waits_for_it(tmp_path: Path, programs: Path) -> None:
    project = Project(tmp_path / "project", WHOLE)
    project.commit({"acorn/unused.py": "import os\n"})
    ended = run_the_plan(project, programs)
    expect(ended, failed={"lint"}, blocked={"build"} | AFTER_BUILD, waived=set())
    assert "lint" in ended.reasons["build"]


def test_a_fault_in_every_task_before_the_build_fails_each_of_them(tmp_path: Path, programs: Path) -> None:
    project = Project(tmp_path / "project", WHOLE)
    project.commit(
        {
            "token.txt": "gh" + "p_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8\n",
            "large.txt": "acorn " * 200_000,
            "CHANGELOG.md": "# Changelog\n\n## Unreleased\n",
            "acorn/wide.py": "SEEDS  =  1\n",
            "acorn/wrong.py": 'SEEDS: int = "one"\n',
            "tests/test_floors.py": "def test_floors() -> None:\n    raise AssertionError\n",
            "README.md": "# Acorn\n\n[none](none.md)\n",
            "tests/unit/test_wrong.py": "def test_wrong() -> None:\n    raise AssertionError\n",
            "examples/wrong.py": "raise SystemExit(1)\n",
        }
    )
    project.write({"forgotten.txt": ""})
    ended = run_the_plan(project, programs)
    blocked = {"build"} | AFTER_BUILD
    expect(ended, failed=set(TASKS) - blocked - {"lint"}, blocked=blocked, waived=set())
    assert "a GitHub token (ghp_…, 40 characters)" in ended.reasons["secrets"]


def test_what_black_mypy_and_the_build_find_fails_there_and_blocks_what_waits(tmp_path: Path, programs: Path) -> None:
    project = Project(tmp_path / "project", files_with("[tool.black]\n\n[tool.mypy]\nstrict = true\n", EXAMPLES))
    project.commit({"acorn/wide.py": "SEEDS  =  1\n", "acorn/wrong.py": 'SEEDS: int = "one"\n'})
    project.commit({"backend.py": 'raise RuntimeError("no acorns")\n'})
    ended = run_the_plan(project, programs)
    expect(
        ended,
        failed={"format", "types", "build"},
        blocked=AFTER_BUILD,
        waived={"lint", "import-floors", "unit-tests"},
    )
    assert "would be reformatted" in ended.reasons["format"]
    assert all("build" in ended.reasons[key] for key in AFTER_BUILD)


def test_faults_that_only_the_distributions_show_are_found_in_them(tmp_path: Path, programs: Path) -> None:
    project = Project(tmp_path / "project", WHOLE)
    project.commit(
        {
            "backend.py": BACKEND.replace('["acorn"]', '["acorn", "tests"]'),
            "tests/__init__.py": "",
            "acorn/needy.py": "import iniconfig\n\nCONFIG = iniconfig.IniConfig\n",
            "acorn/__init__.py": "from acorn import needy\n\nSEEDS: int = 1\nCONFIG = needy.CONFIG\n",
            "pyproject.toml": WHOLE["pyproject.toml"].replace("Python :: 3", "Pythons :: 3"),
        }
    )
    ended = run_the_plan(project, programs)
    expect(ended, failed=AFTER_BUILD, blocked=set(), waived=set())
