"""A session's progress in words, as a picture, and as a document. Pure.

Not what is true of it (`progress`), not when it is shown (`monitor`). Neighbours: `screens` draws the bars of phases.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Final

from rich.console import Group, RenderableType
from rich.text import Text

from vespera_agents.cli.progress import Progress
from vespera_agents.cli.screens import PhaseBar, phase_table
from vespera_agents.cli.wording import counted, duration, one_line
from vespera_agents.work.models import Task, TaskStatus
from vespera_agents.workspace import Workspace

__all__ = ["document", "estimate_text", "picture", "standing_text"]

_SHOWN: Final = 10
_PHASES_SHOWN: Final = 20
_MINUTE: Final = 60.0
_HOUR: Final = 3_600.0
_ROUND_SECONDS: Final = 10.0


def standing_text(progress: Progress) -> str:
    """Say in a line how far it is."""
    rest = estimate_text(progress)
    stuck = sum(waiting.stuck for waiting in progress.waiting)
    parts = [
        f"{progress.ended}/{progress.total} tasks",
        counted(progress.counts),
        f"{stuck} cannot go on" if stuck else "",
        rest,
    ]
    return "; ".join(part for part in parts if part)


def estimate_text(progress: Progress) -> str:
    """Say how long the rest may take, and from what that is known; nothing where nothing is left."""
    estimate = progress.estimate
    if progress.finished or not (progress.at_work or progress.ready or progress.waiting):
        return ""
    if estimate.unknown_roles:
        roles = ", ".join(one_line(role) for role in estimate.unknown_roles[:3])
        return f"time left unknown: no such task was done before ({roles})"
    known = "the one past task" if estimate.past_tasks == 1 else f"{estimate.past_tasks} past tasks"
    if estimate.overdue or estimate.seconds is None:
        late = ", ".join(one_line(title) for title in estimate.overdue[:3])
        than = known if estimate.past_tasks == 1 else f"any of {known}"
        return f"time left unknown: longer at work than {than}: {late}"
    fast, usual, slow = (_rough(seconds) for seconds in estimate.seconds)
    spread = f" ({fast} to {slow})" if estimate.is_range and fast != slow else ""
    whose = "" if progress.at_work else " once somebody takes it"
    return f"about {usual}{spread} left{whose}, from {known}"


def _rough(seconds: float) -> str:
    """Write a guess no more exactly than it is known."""
    if seconds < _ROUND_SECONDS:
        return f"{max(1, round(seconds))} s"
    if seconds < _MINUTE:
        return f"{round(seconds, -1):.0f} s"
    if seconds < _HOUR:
        return f"{seconds / _MINUTE:.0f} min"
    return f"{seconds / _HOUR:.1f} h"


def picture(progress: Progress, now: float) -> RenderableType:
    """Draw how far a session is.

    Args:
        progress: the facts.
        now: seconds of the epoch, by which what is at work has been so for some time.
    """
    session = progress.session
    head = Text.assemble(
        (one_line(session.name), "bold"),
        f"  {session.id}  {session.status}  {progress.ended}/{progress.total} tasks  {counted(progress.counts)}",
        no_wrap=True,
        overflow="ellipsis",
    )
    parts: list[RenderableType] = [head]
    if progress.finished:
        parts.append(Text("finished" if progress.well else "failed", "green" if progress.well else "bold red"))
    elif rest := estimate_text(progress):
        parts.append(Text(rest, "cyan", no_wrap=True, overflow="ellipsis"))
    phases = progress.phases
    if len(phases) > _PHASES_SHOWN:
        # What is over needs no line of its own.
        phases = tuple(phase for phase in phases if phase.ended < phase.total)[:_PHASES_SHOWN]
    bars = [
        PhaseBar(
            phase.title, phase.ended, phase.total, phase.failed, {"at work": phase.at_work, "waived": phase.waived}
        )
        for phase in phases
    ]
    parts.append(phase_table(bars))
    lines = [
        _line("at work", task, f"by {task.claimed_by or 'nobody'} for {duration(now - (task.started or now))}", "cyan")
        for task in progress.at_work
    ]
    failed = [
        _line("failed", task, task.status_reason or "", "red")
        for task in progress.leaves
        if task.status is TaskStatus.FAILED
    ]
    waits = [_line("ready", task, "waits for a client" if task.run is None else "", "") for task in progress.ready]
    held = [
        _line(
            "held up" if waiting.stuck else "waits",
            waiting.task,
            f"{'by' if waiting.stuck else 'for'} {', '.join(waiting.on)}",
            "red" if waiting.stuck else "dim",
        )
        for waiting in progress.waiting
    ]
    for group in (lines, failed, waits, held):
        parts += group[:_SHOWN]
        if len(group) > _SHOWN:
            parts.append(Text(f"  {'':8} and {len(group) - _SHOWN} more", "dim"))
    return Group(*parts)


def _line(word: str, task: Task, text: str, style: str) -> Text:
    tries = f", try {task.attempts}" if task.attempts > 1 else ""
    role = f" ({one_line(task.specialist)}{tries})"
    return Text.assemble(
        (f"  {word:<8} ", style), (one_line(task.title), "bold"), role, f" {one_line(text)}",
        no_wrap=True, overflow="ellipsis",
    )  # fmt: skip


def document(progress: Progress, workspace: Workspace) -> dict[str, object]:
    """Give it as plain values for JSON."""
    estimate, session = progress.estimate, progress.session
    fast, usual, slow = estimate.seconds or (None, None, None)
    return {
        "workspace": str(workspace.directory),
        "session": {"id": session.id, "name": session.name, "status": session.status},
        "finished": progress.finished,
        "counts": dict(progress.counts),
        "total": progress.total,
        "ended": progress.ended,
        "phases": [asdict(phase) for phase in progress.phases],
        "at_work": [
            {
                "id": task.id,
                "title": task.title,
                "role": task.specialist,
                "by": task.claimed_by,
                "seconds": max(0.0, progress.at - (task.started or progress.at)),
                "attempts": task.attempts,
            }
            for task in progress.at_work
        ],
        "ready": [{"id": task.id, "title": task.title, "role": task.specialist} for task in progress.ready],
        "waiting": [
            {"id": one.task.id, "title": one.task.title, "on": list(one.on), "stuck": one.stuck}
            for one in progress.waiting
        ],
        "estimate": {
            "seconds": usual,
            "fast_seconds": fast,
            "slow_seconds": slow,
            "past_tasks": estimate.past_tasks,
            "unknown_roles": list(estimate.unknown_roles),
            "overdue": list(estimate.overdue),
            "text": estimate_text(progress),
        },
    }
