"""The orchestrator as an MCP server.

Both protocol eras are served: the handshake up to 2025-11-25, and 2026-07-28. The low-level server of the library is
used, because our tools bring their own schemas, argument errors and failures. Not here: the transports, the
tools themselves (`tools`), the program `vespera serve` (`serve`).
"""

from __future__ import annotations

import functools
import logging
import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Final, TypeVar, cast, final

from mcp.server.caching import CacheHint
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import NotificationOptions, Server
from mcp.server.models import InitializationOptions
from mcp_types import (
    CallToolRequestParams,
    CallToolResult,
    CompleteRequestParams,
    GetPromptRequestParams,
    InputRequiredResult,
    ListToolsResult,
    NotificationParams,
    PaginatedRequestParams,
    ReadResourceRequestParams,
    RequestParams,
    SetLevelRequestParams,
    SubscribeRequestParams,
    SubscriptionsListenRequestParams,
    UnsubscribeRequestParams,
)
from mcp_types.methods import CacheableMethod
from pydantic import BaseModel, ValidationError

from vespera_agents.health.metrics.requests import RequestFigures
from vespera_agents.serving.protocol.boundary import Handler, bounded
from vespera_agents.serving.protocol.callers import Callers, client_name, holder_of, own_name
from vespera_agents.serving.protocol.complaints import (
    EXPECTED,
    about_arguments,
    about_failure,
    about_fault,
    about_kept,
    about_unknown_tool,
    about_unserved_tool,
)
from vespera_agents.serving.protocol.correlating import correlated_calls
from vespera_agents.serving.protocol.fairness import Fairness, TooManyCalls, client_of
from vespera_agents.serving.protocol.identity import identity_of
from vespera_agents.serving.protocol.jobs import Asking, LongCalls, handle
from vespera_agents.serving.protocol.logs import LOGGER_NAME, log_to_client, set_level
from vespera_agents.serving.protocol.measuring import Measuring
from vespera_agents.serving.protocol.notifying.changes import Changes
from vespera_agents.serving.protocol.notifying.subscriptions import Subscriptions
from vespera_agents.serving.protocol.pages import PAGE_ENTRIES, page_of
from vespera_agents.serving.protocol.progress import Report, reporting
from vespera_agents.serving.protocol.questions import Questions, can_be_asked
from vespera_agents.serving.protocol.reading.requests import Reading
from vespera_agents.serving.protocol.results import failed, listed, succeeded
from vespera_agents.serving.protocol.roots import client_root
from vespera_agents.serving.protocol.sampling import POLLED, Sampling
from vespera_agents.serving.tools.catalogue import TOOLS
from vespera_agents.serving.tools.lifecycle import RESTART
from vespera_agents.serving.tools.sessions import INITIALIZE_SESSION
from vespera_agents.serving.tools.tool import Tool
from vespera_agents.specialists.calls import Call
from vespera_agents.specialists.jobs import REFUSED, RunningJob
from vespera_agents.specialists.orchestrator import Orchestrator
from vespera_agents.store.errors import StoreError
from vespera_agents.store.jobs import Job

__all__ = ["INSTRUCTIONS", "SERVER_NAME", "OrchestratorServer", "build_server", "server_version"]

SERVER_NAME: Final = "vespera-agents"
INSTRUCTIONS: Final = (
    "Vespera keeps work as tasks in a durable session of one project directory: begin with "
    "orchestrator_initialize_session, or orchestrator_resume_session to go on with earlier work. "
    "Turn a goal into a breakdown with orchestrator_plan_task, then repeat: claim a ready task with "
    "orchestrator_execute_task, do the work as its briefing says, hand it in with orchestrator_complete_task. "
    "Every failed call says what is wrong and what to call next; end with orchestrator_synthesize_results."
)

_KEPT: Final = CacheHint(ttl_ms=300_000, scope="public")
"""What is the same for every client of this server, for as long as it runs; a new version may change it."""
_CACHE_HINTS: Final[Mapping[CacheableMethod, CacheHint]] = {
    "server/discover": _KEPT,
    "tools/list": _KEPT,
    "prompts/list": _KEPT,
    "resources/templates/list": _KEPT,
    # Sessions and artifacts come and go, and are nobody else's.
    "resources/list": CacheHint(ttl_ms=0, scope="private"),
    "resources/read": CacheHint(ttl_ms=0, scope="private"),
}

