"""Stopping: in reverse order, each within its own time, whoever asks for it and whatever the children do."""

from __future__ import annotations

import math
from contextlib import suppress

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from supervisors import ChildSpec, ExitKind, ReportKind, Restart, Supervisor, SupervisorNotRunning


async def slow_to_stop(log, name, seconds, *, task_status):
    task_status.started()
    try:
        await trio.sleep_forever()
    finally:
        with trio.CancelScope(shield=True):
            await trio.sleep(seconds)
        log.append(name)


@pytest.mark.parametrize("how", ["stop", "cancel"])
async def test_children_stop_one_by_one_in_reverse_order(autojump_clock, how):
    log = []
    specs = [ChildSpec(name, slow_to_stop, args=(log, name, 1)) for name in "abc"]
    supervisor = Supervisor(specs, name="s")
    async with trio.open_nursery() as nursery:
        await nursery.start(supervisor.run)
        began = trio.current_time()
        if how == "stop":
            supervisor.stop()
        else:
            nursery.cancel_scope.cancel()
    assert log == ["c", "b", "a"]
    assert trio.current_time() - began == pytest.approx(3)


async def test_a_child_with_infinite_time_is_waited_for(autojump_clock, running):
    """OTP: sup_stop_infinity."""
    log = []
    spec = ChildSpec("a", slow_to_stop, args=(log, "a", 3600), shutdown_seconds=math.inf)
    async with running(Supervisor([spec], name="s")):
        pass
    assert log == ["a"]


async def test_a_child_that_nothing_stops_is_fenced_after_its_time_and_the_others_stop(
    autojump_clock, theatre, running, recorder, undying
):
    specs = [
        theatre.spec("a"),
        ChildSpec("stubborn", undying, args=(100,), shutdown_seconds=2),
        theatre.spec("c"),
    ]
    supervisor = Supervisor(specs, name="s", listener=recorder)
    async with running(supervisor):
        began = trio.current_time()
    fenced = recorder.of(ReportKind.CHILD_FENCED)
    assert [(report.offender.id, report.at - began) for report in fenced] == [("stubborn", pytest.approx(3))]
    assert fenced[0].exit.kind is ExitKind.FENCED
    assert "still running 3 s after it was asked to stop" in fenced[0].reason
    assert theatre.log == ["+a", "+c", "-c", "-a"]
    stopped = recorder.of(ReportKind.SUPERVISOR_STOPPED)[0]
    assert stopped.at - began == pytest.approx(3)
    assert recorder.kinds()[-3:] == ["zombies_left", "supervisor_stopped", "zombie_ended"]
    assert supervisor.statistics().zombies == 0


async def test_a_fenced_child_is_replaced_and_no_longer_heard(autojump_clock, running, recorder):
    release = trio.Event()
    lives = []

    async def child(*, task_status):
        lives.append(len(lives) + 1)
        mine = lives[-1]
        task_status.started(f"life {mine}")
        if mine == 1:
            while not release.is_set():
                with suppress(BaseException), trio.CancelScope(shield=True):
                    await release.wait()
            raise ValueError("the zombie's last words")
        await trio.sleep_forever()

    supervisor = Supervisor([ChildSpec("a", child, shutdown_seconds=1)], name="s", listener=recorder)
    async with running(supervisor):
        await supervisor.terminate_child("a")
        assert (supervisor.statistics().fenced, supervisor.statistics().zombies) == (1, 1)
        started = await supervisor.restart_child("a")
        assert (started.value, started.incarnation) == ("life 2", 2)
        release.set()
        await wait_all_tasks_blocked()
        assert supervisor.child_value("a") == "life 2"
        assert (supervisor.statistics().fenced, supervisor.statistics().zombies) == (1, 0)
        assert [report.offender.incarnation for report in recorder.of(ReportKind.ZOMBIE_ENDED)] == [1]
        assert recorder.of(ReportKind.CHILD_CRASHED) == []


async def test_a_brutally_killed_child_is_not_waited_for(autojump_clock, running, recorder):
    """OTP: sup_stop_brutal_kill."""
    log = []
    specs = [
        ChildSpec("quick", slow_to_stop, args=(log, "quick", 0), shutdown_seconds=0.0),
        ChildSpec("slow", slow_to_stop, args=(log, "slow", 60), shutdown_seconds=0.0),
    ]
    async with running(Supervisor(specs, name="s", listener=recorder)):
        began = trio.current_time()
    kinds = {report.offender.id: report.exit.kind for report in recorder.reports if report.exit}
    assert kinds == {"quick": ExitKind.KILLED, "slow": ExitKind.KILLED}
    assert recorder.of(ReportKind.SUPERVISOR_STOPPED)[0].at - began < 1
    assert log == ["quick"]


