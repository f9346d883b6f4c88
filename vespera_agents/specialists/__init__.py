"""Specialists and the orchestrator that leads them.

orchestrator                    the facade that the MCP tools and the commands both call
session_, task_, work_, upkeep_tools  its sets of tools; answers, upkeep_answers are what they give, calls who asks
job_tools, jobs                 long work that goes on after its call: what clients can do with it; how it runs
agents                          work that the server carries out by itself, as a job
doubts                          what a user may want to be asked before
plan_files, running             plan files as drafts; a plan from text to report
conducting, conductor           one conductor of a session at a time; its walk over the graph of ready tasks
runtime, sessions               the tree at run time, and the subtrees of workspaces and sessions
specialist, roles, briefing     the actor, what it is told about itself, what it is told about a task
standing, synthesis             how work stands, and what came of it
cleaning, maintenance           sessions put away; what is left over in a workspace, and whether it holds together
handover, documents             what is written for whoever goes on, and for people
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
