"""The simulation: 5,000 seeds without a violation, repeatable, every fault point covered, and open to trees of others.

That it finds bugs is shown by `tests/test_simulation_finds_bugs.py`.
"""

from __future__ import annotations

import gc
import importlib
import math
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

import supervisors
from supervisors import ChildSpec, DynamicSupervisor, Restart, Strategy, Supervisor, supervisor_spec
from supervisors.exits import ExitKind
from supervisors.flags import Flags
from supervisors.listeners import ReportContext
from supervisors.testing import (
    Choices,
    Coverage,
    Fault,
    Model,
    SimulatedClock,
    Simulation,
    Stuck,
    Violation,
    scheduling,
    seeded_scheduling,
    simulate,
)
from supervisors.testing.__main__ import main
from supervisors.testing.clock import READS_MAX
from supervisors.testing.kids import End

ROOT = Path(supervisors.__file__).parents[1]
CHUNK = 500


@pytest.mark.parametrize(
    "first", [pytest.param(n, marks=pytest.mark.unmeasured if n else ()) for n in range(0, 5_000, CHUNK)]
)
def test_five_thousand_seeds_break_no_rule_and_strike_at_every_fault_point(first: int) -> None:
    coverage = Coverage()
    calls = 0
    for seed in range(first, first + CHUNK):
        outcome = simulate(seed=seed)
        assert outcome.violation is None, f"python -m supervisors.testing --replay {seed}\n{outcome.story()}"
        coverage.add(outcome.struck)
        calls += outcome.calls
    assert coverage.missing() == [], coverage.table()
    assert calls > CHUNK


def test_two_runs_with_one_seed_give_the_same_trace_and_two_seeds_do_not() -> None:
    first, again, other = simulate(seed=11), simulate(seed=11), simulate(seed=12)
    assert first.trace == again.trace
    assert first == again
    assert first.digest != other.digest


def test_two_processes_with_different_hash_seeds_give_the_same_traces() -> None:
    program = "from supervisors.testing import simulate\nprint([simulate(seed=n).digest for n in range(40)])"
    said = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            check=True,
            timeout=120,
        ).stdout
        for hash_seed in ("1", "4242")
    }
    assert len(said) == 1
    assert len(next(iter(said))) > 40 * 32


def test_the_inside_of_trio_that_is_seeded_is_as_it_was() -> None:
    assert ".".join(trio.__version__.split(".")[:2]) in scheduling.TESTED_TRIO_VERSIONS
    inside = importlib.import_module(scheduling.MODULE)
    assert isinstance(getattr(inside, scheduling.SWITCH), bool)
    dice = getattr(inside, scheduling.DICE)
    assert isinstance(dice, random.Random)
    before = getattr(inside, scheduling.SWITCH)
    with seeded_scheduling(7):
        expected = dice.random()
        assert getattr(inside, scheduling.SWITCH) is True
    with seeded_scheduling(7):
        assert dice.random() == expected
    assert getattr(inside, scheduling.SWITCH) is before


# Trees of others.


