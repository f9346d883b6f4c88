"""Tools and what comes of calling them, as the protocol carries it.

Neighbours: `server` calls the tools, `measuring` reads the results again, `tools.shaping` says what stands in them.
"""

from __future__ import annotations

from typing import Final

from mcp_types import CallToolResult, ContentBlock, ResourceLink, TextContent, ToolAnnotations
from mcp_types import Tool as ListedTool

from vespera_agents.serving.protocol.complaints import ERROR_META, Complaint
from vespera_agents.serving.tools.tool import Telling, Tool
from vespera_agents.specialists.answers import ArtifactLink

__all__ = ["LINKS_MAX", "failed", "listed", "succeeded"]

LINKS_MAX: Final = 50
"""Resource links in one result."""


def listed(tool: Tool) -> ListedTool:
    """Give a tool as lists of tools show it."""
    return ListedTool(
        name=tool.name,
        title=tool.title,
        description=tool.description,
        input_schema=dict(tool.input_schema),
        output_schema=dict(tool.output_schema),
        annotations=ToolAnnotations(
            read_only_hint=tool.effects.read_only,
            destructive_hint=tool.effects.destructive,
            idempotent_hint=tool.effects.idempotent,
            open_world_hint=tool.effects.open_world,
        ),
    )


def succeeded(telling: Telling) -> CallToolResult:
    """Give what a tool tells."""
    content: list[ContentBlock] = [TextContent(text=telling.text)]
    content.extend(_link(link) for link in telling.links[:LINKS_MAX])
    return CallToolResult(content=content, structured_content=telling.structured)


def failed(complaint: Complaint) -> CallToolResult:
    """Give what was wrong, for models to read and for programs."""
    return CallToolResult(
        content=[TextContent(text=complaint.text)],
        is_error=True,
        _meta={ERROR_META: {"kind": complaint.kind, "what": complaint.what, "next_action": complaint.next_action}},
    )


def _link(link: ArtifactLink) -> ResourceLink:
    return ResourceLink(
        uri=link.uri,
        name=link.id,
        title=link.name,
        description=f"{link.kind} of {link.task_id}" if link.task_id else link.kind,
        mime_type=link.mime_type,
        size=link.size,
    )
