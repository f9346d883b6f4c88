"""The simulation of actor systems: 2,000 seeds without a violation, repeatable, at all fault points, open to others.

That it finds bugs is shown by `test_actor_simulation_finds_bugs.py`.
"""

from __future__ import annotations

import gc
import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

import supervisors
from supervisors.testing import Coverage, shrink
from vespera_agents.actors import Actor, ActorError, ActorStopped, MailboxSpec, Overflow, Request, open_system, receives
from vespera_agents.actors.testing import ActorFault, Invariants, simulate
from vespera_agents.actors.testing.__main__ import main

ROOT = Path(supervisors.__file__).parents[1]
SEEDS = 2_000
CHUNK = 250


@pytest.fixture(autouse=True)
def _gc_settings() -> Iterator[None]:
    """Collect less often, as the command does, and put the collector's settings back."""
    before = gc.get_threshold()
    gc.set_threshold(50_000, 20, 100)
    yield
    gc.set_threshold(*before)


@pytest.mark.parametrize(
    "first", [pytest.param(n, marks=pytest.mark.unmeasured if n else ()) for n in range(0, SEEDS, CHUNK)]
)
def test_two_thousand_seeds_break_no_rule_and_strike_at_every_fault_point(first: int) -> None:
    coverage = Coverage(ActorFault)
    ends: set[str] = set()
    for seed in range(first, first + CHUNK):
        outcome = simulate(seed=seed)
        assert outcome.violation is None, f"python -m vespera_agents.actors.testing --replay {seed}\n{outcome.story()}"
        coverage.add(outcome.struck)
        ends |= {how for _, _, what, _, _, how in outcome.trace if what == "ask ends"}
    assert coverage.missing() == [], coverage.table()
    answers = {"reply", "ActorCrashed", "ActorStopped", "AskTimeout", "MailboxFull", "AskCycle", "Cancelled"}
    assert answers <= ends, "an ask ends in each of its ways"


def test_two_runs_with_one_seed_give_the_same_trace_and_two_seeds_do_not() -> None:
    first, again, other = simulate(seed=11), simulate(seed=11), simulate(seed=12)
    assert first.trace == again.trace
    assert first == again
    assert first.digest != other.digest


def test_two_processes_with_different_hash_seeds_give_the_same_traces() -> None:
    program = "from vespera_agents.actors.testing import simulate\nprint([simulate(seed=n).digest for n in range(40)])"
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


# Scenarios of others.


class Add(Request[int]):
    def __init__(self, number: int) -> None:
        self.number = number


class Total(Actor):
    def __init__(self, book: list[int]) -> None:
        self.book = book

    @receives
    async def add(self, message: Add) -> int:
        await trio.sleep(0.5)
        self.book.append(message.number)
        return sum(self.book)


async def bank(system, simulation) -> Invariants:
    """Ask as long as faults are on, and say that nothing is booked twice."""
    book: list[int] = []
    total = await system.start(simulation.actor(Total, "t"), book, name="t", mailbox=MailboxSpec(2, Overflow.WAIT))

    async def clerk(name: str, first: int) -> None:
        post = simulation.post(name)
        while simulation.faults_on:
            first += 1
            with trio.move_on_after(0.5 * (1 + simulation.stream(name).below(5))):
                try:
                    await post.ask(total, Add(first), timeout_seconds=2.0)
                except ActorError:
                    await trio.sleep(0.5)

    simulation.start_soon(clerk, "one", 0)
    simulation.start_soon(clerk, "two", 1_000)

    def nothing_twice() -> str | None:
        return None if len(book) == len(set(book)) else f"booked twice: {book}"

    def something() -> str | None:
        return None if book else "nothing was booked"

    return Invariants(always=[nothing_twice], settled=[something], closed=[nothing_twice])


def test_actors_of_ones_own_are_simulated_with_invariants_of_ones_own() -> None:
    coverage = Coverage(())
    for seed in range(40):
        outcome = simulate(bank, seed=seed)
        assert outcome.violation is None, outcome.story()
        coverage.add(outcome.struck)
    assert coverage.missing([ActorFault.CRASH_IN_HANDLER, ActorFault.CRASH_IN_START]) == []


