"""The fixtures of the conformance suite, put onto our own server.

The server under test is the one that `vespera serve` runs: each of its handlers is wrapped by one that answers what is
named in the suite's scenarios and passes everything else on. So the suite's lists hold our tools too, and what it finds
in a transport, a handshake, a schema or a cache hint is ours. Not a test. Neighbour: `server` serves the result.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from mcp.server.context import HandlerResult
from mcp.server.lowlevel.server import Server
from mcp_types import (
    BlobResourceContents,
    CallToolRequestParams,
    CallToolResult,
    CompleteRequestParams,
    CompleteResult,
    Completion,
    ContentBlock,
    EmbeddedResource,
    EmptyResult,
    GetPromptRequestParams,
    GetPromptResult,
    ImageContent,
    InputRequiredResult,
    Prompt,
    PromptArgument,
    PromptMessage,
    PromptReference,
    ReadResourceRequestParams,
    ReadResourceResult,
    Resource,
    ResourceTemplate,
    SubscribeRequestParams,
    TextContent,
    TextResourceContents,
)
from pydantic import BaseModel

from tests.conformance.asking_tools import asking_tools, form, given
from tests.conformance.fixture import PNG, Context
from tests.conformance.long_tools import long_tools
from tests.conformance.plain_tools import plain_tools
from vespera_agents.serving.protocol.jobs import LongCalls
from vespera_agents.serving.protocol.notifying.changes import Changes
from vespera_agents.specialists.orchestrator import Orchestrator
from vespera_agents.store.jobs import Job

__all__ = ["add_fixtures"]

_DATA = "/data"
_TEMPLATE = "test://template/"
_WORDS = ("paris", "park", "party", "test")


def add_fixtures(server: Server[dict[str, object]], orchestrator: Orchestrator, changes: Changes) -> None:
    """Let a server answer the suite's scenarios beside what it answers anyway.

    Args:
        server: ours.
        orchestrator: whose jobs the suite's long calls are.
        changes: what the server tells its clients of.
    """
    calls = LongCalls(orchestrator, _unanswered)
    tools = {fixture.name: fixture for fixture in (*plain_tools(changes), *asking_tools(), *long_tools(calls))}
    _append(server, "tools/list", "tools", [fixture.listed for fixture in tools.values()])
    _append(server, "prompts/list", "prompts", _PROMPTS)
    _append(server, "resources/list", "resources", _RESOURCES)
    _append(server, "resources/templates/list", "resource_templates", [_TEMPLATES])

    async def call_tool(ctx: Context, params: CallToolRequestParams) -> HandlerResult:
        fixture = tools.get(params.name)
        return None if fixture is None else await fixture.answer(ctx, params)

    _answer_first(server, "tools/call", CallToolRequestParams, call_tool)
    _answer_first(server, "prompts/get", GetPromptRequestParams, _get_prompt)
    _answer_first(server, "resources/read", ReadResourceRequestParams, _read_resource)
    _answer_first(server, "completion/complete", CompleteRequestParams, _complete)
    _answer_first(server, "resources/subscribe", SubscribeRequestParams, _subscribe)
    schema_of = server.get_tool_input_schema

    def input_schema(name: str) -> Mapping[str, Any] | None:
        fixture = tools.get(name)
        return fixture.input_schema if fixture is not None else schema_of(name) if schema_of is not None else None

    server.get_tool_input_schema = input_schema


def _unanswered(job: Job) -> CallToolResult:
    """Refuse to make an answer: every fixture's job brings its own."""
    raise AssertionError(job.kind)


def _append(server: Server[dict[str, object]], method: str, field: str, more: list[Any]) -> None:
    """Put fixtures behind the last page of a list."""
    entry = server.get_request_handler(method)
    assert entry is not None, f"the server does not answer {method}"

    async def listed(ctx: Context, params: BaseModel) -> HandlerResult:
        result = await entry.handler(ctx, params)
        assert isinstance(result, BaseModel)
        if getattr(result, "next_cursor", None) is not None:
            return result
        return result.model_copy(update={field: [*getattr(result, field), *more]})

    server.add_request_handler(method, entry.params_type, listed)


