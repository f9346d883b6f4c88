"""Which model is asked first, and which next: scores from facts, in the order that a policy gives. Pure.

Each candidate is weighed by what it can do, whether the context fits, what it would cost, how fast it was and how often
it answered; all between 0 and 1, so that `vespera providers explain` can show them side by side. One that cannot do
what is needed is out, with the reason. Neighbours: `standing` knows the facts, `models` follows the order.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum, unique
from operator import mul
from typing import Final, final

from vespera_agents.providers.circuit import Circuit
from vespera_agents.providers.exchange import Capabilities, Need, Price
from vespera_agents.providers.spending import most_usd

__all__ = ["Candidate", "Explanation", "Facts", "Policy", "Scores", "explained", "needs_by_name"]

OUTPUT_TOKENS_LIKELY: Final = 1_000
"""What an answer is taken to have when a cost is estimated."""


@unique
class Policy(StrEnum):
    """What counts most."""

    CHEAPEST = "cheapest"
    """The cheapest that is strong enough and fits."""
    FASTEST = "fastest"
    """The one that answers soonest."""
    BEST = "best"
    """The strongest."""
    LOCAL = "local"
    """Those on the owner's machines first, others when these cannot."""


_WEIGHTS: Final[Mapping[Policy, tuple[float, float, float, float, float]]] = {
    #                capability, context, cost, latency, success
    Policy.CHEAPEST: (0.20, 0.05, 0.45, 0.05, 0.25),
    Policy.FASTEST: (0.15, 0.05, 0.05, 0.50, 0.25),
    Policy.BEST: (0.60, 0.05, 0.05, 0.05, 0.25),
    Policy.LOCAL: (0.25, 0.05, 0.25, 0.20, 0.25),
}
_LOCAL_FIRST: Final = 1.0
"""What a local one has ahead under the policy `local`: more than all scores together can make up."""
_WANTED: Final[Mapping[str, float]] = {
    "trivial": 0.1,
    "simple": 0.2,
    "moderate": 0.4,
    "complex": 0.6,
    "very_complex": 0.75,
}
"""How strong a model should be for a task."""
_LOCAL_STRENGTH: Final = 0.35
_UNKNOWN_STRENGTH: Final = 0.5
_CHEAP_USD, _DEAR_USD = 0.1, 80.0
"""Between these prices of a million output tokens models of today lie."""
_LOG_RANGE: Final = math.log(_DEAR_USD / _CHEAP_USD)
_FREE_ENOUGH_USD: Final = 0.0005
"""Below this one cost is as good as another."""
_LATENCY_SECONDS: Final = 5.0
"""A model that takes so long scores 0.5."""
_LATENCY_UNKNOWN_SECONDS: Final = 5.0


