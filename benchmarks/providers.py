"""Providers: what does our layer add to a bare call of the library, against the same local server?

Each vendor's wire is spoken with a small server in a process of its own. A call through a provider of ours and a bare
`pydantic_ai.direct` call, with the client that the library opens by itself, take turns call by call; each round's value
is the median of its calls. What is asked is small, so that nothing hides what a call costs by itself. The last rows are
the same through `Models`, which chooses, limits, counts and settles, and how long a server waits until it sees that a
stream was cancelled.
"""

from __future__ import annotations

import gc
import itertools
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import Final

import trio
from cohere import AsyncClientV2
from pydantic_ai import messages
from pydantic_ai.direct import model_request, model_request_stream
from pydantic_ai.models import Model
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.cohere import CohereModel
from pydantic_ai.models.google import GoogleModel
from pydantic_ai.models.groq import GroqModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.cohere import CohereProvider
from pydantic_ai.providers.google import GoogleProvider
from pydantic_ai.providers.groq import GroqProvider
from pydantic_ai.providers.openai import OpenAIProvider

from benchmarks.harness import Options, Row, row_of
from vespera_agents.providers.exchange import Finish, ModelMessage, ModelRequest, Need, Price, Provider
from vespera_agents.providers.models import Models
from vespera_agents.providers.settings import KeyReference, Kind, ProviderSettings
from vespera_agents.providers.testing import Reply, open_vendor_server
from vespera_agents.providers.wire import open_provider

CALLS: Final = 60
"""Of each way in one round."""
KINDS: Final = (
    Kind.OPENAI,
    Kind.OPENAI_RESPONSES,
    Kind.ANTHROPIC,
    Kind.GOOGLE,
    Kind.GROQ,
    Kind.COHERE,
    Kind.OLLAMA,
    Kind.OPENAI_COMPATIBLE,
)
REQUEST: Final = ModelRequest("some-model", "You are terse.", (ModelMessage("user", "Say a few words."),))
SERVER: Final = """
import sys, trio
from vespera_agents.providers.settings import Kind
from vespera_agents.providers.testing import open_vendor_server

async def main():
    async with open_vendor_server(Kind(sys.argv[1])) as server:
        print(server.address, flush=True)
        await trio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)

trio.run(main)
"""
"""Serves until its input ends."""

Ask = Callable[[], Awaitable[None]]


async def run(options: Options) -> list[Row]:
    """Measure each wire, whole and streamed, then through `Models`, then how soon a cancelled stream is closed."""
    os.environ["BENCH_KEY"] = "sk-bench"
    rows: list[Row] = []
    for kind in KINDS:
        with _both(kind) as (provider, model):
            rows.append(await _row(f"{kind}: a call", _ours(provider), _bare(model), options))
            if kind in {Kind.OPENAI, Kind.ANTHROPIC}:
                rows.append(await _row(f"{kind}: a stream", _our_stream(provider), _bare_stream(model), options))
                through = _through(Models([provider]))
                rows.append(await _row(f"{kind}: a call through Models", through, _bare(model), options))
    rows.append(await _cancel_row(options))
    return rows