def _answer_first(
    server: Server[dict[str, object]],
    method: str,
    params_type: type[Any],
    answer: Callable[[Context, Any], Awaitable[HandlerResult]],
) -> None:
    """Ask a fixture first; what it gives no answer to is the server's own business."""
    entry = server.get_request_handler(method)
    assert entry is not None, f"the server does not answer {method}"
    assert entry.params_type is params_type

    async def answered(ctx: Context, params: Any) -> HandlerResult:
        result = await answer(ctx, params)
        return await entry.handler(ctx, params) if result is None else result

    server.add_request_handler(method, params_type, answered)


_PROMPTS = [
    Prompt(name="test_simple_prompt", description="A prompt without arguments."),
    Prompt(
        name="test_prompt_with_arguments",
        description="A prompt with two arguments.",
        arguments=[PromptArgument(name=name, description="A word", required=True) for name in ("arg1", "arg2")],
    ),
    Prompt(
        name="test_prompt_with_embedded_resource",
        description="A prompt with a resource in it.",
        arguments=[PromptArgument(name="resourceUri", description="Its address", required=True)],
    ),
    Prompt(name="test_prompt_with_image", description="A prompt with a picture in it."),
    Prompt(name="test_input_required_result_prompt", description="A prompt that asks first."),
]


async def _get_prompt(ctx: Context, params: GetPromptRequestParams) -> HandlerResult:
    arguments = params.arguments or {}
    match params.name:
        case "test_simple_prompt":
            result = _prompted("This is a simple prompt for testing.")
        case "test_prompt_with_arguments":
            result = _prompted(f"Prompt with arguments: arg1='{arguments['arg1']}', arg2='{arguments['arg2']}'")
        case "test_prompt_with_embedded_resource":
            text = "Embedded resource content for testing."
            resource = TextResourceContents(uri=arguments["resourceUri"], mime_type="text/plain", text=text)
            result = _prompted("Please process the embedded resource above.", EmbeddedResource(resource=resource))
        case "test_prompt_with_image":
            result = _prompted("Please analyze the image above.", ImageContent(data=PNG, mime_type="image/png"))
        case "test_input_required_result_prompt":
            context = given(params, "user_context", "context")
            if context is None:
                question = form("What context should the prompt use?", {"context": {"type": "string"}})
                return InputRequiredResult(input_requests={"user_context": question})
            result = _prompted(f"Use this context: {context}")
        case _:
            result = None
    return result


def _prompted(text: str, *before: ContentBlock) -> GetPromptResult:
    contents: tuple[ContentBlock, ...] = (*before, TextContent(text=text))
    return GetPromptResult(messages=[PromptMessage(role="user", content=content) for content in contents])


_RESOURCES = [
    Resource(uri="test://static-text", name="static text", description="A sentence", mime_type="text/plain"),
    Resource(uri="test://static-binary", name="static binary", description="A picture", mime_type="image/png"),
    Resource(uri="test://watched-resource", name="watched", description="It may change", mime_type="text/plain"),
]
_TEMPLATES = ResourceTemplate(
    uri_template=f"{_TEMPLATE}{{id}}{_DATA}",
    name="template",
    description="Says what it is asked for",
    mime_type="application/json",
)


async def _read_resource(ctx: Context, params: ReadResourceRequestParams) -> HandlerResult:
    uri = params.uri
    if uri in {"test://static-text", "test://watched-resource"}:
        text = "This is the content of the static text resource."
        return ReadResourceResult(contents=[TextResourceContents(uri=uri, mime_type="text/plain", text=text)])
    if uri == "test://static-binary":
        return ReadResourceResult(contents=[BlobResourceContents(uri=uri, mime_type="image/png", blob=PNG)])
    if uri.startswith(_TEMPLATE) and uri.endswith(_DATA):
        name = uri.removeprefix(_TEMPLATE).removesuffix(_DATA)
        text = f'{{"id":"{name}","templateTest":true,"data":"Data for ID: {name}"}}'
        return ReadResourceResult(contents=[TextResourceContents(uri=uri, mime_type="application/json", text=text)])
    return None


async def _complete(ctx: Context, params: CompleteRequestParams) -> HandlerResult:
    if not isinstance(params.ref, PromptReference) or params.ref.name != "test_prompt_with_arguments":
        return None
    values = [word for word in _WORDS if word.startswith(params.argument.value)]
    return CompleteResult(completion=Completion(values=values, total=len(values), has_more=False))


async def _subscribe(ctx: Context, params: SubscribeRequestParams) -> HandlerResult:
    # The server refuses to watch what does not exist.
    return EmptyResult() if params.uri == "test://watched-resource" else None
