"""The answers of the orchestrator: models that every face shows, whole (resources, commands) or in part (tools).

Times are ISO 8601 in UTC. Neighbours: `orchestrator` fills them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from vespera_agents.work.models import Artifact, Dependency, Task

__all__ = [
    "Answer",
    "ArtifactLink",
    "BlockedTask",
    "CancelAnswer",
    "ClaimAnswer",
    "CompleteAnswer",
    "DeleteAnswer",
    "DependencyView",
    "QueryAnswer",
    "ResumeAnswer",
    "SessionAnswer",
    "SessionLine",
    "SessionsAnswer",
    "SpecialistView",
    "StatusAnswer",
    "SynthesisAnswer",
    "TaskView",
    "UpdateAnswer",
    "artifact_link",
    "iso",
    "task_view",
]


def iso(seconds: float | None) -> str | None:
    """Write a time of the epoch as ISO 8601 in UTC, to the millisecond."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Answer(BaseModel):
    """What every answer has."""

    model_config = ConfigDict(extra="forbid", defer_build=True)


class ArtifactLink(Answer):
    """An artifact, to be read as a resource."""

    id: str
    name: str
    kind: str
    mime_type: str
    size: int
    """Bytes."""
    uri: str
    """`vespera://artifact/<sha256>`."""
    task_id: str | None


class DependencyView(Answer):
    """What a task waits for."""

    on_task_id: str
    kind: str
    mandatory: bool
    state: str
    waived_by: str | None = None
    waived_why: str | None = None


class TaskView(Answer):
    """A task; the fields from `description` on are filled for detail=full only."""

    id: str
    title: str
    status: str
    status_reason: str | None
    waived: bool
    ready: bool
    specialist: str
    parent_task_id: str | None
    subtasks: int
    """Direct ones; a task with subtasks is a container whose status follows them."""
    version: int
    session_id: str
    key: str | None = None
    description: str | None = None
    task_type: str | None = None
    complexity: str | None = None
    estimated_effort: str | None = None
    due: str | None = None
    summary: str | None = None
    run: str | None = None
    when: str | None = None
    gates: list[str] | None = None
    strategy: str | None = None
    claimed_by: str | None = None
    attempts: int | None = None
    created: str | None = None
    updated: str | None = None
    started: str | None = None
    finished: str | None = None
    dependencies: list[DependencyView] | None = None
    artifacts: list[ArtifactLink] | None = None


class BlockedTask(Answer):
    """A task that cannot go on, and who is to blame."""

    id: str
    title: str
    status: str
    """blocked, or pending behind others."""
    blocked_by: list[str]
    """`<id> <title>: <status>` of the failed, cancelled or blocked tasks at the root of it."""


class SessionLine(Answer):
    """A session in a list."""

    id: str
    name: str
    working_directory: str
    status: str
    counts: dict[str, int]
    """Tasks that are no containers, by status; `waived` apart from `cancelled`."""
    created: str | None
    updated: str | None


class SessionAnswer(SessionLine):
    """A session that was initialized or asked for."""

    created_now: bool
    """False when an existing session was reopened."""
    ready: list[TaskView]
    """The first tasks that can be claimed now."""
    blocked: list[BlockedTask]
    roles: list[str]
    git_root: str | None
    markers: list[str]
    """Files that tell what kind of project this is."""
    released: list[str]
    """Tasks whose server had died; they can be claimed again."""
    next_action: str


class SessionsAnswer(Answer):
    """A page of sessions, the newest first."""

    sessions: list[SessionLine]
    total: int
    """Counted up to 1,000."""
    total_is_exact: bool
    has_more: bool
    next_cursor: str | None
    unreadable: list[str]
    """Workspaces whose store could not be read, each with the reason."""


class ResumeAnswer(Answer):
    """The working context that a new client needs, within a token budget."""

    session: SessionLine
    in_progress: list[TaskView]
    in_review: list[TaskView]
    ready: list[TaskView]
    blocked: list[BlockedTask]
    recent_artifacts: list[ArtifactLink]
    recently_completed: list[TaskView]
    shared_notes: list[str]
    """`<name> (of the <owner>, version <number>, <size> bytes)` of the session's shared context, the latest first."""
    context_tokens: int
    """An estimate of this answer's size."""
    left_out: list[str]
    """What did not fit into the budget."""
    next_action: str


class SpecialistView(Answer):
    """A specialist at work or waiting for work."""

    name: str
    state: str
    mailbox: int
    context_fill: float
    task_id: str | None


