"""`vespera check`, `--version` and `--help`: the small commands."""

from __future__ import annotations

import importlib.metadata

import click
import pytest

from vespera_agents.capabilities.checks import CHECKS
from vespera_agents.cli import app


def test_without_a_name_the_checks_are_listed(vespera):
    done = vespera("check")
    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.splitlines()] == list(CHECKS)


def test_an_unknown_check_is_refused_with_the_known_ones(vespera):
    done = vespera("check", "moon")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "there is no check 'moon'" in done.stderr
    assert "git-clean" in done.stderr


def test_a_check_ends_with_its_own_status_and_looks_where_it_is_told(vespera):
    project = vespera.workspace / "inner"
    project.mkdir()
    assert vespera("check", "uses", "pytest", "--directory", "inner").returncode == 1
    (project / "pyproject.toml").write_text("[tool.pytest.ini_options]\n")
    (project / "tests").mkdir()
    (project / "tests" / "test_x.py").write_text("def test_x(): pass\n")
    held = vespera("check", "uses", "pytest", "--directory", "inner")
    assert held.returncode == 0, held.stdout
    assert held.stdout.startswith("pytest: yes")
    assert vespera("check", "uses").returncode == 2
    assert vespera("check", "changelog", "--directory", "nowhere").returncode == 2


def test_the_version_is_the_distribution_s(vespera, monkeypatch):
    done = vespera("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("vespera ")

    def absent(_):
        raise importlib.metadata.PackageNotFoundError

    monkeypatch.setattr("vespera_agents.cli.commands.version", absent)
    assert vespera("--version").stdout == "vespera (not installed)\n"
    monkeypatch.setattr("vespera_agents.cli.commands.version", lambda _: "1.2.3")
    assert vespera("--version").stdout == "vespera 1.2.3\n"


def commands(group: click.Group, above: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for name, command in group.commands.items():
        path = (*above, name)
        found += [path, *(commands(command, path) if isinstance(command, click.Group) else [])]
    return found


@pytest.mark.parametrize("path", [(), *commands(app)], ids=" ".join)
def test_every_command_and_option_explains_itself(vespera, path):
    done = vespera(*path, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"Usage: vespera {' '.join(path)}".rstrip())
    command: click.Command = app
    for name in path:
        command = command.commands[name]
    assert command.help
    if not isinstance(command, click.Group):
        assert "Exit status:" in done.stdout
    for parameter in command.params:
        assert not isinstance(parameter, click.Option) or parameter.help, parameter.name
