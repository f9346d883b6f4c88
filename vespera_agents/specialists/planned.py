"""The answer to a plan: what it created, and why tasks that named no specialist got the one they have.

Neighbours: `answers` has all other answers, `task_tools` makes this one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from vespera_agents.specialists.answers import Answer
from vespera_agents.specialists.routing.suggesting import Suggestion
from vespera_agents.store.commands import PlannedTasks
from vespera_agents.store.commands.planning import ChosenRole
from vespera_agents.work.drafts import TaskDraft, walk_drafts

__all__ = ["PlanAnswer", "PlannedTask", "SuggestionView", "chosen_roles", "plan_answer"]

REASONS_MAX: Final = 20
"""Choices at once for which it is kept why; of more, how sure they are."""


class SuggestionView(Answer):
    """Why a specialist was chosen for a task that named none."""

    confidence: float
    """The chance that it is the right one, 0 to 1."""
    reasons: list[str]
    alternatives: dict[str, float]
    """The next best, with their chances."""


class PlannedTask(Answer):
    """One created task, in the order of the breakdown."""

    id: str
    key: str
    title: str
    parent_task_id: str | None
    depth: int
    ready: bool
    specialist: str
    suggestion: SuggestionView | None = None
    """Only where the specialist was chosen."""


class PlanAnswer(Answer):
    """What a plan created."""

    session_id: str
    root_task_ids: list[str]
    tasks: list[PlannedTask]
    ready: list[str]
    """Ids that can be claimed now."""
    notes: list[str]
    """What the plan reader could not resolve."""
    unplaced_lines: int
    """Lines of a plan file that the reader could not place; `vespera plan show` lists them."""
    next_action: str


def plan_answer(
    drafts: Sequence[TaskDraft],
    result: PlannedTasks,
    *,
    notes: list[str],
    unplaced: int,
) -> PlanAnswer:
    """Say what a plan created."""
    ids, ready = result["ids"], result["ready"]
    free = frozenset(ready)
    depths: dict[str, int] = {}
    tasks: list[PlannedTask] = []
    for draft, above, _ in walk_drafts(drafts):
        depths[draft.key] = 0 if above is None else depths[above.key] + 1
        tasks.append(
            PlannedTask(
                id=ids[draft.key],
                key=draft.key,
                title=draft.title,
                parent_task_id=result["parent_id"] if above is None else ids[above.key],
                depth=depths[draft.key],
                ready=ids[draft.key] in free,
                specialist=draft.specialist or result["chosen"][draft.key]["role"],
                suggestion=_suggestion_view(result["chosen"].get(draft.key)),
            )
        )
    return PlanAnswer(
        session_id=result["session_id"],
        root_task_ids=[task.id for task in tasks if not task.depth],
        tasks=tasks,
        ready=ready,
        notes=notes,
        unplaced_lines=unplaced,
        next_action=(
            f"Claim a ready task with orchestrator_execute_task(task_id={ready[0]!r})."
            if ready
            else "Nothing is ready yet: finish what these tasks wait for."
        ),
    )


def chosen_roles(suggested: Mapping[str, Suggestion]) -> dict[str, ChosenRole]:
    """Give what is kept of suggestions with the tasks that they are for; of many tasks, not why."""
    told = len(suggested) <= REASONS_MAX
    return {
        key: ChosenRole(
            role=one.role,
            confidence=round(one.confidence, 2),
            reasons=list(one.reasons) if told else [],
            alternatives={other.role: round(other.confidence, 2) for other in one.alternatives} if told else {},
        )
        for key, one in suggested.items()
    }


def _suggestion_view(chosen: ChosenRole | None) -> SuggestionView | None:
    if chosen is None or chosen["confidence"] is None:
        return None
    return SuggestionView(
        confidence=chosen["confidence"],
        reasons=chosen["reasons"],
        alternatives=chosen["alternatives"],
    )
