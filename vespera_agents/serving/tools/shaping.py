"""From the facade's answers to what the tools return: which facts of them a client gets. Pure.

Neighbours: `specialists.answers` is the whole, `results` what is left of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from vespera_agents.serving.tools.results import (
    Claimed,
    Completed,
    Counts,
    FoundTask,
    NewTask,
    Planned,
    Queried,
    Resumed,
    Session,
    SessionRow,
    Sessions,
    Status,
    Synthesized,
    TaskRow,
    Updated,
)
from vespera_agents.serving.tools.texts import why_chosen
from vespera_agents.specialists.answers import (
    ArtifactLink,
    BlockedTask,
    ClaimAnswer,
    CompleteAnswer,
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
from vespera_agents.specialists.planned import PlanAnswer, PlannedTask

__all__ = [
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


def session(answer: SessionAnswer) -> Session:
    """Give what initialize_session and session_status return."""
    return Session(
        id=answer.id,
        name=answer.name,
        directory=answer.working_directory,
        created_now=answer.created_now,
        counts=_rows(answer.counts),
        roles=answer.roles,
        facts=[*([f"git root: {answer.git_root}"] if answer.git_root else []), *answer.markers],
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
        artifacts=[
            *_addresses(answer.recent_artifacts),
            *([f"vespera://session/{answer.session.id}/notes"] if answer.shared_notes else []),
        ],
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
        jobs=answer.jobs,
        models=answer.models,
        waiting_seconds=list(answer.oldest_waiting_seconds.items()),
        servers=answer.servers,
        at=answer.at,
        next_action=answer.next_action,
    )


def planned(answer: PlanAnswer) -> Planned:
    """Give what plan_task returns."""
    return Planned(
        session_id=answer.session_id,
        tasks=[_new_task(task) for task in answer.tasks],
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
        already_yours=answer.already_yours,
        prompt=answer.prompt,
        context_tokens_max=answer.context_tokens_max,
        left_out=answer.left_out,
        gates=answer.gates,
        artifacts=_addresses(answer.dependency_artifacts),
        outcome=answer.outcome,
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


def _new_task(task: PlannedTask) -> NewTask:
    suggestion = task.suggestion
    return NewTask(
        id=task.id,
        key=task.key,
        title=task.title,
        parent=task.parent_task_id,
        specialist=task.specialist,
        why=None if suggestion is None else why_chosen(suggestion),
    )


def _session_line(line: SessionLine) -> SessionRow:
    return SessionRow(
        id=line.id,
        name=line.name,
        directory=line.working_directory,
        status=line.status,
        counts=_rows(line.counts),
    )


def _task_line(task: TaskView) -> TaskRow:
    return TaskRow(
        id=task.id,
        title=task.title,
        status=task.status,
        ready=task.ready,
        specialist=task.specialist,
        reason=task.status_reason,
    )


def _blocked_line(task: BlockedTask) -> TaskRow:
    return TaskRow(id=task.id, title=task.title, status=task.status, ready=False, blocked_by=task.blocked_by)


def _found_task(task: TaskView) -> FoundTask:
    dependencies = task.dependencies
    return FoundTask(
        id=task.id,
        title=task.title,
        status=task.status,
        ready=task.ready,
        specialist=task.specialist,
        reason=task.status_reason,
        parent=task.parent_task_id,
        version=task.version,
        artifacts=None if task.artifacts is None else _addresses(task.artifacts),
        description=task.description,
        summary=task.summary,
        task_type=task.task_type,
        due=task.due,
        gates=task.gates,
        dependencies=None if dependencies is None else [(one.on_task_id, one.kind, one.state) for one in dependencies],
    )


def _addresses(links: Iterable[ArtifactLink]) -> list[str]:
    return [link.uri for link in links]


def _rows(counts: Mapping[str, int]) -> Counts:
    return list(counts.items())


def _short(value: str | float | None) -> str | float | None:
    return f"{value[:_TEXT_MAX]}..." if isinstance(value, str) and len(value) > _TEXT_MAX else value
