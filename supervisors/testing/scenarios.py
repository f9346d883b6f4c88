"""The scenario of the house: a tree drawn by chance, calls at random moments, and somebody who kills workers.

A scenario of your own is a function that makes the root supervisor from a `Simulation`, and perhaps one that drives it.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import trio

from supervisors.any_supervisor import AnySupervisor
from supervisors.backoff import Backoff
from supervisors.flags import AutoShutdown
from supervisors.forcing import force_kill
from supervisors.specs import ChildSpec, ChildType, Restart, Strategy
from supervisors.supervisor import supervisor_spec
from supervisors.testing.choices import Stream
from supervisors.testing.faults import Fault
from supervisors.testing.simulation import Simulation
from supervisors.testing.watching import Watched
from supervisors.testing.workers import GRID_SECONDS

Scenario = Callable[[Simulation], AnySupervisor]
"""Makes the tree of a run."""
Driver = Callable[[Simulation, AnySupervisor], Awaitable[None]]
"""Does something with the tree while it runs, until it is cancelled."""

START_TIMEOUT_SECONDS: Final = 3.0
STOP_SECONDS: Final = 2.0
BEAT_SECONDS: Final = 6.0
PERIODS: Final = (2.0, 3.0, 5.0)
RESTARTS: Final = (Restart.PERMANENT, Restart.PERMANENT, Restart.TRANSIENT, Restart.TEMPORARY)
STRATEGIES: Final = (Strategy.ONE_FOR_ONE, Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE)
AUTO_SHUTDOWNS: Final = (
    AutoShutdown.NEVER,
    AutoShutdown.NEVER,
    AutoShutdown.ANY_SIGNIFICANT,
    AutoShutdown.ALL_SIGNIFICANT,
)
NEW_CHILDREN: Final = 3
"""How many names the driver has for children that it starts."""
PAUSES_MAX: Final = 5
CALLS: Final = ("terminate_child", "restart_child", "delete_child", "start_child")


def random_tree(simulation: Simulation) -> AnySupervisor:
    """Make a root with a few workers and two subtrees, each with strategy, limits and children drawn by chance."""
    choices = simulation.stream("tree")
    children = [_worker(simulation, choices, "w0")]
    children.extend(_subtree(simulation, choices, name) for name in ("a", "b"))
    if choices.below(2):
        children.append(_worker(simulation, choices, "w1"))
    strategy = STRATEGIES[choices.below(3)] if choices.chance(200) else Strategy.ONE_FOR_ONE
    return simulation.supervisor(children, name="root", strategy=strategy, intensity=4, period_seconds=10.0)


def _subtree(simulation: Simulation, choices: Stream, name: str) -> ChildSpec:
    intensity, period_seconds = choices.below(4), PERIODS[choices.below(3)]
    kind = choices.below(4)
    restart = (Restart.PERMANENT, Restart.PERMANENT, Restart.TRANSIENT)[choices.below(3)]
    if kind == len(STRATEGIES):
        template = _worker(simulation, choices, f"{name}d", named=False)
        factory = partial(
            simulation.dynamic,
            template,
            name=name,
            intensity=intensity,
            period_seconds=period_seconds,
            max_children=4,
        )
        return supervisor_spec(name, factory, restart=restart)
    auto_shutdown = AUTO_SHUTDOWNS[choices.below(4)]
    strategy = STRATEGIES[kind]
    specs = [
        _worker(
            simulation,
            choices,
            f"{name}{number}",
            significant=auto_shutdown is not AutoShutdown.NEVER,
            backoff=strategy is Strategy.ONE_FOR_ONE,
        )
        for number in range(2 + choices.below(2))
    ]
    factory = partial(
        simulation.supervisor,
        specs,
        name=name,
        strategy=strategy,
        intensity=intensity,
        period_seconds=period_seconds,
        auto_shutdown=auto_shutdown,
    )
    return supervisor_spec(name, factory, restart=restart)


def _worker(
    simulation: Simulation,
    choices: Stream,
    name: str,
    *,
    named: bool = True,
    significant: bool = False,
    backoff: bool = False,
) -> ChildSpec:
    restart = RESTARTS[choices.below(4)]
    delayed = Backoff(GRID_SECONDS, 4 * GRID_SECONDS, jitter=(0.0, 1.0)[choices.below(2)])
    return ChildSpec(
        name,
        simulation.worker,
        args=(name,) if named else (),
        restart=restart,
        shutdown_seconds=0.0 if choices.chance(100) else STOP_SECONDS,
        start_timeout_seconds=START_TIMEOUT_SECONDS,
        significant=bool(choices.below(2)) and significant and restart is not Restart.PERMANENT,
        backoff=delayed if choices.below(4) == 3 and backoff else None,  # noqa: PLR2004 - one in four
        beat_seconds=(math.inf, BEAT_SECONDS)[choices.below(2)],
    )


async def drive_by_chance(simulation: Simulation, _root: AnySupervisor) -> None:
    """Make calls, several at one moment, and kill workers, for as long as faults are on."""
    choices = simulation.stream("driver")
    async with trio.open_nursery() as nursery:
        while simulation.faults_on:
            await trio.sleep(GRID_SECONDS * (1 + choices.below(PAUSES_MAX)))
            open_ones = [watched for watched in simulation.watched if not watched.over]
            for _ in range(choices.below(3) if open_ones else 0):
                watched = open_ones[choices.below(len(open_ones))]
                nursery.start_soon(_call_by_chance, simulation, choices, watched)
            if choices.chance(60):
                _kill_by_chance(simulation, choices)


async def _call_by_chance(simulation: Simulation, choices: Stream, watched: Watched) -> None:
    supervisor, model = watched.supervisor, watched.model
    ids = [*model.kids, f"{watched.name}n{choices.below(NEW_CHILDREN)}"]
    child_id = ids[choices.below(len(ids))]
    if model.template is not None:
        call = ("terminate_child", "start_dynamic", "start_dynamic")[choices.below(3)]
        await simulation.call(supervisor, call, child_id)
        return
    call = CALLS[choices.below(len(CALLS))]
    if call == "start_child":
        new_id = f"{watched.name}n{choices.below(NEW_CHILDREN)}"
        await simulation.call(supervisor, call, _worker(simulation, choices, new_id))
    else:
        await simulation.call(supervisor, call, child_id)


def _kill_by_chance(simulation: Simulation, choices: Stream) -> None:
    workers = [
        (task, name)
        for task, (watched, name) in simulation.founders.items()
        if name in watched.model.kids and watched.model.kids[name].spec.type is ChildType.WORKER
    ]
    if workers:
        task, name = workers[choices.below(len(workers))]
        simulation.struck(name, Fault.KILLED)
        force_kill(task)
