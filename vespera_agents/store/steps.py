"""The steps of specialists that work by themselves, as rows, and how they are read.

A step is one thing that reaches outside: a request to a model, a tool, the gates. Its intent is committed before, its
result with what it cost after it; so what was recorded is never paid for again, and whoever goes on after a crash
reads here how far the work is. An attempt ends with a step of kind `end`, committed with the task's new status. Not
here: how steps change (`commands.steps`), what follows from them (`specialists.agent`).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, cast, final

from vespera_agents.store.artifacts import ArtifactFiles
from vespera_agents.store.rows import Row

__all__ = [
    "Attempt",
    "ModelWork",
    "Step",
    "StepKind",
    "current_attempt",
    "models_at_work",
    "step_counts",
    "steps_of",
    "steps_recorded",
]

_COLUMNS: Final = "number, kind, intent, result, file, repeats, provider, model, begun, ended"
_MICRO: Final = 1_000_000


class StepKind(StrEnum):
    """What a step does."""

    THINK = "think"
    """One request to a model with the context of the task."""
    TOOL = "tool"
    """One tool that the model asked for."""
    GATES = "gates"
    """The gates of the task, run on what was handed in."""
    COMPACTION = "compaction"
    """The context was made smaller, perhaps with one request to a model for a summary."""
    NOTE = "note"
    """The hand-over note from which the next incarnation of the specialist goes on."""
    END = "end"
    """The attempt is over; committed with the task's new status."""


@final
@dataclass(frozen=True, slots=True)
class Step:
    """One step."""

    number: int
    """From 1, within its attempt."""
    kind: StepKind
    intent: Mapping[str, Any]
    """What it was begun for."""
    result: Mapping[str, Any] | None
    """What came of it; None until it has ended."""
    repeats: int
    """How often it was begun again because nothing was recorded of it."""
    provider: str | None
    model: str | None
    """Who answered, of a step that asks a model."""
    begun: float
    ended: float | None


@final
@dataclass(frozen=True, slots=True)
class Attempt:
    """The attempt at a task that is under way, or the one that begins next."""

    number: int
    """From 1."""
    steps: tuple[Step, ...] = ()
    """In order; at most the last has no result."""


@final
@dataclass(frozen=True, slots=True)
class ModelWork:
    """What one model did for one task."""

    task_id: str
    provider: str
    model: str
    calls: int
    """Requests whose answer was recorded."""
    repeats: int
    """Requests that were made before, of which nothing was recorded, as far as is known."""
    input_tokens: int
    output_tokens: int
    cost_usd: float | None
    """Of the calls whose price is known; None where that of none is."""
    unpriced: int
    """Calls whose price is not known."""


def current_attempt(connection: sqlite3.Connection, task_id: str, files: ArtifactFiles) -> Attempt:
    """Read the attempt that goes on; an empty one after the last where that has ended.

    Raises:
        ArtifactMissing: the file of a large result is gone.
    """
    row = connection.execute(
        "SELECT attempt, kind FROM step WHERE task_id=? ORDER BY attempt DESC, number DESC LIMIT 1", (task_id,)
    ).fetchone()
    if row is None:
        return Attempt(1)
    if row[1] == StepKind.END:
        return Attempt(row[0] + 1)
    return Attempt(row[0], steps_of(connection, task_id, row[0], files))


def steps_of(connection: sqlite3.Connection, task_id: str, attempt: int, files: ArtifactFiles) -> tuple[Step, ...]:
    """Read the steps of an attempt in order.

    Raises:
        ArtifactMissing: the file of a large result is gone.
    """
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM step WHERE task_id=? AND attempt=? ORDER BY number", (task_id, attempt)
    )
    return tuple(_step_of(row, files) for row in rows.fetchall())


def steps_recorded(connection: sqlite3.Connection, task_id: str) -> int:
    """Count the steps of a task that have ended, over all attempts: how far it has come."""
    return int(
        connection.execute("SELECT count(*) FROM step WHERE task_id=? AND ended IS NOT NULL", (task_id,)).fetchone()[0]
    )


def step_counts(connection: sqlite3.Connection, session_id: str) -> list[tuple[str, int, int]]:
    """Count the recorded steps of a session by kind, with how many were repeated."""
    return connection.execute(
        "SELECT kind, count(*), sum(repeats) FROM step WHERE session_id=? AND ended IS NOT NULL GROUP BY kind",
        (session_id,),
    ).fetchall()


def models_at_work(connection: sqlite3.Connection, session_id: str) -> list[ModelWork]:
    """Read which models worked on the tasks of a session, and what that took, by task in the order of its creation."""
    rows = connection.execute(
        "SELECT step.task_id, provider, model, count(*), sum(repeats), sum(input_tokens), sum(output_tokens),"
        " sum(cost_micro_usd), sum(cost_micro_usd IS NULL) FROM step JOIN task ON task.id = step.task_id"
        " WHERE step.session_id=? AND provider IS NOT NULL GROUP BY task.seq, provider, model",
        (session_id,),
    ).fetchall()
    return [
        ModelWork(
            task_id,
            provider,
            model,
            calls,
            repeats,
            tokens_in,
            tokens_out,
            None if cost is None else cost / _MICRO,
            other,
        )
        for task_id, provider, model, calls, repeats, tokens_in, tokens_out, cost, other in rows
    ]


def _step_of(row: Row, files: ArtifactFiles) -> Step:
    number, kind, intent, result, file, repeats, provider, model, begun, ended = row
    told = files.load(file).decode() if file is not None else result
    return Step(
        number,
        StepKind(kind),
        cast("dict[str, Any]", json.loads(intent)),
        None if told is None else cast("dict[str, Any]", json.loads(told)),
        repeats,
        provider,
        model,
        begun,
        ended,
    )
