"""OTP's own cases, by name: the four strategies, how each escalates, and what a failing restart does to the group."""

from __future__ import annotations

import gc
import weakref

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from supervisors import (
    ChildSpec,
    DynamicSupervisor,
    ExitKind,
    Ignore,
    MaxRestartsExceeded,
    ReportKind,
    Restart,
    StartFailed,
    Strategy,
    Supervisor,
)
from tests.supervisors.otp import RUNNING, counts, spec, states


def three(theatre, strategy, **flags):
    return Supervisor([theatre.spec(name) for name in "abc"], name="s", strategy=strategy, **flags)


def lives(supervisor) -> list[int]:
    return [node.incarnation for node in supervisor.snapshot().children]


async def test_one_for_one(autojump_clock, theatre, running):
    supervisor = three(theatre, Strategy.ONE_FOR_ONE)
    async with running(supervisor):
        theatre.taken()
        await theatre.crash("a")
        assert theatre.taken() == ["-a", "+a"]
        assert lives(supervisor) == [2, 1, 1]
        await theatre.crash("b")
        assert theatre.taken() == ["-b", "+b"]
        assert lives(supervisor) == [2, 2, 1]
        assert counts(supervisor) == [3, 3, 0, 3]


async def test_one_for_one_escalation(autojump_clock, theatre, running):
    supervisor = three(theatre, Strategy.ONE_FOR_ONE, intensity=4, period_seconds=3600)
    async with running(supervisor) as run:
        theatre.starts["a"].extend([ValueError("error")] * 10)
        theatre.taken()
        await theatre.crash("a")
        await run.over.wait()
    # The first restart and three retries fit into the intensity of 4; then the others are stopped in reverse.
    assert theatre.log == ["-a", "!a", "!a", "!a", "!a", "-c", "-b"]
    assert isinstance(run.error, MaxRestartsExceeded)


async def test_one_for_all(autojump_clock, theatre, running):
    supervisor = three(theatre, Strategy.ONE_FOR_ALL)
    async with running(supervisor):
        theatre.taken()
        await theatre.crash("b")
        assert theatre.taken() == ["-b", "-c", "-a", "+a", "+b", "+c"]
        assert lives(supervisor) == [2, 2, 2]
        assert counts(supervisor) == [3, 3, 0, 3]


async def test_one_for_all_escalation(autojump_clock, theatre, running):
    supervisor = three(theatre, Strategy.ONE_FOR_ALL, intensity=4, period_seconds=3600)
    async with running(supervisor) as run:
        theatre.starts["b"].extend([ValueError("error")] * 10)
        theatre.taken()
        await theatre.crash("b")
        await run.over.wait()
    assert theatre.log == ["-b", "-c", "-a", "+a", "!b", *["-a", "+a", "!b"] * 3, "-a"]
    assert isinstance(run.error, MaxRestartsExceeded)


async def test_one_for_all_other_child_fails_restart(autojump_clock, theatre, running):
    """The retry targets the one that failed; siblings that were already restarted are stopped again."""
    supervisor = three(theatre, Strategy.ONE_FOR_ALL, intensity=4)
    async with running(supervisor):
        theatre.taken()
        theatre.starts["b"].append(ValueError("error"))
        await theatre.crash("a")
        assert theatre.taken() == ["-a", "-c", "-b", "+a", "!b", "-a", "+a", "+b", "+c"]
        assert states(supervisor) == dict.fromkeys("abc", RUNNING)
        # The other way round: an earlier one fails while a later one was the offender.
        theatre.starts["a"].append(ValueError("error"))
        await theatre.crash("c")
        assert theatre.taken() == ["-c", "-b", "-a", "!a", "+a", "+b", "+c"]
        assert states(supervisor) == dict.fromkeys("abc", RUNNING)


async def dynamic(theatre, **options):
    template = ChildSpec("child", theatre.play, restart=options.pop("restart", Restart.PERMANENT))
    return DynamicSupervisor(template, name="s", max_children=None, **options)


async def test_simple_one_for_one(autojump_clock, theatre, running):
    supervisor = await dynamic(theatre)
    async with running(supervisor):
        for name in "ab":
            await supervisor.start_child(name)
        theatre.taken()
        await theatre.crash("a")
        assert theatre.taken() == ["-a", "+a"]
        await theatre.finish("b")
        assert theatre.taken() == ["-b", "+b"]
        assert lives(supervisor) == [2, 2]
        assert counts(supervisor) == [2, 2, 0, 2]


async def test_simple_one_for_one_shutdown(autojump_clock, running):
    """All stop together: as long as the slowest takes, and each within its own time."""

    async def slow(seconds, *, task_status):
        task_status.started()
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(seconds)

    supervisor = DynamicSupervisor(spec("child", slow, shutdown_seconds=10), name="s", max_children=None)
    async with running(supervisor):
        for seconds in (1, 2, 3, 2, 1):
            await supervisor.start_child(seconds)
        began = trio.current_time()
    assert trio.current_time() - began == pytest.approx(3)
    assert supervisor.statistics().forced == 0


