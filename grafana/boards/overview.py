"""The dashboard that is looked at first: is it well, what does it do, and where to look next."""

from __future__ import annotations

from typing import Final

from grafana.panels import Board, Section, lines, number
from grafana.queries import Query, grown, largest, now, picked, quantiles, rate, share

__all__ = ["OVERVIEW"]

_FIRING: Final = picked("ALERTS", 'alertstate="firing",alertname!="AlwaysFiring"')

_STATE: Final = Section(
    "Is it well?",
    (
        number(
            "Scraped",
            "Whether Prometheus reaches the server. A dead worker is replaced so soon that it is rarely seen here.",
            "none",
            Query(f"min ({picked('up')})", "up"),
            mappings=(("0", "down", "red"), ("1", "up", "green")),
        ),
        number(
            "Alerts",
            "Alerts that fire now; each has a section in docs/operations.md.",
            "none",
            Query(f"count ({_FIRING}) or vector(0)", "firing"),
            limits=((1, "red"),),
        ),
        number(
            "Restarts",
            "Children that supervisors started again within the time that the dashboard shows.",
            "short",
            grown("vespera_supervisor_restarts_total"),
            limits=((1, "orange"), (20, "red")),
        ),
        number(
            "Phase",
            "What the server is about.",
            "none",
            Query(f"max by (phase) ({picked('vespera_runtime_phase')} == 1)", "{{phase}}"),
        ),
        number(
            "Worker's age",
            "How long the youngest worker has been running; small after a death or a restart.",
            "dtdurations",
            Query(f"time() - max ({picked('vespera_start_time_seconds')})", "age"),
        ),
        number(
            "Version",
            "Which version of Vespera Agents, Python and trio runs.",
            "none",
            Query(
                f"max by (version, python, trio) ({picked('vespera_build_info')})",
                "{{version}} on Python {{python}}, trio {{trio}}",
            ),
        ),
    ),
)
_LOAD: Final = Section(
    "What it does",
    (
        lines(
            "Calls of clients",
            "MCP tool calls per second, by what became of them.",
            "reqps",
            rate("vespera_mcp_requests_total", "outcome"),
        ),
        lines(
            "Messages",
            "Messages that actors took out of their mailboxes per second, by what became of them.",
            "mps",
            rate("vespera_actor_messages_total", "outcome"),
        ),
        lines(
            "Tasks",
            "Tasks in the databases of all open workspaces, by status, containers aside.",
            "short",
            now("vespera_tasks", "status"),
            stacked=True,
        ),
    ),
)
_TROUBLE: Final = Section(
    "What goes wrong",
    (
        lines(
            "Restarts",
            "Children that supervisors started again, per second, by the end that led to it.",
            "cps",
            rate("vespera_supervisor_restarts_total", "reason"),
        ),
        lines(
            "Failed calls",
            "The part of MCP tool calls that failed by a fault of the server; their budget is 1 %.",
            "percentunit",
            share("vespera_mcp_requests_total", 'outcome="failed"', legend="failed"),
            top=1,
        ),
        lines(
            "Failed tasks",
            "The part of ended tasks that failed.",
            "percentunit",
            share("vespera_tasks_finished_total", 'outcome="failed"', legend="failed"),
            top=1,
        ),
    ),
)
_MACHINE: Final = Section(
    "What it takes",
    (
        lines(
            "Event loop",
            "The part of the time in which the event loop is busy; near 1 everything waits.",
            "percentunit",
            rate("vespera_loop_busy_seconds_total", "instance"),
            limits=((0.8, "orange"), (0.95, "red")),
            top=1,
        ),
        lines(
            "Lateness",
            "How late the event loop gets to what is due.",
            "s",
            *quantiles("vespera_loop_lag_seconds", of=(0.5, 0.99)),
        ),
        lines(
            "Commits",
            "How long the database takes to make a group of changes durable.",
            "s",
            *quantiles("vespera_store_commit_duration_seconds", of=(0.5, 0.95)),
        ),
        lines(
            "Memory",
            "Resident memory of the worker.",
            "bytes",
            now("process_resident_memory_bytes", "instance"),
        ),
        lines(
            "Processor",
            "Seconds of processor time that the worker takes per second.",
            "percentunit",
            rate("process_cpu_seconds_total", "instance"),
        ),
        lines(
            "Garbage collections",
            "Collections per second, by generation; those of the oldest stop the worker for longest.",
            "cps",
            rate("python_gc_collections_total", "generation", legend="generation {{generation}}"),
        ),
        lines(
            "Time of a scrape",
            "How long Prometheus waited for the metrics.",
            "s",
            largest("scrape_duration_seconds", "instance"),
        ),
        lines(
            "Series",
            "How many series a scrape has; their number is fixed.",
            "short",
            largest("scrape_samples_post_metric_relabeling", "instance"),
            limits=((6_000, "red"),),
        ),
        lines(
            "Open files",
            "Files that the worker has open, and how many it may have.",
            "short",
            largest("process_open_fds", legend="open"),
            largest("process_max_fds", legend="allowed"),
        ),
    ),
)
OVERVIEW: Final = Board(
    "overview",
    "Overview",
    "Is the server well, what does it do, and where to look next.",
    (_STATE, _LOAD, _TROUBLE, _MACHINE),
)
