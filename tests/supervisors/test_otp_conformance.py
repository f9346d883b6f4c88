"""OTP's own cases, by name: start, stop and the calls. Each checks what the case of that name in OTP's suite checks.

The other groups are in test_otp_strategies, test_otp_termination, test_otp_significant and test_otp_others; the table
in docs/supervision.md lists all names, and test_otp_table compares it with the tests.
"""

from __future__ import annotations

import math

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from supervisors import (
    AlreadyPresent,
    AlreadyStarted,
    AutoShutdown,
    ChildNotFound,
    ChildRunning,
    ChildSpec,
    ChildType,
    DynamicSupervisor,
    ExitKind,
    Ignore,
    MaxRestartsExceeded,
    ReportKind,
    Restart,
    Shutdown,
    SpecError,
    StartFailed,
    Strategy,
    Supervisor,
    check_childspecs,
    supervisor_spec,
)
from tests.supervisors.otp import DOWN, RUNNING, counts, deaf, failing, ignoring, spec, states, waiting

# ---- start


async def test_sup_start_normal(autojump_clock, running):
    supervisor = Supervisor(name="s")
    async with running(supervisor) as run:
        assert supervisor.statistics().state == "running"
    assert run.error is None


async def test_sup_start_ignore_init(autojump_clock, running):
    def init():
        raise Ignore

    root = Supervisor(name="root")
    async with running(root):
        assert (await root.start_child(supervisor_spec("sub", init))).ignored
        assert states(root) == {"sub": DOWN}


async def test_sup_start_ignore_child(autojump_clock, running):
    supervisor = Supervisor(name="s")
    async with running(supervisor):
        started = await supervisor.start_child(spec("child1", ignoring))
        assert (started.ignored, started.value) == (True, None)
        await supervisor.start_child(spec("child2"))
        assert states(supervisor) == {"child1": DOWN, "child2": RUNNING}
        assert counts(supervisor) == [2, 1, 0, 2]


async def test_sup_start_ignore_temporary_child(autojump_clock, running):
    supervisor = Supervisor([spec("child1", ignoring, restart=Restart.TEMPORARY), spec("child2")], name="s")
    async with running(supervisor):
        assert states(supervisor) == {"child2": RUNNING}
        assert counts(supervisor) == [1, 1, 0, 1]


async def test_sup_start_ignore_temporary_child_start_child(autojump_clock, running):
    supervisor = Supervisor(name="s")
    async with running(supervisor):
        assert (await supervisor.start_child(spec("child1", ignoring, restart=Restart.TEMPORARY))).ignored
        await supervisor.start_child(spec("child2"))
        assert states(supervisor) == {"child2": RUNNING}
        assert counts(supervisor) == [1, 1, 0, 1]


async def either(what, *, task_status):
    if what == "ignore":
        raise Ignore
    await waiting(what, task_status=task_status)


async def ignored_by_a_template(running, restart):
    supervisor = DynamicSupervisor(spec("child", either, restart=restart), name="s", max_children=None)
    async with running(supervisor):
        assert (await supervisor.start_child("ignore")).ignored
        second = await supervisor.start_child("run")
        assert states(supervisor) == {second.id: RUNNING}
        assert counts(supervisor) == [1, 1, 0, 1]


async def test_sup_start_ignore_temporary_child_start_child_simple(autojump_clock, running):
    await ignored_by_a_template(running, Restart.TEMPORARY)


async def test_sup_start_ignore_permanent_child_start_child_simple(autojump_clock, running):
    await ignored_by_a_template(running, Restart.PERMANENT)


async def test_sup_start_error_return(autojump_clock, running):
    def init():
        return Supervisor(name="")

    root = Supervisor(name="root")
    async with running(root):
        with pytest.raises(StartFailed) as caught:
            await root.start_child(supervisor_spec("sub", init))
        assert isinstance(caught.value.__cause__, SpecError)
        assert counts(root) == [0, 0, 0, 0]


async def test_sup_start_fail(autojump_clock, theatre, outcome):
    """An error while the supervisor starts stops what has started, in reverse; nothing is retried, nothing is left."""
    before = trio.lowlevel.current_statistics().tasks_living
    supervisor = Supervisor([theatre.spec("a"), theatre.spec("b"), spec("c", failing), theatre.spec("d")], name="s")
    error = await outcome(supervisor)
    assert isinstance(error, StartFailed)
    assert (error.child_id, str(error.__cause__)) == ("c", "no start")
    assert theatre.log == ["+a", "+b", "-b", "-a"]
    assert supervisor.statistics().start_failures == 1
    assert trio.lowlevel.current_statistics().tasks_living == before


