"""The commands: every way in which durable state can change.

sessions   open, reopen, close
planning   create tasks
claims     take, end, release; artifacts
leases     renew, let lapse
editing    update, cancel, archive, delete
upkeep     put away, give back, remove what is left over
jobs       begin, ask, answer, end: long work that outlives its call
lifecycle  workers that begin and die, restarts, shutdowns that are prepared
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
from vespera_agents.store.commands.jobs import AdoptJob, AnswerJob, AskJob, EndJob, JobState, NoteJob, StartJob, StopJob
from vespera_agents.store.commands.leases import ReleaseLapsed, RenewLease
from vespera_agents.store.commands.lifecycle import (
    AskedRestart,
    AskRestart,
    BeginGeneration,
    BegunGeneration,
    Death,
    NoteDeaths,
    NoteRestart,
    NoteSpecialist,
    Prepared,
    PrepareShutdown,
    TouchStore,
)
from vespera_agents.store.commands.planning import PlannedTasks, PlanTasks
from vespera_agents.store.commands.sessions import OpenedSession, OpenSession, SetSessionStatus
from vespera_agents.store.commands.streaming import KeepStreamEvents
from vespera_agents.store.commands.upkeep import (
    Cleaned,
    CleanSession,
    ReleaseStale,
    Removed,
    RemoveOrphans,
    RemoveStrays,
)

__all__ = [
    "AddArtifacts",
    "AdoptJob",
    "AnswerJob",
    "AskJob",
    "AskRestart",
    "AskedRestart",
    "BeginGeneration",
    "BegunGeneration",
    "CancelTask",
    "Cancelled",
    "ClaimTask",
    "Claimed",
    "CleanSession",
    "Cleaned",
    "Death",
    "DeleteTask",
    "Deleted",
    "EndJob",
    "FinishTask",
    "Finished",
    "JobState",
    "KeepStreamEvents",
    "NewArtifact",
    "NoteDeaths",
    "NoteJob",
    "NoteRestart",
    "NoteSpecialist",
    "NoteTask",
    "OpenSession",
    "OpenedSession",
    "PlanTasks",
    "PlannedTasks",
    "PrepareShutdown",
    "Prepared",
    "ReleaseClaims",
    "ReleaseLapsed",
    "ReleaseStale",
    "Released",
    "RemoveOrphans",
    "RemoveStrays",
    "Removed",
    "RenewLease",
    "SetSessionStatus",
    "StartJob",
    "StopJob",
    "TaskEdit",
    "TouchStore",
    "UpdateTask",
    "Updated",
]
