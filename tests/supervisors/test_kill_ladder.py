"""The kill ladder: ask, cancel, stop by force, by force again, fence; and the shim that reaches into trio for it."""

from __future__ import annotations

import math
import threading
from contextlib import suppress

import pytest
import trio
import trio.lowlevel
from trio.testing import wait_all_tasks_blocked

from supervisors import (
    ChildSpec,
    DynamicSupervisor,
    ExitKind,
    Ignore,
    Killed,
    ReportKind,
    SpecError,
    StartFailed,
    StopCause,
    Strategy,
    Supervisor,
    supervisor_spec,
)
from supervisors.forcing import ABORT_FUNC, ATTEMPT_ABORT, NEXT_SEND, NEXT_SEND_FN, TESTED_TRIO_VERSIONS, force_kill
from tests.supervisors.otp import deaf, spec

# ---- the shim


def test_the_trio_that_is_installed_is_one_that_the_shim_knows():
    """A new trio: look whether Task still works as the shim says, run these tests, and add the version there."""
    assert ".".join(trio.__version__.split(".")[:2]) in TESTED_TRIO_VERSIONS


async def test_a_trio_task_has_what_the_shim_reaches_for():
    inside: dict[str, object] = {}

    async def look(task: trio.lowlevel.Task) -> None:
        inside.update({name: getattr(task, name) for name in (ABORT_FUNC, ATTEMPT_ABORT, NEXT_SEND_FN, NEXT_SEND)})

    async with trio.open_nursery() as nursery:
        nursery.start_soon(look, trio.lowlevel.current_task())
        await trio.lowlevel.checkpoint()
        await wait_all_tasks_blocked()
    # The parent waited for its nursery just then: it could be woken, and was not about to run.
    assert callable(inside[ATTEMPT_ABORT])
    assert inside[NEXT_SEND_FN] is None or callable(inside[NEXT_SEND_FN])
    task = trio.lowlevel.current_task()
    assert (getattr(task, ABORT_FUNC), getattr(task, NEXT_SEND_FN)) == (None, None)


async def killed(body) -> list[str]:
    """Run `body` in a task of its own, throw Killed into it once it waits, and return what ended how."""
    seen: list[str] = []
    tasks: list[trio.lowlevel.Task] = []

    async def run() -> None:
        tasks.append(trio.lowlevel.current_task())
        try:
            await body()
        except BaseException as error:
            seen.append(type(error).__name__)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await wait_all_tasks_blocked()
        force_kill(tasks[0])
    return seen


async def test_force_goes_through_a_shield(autojump_clock):
    async def body():
        with trio.CancelScope(shield=True):
            await trio.sleep_forever()

    assert await killed(body) == ["Killed"]


async def test_force_reaches_every_task_in_nested_nurseries(autojump_clock):
    ends = []

    async def leaf(name):
        try:
            with trio.CancelScope(shield=True):
                await trio.sleep_forever()
        except Killed:
            ends.append(name)
            raise

    async def branch(name):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(leaf, f"{name}1")
            nursery.start_soon(leaf, f"{name}2")

    async def body():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(branch, "a")
            nursery.start_soon(branch, "b")

    assert await killed(body) == ["BaseExceptionGroup"]
    assert sorted(ends) == ["a1", "a2", "b1", "b2"]


async def test_force_reaches_a_task_that_is_about_to_run(autojump_clock):
    seen = []

    async def spinning():
        tasks.append(trio.lowlevel.current_task())
        try:
            while True:
                await trio.lowlevel.cancel_shielded_checkpoint()
        except Killed:
            seen.append("killed")

    tasks: list[trio.lowlevel.Task] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(spinning)
        await trio.lowlevel.checkpoint()
        await trio.lowlevel.checkpoint()
        assert force_kill(tasks[0]) == 1
    assert seen == ["killed"]


