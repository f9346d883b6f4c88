"""A client with a model, and a tool of the test's own whose work asks a model. Not a test."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import trio
from mcp import Client
from mcp.client.context import ClientRequestContext
from mcp_types import (
    CreateMessageRequestParams,
    CreateMessageResult,
    CreateMessageResultWithTools,
    ErrorData,
    Implementation,
    TextContent,
)

from tests.serving.kit import Place
from vespera_agents.providers.errors import NotConfigured
from vespera_agents.providers.exchange import Completion, ModelMessage, ModelRequest, Need, ToolSpec
from vespera_agents.serving.protocol.server import build_server
from vespera_agents.serving.tools.catalogue import TOOLS
from vespera_agents.serving.tools.tool import Effects, Parameters, Telling, Tool
from vespera_agents.specialists.answers import Answer
from vespera_agents.specialists.calls import Call
from vespera_agents.specialists.front import Front
from vespera_agents.specialists.jobs import JobFailed, RunningJob
from vespera_agents.specialists.orchestrator import Orchestrator
from vespera_agents.specialists.runtime import Runtime, open_runtime
from vespera_agents.specialists.sessions import OpenWorkspace
from vespera_agents.store.jobs import Job

THINK = "think"
SEARCH = ToolSpec("search", "Searches.", {"type": "object", "properties": {"text": {"type": "string"}}})


class Model:
    """The model of a client: answers as it is told, and remembers what it was asked."""

    def __init__(self, *answers: CreateMessageResult | CreateMessageResultWithTools | ErrorData) -> None:
        self.answers = list(answers)
        self.asked: list[CreateMessageRequestParams] = []

    async def __call__(
        self, _: ClientRequestContext, params: CreateMessageRequestParams
    ) -> CreateMessageResult | CreateMessageResultWithTools | ErrorData:
        self.asked.append(params)
        return self.answers.pop(0) if self.answers else said(f"answer to: {text_of(params)}")


def said(text: str) -> CreateMessageResult:
    content = TextContent(text=text)
    return CreateMessageResult(role="assistant", content=content, model="the-client-s", stop_reason="endTurn")


def text_of(params: CreateMessageRequestParams) -> str:
    content = params.messages[-1].content
    assert isinstance(content, TextContent)
    return content.text


class ThinkParameters(Parameters):
    """What to think about."""

    purposes: list[str]
    """At once; each is about what stands before its first slash."""
    tools: bool = False


class Thought(Answer):
    """What came of it."""

    job: str


@dataclass
class Thinker:
    """The tool, and what it came to in this process."""

    orchestrator: Orchestrator
    answers: dict[str, Completion]
    begun: trio.Event

    async def think(self, orchestrator: Orchestrator, call: Call, arguments: Mapping[str, Any]) -> Telling:
        given = ThinkParameters.model_validate(arguments)
        opened, session = await orchestrator.lookup.session(None)
        intent = call.intent(model=call.model, session=session.id, **given.model_dump())
        job = await orchestrator.jobs.start(
            call, THINK, partial(self.work, opened), opened=opened, session_id=session.id, intent=intent
        )
        call.job = job.id
        return Telling(job.id, {"job": job.id}, ())

    async def anew(self, opened: OpenWorkspace, job: Job) -> bool:
        await opened.jobs.resume(job, partial(self.work, opened))
        return True

    async def work(self, opened: OpenWorkspace, running: RunningJob) -> dict[str, object]:
        session_id, tools = running.intent["session"], running.intent["tools"]

        async def ask(purpose: str) -> None:
            message = ModelMessage("user", f"what of {purpose}?")
            specs = (SEARCH,) if tools else ()
            request = ModelRequest("", "You are a role.", (message,), specs, timeout_seconds=20.0)
            need = Need(purpose, session_id=str(session_id), tools=bool(tools))
            models = opened.models()
            if models is None:
                raise NotConfigured("", "no provider is configured", "Offer a model.")
            self.answers[purpose] = await models.complete(request, need)

        self.begun.set()
        with opened.model_source.lent(str(session_id), self.orchestrator.agents.lender(running)):
            try:
                async with trio.open_nursery() as nursery:
                    for purpose in running.intent["purposes"]:  # type: ignore[attr-defined]
                        nursery.start_soon(ask, str(purpose))
            except ExceptionGroup as group:
                raise JobFailed(str(group.exceptions[0]), {"kind": type(group.exceptions[0]).__name__}) from group
        return {"job": running.id}

    @property
    def texts(self) -> dict[str, str]:
        return {purpose: answer.text for purpose, answer in self.answers.items()}


def retell(result: Mapping[str, object]) -> Telling:
    return Telling(str(result["job"]), result, ())


@contextlib.asynccontextmanager
async def thinking(
    place: Place, era: str, *, front: Front | None = None, name: str = "tester", **options: Any
) -> AsyncIterator[tuple[Client, Thinker, Runtime]]:
    """Serve in this process, with the tool, a client that may have a model."""
    async with open_runtime("serve", registry=place.registry, front=front) as runtime:
        orchestrator = Orchestrator(runtime, place.project)
        thinker = Thinker(orchestrator, {}, trio.Event())
        tool = Tool(THINK, "Think", "Thinks.", Effects(), ThinkParameters, Thought, thinker.think, retell, begins=True)
        orchestrator.jobs.begin_anew(THINK, thinker.anew)
        info = Implementation(name=name, version="1")
        server = build_server(orchestrator, {**TOOLS, THINK: tool})
        async with Client(server, mode=era, client_info=info, **options) as client:
            await client.list_tools()
            yield client, thinker, runtime
