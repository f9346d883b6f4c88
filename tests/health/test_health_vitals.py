"""What is measured now, and what follows from it: each measurement is made really bad, and the verdict names it."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import trio
import trio.testing

from supervisors import ChildSpec, Supervisor, supervisor_spec
from vespera_agents.actors import Actor, MailboxSpec, Overflow, receives
from vespera_agents.health import vitals
from vespera_agents.health.checks import (
    DiskVital,
    Grade,
    MailboxVital,
    Measurements,
    StoreVital,
    SupervisorVital,
    Thresholds,
    grade,
)
from vespera_agents.health.lag import measure_lag
from vespera_agents.health.vitals import measure
from vespera_agents.specialists.runtime import open_runtime
from vespera_agents.workspace import Registry

ROOT = Path(__file__).resolve().parents[2]


def running(tmp_path: Path):
    return open_runtime("serve", registry=Registry(tmp_path / "state"))


async def reasons(runtime) -> dict[str, tuple[str, str]]:
    # This machine may be full or slow for reasons of its own.
    lenient = Thresholds(loop_lag_seconds=(5.0, 10.0), commit_seconds=(30.0, 60.0), disk_free_bytes=(0, -1))
    verdict = grade(await measure(runtime), lenient)
    return {one.component: (str(one.grade), one.what) for one in verdict.reasons}


async def test_a_server_at_rest_is_measured_and_well(tmp_path):
    (tmp_path / "project").mkdir()
    async with running(tmp_path) as runtime:
        opened = await runtime.workspace(tmp_path / "project")
        before = opened.store.statistics().commits
        wal = opened.store.database.with_name("vespera.db-wal")
        size = wal.stat().st_size
        with closing(sqlite3.connect(opened.store.database)) as connection:
            keys = connection.execute("SELECT count(*) FROM command").fetchone()
        measured = await measure(runtime)
        assert await reasons(runtime) == {}
        (store,) = measured.stores
        assert store.workspace == str(tmp_path / "project")
        assert store.commit_seconds is not None
        assert store.commit_seconds > 0
        assert wal.stat().st_size > size, "the probe is a real commit: it wrote to the log that is synced"
        with closing(sqlite3.connect(opened.store.database)) as connection:
            assert connection.execute("SELECT count(*) FROM command").fetchone() == keys, "and left no row"
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert opened.store.statistics().commits == before
        assert measured.disks[0].free_bytes > 0
        names = {one.supervisor for one in measured.supervisors}
        assert {"root", "workspaces", "doors", str(tmp_path / "project")} <= names
        assert all(one.restarts_left == 3 for one in measured.supervisors if one.supervisor == "root")
        assert measured.loop_lag_seconds >= 0


async def test_a_blocked_loop_is_late(tmp_path):
    async def block() -> None:
        while True:
            threading.Event().wait(0.3)
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(block)
        lag = await measure_lag()
        nursery.cancel_scope.cancel()
    assert lag >= 0.25
    # On a busy machine it may even be so late that it is more than degraded.
    lenient = Thresholds(loop_lag_seconds=(Thresholds().loop_lag_seconds[0], 60.0))
    (reason,) = grade(Measurements(loop_lag_seconds=lag), lenient).reasons
    assert (reason.component, reason.grade) == ("loop", Grade.DEGRADED)


class Stuck(Actor):
    """It never comes back from its first message."""

    @receives
    async def hear(self, _: str) -> None:
        await trio.sleep_forever()


async def test_a_mailbox_that_fills_up_is_named(tmp_path):
    async with running(tmp_path) as runtime:
        stuck = await runtime.system.start(Stuck, name="stuck", mailbox=MailboxSpec(10, Overflow.REJECT))
        stuck.tell("first")
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(7):
            stuck.tell("more")
        assert await reasons(runtime) == {}
        stuck.tell("more")
        assert await reasons(runtime) == {"mailbox stuck": ("degraded", "its mailbox is 80% full")}
        stuck.tell("more")
        stuck.tell("more")
        assert await reasons(runtime) == {"mailbox stuck": ("unhealthy", "its mailbox is 100% full")}


async def test_a_supervisor_that_has_hardly_any_restarts_left_is_named(tmp_path):
    crash, worn_out, crashes = trio.Event(), trio.Event(), []

    async def child(*, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        if len(crashes) < 4:
            await crash.wait()
            crashes.append(1)
            raise RuntimeError("crashed")
        worn_out.set()
        await trio.sleep_forever()

    async with running(tmp_path) as runtime:
        child_spec = ChildSpec("c", child)
        spec = supervisor_spec(
            "worn", lambda: Supervisor([child_spec], name="worn", intensity=4, period_seconds=3_600.0)
        )
        await runtime.doors.start_child(spec)
        assert await reasons(runtime) == {}
        crash.set()
        with trio.fail_after(20):
            await worn_out.wait()
        assert await reasons(runtime) == {"supervisor worn": ("unhealthy", "it gives up after 0 more restarts")}
        worn = next(one for one in (await measure(runtime)).supervisors if one.supervisor == "worn")
        assert (worn.restarts_left, worn.used_ratio) == (0, 1.0)


async def test_a_store_that_somebody_holds_is_named_and_then_well_again(tmp_path, monkeypatch):
    monkeypatch.setattr(vitals, "_PROBE_SECONDS", 0.2)
    (tmp_path / "project").mkdir()
    async with running(tmp_path) as runtime:
        opened = await runtime.workspace(tmp_path / "project")
        with closing(sqlite3.connect(opened.store.database, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            name = f"store {tmp_path / 'project'}"
            assert await reasons(runtime) == {name: ("unhealthy", "a commit failed: database is locked")}
            other.execute("ROLLBACK")
        assert await reasons(runtime) == {}
        opened.store.database.unlink()
        ((component, (bad, what)),) = (await reasons(runtime)).items()
        assert (component, bad) == (name, "unhealthy")
        assert what.startswith("its database was removed.")


async def test_a_workspace_that_gave_up_is_named(tmp_path):
    (tmp_path / "project").mkdir()
    async with running(tmp_path) as runtime:
        await runtime.workspace(tmp_path / "project")
        await runtime.root.child_value("workspaces").terminate_child(str(tmp_path / "project"))
        ((component, (bad, what)),) = (await reasons(runtime)).items()
        assert (component, bad) == (f"workspace {tmp_path / 'project'}", "unhealthy")
        assert "gave up" in what


async def test_a_disk_with_little_room_is_named(tmp_path):
    (tmp_path / "project").mkdir()
    async with running(tmp_path) as runtime:
        await runtime.workspace(tmp_path / "project")
        measured = await measure(runtime)
        free = measured.disks[0].free_bytes
        tight = Thresholds(loop_lag_seconds=(5, 10), commit_seconds=(30, 60), disk_free_bytes=(free * 2.0, 0.0))
        (reason,) = grade(measured, tight).reasons
        assert (reason.component, reason.grade) == (f"disk {tmp_path / 'project'}", Grade.DEGRADED)
        (reason,) = grade(measured, replace(tight, disk_free_bytes=(free * 4.0, free * 2.0))).reasons
        assert reason.grade is Grade.UNHEALTHY


BAD = [
    (Measurements(loop_lag_seconds=0.1), "loop", Grade.DEGRADED),
    (Measurements(loop_lag_seconds=1.0), "loop", Grade.UNHEALTHY),
    (Measurements(stores=(StoreVital("w", 0.25, None, 0, 0),)), "store w", Grade.DEGRADED),
    (Measurements(stores=(StoreVital("w", 2.0, None, 0, 0),)), "store w", Grade.UNHEALTHY),
    (Measurements(stores=(StoreVital("w", 0.01, None, 1_000, 0),)), "store w", Grade.DEGRADED),
    (Measurements(stores=(StoreVital("w", None, "gone", 0, 0),)), "store w", Grade.UNHEALTHY),
    (Measurements(mailboxes=(MailboxVital("a", 0.8),)), "mailbox a", Grade.DEGRADED),
    (Measurements(supervisors=(SupervisorVital("s", 1, 0.7),)), "supervisor s", Grade.DEGRADED),
    (Measurements(disks=(DiskVital("w", 512 * 1024 * 1024),)), "disk w", Grade.DEGRADED),
    (Measurements(disks=(DiskVital("w", 0),)), "disk w", Grade.UNHEALTHY),
    (Measurements(providers={"p": "open"}), "provider p", Grade.DEGRADED),
]


@pytest.mark.parametrize(("measured", "component", "worst"), BAD)
def test_each_threshold_is_a_reason_with_its_component(measured, component, worst):
    verdict = grade(measured)
    assert verdict.grade is worst
    assert [one.component for one in verdict.reasons] == [component]


def test_below_every_threshold_there_is_no_reason_and_the_worst_reason_decides():
    good = Measurements(
        0.099,
        (StoreVital("w", 0.249, None, 999, 7),),
        (MailboxVital("a", 0.79),),
        (SupervisorVital("s", 2, 0.69),),
        (DiskVital("w", 513 * 1024 * 1024),),
        {"p": "closed"},
    )
    assert grade(good).grade is Grade.HEALTHY
    bad = grade(replace(good, loop_lag_seconds=0.2, disks=(DiskVital("w", 1),)))
    assert [(one.component, str(one.grade)) for one in bad.reasons] == [("disk w", "unhealthy"), ("loop", "degraded")]


def test_the_model_of_health_does_not_load_what_shows_metrics():
    program = "import sys, vespera_agents.health.vitals; print('prometheus_client' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
