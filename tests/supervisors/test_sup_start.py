"""Starting: in order, one after the other, each until it is ready; error, ignore and timeout are three things."""

from __future__ import annotations

import contextvars
import gc
import weakref

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from supervisors import (
    ChildNotFound,
    ChildSpec,
    ChildState,
    ExitKind,
    Ignore,
    ReportKind,
    Restart,
    StartFailed,
    Supervisor,
    SupervisorNotRunning,
)


def states(supervisor):
    return {info.id: info.state for info in supervisor.which_children()}


async def test_children_start_in_order_each_after_the_one_before_is_ready(autojump_clock, running):
    """OTP: sup_start_normal."""
    log = []

    async def slow(name, *, task_status):
        log.append(f"{name} begins")
        await trio.sleep(1)
        log.append(f"{name} ready")
        task_status.started()
        await trio.sleep_forever()

    supervisor = Supervisor([ChildSpec(name, slow, args=(name,)) for name in "abc"], name="s")
    began = trio.current_time()
    async with running(supervisor):
        assert log == ["a begins", "a ready", "b begins", "b ready", "c begins", "c ready"]
        assert trio.current_time() - began == pytest.approx(3)


async def test_nursery_start_returns_the_supervisor_itself(autojump_clock, theatre):
    supervisor = Supervisor([theatre.spec("a")], name="s")
    async with trio.open_nursery() as nursery:
        assert await nursery.start(supervisor.run) is supervisor
        assert supervisor.child_value("a") == "value of a"
        nursery.cancel_scope.cancel()
    assert theatre.log == ["+a", "-a"]


async def test_a_child_that_raises_ignore_is_kept_and_not_running(autojump_clock, theatre, running, recorder):
    """OTP: sup_start_ignore_child."""
    theatre.starts["b"].append(Ignore())
    supervisor = Supervisor([theatre.spec(name) for name in "abc"], name="s", listener=recorder)
    async with running(supervisor):
        assert states(supervisor) == {"a": "running", "b": "down", "c": "running"}
        counts = supervisor.count_children()
        assert (counts.specs, counts.active) == (3, 2)
        assert supervisor.statistics().ignored == 1
        assert supervisor.crash_history("b") == ()
        assert [report.offender.id for report in recorder.of(ReportKind.CHILD_IGNORED)] == ["b"]
        assert (await supervisor.restart_child("b")).value == "value of b"


@pytest.mark.parametrize("answer", [Ignore, Ignore("not on this machine")])
async def test_a_child_may_answer_ignore_to_started_instead_of_raising(autojump_clock, running, answer):
    async def child(*, task_status):
        task_status.started(answer)
        await trio.sleep_forever()

    supervisor = Supervisor([ChildSpec("a", child)], name="s")
    async with running(supervisor):
        assert states(supervisor) == {"a": "down"}
        assert supervisor.statistics().ignored == 1


async def test_an_ignored_temporary_child_is_not_recorded(autojump_clock, theatre, running):
    """OTP: sup_start_ignore_temporary_child."""
    theatre.starts["a"].append(Ignore())
    supervisor = Supervisor([theatre.spec("a", Restart.TEMPORARY), theatre.spec("b")], name="s")
    async with running(supervisor):
        assert states(supervisor) == {"b": "running"}


async def test_start_child_of_an_ignored_temporary_child_says_so_and_records_nothing(autojump_clock, theatre, running):
    """OTP: sup_start_ignore_temporary_child_start_child."""
    theatre.starts["a"].append(Ignore())
    supervisor = Supervisor(name="s")
    async with running(supervisor):
        started = await supervisor.start_child(theatre.spec("a", Restart.TEMPORARY))
        assert (started.ignored, started.value) == (True, None)
        assert supervisor.which_children() == ()


async def test_start_child_of_an_ignored_permanent_child_keeps_the_spec(autojump_clock, theatre, running):
    theatre.starts["a"].append(Ignore())
    supervisor = Supervisor(name="s")
    async with running(supervisor):
        assert (await supervisor.start_child(theatre.spec("a"))).ignored
        assert states(supervisor) == {"a": "down"}


