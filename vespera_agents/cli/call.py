"""`vespera call`: one tool of the orchestrator, called from a shell, on a tree of its own that ends with the call.

The same tools, checks and complaints as MCP clients get, without the protocol. What is claimed this way is held by the
user and not by the process, which is gone a moment later: by a lease that each further call renews. Not how the
arguments are checked (`serving.tools`), not what a tool does (`specialists`).
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast, final

import click
import trio
from pydantic import ValidationError

from supervisors import StartFailed
from vespera_agents.cli.outcomes import EXIT_BAD_INPUT, EXIT_DONE, EXIT_FAILED, complain
from vespera_agents.cli.wording import one_line
from vespera_agents.serving.control import control_spec
from vespera_agents.serving.protocol.complaints import (
    EXPECTED,
    Complaint,
    about_arguments,
    about_failure,
    about_kept,
    about_unknown_tool,
)
from vespera_agents.serving.tools.catalogue import TOOLS
from vespera_agents.serving.tools.tool import Telling, Tool
from vespera_agents.specialists.calls import Call
from vespera_agents.specialists.claims import Holder
from vespera_agents.specialists.jobs import REFUSED
from vespera_agents.specialists.orchestrator import Orchestrator
from vespera_agents.specialists.runtime import open_runtime
from vespera_agents.store import CommandKey
from vespera_agents.store.jobs import Job
from vespera_agents.work.errors import InvalidInput
from vespera_agents.work.plain import printable

__all__ = ["CallWish", "call_tool", "list_tools"]

_PREFIX: Final = "orchestrator_"
_OF_SERVERS: Final = frozenset({"orchestrator_shutdown_prepare", "orchestrator_restart_server"})
"""What is about the process that answers: here that would be our own, which ends with the call."""
_SWITCH_INTERVAL_SECONDS: Final = 5e-5
"""How long a thread may keep the interpreter, as in `vespera run`."""
_CALLBACKS_SECONDS: Final = 2.0
"""How long a call waits for callbacks to be delivered, where no server does that."""
_GATES_WAIT_SECONDS: Final = 7 * 24 * 3_600.0
"""Gates end with this process, so it waits for them as long as they may take."""
_BYTES_MAX: Final = 16 * 1024 * 1024
"""Bytes of arguments in a file."""


@final
@dataclass(frozen=True, slots=True)
class CallWish:
    """What to call, where, and how to tell about it."""

    tool: str
    """With or without `orchestrator_`."""
    workspace: Path
    pairs: tuple[str, ...] = ()
    """`key=value`; a key that comes several times makes a list."""
    file: str | None = None
    """A file with an object of arguments in JSON, `-` for standard input."""
    as_json: bool = False


@final
class _Refused(Exception):
    """The call came to a complaint."""

    def __init__(self, complaint: Complaint, status: int) -> None:
        super().__init__(complaint.text)
        self.complaint = complaint
        self.status = status


def list_tools() -> int:
    """Print every tool that can be called from here with its title; give the exit status."""
    for name, tool in TOOLS.items():
        if name not in _OF_SERVERS:
            click.echo(f"{name.removeprefix(_PREFIX):28} {tool.title}")
    return EXIT_DONE


def call_tool(wish: CallWish) -> int:
    """Call a tool and print what it tells; give the exit status.

    Raises:
        WorkspaceError, StoreError: the workspace cannot be opened.
        InvalidInput: the arguments cannot be read.
    """
    try:
        tool = _tool(wish.tool)
        arguments = {**_from_file(wish.file), **_from_pairs(wish.pairs, tool.input_schema)}
        sys.setswitchinterval(_SWITCH_INTERVAL_SECONDS)
        telling = trio.run(_call, tool, arguments, wish.workspace)
    except _Refused as refused:
        if wish.as_json:
            one = refused.complaint
            error = {"kind": one.kind, "what": one.what, "next_action": one.next_action}
            click.echo(json.dumps({"error": error}, ensure_ascii=False, indent=2))
        complain(printable(refused.complaint.text))
        return refused.status
    if wish.as_json:
        click.echo(json.dumps(telling.structured, ensure_ascii=False, indent=2))
    else:
        click.echo(printable(telling.text))
    return EXIT_DONE


def _tool(name: str) -> Tool:
    tool = TOOLS.get(name) or TOOLS.get(f"{_PREFIX}{name}")
    if tool is None:
        raise _Refused(about_unknown_tool(name, tuple(TOOLS)), EXIT_BAD_INPUT)
    if tool.name in _OF_SERVERS:
        what = f"{tool.name} is about the server that answers, and `vespera call` is a process of its own"
        todo = (
            "`kill -HUP PROCESS` restarts a server and `kill PROCESS` ends it; `vespera logs --list` names the process."
        )
        raise _Refused(
            Complaint("conflict", what, f"Have a client of that server call it. From a shell {todo}"), EXIT_FAILED
        )
    return tool


async def _call(tool: Tool, arguments: Mapping[str, object], workspace: Path) -> Telling:
    """Call it in a tree of its own; a complaint leaves after the tree has stopped in order."""
    telling: Telling | _Refused
    async with open_runtime("call") as runtime:
        opened = await runtime.workspace(workspace)
        # So that `vespera tree` shows a call that takes long; not every file system has sockets.
        with contextlib.suppress(StartFailed):
            await runtime.doors.start_child(control_spec(runtime, opened))
        orchestrator = Orchestrator(runtime, opened.workspace.directory, gates_wait_seconds=_GATES_WAIT_SECONDS)
        who = f"cli:{_user()}"
        key = CommandKey(opened.record.id, "call")
        holder = Holder(who, durable=True)
        call = Call(who, key, holder=holder, report=_report)
        try:
            await orchestrator.heard(holder)
            telling = await tool.invoke(orchestrator, call, arguments)
            if call.job is not None:
                # Nobody could ask for it later: long work ends with the process that does it.
                telling = _came_of(tool, await orchestrator.jobs.wait(call.job, _report))
            await opened.callbacks.drain(_CALLBACKS_SECONDS)
        except ValidationError as error:
            telling = _Refused(about_arguments(tool.name, tool.parameters, error), EXIT_BAD_INPUT)
        except EXPECTED as error:
            telling = _Refused(about_failure(error), EXIT_FAILED)
    if isinstance(telling, _Refused):
        raise telling
    return telling


def _came_of(tool: Tool, job: Job) -> Telling | _Refused:
    """Tell what a job came to, as its call would have."""
    if job.result is not None:
        return tool.retell(job.result)
    refusal = (job.error or {}).get(REFUSED)
    if refusal is not None:
        return _Refused(about_kept(cast("Mapping[str, str]", refusal)), EXIT_FAILED)
    what = f"it is {job.status}: {(job.message or 'no reason was given').rstrip('.')}"
    return _Refused(Complaint(job.status, what, "What is done is stored; call again to go on."), EXIT_FAILED)


def _report(done: float, total: float | None, doing: str) -> None:
    """Tell a person, and nobody's file, how far a long call is."""
    if sys.stderr.isatty():
        sys.stderr.write(f"{done:g}{'' if total is None else f' of {total:g}'}: {one_line(doing)}\n")


