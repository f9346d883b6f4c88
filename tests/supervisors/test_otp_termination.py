"""OTP's own cases, by name: what follows from each way of ending, and who may hang or outlive whom."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from supervisors import (
    ChildSpec,
    ExitKind,
    MaxRestartsExceeded,
    ReportKind,
    Restart,
    Shutdown,
    StartFailed,
    Strategy,
    Supervisor,
    supervisor_spec,
)
from tests.supervisors.otp import DOWN, RUNNING, counts, spec, states, waiting

HOW = {"normal": "finish", "shutdown": "shut_down", "abnormal": "crash"}


async def ends(theatre, running, restart, end):
    """Let one of two children end, and return what became of it: restarted, kept, or deleted."""
    supervisor = Supervisor([theatre.spec("child1", restart), theatre.spec("other")], name="s")
    async with running(supervisor):
        await getattr(theatre, HOW[end])("child1")
        node = {each.id: each for each in supervisor.snapshot().children}.get("child1")
        assert states(supervisor)["other"] == RUNNING
        if node is None:
            assert counts(supervisor) == [1, 1, 0, 1]
            return "deleted"
        if node.state == DOWN:
            assert counts(supervisor) == [2, 1, 0, 2]
            return "kept"
        assert (node.state, node.incarnation) == (RUNNING, 2)
        assert counts(supervisor) == [2, 2, 0, 2]
        return "restarted"


async def test_permanent_normal(autojump_clock, theatre, running):
    assert await ends(theatre, running, Restart.PERMANENT, "normal") == "restarted"


async def test_transient_normal(autojump_clock, theatre, running):
    assert await ends(theatre, running, Restart.TRANSIENT, "normal") == "kept"


async def test_temporary_normal(autojump_clock, theatre, running):
    assert await ends(theatre, running, Restart.TEMPORARY, "normal") == "deleted"


async def test_permanent_shutdown(autojump_clock, theatre, running):
    assert await ends(theatre, running, Restart.PERMANENT, "shutdown") == "restarted"


async def test_transient_shutdown(autojump_clock, theatre, running):
    assert await ends(theatre, running, Restart.TRANSIENT, "shutdown") == "kept"


async def test_temporary_shutdown(autojump_clock, theatre, running):
    assert await ends(theatre, running, Restart.TEMPORARY, "shutdown") == "deleted"


async def test_permanent_abnormal(autojump_clock, theatre, running):
    assert await ends(theatre, running, Restart.PERMANENT, "abnormal") == "restarted"


async def test_transient_abnormal(autojump_clock, theatre, running):
    assert await ends(theatre, running, Restart.TRANSIENT, "abnormal") == "restarted"


async def test_temporary_abnormal(autojump_clock, theatre, running):
    assert await ends(theatre, running, Restart.TEMPORARY, "abnormal") == "deleted"


async def test_faulty_application_shutdown(autojump_clock, outcome):
    """A child deep below that cannot start, and says so with a shutdown, is named all the way up."""

    async def faulty(*, task_status):
        raise Shutdown("faulty")

    root = Supervisor([supervisor_spec("app", lambda: Supervisor([spec("child1", faulty)], name="app"))], name="root")
    error = await outcome(root)
    assert isinstance(error, StartFailed)
    assert isinstance(error.__cause__, StartFailed)
    assert isinstance(error.__cause__.__cause__, Shutdown)
    assert (error.child_id, error.__cause__.child_id) == ("app", "child1")


@pytest.mark.parametrize("strategy", [Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE])
async def test_temporary_bystander(autojump_clock, theatre, running, strategy):
    """A temporary child is not restarted with its group, whether it comes before or after the one that crashed."""
    specs = [
        theatre.spec("before", Restart.TEMPORARY),
        theatre.spec("permanent"),
        theatre.spec("after", Restart.TEMPORARY),
    ]
    supervisor = Supervisor(specs, name="s", strategy=strategy)
    async with running(supervisor):
        await theatre.crash("permanent")
        left = {"permanent": RUNNING}
        if strategy is Strategy.REST_FOR_ONE:
            left = {"before": RUNNING, **left}
        assert states(supervisor) == left
        assert theatre.log.count("+after") == 1


async def test_child_unlink(autojump_clock, running):
    """A child cannot hang its supervisor: neither by shielding itself, nor by stopping itself, nor by running away."""

    async def shielded(*, task_status):
        task_status.started()
        with trio.CancelScope(shield=True):
            await trio.sleep_forever()

    async def suicidal(*, task_status):
        task_status.started()
        await supervisor.terminate_child("suicidal")

    async def elsewhere(nursery, *, task_status):
        await nursery.start(waiting)
        task_status.started()
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        specs = [spec("shielded", shielded, shutdown_seconds=1), spec("elsewhere", elsewhere, args=(nursery,))]
        supervisor = Supervisor(specs, name="s")
        async with running(supervisor) as run:
            await supervisor.start_child(spec("suicidal", suicidal))
            with trio.fail_after(10):
                await supervisor.terminate_child("shielded")
            await wait_all_tasks_blocked()
            assert states(supervisor) == {"shielded": DOWN, "elsewhere": RUNNING, "suicidal": DOWN}
        assert run.error is None
        nursery.cancel_scope.cancel()


async def test_tree(autojump_clock, theatre, running):
    """A subtree that gives up is rebuilt from its static children; its dynamic ones are gone."""

    def subtree(name):
        children = [theatre.spec(f"{name}-child1"), theatre.spec(f"{name}-child2")]
        return Supervisor(children, name=name, intensity=0)

    specs = [
        theatre.spec("child1"),
        theatre.spec("child2"),
        supervisor_spec("sup1", lambda: subtree("sup1"), restart=Restart.PERMANENT),
        supervisor_spec("sup2", lambda: subtree("sup2"), restart=Restart.PERMANENT),
    ]
    root = Supervisor(specs, name="root", intensity=4, period_seconds=3600)
    async with running(root) as run:
        assert counts(root) == [4, 4, 2, 2]
        first = root.child_value("sup1")
        await first.start_child(theatre.spec("sup1-dynamic"))
        assert counts(first) == [3, 3, 0, 3]
        theatre.taken()
        await theatre.crash("sup1-dynamic")
        second = root.child_value("sup1")
        assert second is not first
        assert states(second) == {"sup1-child1": RUNNING, "sup1-child2": RUNNING}
        assert theatre.taken() == ["-sup1-dynamic", "-sup1-child2", "-sup1-child1", "+sup1-child1", "+sup1-child2"]
        assert states(root.child_value("sup2")) == {"sup2-child1": RUNNING, "sup2-child2": RUNNING}
        for _ in range(4):
            await theatre.crash("sup2-child1")
        await run.over.wait()
    assert isinstance(run.error, MaxRestartsExceeded)
    assert run.error.exit.kind is ExitKind.MAX_RESTARTS_EXCEEDED


async def test_a_child_that_reports_through_its_group_is_named_by_its_leaf(autojump_clock, running, recorder):
    """Not OTP's: the reason in every report of this group of cases is the leaf of what came out."""

    async def child(*, task_status):
        task_status.started()
        raise ExceptionGroup("outer", [ExceptionGroup("inner", [KeyError("leaf")])])

    supervisor = Supervisor([ChildSpec("a", child, restart=Restart.TEMPORARY)], name="s", listener=recorder)
    async with running(supervisor):
        await wait_all_tasks_blocked()
    assert [r.reason for r in recorder.of(ReportKind.CHILD_CRASHED)] == ["KeyError: 'leaf'"]
