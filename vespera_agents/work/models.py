"""Session, Task, Dependency, Artifact and Event: the nouns that every floor above speaks of.

Pure pydantic models: no I/O, no clock, no rules beyond the bounds of a single value. What may follow what is in
`machine`, what waits for what in `graph`, what a caller asks for in `drafts`. Rows become these models in `store/`.
Source: the vocabulary of the orchestrator contract.
"""

from __future__ import annotations

import shlex
from enum import StrEnum
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, field_validator

__all__ = [
    "DESCRIPTION_MAX",
    "ROLE_NAMES",
    "TITLE_MAX",
    "Artifact",
    "ArtifactKind",
    "CommandLine",
    "Complexity",
    "Dependency",
    "DependencyKind",
    "DependencyState",
    "Event",
    "Session",
    "SessionStatus",
    "Strategy",
    "Task",
    "TaskStatus",
    "TaskType",
    "role_name",
]

TITLE_MAX: Final = 255
"""Characters in a title."""
DESCRIPTION_MAX: Final = 20_000
"""Characters in a description."""
COMMAND_TIMEOUT_SECONDS_MAX: Final = 24 * 3600.0

ROLE_NAMES: Final = (
    "architect",
    "analyst",
    "researcher",
    "implementer",
    "debugger",
    "tester",
    "reviewer",
    "documenter",
    "devops",
    "coordinator",
    "generic",
)
"""The packaged roles, in the order in which they are shown."""
_ROLE_ALIASES: Final = {"coder": "implementer"}


def role_name(name: str) -> str:
    """Give the canonical spelling of a role: lower case, with `coder` read as `implementer`."""
    lowered = name.strip().lower().replace(" ", "_").replace("-", "_")
    return _ROLE_ALIASES.get(lowered, lowered)


class TaskStatus(StrEnum):
    """Where a task stands; the edges between these are in `machine`."""

    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    BLOCKED = "blocked"
    REVIEW = "review"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    ARCHIVED = "archived"


class TaskType(StrEnum):
    """What kind of work a task is."""

    STANDARD = "standard"
    BREAKDOWN = "breakdown"
    MILESTONE = "milestone"
    REVIEW = "review"
    APPROVAL = "approval"
    RESEARCH = "research"
    IMPLEMENTATION = "implementation"
    TESTING = "testing"
    DOCUMENTATION = "documentation"
    DEPLOYMENT = "deployment"
    CUSTOM = "custom"


class Complexity(StrEnum):
    """How hard a task is, as its author judged it."""

    TRIVIAL = "trivial"
    SIMPLE = "simple"
    MODERATE = "moderate"
    COMPLEX = "complex"
    VERY_COMPLEX = "very_complex"


class Strategy(StrEnum):
    """How a container has its subtasks worked on; the rules are in `strategies`."""

    SEQUENTIAL = "sequential"
    PARALLEL = "parallel"
    PIPELINE = "pipeline"
    REVIEW = "review"
    CONSENSUS = "consensus"


class DependencyKind(StrEnum):
    """Why one task waits for another; `related` never holds anything up."""

    COMPLETION = "completion"
    DATA = "data"
    APPROVAL = "approval"
    BLOCKS = "blocks"
    RELATED = "related"


class DependencyState(StrEnum):
    """What has become of a dependency."""

    OPEN = "open"
    SATISFIED = "satisfied"
    FAILED = "failed"
    WAIVED = "waived"


class ArtifactKind(StrEnum):
    """What an artifact holds."""

    CODE = "code"
    DOCUMENTATION = "documentation"
    ANALYSIS = "analysis"
    DESIGN = "design"
    TEST = "test"
    CONFIG = "config"
    DATA = "data"
    GENERAL = "general"


