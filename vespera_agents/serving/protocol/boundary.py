"""Where a request that is no tool call ends when it cannot be answered: one shape of error, whoever raised it.

What a client can cause becomes `INVALID_PARAMS`, what it cannot becomes `INTERNAL_ERROR`; both say in words what is
wrong and what to do next, and again as `data` for programs. Not the failures of tools, which are results that a model
reads (`server`). Neighbours: `complaints` finds the words.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp_types import INTERNAL_ERROR, INVALID_PARAMS, RequestParams

from vespera_agents.logs import correlated
from vespera_agents.serving.protocol.complaints import EXPECTED, Complaint, about_failure, about_fault
from vespera_agents.serving.protocol.logs import LOGGER_NAME, log_to_client
from vespera_agents.store.errors import StoreError
from vespera_agents.workspace.errors import WorkspaceError

__all__ = ["Handler", "bounded", "refusal"]

P = TypeVar("P", bound=RequestParams)
R = TypeVar("R")
Handler = Callable[[ServerRequestContext[dict[str, object]], P], Awaitable[R]]
"""What answers requests of one method."""

_OURS: Final = (StoreError, WorkspaceError)
logger = logging.getLogger(LOGGER_NAME)


def bounded(method: str, handler: Handler[P, R]) -> Handler[P, R]:
    """Let what a handler raises reach the client in one shape."""

    async def answer(ctx: ServerRequestContext[dict[str, object]], params: P) -> R:
        with correlated(request=ctx.request_id, tool=method):
            try:
                return await handler(ctx, params)
            except MCPError:
                raise
            except EXPECTED as error:
                complaint = about_failure(error)
                if isinstance(error, _OURS):
                    await log_to_client(ctx, "error", complaint, method)
                code = INTERNAL_ERROR if isinstance(error, _OURS) else INVALID_PARAMS
                raise refusal(complaint, code, params) from error
            except Exception as error:
                identifier = secrets.token_hex(4)
                logger.exception("internal error %s in %s", identifier, method)
                complaint = about_fault(error, identifier)
                await log_to_client(ctx, "error", complaint, method)
                raise refusal(complaint, INTERNAL_ERROR, params) from error

    return answer


def refusal(complaint: Complaint, code: int = INVALID_PARAMS, params: RequestParams | None = None) -> MCPError:
    """Make an error of a complaint; where the request names an address, so does the error."""
    data = {"kind": complaint.kind, "what": complaint.what, "next_action": complaint.next_action}
    uri = getattr(params, "uri", None)
    return MCPError(code=code, message=complaint.text, data=data if uri is None else {**data, "uri": str(uri)})
