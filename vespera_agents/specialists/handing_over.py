"""What specialists have built up, on its way from a worker to the one that replaces it.

A file beside the server's record, one line for each context, and a last line that says how many there are. It is a
cache: what is missing, damaged or no longer true is made anew from the store, and is reported. A worker that is killed
leaves none. Neighbours: `context.packing` writes a line, `serving.lifecycle` says when.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

import trio

from vespera_agents.actors import ActorError, ActorRef
from vespera_agents.context.packing import DamagedPack, HeldContext, pack, unpack
from vespera_agents.context.sources import Source
from vespera_agents.specialists.briefing import role_source
from vespera_agents.specialists.gathering import surroundings_of
from vespera_agents.specialists.sessions import OpenWorkspace
from vespera_agents.specialists.specialist import HandOver, Specialist, TakeOver, WriteBriefing
from vespera_agents.store import StoreError, queries
from vespera_agents.store.commands import NoteSpecialist
from vespera_agents.work.errors import Refusal
from vespera_agents.work.models import Task, TaskStatus
from vespera_agents.workspace import Workspace, WorkspaceError, open_inside

__all__ = ["FILE_BYTES_MAX", "HandedOver", "TakenOver", "forget", "hand_over", "take_over"]

PACK_BYTES_MAX: Final = 4 * 1024 * 1024
"""One context: 100,000 tokens take a tenth of it."""
FILE_BYTES_MAX: Final = 64 * 1024 * 1024
"""All contexts of a workspace."""
ASK_SECONDS: Final = 1.0
"""How long a specialist may take to say what it holds; one that is at work holds nothing that could be handed over."""
_END: Final = b"end "
_MISSING: Final = "what was handed over is not there"
_LINES_BYTES: Final = 64 * 1024
"""Room for the ends of lines."""


@final
@dataclass(frozen=True, slots=True)
class HandedOver:
    """What was written down."""

    task_ids: tuple[str, ...] = ()
    """Whose contexts they are."""
    left_out: tuple[str, ...] = ()
    """`<task>: <why>` of what was too large, or could not be asked for."""


@final
@dataclass(frozen=True, slots=True)
class TakenOver:
    """What became of it."""

    taken: tuple[str, ...] = ()
    """Tasks whose context goes on as it was."""
    rebuilt: tuple[str, ...] = ()
    """`<task>: <why>` where it was made anew from the store."""
    problems: tuple[str, ...] = ()
    """What was wrong with the file, or with making anew."""


async def hand_over(opened: OpenWorkspace) -> HandedOver:
    """Write down what the specialists of a workspace hold.

    Raises:
        WorkspaceError: the file cannot be written.
    """
    held: list[HeldContext] = []
    left_out: list[str] = []

    async def ask(name: str, specialist: ActorRef[Specialist]) -> None:
        try:
            one = await specialist.ask(HandOver(), timeout_seconds=ASK_SECONDS)
        except ActorError as error:
            left_out.append(f"{name}: {error}")
            return
        if one is not None:
            held.append(one)

    async with trio.open_nursery() as nursery:
        for session in opened.sessions.values():
            for name, specialist in session.running_specialists():
                nursery.start_soon(ask, name, specialist)
    lines: list[bytes] = []
    kept: list[str] = []
    total = 0
    for one in await _in_progress(opened, held):
        line = pack(one)
        if len(line) > PACK_BYTES_MAX or total + len(line) > FILE_BYTES_MAX:
            left_out.append(f"{one.task_id}: its context takes {len(line)} bytes")
            continue
        total += len(line)
        lines.append(line)
        kept.append(one.task_id)
    if lines:
        await trio.to_thread.run_sync(_write, _path(opened.workspace, opened.server), lines)
    else:
        forget(opened.workspace, opened.server)
    return HandedOver(tuple(kept), tuple(left_out))


async def take_over(opened: OpenWorkspace, expected: Sequence[str] | None) -> TakenOver:
    """Let specialists hold what those of the worker before held; the file is gone afterwards.

    Args:
        opened: where.
        expected: the tasks whose contexts were handed over; what is not there, or not true any more, is made anew.
            None where nobody said which: then only what is there counts.

    Raises:
        StoreError: the rows could not be read.
    """
    path = _path(opened.workspace, opened.server)
    found, problems = await trio.to_thread.run_sync(_read, opened.workspace, path)
    forget(opened.workspace, opened.server)
    if not expected and not found:
        # Where nobody said that anything is there, nothing is missing; what is there and damaged is still told.
        return TakenOver(problems=tuple(problem for problem in problems if problem != _MISSING))
    by_task = {one.task_id: one for one in found}
    taken: list[str] = []
    rebuilt: list[str] = []
    async with contextlib.AsyncExitStack() as lent:
        for task_id in by_task if expected is None else expected:
            try:
                held = by_task.get(task_id)
                why = "it is missing or damaged" if held is None else await _out_of_date(opened, held)
                task = await opened.store.read(queries.task, task_id)
                if task.status is not TaskStatus.IN_PROGRESS:
                    continue
                await _hold(opened, task, held if why is None else None, lent)
            except (Refusal, ActorError) as error:
                problems.append(f"{task_id}: {error}")
                continue
            if why is None:
                taken.append(task_id)
            else:
                rebuilt.append(f"{task_id}: {why}")
            what, told = ("context_taken_over", "") if why is None else ("context_rebuilt", why)
            note = NoteSpecialist("supervision", task.session_id, task_id, what, told)
            await opened.store.execute(note, opened.key())
    return TakenOver(tuple(taken), tuple(rebuilt), tuple(problems))


def forget(workspace: Workspace, server: str) -> None:
    """Remove what was written down."""
    with contextlib.suppress(OSError):
        _path(workspace, server).unlink(missing_ok=True)


async def _in_progress(opened: OpenWorkspace, held: Sequence[HeldContext]) -> list[HeldContext]:
    """Give those contexts whose tasks are still being worked on, each task's once."""
    by_task = {one.task_id: one for one in held}
    with contextlib.suppress(StoreError):
        tasks = await opened.store.read(queries.tasks, list(by_task))
        return [by_task[task.id] for task in tasks if task.status is TaskStatus.IN_PROGRESS]
    return list(by_task.values())


