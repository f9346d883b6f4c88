"""Coordinated shutdown. The cases named after Akka's `CoordinatedShutdownSpec` say so; the others are ours."""

from __future__ import annotations

import math

import pytest
import trio

from supervisors import SpecError
from supervisors.shutdown import (
    DEFAULT_PHASES,
    CoordinatedShutdown,
    Phase,
    ShutdownTooLate,
    TaskEnd,
)


def phases(*names: str, **options: object) -> list[Phase]:
    """Return phases, each after the one before."""
    return [Phase(name, after=names[max(0, at - 1) : at], **options) for at, name in enumerate(names)]


class Notes:
    """Tasks that write down their names."""

    def __init__(self) -> None:
        self.log: list[str] = []

    def task(self, name: str, seconds: float = 0.0, error: BaseException | None = None):
        async def work() -> None:
            self.log.append(name)
            await trio.sleep(seconds)
            if error is not None:
                raise error

        return work


@pytest.fixture
def notes() -> Notes:
    """Tasks that write down their names."""
    return Notes()


def test_sort_phases_in_topological_order() -> None:
    """Akka: sort phases in topological order."""
    shutdown = CoordinatedShutdown([Phase("c", after=("a", "b")), Phase("b", after=("a",)), Phase("d"), Phase("a")])
    order = [phase.name for phase in shutdown.phases]
    assert order.index("a") < order.index("b") < order.index("c")
    assert set(order) == {"a", "b", "c", "d"}


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ([Phase("a", after=("a",))], "circle"),
        ([Phase("a", after=("b",)), Phase("b", after=("c",)), Phase("c", after=("a",)), Phase("d")], "a, b, c wait"),
        ([Phase("a", after=("nowhere",))], "no such phase"),
        ([Phase("a"), Phase("a")], "unique"),
    ],
)
def test_detect_cycles_in_phases_non_dag(wrong: list[Phase], says: str) -> None:
    """Akka: detect cycles in phases (non-DAG); and what else has no order."""
    with pytest.raises(SpecError, match=says):
        CoordinatedShutdown(wrong)


def test_have_predefined_phases() -> None:
    """Akka: have pre-defined phases from config."""
    assert [phase.name for phase in CoordinatedShutdown().phases] == [phase.name for phase in DEFAULT_PHASES]
    assert CoordinatedShutdown().total_timeout_seconds == 75.0


async def test_run_ordered_phases(autojump_clock, notes) -> None:
    """Akka: run ordered phases; the tasks of one phase run together."""
    shutdown = CoordinatedShutdown(phases("a", "b", "c"))
    shutdown.add_task("a", "a1", notes.task("a1"))
    shutdown.add_task("b", "b1", notes.task("b1", 2.0))
    shutdown.add_task("b", "b2", notes.task("b2", 1.0))
    shutdown.add_task("c", "c1", notes.task("c1"))
    report = await shutdown.run("maintenance")
    assert [notes.log[0], set(notes.log[1:3]), notes.log[3]] == ["a1", {"b1", "b2"}, "c1"]
    assert trio.current_time() == pytest.approx(2.0)
    assert report.succeeded
    assert (report.reason, shutdown.reason) == ("maintenance", "maintenance")
    assert [(task.name, task.end, task.seconds) for task in report.phases[1].tasks] == [
        ("b2", TaskEnd.DONE, 1.0),
        ("b1", TaskEnd.DONE, 2.0),
    ]


async def test_run_from_a_given_phase(autojump_clock, notes) -> None:
    """Akka: run from a given phase."""
    shutdown = CoordinatedShutdown(phases("a", "b", "c"))
    for name in "abc":
        shutdown.add_task(name, name, notes.task(name))
    report = await shutdown.run("late", from_phase="b")
    assert notes.log == ["b", "c"]
    assert [phase.name for phase in report.phases] == ["b", "c"]
    with pytest.raises(SpecError, match="no phase 'x'"):
        await shutdown.run("again", from_phase="x")


