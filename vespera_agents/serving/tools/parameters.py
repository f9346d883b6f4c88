"""The kinds of arguments that tools take: bounded, described, and forgiving where the meaning is clear.

A single text where a list is expected, `In Progress` for in_progress, `coder` for implementer, JSON in a text: models
write all of these. Whatever is not clear is refused in words (`complaints`). Pure; no tool is defined here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Final, Literal, TypeVar, cast

from pydantic import BeforeValidator, Field

from vespera_agents.serving.tools.schemas import KNOWN, TOLD
from vespera_agents.serving.tools.tool import Parameters
from vespera_agents.work.drafts import DependencyDraft, TaskDraft
from vespera_agents.work.errors import InvalidInput
from vespera_agents.work.models import (
    DESCRIPTION_MAX,
    TITLE_MAX,
    CommandLine,
    Complexity,
    DependencyKind,
    Strategy,
    TaskStatus,
    TaskType,
)
from vespera_agents.work.strategies import strategy_said

__all__ = [
    "Cursor",
    "DependencyInput",
    "Description",
    "Detail",
    "Difficulty",
    "Due",
    "Effort",
    "GateInput",
    "Gates",
    "Kind",
    "KnownDifficulty",
    "KnownGates",
    "KnownKind",
    "KnownWaiting",
    "KnownWords",
    "Limit",
    "Listed",
    "Moment",
    "NewRole",
    "NewWay",
    "Role",
    "SessionRef",
    "Status",
    "Subtask",
    "Subtasks",
    "TaskKey",
    "TaskRef",
    "Texts",
    "Title",
    "Waiting",
    "Way",
    "Word",
    "Words",
    "commands",
    "dependencies",
    "subtask_drafts",
]

SUBTASKS_MAX: Final = 500
"""Subtasks of one task in a call."""
DEPTH_MAX: Final = 8
"""Levels of a breakdown."""
LIST_MAX: Final = 200
"""Entries of any other list."""
_KEY_MAX: Final = 60


def _word(value: object) -> object:
    """Read `In Progress` and `in-progress` as in_progress."""
    return re.sub(r"[\s-]+", "_", value.strip().lower()) if isinstance(value, str) else value


def _listed(value: object) -> object:
    """Read one value as a list of one, and a text that holds a JSON list as that list."""
    if isinstance(value, str):
        if value.lstrip().startswith("["):
            try:
                return cast("object", json.loads(value))
            except (ValueError, RecursionError):
                return [value]
        return [value] if value.strip() else []
    return [cast("object", value)] if isinstance(value, dict) else value


def _stripped(value: object) -> object:
    return value.strip() if isinstance(value, str) else value


def _moment(value: object) -> object:
    """Read an ISO 8601 date or time as seconds since the epoch; without a zone it is UTC."""
    if value is None:
        return None
    try:
        # A number is read as it is written: whether it means seconds or milliseconds nobody should have to guess.
        moment = datetime.fromisoformat(str(value).strip())
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise ValueError("must be a date or time such as 2026-03-31 or 2026-03-31T12:00:00Z") from None


def _way(value: object) -> object:
    """Read `pipeline`, `review 3` and `consensus of 5`."""
    said = strategy_said(value) if isinstance(value, str) else value
    if said is None:
        raise ValueError(f"must be one of {', '.join(Strategy)}; review and consensus with a number, as in `review 3`")
    return said


T = TypeVar("T")

# Bounds stand before the reading function in each kind: they are then told, and checked, as bounds of the value read.
Word = BeforeValidator(_word)
Listed = BeforeValidator(_listed)

# A description is left out where the name says it all, and where the tool's own description does.
TaskRef = Annotated[str, Field(min_length=1, max_length=64), BeforeValidator(_stripped)]
"""A task's id or a unique prefix of it."""
SessionRef = Annotated[str, Field(min_length=1, max_length=64), BeforeValidator(_stripped)]
"""A session's id; without one the only open session of the server's workspace is meant."""
Limit = Annotated[int, Field(ge=1, le=200, json_schema_extra=TOLD)]
Cursor = Annotated[str, Field(max_length=200)]
Detail = Annotated[Literal["concise", "full"], Word]
Texts = Annotated[tuple[Annotated[str, Field(min_length=1, max_length=1_000)], ...], Field(max_length=LIST_MAX), Listed]
Words = Annotated[tuple[Annotated[T, Word], ...], Field(max_length=20), Listed]
KnownWords = Annotated[tuple[Annotated[T, Field(json_schema_extra=KNOWN), Word], ...], Field(max_length=20), Listed]
Moment = Annotated[
    Annotated[float, Field(ge=-1e11, le=1e11)] | None,
    BeforeValidator(_moment, json_schema_input_type=Annotated[str, Field(max_length=40)]),
]
"""A date or time in ISO 8601, as seconds since the epoch."""
Due = Annotated[Moment, Field(description="ISO 8601")]
Title = Annotated[str, Field(min_length=1, max_length=TITLE_MAX), BeforeValidator(_stripped)]
Description = Annotated[str, Field(max_length=DESCRIPTION_MAX)]
Effort = Annotated[str, Field(max_length=100)]
Kind = Annotated[TaskType, Word]
KnownKind = Annotated[TaskType, Field(json_schema_extra=KNOWN), Word]
Difficulty = Annotated[Complexity, Word]
KnownDifficulty = Annotated[Complexity, Field(json_schema_extra=KNOWN), Word]
Way = Annotated[
    tuple[Strategy, int | None], BeforeValidator(_way, json_schema_input_type=Annotated[str, Field(max_length=40)])
]
"""How a container's subtasks are worked on: a strategy, and of review the rounds, of consensus the voters."""
NewWay = Annotated[Way, Field(description="sequential, parallel, pipeline, review 2 or consensus of 3")]
Status = Annotated[TaskStatus, Word]
Role = Annotated[str, Field(min_length=1, max_length=64), BeforeValidator(_stripped)]
NewRole = Annotated[Role, Field(description="Role; chosen unless given")]
TaskKey = Annotated[str, Field(min_length=1, max_length=200, description="For dependencies on it")]