async def _out_of_date(opened: OpenWorkspace, held: HeldContext) -> str | None:
    """Say what a context was made of that is not there any more as it was; None when all is."""
    named = {source.id: source for source in held.sources if source.kind == "role"}
    for name, source in named.items():
        if role_source(opened.role(name)) != source:
            return f"the role {name} was changed"
    rows = [source for source in held.sources if source.kind != "role"]
    return await opened.store.read(_first_changed, rows)


def _first_changed(connection: sqlite3.Connection, sources: Sequence[Source]) -> str | None:
    for source in sources:
        query = _VERSIONS[source.kind]
        row = connection.execute(query, (source.id,)).fetchone()
        if row is None:
            return f"the {source.kind} {source.id} is gone"
        if str(row[0]) != source.version:
            return f"the {source.kind} {source.id} was changed"
    return None


_VERSIONS: Final[Mapping[str, str]] = {
    "task": "SELECT version FROM task WHERE id=?",
    "artifact": "SELECT sha256 FROM artifact WHERE id=?",
    "note": "SELECT version FROM note WHERE session_id || '/' || name = ?",
    "event": "SELECT seq FROM event WHERE seq=?",
}
"""How the version of each kind of source is read."""


async def _hold(opened: OpenWorkspace, task: Task, held: HeldContext | None, lent: contextlib.AsyncExitStack) -> None:
    """Let a specialist hold a context, or write it anew; it is lent until all are held, so that each has its own."""
    live = await opened.session(task.session_id)
    specialist = await lent.enter_async_context(live.borrow(opened.role(task.specialist)))
    if held is not None:
        await specialist.ask(TakeOver(held), timeout_seconds=ASK_SECONDS)
        return
    _, around = await opened.store.read(surroundings_of, task.id)
    await specialist.ask(WriteBriefing(task, around), timeout_seconds=ASK_SECONDS)


def _path(workspace: Workspace, server: str) -> Path:
    return workspace.servers / f"{server}.handover"


def _write(path: Path, lines: Iterable[bytes]) -> None:
    """Write the file at once: whoever reads finds the whole of it, the one before, or none."""
    beside = path.with_suffix(".handover-new")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            count = 0
            for count, line in enumerate(lines, 1):  # noqa: B007 - the last number is the count
                file.write(line + b"\n")
            file.write(_END + str(count).encode() + b"\n")
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise WorkspaceError(f"{path} cannot be written ({error.strerror}). Free some space.") from error


def _read(workspace: Workspace, path: Path) -> tuple[list[HeldContext], list[str]]:
    """Read what can be read, and say what cannot."""
    try:
        with open_inside(workspace.data, path) as file:
            size = os.fstat(file.fileno()).st_size
            data = file.read() if size <= FILE_BYTES_MAX + _LINES_BYTES else b""
    except FileNotFoundError:
        return [], [_MISSING]
    except (OSError, ValueError) as error:
        return [], [f"what was handed over cannot be read: {error}"]
    if size > FILE_BYTES_MAX + _LINES_BYTES:
        return [], [f"what was handed over has {size} bytes, more than was ever written"]
    *lines, rest = data.split(b"\n")
    found: list[HeldContext] = []
    problems: list[str] = []
    if rest or not lines or lines[-1] != _END + str(len(lines) - 1).encode():
        problems.append("what was handed over was cut off")
    for line in lines:
        if line.startswith(_END):
            continue
        try:
            found.append(unpack(line))
        except DamagedPack as error:
            problems.append(f"a context that was handed over is damaged: {error}")
    return found, problems