async def test_sup_start_child_returns_error(autojump_clock, running):
    supervisor = Supervisor(name="s")
    async with running(supervisor):
        with pytest.raises(StartFailed, match="no start"):
            await supervisor.start_child(spec("child1", failing))
        assert states(supervisor) == {}
        assert counts(supervisor) == [0, 0, 0, 0]


async def test_sup_start_restart_child_returns_error(autojump_clock, theatre, running):
    supervisor = Supervisor([theatre.spec("child1")], name="s")
    async with running(supervisor):
        await supervisor.terminate_child("child1")
        theatre.starts["child1"].append(ValueError("no start"))
        with pytest.raises(StartFailed, match="no start"):
            await supervisor.restart_child("child1")
        assert states(supervisor) == {"child1": DOWN}
        assert counts(supervisor) == [1, 0, 0, 1]


async def test_sup_start_child_returns_error_simple(autojump_clock, running):
    supervisor = DynamicSupervisor(spec("child", failing), name="s", max_children=None)
    async with running(supervisor):
        with pytest.raises(StartFailed, match="no start"):
            await supervisor.start_child()
        assert states(supervisor) == {}
        assert counts(supervisor) == [0, 0, 0, 0]


async def test_sup_start_map(autojump_clock, running):
    supervisor = Supervisor(
        [ChildSpec("child1", waiting), supervisor_spec("sub", lambda: Supervisor(name="x"))], name="s"
    )
    flags = supervisor.flags
    assert (flags.strategy, flags.intensity, flags.period_seconds) == (Strategy.ONE_FOR_ONE, 3, 5.0)
    assert flags.auto_shutdown is AutoShutdown.NEVER
    async with running(supervisor):
        filled = supervisor.get_childspec("child1")
        assert (filled.restart, filled.significant, filled.type) == (Restart.PERMANENT, False, ChildType.WORKER)
        assert filled.stop_seconds == 5.0
        assert supervisor.get_childspec("sub").stop_seconds == math.inf


async def test_sup_start_map_simple(autojump_clock, running):
    supervisor = DynamicSupervisor(ChildSpec("child", waiting), name="s", max_children=None)
    async with running(supervisor):
        started = await supervisor.start_child("value")
        filled = supervisor.get_childspec(started.id)
        assert (filled.restart, filled.type, filled.stop_seconds) == (Restart.PERMANENT, ChildType.WORKER, 5.0)
        assert supervisor.child_value(started.id) == "value"


@pytest.mark.parametrize(
    ("faulty", "message"),
    [
        (lambda: ChildSpec("", waiting), "a child's id is a non-empty string"),
        (lambda: ChildSpec("a", None), "start is an async function"),
        (lambda: ChildSpec("a", waiting, restart="sometimes"), "Restart.PERMANENT"),
        (lambda: ChildSpec("a", waiting, shutdown_seconds=-1), "shutdown_seconds is a number of seconds >= 0"),
        (lambda: ChildSpec("a", waiting, type="wrker"), "ChildType.WORKER"),
        (lambda: ChildSpec("a", waiting, significant=True), "never permanent"),
        (lambda: Supervisor([spec("a"), spec("a")], name="s"), "two children have the id 'a'"),
        (lambda: Supervisor([spec("a", restart=Restart.TRANSIENT, significant=True)], name="s"), "set auto_shutdown"),
    ],
)
def test_sup_start_map_faulty_specs(faulty, message):
    with pytest.raises(SpecError, match=message):
        faulty()


# ---- stop


def ends(recorder) -> dict[str, ExitKind]:
    return {r.offender.id: r.exit.kind for r in recorder.reports if r.exit is not None and r.offender is not None}


async def test_sup_stop_infinity(autojump_clock, running, recorder):
    log = []

    async def slow(*, task_status):
        task_status.started()
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(80_000)
            log.append("done")

    specs = [spec("child1", slow, shutdown_seconds=math.inf), spec("child2", shutdown_seconds=math.inf)]
    async with running(Supervisor(specs, name="s", listener=recorder)):
        pass
    assert log == ["done"]
    assert ends(recorder) == {"child1": ExitKind.SHUTDOWN, "child2": ExitKind.SHUTDOWN}


async def test_sup_stop_timeout(autojump_clock, running, recorder):
    specs = [spec("child1"), spec("child2", deaf, shutdown_seconds=1), spec("child3")]
    async with running(Supervisor(specs, name="s", listener=recorder)):
        began = trio.current_time()
    assert trio.current_time() - began == pytest.approx(1)
    assert ends(recorder) == {
        "child1": ExitKind.SHUTDOWN,
        "child2": ExitKind.STOP_TIMEOUT,
        "child3": ExitKind.SHUTDOWN,
    }
    assert [r.offender.id for r in recorder.of(ReportKind.SHUTDOWN_ERROR)] == ["child2"]


