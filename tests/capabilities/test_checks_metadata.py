"""Metadata, as the project writes it and as the distributions carry it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from tests.capabilities.project_kit import METADATA, Project, make_sdist, make_wheel
from vespera_agents.capabilities.checks.metadata import known_classifiers, same_version

PYPROJECT = """[build-system]
requires = []

[project]
name = "acorn"
version = "1.2.0"
description = "An acorn."
readme = "README.md"
requires-python = ">=3.11"
license = "MIT"
license-files = ["LICENSE*"]
authors = [{ name = "An oak" }]
classifiers = [
    "Programming Language :: Python :: 3",
    "Private :: Do Not Upload",
]
"""
FILES = {"README.md": "# Acorn\n", "LICENSE": "Do as you like.\n", "acorn/__init__.py": ""}
SECTIONLESS = {"setup.py": "from setuptools import setup\nsetup()\n", "README.md": "# Acorn\n"}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "project", {"pyproject.toml": PYPROJECT, **FILES})


def test_complete_metadata_is_clean_without_and_with_distributions(project: Project) -> None:
    assert project.check("metadata") == (0, ["metadata: clean"])
    make_wheel(project.root / "dist", {})
    make_sdist(project.root / "dist", {})
    assert project.check("metadata") == (0, ["metadata: clean"])
    assert project.check("metadata", "dist") == (0, ["metadata: clean"])


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('name = "acorn"\n', "", "pyproject.toml:4: [project] has no name"),
        ('version = "1.2.0"\n', "", "pyproject.toml:4: [project] has no version"),
        ('description = "An acorn."\n', "", "pyproject.toml:4: [project] has no description"),
        ('description = "An acorn."', 'description = ""', "pyproject.toml:4: [project] has no description"),
        ('readme = "README.md"\n', "", "pyproject.toml:4: [project] has no readme"),
        ('requires-python = ">=3.11"\n', "", "pyproject.toml:4: [project] has no requires-python"),
        ('license = "MIT"\nlicense-files = ["LICENSE*"]\n', "", "pyproject.toml:4: [project] has no license"),
        ('authors = [{ name = "An oak" }]\n', "", "pyproject.toml:4: [project] has no authors"),
        ("README.md", "READYOU.md", "pyproject.toml:8: READYOU.md is missing or empty"),
        ('"README.md"', '{ file = "READYOU.md", content-type = "text/markdown" }', "pyproject.toml:8: READYOU.md is"),
        ("LICENSE*", "COPYING", "pyproject.toml:11: no file matches COPYING"),
        (
            "Python :: 3",
            "Pythons :: 3",
            "pyproject.toml:14: 'Programming Language :: Pythons :: 3': the index knows no",
        ),
    ],
)
def test_each_gap_in_the_written_metadata_is_found_in_its_line(old: str, new: str, said: str, project: Project) -> None:
    assert old in PYPROJECT
    project.write({"pyproject.toml": PYPROJECT.replace(old, new)})
    status, lines = project.check("metadata")
    assert status == 1
    assert len(lines) == 2, lines
    assert lines[0].startswith(said)


def test_what_the_build_fills_in_is_no_gap(project: Project) -> None:
    project.write(
        {
            "pyproject.toml": '[project]\nname = "acorn"\ndynamic = ["version", "readme", "description", "license", '
            '"authors", "requires-python", "classifiers"]\n'
        }
    )
    assert project.check("metadata")[0] == 0


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("Name: acorn", "Name: oak", "is named 'oak', and pyproject.toml says 'acorn'"),
        ("Version: 1.2.0", "Version: 1.1.0", "has version 1.1.0, and pyproject.toml says 1.2.0"),
        (">=3.11", ">=3.8", "requires Python >=3.8, and pyproject.toml says >=3.11"),
        ("Requires-Python: >=3.11\n", "", "requires Python nothing, and pyproject.toml says >=3.11"),
        ("\n# Acorn\n", "", "its metadata has no long description"),
        ("Description-Content-Type: text/markdown\n", "", "its description is Markdown and is called plain text"),
    ],
)
def test_built_metadata_that_differs_from_the_written_is_found(old: str, new: str, said: str, project: Project) -> None:
    assert old in METADATA
    make_wheel(project.root / "dist", {}, METADATA.replace(old, new))
    status, lines = project.check("metadata")
    assert status == 1
    assert lines[0].startswith(f"acorn-1.2.0-py3-none-any.whl: {said}")


def test_a_wheel_and_an_sdist_that_disagree_are_found(project: Project) -> None:
    make_wheel(project.root / "dist", {}, METADATA.replace("An acorn.", "A beechnut."))
    make_sdist(project.root / "dist", {})
    assert project.check("metadata")[1] == [
        "acorn-1.2.0-py3-none-any.whl: Summary is 'A beechnut.', in acorn-1.2.0.tar.gz 'An acorn.'; build both again",
        "metadata: 1 finding",
    ]


def test_a_project_that_writes_its_metadata_elsewhere_is_judged_by_what_was_built(tmp_path: Path) -> None:
    project = Project(tmp_path, SECTIONLESS)
    status, lines = project.check("metadata")
    assert status == 2
    assert "run python -m build" in lines[0]
    make_wheel(tmp_path / "dist", {})
    assert project.check("metadata")[0] == 0
    bare = "Metadata-Version: 2.1\nName: acorn\nVersion: 1.2.0\nClassifier: Of No Kind\n\nAcorns.\n"
    make_wheel(tmp_path / "dist", {}, bare)
    said = [line.partition(": ")[2].split(";")[0] for line in project.check("metadata")[1][:-1]]
    assert said == [
        "its metadata has no description",
        "its metadata has no requires-python",
        "its metadata has no license",
        "its metadata has no authors",
        "'Of No Kind': the index knows no such classifier",
    ]


def test_a_named_folder_must_hold_distributions(project: Project) -> None:
    status, lines = project.check("metadata", ".vespera/dist")
    assert status == 2
    assert lines == [
        "metadata: cannot check: there is no *.whl in .vespera/dist; build it: python -m build --outdir .vespera/dist"
    ]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1.0", "1.0.0"),
        ("v1.0", "1"),
        ("1.0-rc.1", "1.0rc1"),
        ("1.0.0-alpha.1", "1.0a1"),
        ("1.0-beta", "1b0"),
        ("1.0.post1", "1.0-rev1"),
        ("01.2", "1.2"),
        ("1!2.0", "1!2"),
        ("1.0.dev3", "1.dev3"),
        ("1.0+local.1", "1.0.0+local-1"),
        ("0.0", "0"),
    ],
)
def test_two_spellings_of_one_version_are_the_same(one: str, other: str) -> None:
    assert same_version(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1.0", "1.0.1"),
        ("1.0", "1.0rc1"),
        ("1.0a1", "1.0b1"),
        ("1.0", "10"),
        ("1.0", "1.0+x"),
        ("1!1", "1"),
        ("1.0a1", "1.0a10"),
    ],
)
def test_two_versions_are_not_the_same(one: str, other: str) -> None:
    assert not same_version(one, other)


def test_classifiers_are_judged_only_where_their_list_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Typing :: Typed" in (known_classifiers() or ())
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert known_classifiers() is None
