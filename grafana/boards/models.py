"""The dashboard of models and context: what is asked of providers, what it costs, and how full contexts are."""

from __future__ import annotations

from typing import Final

from grafana.panels import Board, Section, bars, lines, number
from grafana.queries import grown, largest, now, quantiles, rate, share

__all__ = ["MODELS"]

_MODELS: Final = Section(
    "Models",
    (
        lines(
            "Requests",
            "Requests to models per second, by what became of them.",
            "reqps",
            rate("vespera_llm_requests_total", "provider", "outcome"),
        ),
        lines(
            "Failed requests",
            "The part of requests to each provider that did not succeed.",
            "percentunit",
            share("vespera_llm_requests_total", 'outcome=~"failed|timed_out|rate_limited"', "provider"),
            limits=((0.05, "orange"), (0.2, "red")),
            top=1,
        ),
        lines(
            "Duration",
            "From a request to the end of its answer.",
            "s",
            *quantiles("vespera_llm_request_duration_seconds", "provider", of=(0.5, 0.95)),
        ),
        lines(
            "First chunk",
            "From a request to the first part of its answer, which is its end where it was asked for whole.",
            "s",
            *quantiles("vespera_llm_time_to_first_chunk_seconds", "provider", of=(0.5, 0.95)),
        ),
        lines("In flight", "Requests that wait for a provider.", "short", now("vespera_llm_in_flight", "provider")),
        lines(
            "Circuit breakers",
            "The state of each provider's breaker: 1 is the one. An open breaker asks nobody.",
            "short",
            largest("vespera_llm_circuit_breaker_state", "provider", "state"),
            top=1,
        ),
        lines(
            "Fallbacks",
            "Requests per second that another provider answered than the one that was asked first.",
            "cps",
            rate("vespera_llm_fallbacks_total", "from", "to"),
        ),
        lines(
            "Tokens",
            "Tokens per second, by model and by what they were.",
            "cps",
            rate("vespera_llm_tokens_total", "model", "type"),
        ),
        lines(
            "Cost",
            "US dollars per second, by model.",
            "currencyUSD",
            rate("vespera_llm_cost_usd_total", "provider", "model"),
        ),
        number(
            "Spent",
            "US dollars within the time that the dashboard shows.",
            "currencyUSD",
            grown("vespera_llm_cost_usd_total"),
        ),
    ),
)
_CONTEXT: Final = Section(
    "Context",
    (
        bars(
            "Fullest context",
            "How full the fullest context is, by class of actor.",
            "percentunit",
            largest("vespera_context_fill_ratio_max", "kind"),
            limits=((0.75, "orange"), (0.9, "red")),
            top=1,
        ),
        lines(
            "Tokens held",
            "Tokens in the fullest context, and how many it may hold.",
            "short",
            largest("vespera_context_tokens_used_max", "kind", legend="used {{kind}}"),
            largest("vespera_context_tokens_limit", "kind", legend="limit {{kind}}"),
        ),
        lines(
            "Compactions",
            "Contexts that were made smaller, per second, by how it went.",
            "cps",
            rate("vespera_context_compactions_total", "kind", "outcome"),
        ),
        lines(
            "Tokens won back",
            "Tokens per second that compactions took out of contexts.",
            "cps",
            rate("vespera_context_tokens_reclaimed_total", "kind"),
        ),
    ),
)
MODELS: Final = Board(
    "models",
    "Models and context",
    "What is asked of model providers, how they answer, what it costs, and how full contexts are.",
    (_MODELS, _CONTEXT),
)
