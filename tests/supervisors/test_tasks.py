"""Tasks under supervision, and streams of them. Source of the rules: Elixir's Task.Supervisor."""

from __future__ import annotations

import pytest
import trio

from supervisors import ExitKind, SpecError, Supervisor, SupervisorNotRunning, TooManyChildren, supervisor_spec
from supervisors.tasks import AdmissionClosed, TaskFailed, TaskSupervisor


async def double(number: float) -> float:
    await trio.sleep(number)
    return number * 2


async def crash(number: float = 0.0) -> float:
    await trio.sleep(number)
    raise ValueError(f"no {number:g}")


async def test_a_task_gives_its_result_to_whoever_waits(autojump_clock, running) -> None:
    tasks = TaskSupervisor(name="tasks")
    async with running(tasks):
        handle = await tasks.start(double, 2.0)
        assert not handle.over
        assert handle.name == "double"
        assert await handle.result() == 4.0
        assert await handle.result() == 4.0
        assert handle.over
        assert tasks.count_children().specs == 0


async def test_a_task_that_ends_in_its_first_step_is_heard(autojump_clock, running) -> None:
    async def at_once() -> str:
        return "done"

    async def broken() -> str:
        raise ValueError("at once")

    tasks = TaskSupervisor(name="tasks")
    async with running(tasks):
        assert await (await tasks.start(at_once)).result() == "done"
        with pytest.raises(TaskFailed, match="at once"):
            await (await tasks.start(broken)).result()


async def test_a_crash_is_an_outcome_and_concerns_nobody_else(autojump_clock, running) -> None:
    tasks = TaskSupervisor(name="tasks")
    async with running(tasks) as run:
        other = await tasks.start(double, 5.0)
        for _ in range(10):
            failed = await tasks.start(crash, 0.1)
            with pytest.raises(TaskFailed, match="crashed: ValueError: no 0") as caught:
                await failed.result()
            assert caught.value.exit.kind is ExitKind.CRASHED
        assert await other.result() == 10.0
        assert not run.over.is_set()


async def test_a_task_can_be_stopped_and_has_no_result_then(autojump_clock, running) -> None:
    tasks = TaskSupervisor(name="tasks")
    async with running(tasks):
        handle = await tasks.start(trio.sleep_forever)
        await handle.stop()
        await handle.stop()
        await tasks.stop_task(handle.id)
        with pytest.raises(TaskFailed, match="shutdown"):
            await handle.result()


async def test_stopping_the_supervisor_ends_every_task_and_everyone_who_waits(autojump_clock, running) -> None:
    tasks = TaskSupervisor(name="tasks", shutdown_seconds=1.0)
    failures: list[TaskFailed] = []

    async def wait() -> None:
        try:
            await handle.result()
        except TaskFailed as failure:
            failures.append(failure)

    async with trio.open_nursery() as nursery, running(tasks):
        handle = await tasks.start(trio.sleep_forever)
        nursery.start_soon(wait)
        await trio.sleep(1.0)
    assert len(failures) == 1
    with pytest.raises(SupervisorNotRunning):
        await tasks.start(double, 1.0)


async def test_there_are_never_more_tasks_than_allowed(autojump_clock, running) -> None:
    tasks = TaskSupervisor(name="tasks", max_children=2)
    async with running(tasks):
        await tasks.start(double, 1.0)
        await tasks.start(double, 1.0)
        with pytest.raises(TooManyChildren):
            await tasks.start(double, 1.0)
        await trio.sleep(2.0)
        assert await (await tasks.start(double, 1.0)).result() == 2.0


async def test_while_it_is_drained_it_takes_no_tasks_and_says_which_run(autojump_clock, running) -> None:
    tasks = TaskSupervisor(name="tasks")
    async with running(tasks):
        await tasks.start(double, 1.0, name="sum")
        tasks.close_admission()
        with pytest.raises(AdmissionClosed):
            await tasks.start(double, 1.0)
        assert [(each.since, each.why) for each in tasks.unfinished()] == [(0.0, "task sum")]
        await trio.sleep(2.0)
        assert tasks.unfinished() == []
        tasks.open_admission()
        assert await (await tasks.start(double, 1.0)).result() == 2.0


