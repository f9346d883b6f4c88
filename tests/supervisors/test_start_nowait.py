"""start_child_nowait: a life begins at once or in its turn, nobody waits for it, and one that fails is forgotten."""

from __future__ import annotations

from contextlib import suppress

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from supervisors import (
    AlreadyPresent,
    AlreadyStarted,
    AutoShutdown,
    Backoff,
    ChildRunning,
    ChildSpec,
    DynamicSupervisor,
    ExitKind,
    Ignore,
    Restart,
    SpecError,
    Strategy,
    Supervisor,
    SupervisorNotRunning,
    TooManyChildren,
    supervisor_spec,
)


def states(supervisor):
    return {info.id: info.state.value for info in supervisor.which_children()}


def slow(seconds, log=None, name="slow"):
    """A child that takes so long to become ready."""

    async def child(*_args, task_status):
        if log is not None:
            log.append(f"+{name}")
        try:
            await trio.sleep(seconds)
            task_status.started(name)
            await trio.sleep_forever()
        finally:
            if log is not None:
                log.append(f"-{name}")

    return ChildSpec(name, child)


async def busy(supervisor, nursery, seconds=5):
    """Keep the supervisor's own task waiting for a start for so long."""
    nursery.start_soon(supervisor.start_child, slow(seconds, name="busy"))
    await wait_all_tasks_blocked()


async def test_the_life_begins_in_the_callers_task_and_becomes_one_like_any_other(autojump_clock, theatre, running):
    supervisor = Supervisor(name="s")
    async with running(supervisor):
        await wait_all_tasks_blocked()
        assert supervisor.start_child_nowait(theatre.spec("a")) is None
        assert states(supervisor) == {"a": "starting"}
        assert supervisor.snapshot().children[0].incarnation == 1
        await wait_all_tasks_blocked()
        assert supervisor.child_value("a") == "value of a"
        await theatre.crash("a")
        assert theatre.log == ["+a", "-a", "+a"]
        assert supervisor.snapshot().children[0].restarts == 1
        await supervisor.terminate_child("a")
        assert states(supervisor) == {"a": "down"}


async def test_many_start_at_the_same_time(autojump_clock, running):
    supervisor = Supervisor(name="s")
    async with running(supervisor):
        await wait_all_tasks_blocked()
        for number in range(100):
            supervisor.start_child_nowait(slow(10, name=str(number)))
        await trio.sleep(9)
        assert set(states(supervisor).values()) == {"starting"}
        await trio.sleep(2)
        assert set(states(supervisor).values()) == {"running"}
        assert trio.current_time() == 11


async def test_a_dynamic_supervisor_answers_the_id(autojump_clock, theatre, running):
    supervisor = DynamicSupervisor(ChildSpec("c", theatre.play), name="s", max_children=2)
    async with running(supervisor):
        await wait_all_tasks_blocked()
        assert supervisor.start_child_nowait("a") == "c:1"
        assert supervisor.start_child_nowait("b") == "c:2"
        with pytest.raises(TooManyChildren):
            supervisor.start_child_nowait("c")
        await wait_all_tasks_blocked()
        assert supervisor.child_value("c:2") == "value of b"
        assert sorted(theatre.taken()) == ["+a", "+b"]
        await theatre.finish("a")
        await theatre.crash("b")
        assert theatre.log == ["-a", "+a", "-b", "+b"]


async def test_what_makes_no_sense_is_refused_at_once(autojump_clock, theatre, running):
    supervisor = Supervisor([theatre.spec("a")], name="s")
    with pytest.raises(SupervisorNotRunning):
        supervisor.start_child_nowait(theatre.spec("b"))
    async with running(supervisor):
        for _ in ("not idle yet", "idle"):
            with pytest.raises(AlreadyStarted):
                supervisor.start_child_nowait(theatre.spec("a"))
            with pytest.raises(SpecError):
                supervisor.start_child_nowait(theatre.spec("b", Restart.TRANSIENT, significant=True))
            with pytest.raises(SpecError):
                supervisor.start_child_nowait("no spec")
            await wait_all_tasks_blocked()
        supervisor.start_child_nowait(theatre.spec("b"))
        with pytest.raises(AlreadyStarted):
            supervisor.start_child_nowait(theatre.spec("b"))
        await supervisor.terminate_child("a")
        with pytest.raises(AlreadyPresent):
            supervisor.start_child_nowait(theatre.spec("a"))
        supervisor.stop()
        with pytest.raises(SupervisorNotRunning):
            supervisor.start_child_nowait(theatre.spec("c"))
    with pytest.raises(SupervisorNotRunning):
        supervisor.start_child_nowait(theatre.spec("c"))


