"""Simulate a tree of your own: a shop whose till crashes now and then, through a thousand runs in a few seconds.

Each seed is one run in virtual time. A model of the supervisor runs beside the real one; what differs is a violation,
and `outcome.story()` tells what led to it.
"""

import trio

from supervisors import ChildSpec, Strategy, Supervisor
from supervisors.testing import Simulation, simulate


def shop(simulation: Simulation) -> Supervisor:
    async def till(*, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        while True:
            await trio.sleep(0.5 * (1 + simulation.stream("till").below(6)))
            if simulation.strikes_now("till", "jammed", permille=300):
                raise OSError("the till is jammed")

    children = [ChildSpec("stock", simulation.worker, args=("stock",)), ChildSpec("till", till)]
    return simulation.supervisor(children, name="shop", strategy=Strategy.REST_FOR_ONE, intensity=3)


def main(seeds: int = 1_000) -> None:
    jams = gave_up = 0
    for seed in range(seeds):
        outcome = simulate(shop, seed=seed)
        assert outcome.violation is None, outcome.story()
        jams += outcome.struck.get("jammed", 0)
        gave_up += outcome.melted
    print(f"{seeds} runs, no violation; the till was jammed {jams} times, and {gave_up} shops gave up")


if __name__ == "__main__":
    main()
