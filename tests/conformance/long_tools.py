"""Fixtures that take long: tasks of the extension SEP-2663 for clients that know it, plain calls for all others.

Not a test. The tasks are the product's own: a fixture says what is to be done, `protocol.jobs` keeps, asks, cancels.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

import trio
from mcp.server.context import HandlerResult
from mcp.shared.exceptions import MCPError
from mcp_types import INTERNAL_ERROR, CallToolRequestParams, CallToolResult, InputRequiredResult

from tests.conformance.asking_tools import form, given
from tests.conformance.fixture import Context, Fixture, said
from vespera_agents.serving.protocol.callers import Callers
from vespera_agents.serving.protocol.jobs import Asking, LongCalls

__all__ = ["long_tools"]

Work: TypeAlias = Callable[[CallToolRequestParams, Asking | None], Awaitable[CallToolResult]]
"""What a call does; it asks nobody where the call did not become a task."""

_STEP_SECONDS = 0.2
_CONFIRM: Mapping[str, Any] = {"confirm": {"type": "boolean"}}
_NAME: Mapping[str, Any] = {"name": {"type": "string"}}
_COMPUTED = {"type": "object", "properties": {"seconds": {"type": "number"}, "label": {"type": "string"}}}
_DELETED = {"type": "object", "properties": {"filename": {"type": "string"}}}


def long_tools(calls: LongCalls) -> list[Fixture]:
    """Make these fixtures.

    Args:
        calls: turns a call into a task.
    """
    callers = Callers(lambda: "conformance")

    async def begin(ctx: Context, params: CallToolRequestParams, work: Work) -> HandlerResult:
        client = ctx.session.client_params
        call = callers.call(None if client is None else client.client_info.name, ctx.meta)
        return await calls.begin(call, params.name, lambda asking, _: work(params, asking))

    def optional(work: Work) -> Callable[[Context, CallToolRequestParams], Awaitable[HandlerResult]]:
        async def answer(ctx: Context, params: CallToolRequestParams) -> HandlerResult:
            return await begin(ctx, params, work) if calls.known_to(ctx) else await work(params, None)

        return answer

    async def fail(ctx: Context, params: CallToolRequestParams) -> HandlerResult:
        calls.require(ctx)
        return await begin(ctx, params, _fail)

    async def ask_first(ctx: Context, params: CallToolRequestParams) -> HandlerResult:
        calls.require(ctx)
        if given(params, "user_name", "name") is None:
            return InputRequiredResult(input_requests={"user_name": form("What is your name?", _NAME)})
        return await begin(ctx, params, _greet)

    return [
        Fixture("slow_compute", "Takes as many seconds as it is told to.", optional(_compute), _COMPUTED),
        Fixture("failing_job", "Fails after a while; always a task.", fail),
        Fixture("protocol_error_job", "Cannot be answered.", optional(_break)),
        Fixture("confirm_delete", "Asks before it pretends to delete.", optional(_delete), _DELETED),
        Fixture("multi_input", "Asks two questions at once.", optional(_ask_twice)),
        Fixture("test_tool_with_task", "Asks first, then takes long.", ask_first),
    ]


async def _compute(params: CallToolRequestParams, asking: Asking | None) -> CallToolResult:
    arguments = params.arguments or {}
    await trio.sleep(float(arguments.get("seconds", 0)))
    return said(f"Computed {arguments.get('label', 'nothing')}.")


async def _fail(params: CallToolRequestParams, asking: Asking | None) -> CallToolResult:
    await trio.sleep(_STEP_SECONDS)
    return said("This job fails, as it always does.", failed=True)


async def _break(params: CallToolRequestParams, asking: Asking | None) -> CallToolResult:
    await trio.sleep(_STEP_SECONDS)
    raise MCPError(code=INTERNAL_ERROR, message="This job breaks, as it always does.")


async def _delete(params: CallToolRequestParams, asking: Asking | None) -> CallToolResult:
    if asking is None:
        return said("Nothing was deleted: nobody could be asked.")
    answers = await asking.ask({"confirm": form("Delete it?", _CONFIRM)})
    return said(f"Asked: {answers}")


async def _ask_twice(params: CallToolRequestParams, asking: Asking | None) -> CallToolResult:
    if asking is None:
        return said("Nobody could be asked.")
    answers = await asking.ask({"name": form("What is your name?", _NAME), "confirm": form("Sure?", _CONFIRM)})
    return said(f"Asked: {', '.join(sorted(answers))}.")


async def _greet(params: CallToolRequestParams, asking: Asking | None) -> CallToolResult:
    await trio.sleep(_STEP_SECONDS)
    return said(f"Hello, {given(params, 'user_name', 'name')}!")
