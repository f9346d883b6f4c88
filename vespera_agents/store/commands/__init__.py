"""The commands: every way in which durable state can change.

sessions   open, reopen, close
planning   create tasks
claims     take, end, release; artifacts
leases     renew, let lapse
editing    update, cancel, archive, delete
upkeep     put away, give back, remove what is left over
notes      share, withdraw: what the specialists of a session tell each other
jobs       begin, ask, answer, end: long work that outlives its call
spending   set the cost of a call to a model aside, settle it, give it back
lifecycle  workers that begin and die, restarts, shutdowns that are prepared
steps      begin and end a step of a specialist that works by itself, end its attempt
callbacks  register targets, take, end, replay; tell of what is no change of a task
help       ask another specialist, and what came of it
streaming  messages to HTTP clients that may resume
"""

from vespera_agents.store.commands.claims import (
    AddArtifacts,
    Claimed,
    ClaimTask,
    Finished,
    FinishTask,
    GatesFirst,
    NewArtifact,
    NoteTask,
    ReleaseClaims,
    Released,
    check_may_finish,
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
from vespera_agents.store.commands.jobs import (
    AdoptJob,
    AnswerJob,
    AskJob,
    EndJob,
    JobState,
    NoteJob,
    StartJob,
    StopJob,
    kept_id,
)
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
from vespera_agents.store.commands.notes import Shared, ShareNote, Withdrawn, WithdrawNote
from vespera_agents.store.commands.planning import PlannedTasks, PlanTasks
from vespera_agents.store.commands.sessions import OpenedSession, OpenSession, SetSessionStatus
from vespera_agents.store.commands.spending import ReleaseSpend, Reserved, ReserveSpend, SettleSpend
from vespera_agents.store.commands.steps import BeginStep, BegunStep, EndAttempt, EndStep, StepPlace
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
    "BeginStep",
    "BegunGeneration",
    "BegunStep",
    "CancelTask",
    "Cancelled",
    "ClaimTask",
    "Claimed",
    "CleanSession",
    "Cleaned",
    "Death",
    "DeleteTask",
    "Deleted",
    "EndAttempt",
    "EndJob",
    "EndStep",
    "FinishTask",
    "Finished",
    "GatesFirst",
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
    "ReleaseSpend",
    "ReleaseStale",
    "Released",
    "RemoveOrphans",
    "RemoveStrays",
    "Removed",
    "RenewLease",
    "ReserveSpend",
    "Reserved",
    "SetSessionStatus",
    "SettleSpend",
    "ShareNote",
    "Shared",
    "StartJob",
    "StepPlace",
    "StopJob",
    "TaskEdit",
    "TouchStore",
    "UpdateTask",
    "Updated",
    "WithdrawNote",
    "Withdrawn",
    "check_may_finish",
    "kept_id",
]
