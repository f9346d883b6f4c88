"""A scope put around a running task acts as if the task had entered it first; and the shelter that allows for it."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from supervisors import ChildSpec, DynamicSupervisor, ExitKind, ReportKind, StopCause, Supervisor
from supervisors.enclosing import (
    ACTIVATE_CANCEL_STATUS,
    CANCEL_STATUS,
    HAS_BEEN_ENTERED,
    Shelter,
    enclose,
    leave,
)


async def test_trio_has_what_the_module_reaches_for():
    """A new trio: look whether its tree of cancellations still works as the module says, and run these tests."""
    with trio.CancelScope() as scope:
        task = trio.lowlevel.current_task()
        status = getattr(scope, CANCEL_STATUS)
        assert getattr(task, CANCEL_STATUS) is status
        assert getattr(scope, HAS_BEEN_ENTERED) is True
        assert callable(getattr(task, ACTIVATE_CANCEL_STATUS))
        async with trio.open_nursery() as nursery:
            assert getattr(nursery, CANCEL_STATUS).parent is status
    assert getattr(trio.CancelScope(), HAS_BEEN_ENTERED) is False


class Enclosed:
    """A task that runs `body`, and gets a scope only when it is told to stop."""

    def __init__(self, body):
        self.body = body
        self.scope = trio.CancelScope(shield=True)
        self.task = None
        self.error = None
        self.after = None

    async def run(self):
        self.task = trio.lowlevel.current_task()
        before = getattr(self.task, CANCEL_STATUS)
        try:
            await self.body()
        except BaseException as error:
            self.error = error
        if getattr(self.scope, HAS_BEEN_ENTERED):
            self.error = leave(self.scope, self.error)
        self.after = getattr(self.task, CANCEL_STATUS) is before

    def stop(self):
        enclose(self.task, self.scope)
        self.scope.cancel(reason="because")


async def stopped(body):
    """Run `body`, stop it once it waits, and return what is known of that."""
    enclosed = Enclosed(body)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(enclosed.run)
        await wait_all_tasks_blocked()
        enclosed.stop()
        with trio.fail_after(1):
            await wait_all_tasks_blocked()
    assert enclosed.after
    return enclosed


async def in_no_scope(log):
    try:
        await trio.sleep_forever()
    except trio.Cancelled as cancelled:
        log.append(str(cancelled))
        raise


async def in_two_scopes(log):
    with trio.CancelScope(), trio.CancelScope() as inner:
        await in_no_scope(log)
    assert not inner.cancelled_caught


async def in_a_nursery(log):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(in_no_scope, log)
        nursery.start_soon(in_two_scopes, log)


async def in_the_body_of_a_nursery(log):
    with trio.CancelScope():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(in_no_scope, log)
            await in_no_scope(log)


async def in_a_nursery_start(log):
    async def starting(task_status):
        await in_no_scope(log)

    async with trio.open_nursery() as nursery:
        await nursery.start(starting)


@pytest.mark.parametrize(
    ("body", "tasks"),
    [(in_no_scope, 1), (in_two_scopes, 1), (in_a_nursery, 2), (in_the_body_of_a_nursery, 2), (in_a_nursery_start, 1)],
)
async def test_it_reaches_all_that_the_task_does(autojump_clock, body, tasks):
    log = []
    enclosed = await stopped(lambda: body(log))
    assert (enclosed.error, enclosed.scope.cancelled_caught) == (None, True)
    assert len(log) == tasks
    assert "because" in log[0]


async def test_it_is_cancelled_until_it_ends(autojump_clock):
    log = []

    async def body():
        for _ in range(3):
            try:
                await trio.sleep_forever()
            except trio.Cancelled:
                log.append("cancelled")
        with trio.CancelScope(shield=True):
            await trio.sleep(2)
            log.append("shielded")
        await trio.sleep_forever()

    enclosed = Enclosed(body)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(enclosed.run)
        await wait_all_tasks_blocked()
        enclosed.stop()
    assert log == ["cancelled"] * 3 + ["shielded"]
    assert trio.current_time() == 2


async def test_scopes_that_were_open_go_on_as_before(autojump_clock):
    async def body():
        with trio.CancelScope(shield=True), trio.move_on_after(5) as own:
            await trio.sleep_forever()
        assert own.cancelled_caught
        assert trio.current_time() == 5
        await trio.sleep_forever()

    enclosed = await stopped(body)
    assert (enclosed.error, enclosed.scope.cancelled_caught) == (None, True)


async def test_what_is_no_cancellation_comes_through(autojump_clock):
    async def alone():
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("cleanup")

    async def beside_another():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(alone)
            nursery.start_soon(trio.sleep_forever)

    assert isinstance((await stopped(alone)).error, ValueError)
    error = (await stopped(beside_another)).error
    assert [type(each) for each in getattr(error, "exceptions", [error])] == [ValueError]


async def test_a_shelter_lets_no_cancellation_in_and_ends_after_all_that_runs_in_it(autojump_clock):
    ended = []

    async def run(seconds):
        await trio.sleep(seconds)
        ended.append(seconds)

    shelter = Shelter()
    async with trio.open_nursery() as outer:
        outer.start_soon(shelter.run)
        outer.cancel_scope.cancel()
        nursery = await shelter.nursery()
        nursery.start_soon(run, 1)
        nursery.start_soon(run, 2)
        shelter.close()
    assert ended == [1, 2]


# ---- what supervisors make of it


async def test_a_cancelled_root_stops_its_children_in_order_and_none_of_them_early(autojump_clock):
    log = []

    async def child(name, *, task_status):
        task_status.started()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
        except BaseException:
            with trio.CancelScope(shield=True):
                await trio.sleep(1)
            log.append((name, trio.current_time()))
            raise

    supervisor = Supervisor([ChildSpec(name, child, args=(name,)) for name in "abc"], name="s")
    async with trio.open_nursery() as nursery:
        await nursery.start(supervisor.run)
        nursery.cancel_scope.cancel()
    assert log == [("c", 1), ("b", 2), ("a", 3)]


@pytest.mark.parametrize("dynamic", [False, True])
async def test_a_child_that_is_stopped_before_its_first_step(autojump_clock, running, dynamic):
    log = []

    async def child(*, task_status):
        log.append(task_status.stop_cause)
        task_status.started()
        try:
            await trio.sleep_forever()
        finally:
            log.append("over")

    spec = ChildSpec("c", child)
    supervisor = DynamicSupervisor(spec, name="s", max_children=None) if dynamic else Supervisor(name="s")
    async with running(supervisor) as run:
        await wait_all_tasks_blocked()
        child_id = supervisor.start_child_nowait() if dynamic else supervisor.start_child_nowait(spec)
        # The step in which the supervisor stops its children may come before that in which the child begins.
        incarnation = supervisor._life.roster.get(child_id or "c").incarnation
        supervisor._life.offspring._ask(incarnation.child, incarnation, StopCause.SHUTDOWN)
        supervisor.stop()
        with trio.fail_after(1):
            await run.over.wait()
    assert log == ["shutdown", "over"]
    assert trio.current_time() == 0


async def test_an_error_in_the_cleanup_of_one_of_its_tasks_is_a_shutdown_error(autojump_clock, running, recorder):
    async def faulty():
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("cleanup")

    async def child(*, task_status):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(faulty)
            nursery.start_soon(trio.sleep_forever)
            task_status.started()

    supervisor = Supervisor([ChildSpec("a", child)], name="s", listener=recorder)
    async with running(supervisor):
        await supervisor.terminate_child("a")
        [report] = recorder.of(ReportKind.SHUTDOWN_ERROR)
        assert report.exit.kind is ExitKind.SHUTDOWN_ERROR
        assert "ValueError" in report.reason


async def test_an_interrupt_while_an_end_is_seen_to_stops_the_tree_in_order(autojump_clock, theatre, outcome):
    """Ctrl-C is raised wherever Python happens to be: also in the middle of supervision."""

    class Interrupted:
        def on_report(self, report):
            if report.kind is ReportKind.CHILD_CRASHED:
                raise KeyboardInterrupt

    supervisor = Supervisor([theatre.spec(name) for name in "abc"], name="s", listener=Interrupted())

    async def crash():
        await wait_all_tasks_blocked()
        await theatre.crash("b")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(crash)
        assert isinstance(await outcome(supervisor), KeyboardInterrupt)
    assert theatre.log == ["+a", "+b", "+c", "-b", "-c", "-a"]
