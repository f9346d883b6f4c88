"""The five tools on sessions: initialize, list, resume, and the two that say how the work stands.

Each says what it takes and how its result reads; the work is the facade's. Neighbours: `catalogue` lists them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final, Literal

from pydantic import Field

from vespera_agents.serving.tools import results, shaping
from vespera_agents.serving.tools.parameters import Cursor, Limit, SessionRef, Word
from vespera_agents.serving.tools.questions import Question, choice_of_session
from vespera_agents.serving.tools.schemas import TOLD
from vespera_agents.serving.tools.texts import blocked_lines, counted, joined, session_line, shown, task_lines
from vespera_agents.serving.tools.tool import Effects, Parameters, Shape, Tool, make_tool
from vespera_agents.specialists.answers import (
    ArtifactLink,
    ResumeAnswer,
    SessionAnswer,
    SessionsAnswer,
    StatusAnswer,
)
from vespera_agents.specialists.calls import Call
from vespera_agents.specialists.orchestrator import Orchestrator

__all__ = ["INITIALIZE_SESSION", "SESSION_TOOLS"]

_READS: Final = Effects(read_only=True, idempotent=True)


class InitializeParameters(Parameters):
    """Arguments of orchestrator_initialize_session."""

    working_directory: (
        Annotated[
            str,
            Field(
                min_length=1,
                max_length=4_096,
                description="Default: the client's root",
            ),
        ]
        | None
    ) = None
    name: Annotated[str, Field(min_length=1, max_length=200, description="Reopens one of that name")] | None = None
    session_id: Annotated[str, Field(min_length=1, max_length=64)] | None = None


class ListParameters(Parameters):
    """Arguments of orchestrator_list_sessions."""

    status: Annotated[Literal["open", "closed"], Word] | None = None
    limit: Limit = 50
    cursor: Cursor | None = None


class ResumeParameters(Parameters):
    """Arguments of orchestrator_resume_session."""

    session: SessionRef | None = None
    context_tokens_max: Annotated[int, Field(ge=500, le=100_000, json_schema_extra=TOLD)] = 8_000


class SessionStatusParameters(Parameters):
    """Arguments of orchestrator_session_status."""

    session: SessionRef | None = None


class StatusParameters(Parameters):
    """Arguments of orchestrator_get_status."""

    session: SessionRef | None = None
    limit: Limit = 20


async def _initialize(orchestrator: Orchestrator, call: Call, given: InitializeParameters) -> SessionAnswer:
    return await orchestrator.sessions.initialize(call, given.working_directory, given.name, given.session_id)


async def _list(orchestrator: Orchestrator, _: Call, given: ListParameters) -> SessionsAnswer:
    return await orchestrator.sessions.list(given.limit, given.cursor, given.status)


async def _resume(orchestrator: Orchestrator, _: Call, given: ResumeParameters) -> ResumeAnswer:
    return await orchestrator.sessions.resume(given.session, given.context_tokens_max, _as_returned)


def _as_returned(answer: ResumeAnswer) -> str:
    return shaping.resumed(answer).model_dump_json(exclude_none=True)


async def _session_status(orchestrator: Orchestrator, _: Call, given: SessionStatusParameters) -> SessionAnswer:
    return await orchestrator.sessions.status(given.session)


async def _get_status(orchestrator: Orchestrator, _: Call, given: StatusParameters) -> StatusAnswer:
    return await orchestrator.sessions.get_status(given.session, given.limit)


async def _question_before_initialize(
    orchestrator: Orchestrator, call: Call, given: InitializeParameters
) -> Question | None:
    if given.name is not None or given.session_id is not None:
        return None
    sessions = await orchestrator.doubts.choosing(call, given.working_directory)
    return choice_of_session(sessions, "session_id", new=True)


async def _question_before_resume(orchestrator: Orchestrator, call: Call, given: ResumeParameters) -> Question | None:
    if given.session is not None:
        return None
    return choice_of_session(await orchestrator.doubts.choosing(call, None), "session", new=False)


def _tell_session(answer: SessionAnswer) -> str:
    released = f"Released after their server died: {', '.join(answer.released)}." if answer.released else ""
    return joined(
        f"{'Created' if answer.created_now else 'Open'}: {session_line(answer)}",
        released,
        task_lines("Ready", answer.ready),
        blocked_lines(answer.blocked),
        answer.next_action,
    )


def _tell_sessions(answer: SessionsAnswer) -> str:
    more = f"More with cursor={answer.next_cursor}." if answer.has_more else ""
    return joined(
        f"{counted(answer.total, 'session')}.",
        *(f"- {session_line(line)}" for line in answer.sessions),
        *(f"Unreadable: {line}" for line in answer.unreadable),
        more,
    )


def _tell_resume(answer: ResumeAnswer) -> str:
    return joined(
        session_line(answer.session),
        task_lines("In progress", answer.in_progress),
        task_lines("In review", answer.in_review),
        task_lines("Ready", answer.ready),
        blocked_lines(answer.blocked),
        task_lines("Completed lately", answer.recently_completed),
        f"Shared notes: {shown(answer.shared_notes)}." if answer.shared_notes else "",
        f"Left out for the budget: {shown(answer.left_out)}." if answer.left_out else "",
        answer.next_action,
    )


def _tell_status(answer: StatusAnswer) -> str:
    waiting = ", ".join(f"{status} {seconds:.0f} s" for status, seconds in answer.oldest_waiting_seconds.items())
    specialists = _specialist_lines(answer)
    return joined(
        session_line(answer.session),
        task_lines("In progress", answer.in_progress),
        task_lines("Ready", answer.ready),
        blocked_lines(answer.blocked),
        "\n".join(["Specialists:", *specialists]) if specialists else "",
        "\n".join(["Long work:", *(f"- {line}" for line in answer.jobs)]) if answer.jobs else "",
        "\n".join(["Models:", *(f"- {line}" for line in answer.models)]) if answer.models else "",
        f"Longest in its status: {waiting}." if waiting else "",
        # One alone is the one that answers.
        "\n".join(["Servers on this workspace:", *map(_server_line, answer.servers)])
        if len(answer.servers) > 1
        else "",
        answer.next_action,
    )


def _specialist_lines(answer: StatusAnswer) -> list[str]:
    """Tell who is at work, and count the others."""
    idle = [one for one in answer.specialists if one.state == "running" and not one.mailbox]
    lines = [
        f"- {one.name}: {one.state}, {one.mailbox} waiting, context {one.context_fill:.0%} full"
        for one in answer.specialists
        if one not in idle
    ]
    return [*lines, f"- {len(idle)} idle"] if idle else lines


def _server_line(row: str) -> str:
    """Tell people what programs read as `<id> <kind> <process>` and marks."""
    identifier, kind, process, *marks = row.split()
    said = [{"this": "this one"}.get(mark, mark) for mark in marks]
    return f"- {identifier}: {', '.join([kind, f'process {process}', *said])}"


def _resume_links(answer: ResumeAnswer) -> Sequence[ArtifactLink]:
    return answer.recent_artifacts


INITIALIZE_SESSION: Final = make_tool(
    "orchestrator_initialize_session",
    "Initialize a session",
    "Create or reopen the session of a project directory. Call this first: tasks live in a session.",
    Effects(),
    parameters=InitializeParameters,
    answer=SessionAnswer,
    run=_initialize,
    tell=_tell_session,
    shape=Shape(results.Session, shaping.session),
    question=_question_before_initialize,
)

SESSION_TOOLS: Final[tuple[Tool, ...]] = (
    INITIALIZE_SESSION,
    make_tool(
        "orchestrator_list_sessions",
        "List sessions",
        "List the sessions of every known workspace, newest first. Use it to find earlier work.",
        _READS,
        parameters=ListParameters,
        answer=SessionsAnswer,
        run=_list,
        tell=_tell_sessions,
        shape=Shape(results.Sessions, shaping.sessions),
    ),
    make_tool(
        "orchestrator_resume_session",
        "Resume a session",
        "Give the working context of a session within a token budget. Use it to go on with earlier work.",
        _READS,
        parameters=ResumeParameters,
        answer=ResumeAnswer,
        run=_resume,
        tell=_tell_resume,
        shape=Shape(results.Resumed, shaping.resumed),
        question=_question_before_resume,
        links=_resume_links,
    ),
    make_tool(
        "orchestrator_session_status",
        "Session status",
        "Show a session's counts, roles and workspace facts. Use it to look without changing anything.",
        _READS,
        parameters=SessionStatusParameters,
        answer=SessionAnswer,
        run=_session_status,
        tell=_tell_session,
        shape=Shape(results.Session, shaping.session),
    ),
    make_tool(
        "orchestrator_get_status",
        "Work status",
        "Show what is in progress, ready and blocked by what, and who works. Use it to decide what to do next.",
        _READS,
        parameters=StatusParameters,
        answer=StatusAnswer,
        run=_get_status,
        tell=_tell_status,
        shape=Shape(results.Status, shaping.status),
    ),
)