async def busy_or_not(is_busy, *, task_status):
    await (deaf if is_busy else waiting)(200, task_status=task_status)


async def test_sup_stop_timeout_dynamic(autojump_clock, running, recorder):
    supervisor = DynamicSupervisor(
        spec("child", busy_or_not, shutdown_seconds=1), name="s", max_children=None, listener=recorder
    )
    async with running(supervisor):
        for is_busy in (False, False, True, True):
            await supervisor.start_child(is_busy)
        began = trio.current_time()
    assert trio.current_time() - began == pytest.approx(1)
    kinds = list(ends(recorder).values())
    assert kinds.count(ExitKind.SHUTDOWN) == kinds.count(ExitKind.STOP_TIMEOUT) == 2


async def test_sup_stop_brutal_kill(autojump_clock, running, recorder):
    specs = [spec("child1"), spec("child2", deaf, shutdown_seconds=0.0)]
    async with running(Supervisor(specs, name="s", listener=recorder)):
        began = trio.current_time()
    assert trio.current_time() == began
    assert ends(recorder) == {"child1": ExitKind.SHUTDOWN, "child2": ExitKind.KILLED}
    assert recorder.of(ReportKind.SHUTDOWN_ERROR) == []


async def test_sup_stop_brutal_kill_dynamic(autojump_clock, running, recorder):
    template = spec("child", deaf, shutdown_seconds=0.0)
    supervisor = DynamicSupervisor(template, name="s", max_children=None, listener=recorder)
    async with running(supervisor):
        for _ in range(10):
            await supervisor.start_child()
        began = trio.current_time()
    assert trio.current_time() == began
    assert list(ends(recorder).values()) == [ExitKind.KILLED] * 10


async def test_sup_stop_race(autojump_clock, running):
    """Children that end by themselves, in any way, while they are being stopped."""

    async def child(end, *, task_status):
        task_status.started()
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            if end is None:
                return
            raise end from None

    kinds = [None, Shutdown(), ValueError("error")]
    specs = [spec(f"child{n}", child, args=(kinds[n % 3],)) for n in range(30)]
    supervisor = Supervisor(specs, name="s")
    async with running(supervisor) as run:
        await supervisor.terminate_child("child29")
    assert run.error is None
    assert supervisor.statistics().restarts == {}
    template = spec("child", child)
    dynamic = DynamicSupervisor(template, name="d", max_children=None)
    async with running(dynamic) as run:
        for n in range(30):
            await dynamic.start_child(kinds[n % 3])
    assert run.error is None
    assert dynamic.which_children() == ()


async def test_sup_stop_non_shutdown_exit_dynamic(autojump_clock, running, recorder):
    async def child(n, *, task_status):
        task_status.started()
        try:
            await trio.sleep_forever()
        finally:
            if n:
                raise ValueError(f"exit {n}")

    supervisor = DynamicSupervisor(spec("child", child), name="s", max_children=None, listener=recorder)
    async with running(supervisor) as run:
        for n in range(5):
            await supervisor.start_child(n)
    assert run.error is None
    reasons = sorted(r.reason for r in recorder.of(ReportKind.SHUTDOWN_ERROR))
    assert reasons == [f"ValueError: exit {n}" for n in range(1, 5)]


# ---- the calls


async def test_child_adm(autojump_clock, theatre, running):
    supervisor = Supervisor(name="s")
    async with running(supervisor):
        assert (states(supervisor), counts(supervisor)) == ({}, [0, 0, 0, 0])
        await supervisor.start_child(theatre.spec("child1"))
        assert (states(supervisor), counts(supervisor)) == ({"child1": RUNNING}, [1, 1, 0, 1])
        with pytest.raises(AlreadyStarted):
            await supervisor.start_child(theatre.spec("child1"))
        with pytest.raises(ChildRunning):
            await supervisor.delete_child("child1")
        with pytest.raises(ChildRunning):
            await supervisor.restart_child("child1")
        for _ in range(2):
            await supervisor.terminate_child("child1")
            assert (states(supervisor), counts(supervisor)) == ({"child1": DOWN}, [1, 0, 0, 1])
        with pytest.raises(AlreadyPresent):
            await supervisor.start_child(theatre.spec("child1"))
        assert (await supervisor.restart_child("child1")).incarnation == 2
        assert counts(supervisor) == [1, 1, 0, 1]
        await supervisor.terminate_child("child1")
        await supervisor.delete_child("child1")
        assert (states(supervisor), counts(supervisor)) == ({}, [0, 0, 0, 0])
        for call in (supervisor.terminate_child, supervisor.restart_child, supervisor.delete_child):
            with pytest.raises(ChildNotFound):
                await call("child1")
        await supervisor.start_child(theatre.spec("child1"))
        # As in OTP: a restart that fails keeps the spec, a start that fails does not.
        await supervisor.terminate_child("child1")
        theatre.starts["child1"].append(ValueError("error"))
        with pytest.raises(StartFailed):
            await supervisor.restart_child("child1")
        assert states(supervisor) == {"child1": DOWN}
        assert (await supervisor.restart_child("child1")).value == "value of child1"