@pytest.mark.parametrize("when", ["always", "settled", "closed"])
def test_an_invariant_that_does_not_hold_is_a_violation(when: str) -> None:
    async def scenario(_system, _simulation) -> Invariants:
        return Invariants(**{when: [lambda: f"not {when}"]})

    assert simulate(scenario, seed=3).violation == f"not {when}"


def test_an_assertion_that_fails_in_a_scenario_is_a_violation() -> None:
    async def scenario(_system, simulation) -> None:
        async def work() -> None:
            await trio.sleep(1.0)
            assert simulation.now < 1.0, "too late"

        simulation.start_soon(work)

    outcome = simulate(scenario, seed=3)
    assert outcome.violation is not None
    assert "too late" in outcome.violation
    assert outcome.seconds < 5.0


def test_an_error_that_is_no_violation_comes_out_with_its_seed() -> None:
    async def scenario(_system, _simulation) -> None:
        raise ZeroDivisionError

    with pytest.raises(ExceptionGroup) as caught:
        simulate(scenario, seed=77)
    assert caught.group_contains(ZeroDivisionError)
    assert any("seed 77" in note for note in caught.value.__notes__)


def test_a_system_of_ones_own_may_give_up() -> None:
    async def scenario(system, simulation) -> None:
        crash_always = {ActorFault.CRASH_BEFORE_HANDLER: 1_000}
        ref = await system.start(simulation.actor(Total, "t", permille=crash_always), [], name="t")
        post = simulation.post("s")
        for number in range(9):
            try:
                await post.ask(ref, Add(number))
            except ActorStopped:
                break
            except ActorError:
                continue

    def strict(simulation):
        return open_system(listener=simulation, intensity=2, dead_letters_max=1_000)

    outcome = simulate(scenario, seed=5, opening=strict)
    assert outcome.violation is None
    assert outcome.melted
    assert outcome.struck == {ActorFault.CRASH_BEFORE_HANDLER: 3}


def test_a_message_may_be_sent_only_once_through_a_post() -> None:
    async def scenario(system, simulation) -> None:
        ref = await system.start(simulation.actor(Total, "t"), [])
        post, message = simulation.post("s"), Add(1)
        post.tell(ref, message)
        with pytest.raises(ValueError, match="make a new message for each"):
            post.tell(ref, message)

    assert simulate(scenario, seed=0, schedule={}).violation is None


def test_a_failing_run_shrinks_to_a_short_one_that_still_fails() -> None:
    async def scenario(system, simulation) -> Invariants:
        await bank(system, simulation)
        crashes = [ActorFault.CRASH_IN_HANDLER, ActorFault.CRASH_AFTER_HANDLER]
        return Invariants(always=[lambda: "a crash" if any(f in crashes for *_, f in simulation.strikes) else None])

    found = next(
        outcome
        for outcome in (simulate(scenario, seed=seed) for seed in range(100))
        if outcome.violation and len(outcome.strikes) > 2
    )
    short = shrink(lambda schedule: simulate(scenario, seed=found.seed, schedule=schedule), found)
    assert short.violation == "a crash"
    assert len(short.strikes) == 1
    again = simulate(scenario, seed=found.seed, schedule=short.schedule)
    assert (again.digest, again.violation) == (short.digest, short.violation)


# The command.


def test_the_command_runs_seeds_and_prints_a_coverage_table(capsys) -> None:
    assert main(["--seeds", "20", "--first", "100"]) == 0
    said = capsys.readouterr().out
    assert "20 seeds in" in said
    assert "0 violations" in said
    assert all(fault.value in said for fault in ActorFault)


def test_the_command_replays_a_seed(capsys) -> None:
    assert main(["--replay", "7"]) == 0
    said = capsys.readouterr().out
    assert "seed 7: trace " in said
    assert "no violation" in said


def test_the_example_finds_no_violation(capsys) -> None:
    path = ROOT / "examples" / "simulate_actors.py"
    spec = importlib.util.spec_from_file_location("simulate_actors", path)
    example = importlib.util.module_from_spec(spec)
    sys.modules["simulate_actors"] = example  # Its annotations are read from there.
    try:
        spec.loader.exec_module(example)
        example.main(seeds=40)
    finally:
        del sys.modules["simulate_actors"]
    assert capsys.readouterr().out.startswith("40 runs, ")
