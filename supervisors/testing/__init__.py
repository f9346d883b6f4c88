"""Simulation of supervision trees: virtual time, seeded scheduling, faults, and a model beside each supervisor.

running, outcomes, shrinking  simulate(): one run from a seed, what came of it, and a failing one made short
runs, violations, command     what every simulation is made of, also of other things than trees; it from a shell
simulation, scenarios         what a scenario makes its tree of, and the tree of the house, drawn by chance
workers, faults               children that misbehave, at every fault point, and how often each has struck
model, model_calls, kids      a supervisor in pure Python, which says what must happen next
watching                      one real supervisor under observation, compared with its model at each quiet point
clock, scheduling, choices    virtual time, one seed for trio's scheduler, and everything else that is left to chance

    outcome = simulate(my_tree, seed=7)
    assert outcome.violation is None, outcome.story()
"""

from supervisors.testing.choices import Choices, Schedule, Stream
from supervisors.testing.clock import SimulatedClock, Stuck
from supervisors.testing.faults import Coverage, Fault
from supervisors.testing.model import Model
from supervisors.testing.outcomes import Outcome
from supervisors.testing.running import simulate
from supervisors.testing.runs import Run, carry_out
from supervisors.testing.scenarios import Driver, Scenario, drive_by_chance, random_tree
from supervisors.testing.scheduling import seeded_scheduling
from supervisors.testing.shrinking import shrink
from supervisors.testing.simulation import Simulation
from supervisors.testing.violations import Violation

__all__ = [
    "Choices",
    "Coverage",
    "Driver",
    "Fault",
    "Model",
    "Outcome",
    "Run",
    "Scenario",
    "Schedule",
    "SimulatedClock",
    "Simulation",
    "Stream",
    "Stuck",
    "Violation",
    "carry_out",
    "drive_by_chance",
    "random_tree",
    "seeded_scheduling",
    "shrink",
    "simulate",
]
