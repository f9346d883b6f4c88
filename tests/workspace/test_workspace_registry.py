"""The list of known workspaces, written by several processes, and the owner's trust in a configuration."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from vespera_agents.workspace import Registry, Settings, WorkspaceError, load_settings, open_workspace, state_directory
from vespera_agents.workspace.registry import _WORKSPACES_MAX


def made(tmp_path: Path, name: str) -> Path:
    (tmp_path / name).mkdir()
    return open_workspace(tmp_path / name).directory


def test_the_state_directory_follows_the_users_wish_when_it_is_absolute() -> None:
    assert state_directory({"XDG_STATE_HOME": "/somewhere"}) == Path("/somewhere/vespera")
    for relative in ({"XDG_STATE_HOME": "state"}, {}):
        assert state_directory(relative) == Path.home() / ".local" / "state" / "vespera"


def test_workspaces_are_listed_the_last_opened_first_while_they_exist(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "state")
    assert registry.workspaces() == []
    first, second, third = (made(tmp_path, name) for name in ("a", "b", "c"))
    for workspace in (first, second, third, first, first):
        registry.remember(workspace)
    (second / ".vespera").rename(second / "moved")
    assert registry.workspaces() == [first, third]
    assert Registry(tmp_path / "state").workspaces() == [first, third]


def test_the_oldest_is_forgotten_when_there_are_too_many(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "state")
    registry.remember(Path("/oldest"))
    with registry._changing() as entries:
        entries.update({f"/filler/{number}": {} for number in range(_WORKSPACES_MAX - 1)})
    registry.remember(Path("/newest"))
    assert len(registry._read()) == _WORKSPACES_MAX
    assert "/oldest" not in registry._read()


def test_trust_is_kept_for_one_workspace_and_one_text(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "state")
    workspace = made(tmp_path, "a")
    assert registry.trusted(workspace) is None
    registry.trust(workspace, "abc")
    registry.remember(made(tmp_path, "b"))
    registry.remember(workspace)
    assert registry.trusted(workspace) == "abc"


@pytest.mark.parametrize("content", ["", "{", "[]", "7", '{"/a": 5}', '{"/a": "x"}', "\xff\xfe", "null"])
def test_a_damaged_registry_is_said_and_never_overwritten(tmp_path: Path, content: str) -> None:
    registry = Registry(tmp_path / "state")
    registry.path.parent.mkdir()
    registry.path.write_bytes(content.encode("latin-1"))
    for use in (registry.workspaces, lambda: registry.remember(Path("/b")), lambda: registry.trusted(Path("/a"))):
        with pytest.raises(WorkspaceError, match="Repair it or move it away"):
            use()
    assert registry.path.read_bytes() == content.encode("latin-1")


def test_a_state_directory_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    with pytest.raises(WorkspaceError, match=r"cannot be (read|written)"):
        Registry(tmp_path / "state" / "vespera").remember(Path("/a"))


REMEMBER = """
import sys
from pathlib import Path
from vespera_agents.workspace import Registry
registry = Registry(Path(sys.argv[1]))
sys.stdin.read()
for number in range(40):
    registry.remember(Path(f"/{sys.argv[2]}/{number}"))
"""


def test_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    state = tmp_path / "state"
    writers = [
        subprocess.Popen([sys.executable, "-c", REMEMBER, str(state), name], stdin=subprocess.PIPE)
        for name in ("one", "two")
    ]
    for writer in writers:
        writer.stdin.close()
    assert [writer.wait(30) for writer in writers] == [0, 0]
    assert sorted(Registry(state)._read()) == sorted(f"/{name}/{n}" for name in ("one", "two") for n in range(40))
    assert sorted(path.name for path in state.iterdir()) == ["workspaces.json", "workspaces.lock"]


def configured(tmp_path: Path, text: str | bytes, *, trusted: bool = True) -> Settings:
    workspace = open_workspace(tmp_path)
    workspace.config.write_bytes(text.encode() if isinstance(text, str) else text)
    registry = Registry(tmp_path / "state")
    settings = load_settings(workspace, registry)
    assert not settings.trusted
    if trusted:
        registry.trust(workspace.directory, settings.fingerprint or "")
    return load_settings(workspace, registry)


def in_a_shell(settings: Settings, text: str) -> str | None:
    return settings.refusal(text, shell=True)  # noqa: S604 - nothing is run


def test_without_a_configuration_nothing_is_allowed(tmp_path: Path) -> None:
    settings = load_settings(open_workspace(tmp_path), Registry(tmp_path / "state"))
    assert settings == Settings()
    assert "vespera trust" in (settings.refusal("true", shell=False) or "")


def test_a_command_is_allowed_when_it_begins_with_allowed_words(tmp_path: Path) -> None:
    settings = configured(tmp_path, '[commands]\nallow = ["python -m pytest", "ruff check"]\n')
    assert settings.refusal("python -m pytest -q tests", shell=False) is None
    assert settings.refusal("'ruff' check .", shell=False) is None
    for text in ("python -m pip", "ruff checker", "ruff", "echo ruff check"):
        assert "is not allowed" in (settings.refusal(text, shell=False) or "")
    assert "shell = true" in (in_a_shell(settings, "ruff check") or "")


def test_a_shell_command_is_allowed_only_as_the_whole_line_that_the_owner_wrote(tmp_path: Path) -> None:
    settings = configured(tmp_path, '[commands]\nallow = ["ruff check | tail", "echo \'a;b\'"]\nshell = true\n')
    assert in_a_shell(settings, "ruff check | tail ") is None
    for text in ("ruff check | tail; rm -rf x", "ruff check | tail && x", "echo a;b"):
        assert "is not allowed" in (in_a_shell(settings, text) or "")


def test_trust_ends_with_the_first_change_of_the_text(tmp_path: Path) -> None:
    assert configured(tmp_path, '[commands]\nallow = ["true"]\n').trusted
    (tmp_path / ".vespera" / "config.toml").write_text('[commands]\nallow = ["true", "rm"]\n')
    settings = load_settings(open_workspace(tmp_path), Registry(tmp_path / "state"))
    assert not settings.trusted
    assert settings.refusal("true", shell=False) is not None


@pytest.mark.parametrize(
    "text",
    [
        "[commands",
        b"\xff",
        "[tools]\n",
        "x = 1\n",
        "commands = 5\n",
        '[commands]\nallow = "ruff"\n',
        "[commands]\nallow = [5]\n",
        '[commands]\nallow = [" "]\n',
        '[commands]\nallow = ["it\'s"]\n',
        '[commands]\nshell = "yes"\n',
        "[commands]\nextra = 1\n",
        "health = 5\n",
    ],
)
def test_a_wrong_configuration_is_refused_with_advice(tmp_path: Path, text: str | bytes) -> None:
    with pytest.raises(WorkspaceError, match=r"Correct it|Only \[commands\] and \[health\] are known"):
        configured(tmp_path, text)


def test_a_configuration_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    workspace = open_workspace(tmp_path)
    workspace.config.mkdir()
    with pytest.raises(WorkspaceError, match="cannot be read"):
        load_settings(workspace, Registry(tmp_path / "state"))
