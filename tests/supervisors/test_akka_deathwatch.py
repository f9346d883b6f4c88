"""Akka's cases for death watch: told once, when it is over, with the cause."""

from __future__ import annotations

import logging

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from supervisors import (
    Backoff,
    ChildNotFound,
    DynamicSupervisor,
    ExitKind,
    MaxRestartsExceeded,
    Restart,
    Strategy,
    Supervisor,
)
from tests.supervisors.otp import spec, waiting


class Told(list):
    def kinds(self):
        return [(each.child_id, each.exit.kind if each.exit else None) for each in self]


@pytest.fixture
def told():
    return Told()


async def test_one_terminated_when_it_is_stopped(autojump_clock, theatre, running, told):
    """Akka: notify with one Terminated message when an Actor is stopped."""
    supervisor = Supervisor([theatre.spec("a")], name="s")
    async with running(supervisor):
        watch = supervisor.watch("a", told.append)
        assert watch.pending
        await supervisor.terminate_child("a")
        assert told.kinds() == [("a", ExitKind.SHUTDOWN)]
        assert not watch.pending
        await supervisor.terminate_child("a")
    assert len(told) == 1


async def test_at_once_when_it_is_already_dead(autojump_clock, theatre, running, told):
    """Akka: notify with one Terminated message when an Actor is already dead."""
    supervisor = Supervisor([theatre.spec("a", Restart.TRANSIENT), spec("b")], name="s")
    async with running(supervisor):
        await theatre.finish("a")
        supervisor.watch("a", told.append)
        assert told.kinds() == [("a", ExitKind.NORMAL)]
        with pytest.raises(ChildNotFound):
            supervisor.watch("nobody", told.append)


async def test_a_child_that_never_lived_is_terminated_without_an_exit(theatre, told):
    supervisor = Supervisor([theatre.spec("a")], name="s")
    supervisor.watch("a", told.append)
    assert [(each.incarnation, each.exit) for each in told] == [(0, None)]


async def test_all_who_watch_are_told_and_those_who_gave_up_are_not(autojump_clock, theatre, running, told):
    """Akka: notify all monitors; notify current monitors only (unwatch)."""
    supervisor = Supervisor([theatre.spec("a", Restart.TEMPORARY)], name="s")
    gone = []
    async with running(supervisor):
        for _ in range(3):
            supervisor.watch("a", told.append)
        supervisor.watch("a", gone.append).cancel()
        await theatre.finish("a")
    assert len(told) == 3
    assert gone == []


async def test_not_when_it_is_restarted_and_then_with_the_cause_of_the_crash(autojump_clock, theatre, running, told):
    """Akka: notify once when an Actor is stopped but not when restarted."""
    supervisor = Supervisor([theatre.spec("a")], name="s", intensity=2)
    async with running(supervisor) as run:
        supervisor.watch("a", told.append)
        await theatre.crash("a")
        await theatre.finish("a")
        assert told == []
        theatre.cue("a", ValueError("the last straw"))
        await run.over.wait()
    assert isinstance(run.error, MaxRestartsExceeded)
    assert told.kinds() == [("a", ExitKind.CRASHED)]
    assert told[0].incarnation == 3
    assert str(told[0].exit.failure) == "ValueError: the last straw"


async def test_not_while_a_restart_waits_or_is_tried_again(autojump_clock, theatre, running, told):
    backoff = Backoff(1.0, 1.0, jitter=0.0)
    supervisor = Supervisor([theatre.spec("a", backoff=backoff)], name="s", intensity=10)
    async with running(supervisor):
        theatre.starts["a"].extend([ValueError("error")] * 2)
        supervisor.watch("a", told.append)
        await theatre.crash("a")
        supervisor.watch("a", told.append)
        await trio.sleep(1.5)
        assert told == []
        await trio.sleep(10)
        assert told == []
        await theatre.crash("a")
        await supervisor.terminate_child("a")
        assert told.kinds() == [("a", ExitKind.CRASHED)] * 2


async def test_a_bystander_of_a_group_restart_has_not_terminated_unless_it_is_temporary(
    autojump_clock, theatre, running, told
):
    specs = [theatre.spec("a"), theatre.spec("b"), theatre.spec("t", Restart.TEMPORARY)]
    supervisor = Supervisor(specs, name="s", strategy=Strategy.ONE_FOR_ALL)
    async with running(supervisor):
        for name in ("a", "b", "t"):
            supervisor.watch(name, told.append)
        await theatre.crash("a")
        assert told.kinds() == [("t", ExitKind.SHUTDOWN)]
    assert told.kinds() == [("t", ExitKind.SHUTDOWN), ("b", ExitKind.SHUTDOWN), ("a", ExitKind.SHUTDOWN)]


async def test_a_watch_that_raises_harms_nobody(autojump_clock, theatre, running, told, caplog):
    """Akka kills a monitor that does not handle Terminated; here the watcher is foreign code like a listener."""

    def broken(terminated):
        raise RuntimeError(f"did not expect {terminated.child_id}")

    supervisor = Supervisor([theatre.spec("a", Restart.TEMPORARY)], name="s")
    with caplog.at_level(logging.ERROR, logger="supervisors"):
        async with running(supervisor) as run:
            supervisor.watch("a", broken)
            supervisor.watch("a", told.append)
            await theatre.finish("a")
    assert run.error is None
    assert len(told) == 1
    assert supervisor.statistics().listener_failures == 1
    assert "did not expect a" in caplog.text


async def test_a_child_of_the_same_name_can_be_watched_after_the_old_one_died(autojump_clock, theatre, running, told):
    """Akka: be able to watch a child with the same name after the old died."""
    supervisor = Supervisor(name="s")
    async with running(supervisor):
        for number in (1, 2):
            await supervisor.start_child(theatre.spec("a", Restart.TEMPORARY))
            supervisor.watch("a", told.append)
            await theatre.finish("a")
            assert len(told) == number


async def test_children_of_a_template_are_watched_by_the_id_they_were_given(autojump_clock, running, told):
    supervisor = DynamicSupervisor(spec("child", waiting), name="s", max_children=None)
    async with running(supervisor):
        first, second = await supervisor.start_child(), await supervisor.start_child()
        supervisor.watch(first.id, told.append)
        supervisor.watch(second.id, told.append)
        await supervisor.terminate_child(first.id)
        assert told.kinds() == [(first.id, ExitKind.SHUTDOWN)]
    await wait_all_tasks_blocked()
    assert told.kinds() == [(first.id, ExitKind.SHUTDOWN), (second.id, ExitKind.SHUTDOWN)]
