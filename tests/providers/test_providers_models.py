"""`Models` on virtual time with scripted providers: retries, pauses, circuits, fallbacks, deadlines, places, money."""

from __future__ import annotations

import contextlib
import random
from dataclasses import fields, replace

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.providers.books import Books
from vespera_agents.providers.circuit import Circuit
from vespera_agents.providers.configuration import BreakerSettings, ModelsSettings, RetrySettings
from vespera_agents.providers.errors import (
    AccessDenied,
    CircuitOpen,
    NotConfigured,
    ProviderError,
    RateLimited,
    SpendLimitReached,
    TimedOut,
    Unavailable,
)
from vespera_agents.providers.exchange import Finish, ModelMessage, ModelRequest, Need, Price, ToolSpec, Usage
from vespera_agents.providers.figures import ModelOutcome
from vespera_agents.providers.models import Models
from vespera_agents.providers.places import Places
from vespera_agents.providers.scripted import ScriptedProvider
from vespera_agents.providers.scripts import Answer, Failure, FailureKind, Rule, Script, ScriptedCall
from vespera_agents.providers.settings import Kind, ProviderSettings

REQUEST = ModelRequest("", "You help.", (ModelMessage("user", "Say hello."),), output_tokens_max=1_000)
NEED = Need("task_1/step/1", session_id="session_1", context_tokens=1_000)
PRICE = Price(1.0, 1.0)
FAILS = Script(otherwise=Answer(fails=Failure(FailureKind.UNAVAILABLE)))


def scripted(name: str, script: Script | None = None, **fields: object) -> ScriptedProvider:
    return ScriptedProvider(replace(script or Script(otherwise=Answer(f"I am {name}.")), **fields), name=name)


def models_of(*providers: ScriptedProvider, ledger: Books | None = None, **fields: object) -> Models:
    settings = ModelsSettings(**fields)
    return Models(providers, settings, ledger=ledger, dice=random.Random(7))


async def test_the_answer_says_who_gave_it_why_and_at_what_cost(autojump_clock: MockClock) -> None:
    usage = Usage(1_200, 300)
    one = scripted("one", Script(otherwise=Answer("Hello.", usage=usage), price=PRICE))
    models = models_of(one, scripted("dear", price=Price(50.0, 90.0)))
    found = await models.complete(REQUEST, NEED)
    assert (found.provider, found.text, found.cost_usd) == ("one", "Hello.", pytest.approx(0.0015))
    assert "one/scripted-1" in found.why
    assert "cheapest" in found.why
    assert one.asked[0].model == "scripted-1"
    assert one.asked[0].purpose == NEED.purpose


async def test_nothing_is_lost_of_a_request_a_need_or_an_answer_on_the_way(autojump_clock: MockClock) -> None:
    tool = ToolSpec("look", "Looks.", {"type": "object"})
    request = ModelRequest("scripted-1", "You help.", REQUEST.messages, (tool,), 7, 0.5, 9.0, "nobody's", "session_2")
    need = Need("task_1", "session_1", "task_1", "tester", "", "best", 5, True, "simple", ("two",))
    for each in (request, need):
        # A field that is new has to be set here, and carried along where these are copied.
        assert all(getattr(each, field.name) != field.default for field in fields(each))
    assert need.naming("scripted-1") == replace(need, model="scripted-1")

    call = ScriptedCall("look", {"at": "it"})
    one = scripted(
        "one", Script(otherwise=Answer("Well.", calls=(call,), finish=Finish.LENGTH, usage=Usage(5, 6, 2, 1)))
    )
    found = await models_of(one).complete(request, need)
    assert one.asked[0] == replace(request, purpose="task_1", session_id="session_1")
    straight = await one.complete(request)
    assert found == replace(straight, calls=found.calls, cost_usd=0.0, why=found.why)
    assert [(each.name, each.arguments) for each in found.calls] == [("look", {"at": "it"})]


async def test_a_failure_is_tried_again_after_growing_pauses(autojump_clock: MockClock) -> None:
    one = scripted("one")
    one.fail_next(FailureKind.UNAVAILABLE, times=2)
    models = models_of(one, retry=RetrySettings(attempts_max=3, min_seconds=1.0, jitter=0.5))
    begun = trio.current_time()
    assert (await models.complete(REQUEST, NEED)).text == "I am one."
    waited = trio.current_time() - begun
    assert 3.0 <= waited <= 4.5, "1 s and 2 s, each stretched by at most a half"
    assert one.figures.asked == 3
    assert models.figures.of("one", "scripted-1").outcomes[ModelOutcome.FAILED] == 2


