"""The values of the families about models, out of what every open workspace counts.

Providers of one name in two workspaces count together; of their circuits the worst is shown. While no provider was made
yet everything is zeros under "other", and that name goes away with the first real one: an alert that asks whether all
circuits are open must not find one that is always closed. Pure. Neighbours: `providers.figures`, `collector`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from supervisors import HistogramSnapshot
from vespera_agents.health.metrics.exposition import Values, merged
from vespera_agents.health.metrics.labels import OTHER
from vespera_agents.providers.circuit import Circuit
from vespera_agents.providers.figures import ModelFigures, ModelOutcome, ModelsFigures, TokenType

__all__ = ["model_values"]


def model_values(figures: Iterable[ModelsFigures], circuits: Mapping[str, Circuit]) -> dict[str, Values]:
    """Measure what models were asked.

    Args:
        figures: of each workspace that has providers.
        circuits: the state of each provider's circuit.
    """
    listed = tuple(figures) or (_nobody(),)
    by_model = [(labels, model) for one in listed for labels, model in one.by_model().items()]
    in_flight: dict[tuple[str, ...], float] = {}
    fallbacks: dict[tuple[str, ...], float] = {}
    for one in listed:
        _add(in_flight, (((name,), number) for name, number in tuple(one.in_flight.items())))
        _add(fallbacks, tuple(one.fallbacks.items()))
    providers = [name for (name,) in in_flight]
    return {
        "vespera_llm_requests_total": _by(
            by_model, ModelOutcome, lambda one, outcome: one.outcomes[ModelOutcome(outcome)]
        ),
        "vespera_llm_request_duration_seconds": _timed((labels, one.durations()) for labels, one in by_model),
        "vespera_llm_time_to_first_chunk_seconds": _timed((labels, one.first_chunks()) for labels, one in by_model),
        "vespera_llm_tokens_total": _by(
            by_model,
            TokenType,
            lambda one, kind: one.input_tokens if kind == TokenType.INPUT else one.output_tokens,
        ),
        "vespera_llm_cost_usd_total": _add({}, ((labels, one.cost_usd) for labels, one in by_model)),
        # Who may follow whom is known beforehand, so that the first time is seen as growth, not as a new series.
        "vespera_llm_fallbacks_total": {
            (before, after): fallbacks.get((before, after), 0)
            for before in providers
            for after in providers
            if before != after or len(providers) == 1
        },
        "vespera_llm_in_flight": in_flight,
        "vespera_llm_circuit_breaker_state": {
            (name, state): int(circuits.get(name, Circuit.CLOSED) is state) for name in providers for state in Circuit
        },
    }


def _nobody() -> ModelsFigures:
    figures = ModelsFigures()
    figures.declare(OTHER, [OTHER])
    return figures


def _by(
    models: Iterable[tuple[tuple[str, str], ModelFigures]],
    values: Iterable[str],
    read: Callable[[ModelFigures, str], float],
) -> Values:
    listed = tuple(values)
    return _add({}, (((*labels, value), read(one, value)) for labels, one in models for value in listed))


def _timed(pairs: Iterable[tuple[tuple[str, ...], HistogramSnapshot]]) -> Values:
    found: dict[tuple[str, ...], list[HistogramSnapshot]] = {}
    for labels, snapshot in pairs:
        found.setdefault(labels, []).append(snapshot)
    return {labels: merged(snapshots) for labels, snapshots in found.items()}


def _add(
    total: dict[tuple[str, ...], float], pairs: Iterable[tuple[tuple[str, ...], float]]
) -> dict[tuple[str, ...], float]:
    for labels, number in pairs:
        total[labels] = total.get(labels, 0) + number
    return total
