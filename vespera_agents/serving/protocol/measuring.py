"""Each request of MCP, timed and counted, whatever answers it and over whatever transport it came.

The only inhabitant of the server's chain of what all messages pass: so a request whose parameters are no good, and one
that nobody answers, is counted as well. It reads nothing of a call but the tool, the task that it names, and the trace
that its client says it belongs to. Neighbours: `server` puts it there, `vespera_agents.health` has the numbers.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any, Final, cast, final

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp_types import INTERNAL_ERROR, INVALID_PARAMS
from pydantic import ValidationError

from vespera_agents.health.metrics.labels import CALL, McpError, McpOutcome
from vespera_agents.health.metrics.requests import RequestFigures
from vespera_agents.serving.protocol.complaints import ERROR_META, is_ours

__all__ = ["Measuring"]

_TRACE: Final = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
"""The traceparent of W3C Trace Context."""
_TASK: Final = re.compile(r"task_[0-9a-f]{12}")
_CODES: Final = {INVALID_PARAMS: McpError.INVALID, INTERNAL_ERROR: McpError.INTERNAL}

Context = ServerRequestContext[dict[str, object], Any]
Object = dict[str, object]


@final
class Measuring:
    """Counts what passes it."""

    __slots__ = ("_figures",)

    def __init__(self, figures: RequestFigures) -> None:
        """Say where the numbers go."""
        self._figures = figures

    async def __call__(self, ctx: Context, call_next: CallNext) -> HandlerResult:
        """Let a message pass."""
        if ctx.request_id is None:
            # A notification: nobody waits for an answer.
            return await call_next(ctx)
        params = ctx.params or {}
        tool = self._figures.begin_call(params.get("name")) if ctx.method == CALL else None
        begun = time.perf_counter()
        try:
            result = await call_next(ctx)
        except BaseException as failure:
            self._ended(ctx.method, tool, _ended_by(failure), begun, params)
            raise
        self._ended(ctx.method, tool, _came_to(result), begun, params)
        return result

    def _ended(
        self,
        method: str,
        tool: str | None,
        end: tuple[McpOutcome, McpError],
        begun: float,
        params: Mapping[str, object],
    ) -> None:
        seconds, names = time.perf_counter() - begun, _names(params)
        if tool is None:
            self._figures.ended(method, end[1], seconds, names)
        else:
            self._figures.end_call(tool, *end, seconds, names)


def _came_to(result: HandlerResult) -> tuple[McpOutcome, McpError]:
    """Read what came of a call from its answer, as it goes over the wire."""
    told: Mapping[str, object] = result if isinstance(result, dict) else {}
    if told.get("resultType") == "input_required":
        return McpOutcome.ASKED, McpError.NONE
    if not told.get("isError"):
        return McpOutcome.SUCCEEDED, McpError.NONE
    meta = cast("Mapping[str, Mapping[str, object]]", told.get("_meta") or {})
    kind = str(meta.get(ERROR_META, {}).get("kind"))
    return McpOutcome.FAILED if is_ours(kind) else McpOutcome.REFUSED, McpError.TOOL


def _ended_by(failure: BaseException) -> tuple[McpOutcome, McpError]:
    """Tell what an exception means for the request that it ended."""
    if isinstance(failure, ValidationError):
        return McpOutcome.REFUSED, McpError.INVALID
    if isinstance(failure, MCPError):
        error = _CODES.get(failure.code, McpError.OTHER)
        return McpOutcome.FAILED if error is McpError.INTERNAL else McpOutcome.REFUSED, error
    if isinstance(failure, Exception):
        return McpOutcome.FAILED, McpError.INTERNAL
    return McpOutcome.CANCELLED, McpError.OTHER


def _names(params: Mapping[str, object]) -> dict[str, str] | None:
    """Name the trace that a request belongs to, and the task that it is about; None where there is neither."""
    # Parameters come out of JSON, and to ask for a Mapping takes ten times as long.
    meta, arguments = params.get("_meta"), params.get("arguments")
    parent = cast("Object", meta).get("traceparent") if isinstance(meta, dict) else None
    task = cast("Object", arguments).get("task_id") if isinstance(arguments, dict) else None
    if parent is None and task is None:
        return None
    names: dict[str, str] = {}
    trace = _TRACE.fullmatch(parent) if isinstance(parent, str) else None
    if trace is not None:
        names["trace_id"] = trace[1]
    if isinstance(task, str) and _TASK.fullmatch(task):
        names["task_id"] = task
    return names
