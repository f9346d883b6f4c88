"""The short texts beside structured results: for people, and for models whose client passes on nothing else.

So they name ids and the next step, and never repeat the structured result. Pure.
Neighbours: `sessions`, `tasks`, `work`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from vespera_agents.specialists.answers import BlockedTask, CancelAnswer, DeleteAnswer, SessionLine, TaskView
from vespera_agents.specialists.planned import PlannedTask, SuggestionView

__all__ = [
    "LINES_MAX",
    "blocked_lines",
    "counted",
    "joined",
    "listed",
    "new_task_line",
    "one_line",
    "session_line",
    "shown",
    "task_line",
    "task_lines",
    "tell_cancelled",
    "tell_deleted",
    "why_chosen",
]

LINES_MAX: Final = 20
_LINE_MAX: Final = 200


def joined(*parts: str) -> str:
    """Put the parts that say something under each other."""
    return "\n".join(part for part in parts if part)


def one_line(text: str) -> str:
    """Fold a text into one bounded line."""
    flat = " ".join(text.split())
    return flat if len(flat) <= _LINE_MAX else f"{flat[: _LINE_MAX - 3]}..."


def counted(number: int, noun: str) -> str:
    """Write a number with its noun."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def shown(names: Sequence[str]) -> str:
    """List names, the first of many."""
    first = ", ".join(one_line(name) for name in names[:LINES_MAX])
    return first if len(names) <= LINES_MAX else f"{first} and {len(names) - LINES_MAX} more"


def listed(title: str, lines: Sequence[str]) -> str:
    """List lines under a title, the first of many."""
    if not lines:
        return ""
    rest = [f"- and {len(lines) - LINES_MAX} more"] if len(lines) > LINES_MAX else []
    return "\n".join([f"{title}:", *(f"- {one_line(line)}" for line in lines[:LINES_MAX]), *rest])


def session_line(session: SessionLine) -> str:
    """Say what a session is and how its tasks stand."""
    counts = ", ".join(f"{number} {status}" for status, number in session.counts.items() if number) or "no tasks"
    return f"{session.id} ({one_line(session.name)}, {session.status}) in {session.working_directory}: {counts}"


def task_line(task: TaskView) -> str:
    """Say what a task is and where it stands."""
    state = "ready" if task.ready else "waived" if task.waived else task.status
    reason = f": {one_line(task.status_reason)}" if task.status_reason else ""
    held = f", held by {task.claimed_by}" if task.claimed_by else ""
    return f"- {task.id} [{state}{reason}] {one_line(task.title)} ({task.specialist}{held})"


def task_lines(title: str, tasks: Sequence[TaskView]) -> str:
    """List tasks under a title, the first of many."""
    if not tasks:
        return ""
    rest = [f"- and {len(tasks) - LINES_MAX} more"] if len(tasks) > LINES_MAX else []
    return "\n".join([f"{title}:", *(task_line(task) for task in tasks[:LINES_MAX]), *rest])


def why_chosen(suggestion: SuggestionView) -> str:
    """Say in a line how sure the choice of a specialist is and, unless that is all, why, and who else it could be."""
    sure = f"{suggestion.confidence:.0%} sure"
    if not suggestion.reasons:
        return sure
    others = ", ".join(suggestion.alternatives)
    return one_line(f"{sure}: {'; '.join([*suggestion.reasons, *([f'else {others}'] if others else [])])}")


def new_task_line(task: PlannedTask) -> str:
    """Say what a new task is, and who was chosen for it where nobody was named."""
    line = f"{'  ' * task.depth}- {task.id} [{task.key}] {one_line(task.title)}{' (ready)' if task.ready else ''}"
    if task.suggestion is None:
        return line
    return f"{line}: {task.specialist}, {why_chosen(task.suggestion)}"


def blocked_lines(blocked: Sequence[BlockedTask]) -> str:
    """List blocked tasks with who is to blame."""
    if not blocked:
        return ""
    rest = [f"- and {len(blocked) - LINES_MAX} more"] if len(blocked) > LINES_MAX else []
    lines = [f"- {one.id} {one_line(one.title)}, because of {shown(one.blocked_by)}" for one in blocked[:LINES_MAX]]
    return "\n".join(["Blocked:", *lines, *rest])


def tell_cancelled(answer: CancelAnswer) -> str:
    """Tell what a cancellation came to."""
    return joined(
        f"Cancelled {shown(answer.cancelled)}.",
        f"Blocked by it: {shown(answer.blocked_dependents)}." if answer.blocked_dependents else "",
        f"Dropped {counted(answer.dropped_artifacts, 'artifact')}." if answer.dropped_artifacts else "",
        answer.next_action,
    )


def tell_deleted(answer: DeleteAnswer) -> str:
    """Tell what was archived or deleted."""
    return joined(
        f"Archived {shown(answer.archived)}." if answer.archived else "",
        f"Deleted {shown(answer.deleted)}." if answer.deleted else "",
        f"Cancelled first: {shown(answer.cancelled)}." if answer.cancelled else "",
        f"No longer waiting for it: {shown(answer.released_dependents)}." if answer.released_dependents else "",
    )