class SessionStatus(StrEnum):
    """Whether a session takes new work."""

    OPEN = "open"
    CLOSED = "closed"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CommandLine(_Frozen):
    """A command as a plan writes it: an argument list unless `shell` says otherwise."""

    text: Annotated[str, Field(min_length=1, max_length=8_000)]
    """The command as written, split as a POSIX shell would split words."""
    shell: bool = False
    """Hand the text to `/bin/sh -c` instead of splitting it."""
    timeout_seconds: Annotated[float, Field(gt=0, le=COMMAND_TIMEOUT_SECONDS_MAX)] = 600.0

    @field_validator("text")
    @classmethod
    def _can_be_split(cls, text: str) -> str:
        if "\0" in text:
            raise ValueError("a command cannot hold a NUL character")
        if not shlex.split(text):
            raise ValueError("a command needs at least one word")
        return text

    def argv(self) -> tuple[str, ...]:
        """Give the argument list that is run."""
        return ("/bin/sh", "-c", self.text) if self.shell else tuple(shlex.split(self.text))


class Session(_Frozen):
    """Work in one workspace directory."""

    id: str
    name: str
    directory: str
    """The workspace, absolute."""
    status: SessionStatus = SessionStatus.OPEN
    created: float
    """Seconds since the epoch, wall clock, as all times of this module."""
    updated: float
    version: int = 1


class Task(_Frozen):
    """One piece of work, or a container of several."""

    id: str
    session_id: str
    parent_id: str | None = None
    key: str | None = None
    """The local key under which a breakdown or plan named it."""
    position: int = 0
    """Order among its siblings."""
    title: Annotated[str, Field(min_length=1, max_length=TITLE_MAX)]
    description: Annotated[str, Field(max_length=DESCRIPTION_MAX)] = ""
    task_type: TaskType = TaskType.STANDARD
    complexity: Complexity = Complexity.MODERATE
    specialist: str = "generic"
    estimated_effort: str | None = None
    due: float | None = None
    status: TaskStatus = TaskStatus.PENDING
    status_reason: str | None = None
    """Why it stands where it stands: a failure, a cancellation, a block."""
    waived: bool = False
    """Cancelled because its `when` condition did not hold; what depends on it goes on."""
    summary: str | None = None
    run: CommandLine | None = None
    when: CommandLine | None = None
    gates: tuple[CommandLine, ...] = ()
    strategy: Strategy | None = None
    """How its subtasks are worked on, for a container; None: side by side."""
    strategy_n: int | None = None
    """With review how often it is sent back at most, with consensus how many vote."""
    rounds: int = 0
    """How often a review has sent it back."""
    children: int = 0
    """How many direct children it has; a task with children is a container."""
    open_dependencies: int = 0
    """Mandatory dependencies that still hold it, its own and its containers'."""
    claimed_by: str | None = None
    """Who works on it now: a server, a client of one, or whoever holds it by a lease."""
    attempts: int = 0
    """How often it was claimed."""
    created: float
    updated: float
    started: float | None = None
    finished: float | None = None
    version: int = 1

    @property
    def strategy_text(self) -> str | None:
        """Its strategy as a plan writes it, and how often a review has sent it back."""
        words = [str(word) for word in (self.strategy, self.strategy_n) if word is not None]
        return (" ".join(words) + (f", sent back {self.rounds} times" if self.rounds else "")) or None

    @property
    def is_container(self) -> bool:
        """Whether its status follows its children."""
        return self.children > 0

    @property
    def ready(self) -> bool:
        """Whether it can be claimed now: derived, never stored."""
        return self.status is TaskStatus.PENDING and not self.children and not self.open_dependencies


class Dependency(_Frozen):
    """One task waits for another of the same session."""

    task_id: str
    on_task_id: str
    kind: DependencyKind = DependencyKind.COMPLETION
    mandatory: bool = True
    state: DependencyState = DependencyState.OPEN
    waived_by: str | None = None
    waived_why: str | None = None


class Artifact(_Frozen):
    """A named text or file that a task produced; its bytes are a file by content hash."""

    id: str
    session_id: str
    task_id: str | None
    kind: ArtifactKind
    name: str
    mime_type: str
    size: int
    """Bytes."""
    sha256: str
    created: float


class Event(_Frozen):
    """One change, append-only."""

    seq: int
    at: float
    session_id: str | None
    task_id: str | None
    actor: str
    """Who did it: a client, a specialist, the conductor."""
    what: str
    before: str | None = None
    after: str | None = None
    detail: str | None = None