@contextmanager
def _both(kind: Kind) -> Generator[tuple[Provider, Model]]:
    """Start a server, and open both ways to it; their connections end with it."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, kind], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        key = KeyReference(env="BENCH_KEY")
        provider = open_provider(ProviderSettings("bench", kind, address, key, price=Price(1.0, 2.0)))
        yield provider, _bare_model(kind, address)
    finally:
        process.communicate(timeout=10)


def _bare_model(kind: Kind, address: str) -> Model:
    """Open the library as its own documentation says."""
    if kind is Kind.ANTHROPIC:
        return AnthropicModel("some-model", provider=AnthropicProvider(api_key="sk", base_url=address))
    if kind is Kind.GOOGLE:
        return GoogleModel("some-model", provider=GoogleProvider(api_key="sk", base_url=address))
    if kind is Kind.GROQ:
        return GroqModel("some-model", provider=GroqProvider(api_key="sk", base_url=address))
    if kind is Kind.COHERE:
        client = AsyncClientV2(api_key="sk", base_url=address)
        return CohereModel("some-model", provider=CohereProvider(cohere_client=client))

    address = address if address.endswith("/v1") else address + "/v1"
    provider = OpenAIProvider(api_key="sk", base_url=address)
    if kind is Kind.OPENAI_RESPONSES:
        return OpenAIResponsesModel("some-model", provider=provider)
    return OpenAIChatModel("some-model", provider=provider)


def _ours(provider: Provider) -> Ask:
    async def ask() -> None:
        completion = await provider.complete(REQUEST)
        assert completion.finish is Finish.END

    return ask


def _through(models: Models) -> Ask:
    numbers = itertools.count()

    async def ask() -> None:
        completion = await models.complete(REQUEST, Need(purpose=f"bench/{next(numbers)}"))
        assert completion.finish is Finish.END

    return ask


def _our_stream(provider: Provider) -> Ask:
    async def ask() -> None:
        async with provider.stream(REQUEST) as stream:
            assert [chunk async for chunk in stream]
            assert stream.completion.finish is Finish.END

    return ask


def _bare(model: Model) -> Ask:

    async def ask() -> None:
        parts = [messages.SystemPromptPart(REQUEST.system), messages.UserPromptPart(REQUEST.messages[0].text)]
        response = await model_request(
            model, [messages.ModelRequest(parts=parts)], model_settings={"max_tokens": REQUEST.output_tokens_max}
        )
        assert response.text

    return ask


def _bare_stream(model: Model) -> Ask:

    async def ask() -> None:
        parts = [messages.SystemPromptPart(REQUEST.system), messages.UserPromptPart(REQUEST.messages[0].text)]
        async with model_request_stream(
            model, [messages.ModelRequest(parts=parts)], model_settings={"max_tokens": REQUEST.output_tokens_max}
        ) as stream:
            assert [event async for event in stream]
            assert stream.get().text

    return ask


async def _row(name: str, ours: Ask, bare: Ask, options: Options) -> Row:
    """Take turns call by call, and the median of each round."""
    for ask in (ours, bare) * 5:
        await ask()
    mine: list[float] = []
    theirs: list[float] = []
    for _ in range(options.rounds):
        gc.collect()
        times: tuple[list[float], list[float]] = ([], [])
        for _ in range(options.scaled(CALLS)):
            for ask, found in zip((ours, bare), times, strict=True):
                start = time.perf_counter()
                await ask()
                found.append((time.perf_counter() - start) * 1e6)
        mine.append(statistics.median(times[0]))
        theirs.append(statistics.median(times[1]))
    return row_of(
        name,
        unit="us",
        ours=mine,
        reference="pydantic_ai.direct",
        references=theirs,
        goal=1.10,
        goal_is="at most",
    )


async def _cancel_row(options: Options) -> Row:
    """Measure how long after a cancellation the server sees the connection closed."""
    waits: list[float] = []
    async with open_vendor_server(Kind.OPENAI, Reply(holds_after_events=3)) as server:
        key = KeyReference(env="BENCH_KEY")
        provider = open_provider(ProviderSettings("bench", Kind.OPENAI, server.address, key))
        for number in range(options.rounds):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_our_stream(provider))
                seen = await server.request(number)
                await seen.holding.wait()
                await trio.sleep(0.01)
                start = time.perf_counter()
                nursery.cancel_scope.cancel()
                with trio.CancelScope(shield=True):
                    await seen.left.wait()
                waits.append((time.perf_counter() - start) * 1000)
        await provider.aclose()
    return row_of(
        "openai: a cancelled stream, until the server sees it",
        unit="ms",
        ours=waits,
        reference="100 ms",
        references=[100.0] * len(waits),
        goal=1.0,
        goal_is="at most",
    )
