"""What requests to models came to, in plain numbers: for the metrics, the observer and the reports.

Counted in the event loop, read from any thread. Labels are bounded: providers and their models as they are configured,
and `other` for any further model. Neighbours: `models` counts, `health` shows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum, unique
from typing import Final, final

from supervisors.counting import Histogram, HistogramSnapshot
from vespera_agents.providers.exchange import Usage

__all__ = ["OTHER_MODEL", "ModelFigures", "ModelOutcome", "ModelsFigures", "TokenType"]

OTHER_MODEL: Final = "other"
"""What models are counted as that a provider has beyond its first few."""
MODELS_MAX: Final = 16
"""Models of one provider that are counted by name."""
DURATION_BOUNDS: Final = (0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
"""The ten largest that OpenTelemetry gives for operations of models."""
FIRST_CHUNK_BOUNDS: Final = (0.01, 0.04, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0)
"""Ten of those that OpenTelemetry gives for the time to the first chunk."""


@unique
class ModelOutcome(StrEnum):
    """What came of a request to a model."""

    SUCCEEDED = "succeeded"
    """It was answered."""
    FAILED = "failed"
    """It was not, for another reason than those below."""
    TIMED_OUT = "timed_out"
    """The answer took too long."""
    RATE_LIMITED = "rate_limited"
    """The provider had too many."""
    CANCELLED = "cancelled"
    """Whoever asked wanted no answer any more."""


@unique
class TokenType(StrEnum):
    """What tokens were for, as OpenTelemetry names it."""

    INPUT = "input"
    """Sent."""
    OUTPUT = "output"
    """Received."""


@final
@dataclass(slots=True)
class ModelFigures:
    """The numbers of one model of one provider."""

    outcomes: dict[ModelOutcome, int] = field(default_factory=lambda: dict.fromkeys(ModelOutcome, 0))
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0
    unpriced: int = 0
    """Answers whose price is not known: they are not in `cost_usd`."""
    duration: Histogram = field(default_factory=lambda: Histogram(DURATION_BOUNDS))
    first_chunk: Histogram = field(default_factory=lambda: Histogram(FIRST_CHUNK_BOUNDS))

    def answered(self, usage: Usage, cost_usd: float | None) -> None:
        """Count what an answer took."""
        self.input_tokens += usage.input_tokens
        self.output_tokens += usage.output_tokens
        if cost_usd is None:
            self.unpriced += 1
        else:
            self.cost_usd += cost_usd

    def durations(self) -> HistogramSnapshot:
        """Give how long requests took."""
        return self.duration.snapshot()

    def first_chunks(self) -> HistogramSnapshot:
        """Give how long it took until the first part of an answer came."""
        return self.first_chunk.snapshot()


@final
class ModelsFigures:
    """The numbers of all providers of one workspace."""

    __slots__ = ("_models", "fallbacks", "in_flight")

    def __init__(self) -> None:
        self._models: dict[tuple[str, str], ModelFigures] = {}
        self.in_flight: dict[str, int] = {}
        """Requests that a provider has not answered yet; one entry for each provider, whether or not it was asked."""
        self.fallbacks: dict[tuple[str, str], int] = {}
        """Requests that went on to another provider: from, to, and how many."""

    def declare(self, provider: str, models: Iterable[str]) -> None:
        """Show a provider and its models from now on, with zeros."""
        self.in_flight.setdefault(provider, 0)
        for model in models:
            self.of(provider, model)

    def of(self, provider: str, model: str) -> ModelFigures:
        """Give the numbers of a model."""
        found = self._models.get((provider, model))
        if found is None:
            if sum(1 for name, _ in self._models if name == provider) >= MODELS_MAX:
                model = OTHER_MODEL
            found = self._models.setdefault((provider, model), ModelFigures())
        return found

    def fell_back(self, before: str, after: str) -> None:
        """Count a request that went on to another provider."""
        self.fallbacks[before, after] = self.fallbacks.get((before, after), 0) + 1

    def by_model(self) -> dict[tuple[str, str], ModelFigures]:
        """Give the numbers by provider and model, as they are now; in any thread."""
        return dict(self._models)
