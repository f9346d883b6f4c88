"""The tasks extension (SEP-2663, `io.modelcontextprotocol/tasks`): handles to long work, for clients that know them.

Since 2026-07-28 a client that declares the extension gets `resultType: task` from a call that takes long, asks for it
with tasks/get, answers its questions with tasks/update and cancels it with tasks/cancel. The records are the jobs of
the store, so they outlive this server and are the same from every server of the workspace. A tool that ran and failed
is a completed task whose result is an error; a failed task is one whose result nobody knows.
Neighbours: `server` decides which calls become tasks; `specialists.job_tools` does the rest.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Final, TypeVar, cast, final

from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import Server
from mcp.shared.exceptions import MCPError
from mcp_types import (
    HEADER_MISMATCH,
    INTERNAL_ERROR,
    METHOD_NOT_FOUND,
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    CallToolResult,
    ClientCapabilities,
    ElicitRequest,
    MissingRequiredClientCapabilityErrorData,
    RequestParams,
)
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import Field

from vespera_agents.serving.protocol.boundary import bounded
from vespera_agents.serving.protocol.callers import client_name, own_name
from vespera_agents.specialists.answers import iso
from vespera_agents.specialists.calls import Call
from vespera_agents.specialists.jobs import REFUSED, JobFailed, RunningJob
from vespera_agents.specialists.orchestrator import Orchestrator
from vespera_agents.specialists.sessions import OpenWorkspace
from vespera_agents.store.jobs import Job, JobStatus

__all__ = ["TASKS", "Asking", "LongCalls", "handle"]

TASKS: Final = "io.modelcontextprotocol/tasks"
_NAME_HEADER: Final = "mcp-name"
_WIRE: Final = "wire"
"""Below which key of a job's result the answer to its call lies, as it is sent."""

Context = ServerRequestContext[dict[str, object]]


@final
class TaskParams(RequestParams):
    """Which task is meant."""

    task_id: str = Field(max_length=200)


@final
class TaskUpdateParams(RequestParams):
    """Answers to questions of a task."""

    task_id: str = Field(max_length=200)
    input_responses: dict[str, object] = Field(default_factory=dict[str, object])


T = TypeVar("T", TaskParams, TaskUpdateParams)


async def _pass_over(_: Context) -> None:
    pass


@final
class Asking:
    """How the work of a job asks the user."""

    def __init__(self, running: RunningJob) -> None:
        self._running = running

    async def ask(self, questions: Mapping[str, ElicitRequest]) -> dict[str, object]:
        """Ask, and give each answer (`action`, `content`) by the name of its question."""
        wire = {name: one.model_dump(by_alias=True, mode="json", exclude_none=True) for name, one in questions.items()}
        return await self._running.ask(wire)


