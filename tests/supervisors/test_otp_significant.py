"""OTP's own cases, by name: significant children and the automatic shutdown that follows from their end."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from supervisors import (
    AutoShutdown,
    ChildSpec,
    DynamicSupervisor,
    ExitKind,
    MaxRestartsExceeded,
    ReportKind,
    Restart,
    SpecError,
    Strategy,
    Supervisor,
    supervisor_spec,
)
from tests.supervisors.otp import DOWN, RUNNING, spec, states, waiting

ANY, ALL, NEVER = AutoShutdown.ANY_SIGNIFICANT, AutoShutdown.ALL_SIGNIFICANT, AutoShutdown.NEVER
BOTH = pytest.mark.parametrize("auto", [ANY, ALL])
ENDS = ("finish", "shut_down", "crash")


def over(run) -> bool:
    return run.over.is_set()


@BOTH
@pytest.mark.parametrize("end", ENDS)
async def test_nonsignificant_temporary(autojump_clock, theatre, running, auto, end):
    specs = [theatre.spec("a", Restart.TEMPORARY), theatre.spec("b", Restart.TEMPORARY)]
    supervisor = Supervisor(specs, name="s", auto_shutdown=auto)
    async with running(supervisor) as run:
        await getattr(theatre, end)("a")
        assert states(supervisor) == {"b": RUNNING}
        await getattr(theatre, end)("b")
        assert not over(run)


@BOTH
@pytest.mark.parametrize("end", ENDS)
async def test_nonsignificant_transient(autojump_clock, theatre, running, auto, end):
    specs = [theatre.spec("a", Restart.TRANSIENT), theatre.spec("b", Restart.TRANSIENT)]
    supervisor = Supervisor(specs, name="s", auto_shutdown=auto)
    async with running(supervisor) as run:
        for name in "ab":
            await getattr(theatre, end)(name)
        expected = RUNNING if end == "crash" else DOWN
        assert states(supervisor) == {"a": expected, "b": expected}
        assert not over(run)


@pytest.mark.parametrize("end", ENDS)
async def test_significant_temporary(autojump_clock, theatre, running, recorder, end):
    """Whatever way it ends by itself; not by terminate_child. With all_significant only the last one counts."""
    specs = [theatre.spec(name, Restart.TEMPORARY, significant=True) for name in "ab"]
    supervisor = Supervisor([*specs, theatre.spec("c")], name="s", auto_shutdown=ANY, listener=recorder)
    async with running(supervisor) as run:
        await supervisor.terminate_child("a")
        assert not over(run)
        theatre.taken()
        await getattr(theatre, end)("b")
        await run.over.wait()
    assert run.error is None
    assert theatre.log == ["-b", "-c"]
    assert [r.offender.id for r in recorder.of(ReportKind.AUTO_SHUTDOWN)] == ["b"]
    supervisor = Supervisor([*specs, theatre.spec("c")], name="s", auto_shutdown=ALL)
    async with running(supervisor) as run:
        await getattr(theatre, end)("a")
        assert states(supervisor) == {"b": RUNNING, "c": RUNNING}
        await getattr(theatre, end)("b")
        await run.over.wait()
    assert run.error is None


async def test_significant_transient(autojump_clock, theatre, running):
    specs = [theatre.spec(name, Restart.TRANSIENT, significant=True) for name in "ab"]
    for end in ("finish", "shut_down"):
        supervisor = Supervisor(specs, name="s", auto_shutdown=ANY)
        async with running(supervisor) as run:
            await theatre.crash("a")
            assert states(supervisor) == {"a": RUNNING, "b": RUNNING}
            await supervisor.terminate_child("b")
            assert not over(run)
            await getattr(theatre, end)("a")
            await run.over.wait()
        assert run.error is None
        supervisor = Supervisor(specs, name="s", auto_shutdown=ALL)
        async with running(supervisor) as run:
            await getattr(theatre, end)("a")
            assert states(supervisor) == {"a": DOWN, "b": RUNNING}
            await theatre.crash("b")
            assert not over(run)
            await getattr(theatre, end)("b")
            await run.over.wait()
        assert run.error is None


def test_significant_simple():
    """A template cannot be significant."""
    for restart in (Restart.TRANSIENT, Restart.TEMPORARY):
        with pytest.raises(SpecError, match="no use for a significant child"):
            DynamicSupervisor(spec(restart=restart, significant=True), name="s", max_children=None)
    with pytest.raises(SpecError, match="never permanent"):
        spec(significant=True)


@pytest.mark.parametrize("strategy", [Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE])
@BOTH
async def test_significant_bystander(autojump_clock, theatre, running, auto, strategy):
    """One that is stopped because a sibling restarts has not ended by itself."""
    specs = [
        theatre.spec("a"),
        theatre.spec("transient", Restart.TRANSIENT, significant=True),
        theatre.spec("temporary", Restart.TEMPORARY, significant=True),
    ]
    supervisor = Supervisor(specs, name="s", auto_shutdown=auto, strategy=strategy)
    async with running(supervisor) as run:
        await theatre.crash("a")
        assert states(supervisor) == {"a": RUNNING, "transient": RUNNING}
        assert not over(run)
        await theatre.finish("transient")
        await run.over.wait()
    assert run.error is None


@BOTH
async def test_significant_escalation(autojump_clock, theatre, running, recorder, auto):
    """A supervisor that shut itself down has ended with shutdown; if it is significant, its parent follows."""

    def subtree():
        child = theatre.spec("child", Restart.TEMPORARY, significant=True)
        return Supervisor([child, theatre.spec("other")], name="sub", auto_shutdown=auto)

    sub = supervisor_spec("sub", subtree, restart=Restart.TRANSIENT, significant=True)
    root = Supervisor([theatre.spec("first"), sub], name="root", auto_shutdown=auto, listener=recorder)
    async with running(root) as run:
        theatre.taken()
        await theatre.finish("child")
        await run.over.wait()
    assert run.error is None
    assert theatre.log == ["-child", "-other", "-first"]
    assert [(r.supervisor, r.offender.id) for r in recorder.of(ReportKind.AUTO_SHUTDOWN)] == [
        ("sub", "child"),
        ("root", "sub"),
    ]
    assert recorder.of(ReportKind.AUTO_SHUTDOWN)[1].exit.kind is ExitKind.SHUTDOWN


async def test_a_permanent_supervisor_that_shut_itself_down_is_restarted(autojump_clock, theatre, running):
    def subtree():
        child = theatre.spec("child", Restart.TEMPORARY, significant=True)
        return Supervisor([child], name="sub", auto_shutdown=ANY)

    root = Supervisor([supervisor_spec("sub", subtree)], name="root", intensity=1)
    async with running(root) as run:
        await theatre.finish("child")
        assert root.snapshot().children[0].incarnation == 2
        await theatre.finish("child")
        await run.over.wait()
    assert isinstance(run.error, MaxRestartsExceeded)


async def upgraded(theatre, running, before, after):
    """Change auto_shutdown while two significant children run; return after how many normal ends it is over."""
    significant = [theatre.spec(name, Restart.TRANSIENT, significant=True) for name in "ab"]
    plain = [theatre.spec(name, Restart.TRANSIENT) for name in "ab"]
    supervisor = Supervisor(plain if before is NEVER else significant, name="s", auto_shutdown=before)
    async with running(supervisor) as run:
        await supervisor.change(plain if after is NEVER else significant, auto_shutdown=after)
        assert supervisor.flags.auto_shutdown is after
        assert states(supervisor) == {"a": RUNNING, "b": RUNNING}
        assert [node.incarnation for node in supervisor.snapshot().children] == [1, 1]
        for number, name in enumerate("ab", start=1):
            await theatre.finish(name)
            if over(run):
                return number
    return None


async def test_significant_upgrade_never_any(autojump_clock, theatre, running):
    assert await upgraded(theatre, running, NEVER, ANY) == 1


async def test_significant_upgrade_any_never(autojump_clock, theatre, running):
    assert await upgraded(theatre, running, ANY, NEVER) is None


async def test_significant_upgrade_never_all(autojump_clock, theatre, running):
    assert await upgraded(theatre, running, NEVER, ALL) == 2


async def test_significant_upgrade_all_never(autojump_clock, theatre, running):
    assert await upgraded(theatre, running, ALL, NEVER) is None


async def test_significant_upgrade_any_all(autojump_clock, theatre, running):
    assert await upgraded(theatre, running, ANY, ALL) == 2


async def test_significant_upgrade_all_any(autojump_clock, theatre, running):
    assert await upgraded(theatre, running, ALL, ANY) == 1


async def test_significant_upgrade_child(autojump_clock, theatre, running):
    """A child becomes significant, or ceases to be, while it runs; what makes no sense is refused as a whole."""
    plain = theatre.spec("a", Restart.TRANSIENT)
    significant = theatre.spec("a", Restart.TRANSIENT, significant=True)
    supervisor = Supervisor([plain], name="s")
    async with running(supervisor):
        with pytest.raises(SpecError, match="no use for a significant child"):
            await supervisor.change([significant])
        assert supervisor.get_childspec("a") is plain
        with pytest.raises(SpecError, match="no use for a significant child"):
            await supervisor.change([significant], auto_shutdown=NEVER, intensity=9)
        assert supervisor.flags.intensity == 3
    supervisor = Supervisor([significant], name="s", auto_shutdown=ANY)
    async with running(supervisor) as run:
        await supervisor.change([plain])
        await theatre.finish("a")
        assert not over(run)
        await supervisor.change([significant])
        await supervisor.restart_child("a")
        await theatre.finish("a")
        await run.over.wait()
    assert run.error is None


async def test_an_end_while_the_supervisor_is_busy_shuts_it_down_as_well(autojump_clock, theatre, running):
    async def slow(*, task_status):
        await trio.sleep(5)
        await waiting(task_status=task_status)

    supervisor = Supervisor(
        [theatre.spec("a", Restart.TEMPORARY, significant=True)], name="s", auto_shutdown=ANY
    )  # fmt: skip
    async with running(supervisor) as run, trio.open_nursery() as nursery:
        nursery.start_soon(supervisor.start_child, ChildSpec("slow", slow))
        await wait_all_tasks_blocked()
        await theatre.finish("a")
        assert not over(run)
        await run.over.wait()
    assert run.error is None


async def test_one_that_stays_significant_under_never_ends_without_a_consequence(autojump_clock, theatre, running):
    """As in OTP: a change of flags alone does not look at children that it does not name."""
    specs = [theatre.spec("a", Restart.TRANSIENT, significant=True)]
    supervisor = Supervisor(specs, name="s", auto_shutdown=ANY)
    async with running(supervisor) as run:
        await supervisor.change(auto_shutdown=NEVER)
        await theatre.finish("a")
        assert not over(run)
        assert states(supervisor) == {"a": DOWN}
        assert not supervisor.ended_significantly
