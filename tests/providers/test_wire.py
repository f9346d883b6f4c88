"""One suite over all wire formats: whatever a vendor's server does, a provider does the same with it."""

import json
import re
import traceback
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TypeVar

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from vespera_agents.providers import errors
from vespera_agents.providers.exchange import (
    Completion,
    Finish,
    ModelMessage,
    ModelRequest,
    Price,
    Provider,
    ToolCall,
    ToolResult,
    ToolSpec,
    Usage,
)
from vespera_agents.providers.settings import KeyReference, Kind, ProviderSettings
from vespera_agents.providers.testing import Complaint, Reply, VendorServer, open_vendor_server
from vespera_agents.providers.wire import open_provider
from vespera_agents.providers.wire.vendors import Library

KEY = "sk-canary-5f2b71c09d"
PROMPT = "The secret plan of the owner is a green house."
ANSWER = "A word that only the model says: heliotrope."
FORMATS = [
    Kind.OPENAI,
    Kind.OPENAI_RESPONSES,
    Kind.ANTHROPIC,
    Kind.GOOGLE,
    Kind.GROQ,
    Kind.COHERE,
    Kind.OLLAMA,
    Kind.OPENAI_COMPATIBLE,
]
PRESETS = [Kind.LMSTUDIO, Kind.VLLM, Kind.MISTRAL, Kind.DEEPSEEK, Kind.OPENROUTER]
TOOL = ToolSpec(
    "read_file",
    "Read a file.",
    {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]},
)
CALL = ToolCall("call_abc", "read_file", {"path": "docs/a b.md", "lines": [1, 2]})
REQUEST = ModelRequest("some-model", "You are terse.", (ModelMessage("user", PROMPT),), (TOOL,), timeout_seconds=20)

pytestmark = [
    # The libraries leave the generators of a stream for the garbage collector.
    pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning"),
]

Ask = Callable[[Provider, ModelRequest], Awaitable[Completion]]
E = TypeVar("E", bound=errors.ProviderError)


async def at_once(provider: Provider, request: ModelRequest) -> Completion:
    return await provider.complete(request)


async def bit_by_bit(provider: Provider, request: ModelRequest) -> Completion:
    async with provider.stream(request) as stream:
        text = "".join([chunk.text async for chunk in stream])
        completion = stream.completion
    if completion.finish is not Finish.REFUSED:
        assert text == completion.text
    return completion


every_format = pytest.mark.parametrize("kind", FORMATS, ids=str)
both_ways = pytest.mark.parametrize("ask", [at_once, bit_by_bit], ids=["whole", "streamed"])


@pytest.fixture(autouse=True)
def the_key_is_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANARY_KEY", KEY)


def settings_for(kind: Kind, address: str) -> ProviderSettings:
    return ProviderSettings(
        "here", kind, address, KeyReference(env="CANARY_KEY"), models=("some-model",), price=Price(1.0, 2.0)
    )


@asynccontextmanager
async def vendor(
    kind: Kind, reply: Reply | None = None, **changes: object
) -> AsyncGenerator[tuple[VendorServer, Provider]]:
    async with open_vendor_server(kind, reply or Reply(text=ANSWER)) as server:
        # The first request imports a library: that counts as its time, and takes 20 s on a busy machine.
        library = Library(settings_for(kind, server.address))
        await library.model("maker/some-model")  # OpenRouter's have two parts
        await library.aclose()
        provider = open_provider(replace(settings_for(kind, server.address), **changes))
        try:
            with trio.fail_after(30):
                yield server, provider
        finally:
            await provider.aclose()


async def failure(
    kind_of_error: type[E], server: VendorServer, provider: Provider, ask: Ask, request: ModelRequest = REQUEST
) -> E:
    """Ask, expect exactly this error after exactly one request, and look for secrets in all that can be seen of it."""
    before, seen_before = provider.statistics(), len(server.seen)
    with pytest.raises(errors.ProviderError) as caught:
        await ask(provider, request)
    error = caught.value
    assert isinstance(error, kind_of_error), repr(error)
    seen = "".join(traceback.format_exception(error)) + repr(error) + repr(provider) + repr(provider.statistics())
    for secret in (KEY, PROMPT, ANSWER):
        assert secret not in seen
    assert error.__cause__ is None
    assert error.__context__ is None
    assert error.provider == "here"
    assert error.next_action
    after = provider.statistics()
    assert len(server.seen) - seen_before <= 1, "a provider asks once"
    assert (after.requests, after.failures, after.in_flight) == (before.requests + 1, before.failures + 1, 0)
    return error


