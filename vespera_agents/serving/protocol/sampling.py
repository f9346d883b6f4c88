"""The client's own model: what a specialist asks a model, put to the client that asked for the work, in both eras.

A client of the handshake era is asked over its connection (`sampling/createMessage`); if the worker is replaced
meanwhile, it is asked again over the same pipe or session. Since 2026-07-28 a question belongs to the job: a client
that knows tasks finds it with tasks/get and answers with tasks/update, any other gets it as what its next call of
orchestrator_get_status needs first. Such an answer is in the job's row, so it counts whichever worker goes on.
Neighbours: `providers.client` is the provider, `server` notes what a call offers, `specialists.agents` lends it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, cast, final

import trio
from mcp.server.connection import Connection
from mcp.server.context import ServerRequestContext
from mcp_types import CallToolRequestParams, CreateMessageRequest, InputRequiredResult
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import BaseModel

from vespera_agents.serving.protocol.connections import connection_of
from vespera_agents.serving.protocol.identity import identity_of
from vespera_agents.specialists.calls import Call
from vespera_agents.specialists.jobs import RunningJob
from vespera_agents.specialists.orchestrator import Orchestrator
from vespera_agents.store import jobs as job_queries
from vespera_agents.store.jobs import Job, JobStatus
from vespera_agents.work.errors import NotFound

if TYPE_CHECKING:
    from vespera_agents.providers.client import Lender

__all__ = ["POLLED", "Sampling"]

POLLED: Final = "orchestrator_get_status"
"""The tool by which a client looks after its jobs that knows no tasks."""
BACK_SECONDS: Final = 30.0
"""How long we wait for a client to be there again after the worker was replaced."""
ASKED_AT_ONCE_MAX: Final = 8
"""Questions in one answer to a call."""
_METHOD: Final = "sampling/createMessage"
_OFFER: Final = "model"
"""Below which key of a job's intent lies what its client offers."""

Context = ServerRequestContext[dict[str, object]]


@final
class Sampling:
    """The models of the clients of one server."""

    def __init__(self, orchestrator: Orchestrator) -> None:
        """Say whose work it is for; its jobs are lent what their clients offered."""
        self._orchestrator = orchestrator
        self._connections: dict[str, Connection] = {}
        self._came = trio.Event()
        orchestrator.agents.lender = self.lender

    async def arrived(self, ctx: Context) -> None:
        """Note a connection of the handshake era: it is asked over, also for what an earlier worker had begun."""
        await trio.lowlevel.checkpoint()
        self._note(ctx)

    def offer(self, ctx: Context) -> dict[str, object] | None:
        """Say what the client of a call offers of its own model, as JSON can carry it; None if nothing."""
        able = ctx.session.client_capabilities
        if able is None or able.sampling is None:
            return None
        offer: dict[str, object] = {"tools": able.sampling.tools is not None}
        if ctx.protocol_version in MODERN_PROTOCOL_VERSIONS:
            return offer
        name = self._note(ctx)
        return None if name is None else {**offer, "connection": name}

    def lender(self, running: RunningJob) -> Lender | None:
        """Give who answers for the client of a job; None where it offered no model."""
        offered = _mapping(running.intent.get(_OFFER))
        if not offered:
            return None
        from vespera_agents.serving.protocol.sampling_lenders import (  # noqa: PLC0415 - most clients offer no model
            ThroughConnection,
            ThroughJob,
        )

        name, tools = offered.get("connection"), offered.get("tools") is True
        if isinstance(name, str):
            return ThroughConnection(self.connection, name, tools=tools)
        return ThroughJob(running, tools=tools)

    async def asked_first(self, ctx: Context, params: CallToolRequestParams, call: Call) -> InputRequiredResult | None:
        """Take the answers that a call brings, or give the questions that its client's jobs wait for."""
        able = ctx.session.client_capabilities
        if ctx.protocol_version not in MODERN_PROTOCOL_VERSIONS or able is None or able.sampling is None:
            return None
        if params.input_responses is not None:
            await self._take(call, params.input_responses)
            return None
        asked: dict[str, object] = {}
        for found in await self._waiting(call):
            for identifier, question in found.asked.items():
                if len(asked) < ASKED_AT_ONCE_MAX and _is_ours(question):
                    asked[f"{found.id}/{identifier}"] = CreateMessageRequest.model_validate(question, by_name=False)
        return InputRequiredResult.model_validate({"input_requests": asked}) if asked else None

    async def connection(self, name: str) -> Connection | None:
        """Give a client's connection, waiting a bounded time until it is there; None if it does not come back."""
        with trio.move_on_after(BACK_SECONDS):
            while name not in self._connections:
                await self._came.wait()
        return self._connections.get(name)

    def _note(self, ctx: Context) -> str | None:
        connection = connection_of(ctx)
        able = connection.client_capabilities
        if able is None or able.sampling is None or not connection.has_standalone_channel:
            return None
        identity = identity_of(ctx)
        name = identity.connection or identity.transport
        if self._connections.get(name) is not connection:
            self._connections[name] = connection
            connection.exit_stack.callback(self._forget, name, connection)
            self._came.set()
            self._came = trio.Event()
        return name

    def _forget(self, name: str, connection: Connection) -> None:
        if self._connections.get(name) is connection:
            del self._connections[name]

    async def _waiting(self, call: Call) -> list[Job]:
        """Find the jobs that this client asked for and that wait for its model."""
        holder = call.intent()["holder"]
        return [
            found
            for opened in await self._orchestrator.lookup.open_ones()
            for found in await opened.store.read(job_queries.live_jobs)
            if found.status is JobStatus.INPUT_REQUIRED
            and found.principal == call.by
            and (found.intent or {}).get("holder") == holder
        ]

    async def _take(self, call: Call, responses: Mapping[str, BaseModel]) -> None:
        by_job: dict[str, dict[str, object]] = {}
        for key, response in responses.items():
            job_id, _, identifier = key.partition("/")
            told = response.model_dump(by_alias=True, mode="json", exclude_none=True)
            by_job.setdefault(job_id, {})[identifier] = told
        for job_id, answers in by_job.items():
            try:
                await self._orchestrator.jobs.answer(call.by, job_id, answers)
            except NotFound:
                # It ended, and was forgotten since: nobody waits for this answer.
                continue


def _is_ours(question: object) -> bool:
    return _mapping(question).get("method") == _METHOD


def _mapping(value: object) -> Mapping[str, object]:
    return cast("Mapping[str, object]", value) if isinstance(value, Mapping) else {}
