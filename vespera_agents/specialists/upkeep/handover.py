"""The hand-over of a session: one Markdown text for whoever goes on with the work. Pure.

What is open and in whose hands, what is blocked and by what, what was decided on the way, where the results are, and
how to go on. Neighbours: `synthesis` tells what came of work, `maintenance` reads the rows and keeps the text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

from vespera_agents.specialists.answers import BlockedTask, iso
from vespera_agents.specialists.standing import counts_of
from vespera_agents.specialists.synthesis import bullet, cell, open_questions
from vespera_agents.work.models import Artifact, Dependency, DependencyState, Event, Session, Task, TaskStatus

__all__ = ["HandoverRows", "write_handover"]

_SHOWN: Final = 100
"""Lines of each part; the store has the rest."""


@final
@dataclass(frozen=True, slots=True)
class HandoverRows:
    """Everything a hand-over reads."""

    session: Session
    tasks: Sequence[Task]
    """In tree order."""
    dependencies: Sequence[Dependency]
    blocked: Sequence[BlockedTask]
    artifacts: Sequence[Artifact]
    """The newest first."""
    decisions: Sequence[Event]
    """Changes that somebody gave a reason for, the oldest first."""


def write_handover(rows: HandoverRows) -> str:
    """Write the text."""
    leaves = [task for task in rows.tasks if not task.is_container]
    counts = ", ".join(f"{number} {name}" for name, number in counts_of(rows.tasks).items()) or "no tasks"
    parts = [
        f"# Hand-over: {cell(rows.session.name)}",
        f"Session `{rows.session.id}` in `{rows.session.directory}`, {rows.session.status}. Tasks: {counts}.",
        _part("In somebody's hands", [_held(task) for task in leaves if task.status is TaskStatus.IN_PROGRESS]),
        _part("Waiting for a review", [_task(task) for task in leaves if task.status is TaskStatus.REVIEW]),
        _part("Ready to be taken", [_task(task) for task in leaves if task.ready]),
        _part("Blocked", [bullet(f"{_name(one.id, one.title)}: ", ", ".join(one.blocked_by)) for one in rows.blocked]),
        _part("Failed", [_task(task) for task in leaves if task.status is TaskStatus.FAILED]),
        _part("Decided on the way", _decisions(rows)),
        _part("Results", [_artifact(one) for one in rows.artifacts]),
        _part("Open questions", [bullet("", question) for question in open_questions(leaves)]),
        _going_on(rows.session, leaves),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _part(title: str, lines: Sequence[str]) -> str:
    if not lines:
        return ""
    rest = [f"- and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
    return "\n".join([f"## {title}\n", *lines[:_SHOWN], *rest])


def _name(identifier: str, title: str) -> str:
    return f"**{cell(title)}** (`{identifier}`)"


def _task(task: Task) -> str:
    why = task.status_reason or (f"waits for the role {task.specialist}" if task.ready else task.summary)
    return bullet(f"{_name(task.id, task.title)}: ", why or str(task.status))


def _held(task: Task) -> str:
    told = f"with {task.claimed_by or 'nobody'} since {iso(task.started)}"
    return bullet(
        f"{_name(task.id, task.title)}: ", told if not task.status_reason else f"{told}; {task.status_reason}"
    )


def _decisions(rows: HandoverRows) -> list[str]:
    titles = {task.id: task.title for task in rows.tasks}
    waived = [
        bullet(
            f"{_name(one.task_id, titles.get(one.task_id, ''))} does not wait for `{one.on_task_id}`: ",
            f"{one.waived_why or 'no reason given'} ({one.waived_by or 'unknown'})",
        )
        for one in rows.dependencies
        if one.state is DependencyState.WAIVED
    ]
    changed = [
        bullet(
            f"{iso(event.at)} {_name(event.task_id or '', titles.get(event.task_id or '', 'deleted'))}"
            f" {event.before or ''} -> {event.after or ''}: ",
            f"{event.detail} ({event.actor})",
        )
        for event in rows.decisions
    ]
    return [*waived, *changed]


def _artifact(artifact: Artifact) -> str:
    return bullet(
        f"**{cell(artifact.name)}** ({artifact.kind}, {artifact.size} bytes): ", f"vespera://artifact/{artifact.sha256}"
    )


def _going_on(session: Session, leaves: Sequence[Task]) -> str:
    steps = [f'Read where it stands: `orchestrator_resume_session(session="{session.id}")`.']
    if any(task.status is TaskStatus.IN_PROGRESS for task in leaves):
        steps.append(
            "What is in somebody's hands is given back when its holder is gone; to take it over before, set it to "
            "pending with `orchestrator_update_task`."
        )
    ready = next((task for task in leaves if task.ready), None)
    if ready is not None:
        steps.append(f'Take a task: `orchestrator_execute_task(task_id="{ready.id}")`.')
    if any(task.status is TaskStatus.REVIEW for task in leaves):
        steps.append("Review what waits for it, then complete or reopen it.")
    if any(task.status in {TaskStatus.FAILED, TaskStatus.BLOCKED} for task in leaves):
        steps.append("Mend what failed or is blocked, then set it to pending to try it again.")
    steps.append("When all has ended, gather it: `orchestrator_synthesize_results`.")
    return "\n".join(["## How to go on\n", *(f"{number}. {step}" for number, step in enumerate(steps, 1))])
