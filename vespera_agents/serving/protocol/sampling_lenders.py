"""How a client's model is asked: over its connection, or by questions of the job that it asked for.

Imported with the first client that lends its model. Neighbours: `sampling` knows the clients and makes these lenders.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, cast, final

from mcp.server.connection import Connection
from mcp.shared.exceptions import MCPError
from mcp_types import CreateMessageRequest

from vespera_agents.context.tokens import estimate_tokens
from vespera_agents.providers.client import CLIENT
from vespera_agents.providers.errors import AccessDenied, MalformedAnswer, Unavailable
from vespera_agents.providers.exchange import Completion, Finish, ModelMessage, ModelRequest, ToolCall, Usage
from vespera_agents.providers.spoken_tools import heard, spoken
from vespera_agents.specialists.jobs import RunningJob

__all__ = ["ThroughConnection", "ThroughJob"]

_REJECTED: Final = -1
"""The code with which clients say that their user does not want it."""
_FINISHES: Final = {"maxTokens": Finish.LENGTH, "toolUse": Finish.TOOLS, "refusal": Finish.REFUSED}


@final
class ThroughJob:
    """Asks by questions of the job, whose answers are kept with it."""

    def __init__(self, running: RunningJob, *, tools: bool) -> None:
        self._running = running
        self._tools = tools
        self._bad: dict[str, int] = {}

    async def answer(self, request: ModelRequest) -> Completion:
        """Have the client's model answer; see `Lender`."""
        number = self._bad.get(request.purpose, 0)
        name = f"{request.purpose} {number}" if number else request.purpose
        # The first part of a purpose is what the request is about: its questions follow one another.
        thread = request.purpose.partition("/")[0]
        question = _question(request, tools=self._tools)
        told = await self._running.ask_kept(thread, name, question)
        try:
            return _completion(request, told, tools=self._tools)
        except MalformedAnswer:
            # Kept, it would be the answer for ever.
            self._bad[request.purpose] = number + 1
            raise


@final
class ThroughConnection:
    """Asks over a connection of the handshake era."""

    def __init__(self, connect: Callable[[str], Awaitable[Connection | None]], name: str, *, tools: bool) -> None:
        self._connect = connect
        self._name = name
        self._tools = tools

    async def answer(self, request: ModelRequest) -> Completion:
        """Have the client's model answer; see `Lender`."""
        connection = await self._connect(self._name)
        if connection is None:
            raise Unavailable(CLIENT, "the client that asked for this work is gone", "Connect it again.")
        try:
            question = _question(request, tools=self._tools)
            told = await connection.send_raw_request(str(question["method"]), _mapping(question["params"]))
        except MCPError as error:
            if error.code == _REJECTED:
                raise AccessDenied(
                    CLIENT, "the user of the client does not want it", "Ask the user, or configure a provider."
                ) from error
            what = f"the client could not answer (error {error.code})"
            raise Unavailable(CLIENT, what, "Look at the client's log.") from error
        return _completion(request, told, tools=self._tools)


def _question(request: ModelRequest, *, tools: bool) -> dict[str, object]:
    """Give a request as the protocol has it."""
    asked = CreateMessageRequest.model_validate({"params": _params(request, tools=tools)}, by_name=False)
    return asked.model_dump(by_alias=True, mode="json", exclude_none=True)


def _mapping(value: object) -> Mapping[str, object]:
    return cast("Mapping[str, object]", value) if isinstance(value, Mapping) else {}


def _params(request: ModelRequest, *, tools: bool) -> dict[str, object]:
    """Give its parameters; tools in words for a client whose model takes none."""
    sent = request if tools else spoken(request)
    params: dict[str, object] = {
        "messages": [_message(message, tools=tools) for message in sent.messages],
        "maxTokens": sent.output_tokens_max,
    }
    if sent.system:
        params["systemPrompt"] = sent.system
    if sent.temperature is not None:
        params["temperature"] = sent.temperature
    if sent.model:
        params["modelPreferences"] = {"hints": [{"name": sent.model}]}
    if sent.tools:
        params["tools"] = [
            {"name": tool.name, "description": tool.description, "inputSchema": dict(tool.parameters)}
            for tool in sent.tools
        ]
    return params


def _message(message: ModelMessage, *, tools: bool) -> dict[str, object]:
    blocks: list[Mapping[str, object]] = []
    text = message.text
    if not tools:
        calls = [json.dumps({"name": call.name, "arguments": dict(call.arguments)}) for call in message.calls]
        results = [f"Result of {result.name}:\n{result.text}" for result in message.results]
        text = "\n\n".join(part for part in (text, *calls, *results) if part)
    else:
        blocks.extend(
            {"type": "tool_use", "id": call.id, "name": call.name, "input": dict(call.arguments)}
            for call in message.calls
        )
        blocks.extend(
            {
                "type": "tool_result",
                "toolUseId": result.call_id,
                "content": [{"type": "text", "text": result.text}],
                "isError": result.is_error,
            }
            for result in message.results
        )
    if text or not blocks:
        blocks.insert(0, {"type": "text", "text": text})
    return {"role": message.author, "content": blocks[0] if len(blocks) == 1 else blocks}


def _completion(request: ModelRequest, told: object, *, tools: bool) -> Completion:
    """Read an answer.

    Raises:
        MalformedAnswer: it is none.
    """
    answer = _mapping(told)
    content = answer.get("content")
    blocks = cast("Sequence[object]", content) if isinstance(content, list) else [content]
    texts: list[str] = []
    calls: list[ToolCall] = []
    for block in blocks:
        one = _mapping(block)
        if one.get("type") == "text" and isinstance(one.get("text"), str):
            texts.append(str(one["text"]))
        elif one.get("type") == "tool_use" and isinstance(one.get("input"), Mapping):
            calls.append(ToolCall(str(one.get("id", "")), str(one.get("name", "")), _mapping(one["input"])))
        else:
            raise MalformedAnswer(CLIENT, "its answer is neither text nor tools", "Ask again, or another model.")
    text = "".join(texts)
    stop = answer.get("stopReason")
    finish = Finish.TOOLS if calls else _FINISHES.get(stop if isinstance(stop, str) else "", Finish.END)
    sent = sum(len(message.text) for message in request.messages) + len(request.system)
    # No client tells what it used.
    usage = Usage(estimate_tokens(" " * sent), estimate_tokens(text), estimated=True)
    completion = Completion(CLIENT, str(answer.get("model") or "unknown"), text, finish, usage, tuple(calls), 0.0)
    return completion if tools else heard(completion, request)
