"""How Claude Code is started: its arguments and its environment. Pure.

Nothing of the user's own configuration reaches it: no settings, no servers, a directory of its own for what it keeps,
and an environment of named variables. What it may do is said in full; whatever else it wants is denied, and told.
Neighbours: `run` starts it, `settings` says who it is.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from vespera_agents.providers.whole_tasks import WholeTask

__all__ = ["PASSED", "arguments", "environment_of", "known_tools", "permissions"]

PASSED: Final = ("HOME", "LANG", "LC_ALL", "LC_CTYPE", "LOGNAME", "PATH", "SHELL", "TMPDIR", "TZ", "USER")
"""The variables of ours that it gets; the owner may name more. None of them holds a secret."""
_FIXED: Final = {
    # It runs unattended: nothing of it may change between two runs of a task, or report elsewhere.
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "DISABLE_AUTOUPDATER": "1",
    # It keeps its key from the commands that it runs (where its version knows how).
    "CLAUDE_CODE_SUBPROCESS_ENV_SCRUB": "1",
    "TERM": "dumb",
}
_TOOLS: Final[Mapping[str, tuple[str, ...]]] = {
    "list_files": ("Glob", "LS"),
    "read_file": ("Read",),
    "search": ("Grep", "Glob"),
    "edit_file": ("Edit", "MultiEdit"),
    "write_file": ("Write",),
}
_RUN: Final = "run_command"
_READS: Final = frozenset({"list_files", "read_file", "search"})
_READING: Final = "Read(./**)"
_EDITING: Final = "Edit(./**)"
"""Rules for paths: relative to the directory that it works in, and for all of its tools that read or change files."""
_OWN_SHARE: Final = 0.8
"""Of what a task may cost: it looks after a turn whether that is spent, so the last one must fit into the rest."""
_WORDS: Final = re.compile(r"[^()*,\n]+")


def known_tools(tools: Sequence[str]) -> tuple[str, ...]:
    """Give the tools that are there for it at all, in its own names.

    Args:
        tools: what the role allows, in ours; an unknown one brings nothing.
    """
    known = [name for tool in tools for name in _TOOLS.get(tool, ())]
    return tuple(dict.fromkeys([*known, "Bash"] if _RUN in tools else known))


def permissions(tools: Sequence[str], commands: Sequence[str]) -> tuple[str, ...]:
    """Give what it may do with them: read and change files in its directory, and run what is allowed.

    Args:
        tools: what the role allows, in our names.
        commands: how commands begin that may be run. One that could be read as a wider permission is left out.
    """
    given = [_READING] if _READS & set(tools) else []
    if {"edit_file", "write_file"} & set(tools):
        given.append(_EDITING)
    if _RUN in tools:
        lines = (shlex.join(shlex.split(line)) for line in commands)
        given += [f"Bash({line}:*)" for line in lines if line and _WORDS.fullmatch(line)]
    return tuple(dict.fromkeys(given))


def arguments(
    whole: WholeTask, *, resume: bool, context_tokens_max: int, partial: bool, system_file: Path | None
) -> list[str]:
    """Give the arguments for one run.

    Args:
        whole: what is to be done.
        resume: whether to go on with an earlier run of it.
        context_tokens_max: when it compacts its context, in its own tokens.
        partial: whether answers are told bit by bit.
        system_file: where its role stands, if it has one. On the command line anybody on the machine could read it.
    """
    given = ["-p", "--input-format", "stream-json", "--output-format", "stream-json", "--verbose"]
    if whole.forked_from is not None and not resume:
        given += ["--resume", whole.forked_from, "--fork-session", "--session-id", whole.run_id]
    else:
        given += ["--resume" if resume else "--session-id", whole.run_id]
    given += ["--autocompact", str(context_tokens_max), "--max-turns", str(whole.turns_max)]
    if whole.spend_usd_max is not None:
        given += ["--max-budget-usd", f"{whole.spend_usd_max * _OWN_SHARE:.6f}"]
    given += ["--permission-mode", "dontAsk", "--strict-mcp-config", "--mcp-config", '{"mcpServers":{}}']
    given += ["--setting-sources=", "--add-dir", str(whole.directory)]
    if whole.model:
        given += ["--model", whole.model]
    if system_file is not None:
        given += ["--append-system-prompt-file", str(system_file)]
    if partial:
        given.append("--include-partial-messages")
    given += ["--tools", ",".join(known_tools(whole.tools))]
    may = permissions(whole.tools, whole.commands)
    return [*given, "--allowedTools", *may] if may else given


def environment_of(
    base: Mapping[str, str], *, config: Path, named: Sequence[str], credential: Mapping[str, str]
) -> dict[str, str]:
    """Give its whole environment.

    Args:
        base: ours.
        config: the directory of its own.
        named: variables that the owner names beside `PASSED`.
        credential: the one secret that it needs, by the name under which it looks for it.
    """
    passed = {name: base[name] for name in (*PASSED, *named) if name in base}
    return {**passed, **_FIXED, "CLAUDE_CONFIG_DIR": str(config), **credential}
