"""Specialists and the orchestrator that leads them.

orchestrator                    the facade that the MCP tools and the commands both call
session_, task_, work_tools     its three sets of tools; answers is what they give, calls who asks
running, conductor              a plan from text to report; the walk over the graph of ready tasks
runtime, sessions               the tree at run time, and the subtrees of workspaces and sessions
specialist, roles, briefing     the actor, what it is told about itself, what it is told about a task
standing, synthesis             how work stands, and what came of it
claims                          who holds claims, and when they lapse
gating, gathering               the gates before a task completes; what briefings and syntheses read
"""

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