async def test_jitter_spreads_those_who_failed_together(autojump_clock: MockClock) -> None:
    one = scripted("one")
    one.fail_next(FailureKind.UNAVAILABLE, times=8)
    models = models_of(one, breaker=BreakerSettings(failures_max=1_000))
    ends: list[float] = []

    async def ask(number: int) -> None:
        await models.complete(REQUEST, replace(NEED, purpose=f"p{number}"))
        ends.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        for number in range(8):
            nursery.start_soon(ask, number)
    assert len(set(ends)) == 8


@pytest.mark.parametrize("asked_for", [0.2, 3.0, 40.0])
async def test_retry_after_is_respected_by_everybody(autojump_clock: MockClock, asked_for: float) -> None:
    one = scripted("one")
    one.fail_next(FailureKind.RATE_LIMITED, retry_after_seconds=asked_for)
    models = models_of(one, retry=RetrySettings(min_seconds=0.01))
    times: list[float] = []

    async def ask(number: int) -> None:
        await trio.sleep(0.05 * number)
        await models.complete(REQUEST, replace(NEED, purpose=f"p{number}"))
        times.append(trio.current_time())

    begun = trio.current_time()
    async with trio.open_nursery() as nursery:
        for number in range(4):
            nursery.start_soon(ask, number)
    assert min(times) - begun >= asked_for, "nobody came earlier"
    assert max(times) - begun <= asked_for + 2.0
    assert one.figures.asked == 5


async def test_who_wants_a_long_pause_is_passed_over_where_there_is_another(autojump_clock: MockClock) -> None:
    one, two = scripted("one"), scripted("two")
    one.fail_next(FailureKind.RATE_LIMITED, retry_after_seconds=60.0)
    models = models_of(one, two)
    begun = trio.current_time()
    found = await models.complete(REQUEST, NEED)
    assert (found.provider, trio.current_time()) == ("two", begun)
    assert "one failed before (RateLimited)" in found.why
    assert models.figures.fallbacks == {("one", "two"): 1}
    assert (await models.complete(REQUEST, NEED)).provider == "two", "its pause is not over"
    await trio.sleep(61.0)
    assert {each.facts.provider for each in models.explain(NEED).order} == {"one", "two"}


async def test_a_limit_that_outlasts_the_deadline_is_raised_with_its_time(autojump_clock: MockClock) -> None:
    one = scripted("one")
    one.fail_next(FailureKind.RATE_LIMITED, retry_after_seconds=600.0)
    begun = trio.current_time()
    with pytest.raises(RateLimited) as caught:
        await models_of(one).complete(REQUEST, NEED)
    assert caught.value.retry_after_seconds == 600.0
    assert trio.current_time() == begun, "it is not waited for in vain"


async def test_the_deadline_holds_over_all_attempts_and_providers(autojump_clock: MockClock) -> None:
    slow = Script(otherwise=Answer("late", seconds=7.0, fails=Failure(FailureKind.UNAVAILABLE)))
    models = models_of(
        scripted("one", slow),
        scripted("two", slow),
        retry=RetrySettings(attempts_max=10, min_seconds=0.1),
        breaker=BreakerSettings(failures_max=100),
    )
    begun = trio.current_time()
    with pytest.raises(ProviderError) as caught:
        await models.complete(replace(REQUEST, timeout_seconds=20.0), NEED)
    assert trio.current_time() - begun <= 20.001
    assert caught.value.retryable


async def test_a_provider_that_hangs_is_cut_off_and_counts_as_timed_out(autojump_clock: MockClock) -> None:
    one = scripted("one", Script(otherwise=Answer("never", seconds=1_000_000.0)))
    models = models_of(one)
    begun = trio.current_time()
    with pytest.raises(TimedOut):
        await models.complete(replace(REQUEST, timeout_seconds=5.0), NEED)
    assert trio.current_time() - begun <= 6.0
    assert models.figures.of("one", "scripted-1").outcomes[ModelOutcome.TIMED_OUT] == 1


