"""The label values that exist, and how a name from the running system becomes one of them.

Values come from enums and from the names that the source declares, never from a path, an id or a text of a user, so
the number of series is fixed before the first scrape. Whatever is not declared is "other". Pure.
"""

from __future__ import annotations

import re
from enum import StrEnum, unique
from typing import Final

from vespera_agents.specialists.specialist import Specialist
from vespera_agents.work.models import ROLE_NAMES

OTHER: Final = "other"
"""What every name becomes that nobody declared."""
ACTOR_KINDS: Final = (Specialist.__name__, OTHER)
"""Classes of actors."""
SPECIALISTS: Final = (*ROLE_NAMES, OTHER)
"""Packaged roles; a workspace's own roles count as other."""
SUPERVISORS: Final = (
    "root", "health", "workspaces", "workspace", "sessions", "session", "specialists", "jobs", "callbacks", "doors",
    OTHER,
)  # fmt: skip
"""The supervisors of the tree at run time, by what they are and not by whose they are."""
CALL: Final = "tools/call"
"""The one method of MCP that has a tool."""
MCP_METHODS: Final = (
    "initialize", "server/discover", "ping", CALL, "tools/list", "resources/list", "resources/templates/list",
    "resources/read", "resources/subscribe", "resources/unsubscribe", "prompts/list", "prompts/get",
    "completion/complete", "logging/setLevel", "subscriptions/listen", "tasks/get", "tasks/update",
    "tasks/cancel", OTHER,
)  # fmt: skip
"""The requests of MCP that this server answers."""
TOOLS: Final = (
    *(
        f"orchestrator_{name}"
        for name in (
            "initialize_session", "list_sessions", "resume_session", "session_status", "get_status", "plan_task",
            "update_task", "query_tasks", "cancel_task", "delete_task", "execute_task", "complete_task",
            "synthesize_results", "cleanup_sessions", "maintenance_coordinator", "health_check", "shutdown_prepare",
            "restart_server", "restart_status", "reconnect_test",
        )
    ),
    OTHER,
)  # fmt: skip
"""The tools that clients can call; a test compares them with those that there are."""
MCP_BOUNDS: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0, 30.0, 300.0)
"""Ten of the fourteen buckets that OpenTelemetry gives for operations of MCP."""
GENERATION_REASONS: Final = ("start", "crash", "wedged", "restart", OTHER)
"""Why a front puts a worker to work."""
TAKING_OVER: Final = "activate"
"""The phase in which nobody works: from the end of one worker to the next one's serving."""
RESTART_PHASES: Final = ("start", "drain", "stop", TAKING_OVER, OTHER)
"""The phases of a restart that somebody asked for."""
PHASE_BOUNDS: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


@unique
class RuntimePhase(StrEnum):
    """What a server does as a whole."""

    STARTING = "starting"
    """No client is served yet."""
    RUNNING = "running"
    """Everything may be asked for."""
    PREPARED = "prepared"
    """A shutdown is prepared: nothing new may begin."""
    DRAINING = "draining"
    """Another process is about to take over: what comes waits for it."""
    STOPPING = "stopping"
    """The client has gone, or somebody asked it to end."""


@unique
class McpError(StrEnum):
    """How a request of MCP failed, as OpenTelemetry names it."""

    NONE = ""
    """It did not."""
    TOOL = "tool_error"
    """The result of a tool says that it is an error."""
    INVALID = "-32602"
    """The client asked for what cannot be."""
    INTERNAL = "-32603"
    """The server could not."""
    OTHER = "_OTHER"
    """Any other error of the protocol, or the request was cancelled."""


TOOL_ERRORS: Final = (McpError.NONE, McpError.TOOL, McpError.OTHER)
"""How a call of a tool can fail: what is wrong with its arguments, its result says."""
METHOD_ERRORS: Final = (McpError.NONE, McpError.INVALID, McpError.INTERNAL, McpError.OTHER)
"""How another request can fail."""


@unique
class McpOutcome(StrEnum):
    """What came of a call of a tool."""

    SUCCEEDED = "succeeded"
    """Its result is what was asked for, or the handle of a job."""
    REFUSED = "refused"
    """The client has to ask otherwise; the result says how."""
    FAILED = "failed"
    """It is our fault, the database's or the machine's."""
    ASKED = "asked"
    """The client has to answer a question first."""
    CANCELLED = "cancelled"
    """The client called it off, or its process ended."""


@unique
class Reconnect(StrEnum):
    """What a client had lost that was connected again."""

    STREAM = "stream"
    """A stream, which it resumed with the id of the last event that it had seen."""
    WORKER = "worker"
    """The worker that had its session; this one went on with it."""
    DOOR = "door"
    """The part of the tree that serves clients; its supervisor started it again."""


@unique
class CompactionOutcome(StrEnum):
    """What came of making a context smaller."""

    SUCCEEDED = "succeeded"
    """It has room again."""
    FAILED = "failed"
    """It is as full as before."""


@unique
class CallbackOutcome(StrEnum):
    """What came of an attempt to deliver a callback."""

    DELIVERED = "delivered"
    """Its receiver took it."""
    FAILED = "failed"
    """It is tried again."""
    GIVEN_UP = "given_up"
    """It is not."""


_SINGLE: Final = frozenset({"root", "health", "workspaces", "doors"})
_METHODS: Final = frozenset(MCP_METHODS)
_TOOLS: Final = frozenset(TOOLS)
_SHAPES: Final = (
    ("sessions", re.compile(r"sessions of /.*", re.DOTALL)),
    ("jobs", re.compile(r"jobs of /.*", re.DOTALL)),
    ("callbacks", re.compile(r"callbacks of /.*", re.DOTALL)),
    ("specialists", re.compile(r"specialists of session_[0-9a-f]{12}")),
    ("session", re.compile(r"session_[0-9a-f]{12}")),
    ("workspace", re.compile(r"/.*", re.DOTALL)),
)
"""Names that are made while the tree grows: from a session's id, or from a workspace's absolute directory."""


def declared_supervisor(name: str) -> str:
    """Give the declared name of a supervisor: one of SUPERVISORS."""
    if name in _SINGLE:
        return name
    return next((declared for declared, shape in _SHAPES if shape.fullmatch(name)), OTHER)


def declared_kind(kind: str) -> str:
    """Give the declared class of an actor: one of ACTOR_KINDS."""
    return kind if kind in ACTOR_KINDS else OTHER


def declared_specialist(role: str) -> str:
    """Give the declared name of a role: one of SPECIALISTS."""
    return role if role in SPECIALISTS else OTHER


def declared_method(method: str) -> str:
    """Give the declared name of a method of MCP: one of MCP_METHODS."""
    return method if method in _METHODS else OTHER


def declared_tool(tool: object) -> str:
    """Give the declared name of a tool: one of TOOLS."""
    return tool if isinstance(tool, str) and tool in _TOOLS else OTHER


def declared_phase(phase: str) -> str:
    """Give the declared name of a phase of a restart: one of RESTART_PHASES."""
    return phase if phase in RESTART_PHASES else OTHER


def declared_reason(reason: str) -> str:
    """Give the declared reason of a generation: one of GENERATION_REASONS."""
    return reason if reason in GENERATION_REASONS else OTHER