async def test_children_that_end_by_themselves_during_the_stop_do_no_harm(autojump_clock, theatre, running):
    """OTP: sup_stop_race."""
    log = []
    specs = [theatre.spec("a"), theatre.spec("b"), ChildSpec("slow", slow_to_stop, args=(log, "slow", 2))]
    supervisor = Supervisor(specs, name="s")
    async with running(supervisor) as run, trio.open_nursery() as nursery:
        supervisor.stop()

        async def end_by_themselves():
            await trio.sleep(1)
            theatre.cue("a", None)
            theatre.cue("b", ValueError("in the middle of the stop"))

        nursery.start_soon(end_by_themselves)
        await run.over.wait()
    assert run.error is None
    assert sorted(theatre.log) == ["+a", "+b", "-a", "-b"]


async def raise_at_stop(*, task_status):
    task_status.started()
    try:
        await trio.sleep_forever()
    finally:
        raise KeyError("at stop")


async def hide_at_stop(go, *, task_status):
    task_status.started()
    await go.wait()
    try:
        raise KeyError("hidden")
    finally:
        await trio.sleep(1)


async def test_an_error_during_the_stop_is_reported_and_stopping_goes_on(autojump_clock, theatre, running, recorder):
    specs = [theatre.spec("a"), ChildSpec("bad", raise_at_stop), theatre.spec("c")]
    supervisor = Supervisor(specs, name="s", listener=recorder)
    async with running(supervisor) as run:
        pass
    assert run.error is None
    assert theatre.log == ["+a", "+c", "-c", "-a"]
    assert [report.reason for report in recorder.of(ReportKind.SHUTDOWN_ERROR)] == ["KeyError: 'at stop'"]
    assert supervisor.crash_history("bad")[0].kind is ExitKind.SHUTDOWN_ERROR


async def test_an_error_that_the_cancellation_hid_is_reported(autojump_clock, running, recorder):
    go = trio.Event()
    async with running(Supervisor([ChildSpec("bad", hide_at_stop, args=(go,))], name="s", listener=recorder)):
        go.set()
        await wait_all_tasks_blocked()
    assert [report.reason for report in recorder.of(ReportKind.SHUTDOWN_ERROR)] == ["KeyError: 'hidden'"]


async def test_an_error_that_was_being_handled_where_the_tree_was_stopped_is_not_its_childrens(
    autojump_clock, theatre, recorder
):
    supervisor = Supervisor([theatre.spec("a"), theatre.spec("b")], name="s", listener=recorder)
    with pytest.RaisesGroup(ValueError):
        async with trio.open_nursery() as nursery:
            await nursery.start(supervisor.run)
            raise ValueError("of the nursery's body")
    assert theatre.log == ["+a", "+b", "-b", "-a"]
    assert recorder.of(ReportKind.SHUTDOWN_ERROR) == []
    assert not supervisor.crash_history("a")


async def test_a_childs_own_error_is_reported_also_where_the_tree_was_stopped_amid_another(autojump_clock, recorder):
    supervisor = Supervisor([ChildSpec("bad", raise_at_stop)], name="s", listener=recorder)
    with pytest.RaisesGroup(ValueError):
        async with trio.open_nursery() as nursery:
            await nursery.start(supervisor.run)
            raise ValueError("of the nursery's body")
    assert [report.reason for report in recorder.of(ReportKind.SHUTDOWN_ERROR)] == ["KeyError: 'at stop'"]


async def test_an_error_beside_cancelled_siblings_is_a_shutdown_error_and_the_rest_is_gone(
    autojump_clock, running, recorder
):
    async def child(*, task_status):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            await nursery.start(raise_at_stop)
            task_status.started()

    async with running(Supervisor([ChildSpec("bad", child)], name="s", listener=recorder)):
        pass
    assert [report.reason for report in recorder.of(ReportKind.SHUTDOWN_ERROR)] == ["KeyError: 'at stop'"]


