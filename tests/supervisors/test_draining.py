"""Stopping a tree in two phases, and by signals."""

from __future__ import annotations

import os
import signal

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from supervisors import ChildSpec, MaxRestartsExceeded, Restart, StartFailed, Supervisor, supervisor_spec
from supervisors.draining import (
    Blocker,
    Drains,
    Snapshots,
    Unfinished,
    open_tree,
    run_until_signalled,
)
from supervisors.shutdown import CoordinatedShutdown
from supervisors.tasks import TaskSupervisor


class Desk:
    """A child's value that takes work."""

    def __init__(self, name: str, log: list[str]) -> None:
        self.name = name
        self.open = True
        self.work: list[Unfinished] = []
        self.log = log
        self.snapshot_seconds = 0.0
        self.snapshot_error: Exception | None = None

    def close_admission(self) -> None:
        self.open = False
        self.log.append(f"close {self.name}")

    def open_admission(self) -> None:
        self.open = True
        self.log.append(f"open {self.name}")

    def unfinished(self) -> list[Unfinished]:
        return self.work

    async def take_snapshot(self) -> None:
        await trio.sleep(self.snapshot_seconds)
        if self.snapshot_error is not None:
            raise self.snapshot_error
        self.log.append(f"snapshot {self.name}")


class Office:
    """A tree with two desks, one below a supervisor of its own, and a child that takes no work."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.desks: dict[str, Desk] = {}
        self.crash: dict[str, trio.Event] = {}
        self.slow_start: dict[str, float] = {}

    async def desk(self, name: str, *, task_status: trio.TaskStatus[Desk]) -> None:
        await trio.sleep(self.slow_start.get(name, 0.0) if name in self.desks else 0.0)
        self.desks[name] = Desk(name, self.log)
        self.crash[name] = trio.Event()
        task_status.started(self.desks[name])
        try:
            await self.crash[name].wait()
            raise ValueError("the desk broke")
        finally:
            self.log.append(f"end {name}")

    async def plain(self, *, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        await trio.sleep_forever()

    async def stubborn(self, *, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        with trio.CancelScope(shield=True):
            await trio.sleep(1000)

    def tree(self, *more: ChildSpec) -> Supervisor:
        def inner() -> Supervisor:
            return Supervisor([ChildSpec("b", self.desk, args=("b",))], name="inner")

        return Supervisor(
            [
                ChildSpec("a", self.desk, args=("a",)),
                ChildSpec("plain", self.plain),
                supervisor_spec("sub", inner),
                *more,
            ],
            name="root",
        )


@pytest.fixture
def office() -> Office:
    """A tree that can be drained."""
    return Office()


def test_a_desk_is_what_the_protocols_mean() -> None:
    assert isinstance(Desk("d", []), Drains)
    assert isinstance(Desk("d", []), Snapshots)


async def test_prepare_closes_from_the_outside_in_then_keeps_and_stop_follows(autojump_clock, office) -> None:
    async with open_tree(office.tree()) as tree:
        prepared = await tree.prepare(5.0)
        assert prepared.ready
        assert prepared.blockers == ()
        assert prepared.snapshots == 2
        stopped = await tree.stop(trio.current_time() + 5.0)
        assert not stopped.forced
        assert not stopped.left
    assert office.log == ["close b", "close a", "snapshot b", "snapshot a", "end b", "end a"]


async def test_prepare_names_exactly_what_is_in_the_way(autojump_clock, office) -> None:
    async with open_tree(office.tree()) as tree:
        await trio.sleep(1.0)
        office.desks["b"].work = [Unfinished(trio.current_time(), "order 7"), Unfinished(0.5, "order 3")]
        prepared = await tree.prepare(2.0)
        assert not prepared.ready
        assert prepared.blockers == (Blocker("root/sub/b", 1.0, "order 7"), Blocker("root/sub/b", 0.5, "order 3"))
        assert trio.current_time() == pytest.approx(3.0)
        assert "snapshot a" not in office.log
        # Admission stays closed until somebody decides.
        assert not office.desks["a"].open
        office.desks["b"].work = []
        assert (await tree.prepare(2.0)).ready


async def test_prepare_waits_until_work_is_finished(autojump_clock, office) -> None:
    async with open_tree(office.tree()) as tree:
        office.desks["a"].work = [Unfinished(0.0, "order 1")]

        async def finish() -> None:
            await trio.sleep(3.0)
            office.desks["a"].work = []

        async with trio.open_nursery() as nursery:
            nursery.start_soon(finish)
            prepared = await tree.prepare(10.0)
        assert prepared.ready
        assert trio.current_time() == pytest.approx(3.0, abs=0.05)


async def test_resume_opens_what_was_closed_and_lives(autojump_clock, office) -> None:
    async with open_tree(office.tree()) as tree:
        await tree.prepare(1.0)
        office.log.clear()
        tree.resume()
        tree.resume()
        assert office.log == ["open a", "open b"]
        await tree.prepare(1.0)
        office.crash["a"].set()
        await wait_all_tasks_blocked()
        office.log.clear()
        tree.resume()
        assert office.log == ["open b"]


async def test_a_child_that_restarts_meanwhile_is_closed_too(autojump_clock, office) -> None:
    office.slow_start["a"] = 2.0
    async with open_tree(office.tree()) as tree:
        office.crash["a"].set()
        await wait_all_tasks_blocked()
        early = await tree.prepare(1.0)
        assert not early.ready
        assert [(each.child, each.since) for each in early.blockers] == [("root/a", 0.0)]
        assert "restarting" in early.blockers[0].why
        assert (await tree.prepare(5.0)).ready
        assert not office.desks["a"].open


@pytest.mark.parametrize(
    ("seconds", "error", "says"),
    [(0.0, OSError("disk full"), "its snapshot failed: OSError: disk full"), (9.0, None, "not done in time")],
)
async def test_a_snapshot_that_fails_or_is_late_is_a_blocker(autojump_clock, office, seconds, error, says) -> None:
    async with open_tree(office.tree()) as tree:
        office.desks["a"].snapshot_seconds = seconds
        office.desks["a"].snapshot_error = error
        prepared = await tree.prepare(5.0)
        assert not prepared.ready
        assert prepared.snapshots == 1
        assert prepared.blockers[0].child == "root/a"
        assert says in prepared.blockers[0].why


async def test_a_task_supervisor_drains_as_any_child(autojump_clock, office) -> None:
    spec = supervisor_spec("jobs", lambda: TaskSupervisor(name="jobs"))
    async with open_tree(office.tree(spec)) as tree:
        tasks = tree.supervisor.child_value("jobs")
        assert isinstance(tasks, TaskSupervisor)
        await tasks.start(trio.sleep, 3.0, name="backup")
        prepared = await tree.prepare(1.0)
        assert prepared.blockers == (Blocker("root/jobs", 0.0, "task backup"),)
        assert (await tree.prepare(10.0)).ready


async def test_at_the_deadline_stop_uses_force(autojump_clock, office) -> None:
    spec = ChildSpec("stubborn", office.stubborn, shutdown_seconds=1000.0)
    async with open_tree(office.tree(spec)) as tree:
        stopped = await tree.stop(trio.current_time() + 4.0)
        assert stopped.forced
        assert not stopped.left
        assert stopped.seconds == pytest.approx(4.0, abs=1.0)
    assert {"end a", "end b"} <= set(office.log)


async def test_what_not_even_force_stops_is_left_and_said(autojump_clock, office) -> None:
    async def immortal(*, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        for _ in range(9):
            try:
                with trio.CancelScope(shield=True):
                    await trio.sleep(100)
            except BaseException:  # noqa: S112 - that is what it does
                continue

    spec = ChildSpec("immortal", immortal, shutdown_seconds=1000.0)
    async with open_tree(office.tree(spec)) as tree:
        stopped = await tree.stop(trio.current_time() + 4.0)
        assert stopped.forced
        assert stopped.left
        assert stopped.seconds < 10.0


async def test_a_tree_that_ends_by_itself_cancels_the_block_and_raises(autojump_clock, office) -> None:
    reached = False
    with pytest.raises(MaxRestartsExceeded):
        async with open_tree(Supervisor([ChildSpec("a", office.desk, args=("a",))], name="root", intensity=0)):
            office.crash["a"].set()
            await trio.sleep_forever()
            reached = True
    assert not reached


async def test_a_tree_that_does_not_start_raises_before_the_block(autojump_clock) -> None:
    async def broken(*, task_status: trio.TaskStatus[None]) -> None:
        raise OSError("no database")

    with pytest.raises(StartFailed):
        async with open_tree(Supervisor([ChildSpec("a", broken)], name="root")):
            pytest.fail("the block was entered")


async def test_leaving_the_block_stops_the_tree_in_order(autojump_clock, office) -> None:
    async with open_tree(office.tree()):
        pass
    assert office.log == ["end b", "end a"]


async def test_a_tree_is_a_part_of_a_coordinated_shutdown(autojump_clock, office) -> None:
    shutdown = CoordinatedShutdown()
    async with open_tree(office.tree()) as tree:
        shutdown.add_task("drain", "tree", lambda: tree.prepare(5.0))
        shutdown.add_task("stop_tree", "tree", lambda: tree.stop(trio.current_time() + 5.0))
        assert (await shutdown.run("maintenance")).succeeded
    assert office.log[-1] == "end a"


# With real signals, on real time.


async def ending_of(supervisor: Supervisor, *moments: float, **options: float):
    """Run a tree and send this process SIGTERM at each of `moments`."""
    told: list[str] = []

    async def send() -> None:
        for number, moment in enumerate(moments, 1):
            await trio.sleep(moment)
            os.kill(os.getpid(), signal.SIGTERM)
            # Two that come before this process looks are one.
            with trio.fail_after(20):
                while len(told) < number:  # noqa: ASYNC110 - `on_signal` is no async function
                    await trio.sleep(0.01)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        with trio.fail_after(20):
            ending = await run_until_signalled(
                supervisor, signals=(signal.SIGTERM,), on_signal=lambda number: told.append(number.name), **options
            )
    assert told == list(ending.signals)
    return ending


async def test_the_first_signal_drains_and_stops(office) -> None:
    ending = await ending_of(office.tree(), 0.1)
    assert ending.signals == ("SIGTERM",)
    assert ending.prepared.ready
    assert not ending.stopped.forced
    assert office.log == ["close b", "close a", "snapshot b", "snapshot a", "end b", "end a"]


async def test_the_second_signal_stops_without_draining_any_longer(office) -> None:
    class Busy(Desk):
        def unfinished(self) -> list[Unfinished]:
            return [Unfinished(0.0, "for ever")]

    async def busy(*, task_status: trio.TaskStatus[Desk]) -> None:
        task_status.started(Busy("busy", office.log))
        await trio.sleep_forever()

    ending = await ending_of(office.tree(ChildSpec("busy", busy)), 0.1, 0.1)
    assert ending.signals == ("SIGTERM", "SIGTERM")
    assert ending.prepared is None
    assert not ending.stopped.forced
    assert office.log[:3] == ["close busy", "close b", "close a"]
    assert office.log[-1] == "end a"


async def test_the_third_signal_uses_force(office) -> None:
    spec = ChildSpec("stubborn", office.stubborn, shutdown_seconds=1000.0)
    ending = await ending_of(office.tree(spec), 0.1, 0.1, 0.1, stop_seconds=1000.0)
    assert len(ending.signals) == 3
    assert ending.stopped.forced
    assert not ending.stopped.left


async def test_without_a_signal_it_ends_with_its_tree(autojump_clock, office) -> None:
    async def short(*, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        await trio.sleep(1.0)
        raise ValueError("over")

    with pytest.raises(MaxRestartsExceeded):
        await run_until_signalled(Supervisor([ChildSpec("short", short)], name="root", intensity=0))
    supervisor = Supervisor([ChildSpec("short", short, restart=Restart.TEMPORARY)], name="root")

    async def stop() -> None:
        await trio.sleep(5.0)
        supervisor.stop()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(stop)
        ending = await run_until_signalled(supervisor)
    assert (ending.signals, ending.prepared, ending.stopped) == ((), None, None)