async def test_force_does_not_reach_a_thread():
    release = threading.Event()
    tasks: list[trio.lowlevel.Task] = []

    async def in_a_thread():
        tasks.append(trio.lowlevel.current_task())
        await trio.to_thread.run_sync(release.wait)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(in_a_thread)
        await wait_all_tasks_blocked(0.01)
        # The first attempt is answered with "not now", and from then on there is nothing to wake.
        assert force_kill(tasks[0]) <= 1
        assert force_kill(tasks[0]) == 0
        release.set()


# ---- the ladder


async def test_a_child_with_grace_is_asked_first_and_may_end_by_itself(autojump_clock, running, recorder):
    log = []

    async def child(*, task_status):
        task_status.started()
        assert not task_status.stop_requested
        await task_status.wait_stop_requested()
        log.append((task_status.stop_requested, task_status.stop_cause, task_status.incarnation))
        await trio.sleep(1)
        log.append("finished")

    specs = [spec("a", child, grace_seconds=2, shutdown_seconds=5)]
    async with running(Supervisor(specs, name="s", listener=recorder)):
        began = trio.current_time()
    assert trio.current_time() - began == pytest.approx(1)
    assert log == [(True, StopCause.SHUTDOWN, 1), "finished"]
    assert [r.exit.kind for r in recorder.of(ReportKind.CHILD_ENDED)] == [ExitKind.SHUTDOWN]


async def test_each_rung_comes_in_its_time(autojump_clock, running, recorder):
    """Grace 2 s, cancelled, 3 s more, force, half a second, force, half a second, fence."""
    began = trio.current_time()
    log = []

    async def child(*, task_status):
        task_status.started()
        until = began + 100
        while trio.current_time() < until:
            # Each rung is met in another way: a wait that is cancelled, then shielded ones that are killed.
            try:
                with trio.CancelScope(shield=bool(log)):
                    await trio.sleep_until(until)
            except BaseException as error:
                log.append((type(error).__name__, trio.current_time() - began))

    async with running(
        Supervisor([spec("a", child, grace_seconds=2, shutdown_seconds=5)], name="s", listener=recorder)
    ):
        pass
    assert log == [("Cancelled", pytest.approx(2)), ("Killed", pytest.approx(5)), ("Killed", pytest.approx(5.5))]
    assert [r.at - began for r in recorder.of(ReportKind.CHILD_FENCED)] == [pytest.approx(6)]
    assert [r.at - began for r in recorder.of(ReportKind.ZOMBIE_ENDED)] == [pytest.approx(100)]


async def test_cleanup_that_hides_again_is_stopped_by_the_second_use_of_force(autojump_clock, running, recorder):
    async def child(*, task_status):
        task_status.started()
        with trio.CancelScope(shield=True):
            try:
                await trio.sleep_forever()
            finally:
                await trio.sleep_forever()

    supervisor = Supervisor([spec("a", child, shutdown_seconds=1)], name="s", listener=recorder)
    async with running(supervisor):
        began = trio.current_time()
    assert trio.current_time() - began == pytest.approx(1.5)
    assert (supervisor.statistics().forced, supervisor.statistics().fenced) == (1, 0)
    end = recorder.of(ReportKind.SHUTDOWN_ERROR)[0]
    assert (end.exit.kind, end.reason) == (
        ExitKind.STOP_TIMEOUT,
        "still running 1.5 s after it was asked to stop; stopped by force",
    )


async def test_a_swallower_of_cancelled_that_never_sleeps_is_stopped_by_force(autojump_clock, running):
    async def child(*, task_status):
        task_status.started()
        while True:
            with suppress(trio.Cancelled):
                await trio.sleep(0.25)
            with trio.CancelScope(shield=True):
                await trio.sleep(0.25)

    supervisor = Supervisor([spec("a", child, shutdown_seconds=1)], name="s")
    async with running(supervisor) as run:
        supervisor.stop()
        await run.over.wait()
    assert supervisor.statistics().forced == 1


