"""Roles: what a specialist is, as data. The packaged ones in `packaged.yaml`, a workspace's own beside its store.

A workspace's `.vespera/roles/*.yaml` are merged by role name, field by field, over the packaged ones. Not a class
for each role: a specialist is one actor class that is given a role. Neighbours: `briefing` turns a role into a prompt.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Final, cast

from pydantic import BaseModel, Field, ValidationError

from vespera_agents.work.errors import InvalidInput
from vespera_agents.work.models import role_name
from vespera_agents.workspace import open_inside

__all__ = ["CONTEXT_TOKENS_MAX", "Role", "load_roles", "role_of", "role_text"]

CONTEXT_TOKENS_MAX: Final = 100_000
"""The default context limit of a role."""
_FILE_BYTES_MAX: Final = 256 * 1024
_NAME_MAX: Final = 64
"""Characters in the name of a role."""


class Role(BaseModel, frozen=True, extra="forbid"):
    """What a specialist of one kind is told about itself."""

    name: str
    role_definition: Annotated[str, Field(min_length=1)]
    expertise: tuple[str, ...] = ()
    approach: tuple[str, ...] = ()
    output_format: str = ""
    model: str | None = None
    """The model this role prefers; kept for the client that works in its name."""
    tools: tuple[str, ...] = ()
    context_tokens_max: Annotated[int, Field(ge=1_000, le=10_000_000)] = CONTEXT_TOKENS_MAX
    steps_max: Annotated[int, Field(ge=1, le=1_000)] = 60
    """Steps of one attempt at a task by a specialist that works by itself."""
    revisions_max: Annotated[int, Field(ge=0, le=100)] = 3
    """How often it may correct work that the gates refused."""


def load_roles(directory: Path | None = None) -> dict[str, Role]:
    """Read the packaged roles, and those of a workspace over them.

    Args:
        directory: `.vespera/roles` of a workspace; need not exist.

    Raises:
        InvalidInput: a role file is not valid, and which field of it; or the files cannot be listed.
    """
    fields: dict[str, dict[str, Any]] = {}
    origin: dict[str, str] = {}
    for path in _files(directory) if directory is not None else ():
        for name, own in _mapping(_read(path), path.name).items():
            fields[name] = {**fields.get(name, _packaged().get(name, {})), **own}
            origin[name] = path.name
    return _packaged_roles() | {name: _role(name, own, origin[name]) for name, own in fields.items()}


def role_of(roles: Mapping[str, Role], name: str) -> Role:
    """Give a role by name, the generic one for a name that nobody defined."""
    return roles.get(name) or roles["generic"]


@cache
def _packaged_roles() -> dict[str, Role]:
    """Make the packaged roles, once: every claim asks for one, and all of them took 0.1 ms to make."""
    return {name: _role(name, own, "packaged.yaml") for name, own in _packaged().items()}


@cache
def _packaged() -> dict[str, dict[str, Any]]:
    """Read the packaged roles, once: YAML takes 20 ms to read, and every briefing needs a role."""
    text = files("vespera_agents.specialists.roles").joinpath("packaged.yaml").read_text("utf-8")
    return _mapping(text, "packaged.yaml")


def role_text(role: Role) -> str:
    """Write a role as a role file defines it."""
    fields = role.model_dump(mode="json", exclude={"name"}, exclude_none=True)
    import yaml  # noqa: PLC0415 - as in reading them

    return yaml.safe_dump({role.name: fields}, sort_keys=False, allow_unicode=True, width=120)


def _files(directory: Path) -> list[Path]:
    """List the role files of a workspace."""
    try:
        names = os.listdir(directory)  # noqa: PTH208 - for every claim, and mostly there are none
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InvalidInput(
            f"the role files in {directory.name} cannot be read ({error.strerror})", "Check the directory."
        ) from error
    return [directory / name for name in sorted(names) if fnmatchcase(name, "*.y*ml")]


def _read(path: Path) -> str:
    """Read a role file, which came with the workspace and may be anything."""
    try:
        if path.is_symlink() or not path.is_file():
            # A device or a pipe would never end, and what a link leads to is nobody's to tell.
            raise InvalidInput(f"the role file {path.name} is no regular file", "Remove it.")
        with open_inside(path.parent, path) as file:
            data = file.read(_FILE_BYTES_MAX + 1)
    except OSError as error:
        raise InvalidInput(
            f"the role file {path.name} cannot be read ({error.strerror})", "Check its permissions."
        ) from error
    if len(data) > _FILE_BYTES_MAX:
        raise InvalidInput(f"the role file {path.name} is larger than {_FILE_BYTES_MAX} bytes", "Shorten it.")
    return data.decode(errors="replace")


def _mapping(text: str, name: str) -> dict[str, dict[str, Any]]:
    import yaml  # noqa: PLC0415 - a server that starts needs no roles yet

    advice = "Write `role_name:` with its fields below it, as in the documentation."
    try:
        data: object = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        # ValueError: a date or a number that YAML's syntax allows and Python does not.
        reason = " ".join(str(error).split())
        raise InvalidInput(f"the role file {name} is not valid YAML ({reason})", advice) from error
    if data is None:
        return {}
    if not isinstance(data, dict) or not all(
        isinstance(value, dict) for value in cast("dict[Any, Any]", data).values()
    ):
        raise InvalidInput(f"the role file {name} is not a mapping of role names", advice)
    roles = cast("dict[object, dict[str, Any]]", data)
    return {role_name(str(key)): dict(value) for key, value in roles.items()}


def _role(name: str, own: dict[str, Any], origin: str) -> Role:
    if not 1 <= len(name) <= _NAME_MAX or not name.isprintable() or "/" in name:
        raise InvalidInput(
            f"{name!r:.100} in {origin} is no name of a role",
            f"Use 1 to {_NAME_MAX} printable characters without a slash.",
        )
    try:
        return Role(name=name, **own)
    except (ValidationError, TypeError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else {"loc": ("name",), "msg": str(error)}
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidInput(
            f"the role {name!r} in {origin} is not valid: {where}: {first['msg']}", "Correct the file."
        ) from error
