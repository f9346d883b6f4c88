"""The restart table, pure and live: restart type x exit x strategy, under OTP's own names."""

from __future__ import annotations

import gc

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from supervisors import (
    ChildSpec,
    ExitKind,
    Ignore,
    MaxRestartsExceeded,
    ReportKind,
    Restart,
    Strategy,
    Supervisor,
)
from supervisors.restarts import Action, decide, restart_group

TABLE = {
    ("permanent", "normal"): Action.RESTART,
    ("permanent", "shutdown"): Action.RESTART,
    ("permanent", "abnormal"): Action.RESTART,
    ("transient", "normal"): Action.KEEP,
    ("transient", "shutdown"): Action.KEEP,
    ("transient", "abnormal"): Action.RESTART,
    ("temporary", "normal"): Action.DELETE,
    ("temporary", "shutdown"): Action.DELETE,
    ("temporary", "abnormal"): Action.DELETE,
}
ROWS = [
    pytest.param(Restart(restart), end, strategy, action, id=f"{restart}_{end}-{strategy.value}")
    for (restart, end), action in TABLE.items()
    for strategy in Strategy
]
REBUILT = {
    # What is written down when b of a, b, c restarts, after "-b".
    Strategy.ONE_FOR_ONE: ["+b"],
    Strategy.ONE_FOR_ALL: ["-c", "-a", "+a", "+b", "+c"],
    Strategy.REST_FOR_ONE: ["-c", "+b", "+c"],
}


@pytest.mark.parametrize(("restart", "end", "strategy", "action"), ROWS)
async def test_what_follows_from_an_end(autojump_clock, theatre, running, restart, end, strategy, action):
    """OTP: permanent_normal, transient_normal, temporary_normal, and the same for shutdown and abnormal."""
    specs = [theatre.spec("a"), theatre.spec("b", restart), theatre.spec("c")]
    supervisor = Supervisor(specs, name="s", strategy=strategy)
    async with running(supervisor):
        theatre.taken()
        await {"normal": theatre.finish, "shutdown": theatre.shut_down, "abnormal": theatre.crash}[end]("b")
        states = {info.id: info.state.value for info in supervisor.which_children()}
        restarted = action is Action.RESTART
        assert theatre.log == ["-b", *(REBUILT[strategy] if restarted else [])]
        if action is Action.DELETE:
            assert states == {"a": "running", "c": "running"}
        else:
            assert states == {"a": "running", "b": "running" if restarted else "down", "c": "running"}
        assert sum(supervisor.statistics().restarts.values()) == int(restarted)
        assert supervisor.snapshot().children[0].restarts == int(restarted and strategy is Strategy.ONE_FOR_ALL)


CRASHES = [kind for kind in ExitKind if kind not in {ExitKind.NORMAL, ExitKind.SHUTDOWN}]


@pytest.mark.parametrize("kind", CRASHES)
def test_every_end_that_is_not_clean_restarts_a_transient_child(kind):
    """A melted-down subtree (max_restarts_exceeded) is a crash to its parent; in OTP it is a clean shutdown."""
    assert decide(Restart.TRANSIENT, kind) is Action.RESTART
    assert decide(Restart.PERMANENT, kind) is Action.RESTART
    assert decide(Restart.TEMPORARY, kind) is Action.DELETE


def test_the_group_of_a_restart_is_in_start_order():
    assert restart_group(Strategy.ONE_FOR_ONE, iter(()), "c") == ("c",)
    assert restart_group(Strategy.ONE_FOR_ALL, iter("abcd"), "c") == ("a", "b", "c", "d")
    assert restart_group(Strategy.REST_FOR_ONE, iter("abcd"), "c") == ("c", "d")


