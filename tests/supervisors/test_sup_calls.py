"""The calls of a running supervisor: what each answers in each state, and who may interrupt it."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from supervisors import (
    AlreadyPresent,
    AlreadyStarted,
    ChildNotFound,
    ChildNotRunning,
    ChildRestarting,
    ChildRunning,
    ChildSpec,
    ChildState,
    ChildType,
    Restart,
    SpecError,
    StartedChild,
    StartFailed,
    Supervisor,
    SupervisorNotRunning,
)


async def test_the_whole_life_of_a_child_by_calls(autojump_clock, theatre, running):
    """OTP: child_adm."""
    supervisor = Supervisor(name="s")
    async with running(supervisor):
        assert supervisor.which_children() == ()
        assert await supervisor.start_child(theatre.spec("a")) == StartedChild("a", "value of a", 1)
        with pytest.raises(AlreadyStarted):
            await supervisor.start_child(theatre.spec("a"))
        with pytest.raises(ChildRunning):
            await supervisor.restart_child("a")
        with pytest.raises(ChildRunning):
            await supervisor.delete_child("a")
        await supervisor.terminate_child("a")
        await supervisor.terminate_child("a")
        assert supervisor.which_children()[0].state is ChildState.DOWN
        with pytest.raises(AlreadyPresent):
            await supervisor.start_child(theatre.spec("a"))
        with pytest.raises(ChildNotRunning):
            supervisor.child_value("a")
        assert await supervisor.restart_child("a") == StartedChild("a", "value of a", 2)
        await supervisor.terminate_child("a")
        await supervisor.delete_child("a")
        assert supervisor.which_children() == ()
    assert theatre.log == ["+a", "-a", "+a", "-a"]


@pytest.mark.parametrize("call", ["terminate_child", "restart_child", "delete_child"])
async def test_a_call_for_a_child_nobody_knows_says_so(autojump_clock, running, call):
    supervisor = Supervisor(name="s")
    async with running(supervisor):
        with pytest.raises(ChildNotFound, match="which_children"):
            await getattr(supervisor, call)("nobody")
        with pytest.raises(ChildNotFound):
            supervisor.child_value("nobody")
        with pytest.raises(ChildNotFound):
            supervisor.crash_history("nobody")


async def test_start_child_that_fails_keeps_no_spec(autojump_clock, theatre, running):
    """OTP: sup_start_child_returns_error."""
    theatre.starts["a"].append(ValueError("no"))
    supervisor = Supervisor(name="s")
    async with running(supervisor):
        with pytest.raises(StartFailed) as caught:
            await supervisor.start_child(theatre.spec("a"))
        assert isinstance(caught.value.__cause__, ValueError)
        assert supervisor.which_children() == ()
        assert (await supervisor.start_child(theatre.spec("a"))).value == "value of a"
        assert supervisor.statistics().start_failures == 1


async def test_restart_child_that_fails_keeps_the_spec(autojump_clock, theatre, running):
    """OTP: sup_start_restart_child_returns_error."""
    supervisor = Supervisor([theatre.spec("a")], name="s")
    async with running(supervisor):
        await supervisor.terminate_child("a")
        theatre.starts["a"].append(ValueError("no"))
        with pytest.raises(StartFailed):
            await supervisor.restart_child("a")
        assert supervisor.which_children()[0].state is ChildState.DOWN
        assert len(supervisor.crash_history("a")) == 1
        assert (await supervisor.restart_child("a")).incarnation == 3


async def test_a_faulty_spec_is_refused_and_the_supervisor_lives(autojump_clock, theatre, running):
    supervisor = Supervisor(name="s")
    async with running(supervisor):
        with pytest.raises(SpecError):
            await supervisor.start_child(theatre.spec("a", Restart.TRANSIENT, significant=True))
        await supervisor.start_child(theatre.spec("a"))


async def test_terminate_of_a_temporary_child_deletes_it(autojump_clock, theatre, running):
    supervisor = Supervisor([theatre.spec("a", Restart.TEMPORARY)], name="s")
    async with running(supervisor):
        await supervisor.terminate_child("a")
        assert supervisor.which_children() == ()


async def test_which_children_shows_id_state_type_and_value(autojump_clock, theatre, running):
    """OTP: which_children."""
    supervisor = Supervisor([theatre.spec("a"), theatre.spec("b", type=ChildType.SUPERVISOR)], name="s")
    async with running(supervisor):
        await supervisor.terminate_child("b")
        answers = [(info.id, info.state, info.type, info.value) for info in supervisor.which_children()]
        assert answers == [("a", "running", "worker", "value of a"), ("b", "down", "supervisor", None)]


async def test_count_children_counts_a_thousand(autojump_clock, running):
    """OTP: count_children, count_children_supervisor."""

    async def child(*, task_status):
        task_status.started()
        await trio.sleep_forever()

    specs = [ChildSpec(f"w{n}", child) for n in range(1000)]
    specs += [ChildSpec(f"s{n}", child, type=ChildType.SUPERVISOR) for n in range(100)]
    supervisor = Supervisor(specs, name="s")
    async with running(supervisor):
        await supervisor.terminate_child("w0")
        counts = supervisor.count_children()
        assert (counts.specs, counts.active, counts.supervisors, counts.workers) == (1100, 1099, 100, 1000)


async def test_a_restarting_child_is_neither_active_nor_deletable(autojump_clock, theatre, running):
    """OTP: count_restarting_children, hanging_restart_loop."""
    supervisor = Supervisor([theatre.spec("a"), theatre.spec("b")], name="s", intensity=10_000)
    async with running(supervisor):
        theatre.starts["a"].extend([ValueError("not yet")] * 5_000)
        theatre.cue("a", ValueError("crash"))
        for _ in range(20):
            await trio.lowlevel.checkpoint()
        # Calls are served between the attempts, in the order they came.
        with pytest.raises(ChildRestarting):
            await supervisor.restart_child("a")
        with pytest.raises(ChildRestarting):
            await supervisor.delete_child("a")
        with pytest.raises(AlreadyStarted):
            await supervisor.start_child(theatre.spec("a"))
        assert supervisor.which_children()[0].state is ChildState.RESTARTING
        assert (supervisor.count_children().specs, supervisor.count_children().active) == (2, 1)
        await supervisor.start_child(theatre.spec("c"))
        await supervisor.terminate_child("a")
        assert supervisor.which_children()[0].state is ChildState.DOWN
        tried = len(supervisor.crash_history("a"))
        await trio.sleep(60)
        assert supervisor.which_children()[0].state is ChildState.DOWN
        assert len(supervisor.crash_history("a")) == tried
        await supervisor.delete_child("a")


async def test_a_supervisor_that_retries_a_start_can_be_stopped(autojump_clock, theatre, running):
    """OTP: hanging_restart_loop."""
    supervisor = Supervisor([theatre.spec("a")], name="s", intensity=10**9)
    async with running(supervisor) as run:
        theatre.starts["a"].extend([ValueError("never")] * 100_000)
        theatre.cue("a", ValueError("crash"))
        for _ in range(50):
            await trio.lowlevel.checkpoint()
        supervisor.stop()
        await run.over.wait()
    assert run.error is None
    assert supervisor.statistics().start_failures > 1


async def test_a_call_that_is_cancelled_before_it_began_is_withdrawn(autojump_clock, theatre, running):
    async def slow(*, task_status):
        await trio.sleep(5)
        task_status.started()
        await trio.sleep_forever()

    supervisor = Supervisor(name="s")
    async with running(supervisor), trio.open_nursery() as nursery:
        nursery.start_soon(supervisor.start_child, ChildSpec("slow", slow))
        await wait_all_tasks_blocked()
        with trio.move_on_after(1):
            await supervisor.start_child(theatre.spec("withdrawn"))
        await supervisor.start_child(theatre.spec("after"))
        assert [info.id for info in supervisor.which_children()] == ["slow", "after"]


async def test_a_call_that_has_begun_is_finished_although_its_caller_is_cancelled(autojump_clock, running):
    async def slow(*, task_status):
        await trio.sleep(5)
        task_status.started("up")
        await trio.sleep_forever()

    supervisor = Supervisor(name="s")
    async with running(supervisor):
        with trio.move_on_after(1):
            await supervisor.start_child(ChildSpec("slow", slow))
        await trio.sleep(5)
        assert supervisor.child_value("slow") == "up"


async def test_waiting_calls_are_refused_when_the_supervisor_ends(autojump_clock, theatre, running):
    async def slow(*, task_status):
        await trio.sleep(50)

    refused = []

    async def call(spec):
        with pytest.raises(SupervisorNotRunning):
            await supervisor.start_child(spec)
        refused.append(spec.id)

    supervisor = Supervisor(name="s")
    async with trio.open_nursery() as nursery, running(supervisor) as run:
        nursery.start_soon(call, ChildSpec("slow", slow))
        await wait_all_tasks_blocked()
        nursery.start_soon(call, theatre.spec("waiting"))
        await wait_all_tasks_blocked()
        supervisor.stop()
        await run.over.wait()
    assert sorted(refused) == ["slow", "waiting"]
    assert theatre.log == []


async def test_a_child_may_terminate_itself(autojump_clock, running):
    """OTP: child_unlink - a child cannot hang its supervisor."""

    async def suicidal(*, task_status):
        task_status.started()
        await supervisor.terminate_child("a")

    supervisor = Supervisor([ChildSpec("a", suicidal)], name="s")
    async with running(supervisor):
        await wait_all_tasks_blocked()
        assert supervisor.which_children()[0].state is ChildState.DOWN


async def test_terminate_before_the_supervisor_has_seen_an_end_wins_over_the_restart(autojump_clock, theatre, running):
    supervisor = Supervisor([theatre.spec("a")], name="s")
    gate = trio.Event()

    async def slow(*, task_status):
        await gate.wait()
        task_status.started()
        await trio.sleep_forever()

    async with running(supervisor), trio.open_nursery() as nursery:
        nursery.start_soon(supervisor.start_child, ChildSpec("slow", slow))
        await wait_all_tasks_blocked()
        nursery.start_soon(supervisor.terminate_child, "a")
        await wait_all_tasks_blocked()
        await theatre.crash("a")
        # Its end is not decided upon while the supervisor waits for "slow": until then it counts as alive.
        assert supervisor._life.roster.get("a").alive
        gate.set()
        await wait_all_tasks_blocked()
        assert [info.state for info in supervisor.which_children()] == ["down", "running"]
        assert supervisor.statistics().restarts == {}


async def test_restart_child_before_the_supervisor_has_seen_an_end_is_refused(autojump_clock, theatre, running):
    supervisor = Supervisor([theatre.spec("a")], name="s")
    async with running(supervisor):
        theatre.cue("a", ValueError("crash"))
        # No checkpoint in between: this call is in the inbox before the end of the child is.
        with pytest.raises(ChildRunning):
            await supervisor.restart_child("a")
        await wait_all_tasks_blocked()
        assert supervisor.snapshot().children[0].incarnation == 2
