"""Uncommitted files and large ones, in real repositories."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.capabilities.project_kit import Project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "project", {"a.py": "A = 1\n", "folder/b.py": "B = 1\n"})


def test_a_committed_tree_is_clean(project: Project) -> None:
    assert project.check("git-clean") == (0, ["git-clean: clean"])


def test_every_way_of_not_being_committed_is_found(project: Project) -> None:
    project.commit({"gone.py": "", "moved.py": "M = 1\n" * 20})
    project.write({"a.py": "A = 2\n", "new.py": "", "staged.py": "", "a name with spaces é.txt": ""})
    project.git("add", "staged.py")
    project.git("mv", "moved.py", "folder/moved.py")
    (project.root / "gone.py").unlink()
    status, lines = project.check("git-clean")
    assert status == 1
    assert sorted(lines) == [
        "a name with spaces é.txt: git does not know this file; commit, remove or ignore it",
        "a.py: changed but not committed; commit it, or undo it with git restore",
        "folder/moved.py: renamed but not committed; commit it, or undo it with git restore",
        "git-clean: 6 findings",
        "gone.py: deleted but not committed; commit it, or undo it with git restore",
        "new.py: git does not know this file; commit, remove or ignore it",
        "staged.py: added but not committed; commit it, or undo it with git restore",
    ]


def test_what_tools_leave_behind_does_not_count_until_git_tracks_it(project: Project) -> None:
    left = {
        "__pycache__/a.cpython-311.pyc": "",
        ".pytest_cache/x": "",
        ".vespera/dist/a.whl": "",
        "src/acorn.egg-info/PKG-INFO": "",
        ".coverage": "",
        "folder/stale.pyc": "",
    }
    project.write(left)
    assert project.check("git-clean")[0] == 0
    project.git("add", "--force", "--all")
    assert len(project.check("git-clean")[1]) == len(left) + 1


def test_a_project_in_a_folder_of_its_repository_is_judged_alone_and_named_from_its_own_root(tmp_path: Path) -> None:
    outer = Project(tmp_path / "outer", {"inner/a.py": "", "b.py": ""})
    outer.write({"b.py": "changed", "inner/new.py": ""})
    inner = Project.__new__(Project)
    inner.root = outer.root / "inner"
    assert inner.check("git-clean")[1][:-1] == ["new.py: git does not know this file; commit, remove or ignore it"]


@pytest.mark.parametrize("check", ["git-clean", "secrets", "large-files", "links"])
def test_without_a_repository_there_is_nothing_to_judge(check: str, tmp_path: Path) -> None:
    bare = Project.__new__(Project)
    bare.root = tmp_path
    status, lines = bare.check(check)
    assert status == 2
    assert "not a git repository" in lines[0]
    assert lines[0].endswith("git init, git add, git commit")


def test_a_repository_without_a_commit_or_a_file_cannot_be_judged(tmp_path: Path) -> None:
    empty = Project(tmp_path)
    assert empty.check("git-clean")[0] == 2
    assert empty.check("large-files") == (
        2,
        ["large-files: cannot check: git tracks no file here; git add what belongs to the project"],
    )
    assert empty.check("secrets")[0] == 2


def test_large_tracked_files_are_found_with_their_sizes_the_largest_first(project: Project) -> None:
    assert project.check("large-files")[0] == 0
    (project.root / "exact.bin").write_bytes(b"x" * 1_000_000)
    (project.root / "big.bin").write_bytes(b"x" * 1_200_000)
    (project.root / "bigger.bin").write_bytes(b"x" * 3_000_000)
    project.commit()
    (project.root / "untracked.bin").write_bytes(b"x" * 2_000_000)
    status, lines = project.check("large-files")
    assert status == 1
    assert [line.split(";")[0] for line in lines] == [
        "bigger.bin: 3.0 MB",
        "big.bin: 1.2 MB",
        "large-files: 2 findings",
    ]


def test_large_files_that_the_owner_allows_are_left_alone(project: Project) -> None:
    project.write({"pyproject.toml": '[tool.vespera.checks]\nlarge-files-allow = ["data/*.bin"]\n', "data/x": ""})
    (project.root / "data" / "big.bin").write_bytes(b"x" * 1_200_000)
    (project.root / "big.bin").write_bytes(b"x" * 1_200_000)
    project.commit()
    assert [line.split(":")[0] for line in project.check("large-files")[1]] == ["big.bin", "large-files"]
    project.commit({"pyproject.toml": "[tool"})
    status, lines = project.check("large-files")
    assert status == 2
    assert "pyproject.toml cannot be read" in lines[0]