class StatusAnswer(Answer):
    """How the work of a session stands."""

    session: SessionLine
    ready: list[TaskView]
    blocked: list[BlockedTask]
    in_progress: list[TaskView]
    has_more: bool
    """A list was cut at the limit."""
    specialists: list[SpecialistView]
    jobs: list[str]
    """The newest long work: `<task id> <status> <done>/<total>: <what>`."""
    models: list[str]
    """What each model did and cost: `<provider>/<model>: <calls>, <repeated>, <tokens>, <cost>`."""
    oldest_waiting_seconds: dict[str, float]
    """For each live status, how long its oldest task has stood there."""
    servers: list[str]
    at: str | None
    next_action: str


class UpdateAnswer(Answer):
    """What an update changed."""

    task: TaskView
    changed: dict[str, list[str | float | None]]
    """Each changed field with what it was and what it is."""
    ready: list[str]
    """Tasks that became ready through it."""


class QueryAnswer(Answer):
    """A page of tasks in the order of their creation."""

    tasks: list[TaskView]
    total: int
    total_is_exact: bool
    has_more: bool
    next_cursor: str | None


class ClaimAnswer(Answer):
    """A claimed task, and everything needed to carry it out."""

    task: TaskView
    already_yours: bool
    prompt: str
    """The specialist's briefing: role, task, gates, what it builds on."""
    context_tokens: int
    """Of the prompt: counted where its bytes do not prove that it fits, else an estimate."""
    context_tokens_max: int
    left_out: list[str]
    """Parts that did not fit into the role's budget."""
    gates: list[str]
    dependency_artifacts: list[ArtifactLink]
    outcome: str | None = None
    """With mode=agent: working, later completed, failed, waiting, in_progress or cancelled."""
    next_action: str


class CompleteAnswer(Answer):
    """What became of the work that was handed in."""

    task_id: str
    outcome: Literal["completed", "review", "blocked", "gating"]
    """`gating`: the gates still run; their outcome is stored when they end."""
    version: int
    artifacts: list[ArtifactLink]
    ready: list[TaskView]
    """Tasks that became ready through it."""
    parent_task_id: str | None
    parent_status: str | None
    parent_done: int
    parent_total: int
    next_action: str


class CancelAnswer(Answer):
    """What was cancelled."""

    cancelled: list[str]
    blocked_dependents: list[str]
    """Live tasks that cannot go on now."""
    dropped_artifacts: int
    next_action: str


class DeleteAnswer(Answer):
    """What was archived or deleted."""

    archived: list[str]
    deleted: list[str]
    cancelled: list[str]
    """Live work that was cancelled first."""
    released_dependents: list[str]
    """Tasks that no longer wait for a deleted one."""


class SynthesisAnswer(Answer):
    """The gathered results of a piece of work."""

    task_id: str | None
    artifact: ArtifactLink
    outcome: str
    """completed, failed, waiting, cancelled or in_progress."""
    counts: dict[str, int]
    open_questions: list[str]
    preview: Annotated[str, Field(max_length=4_000)]
    """The beginning of the text."""


def artifact_link(artifact: Artifact) -> ArtifactLink:
    """Show an artifact."""
    return ArtifactLink(
        id=artifact.id,
        name=artifact.name,
        kind=artifact.kind,
        mime_type=artifact.mime_type,
        size=artifact.size,
        uri=f"vespera://artifact/{artifact.sha256}",
        task_id=artifact.task_id,
    )


def task_view(
    task: Task,
    *,
    full: bool = False,
    dependencies: Iterable[Dependency] = (),
    artifacts: Sequence[Artifact] | None = None,
) -> TaskView:
    """Show a task, with everything when `full`."""
    more: dict[str, Any] = {}
    if full:
        more = {
            "key": task.key,
            "description": task.description,
            "task_type": task.task_type,
            "complexity": task.complexity,
            "estimated_effort": task.estimated_effort,
            "due": iso(task.due),
            "summary": task.summary,
            "run": task.run.text if task.run else None,
            "when": task.when.text if task.when else None,
            "gates": [gate.text for gate in task.gates],
            "strategy": task.strategy_text,
            "claimed_by": task.claimed_by,
            "attempts": task.attempts,
            "created": iso(task.created),
            "updated": iso(task.updated),
            "started": iso(task.started),
            "finished": iso(task.finished),
            "dependencies": [
                DependencyView(
                    on_task_id=dependency.on_task_id,
                    kind=dependency.kind,
                    mandatory=dependency.mandatory,
                    state=dependency.state,
                    waived_by=dependency.waived_by,
                    waived_why=dependency.waived_why,
                )
                for dependency in dependencies
            ],
        }
    if artifacts is not None:
        more["artifacts"] = [artifact_link(artifact) for artifact in artifacts]
    return TaskView(
        id=task.id,
        title=task.title,
        status=task.status,
        status_reason=task.status_reason,
        waived=task.waived,
        ready=task.ready,
        specialist=task.specialist,
        parent_task_id=task.parent_id,
        subtasks=task.children,
        version=task.version,
        session_id=task.session_id,
        **more,
    )
