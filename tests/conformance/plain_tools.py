"""Fixtures that ask nobody: content of every kind, an error, progress, logging, schemas, changes of lists.

Not a test. Each one is what a scenario of the suite describes, no more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import trio
from mcp.shared.exceptions import MCPError
from mcp.shared.subscriptions import PromptsListChanged, ToolsListChanged
from mcp_types import (
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    AudioContent,
    CallToolRequestParams,
    CallToolResult,
    ClientCapabilities,
    EmbeddedResource,
    ImageContent,
    MissingRequiredClientCapabilityErrorData,
    SamplingCapability,
    TextResourceContents,
)

from tests.conformance.fixture import PNG, WAV, Context, Fixture, said
from vespera_agents.serving.protocol.complaints import Complaint
from vespera_agents.serving.protocol.logs import log_to_client
from vespera_agents.serving.protocol.notifying.changes import Changes

__all__ = ["plain_tools"]

_STEP_SECONDS = 0.02
"""The suite listens for half a second only, also on a busy machine."""
_NOTICED_SECONDS = 0.1
"""How long an event takes at most until a client has seen it."""
_SCHEMA: Mapping[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}
_IN_A_HEADER: Mapping[str, Any] = {
    "type": "object",
    "properties": {"region": {"type": "string", "x-mcp-header": "Region"}},
    "required": ["region"],
}
_NOT_PORTABLE: Mapping[str, Any] = {"type": "object", "properties": {"some": {"type": ["string", "null"]}}}
"""JSON Schema allows it, and some clients fail over it: the Inspector's strictness must find it."""
_NAMED: Mapping[str, Any] = {"type": "object", "properties": {"name": {"type": "string"}}}


def plain_tools(changes: Changes) -> list[Fixture]:
    """Make these fixtures.

    Args:
        changes: tells clients that a list has changed.
    """

    async def change_tools(ctx: Context, params: CallToolRequestParams) -> CallToolResult:
        await changes.publish(ToolsListChanged())
        return said("The list of tools has changed.")

    async def change_prompts(ctx: Context, params: CallToolRequestParams) -> CallToolResult:
        await changes.publish(PromptsListChanged())
        return said("The list of prompts has changed.")

    return [
        Fixture("greet", "Greets.", _greet, _NAMED),
        Fixture("test_simple_text", "Says one sentence.", _text),
        Fixture("test_image_content", "Shows a picture.", _image),
        Fixture("test_audio_content", "Plays a sound.", _audio),
        Fixture("test_embedded_resource", "Gives a resource.", _embedded),
        Fixture("test_multiple_content_types", "Gives a text, a picture and a resource.", _mixed),
        Fixture("test_error_handling", "Fails.", _fail),
        Fixture("test_tool_with_progress", "Reports progress three times.", _progress),
        Fixture("test_tool_with_logging", "Logs three lines.", _log),
        Fixture("test_logging_tool", "Logs three lines, to a client that wants them.", _log),
        Fixture("test_reconnection", "Closes its stream before it answers.", _reconnect),
        Fixture("test_missing_capability", "Needs a client that samples.", _need_sampling),
        Fixture("test_trigger_tool_change", "Changes the list of tools.", change_tools),
        Fixture("test_trigger_prompt_change", "Changes the list of prompts.", change_prompts),
        Fixture("test_parameter_in_header", "Takes a parameter that a header repeats.", _text, _IN_A_HEADER),
        Fixture(
            "test_schema_that_is_not_portable", "Has a schema that some clients cannot read.", _text, _NOT_PORTABLE
        ),
        Fixture("json_schema_2020_12_tool", "Has a schema with everything in it.", _text, _SCHEMA),
    ]


async def _greet(ctx: Context, params: CallToolRequestParams) -> CallToolResult:
    return said(f"Hello, {(params.arguments or {}).get('name', 'you')}!")


async def _text(ctx: Context, params: CallToolRequestParams) -> CallToolResult:
    return said("This is a simple text response for testing.")


async def _image(ctx: Context, params: CallToolRequestParams) -> CallToolResult:
    return CallToolResult(content=[ImageContent(data=PNG, mime_type="image/png")])


async def _audio(ctx: Context, params: CallToolRequestParams) -> CallToolResult:
    return CallToolResult(content=[AudioContent(data=WAV, mime_type="audio/wav")])


async def _embedded(ctx: Context, params: CallToolRequestParams) -> CallToolResult:
    text = "This is an embedded resource content."
    resource = TextResourceContents(uri="test://embedded-resource", mime_type="text/plain", text=text)
    return CallToolResult(content=[EmbeddedResource(resource=resource)])


async def _mixed(ctx: Context, params: CallToolRequestParams) -> CallToolResult:
    text = '{"test":"data","value":123}'
    resource = TextResourceContents(uri="test://mixed-content-resource", mime_type="application/json", text=text)
    picture = ImageContent(data=PNG, mime_type="image/png")
    return said("Multiple content types test:", picture, EmbeddedResource(resource=resource))


async def _fail(ctx: Context, params: CallToolRequestParams) -> CallToolResult:
    return said("This tool intentionally returns an error for testing", failed=True)


async def _progress(ctx: Context, params: CallToolRequestParams) -> CallToolResult:
    for done in (0, 50, 100):
        await ctx.session.report_progress(done, 100, f"Completed step {done} of 100")
        await trio.sleep(_STEP_SECONDS)
    return said("Reported progress three times.")


async def _log(ctx: Context, params: CallToolRequestParams) -> CallToolResult:
    for line in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        await log_to_client(ctx, "info", Complaint("progress", line, "Wait."), params.name)
        await trio.sleep(_STEP_SECONDS)
    return said("Logged three lines.")


async def _reconnect(ctx: Context, params: CallToolRequestParams) -> CallToolResult:
    if ctx.close_sse_stream is not None:
        # The client must have seen the event that it will name when it comes back.
        await trio.sleep(_NOTICED_SECONDS)
        await ctx.close_sse_stream()
        await trio.sleep(_NOTICED_SECONDS)
    return said("This answer came over the second stream.")


async def _need_sampling(ctx: Context, params: CallToolRequestParams) -> CallToolResult:
    capabilities = ctx.session.client_capabilities
    if capabilities is None or capabilities.sampling is None:
        needed = ClientCapabilities(sampling=SamplingCapability())
        data = MissingRequiredClientCapabilityErrorData(required_capabilities=needed)
        raise MCPError(
            code=MISSING_REQUIRED_CLIENT_CAPABILITY,
            message="This tool needs a client that samples.",
            data=data.model_dump(by_alias=True, mode="json", exclude_none=True),
        )
    return said("The client samples.")
