"""The orchestrator as an MCP server.

Both protocol eras are served: the handshake up to 2025-11-25, and 2026-07-28. The low-level server of the library is
used, because our tools bring their own schemas, argument errors and failures. Not here: the transports, the
tools themselves (`tools`), the program `vespera serve` (`serve`).
"""

from __future__ import annotations

import base64
import logging
import secrets
from collections.abc import Mapping
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Final, cast, final

from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import Server
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    BlobResourceContents,
    CallToolRequestParams,
    CallToolResult,
    ContentBlock,
    InputRequiredResult,
    ListResourcesResult,
    ListResourceTemplatesResult,
    ListToolsResult,
    PaginatedRequestParams,
    ReadResourceRequestParams,
    ReadResourceResult,
    Resource,
    ResourceLink,
    ResourceTemplate,
    TextContent,
    TextResourceContents,
    ToolAnnotations,
)
from mcp_types import Tool as ListedTool
from pydantic import ValidationError

from vespera_agents.serving.protocol.callers import Callers
from vespera_agents.serving.protocol.complaints import (
    EXPECTED,
    Complaint,
    about_arguments,
    about_failure,
    about_fault,
    about_kept,
    about_unknown_tool,
)
from vespera_agents.serving.protocol.jobs import Asking, LongCalls, handle
from vespera_agents.serving.protocol.progress import Report, reporting
from vespera_agents.serving.protocol.questions import Questions, can_be_asked
from vespera_agents.serving.protocol.resources import TEMPLATES, Content, list_resources, read_resource
from vespera_agents.serving.protocol.roots import client_root
from vespera_agents.serving.tools.catalogue import TOOLS
from vespera_agents.serving.tools.sessions import INITIALIZE_SESSION
from vespera_agents.serving.tools.tool import Telling, Tool
from vespera_agents.specialists.answers import ArtifactLink
from vespera_agents.specialists.calls import Call
from vespera_agents.specialists.jobs import REFUSED, RunningJob
from vespera_agents.specialists.orchestrator import Orchestrator
from vespera_agents.store.jobs import Job

__all__ = ["ERROR_META", "INSTRUCTIONS", "SERVER_NAME", "build_server"]

SERVER_NAME: Final = "vespera-agents"
ERROR_META: Final = "io.vespera/error"
"""Where a failed call tells programs the kind of its failure."""
PAGE_META: Final = "io.vespera/page"
"""Where a page of an artifact tells the whole size and the next page."""
LINKS_MAX: Final = 50
"""Resource links in one result."""
INSTRUCTIONS: Final = (
    "Vespera keeps work as tasks in a durable session of one project directory: begin with "
    "orchestrator_initialize_session, or orchestrator_resume_session to go on with earlier work. "
    "Turn a goal into a breakdown with orchestrator_plan_task, then repeat: claim a ready task with "
    "orchestrator_execute_task, do the work as its briefing says, hand it in with orchestrator_complete_task. "
    "Every failed call says what is wrong and what to call next; end with orchestrator_synthesize_results."
)

Context = ServerRequestContext[dict[str, object]]
Answered = CallToolResult | InputRequiredResult | dict[str, object]
"""The answer to a call: what it came to, what is needed first, or the handle of what goes on."""

logger = logging.getLogger("vespera_agents.serving")


def build_server(orchestrator: Orchestrator, tools: Mapping[str, Tool] = TOOLS) -> Server[dict[str, object]]:
    """Make an MCP server of an orchestrator; it serves any number of connections, one after another or at once.

    Args:
        orchestrator: who answers.
        tools: those that are listed and may be called, by name.
    """
    return _Serving(orchestrator, tools).server()


