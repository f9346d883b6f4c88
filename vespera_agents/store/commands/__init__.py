"""The commands: every way in which durable state can change.

sessions   open, reopen, close
planning   create tasks
claims     take, end, release; artifacts
editing    update, cancel, archive, delete
streaming  messages to HTTP clients that may resume
"""

from vespera_agents.store.commands.claims import (
    AddArtifacts,
    Claimed,
    ClaimTask,
    Finished,
    FinishTask,
    NewArtifact,
    NoteTask,
    ReleaseClaims,
    Released,
)
from vespera_agents.store.commands.editing import (
    Cancelled,
    CancelTask,
    Deleted,
    DeleteTask,
    TaskEdit,
    Updated,
    UpdateTask,
)
from vespera_agents.store.commands.planning import PlannedTasks, PlanTasks
from vespera_agents.store.commands.sessions import OpenedSession, OpenSession, SetSessionStatus
from vespera_agents.store.commands.streaming import KeepStreamEvents

__all__ = [
    "AddArtifacts",
    "CancelTask",
    "Cancelled",
    "ClaimTask",
    "Claimed",
    "DeleteTask",
    "Deleted",
    "FinishTask",
    "Finished",
    "KeepStreamEvents",
    "NewArtifact",
    "NoteTask",
    "OpenSession",
    "OpenedSession",
    "PlanTasks",
    "PlannedTasks",
    "ReleaseClaims",
    "Released",
    "SetSessionStatus",
    "TaskEdit",
    "UpdateTask",
    "Updated",
]
