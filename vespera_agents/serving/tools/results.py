"""What the tools return: small, flat models made of the facade's answers.

Each key is paid for twice, in the list of tools and in every result. So a result holds what a program needs to go on,
one key for each fact; `vespera://` resources and the commands show the facade's answers whole. Where the names are
data, as with counts by status, there are rows of name and value instead of an object with unknown keys. Pure.
Neighbours: `specialists.answers` is what they are made of, `texts` what people read beside them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from vespera_agents.specialists.answers import (
    Answer,
    ArtifactLink,
    BlockedTask,
    ClaimAnswer,
    CompleteAnswer,
    PlanAnswer,
    QueryAnswer,
    ResumeAnswer,
    SessionAnswer,
    SessionLine,
    SessionsAnswer,
    StatusAnswer,
    SynthesisAnswer,
    TaskView,
    UpdateAnswer,
)

__all__ = [
    "Claimed",
    "Completed",
    "Planned",
    "Queried",
    "Resumed",
    "Session",
    "Sessions",
    "Status",
    "Synthesized",
    "Updated",
    "claimed",
    "completed",
    "planned",
    "queried",
    "resumed",
    "session",
    "sessions",
    "status",
    "synthesized",
    "updated",
]

_TEXT_MAX: Final = 200
"""Characters of a changed text that are told; whoever wants all of it reads the task."""

Counts = list[tuple[str, int]]
"""Rows of a status and how many tasks that are no containers stand there; `waived` apart from `cancelled`."""


class _SessionLine(Answer):
    id: str
    name: str
    working_directory: str
    status: str
    counts: Counts


class _TaskLine(Answer):
    id: str
    title: str
    status: str
    ready: bool
    specialist: str | None = None
    reason: str | None = None
    """Why it stands where it stands, where somebody said so."""
    blocked_by: list[str] | None = None
    """`<id> <title>: <status>` of those at the root of it, or the reason that was given."""


class _FoundTask(Answer):
    id: str
    title: str
    status: str
    ready: bool
    specialist: str
    reason: str | None
    parent_task_id: str | None
    version: int
    artifacts: list[str] | None = None
    """Addresses; only when asked for."""
    # Only with detail=full.
    description: str | None = None
    summary: str | None = None
    task_type: str | None = None
    complexity: str | None = None
    due: str | None = None
    updated: str | None = None
    gates: list[str] | None = None
    dependencies: list[tuple[str, str, str]] | None = None
    """Rows of a task, the kind of the dependency, and its state."""


class _PlannedTask(Answer):
    id: str
    key: str
    title: str
    parent_task_id: str | None


class Session(Answer):
    """Of orchestrator_initialize_session and orchestrator_session_status."""

    id: str
    name: str
    working_directory: str
    created_now: bool
    counts: Counts
    roles: list[str]
    git_root: str | None
    markers: list[str]
    next_action: str


class Sessions(Answer):
    """Of orchestrator_list_sessions."""

    sessions: list[_SessionLine]
    total: int
    total_is_exact: bool
    has_more: bool
    next_cursor: str | None
    unreadable: list[str] | None


class Resumed(Answer):
    """Of orchestrator_resume_session."""

    id: str
    counts: Counts
    tasks: list[_TaskLine]
    """In progress, in review, ready, blocked, and those that were completed lately."""
    artifacts: list[str]
    """Addresses of the latest ones."""
    context_tokens: int
    left_out: list[str]
    next_action: str


class Status(Answer):
    """Of orchestrator_get_status."""

    session_id: str
    counts: Counts
    tasks: list[_TaskLine]
    """In progress, ready, blocked."""
    has_more: bool
    specialists: list[tuple[str, str, int, float]]
    """Rows of a name, its state, its mail, and how full its context is, 0 to 1."""
    oldest_waiting_seconds: list[tuple[str, float]]
    """Rows of a live status, and how long its oldest task has stood there."""
    at: str | None
    next_action: str


class Planned(Answer):
    """Of orchestrator_plan_task."""

    session_id: str
    tasks: list[_PlannedTask]
    ready: list[str]
    notes: list[str]
    """What the reader of a plan file could not resolve or place."""
    next_action: str


class Updated(Answer):
    """Of orchestrator_update_task."""

    task_id: str
    status: str
    version: int
    changed: list[tuple[str, str | float | None, str | float | None]]
    """Rows of a field, what it was, and what it is."""
    ready: list[str]


class Queried(Answer):
    """Of orchestrator_query_tasks."""

    tasks: list[_FoundTask]
    total: int
    total_is_exact: bool
    has_more: bool
    next_cursor: str | None


class Claimed(Answer):
    """Of orchestrator_execute_task."""

    task_id: str
    version: int
    already_yours: bool
    prompt: str
    context_tokens: int
    context_tokens_max: int
    left_out: list[str]
    gates: list[str]
    artifacts: list[str]
    """Addresses of what it builds on."""
    next_action: str


class Completed(Answer):
    """Of orchestrator_complete_task."""

    task_id: str
    outcome: str
    version: int
    artifacts: list[str]
    ready: list[str]
    parent_task_id: str | None
    parent_status: str | None
    parent_progress: tuple[int, int] | None
    """How many tasks below the parent have ended, and how many there are."""
    next_action: str


class Synthesized(Answer):
    """Of orchestrator_synthesize_results."""

    artifact: str
    """Its address."""
    outcome: str
    counts: Counts
    open_questions: list[str]
    preview: str


def session(answer: SessionAnswer) -> Session:
    """Give what initialize_session and session_status return."""
    return Session(
        id=answer.id,
        name=answer.name,
        working_directory=answer.working_directory,
        created_now=answer.created_now,
        counts=_rows(answer.counts),
        roles=answer.roles,
        git_root=answer.git_root,
        markers=answer.markers,
        next_action=answer.next_action,
    )


def sessions(answer: SessionsAnswer) -> Sessions:
    """Give what list_sessions returns."""
    return Sessions(
        sessions=[_session_line(line) for line in answer.sessions],
        total=answer.total,
        total_is_exact=answer.total_is_exact,
        has_more=answer.has_more,
        next_cursor=answer.next_cursor,
        unreadable=answer.unreadable or None,
    )


def resumed(answer: ResumeAnswer) -> Resumed:
    """Give what resume_session returns."""
    views = [*answer.in_progress, *answer.in_review, *answer.ready]
    return Resumed(
        id=answer.session.id,
        counts=_rows(answer.session.counts),
        tasks=[
            *map(_task_line, views),
            *map(_blocked_line, answer.blocked),
            *map(_task_line, answer.recently_completed),
        ],
        artifacts=_addresses(answer.recent_artifacts),
        context_tokens=answer.context_tokens,
        left_out=answer.left_out,
        next_action=answer.next_action,
    )


def status(answer: StatusAnswer) -> Status:
    """Give what get_status returns."""
    views = [*answer.in_progress, *answer.ready]
    return Status(
        session_id=answer.session.id,
        counts=_rows(answer.session.counts),
        tasks=[*map(_task_line, views), *map(_blocked_line, answer.blocked)],
        has_more=answer.has_more,
        specialists=[(one.name, one.state, one.mailbox, one.context_fill) for one in answer.specialists],
        oldest_waiting_seconds=list(answer.oldest_waiting_seconds.items()),
        at=answer.at,
        next_action=answer.next_action,
    )


def planned(answer: PlanAnswer) -> Planned:
    """Give what plan_task returns."""
    return Planned(
        session_id=answer.session_id,
        tasks=[
            _PlannedTask(id=task.id, key=task.key, title=task.title, parent_task_id=task.parent_task_id)
            for task in answer.tasks
        ],
        ready=answer.ready,
        notes=[*answer.notes, *([f"{answer.unplaced_lines} lines not placed"] if answer.unplaced_lines else [])],
        next_action=answer.next_action,
    )


def updated(answer: UpdateAnswer) -> Updated:
    """Give what update_task returns."""
    return Updated(
        task_id=answer.task.id,
        status=answer.task.status,
        version=answer.task.version,
        changed=[(name, _short(pair[0]), _short(pair[1])) for name, pair in answer.changed.items()],
        ready=answer.ready,
    )


def queried(answer: QueryAnswer) -> Queried:
    """Give what query_tasks returns."""
    return Queried(
        tasks=[_found_task(task) for task in answer.tasks],
        total=answer.total,
        total_is_exact=answer.total_is_exact,
        has_more=answer.has_more,
        next_cursor=answer.next_cursor,
    )


def claimed(answer: ClaimAnswer) -> Claimed:
    """Give what execute_task returns."""
    return Claimed(
        task_id=answer.task.id,
        version=answer.task.version,
        already_yours=answer.already_yours,
        prompt=answer.prompt,
        context_tokens=answer.context_tokens,
        context_tokens_max=answer.context_tokens_max,
        left_out=answer.left_out,
        gates=answer.gates,
        artifacts=_addresses(answer.dependency_artifacts),
        next_action=answer.next_action,
    )


def completed(answer: CompleteAnswer) -> Completed:
    """Give what complete_task returns."""
    return Completed(
        task_id=answer.task_id,
        outcome=answer.outcome,
        version=answer.version,
        artifacts=_addresses(answer.artifacts),
        ready=[task.id for task in answer.ready],
        parent_task_id=answer.parent_task_id,
        parent_status=answer.parent_status,
        parent_progress=(answer.parent_done, answer.parent_total) if answer.parent_status else None,
        next_action=answer.next_action,
    )


def synthesized(answer: SynthesisAnswer) -> Synthesized:
    """Give what synthesize_results returns."""
    return Synthesized(
        artifact=answer.artifact.uri,
        outcome=answer.outcome,
        counts=_rows(answer.counts),
        open_questions=answer.open_questions,
        preview=answer.preview,
    )


def _session_line(line: SessionLine) -> _SessionLine:
    return _SessionLine(
        id=line.id,
        name=line.name,
        working_directory=line.working_directory,
        status=line.status,
        counts=_rows(line.counts),
    )


def _task_line(task: TaskView) -> _TaskLine:
    return _TaskLine(
        id=task.id,
        title=task.title,
        status=task.status,
        ready=task.ready,
        specialist=task.specialist,
        reason=task.status_reason,
    )


def _blocked_line(task: BlockedTask) -> _TaskLine:
    return _TaskLine(id=task.id, title=task.title, status=task.status, ready=False, blocked_by=task.blocked_by)


def _found_task(task: TaskView) -> _FoundTask:
    dependencies = task.dependencies
    return _FoundTask(
        id=task.id,
        title=task.title,
        status=task.status,
        ready=task.ready,
        specialist=task.specialist,
        reason=task.status_reason,
        parent_task_id=task.parent_task_id,
        version=task.version,
        artifacts=None if task.artifacts is None else _addresses(task.artifacts),
        description=task.description,
        summary=task.summary,
        task_type=task.task_type,
        complexity=task.complexity,
        due=task.due,
        updated=task.updated,
        gates=task.gates,
        dependencies=None if dependencies is None else [(one.on_task_id, one.kind, one.state) for one in dependencies],
    )


def _addresses(links: Iterable[ArtifactLink]) -> list[str]:
    return [link.uri for link in links]


def _rows(counts: Mapping[str, int]) -> Counts:
    return list(counts.items())


def _short(value: str | float | None) -> str | float | None:
    return f"{value[:_TEXT_MAX]}..." if isinstance(value, str) and len(value) > _TEXT_MAX else value