async def test_a_circuit_opens_is_tried_once_and_closes(autojump_clock: MockClock) -> None:
    one = scripted("one")
    models = models_of(
        one,
        retry=RetrySettings(attempts_max=1),
        breaker=BreakerSettings(failures_max=3, min_seconds=30.0),
    )
    one.fail_next(FailureKind.UNAVAILABLE, times=3)
    for _ in range(3):
        with pytest.raises(Unavailable):
            await models.complete(REQUEST, NEED)
    assert models.circuits == {"one": Circuit.OPEN}
    with pytest.raises(CircuitOpen) as caught:
        await models.complete(replace(REQUEST, timeout_seconds=10.0), NEED)
    assert caught.value.retry_after_seconds == pytest.approx(30.0)
    assert one.figures.asked == 3, "nobody asks it"
    assert models.available(NEED), "a little later it can be asked"
    await trio.sleep(30.0)
    one.answer_next(Answer("slow", seconds=3.0))

    async with trio.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(models.complete, REQUEST, replace(NEED, purpose=f"p{number}"))
        await trio.sleep(1.0)
        assert one.figures.in_flight_peak == 1, "one probe, and everybody waits for what it finds"
    assert models.circuits == {"one": Circuit.CLOSED}
    assert one.figures.answered == 5


async def test_while_a_circuit_is_open_the_next_provider_works(autojump_clock: MockClock) -> None:
    one, two = scripted("one", FAILS), scripted("two", price=PRICE)
    models = models_of(one, two, retry=RetrySettings(attempts_max=2), breaker=BreakerSettings(failures_max=4))
    for number in range(10):
        assert (await models.complete(REQUEST, replace(NEED, purpose=f"p{number}"))).provider == "two"
    assert one.figures.asked == 4
    assert two.figures.answered == 10


async def test_a_wrong_key_is_not_tried_again_with_the_same_provider(autojump_clock: MockClock) -> None:
    one, two = scripted("one"), scripted("two", price=PRICE)
    one.fail_next(FailureKind.ACCESS_DENIED)
    assert (await models_of(one, two).complete(REQUEST, NEED)).provider == "two"
    assert one.figures.asked == 1
    alone = scripted("alone")
    alone.fail_next(FailureKind.ACCESS_DENIED)
    with pytest.raises(AccessDenied):
        await models_of(alone).complete(REQUEST, NEED)


async def test_what_is_too_long_for_one_goes_to_a_larger_one(autojump_clock: MockClock) -> None:
    small = scripted("small", Script(otherwise=Answer("x", usage=Usage(1_250, 5)), context_tokens_max=3_000))
    large = scripted("large", context_tokens_max=300_000, price=PRICE)
    models = models_of(small, large)
    assert (await models.complete(REQUEST, replace(NEED, context_tokens=1_000))).provider == "small"
    assert (await models.complete(REQUEST, replace(NEED, context_tokens=1_700))).provider == "large"
    assert small.figures.asked == 1, "it was not even asked"


async def test_the_factor_of_a_vendor_is_learned_from_what_it_says(autojump_clock: MockClock) -> None:
    one = scripted("one", Script(otherwise=Answer("x", usage=Usage(2_000, 10)), context_tokens_max=10_000))
    models = models_of(one)
    need = replace(NEED, context_tokens=1_000)
    assert models.available(replace(NEED, context_tokens=4_000))
    for number in range(10):
        await models.complete(REQUEST, replace(need, purpose=f"p{number}"))
    assert not models.available(replace(NEED, context_tokens=4_000)), "it counts twice as many as we do"


async def test_nobody_who_can_do_it_is_an_error_that_says_why_each_cannot(autojump_clock: MockClock) -> None:
    models = models_of(scripted("one", tools=False), scripted("two", acts_alone=True))
    need = replace(NEED, tools=True)
    assert not models.available(need)
    with pytest.raises(NotConfigured, match=r"calls no tools.*by name only"):
        await models.complete(REQUEST, need)
    with pytest.raises(NotConfigured, match="OLLAMA_HOST"):
        await models_of().complete(REQUEST, NEED)


async def test_providers_come_and_go(autojump_clock: MockClock) -> None:
    models = models_of()
    assert not models.available(NEED)
    models.add(scripted("client"))
    assert (await models.complete(REQUEST, NEED)).provider == "client"
    models.remove("client")
    assert not models.available(NEED)