@pytest.mark.parametrize("strategy", Strategy)
async def test_a_temporary_bystander_is_stopped_and_not_restarted(autojump_clock, theatre, running, strategy):
    """OTP: temporary_bystander."""
    specs = [theatre.spec("a"), theatre.spec("t", Restart.TEMPORARY), theatre.spec("c")]
    supervisor = Supervisor(specs, name="s", strategy=strategy)
    async with running(supervisor):
        await theatre.crash("a")
        alone = strategy is Strategy.ONE_FOR_ONE
        assert [info.id for info in supervisor.which_children()] == (["a", "t", "c"] if alone else ["a", "c"])
        assert theatre.log.count("+t") == 1
        assert supervisor.statistics().restarts == {ExitKind.CRASHED: 1}
        assert supervisor.statistics().start_failures == 0
        assert theatre.log.count("-t") == (0 if alone else 1)


@pytest.mark.parametrize("strategy", Strategy)
async def test_too_many_restarts_stop_all_in_reverse_and_give_up(autojump_clock, theatre, running, recorder, strategy):
    """OTP: one_for_one_escalation, one_for_all_escalation, rest_for_one_escalation."""
    specs = [theatre.spec(name) for name in "abc"]
    supervisor = Supervisor(specs, name="s", strategy=strategy, intensity=2, period_seconds=5, listener=recorder)
    async with running(supervisor) as run:
        for _ in range(2):
            await theatre.crash("b")
        assert supervisor.statistics().intensity_used_ratio == 1.0
        theatre.taken()
        await theatre.crash("b")
        await run.over.wait()
    assert theatre.log == ["-b", "-c", "-a"]
    assert isinstance(run.error, MaxRestartsExceeded)
    assert (run.error.child_id, run.error.intensity, run.error.exit.kind) == ("b", 2, ExitKind.CRASHED)
    assert "more than 2 restarts in 5 s" in str(run.error)
    assert "ValueError: b crashed" in str(run.error)
    assert [r.offender.id for r in recorder.of(ReportKind.MAX_RESTARTS_EXCEEDED)] == ["b"]
    assert supervisor.statistics().escalations == 1
    assert supervisor.statistics().restarts == {ExitKind.CRASHED: 2}


async def test_intensity_zero_ends_with_the_first_crash(autojump_clock, theatre, running):
    supervisor = Supervisor([theatre.spec("a")], name="s", intensity=0)
    async with running(supervisor) as run:
        await theatre.crash("a")
        await run.over.wait()
    assert isinstance(run.error, MaxRestartsExceeded)
    assert theatre.log == ["+a", "-a"]


async def test_crashes_spaced_past_the_window_never_trip_it(autojump_clock, theatre, running):
    """OTP: multiple_restarts."""
    supervisor = Supervisor([theatre.spec("a")], name="s", intensity=1, period_seconds=1)
    async with running(supervisor):
        for _ in range(10):
            await theatre.crash("a")
            await trio.sleep(1.1)
        assert supervisor.snapshot().children[0].restarts == 10


async def test_a_restart_exactly_one_period_later_is_still_one_too_many(autojump_clock, theatre, running):
    supervisor = Supervisor([theatre.spec("a")], name="s", intensity=1, period_seconds=1)
    async with running(supervisor) as run:
        crashed_at = trio.current_time()
        await theatre.crash("a")
        await trio.sleep_until(crashed_at + 1)
        theatre.cue("a", ValueError())
        await run.over.wait()
    assert isinstance(run.error, MaxRestartsExceeded)


async def test_a_restart_that_fails_is_tried_again_and_each_try_counts(autojump_clock, theatre, running):
    supervisor = Supervisor([theatre.spec("a"), theatre.spec("b")], name="s", intensity=3)
    async with running(supervisor) as run:
        theatre.starts["b"].extend([ValueError("1"), ValueError("2")])
        await theatre.crash("b")
        assert theatre.log == ["+a", "+b", "-b", "!b", "!b", "+b"]
        statistics = supervisor.statistics()
        assert statistics.restarts == {ExitKind.CRASHED: 1, ExitKind.START_ERROR: 2}
        assert statistics.intensity_used_ratio == 1.0
        assert statistics.restart_seconds.count == 1
        kinds = [exit_.kind for exit_ in supervisor.crash_history("b")]
        assert kinds == [ExitKind.CRASHED, ExitKind.START_ERROR, ExitKind.START_ERROR]
        theatre.taken()
        await theatre.crash("b")
        await run.over.wait()
    assert theatre.log == ["-b", "-a"]


