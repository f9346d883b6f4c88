"""What the catalogue says of loop, contexts, backoffs, phases and other workers comes from where it happens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio

from supervisors import Backoff, ChildSpec
from tests.health.kit import open_session, patient_scrapes, watched_runtime
from vespera_agents.actors import Actor, receives
from vespera_agents.context.packing import HeldContext
from vespera_agents.health.metrics.backlog import Backlog
from vespera_agents.health.metrics.labels import RuntimePhase
from vespera_agents.health.metrics.lifecycle import LifecycleFigures
from vespera_agents.health.metrics.measuring import context_values, life_values
from vespera_agents.health.metrics.windows import LoopLook
from vespera_agents.specialists.admission import Admission
from vespera_agents.specialists.roles import CONTEXT_TOKENS_MAX
from vespera_agents.specialists.specialist import TakeOver


async def test_a_child_that_waits_out_a_backoff_is_counted(tmp_path: Path) -> None:
    async def crash(*, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        raise RuntimeError("planned")

    async with watched_runtime(tmp_path) as watched:
        backoffs = 'vespera_supervisor_backoff_children{supervisor="doors"}'
        with patient_scrapes():
            assert (await watched.numbers())[backoffs] == 0
            await watched.runtime.doors.start_child(ChildSpec("slow", crash, backoff=Backoff(60.0, 60.0)))
            await trio.testing.wait_all_tasks_blocked()
            assert (await watched.numbers())[backoffs] == 1
            await watched.runtime.doors.terminate_child("slow")
            assert (await watched.numbers())[backoffs] == 0


async def test_the_loop_is_seen_as_its_watchdog_and_trio_count_it(tmp_path: Path) -> None:
    async with watched_runtime(tmp_path) as watched:
        with patient_scrapes():
            before = await watched.numbers()
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(trio.sleep_forever)
            with patient_scrapes():
                after = await watched.numbers()
            nursery.cancel_scope.cancel()
        figures = watched.health.watchdog.statistics()
    assert 0 < before["vespera_loop_ticks_total"] < after["vespera_loop_ticks_total"] <= figures.ticks
    assert 0 < after["vespera_loop_busy_seconds_total"] <= figures.busy_seconds
    assert after["vespera_loop_lag_seconds_count"] <= figures.lag.count
    assert after["vespera_trio_tasks_living"] - before["vespera_trio_tasks_living"] == 5
    assert after["vespera_worker_threads_used"] >= 1, "the scrape itself was asked for in a thread"


async def test_a_look_that_the_loop_does_not_answer_gives_the_last_one(tmp_path: Path) -> None:
    async with watched_runtime(tmp_path) as watched:
        look = LoopLook(watched.runtime.root, has_restarted=lambda: True)
        with patient_scrapes():
            seen = await trio.to_thread.run_sync(look.view)
        assert seen.used_ratios.keys() == {"root", "workspaces", "doors", "health"}
        assert look.view() is seen, "asked in the loop's own thread, where it cannot answer"
    assert look.view() is look.view(), "the loop has ended"


async def test_contexts_are_those_of_living_specialists(tmp_path: Path) -> None:
    async with watched_runtime(tmp_path) as watched:
        opened = await watched.workspace()
        session_id = await open_session(opened)
        session = await opened.session(session_id)
        empty = await watched.numbers()
        assert empty['vespera_context_tokens_limit{kind="tester"}'] == CONTEXT_TOKENS_MAX
        async with session.borrow(opened.role("tester")) as tester:
            await tester.ask(TakeOver(HeldContext(session_id, "task_1", "tester", 25_000, ())))
            found = await watched.numbers()
    assert empty['vespera_context_tokens_used_max{kind="tester"}'] == 0
    assert found['vespera_context_tokens_used_max{kind="tester"}'] == 25_000
    assert found['vespera_context_fill_ratio_max{kind="tester"}'] == pytest.approx(0.25)
    assert found['vespera_context_fill_ratio_max{kind="architect"}'] == 0


def test_roles_of_a_workspace_count_together_and_the_fullest_counts() -> None:
    facts: list[dict[str, str | int | float]] = [
        {"role": "poet", "context_tokens": 900, "context_tokens_max": 1_000},
        {"role": "painter", "context_tokens": 4_000, "context_tokens_max": 8_000},
    ]
    values = context_values(facts, {"other": 100_000, "tester": 5})
    assert values["vespera_context_tokens_used_max"] == {("other",): 4_000}
    assert values["vespera_context_tokens_limit"] == {("other",): 8_000, ("tester",): 5}
    assert values["vespera_context_fill_ratio_max"] == {("other",): 0.9}


def test_a_server_is_in_one_phase() -> None:
    life = LifecycleFigures()
    assert life.phase(draining=True, prepared=True) is RuntimePhase.STARTING
    life.serves(100.0)
    assert life.phase(draining=False, prepared=False) is RuntimePhase.RUNNING
    assert life.phase(draining=False, prepared=True) is RuntimePhase.PREPARED
    assert life.phase(draining=True, prepared=True) is RuntimePhase.DRAINING
    life.is_ending = True
    assert life.phase(draining=False, prepared=False) is RuntimePhase.STOPPING


@pytest.mark.parametrize(
    ("ended", "seconds"), [(None, None), (97.5, 2.5), (100.5, 0.0)], ids=["nobody died", "one died", "a clock set back"]
)
def test_recovery_is_the_time_from_a_death_to_serving(ended: float | None, seconds: float | None) -> None:
    life = LifecycleFigures()
    assert life.recovery_seconds is None
    life.serves(100.0, lambda: ended)
    assert life.recovery_seconds == seconds


def test_lives_and_restarts_of_other_workers_are_read_from_the_rows() -> None:
    life = LifecycleFigures()
    life.serves(100.0)
    front = type("Front", (), {"generation": 3})()
    sources: Any = type("Sources", (), {"lifecycle": life, "admission": Admission(), "front": front})()
    phases = (("start", 1.0), ("drain", 0.02), ("stop", 0.2), ("activate", 0.3))
    backlog = Backlog(
        generations=(("start", 1), ("restart", 2), ("unheard of", 1)),
        restarts=((2, phases), (3, (*phases[:3], ("activate", 0.7), ("new phase", 1.0))), (None, (("start", 3.0),))),
    )
    values = life_values(sources, [backlog, Backlog(generations=(("crash", 1),))])
    generations = {("start",): 1, ("restart",): 2, ("other",): 1, ("crash",): 1}
    assert values["vespera_front_generations_total"] == generations
    counted: Any = values["vespera_shutdown_phase_duration_seconds"]
    assert {name: each.count for (name,), each in counted.items()} == {
        "start": 3, "drain": 2, "stop": 2, "activate": 2, "other": 1,
    }  # fmt: skip
    assert values["vespera_recovery_duration_seconds"] == {(): 0.7}, "that of the restart which led to us"
    assert values["vespera_last_restart_timestamp_seconds"] == {(): 100.0}


class Sleeper(Actor):
    @receives
    async def on_seconds(self, message: float) -> None:
        await trio.sleep(message)


async def test_actors_with_work_are_counted_only_while_nothing_new_may_begin(tmp_path: Path) -> None:
    draining = "vespera_shutdown_draining_actors"
    async with watched_runtime(tmp_path) as watched:
        refs = [await watched.runtime.system.start(Sleeper) for _ in range(3)]
        refs[0].tell(60.0)
        assert (await watched.numbers())[draining] == 0
        watched.runtime.admission.prepare(1.0)
        assert (await watched.numbers())[draining] == 1
        watched.runtime.admission.undo()
        assert (await watched.numbers())[draining] == 0
