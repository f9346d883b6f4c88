"""The dashboard of what clients see: their calls, their tasks, callbacks, and the store that keeps all of it."""

from __future__ import annotations

from typing import Final

from grafana.panels import Board, Section, lines
from grafana.queries import INTERVAL, Query, average, largest, now, picked, quantiles, rate

__all__ = ["WORK"]

_OPERATIONS: Final = "mcp_server_operation_duration_seconds"
_CALLED: Final = 'gen_ai_tool_name!=""'
_TOOLS: Final = (
    f"sum by (gen_ai_tool_name) (rate({picked(_OPERATIONS, _CALLED, part='sum')}[{INTERVAL}]))"
    f" / clamp_min(sum by (gen_ai_tool_name) (rate({picked(_OPERATIONS, _CALLED, part='count')}[{INTERVAL}])), 1e-9)"
)
_MCP: Final = Section(
    "MCP",
    (
        lines(
            "Calls",
            "Tool calls per second, by what became of them.",
            "reqps",
            rate("vespera_mcp_requests_total", "outcome"),
        ),
        lines("Calls by tool", "Tool calls per second, by tool.", "reqps", rate("vespera_mcp_requests_total", "tool")),
        lines(
            "In flight",
            "Tool calls that were begun and not answered yet.",
            "short",
            now("vespera_mcp_in_flight", "tool"),
        ),
        lines(
            "Duration",
            "From a request's arrival to its answer, by method.",
            "s",
            *quantiles(_OPERATIONS, "mcp_method_name", of=(0.5, 0.95)),
        ),
        lines("Mean duration by tool", "The same for tool calls, by tool.", "s", Query(_TOOLS, "{{gen_ai_tool_name}}")),
        lines(
            "Reconnects",
            "Connections of clients that began again, per second, by why.",
            "cps",
            rate("vespera_mcp_reconnects_total", "reason"),
        ),
    ),
)
_TASKS: Final = Section(
    "Tasks",
    (
        lines(
            "By status",
            "Tasks in the databases, containers aside.",
            "short",
            now("vespera_tasks", "status"),
            stacked=True,
        ),
        lines(
            "Not ended, by specialist",
            "Tasks that are neither done nor given up, by who shall do them.",
            "short",
            now("vespera_tasks", "specialist", where='status=~"pending|in_progress|blocked|review"'),
            stacked=True,
        ),
        lines(
            "Oldest",
            "How long the task that has waited longest in a status has been there.",
            "s",
            largest("vespera_task_oldest_age_seconds", "status"),
        ),
        lines(
            "Ended",
            "Ends of tasks per second, by how they ended.",
            "cps",
            rate("vespera_tasks_finished_total", "outcome"),
        ),
        lines(
            "Time in the queue",
            "From a task's creation to its first claim.",
            "s",
            *quantiles("vespera_task_queue_wait_seconds", of=(0.5, 0.95)),
        ),
        lines(
            "Time at work",
            "From a task's claim to its end, by specialist.",
            "s",
            average("vespera_task_duration_seconds", "specialist"),
            *quantiles("vespera_task_duration_seconds", of=(0.95,)),
        ),
    ),
)
_STORE: Final = Section(
    "Store",
    (
        lines(
            "Commits",
            "How long the database takes to make a group of changes durable.",
            "s",
            *quantiles("vespera_store_commit_duration_seconds"),
        ),
        lines(
            "Changes in a commit",
            "Commands that one commit made durable, on average.",
            "short",
            average("vespera_store_commit_batch_size"),
        ),
        lines("Queue", "Commands that wait for the writer.", "short", now("vespera_store_queue_depth")),
        lines(
            "Size",
            "Database files of the open workspaces, with their write-ahead logs.",
            "bytes",
            now("vespera_store_size_bytes"),
        ),
        lines(
            "Errors",
            "Failures of the database per second, by what it was asked for.",
            "cps",
            rate("vespera_store_errors_total", "operation", "reason"),
        ),
    ),
)
_CALLBACKS: Final = Section(
    "Callbacks",
    (
        lines(
            "Callbacks that wait",
            "Callbacks that were not delivered yet.",
            "short",
            now("vespera_callbacks_pending", legend="pending"),
        ),
        lines(
            "Oldest callback",
            "The longest that one of them has waited.",
            "s",
            largest("vespera_callback_oldest_pending_age_seconds"),
        ),
        lines(
            "Deliveries",
            "Callbacks per second, by how their delivery ended.",
            "cps",
            rate("vespera_callbacks_total", "outcome"),
        ),
        lines(
            "Time to deliver",
            "From a callback's beginning to its end.",
            "s",
            *quantiles("vespera_callback_delivery_duration_seconds", of=(0.5, 0.95)),
        ),
    ),
)
WORK: Final = Board(
    "work",
    "MCP, tasks and store",
    "What clients ask for, how their tasks fare, and how the store keeps up.",
    (_MCP, _TASKS, _STORE, _CALLBACKS),
)
