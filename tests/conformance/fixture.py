"""What a fixture of the conformance suite is: a tool that does nothing but what one of the suite's scenarios asks for.

Not a test. Neighbours: `plain_tools`, `asking_tools` and `long_tools` define fixtures, `fixtures` puts them onto our
server.
"""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, final

from mcp.server.context import HandlerResult, ServerRequestContext
from mcp_types import CallToolRequestParams, CallToolResult, ContentBlock, TextContent, Tool

__all__ = ["PNG", "WAV", "Context", "Fixture", "said"]

Context: TypeAlias = ServerRequestContext[dict[str, object]]


@final
@dataclass(frozen=True, slots=True)
class Fixture:
    """One tool of the suite."""

    name: str
    description: str
    answer: Callable[[Context, CallToolRequestParams], Awaitable[HandlerResult]]
    input_schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "object", "properties": {}})

    @property
    def listed(self) -> Tool:
        return Tool(name=self.name, description=self.description, input_schema=dict(self.input_schema))


def said(text: str, *more: ContentBlock, failed: bool = False) -> CallToolResult:
    """Make a result of a text and what follows it."""
    content: Sequence[ContentBlock] = (TextContent(text=text), *more)
    return CallToolResult(content=list(content), is_error=failed)


def _png() -> str:
    """Draw one red pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))
    pixel = chunk(b"IDAT", zlib.compress(b"\0\xff\0\0"))
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + header + pixel + chunk(b"IEND", b"")).decode()


def _wav() -> str:
    """Record eight samples of silence."""
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 8000, 8000, 1, 8)
    data = struct.pack("<4sI", b"data", 8) + b"\x80" * 8
    return base64.b64encode(struct.pack("<4sI4s", b"RIFF", 4 + len(form) + len(data), b"WAVE") + form + data).decode()


PNG = _png()
WAV = _wav()
