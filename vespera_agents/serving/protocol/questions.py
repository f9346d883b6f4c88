"""Questions to the user on their way: elicitation, in both eras.

Over a handshake connection the server asks on its own and waits, for minutes if need be, while other calls go on;
since 2026-07-28 it answers that it needs input, and the client calls again with the answer and what it was given to
keep. That is signed with a key of this user's, so it is good after a restart and in another server, and only for the
same tool, arguments and question. Neighbours: `server` asks before it invokes a tool, `roots` asks for the directory.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar, cast, final

import trio
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp.shared.message import ServerMessageMetadata
from mcp_types import (
    CallToolRequestParams,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitResult,
    InputRequiredResult,
    ServerRequest,
)
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import BaseModel, ValidationError

from vespera_agents.serving.tools.questions import Question
from vespera_agents.work.errors import Refusal

__all__ = ["ANSWER_SECONDS", "Declined", "Questions", "ask_client", "can_be_asked"]

ANSWER_SECONDS: Final = 300.0
"""How long a user may take to answer."""
_STATE_SECONDS: Final = 3_600.0
"""How long an answer to a question is good that the client brings itself."""
_NAME: Final = "question"
_CONFIRM: Final = "confirm"

Context = ServerRequestContext[dict[str, object]]
R = TypeVar("R", bound=BaseModel)


@final
class Declined(Refusal):
    """The user does not want it, or did not answer."""

    def __init__(self, question: Question, how: str) -> None:
        super().__init__(
            f"the user {how}: {question.text}", "Nothing was changed. Ask the user what shall be done instead."
        )


@final
@dataclass(frozen=True, slots=True)
class _Kept:
    """What a client keeps for us between a question and its answer."""

    root: str | None
    """The directory it said that it works in."""
    question: str | None
    """The digest of the call and its question."""


def can_be_asked(ctx: Context) -> bool:
    """Say whether the user behind this request can be asked by a form."""
    capabilities = ctx.session.client_capabilities
    offered = None if capabilities is None else capabilities.elicitation
    if offered is None or (offered.form is None and offered.url is not None):
        return False
    return ctx.protocol_version in MODERN_PROTOCOL_VERSIONS or ctx.session.can_send_request


@final
class Questions:
    """Asks the users of one server."""

    def __init__(self, key: Callable[[], bytes]) -> None:
        """Say with which key what clients keep for us is signed.

        Args:
            key: reads it, when it is needed; raises WorkspaceError.
        """
        self._key = key

    def root_of(self, params: CallToolRequestParams) -> str | None:
        """Give the directory that the client told in an earlier round of this call."""
        kept = None if params.request_state is None else self._read(params.request_state)
        return None if kept is None else kept.root

    async def ask(
        self, ctx: Context, params: CallToolRequestParams, question: Question, root: str | None
    ) -> str | InputRequiredResult | None:
        """Ask, and give what was chosen, None for a question that was confirmed, or what is to be answered first.

        Args:
            ctx: the request; `can_be_asked` said that it can.
            params: the call.
            question: what to ask.
            root: the directory that the client told in this round, kept for the next.

        Raises:
            Declined: the user said no, or nothing in time.
        """
        request = ElicitRequest(
            params=ElicitRequestFormParams(message=question.text, requested_schema=_schema(question))
        )
        if ctx.protocol_version not in MODERN_PROTOCOL_VERSIONS:
            return _chosen(question, await ask_client(ctx, request, ElicitResult, ANSWER_SECONDS))
        digest = _digest(params, question)
        given = (params.input_responses or {}).get(_NAME)
        kept = None if params.request_state is None else self._read(params.request_state)
        if isinstance(given, ElicitResult) and kept is not None and kept.question == digest:
            return _chosen(question, given)
        # Not asked yet, or what was asked is no longer what would happen: ask for what would happen now.
        return InputRequiredResult(input_requests={_NAME: request}, request_state=self._write(_Kept(root, digest)))

    def _write(self, kept: _Kept) -> str:
        claims = {"root": kept.root, "question": kept.question, "until": time.time() + _STATE_SECONDS}
        payload = base64.urlsafe_b64encode(json.dumps(claims).encode())
        return f"{payload.decode()}.{self._signature(payload)}"

    def _read(self, state: str) -> _Kept | None:
        """Read what a client kept; None for what is not ours, or too old."""
        payload, _, signature = state.encode("utf-8", "surrogatepass").partition(b".")
        if not hmac.compare_digest(self._signature(payload).encode(), signature):
            return None
        try:
            claims = cast("dict[str, object]", json.loads(base64.urlsafe_b64decode(payload)))
            until, root, question = claims["until"], claims["root"], claims["question"]
        except (binascii.Error, ValueError, KeyError, TypeError):
            return None
        if not isinstance(until, float) or not time.time() < until:
            return None
        return _Kept(cast("str | None", root), cast("str | None", question))

    def _signature(self, payload: bytes) -> str:
        return hmac.new(self._key(), b"question:" + payload, hashlib.sha256).hexdigest()


async def ask_client(ctx: Context, request: ServerRequest, answer: type[R], seconds: float) -> R | None:
    """Send a handshake client a request of our own, and wait for a bounded time; None where it does not answer it.

    Args:
        ctx: the request that it belongs to.
        request: what to ask.
        answer: what comes back.
        seconds: how long to wait.
    """
    related = ServerMessageMetadata(related_request_id=ctx.request_id)
    with trio.move_on_after(seconds):
        try:
            return await ctx.session.send_request(request, answer, metadata=related)
        except (MCPError, ValidationError):
            return None
    return None


def _schema(question: Question) -> dict[str, object]:
    if question.parameter is None:
        field: dict[str, object] = {"type": "boolean", "title": "Yes, do it"}
        name = _CONFIRM
    else:
        field = {"type": "string", "enum": list(question.choices)}
        name = question.parameter
    return {"type": "object", "properties": {name: field}, "required": [name]}


def _chosen(question: Question, answer: ElicitResult | None) -> str | None:
    if answer is None:
        raise Declined(question, "did not answer")
    if answer.action != "accept":
        raise Declined(question, "declined" if answer.action == "decline" else "closed the question")
    content = answer.content or {}
    if question.parameter is None:
        if content.get(_CONFIRM) is not True:
            raise Declined(question, "said no")
        return None
    chosen = content.get(question.parameter)
    if chosen not in question.choices:
        raise Declined(question, f"chose {chosen!r:.80}, which is none of the choices")
    return str(chosen)


def _digest(params: CallToolRequestParams, question: Question) -> str:
    told = json.dumps([params.name, params.arguments or {}, question.text], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()