def shop(simulation: Simulation) -> Supervisor:
    """Make a tree that is not the house's own, with a child that knows nothing of the simulation."""

    async def till(*, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        while True:
            await trio.sleep(0.5 * (1 + simulation.stream("till").below(6)))
            if simulation.strikes_now("till", "jammed", permille=300):
                raise OSError("the till is jammed")

    def desks() -> DynamicSupervisor:
        return simulation.dynamic(
            ChildSpec("desk", simulation.worker, restart=Restart.TEMPORARY), name="desks", max_children=2
        )

    children = [
        ChildSpec("stock", simulation.worker, args=("stock",)),
        supervisor_spec("desks", desks),
        ChildSpec("till", till),
    ]
    return simulation.supervisor(children, name="shop", strategy=Strategy.REST_FOR_ONE)


def test_a_tree_of_ones_own_is_simulated_with_faults_of_ones_own() -> None:
    coverage = Coverage()
    for seed in range(60):
        outcome = simulate(shop, seed=seed)
        assert outcome.violation is None, outcome.story()
        coverage.add(outcome.struck)
    assert coverage.missing(["jammed"]) == []
    assert "jammed" in coverage.table()


def test_a_tree_can_be_driven_by_ones_own_program() -> None:
    answers: list[str] = []

    async def drive(simulation: Simulation, root: Supervisor) -> None:
        await trio.sleep(0.5)
        desks = root.child_value("desks")
        answers.append(await simulation.call(desks, "start_dynamic", "ada"))
        answers.append(await simulation.call(desks, "terminate_child", "desk:1"))
        answers.append(await simulation.call(root, "terminate_child", "till"))
        answers.append(await simulation.call(root, "restart_child", "till"))
        answers.append(await simulation.call(root, "delete_child", "till"))
        answers.append(await simulation.call(root, "start_child", ChildSpec("till", simulation.worker)))

    outcome = simulate(shop, seed=3, drive=drive, schedule={})
    assert outcome.violation is None
    assert answers == ["ok", "ok", "ok", "ok", "ChildRunning", "AlreadyStarted"]
    assert outcome.calls == 6
    assert "desks: began desk:1#1" in outcome.story()


def test_without_a_driver_and_without_faults_a_tree_starts_and_stops() -> None:
    outcome = simulate(shop, seed=3, drive=None, schedule={}, horizon_seconds=5.0)
    assert (outcome.violation, outcome.strikes, outcome.melted, outcome.calls) == (None, (), False, 0)
    assert [what for _, who, what, *_ in outcome.trace if who == "shop"][-1] == "supervisor_stopped"


def test_an_error_that_is_not_the_trees_comes_out() -> None:
    async def drive(_simulation: Simulation, _root: Supervisor) -> None:
        raise ZeroDivisionError

    with pytest.raises(ExceptionGroup) as caught:
        simulate(shop, seed=0, drive=drive)
    assert caught.group_contains(ZeroDivisionError)


def test_a_broken_promise_that_nobody_notices_is_a_violation(monkeypatch) -> None:
    def tree(simulation: Simulation) -> Supervisor:
        async def lazy(*, task_status) -> None:
            task_status.started()
            simulation.promised("lazy", task_status, trio.current_time())
            await trio.sleep_forever()

        return simulation.supervisor([ChildSpec("lazy", lazy, beat_seconds=2.0)], name="root")

    assert simulate(tree, seed=0, drive=None, horizon_seconds=1.0).violation is None
    monkeypatch.setattr(supervisors.offspring.Offspring, "broke_promise", lambda *_: None)
    outcome = simulate(tree, seed=0, drive=None, horizon_seconds=1.0)
    assert outcome.violation == "lazy broke its promise of a beat at 2, and nobody has noticed"


def test_a_run_that_cannot_end_is_ended_by_force() -> None:
    def tree(simulation: Simulation) -> Supervisor:
        async def waits(*, task_status) -> None:
            task_status.started()
            with trio.CancelScope(shield=True):
                await trio.sleep_forever()

        return simulation.supervisor([ChildSpec("w", waits, shutdown_seconds=math.inf)], name="root")

    outcome = simulate(tree, seed=0, drive=None, horizon_seconds=1.0)
    assert outcome.violation == "nothing is due any more, and the run is not over"


# Its parts.


def test_choices_come_from_the_seed_or_are_given_and_are_written_down() -> None:
    drawn = [Choices(5).stream("a").below(100) for _ in range(3)]
    assert len(set(drawn)) == 1
    choices = Choices(5)
    taken = [choices.stream("a").below(100) for _ in range(5)]
    assert choices.schedule() == {"a": tuple(taken)}
    given = Choices(5, {"a": [3, 500]})
    assert [given.stream("a").below(100) for _ in range(3)] == [3, 99, 0]
    assert not given.stream("b").chance(999)


def test_the_clock_jumps_to_what_is_due_and_refuses_to_wait_for_nothing() -> None:
    seen: list[float] = []

    def on_quiet(deadline: float) -> bool:
        seen.append(deadline)
        return deadline == 3.0

    clock = SimulatedClock(on_quiet)
    clock.start_clock()
    assert clock.deadline_to_sleep_time(2.0) == 0.0
    assert clock.current_time() == 2.0
    assert clock.deadline_to_sleep_time(3.0) == 0.0
    assert clock.current_time() == 2.0
    with pytest.raises(Stuck):
        clock.deadline_to_sleep_time(math.inf)
    assert seen == [2.0, 3.0, math.inf]


def test_time_flows_where_somebody_never_rests() -> None:
    clock = SimulatedClock(lambda _: False)
    assert {clock.current_time() for _ in range(READS_MAX)} == {0.0}
    assert clock.current_time() > 0.0


def model_of(*names: str, **flags: object) -> Model:
    model = Model(Flags("m", **flags), [ChildSpec(name, print) for name in names])
    model.begin(0.0)
    model.step(0.0)
    return model


def started(model: Model, *names: str) -> Model:
    for name in names:
        model.began(0.0, name, 1)
        model.ready(0.0, name)
        model.step(0.0)
    return model


CRASH = End(ExitKind.CRASHED, ReportContext.RUN, ready=True)
STOP = End(ExitKind.SHUTDOWN, ReportContext.STOP, ready=True)
FAILED = End(ExitKind.START_ERROR, ReportContext.START, ready=False)
WRONG = [
    (lambda m: m.began(0.0, "b", 1), "b began, but a must begin"),
    (lambda m: m.began(0.0, "x", 1), "no such child"),
    (lambda m: m.began(0.0, "a", 2), "life 2 of a began after life 0"),
    (lambda m: m.ready(0.0, "a"), "a became ready, and does not live"),
    (lambda m: started(m, "a").began(0.0, "a", 2), "two lives of a at once"),
    (lambda m: started(m, "a").ended(0.0, "a", STOP), "a was stopped"),
    (
        lambda m: started(m, "a").ended(0.0, "a", End(ExitKind.START_ERROR, ReportContext.START, ready=False)),
        "otherwise",
    ),
    (lambda m: started(m, "a", "b").gave_up("a"), "it gave up over a with 0 restarts of 3"),
    (lambda m: started(m, "a", "b").delayed(0.0, "a", 0.5), "the restart of a is delayed"),
    (lambda m: started(m, "a", "b").stops(0.0, asked=False), "nobody asked"),
    (lambda m: started(m, "a", "b").has_stopped("stopped"), "a, b go on"),
    (lambda m: m.check_quiet(0.0, stopping=False), "nothing happens, but a must begin"),
    (lambda m: m.has_stopped("MaxRestartsExceeded"), "for no reason"),
]


@pytest.mark.parametrize(("wrong", "says"), WRONG, ids=[says for _, says in WRONG])
def test_the_model_says_what_is_wrong(wrong, says) -> None:
    with pytest.raises(Violation, match=says):
        wrong(model_of("a", "b"))


def test_the_model_knows_how_long_a_start_and_a_stop_may_take() -> None:
    model = model_of("a")
    model.began(0.0, "a", 1)
    model.check_quiet(36.0, stopping=False)
    with pytest.raises(Violation, match="neither ready nor stopped"):
        model.check_quiet(36.5, stopping=False)
    early = End(ExitKind.START_TIMEOUT, ReportContext.START, ready=False)
    with pytest.raises(Violation, match="timed out after 29 s"):
        model.ended(29.0, "a", early)


def test_the_model_counts_the_restarts_of_one_period_its_edge_included() -> None:
    model = started(model_of("a", intensity=1, period_seconds=5.0), "a")
    for moment, number in ((1.0, 2), (6.5, 3)):
        model.ended(moment, "a", CRASH)
        model.step(moment)
        model.began(moment, "a", number)
        model.ready(moment, "a")
        model.step(moment)
    model.ended(11.5, "a", CRASH)
    model.gave_up("a")
    assert model.finished
    assert model.expected() == "it must stop now (MaxRestartsExceeded)"
    with pytest.raises(Violation, match="it must stop now"):
        model.check_quiet(11.5, stopping=False)
    model.stops(11.5, asked=False)
    assert model.expected() == "it is stopping, and None is next"
    with pytest.raises(Violation, match="instead of MaxRestartsExceeded"):
        model.has_stopped("stopped")
    model.has_stopped("MaxRestartsExceeded: more than 1")
    assert model.stopped


# The command.


@pytest.fixture(autouse=True)
def _gc_settings() -> Iterator[None]:
    """Put the collector's settings back: the command is meant to have a process of its own."""
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)


def test_the_command_runs_seeds_and_prints_a_coverage_table(capsys) -> None:
    assert main(["--seeds", "20", "--first", "100"]) == 0
    said = capsys.readouterr().out
    assert "20 seeds in" in said
    assert "0 violations" in said
    assert all(fault.value in said for fault in Fault)


def test_the_command_replays_a_seed_and_shows_how_to_see_a_violation_again(capsys, monkeypatch) -> None:
    assert main(["--replay", "7"]) == 0
    assert "no violation" in capsys.readouterr().out
    stop_all = supervisors.offspring.Offspring.stop_all
    monkeypatch.setattr(
        supervisors.offspring.Offspring,
        "stop_all",
        lambda self, children, cause: stop_all(self, list(children)[::-1], cause),
    )
    assert main(["--seeds", "3"]) == 1
    said = capsys.readouterr().out
    assert "VIOLATION at seed 0" in said
    assert "python -m supervisors.testing --replay 0 --shrink" in said
    assert main(["--replay", "0", "--shrink"]) == 1
    assert "VIOLATION" in capsys.readouterr().out