async def test_child_adm_simple(autojump_clock, theatre, running):
    supervisor = DynamicSupervisor(ChildSpec("child", theatre.play), name="s", max_children=None)
    async with running(supervisor):
        assert (states(supervisor), counts(supervisor)) == ({}, [0, 0, 0, 0])
        first, second = await supervisor.start_child("a"), await supervisor.start_child("b")
        assert states(supervisor) == {first.id: RUNNING, second.id: RUNNING}
        await supervisor.terminate_child(first.id)
        assert (states(supervisor), counts(supervisor)) == ({second.id: RUNNING}, [1, 1, 0, 1])
        with pytest.raises(ChildNotFound):
            await supervisor.terminate_child(first.id)
        # What OTP answers with {error, simple_one_for_one} cannot even be asked.
        assert not hasattr(supervisor, "restart_child")
        assert not hasattr(supervisor, "delete_child")
        await supervisor.terminate_child(second.id)
        assert counts(supervisor) == [0, 0, 0, 0]


async def test_extra_return(autojump_clock, running):
    """What OTP gives back as Extra is part of the value here."""
    supervisor = Supervisor(name="s")
    async with running(supervisor):
        started = await supervisor.start_child(spec("child1", args=(("server", "extra"),)))
        assert started.value == ("server", "extra")
        await supervisor.terminate_child("child1")
        assert (await supervisor.restart_child("child1")).value == ("server", "extra")
        assert supervisor.which_child("child1").value == ("server", "extra")


async def test_child_specs(autojump_clock, running):
    supervisor = Supervisor(name="s")
    async with running(supervisor):
        with pytest.raises(SpecError, match="ChildSpec"):
            check_childspecs(["child"])
        with pytest.raises(SpecError, match="two children"):
            check_childspecs([spec("a"), spec("a")])
        with pytest.raises(SpecError, match="no use for a significant child"):
            await supervisor.start_child(spec("a", restart=Restart.TRANSIENT, significant=True))
        check_childspecs([spec("a"), spec("b", restart=Restart.TEMPORARY)])
        assert supervisor.which_children() == ()


async def test_child_specs_map(autojump_clock, running):
    given = spec("child1", args=(1,), restart=Restart.TRANSIENT, shutdown_seconds=2.0, type=ChildType.SUPERVISOR)
    supervisor = Supervisor([given], name="s")
    async with running(supervisor):
        assert supervisor.get_childspec("child1") is given
        with pytest.raises(ChildNotFound):
            supervisor.get_childspec("child2")
    significant = spec("a", restart=Restart.TEMPORARY, significant=True)
    check_childspecs([significant])
    check_childspecs([significant], auto_shutdown=AutoShutdown.ANY_SIGNIFICANT)
    with pytest.raises(SpecError, match="no use for a significant child"):
        check_childspecs([significant], auto_shutdown=AutoShutdown.NEVER)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"strategy": "none_for_one"}, "strategy is one of"),
        ({"intensity": -1}, "intensity is a whole number of restarts >= 0"),
        ({"intensity": 1.5}, "intensity is a whole number"),
        ({"period_seconds": 0}, "period_seconds is a number of seconds > 0"),
        ({"period_seconds": "5"}, "period_seconds is a number of seconds > 0"),
        ({"auto_shutdown": "sometimes"}, "auto_shutdown is one of"),
        ({"name": None}, "name is a non-empty string"),
    ],
)
def test_sup_flags(flags, message):
    with pytest.raises(SpecError, match=message):
        Supervisor(**{"name": "s", **flags})


async def test_multiple_restarts(autojump_clock, theatre, running):
    """Crashes spaced past the window never trip it; two within it do."""
    supervisor = Supervisor([theatre.spec("child1")], name="s", intensity=1, period_seconds=1)
    async with running(supervisor) as run:
        for _ in range(10):
            await theatre.crash("child1")
            await trio.sleep(1.1)
        assert states(supervisor) == {"child1": RUNNING}
        await theatre.crash("child1")
        theatre.cue("child1", ValueError("one too many"))
        await run.over.wait()
    assert isinstance(run.error, MaxRestartsExceeded)
    await wait_all_tasks_blocked()