@pytest.mark.parametrize("while_busy", [False, True])
@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize(
    ("answer", "kind", "report"),
    [
        (ValueError("no"), ExitKind.START_ERROR, "start_failed"),
        (Ignore(), ExitKind.IGNORED, "child_ignored"),
        (None, ExitKind.START_TIMEOUT, "start_failed"),
    ],
)
async def test_a_start_that_fails_is_reported_told_and_forgotten(
    autojump_clock, running, recorder, while_busy, dynamic, answer, kind, report
):
    async def child(*_args, task_status):
        lives.append(1)
        if len(lives) == 1 and while_busy and dynamic:
            await trio.sleep(5)
            task_status.started()
        elif answer is not None:
            raise answer
        await trio.sleep_forever()

    lives = []
    told = []
    spec = ChildSpec("c", child, start_timeout_seconds=10)
    if dynamic:
        supervisor = DynamicSupervisor(spec, name="s", max_children=None, listener=recorder)
    else:
        supervisor = Supervisor(name="s", listener=recorder)
    async with running(supervisor), trio.open_nursery() as nursery:
        await wait_all_tasks_blocked()
        if while_busy:
            if dynamic:
                nursery.start_soon(supervisor.start_child)
                await wait_all_tasks_blocked()
            else:
                await busy(supervisor, nursery)
        child_id = supervisor.start_child_nowait() if dynamic else supervisor.start_child_nowait(spec)
        supervisor.watch(child_id or "c", told.append)
        await trio.sleep(20)
        assert [terminated.exit.kind for terminated in told] == [kind]
        assert (child_id or "c") not in states(supervisor)
        [found] = [r for r in recorder.reports if r.offender is not None and r.offender.id == (child_id or "c")]
        assert (found.kind, found.context) == (report, "start")
        numbers = supervisor.statistics()
        assert (numbers.start_failures, numbers.ignored) == ((0, 1) if kind is ExitKind.IGNORED else (1, 0))
        assert numbers.restarts == {}
        assert len(lives) == (2 if while_busy and dynamic else 1)


async def test_each_start_has_its_own_time(autojump_clock, running):
    supervisor = Supervisor(name="s")
    ended = {}
    async with running(supervisor):
        await wait_all_tasks_blocked()
        for seconds in (30, 10, 20, 10):
            name = f"{seconds} {len(ended)}"
            ended[name] = None
            supervisor.start_child_nowait(ChildSpec(name, trio_sleep_forever, start_timeout_seconds=seconds))
            supervisor.watch(name, lambda told: ended.update({told.child_id: trio.current_time()}))
            await trio.sleep(1)
        await trio.sleep(60)
    assert ended == {"30 0": 30, "10 1": 11, "20 2": 22, "10 3": 13}


async def trio_sleep_forever(*, task_status):
    await trio.sleep_forever()


@pytest.mark.parametrize("nothing_stops_it", [False, True])
async def test_a_late_one_climbs_the_ladder_and_is_cut_off(
    autojump_clock, running, recorder, stubborn, undying, nothing_stops_it
):
    async def deaf(*, task_status):
        await (undying if nothing_stops_it else stubborn)(100, task_status=trio.TASK_STATUS_IGNORED)

    supervisor = Supervisor(name="s", listener=recorder)
    async with running(supervisor):
        await wait_all_tasks_blocked()
        supervisor.start_child_nowait(ChildSpec("deaf", deaf, start_timeout_seconds=1, shutdown_seconds=2))
        await trio.sleep(10)
        assert states(supervisor) == {}
        fenced = ["child_fenced", "start_failed"]
        assert recorder.kinds() == ["supervisor_started", *(fenced if nothing_stops_it else ["start_failed"])]
        assert supervisor.statistics().zombies == nothing_stops_it
    assert trio.current_time() == pytest.approx(100 if nothing_stops_it else 10)