Context = ServerRequestContext[dict[str, object]]
Answered = CallToolResult | InputRequiredResult | dict[str, object]
"""The answer to a call: what it came to, what is needed first, or the handle of what goes on."""
P = TypeVar("P", bound=RequestParams)

logger = logging.getLogger(LOGGER_NAME)


def build_server(
    orchestrator: Orchestrator,
    tools: Mapping[str, Tool] = TOOLS,
    *,
    page_entries: int = PAGE_ENTRIES,
    changes: Changes | None = None,
    figures: RequestFigures | None = None,
) -> OrchestratorServer:
    """Make an MCP server of an orchestrator; it serves any number of connections, one after another or at once.

    Args:
        orchestrator: who answers.
        tools: those that are listed and may be called, by name.
        page_entries: how many entries a page of a list has.
        changes: what clients are told of; those of the orchestrator's workspaces unless given.
        figures: where requests are counted.
    """
    serving = _Serving(orchestrator, tools, page_entries, changes or Changes(orchestrator))
    return serving.server(Measuring(figures or RequestFigures()))


def _nobody(_: Iterable[str]) -> None:
    """Tell nobody that lists are others."""


@final
class OrchestratorServer(Server[dict[str, object]]):
    """The library's server, which says that its lists may change over handshake connections, too."""

    at_stop: Callable[[], None] | None = None
    """Ends the streams of those who listen: for a transport of many clients that is about to end."""
    renew: Callable[[Iterable[str]], None] = _nobody
    """Tells clients that lists are others than those of the process before: for a worker that took over."""
    hear: Callable[[Context], Awaitable[None]] | None = None
    """Notes that a client is there, whatever it asks for."""

    @property
    def server_info_stamp(self) -> dict[str, object]:
        """Say who answers, in each answer since 2026-07-28; it is flat, so a copy of it needs no depth."""
        return dict(self._server_info_stamp_source)

    def create_initialization_options(
        self,
        notification_options: NotificationOptions | None = None,
        experimental_capabilities: dict[str, dict[str, object]] | None = None,
        extensions: dict[str, dict[str, object]] | None = None,
    ) -> InitializationOptions:
        """Say what is told in the handshake."""
        changing = notification_options or NotificationOptions(
            prompts_changed=True, resources_changed=True, tools_changed=True
        )
        return super().create_initialization_options(changing, experimental_capabilities, extensions)

    def answer(self, method: str, params: type[P], handler: Handler[P, BaseModel]) -> None:
        """Have the requests of one method answered; failures are told in one shape."""

        async def answer(ctx: Context, request: P) -> BaseModel:
            if self.hear is not None:
                await self.hear(ctx)
            return await handler(ctx, request)

        self.add_request_handler(method, params, bounded(method, answer))


