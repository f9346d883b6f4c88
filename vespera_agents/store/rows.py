"""Rows to models and back: the one place that knows column order. Pure.

Neighbours: `changes` and `queries` read through it, nothing else touches a raw row of these tables.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from vespera_agents.work.models import (
    Artifact,
    CommandLine,
    Complexity,
    Dependency,
    DependencyState,
    Event,
    Session,
    Task,
    TaskStatus,
    TaskType,
)

__all__ = [
    "ARTIFACT_COLUMNS",
    "DEPENDENCY_COLUMNS",
    "EVENT_COLUMNS",
    "SESSION_COLUMNS",
    "TASK_COLUMNS",
    "Row",
    "artifact_of",
    "command_json",
    "commands_json",
    "dependency_of",
    "event_of",
    "holds",
    "session_of",
    "task_of",
]

Row = Sequence[Any]
"""A row as sqlite3 gives it: the one place where values arrive without types."""

SESSION_COLUMNS: Final = "id, name, directory, status, created, updated, version"
TASK_COLUMNS: Final = (
    "id, session_id, parent_id, key, position, title, description, task_type, complexity, specialist,"
    " estimated_effort, due, status, status_reason, waived, summary, run, condition, gates, children,"
    " open_dependencies, claimed_by, attempts, created, updated, started, finished, version"
)
DEPENDENCY_COLUMNS: Final = "task_id, on_task_id, kind, mandatory, state, waived_by, waived_why"
ARTIFACT_COLUMNS: Final = "id, session_id, task_id, kind, name, mime_type, size, sha256, created"
EVENT_COLUMNS: Final = "seq, at, session_id, task_id, actor, what, before, after, detail"

_SESSION_FIELDS: Final = tuple(SESSION_COLUMNS.split(", "))
_ARTIFACT_FIELDS: Final = tuple(ARTIFACT_COLUMNS.split(", "))
_EVENT_FIELDS: Final = tuple(EVENT_COLUMNS.split(", "))
_DEPENDENCY_FIELDS: Final = tuple(DEPENDENCY_COLUMNS.split(", "))
_TASK_FIELDS: Final = tuple(
    name.strip().replace("condition", "when") for name in TASK_COLUMNS.replace("\n", " ").split(",")
)
_RUN, _WHEN, _GATES = (_TASK_FIELDS.index(name) for name in ("run", "when", "gates"))
_TYPED: Final = tuple(
    (_TASK_FIELDS.index(name), kind)
    for name, kind in (("task_type", TaskType), ("complexity", Complexity), ("status", TaskStatus), ("waived", bool))
)


def session_of(row: Row) -> Session:
    """Read a row of SESSION_COLUMNS."""
    return Session.model_validate(dict(zip(_SESSION_FIELDS, row, strict=True)))


def task_of(row: Row) -> Task:
    """Read a row of TASK_COLUMNS.

    Values were validated when they were written; validating them again on every read doubled the cost of a page.
    """
    values = list(row)
    for index, kind in _TYPED:
        values[index] = kind(values[index])
    values[_RUN] = _command_of(values[_RUN])
    values[_WHEN] = _command_of(values[_WHEN])
    gates = values[_GATES]
    values[_GATES] = tuple(CommandLine.model_validate(gate) for gate in json.loads(gates)) if gates else ()
    return Task.model_construct(**dict(zip(_TASK_FIELDS, values, strict=True)))


def dependency_of(row: Row) -> Dependency:
    """Read a row of DEPENDENCY_COLUMNS."""
    return Dependency.model_validate(dict(zip(_DEPENDENCY_FIELDS, row, strict=True)))


def artifact_of(row: Row) -> Artifact:
    """Read a row of ARTIFACT_COLUMNS."""
    return Artifact.model_validate(dict(zip(_ARTIFACT_FIELDS, row, strict=True)))


def event_of(row: Row) -> Event:
    """Read a row of EVENT_COLUMNS."""
    return Event.model_validate(dict(zip(_EVENT_FIELDS, row, strict=True)))


def command_json(line: CommandLine | None) -> str | None:
    """Write a command into a column."""
    return None if line is None else line.model_dump_json()


def commands_json(lines: Sequence[CommandLine]) -> str | None:
    """Write several commands into a column."""
    return json.dumps([line.model_dump() for line in lines]) if lines else None


def holds(mandatory: bool, state: DependencyState) -> bool:
    """Say whether a dependency keeps its task from being ready."""
    return mandatory and state in {DependencyState.OPEN, DependencyState.FAILED}


def _command_of(text: str | None) -> CommandLine | None:
    return None if text is None else CommandLine.model_validate_json(text)
