"""The facade's tools on tasks as plans: create, change, find, cancel, delete.

Thin: find what is meant, submit one command, shape the answer. Neighbours: `work_tools` carries tasks out.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal, cast, final

from vespera_agents.specialists.agents import EXECUTE_KIND
from vespera_agents.specialists.answers import (
    CancelAnswer,
    DeleteAnswer,
    QueryAnswer,
    TaskView,
    UpdateAnswer,
    task_view,
)
from vespera_agents.specialists.calls import Call, Lookup
from vespera_agents.specialists.job_tools import JobTools
from vespera_agents.specialists.planned import PlanAnswer, chosen_roles, plan_answer
from vespera_agents.specialists.routing.choosing import Chooser
from vespera_agents.specialists.sessions import OpenWorkspace
from vespera_agents.store import queries
from vespera_agents.store.commands import (
    Cancelled,
    CancelTask,
    DeleteTask,
    PlannedTasks,
    PlanTasks,
    TaskEdit,
    UpdateTask,
)
from vespera_agents.work.drafts import DependencyDraft, TaskDraft
from vespera_agents.work.errors import InvalidInput, NotFound
from vespera_agents.work.models import Artifact, CommandLine, Dependency, TaskStatus
from vespera_agents.work.strategies import expand

__all__ = ["TaskTools"]

LIMIT_MAX: Final = 200
"""Tasks on one page."""


@final
class TaskTools:
    """What a client can do with tasks, short of working on them."""

    def __init__(self, lookup: Lookup, jobs: JobTools) -> None:
        self._lookup = lookup
        self._jobs = jobs
        self._choosers: dict[Path, Chooser] = {}

    async def plan(
        self,
        call: Call,
        drafts: Sequence[TaskDraft],
        session: str | None = None,
        parent_task_id: str | None = None,
    ) -> PlanAnswer:
        """Create a task or a whole breakdown, in one transaction.

        Raises:
            Refusal: something in it is wrong; nothing was created.
        """
        return await self._create(call, drafts, session, parent_task_id, notes=[], unplaced=0)

    async def plan_file(self, call: Call, plan_path: str, session: str | None = None) -> PlanAnswer:
        """Create the tasks of a plan or PRP file of the workspace, below one container that bears the plan's title.

        A plan that is in the session already, and live, is replaced only when the user has confirmed that.

        Raises:
            Conflict: the plan is there already, and nobody confirmed that it shall be replaced.
            WorkspaceError: the path leads outside the workspace or cannot be read.
            PlanError: the file is not a plan.
            Refusal: the session takes no plan now.
        """
        # The reader of plans takes as long to import as a fifth of all the rest, and a client waits for its server.
        from vespera_agents.specialists.plan_files import in_the_way, plan_container, read_plan_in  # noqa: PLC0415

        # What a call that was made before had found then need not be there any more.
        recorded = await self._lookup.recorded(call.key.step(1)) if call.repeated else None
        made = cast("PlannedTasks", recorded) if isinstance(recorded, dict) and "replaced" in recorded else None
        opened, found = await self._lookup.session(session if made is None else made["session_id"])
        call.report(0, 3, f"reading {plan_path}")
        plan = await read_plan_in(opened, plan_path)
        notes = [note.text if note.line is None else f"line {note.line}: {note.text}" for note in plan.notes]
        container = plan_container(plan)
        call.report(1, 3, f"creating the tasks of {container.title}")
        # Without a word of the user the command itself refuses what is there already.
        there = await in_the_way(opened, found.id, container) if call.confirmed and made is None else None
        replaces = made["replaced"] if made is not None else None if there is None else there.id
        answer = await self._create(
            call,
            (container,),
            session,
            None,
            notes=notes,
            unplaced=len(plan.unplaced),
            replaces=replaces,
            alone=True,
        )
        call.report(2, 3, f"{len(answer.tasks)} tasks created")
        return answer

    async def _create(
        self,
        call: Call,
        drafts: Sequence[TaskDraft],
        session: str | None,
        parent: str | None,
        *,
        notes: list[str],
        unplaced: int,
        replaces: str | None = None,
        alone: bool = False,
    ) -> PlanAnswer:
        # Where no session is named the command finds it itself, and its result says all that is answered: a thread
        # that reads before and after it took twice as long as the command with its commit.
        session_id: str | None = None
        drafts = expand(drafts)
        if session is None:
            opened = await self._lookup.home_workspace()
        else:
            opened, found = await self._lookup.session(session)
            session_id = found.id
        chooser = self._chooser(opened)
        suggested = await chooser.choose(drafts, session_id, parent)
        command = PlanTasks(call.by, session_id, tuple(drafts), parent, replaces, alone, chosen_roles(suggested))
        result = await opened.store.execute(command, call.step())
        return plan_answer(drafts, result, notes=notes, unplaced=unplaced)

    def _chooser(self, opened: OpenWorkspace) -> Chooser:
        """Give what chooses specialists in a workspace, one for each time that it is open."""
        directory = opened.workspace.directory
        found = self._choosers.get(directory)
        if found is None or found.opened is not opened:
            found = self._choosers[directory] = Chooser(opened)
        return found

    async def update(
        self,
        call: Call,
        task_id: str,
        *,
        session: str | None = None,
        expected_version: int | None = None,
        edit: TaskEdit | None = None,
        status: TaskStatus | None = None,
        reason: str | None = None,
        gates: tuple[CommandLine, ...] | None = None,
        add: tuple[DependencyDraft, ...] = (),
        remove: tuple[str, ...] = (),
        waive: tuple[str, ...] = (),
    ) -> UpdateAnswer:
        """Change fields, dependencies or the status of a task, all or none.

        Raises:
            Refusal: the change is not allowed, or somebody else changed the task first; nothing was changed.
        """
        if not (edit or status or gates is not None or add or remove or waive):
            raise InvalidInput("there is nothing to change", "Give at least one field to set.")
        opened, task = await self._lookup.task_of(call, task_id, session)
        claims = status is TaskStatus.IN_PROGRESS
        holder = await opened.claims.begin(call.holder) if claims else opened.claims.name(call.holder)
        command = UpdateTask(
            call.by, task.id, holder, None, expected_version, edit, status, reason, gates, add, remove, waive
        )
        result = await opened.store.execute(command, call.step())
        if "specialist" in result["changed"]:
            self._chooser(opened).forget()
        return UpdateAnswer(
            task=await self.show(task.id, task.session_id), changed=result["changed"], ready=result["ready"]
        )

    async def query(
        self,
        wanted: queries.TaskFilter,
        *,
        session: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
        detail: Literal["concise", "full"] = "concise",
        include_artifacts: bool = False,
    ) -> QueryAnswer:
        """Give a page of the tasks that a filter lets through, in the order of their creation.

        Raises:
            NotFound: no such session or parent.
            InvalidInput: the cursor or the limit is wrong.
        """
        if not 1 <= limit <= LIMIT_MAX:
            raise InvalidInput(f"a page takes 1 to {LIMIT_MAX} tasks, not {limit}", "Give a limit in that range.")
        opened, found = await self._lookup.session(session)

        def query(connection: sqlite3.Connection) -> tuple[queries.TaskPage, list[Dependency], list[Artifact]]:
            chosen = replace(wanted, session_id=found.id)
            if wanted.parent_id is not None:
                chosen = replace(chosen, parent_id=queries.task(connection, wanted.parent_id, found.id).id)
            page = queries.task_page(connection, chosen, limit, cursor)
            ids = [task.id for task in page.tasks]
            dependencies = queries.dependencies_of(connection, ids) if detail == "full" else []
            return page, dependencies, queries.artifacts_of(connection, ids) if include_artifacts else []

        page, dependencies, artifacts = await opened.store.read(query)
        return QueryAnswer(
            tasks=[
                task_view(
                    task,
                    full=detail == "full",
                    dependencies=[one for one in dependencies if one.task_id == task.id],
                    artifacts=[one for one in artifacts if one.task_id == task.id] if include_artifacts else None,
                )
                for task in page.tasks
            ],
            total=page.total,
            total_is_exact=page.total_is_exact,
            has_more=page.next_cursor is not None,
            next_cursor=page.next_cursor,
        )

    async def show(self, task_id: str, session: str | None = None) -> TaskView:
        """Show one task with everything.

        Raises:
            NotFound: there is none of that id.
        """
        opened, task = await self._lookup.task(task_id, session)

        def query(connection: sqlite3.Connection) -> tuple[list[Dependency], list[Artifact]]:
            return queries.dependencies_of(connection, [task.id]), queries.artifacts_of(connection, [task.id])

        dependencies, artifacts = await opened.store.read(query)
        return task_view(task, full=True, dependencies=dependencies, artifacts=artifacts)

    async def cancel(
        self,
        call: Call,
        task_id: str,
        reason: str,
        *,
        session: str | None = None,
        cascade: bool = False,
        preserve_work: bool = True,
    ) -> CancelAnswer:
        """Cancel a task, on request with everything below it; a command at work on it is killed.

        Raises:
            Refusal: it has ended, or has live subtasks and cascade was not asked for.
        """
        if not reason.strip():
            raise InvalidInput("a task is cancelled only with a reason", "Say why in `reason`.")
        try:
            opened, task = await self._lookup.task(task_id, session)
        except NotFound as missing:
            recorded = await self._lookup.done_before(call, missing)
            if not isinstance(recorded, dict) or "dropped_artifacts" not in recorded:
                raise
            # Nothing is at work any more on what was deleted.
            result = cast("Cancelled", recorded)
        else:
            command = CancelTask(call.by, task.id, reason, None, cascade, preserve_work)
            result = await opened.store.execute(command, call.step())
            await self._jobs.cancel_work_on(call.by, opened, EXECUTE_KIND, {task.id, *result["task_ids"]}, reason)
        blocked = result["blocked_dependents"]
        return CancelAnswer(
            cancelled=result["task_ids"],
            blocked_dependents=blocked,
            dropped_artifacts=result["dropped_artifacts"],
            next_action=(
                "What waits for it stays blocked: cancel that too, or waive or remove the dependency with "
                "orchestrator_update_task."
                if blocked
                else "Nothing waits for what was cancelled."
            ),
        )

    async def delete(
        self,
        call: Call,
        task_id: str,
        *,
        session: str | None = None,
        mode: Literal["archive", "delete"] = "archive",
        force: bool = False,
    ) -> DeleteAnswer:
        """Archive a task and everything below it, or delete them for good; live work is cancelled first.

        Raises:
            Refusal: live tasks depend on it, or it is to be deleted, and force was not given.
        """
        try:
            opened, task = await self._lookup.task(task_id, session)
        except NotFound as missing:
            # A repeated call finds the task deleted by the first one, and gets that one's answer.
            recorded = await self._lookup.done_before(call, missing)
            if isinstance(recorded, dict) and "deleted" in recorded:
                return DeleteAnswer.model_validate(recorded)
            raise
        command = DeleteTask(call.by, task.id, None, delete=mode == "delete", force=force)
        result = await opened.store.execute(command, call.step())
        return DeleteAnswer(**result)
