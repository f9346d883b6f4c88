"""The five tools on tasks as plans: plan, update, query, cancel, delete.

Each says what it takes and how its result reads; the work is the facade's. Neighbours: `catalogue` lists them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final, Literal, cast

from pydantic import Field

from vespera_agents.serving.tools import results, shaping
from vespera_agents.serving.tools.parameters import (
    Cursor,
    Description,
    Detail,
    Difficulty,
    Due,
    Effort,
    Gates,
    Kind,
    KnownDifficulty,
    KnownGates,
    KnownKind,
    KnownWaiting,
    KnownWords,
    Limit,
    Moment,
    NewRole,
    NewWay,
    Role,
    SessionRef,
    Status,
    Subtask,
    Subtasks,
    TaskKey,
    TaskRef,
    Texts,
    Title,
    Waiting,
    Way,
    Word,
    Words,
    commands,
    dependencies,
    subtask_drafts,
)
from vespera_agents.serving.tools.questions import Question, confirmation
from vespera_agents.serving.tools.texts import (
    counted,
    joined,
    new_task_line,
    one_line,
    shown,
    task_lines,
    tell_cancelled,
    tell_deleted,
)
from vespera_agents.serving.tools.tool import Effects, Parameters, Shape, Tool, make_tool
from vespera_agents.specialists.answers import (
    ArtifactLink,
    CancelAnswer,
    DeleteAnswer,
    QueryAnswer,
    UpdateAnswer,
)
from vespera_agents.specialists.calls import Call
from vespera_agents.specialists.orchestrator import Orchestrator
from vespera_agents.specialists.planned import PlanAnswer
from vespera_agents.store.commands import TaskEdit
from vespera_agents.store.queries import TaskFilter
from vespera_agents.work.errors import InvalidInput
from vespera_agents.work.models import Complexity, TaskStatus, TaskType, role_name

__all__ = ["TASK_TOOLS"]

_PLANNED_SHOWN: Final = 60

Reason = Annotated[str, Field(max_length=2_000)]


class PlanParameters(Parameters):
    """Arguments of orchestrator_plan_task: those of a Subtask, and what only the whole can be told."""

    title: Title | None = None
    key: TaskKey | None = None
    description: Description = ""
    task_type: Kind = TaskType.STANDARD
    complexity: Difficulty = Complexity.MODERATE
    specialist: NewRole | None = None
    estimated_effort: Effort | None = None
    due: Due = None
    dependencies: Waiting = ()
    gates: Gates = ()
    strategy: NewWay | None = None
    subtasks: Subtasks = ()
    parent_task_id: Annotated[TaskRef, Field(description="Container to put it in")] | None = None
    plan_path: (
        Annotated[str, Field(min_length=1, max_length=4_096, description="A plan or PRP file instead")] | None
    ) = None
    session: SessionRef | None = None


class UpdateParameters(Parameters):
    """Arguments of orchestrator_update_task."""

    task_id: TaskRef
    expected_version: Annotated[int, Field(ge=1, description="Refuse if changed since")] | None = None
    title: Title | None = None
    description: Description | None = None
    task_type: KnownKind | None = None
    complexity: KnownDifficulty | None = None
    specialist: Role | None = None
    estimated_effort: Effort | None = None
    due: Due = None
    status: Status | None = None
    reason: Annotated[Reason, Field(description="To block, reopen or waive")] | None = None
    gates: KnownGates | None = None
    strategy: Way | None = None
    add_dependencies: KnownWaiting = ()
    remove_dependencies: Annotated[Texts, Field(description="Never needed")] = ()
    waive_dependencies: Annotated[Texts, Field(description="No longer awaited")] = ()
    clear: Words[Literal["estimated_effort", "due", "strategy"]] = ()
    session: SessionRef | None = None


class QueryParameters(Parameters):
    """Arguments of orchestrator_query_tasks."""

    status: Words[TaskStatus] = ()
    task_type: KnownWords[TaskType] = ()
    specialist: Texts = ()
    complexity: KnownWords[Complexity] = ()
    ready: bool | None = None
    text: Annotated[str, Field(min_length=1, max_length=200, description="Whole words or auth*")] | None = None
    parent_task_id: Annotated[TaskRef, Field(description="Its subtasks")] | None = None
    include_children: Annotated[bool, Field(description="All levels below")] = False
    created_after: Moment = None
    created_before: Moment = None
    updated_after: Moment = None
    updated_before: Moment = None
    detail: Detail = "concise"
    include_artifacts: bool = False
    limit: Limit = 50
    cursor: Cursor | None = None
    session: SessionRef | None = None


class CancelParameters(Parameters):
    """Arguments of orchestrator_cancel_task."""

    task_id: TaskRef
    reason: Annotated[Reason, Field(min_length=1)]
    cascade: Annotated[bool, Field(description="Its subtasks too")] = False
    preserve_work: Annotated[bool, Field(description="Its artifacts")] = True
    session: SessionRef | None = None


class DeleteParameters(Parameters):
    """Arguments of orchestrator_delete_task."""

    task_id: TaskRef
    mode: Annotated[Literal["archive", "delete"], Word] = "archive"
    force: Annotated[bool, Field(description="To delete, or while others wait for it")] = False
    session: SessionRef | None = None


async def _plan(orchestrator: Orchestrator, call: Call, given: PlanParameters) -> PlanAnswer:
    if given.plan_path is not None:
        beside = sorted(given.model_fields_set - {"plan_path", "session"})
        if beside:
            raise InvalidInput(
                f"plan_path brings its own tasks, {', '.join(beside)} cannot stand beside it",
                "Give plan_path alone, or leave it out.",
            )
        return await orchestrator.tasks.plan_file(call, given.plan_path, given.session)
    if given.title is None:
        loose = given.model_fields_set - {"subtasks", "parent_task_id", "session"}
        if loose or not given.subtasks:
            raise InvalidInput(
                "there is no title", "Give title, or only subtasks for several tasks side by side, or plan_path."
            )
        roots: Sequence[Subtask] = given.subtasks
    else:
        # It has all that a Subtask has, a title included, and checked: to make one of it took as long as all arguments.
        roots = (cast("Subtask", given),)
    return await orchestrator.tasks.plan(
        call, subtask_drafts(roots), session=given.session, parent_task_id=given.parent_task_id
    )


async def _update(orchestrator: Orchestrator, call: Call, given: UpdateParameters) -> UpdateAnswer:
    edit: TaskEdit = {}
    if given.title is not None:
        edit["title"] = given.title
    if given.description is not None:
        edit["description"] = given.description
    if given.task_type is not None:
        edit["task_type"] = given.task_type
    if given.complexity is not None:
        edit["complexity"] = given.complexity
    if given.specialist is not None:
        edit["specialist"] = role_name(given.specialist)
    if given.estimated_effort is not None or "estimated_effort" in given.clear:
        edit["estimated_effort"] = given.estimated_effort
    if given.due is not None or "due" in given.clear:
        edit["due"] = given.due
    if given.strategy is not None or "strategy" in given.clear:
        edit["strategy"], edit["strategy_n"] = given.strategy or (None, None)
    return await orchestrator.tasks.update(
        call,
        given.task_id,
        session=given.session,
        expected_version=given.expected_version,
        edit=edit or None,
        status=given.status,
        reason=given.reason,
        gates=None if given.gates is None else commands(given.gates),
        add=dependencies(given.add_dependencies),
        remove=given.remove_dependencies,
        waive=given.waive_dependencies,
    )


async def _query(orchestrator: Orchestrator, _: Call, given: QueryParameters) -> QueryAnswer:
    wanted = TaskFilter(
        status=given.status,
        task_type=given.task_type,
        specialist=tuple(role_name(name) for name in given.specialist),
        complexity=given.complexity,
        parent_id=given.parent_task_id,
        include_children=given.include_children,
        ready=given.ready,
        text=given.text,
        created_after=given.created_after,
        created_before=given.created_before,
        updated_after=given.updated_after,
        updated_before=given.updated_before,
    )
    return await orchestrator.tasks.query(
        wanted,
        session=given.session,
        limit=given.limit,
        cursor=given.cursor,
        detail=given.detail,
        include_artifacts=given.include_artifacts,
    )


async def _cancel(orchestrator: Orchestrator, call: Call, given: CancelParameters) -> CancelAnswer:
    return await orchestrator.tasks.cancel(
        call,
        given.task_id,
        given.reason,
        session=given.session,
        cascade=given.cascade,
        preserve_work=given.preserve_work,
    )


async def _delete(orchestrator: Orchestrator, call: Call, given: DeleteParameters) -> DeleteAnswer:
    return await orchestrator.tasks.delete(
        call, given.task_id, session=given.session, mode=given.mode, force=given.force
    )


async def _question_before_plan(orchestrator: Orchestrator, call: Call, given: PlanParameters) -> Question | None:
    if given.plan_path is None:
        return None
    return confirmation(await orchestrator.doubts.replacing(call, given.plan_path, given.session))


async def _question_before_delete(orchestrator: Orchestrator, call: Call, given: DeleteParameters) -> Question | None:
    if given.mode != "delete" or not given.force:
        return None
    return confirmation(await orchestrator.doubts.deleting(call, given.task_id, given.session))


def _tell_plan(answer: PlanAnswer) -> str:
    lines = [new_task_line(task) for task in answer.tasks[:_PLANNED_SHOWN]]
    if len(answer.tasks) > _PLANNED_SHOWN:
        lines.append(f"- and {len(answer.tasks) - _PLANNED_SHOWN} more: see orchestrator_query_tasks")
    unplaced = f"{counted(answer.unplaced_lines, 'line')} could not be placed." if answer.unplaced_lines else ""
    return joined(
        f"Created {counted(len(answer.tasks), 'task')}, {len(answer.ready)} ready, in {answer.session_id}.",
        *lines,
        f"Notes: {shown(answer.notes)}" if answer.notes else "",
        unplaced,
        answer.next_action,
    )


def _tell_update(answer: UpdateAnswer) -> str:
    changes = [f"{name}: {_short(pair[0])} -> {_short(pair[1])}" for name, pair in answer.changed.items()]
    return joined(
        f"{answer.task.id} is at version {answer.task.version}, {answer.task.status}.",
        f"Changed {'; '.join(changes)}." if changes else "Nothing was different: nothing changed.",
        f"Ready now: {shown(answer.ready)}." if answer.ready else "",
    )


def _short(value: str | float | None) -> str:
    text = one_line(str(value))
    return "nothing" if value is None else repr(text[:60]) if isinstance(value, str) else text


def _tell_query(answer: QueryAnswer) -> str:
    total = counted(answer.total, "task") if answer.total_is_exact else f"more than {answer.total} tasks"
    return joined(
        f"{total}, {len(answer.tasks)} on this page.",
        task_lines("Tasks", answer.tasks),
        f"More with cursor={answer.next_cursor}." if answer.has_more else "",
    )


def _query_links(answer: QueryAnswer) -> Sequence[ArtifactLink]:
    return [artifact for task in answer.tasks for artifact in task.artifacts or ()]


TASK_TOOLS: Final[tuple[Tool, ...]] = (
    make_tool(
        "orchestrator_plan_task",
        "Plan tasks",
        "Create a task, a breakdown (nested subtasks, dependencies by key) or the tasks of a plan file, all or none. "
        "Use it to turn a goal into work.",
        Effects(),
        parameters=PlanParameters,
        answer=PlanAnswer,
        run=_plan,
        tell=_tell_plan,
        shape=Shape(results.Planned, shaping.planned),
        question=_question_before_plan,
        begins=True,
    ),
    make_tool(
        "orchestrator_update_task",
        "Update a task",
        "Change a task's fields, dependencies or status, all or none. Use it to correct, block, release or retry; "
        "complete_task finishes work.",
        Effects(destructive=True, idempotent=True),
        parameters=UpdateParameters,
        answer=UpdateAnswer,
        run=_update,
        tell=_tell_update,
        shape=Shape(results.Updated, shaping.updated),
    ),
    make_tool(
        "orchestrator_query_tasks",
        "Find tasks",
        "Find tasks by any mix of filters, oldest first. Use ready=true to find the next work, detail=full to "
        "read a task.",
        Effects(read_only=True, idempotent=True),
        parameters=QueryParameters,
        answer=QueryAnswer,
        run=_query,
        tell=_tell_query,
        shape=Shape(results.Queried, shaping.queried),
        links=_query_links,
    ),
    make_tool(
        "orchestrator_cancel_task",
        "Cancel a task",
        "Cancel a task that has not ended, and say what that blocks. Use it when work is no longer wanted.",
        Effects(destructive=True, idempotent=True),
        parameters=CancelParameters,
        answer=CancelAnswer,
        run=_cancel,
        tell=tell_cancelled,
    ),
    make_tool(
        "orchestrator_delete_task",
        "Remove a task",
        "Archive a task and all below it, or delete them for good; live work is cancelled first. Use it to tidy up.",
        Effects(destructive=True, idempotent=True),
        parameters=DeleteParameters,
        answer=DeleteAnswer,
        run=_delete,
        tell=tell_deleted,
        question=_question_before_delete,
    ),
)
