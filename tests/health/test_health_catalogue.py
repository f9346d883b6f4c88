"""The catalogue is sound in itself, promises only what is measured, and is the same as its documentation."""

from __future__ import annotations

import re
from pathlib import Path

from supervisors import SECONDS_BOUNDS
from vespera_agents.health import CATALOGUE, MetricKind
from vespera_agents.health.metrics import catalogue as module
from vespera_agents.health.metrics.families import SECONDS_BOUNDS as EXPOSED
from vespera_agents.health.metrics.labels import TOOLS, McpError
from vespera_agents.serving.tools.catalogue import TOOL_NAMES
from vespera_agents.store import figures

DESIGN = {
    "build_info": "version,python,trio",
    "start_time_seconds": "",
    "runtime_phase": "phase",
    "actors": "kind,state",
    "actor_starts_total": "kind",
    "actor_stops_total": "kind,reason",
    "actor_init_duration_seconds": "kind",
    "actor_busy_seconds_max": "kind",
    "actor_messages_total": "kind,outcome",
    "actor_message_duration_seconds": "kind",
    "ask_duration_seconds": "kind",
    "ask_timeouts_total": "kind",
    "unhandled_messages_total": "kind",
    "mailbox_messages": "kind",
    "mailbox_fill_ratio_max": "kind",
    "mailbox_oldest_message_age_seconds": "kind",
    "mailbox_wait_seconds": "kind",
    "mailbox_dropped_total": "kind,reason",
    "dead_letters_total": "kind,reason",
    "supervisor_restarts_total": "supervisor,kind,reason",
    "supervisor_escalations_total": "supervisor",
    "supervisor_intensity_exhausted_total": "supervisor",
    "supervisor_intensity_used_ratio": "supervisor",
    "supervisor_backoff_children": "supervisor",
    "supervisor_restart_duration_seconds": "kind",
    "loop_lag_seconds": "",
    "loop_ticks_total": "",
    "loop_busy_seconds_total": "",
    "loop_stalls_total": "",
    "loop_stall_seconds_total": "",
    "trio_tasks_living": "",
    "worker_threads_used": "",
    "context_tokens_used_max": "kind",
    "context_tokens_limit": "kind",
    "context_fill_ratio_max": "kind",
    "context_compactions_total": "kind,outcome",
    "context_tokens_reclaimed_total": "kind",
    "llm_requests_total": "provider,model,outcome",
    "llm_request_duration_seconds": "provider,model",
    "llm_time_to_first_chunk_seconds": "provider,model",
    "llm_tokens_total": "provider,model,type",
    "llm_cost_usd_total": "provider,model",
    "llm_fallbacks_total": "from,to",
    "llm_in_flight": "provider",
    "llm_circuit_breaker_state": "provider,state",
    "mcp_server_operation_duration_seconds": "mcp_method_name,gen_ai_tool_name,error_type",
    "mcp_requests_total": "tool,outcome",
    "mcp_in_flight": "tool",
    "mcp_reconnects_total": "reason",
    "front_generations_total": "reason",
    "tasks": "status,specialist",
    "task_oldest_age_seconds": "status",
    "task_queue_wait_seconds": "specialist",
    "task_duration_seconds": "specialist,outcome",
    "tasks_finished_total": "specialist,outcome",
    "store_commit_duration_seconds": "",
    "store_commit_batch_size": "",
    "store_queue_depth": "",
    "store_size_bytes": "",
    "store_errors_total": "operation,reason",
    "callbacks_pending": "",
    "callback_oldest_pending_age_seconds": "",
    "callbacks_total": "outcome",
    "callback_delivery_duration_seconds": "",
    "shutdown_draining_actors": "",
    "shutdown_phase_duration_seconds": "phase",
    "recovery_duration_seconds": "",
    "last_restart_timestamp_seconds": "",
}
"""Every family of the design's catalogue, without the prefix, and its labels."""
DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"


def test_names_are_unique_prefixed_and_counters_end_in_total() -> None:
    names = [family.name for family in CATALOGUE]
    assert len(set(names)) == len(names)
    for family in CATALOGUE:
        assert re.fullmatch(r"(vespera|mcp_server)_[a-z]+(_[a-z]+)*", family.name)
        assert family.name.endswith("_total") == (family.kind is MetricKind.COUNTER)
        assert family.help.endswith(".")


def test_units_stand_in_the_names() -> None:
    for family in CATALOGUE:
        assert family.unit in {"", "seconds", "bytes", "ratio"}
        assert (f"_{family.unit}" in family.name) if family.unit else "_seconds" not in family.name


def test_histograms_have_at_most_ten_buckets_and_two_labels() -> None:
    for family in CATALOGUE:
        assert bool(family.bounds) == (family.kind is MetricKind.HISTOGRAM)
        assert len(family.bounds) <= 10
        assert list(family.bounds) == sorted(set(family.bounds))
        if family.kind is MetricKind.HISTOGRAM and len(family.labels) > 2:
            # What the standard names with three labels has no more series than two of ours would make.
            assert family.name == "mcp_server_operation_duration_seconds"
            operations = {label_set[:2] for label_set in family.label_sets}
            assert all((method == "tools/call") == bool(tool) for method, tool in operations)
            assert len(family.label_sets) <= len(operations) * len(McpError)


def test_the_exposed_buckets_are_ones_that_are_counted_in() -> None:
    """A bucket between two counted bounds could only be guessed."""
    assert set(EXPOSED) <= set(SECONDS_BOUNDS)
    assert module.COMMIT_BOUNDS == figures.COMMIT_BOUNDS
    assert module.BATCH_BOUNDS == figures.BATCH_BOUNDS


def test_the_series_stay_within_the_budget() -> None:
    assert sum(family.series for family in CATALOGUE) < 6_000


def test_the_catalogue_is_that_of_the_design() -> None:
    """Names and labels of observability.md, family by family."""
    assert {family.name.removeprefix("vespera_"): family.label_names for family in CATALOGUE} == {
        name: tuple(labels.split(",")) if labels else () for name, labels in DESIGN.items()
    }


def test_methods_and_tools_are_those_of_the_server() -> None:
    assert set(TOOL_NAMES) | {"other"} == set(TOOLS)


def test_the_document_lists_exactly_the_catalogue_with_types_labels_and_meanings() -> None:
    row = re.compile(r"^\| `((?:vespera|mcp_server)_\w+)` \| (\w+) \| (.+?) \| (.+) \|$", re.MULTILINE)
    documented = row.findall(DOCUMENT.read_text(encoding="utf-8"))
    expected = [
        (
            family.name,
            family.kind.value,
            ", ".join(f"`{name}`" for name in family.label_names) or "none",
            family.help,
        )
        for family in CATALOGUE
    ]
    assert documented == expected


def test_the_document_names_the_number_of_series_and_every_label_value() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert f"fixed** at {sum(family.series for family in CATALOGUE)}." in text
    values = {value for family in CATALOGUE for label in family.labels for value in label.values if value}
    assert [value for value in values if f"`{value}`" not in text] == []
