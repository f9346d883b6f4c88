"""OTP's own cases, by name: counting, what is not kept, hanging restart loops, live change, order and scale."""

from __future__ import annotations

import gc
import time
import weakref

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from supervisors import (
    AlreadyStarted,
    ChildRestarting,
    ChildSpec,
    ChildType,
    DynamicSupervisor,
    MaxRestartsExceeded,
    Restart,
    SpecError,
    StartFailed,
    Strategy,
    Supervisor,
    supervisor_spec,
)
from supervisors.forcing import force_kill
from tests.supervisors.otp import DOWN, RESTARTING, RUNNING, Deadlock, counts, spec, states, waiting

# ---- counting


async def test_count_children(autojump_clock, running):
    supervisor = DynamicSupervisor(spec("child"), name="s", max_children=None)
    async with running(supervisor):
        ids = [(await supervisor.start_child()).id for _ in range(1000)]
        assert counts(supervisor) == [1000, 1000, 0, 1000]
        assert len(supervisor.which_children()) == 1000
        ids += [(await supervisor.start_child()).id for _ in range(1000)]
        assert counts(supervisor) == [2000, 2000, 0, 2000]
        for child_id in ids:
            await supervisor.terminate_child(child_id)
        assert counts(supervisor) == [0, 0, 0, 0]


async def test_count_children_supervisor(autojump_clock, running):
    specs = [spec(f"worker{n}") for n in range(3)]
    specs += [supervisor_spec(f"sup{n}", lambda: Supervisor(name="sub")) for n in range(2)]
    supervisor = Supervisor(specs, name="s")
    async with running(supervisor):
        assert counts(supervisor) == [5, 5, 2, 3]
        await supervisor.terminate_child("worker0")
        await supervisor.terminate_child("sup0")
        assert counts(supervisor) == [5, 3, 2, 3]
        await supervisor.delete_child("sup0")
        assert counts(supervisor) == [4, 3, 1, 3]


async def test_count_restarting_children(autojump_clock, running):
    """A child whose restart keeps failing is known and not active; it becomes active again with the restart."""
    deadlock = Deadlock()
    supervisor = DynamicSupervisor(
        spec("child", deadlock.child), name="s", max_children=3, intensity=100, period_seconds=3600
    )
    async with running(supervisor):
        crashes = []
        for _ in range(3):
            await supervisor.start_child()
            crashes.append(deadlock.crash)
        assert counts(supervisor) == [3, 3, 0, 3]
        deadlock.fail_start = True
        for number, crash in enumerate(crashes, start=1):
            crash.set()
            await trio.sleep(5)
            assert counts(supervisor) == [3, 3 - number, 0, 3]
        deadlock.fail_start = False
        await trio.sleep(10)
        assert counts(supervisor) == [3, 3, 0, 3]


# ---- what is not kept


class Big:
    """Something that a weak reference can watch."""


async def takes_much(big, *, task_status):
    del big
    task_status.started()
    await trio.sleep_forever()


async def test_do_not_save_start_parameters_for_temporary_children(autojump_clock, running):
    supervisor = Supervisor(name="s")
    dynamic = DynamicSupervisor(spec("t", takes_much, restart=Restart.TEMPORARY), name="d", max_children=None)
    async with running(supervisor), running(dynamic):
        kept: dict[str, weakref.ref[Big]] = {}
        for restart in Restart:
            big = Big()
            kept[restart.value] = weakref.ref(big)
            await supervisor.start_child(spec(restart.value, takes_much, args=(big,), restart=restart))
        big = Big()
        kept["dynamic"] = weakref.ref(big)
        await dynamic.start_child(big)
        del big
        gc.collect()
        assert {name: ref() is not None for name, ref in kept.items()} == {
            "permanent": True,
            "transient": True,
            "temporary": False,
            "dynamic": False,
        }
        assert supervisor.get_childspec("temporary").args == ()