async def test_a_fenced_life_is_not_heard_and_may_not_go_on(autojump_clock, running):
    """It can no longer touch what its replacement owns: neither value nor beat, and it can see that it is fenced."""
    lives = []
    cue = trio.Event()
    checked = []

    async def child(*, task_status):
        lives.append(task_status)
        if len(lives) > 1:
            task_status.started("second")
            await trio.sleep_forever()
        while not cue.is_set():
            with suppress(BaseException), trio.CancelScope(shield=True):
                await cue.wait()
        task_status.started("first")
        task_status.rest()
        with pytest.raises(Killed):
            task_status.beat()
        checked.append(task_status.fenced)

    supervisor = Supervisor(name="s")
    async with running(supervisor):
        with pytest.raises(StartFailed, match="not ready within 1 s"):
            await supervisor.start_child(spec("a", child, start_timeout_seconds=1, shutdown_seconds=1))
        await supervisor.start_child(spec("a", child))
        cue.set()
        await wait_all_tasks_blocked()
        assert checked == [True]
        assert (supervisor.child_value("a"), lives[1].fenced) == ("second", False)
        assert supervisor.statistics().zombies == 0


async def test_brutal_kill_takes_no_time_whatever_the_child_does(autojump_clock, running, recorder):
    async def busy(*, task_status):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(deaf_loop)
            task_status.started()

    async def deaf_loop():
        with trio.CancelScope(shield=True):
            await trio.sleep_forever()

    supervisor = Supervisor([spec("a", busy, shutdown_seconds=0.0)], name="s", listener=recorder)
    async with running(supervisor):
        began = trio.current_time()
        await supervisor.terminate_child("a")
        assert trio.current_time() == began
    assert [r.exit.kind for r in recorder.of(ReportKind.CHILD_ENDED)] == [ExitKind.KILLED]


async def test_a_child_that_has_not_taken_its_first_step_can_be_killed(autojump_clock):
    supervisor = Supervisor([spec("a", deaf, args=(50,), shutdown_seconds=0.0)], name="s")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(supervisor.run)
        await trio.lowlevel.checkpoint()
        supervisor.stop()
    assert supervisor.statistics().state == "stopped"
    assert trio.current_time() <= 1


@pytest.mark.parametrize("steps", range(5))
async def test_killing_a_root_breaks_nothing_whatever_step_its_children_are_at(autojump_clock, steps):
    supervisor = Supervisor(name="s")
    async with trio.open_nursery() as nursery:
        await nursery.start(supervisor.run)
        for number in range(20):
            supervisor.start_child_nowait(spec(f"a{number}", trio_sleeper))
        for _ in range(steps):
            await trio.lowlevel.checkpoint()
        supervisor.kill()
    assert supervisor.statistics().state == "stopped"
    assert trio.current_time() <= 1


async def trio_sleeper(*, task_status):
    task_status.started()
    await trio.sleep_forever()


async def test_a_child_that_asks_late_learns_that_it_was_asked_to_stop(autojump_clock, running):
    log = []

    async def child(*, task_status):
        task_status.started()
        await trio.sleep(2)
        await task_status.wait_stop_requested()
        log.append(trio.current_time())

    async with running(Supervisor([spec("a", child, grace_seconds=4)], name="s")):
        pass
    assert log == [2]


@pytest.mark.parametrize("undying_leaf", [False, True])
async def test_a_supervisor_that_is_stopped_by_force_takes_its_children_with_it(
    autojump_clock, theatre, running, recorder, undying, undying_leaf
):
    """A subtree with a time limit that it breaks: no child of it outlives it, except as a reported zombie."""
    leaf = spec("leaf", undying if undying_leaf else deaf, args=(100,), shutdown_seconds=math.inf)

    def subtree():
        return Supervisor([theatre.spec("before"), leaf, theatre.spec("after")], name="sub")

    root = Supervisor([supervisor_spec("sub", subtree, shutdown_seconds=3)], name="root", listener=recorder)
    async with running(root):
        began = trio.current_time()
        sub = root.child_value("sub")
        await root.terminate_child("sub")
        assert trio.current_time() - began <= 4
        assert sub.statistics().state == "stopped"
        assert sub.statistics().zombies == int(undying_leaf)
        assert theatre.log == ["+before", "+after", "-after", "-before"]
        assert (await root.restart_child("sub")).incarnation == 2
    assert {r.offender.id for r in recorder.of(ReportKind.CHILD_FENCED)} == ({"leaf"} if undying_leaf else set())


