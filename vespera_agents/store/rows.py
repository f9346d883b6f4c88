"""Rows to models and back: the one place that knows column order. Pure.

Neighbours: `changes` and `queries` read through it, nothing else touches a raw row of these tables.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Final

from vespera_agents.work.models import (
    Artifact,
    CommandLine,
    Complexity,
    Dependency,
    DependencyState,
    Event,
    Session,
    Strategy,
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
    " estimated_effort, due, status, status_reason, waived, summary, run, condition, gates, strategy,"
    " strategy_n, rounds, children,"
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
_TYPED: Final[tuple[tuple[str, dict[str, StrEnum]], ...]] = (
    ("task_type", {kind.value: kind for kind in TaskType}),
    ("complexity", {kind.value: kind for kind in Complexity}),
    ("status", {kind.value: kind for kind in TaskStatus}),
)
_TASK_FIELDS_SET: Final = set(_TASK_FIELDS)


def session_of(row: Row) -> Session:
    """Read a row of SESSION_COLUMNS."""
    return Session.model_validate(dict(zip(_SESSION_FIELDS, row, strict=True)))


def task_of(row: Row) -> Task:
    """Read a row of TASK_COLUMNS.

    Values were validated when they were written; validating them again on every read doubled the cost of a page. Nor
    does it go through `model_construct`, which looks at every field for defaults and aliases that no row needs: of the
    650 microseconds that a page of 50 took, 550 were spent there.

    Raises:
        ValueError: it was written by a version that knows other values.
    """
    values = dict(zip(_TASK_FIELDS, row, strict=True))
    try:
        for name, kinds in _TYPED:
            values[name] = kinds[values[name]]
    except KeyError as error:
        raise ValueError(f"the task {row[0]!r} has a {error} that this version does not know") from None
    if values["strategy"] is not None:
        values["strategy"] = Strategy(values["strategy"])
    values["waived"] = bool(values["waived"])
    for name in ("run", "when"):
        if values[name] is not None:
            values[name] = CommandLine.model_validate_json(values[name])
    gates = values["gates"]
    values["gates"] = tuple(CommandLine.model_validate(gate) for gate in json.loads(gates)) if gates else ()
    task = Task.__new__(Task)
    # What model_construct sets on a model without extra and private fields.
    object.__setattr__(task, "__dict__", values)
    object.__setattr__(task, "__pydantic_fields_set__", _TASK_FIELDS_SET)
    object.__setattr__(task, "__pydantic_extra__", None)
    object.__setattr__(task, "__pydantic_private__", None)
    return task


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