async def test_it_is_a_child_like_any_supervisor(autojump_clock, running) -> None:
    supervisor = Supervisor([supervisor_spec("tasks", lambda: TaskSupervisor(name="tasks"))], name="root")
    async with running(supervisor):
        tasks = supervisor.child_value("tasks")
        assert isinstance(tasks, TaskSupervisor)
        assert await (await tasks.start(double, 1.0)).result() == 2.0


async def collect(tasks: TaskSupervisor, items, function=double, **options) -> list[object]:
    """Return the results of a stream; of a failure what it says."""
    found: list[object] = []
    async with tasks.async_stream(items, function, **options) as outcomes:
        async for outcome in outcomes:
            assert outcome.succeeded == (outcome.failure is None)
            found.append(outcome.result if outcome.succeeded else str(outcome.failure))
    return found


async def test_a_stream_gives_outcomes_in_the_order_of_the_items_or_as_they_are_ready(autojump_clock, running) -> None:
    tasks = TaskSupervisor(name="tasks")
    async with running(tasks):
        assert await collect(tasks, [3.0, 1.0, 2.0]) == [6.0, 2.0, 4.0]
        assert await collect(tasks, [3.0, 1.0, 2.0], ordered=False) == [2.0, 4.0, 6.0]
        assert await collect(tasks, []) == []


@pytest.mark.parametrize("ordered", [True, False])
async def test_a_stream_runs_at_most_so_many_tasks_at_once(autojump_clock, running, ordered) -> None:
    now = most = 0

    async def work(number: int) -> int:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await trio.sleep(1.0)
        now -= 1
        return number

    tasks = TaskSupervisor(name="tasks")
    async with running(tasks):
        found = await collect(tasks, range(10), work, max_concurrency=3, ordered=ordered)
        assert sorted(found) == list(range(10))
        assert most == 3
        assert trio.current_time() == pytest.approx(4.0)


async def test_a_task_of_a_stream_that_is_late_is_stopped_and_says_so(autojump_clock, running) -> None:
    tasks = TaskSupervisor(name="tasks")
    async with running(tasks):
        found = await collect(tasks, [1.0, 9.0, 2.0], timeout_seconds=3.0)
        assert found[::2] == [2.0, 4.0]
        assert "out of time" in found[1]
        assert tasks.count_children().active == 0


async def test_a_crash_in_a_stream_is_the_outcome_of_its_item_alone(autojump_clock, running) -> None:
    tasks = TaskSupervisor(name="tasks")

    async def odd(number: int) -> int:
        if number % 2:
            raise ValueError("odd")
        return number

    async with running(tasks):
        found = await collect(tasks, range(4), odd)
        assert found[::2] == [0, 2]
        assert all("ValueError: odd" in each for each in found[1::2])


async def test_leaving_a_stream_early_stops_what_still_runs_and_takes_no_more_items(autojump_clock, running) -> None:
    taken: list[int] = []

    async def endless():
        number = 0
        while True:
            taken.append(number)
            yield number
            number += 1

    tasks = TaskSupervisor(name="tasks")
    async with running(tasks):
        async with tasks.async_stream(endless(), double, max_concurrency=2, timeout_seconds=100.0) as outcomes:
            async for outcome in outcomes:
                if outcome.item == 3:
                    break
        assert tasks.count_children().active == 0
        assert len(taken) <= 7
        with pytest.raises(TaskFailed):
            raise TaskFailed(None)


async def test_the_result_of_a_failed_item_raises_what_went_wrong(autojump_clock, running) -> None:
    tasks = TaskSupervisor(name="tasks")
    async with running(tasks), tasks.async_stream([1.0], crash) as outcomes:
        async for outcome in outcomes:
            with pytest.raises(TaskFailed, match="no 1"):
                _ = outcome.result


async def test_a_stream_that_cannot_start_a_task_says_why(autojump_clock, running) -> None:
    tasks = TaskSupervisor(name="tasks", max_children=1)
    async with running(tasks):
        with pytest.raises(ExceptionGroup) as caught:
            await collect(tasks, [1.0, 1.0])
        assert caught.group_contains(TooManyChildren)
        with pytest.raises(SpecError, match="max_concurrency"):
            await collect(tasks, [1.0], max_concurrency=0)
