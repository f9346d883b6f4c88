"""One call of the orchestrator: who calls, and the command keys of its effects; and where a call finds its session.

A tool that needs several commands numbers them under one key, so that a repeated call repeats nothing. Neighbours:
the faces make a `Call`, the tools of the facade take one.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, TypeVar, cast, final

import trio

from vespera_agents.specialists.claims import Holder
from vespera_agents.specialists.runtime import Runtime
from vespera_agents.specialists.sessions import OpenWorkspace
from vespera_agents.store import CommandKey, StoreError, queries
from vespera_agents.store.artifacts import ArtifactFiles
from vespera_agents.store.writer import connect
from vespera_agents.work.errors import InvalidInput, NotFound
from vespera_agents.work.models import Artifact, Session, Task
from vespera_agents.workspace import Workspace

__all__ = ["Call", "Lookup", "deleted_since", "read_task"]

M = TypeVar("M")
More = Callable[[sqlite3.Connection, Task, ArtifactFiles], M]
"""Reads what else a call must know of its task."""


@final
class Call:
    """One wish of a client."""

    __slots__ = ("_steps", "by", "confirmed", "holder", "job", "key", "model", "repeated", "report", "request")

    def __init__(
        self,
        by: str,
        key: CommandKey,
        *,
        holder: Holder | None = None,
        report: Callable[[float, float | None, str], None] | None = None,
        repeated: bool = True,
    ) -> None:
        """Name a call.

        Args:
            by: who calls, for the audit trail: `mcp:<client>`, `cli`.
            key: the same for a repeated call, another for a new one.
            holder: who among the clients of this server holds what it claims; None for a server with one client.
            report: hears how far a long call is: done, total if it is known, and what is being done.
            repeated: whether it may have been made before: then what was recorded is looked for first.
        """
        self.by = by
        self.key = key
        self.holder: Final = holder
        self.report = report or _unheard
        self.repeated: Final = repeated
        self.confirmed = False
        """The user was asked and wants it."""
        self.job: str | None = None
        """The job that goes on when the call was answered; set by the tool that began it."""
        self.request: str | None = None
        """The number under which a front knows the request, and repeats it to another worker."""
        self.model: Mapping[str, object] | None = None
        """What its client offers of its own model, as JSON can carry it: the work that it begins may ask for it."""
        self._steps = 0

    def intent(self, **more: object) -> dict[str, object]:
        """Write down what `again` needs to go on with this call in another process, as JSON can carry it."""
        holder = None if self.holder is None else asdict(self.holder)
        return {"by": self.by, "origin": self.key.origin, "key": self.key.key, "holder": holder, **more}

    @classmethod
    def again(cls, intent: Mapping[str, object]) -> Call:
        """Make the call anew that `intent` was written of."""
        holder = cast("dict[str, Any] | None", intent["holder"])
        key = CommandKey(str(intent["origin"]), str(intent["key"]))
        return cls(str(intent["by"]), key, holder=None if holder is None else Holder(**holder))

    def step(self) -> CommandKey:
        """Name the next command of this call."""
        self._steps += 1
        return self.key.step(self._steps)

    def about(self, thing: str) -> CommandKey:
        """Name the one command of this call about a thing, however many others there are and in whatever order."""
        return CommandKey(self.key.origin, f"{self.key.key}/{thing}")


def _unheard(_done: float, _total: float | None, _doing: str) -> None:
    """Hear the progress of a call for a client that did not ask for it."""


@final
class Lookup:
    """Finds the workspace and session that a call means."""

    def __init__(self, runtime: Runtime, home: Path) -> None:
        self.runtime = runtime
        self.home = home
        self._home: OpenWorkspace | None = None

    async def home_workspace(self) -> OpenWorkspace:
        """Open the workspace that this server was started for.

        Raises:
            WorkspaceError: it cannot be one.
        """
        # Every call asks for it, and to find the directory's real path again took as long as to read a row.
        if self._home is None or not self._home.is_open:
            self._home = await self.runtime.workspace(self.home)
        return self._home

    def directory(self, reference: str) -> Path:
        """Give the directory that a client means; a relative one lies below the server's own.

        Raises:
            InvalidInput: it is no path.
        """
        if "\0" in reference:
            raise InvalidInput("a path cannot hold a NUL character", "Give the path of a project directory.")
        try:
            return self.home / Path(reference).expanduser()
        except RuntimeError as error:
            raise InvalidInput(f"{reference!r} names a home directory that does not exist", "Give its path.") from error

    async def session(self, reference: str | None) -> tuple[OpenWorkspace, Session]:
        """Find a session by id in any known workspace; without a reference, the only open one of the home workspace.

        Raises:
            NotFound: there is none.
            Conflict: several are open and none was named.
        """
        if reference is not None:
            return await self._named(reference)
        opened = await self.home_workspace()
        return opened, await opened.store.read(queries.open_session)

    async def task(self, reference: str, session: str | None) -> tuple[OpenWorkspace, Task]:
        """Find a task by id or unique prefix, in a named session or anywhere in the workspaces that are open.

        Raises:
            NotFound: there is none; the message names near matches of the home workspace.
        """
        opened, task, _ = await self.task_with(reference, session, _nothing)
        return opened, task

    async def task_with(self, reference: str, session: str | None, more: More[M]) -> tuple[OpenWorkspace, Task, M]:
        """Find a task as `task` does, and read `more` about it in the same transaction: a thread costs more than a row.

        Raises:
            NotFound: as for `task`.
        """
        if session is not None:
            opened, named = await self.session(session)
            return opened, *await read_task(opened, reference, named.id, more)
        found: list[tuple[OpenWorkspace, Task, M]] = []
        missing: list[NotFound] = []
        for opened in await self.open_ones():
            try:
                found.append((opened, *await read_task(opened, reference, None, more)))
            except NotFound as error:
                missing.append(error)
        if not found:
            raise missing[0]
        if len(found) > 1:
            shown = ", ".join(f"{task.id} in {opened.workspace.directory}" for opened, task, _ in found)
            raise NotFound(
                f"{reference!r} names tasks of several workspaces ({shown})", "Give more of the id, or the `session`."
            )
        return found[0]

    async def artifact(self, reference: str) -> tuple[OpenWorkspace, Artifact]:
        """Find an artifact by id or content hash, or a unique prefix of either, in the workspaces that are open.

        Raises:
            NotFound: there is none.
        """
        missing: list[NotFound] = []
        for opened in await self.open_ones():
            try:
                return opened, await opened.store.read(queries.artifact, reference)
            except NotFound as error:
                missing.append(error)
        raise missing[0]

    async def recorded(self, key: CommandKey) -> object:
        """Give the result of a command by its key from the workspaces that are open, None if there is none."""
        for opened in await self.open_ones():
            result = await opened.store.recorded(key)
            if result is not None:
                return result
        return None

    async def place_of(self, reference: str, session: str | None) -> tuple[OpenWorkspace, str | None]:
        """Find the workspace of a task, and the session that was named.

        Where there is only one place to look, the task is not looked for: what is done with it finds it, or does not.

        Raises:
            NotFound: no such session, or no such task in any of several workspaces.
        """
        if session is not None:
            opened, named = await self.session(session)
            return opened, named.id
        places = await self.open_ones()
        return (places[0] if len(places) == 1 else (await self.task(reference, None))[0]), None

    async def task_of(self, call: Call, reference: str, session: str | None) -> tuple[OpenWorkspace, Task]:
        """Find the task that a call is about.

        Raises:
            NotFound: there is none; says so if the call was carried out before.
        """
        try:
            return await self.task(reference, session)
        except NotFound as missing:
            await self.done_before(call, missing)
            raise deleted_since(reference) from missing

    async def done_before(self, call: Call, missing: NotFound) -> object:
        """Give what a call came to that was made before and whose task was deleted since.

        Args:
            call: which.
            missing: that the task is not there.

        Raises:
            NotFound: it was not made before.
        """
        recorded = await self.recorded(call.key.step(1))
        if recorded is None:
            raise missing
        return recorded

    async def open_ones(self) -> list[OpenWorkspace]:
        """List the workspaces that are open, that of the server first."""
        home = await self.home_workspace()
        return [home, *(one for one in self.runtime.workspaces.values() if one is not home and one.is_open)]

    async def _named(self, reference: str) -> tuple[OpenWorkspace, Session]:
        home = await self.home_workspace()
        known = [home.workspace.directory, *self.runtime.workspaces, *self.runtime.registry.workspaces()]
        for directory in dict.fromkeys(known):
            opened = self.runtime.workspaces.get(directory)
            if opened is None:
                if not await trio.to_thread.run_sync(_holds_session, Workspace(directory), reference):
                    continue
                opened = await self.runtime.workspace(directory)
            try:
                return opened, await opened.store.read(queries.session, reference)
            except NotFound:
                continue
        raise NotFound(
            f"there is no session {reference!r} in any known workspace",
            "List them with orchestrator_list_sessions, or leave `session` out for the only open one.",
        )


def deleted_since(task_id: str) -> NotFound:
    """Say to a repeated call that was carried out why it cannot be answered as it was."""
    return NotFound(
        f"this call was carried out when it came first, and task {task_id!r} was deleted since",
        "There is nothing left to do.",
    )


async def read_task(opened: OpenWorkspace, reference: str, session_id: str | None, more: More[M]) -> tuple[Task, M]:
    """Read a task, and more about it, as of one moment.

    Raises:
        NotFound: there is none.
    """

    def query(connection: sqlite3.Connection) -> tuple[Task, M]:
        task = queries.task(connection, reference, session_id)
        return task, more(connection, task, opened.store.artifacts)

    return await opened.store.read(query)


def _nothing(_connection: sqlite3.Connection, _task: Task, _files: ArtifactFiles) -> None:
    """Read nothing but the task."""


def _holds_session(workspace: Workspace, session_id: str) -> bool:
    """Look whether a workspace that is not open holds a session, without becoming one of its servers."""
    try:
        if not workspace.database.exists():
            return False
        with contextlib.closing(connect(workspace.database, read_only=True)) as connection:
            queries.session(connection, session_id)
    except (NotFound, StoreError, sqlite3.Error, OSError, ValueError):
        # ValueError: rows of another version. Whoever asks for a session of it hears that there is none.
        return False
    return True
