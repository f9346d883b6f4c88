"""Tasks and phases while they are being read, and the one table of names under which plans describe a task.

The same names come as YAML keys, as bold labels and as nested bullets; all of them end in `OpenFacts.put`.
Neighbours: `yaml_tasks`, `structure` and `bullets` fill these, `finishing` makes the models of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, final

from vespera_agents.work.drafts import DRAFTS_MAX
from vespera_agents.work.errors import PlanError
from vespera_agents.work.plans.headers import OpenHeader
from vespera_agents.work.plans.lines import Ledger
from vespera_agents.work.plans.model import ChecklistEntry, GraphEdge, PlanNote, ProposedGate, ValidationLevel
from vespera_agents.work.plans.names import canonical, plain
from vespera_agents.work.plans.outline import Section
from vespera_agents.work.plans.yaml_nodes import BracketBudget

__all__ = [
    "FACT_NAMES",
    "OpenCommand",
    "OpenFacts",
    "OpenGroup",
    "OpenItem",
    "OpenPhase",
    "Reading",
    "Wait",
    "fact_name",
]

FACT_NAMES: Final[dict[str, str]] = {
    name: fact
    for fact, names in {
        "title": "title, name",
        "description": "description, summary, goal, objective, purpose, changes",
        "complexity": "complexity, complexity level",
        "task_type": "task type",
        "specialist": "specialist, specialist type, role, agent, assigned to, assignee",
        "estimated_effort": "effort, estimated effort, estimate, estimated duration, duration, estimated time",
        "strategy": "strategy",
        "context": "specialist context, context",
        "instructions": "instructions, execution instructions, specialist instructions, agent instructions, steps",
        "artifacts": "artifacts, artifact, deliverables, deliverable, outputs, output, expected outputs, "
        "expected deliverables",
        "criteria": "criteria, validation criteria, acceptance criteria, success criteria, acceptance, "
        "definition of done, done when",
        "tools": "tools, orchestrator tools, orchestrator tools used",
        "waits": "depends, depends on, dependencies, dependency, requires, needs, after, blocked by, prerequisites, "
        "prerequisite, waits for",
        "key": "id, key, task id",
        "run": "run",
        "gates": "gates, gate",
        "when": "when",
        "timeout": "timeout, timeout seconds",
        "shell": "shell",
        "status": "status, state",
        "done": "done",
        "group": "group, concurrency group",
        "source": "file, source, source file, prp, prp file",
        "number": "number",
    }.items()
    for name in names.split(", ")
}
"""Canonical name to fact."""
_NOTES_MAX: Final = 500
"""Notes in one plan; more would hide the rest."""
_YES: Final = frozenset({"true", "yes", "x", "done", "1"})
_NO: Final = frozenset({"false", "no", "", "0"})
_LISTS: Final = frozenset({"instructions", "artifacts", "criteria", "tools"})
_TEXTS: Final = frozenset({"title", "complexity", "task_type", "specialist", "estimated_effort", "strategy", "context"})


def fact_name(name: str) -> str | None:
    """Give the fact that a key or label stands for, if it is a known one."""
    words = canonical(name)
    return FACT_NAMES.get(words) or FACT_NAMES.get(words.removeprefix("orchestrator "))


@final
@dataclass(frozen=True, slots=True)
class Wait:
    """A dependency as it was written."""

    text: str
    line: int


@final
@dataclass(frozen=True, slots=True)
class OpenCommand:
    """A command as it was written; its own timeout and shell win over the item's."""

    text: str
    line: int
    timeout: str | None = None
    shell: str | None = None