async def test_simple_one_for_one_extra(autojump_clock, running):
    async def child(first, second, *, task_status):
        task_status.started((first, second))
        await trio.sleep_forever()

    supervisor = DynamicSupervisor(ChildSpec("child", child, args=("template",)), name="s", max_children=None)
    async with running(supervisor):
        assert (await supervisor.start_child("extra")).value == ("template", "extra")
        assert [info.value for info in supervisor.which_children()] == [("template", "extra")]


async def test_simple_one_for_one_escalation(autojump_clock, theatre, running):
    supervisor = await dynamic(theatre, intensity=4, period_seconds=3600)
    async with running(supervisor) as run:
        for name in "ab":
            await supervisor.start_child(name)
        theatre.starts["a"].extend([ValueError("error")] * 10)
        theatre.taken()
        await theatre.crash("a")
        await run.over.wait()
    assert theatre.log == ["-a", "!a", "!a", "!a", "!a", "-b"]
    assert isinstance(run.error, MaxRestartsExceeded)


async def test_simple_one_for_one_corruption(autojump_clock, theatre, running):
    """Start arguments that make no sense fail that start, and leave nothing behind: neither a child nor memory."""
    supervisor = await dynamic(theatre)
    async with running(supervisor):
        first = await supervisor.start_child("a")
        big = type("Big", (), {})()
        watched = weakref.ref(big)
        with pytest.raises(StartFailed, match="TypeError"):
            await supervisor.start_child("too", "many", big)
        with pytest.raises(StartFailed, match="TypeError"):
            await supervisor.start_child()
        del big
        gc.collect()
        assert watched() is None
        await theatre.crash("a")
        assert states(supervisor) == {first.id: RUNNING}
        assert counts(supervisor) == [1, 1, 0, 1]


@pytest.mark.parametrize("restart", [Restart.PERMANENT, Restart.TRANSIENT])
async def test_simple_one_for_one_restart_ignore(autojump_clock, theatre, running, recorder, restart):
    """A dynamic child that answers Ignore when it is restarted is removed."""
    supervisor = await dynamic(theatre, restart=restart, listener=recorder)
    async with running(supervisor):
        for name in "ab":
            await supervisor.start_child(name)
        theatre.starts["a"].append(Ignore())
        await theatre.crash("a")
        assert counts(supervisor) == [1, 1, 0, 1]
        assert [r.offender.incarnation for r in recorder.of(ReportKind.CHILD_IGNORED)] == [2]
        # And once more through the supervisor's own task, which is busy at that moment.
        await supervisor.start_child("c")
        theatre.starts["b"].append(Ignore())
        theatre.cue("c", ValueError())
        theatre.cue("b", ValueError())
        await wait_all_tasks_blocked()
        assert counts(supervisor) == [1, 1, 0, 1]


async def test_rest_for_one(autojump_clock, theatre, running):
    supervisor = three(theatre, Strategy.REST_FOR_ONE)
    async with running(supervisor):
        theatre.taken()
        await theatre.crash("b")
        assert theatre.taken() == ["-b", "-c", "+b", "+c"]
        assert lives(supervisor) == [1, 2, 2]
        await theatre.crash("c")
        assert theatre.taken() == ["-c", "+c"]
        await theatre.crash("a")
        assert theatre.taken() == ["-a", "-c", "-b", "+a", "+b", "+c"]
        assert counts(supervisor) == [3, 3, 0, 3]


async def test_rest_for_one_escalation(autojump_clock, theatre, running):
    supervisor = three(theatre, Strategy.REST_FOR_ONE, intensity=4, period_seconds=3600)
    async with running(supervisor) as run:
        theatre.starts["b"].extend([ValueError("error")] * 10)
        theatre.taken()
        await theatre.crash("b")
        await run.over.wait()
    assert theatre.log == ["-b", "-c", "!b", "!b", "!b", "!b", "-a"]
    assert isinstance(run.error, MaxRestartsExceeded)
    assert supervisor.statistics().restarts == {ExitKind.CRASHED: 1, ExitKind.START_ERROR: 3}


async def test_rest_for_one_other_child_fails_restart(autojump_clock, theatre, running):
    """The retry targets the one that failed; what was restarted before it stays up."""
    supervisor = three(theatre, Strategy.REST_FOR_ONE)
    async with running(supervisor):
        theatre.taken()
        theatre.starts["b"].append(ValueError("error"))
        await theatre.crash("a")
        assert theatre.taken() == ["-a", "-c", "-b", "+a", "!b", "+b", "+c"]
        assert states(supervisor) == dict.fromkeys("abc", RUNNING)
        assert lives(supervisor) == [2, 3, 2]
