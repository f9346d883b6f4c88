"""Durable work: one SQLite file and a directory of artifacts per workspace.

store        the Store: a supervised child that others submit commands to and read through
commands     every way in which the durable state can change
queries      the ways in which it is read; readers runs them, each on a connection of its own
pages, texts pages of tasks by any filter; tasks by words
derived      what is kept beside the tasks so that these stay cheap: cells and the full-text index
completing, listing, plans, following  queries about beginnings of ids, lists, plans that became tasks, what changed
jobs         long work as rows, and how it is read
steps        the steps of specialists that work by themselves, and which models worked
corrections  choices of a specialist that somebody corrected
notes        what the specialists of a session share, and who may see it
spending     what calls to models cost, and what is set aside for those that go on
outbox, callbacks  what somebody is to be told of, written with the change; how it is read
checks       what must be true of the rows
artifacts    files by content hash, durable before the row that names them
strays       files that no row names, and when they may go
writer       the one writing thread and its group commit
holding      what it must still have in order to write: its file, its schema, the ownership of its front
figures      what a store tells of itself
records      what commands gave, for those that are sent again
transaction  what a command sees; command keys
changes      what follows from a status, shared by commands
stream_events  messages to HTTP clients, for those who lost them; http_sessions: their sessions, for the next worker
visiting     a store that is opened for a moment only
schema, rows tables and their migrations; rows to models
"""

from vespera_agents.store.artifacts import ArtifactFiles, ArtifactWriter
from vespera_agents.store.errors import (
    ArtifactMissing,
    Fenced,
    KeyConflict,
    KeyMissing,
    SchemaTooNew,
    StoreClosed,
    StoreError,
    StoreLost,
    StoreUnavailable,
)
from vespera_agents.store.figures import StoreStatistics
from vespera_agents.store.holding import Owner
from vespera_agents.store.store import Store
from vespera_agents.store.transaction import Command, CommandKey, StatusChange

__all__ = [
    "ArtifactFiles",
    "ArtifactMissing",
    "ArtifactWriter",
    "Command",
    "CommandKey",
    "Fenced",
    "KeyConflict",
    "KeyMissing",
    "Owner",
    "SchemaTooNew",
    "StatusChange",
    "Store",
    "StoreClosed",
    "StoreError",
    "StoreLost",
    "StoreStatistics",
    "StoreUnavailable",
]