@dataclass(slots=True, eq=False)
class OpenFacts:
    """What is known of a piece of work so far."""

    line: int
    title: str = ""
    description: list[str] = field(default_factory=list[str])
    complexity: str = ""
    task_type: str = ""
    specialist: str = ""
    estimated_effort: str = ""
    strategy: str = ""
    context: str = ""
    instructions: list[str] = field(default_factory=list[str])
    artifacts: list[str] = field(default_factory=list[str])
    criteria: list[str] = field(default_factory=list[str])
    tools: list[str] = field(default_factory=list[str])
    fields: dict[str, str] = field(default_factory=dict[str, str])
    waits: list[Wait] = field(default_factory=list[Wait])
    waits_said: bool = False
    """Dependencies are named, though perhaps as none."""

    def put(self, fact: str, name: str, values: list[str], line: int) -> None:
        """Store what a key or label says."""
        text = " ".join(values)
        if fact in _LISTS:
            # Inner bullets keep their indentation.
            getattr(self, fact).extend(
                value[: -len(value.lstrip())] + plain(value) for value in values if value.strip()
            )
        elif fact == "description":
            self.description.append("\n".join(values))
        elif fact == "waits":
            self.waits_said = True
            self.waits.extend(Wait(value, line) for value in values)
        elif fact in _TEXTS and not getattr(self, fact):
            setattr(self, fact, plain(text))
        elif text:
            self.add_field(name, text)

    def add_field(self, name: str, text: str) -> None:
        """Store something that has no field of its own, without overwriting what stands there."""
        name = plain(name).rstrip(":")
        before = self.fields.get(name)
        self.fields[name] = text if before is None or before == text else f"{before}; {text}"


@final
@dataclass(slots=True, eq=False)
class OpenItem(OpenFacts):
    """A work item while it is being read."""

    wanted_key: str = ""
    name: str = ""
    """Another name by which the plan may speak of it, such as its heading."""
    number: str | None = None
    source: str | None = None
    structured: bool = True
    """Described as a task (YAML, a file, a task heading), not just a line of a list."""
    flat: bool = False
    """Described by keys at the top of its own YAML block, the form of an executable plan."""
    phase: OpenPhase | None = None
    section: str | None = None
    done: bool = False
    status: str | None = None
    group: str | None = None
    run: OpenCommand | None = None
    when: OpenCommand | None = None
    gates: list[OpenCommand] = field(default_factory=list[OpenCommand])
    timeout: str | None = None
    shell: str | None = None
    key: str = ""
    """Given once all items are known."""
    depends: dict[str, None] = field(default_factory=dict[str, None])
    explicit: bool = False

    def put(self, fact: str, name: str, values: list[str], line: int) -> None:
        """Store what a key or label says."""
        text = " ".join(values).strip()
        match fact:
            case "key":
                self._set("wanted_key", name, plain(text))
            case "timeout" | "shell" | "status" | "group" | "source" | "number":
                self._set(fact, name, plain(text))
            case "done":
                self.done = canonical(text) in _YES
                if canonical(text) not in _YES | _NO:
                    self.add_field(name, text)
            case "run" | "when" | "gates":
                for value in values:
                    self.command(fact, OpenCommand(value, line))
            case _:
                OpenFacts.put(self, fact, name, values, line)

    def command(self, fact: str, command: OpenCommand) -> None:
        """Store a command; a second `run` or `when` is no command of this task, and is told as a field."""
        if fact == "gates":
            self.gates.append(command)
        elif getattr(self, fact) is None:
            setattr(self, fact, command)
        else:
            self.add_field(fact, command.text)

    def absorb(self, other: OpenItem) -> None:
        """Take over what another description of the same task says; what this one says already stays."""
        for name in (
            "title",
            "complexity",
            "task_type",
            "specialist",
            "estimated_effort",
            "strategy",
            "context",
            "wanted_key",
        ):
            self._set(name, name, getattr(other, name))
        for name in ("number", "source", "timeout", "shell", "status", "group", "name"):
            self._set(name, name, getattr(other, name) or "")
        for fact, command in (("run", other.run), ("when", other.when)):
            if command is not None:
                self.command(fact, command)
        for name in ("description", "instructions", "artifacts", "criteria", "tools", "waits", "gates"):
            getattr(self, name).extend(getattr(other, name))
        for name, text in other.fields.items():
            self.add_field(name, text)
        self.waits_said = self.waits_said or other.waits_said
        self.done = self.done or other.done

    def tell_rest(self) -> None:
        """Tell as fields what only an item can be told: this one turned out to stand for a phase or a plan."""
        for name in ("wanted_key", "number", "source", "group", "timeout", "shell", "status"):
            if getattr(self, name):
                self.add_field(name.removeprefix("wanted_"), getattr(self, name))
        for wait in self.waits:
            self.add_field("depends", wait.text)
        for name, command in (("run", self.run), ("when", self.when), *(("gates", gate) for gate in self.gates)):
            if command is not None:
                self.add_field(name, command.text)

    def _set(self, attribute: str, name: str, text: str) -> None:
        """Fill an empty place; what comes too late for it is told as a field."""
        if not getattr(self, attribute):
            setattr(self, attribute, text)
        elif text and canonical(text) != canonical(getattr(self, attribute)):
            self.add_field(name, text)


