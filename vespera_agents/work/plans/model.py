"""What a plan says, as frozen pydantic models that print as JSON.

Keys name items and phases; an item says to which phase it belongs, and a phase lists its items. Lines count from 1.
Nothing here reads or decides: `reader` fills these, `drafting` turns them into tasks, the CLI prints them.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from vespera_agents.work.models import CommandLine, Complexity, Strategy, TaskType

__all__ = [
    "ChecklistEntry",
    "ExecutionGroup",
    "GraphEdge",
    "LineCount",
    "Plan",
    "PlanHeader",
    "PlanItem",
    "PlanNote",
    "PlanPhase",
    "ProposedGate",
    "TaskFacts",
    "TextSection",
    "UnplacedLine",
    "ValidationLevel",
]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PlanNote(_Frozen):
    """Something that the reader understood but could not follow."""

    line: int | None
    text: str
    blocking: bool = False
    """No tasks can be made of the plan until this is mended: a command that cannot be read."""


class UnplacedLine(_Frozen):
    """A line that belongs to no field and to no kept text."""

    line: int
    text: str


class TextSection(_Frozen):
    """A heading and the text below it that is kept as it was written."""

    path: tuple[str, ...]
    """The headings down to this one; empty for text before the first heading."""
    line: int
    text: str


class ChecklistEntry(_Frozen):
    """One point of a checklist or of the success criteria."""

    text: str
    done: bool | None
    """Ticked or not; nothing when the point has no box."""
    section: str
    line: int


class ProposedGate(_Frozen):
    """A command that the plan mentions. It is never executed; a person may make a gate of it."""

    text: str
    about: str | None = None
    """The comment above it."""
    source: str
    """`shell` for a fenced block, else the word before the command, such as VALIDATE."""
    section: str
    item: str | None
    """The key of the item in whose text it stands."""
    line: int


class ValidationLevel(_Frozen):
    """One level of a validation loop with its commands (proposed, never executed)."""

    number: int
    title: str
    commands: tuple[str, ...]
    line: int


class GraphEdge(_Frozen):
    """An edge of a diagram as it was drawn: `after` waits for `before`."""

    before: str
    after: str
    label: str | None
    line: int


class ExecutionGroup(_Frozen):
    """Items that the plan runs side by side or one after the other."""

    name: str
    title: str
    schedule: str | None
    mode: Literal["parallel", "sequential"]
    members: tuple[str, ...]
    """Keys of items, in order."""
    commands: tuple[str, ...]
    """What the plan's author would type; never executed."""
    line: int


class PlanHeader(_Frozen):
    """What the plan says of itself, in front matter or header lines."""

    id: str | None = None
    type: str | None = None
    priority: str | None = None
    category: str | None = None
    status: str | None = None
    estimated_effort: str | None = None
    dependencies: tuple[str, ...] = ()
    """On things outside this plan, as written."""
    parent: str | None = None
    phase: str | None = None
    created: str | None = None
    updated: str | None = None
    concurrency: int | None = None
    """How many tasks may run at once."""
    fields: dict[str, str] = {}
    """Every other header line, by its name as written."""


class TaskFacts(_Frozen):
    """What is said of one piece of work, wherever it is said."""

    title: str
    description: str = ""
    complexity: Complexity | None = None
    task_type: TaskType | None = None
    specialist: str | None = None
    """A role name in its canonical spelling; not necessarily a packaged one."""
    estimated_effort: str | None = None
    strategy: Strategy | None = None
    """How its subtasks are worked on; of one without any, how it is done itself (a review, a consensus)."""
    strategy_n: int | None = None
    context: str | None = None
    """Whom to be while working on it, in the author's words."""
    instructions: tuple[str, ...] = ()
    artifacts: tuple[str, ...] = ()
    criteria: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    fields: dict[str, str] = {}
    """Everything else that is said of it, by its name as written."""


class PlanItem(TaskFacts):
    """One work item."""

    key: str
    """Unique in its plan, also among phases."""
    number: str | None = None
    """As written: `13`, `01`, `1.2`."""
    source: str | None = None
    """The file that holds the item's own plan, when the plan names one."""
    phase: str | None = None
    section: str | None = None
    """The heading between the phase and the item, when there is one."""
    dependencies: tuple[str, ...] = ()
    """Keys of items and phases that must end first."""
    dependencies_explicit: bool = False
    """The plan names this item's dependencies itself, so its phase's order does not hold it."""
    done: bool = False
    status: str | None = None
    group: str | None = None
    """The execution group that it belongs to."""
    run: CommandLine | None = None
    when: CommandLine | None = None
    gates: tuple[CommandLine, ...] = ()
    line: int


class PlanPhase(_Frozen):
    """One phase: a container of items."""

    key: str
    number: int | None
    title: str
    description: str = ""
    schedule: str | None = None
    """Such as `Weeks 1-2`."""
    status: str | None = None
    done: bool = False
    items: tuple[str, ...] = ()
    """Keys of its items, in order."""
    dependencies: tuple[str, ...] = ()
    """Keys of the phases (or items) that must end first."""
    strategy: Strategy | None = None
    """How its items are worked on."""
    strategy_n: int | None = None
    dependencies_explicit: bool = False
    """The plan names them; otherwise the phase waits for the one before it."""
    workflow: tuple[str, ...] = ()
    """How its author would walk through it, step by step."""
    task: TaskFacts | None = None
    """The task that stands for the whole phase, where the plan describes one."""
    fields: dict[str, str] = {}
    line: int


class LineCount(_Frozen):
    """Where the document's lines went; together they are all its lines."""

    total: int
    blank: int
    understood: int
    kept: int
    unplaced: int


class Plan(_Frozen):
    """A whole plan."""

    name: str
    """What the caller calls the document, usually its file name."""
    id: str
    title: str
    header: PlanHeader
    overview: str = ""
    concurrency: int | None = None
    task: TaskFacts | None = None
    """The task that stands for the whole plan, where the plan describes one."""
    phases: tuple[PlanPhase, ...] = ()
    items: tuple[PlanItem, ...] = ()
    """Every work item, in or outside phases, in the document's order."""
    groups: tuple[ExecutionGroup, ...] = ()
    graph: tuple[GraphEdge, ...] = ()
    workflow: tuple[str, ...] = ()
    proposed_gates: tuple[ProposedGate, ...] = ()
    checklists: tuple[ChecklistEntry, ...] = ()
    success_criteria: tuple[ChecklistEntry, ...] = ()
    validation_levels: tuple[ValidationLevel, ...] = ()
    notes: tuple[PlanNote, ...] = ()
    sections: tuple[TextSection, ...] = ()
    unplaced: tuple[UnplacedLine, ...] = ()
    lines: LineCount

    def items_of(self, phase: str | None) -> tuple[PlanItem, ...]:
        """Give the items of one phase by its key, or those outside every phase."""
        return tuple(item for item in self.items if item.phase == phase)
