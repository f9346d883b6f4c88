"""Vespera Agents: specialist agents as supervised actors, served to MCP clients as a task orchestrator.

For an embedder: the actors (`open_system`, `Actor`, `Request`, `receives`, ...), and a tree that runs plans and
answers the orchestrator's tools (`open_runtime`, `PlanRun`, `Orchestrator`, ...). The wings below have the rest.

Names are loaded when they are asked for: who imports this for the actors alone pays neither for pydantic nor for mcp.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from vespera_agents.actors import (
        Actor,
        ActorCrashed,
        ActorError,
        ActorRef,
        ActorStopped,
        ActorSystem,
        AskTimeout,
        MailboxFull,
        MailboxSpec,
        Overflow,
        Request,
        open_system,
        receives,
    )
    from vespera_agents.specialists import (
        Call,
        Orchestrator,
        PlanRun,
        RunEvent,
        RunEventKind,
        RunOptions,
        RunResult,
        Runtime,
        open_runtime,
    )
    from vespera_agents.work.plans import Plan, read_plan

__all__ = [
    "Actor",
    "ActorCrashed",
    "ActorError",
    "ActorRef",
    "ActorStopped",
    "ActorSystem",
    "AskTimeout",
    "Call",
    "MailboxFull",
    "MailboxSpec",
    "Orchestrator",
    "Overflow",
    "Plan",
    "PlanRun",
    "Request",
    "RunEvent",
    "RunEventKind",
    "RunOptions",
    "RunResult",
    "Runtime",
    "open_runtime",
    "open_system",
    "read_plan",
    "receives",
]

_SPECIALISTS: Final = frozenset(
    {
        "Call",
        "Orchestrator",
        "PlanRun",
        "RunEvent",
        "RunEventKind",
        "RunOptions",
        "RunResult",
        "Runtime",
        "open_runtime",
    }
)
_PLANS: Final = frozenset({"Plan", "read_plan"})


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    wing = "specialists" if name in _SPECIALISTS else "work.plans" if name in _PLANS else "actors"
    # Kept, so that it is looked up once.
    value = globals()[name] = getattr(import_module(f"{__name__}.{wing}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