@final
@dataclass(slots=True, eq=False)
class OpenPhase:
    """A phase while it is being read."""

    line: int
    number: int | None
    title: str
    section: Section | None
    schedule: str | None = None
    status: str | None = None
    description: list[str] = field(default_factory=list[str])
    workflow: list[str] = field(default_factory=list[str])
    has_items: bool = False
    facts: OpenFacts | None = None
    said: OpenFacts = field(default_factory=lambda: OpenFacts(0))
    """Labels in the phase's own text: fields and dependencies."""
    key: str = ""
    depends: dict[str, None] = field(default_factory=dict[str, None])
    explicit: bool = False


@final
@dataclass(slots=True)
class OpenGroup:
    """An execution group while it is being read."""

    line: int
    name: str
    title: str
    schedule: str | None
    members_text: str
    commands: list[str] = field(default_factory=list[str])
    comments: list[str] = field(default_factory=list[str])
    parallel_words: str = ""
    """The headings and comments around it, which may say in words how it runs."""


@final
@dataclass(slots=True)
class Reading:
    """Everything that one reading of a document gathers."""

    name: str
    lines: list[str]
    ledger: Ledger
    root: Section
    sections: list[Section]
    """All of them, in the document's order."""
    fenced: frozenset[int]
    """Lines that belong to a fence: text that spans them does not own them."""
    phases: list[OpenPhase] = field(default_factory=list[OpenPhase])
    items: list[OpenItem] = field(default_factory=list[OpenItem])
    groups: list[OpenGroup] = field(default_factory=list[OpenGroup])
    edges: list[tuple[GraphEdge, Section]] = field(default_factory=list[tuple[GraphEdge, Section]])
    task: OpenFacts | None = None
    workflow: list[str] = field(default_factory=list[str])
    breakdowns: list[OpenItem] = field(default_factory=list[OpenItem])
    """Tasks that are only named, and may be described elsewhere."""
    commands: list[ProposedGate] = field(default_factory=list[ProposedGate])
    checklists: list[ChecklistEntry] = field(default_factory=list[ChecklistEntry])
    criteria: list[ChecklistEntry] = field(default_factory=list[ChecklistEntry])
    levels: list[ValidationLevel] = field(default_factory=list[ValidationLevel])
    header: OpenHeader = field(default_factory=OpenHeader)
    budget: BracketBudget = field(default_factory=BracketBudget)
    notes: list[PlanNote] = field(default_factory=list[PlanNote])
    phase_of: dict[Section, OpenPhase] = field(default_factory=dict[Section, OpenPhase])
    item_of: dict[Section, OpenItem] = field(default_factory=dict[Section, OpenItem])

    def note(self, line: int | None, text: str, *, blocking: bool = False) -> None:
        """Note something, with the line (from 0) that it is about."""
        if len(self.notes) < _NOTES_MAX or blocking:
            self.notes.append(PlanNote(line=None if line is None else line + 1, text=text, blocking=blocking))

    def add(self, item: OpenItem) -> None:
        """Take an item into the plan.

        Raises:
            PlanError: there are more than one breakdown may hold.
        """
        if len(self.items) >= DRAFTS_MAX:
            raise PlanError(
                f"{self.name} has more than {DRAFTS_MAX:,} items; a plan may have as many. Split it into several plans."
            )
        self.items.append(item)
        if item.phase is not None:
            item.phase.has_items = True

    def own(self, first: int, stop: int) -> list[int]:
        """Give the lines of a piece of text that are nobody else's."""
        return [line for line in self.ledger.free(range(first, stop)) if line not in self.fenced]

    def enclosing_phase(self, section: Section) -> OpenPhase | None:
        """Give the phase that a section is, or is in."""
        for outer in (section, *section.ancestors()):
            if outer in self.phase_of:
                return self.phase_of[outer]
        return None

    def enclosing_item(self, section: Section) -> OpenItem | None:
        """Give the item that a section is, or is in."""
        for outer in (section, *section.ancestors()):
            if outer in self.item_of:
                return self.item_of[outer]
        return None