def _user() -> str:
    """Name the user as the system does, whatever the environment says."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid-{os.getuid()}"


def _from_file(name: str | None) -> dict[str, object]:
    """Read an object of arguments.

    Raises:
        InvalidInput: it cannot be read, is too large, or is no JSON object.
    """
    if name is None:
        return {}
    try:
        if name == "-":
            text = sys.stdin.read(_BYTES_MAX + 1)
        else:
            with Path(name).open(encoding="utf-8") as file:
                text = file.read(_BYTES_MAX + 1)
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise InvalidInput(f"{name!r} cannot be read: {error}", "Name a file with arguments in JSON, or -.") from error
    if len(text) > _BYTES_MAX:
        raise InvalidInput(f"{name!r} has more than {_BYTES_MAX} characters", "Give fewer arguments.")
    try:
        value = cast("object", json.loads(text))
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{name!r} holds no JSON: {error}", "Write an object of arguments in it.") from error
    if not isinstance(value, dict):
        raise InvalidInput(f"{name!r} holds no object of arguments", 'Write {"key": "value"} in it.')
    return cast("dict[str, object]", value)


def _from_pairs(pairs: Sequence[str], schema: Mapping[str, object]) -> dict[str, object]:
    """Read `key=value` arguments: a value is JSON where it is some and its parameter takes it, else a text.

    Raises:
        InvalidInput: there is no key.
    """
    properties = cast("Mapping[str, Mapping[str, object]]", schema.get("properties", {}))
    found: dict[str, list[object]] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise InvalidInput(f"{pair!r} is no key=value", "Write --arg key=value, for example --arg limit=10.")
        found.setdefault(key, []).append(_value(text, properties.get(key, {})))
    return {key: values[0] if len(values) == 1 else values for key, values in found.items()}


def _value(text: str, schema: Mapping[str, object]) -> object:
    """Read one value. What takes texts gets `2024` as it stands, and `"2024"` without its marks."""
    try:
        value = cast("object", json.loads(text))
    except (ValueError, RecursionError):
        return text
    entries = cast("Mapping[str, object]", schema.get("items", {}))
    bare = value is None or isinstance(value, (bool, int, float))
    kept = (_is_text(schema) and not isinstance(value, str)) or (_takes_text(entries) and bare)
    return text if kept else cast("object", value)


def _is_text(schema: Mapping[str, object]) -> bool:
    return schema.get("type") == "string"


def _takes_text(schema: Mapping[str, object]) -> bool:
    arms = cast("Sequence[Mapping[str, object]]", schema.get("anyOf", ()))
    return _is_text(schema) or any(_is_text(arm) for arm in arms)