@every_format
@both_ways
async def test_an_answer_comes_with_its_text_end_usage_and_cost(kind: Kind, ask: Ask) -> None:
    async with vendor(kind, Reply(text=ANSWER, usage=Usage(210, 9))) as (server, provider):
        completion = await ask(provider, REQUEST)
        assert completion == Completion(
            provider="here",
            model=completion.model,
            text=ANSWER,
            finish=Finish.END,
            usage=Usage(210, 9),
            cost_usd=pytest.approx(0.000228),
        )
        [seen] = server.seen
        sent = json.dumps(seen.body) + seen.path
        assert PROMPT in sent
        assert "You are terse." in sent
        assert "read_file" in sent
        assert "4096" in sent
        assert KEY in json.dumps(dict(seen.headers))
        assert "added-when-sent" not in json.dumps(dict(seen.headers))
        statistics = provider.statistics()
        assert (statistics.requests, statistics.failures, statistics.in_flight) == (1, 0, 0)


@pytest.mark.parametrize("kind", PRESETS, ids=str)
@both_ways
async def test_what_speaks_as_openai_does_is_spoken_to_like_that(kind: Kind, ask: Ask) -> None:
    async with vendor(kind) as (server, provider):
        completion = await ask(provider, replace(REQUEST, model="maker/some-model"))
        assert (completion.text, completion.finish) == (ANSWER, Finish.END)
        assert server.seen[0].path == "/v1/chat/completions"


@every_format
@both_ways
async def test_a_model_asks_for_a_tool_and_is_told_what_it_gave(kind: Kind, ask: Ask) -> None:
    async with vendor(kind, Reply(text="", calls=(CALL,))) as (server, provider):
        completion = await ask(provider, REQUEST)
        assert completion.finish is Finish.TOOLS
        [call] = completion.calls
        assert (call.name, call.arguments) == (CALL.name, CALL.arguments)
        said = ModelMessage("assistant", calls=completion.calls)
        told = ModelMessage("user", results=(ToolResult(call.id, call.name, "It holds 42 words."),))
        server.reply = Reply(text=ANSWER)
        assert (await ask(provider, replace(REQUEST, messages=(*REQUEST.messages, said, told)))).text == ANSWER
        assert "It holds 42 words." in json.dumps(server.seen[1].body)


@every_format
@both_ways
async def test_an_answer_that_reached_its_limit_says_so(kind: Kind, ask: Ask) -> None:
    async with vendor(kind, Reply(text=ANSWER, finish=Finish.LENGTH)) as (_, provider):
        assert (await ask(provider, REQUEST)).finish is Finish.LENGTH


@every_format
@both_ways
async def test_a_refusal_is_an_answer(kind: Kind, ask: Ask) -> None:
    async with vendor(kind, Reply(text=ANSWER, finish=Finish.REFUSED)) as (_, provider):
        completion = await ask(provider, REQUEST)
        # Cohere has no word for it.
        assert completion.finish is (Finish.END if kind is Kind.COHERE else Finish.REFUSED)
        assert completion.calls == ()


@every_format
@both_ways
async def test_a_limit_says_when_to_come_again_in_seconds_as_a_date_or_not(kind: Kind, ask: Ask) -> None:
    async with vendor(kind) as (server, provider):
        server.reply_next(Reply(complaint=Complaint.LIMITED, retry_after="7"))
        assert (await failure(errors.RateLimited, server, provider, ask)).retry_after_seconds == 7
        date = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
        server.reply_next(Reply(complaint=Complaint.LIMITED, retry_after=date))
        seconds = (await failure(errors.RateLimited, server, provider, ask)).retry_after_seconds
        assert seconds is not None
        assert 20 < seconds <= 60
        server.reply_next(Reply(complaint=Complaint.LIMITED))
        assert (await failure(errors.RateLimited, server, provider, ask)).retry_after_seconds is None


