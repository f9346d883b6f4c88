"""What is done about a reason, on a real tree and in virtual time: supervised, seldom, seen, and never in a loop."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import pytest
import trio
from mcp import Client
from trio.testing import MockClock

from supervisors import ChildSpec, ChildState, ReportKind, Restart, Supervisor, supervisor_spec
from tests.serving.http_kit import until
from tests.serving.kit import new_place, refuse, succeed
from vespera_agents.health import Health
from vespera_agents.health.checks import Grade, Thresholds
from vespera_agents.health.observer.sections import health_section
from vespera_agents.health.recovering import Recovery, RecoveryAction
from vespera_agents.health.settings import HealthSettings
from vespera_agents.serving.protocol.server import build_server
from vespera_agents.serving.tools.catalogue import tool_set
from vespera_agents.specialists.admission import EVERYTHING
from vespera_agents.specialists.breaker import Breaker
from vespera_agents.specialists.orchestrator import Orchestrator
from vespera_agents.specialists.runtime import Runtime, open_runtime
from vespera_agents.store import StoreLost
from vespera_agents.work.errors import Overloaded
from vespera_agents.workspace import Registry

CALM = Thresholds(loop_lag_seconds=(5, 10), stall_seconds=(5, 10), commit_seconds=(30, 60))
RESTART = Recovery("component", RecoveryAction.RESTART, for_seconds=10, pause_seconds=60, period_seconds=3_600, most=3)
SHED = Recovery("component cache", RecoveryAction.SHED_LOAD, for_seconds=10)


@dataclass
class Cache:
    """A component that is ill until it is started again as often as that takes."""

    cure: int = 1
    starts: list[float] = field(default_factory=list)
    ends_after_seconds: float = 0.0
    ill: bool = True

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        self.starts.append(trio.current_time())
        task_status.started()
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(self.ends_after_seconds)

    async def how(self) -> tuple[str, str] | None:
        await trio.lowlevel.checkpoint()
        return ("unhealthy", "it is cold") if self.ill and len(self.starts) <= self.cure else None


@dataclass
class Watched:
    runtime: Runtime
    health: Health
    cache: Cache

    def reasons(self) -> list[tuple[str, str]]:
        return [(one.component, one.what) for one in self.health.model.verdict.reasons]

    def outcomes(self) -> list[tuple[str, str]]:
        return [(one.what, one.outcome) for one in self.health.model.recoveries.notes]


@asynccontextmanager
async def watched(
    place: Path, cache: Cache, *recoveries: Recovery, restart: Restart = Restart.PERMANENT
) -> AsyncGenerator[Watched]:
    health = Health()
    health.model.settings = HealthSettings(CALM, recoveries=recoveries)
    async with open_runtime("serve", registry=Registry(place / "state"), listener=health) as runtime:
        await health.start(runtime)
        health.model.recoveries.declare(recoveries)
        spec = ChildSpec("cache", cache.run, restart=restart, shutdown_seconds=1_000)
        await runtime.doors.start_child(health.model.checks.checked(spec, cache.how))
        yield Watched(runtime, health, cache)


async def test_nothing_is_done_that_nobody_asked_for(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with watched(tmp_path, Cache()) as seen:
        await trio.sleep(600)
        assert seen.reasons() == [("component cache", "it is cold")]
        assert (len(seen.cache.starts), seen.outcomes()) == (1, [])


@pytest.mark.parametrize("target", [None, "cache", "doors > cache"])
async def test_what_is_to_blame_is_restarted_and_everybody_can_see_it(
    tmp_path: Path, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, target: str | None
) -> None:
    recovery = Recovery("component", RecoveryAction.RESTART, target)
    async with watched(tmp_path, Cache(), recovery) as seen:
        await trio.sleep(40)
        assert len(seen.cache.starts) == 2
        assert 10 <= seen.cache.starts[1] - seen.cache.starts[0] <= 20
        assert seen.health.model.verdict.grade is Grade.HEALTHY
        name = f"restart {target or 'cache'}"
        assert seen.outcomes() == [(name, "done")]
        (note,) = seen.health.model.recoveries.notes
        assert note.because == "component cache: it is cold"
        assert health_section(seen.health)["recoveries"] == [asdict(note)], "viewers see it, too"
        reports = [one.report for one in seen.health.reports.entries if "recovery" in str(one.report.offender)]
        assert [one.kind for one in reports] == [ReportKind.CHILD_STARTED, ReportKind.CHILD_ENDED]
        assert {one.supervisor for one in reports} == {"health"}
        logged = [record.message for record in caplog.records]
        assert logged.index("recovery begins") < logged.index("recovery ended")


async def test_a_workspace_that_gave_up_is_opened_again_because_that_takes_nothing_from_anybody(tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    health = Health()
    health.model.settings = HealthSettings(CALM, examine_seconds=0.1)
    async with open_runtime("serve", registry=Registry(tmp_path / "state"), listener=health) as runtime:
        await health.start(runtime)
        opened = await runtime.workspace(tmp_path / "project")
        workspaces = runtime.root.child_value("workspaces")
        assert isinstance(workspaces, Supervisor)
        await workspaces.terminate_child(str(tmp_path / "project"))
        assert not opened.is_open
        await until(lambda: [one.outcome for one in health.model.recoveries.notes] == ["done"])
        assert opened.is_open
        assert health.model.recoveries.notes[0].what == f"reopen {tmp_path / 'project'}"
        # One whose database was removed is left to whoever calls it next, and must learn that: also if all was well.
        changed = health.model.verdict.at
        await until(lambda: health.model.verdict.at > changed and not health.model.verdict.reasons)
        opened.store.database.unlink()
        changed = health.model.verdict.at
        await until(lambda: health.model.verdict.at > changed and health.model.verdict.reasons)
        with pytest.raises(StoreLost):
            await runtime.workspace(tmp_path / "project")
        assert len(health.model.recoveries.notes) == 1


async def test_a_recovery_that_does_not_help_is_given_up_and_says_so(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with watched(tmp_path, Cache(cure=99), RESTART) as seen:
        await trio.sleep(3_000)
        begun = seen.cache.starts[0]
        pauses = [after - begun for after in seen.cache.starts[1:]]
        assert [round(pause / 60) for pause in pauses] == [0, 1, 3], "ten seconds, and twice as long each time"
        assert (
            "recovery restart",
            "it was tried 3 times within 3600 s in vain; look after it yourself",
        ) in seen.reasons()
        await trio.sleep(900)
        again = seen.cache.starts[1:]
        assert len(again) > 3
        assert all(later - earlier >= 3_600 for earlier, later in zip(again, again[3:], strict=False))


async def test_a_recovery_that_fails_does_not_loop_and_takes_nothing_down(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    recovery = Recovery("component", RecoveryAction.RESTART, "nowhere")
    async with watched(tmp_path, Cache(), recovery) as seen:
        await trio.sleep(3_000)
        outcomes = seen.outcomes()
        assert len(outcomes) == 3
        assert {what for what, _ in outcomes} == {"restart nowhere"}
        assert all("no part of the tree" in outcome for _, outcome in outcomes)
        crashed = [one.report for one in seen.health.reports.entries if one.report.kind is ReportKind.CHILD_CRASHED]
        assert len(crashed) == 3
        branch = seen.runtime.root.child_value("health")
        assert isinstance(branch, Supervisor)
        assert branch.statistics().intensity_used_ratio == 0.0
        assert not [child.id for child in branch.which_children() if child.id.startswith("recovery")]


async def test_a_recovery_ends_with_its_deadline(tmp_path: Path, autojump_clock: MockClock) -> None:
    recovery = Recovery("component", RecoveryAction.RESTART, deadline_seconds=7, most=1)
    async with watched(tmp_path, Cache(ends_after_seconds=500), recovery) as seen:
        await trio.sleep(60)
        assert seen.outcomes() == [("restart cache", "failed: it was not done within 7 s")]
        assert seen.health.model.recoveries.notes[0].seconds == pytest.approx(7)
        await trio.sleep(60)
        assert seen.health.model.verdict.at > 0, "and nobody waits for it"


async def test_a_name_that_looks_like_a_place_restarts_nobody_else(tmp_path: Path, autojump_clock: MockClock) -> None:
    hostile, bystander = Cache(), Cache()
    async with watched(tmp_path, Cache(cure=0), Recovery("component", RecoveryAction.RESTART)) as seen:
        doors, checks = seen.runtime.doors, seen.health.model.checks
        await doors.start_child(ChildSpec("bystander", bystander.run))
        await doors.start_child(checks.checked(ChildSpec("doors > bystander", hostile.run), hostile.how))
        await trio.sleep(40)
        assert seen.outcomes() == [("restart doors > bystander", "done")]
        assert (len(hostile.starts), len(bystander.starts)) == (2, 1)


async def test_a_recovery_that_was_called_off_before_it_began_keeps_no_other_from_beginning(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async def slow(*, task_status: trio.TaskStatus[None]) -> None:
        await trio.sleep(20)
        task_status.started()
        await trio.sleep_forever()

    recovery = Recovery("component", RecoveryAction.RESTART, for_seconds=0)
    async with watched(tmp_path, Cache(ill=False), recovery) as seen, trio.open_nursery() as nursery:
        model = seen.health.model
        model.settings = replace(model.settings, examine_seconds=100_000.0)
        await trio.sleep(5)
        seen.cache.ill = True
        branch = seen.runtime.root.child_value("health")
        assert isinstance(branch, Supervisor)
        nursery.start_soon(branch.start_child, ChildSpec("slow", slow))
        with trio.move_on_after(3) as patience:
            await model.examine()
        assert patience.cancelled_caught, "the branch was busy with another start"
        assert seen.outcomes() == [("restart cache", "failed: it was called off before it began")]
        await trio.sleep(200)
        await model.examine()
        await trio.sleep(1)
        assert seen.outcomes()[1:] == [("restart cache", "done")]


async def test_what_a_recovery_stopped_and_had_no_time_to_start_is_told_and_started(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    recovery = Recovery("component", RecoveryAction.RESTART, deadline_seconds=7, most=1)
    async with watched(tmp_path, Cache(ends_after_seconds=500), recovery) as seen:
        await trio.sleep(100)
        assert seen.outcomes() == [("restart cache", "failed: it was not done within 7 s")]
        assert ("recovery restart cache", "it stopped cache, which does not run again yet") in seen.reasons()
        assert seen.health.model.verdict.grade is Grade.UNHEALTHY
        await trio.sleep(600)
        assert seen.runtime.doors.which_child("cache").state is ChildState.RUNNING
        assert (len(seen.cache.starts), seen.reasons()) == (2, [])


async def test_what_does_not_start_again_is_tried_so_often_and_stays_a_reason(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    starts: list[float] = []

    async def once(*, task_status: trio.TaskStatus[None]) -> None:
        starts.append(trio.current_time())
        if len(starts) > 1:
            raise ValueError("it cannot start twice")
        task_status.started()
        await trio.sleep_forever()

    recovery = Recovery("component cache", RecoveryAction.RESTART, "once", most=2)
    async with watched(tmp_path, Cache(cure=5), recovery) as seen:
        await seen.runtime.doors.start_child(ChildSpec("once", once))
        await trio.sleep(1_000)
        assert len(starts) == 1 + 2 * (1 + 2), "each of two attempts, and twice after each"
        assert ("recovery restart once", "it stopped once, which does not run again yet") in seen.reasons()


async def test_a_name_that_several_have_is_no_target_and_a_subtree_is_one(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    starts: list[str] = []

    def subtree(name: str) -> ChildSpec:
        async def leaf(*, task_status: trio.TaskStatus[None]) -> None:
            starts.append(name)
            task_status.started()
            await trio.sleep_forever()

        return supervisor_spec(name, lambda: Supervisor([ChildSpec("leaf", leaf)], name=name))

    twice = Recovery("component", RecoveryAction.RESTART, "leaf", most=1)
    whole = Recovery("component", RecoveryAction.RESTART, "left", most=1)
    async with watched(tmp_path, Cache(), twice, whole) as seen:
        await seen.runtime.doors.start_child(subtree("left"))
        await seen.runtime.doors.start_child(subtree("right"))
        await trio.sleep(60)
        outcomes = dict(seen.outcomes())
        assert outcomes["restart leaf"].startswith("failed: 2 parts of the tree have the name 'leaf'.")
        assert "PARENT > CHILD" in outcomes["restart leaf"]
        assert outcomes["restart left"] == "done"
        assert starts == ["left", "right", "left"]


async def test_load_is_shed_while_the_reason_stands_and_not_longer(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with watched(tmp_path, Cache(), SHED) as seen:
        admission = seen.runtime.admission
        admission.refuse("orchestrator_plan_task")
        await trio.sleep(30)
        with pytest.raises(
            Overloaded, match=r"takes none for now: component is unhealthy. Call again in 10 s"
        ) as error:
            admission.refuse("orchestrator_plan_task")
        assert error.value.retry_seconds == 10
        assert ("recovery shed_load", "it is in force, because of component cache") in seen.reasons()
        await trio.sleep(600)
        assert admission.refuses
        seen.cache.ill = False
        await trio.sleep(30)
        admission.refuse("orchestrator_plan_task")
        assert seen.health.model.verdict.grade is Grade.HEALTHY
        assert [one.outcome for one in seen.health.model.recoveries.notes] == ["done", "undone"]
        assert admission.statistics().refused == 1


async def test_nobody_is_refused_for_ever_because_who_refused_is_gone(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with watched(tmp_path, Cache(), SHED) as seen:
        await trio.sleep(30)
        assert seen.runtime.admission.refuses
        await seen.runtime.root.terminate_child("health")
        assert not seen.runtime.admission.refuses
    breaker = Breaker(EVERYTHING)
    breaker.open("it is not well", 30, 10)
    await trio.sleep(29)
    assert breaker.is_open
    await trio.sleep(1)
    breaker.refuse("anything")
    assert (breaker.statistics().is_open, breaker.statistics().opened) == (False, 1)


async def test_a_client_is_refused_new_work_with_advice_and_may_go_on_with_the_rest(tmp_path: Path) -> None:
    with new_place() as place:
        async with open_runtime("serve", registry=place.registry) as runtime:
            server = build_server(Orchestrator(runtime, place.project), tool_set("full"))
            async with Client(server) as client:
                session = await succeed(client, "orchestrator_initialize_session")
                runtime.admission.breaker("orchestrator_plan_task").open("mailbox is unhealthy", 60, 10)
                plan = {"title": "a", "description": "b"}
                text = await refuse(client, "orchestrator_plan_task", "overloaded", **plan)
                assert "mailbox is unhealthy" in text
                assert "Next: Call again in 10 s; orchestrator_health_check tells how it stands." in text
                await succeed(client, "orchestrator_get_status")
                await refuse(client, "orchestrator_execute_task", "not_found", task_id="task_0")
                runtime.admission.breaker(EVERYTHING).open("disk is unhealthy", 60, 10)
                await refuse(client, "orchestrator_execute_task", "overloaded", task_id="task_0")
                for kind in (EVERYTHING, "orchestrator_plan_task"):
                    runtime.admission.breaker(kind).close()
                await succeed(client, "orchestrator_plan_task", **plan)
                assert session
