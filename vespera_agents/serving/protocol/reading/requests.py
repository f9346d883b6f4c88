"""The requests that only read, beside those of tools: resources, prompts and completions in the library's shapes.

Whatever they raise is told by `boundary`. Neighbours: `resources`, `prompts` and `completions` know no shape of the
protocol; `server` says which request comes here.
"""

from __future__ import annotations

import base64
from typing import Final, final

from mcp.server.context import ServerRequestContext
from mcp_types import (
    BlobResourceContents,
    CompleteRequestParams,
    CompleteResult,
    Completion,
    GetPromptRequestParams,
    GetPromptResult,
    ListPromptsResult,
    ListResourcesResult,
    ListResourceTemplatesResult,
    PaginatedRequestParams,
    PromptArgument,
    PromptMessage,
    PromptReference,
    ReadResourceRequestParams,
    ReadResourceResult,
    Resource,
    ResourceTemplate,
    TextContent,
    TextResourceContents,
)
from mcp_types import Prompt as ListedPrompt

from vespera_agents.serving.protocol.pages import page_of
from vespera_agents.serving.protocol.reading.completions import complete_address, complete_prompt
from vespera_agents.serving.protocol.reading.prompts import PROMPTS, Prompt, get_prompt
from vespera_agents.serving.protocol.reading.resources import (
    TEMPLATES,
    Content,
    address_of,
    list_resources,
    read_resource,
)
from vespera_agents.specialists.orchestrator import Orchestrator

__all__ = ["ARTIFACT_TTL_MS", "PAGE_META", "Reading"]

PAGE_META: Final = "io.vespera/page"
"""Where a page of an artifact tells the whole size and the next page."""
ARTIFACT_TTL_MS: Final = 24 * 3_600_000
"""How long a client may keep what it read of an artifact: its address is the hash of its bytes, which never change."""

Context = ServerRequestContext[dict[str, object]]


@final
class Reading:
    """What of an orchestrator can be read."""

    def __init__(self, orchestrator: Orchestrator, page_entries: int) -> None:
        """Say what is read, and how many entries a page of a list has."""
        self._orchestrator = orchestrator
        self._page_entries = page_entries

    async def list_resources(self, _: Context, params: PaginatedRequestParams) -> ListResourcesResult:
        """List what can be read by address now."""
        page, cursor = await list_resources(self._orchestrator, params.cursor, self._page_entries)
        return ListResourcesResult(
            resources=[
                Resource(
                    uri=one.uri,
                    name=one.name,
                    title=one.title,
                    description=one.description,
                    mime_type=one.mime_type,
                    size=one.size,
                )
                for one in page
            ],
            next_cursor=cursor,
        )

    async def list_templates(self, _: Context, params: PaginatedRequestParams) -> ListResourceTemplatesResult:
        """List the forms of addresses."""
        page, cursor = page_of("templates", TEMPLATES, params.cursor, self._page_entries)
        return ListResourceTemplatesResult(
            resource_templates=[
                ResourceTemplate(
                    uri_template=one.uri_template,
                    name=one.name,
                    title=one.title,
                    description=one.description,
                    mime_type=one.mime_type,
                )
                for one in page
            ],
            next_cursor=cursor,
        )

    async def read_resource(self, _: Context, params: ReadResourceRequestParams) -> ReadResourceResult:
        """Read what lies at an address."""
        content = await read_resource(self._orchestrator, params.uri)
        lasting = address_of(params.uri).kind == "artifact"
        return ReadResourceResult(contents=_contents(content), ttl_ms=ARTIFACT_TTL_MS if lasting else 0)

    async def list_prompts(self, _: Context, params: PaginatedRequestParams) -> ListPromptsResult:
        """List the prompts."""
        page, cursor = page_of("prompts", PROMPTS, params.cursor, self._page_entries)
        return ListPromptsResult(prompts=[_listed(one) for one in page], next_cursor=cursor)

    async def get_prompt(self, _: Context, params: GetPromptRequestParams) -> GetPromptResult:
        """Write a prompt."""
        prompt, text = await get_prompt(self._orchestrator, params.name, params.arguments or {})
        return GetPromptResult(
            description=prompt.description, messages=[PromptMessage(role="user", content=TextContent(text=text))]
        )

    async def complete(self, _: Context, params: CompleteRequestParams) -> CompleteResult:
        """Complete an argument of a prompt, or a variable of an address."""
        name, value = params.argument.name, params.argument.value
        if isinstance(params.ref, PromptReference):
            others = (params.context.arguments if params.context else None) or {}
            found = await complete_prompt(self._orchestrator, params.ref.name, name, value, others)
        else:
            found = await complete_address(self._orchestrator, params.ref.uri, name, value)
        return CompleteResult(
            completion=Completion(values=list(found.values), total=found.total, has_more=found.has_more)
        )


def _listed(prompt: Prompt) -> ListedPrompt:
    return ListedPrompt(
        name=prompt.name,
        title=prompt.title,
        description=prompt.description,
        arguments=[
            PromptArgument(name=one.name, title=one.title, description=one.description, required=one.required)
            for one in prompt.arguments
        ],
    )


def _contents(content: Content) -> list[TextResourceContents | BlobResourceContents]:
    meta = None if content.about is None else {PAGE_META: dict(content.about)}
    found: list[TextResourceContents | BlobResourceContents]
    if isinstance(content.data, str):
        found = [TextResourceContents(uri=content.uri, mime_type=content.mime_type, text=content.data, _meta=meta)]
    else:
        blob = base64.b64encode(content.data).decode()
        found = [BlobResourceContents(uri=content.uri, mime_type=content.mime_type, blob=blob, _meta=meta)]
    if content.note is not None:
        found.append(TextResourceContents(uri=content.uri, mime_type="text/plain", text=content.note))
    return found
