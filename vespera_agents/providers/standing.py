"""How one provider stands at this moment: its circuit, its places, its pause, and how its models did of late.

In memory only: a new process begins with a good opinion of everybody, and learns again within a few requests, where
rows would cost every request a write. What is old counts less, so that one who failed gets another chance. Neighbours:
`models` tells what came of requests, `choosing` weighs the facts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, final

from vespera_agents.context.vendors import VendorFactor
from vespera_agents.providers.choosing import Facts
from vespera_agents.providers.circuit import Circuit, CircuitBreaker
from vespera_agents.providers.configuration import BreakerSettings
from vespera_agents.providers.exchange import Conditional, Provider, Punctual
from vespera_agents.providers.places import Places

__all__ = ["Standing", "StandingStatistics"]

_HALF_LIFE_SECONDS: Final = 600.0
"""After so long what happened counts half."""
_TRUST: Final = 2.0
"""Answers that a model has ahead when it is new."""
_LATENCY_SHARE: Final = 0.3
"""How much the last answer says about how fast the next one will be."""
_MODELS_MAX: Final = 64
"""Models of one provider that are remembered; those without a list have whatever somebody asks for."""
_RESTS: Final = "it wants no requests for a while"


@final
@dataclass(slots=True)
class _History:
    """How one model did of late."""

    answered: float = 0.0
    failed: float = 0.0
    at: float = 0.0
    latency_seconds: float | None = None

    def note(self, now: float, *, answered: bool) -> None:
        share = self._left(now)
        self.answered = self.answered * share + answered
        self.failed = self.failed * share + (not answered)
        self.at = now

    def ratio(self, now: float) -> float:
        share = self._left(now)
        return (self.answered * share + _TRUST) / ((self.answered + self.failed) * share + _TRUST)

    def _left(self, now: float) -> float:
        return 0.5 ** (max(0.0, now - self.at) / _HALF_LIFE_SECONDS)


@final
@dataclass(frozen=True, slots=True)
class StandingStatistics:
    """One provider at one moment."""

    provider: str
    models: tuple[str, ...]
    circuit: Circuit
    opened: int
    """How often its circuit was opened."""
    wait_seconds: float
    """For how long it is not to be asked."""
    why: str
    """What failed last."""
    in_flight: int
    waiting: int
    """Requests that wait for a place."""
    success_ratio: float
    """Of its default model, of late."""
    latency_seconds: float | None
    """Of its default model, of late."""
    local: bool


@final
@dataclass(slots=True)
class Standing:
    """What is known of one provider."""

    name: str
    """The provider's."""
    provider: Provider
    places: Places
    circuit: CircuitBreaker
    clock: Callable[[], float]
    strength: float | None = None
    """How strong its models are, 0 to 1, as its owner says."""
    factor: VendorFactor = field(default_factory=VendorFactor)
    """Its tokens for one of o200k."""
    conditional: Conditional | None = None
    """The provider, if it is there for some sessions only."""
    punctual: bool = False
    """Whether the provider keeps its time by itself."""
    _rests_until: float = 0.0
    _histories: dict[str, _History] = field(default_factory=dict[str, _History])

    @classmethod
    def of(
        cls,
        provider: Provider,
        breaker: BreakerSettings,
        clock: Callable[[], float],
        *,
        concurrency: int,
        strength: float | None,
    ) -> Standing:
        """Begin with a good opinion of a provider."""
        circuit = CircuitBreaker(breaker.failures_max, breaker.min_seconds, breaker.max_seconds, clock)
        # For each request this would take longer than all that is weighed.
        conditional = provider if isinstance(provider, Conditional) else None
        places = Places(provider.name, concurrency)
        punctual = isinstance(provider, Punctual)
        return cls(
            provider.name, provider, places, circuit, clock, strength, conditional=conditional, punctual=punctual
        )

    @property
    def wait_seconds(self) -> float:
        """For how long from now it is not to be asked."""
        return max(self.circuit.wait_seconds, self._rests_until - self.clock(), 0.0)

    def facts(self, wanted: Iterable[str] = (), session_id: str | None = None) -> list[Facts]:
        """Give what is known of its models.

        Args:
            wanted: further models that somebody asks it for.
            session_id: whose work it is for.
        """
        models = dict.fromkeys((*self.provider.models, *wanted)) or ("",)
        hindrance = None if self.conditional is None else self.conditional.hindrance(session_id)
        now, circuit, wait_seconds, waits_for = self.clock(), self.circuit.state, 0.0, ""
        if circuit is not Circuit.CLOSED or self._rests_until > now:
            wait_seconds = self.wait_seconds
            waits_for = _RESTS if self._rests_until > now else f"its circuit is open ({self.circuit.statistics().why})"
        return [self._facts(model, now, circuit, wait_seconds, waits_for, hindrance) for model in models]

    def _facts(
        self, model: str, now: float, circuit: Circuit, wait_seconds: float, waits_for: str, hindrance: str | None
    ) -> Facts:
        history = self._histories.get(model)
        return Facts(
            self.name,
            model,
            self.provider.capabilities(model),
            self.provider.price(model),
            self.strength,
            self.factor.factor,
            None if history is None else history.latency_seconds,
            1.0 if history is None else history.ratio(now),
            circuit,
            wait_seconds,
            waits_for,
            hindrance,
        )

    def rest(self, seconds: float) -> None:
        """Leave it alone for so long, as it wanted."""
        self._rests_until = max(self._rests_until, self.clock() + seconds)

    def answered(self, model: str, seconds: float) -> None:
        """Note that it answered, and how long it took."""
        self.circuit.succeeded()
        history = self._history(model)
        history.note(self.clock(), answered=True)
        before = history.latency_seconds
        share = 1.0 if before is None else _LATENCY_SHARE
        history.latency_seconds = (before or 0.0) * (1.0 - share) + seconds * share

    def failed(self, number: int, model: str, why: str, *, counts: bool) -> None:
        """Note that it did not answer.

        Args:
            number: of the request in its circuit.
            model: which was asked.
            why: what happened, a sentence without a full stop.
            counts: whether it was its own failure, so that it may be left alone; else it works.
        """
        self._history(model).note(self.clock(), answered=False)
        if counts:
            self.circuit.failed(number, why)
        else:
            self.circuit.succeeded()

    def _history(self, model: str) -> _History:
        history = self._histories.get(model)
        if history is None:
            if len(self._histories) >= _MODELS_MAX:
                self._histories.pop(next(iter(self._histories)))
            history = self._histories[model] = _History(at=self.clock())
        return history

    def statistics(self) -> StandingStatistics:
        """Give its numbers as they are now."""
        circuit, facts = self.circuit.statistics(), self.facts()[0]
        return StandingStatistics(
            provider=self.name,
            models=tuple(self.provider.models),
            circuit=circuit.state,
            opened=circuit.opened,
            wait_seconds=round(self.wait_seconds, 3),
            why=circuit.why,
            in_flight=self.places.taken,
            waiting=self.places.waiting,
            success_ratio=round(facts.success_ratio, 4),
            latency_seconds=facts.latency_seconds,
            local=facts.capabilities.local,
        )