async def test_one_that_answers_ignore_and_does_not_end_is_late(autojump_clock, running, stubborn):
    async def deaf(*, task_status):
        task_status.started(Ignore)
        await stubborn(100, task_status=trio.TASK_STATUS_IGNORED)

    supervisor = Supervisor(name="s")
    async with running(supervisor):
        await wait_all_tasks_blocked()
        supervisor.start_child_nowait(ChildSpec("deaf", deaf, start_timeout_seconds=1, shutdown_seconds=2))
        await trio.sleep(2.9)
        assert states(supervisor) == {"deaf": "starting"} or states(supervisor) == {"deaf": "stopping"}
        await trio.sleep(0.2)
        assert states(supervisor) == {}


async def test_while_the_supervisor_is_busy_its_turn_comes_later(autojump_clock, theatre, running):
    supervisor = Supervisor(name="s")
    async with running(supervisor), trio.open_nursery() as nursery:
        await busy(supervisor, nursery)
        nursery.start_soon(supervisor.start_child, theatre.spec("called before"))
        await wait_all_tasks_blocked()
        supervisor.start_child_nowait(theatre.spec("a"))
        supervisor.start_child_nowait(theatre.spec("b"))
        assert states(supervisor) == {"busy": "starting", "a": "starting", "b": "starting"}
        assert supervisor.count_children().active == 3
        assert supervisor.snapshot().children[1].incarnation == 0
        with pytest.raises(AlreadyStarted):
            supervisor.start_child_nowait(theatre.spec("a"))
        await trio.sleep(4)
        assert theatre.log == []
        await trio.sleep(2)
        log = theatre.taken()
        assert (log[0], sorted(log[1:])) == ("+called before", ["+a", "+b"])
        # The order of the children is that in which their lives began.
        assert list(states(supervisor)) == ["busy", "called before", "a", "b"]
    assert theatre.log == ["-b", "-a", "-called before"]


async def test_calls_for_one_whose_turn_has_not_come_take_their_own_turn(autojump_clock, theatre, running):
    supervisor = Supervisor(name="s")
    told = []

    async def delete():
        with pytest.raises(ChildRunning):
            await supervisor.delete_child("a")

    async with running(supervisor), trio.open_nursery() as nursery:
        await busy(supervisor, nursery)
        supervisor.start_child_nowait(theatre.spec("a"))
        supervisor.watch("a", told.append)
        nursery.start_soon(delete)
        await wait_all_tasks_blocked()
        nursery.start_soon(supervisor.terminate_child, "a")
        await trio.sleep(6)
        assert states(supervisor) == {"busy": "running", "a": "down"}
        assert [each.child_id for each in told] == ["a"]
        assert (await supervisor.restart_child("a")).value == "value of a"


async def test_a_terminate_that_was_called_before_wins(autojump_clock, theatre, running):
    supervisor = Supervisor(name="s")
    async with running(supervisor), trio.open_nursery() as nursery:
        await busy(supervisor, nursery)
        nursery.start_soon(supervisor.terminate_child, "a")
        await wait_all_tasks_blocked()
        supervisor.start_child_nowait(theatre.spec("a"))
        await trio.sleep(6)
        assert states(supervisor) == {"busy": "running", "a": "down"}
        assert theatre.log == []


async def test_the_ordered_stop_includes_those_that_are_not_ready(autojump_clock, running):
    log = []
    supervisor = Supervisor(name="s")
    async with running(supervisor) as run:
        await wait_all_tasks_blocked()
        for name, seconds in (("a", 0), ("b", 100), ("c", 0), ("d", 100)):
            supervisor.start_child_nowait(slow(seconds, log, name))
        await trio.sleep(1)
        supervisor.stop()
        await run.over.wait()
        assert sorted(log[:4]) == ["+a", "+b", "+c", "+d"]
        assert log[4:] == ["-d", "-c", "-b", "-a"]
    assert set(states(supervisor).values()) == {"down"}


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("how", ["stop", "cancel"])
async def test_a_stop_in_the_middle_ends_what_has_begun_and_never_begins_the_rest(
    autojump_clock, running, dynamic, how
):
    log, told = [], []
    started = slow(100, log, "begun").start
    supervisor = (
        DynamicSupervisor(ChildSpec("c", started), name="s", max_children=None) if dynamic else Supervisor(name="s")
    )

    async def start(spec):
        with suppress(SupervisorNotRunning):
            await (supervisor.start_child() if dynamic else supervisor.start_child(spec))

    async with trio.open_nursery() as outer:
        await outer.start(supervisor.run)
        await wait_all_tasks_blocked()
        first = supervisor.start_child_nowait() if dynamic else supervisor.start_child_nowait(slow(100, log, "begun"))
        outer.start_soon(start, slow(50, name="busy"))
        await wait_all_tasks_blocked()
        begun = len(log)
        last = supervisor.start_child_nowait() if dynamic else supervisor.start_child_nowait(slow(1, log, "never"))
        for child_id in (first or "begun", last or "never"):
            supervisor.watch(child_id, told.append)
        if how == "stop":
            supervisor.stop()
        else:
            outer.cancel_scope.cancel()
    assert len(log) == 2 * begun
    assert "+never" not in log
    assert len(told) == 2
    assert "starting" not in states(supervisor).values()
    assert trio.current_time() == 0


