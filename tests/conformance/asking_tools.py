"""Fixtures that ask: the user, the client's model, its directories; of clients of both eras.

Until 2025-11-25 the server asks in the midst of a call. Since 2026-07-28 it answers that it needs input, and the client
calls again with the answers. Not a test.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mcp.shared.message import ServerMessageMetadata
from mcp_types import (
    CallToolRequestParams,
    CallToolResult,
    ClientCapabilities,
    CreateMessageRequest,
    CreateMessageRequestParams,
    CreateMessageResult,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitResult,
    InputRequiredResult,
    InputResponseRequestParams,
    ListRootsRequest,
    ListRootsResult,
    SamplingMessage,
    TextContent,
)

from tests.conformance.fixture import Context, Fixture, said

__all__ = ["asking_tools", "form", "given"]

_WORD: Mapping[str, Any] = {"type": "string"}
_OPTIONS = ["option1", "option2", "option3"]
_DEFAULTS: Mapping[str, Any] = {
    "name": {"type": "string", "default": "John Doe"},
    "age": {"type": "integer", "default": 30},
    "score": {"type": "number", "default": 95.5},
    "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
    "verified": {"type": "boolean", "default": True},
}
_ENUMS: Mapping[str, Any] = {
    "untitledSingle": {"type": "string", "enum": _OPTIONS},
    "titledSingle": {
        "type": "string",
        "oneOf": [{"const": f"value{n}", "title": f"{word} Option"} for n, word in enumerate(("First", "Second"), 1)],
    },
    "legacyEnum": {
        "type": "string",
        "enum": ["opt1", "opt2", "opt3"],
        "enumNames": ["Option One", "Option Two", "Option Three"],
    },
    "untitledMulti": {"type": "array", "items": {"type": "string", "enum": _OPTIONS}},
    "titledMulti": {
        "type": "array",
        "items": {"anyOf": [{"const": f"value{n}", "title": f"Choice {n}"} for n in (1, 2, 3)]},
    },
}


def asking_tools() -> list[Fixture]:
    """Make these fixtures."""
    prompted = {"type": "object", "properties": {"prompt": _WORD}, "required": ["prompt"]}
    spoken = {"type": "object", "properties": {"message": _WORD}, "required": ["message"]}
    asked = "test_input_required_result_"
    return [
        Fixture("test_sampling", "Asks the client's model.", _sample, prompted),
        Fixture("test_elicitation", "Asks the user for a name and an address.", _elicit, spoken),
        Fixture("test_elicitation_sep1034_defaults", "Asks the user with defaults.", _elicit_defaults),
        Fixture("test_elicitation_sep1330_enums", "Asks the user to choose.", _elicit_enums),
        Fixture("test_streaming_elicitation", "Asks the user for a name.", _name),
        Fixture(f"{asked}elicitation", "Asks the user for a name.", _name),
        Fixture(f"{asked}sampling", "Asks the client's model.", _capital),
        Fixture(f"{asked}list_roots", "Asks for the client's directories.", _roots),
        Fixture(f"{asked}request_state", "Asks, and wants its state back.", _confirm),
        Fixture(f"{asked}tampered_state", "Asks, and wants its state back as it was.", _confirm),
        Fixture(f"{asked}multiple_inputs", "Asks three questions at once.", _several),
        Fixture(f"{asked}multi_round", "Asks twice.", _twice),
        Fixture(f"{asked}capabilities", "Asks what this client can answer.", _whoever),
    ]


def form(message: str, properties: Mapping[str, Any], required: Sequence[str] | None = None) -> ElicitRequest:
    """Make a question to the user; what is required, all of it if nothing is said, is listed as such."""
    wanted = list(properties if required is None else required)
    schema = {"type": "object", "properties": dict(properties), "required": wanted}
    return ElicitRequest(params=ElicitRequestFormParams(message=message, requested_schema=schema))


def given(params: InputResponseRequestParams, key: str, field: str) -> str | None:
    """Give what the user wrote into a field, None where nothing came."""
    answer = (params.input_responses or {}).get(key)
    if not isinstance(answer, ElicitResult) or answer.action != "accept":
        return None
    value = (answer.content or {}).get(field)
    return None if value is None else str(value)


def _sampling(text: str, tokens: int) -> CreateMessageRequest:
    message = SamplingMessage(role="user", content=TextContent(text=text))
    return CreateMessageRequest(params=CreateMessageRequestParams(messages=[message], max_tokens=tokens))


async def _sample(ctx: Context, params: CallToolRequestParams) -> CallToolResult:
    related = ServerMessageMetadata(related_request_id=ctx.request_id)
    question = _sampling(str((params.arguments or {})["prompt"]), 100)
    answer = await ctx.session.send_request(question, CreateMessageResult, metadata=related)
    text = answer.content.text if isinstance(answer.content, TextContent) else answer.content.type
    return said(f"LLM response: {text}")


async def _elicit(ctx: Context, params: CallToolRequestParams) -> CallToolResult:
    fields = {
        "username": {"type": "string", "description": "User's response"},
        "email": {"type": "string", "description": "User's email address"},
    }
    answer = await _asked(ctx, form(str((params.arguments or {})["message"]), fields))
    return said(f"User response: action={answer.action}, content={answer.content}")


async def _elicit_defaults(ctx: Context, params: CallToolRequestParams) -> CallToolResult:
    answer = await _asked(ctx, form("Please look at these", _DEFAULTS, []))
    return said(f"Elicitation completed: action={answer.action}, content={answer.content}")


async def _elicit_enums(ctx: Context, params: CallToolRequestParams) -> CallToolResult:
    answer = await _asked(ctx, form("Please choose", _ENUMS, []))
    return said(f"Elicitation completed: action={answer.action}, content={answer.content}")


async def _asked(ctx: Context, question: ElicitRequest) -> ElicitResult:
    related = ServerMessageMetadata(related_request_id=ctx.request_id)
    return await ctx.session.send_request(question, ElicitResult, metadata=related)


_NAME = form("What is your name?", {"name": _WORD})
_CONFIRM = form("Please confirm", {"ok": {"type": "boolean"}})


async def _name(ctx: Context, params: CallToolRequestParams) -> CallToolResult | InputRequiredResult:
    name = given(params, "user_name", "name")
    if name is None:
        return InputRequiredResult(input_requests={"user_name": _NAME})
    return said(f"Hello, {name}!")


async def _capital(ctx: Context, params: CallToolRequestParams) -> CallToolResult | InputRequiredResult:
    answer = (params.input_responses or {}).get("capital_question")
    if not isinstance(answer, CreateMessageResult) or not isinstance(answer.content, TextContent):
        return InputRequiredResult(
            input_requests={"capital_question": _sampling("What is the capital of France?", 100)}
        )
    return said(answer.content.text)


async def _roots(ctx: Context, params: CallToolRequestParams) -> CallToolResult | InputRequiredResult:
    answer = (params.input_responses or {}).get("client_roots")
    if not isinstance(answer, ListRootsResult):
        return InputRequiredResult(input_requests={"client_roots": ListRootsRequest()})
    return said(f"The client works in {', '.join(str(root.uri) for root in answer.roots)}.")


async def _confirm(ctx: Context, params: CallToolRequestParams) -> CallToolResult | InputRequiredResult:
    if given(params, "confirm", "ok") is None or params.request_state != "asked":
        return InputRequiredResult(input_requests={"confirm": _CONFIRM}, request_state="asked")
    return said("state-ok")


async def _several(ctx: Context, params: CallToolRequestParams) -> CallToolResult | InputRequiredResult:
    answers = params.input_responses or {}
    questions = {
        "user_name": _NAME,
        "greeting": _sampling("Generate a greeting", 50),
        "client_roots": ListRootsRequest(),
    }
    if params.request_state != "asked" or questions.keys() - answers.keys():
        return InputRequiredResult(input_requests=questions, request_state="asked")
    return said(f"Answered: {', '.join(sorted(answers))}.")


async def _twice(ctx: Context, params: CallToolRequestParams) -> CallToolResult | InputRequiredResult:
    name, color = given(params, "step1", "name"), given(params, "step2", "color")
    if params.request_state and params.request_state.startswith("name=") and color is not None:
        return said(f"{params.request_state}, color={color}")
    if params.request_state == "round 1" and name is not None:
        question = form("Step 2: What is your favorite color?", {"color": _WORD})
        return InputRequiredResult(input_requests={"step2": question}, request_state=f"name={name}")
    question = form("Step 1: What is your name?", {"name": _WORD})
    return InputRequiredResult(input_requests={"step1": question}, request_state="round 1")


async def _whoever(ctx: Context, params: CallToolRequestParams) -> CallToolResult | InputRequiredResult:
    able = ctx.session.client_capabilities or ClientCapabilities()
    questions = {
        "user_name": _NAME if able.elicitation is not None else None,
        "greeting": _sampling("Generate a greeting", 50) if able.sampling is not None else None,
        "client_roots": ListRootsRequest() if able.roots is not None else None,
    }
    possible = {key: question for key, question in questions.items() if question is not None}
    if not possible or possible.keys() <= (params.input_responses or {}).keys():
        return said("There is nothing to ask.")
    return InputRequiredResult(input_requests=possible)
