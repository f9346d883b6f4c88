"""What came of a run: the summary for people, the document for programs, the exit status.

Neighbours: `specialists.running` gives the result, `run` shows it, `picture` draws it.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from vespera_agents.cli.outcomes import EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED
from vespera_agents.cli.wording import counted, duration, one_line, shown_path
from vespera_agents.specialists.running import RunResult
from vespera_agents.work.plain import printable

__all__ = ["closing_sentence", "exit_status", "run_document", "summary"]

_STYLES: Final = {
    "completed": "green",
    "failed": "bold red",
    "blocked": "red",
    "waived": "yellow",
    "cancelled": "yellow",
    "waiting": "cyan",
}
_UNDONE: Final = frozenset({"failed", "blocked"})


def exit_status(result: RunResult) -> int:
    """Say how the command ends: done, failed or interrupted."""
    if result.outcome == "interrupted":
        return EXIT_INTERRUPTED
    undone = any(task.outcome in _UNDONE for task in result.tasks)
    return EXIT_FAILED if undone or result.outcome in {"failed", "cancelled"} else EXIT_DONE


def run_document(result: RunResult, workspace: Path) -> dict[str, object]:
    """Give a result as plain values for JSON."""
    return {
        "outcome": result.outcome,
        "exit_status": exit_status(result),
        "workspace": str(workspace),
        "session_id": result.session_id,
        "session_name": result.session_name,
        "root_task_id": result.root_task_id,
        "counts": result.counts,
        "report": str(result.report),
        "tasks": [asdict(task) for task in result.tasks],
    }


def summary(result: RunResult) -> RenderableType:
    """Give the table of tasks, the reasons of what was not completed, and the closing sentence."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("Task", overflow="fold")
    table.add_column("Phase", overflow="fold")
    table.add_column("Outcome", no_wrap=True)
    table.add_column("Time", justify="right", no_wrap=True)
    for task in result.tasks:
        table.add_row(
            Text(one_line(task.title)),
            Text(one_line(task.phase or ""), "dim"),
            Text(_outcome(task.outcome), _STYLES.get(task.outcome, "")),
            duration(task.duration_seconds),
        )
    reasons = [
        Text.assemble((one_line(task.title), "bold"), f" {_outcome(task.outcome)}: ", printable(task.reason))
        for task in result.tasks
        if task.reason and task.outcome != "completed"
    ]
    gap = [Text()] if reasons else []
    return Group(table, *gap, *reasons, Text(), Text(closing_sentence(result), "bold"))


def closing_sentence(result: RunResult) -> str:
    """Say in a sentence how it ended, and what is left to do."""
    counts = counted(result.counts)
    waiting = sum(task.outcome == "waiting" for task in result.tasks)
    wait = f" {_tasks(waiting)} for a client to carry out: connect one with `vespera serve`." if waiting else ""
    if result.outcome == "completed":
        return f"Done: {counts}."
    if result.outcome == "interrupted":
        return f"Interrupted: {counts}.{wait}"
    if exit_status(result) == EXIT_FAILED:
        word = "Cancelled" if result.outcome == "cancelled" else "Failed"
        return f"{word}: {counts}.{wait}"
    if waiting:
        return f"Done as far as commands go: {counts}.{wait}"
    return f"Done as far as this run goes: {counts}. What is left is with somebody else."


def report_line(result: RunResult) -> str:
    """Say where the report is."""
    return f"Report: {shown_path(result.report)}"


def _outcome(outcome: str) -> str:
    return "waits for a client" if outcome == "waiting" else outcome.replace("_", " ")


def _tasks(number: int) -> str:
    return "1 task waits" if number == 1 else f"{number} tasks wait"
