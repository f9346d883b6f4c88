"""The catalogue: every metric family that is exposed, with its type, labels and meaning.

Not here: where a value comes from (`measuring`), how it is written (`exposition`), what a family is (`families`). The
same table for people is docs/metrics.md; a test holds the two together.
"""

from __future__ import annotations

from itertools import product
from typing import Final

from supervisors import ChildType
from vespera_agents.actors import ActorState, DeadLetterReason, DropReason, MessageOutcome, StopReason
from vespera_agents.health.metrics.families import Label, MetricFamily, MetricKind, counter, gauge, histogram
from vespera_agents.health.metrics.labels import (
    ACTOR_KINDS,
    CALL,
    GENERATION_REASONS,
    MCP_BOUNDS,
    MCP_METHODS,
    METHOD_ERRORS,
    PHASE_BOUNDS,
    RESTART_PHASES,
    SPECIALISTS,
    SUPERVISORS,
    TOOL_ERRORS,
    TOOLS,
    CallbackOutcome,
    CompactionOutcome,
    McpError,
    McpOutcome,
    Reconnect,
    RuntimePhase,
)
from vespera_agents.health.metrics.reports import RESTART_REASONS
from vespera_agents.health.metrics.task_figures import TASK_SECONDS_BOUNDS, TaskOutcome
from vespera_agents.health.watchdog.figures import LAG_BOUNDS
from vespera_agents.providers.circuit import Circuit
from vespera_agents.providers.figures import DURATION_BOUNDS, FIRST_CHUNK_BOUNDS, ModelOutcome, TokenType
from vespera_agents.work.machine import LIVE
from vespera_agents.work.models import TaskStatus

__all__ = ["CATALOGUE"]

COMMIT_BOUNDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5)
BATCH_BOUNDS: Final = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0)

_KIND = Label("kind", ACTOR_KINDS)
_SUPERVISOR = Label("supervisor", SUPERVISORS)
_CHILD = Label("kind", tuple(ChildType))
_SPECIALIST = Label("specialist", SPECIALISTS)
_ROLE = Label("kind", SPECIALISTS)
_OUTCOME = Label("outcome", tuple(TaskOutcome))
_TOOL = Label("tool", TOOLS)
# Whoever runs the server says which providers and models there are, so only the process knows; without any, its
# numbers are zeros under "other". With one that stood there always, no alert could ask whether all are open.
_PROVIDER = Label("provider", ())
_MODEL = Label("model", ())