@pytest.mark.parametrize("strategy", [Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE])
@pytest.mark.parametrize("second", [None, ValueError("no")])
async def test_a_group_restart_while_one_starts(autojump_clock, theatre, running, recorder, strategy, second):
    """It is stopped with its group, and then its first start is made again: a failure of that is nobody's restart."""
    lives = []

    async def child(*, task_status):
        lives.append(task_status.incarnation)
        theatre.log.append("+new")
        try:
            if len(lives) == 1:
                await trio.sleep(10)
            elif second is not None:
                raise second
            task_status.started("new")
            await trio.sleep_forever()
        finally:
            theatre.log.append("-new")

    supervisor = Supervisor([theatre.spec("a"), theatre.spec("b")], name="s", strategy=strategy, listener=recorder)
    async with running(supervisor):
        await wait_all_tasks_blocked()
        supervisor.start_child_nowait(ChildSpec("new", child))
        supervisor.start_child_nowait(theatre.spec("ready", Restart.TEMPORARY))
        await wait_all_tasks_blocked()
        assert sorted(theatre.taken()) == ["+a", "+b", "+new", "+ready"]
        await theatre.crash("a")
        await trio.sleep(1)
        log = theatre.taken()
        assert log[:7] == ["-a", "-ready", "-new", "-b", "+a", "+b", "+new"]
        assert log[7:] == ([] if second is None else ["-new"])
        assert lives == [1, 2]
        assert states(supervisor) == {"a": "running", "b": "running"} | ({"new": "running"} if second is None else {})
        numbers = supervisor.statistics()
        assert (sum(numbers.restarts.values()), numbers.start_failures) == (1, second is not None)


async def test_a_group_restart_leaves_one_alone_whose_turn_has_not_come(autojump_clock, theatre, running):
    supervisor = Supervisor([theatre.spec("a")], name="s", strategy=Strategy.ONE_FOR_ALL)
    async with running(supervisor), trio.open_nursery() as nursery:
        await busy(supervisor, nursery)
        theatre.cue("a", ValueError("crash"))
        await wait_all_tasks_blocked()
        for restart in (Restart.PERMANENT, Restart.TEMPORARY):
            supervisor.start_child_nowait(theatre.spec(restart.value, restart))
        await trio.sleep(4)
        assert theatre.taken() == ["+a", "-a"]
        await trio.sleep(20)
        assert sorted(theatre.taken()) == ["+a", "+permanent", "+temporary"]
        assert list(states(supervisor)) == ["a", "busy", "permanent", "temporary"]


async def test_a_supervisor_that_is_restarted_as_a_bystander_takes_its_newcomers_with_it(
    autojump_clock, theatre, running
):
    log = []
    made = []

    def pool():
        made.append(Supervisor(name="pool"))
        return made[-1]

    specs = [theatre.spec("a"), supervisor_spec("pool", pool)]
    root = Supervisor(specs, name="root", strategy=Strategy.ONE_FOR_ALL)
    async with running(root):
        await wait_all_tasks_blocked()
        made[0].start_child_nowait(slow(10, log, "new"))
        await wait_all_tasks_blocked()
        await theatre.crash("a")
        assert (states(made[0]), states(made[1])) == ({"new": "down"}, {})
        await trio.sleep(20)
    assert log == ["+new", "-new"]


