"""Where a workspace's own files lie, by what is mounted where: real mountinfo, with file systems of other machines."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import trio

from tests.serving.kit import ROOT
from vespera_agents.specialists.runtime import open_runtime
from vespera_agents.workspace import Registry, WorkspaceError, live_servers, mounts, open_workspace
from vespera_agents.workspace.mounts import data_directory, file_system

STATE = Path("/var/state")
LINES = r"""
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
40 27 0:40 / /mnt/team rw,relatime shared:1 master:2 - nfs4 server:/team rw,vers=4.2
41 40 254:1 / /mnt/team/local rw,relatime - xfs /dev/vdb rw
42 27 0:42 / /mnt/two\040words rw,relatime - cifs //server/share rw
43 27 0:43 / /mnt/c rw,noatime - 9p C:\134 rw
44 27 0:44 / /mnt/both rw - nfs server:/old rw
45 44 254:2 / /mnt/both rw - ext4 /dev/vdc rw
46 27 0:46 / /far rw - nfs server:/far rw
""".lstrip()


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "mountinfo"
    path.write_text(LINES)
    monkeypatch.setattr(mounts, "MOUNTS", path)
    return path


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("/srv/project", "ext4"),
        ("/mnt/team/project", "nfs4"),
        ("/mnt/teams", "ext4"),
        ("/mnt/team/local/project", "xfs"),
        ("/mnt/two words/project", "cifs"),
        ("/mnt/c/project", "9p"),
        ("/mnt/both/project", "ext4"),
    ],
)
def test_a_path_lies_on_what_was_mounted_last_and_deepest(table: Path, place: str, kind: str) -> None:
    assert file_system(Path(place), table) == kind


def test_a_kernel_that_does_not_tell_leaves_everything_in_the_workspace(tmp_path: Path) -> None:
    assert file_system(tmp_path, tmp_path / "nothing") is None
    assert Path("/proc/self/mountinfo").exists() == (file_system(tmp_path, mounts.MOUNTS) is not None)


@pytest.mark.usefixtures("table")
def test_the_files_of_a_workspace_on_another_machine_lie_in_the_state_directory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(STATE))
    for near in ("/srv/a/.vespera", "/mnt/team/local/.vespera"):
        assert data_directory(Path(near)) == Path(near)
    found = {data_directory(Path(far)) for far in ("/mnt/team/a/.vespera", "/mnt/team/b/.vespera", "/mnt/c/.vespera")}
    assert len(found) == 3
    assert {one.parent for one in found} == {STATE / "vespera" / "workspaces"}
    # A home on the same kind of file system is no better place.
    monkeypatch.setenv("XDG_STATE_HOME", "/far/state")
    assert data_directory(Path("/mnt/team/a/.vespera")) == Path("/mnt/team/a/.vespera")


@pytest.fixture
def far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project on a file system of another machine, as the kernel tells it."""
    project = (tmp_path / "far" / "project").resolve()
    project.mkdir(parents=True)
    table = tmp_path / "mountinfo"
    table.write_text(f"{LINES}50 27 0:50 / {project.parent} rw - nfs4 server:/more rw\n")
    monkeypatch.setattr(mounts, "MOUNTS", table)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return project


async def test_servers_and_visitors_find_the_same_database_and_the_workspace_says_where(
    far: Path, tmp_path: Path
) -> None:
    async with open_runtime("serve", registry=Registry(tmp_path / "registry")) as runtime:
        opened = await runtime.workspace(far)
        workspace = opened.workspace
        assert workspace.database.is_file()
        assert workspace.database.is_relative_to(tmp_path / "state" / "vespera" / "workspaces")
        assert str(workspace.data) in (workspace.dot / "elsewhere.txt").read_text()
        assert sorted(one.name for one in workspace.dot.iterdir()) == [".gitignore", "elsewhere.txt", "reports"]
        assert [one.id for one in live_servers(open_workspace(far))] == [opened.server]
        # Another process on this machine.
        look = (
            "import sys; from pathlib import Path; from vespera_agents.workspace import mounts, open_workspace,"
            "live_servers; mounts.MOUNTS = Path(sys.argv[2]); found = open_workspace(sys.argv[1]);"
            "print(found.database, *(one.id for one in live_servers(found)))"
        )
        command = [sys.executable, "-c", look, str(far), str(mounts.MOUNTS)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        with trio.fail_after(60):
            done = await trio.run_process(command, env=environment, capture_stdout=True)
        assert done.stdout.decode().split() == [str(workspace.database), opened.server]
    # Unchanged by a second start.
    assert open_workspace(far).database == workspace.database


def test_a_database_that_came_with_the_workspace_is_not_passed_over(far: Path) -> None:
    (far / ".vespera").mkdir()
    stranded = far / ".vespera" / "vespera.db"
    stranded.touch()
    with pytest.raises(WorkspaceError, match=f"{stranded} lies on a file system of another machine.* Move it"):
        open_workspace(far)
    stranded.unlink()
    workspace = open_workspace(far)
    workspace.database.touch()
    stranded.touch()
    assert open_workspace(far).database == workspace.database
