"""The numbers of a real runtime are true, and no load makes more series of them."""

from __future__ import annotations

import secrets
import shutil
import threading
from pathlib import Path

import pytest
import trio

from supervisors import ChildSpec, StartFailed, Supervisor, supervisor_spec
from tests.health.kit import Watched, fetch, open_session, patient_scrapes, plan, watched_runtime
from vespera_agents.actors import Actor, MailboxFull, MailboxSpec, Overflow, receives
from vespera_agents.health import CATALOGUE, Collector, Health, declared_supervisor
from vespera_agents.health.metrics.labels import McpError, McpOutcome
from vespera_agents.health.metrics.lifecycle import LifecycleFigures
from vespera_agents.health.metrics.reports import SupervisionFigures
from vespera_agents.health.metrics.requests import RequestFigures
from vespera_agents.health.metrics.sources import Sources
from vespera_agents.health.watchdog import LoopFigures
from vespera_agents.specialists.runtime import open_runtime
from vespera_agents.specialists.sessions import OpenWorkspace
from vespera_agents.store.commands import CancelTask, ClaimTask, FinishTask
from vespera_agents.work.drafts import TaskDraft
from vespera_agents.work.models import TaskStatus
from vespera_agents.workspace import Registry

PROMTOOL = shutil.which("promtool")
HOSTILE = ('"', "\n", "\\", "\u202e", "}{", "/srv/\u00e9" * 30)

OF_THE_PROCESS = ("process_", "python_")
"""How the families of prometheus_client itself begin."""


class Worker(Actor):
    """An actor that nobody declared."""

    @receives
    def on_text(self, message: str) -> None:
        if message == "crash":
            raise RuntimeError("planned")


async def work_on_tasks(opened: OpenWorkspace, count: int) -> None:
    session = await open_session(opened, secrets.token_hex(4))
    ids = await plan(
        opened,
        session,
        [TaskDraft(key=f"k{n}", title=f"{HOSTILE[n % 6]} {n}", specialist=f"role_{n}") for n in range(count)],
    )
    server = opened.record.id
    for task in list(ids.values())[:8]:
        await opened.store.execute(ClaimTask("tester", task, server), opened.key())
        await opened.store.execute(FinishTask("tester", task, server, TaskStatus.COMPLETED), opened.key())


