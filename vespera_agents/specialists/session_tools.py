"""The facade's tools on sessions: initialize, list, resume, status.

Thin: find the workspace, submit a command or read rows, shape the answer. Neighbours: `task_tools` and `work_tools`
are the other two thirds of the facade, `calls.Lookup` finds what is meant.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal, cast, final

import trio
from pydantic import BaseModel

from supervisors import SupervisorError
from vespera_agents.specialists.agent.accounts import model_lines
from vespera_agents.specialists.answers import (
    ResumeAnswer,
    SessionAnswer,
    SessionLine,
    SessionsAnswer,
    SpecialistView,
    StatusAnswer,
    artifact_link,
    iso,
    task_view,
)
from vespera_agents.specialists.calls import Call, Lookup
from vespera_agents.specialists.fitting import within
from vespera_agents.specialists.gathering import Standing, counts_in, read_standing
from vespera_agents.specialists.job_tools import JobTools, job_line
from vespera_agents.specialists.sessions import OpenSession, OpenWorkspace
from vespera_agents.specialists.task_tools import LIMIT_MAX
from vespera_agents.store import KeyConflict, StoreError, queries
from vespera_agents.store.commands import OpenedSession
from vespera_agents.store.commands import OpenSession as OpenSessionCommand
from vespera_agents.store.notes import USER, Note, note_title, notes_of
from vespera_agents.store.writer import connect
from vespera_agents.work.cursors import cursor_of, place_of, unknown_cursor
from vespera_agents.work.errors import InvalidInput
from vespera_agents.work.models import Session
from vespera_agents.workspace import Workspace, leader_of, live_servers

__all__ = ["SessionTools", "read_sessions", "status_answer"]

_MARKERS: Final = (
    "pyproject.toml", "setup.py", "package.json", "Cargo.toml", "go.mod", "pom.xml", "build.gradle", "Gemfile",
    "CMakeLists.txt", "Makefile", "Dockerfile", "README.md", "CLAUDE.md", "AGENTS.md",
)  # fmt: skip
_CURSOR: Final = "session"
_READY_SHOWN: Final = 10
_ROWS_SHOWN: Final = 20

_Place = tuple[float, str]
"""Where a session stands in the list: the newest first, then by id. It never changes, so a cursor stays true."""


@final
class SessionTools:
    """What a client can do with sessions."""

    def __init__(self, lookup: Lookup, jobs: JobTools) -> None:
        self._lookup = lookup
        self._jobs = jobs

    async def initialize(
        self, call: Call, working_directory: str | None = None, name: str | None = None, session_id: str | None = None
    ) -> SessionAnswer:
        """Create a session in a directory, or reopen the one that is meant.

        Args:
            call: who calls.
            working_directory: the workspace; the server's own unless given.
            name: of the session; an open one of that name is used again.
            session_id: an existing session to reopen.

        Raises:
            WorkspaceError: the directory cannot be a workspace.
            NotFound: the id names no session there.
            InvalidInput: the name is too long, or a role file is not valid.
        """
        call.report(0, 3, "opening the workspace")
        if working_directory is None and session_id is not None:
            opened, _ = await self._lookup.session(session_id)
        elif working_directory is None:
            opened = await self._lookup.home_workspace()
        else:
            opened = await self._lookup.runtime.workspace(self._lookup.directory(working_directory))
        call.report(1, 3, f"{opened.workspace.directory} is open")
        # A role file that cannot be read is found before anything is written.
        opened.roles()
        released = await opened.release_dead_claims()
        key = call.step()
        command = OpenSessionCommand(call.by, str(opened.workspace.directory), name, session_id)
        try:
            result = await opened.store.execute(command, key)
        except KeyConflict:
            recorded = await opened.store.recorded(key)
            if session_id is not None or not isinstance(recorded, dict) or "created" not in recorded:
                raise
            # Which session was meant, the user may have chosen when the call was made first.
            chosen = str(cast("OpenedSession", recorded)["session_id"])
            result = await opened.store.execute(replace(command, session_id=chosen), key)
        await opened.session(result["session_id"])
        call.report(2, 3, f"session {result['session_id']} is open")
        session = await opened.store.read(queries.session, result["session_id"])
        return await self._answer(opened, session, created_now=result["created"], released=released)

    async def list(
        self, limit: int = 50, cursor: str | None = None, status: Literal["open", "closed"] | None = None
    ) -> SessionsAnswer:
        """List the sessions of every known workspace, the newest first.

        Raises:
            InvalidInput: the cursor or the limit is wrong.
        """
        _check_limit(limit)
        after = _after(cursor)
        home = await self._lookup.home_workspace()
        runtime = self._lookup.runtime
        known = dict.fromkeys([home.workspace.directory, *runtime.workspaces, *runtime.registry.workspaces()])
        places: list[tuple[_Place, SessionLine]] = []
        unreadable: list[str] = []
        for directory in known:
            try:
                places.extend(await trio.to_thread.run_sync(read_sessions, Workspace(directory)))
            except (StoreError, sqlite3.Error, OSError, ValueError) as error:
                # ValueError: rows of another version.
                unreadable.append(f"{directory}: {error}")
        chosen = sorted(((place, line) for place, line in places if status in {None, line.status}), key=_place)
        rest = [pair for pair in chosen if after is None or pair[0] > after]
        more = len(rest) > limit
        return SessionsAnswer(
            sessions=[line for _, line in rest[:limit]],
            total=min(len(chosen), queries.EXACT_TOTAL_MAX),
            total_is_exact=len(chosen) <= queries.EXACT_TOTAL_MAX,
            has_more=more,
            next_cursor=cursor_of(_CURSOR, *rest[limit - 1][0]) if more else None,
            unreadable=unreadable,
        )

    async def status(self, session: str | None = None) -> SessionAnswer:
        """Say how a session stands, with its workspace's facts.

        Raises:
            NotFound, Conflict: no such session, or several to choose from.
        """
        opened, found = await self._lookup.session(session)
        return await self._answer(opened, found, created_now=False, released=[])

    async def resume(
        self,
        session: str | None = None,
        context_tokens_max: int = 8_000,
        measure: Callable[[ResumeAnswer], str] = BaseModel.model_dump_json,
    ) -> ResumeAnswer:
        """Give the working context that a new client needs, within a budget of tokens.

        Args:
            session: its id; the only open one of the server's workspace unless given.
            context_tokens_max: how large the answer may be; what has no room is named in `left_out`.
            measure: writes an answer as the caller will, to be counted.

        Raises:
            NotFound, Conflict: no such session, or several to choose from.
            InvalidInput: the budget is too small for any answer.
        """
        opened, found = await self._lookup.session(session)
        await opened.release_dead_claims()
        await opened.session(found.id)
        standing, notes = await opened.store.read(_standing_and_notes, found.id)
        answer = ResumeAnswer(
            session=_line(found, standing.counts),
            in_progress=[task_view(task) for task in standing.in_progress],
            in_review=[task_view(task) for task in standing.in_review],
            ready=[task_view(task) for task in standing.ready],
            blocked=standing.blocked,
            recent_artifacts=[artifact_link(artifact) for artifact in standing.artifacts],
            recently_completed=[task_view(task) for task in standing.completed],
            shared_notes=[note_title(one) for one in notes],
            context_tokens=0,
            left_out=[],
            next_action=_next_action(standing),
        )
        return within(answer, context_tokens_max, measure)

    async def get_status(self, session: str | None = None, limit: int = _ROWS_SHOWN) -> StatusAnswer:
        """Say what runs, what is ready, what is blocked and why, and for how long.

        Raises:
            NotFound, Conflict: no such session, or several to choose from.
            InvalidInput: the limit is out of its range.
        """
        _check_limit(limit)
        opened, found = await self._lookup.session(session)
        # First: what the dead had claimed is given back, and a job whose server is gone is decided.
        await opened.release_dead_claims()
        jobs = await self._jobs.of_session(opened, found.id)
        # One more than is shown tells whether there is more.
        standing = await opened.store.read(read_standing, found.id, limit + 1)
        open_session = opened.sessions.get(found.id)
        specialists = _specialists(open_session) if open_session is not None else []
        answer = status_answer(found, standing, now=time.time(), specialists=specialists, limit=limit)
        answer.jobs = [job_line(job) for job in jobs[:limit]]
        # Asking whether we lead makes us the leader where nobody is.
        leader = opened.server if opened.leads() else None
        answer.servers = server_lines(opened.workspace, leader, opened.server)
        return answer

    async def _answer(
        self, opened: OpenWorkspace, session: Session, *, created_now: bool, released: list[str]
    ) -> SessionAnswer:
        standing = await opened.store.read(read_standing, session.id, _ROWS_SHOWN)
        directory = opened.workspace.directory
        return SessionAnswer(
            **_line(session, standing.counts).model_dump(),
            created_now=created_now,
            ready=[task_view(task) for task in standing.ready[:_READY_SHOWN]],
            blocked=standing.blocked,
            roles=list(opened.roles()),
            git_root=_git_root(directory),
            markers=[name for name in _MARKERS if (directory / name).exists()],
            released=released,
            next_action=_next_action(standing),
        )


def _standing_and_notes(connection: sqlite3.Connection, session_id: str) -> tuple[Standing, list[Note]]:
    return read_standing(connection, session_id, LIMIT_MAX), notes_of(connection, session_id, USER)


def status_answer(
    session: Session,
    standing: Standing,
    *,
    now: float,
    specialists: Sequence[SpecialistView] = (),
    limit: int = _ROWS_SHOWN,
) -> StatusAnswer:
    """Say how a session stands that was read at `now`, seconds since the epoch. Pure."""
    in_progress = [task_view(task, full=True) for task in standing.in_progress[:limit]]
    longest = max(len(standing.ready), len(standing.blocked), len(standing.in_progress))
    return StatusAnswer(
        session=_line(session, standing.counts),
        ready=[task_view(task) for task in standing.ready[:limit]],
        blocked=standing.blocked[:limit],
        in_progress=in_progress,
        has_more=longest > limit,
        specialists=list(specialists),
        jobs=[],
        models=model_lines(standing.models),
        oldest_waiting_seconds={status: max(0.0, round(now - since, 3)) for status, since in standing.oldest.items()},
        servers=[],
        at=iso(now),
        next_action=_next_action(standing),
    )


def server_lines(workspace: Workspace, leader: str | None, this: str | None = None) -> list[str]:
    """Say who serves a workspace, the one that answers first.

    Args:
        workspace: which.
        leader: who leads, None if that is to be found out.
        this: the one that answers.
    """
    leader = leader or leader_of(workspace)
    return [
        " ".join([one.id, one.kind, str(one.pid), *["this"] * (one.id == this), *["leads"] * (one.id == leader)])
        for one in sorted(live_servers(workspace), key=lambda one: one.id != this)
    ]


def _line(session: Session, counts: dict[str, int]) -> SessionLine:
    return SessionLine(
        id=session.id,
        name=session.name,
        working_directory=session.directory,
        status=session.status,
        counts=counts,
        created=iso(session.created),
        updated=iso(session.updated),
    )


def read_sessions(workspace: Workspace) -> list[tuple[_Place, SessionLine]]:
    """Read the sessions of a workspace that need not be open, without becoming one of its servers."""
    if not workspace.database.exists():
        return []
    with contextlib.closing(connect(workspace.database, read_only=True)) as connection:
        return [
            ((-session.created, session.id), _line(session, counts_in(connection, session.id)))
            for session in queries.sessions(connection)
        ]


def _next_action(standing: Standing) -> str:
    """Say what a client should do next."""
    counts = standing.counts
    if not counts:
        return "Plan the work with orchestrator_plan_task."
    if standing.ready:
        return f"Claim a ready task, for example orchestrator_execute_task(task_id={standing.ready[0].id!r})."
    if counts.get("review"):
        return "Review what is in review, then complete or reopen it."
    if counts.get("in_progress"):
        return "Finish what is in progress with orchestrator_complete_task."
    if counts.get("failed") or counts.get("blocked"):
        return "Look at what failed or is blocked; set it to pending with orchestrator_update_task to try it again."
    return "All work has ended: gather it with orchestrator_synthesize_results."


def _specialists(session: OpenSession) -> list[SpecialistView]:
    views: list[SpecialistView] = []
    try:
        nodes = session.specialists.snapshot().children
    except SupervisorError:
        # They are just being restarted, or ended with their session.
        return views
    for node in nodes:
        detail = node.detail
        task = detail.get("task")
        views.append(
            SpecialistView(
                name=node.id,
                state="working" if session.busy().get(node.id) else node.state,
                mailbox=int(detail.get("mailbox", 0)),
                context_fill=float(detail.get("context_fill", 0.0)),
                task_id=None if task is None else str(task),
            )
        )
    return views


def _git_root(directory: Path) -> str | None:
    for candidate in (directory, *directory.parents):
        if (candidate / ".git").exists():
            return str(candidate)
    return None


def _place(pair: tuple[_Place, SessionLine]) -> _Place:
    return pair[0]


def _after(cursor: str | None) -> _Place | None:
    """Read a cursor: the place of the last session that was shown."""
    if cursor is None:
        return None
    match place_of(_CURSOR, cursor):
        case [int() | float() as created, str() as identifier]:
            return created, identifier
        case _:
            raise unknown_cursor(cursor)


def _check_limit(limit: int) -> None:
    if not 1 <= limit <= LIMIT_MAX:
        raise InvalidInput(f"a list takes 1 to {LIMIT_MAX} entries, not {limit}", "Give a limit in that range.")
