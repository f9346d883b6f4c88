"""Simulation of supervision trees: virtual time, seeded scheduling, faults, and a model beside each supervisor.

running, shrinking            simulate(): one run from a seed, and a failing one made short (from a shell: __main__)
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
from supervisors.testing.kids import Violation
from supervisors.testing.model import Model
from supervisors.testing.running import Outcome, simulate
from supervisors.testing.scenarios import Driver, Scenario, drive_by_chance, random_tree
from supervisors.testing.scheduling import seeded_scheduling
from supervisors.testing.shrinking import shrink
from supervisors.testing.simulation import Simulation

__all__ = [
    "Choices",
    "Coverage",
    "Driver",
    "Fault",
    "Model",
    "Outcome",
    "Scenario",
    "Schedule",
    "SimulatedClock",
    "Simulation",
    "Stream",
    "Stuck",
    "Violation",
    "drive_by_chance",
    "random_tree",
    "seeded_scheduling",
    "shrink",
    "simulate",
]