async def test_one_may_be_added_while_the_group_waits_for_a_backoff(autojump_clock, theatre, running):
    backoff = Backoff(min_seconds=10, max_seconds=10, jitter=0)
    supervisor = Supervisor([theatre.spec("a", backoff=backoff)], name="s", strategy=Strategy.ONE_FOR_ALL)
    async with running(supervisor):
        await theatre.crash("a")
        supervisor.start_child_nowait(theatre.spec("b"))
        await wait_all_tasks_blocked()
        assert states(supervisor) == {"a": "restarting", "b": "running"}
        await trio.sleep(11)
        assert states(supervisor) == {"a": "running", "b": "running"}


async def test_a_supervisor_that_is_starting_takes_them_after_its_static_children(autojump_clock, theatre):
    supervisor = Supervisor([slow(5), theatre.spec("static")], name="s")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(supervisor.run)
        await wait_all_tasks_blocked()
        supervisor.start_child_nowait(theatre.spec("new"))
        await trio.sleep(6)
        assert theatre.taken() == ["+static", "+new"]
        supervisor.stop()


async def test_a_crash_right_after_ready_is_a_crash(autojump_clock, running):
    lives = []

    async def child(*, task_status):
        lives.append(1)
        task_status.started()
        if len(lives) == 1:
            raise ValueError
        await trio.sleep_forever()

    supervisor = Supervisor(name="s")
    async with running(supervisor):
        await wait_all_tasks_blocked()
        supervisor.start_child_nowait(ChildSpec("a", child))
        await wait_all_tasks_blocked()
        assert supervisor.statistics().restarts == {ExitKind.CRASHED: 1}
        assert states(supervisor) == {"a": "running"}


async def test_the_failed_start_of_a_significant_one_ends_nothing(autojump_clock, theatre, running):
    supervisor = Supervisor(name="s", auto_shutdown=AutoShutdown.ANY_SIGNIFICANT)
    async with running(supervisor):
        await wait_all_tasks_blocked()
        theatre.starts["a"].append(ValueError("no"))
        supervisor.start_child_nowait(theatre.spec("a", Restart.TRANSIENT, significant=True))
        await wait_all_tasks_blocked()
        assert supervisor.state.value == "running"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_an_interrupt_from_one_ends_the_tree(autojump_clock, theatre, outcome):
    supervisor = Supervisor([theatre.spec("a")], name="s")

    async def start():
        await wait_all_tasks_blocked()
        theatre.starts["new"].append(KeyboardInterrupt())
        supervisor.start_child_nowait(theatre.spec("new"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(start)
        assert isinstance(await outcome(supervisor), KeyboardInterrupt)
    assert theatre.log == ["+a", "!new", "-a"]


async def test_a_name_that_was_freed_in_the_same_moment_is_another_child(autojump_clock, running, stubborn):
    """A failed start is forgotten where it ends: a terminate_child that waits for it must not forget its successor."""
    supervisor = Supervisor(name="s")

    async def child(*, task_status):
        with trio.CancelScope(shield=True):
            await trio.sleep(2)

    def again(_terminated):
        supervisor.start_child_nowait(slow(0, name="a"))

    async with running(supervisor):
        await wait_all_tasks_blocked()
        spec = ChildSpec("a", child, restart=Restart.TEMPORARY, start_timeout_seconds=1)
        supervisor.start_child_nowait(spec)
        supervisor.watch("a", again)
        await trio.sleep(1.5)
        await supervisor.terminate_child("a")
        await trio.sleep(1)
        assert states(supervisor) == {"a": "running"}


@pytest.mark.parametrize("dynamic", [False, True])
async def test_a_start_child_whose_caller_is_cancelled_already_starts_nothing(
    autojump_clock, theatre, running, dynamic
):
    """An idle supervisor's start_child begins in the caller's step, and is withdrawn before that all the same."""
    supervisor = DynamicSupervisor(theatre.spec("a"), name="s", max_children=None) if dynamic else Supervisor(name="s")
    async with running(supervisor):
        await wait_all_tasks_blocked()
        with trio.CancelScope() as scope:
            scope.cancel()
            await (supervisor.start_child() if dynamic else supervisor.start_child(theatre.spec("a")))
        await wait_all_tasks_blocked()
        assert supervisor.which_children() == ()
    assert theatre.log == []
