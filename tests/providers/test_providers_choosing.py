"""Which model is asked first: what a need rules out, what each policy prefers, and that every answer says why."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vespera_agents.providers.choosing import Explanation, Facts, Policy, explained
from vespera_agents.providers.circuit import Circuit
from vespera_agents.providers.exchange import Capabilities, Need, Price

ABLE = Capabilities(context_tokens_max=200_000, output_tokens_max=8_000)
LOCAL = Facts("local", "tiny", replace(ABLE, context_tokens_max=32_000, local=True), None)
CHEAP = Facts("cheap", "mini", ABLE, Price(0.2, 1.0))
STRONG = Facts("strong", "large", ABLE, Price(15.0, 75.0))
FAST = Facts("fast", "quick", ABLE, Price(3.0, 15.0), latency_seconds=0.3)
UNKNOWN = Facts("unknown", "new", ABLE, None)
ALL = (STRONG, UNKNOWN, FAST, CHEAP, LOCAL)
NEED = Need("p", context_tokens=5_000, tools=True)


def first(found: Explanation) -> str:
    return found.order[0].facts.provider


@pytest.mark.parametrize(
    ("policy", "expected"),
    [(Policy.CHEAPEST, "local"), (Policy.FASTEST, "fast"), (Policy.BEST, "strong"), (Policy.LOCAL, "local")],
)
def test_each_policy_prefers_what_its_name_says(policy: Policy, expected: str) -> None:
    known = [replace(one, latency_seconds=one.latency_seconds or 4.0) for one in ALL]
    assert first(explained(NEED, known, policy)) == expected
    assert first(explained(replace(NEED, policy=policy.value), known, Policy.BEST)) == expected, "the need decides"


def test_the_cheapest_is_one_that_fits() -> None:
    """A local model costs nothing, but takes 32,000 tokens: with the vendor's factor 25,000 of ours are too many."""
    found = explained(replace(NEED, context_tokens=25_000), ALL, Policy.CHEAPEST)
    assert first(found) == "cheap"
    (out,) = [one for one in found.candidates if one.facts.provider == "local"]
    assert out.out is not None
    assert "32000 tokens" in out.out
    assert not out.later
    fits = [replace(one, factor=1.0) for one in ALL]
    assert first(explained(replace(NEED, context_tokens=25_000), fits, Policy.CHEAPEST)) == "local"


def test_a_hard_task_wants_more_than_the_cheapest_when_strength_is_told() -> None:
    weak, able = replace(CHEAP, strength=0.1), replace(FAST, strength=0.9, price=Price(0.25, 1.2), latency_seconds=None)
    assert first(explained(replace(NEED, complexity="very_complex"), (weak, able), Policy.CHEAPEST)) == "fast"
    assert first(explained(replace(NEED, complexity="trivial"), (weak, able), Policy.CHEAPEST)) == "cheap"


@pytest.mark.parametrize(
    ("need", "facts", "why"),
    [
        (replace(NEED, tried=("cheap",)), CHEAP, "tried"),
        (NEED, replace(CHEAP, capabilities=replace(ABLE, tools=False)), "no tools"),
        (NEED, replace(CHEAP, capabilities=replace(ABLE, acts_alone=True)), "by name only"),
        (NEED, replace(CHEAP, wait_seconds=12.0, waits_for="its circuit is open (it broke)"), "again in 12 s"),
        (NEED, UNKNOWN, "limit of spending"),
    ],
)
def test_who_cannot_do_it_is_out_with_the_reason(need: Need, facts: Facts, why: str) -> None:
    found = explained(need, (facts,), Policy.BEST, limited=True)
    assert not found.order
    assert why in (found.candidates[0].out or "")
    assert why in found.why
    assert bool(found.waiting) == (facts.wait_seconds > 0)


def test_without_a_limit_an_unknown_price_is_allowed_and_counts_as_dear() -> None:
    found = explained(NEED, (UNKNOWN, CHEAP), Policy.CHEAPEST)
    assert [one.facts.provider for one in found.order] == ["cheap", "unknown"]
    assert found.order[1].cost_usd is None


@pytest.mark.parametrize("name", ["strong/large", "strong", "large"])
def test_a_model_that_is_asked_for_by_name_comes_first_while_it_is_well(name: str) -> None:
    need = replace(NEED, model=name)
    found = explained(need, ALL, Policy.CHEAPEST)
    assert first(found) == "strong"
    assert "asked for by name" in found.why
    shut = [replace(one, wait_seconds=5.0, waits_for="x") if one.provider == "strong" else one for one in ALL]
    assert first(explained(need, shut, Policy.CHEAPEST)) == "local"


def test_who_fails_often_falls_behind_his_like() -> None:
    sick = replace(CHEAP, provider="sick", success_ratio=0.3, circuit=Circuit.CLOSED)
    assert [one.facts.provider for one in explained(NEED, (sick, CHEAP), Policy.CHEAPEST).order] == ["cheap", "sick"]


def test_a_fallback_chain_orders_those_after_the_first() -> None:
    found = explained(NEED, ALL, Policy.BEST, fallback=("local", "cheap"))
    assert [one.facts.provider for one in found.order][:3] == ["strong", "local", "cheap"]


def test_equals_keep_the_order_of_the_configuration() -> None:
    twins = [replace(CHEAP, provider=name) for name in ("one", "two", "three")]
    assert [one.facts.provider for one in explained(NEED, twins, Policy.BEST).order] == ["one", "two", "three"]


FACTS = st.builds(
    Facts,
    provider=st.sampled_from(["a", "b", "c", "d"]),
    model=st.sampled_from(["", "m", "n"]),
    capabilities=st.builds(
        Capabilities,
        context_tokens_max=st.integers(1_000, 1_000_000),
        output_tokens_max=st.integers(1, 100_000),
        tools=st.booleans(),
        local=st.booleans(),
        acts_alone=st.booleans(),
    ),
    price=st.none() | st.builds(Price, st.floats(0, 100), st.floats(0, 100)),
    strength=st.none() | st.floats(0, 1),
    factor=st.floats(0.5, 4.0),
    latency_seconds=st.none() | st.floats(0.001, 600),
    success_ratio=st.floats(0, 1),
    wait_seconds=st.just(0.0) | st.floats(0.1, 300),
)


@given(st.lists(FACTS, max_size=8), st.sampled_from(Policy), st.integers(0, 200_000), st.booleans())
def test_whatever_there_is_nobody_is_lost_scores_are_bounded_and_the_first_has_most(
    known: list[Facts], policy: Policy, context_tokens: int, limited: bool
) -> None:
    found = explained(replace(NEED, context_tokens=context_tokens), known, policy, limited=limited)
    assert sorted(map(repr, (one.facts for one in found.candidates))) == sorted(map(repr, known))
    assert all(0.0 <= part <= 1.0 for one in found.candidates for part in vars_of(one.scores))
    assert [one.total for one in found.order] == sorted((one.total for one in found.order), reverse=True)
    assert found.why
    for one in found.order:
        able = one.facts.capabilities
        assert context_tokens * one.facts.factor <= able.context_tokens_max
        assert not (limited and one.facts.price is None and not able.local)


def vars_of(scores: object) -> list[float]:
    return [getattr(scores, name) for name in ("capability", "context", "cost", "latency", "success")]
