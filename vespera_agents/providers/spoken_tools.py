"""Tools for a model that cannot be offered any: described in words, and what it asks for is read from its text.

Pure. Neighbours: `client` uses it where the client of a session takes no tools.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final, cast

from vespera_agents.providers.exchange import Completion, Finish, ModelRequest, ToolCall

__all__ = ["heard", "spoken"]

_HOW: Final = (
    "You have the tools below, described as JSON. To use some, answer with nothing but one JSON object "
    '{"calls": [{"name": "...", "arguments": {...}}]}; their results come with the next message.'
)
_FENCED: Final = re.compile(r"```(?:json)?\s*\n(.*?)\n?```", re.DOTALL)
_CALLS_MAX: Final = 64


def spoken(request: ModelRequest) -> ModelRequest:
    """Give a request whose tools are described in its system text."""
    if not request.tools:
        return request
    tools = [
        json.dumps({"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)})
        for tool in request.tools
    ]
    return replace(request, system="\n\n".join(part for part in (request.system, _HOW, *tools) if part), tools=())


def heard(answer: Completion, request: ModelRequest) -> Completion:
    """Give an answer with the tools that its text asks for.

    Args:
        answer: to a request that `spoken` made.
        request: the one before, with its tools.
    """
    names = {tool.name for tool in request.tools}
    if not names or answer.finish in {Finish.REFUSED, Finish.TOOLS}:
        return answer
    for text in (answer.text, *reversed(_FENCED.findall(answer.text))):
        calls = _calls(text, names)
        if calls:
            return replace(answer, text="", calls=calls, finish=Finish.TOOLS)
    return answer


def _calls(text: str, names: set[str]) -> tuple[ToolCall, ...]:
    try:
        told: object = json.loads(text.strip())
    except (ValueError, RecursionError):
        return ()
    wanted = cast("Mapping[str, object]", told).get("calls") if isinstance(told, dict) else None
    found: list[ToolCall] = []
    for number, call in enumerate(cast("list[object]", wanted)[:_CALLS_MAX] if isinstance(wanted, list) else [], 1):
        if not isinstance(call, dict):
            return ()
        one = cast("Mapping[str, object]", call)
        name, arguments = one.get("name"), one.get("arguments", {})
        if name not in names or not isinstance(arguments, dict):
            # Half of what it wants is not what it wants; it is told as text, and asked again.
            return ()
        found.append(ToolCall(f"call-{number}", str(name), cast("dict[str, object]", arguments)))
    return tuple(found)