@every_format
@both_ways
async def test_a_complaint_becomes_the_error_that_says_the_same(kind: Kind, ask: Ask) -> None:
    expected = {
        Complaint.BROKEN: errors.Unavailable,
        Complaint.OVERLOADED: errors.Unavailable,
        Complaint.TOO_LONG: errors.ContextTooLong,
        Complaint.WRONG_KEY: errors.AccessDenied,
        Complaint.UNKNOWN_MODEL: errors.BadRequest,
    }
    async with vendor(kind) as (server, provider):
        for complaint, kind_of_error in expected.items():
            server.reply_next(Reply(complaint=complaint))
            error = await failure(kind_of_error, server, provider, ask)
            assert type(error) is kind_of_error
        # None of these costs the connection, or the next request.
        assert (await ask(provider, REQUEST)).text == ANSWER
        assert server.connections == 1


@every_format
@both_ways
async def test_a_server_that_is_silent_before_its_answer_is_given_up(
    kind: Kind, ask: Ask, jump_clock: MockClock
) -> None:
    reply = Reply(text=ANSWER, first_byte_seconds=20)
    # So that it is not the deadline of the request that holds.
    request = replace(REQUEST, timeout_seconds=1_000)
    # The same limit holds while the request is sent, so it is over only when the server has that.
    async with vendor(kind, reply, first_byte_timeout_seconds=5) as (server, provider):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(failure, errors.TimedOut, server, provider, ask, request)
            seen = await server.request(0)
            await wait_all_tasks_blocked(0.01)
            jump_clock.jump(5)
        await seen.left.wait()


@every_format
@both_ways
async def test_the_deadline_of_a_request_holds_for_all_of_it(kind: Kind, ask: Ask) -> None:
    reply = Reply(text=ANSWER, first_byte_seconds=20)
    async with vendor(kind, reply) as (server, provider):
        await failure(errors.TimedOut, server, provider, ask, replace(REQUEST, timeout_seconds=0.1))


@every_format
async def test_the_deadline_holds_in_the_middle_of_a_stream(kind: Kind, jump_clock: MockClock) -> None:
    async with vendor(kind, Reply(text=ANSWER, holds_after_events=2)) as (server, provider):
        request = replace(REQUEST, timeout_seconds=5)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(failure, errors.TimedOut, server, provider, bit_by_bit, request)
            seen = await server.request(0)
            await seen.holding.wait()
            await wait_all_tasks_blocked(0.01)
            jump_clock.jump(5)
        await seen.left.wait()


@every_format
@both_ways
async def test_an_answer_that_is_cut_off_is_no_answer(kind: Kind, ask: Ask) -> None:
    async with vendor(kind, Reply(text=ANSWER * 20, breaks_after_bytes=700)) as (server, provider):
        found = await failure(errors.Unavailable, server, provider, ask)
    assert found.may_have_cost, "the vendor has worked on it"


@every_format
async def test_a_stream_that_does_not_say_that_it_is_at_its_end_is_no_answer(kind: Kind) -> None:
    async with vendor(kind, Reply(text=ANSWER, stops_before_end=True)) as (server, provider):
        await failure(errors.Unavailable, server, provider, bit_by_bit)


@every_format
@both_ways
async def test_an_answer_that_cannot_be_read_is_no_answer(kind: Kind, ask: Ask) -> None:
    async with vendor(kind) as (server, provider):
        for body in (b'{"id": "a", "cho', b"<html>Bad gateway</html>", b"[]", b'{"id": 7}', b""):
            server.reply_next(Reply(body=b"data: " + body + b"\n\n" if ask is bit_by_bit and body else body))
            error = await failure(errors.ProviderError, server, provider, ask)
            # A stream without anything in it cannot be told from one that broke off.
            streamed = ask is bit_by_bit and isinstance(error, errors.Unavailable)
            assert streamed or isinstance(error, errors.MalformedAnswer), (body, error)


@every_format
@both_ways
async def test_a_usage_that_is_missing_or_cannot_be_is_counted_here(kind: Kind, ask: Ask) -> None:
    async with vendor(kind) as (server, provider):
        for said in (None, Usage(0, 0), Usage(-5, -5), Usage(10**12, 10**12)):
            server.reply_next(Reply(text=ANSWER, usage=said))
            usage = (await ask(provider, REQUEST)).usage
            assert usage.estimated
            assert 20 < usage.input_tokens < 100
            assert 5 < usage.output_tokens < 20