@final
class _Serving:
    """The requests of MCP, answered by an orchestrator."""

    def __init__(
        self, orchestrator: Orchestrator, tools: Mapping[str, Tool], page_entries: int, changes: Changes
    ) -> None:
        self._orchestrator = orchestrator
        self._changes = changes
        self._tools = tools
        self._page_entries = page_entries
        # Until the home workspace is open nothing is recorded, so this name is only a stand-in.
        front = orchestrator.runtime.front
        self._stand_in = f"srv_{secrets.token_hex(6)}" if front is None else front.server
        self._callers = Callers(self._origin)
        self._fairness = Fairness()
        self._long = LongCalls(orchestrator, self._answer_of)
        self._questions = Questions(orchestrator.runtime.registry.key)
        self._sampling = Sampling(orchestrator)

    def server(self, measuring: Measuring) -> OrchestratorServer:
        """Give the library's server, all of whose messages are measured."""
        server = OrchestratorServer(
            SERVER_NAME,
            version=server_version(),
            title="Vespera Agents",
            instructions=INSTRUCTIONS,
            cache_hints=_CACHE_HINTS,
            get_tool_input_schema=self._input_schema,
        )
        # Its failures are results, which a model reads.
        server.add_request_handler("tools/call", CallToolRequestParams, correlated_calls(self._call_tool))
        self._long.install(server, self._hear)
        for tool in self._tools.values():
            if tool.long:
                self._long.begin_anew(tool.name, partial(self._job_anew, tool))
        # What was there traces each message for a telemetry that nobody has configured, at a price for each.
        server.middleware[:] = [measuring]
        server.hear = self._hear
        server.answer("tools/list", PaginatedRequestParams, self._list_tools)
        # Not as an argument of the library's server: it warns that later versions of the protocol have no such request.
        server.answer("logging/setLevel", SetLevelRequestParams, set_level)
        reading = Reading(self._orchestrator, self._page_entries)
        server.answer("resources/list", PaginatedRequestParams, reading.list_resources)
        server.answer("resources/templates/list", PaginatedRequestParams, reading.list_templates)
        server.answer("resources/read", ReadResourceRequestParams, reading.read_resource)
        server.answer("prompts/list", PaginatedRequestParams, reading.list_prompts)
        server.answer("prompts/get", GetPromptRequestParams, reading.get_prompt)
        server.answer("completion/complete", CompleteRequestParams, reading.complete)
        hearing = Subscriptions(self._changes)
        server.answer("resources/subscribe", SubscribeRequestParams, hearing.subscribe)
        server.answer("resources/unsubscribe", UnsubscribeRequestParams, hearing.unsubscribe)
        server.answer("subscriptions/listen", SubscriptionsListenRequestParams, hearing.listen)

        async def initialized(ctx: Context, params: NotificationParams) -> None:
            await self._sampling.arrived(ctx)
            await hearing.initialized(ctx, params)

        server.add_notification_handler("notifications/initialized", NotificationParams, initialized)
        server.at_stop = hearing.end
        server.renew = self._changes.renew
        return server

    async def _hear(self, ctx: Context) -> None:
        """Keep the claims of whoever asks for anything at all."""
        holder = holder_of(identity_of(ctx), client_name(own_name(ctx)), ctx.meta)
        if holder is not None:
            await self._orchestrator.heard(holder)

    async def _call_tool(self, ctx: Context, params: CallToolRequestParams) -> Answered:
        tool = self._tools.get(params.name)
        if tool is None:
            served, exists = tuple(self._tools), params.name in TOOLS
            return failed((about_unserved_tool if exists else about_unknown_tool)(params.name, served))
        who = client_of(identity_of(ctx), own_name(ctx))
        admission = self._orchestrator.runtime.admission
        if admission.draining and not tool.effects.read_only:
            # Unanswered, it is repeated to the process that replaces this one.
            await admission.until_begun()
        try:
            await self._fairness.begin(who)
        except TooManyCalls as error:
            return failed(about_failure(error))
        try:
            by = f"mcp:{client_name(own_name(ctx))}"
            with admission.under_way(tool.name, by, waited_for=tool.awaited):
                async with reporting(ctx) as report:
                    return await self._told(ctx, params, tool, report)
        finally:
            self._fairness.end(who)

    async def _told(self, ctx: Context, params: CallToolRequestParams, tool: Tool, report: Report | None) -> Answered:
        """Carry a call out, whatever comes of it told as a result."""
        try:
            return await self._invoke(ctx, params, tool, report)
        except ValidationError as error:
            return failed(about_arguments(tool.name, tool.parameters, error))
        except EXPECTED as error:
            if isinstance(error, StoreError):
                await log_to_client(ctx, "error", about_failure(error), tool.name)
            return failed(about_failure(error))
        except Exception as error:  # the boundary: a fault of ours must reach the client as one, and our log whole
            identifier = secrets.token_hex(4)
            logger.exception("internal error %s in %s", identifier, tool.name)
            fault = about_fault(error, identifier)
            await log_to_client(ctx, "error", fault, tool.name)
            return failed(fault)

    async def _invoke(self, ctx: Context, params: CallToolRequestParams, tool: Tool, report: Report | None) -> Answered:
        arguments: Mapping[str, object] = params.arguments or {}
        root = None
        if tool is INITIALIZE_SESSION and not {"working_directory", "session_id"} & arguments.keys():
            root = self._questions.root_of(params) or await client_root(ctx, params)
            if isinstance(root, InputRequiredResult):
                return root
            arguments = arguments if root is None else {**arguments, "working_directory": root}
        call = self._callers.call(own_name(ctx), ctx.meta, identity_of(ctx), report)
        call.request = identity_of(ctx).sequence
        call.model = self._sampling.offer(ctx) if tool.begins else None
        if tool is not RESTART:
            # A process that shall be replaced may be unable to write, a lease, too.
            await self._orchestrator.admit(call, tool.name, begins=tool.begins)
        asked = await self._asked(ctx, params, tool, call, arguments, root)
        if isinstance(asked, InputRequiredResult):
            return asked
        arguments = asked
        if tool.long and self._long.known_to(ctx):
            work = partial(self._as_job, tool, call, arguments)
            return await self._long.begin(call, tool.name, work, call.intent(arguments=dict(arguments)))
        telling = await tool.invoke(self._orchestrator, call, arguments)
        if call.job is not None and self._long.known_to(ctx):
            return handle(await self._orchestrator.jobs.get(call.job))
        return succeeded(telling)

    async def _asked(
        self,
        ctx: Context,
        params: CallToolRequestParams,
        tool: Tool,
        call: Call,
        arguments: Mapping[str, object],
        root: str | None,
    ) -> Mapping[str, object] | InputRequiredResult:
        """Ask what is to be known before, and give the arguments with what was chosen, or what is asked first."""
        if tool.name == POLLED and not self._long.known_to(ctx):
            return await self._sampling.asked_first(ctx, params, call) or arguments
        if tool.question is None or not can_be_asked(ctx):
            return arguments
        question = await tool.question(self._orchestrator, call, arguments)
        if question is None:
            return arguments
        chosen = await self._questions.ask(ctx, params, question, root)
        if isinstance(chosen, InputRequiredResult):
            return chosen
        call.confirmed = True
        if question.parameter is None or chosen == question.unchanged:
            return arguments
        return {**arguments, question.parameter: chosen}

    async def _as_job(
        self, tool: Tool, call: Call, arguments: Mapping[str, object], _: Asking, running: RunningJob
    ) -> CallToolResult:
        """Make a call as the work of a job; its progress is the job's."""
        call.report = running.report
        try:
            return succeeded(await tool.invoke(self._orchestrator, call, arguments))
        except ValidationError as error:
            return failed(about_arguments(tool.name, tool.parameters, error))
        except EXPECTED as error:
            return failed(about_failure(error))

    async def _job_anew(
        self, tool: Tool, intent: Mapping[str, object], asking: Asking, running: RunningJob
    ) -> CallToolResult:
        call = Call.again(intent)
        # The first step began the job.
        call.step()
        arguments = cast("Mapping[str, object]", intent["arguments"])
        return await self._as_job(tool, call, arguments, asking, running)

    def _answer_of(self, job: Job) -> CallToolResult:
        """Answer a call of a tool with what the job came to that it began, perhaps in a server with other tools."""
        if job.error is not None:
            return failed(about_kept(cast("Mapping[str, str]", job.error[REFUSED])))
        tool = self._tools.get(job.kind) or TOOLS.get(job.kind)
        if tool is None or job.result is None:
            return failed(about_unknown_tool(job.kind, tuple(self._tools)))
        return succeeded(tool.retell(job.result))

    async def _list_tools(self, _: Context, params: PaginatedRequestParams) -> ListToolsResult:
        page, cursor = page_of("tools", tuple(self._tools.values()), params.cursor, self._page_entries)
        return ListToolsResult(tools=[listed(tool) for tool in page], next_cursor=cursor)

    def _input_schema(self, name: str) -> Mapping[str, object] | None:
        tool = self._tools.get(name)
        return None if tool is None else tool.input_schema

    def _origin(self) -> str:
        opened = self._orchestrator.runtime.workspaces.get(self._orchestrator.home)
        return self._stand_in if opened is None else opened.record.id


@functools.cache
def server_version() -> str:
    """Give the version of this package."""
    try:
        return version(SERVER_NAME)
    except PackageNotFoundError:
        # Run from a source tree that was not installed.
        return "0+source"
