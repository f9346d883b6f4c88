"""The changelog has an entry for what comes, in whichever form its authors write it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.capabilities.project_kit import Project

PYPROJECT = '[project]\nname = "acorn"\nversion = "1.2.0"\n'
GOOD = {
    "an unreleased section": "# Changelog\n## [Unreleased]\n- More acorns.\n## 1.1.0\n",
    "entries in subsections": "# Changelog\n## Unreleased\n### Added\n\n- More acorns.\n",
    "a section of the version": "# Changelog\n## 1.2.0 (2030-01-01)\n- More acorns.\n",
    "a section of the version with a v": "# Changelog\n## [v1.2.0] - 2030-01-01\n- More acorns.\n",
    "restructured text": "Changelog\n=========\n\nUnreleased\n----------\n\n* More acorns.\n\n1.1.0\n-----\n",
    "underlined markdown": "Changelog\n=========\n\nUnreleased\n---\n\nMore acorns.\n",
    "a heading in a fence": "# Changelog\n## Unreleased\n```\n# not a heading\n```\n",
    "a paragraph": "# Changelog\n## Upcoming\nMore acorns.\n",
}
BAD = {
    "nothing unreleased": (
        "# Changelog\n## 1.1.0\n- Acorns.\n",
        ":1: there is no section Unreleased and none for 1.2.0",
    ),
    "an empty section": (
        "# Changelog\n## Unreleased\n\n## 1.1.0\n- Acorns.\n",
        ":2: nothing stands under 'Unreleased'",
    ),
    "only subheadings": ("# Changelog\n## Unreleased\n### Added\n### Fixed\n", ":2: nothing stands"),
    "only a comment": ("# Changelog\n## Unreleased\n<!-- say\nwhat changed -->\n", ":2: nothing stands"),
    "nothing yet": ("# Changelog\n## Unreleased\n- Nothing yet.\n", ":2: nothing stands"),
    "only link definitions": (
        "# Changelog\n## Unreleased\n\n[Unreleased]: https://example.org\n",
        ":2: nothing stands",
    ),
    "another version": (
        "# Changelog\n## 1.2.0.1\n- Acorns.\n## 11.2.0\n- Acorns.\n## 1.2.01\n- A\n",
        "there is no section",
    ),
    "an empty file": ("", ":1: there is no section"),
    "restructured text": (
        "Changelog\n=========\n\nUnreleased\n----------\n\n1.1.0\n-----\n\n* Acorns.\n",
        ":4: nothing",
    ),
}


@pytest.mark.parametrize("case", GOOD)
def test_an_entry_for_what_comes_is_accepted(case: str, tmp_path: Path) -> None:
    project = Project(tmp_path, {"pyproject.toml": PYPROJECT, "CHANGELOG.md": GOOD[case]})
    assert project.check("changelog") == (0, ["changelog: clean"])


@pytest.mark.parametrize("case", BAD)
def test_a_changelog_without_an_entry_for_what_comes_is_found(case: str, tmp_path: Path) -> None:
    text, said = BAD[case]
    project = Project(tmp_path, {"pyproject.toml": PYPROJECT, "CHANGELOG.md": text})
    status, lines = project.check("changelog")
    assert status == 1
    assert lines[0].startswith("CHANGELOG.md:")
    assert said in lines[0].replace("version ", "")


def test_a_missing_changelog_is_found_and_other_names_of_it_are_known(tmp_path: Path) -> None:
    project = Project(tmp_path, {"README.md": "", "history.py": "", "newsletter.md": ""})
    status, lines = project.check("changelog")
    assert status == 1
    assert lines[0].startswith("CHANGELOG.md: there is none; write one")
    for name in ("CHANGES", "HISTORY.rst", "docs/changelog.md", "NEWS.txt", "release-notes.md"):
        project.write({name: "Unreleased\n==========\nMore acorns.\n"})
        assert project.check("changelog")[0] == 0, name
        (project.root / name).unlink()


def test_a_version_that_is_out_already_needs_a_section_for_what_came_after(tmp_path: Path) -> None:
    project = Project(tmp_path, {"pyproject.toml": PYPROJECT, "CHANGELOG.md": "# Changelog\n## 1.2.0\n- Acorns.\n"})
    project.git("tag", "v1.2.0")
    assert project.check("changelog")[0] == 0
    project.commit({"a.py": ""})
    status, lines = project.check("changelog")
    assert status == 1
    assert "CHANGELOG.md:2: version 1.2.0 is tagged already" in lines[0]
    project.commit({"CHANGELOG.md": "# Changelog\n## Unreleased\n- Oaks.\n## 1.2.0\n- Acorns.\n"})
    assert project.check("changelog")[0] == 0


@pytest.mark.parametrize(
    "configuration",
    [
        '[tool.poetry]\nversion = "1.2.0"\n',
        '[project]\ndynamic = ["version"]\n[tool.hatch.version]\npath = "acorn/__init__.py"\n',
    ],
)
def test_the_version_is_found_where_the_project_writes_it(configuration: str, tmp_path: Path) -> None:
    files = {"pyproject.toml": configuration, "acorn/__init__.py": 'A = 1\n__version__ = "1.2.0"\n'}
    project = Project(tmp_path, files)
    project.write({"CHANGELOG.md": "# Changelog\n## 1.2.0\n- Acorns.\n"})
    assert project.check("changelog")[0] == 0
    project.write({"CHANGELOG.md": "# Changelog\n## 1.1.0\n- Acorns.\n"})
    assert "none for version 1.2.0" in project.check("changelog")[1][0]


def test_fragments_for_towncrier_are_entries(tmp_path: Path) -> None:
    project = Project(tmp_path, {"pyproject.toml": '[tool.towncrier]\ndirectory = "news"\n', "news/README.md": ""})
    assert project.check("changelog")[0] == 1
    project.write({"news/12.feature.md": "More acorns."})
    assert project.check("changelog")[0] == 0


def test_outside_a_repository_the_current_version_counts(tmp_path: Path) -> None:
    project = Project.__new__(Project)
    project.root = tmp_path
    project.write({"pyproject.toml": PYPROJECT, "CHANGELOG.md": "# Changelog\n## 1.2.0\n- Acorns.\n"})
    assert project.check("changelog")[0] == 0
