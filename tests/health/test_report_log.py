"""What supervisors told: kept within bounds, and one event of the log for each."""

from __future__ import annotations

import json
import logging

import pytest
import trio

from supervisors import ChildSpec, Offender, Report, ReportContext, ReportKind, Restart, Supervisor
from vespera_agents.health.report_log import CRASHES_MAX, REPORTS_MAX, ReportLog
from vespera_agents.health.subtree import Health, health_of
from vespera_agents.logs import JsonFormatter, correlated
from vespera_agents.specialists.runtime import open_runtime

HOSTILE = 'a"b\\\n{}\x1b[31m\u2028' + "x" * 10_000


def report(kind: ReportKind = ReportKind.CHILD_STARTED, child: str = "child") -> Report:
    return Report(kind, "sup", ReportContext.RUN, "why", Offender(child, "worker", "permanent", 1), at=5.0)


def test_the_last_reports_are_kept_with_numbers_and_times():
    now = iter(range(1_000_000))
    log = ReportLog(clock=lambda: float(next(now)))
    for _ in range(REPORTS_MAX + 10):
        log.on_report(report())
    assert [entry.seq for entry in log.entries] == list(range(11, REPORTS_MAX + 11))
    assert log.entries[0].to_dict() == {**report().to_dict(), "seq": 11, "at": 10.0}
    assert [entry.seq for entry in log.since(REPORTS_MAX + 8)] == [REPORTS_MAX + 9, REPORTS_MAX + 10]
    assert log.since(log.seq) == log.since(log.seq + 5) == ()
    assert len(log.since(0)) == REPORTS_MAX
    assert log.statistics().reports == log.seq == REPORTS_MAX + 10


async def crash(name: str, log: ReportLog, text: str = "at sea") -> None:
    """Have a child crash below a supervisor that reports to a log."""

    async def child(*, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        raise ValueError(text)

    async with trio.open_nursery() as nursery:
        supervisor = Supervisor(name="sup", listener=log)
        await nursery.start(supervisor.run)
        await supervisor.start_child(ChildSpec(name, child, restart=Restart.TEMPORARY))
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()


async def test_a_failure_is_kept_with_its_traceback_however_much_went_well_since():
    log = ReportLog()
    await crash("ship", log)
    for _ in range(REPORTS_MAX):
        log.on_report(report())
    found = log.last_failure("ship")
    assert found.report.kind is ReportKind.CHILD_CRASHED
    assert found.traceback.rstrip().endswith("ValueError: at sea")
    assert "raise ValueError(text)" in found.traceback
    assert log.last_failure("child") is None
    assert CRASHES_MAX < REPORTS_MAX


async def test_each_report_is_one_event_with_the_four_keys(caplog):
    caplog.set_level(logging.INFO, "vespera_agents.supervision")
    # Whose work a line is about is known while it is written.
    caplog.handler.setFormatter(JsonFormatter())
    log = ReportLog()
    with correlated(session="session_of_somebody_else"):
        await crash(HOSTILE, log)
    lines = [json.loads(line) for line in caplog.text.splitlines()]
    assert len(lines) == log.seq
    for line, entry in zip(lines, log.entries, strict=True):
        assert {"supervisor", "context", "reason", "offender"} <= line.keys()
        assert line["kind"] == entry.report.kind
        assert "session" not in line
    (told,) = [line for line in lines if line["kind"] == "child_crashed"]
    assert told["level"] == "error"
    assert told["error"]["traceback"][-1] == "ValueError: at sea"
    assert told["offender"].items() >= {"type": "worker", "restart": "temporary", "incarnation": 1}.items()
    assert {line["level"] for line in lines if line["kind"] in {"child_started", "supervisor_stopped"}} == {"info"}


def test_a_flood_of_reports_is_counted_and_not_logged(caplog):
    caplog.set_level(logging.INFO, "vespera_agents.supervision")
    log = ReportLog()
    for _ in range(3_000):
        log.on_report(report())
    assert 1_000 <= len(caplog.records) < 1_500
    assert log.statistics().unlogged == 3_000 - len(caplog.records)


async def test_what_goes_well_costs_no_line_at_the_usual_level(caplog):
    caplog.set_level(logging.WARNING, "vespera_agents.supervision")
    ReportLog().on_report(report())
    ReportLog().on_report(report(ReportKind.CHILD_RESTARTED))
    assert [record.levelname for record in caplog.records] == ["WARNING"]


@pytest.mark.parametrize("kind", list(ReportKind))
def test_every_kind_of_report_has_a_level(kind, caplog):
    caplog.set_level(logging.INFO, "vespera_agents.supervision")
    ReportLog().on_report(report(kind))
    assert len(caplog.records) == 1


async def test_a_runtime_has_a_watchdog_and_a_log_of_reports_from_its_first_child_on():
    health = Health()
    async with open_runtime("test", listener=health) as runtime:
        await health.start(runtime)
        assert health_of(runtime) is health
        assert health.reports.seq == len(health.reports.entries) > 3
        await trio.sleep(0.02)
        assert health.watchdog.figures.ticks > 0
        branch = runtime.root.child_value("health")
        assert "watchdog" in [child.id for child in branch.which_children()]
    ticks = health.watchdog.figures.ticks
    await trio.sleep(0.01)
    assert health.watchdog.figures.ticks == ticks
