"""Plan files of a workspace as drafts. Apart from `task_tools`, because the reader of plans takes long to import.

Not the reader itself (`work.plans`). Neighbours: `task_tools` and `running` create the tasks.
"""

from __future__ import annotations

import trio

from vespera_agents.specialists.sessions import OpenWorkspace
from vespera_agents.store.plans import live_root
from vespera_agents.work.drafts import TaskDraft
from vespera_agents.work.models import Task, TaskType
from vespera_agents.work.plans import PLAN_BYTES_MAX, Plan, plan_drafts, read_plan_bytes
from vespera_agents.workspace import Workspace, WorkspaceError, confined, open_inside

__all__ = ["in_the_way", "plan_container", "read_plan_file", "read_plan_in"]


def read_plan_file(workspace: Workspace, plan_path: str) -> Plan:
    """Read a plan file that lies in a workspace.

    Raises:
        WorkspaceError: it leads outside, or cannot be read.
        PlanError: it is not a plan.
    """
    path = confined(workspace, plan_path)
    try:
        with open_inside(workspace.directory, path) as file:
            # One byte more than a plan may have: enough to refuse it, whatever its size.
            data = file.read(PLAN_BYTES_MAX + 1)
    except OSError as error:
        raise WorkspaceError(
            f"{plan_path!r} cannot be read ({error.strerror}). Give the path of a Markdown file in the workspace."
        ) from error
    return read_plan_bytes(data, name=path.name)


async def read_plan_in(opened: OpenWorkspace, plan_path: str) -> Plan:
    """Read a plan file of an open workspace, in a thread.

    Raises:
        WorkspaceError: the path leads outside the workspace or cannot be read.
        PlanError: the file is not a plan.
    """
    return await trio.to_thread.run_sync(read_plan_file, opened.workspace, plan_path)


async def in_the_way(opened: OpenWorkspace, session_id: str, container: TaskDraft) -> Task | None:
    """Find the live task of a session that this plan was made into before."""
    return await opened.store.read(live_root, session_id, container.key, container.title)


def plan_container(plan: Plan) -> TaskDraft:
    """Give the whole plan as one container draft that bears its title."""
    drafts = plan_drafts(plan)
    if plan.task is not None:
        # The plan describes the task that stands for the whole of it: the drafts are one tree already.
        return drafts[0]
    taken = {draft.key for draft in drafts}
    key = plan.id if plan.id not in taken else f"{plan.id}-plan"
    return TaskDraft(
        key=key,
        title=plan.title[:255] or plan.id,
        description=plan.overview[:20_000],
        task_type=TaskType.BREAKDOWN,
        specialist="coordinator",
        subtasks=tuple(drafts),
    )
