"""The short texts beside structured results: for people, and for models whose client passes on nothing else.

So they name ids and the next step, and never repeat the structured result. Pure.
Neighbours: `sessions`, `tasks`, `work`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from vespera_agents.specialists.answers import BlockedTask, SessionLine, TaskView

__all__ = [
    "LINES_MAX",
    "blocked_lines",
    "counted",
    "joined",
    "listed",
    "one_line",
    "session_line",
    "shown",
    "task_line",
    "task_lines",
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


def blocked_lines(blocked: Sequence[BlockedTask]) -> str:
    """List blocked tasks with who is to blame."""
    if not blocked:
        return ""
    rest = [f"- and {len(blocked) - LINES_MAX} more"] if len(blocked) > LINES_MAX else []
    lines = [f"- {one.id} {one_line(one.title)}, because of {shown(one.blocked_by)}" for one in blocked[:LINES_MAX]]
    return "\n".join(["Blocked:", *lines, *rest])