@final
class LongCalls:
    """Calls that become tasks. It holds nothing: any number of them work on the same jobs."""

    def __init__(self, orchestrator: Orchestrator, answer: Callable[[Job], CallToolResult]) -> None:
        """Say whose jobs they are.

        Args:
            orchestrator: runs them.
            answer: makes the answer to a call of what its job came to, where the call did not make it itself.
        """
        self._jobs = orchestrator.jobs
        self._answer = answer

    def install(
        self, server: Server[dict[str, object]], hear: Callable[[Context], Awaitable[None]] = _pass_over
    ) -> None:
        """Announce the extension and serve its methods.

        Args:
            server: whose requests are answered.
            hear: notes that a client is there: one that only looks after its tasks keeps its claims, too.
        """

        def serve(method: str, params: type[T], answer: Callable[[Context, T], Awaitable[dict[str, object]]]) -> None:
            async def checked(ctx: Context, request: T) -> dict[str, object]:
                self._check(ctx, request)
                await hear(ctx)
                return {"resultType": "complete", **await answer(ctx, request)}

            server.add_request_handler(method, params, bounded(method, checked))

        server.extensions[TASKS] = {}
        serve("tasks/get", TaskParams, self._get)
        serve("tasks/cancel", TaskParams, self._cancel)
        serve("tasks/update", TaskUpdateParams, self._update)

    def known_to(self, ctx: Context) -> bool:
        """Say whether the client of this request knows tasks."""
        capabilities = ctx.session.client_capabilities
        declared = None if capabilities is None else capabilities.extensions
        return ctx.protocol_version in MODERN_PROTOCOL_VERSIONS and declared is not None and TASKS in declared

    def require(self, ctx: Context) -> None:
        """Refuse a request of a client that does not know tasks.

        Raises:
            MCPError: it does not; says what it lacks.
        """
        if not self.known_to(ctx):
            data = MissingRequiredClientCapabilityErrorData(
                required_capabilities=ClientCapabilities(extensions={TASKS: {}})
            )
            raise MCPError(
                code=MISSING_REQUIRED_CLIENT_CAPABILITY,
                message=f"This needs a client that declares the extension {TASKS}.",
                data=data.model_dump(by_alias=True, mode="json", exclude_none=True),
            )

    async def begin(
        self,
        call: Call,
        name: str,
        work: Callable[[Asking, RunningJob], Awaitable[CallToolResult]],
        intent: Mapping[str, object] | None = None,
    ) -> dict[str, object]:
        """Do the work of a call as a task, and give what the call is answered with now.

        Args:
            call: who calls.
            name: of the tool.
            work: the call itself; raises MCPError when it cannot be answered at all.
            intent: what another process needs to do it anew.
        """
        return handle(await self._jobs.start(call, name, partial(_carry_out, work), intent=intent))

    def begin_anew(
        self, name: str, work: Callable[[Mapping[str, object], Asking, RunningJob], Awaitable[CallToolResult]]
    ) -> None:
        """Say how the calls of a tool are made anew as tasks, by what was kept of them."""

        async def begin(opened: OpenWorkspace, found: Job) -> bool:
            await opened.jobs.resume(found, partial(_carry_out, partial(work, found.intent or {})))
            return True

        self._jobs.begin_anew(name, begin)

    async def _get(self, _: Context, params: TaskParams) -> dict[str, object]:
        found = await self._jobs.get(params.task_id)
        told = _told(found)
        if found.status is JobStatus.INPUT_REQUIRED:
            told["inputRequests"] = dict(found.asked)
        elif found.status is JobStatus.COMPLETED:
            told["result"] = self._result(found)
        elif found.status is JobStatus.FAILED and REFUSED in (found.error or {}):
            # The call was answered with a refusal: that is a result.
            told["status"] = JobStatus.COMPLETED
            told["result"] = self._result(found)
        elif found.status is JobStatus.FAILED:
            told["error"] = _error(found)
        return told

    async def _cancel(self, ctx: Context, params: TaskParams) -> dict[str, object]:
        await self._jobs.cancel(_by(ctx), params.task_id, "cancelled by its client")
        return {}

    async def _update(self, ctx: Context, params: TaskUpdateParams) -> dict[str, object]:
        await self._jobs.answer(_by(ctx), params.task_id, params.input_responses)
        return {}

    def _check(self, ctx: Context, params: TaskParams | TaskUpdateParams) -> None:
        """Refuse what is not a request of the extension.

        Raises:
            MCPError: the era has no tasks, the client did not declare them, or the header names another one.
        """
        if ctx.protocol_version not in MODERN_PROTOCOL_VERSIONS:
            raise MCPError(code=METHOD_NOT_FOUND, message="Method not found", data=ctx.method)
        self.require(ctx)
        headers = cast("Mapping[str, str] | None", getattr(ctx.request, "headers", None))
        if headers is not None and (headers.get(_NAME_HEADER) or "").strip() != params.task_id:
            raise MCPError(
                code=HEADER_MISMATCH, message="The Mcp-Name header is not the taskId. Send the same in both."
            )

    def _result(self, found: Job) -> object:
        result = found.result or {}
        if _WIRE in result:
            return result[_WIRE]
        return self._answer(found).model_dump(by_alias=True, mode="json", exclude_none=True)


async def _carry_out(
    work: Callable[[Asking, RunningJob], Awaitable[CallToolResult]], running: RunningJob
) -> dict[str, object]:
    """Make a call as the work of a job; its answer is the job's result."""
    try:
        result = await work(Asking(running), running)
    except MCPError as error:
        wire = error.error.model_dump(by_alias=True, mode="json", exclude_none=True)
        raise JobFailed(error.error.message, {_WIRE: wire}) from error
    return {_WIRE: result.model_dump(by_alias=True, mode="json", exclude_none=True)}


def handle(found: Job) -> dict[str, object]:
    """Answer a call with the handle of its job."""
    return {"resultType": "task", **_told(found)}


def _told(found: Job) -> dict[str, object]:
    """Tell what every answer about a task has."""
    told: dict[str, object] = {
        "taskId": found.id,
        "status": found.status,
        "createdAt": iso(found.created),
        "lastUpdatedAt": iso(found.updated),
        "ttlMs": round(found.ttl_seconds * 1_000),
        "pollIntervalMs": round(found.poll_seconds * 1_000),
    }
    if found.message is not None:
        of = "" if found.total is None else f"/{found.total:g}"
        told["statusMessage"] = found.message if found.ended else f"{found.done:g}{of}: {found.message}"
    return told


def _error(found: Job) -> object:
    error = found.error or {}
    if _WIRE in error:
        return error[_WIRE]
    return {"code": INTERNAL_ERROR, "message": found.message or "it failed", "data": dict(error)}


def _by(ctx: Context) -> str:
    return f"mcp:{client_name(own_name(ctx))}"
