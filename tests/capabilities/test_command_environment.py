"""What a command finds in its environment, and what is kept from it."""

from __future__ import annotations

import os
import sysconfig
from pathlib import Path

import pytest

from vespera_agents.capabilities.environment import DROPPED, command_environment

SCRIPTS = sysconfig.get_path("scripts")


def test_the_projects_own_tools_come_first_and_the_interpreters_last(tmp_path: Path) -> None:
    base = {"PATH": "/usr/local/bin:/usr/bin"}
    assert command_environment(tmp_path, base, {})["PATH"] == f"/usr/local/bin:/usr/bin:{SCRIPTS}"
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    assert command_environment(tmp_path, base, {})["PATH"] == f"{tmp_path}/.venv/bin:/usr/local/bin:/usr/bin:{SCRIPTS}"


def test_without_a_path_there_is_the_systems(tmp_path: Path) -> None:
    assert command_environment(tmp_path, {}, {})["PATH"] == f"{os.defpath}:{SCRIPTS}"
    assert command_environment(tmp_path, {"PATH": ""}, {})["PATH"] == f"{os.defpath}:{SCRIPTS}"


def test_a_relative_directory_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "project" / ".venv" / "bin").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    environment = command_environment(Path("project"), {"PATH": "/bin"}, {})
    assert environment["PATH"].split(":")[0] == str(tmp_path / "project" / ".venv" / "bin")
    assert environment["PWD"] == str(tmp_path / "project")


def test_what_belongs_to_the_starter_is_dropped_and_the_rest_is_kept(tmp_path: Path) -> None:
    kept = {"HOME": "/house", "LANG": "C.UTF-8", "PYTHONPATH": "src", "PYTEST_ADDOPTS": "-x", "CI": "true"}
    base = kept | {"PATH": "/bin", "TERM": "xterm", "PWD": "/elsewhere"} | dict.fromkeys(DROPPED, "1")
    assert command_environment(tmp_path, base, {}) == kept | {
        "PATH": f"/bin:{SCRIPTS}",
        "PWD": str(tmp_path),
        "PYTHONUNBUFFERED": "1",
        "TERM": "dumb",
    }
    assert {"COVERAGE_PROCESS_START", "VIRTUAL_ENV", "PYTHONHOME", "__PYVENV_LAUNCHER__", "NO_COLOR"} <= DROPPED


def test_nothing_is_invented(tmp_path: Path) -> None:
    assert command_environment(tmp_path, {}, {}).keys() == {"PATH", "PWD", "PYTHONUNBUFFERED", "TERM"}


def test_what_the_caller_sets_wins_over_everything(tmp_path: Path) -> None:
    extra = {"TERM": "xterm", "PATH": "/only", "NO_COLOR": "1", "MINE": "yes"}
    environment = command_environment(tmp_path, {"PATH": "/bin", "MINE": "no"}, extra)
    assert {name: environment[name] for name in extra} == extra


def test_the_given_mappings_are_not_changed(tmp_path: Path) -> None:
    base = {"PATH": "/bin", "VIRTUAL_ENV": "/venv"}
    command_environment(tmp_path, base, {"A": "1"})
    assert base == {"PATH": "/bin", "VIRTUAL_ENV": "/venv"}