async def test_a_child_that_returns_when_cancelled_has_shut_down_cleanly(autojump_clock, running, recorder):
    async def child(*, task_status):
        task_status.started()
        with trio.CancelScope() as own:
            try:
                await trio.sleep_forever()
            except trio.Cancelled:
                own.cancel()
                raise

    async with running(Supervisor([ChildSpec("a", child)], name="s", listener=recorder)):
        pass
    assert [report.exit.kind for report in recorder.of(ReportKind.CHILD_ENDED)] == [ExitKind.SHUTDOWN]


async def test_cancelling_again_during_the_stop_changes_nothing(autojump_clock):
    log = []
    specs = [ChildSpec(name, slow_to_stop, args=(log, name, 1)) for name in "ab"]
    supervisor = Supervisor(specs, name="s")
    async with trio.open_nursery() as nursery:
        await nursery.start(supervisor.run)
        supervisor.stop()
        await trio.sleep(0.5)
        nursery.cancel_scope.cancel()
        supervisor.stop()
    assert log == ["b", "a"]


async def test_a_stop_in_the_middle_of_a_slow_terminate_waits_only_for_the_rest_of_its_time(
    autojump_clock, running, recorder, stubborn
):
    supervisor = Supervisor([ChildSpec("a", stubborn, args=(10,), shutdown_seconds=4)], name="s", listener=recorder)
    async with trio.open_nursery() as nursery, running(supervisor):
        began = trio.current_time()

        async def terminate():
            with pytest.raises(SupervisorNotRunning, match="is stopping"):
                await supervisor.terminate_child("a")

        nursery.start_soon(terminate)
        await trio.sleep(3)
        supervisor.stop()
    assert recorder.of(ReportKind.SUPERVISOR_STOPPED)[0].at - began == pytest.approx(4)
    assert (supervisor.statistics().forced, supervisor.statistics().fenced) == (1, 0)


async def test_an_interrupt_in_a_child_stops_all_others_and_comes_out(autojump_clock, theatre, outcome, recorder):
    async def interrupted(*, task_status):
        task_status.started()
        await trio.sleep(1)
        raise KeyboardInterrupt

    specs = [theatre.spec("a"), ChildSpec("b", interrupted), theatre.spec("c")]
    supervisor = Supervisor(specs, name="s", listener=recorder)
    assert isinstance(await outcome(supervisor), KeyboardInterrupt)
    assert theatre.log == ["+a", "+c", "-c", "-a"]
    assert supervisor.statistics().escalations == 1
    assert len(recorder.of(ReportKind.ESCALATED)) == 1


async def test_an_interrupt_outranks_the_cancellation_of_the_supervisor(autojump_clock):
    async def exits_at_stop(*, task_status):
        task_status.started()
        try:
            await trio.sleep_forever()
        finally:
            raise SystemExit(3)

    with pytest.raises(BaseExceptionGroup) as caught:
        async with trio.open_nursery() as nursery:
            await nursery.start(Supervisor([ChildSpec("a", exits_at_stop)], name="s").run)
            nursery.cancel_scope.cancel()
    assert caught.group_contains(SystemExit)


async def test_an_interrupt_outranks_giving_up(autojump_clock, theatre, running, outcome):
    async def exits_at_stop(*, task_status):
        task_status.started()
        try:
            await trio.sleep_forever()
        finally:
            raise SystemExit(3)

    async def crashes(*, task_status):
        task_status.started()
        await trio.sleep(1)
        raise ValueError

    specs = [ChildSpec("a", exits_at_stop), ChildSpec("b", crashes)]
    assert isinstance(await outcome(Supervisor(specs, name="s", intensity=0)), SystemExit)


async def test_an_interrupt_while_starting_is_not_a_failed_start(autojump_clock, theatre, outcome):
    theatre.starts["b"].append(SystemExit(3))
    error = await outcome(Supervisor([theatre.spec("a"), theatre.spec("b")], name="s"))
    assert isinstance(error, SystemExit)
    assert theatre.log == ["+a", "!b", "-a"]


async def test_temporary_children_are_forgotten_by_the_stop(autojump_clock, theatre, running):
    supervisor = Supervisor([theatre.spec("a", Restart.TEMPORARY), theatre.spec("b")], name="s")
    async with running(supervisor):
        pass
    assert [info.id for info in supervisor.which_children()] == ["b"]
