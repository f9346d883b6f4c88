"""What a role may use of the tools, and one call from its arguments to its outcome.

Whatever a model asks for is answered: what cannot be done is an outcome that says what to do next, not an exception.
Exceptions are left to what no model can correct: a lost guardian, a bug. Neighbours: `arguments` says what each tool
takes; `files`, `texts`, `searching` and `running` do it; the agent decides when.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, cast, final

import trio

from vespera_agents.capabilities.tools.arguments import (
    TOOLS,
    EditFile,
    ListFiles,
    ReadFile,
    RunCommand,
    Search,
    ToolArguments,
    UnusableArguments,
    WriteFile,
    read_arguments,
    spec_of,
)
from vespera_agents.capabilities.tools.files import Confined, FileRefused, Listed, shown
from vespera_agents.capabilities.tools.running import CommandRefused, Commands, run_allowed
from vespera_agents.capabilities.tools.searching import SearchRefused, find
from vespera_agents.capabilities.tools.texts import EditRefused, page_of, replaced
from vespera_agents.providers.exchange import ToolCall, ToolSpec

__all__ = ["ToolOutcome", "Toolbox", "ToolboxStatistics"]

ENTRIES_MAX: Final = 1_000
"""Files and folders in one listing."""


@final
@dataclass(frozen=True, slots=True)
class ToolOutcome:
    """What a call came to."""

    text: str
    """For the model; at most some 90 KiB."""
    is_error: bool = False
    changed: bool = False
    """Files were changed, or may have been."""


@final
@dataclass(frozen=True, slots=True)
class ToolboxStatistics:
    """A toolbox at one moment."""

    calls: Mapping[str, int]
    """By the tool's name; what was no tool is not among them."""
    errors: int


@final
class Toolbox:
    """The tools of one role in one directory."""

    def __init__(self, directory: Path, allowed: Sequence[str], *, commands: Commands | None = None) -> None:
        """Put a toolbox together.

        Args:
            directory: a working copy's; must exist.
            allowed: the tools that the role may use; names of no tool of ours are passed over.
            commands: for `run_command`, which is not offered without.
        """
        self._confined = Confined(directory)
        self._commands = commands
        self._tools = {
            name: TOOLS[name]
            for name in dict.fromkeys(allowed)
            if name in TOOLS and (commands is not None or TOOLS[name] is not RunCommand)
        }
        self._calls = dict.fromkeys(self._tools, 0)
        self._errors = 0
        # A piece is replaced in what was read a moment before: one change at a time.
        self._changing = trio.Lock()

    def specs(self) -> tuple[ToolSpec, ...]:
        """Describe the tools to a model."""
        return tuple(spec_of(kind) for kind in self._tools.values())

    def statistics(self) -> ToolboxStatistics:
        """Give its numbers as they are now."""
        return ToolboxStatistics(dict(self._calls), self._errors)

    async def call(self, call: ToolCall, *, again: bool = False) -> ToolOutcome:
        """Do what a model asks for.

        Cancelled: a command is ended, within bounds; a file is written whole or not at all.

        Args:
            call: the tool and its arguments.
            again: it was begun before and its outcome was lost: an edit that is there already is not made twice.

        Raises:
            GuardianError: there is no guardian to watch over a command.
        """
        kind = self._tools.get(call.name)
        if kind is None:
            self._errors += 1
            names = ", ".join(self._tools) or "none"
            return ToolOutcome(f"there is no tool {shown(call.name[:100])!r} here. There is: {names}.", is_error=True)
        self._calls[call.name] += 1
        try:
            outcome = await self._do(read_arguments(kind, call.arguments), again=again)
        except (UnusableArguments, FileRefused, EditRefused, SearchRefused, CommandRefused) as error:
            outcome = ToolOutcome(str(error), is_error=True)
        self._errors += outcome.is_error
        return outcome

    async def _do(self, arguments: ToolArguments, *, again: bool) -> ToolOutcome:
        if isinstance(arguments, RunCommand):
            commands = cast("Commands", self._commands)
            directory = self._confined.directory
            text, succeeded = await run_allowed(commands, directory, arguments.command, arguments.timeout_seconds)
            return ToolOutcome(text, is_error=not succeeded, changed=True)
        if isinstance(arguments, EditFile | WriteFile):
            async with self._changing:
                # Written whole or not at all, also when nobody waits for it any more.
                return await trio.to_thread.run_sync(partial(self._change, arguments, again=again))
        return ToolOutcome(await trio.to_thread.run_sync(self._look, arguments, abandon_on_cancel=True))

    def _look(self, arguments: ToolArguments) -> str:
        if isinstance(arguments, ListFiles):
            return self._list(arguments)
        if isinstance(arguments, ReadFile):
            data = self._confined.read(arguments.path)
            return page_of(shown(arguments.path), data, arguments.from_line, arguments.lines)
        assert isinstance(arguments, Search), "every tool that changes nothing is here"
        return find(
            self._confined,
            arguments.pattern,
            arguments.path,
            regex=arguments.regex,
            ignore_case=arguments.ignore_case,
            files=arguments.files,
        )

    def _list(self, arguments: ListFiles) -> str:
        lines: list[str] = []
        last = ""
        for entry in self._confined.walk(arguments.path, arguments.depth):
            # By parts, as it is walked: as one text, `a-b` would stand before what is in `a`.
            if arguments.after and entry.path.split("/") <= arguments.after.split("/"):
                continue
            if len(lines) == ENTRIES_MAX:
                lines.append(f"There is more: go on with after={last!r}, or list a folder of its own.")
                break
            lines.append(_line(entry))
            last = entry.path
        return "\n".join(lines) or "(empty)"

    def _change(self, arguments: EditFile | WriteFile, *, again: bool) -> ToolOutcome:
        path = shown(arguments.path)
        if isinstance(arguments, WriteFile):
            data = arguments.text.encode()
            was_there = self._confined.replace(arguments.path, data, make=True)
            what = "replaced" if was_there else "written"
            return ToolOutcome(f"{path}: {what}, {len(data)} bytes", changed=True)
        before = self._confined.read(arguments.path)
        data, count = replaced(path, before, arguments.old, arguments.new, every=arguments.all, again=again)
        if not count:
            return ToolOutcome(f"{path}: the new text is there already, and the old is not; nothing was changed")
        self._confined.replace(arguments.path, data, make=False)
        return ToolOutcome(f"{path}: replaced {count} {'piece' if count == 1 else 'pieces'}", changed=True)


def _line(entry: Listed) -> str:
    name = shown(entry.path)
    if entry.link_to is not None:
        return f"{name} -> {shown(entry.link_to)} (a link)"
    return f"{name}/" if entry.is_directory else f"{name} ({entry.size} bytes)"