@final
class _Serving:
    """The requests of MCP, answered by an orchestrator."""

    def __init__(self, orchestrator: Orchestrator, tools: Mapping[str, Tool]) -> None:
        self._orchestrator = orchestrator
        self._tools = tools
        # Until the home workspace is open nothing is recorded, so this name is only a stand-in.
        self._stand_in = f"srv_{secrets.token_hex(6)}"
        self._callers = Callers(self._origin)
        self._long = LongCalls(orchestrator, self._answer_of)
        self._questions = Questions(orchestrator.runtime.registry.key)

    def server(self) -> Server[dict[str, object]]:
        """Give the library's server."""
        server: Server[dict[str, object]] = Server(
            SERVER_NAME,
            version=_version(),
            title="Vespera Agents",
            instructions=INSTRUCTIONS,
            get_tool_input_schema=self._input_schema,
            on_list_tools=self._list_tools,
            on_list_resources=self._list_resources,
            on_list_resource_templates=_list_templates,
            on_read_resource=self._read_resource,
        )
        # Not in the constructor, whose type knows no answers of an extension.
        server.add_request_handler("tools/call", CallToolRequestParams, self._call_tool)
        self._long.install(server)
        # Its only inhabitant traces each message for a telemetry that nobody has configured, at a price for each.
        server.middleware.clear()
        return server

    async def _call_tool(self, ctx: Context, params: CallToolRequestParams) -> Answered:
        tool = self._tools.get(params.name)
        if tool is None:
            return _failed(about_unknown_tool(params.name, tuple(self._tools)))
        async with reporting(ctx) as report:
            try:
                return await self._invoke(ctx, params, tool, report)
            except ValidationError as error:
                return _failed(about_arguments(tool.name, tool.parameters, error))
            except EXPECTED as error:
                return _failed(about_failure(error))
            except Exception as error:  # the boundary: a fault of ours must reach the client as one, and our log whole
                identifier = secrets.token_hex(4)
                logger.exception("internal error %s in %s", identifier, tool.name)
                return _failed(about_fault(error, identifier))

    async def _invoke(self, ctx: Context, params: CallToolRequestParams, tool: Tool, report: Report | None) -> Answered:
        arguments: Mapping[str, object] = params.arguments or {}
        root = None
        if tool is INITIALIZE_SESSION and not {"working_directory", "session_id"} & arguments.keys():
            root = self._questions.root_of(params) or await client_root(ctx, params)
            if isinstance(root, InputRequiredResult):
                return root
            arguments = arguments if root is None else {**arguments, "working_directory": root}
        client = ctx.session.client_params
        call = self._callers.call(None if client is None else client.client_info.name, ctx.meta, report)
        if tool.question is not None and can_be_asked(ctx):
            question = await tool.question(self._orchestrator, call, arguments)
            if question is not None:
                chosen = await self._questions.ask(ctx, params, question, root)
                if isinstance(chosen, InputRequiredResult):
                    return chosen
                call.confirmed = True
                if question.parameter is not None and chosen != question.unchanged:
                    arguments = {**arguments, question.parameter: chosen}
        if tool.long and self._long.known_to(ctx):
            return await self._long.begin(call, tool.name, partial(self._as_job, tool, call, arguments))
        telling = await tool.invoke(self._orchestrator, call, arguments)
        if call.job is not None and self._long.known_to(ctx):
            return handle(await self._orchestrator.jobs.get(call.job))
        return _succeeded(telling)

    async def _as_job(
        self, tool: Tool, call: Call, arguments: Mapping[str, object], _: Asking, running: RunningJob
    ) -> CallToolResult:
        """Make a call as the work of a job; its progress is the job's."""
        call.report = running.report
        try:
            return _succeeded(await tool.invoke(self._orchestrator, call, arguments))
        except ValidationError as error:
            return _failed(about_arguments(tool.name, tool.parameters, error))
        except EXPECTED as error:
            return _failed(about_failure(error))

    def _answer_of(self, job: Job) -> CallToolResult:
        """Answer a call of a tool with what the job came to that it began."""
        if job.error is not None:
            return _failed(about_kept(cast("Mapping[str, str]", job.error[REFUSED])))
        tool = self._tools.get(job.kind)
        if tool is None or job.result is None:
            return _failed(about_unknown_tool(job.kind, tuple(self._tools)))
        return _succeeded(tool.retell(job.result))

    async def _list_resources(
        self, _: ServerRequestContext[dict[str, object]], params: PaginatedRequestParams | None
    ) -> ListResourcesResult:
        if params is not None and params.cursor is not None:
            raise MCPError(code=INVALID_PARAMS, message="The list has one page. Leave the cursor out.")
        try:
            listed = await list_resources(self._orchestrator)
        except EXPECTED as error:
            raise MCPError(code=INTERNAL_ERROR, message=about_failure(error).text) from error
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
                for one in listed
            ]
        )

    async def _read_resource(
        self, _: ServerRequestContext[dict[str, object]], params: ReadResourceRequestParams
    ) -> ReadResourceResult:
        try:
            content = await read_resource(self._orchestrator, params.uri)
        except EXPECTED as error:
            complaint = about_failure(error)
            raise MCPError(
                code=INVALID_PARAMS, message=complaint.text, data={"uri": params.uri, "kind": complaint.kind}
            ) from error
        return ReadResourceResult(contents=_contents(content))

    async def _list_tools(
        self, _: ServerRequestContext[dict[str, object]], params: PaginatedRequestParams | None
    ) -> ListToolsResult:
        if params is not None and params.cursor is not None:
            raise MCPError(code=INVALID_PARAMS, message="The list has one page. Leave the cursor out.")
        return ListToolsResult(tools=[_listed(tool) for tool in self._tools.values()])

    def _input_schema(self, name: str) -> Mapping[str, object] | None:
        tool = self._tools.get(name)
        return None if tool is None else tool.input_schema

    def _origin(self) -> str:
        opened = self._orchestrator.runtime.workspaces.get(self._orchestrator.home)
        return self._stand_in if opened is None else opened.record.id


async def _list_templates(
    _: ServerRequestContext[dict[str, object]], params: PaginatedRequestParams | None
) -> ListResourceTemplatesResult:
    if params is not None and params.cursor is not None:
        raise MCPError(code=INVALID_PARAMS, message="The list has one page. Leave the cursor out.")
    return ListResourceTemplatesResult(
        resource_templates=[
            ResourceTemplate(
                uri_template=one.uri_template,
                name=one.name,
                title=one.title,
                description=one.description,
                mime_type=one.mime_type,
            )
            for one in TEMPLATES
        ]
    )


def _listed(tool: Tool) -> ListedTool:
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


def _succeeded(telling: Telling) -> CallToolResult:
    content: list[ContentBlock] = [TextContent(text=telling.text)]
    content.extend(_link(link) for link in telling.links[:LINKS_MAX])
    return CallToolResult(content=content, structured_content=telling.structured)


def _failed(complaint: Complaint) -> CallToolResult:
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


def _version() -> str:
    try:
        return version(SERVER_NAME)
    except PackageNotFoundError:
        # Run from a source tree that was not installed.
        return "0+source"
