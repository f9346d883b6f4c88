"""`simulate`: one run of a scenario from a seed; `Outcome`: what came of it, and how to see it again."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final, final

import trio

from supervisors.any_supervisor import AnySupervisor
from supervisors.errors import MaxRestartsExceeded, StartFailed
from supervisors.exits import leaves
from supervisors.forcing import Killed
from supervisors.testing.choices import Schedule
from supervisors.testing.kids import Violation
from supervisors.testing.scenarios import Driver, Scenario, drive_by_chance, random_tree
from supervisors.testing.scheduling import seeded_scheduling
from supervisors.testing.simulation import Note, Simulation, Strike

HORIZON_SECONDS: Final = 12.0
"""How long faults strike."""
SETTLING_SECONDS: Final = 600.0
"""How long a tree may then take to converge: longer than anything in it that was begun."""
SETTLING_LOOKS: Final = 20
"""How often it is looked at meanwhile."""


@final
@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one run."""

    seed: int
    """What determined it."""
    violation: str | None
    """What went wrong; None where nothing did."""
    digest: str
    """A short name of its trace."""
    trace: tuple[Note, ...] = field(repr=False)
    """Everything that was observed: when, supervisor, what, child, life, how."""
    strikes: tuple[Strike, ...] = field(repr=False)
    """The faults that struck: when, whom, which."""
    schedule: Schedule = field(repr=False)
    """What was decided by chance, by actor."""
    melted: bool
    """Whether the root gave up."""
    quiet_points: int
    """How often nothing could run, and the invariants were checked."""
    calls: int
    """How many calls were answered."""
    seconds: float
    """How long it lasted, in virtual time."""

    @property
    def struck(self) -> dict[str, int]:
        """How often each fault struck."""
        return dict(Counter(fault for _, _, fault in self.strikes))

    def story(self) -> str:
        """Return what happened as text: faults and events in one sequence, and the violation at its end."""
        lines = [(at, 0, f"{at:7.2f}  {who}: FAULT {fault}") for at, who, fault in self.strikes]
        for at, supervisor, what, child, number, how in self.trace:
            life = f" {child}" + (f"#{number}" if number else "") if child else ""
            lines.append((at, 1, f"{at:7.2f}  {supervisor or 'model'}: {what}{life}{' ' + how if how else ''}"))
        return "\n".join(line for _, _, line in sorted(lines, key=lambda line: line[:2]))


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
    melted = False
    try:
        with seeded_scheduling(seed):
            melted = trio.run(
                _run, simulation, scenario, drive, horizon_seconds, clock=simulation.clock, instruments=[simulation]
            )
    except (Killed, BaseExceptionGroup) as error:
        # A run that does not end after its violation is ended by force, and this is how that comes out.
        if not all(isinstance(leaf, Killed) for leaf in leaves(error)):
            raise
    simulation.check_over()
    return Outcome(
        seed=seed,
        violation=None if simulation.violation is None else str(simulation.violation),
        digest=simulation.digest(),
        trace=tuple(simulation.trace),
        strikes=tuple(simulation.strikes),
        schedule=simulation.choices.schedule(),
        melted=melted,
        quiet_points=simulation.quiet_points,
        calls=simulation.calls_answered,
        seconds=simulation.now,
    )


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