async def test_a_model_that_is_not_listed_is_asked_for_by_provider_and_name(autojump_clock: MockClock) -> None:
    one = scripted("one", models=("a", "b"))
    models = models_of(scripted("cheap"), one)
    assert (await models.complete(REQUEST, replace(NEED, model="one/b"))).model == "b"
    assert (await models.complete(replace(REQUEST, model="a"), NEED)).model == "a"
    assert [each.model for each in one.asked] == ["b", "a"]


async def test_places_are_kept_and_shared_by_turns(autojump_clock: MockClock) -> None:
    one = scripted("one", Script(otherwise=Answer("ok", seconds=1.0)))
    settings = ModelsSettings(providers=(ProviderSettings("one", Kind.SCRIPTED, concurrency=2),))
    models = Models([one], settings)
    ended: list[str] = []

    async def ask(session: str, number: int) -> None:
        await models.complete(REQUEST, replace(NEED, purpose=f"{session}{number}", session_id=session))
        ended.append(session)

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(ask, "greedy", number)
        await wait_all_tasks_blocked()
        for number in range(2):
            nursery.start_soon(ask, "modest", number)
    assert one.figures.in_flight_peak == 2
    assert ended.index("modest") <= 4, "it waited for those at work and one turn, not for twenty"


async def test_who_waits_for_a_place_and_is_called_off_takes_none_along(autojump_clock: MockClock) -> None:
    one = scripted("one", Script(otherwise=Answer("ok", seconds=1.0)))
    settings = ModelsSettings(providers=(ProviderSettings("one", Kind.SCRIPTED, concurrency=1),))
    models = Models([one], settings)
    async with trio.open_nursery() as nursery:
        for number in range(30):

            async def ask(number: int = number) -> None:
                # Half of them are called off, some just when their turn comes.
                with trio.move_on_after(number if number % 2 else 10_000):
                    await models.complete(REQUEST, replace(NEED, purpose=f"p{number}"))

            nursery.start_soon(ask)
    (standing,) = models.statistics().providers
    assert (standing.in_flight, standing.waiting) == (0, 0)
    with trio.fail_after(2.0):
        await models.complete(REQUEST, NEED)


async def test_a_place_that_comes_to_one_who_is_just_called_off_goes_on_to_the_next() -> None:
    places = Places("one", 1)
    await places.take("a")
    got: list[str] = []

    async def wait(name: str, scope: trio.CancelScope) -> None:
        with scope:
            await places.take(name)
            got.append(name)

    first = trio.CancelScope()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait, "b", first)
        await wait_all_tasks_blocked()
        nursery.start_soon(wait, "c", trio.CancelScope(deadline=trio.current_time() + 5.0))
        await wait_all_tasks_blocked()
        # The place is his before he hears that he is called off.
        first.cancel()
        places.give_back()
    assert got == ["c"]
    assert (places.taken, places.waiting) == (1, 0)


async def test_a_place_that_does_not_come_free_in_time_is_a_timeout(autojump_clock: MockClock) -> None:
    one = scripted("one", Script(otherwise=Answer("ok", seconds=50.0)))
    models = Models([one], ModelsSettings(providers=(ProviderSettings("one", Kind.SCRIPTED, concurrency=1),)))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(models.complete, REQUEST, NEED)
        await wait_all_tasks_blocked()
        with pytest.raises(TimedOut, match="no place"):
            await models.complete(replace(REQUEST, timeout_seconds=3.0), replace(NEED, purpose="q"))
    assert one.figures.asked == 1


async def test_a_limit_stops_before_it_is_passed_and_a_local_model_goes_on(autojump_clock: MockClock) -> None:
    books = Books(session_usd=0.05)
    paid = scripted(
        "paid", Script(otherwise=Answer("x", usage=Usage(1_000, 1_000)), price=Price(5.0, 5.0), local=False)
    )
    models = models_of(paid, ledger=books, spend_usd_per_session=0.05)
    with pytest.raises(SpendLimitReached, match="session_1"):
        for number in range(20):
            await models.complete(REQUEST, replace(NEED, purpose=f"p{number}"))
    assert 0.02 <= paid.figures.cost_usd <= 0.05
    assert books.of_session("session_1").spent == round(paid.figures.cost_usd * 1_000_000)
    models.add(scripted("local"))
    assert (await models.complete(REQUEST, replace(NEED, purpose="q", model="paid"))).provider == "local"