async def test_only_run_once(autojump_clock, notes) -> None:
    """Akka: only run once; who asks again, also while it runs, gets the same report and the first reason."""
    shutdown = CoordinatedShutdown(phases("a"))
    shutdown.add_task("a", "a1", notes.task("a1", 1.0))
    reports = []

    async def ask(reason: str) -> None:
        reports.append(await shutdown.run(reason))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, "first")
        await trio.sleep(0.5)
        nursery.start_soon(ask, "second")
    await ask("third")
    assert notes.log == ["a1"]
    assert reports[0] is reports[1] is reports[2]
    assert reports[0].reason == "first"


async def test_continue_after_timeout_or_failure(autojump_clock, notes) -> None:
    """Akka: continue after timeout or failure."""
    shutdown = CoordinatedShutdown(phases("a", "b", "c", timeout_seconds=3.0))
    shutdown.add_task("a", "a1", notes.task("a1", error=ValueError("broken")))
    shutdown.add_task("a", "a2", notes.task("a2"))
    shutdown.add_task("b", "b1", notes.task("b1", math.inf))
    shutdown.add_task("b", "b2", notes.task("b2", 1.0))
    shutdown.add_task("c", "c1", notes.task("c1"))
    report = await shutdown.run("so")
    assert set(notes.log[:2]) == {"a1", "a2"}
    assert notes.log[-1] == "c1"
    assert not report.succeeded
    found = {task.name: (task.end, task.problem) for phase in report.phases for task in phase.tasks}
    assert found["a1"] == (TaskEnd.FAILED, "ValueError: broken")
    assert found["b1"] == (TaskEnd.TIMED_OUT, "")
    assert found["b2"] == found["c1"] == (TaskEnd.DONE, "")
    assert trio.current_time() == pytest.approx(3.0)


@pytest.mark.parametrize("trouble", [ValueError("broken"), None])
async def test_abort_if_recover_is_off(autojump_clock, notes, trouble) -> None:
    """Akka: abort if recover=off."""
    shutdown = CoordinatedShutdown([Phase("a", recover=False), Phase("b", after=("a",))])
    shutdown.add_task("a", "a1", notes.task("a1", math.inf if trouble is None else 0.0, trouble))
    shutdown.add_task("b", "b1", notes.task("b1"))
    report = await shutdown.run("so")
    assert notes.log == ["a1"]
    assert report.aborted_in == "a"
    assert not report.succeeded


async def test_skip_tasks_in_disabled_phase(autojump_clock, notes) -> None:
    """Akka: skip tasks in disabled phase."""
    shutdown = CoordinatedShutdown([Phase("a"), Phase("b", after=("a",), enabled=False), Phase("c", after=("b",))])
    for name in "abc":
        shutdown.add_task(name, name, notes.task(name))
    report = await shutdown.run("so")
    assert notes.log == ["a", "c"]
    assert [phase.name for phase in report.phases] == ["a", "c"]
    assert shutdown.total_timeout_seconds == 10.0


async def test_be_possible_to_add_tasks_in_later_phase_from_task_in_earlier_phase(autojump_clock, notes) -> None:
    """Akka: be possible to add tasks in later phase from task in earlier phase; ours: in the running one as well."""
    shutdown = CoordinatedShutdown(phases("a", "b"))

    async def adds() -> None:
        shutdown.add_task("b", "later", notes.task("later"))
        shutdown.add_task("a", "now", notes.task("now", 1.0))

    shutdown.add_task("a", "adds", adds)
    report = await shutdown.run("so")
    assert notes.log == ["now", "later"]
    assert report.succeeded
    assert trio.current_time() == pytest.approx(1.0)


async def test_a_task_for_a_phase_that_is_over_is_refused(autojump_clock, notes) -> None:
    shutdown = CoordinatedShutdown(phases("a", "b"))

    async def adds() -> None:
        with pytest.raises(ShutdownTooLate, match="'late' comes too late for phase 'a'"):
            shutdown.add_task("a", "late", notes.task("late"))

    shutdown.add_task("b", "adds", adds)
    assert (await shutdown.run("so")).succeeded
    with pytest.raises(SpecError, match="no phase 'x'"):
        shutdown.add_task("x", "lost", notes.task("lost"))


