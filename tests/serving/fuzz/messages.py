"""Good messages of both eras, which `mutations` spoils, and the calls that show that a server still answers.

Not a test. Each is one that a real client sends; together they reach every method that we serve.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

LEGACY = "2025-11-25"
MODERN = "2026-07-28"
ENVELOPE = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientInfo": {"name": "fuzz", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {"extensions": {"io.modelcontextprotocol/tasks": {}}},
}
SESSION = "fuzzed"
"""The name of the session that calls are about."""


@dataclass(frozen=True)
class Ids:
    """What the calls are about."""

    session: str
    tasks: tuple[str, ...]


_CALLS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("initialize_session", {"name": SESSION}),
    ("list_sessions", {"status": "open", "limit": 3}),
    ("resume_session", {"context_tokens_max": 800}),
    ("session_status", {}),
    ("get_status", {"limit": 5}),
    ("plan_task", {"title": "One", "gates": ["test -f x"], "due": "2026-03-31", "complexity": "simple"}),
    ("plan_task", {"subtasks": [{"key": "a", "title": "A"}, {"title": "B", "dependencies": [{"on": "a"}]}]}),
    ("plan_task", {"plan_path": "plan.md"}),
    ("update_task", {"task_id": "@0", "title": "Other", "expected_version": 3, "clear": ["due"]}),
    ("query_tasks", {"text": "one OR two*", "status": ["pending"], "limit": 2, "created_after": "2026-01-01"}),
    ("cancel_task", {"task_id": "@1", "reason": "no"}),
    ("delete_task", {"task_id": "@2", "mode": "delete", "force": True}),
    ("execute_task", {"task_id": "@3", "mode": "client"}),
    ("complete_task", {"task_id": "@4", "summary": "done", "next_action": "complete", "file_paths": ["notes"]}),
    ("synthesize_results", {}),
    ("cleanup_sessions", {"which": "old", "older_than_days": 3}),
    ("maintenance_coordinator", {"action": "scan_cleanup", "dry_run": True}),
    ("health_check", {}),
)
_WITHOUT_SESSION = ("initialize_session", "list_sessions", "health_check")
_REQUESTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("ping", {}),
    ("tools/list", {"cursor": "x"}),
    ("prompts/list", {}),
    ("prompts/get", {"name": "plan_work", "arguments": {"goal": "all of it"}}),
    ("resources/list", {}),
    ("resources/templates/list", {}),
    ("resources/read", {"uri": "vespera://tree"}),
    ("resources/read", {"uri": "vespera://artifact/00?offset=1&limit=2"}),
    (
        "completion/complete",
        {"ref": {"type": "ref/prompt", "name": "execute_task"}, "argument": {"name": "task_id", "value": "t"}},
    ),
    ("logging/setLevel", {"level": "error"}),
    ("resources/subscribe", {"uri": "vespera://tree"}),
    ("resources/unsubscribe", {"uri": "vespera://tree"}),
    (
        "subscriptions/listen",
        {"notifications": {"toolsListChanged": True, "resourceSubscriptions": ["vespera://tree"]}},
    ),
    ("server/discover", {}),
    ("tasks/get", {"taskId": "job_1"}),
    ("tasks/update", {"taskId": "job_1", "inputResponses": {}}),
    ("tasks/cancel", {"taskId": "job_1"}),
    ("no/such", {"x": 1}),
)
_NOTIFICATIONS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("notifications/cancelled", {"requestId": 999_999, "reason": "never mind"}),
    ("notifications/progress", {"progressToken": "p", "progress": 1, "total": 2}),
    ("notifications/roots/list_changed", {}),
    ("notifications/initialized", {}),
    ("notifications/no/such", {}),
)


def handshake(identifier: object = 0) -> dict[str, Any]:
    """Make what opens a connection of the handshake era."""
    return {
        "jsonrpc": "2.0",
        "id": identifier,
        "method": "initialize",
        "params": {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "fuzz", "version": "1"}},
    }


def request(era: str, identifier: object, method: str, params: dict[str, Any]) -> dict[str, Any]:
    """Make a request of an era."""
    envelope = {"_meta": dict(ENVELOPE)} if era == "modern" else {}
    return {"jsonrpc": "2.0", "id": identifier, "method": method, "params": {**params, **envelope}}


def call(era: str, identifier: object, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Make a call of a tool."""
    return request(era, identifier, "tools/call", {"name": f"orchestrator_{tool}", "arguments": arguments})


def opening(era: str, number: int = 0) -> dict[str, Any]:
    """Make the good call that is made time and again; it opens the session, or finds it."""
    return call(era, f"good {number}", "initialize_session", {"name": SESSION})


def breakdown(era: str, session: str) -> dict[str, Any]:
    """Make the call that makes the tasks of `Ids`."""
    titles = [{"title": f"Task {number}"} for number in range(5)]
    return call(era, "breakdown", "plan_task", {"subtasks": titles, "session": session})


def good_messages(era: str, ids: Ids) -> list[dict[str, Any]]:
    """Give one message of each kind that a client of an era sends."""
    found: list[dict[str, Any]] = []
    for number, (tool, arguments) in enumerate(_CALLS):
        about = {} if tool in _WITHOUT_SESSION else {"session": ids.session}
        if "task_id" in arguments:
            about["task_id"] = ids.tasks[int(arguments["task_id"][1:])]
        found.append(call(era, number, tool, {**arguments, **about}))
    found += [request(era, number + 100, method, params) for number, (method, params) in enumerate(_REQUESTS)]
    found += [{"jsonrpc": "2.0", "method": method, "params": params} for method, params in _NOTIFICATIONS]
    found += [
        {"jsonrpc": "2.0", "id": 7, "result": {"roots": []}},
        {"jsonrpc": "2.0", "id": 7, "error": {"code": -1, "message": "no"}},
    ]
    return found