async def test_a_failed_start_stops_the_started_ones_in_reverse_and_leaks_nothing(autojump_clock, theatre, recorder):
    """OTP: sup_start_fail, sup_start_error_return."""
    theatre.starts["c"].append(ValueError("no port"))
    supervisor = Supervisor([theatre.spec(name) for name in "abcd"], name="s", listener=recorder)
    tasks_before = trio.lowlevel.current_statistics().tasks_living
    with pytest.raises(StartFailed, match=r"'c' failed to start \(start_error\): ValueError: no port") as caught:
        await supervisor.run()
    assert theatre.log == ["+a", "+b", "!c", "-b", "-a"]
    assert trio.lowlevel.current_statistics().tasks_living == tasks_before
    assert isinstance(caught.value.__cause__, ValueError)
    assert (caught.value.child_id, caught.value.exit.kind) == ("c", ExitKind.START_ERROR)
    assert recorder.kinds()[2:] == ["start_failed", "child_ended", "child_ended", "supervisor_stopped"]


async def test_a_failed_start_comes_out_of_nursery_start_as_itself(autojump_clock, theatre):
    theatre.starts["a"].append(ValueError("no port"))
    async with trio.open_nursery() as nursery:
        with pytest.raises(StartFailed):
            await nursery.start(Supervisor([theatre.spec("a")], name="s").run)


async def test_a_child_that_ends_without_being_ready_has_failed_to_start(autojump_clock, outcome):
    async def child(*, task_status):
        pass

    error = await outcome(Supervisor([ChildSpec("a", child)], name="s"))
    assert isinstance(error, StartFailed)
    assert "call it once the child is ready" in str(error)


async def test_a_start_that_is_no_async_function_has_failed_to_start(autojump_clock, outcome):
    def child(*, task_status):
        task_status.started()

    error = await outcome(Supervisor([ChildSpec("a", child)], name="s"))
    # It said that it was ready and then could not be awaited: a crash, restarted until that is too much.
    assert "MaxRestartsExceeded" in type(error).__name__
    error = await outcome(Supervisor([ChildSpec("a", lambda **_: None)], name="s"))
    assert isinstance(error, StartFailed)
    assert "TypeError" in str(error)


async def test_a_child_that_is_late_is_stopped_and_that_is_a_start_timeout(autojump_clock, theatre, outcome, recorder):
    async def late(*, task_status):
        await trio.sleep(60)
        task_status.started()

    specs = [theatre.spec("a"), ChildSpec("late", late, start_timeout_seconds=10)]
    began = trio.current_time()
    error = await outcome(Supervisor(specs, name="s", listener=recorder))
    assert isinstance(error, StartFailed)
    assert error.exit.kind is ExitKind.START_TIMEOUT
    assert "not ready within 10 s" in str(error)
    assert trio.current_time() - began == pytest.approx(10)
    assert theatre.log == ["+a", "-a"]
    assert [r.exit.kind for r in recorder.of(ReportKind.START_FAILED)] == [ExitKind.START_TIMEOUT]


async def test_a_late_child_that_says_ready_while_it_is_being_stopped_is_not_heard(autojump_clock, outcome):
    async def late(*, task_status):
        try:
            await trio.sleep(60)
        finally:
            task_status.started()

    error = await outcome(Supervisor([ChildSpec("late", late, start_timeout_seconds=1)], name="s"))
    assert error.exit.kind is ExitKind.START_TIMEOUT


@pytest.mark.parametrize("nothing_stops_it", [False, True])
async def test_a_late_child_is_stopped_by_force_or_fenced_and_the_start_has_failed(
    autojump_clock, outcome, recorder, stubborn, undying, nothing_stops_it
):
    async def deaf(*, task_status):
        await (undying if nothing_stops_it else stubborn)(100, task_status=trio.TASK_STATUS_IGNORED)

    spec = ChildSpec("deaf", deaf, start_timeout_seconds=1, shutdown_seconds=2)
    error = await outcome(Supervisor([spec], name="s", listener=recorder))
    assert error.exit.kind is ExitKind.START_TIMEOUT
    fenced = ["child_fenced", "start_failed", "zombies_left", "supervisor_stopped", "zombie_ended"]
    assert recorder.kinds() == (fenced if nothing_stops_it else ["start_failed", "supervisor_stopped"])


