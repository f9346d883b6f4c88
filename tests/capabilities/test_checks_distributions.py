"""What lies in wheels and sdists, and whether a wheel works once it is installed."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.capabilities.project_kit import METADATA, Project, make_sdist, make_wheel
from vespera_agents.capabilities.checks.distributions import console_scripts, newest_wheel, top_level_names

SOURCES = {
    "pyproject.toml": '[project]\nname = "acorn"\n',
    "README.md": "# Acorn\n",
    "LICENSE": "Do as you like.\n",
    "src/acorn/__init__.py": "",
    "src/acorn/deep/seed.py": "",
    "src/acorn/py.typed": "",
    "src/acorn/data.json": "{}",
    "src/acorn/tests/test_acorn.py": "",
    "tools/release.py": "",
}
SHIPPED = {"acorn/__init__.py": "", "acorn/deep/seed.py": "", "acorn/py.typed": ""}
SDIST = {"pyproject.toml": "", "README.md": "", "LICENSE": "", "src/acorn/__init__.py": ""}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "project", SOURCES)


def contents_of(project: Project, wheel: dict[str, str], sdist: dict[str, str]) -> list[str]:
    make_wheel(project.root / "dist", wheel)
    make_sdist(project.root / "dist", sdist)
    return project.check("contents")[1][:-1]


def test_distributions_with_what_belongs_in_them_are_clean(project: Project) -> None:
    assert contents_of(project, SHIPPED, SDIST) == []
    assert project.check("contents", "dist")[0] == 0


def test_what_belongs_to_one_machine_is_found_in_both(project: Project) -> None:
    strays = {".vespera/vespera.db": "", ".vespera/artifacts/a": "", "src/acorn/__pycache__/a.pyc": "", ".env": "A=1"}
    found = contents_of(project, SHIPPED | {"acorn/stale.pyc": ""}, SDIST | strays)
    assert [line.split(";")[0] for line in found] == [
        "acorn-1.2.0.tar.gz: holds .env (1 files)",
        "acorn-1.2.0.tar.gz: holds .vespera (2 files)",
        "acorn-1.2.0.tar.gz: holds src/acorn/__pycache__ (1 files)",
        "acorn-1.2.0-py3-none-any.whl: holds acorn/stale.pyc (1 files)",
    ]


def test_a_top_level_name_that_would_shadow_others_is_found(project: Project) -> None:
    found = contents_of(project, SHIPPED | {"tests/test_a.py": "", "docs/conf.py": "", "docs/a.md": ""}, SDIST)
    assert [line.split(";")[0] for line in found] == [
        "acorn-1.2.0-py3-none-any.whl: installs a top-level 'docs' beside everybody else's",
        "acorn-1.2.0-py3-none-any.whl: installs a top-level 'tests' beside everybody else's",
    ]


def test_modules_and_type_marks_that_the_wheel_forgot_are_found(project: Project) -> None:
    found = contents_of(project, {"acorn/__init__.py": ""}, SDIST)
    assert [line.split(" is ")[0] for line in found] == ["src/acorn/deep/seed.py:", "src/acorn/py.typed:"]


@pytest.mark.parametrize("name", ["pyproject.toml", "README.md", "LICENSE"])
def test_what_an_sdist_needs_and_lacks_is_found(name: str, project: Project) -> None:
    found = contents_of(project, SHIPPED, {key: text for key, text in SDIST.items() if key != name})
    assert len(found) == 1
    assert found[0].startswith(f"acorn-1.2.0.tar.gz: {name}")


def test_broken_or_missing_distributions_cannot_be_judged(project: Project) -> None:
    assert "there is no *.whl in .vespera/dist or dist; build it" in project.check("contents")[1][0]
    wheel = make_wheel(project.root / "dist", SHIPPED)
    assert "there is no *.tar.gz" in project.check("contents")[1][0]
    sdist = make_sdist(project.root / "dist", SDIST)
    sdist.write_bytes(b"x")
    assert "acorn-1.2.0.tar.gz cannot be read" in project.check("contents")[1][0]
    make_sdist(project.root / "dist", {}).rename(project.root / "dist" / "acorn-0.tar.gz")
    wheel.write_bytes(b"x")
    status, lines = project.check("contents")
    assert status == 2
    assert "acorn-1.2.0-py3-none-any.whl cannot be read" in lines[0]


def test_files_that_only_look_like_distributions_are_refused(project: Project) -> None:
    make_wheel(project.root / "dist", SHIPPED)
    with tarfile.open(project.root / "dist" / "a.tar.gz", "w:gz"):
        pass
    assert "has no PKG-INFO" in project.check("contents")[1][0]
    with zipfile.ZipFile(project.root / "dist" / "b.whl", "w"):
        pass
    assert "has no METADATA" in project.check("contents")[1][0]


def test_the_wheel_that_was_built_last_is_meant_wherever_it_lies(project: Project) -> None:
    old = make_wheel(project.root / "dist", SHIPPED)
    new = make_wheel(project.root / ".vespera" / "dist", SHIPPED)
    os.utime(old, (1, 1))
    assert newest_wheel(project.root).path == new
    os.utime(new, (0, 0))
    assert newest_wheel(project.root).path == old


def test_what_a_wheel_lets_people_import_and_run_is_read_from_it(project: Project) -> None:
    files = {
        "acorn/__init__.py": "",
        "oak.py": "",
        "_fast.cpython-311-x86_64-linux-gnu.so": "",
        "space/name/part.py": "",
        "data-only/readme.md": "",
        "acorn-1.2.0.data/purelib/more/__init__.py": "",
        "acorn-1.2.0.data/scripts/run.py": "",
    }
    make_wheel(project.root / "dist", files, scripts="acorn = acorn.cli:main [extra]\noak=oak:run")
    wheel = newest_wheel(project.root)
    assert top_level_names(wheel) == ["_fast", "acorn", "more", "oak", "space"]
    assert console_scripts(wheel) == [("acorn", "acorn.cli:main"), ("oak", "oak:run")]


def test_a_wheel_that_works_alone_is_clean(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the project's own folder is importable there, and a dependency comes from the registry."""
    project.write({"iniconfig-99.dist-info/METADATA": "Metadata-Version: 2.1\nName: iniconfig\nVersion: 99\n"})
    monkeypatch.setenv("PYTHONPATH", str(project.root))
    files = {
        "acorn/__init__.py": "import iniconfig, sys\nassert not any('project' in place for place in sys.path)\n",
        "acorn/cli.py": "def main(): ...\n",
        "oak.py": "",
    }
    needy = METADATA.replace("License-", "Requires-Dist: iniconfig\nLicense-")
    make_wheel(project.root / "dist", files, needy, scripts="acorn = acorn.cli:main")
    assert project.check("wheel") == (0, ["wheel: clean"])


