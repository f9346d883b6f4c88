"""What a client is told of work that it handed in: what became of the task, and what it may do next.

Neighbours: `work_tools` takes the work, `gating` tells of what completed after its gates, `recalling` reads the rows.
"""

from __future__ import annotations

from typing import Final, Literal, cast

from vespera_agents.specialists.answers import CompleteAnswer, artifact_link, task_view
from vespera_agents.specialists.calls import deleted_since
from vespera_agents.specialists.recalling import Outcome, used_for_something_else
from vespera_agents.store.commands import Finished
from vespera_agents.work.models import Task, TaskStatus

__all__ = ["told", "told_deleted"]

_OUTCOMES: Final[dict[TaskStatus, Literal["completed", "review", "blocked"]]] = {
    TaskStatus.COMPLETED: "completed",
    TaskStatus.REVIEW: "review",
    TaskStatus.BLOCKED: "blocked",
}
_AFTERWARDS: Final[dict[TaskStatus, str]] = {
    TaskStatus.COMPLETED: "Ask orchestrator_get_status what is left.",
    TaskStatus.REVIEW: "Whoever reviews it claims it with orchestrator_execute_task(task_id={task!r}).",
    TaskStatus.PENDING: "The strategy of its container decided what follows: see orchestrator_get_status.",
    TaskStatus.BLOCKED: "When it can go on, release it: orchestrator_update_task(task_id={task!r}, status='pending').",
}
"""What follows when nothing came to be ready."""


def told(task: Task, finished: Finished, outcome: Outcome) -> CompleteAnswer:
    """Tell what became of a task and of what waited for it."""
    ready, parent, (done, leaves) = outcome.ready, outcome.parent, outcome.leaves
    return CompleteAnswer(
        task_id=task.id,
        outcome=_OUTCOMES[TaskStatus(finished["status"])],
        version=finished["version"],
        artifacts=[artifact_link(artifact) for artifact in outcome.artifacts],
        ready=[task_view(one) for one in ready],
        parent_task_id=task.parent_id,
        parent_status=parent.status if parent else None,
        parent_done=done,
        parent_total=leaves,
        next_action=(
            f"Claim the next task: orchestrator_execute_task(task_id={ready[0].id!r})."
            if ready
            else _AFTERWARDS.get(TaskStatus(finished["standing"]), _AFTERWARDS[TaskStatus.PENDING]).format(task=task.id)
        ),
    )


def told_deleted(task_id: str, status: TaskStatus, recorded: object) -> CompleteAnswer:
    """Answer a call that was made before, whose task was deleted since."""
    finished = cast("Finished", recorded)
    if not isinstance(recorded, dict) or not str(finished.get("task_id")).startswith(task_id):
        raise deleted_since(task_id)
    if finished["status"] != status:
        raise used_for_something_else()
    return CompleteAnswer(
        task_id=finished["task_id"],
        outcome=_OUTCOMES[status],
        version=finished["version"],
        artifacts=[],
        ready=[],
        parent_task_id=None,
        parent_status=None,
        parent_done=0,
        parent_total=0,
        next_action="The task was deleted since: there is nothing left to do.",
    )