async def test_an_unknown_price_is_refused_under_a_limit_and_shown_as_unknown_without(
    autojump_clock: MockClock,
) -> None:
    one = scripted("one", local=False)
    with pytest.raises(NotConfigured, match="price is not known"):
        await models_of(one, ledger=Books(day_usd=1.0), spend_usd_per_day=1.0).complete(REQUEST, NEED)
    books = Books()
    models = models_of(one, ledger=books)
    assert (await models.complete(REQUEST, NEED)).cost_usd is None
    assert models.statistics().unpriced == 1
    ((calls, unpriced, amount),) = books.connection.execute("SELECT calls, unpriced, micro_usd FROM spending")
    assert (calls, unpriced, amount) == (1, 1, 0)


@pytest.mark.parametrize(
    ("kind", "counts"),
    [
        (FailureKind.RATE_LIMITED, False),
        (FailureKind.UNAVAILABLE, False),
        (FailureKind.ACCESS_DENIED, False),
        (FailureKind.TIMED_OUT, True),
        (FailureKind.MALFORMED_ANSWER, True),
    ],
)
async def test_only_what_may_have_been_paid_stays_set_aside(
    autojump_clock: MockClock, kind: FailureKind, counts: bool
) -> None:
    books = Books(day_usd=1.0)
    one = scripted("one", Script(otherwise=Answer(fails=Failure(kind)), price=PRICE))
    models = models_of(one, ledger=books, retry=RetrySettings(attempts_max=2))
    with pytest.raises(ProviderError):
        await models.complete(REQUEST, NEED)
    kept = books.of_day()
    assert (kept.total > 0) == counts
    assert kept.spent == 0
    one.answer_next(Answer("fine", usage=Usage(1_000, 1_000)))
    await models.complete(REQUEST, NEED)
    after = books.of_day()
    assert (after.spent, after.reserved) == (2_000, 0)
    assert (after.doubtful > 0) == counts, "what nobody knows of is never given back"


async def test_a_call_that_is_called_off_stays_set_aside_until_it_is_repeated(autojump_clock: MockClock) -> None:
    books = Books(day_usd=1.0)
    one = scripted("one", Script(otherwise=Answer("x", seconds=9.0, usage=Usage(1_000, 10)), price=PRICE))
    models = models_of(one, ledger=books)
    with trio.move_on_after(1.0):
        await models.complete(REQUEST, NEED)
    assert books.of_day().reserved > 0
    assert models.figures.of("one", "scripted-1").outcomes[ModelOutcome.CANCELLED] == 1
    assert models.figures.in_flight == {"one": 0}
    await models.complete(REQUEST, NEED)
    after = books.of_day()
    assert (after.spent, after.reserved) == (1_010, 0)
    assert after.doubtful > 0


async def test_who_leaves_when_the_answer_is_there_still_pays(autojump_clock: MockClock) -> None:
    """The answer and the cancellation come at one moment: it is paid, so it is written down."""
    books = Books(day_usd=1.0)
    one = scripted("one", Script(otherwise=Answer("x", usage=Usage(1_000, 10)), price=PRICE))
    models = models_of(one, ledger=books)
    with trio.CancelScope() as scope:
        answered = one.settle

        def settle(*arguments: object) -> object:
            scope.cancel()
            return answered(*arguments)

        one.settle = settle
        await models.complete(REQUEST, NEED)
    assert (books.of_day().spent, books.of_day().reserved) == (1_010, 0)


async def test_a_stream_gives_chunks_then_the_whole_and_is_settled(autojump_clock: MockClock) -> None:
    books = Books(day_usd=1.0)
    text = "one two three four five six"
    one = scripted(
        "one", Script(otherwise=Answer(text, seconds=0.4, usage=Usage(500, 20), chunk_seconds=0.1), price=PRICE)
    )
    models = models_of(one, ledger=books)
    async with models.stream(REQUEST, NEED) as stream:
        chunks = [chunk.text async for chunk in stream]
        found = stream.completion
    assert len(chunks) > 1
    assert "".join(chunks) == found.text == text
    assert (found.provider, found.cost_usd) == ("one", pytest.approx(0.00052))
    assert found.why
    figures = models.figures.of("one", "scripted-1")
    assert figures.first_chunks().sum == pytest.approx(0.4)
    assert (books.of_day().spent, books.of_day().reserved) == (520, 0)


