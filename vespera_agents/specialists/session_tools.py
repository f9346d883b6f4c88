"""The facade's tools on sessions: initialize, list, resume, status.

Thin: find the workspace, submit a command or read rows, shape the answer. Neighbours: `task_tools` and `work_tools`
are the other two thirds of the facade, `calls.Lookup` finds what is meant.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal, final

import trio

from supervisors import SupervisorError
from vespera_agents.context.budget import estimate_tokens
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
from vespera_agents.specialists.job_tools import JobTools, job_line
from vespera_agents.specialists.sessions import OpenSession, OpenWorkspace
from vespera_agents.specialists.standing import blocked_tasks, counts_of
from vespera_agents.specialists.task_tools import LIMIT_MAX
from vespera_agents.store import StoreError, queries
from vespera_agents.store.commands import OpenSession as OpenSessionCommand
from vespera_agents.store.writer import connect
from vespera_agents.work.errors import InvalidInput
from vespera_agents.work.models import Artifact, Dependency, Session, Task, TaskStatus
from vespera_agents.workspace import Workspace

__all__ = ["SessionTools", "read_sessions", "status_answer"]

_MARKERS: Final = (
    "pyproject.toml", "setup.py", "package.json", "Cargo.toml", "go.mod", "pom.xml", "build.gradle", "Gemfile",
    "CMakeLists.txt", "Makefile", "Dockerfile", "README.md", "CLAUDE.md", "AGENTS.md",
)  # fmt: skip
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
        command = OpenSessionCommand(call.by, str(opened.workspace.directory), name, session_id)
        result = await opened.store.execute(command, call.step())
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
            next_cursor=_cursor(rest[limit - 1][0]) if more else None,
            unreadable=unreadable,
        )

    async def status(self, session: str | None = None) -> SessionAnswer:
        """Say how a session stands, with its workspace's facts.

        Raises:
            NotFound, Conflict: no such session, or several to choose from.
        """
        opened, found = await self._lookup.session(session)
        return await self._answer(opened, found, created_now=False, released=[])

    async def resume(self, session: str | None = None, context_tokens_max: int = 8_000) -> ResumeAnswer:
        """Give the working context that a new client needs, within a budget of tokens.

        Args:
            session: its id; the only open one of the server's workspace unless given.
            context_tokens_max: how large the answer may be; what has no room is named in `left_out`.

        Raises:
            NotFound, Conflict: no such session, or several to choose from.
            InvalidInput: the budget is too small for any answer.
        """
        opened, found = await self._lookup.session(session)
        await opened.release_dead_claims()
        await opened.session(found.id)
        tasks, dependencies, artifacts = await _rows_of(opened, found.id)
        leaves = [task for task in tasks if not task.is_container]
        completed = sorted(
            (task for task in leaves if task.status is TaskStatus.COMPLETED), key=lambda task: -(task.finished or 0)
        )
        answer = ResumeAnswer(
            session=_line(found, tasks),
            in_progress=[task_view(task) for task in leaves if task.status is TaskStatus.IN_PROGRESS],
            in_review=[task_view(task) for task in leaves if task.status is TaskStatus.REVIEW],
            ready=[task_view(task) for task in leaves if task.ready],
            blocked=blocked_tasks(tasks, dependencies),
            recent_artifacts=[artifact_link(artifact) for artifact in artifacts],
            recently_completed=[task_view(task) for task in completed[:_ROWS_SHOWN]],
            context_tokens=0,
            left_out=[],
            next_action=_next_action(leaves),
        )
        return _within(answer, context_tokens_max)

    async def get_status(self, session: str | None = None, limit: int = _ROWS_SHOWN) -> StatusAnswer:
        """Say what runs, what is ready, what is blocked and why, and for how long.

        Raises:
            NotFound, Conflict: no such session, or several to choose from.
            InvalidInput: the limit is out of its range.
        """
        _check_limit(limit)
        opened, found = await self._lookup.session(session)
        # First, because a job whose server is gone is decided now, and its tasks are given back.
        jobs = await self._jobs.of_session(opened, found.id)
        tasks, dependencies, _ = await _rows_of(opened, found.id)
        open_session = opened.sessions.get(found.id)
        specialists = _specialists(open_session) if open_session is not None else []
        answer = status_answer(found, tasks, dependencies, now=time.time(), specialists=specialists, limit=limit)
        answer.jobs = [job_line(job) for job in jobs[:limit]]
        return answer

    async def _answer(
        self, opened: OpenWorkspace, session: Session, *, created_now: bool, released: list[str]
    ) -> SessionAnswer:
        tasks, dependencies, _ = await _rows_of(opened, session.id)
        directory = opened.workspace.directory
        leaves = [task for task in tasks if not task.is_container]
        return SessionAnswer(
            **_line(session, tasks).model_dump(),
            created_now=created_now,
            ready=[task_view(task) for task in leaves if task.ready][:_READY_SHOWN],
            blocked=blocked_tasks(tasks, dependencies)[:_ROWS_SHOWN],
            roles=list(opened.roles()),
            git_root=_git_root(directory),
            markers=[name for name in _MARKERS if (directory / name).exists()],
            released=released,
            next_action=_next_action(leaves),
        )


def status_answer(
    session: Session,
    tasks: Sequence[Task],
    dependencies: Sequence[Dependency],
    *,
    now: float,
    specialists: Sequence[SpecialistView] = (),
    limit: int = _ROWS_SHOWN,
) -> StatusAnswer:
    """Say how a session stands that was read at `now`, seconds since the epoch. Pure."""
    leaves = [task for task in tasks if not task.is_container]
    oldest: dict[str, float] = {}
    for task in leaves:
        if task.status in {TaskStatus.PENDING, TaskStatus.IN_PROGRESS, TaskStatus.BLOCKED, TaskStatus.REVIEW}:
            oldest[task.status] = max(oldest.get(task.status, 0.0), round(now - task.updated, 3))
    in_progress = [task_view(task, full=True) for task in leaves if task.status is TaskStatus.IN_PROGRESS]
    return StatusAnswer(
        session=_line(session, tasks),
        ready=[task_view(task) for task in leaves if task.ready][:limit],
        blocked=blocked_tasks(tasks, dependencies)[:limit],
        in_progress=in_progress[:limit],
        specialists=list(specialists),
        jobs=[],
        oldest_waiting_seconds=oldest,
        at=iso(now),
        next_action=_next_action(leaves),
    )


async def _rows_of(opened: OpenWorkspace, session_id: str) -> tuple[list[Task], list[Dependency], list[Artifact]]:
    def query(connection: sqlite3.Connection) -> tuple[list[Task], list[Dependency], list[Artifact]]:
        tasks = queries.session_tasks(connection, session_id)
        dependencies = queries.dependencies_of(connection, [task.id for task in tasks])
        return tasks, dependencies, queries.latest_artifacts(connection, session_id, _ROWS_SHOWN)

    return await opened.store.read(query)


def _line(session: Session, tasks: Sequence[Task]) -> SessionLine:
    return _line_of_counts(session, counts_of(tasks))


def _line_of_counts(session: Session, counts: dict[str, int]) -> SessionLine:
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
        lines: list[tuple[_Place, SessionLine]] = []
        for session in queries.sessions(connection):
            counts: dict[str, int] = {}
            for status, _, waived, number in queries.status_counts(connection, session.id):
                name = "waived" if waived else status
                counts[name] = counts.get(name, 0) + number
            line = _line_of_counts(session, dict(sorted(counts.items())))
            lines.append(((-session.created, session.id), line))
        return lines


def _next_action(leaves: Sequence[Task]) -> str:
    """Say what a client should do next."""
    if not leaves:
        return "Plan the work with orchestrator_plan_task."
    ready = next((task for task in leaves if task.ready), None)
    if ready is not None:
        return f"Claim a ready task, for example orchestrator_execute_task(task_id={ready.id!r})."
    if any(task.status is TaskStatus.REVIEW for task in leaves):
        return "Review what is in review, then complete or reopen it."
    if any(task.status is TaskStatus.IN_PROGRESS for task in leaves):
        return "Finish what is in progress with orchestrator_complete_task."
    if any(task.status in {TaskStatus.FAILED, TaskStatus.BLOCKED} for task in leaves):
        return "Look at what failed or is blocked; set it to pending with orchestrator_update_task to try it again."
    return "All work has ended: gather it with orchestrator_synthesize_results."


def _within(answer: ResumeAnswer, context_tokens_max: int) -> ResumeAnswer:
    """Leave out the least needed parts until the answer fits the budget.

    Raises:
        InvalidInput: not even an answer without them does.
    """

    def fits() -> bool:
        # The number of its own tokens is a part of the answer.
        answer.context_tokens = context_tokens_max
        return estimate_tokens(answer.model_dump_json()) <= context_tokens_max

    # The last to be named is the last to go.
    for name in ("recently_completed", "recent_artifacts", "blocked", "ready", "in_review", "in_progress"):
        if fits():
            break
        rows: list[object] = getattr(answer, name)
        whole, before = list(rows), list(answer.left_out)
        room, over = 0, len(whole)
        while over - room > 1:
            middle = (room + over) // 2
            rows[:] = whole[:middle]
            answer.left_out = [*before, f"{len(whole) - middle} of {name}"]
            room, over = (middle, over) if fits() else (room, middle)
        rows[:] = whole[:room]
        if whole:
            answer.left_out = [*before, f"{len(whole) - room} of {name}"]
    if not fits():
        # The number itself may take a few digits more than the one that was refused.
        needed = estimate_tokens(answer.model_dump_json()) + 2
        raise InvalidInput(
            f"{context_tokens_max} tokens are too few for this session: its name, directory and counts take {needed}",
            f"Give context_tokens_max={needed} or more.",
        )
    answer.context_tokens = estimate_tokens(answer.model_dump_json())
    return answer


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


def _cursor(place: _Place) -> str:
    return base64.urlsafe_b64encode(f"session:{place[0]!r}:{place[1]}".encode()).decode()


def _after(cursor: str | None) -> _Place | None:
    """Read a cursor: the place of the last session that was shown."""
    if cursor is None:
        return None
    with contextlib.suppress(ValueError, binascii.Error):
        kind, number, identifier = base64.urlsafe_b64decode(cursor.encode()).decode().split(":")
        if kind == "session":
            return float(number), identifier
    raise InvalidInput(
        f"the cursor {cursor!r} is not one that was given out", "Leave it out to begin at the first page."
    )


def _check_limit(limit: int) -> None:
    if not 1 <= limit <= LIMIT_MAX:
        raise InvalidInput(f"a list takes 1 to {LIMIT_MAX} entries, not {limit}", "Give a limit in that range.")