async def live_through(watched: Watched, opened: OpenWorkspace, count: int) -> None:
    """Start, use, crash and stop `count` actors of classes, and supervisors of names, that nobody has seen before."""
    system = watched.runtime.system

    async def crash(*, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        raise RuntimeError(secrets.token_hex(4))

    for number in range(count):
        strange = f"{HOSTILE[number % 6]}{secrets.token_hex(8)}"
        ref = await system.start(type(f"Kind{secrets.token_hex(4)}", (Worker,), {}), name=strange)
        ref.tell("hello")
        await system.stop(ref)
        child = ChildSpec(strange, crash)
        spec = supervisor_spec(strange, lambda name=strange, child=child: Supervisor([child], name=name))
        await watched.runtime.doors.start_child(spec)
        await watched.runtime.doors.terminate_child(strange)
        await watched.runtime.doors.delete_child(strange)
        await opened.session(f"session_{secrets.token_hex(6)}")
        requests = watched.health.requests
        requests.ended(strange, McpError.OTHER, 0.1, {"task_id": strange})
        requests.end_call(requests.begin_call(strange), McpOutcome.REFUSED, McpError.TOOL, 0.1, None)


@pytest.mark.unmeasured
async def test_a_thousand_more_tasks_actors_sessions_and_supervisors_make_no_new_series(tmp_path: Path) -> None:
    async with watched_runtime(tmp_path) as watched:
        opened = await watched.workspace()
        before = await watched.numbers()
        assert len([name for name in before if not name.startswith(OF_THE_PROCESS)]) == sum(
            family.series for family in CATALOGUE
        )
        assert len(before) < 6_000
        await work_on_tasks(opened, 1_000)
        await live_through(watched, opened, 1_000)
        await (await watched.workspace("another")).session(f"session_{secrets.token_hex(6)}")
        after = await watched.numbers()
    assert after.keys() == before.keys()
    assert after['vespera_tasks{specialist="other",status="pending"}'] == 992
    assert after['vespera_tasks_finished_total{outcome="completed",specialist="other"}'] == 8
    assert after['vespera_actor_starts_total{kind="other"}'] == 1_000
    assert after['vespera_supervisor_restarts_total{kind="worker",reason="crashed",supervisor="other"}'] > 0
    assert after['vespera_mcp_requests_total{outcome="refused",tool="other"}'] == 1_000


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is missing: install it with `apt-get install prometheus`")
async def test_promtool_finds_nothing_to_complain_about(tmp_path: Path) -> None:
    assert PROMTOOL is not None
    async with watched_runtime(tmp_path) as watched:
        opened = await watched.workspace()
        await work_on_tasks(opened, 20)
        await live_through(watched, opened, 20)
        text = await watched.scrape()
    checked = await trio.run_process(
        [PROMTOOL, "check", "metrics"],
        stdin=text.encode(),
        capture_stdout=True,
        capture_stderr=True,
        check=False,
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


async def test_everything_that_is_named_is_in_the_first_scrape_of_an_idle_runtime(tmp_path: Path) -> None:
    async with watched_runtime(tmp_path) as watched:
        text = await watched.scrape()
    types = [tuple(line.split()[2:]) for line in text.splitlines() if line.startswith("# TYPE")]
    ours = [each for each in types if not each[0].startswith(OF_THE_PROCESS)]
    assert ours == [(family.name, family.kind.value) for family in CATALOGUE]
    assert {name.split("_")[0] for name, _ in types[len(ours) :]} == {"process", "python"}
    assert "_created" not in text


async def test_the_first_command_on_a_workspace_that_opens_later_is_counted(tmp_path: Path) -> None:
    async with watched_runtime(tmp_path) as watched:
        opened = await watched.workspace()
        await work_on_tasks(opened, 8)
        found = await watched.numbers()
        assert found['vespera_tasks_finished_total{outcome="completed",specialist="other"}'] == 8
        assert found['vespera_task_queue_wait_seconds_count{specialist="other"}'] == 8
        assert found['vespera_task_duration_seconds_count{outcome="completed",specialist="other"}'] == 8
        assert found["vespera_store_commit_duration_seconds_count"] == 18
        assert found["vespera_store_commit_batch_size_sum"] == 18
        assert found["vespera_store_size_bytes"] > 4_096


async def test_a_workspace_that_was_open_before_is_counted_once_it_is_watched(tmp_path: Path) -> None:
    health = Health()
    (tmp_path / "project").mkdir()
    async with open_runtime("serve", registry=Registry(tmp_path / "state"), listener=health) as runtime:
        opened = await runtime.workspace(tmp_path / "project")
        await health.start(runtime, "127.0.0.1:0")
        assert health.metrics is not None
        watched = Watched(runtime, health, health.metrics, tmp_path)
        await work_on_tasks(opened, 8)
        found = await watched.numbers()
        assert found['vespera_tasks_finished_total{outcome="completed",specialist="other"}'] == 8


async def test_a_store_that_was_restarted_goes_on_counting_and_counts_nothing_twice(tmp_path: Path) -> None:
    async with watched_runtime(tmp_path) as watched:
        # The model of health commits something to see whether that works, and opens anew what is closed.
        health = watched.runtime.root.child_value("health")
        assert isinstance(health, Supervisor)
        await health.terminate_child("model")
        opened = await watched.workspace()
        await work_on_tasks(opened, 8)
        workspaces = watched.runtime.root.child_value("workspaces")
        assert isinstance(workspaces, Supervisor)
        await workspaces.terminate_child(str(opened.workspace.directory))
        closed = await watched.numbers()
        assert closed['vespera_store_errors_total{operation="scrape",reason="unavailable"}'] == 1
        assert closed['vespera_tasks{specialist="other",status="completed"}'] == 0, "it was never read before"
        assert await watched.workspace() is opened
        await work_on_tasks(opened, 8)
        found = await watched.numbers()
        assert found['vespera_tasks_finished_total{outcome="completed",specialist="other"}'] == 16
        assert found['vespera_tasks{specialist="other",status="completed"}'] == 16


async def test_a_database_that_cannot_be_read_keeps_its_last_numbers_and_is_counted(tmp_path: Path) -> None:
    async with watched_runtime(tmp_path) as watched:
        opened = await watched.workspace()
        other = await watched.workspace("other")
        await work_on_tasks(opened, 9)
        before = await watched.numbers()
        for path in opened.workspace.dot.glob("vespera.db*"):
            path.unlink()
        await work_on_tasks(other, 9)
        after = await watched.numbers()
    assert after.keys() == before.keys()
    pending = 'vespera_tasks{specialist="other",status="pending"}'
    assert (before[pending], after[pending]) == (1, 2)
    assert after['vespera_store_errors_total{operation="scrape",reason="unavailable"}'] == 1


async def test_the_numbers_of_actors_and_mailboxes_are_true(tmp_path: Path) -> None:
    async def never_ready(*, task_status: trio.TaskStatus[None]) -> None:
        await trio.lowlevel.checkpoint()

    async with watched_runtime(tmp_path) as watched:
        # A restart still counts when it is looked for, however late that is.
        await watched.runtime.root.change(period_seconds=600.0)
        ref = await watched.runtime.system.start(Worker, mailbox=MailboxSpec(4, Overflow.REJECT))
        ref.tell("one")
        ref.tell("crash")
        ref.tell("two")
        ref.tell("three")
        with pytest.raises(MailboxFull):
            ref.tell("five")
        with pytest.raises(StartFailed):
            await watched.runtime.root.start_child(ChildSpec("x", never_ready))
        await trio.testing.wait_all_tasks_blocked()
        with patient_scrapes():
            found = await watched.numbers()
    assert found['vespera_actors{kind="other",state="running"}'] == 1
    assert found['vespera_actor_messages_total{kind="other",outcome="handled"}'] == 3
    assert found['vespera_actor_messages_total{kind="other",outcome="crashed"}'] == 1
    assert found['vespera_actor_stops_total{kind="other",reason="crashed"}'] == 1
    assert found['vespera_actor_starts_total{kind="other"}'] == 2
    assert found['vespera_mailbox_dropped_total{kind="other",reason="rejected"}'] == 1
    assert found['vespera_dead_letters_total{kind="other",reason="crashed"}'] == 1
    assert found['vespera_supervisor_restarts_total{kind="worker",reason="crashed",supervisor="root"}'] == 1
    assert found['vespera_supervisor_intensity_used_ratio{supervisor="root"}'] == pytest.approx(1 / 3)
    assert found['vespera_supervisor_restart_duration_seconds_count{kind="worker"}'] == 1


async def test_every_supervisor_and_actor_of_a_session_at_work_is_declared(tmp_path: Path) -> None:
    """The shapes of names that the labels know are those that the tree is made with."""
    async with watched_runtime(tmp_path) as watched:
        names: set[str] = {"root"}
        watched.health.supervision.watch_starts(lambda report: names.add(report.supervisor))
        opened = await watched.workspace()
        session = await opened.session(await open_session(opened))
        async with session.borrow(opened.role("tester")):
            found = await watched.numbers()
    declared = {name: declared_supervisor(name) for name in names}
    assert sorted(declared.values()) == [
        "callbacks", "root", "session", "sessions", "specialists", "workspace", "workspaces"
    ]  # fmt: skip
    assert found['vespera_actors{kind="Specialist",state="running"}'] == 1
    assert found['vespera_actors{kind="other",state="running"}'] == 0


async def test_waived_and_cancelled_tasks_are_told_apart(tmp_path: Path) -> None:
    async with watched_runtime(tmp_path) as watched:
        opened = await watched.workspace()
        ids = await plan(opened, await open_session(opened), [TaskDraft(key=key, title=key) for key in "ab"])
        await opened.store.execute(ClaimTask("t", ids["a"], "srv"), opened.key())
        finish = FinishTask("t", ids["a"], "srv", TaskStatus.CANCELLED, waived=True)
        await opened.store.execute(finish, opened.key())
        await opened.store.execute(CancelTask("t", ids["b"], "not wanted"), opened.key())
        found = await watched.numbers()
    assert found['vespera_tasks_finished_total{outcome="waived",specialist="generic"}'] == 1
    assert found['vespera_tasks_finished_total{outcome="cancelled",specialist="generic"}'] == 1
    assert found['vespera_task_duration_seconds_count{outcome="cancelled",specialist="generic"}'] == 0


@pytest.mark.unmeasured
async def test_scrapes_of_actors_at_work_never_fail(tmp_path: Path) -> None:
    """Several threads scrape while actors come, go and get mail."""
    async with watched_runtime(tmp_path) as watched:
        await watched.workspace()
        results: list[int] = []

        def scrape_often() -> None:
            results.extend(fetch(watched.endpoint.url)[0] for _ in range(4))

        threads = [threading.Thread(target=scrape_often) for _ in range(3)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            refs = [await watched.runtime.system.start(Worker) for _ in range(10)]
            for ref in refs:
                for _ in range(20):
                    ref.tell("hello")
            for ref in refs:
                await watched.runtime.system.stop(ref)
        assert results == [200] * 12


async def test_after_the_run_the_collector_still_gives_the_last_numbers(tmp_path: Path) -> None:
    figures = SupervisionFigures()
    async with open_runtime("serve", registry=Registry(tmp_path), listener=figures) as runtime:
        figures.restarts.increment(("root", "worker", "crashed"))
        collector = Collector(Sources(runtime, figures, RequestFigures(), LifecycleFigures(), LoopFigures()))
    assert collector.describe() == []
    assert len(list(collector.collect())) == len(CATALOGUE)