@final
@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of one model of one provider at this moment."""

    provider: str
    model: str
    """Empty: whatever the provider has."""
    capabilities: Capabilities
    price: Price | None
    """None: not known; that of a local one is 0."""
    strength: float | None = None
    """0 to 1, as its owner says; None: judged by its price."""
    factor: float = 1.25
    """Its tokens for one of o200k."""
    latency_seconds: float | None = None
    """What its answers took of late; None: it was not asked."""
    success_ratio: float = 1.0
    """How many of its requests were answered of late, 0 to 1."""
    circuit: Circuit = Circuit.CLOSED
    wait_seconds: float = 0.0
    """For how long it is not to be asked: its circuit is open, or it said so."""
    waits_for: str = ""
    """Why."""
    hindrance: str | None = None
    """Why it is not there for the session of the need; None: it is."""


@final
@dataclass(frozen=True, slots=True)
class Scores:
    """0 to 1 each, 1 the best."""

    capability: float
    context: float
    cost: float
    latency: float
    success: float


@final
@dataclass(frozen=True, slots=True)
class Candidate:
    """One model, and what speaks for it or why it is out."""

    facts: Facts
    scores: Scores
    total: float
    cost_usd: float | None
    """What an answer would cost, as a guess; None: not known."""
    out: str | None = None
    """Why it cannot be asked, a sentence without a full stop; None: it can."""
    later: bool = False
    """It is only out for now."""
    named: bool = False
    """It was asked for by name."""

    @property
    def name(self) -> str:
        """`provider/model`."""
        return f"{self.facts.provider}/{self.facts.model or '(its default)'}"


@final
@dataclass(frozen=True, slots=True)
class Explanation:
    """Who would be asked, in which order, and why."""

    policy: Policy
    order: tuple[Candidate, ...]
    """Those that can be asked now, the first one first."""
    others: tuple[Candidate, ...]
    """Those that are out."""

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """All of them, those that are out last."""
        return self.order + self.others

    @property
    def waiting(self) -> tuple[Candidate, ...]:
        """Those that can be asked a little later, the soonest first."""
        waiting = (one for one in self.others if one.later)
        return tuple(sorted(waiting, key=lambda one: one.facts.wait_seconds))

    @property
    def why(self) -> str:
        """Say in a sentence why the first is the first."""
        if not self.order:
            reasons = "; ".join(f"{one.name}: {one.out}" for one in self.others)
            return f"nobody can be asked: {reasons or 'no provider is configured'}"
        first = self.order[0]
        cost = "at an unknown price" if first.cost_usd is None else f"for about ${first.cost_usd:.4f}"
        if first.facts.capabilities.local:
            cost = "on a machine of the owner's"
        ranked = f"first of {len(self.order)} by the policy {self.policy}"
        reason = "asked for by name" if first.named else ranked
        return f"{first.name} {cost}: {reason} with {first.total:.2f} points"


def explained(
    need: Need,
    known: Sequence[Facts],
    policy: Policy,
    *,
    output_tokens: int = 4_096,
    fallback: Sequence[str] = (),
    limited: bool = False,
) -> Explanation:
    """Weigh every model for a need.

    Args:
        need: what for.
        known: all models there are, in the order of the configuration, which decides between equals.
        policy: what counts most, unless the need says it.
        output_tokens: how long an answer may be.
        fallback: providers in the order in which they come after the first; without it, by score.
        limited: whether there is a limit of spending: then a price that nobody knows puts a model out.
    """
    policy = Policy(need.policy) if need.policy else policy
    costs = [_cost_usd(need, facts) for facts in known]
    cheapest = min([cost for cost in costs if cost is not None], default=0.0)
    weighed = [
        _weigh(need, facts, cost, cheapest, policy, output_tokens, limited)
        for facts, cost in zip(known, costs, strict=True)
    ]
    ranked = [one for one in weighed if one.out is None]
    if len(ranked) > 1:
        ranked.sort(key=lambda one: (not one.named, -one.total))
    if fallback and ranked:
        place = {name: number for number, name in enumerate(fallback)}
        first, *rest = ranked
        ranked = [first, *sorted(rest, key=lambda one: place.get(one.facts.provider, len(place)))]
    return Explanation(policy, tuple(ranked), tuple([one for one in weighed if one.out is not None]))


def needs_by_name(need: Need, provider: str, model: str) -> bool:
    """Say whether a need asks for this very model, as `provider/model`, `provider` or `model`."""
    return need.model is not None and need.model in {f"{provider}/{model}", provider, model}


def _weigh(
    need: Need, facts: Facts, cost: float | None, cheapest: float, policy: Policy, output_tokens: int, limited: bool
) -> Candidate:
    able, sent = facts.capabilities, math.ceil(need.context_tokens * facts.factor)
    room = able.context_tokens_max - min(output_tokens, able.output_tokens_max) - sent
    parts = (
        _capability(need, facts, policy),
        max(0.0, min(1.0, room / able.context_tokens_max)),
        0.0 if cost is None else _cost_score(cost, cheapest),
        _LATENCY_SECONDS / (_LATENCY_SECONDS + (facts.latency_seconds or _LATENCY_UNKNOWN_SECONDS)),
        facts.success_ratio,
    )
    total = sum(map(mul, _WEIGHTS[policy], parts))
    if policy is Policy.LOCAL and able.local:
        total += _LOCAL_FIRST
    named = needs_by_name(need, facts.provider, facts.model)
    out, later = _out(need, facts, named, room, sent, limited)
    return Candidate(facts, Scores(*parts), round(total, 4), cost, out, later, named)


def _out(need: Need, facts: Facts, named: bool, room: int, sent: int, limited: bool) -> tuple[str | None, bool]:
    """Say why it cannot be asked, and whether only for now."""
    able = facts.capabilities
    if facts.hindrance is not None:
        lasting = facts.hindrance
    elif facts.provider in need.tried:
        lasting = "it was tried for this already"
    elif able.acts_alone and not named:
        lasting = "it works on whole tasks alone, and is asked by name only"
    elif need.tools and not able.tools:
        lasting = "it calls no tools"
    elif room < 0:
        answer = able.context_tokens_max - room - sent
        lasting = f"it takes {able.context_tokens_max} tokens, and this is about {sent} and {answer} for the answer"
    elif limited and facts.price is None and not (able.local or able.acts_alone):
        # What works alone is given its limit itself, and tells what it came to.
        lasting = "a limit of spending is set and its price is not known; give it in the configuration"
    elif facts.wait_seconds > 0.0:
        return f"{facts.waits_for}; again in {facts.wait_seconds:.0f} s", True
    else:
        return None, False
    return lasting, False


def _capability(need: Need, facts: Facts, policy: Policy) -> float:
    strength = _strength(facts)
    if policy is Policy.BEST:
        return strength
    # What is stronger than the task wants is no better for it.
    return min(1.0, strength / _WANTED.get(need.complexity, _WANTED["moderate"]))


def _strength(facts: Facts) -> float:
    """Judge how strong a model is: its owner knows, else the price tells, for vendors sell their best dearest."""
    if facts.strength is not None:
        return facts.strength
    if facts.capabilities.local:
        return _LOCAL_STRENGTH
    if facts.price is None:
        return _UNKNOWN_STRENGTH
    output_usd = min(max(facts.price.output_usd, _CHEAP_USD), _DEAR_USD)
    return math.log(output_usd / _CHEAP_USD) / _LOG_RANGE


def _cost_score(cost: float, cheapest: float) -> float:
    """Give 1 for the cheapest, a half for ten times as much, a third for a hundred times."""
    if cost <= cheapest:
        return 1.0
    return 1.0 / (1.0 + math.log10((cost + _FREE_ENOUGH_USD) / (cheapest + _FREE_ENOUGH_USD)))


def _cost_usd(need: Need, facts: Facts) -> float | None:
    if facts.price is None:
        return 0.0 if facts.capabilities.local else None
    output_tokens = min(OUTPUT_TOKENS_LIKELY, facts.capabilities.output_tokens_max)
    return most_usd(facts.price, math.ceil(need.context_tokens * facts.factor), output_tokens)