async def test_a_second_use_of_force_on_a_supervisor_cuts_its_children_off_at_once(autojump_clock, running, undying):
    leaf = spec("leaf", undying, args=(50,), shutdown_seconds=math.inf)
    root = Supervisor([supervisor_spec("sub", lambda: Supervisor([leaf], name="sub"))], name="root")
    async with running(root):
        sub = root.child_value("sub")
        task = root._life.roster.get("sub").incarnation._task
        force_kill(task)
        await trio.sleep(0.1)
        assert sub.statistics().zombies == 0
        force_kill(task)
        await wait_all_tasks_blocked()
        assert sub.statistics().zombies == 1
        assert root.which_child("sub").state == "running"


@pytest.mark.parametrize(
    ("strategy", "cause"), [(Strategy.ONE_FOR_ALL, StopCause.RESTART), (Strategy.ONE_FOR_ONE, StopCause.SHUTDOWN)]
)
async def test_a_bystander_learns_that_it_is_restarted_and_all_others_that_it_is_over(
    autojump_clock, theatre, running, strategy, cause
):
    """The reason is in the Cancelled itself, in the child's status, and reaches the children of a nested supervisor."""
    heard = []

    async def child(*, task_status):
        task_status.started()
        try:
            await trio.sleep_forever()
        except trio.Cancelled as cancelled:
            heard.append((cancelled.reason, task_status.stop_cause))
            raise

    deep = supervisor_spec("deep", lambda: Supervisor([ChildSpec("below", child)], name="deep"))
    specs = [ChildSpec("bystander", child), deep, theatre.spec("offender")]
    supervisor = Supervisor(specs, name="s", strategy=strategy)
    async with running(supervisor):
        if strategy is Strategy.ONE_FOR_ALL:
            await theatre.crash("offender")
            assert heard == [(cause.value, cause)] * 2
            heard.clear()
    assert heard == [(StopCause.SHUTDOWN.value, StopCause.SHUTDOWN)] * 2


async def test_children_of_a_template_are_stopped_each_by_its_own_timer(autojump_clock, running, recorder, undying):
    async def child(kind, *, task_status):
        await {"deaf": deaf, "undying": undying}[kind](20, task_status=task_status)

    supervisor = DynamicSupervisor(spec("c", child, shutdown_seconds=2), name="s", max_children=None, listener=recorder)
    async with running(supervisor):
        began = trio.current_time()
        for kind in ("deaf", "undying", "deaf"):
            await supervisor.start_child(kind)
    assert (supervisor.statistics().forced, supervisor.statistics().fenced) == (2, 1)
    assert [r.at - began for r in recorder.of(ReportKind.SUPERVISOR_STOPPED)] == [pytest.approx(3)]


def test_grace_is_a_part_of_the_time_to_stop():
    with pytest.raises(SpecError, match="grace_seconds is a part of shutdown_seconds"):
        spec(grace_seconds=6.0)
    assert spec(grace_seconds=6.0, shutdown_seconds=6.0).grace_seconds == 6.0


async def test_a_child_that_answers_ignore_and_then_does_not_end_is_late(autojump_clock, running):
    async def child(*, task_status):
        task_status.started(Ignore)
        await deaf(50, task_status=trio.TASK_STATUS_IGNORED)

    supervisor = Supervisor(name="s")
    async with running(supervisor):
        began = trio.current_time()
        started = await supervisor.start_child(spec("a", child, start_timeout_seconds=2, shutdown_seconds=1))
        assert trio.current_time() - began == pytest.approx(3)
        assert started.ignored
        assert supervisor.statistics().zombies == 0
