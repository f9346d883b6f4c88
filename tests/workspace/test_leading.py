"""One of the servers of a workspace leads, and the next one that looks when it is gone, however it went."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from vespera_agents.workspace import Leadership, Workspace, leader_of, open_workspace

LEAD = """
import sys
from vespera_agents.workspace import Leadership, open_workspace
print(Leadership(open_workspace(sys.argv[1])).lead("srv_other"), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return open_workspace(tmp_path)


def test_one_leads_until_it_resigns(workspace: Workspace) -> None:
    first, second = Leadership(workspace), Leadership(workspace)
    assert leader_of(workspace) is None
    assert first.lead("srv_first")
    assert first.lead("srv_first")
    assert not second.lead("srv_second")
    assert leader_of(workspace) == "srv_first"
    first.resign()
    assert leader_of(workspace) is None
    assert second.lead("srv_second")
    assert not first.lead("srv_first")
    assert leader_of(workspace) == "srv_second"
    second.resign()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_leader_that_dies_is_followed_at_once(workspace: Workspace, number: int) -> None:
    command = [sys.executable, "-c", LEAD, str(workspace.directory)]
    ours = Leadership(workspace)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
        assert leader_of(workspace) == "srv_other"
        assert not ours.lead("srv_ours")
        process.send_signal(number)
        process.wait(20)
        assert ours.lead("srv_ours")
    assert leader_of(workspace) == "srv_ours"
    ours.resign()


def test_a_lock_on_a_file_that_was_removed_leads_nobody(workspace: Workspace) -> None:
    first, second = Leadership(workspace), Leadership(workspace)
    assert first.lead("srv_first")
    (workspace.servers / "leader").unlink()
    assert leader_of(workspace) is None
    assert second.lead("srv_second")
    assert not first.lead("srv_first")
    second.resign()
    assert first.lead("srv_first")
    first.resign()


def test_who_cannot_write_there_does_not_lead(workspace: Workspace) -> None:
    (workspace.servers / "leader").symlink_to(workspace.directory / "elsewhere")
    assert not Leadership(workspace).lead("srv_first")
    assert not (workspace.directory / "elsewhere").exists()
    assert leader_of(workspace) is None
    (workspace.servers / "leader").unlink()
    workspace.servers.rmdir()
    assert not Leadership(workspace).lead("srv_first")