class DependencyInput(Parameters):
    """A wish to wait for another task."""

    on: Annotated[str, Field(min_length=1, max_length=200, description="Key, id or title")]
    kind: Annotated[DependencyKind, Word] = DependencyKind.COMPLETION
    mandatory: bool = True


class GateInput(Parameters):
    """A command that must succeed before the task completes."""

    command: Annotated[str, Field(min_length=1, max_length=8_000)]
    timeout_seconds: Annotated[float, Field(gt=0, le=86_400)] = 600
    shell: bool = False


Waits = Annotated[
    DependencyInput,
    BeforeValidator(
        lambda value: {"on": value.strip()} if isinstance(value, str) else value,
        json_schema_input_type=str | DependencyInput,
    ),
]
Gate = Annotated[
    GateInput,
    BeforeValidator(
        lambda value: {"command": value} if isinstance(value, str) else value, json_schema_input_type=str | GateInput
    ),
]
Waiting = Annotated[tuple[Waits, ...], Field(max_length=LIST_MAX), Listed]
Gates = Annotated[
    tuple[Gate, ...], Field(max_length=20, description="Commands that must succeed at completion"), Listed
]


KnownWaiting = Annotated[tuple[Waits, ...], Field(max_length=LIST_MAX, json_schema_extra=KNOWN), Listed]
KnownGates = Annotated[
    tuple[Gate, ...],
    Field(max_length=20, description="As in plan_task; replace all", json_schema_extra=KNOWN),
    Listed,
]


class Subtask(Parameters):
    """One task of a breakdown."""

    title: Title
    key: TaskKey | None = None
    description: Description = ""
    task_type: Kind = TaskType.STANDARD
    complexity: Difficulty = Complexity.MODERATE
    specialist: NewRole | None = None
    estimated_effort: Effort | None = None
    due: Due = None
    dependencies: Waiting = ()
    gates: Gates = ()
    strategy: NewWay | None = None
    subtasks: Subtasks = ()