async def test_until_the_first_chunk_another_one_may_answer_and_afterwards_the_failure_is_told(
    autojump_clock: MockClock,
) -> None:
    books = Books(day_usd=1.0)
    one = scripted("one", FAILS, price=PRICE)
    two = scripted(
        "two", Script(otherwise=Answer("a" * 64, fails=Failure(FailureKind.UNAVAILABLE, None, 32)), price=PRICE)
    )
    models = models_of(one, two, ledger=books, retry=RetrySettings(attempts_max=1))
    got: list[str] = []
    with pytest.raises(Unavailable):
        async with models.stream(REQUEST, NEED) as stream:
            async for chunk in stream:
                got += [chunk.text]
    assert "".join(got) == "a" * 32
    assert models.figures.fallbacks == {("one", "two"): 1}
    assert books.of_day().reserved > 0, "a part of it had come, and is paid for"
    assert models.figures.in_flight == {"one": 0, "two": 0}


async def test_a_stream_that_is_left_is_charged_by_what_had_come(autojump_clock: MockClock) -> None:
    books = Books(day_usd=1.0)
    one = scripted("one", Script(otherwise=Answer("word " * 200, chunk_seconds=0.1), price=PRICE))
    models = models_of(one, ledger=books)
    async with models.stream(REQUEST, NEED) as stream:
        async for _ in stream:
            break
    found = books.of_day()
    assert found.reserved == 0
    assert 1_000 <= found.spent <= 2_000
    assert one.figures.cancelled == 1
    (standing,) = models.statistics().providers
    assert (standing.in_flight, standing.circuit) == (0, Circuit.CLOSED)


async def test_a_stream_that_does_not_end_is_cut_off(autojump_clock: MockClock) -> None:
    one = scripted("one", Script(otherwise=Answer("word " * 10_000, chunk_seconds=1.0)))
    models = models_of(one)
    with pytest.raises(TimedOut):
        async with models.stream(replace(REQUEST, timeout_seconds=10.0), NEED) as stream:
            async for _ in stream:
                pass
    assert models.figures.in_flight == {"one": 0}


async def test_a_mistake_of_the_reader_is_no_failure_of_the_provider(autojump_clock: MockClock) -> None:
    one = scripted("one", Script(otherwise=Answer("word " * 20)))
    models = models_of(one, breaker=BreakerSettings(failures_max=1))
    with pytest.raises(Unavailable, match="of mine"):
        async with models.stream(REQUEST, NEED):
            raise Unavailable("", "a mistake of mine", "Mend it")
    assert models.circuits == {"one": Circuit.CLOSED}


async def test_under_a_storm_of_failures_and_cancellations_everything_is_given_back(autojump_clock: MockClock) -> None:
    books = Books(session_usd=0.5)
    kinds = (FailureKind.UNAVAILABLE, FailureKind.TIMED_OUT, FailureKind.RATE_LIMITED, FailureKind.MALFORMED_ANSWER)
    rules = tuple(Rule(Answer(fails=Failure(kind, 0.5), seconds=0.3), chance=0.1) for kind in kinds)
    storm = Script(
        rules=rules, otherwise=Answer("x", seconds=1.0, usage=Usage(900, 900)), price=Price(2.0, 2.0), seed=3
    )
    providers = [scripted(name, storm, local=False) for name in ("one", "two", "three")]
    models = models_of(*providers, ledger=books, spend_usd_per_session=0.5)
    dice = random.Random(11)

    async def ask(number: int) -> None:
        # Again under the same purpose, as a step is repeated, but only when the first is over: one purpose has one
        # reservation, and of two calls at once the first to settle would take that of the other.
        for _ in range(2):
            with trio.move_on_after(dice.uniform(0.0, 20.0)):
                with contextlib.suppress(ProviderError):
                    await models.complete(REQUEST, replace(NEED, purpose=f"p{number}"))

    async with trio.open_nursery() as nursery:
        for number in range(150):
            nursery.start_soon(ask, number)
    paid = sum(one.figures.cost_usd for one in providers)
    kept = books.of_session("session_1")
    assert 0.0 < paid <= 0.5
    assert kept.total <= 500_000
    assert kept.spent + kept.doubtful + kept.reserved >= round(paid * 1_000_000)
    for standing in models.statistics().providers:
        assert (standing.in_flight, standing.waiting) == (0, 0)
    assert set(models.figures.in_flight.values()) == {0}
