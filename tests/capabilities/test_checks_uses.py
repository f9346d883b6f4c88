"""What a project uses, with the reason that a waived task shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.capabilities.project_kit import Project

YES = {
    "ruff-lint": [
        {"pyproject.toml": "[tool.ruff]\nline-length = 100\n"},
        {"ruff.toml": ""},
        {".ruff.toml": ""},
        {".pre-commit-config.yaml": "hooks:\n  - id: ruff-check\n"},
        {".pre-commit-config.yaml": "hooks:\n  - id: ruff\n"},
        {"Makefile": "check:\n\t$(BIN)/ruff check .\n"},
        {".github/workflows/ci.yml": "steps:\n- run: uvx ruff check\n"},
    ],
    "ruff-format": [
        {"pyproject.toml": "[tool.ruff.format]\n"},
        {"ruff.toml": "[lint]\n[format]\n"},
        {".pre-commit-config.yaml": "hooks:\n  - id: ruff-format\n"},
        {"noxfile.py": 'session.run("ruff format --check")\n'},
    ],
    "black": [
        {"pyproject.toml": "[tool.black]\n"},
        {".pre-commit-config.yaml": "hooks:\n- id: black\n"},
        {"Makefile": "check:\n\tblack --check .\n"},
        {"tox.ini": "[testenv]\ncommands = black src tests\n"},
    ],
    "flake8": [{".flake8": ""}, {"setup.cfg": "[flake8]\nmax-line-length = 100\n"}, {"tox.ini": "[flake8]\n"}],
    "mypy": [
        {"pyproject.toml": "[tool.mypy]\nstrict = true\n"},
        {"mypy.ini": "[mypy]\n"},
        {"setup.cfg": "[mypy]\n"},
        {"scripts/check": "#!/bin/sh\nmypy src\n"},
        {"Makefile": "check:\n\tmypy\n"},
    ],
    "mypy-files": [
        {"pyproject.toml": '[tool.mypy]\nfiles = ["src"]\n'},
        {"mypy.ini": "[mypy]\npackages = acorn\n"},
        {"setup.cfg": "[mypy]\nfiles = src\n"},
    ],
    "pyright": [
        {"pyproject.toml": "[tool.pyright]\n"},
        {"pyrightconfig.json": "{}"},
        {"justfile": "types:\n    pyright\n"},
        {".ci/run": "pyright src\n"},
    ],
    "pytest": [
        {"pyproject.toml": "[tool.pytest.ini_options]\n"},
        {"pytest.ini": "[pytest]\n"},
        {"setup.cfg": "[tool:pytest]\n"},
        {"tox.ini": "[pytest]\n"},
        {"tests/conftest.py": ""},
        {"tests/test_a.py": "def test_a(): ...\n"},
        {"acorn/deep/seed_test.py": ""},
        {"test_a.py": "import unittest\n"},
        {"tests/test_a.py": "import unittest\n", "tests/test_b.py": "import pytest, unittest\n"},
        {"tests/test_a.py": "this is no Python\n"},
    ],
    "unittest": [
        {"tests/test_a.py": "from unittest import TestCase\n", "tests/deep/test_b.py": "import unittest.case\n"},
    ],
    "docs": [{"README.md": ""}, {"docs/a/b.md": ""}, {"CHANGELOG.markdown": ""}],
    "examples": [{"examples/a.py": ""}],
    "floors": [{"tests/test_floors.py": ""}],
    "import-linter": [
        {"pyproject.toml": "[tool.importlinter]\n"},
        {".importlinter": ""},
        {"setup.cfg": "[importlinter]\n"},
        {"Makefile": "check:\n\tlint-imports\n"},
    ],
    "packaging": [
        {"pyproject.toml": "[build-system]\n"},
        {"pyproject.toml": "[project]\n"},
        {"setup.py": ""},
    ],
}
NO: dict[str, list[dict[str, str]]] = {
    "ruff-lint": [{"Makefile": "# ruff check would be good\n"}, {"pyproject.toml": "[tool]\nruff = 1\n"}],
    "ruff-format": [{"pyproject.toml": "[tool.ruff]\n"}, {"ruff.toml": ""}],
    "black": [{"Makefile": "# black it is\ncheck:\n\t@echo blackboard\n"}, {"README.md": "black --check .\n"}],
    "mypy": [{"pyproject.toml": '[project]\ndependencies = ["mypy"]\n'}],
    "mypy-files": [{"pyproject.toml": "[tool.mypy]\nstrict = true\n"}],
    "pyright": [{"Makefile": "check:\n\techo copyright 2030\n"}],
    "pytest": [
        {"tests/test_a.py": "import unittest\n"},
        {"tests/data.py": "", ".venv/lib/test_a.py": "", "build/test_a.py": "", "node_modules/test_a.py": ""},
    ],
    "unittest": [
        {"tests/test_a.py": "import unittest\n", "tests/test_b.py": "def test_b(): ...\n"},
        {"tests/test_a.py": "import unittest\n", "pytest.ini": ""},
        {"test_a.py": "import unittest\n"},
        {"tests/a_test.py": "import unittest\n"},
    ],
    "docs": [{"acorn/README.md": "", "README.rst": ""}],
    "examples": [{"examples/_a.py": "", "examples/a.md": ""}],
    "floors": [{"tests/test_a.py": ""}],
    "packaging": [{"pyproject.toml": "[tool.ruff]\n"}],
}
TOPICS = sorted(YES)


@pytest.mark.parametrize(("topic", "files"), [(topic, files) for topic in YES for files in YES[topic]])
def test_what_a_project_uses_is_seen_with_the_place(topic: str, files: dict[str, str], tmp_path: Path) -> None:
    project = Project(tmp_path, files)
    status, lines = project.check("uses", topic)
    assert status == 0, lines
    assert lines[0].startswith(f"{topic}: yes: ")
    said = lines[0].partition("yes: ")[2]
    assert any(name in said for name in files) or topic in {"docs", "examples", "unittest"}


@pytest.mark.parametrize(("topic", "files"), [(topic, files) for topic in NO for files in NO[topic]])
def test_what_a_project_does_not_use_is_said_with_the_reason(topic: str, files: dict[str, str], tmp_path: Path) -> None:
    status, lines = Project(tmp_path, files).check("uses", topic)
    assert status == 1, lines
    assert lines[0].startswith(f"{topic}: no: ")
    assert len(lines[0]) > len(f"{topic}: no: ") + 10


def test_an_empty_project_uses_nothing(tmp_path: Path) -> None:
    status, lines = Project(tmp_path).check("uses", *TOPICS)
    assert status == 1
    assert len(lines) == len(TOPICS)
    assert all(": no: " in line for line in lines)
    assert "there are no tests: no test_*.py and no *_test.py" in "\n".join(lines)


def test_one_of_several_is_enough(tmp_path: Path) -> None:
    status, lines = Project(tmp_path, {"ruff.toml": ""}).check("uses", "black", "ruff-lint")
    assert status == 0
    assert [line.split(": ")[1] for line in lines] == ["no", "yes"]


@pytest.mark.parametrize(
    ("topic", "files", "said"),
    [
        ("acorns", {}, "'acorns' is no topic; these are: black, docs,"),
        ("mypy", {"pyproject.toml": "[tool"}, "pyproject.toml cannot be read"),
        ("mypy", {"setup.cfg": "no section\n"}, "setup.cfg cannot be read"),
        ("mypy-files", {"mypy.ini": "no section\n"}, "mypy.ini cannot be read"),
    ],
)
def test_what_cannot_be_answered_is_neither_yes_nor_no(
    topic: str, files: dict[str, str], said: str, tmp_path: Path
) -> None:
    status, lines = Project(tmp_path, files).check("uses", topic)
    assert status == 2
    assert lines[0].startswith("uses: cannot check: ")
    assert said in lines[0]