async def test_a_restart_that_always_fails_gives_up(autojump_clock, theatre, running):
    supervisor = Supervisor([theatre.spec("a"), theatre.spec("b")], name="s", intensity=3)
    async with running(supervisor) as run:
        theatre.starts["b"].extend([ValueError("no")] * 10)
        await theatre.crash("b")
        await run.over.wait()
    assert theatre.log == ["+a", "+b", "-b", "!b", "!b", "!b", "-a"]
    assert run.error.exit.kind is ExitKind.START_ERROR


async def test_a_restart_that_is_ignored_leaves_the_child_down(autojump_clock, running):
    lives = []

    async def child(*, task_status):
        lives.append(1)
        if len(lives) > 1:
            raise Ignore
        task_status.started()
        raise ValueError

    supervisor = Supervisor([ChildSpec("a", child)], name="s")
    async with running(supervisor):
        await wait_all_tasks_blocked()
        assert supervisor.which_children()[0].state == "down"
        assert len(lives) == 2


async def test_one_for_all_when_another_child_fails_its_restart(autojump_clock, theatre, running):
    """OTP: one_for_all_other_child_fails_restart - the siblings already restarted are stopped again."""
    specs = [theatre.spec(name) for name in "abc"]
    supervisor = Supervisor(specs, name="s", strategy=Strategy.ONE_FOR_ALL)
    async with running(supervisor):
        theatre.taken()
        theatre.starts["c"].append(ValueError("once"))
        await theatre.crash("a")
        assert theatre.log == ["-a", "-c", "-b", "+a", "+b", "!c", "-b", "-a", "+a", "+b", "+c"]
        assert supervisor.statistics().intensity_used_ratio == pytest.approx(2 / 3)


async def test_one_for_all_when_an_earlier_child_fails_the_offender_comes_up_with_the_retry(
    autojump_clock, theatre, running
):
    specs = [theatre.spec(name) for name in "abc"]
    supervisor = Supervisor(specs, name="s", strategy=Strategy.ONE_FOR_ALL)
    async with running(supervisor):
        theatre.taken()
        theatre.starts["a"].append(ValueError("once"))
        await theatre.crash("c")
        assert theatre.log == ["-c", "-b", "-a", "!a", "+a", "+b", "+c"]
        assert {info.state.value for info in supervisor.which_children()} == {"running"}


async def test_terminating_the_member_that_fails_leaves_the_offender_down_and_startable(
    autojump_clock, theatre, running
):
    gate = trio.Event()
    lives = []

    async def fails_second_time(*, task_status):
        lives.append(1)
        if len(lives) == 2:
            await gate.wait()
            raise ValueError("no second life")
        task_status.started()
        await trio.sleep_forever()

    specs = [ChildSpec("a", fails_second_time), theatre.spec("b")]
    supervisor = Supervisor(specs, name="s", strategy=Strategy.ONE_FOR_ALL)
    async with running(supervisor), trio.open_nursery() as nursery:
        await theatre.crash("b")
        # This call is in the inbox before the retry is, so it cancels the retry.
        nursery.start_soon(supervisor.terminate_child, "a")
        await wait_all_tasks_blocked()
        gate.set()
        await wait_all_tasks_blocked()
        assert [info.state.value for info in supervisor.which_children()] == ["down", "down"]
        assert (await supervisor.restart_child("b")).value == "value of b"


async def test_a_child_that_is_being_restarted_is_shown_as_restarting(autojump_clock, running):
    """OTP: which_children says restarting; sync questions are answered in the middle of a restart."""

    async def slow(*, task_status):
        await trio.sleep(2)
        task_status.started()
        await trio.sleep(1)
        raise ValueError

    supervisor = Supervisor([ChildSpec("a", slow)], name="s")
    async with running(supervisor):
        await trio.sleep(2)
        assert [info.state.value for info in supervisor.which_children()] == ["restarting"]
        assert supervisor.count_children().active == 0
        await trio.sleep(1.5)
        assert [info.state.value for info in supervisor.which_children()] == ["running"]


