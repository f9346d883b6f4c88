"""A kit for testing actors: probes, faults on purpose, and whole systems simulated under faults in virtual time.

probe                         a real actor whose mail a test expects, with a bound, and whose answers it gives
faults, wrapping              actors that crash, dawdle, hang or refuse to stop when a test or a seed says so
running, simulation           simulate(): one run of an actor system from a seed (from a shell: __main__)
scenarios, simulated          the actors of the house, and who writes to them, stops them and kills them
ledger, records, posts        who sent what to whom, and what became of it
rules                         what must hold in every actor system, and is checked whenever nothing can run

Nothing outside of tests imports it. Virtual time: `trio.testing.MockClock` in a test; a simulation has its own.

    outcome = simulate(my_actors, seed=7)
    assert outcome.violation is None, outcome.story()
"""

from vespera_agents.actors.testing.faults import ActorFault, FaultPlan, InjectedCrash, faulty, fill_mailbox
from vespera_agents.actors.testing.posts import Post
from vespera_agents.actors.testing.probe import Probe, Unexpected
from vespera_agents.actors.testing.running import Opening, Scenario, simulate
from vespera_agents.actors.testing.scenarios import random_actors
from vespera_agents.actors.testing.simulation import ActorSimulation, Invariants

__all__ = [
    "ActorFault",
    "ActorSimulation",
    "FaultPlan",
    "InjectedCrash",
    "Invariants",
    "Opening",
    "Post",
    "Probe",
    "Scenario",
    "Unexpected",
    "faulty",
    "fill_mailbox",
    "random_actors",
    "simulate",
]
