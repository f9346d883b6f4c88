"""What the tools return: small, flat models.

Each key is paid for twice, in the list of tools and in every result. So a result holds what a program needs to go on,
one key for each fact; `vespera://` resources and the commands show the facade's answers whole. Where the names are
data, as with counts by status, there are rows of name and value instead of an object with unknown keys. Pure.
Neighbours: `shaping` makes them of the facade's answers, `texts` is what people read beside them.
"""

from __future__ import annotations

from vespera_agents.specialists.answers import Answer

__all__ = [
    "Claimed",
    "Completed",
    "Counts",
    "FoundTask",
    "NewTask",
    "Planned",
    "Queried",
    "Resumed",
    "Session",
    "SessionRow",
    "Sessions",
    "Status",
    "Synthesized",
    "TaskRow",
    "Updated",
]

Counts = list[tuple[str, int]]
"""Rows of a status and how many tasks that are no containers stand there; `waived` apart from `cancelled`."""


class SessionRow(Answer):
    """A session in a list."""

    id: str
    name: str
    directory: str
    status: str
    counts: Counts


class TaskRow(Answer):
    """A task in a list of what goes on."""

    id: str
    title: str
    status: str
    ready: bool
    specialist: str | None = None
    reason: str | None = None
    """Why it stands where it stands, where somebody said so."""
    blocked_by: list[str] | None = None
    """`<id> <title>: <status>` of those at the root of it, or the reason that was given."""


class FoundTask(Answer):
    """A task that was asked for."""

    id: str
    title: str
    status: str
    ready: bool
    specialist: str
    reason: str | None
    parent: str | None
    version: int
    artifacts: list[str] | None = None
    """Addresses; only when asked for."""
    # Only with detail=full.
    description: str | None = None
    summary: str | None = None
    task_type: str | None = None
    due: str | None = None
    gates: list[str] | None = None
    dependencies: list[tuple[str, str, str]] | None = None
    """Rows of a task, the kind of the dependency, and its state."""


class NewTask(Answer):
    """A task that was created."""

    id: str
    key: str
    title: str
    parent: str | None
    specialist: str
    why: str | None = None
    """Only where nobody was named and this one was chosen: how sure that is, of a small plan also why, and who else."""


class Session(Answer):
    """Of orchestrator_initialize_session and orchestrator_session_status."""

    id: str
    name: str
    directory: str
    created_now: bool
    counts: Counts
    roles: list[str]
    facts: list[str]
    """Where git's root is, and the files that tell what kind of project this is."""
    next_action: str


class Sessions(Answer):
    """Of orchestrator_list_sessions."""

    sessions: list[SessionRow]
    total: int
    total_is_exact: bool
    has_more: bool
    next_cursor: str | None
    unreadable: list[str] | None


class Resumed(Answer):
    """Of orchestrator_resume_session."""

    id: str
    counts: Counts
    tasks: list[TaskRow]
    """In progress, in review, ready, blocked, and those that were completed lately."""
    artifacts: list[str]
    """Addresses of the latest ones, and of what its specialists share."""
    left_out: list[str]
    next_action: str


class Status(Answer):
    """Of orchestrator_get_status."""

    session_id: str
    counts: Counts
    tasks: list[TaskRow]
    """In progress, ready, blocked."""
    has_more: bool
    specialists: list[tuple[str, str, int, float]]
    """Rows of a name, its state, its mail, and how full its context is, 0 to 1."""
    jobs: list[str]
    """`<task id> <status> <done>/<total>: <what>` of long work."""
    models: list[str]
    """What each did and cost."""
    waiting_seconds: list[tuple[str, float]]
    """Rows of a live status, and how long its oldest task has stood there."""
    servers: list[str]
    """`<id> <kind> <process>` of each on the workspace, then `this`, `leads`."""
    at: str | None
    next_action: str


class Planned(Answer):
    """Of orchestrator_plan_task."""

    session_id: str
    tasks: list[NewTask]
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

    tasks: list[FoundTask]
    total: int
    total_is_exact: bool
    has_more: bool
    next_cursor: str | None


class Claimed(Answer):
    """Of orchestrator_execute_task."""

    task_id: str
    already_yours: bool
    prompt: str
    context_tokens_max: int
    left_out: list[str]
    gates: list[str]
    artifacts: list[str]
    """Addresses of what it builds on."""
    outcome: str | None
    """Only with mode=agent."""
    next_action: str


class Completed(Answer):
    """Of orchestrator_complete_task."""

    task_id: str
    outcome: str
    version: int
    artifacts: list[str]
    ready: list[str]
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