async def test_be_possible_to_add_and_remove_cancellable_tasks(autojump_clock, notes) -> None:
    """Akka: be possible to add cancellable tasks; a withdrawn one is not run, also by a task of an earlier phase."""
    shutdown = CoordinatedShutdown(phases("a", "b"))
    first = shutdown.add_task("a", "first", notes.task("first"))
    second = shutdown.add_task("b", "second", notes.task("second"))

    async def withdraws() -> None:
        second.cancel()

    shutdown.add_task("a", "withdraws", withdraws)
    first.cancel()
    first.cancel()
    assert (await shutdown.run("so")).succeeded
    assert notes.log == []


async def test_a_shutdown_that_has_begun_goes_on_when_its_caller_is_cancelled(autojump_clock, notes) -> None:
    shutdown = CoordinatedShutdown(phases("a", "b"))
    shutdown.add_task("a", "a", notes.task("a", 2.0))
    shutdown.add_task("b", "b", notes.task("b", 2.0))
    with trio.move_on_after(1.0) as impatient:
        await shutdown.run("so")
    assert impatient.cancelled_caught
    assert notes.log == ["a", "b"]
    assert (await shutdown.run("again")).succeeded


async def test_a_task_that_hides_from_cancellation_is_stopped_by_force(autojump_clock, notes) -> None:
    shutdown = CoordinatedShutdown(phases("a", "b", timeout_seconds=2.0))

    async def hides() -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(1000)

    shutdown.add_task("a", "hides", hides)
    shutdown.add_task("b", "b", notes.task("b"))
    report = await shutdown.run("so")
    assert [task.end for task in report.phases[0].tasks] == [TaskEnd.TIMED_OUT]
    assert report.phases[0].seconds == pytest.approx(3.0)
    assert notes.log == ["b"]


async def test_a_task_that_not_even_force_stops_holds_up_no_phase(autojump_clock, notes) -> None:
    shutdown = CoordinatedShutdown(phases("a", "b", timeout_seconds=2.0))

    async def immortal() -> None:
        for _ in range(2):
            try:
                with trio.CancelScope(shield=True):
                    await trio.sleep(50)
            except BaseException:
                notes.log.append("survived")

    shutdown.add_task("a", "immortal", immortal)
    shutdown.add_task("b", "b", notes.task("b"))
    report = await shutdown.run("so")
    assert notes.log == ["survived", "b"]
    assert [(task.end, task.problem) for task in report.phases[0].tasks] == [
        (TaskEnd.TIMED_OUT, "not even force has stopped it")
    ]
    assert report.phases[0].seconds == pytest.approx(4.0)


async def test_an_interrupt_in_a_task_is_nobodys_failure_and_goes_up(autojump_clock) -> None:
    shutdown = CoordinatedShutdown(phases("a"))

    async def interrupted() -> None:
        raise KeyboardInterrupt

    shutdown.add_task("a", "interrupted", interrupted)
    with pytest.raises(BaseExceptionGroup) as caught:
        await shutdown.run("so")
    assert isinstance(caught.value.exceptions[0], KeyboardInterrupt)


@pytest.mark.parametrize(
    "make", [lambda: Phase(""), lambda: Phase("a", timeout_seconds=0.0), lambda: Phase("a", timeout_seconds=math.nan)]
)
def test_a_phase_that_makes_no_sense_is_refused(make) -> None:
    with pytest.raises(SpecError):
        make()


async def test_a_phase_without_limit_waits(autojump_clock, notes) -> None:
    shutdown = CoordinatedShutdown([Phase("a", timeout_seconds=math.inf)])
    shutdown.add_task("a", "a", notes.task("a", 10_000.0))
    assert (await shutdown.run("so")).succeeded