Subtasks = Annotated[tuple[Subtask, ...], Field(max_length=SUBTASKS_MAX), Listed]
Subtask.model_rebuild()


def commands(gates: Sequence[GateInput]) -> tuple[CommandLine, ...]:
    """Turn gates into command lines.

    Raises:
        InvalidInput: one cannot be split into words.
    """
    lines: list[CommandLine] = []
    for gate in gates:
        try:
            lines.append(CommandLine(text=gate.command, shell=gate.shell, timeout_seconds=gate.timeout_seconds))
        except ValueError:
            raise InvalidInput(
                f"the gate {gate.command!r} cannot be split into words as a shell would",
                "Close its quotes, and write a program with its arguments.",
            ) from None
    return tuple(lines)


def dependencies(waiting: Sequence[DependencyInput]) -> tuple[DependencyDraft, ...]:
    """Turn dependencies into drafts."""
    return tuple(DependencyDraft(on=one.on, kind=one.kind, mandatory=one.mandatory) for one in waiting)


def subtask_drafts(subtasks: Sequence[Subtask]) -> tuple[TaskDraft, ...]:
    """Turn a breakdown into drafts: every task gets a key, and a dependency may name a task by its title too.

    Raises:
        InvalidInput: it is nested too deeply, or a gate is no command.
    """
    keys = _keys(subtasks)
    named = set(keys.values())
    titles: dict[str, list[str]] = {}
    for subtask, _ in _walk(subtasks):
        titles.setdefault(subtask.title, []).append(keys[id(subtask)])
    by_title = {title: found[0] for title, found in titles.items() if len(found) == 1 and title not in named}

    def draft(subtask: Subtask) -> TaskDraft:
        waiting = [one.model_copy(update={"on": by_title.get(one.on, one.on)}) for one in subtask.dependencies]
        return TaskDraft(
            key=keys[id(subtask)],
            title=subtask.title,
            description=subtask.description,
            task_type=subtask.task_type,
            complexity=subtask.complexity,
            specialist=subtask.specialist,
            estimated_effort=subtask.estimated_effort,
            due=subtask.due,
            dependencies=dependencies(waiting),
            gates=commands(subtask.gates),
            strategy=None if subtask.strategy is None else subtask.strategy[0],
            strategy_n=None if subtask.strategy is None else subtask.strategy[1],
            subtasks=tuple(draft(below) for below in subtask.subtasks),
        )

    return tuple(draft(subtask) for subtask in subtasks)


def _walk(subtasks: Sequence[Subtask], depth: int = 1) -> list[tuple[Subtask, int]]:
    if subtasks and depth > DEPTH_MAX:
        raise InvalidInput(
            f"{subtasks[0].title!r} lies more than {DEPTH_MAX} levels deep",
            "Nest less deeply, or add the lower levels with parent_task_id afterwards.",
        )
    found: list[tuple[Subtask, int]] = []
    for subtask in subtasks:
        found.append((subtask, depth))
        found.extend(_walk(subtask.subtasks, depth + 1))
    return found


def _keys(subtasks: Sequence[Subtask]) -> dict[int, str]:
    """Give each subtask its own key, or one made of its title that nobody else has."""
    found = [subtask for subtask, _ in _walk(subtasks)]
    taken = {subtask.key for subtask in found if subtask.key is not None}
    keys: dict[int, str] = {}
    for subtask in found:
        key = subtask.key
        if key is None:
            stem = re.sub(r"[^a-z0-9]+", "-", subtask.title.lower()).strip("-")[:_KEY_MAX] or "task"
            number, key = 1, stem
            while key in taken:
                number += 1
                key = f"{stem}-{number}"
            taken.add(key)
        keys[id(subtask)] = key
    return keys