async def test_rest_for_one_when_another_child_fails_its_restart(autojump_clock, theatre, running):
    """OTP: rest_for_one_other_child_fails_restart - the earlier ones stay up."""
    specs = [theatre.spec(name) for name in "abcd"]
    supervisor = Supervisor(specs, name="s", strategy=Strategy.REST_FOR_ONE)
    async with running(supervisor):
        theatre.taken()
        theatre.starts["c"].append(ValueError("once"))
        await theatre.crash("b")
        assert theatre.log == ["-b", "-d", "-c", "+b", "!c", "+c", "+d"]


async def test_two_crashes_at_once_under_one_for_all_are_one_restart(autojump_clock, theatre, running):
    specs = [theatre.spec(name) for name in "abc"]
    supervisor = Supervisor(specs, name="s", strategy=Strategy.ONE_FOR_ALL)
    async with running(supervisor):
        theatre.cue("a", ValueError())
        theatre.cue("c", ValueError())
        await wait_all_tasks_blocked()
        assert supervisor.statistics().restarts == {ExitKind.CRASHED: 1}
        assert {info.state.value for info in supervisor.which_children()} == {"running"}
        assert [theatre.log.count(f"+{name}") for name in "abc"] == [2, 2, 2]


async def test_dynamic_children_come_last_in_order_also_in_a_partial_restart(autojump_clock, theatre, running):
    """OTP: order_of_children."""
    supervisor = Supervisor([theatre.spec("a"), theatre.spec("b")], name="s", strategy=Strategy.REST_FOR_ONE)
    async with running(supervisor):
        await supervisor.start_child(theatre.spec("c"))
        await supervisor.start_child(theatre.spec("d"))
        theatre.taken()
        await theatre.crash("b")
        assert theatre.taken() == ["-b", "-d", "-c", "+b", "+c", "+d"]
        await theatre.crash("c")
        assert theatre.taken() == ["-c", "-d", "+c", "+d"]
    assert theatre.log == ["-d", "-c", "-b", "-a"]


async def test_one_for_all_also_starts_a_child_that_was_terminated(autojump_clock, theatre, running):
    """As in OTP: a group restart starts every child of the group that has a spec."""
    supervisor = Supervisor([theatre.spec("a"), theatre.spec("b")], name="s", strategy=Strategy.ONE_FOR_ALL)
    async with running(supervisor):
        await supervisor.terminate_child("b")
        await theatre.crash("a")
        assert {info.state.value for info in supervisor.which_children()} == {"running"}


async def test_the_crash_history_is_bounded_and_has_tracebacks(autojump_clock, theatre, running):
    supervisor = Supervisor([theatre.spec("a")], name="s", intensity=100)
    async with running(supervisor):
        for _ in range(20):
            await trio.sleep(1)
            await theatre.crash("a")
        history = supervisor.crash_history("a")
        assert [exit_.incarnation for exit_ in history] == list(range(13, 21))
        assert history[0].lived_seconds == pytest.approx(1)
        assert "raise self._ends.pop(name)" in history[0].failure.formatted()
        assert history[0].reason == "ValueError: a crashed"


async def test_a_crash_below_an_inner_nursery_is_named_by_its_leaf(autojump_clock, running):
    async def fail():
        raise KeyError("leaf")

    async def child(*, task_status):
        task_status.started()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail)

    supervisor = Supervisor([ChildSpec("a", child)], name="s", intensity=0)
    async with running(supervisor) as run:
        await run.over.wait()
    assert run.error.exit.reason == "KeyError: 'leaf'"


async def test_a_crash_leaves_no_garbage_for_the_cyclic_collector(autojump_clock, theatre, running):
    supervisor = Supervisor([theatre.spec("a")], name="s", intensity=1000)
    async with running(supervisor):
        await theatre.crash("a")
        gc.collect()
        gc.disable()
        try:
            for _ in range(20):
                theatre.cue("a", ValueError("boom"))
                for _ in range(10):
                    await trio.lowlevel.checkpoint()
            assert gc.collect() == 0
        finally:
            gc.enable()
        assert supervisor.snapshot().children[0].restarts == 21
