"""From a plan to the task tree to create.

Phases become containers with their items below them; a later phase waits for the earlier one unless the plan says
otherwise. That order is put on the items, not on the container, so an item that names its own dependencies waits for
exactly those. Neighbours: `drafts` checks the tree, the facade writes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from vespera_agents.work.drafts import DependencyDraft, TaskDraft, check_drafts
from vespera_agents.work.errors import PlanError, Refusal
from vespera_agents.work.models import DESCRIPTION_MAX, TITLE_MAX, Complexity, TaskType
from vespera_agents.work.plans.model import Plan, PlanItem, PlanPhase, TaskFacts
from vespera_agents.work.plans.names import shorten, slug, unique_key
from vespera_agents.work.strategies import expand

__all__ = ["plan_drafts"]

_EFFORT_MAX: Final = 100
_LISTS: Final = (
    ("Instructions", "instructions"),
    ("Artifacts to deliver", "artifacts"),
    ("Criteria", "criteria"),
    ("Tools", "tools"),
)


def plan_drafts(plan: Plan) -> list[TaskDraft]:
    """Give the tasks that a plan asks for.

    Raises:
        PlanError: a command cannot be read, nothing is left to do, or dependencies form a cycle (with its path).
    """
    blocking = [note for note in plan.notes if note.blocking]
    if blocking:
        wrong = "; ".join(f"line {note.line}: {note.text}" for note in blocking)
        raise PlanError(f"{plan.name} cannot be carried out: {wrong}. Mend it and read the plan again.")
    loose = plan.task is not None or any(item.phase is None for item in plan.items)
    told = _told_phases(plan, loose=loose)
    everything = {item.key: item for item in plan.items}
    drafts = [
        _phase_draft(phase, [everything[key] for key in phase.items], told)
        for phase in plan.phases
        if phase.key not in told
    ]
    drafts.extend(_item_draft(item, (), told) for item in plan.items_of(None))
    if plan.task is not None:
        drafts = [_whole_draft(plan, plan.task, drafts)]
    try:
        drafts = list(expand(drafts))
        check_drafts(drafts)
    except Refusal as wrong:
        raise PlanError(f"{plan.name} cannot be carried out: {wrong}") from wrong
    return drafts


def _is_task(phase: PlanPhase, *, loose: bool) -> bool:
    """Whether a phase becomes a task: one without items does, unless the plan keeps its tasks outside its phases."""
    return bool(phase.items) or not loose


def _told_phases(plan: Plan, *, loose: bool) -> dict[str, tuple[str, ...]]:
    """Give the phases that become no task, each with what it waits for: who waits for it waits for that instead."""
    return {phase.key: phase.dependencies for phase in plan.phases if not _is_task(phase, loose=loose)}


def _waits(named: Iterable[str], told: Mapping[str, tuple[str, ...]]) -> dict[str, None]:
    """Give the tasks that are meant by some keys, in order."""
    found: dict[str, None] = {}
    seen: set[str] = set()
    pending = list(named)[::-1]
    while pending:
        key = pending.pop()
        if key not in told:
            found[key] = None
        elif key not in seen:
            seen.add(key)
            pending.extend(reversed(told[key]))
    return found


def _phase_draft(phase: PlanPhase, items: list[PlanItem], told: Mapping[str, tuple[str, ...]]) -> TaskDraft:
    facts = phase.task or TaskFacts(title=phase.title)
    order = tuple(_waits(phase.dependencies, told))
    about = [part for part in (phase.description, _about(facts)) if part]
    if phase.schedule:
        about.append(f"Schedule: {phase.schedule}")
    return TaskDraft(
        key=phase.key,
        title=shorten(f"Phase {phase.number}: {phase.title}" if phase.number is not None else phase.title, TITLE_MAX),
        description=shorten("\n\n".join(about), DESCRIPTION_MAX),
        task_type=facts.task_type or (TaskType.BREAKDOWN if items else TaskType.STANDARD),
        complexity=facts.complexity or Complexity.MODERATE,
        specialist=facts.specialist or ("coordinator" if items else None),
        estimated_effort=_effort(facts),
        strategy=phase.strategy,
        strategy_n=phase.strategy_n,
        dependencies=() if items else tuple(DependencyDraft(on=key) for key in order),
        done=phase.done and not items,
        subtasks=tuple(_item_draft(item, order, told) for item in items),
    )


def _item_draft(item: PlanItem, order: tuple[str, ...], told: Mapping[str, tuple[str, ...]]) -> TaskDraft:
    waits = _waits(item.dependencies, told)
    if not item.dependencies_explicit:
        waits.update(dict.fromkeys(order))
    about = [_about(item)]
    if item.source:
        about.append(f"Plan file: {item.source}")
    return TaskDraft(
        key=item.key,
        title=shorten(item.title, TITLE_MAX),
        description=shorten("\n\n".join(part for part in about if part), DESCRIPTION_MAX),
        task_type=item.task_type or TaskType.STANDARD,
        complexity=item.complexity or Complexity.MODERATE,
        specialist=item.specialist,
        estimated_effort=_effort(item),
        strategy=item.strategy,
        strategy_n=item.strategy_n,
        dependencies=tuple(DependencyDraft(on=key) for key in waits),
        run=item.run,
        when=item.when,
        gates=item.gates,
        done=item.done,
    )


def _whole_draft(plan: Plan, task: TaskFacts, subtasks: list[TaskDraft]) -> TaskDraft:
    """Make the task that stands for the whole plan, around all others."""
    taken = {phase.key for phase in plan.phases} | {item.key for item in plan.items}
    return TaskDraft(
        key=unique_key(slug(task.title) or "plan", taken),
        title=shorten(task.title, TITLE_MAX),
        description=shorten("\n\n".join(part for part in (_about(task), plan.overview) if part), DESCRIPTION_MAX),
        task_type=task.task_type or TaskType.STANDARD,
        complexity=task.complexity or Complexity.MODERATE,
        specialist=task.specialist,
        estimated_effort=_effort(task),
        strategy=task.strategy,
        strategy_n=task.strategy_n,
        subtasks=tuple(subtasks),
    )


def _effort(facts: TaskFacts) -> str | None:
    return shorten(facts.estimated_effort, _EFFORT_MAX) if facts.estimated_effort else None


def _about(facts: TaskFacts) -> str:
    """Put everything that is said of a task into one text, for the specialist who gets it."""
    parts = [facts.description] if facts.description else []
    if facts.context:
        parts.append(f"Context: {facts.context}")
    for heading, name in _LISTS:
        entries: tuple[str, ...] = getattr(facts, name)
        if entries:
            parts.append("\n".join([f"{heading}:", *(f"- {entry}" for entry in entries)]))
    if facts.fields:
        parts.append("\n".join(f"{name}: {text}" for name, text in facts.fields.items()))
    return "\n\n".join(parts)
