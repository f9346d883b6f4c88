"""The scripted provider is a model as far as anybody can tell: time, tools, failures, limits, bills."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from vespera_agents.providers import errors
from vespera_agents.providers.exchange import (
    Finish,
    ModelMessage,
    ModelRequest,
    Price,
    ToolSpec,
    Usage,
)
from vespera_agents.providers.scripted import ScriptedProvider
from vespera_agents.providers.scripts import Answer, Failure, FailureKind, Rule, Script, ScriptedCall, read_script
from vespera_agents.providers.settings import Kind, ProviderSettings
from vespera_agents.providers.wire import open_provider

REQUEST = ModelRequest("", "You are terse.", (ModelMessage("user", "Work on task AB-12."),), purpose="step/1")
EDIT = ToolSpec("edit_file", "Edit a file.", {"type": "object"})


async def test_the_first_rule_that_fits_answers_then_answers_in_order_then_what_is_left() -> None:
    script = Script(
        rules=(
            Rule(Answer("never"), contains=("task",), lacks=("AB-12",)),
            Rule(Answer("never"), tool="edit_file"),
            Rule(Answer("never"), purpose="^plan/"),
            Rule(Answer("never"), when=lambda request: request.temperature is not None),
            Rule(Answer("once"), contains=("task", "AB-12"), times_max=1),
        ),
        answers=(Answer("first"), Answer("second")),
        otherwise=Answer("again"),
    )
    provider = ScriptedProvider(script)
    provider.answer_next(Answer("before all"))
    said = [(await provider.complete(REQUEST)).text for _ in range(6)]
    assert said == ["before all", "once", "first", "second", "again", "again"]
    assert provider.figures.answered == provider.figures.asked == 6


async def test_what_a_pattern_finds_is_put_into_text_and_calls() -> None:
    call = ScriptedCall("edit_file", {"path": "{id}.md", "lines": ["{id}", 3], "text": "{other}"})
    rule = Rule(Answer("On {id}.", calls=(call,)), pattern=r"task (?P<id>[A-Z]+-\d+)")
    completion = await ScriptedProvider(Script(rules=(rule,))).complete(REQUEST)
    assert completion.text == "On AB-12."
    assert completion.finish is Finish.TOOLS
    assert completion.calls[0].arguments == {"path": "AB-12.md", "lines": ["AB-12", 3], "text": "{other}"}


async def test_an_answer_takes_its_time_and_comes_in_pieces(autojump_clock: MockClock) -> None:
    provider = ScriptedProvider(Script(answers=(Answer("abcdef", seconds=5, chunk_characters=2, chunk_seconds=1),)))
    came: list[tuple[float, str]] = []
    start = trio.current_time()
    async with provider.stream(REQUEST) as stream:
        came.extend([(trio.current_time() - start, chunk.text) async for chunk in stream])
        assert stream.completion.text == "abcdef"
    assert came == [(5, "ab"), (6, "cd"), (7, "ef")]


async def test_an_answer_that_is_slower_than_its_deadline_does_not_come(autojump_clock: MockClock) -> None:
    provider = ScriptedProvider(Script(otherwise=Answer("abcdef", seconds=5, chunk_characters=1, chunk_seconds=5)))
    for timeout_seconds in (4, 17):
        with pytest.raises(errors.TimedOut):
            await provider.complete(replace(REQUEST, timeout_seconds=timeout_seconds))
    assert (provider.figures.failed, provider.figures.answered, provider.figures.in_flight) == (2, 0, 0)


@pytest.mark.parametrize("kind", FailureKind, ids=str)
async def test_each_error_can_be_had(kind: FailureKind) -> None:
    provider = ScriptedProvider()
    provider.fail_next(kind, times=2, retry_after_seconds=3)
    name = "".join(word.capitalize() for word in kind.split("-"))
    for _ in range(2):
        with pytest.raises(errors.ProviderError) as caught:
            await provider.complete(REQUEST)
        assert type(caught.value) is getattr(errors, name)
    if isinstance(caught.value, errors.RateLimited | errors.CircuitOpen):
        assert caught.value.retry_after_seconds == 3
    assert (await provider.complete(REQUEST)).text == "Done."
    assert (provider.figures.failed, provider.figures.answered) == (2, 1)


async def test_a_stream_can_break_in_the_middle() -> None:
    provider = ScriptedProvider(Script(otherwise=Answer("abcdef", fails=Failure(after_characters=4))))
    came = ""
    with pytest.raises(errors.Unavailable):
        async with provider.stream(REQUEST) as stream:
            async for chunk in stream:
                came += chunk.text
    assert came == "abcd"
    assert provider.figures.failed == 1


async def test_who_is_cancelled_or_leaves_is_counted_and_not_paid(autojump_clock: MockClock, tmp_path: Path) -> None:
    paid = tmp_path / "paid"
    provider = ScriptedProvider(Script(otherwise=Answer("abcdef", seconds=9, chunk_characters=1)), paid=paid)
    with trio.move_on_after(1):
        await provider.complete(REQUEST)
    async with provider.stream(REQUEST) as stream:
        async for _ in stream:
            break
    assert (provider.figures.cancelled, provider.figures.failed, provider.figures.in_flight) == (2, 0, 0)
    assert not paid.exists()


async def test_what_is_too_long_or_too_much_at_once_is_refused(autojump_clock: MockClock) -> None:
    provider = ScriptedProvider(Script(otherwise=Answer("ok", seconds=1), context_tokens_max=4_200, in_flight_max=2))
    with pytest.raises(errors.ContextTooLong):
        await provider.complete(replace(REQUEST, system="long " * 100))
    refused: list[errors.RateLimited] = []

    async def ask() -> None:
        try:
            await provider.complete(REQUEST)
        except errors.RateLimited as error:
            refused.append(error)

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(ask)
    assert len(refused) == 1
    assert provider.figures.in_flight_peak == 3


async def test_a_call_that_is_answered_is_on_the_bill_with_its_purpose(tmp_path: Path) -> None:
    script = tmp_path / "script.toml"
    script.write_text(
        """
        price = { input_usd = 10.0, output_usd = 20.0 }
        models = ["one", "two"]

        [[rules]]
        purpose = "^step/"
        text = "Done."
        usage = { input_tokens = 1000, output_tokens = 100 }

        [[answers]]
        fails = { kind = "rate-limited", retry_after_seconds = 2.0 }
        """
    )
    paid = tmp_path / "paid"
    provider = open_provider(ProviderSettings("fake", Kind.SCRIPTED, script=script, paid=paid))
    completion = await provider.complete(replace(REQUEST, model="two"))
    assert completion.cost_usd == pytest.approx(0.012)
    with pytest.raises(errors.RateLimited):
        await provider.complete(replace(REQUEST, purpose="other"))
    await provider.complete(REQUEST)
    lines = [json.loads(line) for line in paid.read_text().splitlines()]
    assert [(line["purpose"], line["model"], line["input_tokens"]) for line in lines] == [
        ("step/1", "two", 1000),
        ("step/1", "one", 1000),
    ]
    assert provider.models == ("one", "two")
    assert provider.price("one") == Price(10.0, 20.0)
    await provider.aclose()


async def test_a_json_script_says_the_same(tmp_path: Path) -> None:
    path = tmp_path / "script.json"
    call = {"name": "edit_file", "arguments": {"path": "a.py"}}
    path.write_text(json.dumps({"rules": [{"tool": "edit_file", "calls": [call], "times_max": 1}], "seed": 4}))
    expected = Rule(Answer(calls=(ScriptedCall("edit_file", {"path": "a.py"}),)), tool="edit_file", times_max=1)
    assert read_script("fake", path) == Script(rules=(expected,), seed=4)
    completion = await ScriptedProvider(read_script("fake", path)).complete(replace(REQUEST, tools=(EDIT,)))
    assert completion.finish is Finish.TOOLS


@pytest.mark.parametrize(
    "text",
    ["[", "[1]", '{"rulez": []}', '{"rules": [{"txt": "a"}]}', '{"rules": [{"pattern": "("}]}', '{"models": 3}'],
)
def test_a_wrong_script_is_refused_with_what_to_do(tmp_path: Path, text: str) -> None:
    path = tmp_path / "script.json"
    path.write_text(text)
    with pytest.raises(errors.NotConfigured, match="Correct the script"):
        read_script("fake", path)


async def test_a_request_that_nothing_fits_and_a_model_that_is_not_there_are_bad() -> None:
    provider = ScriptedProvider(Script())
    with pytest.raises(errors.BadRequest, match="otherwise"):
        await provider.complete(REQUEST)
    with pytest.raises(errors.BadRequest, match="scripted-1"):
        await provider.complete(replace(REQUEST, model="unknown"))


async def test_chances_are_the_same_each_time() -> None:
    script = Script(rules=(Rule(Answer("lucky"), chance=0.3),), otherwise=Answer("plain"), seed=7)
    runs = [
        [(await provider.complete(REQUEST)).text for _ in range(40)] for provider in map(ScriptedProvider, [script] * 2)
    ]
    assert runs[0] == runs[1]
    assert 3 < runs[0].count("lucky") < 25


async def test_usage_is_counted_from_what_is_sent_unless_the_script_says_it() -> None:
    provider = ScriptedProvider(Script(answers=(Answer("abcde"), Answer("x", usage=Usage(7, 8, estimated=True)))))
    assert (await provider.complete(REQUEST)).usage == Usage(9, 2)
    assert (await provider.complete(REQUEST)).usage == Usage(7, 8, estimated=True)