def test_a_wheel_whose_parts_fail_once_installed_is_found_part_by_part(project: Project) -> None:
    files = {"acorn/__init__.py": "import iniconfig\n", "oak.py": "1 / 0\n", "elm.py": "main = 1\n", "ash.py": ""}
    make_wheel(project.root / "dist", files, scripts="a = ash:main\ne = elm:main")
    status, lines = project.check("wheel")
    assert status == 1
    found = [line.partition("whl: ")[2].split("; ") for line in lines[:-1]]
    assert [reason for reason, _ in found] == [
        "import acorn fails once installed: ModuleNotFoundError: No module named 'iniconfig'",
        "import oak fails once installed: ZeroDivisionError: division by zero",
        "the command that calls ash:main fails once installed: AttributeError: module 'ash' has no attribute 'main'",
        "the command that calls elm:main fails once installed: TypeError: elm:main cannot be called",
    ]
    assert found[0][1] == "declare it as a dependency or include it in the wheel"


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("Requires-Dist: iniconfig==0.0.0.1", "needs iniconfig==0.0.0.1, which pip finds nowhere"),
        ("Requires-Dist: not a requirement!", "does not install: "),
    ],
)
def test_a_wheel_that_cannot_be_installed_is_found(field: str, said: str, project: Project) -> None:
    make_wheel(project.root / "dist", {"oak.py": ""}, METADATA.replace("License-", f"{field}\nLicense-"))
    status, lines = project.check("wheel")
    assert status == 1
    assert lines[0].startswith(f"acorn-1.2.0-py3-none-any.whl: {said}"), lines


def test_a_registry_that_does_not_answer_is_no_fault_of_the_wheel(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX" + "_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    make_wheel(
        project.root / "dist", {"oak.py": ""}, METADATA.replace("License-", "Requires-Dist: iniconfig\nLicense-")
    )
    status, lines = project.check("wheel")
    assert "no registry answers pip" in lines[0]
    assert status == 2


def test_an_environment_of_its_own_pip_serves_where_the_projects_python_has_none(project: Project) -> None:
    """uv makes environments without pip, and so does `python -m venv --without-pip`."""
    own = project.root / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(own)], check=True, timeout=60)
    make_wheel(project.root / "dist", {"oak.py": ""})
    assert project.check("wheel") == (0, ["wheel: clean"])


def test_a_wheel_without_modules_is_found(project: Project) -> None:
    make_wheel(project.root / "dist", {"data/readme.md": ""})
    assert "holds nothing that can be imported" in project.check("wheel")[1][0]


def test_a_python_that_makes_no_environment_cannot_judge(project: Project) -> None:
    own = project.root / ".venv" / "bin" / "python"
    own.parent.mkdir(parents=True)
    own.write_text("#!/bin/sh\necho no module named venv\nexit 1\n")
    own.chmod(0o755)
    make_wheel(project.root / "dist", {"oak.py": ""})
    status, lines = project.check("wheel")
    assert status == 2
    assert "no module named venv; install its venv module" in lines[0]