async def test_a_crash_in_the_same_step_as_ready_is_a_crash_and_not_a_failed_start(autojump_clock, running):
    lives = []

    async def child(*, task_status):
        lives.append(1)
        task_status.started("value")
        if len(lives) == 1:
            raise ValueError("at once")
        await trio.sleep_forever()

    supervisor = Supervisor([ChildSpec("a", child)], name="s")
    async with running(supervisor):
        await wait_all_tasks_blocked()
        assert supervisor.statistics().start_failures == 0
        assert supervisor.snapshot().children[0].restarts == 1
        assert supervisor.crash_history("a")[0].kind is ExitKind.CRASHED


async def test_started_twice_is_a_crash_that_says_so(autojump_clock, running):
    async def child(*, task_status):
        task_status.started()
        task_status.started()

    supervisor = Supervisor([ChildSpec("a", child, restart=Restart.TRANSIENT)], name="s", intensity=0)
    async with running(supervisor) as run:
        await run.over.wait()
    assert "started() was called twice" in str(run.error)


async def test_a_supervisor_runs_once(autojump_clock, theatre, outcome):
    supervisor = Supervisor(name="s")
    supervisor.stop()
    await supervisor.run()
    with pytest.raises(RuntimeError, match="make a new one"):
        await supervisor.run()


async def test_calls_before_and_after_its_life_are_refused(autojump_clock, theatre, running):
    supervisor = Supervisor(name="s")
    with pytest.raises(SupervisorNotRunning, match="is new"):
        await supervisor.start_child(theatre.spec("a"))
    async with running(supervisor):
        pass
    with pytest.raises(SupervisorNotRunning, match="is stopped"):
        await supervisor.terminate_child("a")
    assert supervisor.which_children() == ()


async def test_a_call_during_the_start_waits_until_all_are_up(autojump_clock, theatre):
    async def slow(*, task_status):
        await trio.sleep(5)
        task_status.started()
        await trio.sleep_forever()

    supervisor = Supervisor([ChildSpec("slow", slow)], name="s")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(supervisor.run)
        await trio.sleep(1)
        assert states(supervisor) == {"slow": ChildState.STARTING}
        await supervisor.start_child(theatre.spec("a"))
        assert states(supervisor) == {"slow": "running", "a": "running"}
        supervisor.stop()


async def test_stop_during_the_start_stops_what_was_started(autojump_clock, theatre):
    async def slow(*, task_status):
        await trio.sleep(5)

    supervisor = Supervisor([theatre.spec("a"), ChildSpec("slow", slow)], name="s")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(supervisor.run)
        await trio.sleep(1)
        supervisor.stop()
    assert theatre.log == ["+a", "-a"]


variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


async def test_each_life_starts_with_the_context_of_its_spec(autojump_clock, running):
    seen = []

    async def child(*, task_status):
        seen.append(variable.get())
        variable.set("changed by a life")
        task_status.started()
        await trio.sleep(1)
        raise ValueError

    variable.set("where the spec was made")
    spec = ChildSpec("a", child)
    variable.set("somewhere else")
    async with running(Supervisor([spec], name="s", intensity=100)):
        await trio.sleep(2.5)
    assert seen == ["where the spec was made"] * 3


async def test_the_arguments_of_a_temporary_child_are_not_kept(autojump_clock, running):
    """OTP: do_not_save_start_parameters_for_temporary_children."""

    class Large:
        pass

    async def child(large, *, task_status):
        del large
        task_status.started()
        await trio.sleep_forever()

    watched = {}

    def spec(restart):
        large = Large()
        watched[restart] = weakref.ref(large)
        return ChildSpec(restart.value, child, args=(large,), restart=restart)

    supervisor = Supervisor([spec(Restart.TEMPORARY), spec(Restart.PERMANENT)], name="s")
    async with running(supervisor):
        gc.collect()
        assert watched[Restart.TEMPORARY]() is None
        assert watched[Restart.PERMANENT]() is not None


async def test_a_started_temporary_child_is_forgotten_when_it_ends(autojump_clock, theatre, running):
    """OTP: do_not_save_child_specs_for_temporary_children."""
    supervisor = Supervisor([theatre.spec("a", Restart.TEMPORARY)], name="s")
    async with running(supervisor):
        await theatre.finish("a")
        assert supervisor.which_children() == ()
        with pytest.raises(ChildNotFound):
            await supervisor.restart_child("a")
