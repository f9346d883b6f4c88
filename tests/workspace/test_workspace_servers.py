"""Who serves a workspace: records and locks, with real processes that die."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from vespera_agents.workspace import (
    ServerRecord,
    Workspace,
    WorkspaceError,
    announce_server,
    guardian_lock,
    live_servers,
    open_workspace,
    server_alive,
    session_lock,
)

SERVE = """
import sys
from vespera_agents.workspace import announce_server, open_workspace, session_lock
workspace = open_workspace(sys.argv[1])
with announce_server(workspace, "run") as record, session_lock(workspace, "session_1"):
    print(record.id, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return open_workspace(tmp_path)


@contextlib.contextmanager
def another_server(workspace: Workspace) -> Generator[tuple[subprocess.Popen[str], str]]:
    command = [sys.executable, "-c", SERVE, str(workspace.directory)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def test_a_server_is_listed_while_it_serves_and_leaves_nothing(workspace: Workspace) -> None:
    with announce_server(workspace, "serve") as record:
        assert record.kind == "serve"
        assert record.pid == os.getpid()
        assert live_servers(workspace) == [record]
        assert server_alive(workspace, record.id)
        Path(record.socket).touch()
    assert not server_alive(workspace, record.id)
    assert live_servers(workspace) == []
    assert not list(workspace.servers.iterdir())


def test_a_server_that_fails_leaves_nothing_either(workspace: Workspace) -> None:
    with pytest.raises(FileNotFoundError, match="our own"), announce_server(workspace, "run"):
        raise FileNotFoundError(2, "our own", str(workspace.servers / "something"))
    assert not list(workspace.servers.iterdir())


def test_a_killed_server_is_dead_at_once_and_the_next_one_cleans_up(workspace: Workspace) -> None:
    with another_server(workspace) as (process, name), announce_server(workspace, "serve") as ours:
        assert {record.id for record in live_servers(workspace)} == {name, ours.id}
        (theirs,) = [record for record in live_servers(workspace) if record.id == name]
        assert (theirs.pid, theirs.kind) == (process.pid, "run")
        Path(theirs.socket).touch()
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        assert not server_alive(workspace, name)
        assert live_servers(workspace) == [ours]
        with announce_server(workspace, "serve"):
            assert not list(workspace.servers.glob(f"{name}*"))


def test_a_server_that_never_was_is_not_alive(workspace: Workspace) -> None:
    assert not server_alive(workspace, "srv_000000000000")


def test_a_dead_servers_record_stays_while_its_guardian_still_ends_its_commands(workspace: Workspace) -> None:
    with another_server(workspace) as (process, name):
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    with guardian_lock(workspace, name).open("w") as guardian:
        fcntl.flock(guardian, fcntl.LOCK_EX)
        with announce_server(workspace, "serve"):
            assert (workspace.servers / f"{name}.json").exists()
            assert guardian_lock(workspace, name).exists()
    with announce_server(workspace, "serve"):
        assert not list(workspace.servers.glob(f"{name}*"))


def test_a_stopping_server_leaves_the_lock_of_a_guardian_that_still_works(workspace: Workspace) -> None:
    with announce_server(workspace, "run") as record:
        guardian = guardian_lock(workspace, record.id).open("w")
        fcntl.flock(guardian, fcntl.LOCK_EX)
    assert guardian_lock(workspace, record.id).exists()
    guardian.close()
    with announce_server(workspace, "run"):
        assert not guardian_lock(workspace, record.id).exists()


def test_a_forged_record_of_a_dead_server_removes_nothing_else(workspace: Workspace, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.touch()
    forged = {"id": "srv_1", "kind": "run", "pid": 1, "socket": str(precious)}
    (workspace.servers / "srv_1.json").write_text(json.dumps(forged))
    with announce_server(workspace, "run"):
        assert precious.exists()
        assert not (workspace.servers / "srv_1.json").exists()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"id": "x"}', '{"id": "x", "more": 1}'])
def test_a_record_that_is_half_written_does_not_count(workspace: Workspace, content: str) -> None:
    with announce_server(workspace, "run") as record:
        (workspace.servers / f"{record.id}.json").write_text(content)
        assert live_servers(workspace) == []
        assert server_alive(workspace, record.id)


def test_a_directory_that_cannot_be_written_is_said(workspace: Workspace) -> None:
    workspace.servers.rmdir()
    with pytest.raises(WorkspaceError, match="cannot be written"), announce_server(workspace, "run"):
        pytest.fail("there is nowhere to write the record")


def test_a_long_path_moves_the_socket_into_a_private_directory(tmp_path, monkeypatch) -> None:
    runtime = tmp_path / "run"
    runtime.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    with announce_server(open_workspace(deep), "serve") as record:
        private = Path(record.socket).parent
        assert private == runtime / f"vespera-{os.getuid()}"
        assert private.stat().st_mode & 0o077 == 0
    private.chmod(0o755)
    with pytest.raises(WorkspaceError, match="not private"), announce_server(open_workspace(deep), "serve"):
        pytest.fail("others may put a socket there")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime / "missing"))
    with pytest.raises(WorkspaceError, match="cannot be made"), announce_server(open_workspace(deep), "serve"):
        pytest.fail("there is no such directory")


def test_a_session_has_one_conductor_among_all_processes(workspace: Workspace) -> None:
    with another_server(workspace) as (process, _):
        with (
            pytest.raises(WorkspaceError, match=f"already being run by process {process.pid}"),
            session_lock(workspace, "session_1"),
        ):
            pytest.fail("two conductors")
        with session_lock(workspace, "session_2"):
            pass
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        with session_lock(workspace, "session_1"):
            assert (workspace.servers / "session_1.conductor").read_text() == str(os.getpid())


def test_records_are_equal_by_value() -> None:
    assert ServerRecord("srv_1", "run", 1, "/s") == ServerRecord("srv_1", "run", 1, "/s")
