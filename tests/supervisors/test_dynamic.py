"""The dynamic supervisor beyond OTP's cases: its limit, its ids, its place in a tree."""

from __future__ import annotations

from contextlib import suppress
from functools import partial

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from supervisors import (
    ChildSpec,
    DynamicSupervisor,
    Restart,
    SpecError,
    StartFailed,
    Supervisor,
    SupervisorError,
    SupervisorNotRunning,
    TooManyChildren,
    render_tree,
    supervisor_spec,
)
from tests.supervisors.otp import RESTARTING, RUNNING, spec, states, waiting


async def test_it_has_at_most_max_children_those_that_restart_included(autojump_clock, theatre, running):
    """Elixir: start_child returns max_children; restarting ones count."""
    supervisor = DynamicSupervisor(spec("c", theatre.play), name="s", max_children=2, intensity=10_000)
    async with running(supervisor):
        first, second = await supervisor.start_child("a"), await supervisor.start_child("b")
        with pytest.raises(TooManyChildren, match="has its 2 children") as caught:
            await supervisor.start_child("c")
        assert (caught.value.supervisor, caught.value.children_max) == ("s", 2)
        theatre.starts["a"].extend([ValueError("not yet")] * 1_000)
        theatre.cue("a", ValueError("crash"))
        for _ in range(20):
            await trio.lowlevel.checkpoint()
        assert states(supervisor) == {first.id: RESTARTING, second.id: RUNNING}
        with pytest.raises(TooManyChildren):
            await supervisor.start_child("c")
        await supervisor.terminate_child(first.id)
        await supervisor.start_child("c")
        await wait_all_tasks_blocked()


async def test_a_start_that_fails_or_is_ignored_takes_no_place(autojump_clock, theatre, running):
    supervisor = DynamicSupervisor(spec("c", theatre.play), name="s", max_children=1)
    async with running(supervisor):
        theatre.starts["a"].append(ValueError("no"))
        with pytest.raises(StartFailed):
            await supervisor.start_child("a")
        await supervisor.start_child("a")


async def test_a_limit_of_zero_allows_none_and_no_number_is_refused(autojump_clock, running):
    supervisor = DynamicSupervisor(spec("c"), name="s", max_children=0)
    async with running(supervisor):
        with pytest.raises(TooManyChildren):
            await supervisor.start_child()
    for faulty in (-1, 1.5, True):
        with pytest.raises(SpecError, match="max_children is a whole number"):
            DynamicSupervisor(spec("c"), name="s", max_children=faulty)
    with pytest.raises(SpecError, match="described by a ChildSpec"):
        DynamicSupervisor(waiting, name="s", max_children=None)


async def test_an_id_is_never_used_twice(autojump_clock, running):
    supervisor = DynamicSupervisor(spec("c", restart=Restart.TEMPORARY), name="s", max_children=None)
    async with running(supervisor):
        seen = set()
        for _ in range(3):
            started = await supervisor.start_child()
            seen.add(started.id)
            await supervisor.terminate_child(started.id)
    assert seen == {"c:1", "c:2", "c:3"}


async def test_it_stands_in_a_tree_like_any_other_supervisor(autojump_clock, running, recorder):
    def pool():
        return DynamicSupervisor(ChildSpec("worker", waiting), name="pool", max_children=None)

    root = Supervisor([supervisor_spec("pool", pool)], name="root", listener=recorder)
    async with running(root):
        await root.child_value("pool").start_child("value")
        assert [line.split()[:2] for line in render_tree(root.snapshot()).splitlines()] == [
            ["root", "running"],
            ["└─", "pool"],
            ["└─", "worker:1"],
        ]
    assert {r.supervisor for r in recorder.reports} == {"root", "pool"}


async def test_what_is_no_spec_or_no_flag_is_refused_in_the_callers_task(autojump_clock, running):
    ordered = Supervisor(name="o")
    dynamic = DynamicSupervisor(spec("c"), name="d", max_children=None)
    async with running(ordered), running(dynamic):
        with pytest.raises(SpecError, match="described by a ChildSpec"):
            await ordered.start_child("no spec")
        for supervisor in (ordered, dynamic):
            with pytest.raises(TypeError):
                await supervisor.change(no_flag=1)
            assert supervisor.statistics().state == "running"


@pytest.mark.parametrize("kind", ["first start", "quick restart", "slow restart"])
@pytest.mark.parametrize("ordered", [True, False])
async def test_a_supervisor_can_be_stopped_in_the_middle_of_any_start(autojump_clock, running, kind, ordered):
    lives = []

    async def child(*, task_status):
        lives.append(1)
        if kind == "first start" or len(lives) > 1:
            await trio.sleep(20)
        task_status.started()
        await crash.wait()
        raise ValueError

    crash = trio.Event()
    if ordered:
        supervisor = Supervisor(name="s")
        start = partial(supervisor.start_child, spec("c", child))
    else:
        supervisor = DynamicSupervisor(spec("c", child), name="s", max_children=None)
        start = supervisor.start_child

    async def start_one():
        with suppress(SupervisorNotRunning):
            await start()

    async with trio.open_nursery() as nursery, running(supervisor) as run:
        nursery.start_soon(start_one)
        await wait_all_tasks_blocked()
        crash.set()
        await wait_all_tasks_blocked()
        if kind == "slow restart":
            nursery.start_soon(call_for_nobody, supervisor)  # It wakes the supervisor, which then waits for the start.
            await wait_all_tasks_blocked()
        supervisor.stop()
        with trio.fail_after(10):
            await run.over.wait()
    assert len(lives) == (1 if kind == "first start" else 2)
    assert (supervisor.statistics().forced, supervisor.statistics().fenced) == (0, 0)
    assert trio.current_time() == 0


async def call_for_nobody(supervisor):
    with suppress(SupervisorError):
        await supervisor.terminate_child("nobody")
