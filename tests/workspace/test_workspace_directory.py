"""Which directories may be a workspace, and which paths lie in one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vespera_agents.workspace import Workspace, WorkspaceError, confined, open_workspace


def test_a_directory_becomes_a_workspace_with_everything_below_one_hidden_directory(tmp_path: Path) -> None:
    workspace = open_workspace(str(tmp_path))
    assert workspace.directory == tmp_path.resolve()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".vespera"]
    assert sorted(path.name for path in workspace.dot.iterdir()) == [".gitignore", "artifacts", "reports", "servers"]
    assert (workspace.dot / ".gitignore").read_text() == "*\n"
    assert workspace.database.parent == workspace.config.parent == workspace.dot
    assert open_workspace(tmp_path) == workspace


def test_a_workspace_can_be_named_without_being_made(tmp_path: Path) -> None:
    assert open_workspace(tmp_path, make=False) == Workspace(tmp_path.resolve())
    assert not list(tmp_path.iterdir())


def test_what_the_owner_wrote_into_the_ignore_file_stays(tmp_path: Path) -> None:
    (tmp_path / ".vespera").mkdir()
    (tmp_path / ".vespera" / ".gitignore").write_text("artifacts\n")
    open_workspace(tmp_path)
    assert (tmp_path / ".vespera" / ".gitignore").read_text() == "artifacts\n"


@pytest.mark.parametrize(
    "directory",
    ["/", "/etc", "/proc/self", "/usr/bin", "/sys", "/dev", "/tmp", "/home", "/var"],  # noqa: S108 - refused
)
def test_the_machines_own_directories_are_refused_and_left_alone(directory: str) -> None:
    if not Path(directory).exists():
        pytest.fail(f"{directory} is expected on every machine that runs these tests")
    with pytest.raises(WorkspaceError, match=r"belongs to the system|can be opened"):
        open_workspace(directory)
    assert not Path(directory, ".vespera").exists()


def test_a_link_to_a_system_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "project").symlink_to("/etc")
    with pytest.raises(WorkspaceError, match="belongs to the system"):
        open_workspace(tmp_path / "project")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing", "can be opened"),
        ("file", "is a file"),
        ("file/below", "can be opened"),
        ("nul\0", "NUL"),
        ("lone \ud800", "can be opened"),
        ("long" * 2_000, "can be opened"),
        ("circle", "can be opened"),
        (".vespera", "lies inside"),
        (".vespera/artifacts", "lies inside"),
    ],
)
def test_what_is_no_project_directory_is_refused_with_advice(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "circle").symlink_to("circle")
    open_workspace(tmp_path)
    with pytest.raises(WorkspaceError, match=message) as refused:
        open_workspace(f"{tmp_path}/{name}")
    assert "ive " in str(refused.value)


def test_an_unknown_home_directory_is_refused() -> None:
    with pytest.raises(WorkspaceError, match="can be opened"):
        open_workspace("~nobody-of-that-name/project")


def test_a_file_where_our_directory_should_be_is_said(tmp_path: Path) -> None:
    (tmp_path / ".vespera").touch()
    with pytest.raises(WorkspaceError, match="cannot be made"):
        open_workspace(tmp_path)


@pytest.mark.parametrize("part", [".vespera", ".vespera/artifacts", ".vespera/servers", ".vespera/reports"])
def test_a_layout_that_leads_out_by_a_link_is_refused(tmp_path: Path, part: str) -> None:
    outside, project = tmp_path / "outside", tmp_path / "project"
    outside.mkdir()
    (project / part).parent.mkdir(parents=True)
    (project / part).symlink_to(outside)
    with pytest.raises(WorkspaceError, match="symbolic link"):
        open_workspace(project)
    assert not list(outside.iterdir())


def test_paths_inside_the_workspace_are_resolved(tmp_path: Path) -> None:
    workspace = open_workspace(tmp_path)
    assert confined(workspace, "docs/../plan.md") == tmp_path.resolve() / "plan.md"
    assert confined(workspace, str(tmp_path.resolve() / "plan.md")) == tmp_path.resolve() / "plan.md"


@pytest.mark.parametrize("path", ["../other", "a/../../b", "/etc/passwd", "link/passwd", "", " ", "a\0b", "a\ud800"])
def test_paths_that_lead_out_are_refused(tmp_path: Path, path: str) -> None:
    workspace = open_workspace(tmp_path)
    (tmp_path / "link").symlink_to("/etc")
    with pytest.raises(WorkspaceError, match="Give a path inside"):
        confined(workspace, path)


def test_a_sibling_whose_name_begins_alike_is_outside(tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "project-other").mkdir()
    with pytest.raises(WorkspaceError, match="leads outside"):
        confined(open_workspace(tmp_path / "project"), f"..{os.sep}project-other")
