"""`.vespera/config.toml`: what a workspace's owner allows.

Over MCP a client may cause commands to run (the gates of a task) only if this file allows them and its owner has
trusted exactly this text of it with `vespera trust`. `vespera run` needs neither: there the owner runs the plan.

    [commands]
    allow = ["python -m pytest", "ruff check"]    # a command is allowed when it begins with these words
    shell = false                                 # true: commands for /bin/sh, too, if `allow` has exactly that line

Other sections are only taken out of the file here; who they are for reads them: `[health]` (when the server counts as
ill), `[providers]` (models, and what may be spent), `[callbacks]` (who is told of what happens), `[routing]` (who does
what). What sends something elsewhere counts only in a file that its owner trusted: a workspace may come from anybody.
"""

from __future__ import annotations

import hashlib
import shlex
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, cast, final

from vespera_agents.workspace.directory import Workspace
from vespera_agents.workspace.errors import WorkspaceError
from vespera_agents.workspace.opening import open_inside
from vespera_agents.workspace.registry import Registry

__all__ = ["Settings", "load_settings"]

_BYTES_MAX: Final = 1 << 20
_SECTIONS: Final = ("callbacks", "health", "providers", "routing")
"""Those that others read, beside [commands]."""


@final
@dataclass(frozen=True, slots=True)
class Settings:
    """The owner's configuration of one workspace."""

    fingerprint: str | None = None
    """sha256 of the file's bytes; None without a file."""
    trusted: bool = False
    """Whether the owner trusted exactly this text."""
    allow: tuple[tuple[str, ...], ...] = ()
    """The word prefixes of commands that an MCP client may cause to run."""
    allow_shell: bool = False
    lines: tuple[str, ...] = ()
    """The lines of `allow` as they are written."""
    sections: Mapping[str, Mapping[str, object]] = field(default_factory=dict[str, Mapping[str, object]])
    """What stands under the other known sections, as it is written."""

    def section(self, name: str) -> Mapping[str, object]:
        """Give what stands under one of the other known sections; empty where nothing does."""
        assert name in _SECTIONS, "only known sections are read"
        return self.sections.get(name, {})

    def refusal(self, text: str, *, shell: bool) -> str | None:
        """Say why a command may not run for an MCP client, and what to do; None when it may."""
        if not self.trusted:
            return (
                "commands run for MCP clients only after the owner allowed them: put them under [commands] allow in "
                ".vespera/config.toml and run `vespera trust`"
            )
        if shell and not self.allow_shell:
            return "shell commands are not allowed: set shell = true under [commands] and run `vespera trust`"
        # What follows an allowed beginning is an argument to a program, but to a shell it may be another command.
        if shell:
            allowed = text.strip() in self.lines
        else:
            words = tuple(shlex.split(text))
            allowed = any(words[: len(prefix)] == prefix for prefix in self.allow)
        if allowed:
            return None
        return f"{text!r} is not allowed: add it under [commands] allow in .vespera/config.toml and run `vespera trust`"


def load_settings(workspace: Workspace, registry: Registry) -> Settings:
    """Read the configuration of a workspace, without one the defaults.

    Raises:
        WorkspaceError: the file is not valid.
    """
    try:
        with open_inside(workspace.dot, workspace.config) as file:
            data = file.read(_BYTES_MAX + 1)
    except FileNotFoundError:
        return Settings()
    except OSError as error:
        raise WorkspaceError(f"{workspace.config} cannot be read ({error.strerror}). Check its permissions.") from error
    if len(data) > _BYTES_MAX:
        raise WorkspaceError(f"{workspace.config} is larger than {_BYTES_MAX} bytes. Shorten it.")
    try:
        table = tomllib.loads(data.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise WorkspaceError(f"{workspace.config} is not valid TOML ({error}). Correct it.") from error
    commands = table.pop("commands", {})
    sections: dict[str, Mapping[str, object]] = {}
    for name, section in table.items():
        if name not in _SECTIONS:
            known = ", ".join(f"[{one}]" for one in ("commands", *_SECTIONS))
            raise WorkspaceError(f"{workspace.config} has an unknown section [{name}]. Known are {known}. Correct it.")
        if not isinstance(section, dict):
            raise WorkspaceError(f"{workspace.config}: [{name}] is a section with settings in it. Correct it.")
        sections[name] = cast("dict[str, object]", section)
    lines, allow, allow_shell = _commands(workspace, commands)
    fingerprint = hashlib.sha256(data).hexdigest()
    return Settings(
        fingerprint=fingerprint,
        trusted=registry.trusted(workspace.directory) == fingerprint,
        allow=allow,
        allow_shell=allow_shell,
        lines=lines,
        sections=sections,
    )


def _commands(workspace: Workspace, commands: object) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...], bool]:
    wrong = WorkspaceError(
        f'{workspace.config}: [commands] takes allow = ["program word", ...] and shell = true or false. Correct it.'
    )
    if not isinstance(commands, dict):
        raise wrong
    table = cast("dict[str, object]", commands)
    allow, shell = table.pop("allow", []), table.pop("shell", False)
    if table or not isinstance(allow, list) or not isinstance(shell, bool):
        raise wrong
    lines: list[str] = []
    prefixes: list[tuple[str, ...]] = []
    for line in cast("list[object]", allow):
        if not isinstance(line, str):
            raise wrong
        try:
            words = tuple(shlex.split(line))
        except ValueError:
            raise wrong from None
        if not words:
            # Every command begins with no words at all.
            raise wrong
        lines.append(line.strip())
        prefixes.append(words)
    return tuple(lines), tuple(prefixes), shell
