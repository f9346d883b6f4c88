"""What each tool takes, and how it is described to a model: one class for each, from which its JSON Schema is made.

Neighbours: `toolbox` reads a call's arguments with these.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Final, cast, final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vespera_agents.providers.exchange import ToolSpec

__all__ = [
    "TOOLS",
    "EditFile",
    "ListFiles",
    "ReadFile",
    "RunCommand",
    "Search",
    "ToolArguments",
    "UnusableArguments",
    "WriteFile",
    "read_arguments",
    "spec_of",
]

TEXT_MAX: Final = 1_000_000
"""Characters of a text that a tool takes."""
PATH_MAX: Final = 4_096
_ERRORS_MAX: Final = 5

_Path = Annotated[str, Field(min_length=1, max_length=PATH_MAX, description="relative to the working copy")]


@final
class UnusableArguments(Exception):
    """The arguments of a call cannot be used; the message says what to change."""


class ToolArguments(BaseModel):
    """The arguments of one call."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    tool: ClassVar[str]
    changes: ClassVar[bool] = False
    """Whether the tool changes files."""


@final
class ListFiles(ToolArguments):
    """List files and folders, in order; folders end with a slash. Links are named, not followed."""

    tool: ClassVar[str] = "list_files"
    path: _Path = "."
    depth: Annotated[int, Field(ge=1, le=20, description="1: only this folder")] = 2
    after: Annotated[str, Field(max_length=PATH_MAX, description="go on after this path, for a long list")] = ""


@final
class ReadFile(ToolArguments):
    """Read a text file, or a page of it."""

    tool: ClassVar[str] = "read_file"
    path: _Path
    from_line: Annotated[int, Field(ge=1)] = 1
    lines: Annotated[int, Field(ge=1, le=5_000)] = 500


@final
class Search(ToolArguments):
    """Find lines that hold a text or match a regular expression; gives path, line number and line."""

    tool: ClassVar[str] = "search"
    pattern: Annotated[str, Field(min_length=1, max_length=500)]
    path: _Path = "."
    regex: Annotated[bool, Field(description="the pattern is a regular expression, not a text")] = False
    ignore_case: bool = False
    files: Annotated[str, Field(max_length=200, description="only files whose name matches, as *.py")] = ""


@final
class EditFile(ToolArguments):
    """Replace an exact piece of a file. It must occur once, unless all is true. Whitespace counts."""

    tool: ClassVar[str] = "edit_file"
    changes: ClassVar[bool] = True
    path: _Path
    old: Annotated[str, Field(min_length=1, max_length=TEXT_MAX)]
    new: Annotated[str, Field(max_length=TEXT_MAX)]
    all: Annotated[bool, Field(description="replace every occurrence")] = False


@final
class WriteFile(ToolArguments):
    """Write a whole file, new or instead of the one that is there; its folders are made."""

    tool: ClassVar[str] = "write_file"
    changes: ClassVar[bool] = True
    path: _Path
    text: Annotated[str, Field(max_length=TEXT_MAX)]


@final
class RunCommand(ToolArguments):
    """Run a command in the working copy, without a shell, input or terminal; gives its status and its output."""

    tool: ClassVar[str] = "run_command"
    changes: ClassVar[bool] = True
    command: Annotated[str, Field(min_length=1, max_length=8_000)]
    timeout_seconds: Annotated[float, Field(gt=0, le=3_600)] = 120.0


TOOLS: Final[Mapping[str, type[ToolArguments]]] = MappingProxyType(
    {one.tool: one for one in (ListFiles, ReadFile, Search, EditFile, WriteFile, RunCommand)}
)
"""Every tool by its name."""


def read_arguments(kind: type[ToolArguments], given: Mapping[str, object]) -> ToolArguments:
    """Read the arguments of a call.

    Raises:
        UnusableArguments: one is missing, unknown or out of its range.
    """
    try:
        return kind.model_validate(dict(given))
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        said = "; ".join(
            f"{'.'.join(map(str, one['loc'])) or 'arguments'}: {one['msg']}" for one in found[:_ERRORS_MAX]
        )
        takes = ", ".join(
            name if field.is_required() else f"{name}={field.default!r}" for name, field in kind.model_fields.items()
        )
        raise UnusableArguments(f"{kind.tool} cannot be called so: {said}. It takes {takes}.") from error


def spec_of(kind: type[ToolArguments]) -> ToolSpec:
    """Describe a tool to a model."""
    schema = kind.model_json_schema()
    properties = cast("dict[str, dict[str, Any]]", schema["properties"])
    for one in properties.values():
        one.pop("title", None)
    parameters: dict[str, object] = {"type": "object", "properties": properties, "additionalProperties": False}
    if schema.get("required"):
        parameters["required"] = schema["required"]
    return ToolSpec(kind.tool, " ".join((kind.__doc__ or "").split()), parameters)