async def test_do_not_save_child_specs_for_temporary_children(autojump_clock, theatre, running):
    supervisor = Supervisor(name="s")
    async with running(supervisor):
        for end in ("finish", "crash", "terminate"):
            await supervisor.start_child(theatre.spec("child1", Restart.TEMPORARY))
            assert counts(supervisor) == [1, 1, 0, 1]
            await (supervisor.terminate_child if end == "terminate" else getattr(theatre, end))("child1")
            assert counts(supervisor) == [0, 0, 0, 0]


async def test_simple_one_for_one_scale_many_temporary_children(autojump_clock, running):
    """Ten times the children cost at most fifty times the time."""

    async def short(*, task_status):
        task_status.started()

    async def cost(count):
        supervisor = DynamicSupervisor(spec("child", short, restart=Restart.TEMPORARY), name="s", max_children=None)
        async with running(supervisor):
            began = time.thread_time()
            for _ in range(count):
                await supervisor.start_child()
            await wait_all_tasks_blocked()
            assert counts(supervisor) == [0, 0, 0, 0]
            return time.thread_time() - began

    await cost(100)
    assert await cost(2000) <= 50 * await cost(200)


# ---- a tree that is reached from afar


async def test_simple_global_supervisor(autojump_clock, theatre, running):
    """Reached through the tree instead of a global name: kill the supervisor, kill the worker, let the worker end."""
    sub = supervisor_spec("sub", lambda: Supervisor([theatre.spec("server")], name="sub", intensity=10))
    root = Supervisor([sub], name="root", intensity=10)
    async with running(root):

        def lives():
            below = root.snapshot().children[0]
            return below.incarnation, below.children[0].incarnation

        assert lives() == (1, 1)
        await theatre.crash("server")
        assert lives() == (1, 2)
        await theatre.finish("server")
        assert lives() == (1, 3)
        task = root._life.roster.get("sub").incarnation._task
        force_kill(task)
        await wait_all_tasks_blocked()
        assert lives() == (2, 1)
        assert theatre.log.count("+server") == theatre.log.count("-server") + 1 == 4


# ---- hanging restart loops


async def hanging(supervisor, deadlock, name, others=0):
    """Check what a child answers whose restart fails again and again: it can be asked, stopped and started."""
    deadlock.restart()
    await trio.sleep(3)
    assert supervisor.which_child(name).state.value == RESTARTING
    if isinstance(supervisor, Supervisor):
        with pytest.raises(AlreadyStarted):
            await supervisor.start_child(spec(name))
        for call in (supervisor.restart_child, supervisor.delete_child):
            with pytest.raises(ChildRestarting):
                await call(name)
    assert counts(supervisor)[1] == others
    await supervisor.terminate_child(name)
    await trio.sleep(60)


async def test_hanging_restart_loop(autojump_clock, running):
    deadlock = Deadlock()
    supervisor = Supervisor([spec("child1", deadlock.child)], name="s", intensity=8, period_seconds=10)
    async with running(supervisor) as run:
        await hanging(supervisor, deadlock, "child1")
        assert states(supervisor) == {"child1": DOWN}
        deadlock.fail_start = False
        await supervisor.restart_child("child1")
        assert states(supervisor) == {"child1": RUNNING}
        # And the supervisor itself can be stopped in the middle of it.
        deadlock.restart()
        await trio.sleep(7)
        supervisor.stop()
        with trio.fail_after(10):
            await run.over.wait()
    assert run.error is None


async def test_hanging_restart_loop_rest_for_one(autojump_clock, running):
    deadlock = Deadlock()
    specs = [spec("child1"), spec("child2", deadlock.child), spec("child3")]
    supervisor = Supervisor(specs, name="s", strategy=Strategy.REST_FOR_ONE, intensity=8, period_seconds=10)
    async with running(supervisor) as run:
        await hanging(supervisor, deadlock, "child2", others=1)
        assert states(supervisor) == {"child1": RUNNING, "child2": DOWN, "child3": DOWN}
        deadlock.fail_start = False
        await supervisor.restart_child("child2")
        await supervisor.restart_child("child3")
        deadlock.restart()
        await trio.sleep(7)
        assert states(supervisor) == {"child1": RUNNING, "child2": RESTARTING, "child3": DOWN}
        supervisor.stop()
        with trio.fail_after(10):
            await run.over.wait()
    assert run.error is None


