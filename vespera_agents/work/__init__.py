"""The rules of work, pure: no I/O, no clock.

plain     texts that cannot steer a terminal
models    Session, Task, Dependency, Artifact, Event and their enums
machine   the one task state machine; a container's status
strategies  how a container has its subtasks worked on
graph     cycles, order, who is to blame
drafts    what a caller asks to be created
cursors   where the next page of a list begins
plans     the reader of plans and PRPs
errors    what is refused, and what to do next
"""

from vespera_agents.work.drafts import DependencyDraft, TaskDraft
from vespera_agents.work.errors import (
    BadTransition,
    Conflict,
    Cycle,
    InvalidInput,
    NotFound,
    PlanError,
    Refusal,
    StaleVersion,
    WorkError,
)
from vespera_agents.work.models import (
    Artifact,
    ArtifactKind,
    CommandLine,
    Complexity,
    Dependency,
    DependencyKind,
    DependencyState,
    Event,
    Session,
    SessionStatus,
    Task,
    TaskStatus,
    TaskType,
)

__all__ = [
    "Artifact",
    "ArtifactKind",
    "BadTransition",
    "CommandLine",
    "Complexity",
    "Conflict",
    "Cycle",
    "Dependency",
    "DependencyDraft",
    "DependencyKind",
    "DependencyState",
    "Event",
    "InvalidInput",
    "NotFound",
    "PlanError",
    "Refusal",
    "Session",
    "SessionStatus",
    "StaleVersion",
    "Task",
    "TaskDraft",
    "TaskStatus",
    "TaskType",
    "WorkError",
]
