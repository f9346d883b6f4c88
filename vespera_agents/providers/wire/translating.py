"""Our words to those of the libraries and back; pure. Imported with the libraries, which takes one to two seconds.

Neighbours: `provider` sends what is made here; `counted` judges the usage that comes back; `failures` has the errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, cast

from pydantic_ai import messages as theirs
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.settings import ModelSettings
from pydantic_ai.tools import ToolDefinition

from vespera_agents.providers.errors import MalformedAnswer, Unavailable
from vespera_agents.providers.exchange import Finish, ModelRequest, ToolCall
from vespera_agents.providers.wire.vendors import COMMON_OPTIONS

__all__ = ["answer_of", "messages_of", "parameters_of", "settings_of"]

_MALFORMED_ADVICE: Final = "Try again, or ask another model"


def messages_of(request: ModelRequest) -> list[theirs.ModelMessage]:
    """Give a request's texts, calls and results."""
    translated: list[theirs.ModelMessage] = []
    waiting: list[theirs.ModelRequestPart] = []
    if request.system:
        waiting.append(theirs.SystemPromptPart(request.system))
    for message in request.messages:
        if message.author == "user":
            waiting.extend(
                theirs.ToolReturnPart(one.name, one.text, one.call_id, outcome="failed" if one.is_error else "success")
                for one in message.results
            )
            if message.text:
                waiting.append(theirs.UserPromptPart(message.text))
            continue
        if waiting:
            translated.append(theirs.ModelRequest(parts=waiting))
            waiting = []
        parts: list[theirs.ModelResponsePart] = [theirs.TextPart(message.text)] if message.text else []
        parts.extend(theirs.ToolCallPart(call.name, dict(call.arguments), call.id) for call in message.calls)
        translated.append(theirs.ModelResponse(parts=parts))
    translated.append(theirs.ModelRequest(parts=waiting))
    return translated


def parameters_of(request: ModelRequest) -> ModelRequestParameters:
    """Give the tools that a request offers."""
    # Left open, `strict` has some libraries rewrite the schema, and the model would see another one than was counted.
    return ModelRequestParameters(
        function_tools=[
            ToolDefinition(
                name=tool.name,
                description=tool.description,
                parameters_json_schema=dict(tool.parameters),
                strict=False,
            )
            for tool in request.tools
        ]
    )


def settings_of(request: ModelRequest, options: Mapping[str, object]) -> ModelSettings:
    """Give the limits of a request, with what its provider's owner wants in each."""
    settings = {name: value for name, value in options.items() if name in COMMON_OPTIONS}
    if body := {name: value for name, value in options.items() if name not in COMMON_OPTIONS}:
        settings["extra_body"] = body
    settings["max_tokens"] = request.output_tokens_max
    if request.temperature is not None:
        settings["temperature"] = request.temperature
    return cast("ModelSettings", settings)


def answer_of(
    provider: str, response: theirs.ModelResponse, *, streamed: bool
) -> tuple[str, tuple[ToolCall, ...], Finish]:
    """Read text, calls and end of an answer.

    Raises:
        Unavailable: it broke off, or the model failed.
        MalformedAnswer: there is nothing in it, or the arguments of a call are no JSON object.
    """
    reason, details = response.finish_reason, response.provider_details or {}
    text = "".join(part.content for part in response.parts if isinstance(part, theirs.TextPart))
    if reason == "content_filter":
        return text or str(details.get("refusal") or ""), (), Finish.REFUSED
    if reason == "error":
        raise Unavailable(provider, "the model failed in the middle of its answer", "Try again", may_have_cost=True)
    if streamed and (reason is None or response.state == "incomplete"):
        raise Unavailable(provider, "the answer broke off before its end", "Try again", may_have_cost=True)
    if reason is None and not response.parts:
        raise MalformedAnswer(provider, "there is nothing in its answer", _MALFORMED_ADVICE)
    calls: list[ToolCall] = []
    for part in response.parts:
        if not isinstance(part, theirs.ToolCallPart):
            continue
        try:
            calls.append(ToolCall(part.tool_call_id, part.tool_name, part.args_as_dict(raise_if_invalid=True)))
        except (ValueError, AssertionError):
            if reason == "length":
                # The limit of the answer cut it off; so the call was never made.
                break
            what = f"the arguments of a call of {part.tool_name} are no JSON object"
            raise MalformedAnswer(provider, what, _MALFORMED_ADVICE) from None
    if reason == "length":
        return text, tuple(calls), Finish.LENGTH
    return text, tuple(calls), Finish.TOOLS if calls else Finish.END