async def test_hanging_restart_loop_simple(autojump_clock, running):
    deadlock = Deadlock()
    supervisor = DynamicSupervisor(
        spec("child", deadlock.child), name="s", max_children=None, intensity=8, period_seconds=10
    )
    async with running(supervisor) as run:
        started = await supervisor.start_child()
        await hanging(supervisor, deadlock, started.id)
        assert states(supervisor) == {}
        deadlock.fail_start = False
        started = await supervisor.start_child()
        deadlock.restart()
        await trio.sleep(7)
        assert states(supervisor) == {started.id: RESTARTING}
        supervisor.stop()
        with trio.fail_after(10):
            await run.over.wait()
    assert run.error is None


# ---- live change


async def test_code_change(autojump_clock, theatre, running):
    """Flags and specs of a running supervisor: running children go on, new specs wait, old ones stay last."""
    supervisor = Supervisor([theatre.spec("a"), theatre.spec("b")], name="s")
    async with running(supervisor):
        theatre.taken()
        await supervisor.change(intensity=1, period_seconds=100.0)
        assert (supervisor.flags.intensity, supervisor.flags.period_seconds) == (1, 100.0)
        transient = theatre.spec("b", Restart.TRANSIENT)
        await supervisor.change([theatre.spec("new"), transient])
        assert theatre.taken() == []
        assert states(supervisor) == {"new": DOWN, "b": RUNNING, "a": RUNNING}
        assert supervisor.get_childspec("b") is transient
        await theatre.finish("b")
        assert states(supervisor)["b"] == DOWN
        await supervisor.restart_child("new")
        # A change that makes no sense changes nothing.
        for faulty in (
            {"intensity": -1},
            {"children": [theatre.spec("x"), theatre.spec("x")], "intensity": 7},
            {"children": ["x"]},
            {"strategy": "all"},
        ):
            with pytest.raises(SpecError):
                await supervisor.change(**faulty)
        assert supervisor.flags.intensity == 1
        assert states(supervisor) == {"new": RUNNING, "b": DOWN, "a": RUNNING}
        await supervisor.change(strategy=Strategy.ONE_FOR_ALL)
        theatre.taken()
        await theatre.crash("a")
        assert theatre.taken() == ["-a", "-new", "+new", "+b", "+a"]


async def test_code_change_map(autojump_clock, theatre, running):
    """What was counted in the restart window goes on counting under new flags."""
    supervisor = Supervisor([theatre.spec("a")], name="s", intensity=5, period_seconds=10)
    async with running(supervisor) as run:
        for _ in range(3):
            await theatre.crash("a")
        await supervisor.change(intensity=3)
        assert supervisor.statistics().intensity_used_ratio == 1.0
        theatre.cue("a", ValueError("one too many"))
        await run.over.wait()
    assert isinstance(run.error, MaxRestartsExceeded)


async def test_code_change_simple(autojump_clock, running):
    """A new template counts from each child's next start."""

    async def old(value, *, task_status):
        task_status.started(("old", value))
        await crash.wait()
        raise ValueError

    async def new(value, *, task_status):
        task_status.started(("new", value))
        await trio.sleep_forever()

    crash = trio.Event()
    supervisor = DynamicSupervisor(ChildSpec("child", old), name="s", max_children=None)
    async with running(supervisor):
        started = await supervisor.start_child(1)
        await supervisor.change(ChildSpec("child", new))
        assert supervisor.child_value(started.id) == ("old", 1)
        assert (await supervisor.start_child(2)).value == ("new", 2)
        crash.set()
        await wait_all_tasks_blocked()
        assert supervisor.child_value(started.id) == ("new", 1)