@every_format
async def test_a_cancelled_stream_closes_its_connection_at_once(kind: Kind) -> None:
    async with vendor(kind, Reply(text=ANSWER, holds_after_events=3)) as (server, provider):

        async def read(scope: trio.CancelScope) -> None:
            with scope:
                await bit_by_bit(provider, REQUEST)

        for attempt in range(10):
            async with trio.open_nursery() as nursery:
                scope = trio.CancelScope()
                nursery.start_soon(read, scope)
                seen = await server.request(attempt)
                await seen.holding.wait()
                await wait_all_tasks_blocked(0.01)
                scope.cancel()
                # A busy machine may miss it now and then; a connection that stays open misses it each time.
                with trio.move_on_after(0.1) as patience:
                    await seen.left.wait()
            if not patience.cancelled_caught:
                break
        else:
            pytest.fail("the server did not see the connection closed within 0.1 s, ten times")
        statistics = provider.statistics()
        assert (statistics.failures, statistics.in_flight) == (0, 0)


@every_format
async def test_a_stream_that_is_left_closes_its_connection(kind: Kind) -> None:
    async with vendor(kind, Reply(text=ANSWER, holds_after_events=4)) as (server, provider):
        async with provider.stream(REQUEST) as stream:
            async for chunk in stream:
                assert ANSWER.startswith(chunk.text)
                break
        await server.seen[0].left.wait()
        server.reply = Reply(text=ANSWER)
        assert (await at_once(provider, REQUEST)).text == ANSWER


@every_format
async def test_a_cancelled_request_closes_its_connection(kind: Kind) -> None:
    async with vendor(kind, Reply(text=ANSWER, first_byte_seconds=20)) as (server, provider):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(at_once, provider, REQUEST)
            await server.request(0)
            nursery.cancel_scope.cancel()
        await server.seen[0].left.wait()
        assert provider.statistics().in_flight == 0


@every_format
@both_ways
async def test_an_address_where_nobody_listens_cannot_be_reached(kind: Kind, ask: Ask) -> None:
    async with vendor(kind) as (server, _):
        # A port that was free a moment ago; nothing else here takes one.
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listeners[0].socket.getsockname()[1]
        await listeners[0].aclose()
        provider = open_provider(settings_for(kind, re.sub(r":\d+", f":{port}", server.address)))
        await failure(errors.Unavailable, server, provider, ask)
        await provider.aclose()


@every_format
@both_ways
async def test_a_redirect_to_another_address_is_not_followed(kind: Kind, ask: Ask) -> None:
    async with (
        open_vendor_server(kind) as elsewhere,
        vendor(kind, Reply(location=elsewhere.root)) as (server, provider),
    ):
        await failure(errors.NotConfigured, server, provider, ask)
        assert elsewhere.seen == []


@every_format
async def test_a_missing_key_is_told_before_anything_is_sent(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    async with vendor(kind) as (server, provider):
        monkeypatch.delenv("CANARY_KEY")
        error = await failure(errors.NotConfigured, server, provider, at_once)
        assert "CANARY_KEY" in str(error)
        assert server.seen == []


@every_format
async def test_what_the_environment_has_for_others_is_not_sent(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [
        "OPENAI_API_KEY",
        "ANTHROPIC_API_KEY",
        "ANTHROPIC_AUTH_TOKEN",
        "GOOGLE_API_KEY",
        "GROQ_API_KEY",
        "CO_API_KEY",
    ]
    if kind not in {Kind.OPENAI, Kind.OPENAI_RESPONSES}:
        names += ["OPENAI_ORG_ID", "OPENAI_PROJECT_ID"]
    for name in names:
        monkeypatch.setenv(name, "sk-of-somebody-else")
    async with vendor(kind) as (server, provider):
        await at_once(provider, REQUEST)
        assert "somebody" not in json.dumps(dict(server.seen[0].headers))


@every_format
async def test_a_changed_key_counts_from_the_next_request_on(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    async with vendor(kind) as (server, provider):
        await at_once(provider, REQUEST)
        monkeypatch.setenv("CANARY_KEY", "sk-another")
        await at_once(provider, REQUEST)
        assert "sk-another" in json.dumps(dict(server.seen[1].headers))


@every_format
async def test_requests_one_after_another_share_a_connection(kind: Kind) -> None:
    async with vendor(kind) as (server, provider):
        for _ in range(3):
            await at_once(provider, REQUEST)
        assert server.statistics() == (1, 3)
