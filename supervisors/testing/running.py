"""`simulate`: one run of a scenario from a seed, with a tree in it."""

from __future__ import annotations

from typing import Final

import trio

from supervisors.any_supervisor import AnySupervisor
from supervisors.errors import MaxRestartsExceeded, StartFailed
from supervisors.testing.choices import Schedule
from supervisors.testing.outcomes import Outcome
from supervisors.testing.runs import carry_out
from supervisors.testing.scenarios import Driver, Scenario, drive_by_chance, random_tree
from supervisors.testing.simulation import Simulation
from supervisors.testing.violations import Violation

HORIZON_SECONDS: Final = 12.0
"""How long faults strike."""
SETTLING_SECONDS: Final = 600.0
"""How long a tree may then take to converge: longer than anything in it that was begun."""
SETTLING_LOOKS: Final = 20
"""How often it is looked at meanwhile."""


def simulate(
    scenario: Scenario = random_tree,
    *,
    seed: int,
    drive: Driver | None = drive_by_chance,
    schedule: Schedule | None = None,
    horizon_seconds: float = HORIZON_SECONDS,
) -> Outcome:
    """Run a scenario once, in virtual time, and compare each supervisor with its model all the way.

    Args:
        scenario: makes the tree; two runs with one seed are the same run.
        seed: determines the scheduling and everything that is decided by chance.
        drive: what is done with the tree while it runs; None: nothing.
        schedule: what is decided by chance, instead of drawing it from the seed (see `shrink`).
        horizon_seconds: how long faults strike.
    """
    simulation = Simulation(seed, schedule)
    melted = carry_out(simulation, _run, simulation, scenario, drive, horizon_seconds, instruments=[simulation])
    simulation.check_over()
    return Outcome.of(simulation, melted=bool(melted), calls=simulation.calls_answered)


async def _run(simulation: Simulation, scenario: Scenario, drive: Driver | None, horizon_seconds: float) -> bool:
    melted = False
    simulation.main_task = trio.lowlevel.current_task()
    with simulation.scope:
        async with trio.open_nursery() as nursery:
            root = scenario(simulation)
            if drive is not None:
                nursery.start_soon(drive, simulation, root)
            nursery.start_soon(_end, simulation, root, horizon_seconds)
            try:
                await root.run()
            except (MaxRestartsExceeded, StartFailed):
                melted = True
            nursery.cancel_scope.cancel()
    simulation.over = True
    return melted


async def _end(simulation: Simulation, root: AnySupervisor, horizon_seconds: float) -> None:
    await trio.sleep(horizon_seconds)
    simulation.faults_on = False
    unsettled: str | None = None
    for _ in range(SETTLING_LOOKS):
        await trio.sleep(SETTLING_SECONDS / SETTLING_LOOKS)
        unsettled = simulation.unsettled()
        if unsettled is None:
            break
    else:
        simulation.violated(Violation(unsettled or ""))
    simulation.stop(root)