async def test_code_change_simple_map(autojump_clock, running):
    supervisor = DynamicSupervisor(spec("child"), name="s", max_children=1)
    async with running(supervisor):
        await supervisor.change(max_children=2, intensity=7)
        assert (supervisor.flags.max_children, supervisor.flags.intensity) == (2, 7)
        with pytest.raises(SpecError, match="no use for a significant child"):
            await supervisor.change(spec("child", restart=Restart.TEMPORARY, significant=True))
        with pytest.raises(SpecError, match="max_children"):
            await supervisor.change(max_children=-1)
        assert supervisor.flags.max_children == 2
        await supervisor.start_child()
        await supervisor.start_child()


# ---- order and scale


async def test_order_of_children(autojump_clock, theatre, running):
    """Children start in order, stop in reverse, and keep their order in a partial restart."""
    specs = [theatre.spec(f"child{n}") for n in range(1, 6)]
    supervisor = Supervisor(specs, name="s", strategy=Strategy.REST_FOR_ONE)
    async with running(supervisor):
        assert theatre.taken() == [f"+child{n}" for n in (1, 2, 3, 4, 5)]
        await theatre.crash("child3")
        assert theatre.taken() == ["-child3", "-child5", "-child4", "+child3", "+child4", "+child5"]
        await supervisor.terminate_child("child2")
        await supervisor.restart_child("child2")
        theatre.taken()
        await theatre.crash("child1")
        assert theatre.taken() == [
            "-child1",
            *[f"-child{n}" for n in (5, 4, 3, 2)],
            *[f"+child{n}" for n in range(1, 6)],
        ]
    assert theatre.taken() == [f"-child{n}" for n in (5, 4, 3, 2, 1)]


async def test_scale_start_stop_many_children(autojump_clock):
    """A hundred times the children cost at most a thousand times the time."""

    async def cost(count):
        supervisor = Supervisor([spec(str(n)) for n in range(count)], name="s")
        async with trio.open_nursery() as nursery:
            began = time.thread_time()
            await nursery.start(supervisor.run)
            supervisor.stop()
        return time.thread_time() - began

    await cost(20)
    assert await cost(3000) <= 1000 * await cost(30)


async def test_already_started_outside_supervisor(autojump_clock, running):
    """A start that finds its server running elsewhere fails and keeps nothing; when that one is gone, it works."""
    registered: dict[str, str] = {}

    async def server(where, *, task_status):
        if "server" in registered:
            raise RuntimeError(f"already started {registered['server']}")
        registered["server"] = where
        try:
            task_status.started()
            await trio.sleep_forever()
        finally:
            del registered["server"]

    supervisor = Supervisor(name="s")
    async with running(supervisor), trio.open_nursery() as nursery:
        await nursery.start(server, "outside")
        with pytest.raises(StartFailed, match="already started outside"):
            await supervisor.start_child(spec("server", server, args=("inside",)))
        assert states(supervisor) == {}
        nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            await wait_all_tasks_blocked()
            await supervisor.start_child(spec("server", server, args=("inside",)))
        assert registered == {"server": "inside"}


async def test_which_children(autojump_clock, running):
    specs = [spec("a", args=("value",)), supervisor_spec("sub", lambda: Supervisor(name="x")), spec("c")]
    supervisor = Supervisor(specs, name="s")
    async with running(supervisor):
        await supervisor.terminate_child("c")
        a, sub, c = supervisor.which_children()
        assert (a.id, a.state, a.type, a.value) == ("a", RUNNING, ChildType.WORKER, "value")
        assert (sub.id, sub.type, sub.value) == ("sub", ChildType.SUPERVISOR, supervisor.child_value("sub"))
        assert (c.id, c.state, c.value) == ("c", DOWN, None)
        assert supervisor.which_child("c") == c


async def test_which_children_simple_one_for_one(autojump_clock, running):
    supervisor = DynamicSupervisor(ChildSpec("child", waiting), name="s", max_children=None)
    async with running(supervisor):
        started = [await supervisor.start_child(n) for n in range(3)]
        assert len({each.id for each in started}) == 3
        assert [(info.id, info.value, info.state) for info in supervisor.which_children()] == [
            (each.id, n, RUNNING) for n, each in enumerate(started)
        ]
        await supervisor.terminate_child(started[1].id)
        assert [info.value for info in supervisor.which_children()] == [0, 2]