_RUNTIME: Final = (
    gauge(
        "build_info",
        "Always 1; the labels say which versions run.",
        Label("version", ()),
        Label("python", ()),
        Label("trio", ()),
    ),
    gauge("start_time_seconds", "When this process began to run a tree, in seconds since the epoch."),
    gauge(
        "runtime_phase",
        "1 for the phase that this process is in, 0 for the others.",
        Label("phase", tuple(RuntimePhase)),
    ),
)
_ACTORS: Final = (
    gauge(
        "actors",
        "Living actors by state.",
        _KIND,
        Label("state", tuple(state for state in ActorState if state is not ActorState.STOPPED)),
    ),
    counter("actor_starts_total", "Incarnations of actors that became ready.", _KIND),
    counter("actor_stops_total", "Incarnations of actors that ended.", _KIND, Label("reason", tuple(StopReason))),
    histogram("actor_init_duration_seconds", "From an actor's construction to its being ready.", _KIND),
    gauge("actor_busy_seconds_max", "The longest that any message now in hand has been in hand.", _KIND),
    counter(
        "actor_messages_total",
        "Messages taken out of mailboxes, by what became of them.",
        _KIND,
        Label("outcome", tuple(MessageOutcome)),
    ),
    histogram("actor_message_duration_seconds", "Time in a message's receiver; a sample of all messages.", _KIND),
    histogram("ask_duration_seconds", "From an ask to its answer, of the asks that were answered.", _KIND),
    counter("ask_timeouts_total", "Asks whose caller gave up.", _KIND),
    counter("unhandled_messages_total", "Messages that their receiver's class does not know.", _KIND),
)
_MAILBOXES: Final = (
    gauge("mailbox_messages", "User messages in all mailboxes now.", _KIND),
    gauge("mailbox_fill_ratio_max", "How full the fullest mailbox is, 0 to 1.", _KIND),
    gauge("mailbox_oldest_message_age_seconds", "The longest that a message now in a mailbox has waited.", _KIND),
    histogram("mailbox_wait_seconds", "Time in a mailbox; a sample of all messages.", _KIND),
    counter(
        "mailbox_dropped_total", "Messages that a full mailbox did not keep.", _KIND, Label("reason", tuple(DropReason))
    ),
    counter(
        "dead_letters_total",
        "Messages that nobody worked off to the end.",
        _KIND,
        Label("reason", tuple(DeadLetterReason)),
    ),
)
_SUPERVISORS: Final = (
    counter(
        "supervisor_restarts_total",
        "Restarts of children, failed attempts included, by the end that led to each.",
        _SUPERVISOR,
        _CHILD,
        Label("reason", RESTART_REASONS),
    ),
    counter("supervisor_escalations_total", "Failures that a supervisor passed up, giving up included.", _SUPERVISOR),
    counter(
        "supervisor_intensity_exhausted_total",
        "Times that a supervisor gave up, because one restart was too many.",
        _SUPERVISOR,
    ),
    gauge(
        "supervisor_intensity_used_ratio",
        "How much of its allowed restarts the worst supervisor has used: at 1 the next is too many.",
        _SUPERVISOR,
    ),
    gauge("supervisor_backoff_children", "Children that wait out a pause before they are started again.", _SUPERVISOR),
    histogram("supervisor_restart_duration_seconds", "From a child's end to its being ready again.", _CHILD),
)
_LOOP: Final = (
    histogram(
        "loop_lag_seconds", "How late something that was due in the event loop would have run.", bounds=LAG_BOUNDS
    ),
    counter("loop_ticks_total", "Ticks of the event loop."),
    counter("loop_busy_seconds_total", "Time that the event loop ran tasks."),
    counter("loop_stalls_total", "Ticks that were longer than the threshold of the watchdog."),
    counter("loop_stall_seconds_total", "Time in those ticks."),
    gauge("trio_tasks_living", "Tasks of the event loop that have not ended, trio's own among them."),
    gauge("worker_threads_used", "Threads that work for the event loop now, of those that trio limits."),
)
_CONTEXT: Final = (
    gauge("context_tokens_used_max", "Tokens in the largest context of a living specialist.", _ROLE),
    gauge(
        "context_tokens_limit",
        "The largest limit of a living specialist's context; where none lives, that of the packaged role.",
        _ROLE,
    ),
    gauge("context_fill_ratio_max", "How full the fullest context of a living specialist is, 0 to 1.", _ROLE),
    counter(
        "context_compactions_total",
        "Contexts that were made smaller because they were full.",
        _ROLE,
        Label("outcome", tuple(CompactionOutcome)),
    ),
    counter("context_tokens_reclaimed_total", "Tokens that compactions freed.", _ROLE),
)
_MODELS: Final = (
    counter(
        "llm_requests_total",
        "Requests to models, by what came of them.",
        _PROVIDER,
        _MODEL,
        Label("outcome", tuple(ModelOutcome)),
    ),
    histogram(
        "llm_request_duration_seconds",
        "From a request to the end of its answer.",
        _PROVIDER,
        _MODEL,
        bounds=DURATION_BOUNDS,
    ),
    histogram(
        "llm_time_to_first_chunk_seconds",
        "From a request to the first part of its answer, which is its end where it was asked for whole.",
        _PROVIDER,
        _MODEL,
        bounds=FIRST_CHUNK_BOUNDS,
    ),
    counter(
        "llm_tokens_total", "Tokens that were sent and received.", _PROVIDER, _MODEL, Label("type", tuple(TokenType))
    ),
    counter("llm_cost_usd_total", "What requests cost, in US dollars.", _PROVIDER, _MODEL),
    counter(
        "llm_fallbacks_total",
        "Requests that went to another provider than the first one.",
        Label("from", ()),
        Label("to", ()),
    ),
    gauge("llm_in_flight", "Requests that a provider has not answered yet.", _PROVIDER),
    gauge(
        "llm_circuit_breaker_state",
        "1 for the state that the circuit breaker of a provider is in, 0 for the others.",
        _PROVIDER,
        Label("state", tuple(Circuit)),
    ),
)
_MCP: Final = (
    MetricFamily(
        "mcp_server_operation_duration_seconds",
        MetricKind.HISTOGRAM,
        "From a request of MCP to its answer.",
        (
            Label("mcp_method_name", MCP_METHODS),
            Label("gen_ai_tool_name", ("", *TOOLS)),
            Label("error_type", tuple(McpError)),
        ),
        "seconds",
        MCP_BOUNDS,
        # A tool belongs to one method only, so three names are two dimensions: what was done, and how it failed.
        (
            *((method, "", error) for method, error in product(MCP_METHODS, METHOD_ERRORS) if method != CALL),
            *((CALL, tool, error) for tool, error in product(TOOLS, TOOL_ERRORS)),
        ),
    ),
    counter("mcp_requests_total", "Calls of tools, by what came of them.", _TOOL, Label("outcome", tuple(McpOutcome))),
    gauge("mcp_in_flight", "Calls of tools that are not answered yet.", _TOOL),
    counter(
        "mcp_reconnects_total",
        "Times that a client was connected again, by what was lost.",
        Label("reason", tuple(Reconnect)),
    ),
    counter(
        "front_generations_total",
        "Workers that the front of this server has put to work, by why.",
        Label("reason", GENERATION_REASONS),
    ),
)
_TASKS: Final = (
    gauge("tasks", "Tasks in the database, containers aside.", Label("status", tuple(TaskStatus)), _SPECIALIST),
    gauge(
        "task_oldest_age_seconds",
        "How long the task that has waited longest in a status has been there; 0 where there is none.",
        Label("status", tuple(status for status in TaskStatus if status in LIVE)),
    ),
    histogram(
        "task_queue_wait_seconds",
        "From a task's creation to its first claim.",
        _SPECIALIST,
        bounds=TASK_SECONDS_BOUNDS,
    ),
    histogram(
        "task_duration_seconds",
        "From a task's claim to its end.",
        _SPECIALIST,
        _OUTCOME,
        bounds=TASK_SECONDS_BOUNDS,
    ),
    counter("tasks_finished_total", "Ends of tasks that this process committed.", _SPECIALIST, _OUTCOME),
)
_STORE: Final = (
    histogram("store_commit_duration_seconds", "Time of one group commit.", bounds=COMMIT_BOUNDS),
    histogram("store_commit_batch_size", "Commands in one group commit.", bounds=BATCH_BOUNDS),
    gauge("store_queue_depth", "Commands that wait for the writer."),
    gauge("store_size_bytes", "Database files of the open workspaces, with their write-ahead logs."),
    counter(
        "store_errors_total",
        "Failures of the database, by what it was asked for.",
        Label("operation", ("commit", "read", "scrape")),
        Label("reason", ("unavailable",)),
    ),
)
_CALLBACKS: Final = (
    gauge("callbacks_pending", "Callbacks that wait to be delivered."),
    gauge("callback_oldest_pending_age_seconds", "How long the oldest of them has waited."),
    counter(
        "callbacks_total",
        "Attempts to deliver a callback, by what came of them.",
        Label("outcome", tuple(CallbackOutcome)),
    ),
    histogram("callback_delivery_duration_seconds", "Time of one attempt to deliver a callback."),
)
_SHUTDOWN: Final = (
    gauge("shutdown_draining_actors", "Actors with work or mail while nothing new may begin; 0 while it may."),
    histogram(
        "shutdown_phase_duration_seconds",
        "Time of each phase of the restarts that were asked for.",
        Label("phase", RESTART_PHASES),
        bounds=PHASE_BOUNDS,
    ),
    gauge(
        "recovery_duration_seconds",
        "From the end of the worker before this one to this one's serving; 0 for the first.",
    ),
    gauge("last_restart_timestamp_seconds", "When this worker took over from another; 0 for the first one."),
)

CATALOGUE: Final[tuple[MetricFamily, ...]] = (
    *_RUNTIME, *_ACTORS, *_MAILBOXES, *_SUPERVISORS, *_LOOP, *_CONTEXT, *_MODELS, *_MCP, *_TASKS, *_STORE, *_CALLBACKS,
    *_SHUTDOWN,
)  # fmt: skip
"""Every family, in the order of the exposition."""
