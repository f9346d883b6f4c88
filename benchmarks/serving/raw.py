"""`python -m benchmarks.serving.raw WAY`: the MCP library's low-level server with a tool that does nothing, on trio.

`stdio` and `http` are the references, just as the library ships them. The other ways put our parts in one after
another, so that a table can say what each of them buys: `untraced` takes the tracing middleware out, `wire` also reads
and writes with our wire, `direct` also lets the dispatcher read it without the library's relay.
"""

from __future__ import annotations

import sys

import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import Server
from mcp.server.stdio import stdio_server
from mcp_types import (
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
    Tool,
)

from benchmarks.serving.clients import NO_OP
from vespera_agents.serving.protocol.eras import converse
from vespera_agents.serving.transports.ends import ReadEnd, WriteEnd
from vespera_agents.serving.transports.stdio import open_stdio

Context = ServerRequestContext[dict[str, object]]


async def list_tools(_: Context, __: PaginatedRequestParams | None) -> ListToolsResult:
    return ListToolsResult(tools=[Tool(name=NO_OP, input_schema={"type": "object"})])


async def call_tool(_: Context, __: CallToolRequestParams) -> CallToolResult:
    return CallToolResult(content=[TextContent(text="done")], structured_content={"done": True})


async def serve_stdio(way: str) -> None:
    server: Server[dict[str, object]] = Server("raw", on_list_tools=list_tools, on_call_tool=call_tool)
    options = server.create_initialization_options()
    if way != "stdio":
        server.middleware.clear()
    if way in {"stdio", "untraced"}:
        async with stdio_server() as (read, write):
            await server.run(read, write, options)
        return
    with open_stdio() as wire:
        read_end, write_end = ReadEnd(wire.receive), WriteEnd(wire.send)
        if way == "wire":
            await server.run(read_end, write_end, options)
        else:
            await converse(server, read_end, write_end, options)


async def serve_http(port: int) -> None:
    server: Server[dict[str, object]] = Server("raw", on_list_tools=list_tools, on_call_tool=call_tool)
    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    # What is measured is one kept connection; by default it is closed after a thousand requests.
    config.keep_alive_max_requests = 1_000_000_000
    config.accesslog = None
    config.errorlog = None
    await serve(server.streamable_http_app(), config)  # type: ignore[arg-type]


if __name__ == "__main__":
    if sys.argv[1] == "http":
        trio.run(serve_http, int(sys.argv[2]))
    else:
        trio.run(serve_stdio, sys.argv[1])
