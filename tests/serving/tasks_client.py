"""A client of the tasks extension, written against the SDK's own: what is on the wire, nothing made up for it.

Not a test. `known` gives the extension for `Client(extensions=[...])`, `called` the raw answer to a call.
"""

from __future__ import annotations

from typing import Any, Literal

import trio
from mcp import Client
from mcp.client.extension import ClaimContext, ClientExtension, ResultClaim
from mcp_types import CallToolResult, Request, RequestParams, Result
from pydantic import ConfigDict

TASKS = "io.modelcontextprotocol/tasks"


class Created(Result):
    """The answer to a call that became a task."""

    result_type: Literal["task"] = "task"
    task_id: str
    status: str
    created_at: str
    last_updated_at: str
    ttl_ms: int | None = None
    poll_interval_ms: int | None = None
    status_message: str | None = None


class Known(ClientExtension):
    """Declares that this client knows tasks."""

    identifier = TASKS

    def claims(self) -> list[ResultClaim[Any]]:
        return [ResultClaim(result_type="task", model=Created, resolve=_never)]


class TaskParams(RequestParams):
    task_id: str
    input_responses: dict[str, Any] | None = None


class TaskRequest(Request[TaskParams, str]):
    name_param = "taskId"


class Anything(Result):
    model_config = ConfigDict(extra="allow")


async def _never(_: Created, __: ClaimContext) -> CallToolResult:
    raise AssertionError("the tests resolve tasks by hand")


async def called(client: Client, tool: str, /, **arguments: object) -> Created | CallToolResult:
    """Call a tool and take whatever the server answers."""
    return await client.session.call_tool(tool, arguments, allow_claimed=True, allow_input_required=True)


async def begun(client: Client, tool: str, /, **arguments: object) -> Created:
    """Call a tool and expect it to become a task."""
    answer = await called(client, tool, **arguments)
    assert isinstance(answer, Created), answer
    return answer


async def finished(client: Client, tool: str, /, **arguments: object) -> dict[str, Any]:
    """Call a tool and give what came of it, which on a slow machine comes as a task."""
    answer = await called(client, tool, **arguments)
    if isinstance(answer, CallToolResult):
        assert not answer.is_error, answer
        assert answer.structured_content is not None
        return answer.structured_content
    return (await until(client, answer.task_id, "completed"))["result"]["structuredContent"]


async def request(client: Client, method: str, task_id: str, **more: Any) -> dict[str, Any]:
    """Send one request of the extension."""
    params = TaskParams(task_id=task_id, **more)
    result = await client.session.send_request(TaskRequest(method=method, params=params), Anything)
    return result.model_dump(by_alias=True, mode="json", exclude_none=True)


async def status(client: Client, task_id: str) -> dict[str, Any]:
    return await request(client, "tasks/get", task_id)


async def until(client: Client, task_id: str, *wanted: str, having: str = "status") -> dict[str, Any]:
    """Ask for a task until it stands where it is wanted, and tells what is wanted."""
    with trio.fail_after(40):
        while True:
            found = await status(client, task_id)
            if found["status"] in wanted and having in found:
                return found
            assert found["status"] in {"working", "input_required"}, found
            await trio.sleep(0.05)
