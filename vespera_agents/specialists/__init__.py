"""Specialists and the orchestrator that leads them.

orchestrator                    the facade that the MCP tools and the commands both call
session_, task_, work_tools      three of its sets of tools; answers is what they give, calls who asks
upkeep                          the fourth: sessions and workspaces kept in order
job_tools, jobs                 long work that goes on after its call: what clients can do with it; how it runs
agents                          work that the server carries out by itself, as a job
doubts                          what a user may want to be asked before
plan_files, running             plan files as drafts; a plan from text to report
conducting, conductor           one conductor of a session at a time; its walk over the graph of ready tasks
runtime, sessions               the tree at run time, and the subtrees of workspaces and sessions
lending                         who of a session's specialists works for whom
specialist, roles, briefing     the actor, what it is told about itself, what it is told about a task
agent, outcomes                 a specialist that works by itself with a model; what it and others give back
standing, synthesis             how work stands, and what came of it
callbacks                       who is told of what happens, in this process and over HTTP
sharing                         what the specialists of a session tell each other
help, help_desk                 one specialist asks another one: the words, and how it gets there and back
claims                          who holds claims, and when they lapse
keeping, gating                 handed-in work becomes artifacts; the gates before a task completes
gathering, fitting              what briefings and syntheses read; the context to resume with, within its budget

What is named here is imported when somebody asks for it: a server that waits for its first client needs no plans.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from vespera_agents.specialists.calls import Call
    from vespera_agents.specialists.claims import Holder
    from vespera_agents.specialists.conductor import RunEvent, RunEventKind
    from vespera_agents.specialists.orchestrator import Orchestrator
    from vespera_agents.specialists.running import PlanRun, RunOptions, RunResult, TaskOutcome
    from vespera_agents.specialists.runtime import Runtime, open_runtime
    from vespera_agents.specialists.sessions import OpenSession, OpenWorkspace

__all__ = [
    "Call",
    "Holder",
    "OpenSession",
    "OpenWorkspace",
    "Orchestrator",
    "PlanRun",
    "RunEvent",
    "RunEventKind",
    "RunOptions",
    "RunResult",
    "Runtime",
    "TaskOutcome",
    "open_runtime",
]

_HOMES: Final[Mapping[str, str]] = {
    "Call": "calls",
    "Holder": "claims",
    "OpenSession": "sessions",
    "OpenWorkspace": "sessions",
    "Orchestrator": "orchestrator",
    "PlanRun": "running",
    "RunEvent": "conductor",
    "RunEventKind": "conductor",
    "RunOptions": "running",
    "RunResult": "running",
    "Runtime": "runtime",
    "TaskOutcome": "running",
    "open_runtime": "runtime",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # Kept, so that it is looked up once.
    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
