"""`simulate`: one run of an actor system from a seed, under faults, in virtual time."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final

import trio

from supervisors.errors import MaxRestartsExceeded
from supervisors.testing.choices import Schedule
from supervisors.testing.outcomes import Outcome
from supervisors.testing.runs import carry_out
from supervisors.testing.violations import Violation
from vespera_agents.actors.opening import open_system
from vespera_agents.actors.system import ActorSystem
from vespera_agents.actors.testing.scenarios import open_by_chance, random_actors
from vespera_agents.actors.testing.simulation import ActorSimulation, Invariants

Scenario = Callable[[ActorSystem, ActorSimulation], Awaitable[Invariants | None]]
"""Starts actors and senders, and returns what must hold."""
Opening = Callable[[ActorSimulation], AbstractAsyncContextManager[ActorSystem]]
"""Opens the system of a run."""

HORIZON_SECONDS: Final = 10.0
"""How long faults strike."""
SETTLING_SECONDS: Final = 600.0
"""How long a system may then take to come to rest: longer than anything in it that was begun."""
SETTLING_LOOKS: Final = 20
"""How often it is looked at meanwhile."""
HURRIES_PERMILLE: Final = 250
"""How many of a thousand runs of the house's scenario close their system in the middle of its work."""
A_WHILE_SECONDS: Final = 1.27
"""A moment at which nothing else is due, so that nobody is in the middle of anything."""
DEAD_LETTERS_MAX: Final = 100_000
"""More than any run has: all of them are looked at."""


@asynccontextmanager
async def open_roomy(simulation: ActorSimulation) -> AsyncGenerator[ActorSystem, None]:
    """Open a system whose root does not give up."""
    async with open_system(listener=simulation, intensity=10_000, dead_letters_max=DEAD_LETTERS_MAX) as system:
        yield system


def simulate(
    scenario: Scenario = random_actors,
    *,
    seed: int,
    opening: Opening | None = None,
    schedule: Schedule | None = None,
    horizon_seconds: float = HORIZON_SECONDS,
) -> Outcome:
    """Run a scenario once, in virtual time, and check the rules of every actor system all the way.

    Args:
        scenario: starts actors and senders; two runs with one seed are the same run. An AssertionError in it is a
            violation.
        seed: determines the scheduling and everything that is decided by chance.
        opening: opens the system; unless given, its root does not give up, except in the house's own scenario.
        schedule: what is decided by chance, instead of drawing it from the seed (see `supervisors.testing.shrink`).
        horizon_seconds: how long faults strike.
    """
    simulation = ActorSimulation(seed, schedule)
    of_the_house = scenario is random_actors
    if opening is None:
        opening = open_by_chance if of_the_house else open_roomy
    hurries = of_the_house and simulation.stream("end").chance(HURRIES_PERMILLE)
    melted = carry_out(simulation, _run, simulation, scenario, opening, horizon_seconds, hurries)
    return Outcome.of(simulation, melted=bool(melted), calls=len(simulation.ledger.mails))


async def _run(
    simulation: ActorSimulation, scenario: Scenario, opening: Opening, horizon_seconds: float, hurries: bool
) -> bool:
    melted = False
    simulation.main_task = trio.lowlevel.current_task()
    tasks = trio.lowlevel.current_statistics().tasks_living
    with simulation.scope:
        async with trio.open_nursery() as nursery:
            try:
                async with opening(simulation) as system:
                    simulation.begin(nursery, system)
                    await _live(simulation, system, scenario, horizon_seconds, hurries)
            except* MaxRestartsExceeded:
                melted = True
            simulation.stop_faults()
            # Everybody who waited for an actor has been told, and goes on.
            await trio.sleep(A_WHILE_SECONDS)
            simulation.check_closed()
            nursery.cancel_scope.cancel()
        left = trio.lowlevel.current_statistics().tasks_living - tasks
        if left:
            simulation.violated(Violation(f"{left} tasks are left after the system has closed"))
    simulation.over = True
    return melted


async def _live(
    simulation: ActorSimulation, system: ActorSystem, scenario: Scenario, horizon_seconds: float, hurries: bool
) -> None:
    try:
        simulation.invariants = await scenario(system, simulation) or Invariants()
    except AssertionError as error:
        simulation.violated(Violation(f"an assertion failed: {error}"))
    await trio.sleep(max(0.0, horizon_seconds - simulation.now))
    if hurries:
        return
    simulation.stop_faults()
    unsettled: str | None = None
    for _ in range(SETTLING_LOOKS):
        await trio.sleep(SETTLING_SECONDS / SETTLING_LOOKS)
        unsettled = simulation.unsettled()
        if unsettled is None:
            simulation.check(simulation.invariants.settled)
            return
    simulation.violated(Violation(f"after {SETTLING_SECONDS:g} s without faults, {unsettled}"))
