"""Calls of tools in the log: what is said while one is answered carries its request, tool, session and task.

The ids of session and task are those that the call names; whether they exist is its own affair. Each call is one event
of its own, at the level of information, with how long it took; its arguments are not told. Neighbours: `server`
answers calls, `boundary` every other request.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeVar

from mcp.server.context import ServerRequestContext
from mcp_types import CallToolRequestParams, CallToolResult

from vespera_agents.logs import correlated, log_event
from vespera_agents.serving.tools.catalogue import TOOLS

__all__ = ["correlated_calls"]

R = TypeVar("R")
_Call = Callable[[ServerRequestContext[dict[str, object]], CallToolRequestParams], Awaitable[R]]
_logger: Final = logging.getLogger("vespera_agents.calls")


def correlated_calls(answer: _Call[R]) -> _Call[R]:
    """Let what is logged while a call is answered be known as that call's."""

    async def answer_known(ctx: ServerRequestContext[dict[str, object]], params: CallToolRequestParams) -> R:
        arguments: Mapping[str, object] = params.arguments or {}
        session, task = _id(arguments.get("session_id")), _id(arguments.get("task_id"))
        tool = params.name if params.name in TOOLS else "other"
        with correlated(request=ctx.request_id, tool=tool, session=session, task=task):
            began = time.perf_counter()
            outcome = "cancelled"
            try:
                answered = await answer(ctx, params)
                outcome = "failed" if isinstance(answered, CallToolResult) and answered.is_error else "answered"
                return answered
            finally:
                seconds = round(time.perf_counter() - began, 6)
                log_event(_logger, logging.INFO, "call", outcome=outcome, seconds=seconds)

    return answer_known


def _id(given: object) -> str | None:
    return given if isinstance(given, str) else None
