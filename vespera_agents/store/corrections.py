"""Choices of a specialist that somebody corrected: which task was given to whom instead.

The words are those of the task as it stands, so what is deleted for good is forgotten here, too. Neighbours:
`commands.editing` notes a case where an update names another specialist, `specialists.routing` learns of them.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Final, final

from vespera_agents.store.transaction import Transaction

__all__ = ["CORRECTIONS_MAX", "Correction", "RoleCounts", "corrections", "note_correction", "role_counts"]

CORRECTIONS_MAX: Final = 1_000
"""Cases that are learned of, the newest."""
_DESCRIPTION_MAX: Final = 1_000
"""Characters of a description that are read."""


@final
@dataclass(frozen=True, slots=True)
class Correction:
    """A task, and the role that it was given to instead of the one it had."""

    title: str
    description: str
    """Its beginning."""
    chosen: str


@final
@dataclass(frozen=True, slots=True)
class RoleCounts:
    """How the tasks of one role stand in a workspace, containers left out."""

    role: str
    completed: int
    failed: int
    in_progress: int


def note_correction(transaction: Transaction, task_id: str, before: str, chosen: str) -> None:
    """Write down that a task is another role's; of one that was corrected twice only the last word counts."""
    transaction.execute(
        "INSERT OR REPLACE INTO correction(task_id, at, before, chosen) VALUES (?,?,?,?)",
        (task_id, transaction.now, before, chosen),
    )


def corrections(connection: sqlite3.Connection) -> list[Correction]:
    """Read the newest cases."""
    rows = connection.execute(
        "SELECT title, substr(description, 1, ?), chosen FROM correction JOIN task ON task.id = correction.task_id"
        " ORDER BY at DESC, task_id LIMIT ?",
        (_DESCRIPTION_MAX, CORRECTIONS_MAX),
    ).fetchall()
    return [Correction(*row) for row in rows]


def role_counts(connection: sqlite3.Connection) -> list[RoleCounts]:
    """Count the tasks of each role."""
    rows = connection.execute(
        "SELECT specialist, sum(n * (status = 'completed')), sum(n * (status = 'failed')),"
        " sum(n * (status = 'in_progress')) FROM cell WHERE n > 0 AND NOT container GROUP BY specialist"
    ).fetchall()
    return [RoleCounts(*row) for row in rows]
