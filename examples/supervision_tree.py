"""A supervision tree in forty lines: a crash, a restart with its group, and the tree before and after.

Under rest_for_one those that were started after the one that crashed begin anew with it. Time is virtual here, so that
the program ends at once and prints the same every time; leave the clock out, and it takes a second.
"""

import trio
from trio.testing import MockClock

from supervisors import ChildSpec, Restart, Strategy, Supervisor, render_tree


async def worker(lives_seconds: float, *, task_status: trio.TaskStatus[None]) -> None:
    """Be ready at once, then work until something happens."""
    task_status.started()
    await trio.sleep(lives_seconds)
    raise RuntimeError("the worker broke")


async def main() -> None:
    supervisor = Supervisor(
        [
            ChildSpec("database", worker, args=(60.0,)),
            ChildSpec("cache", worker, args=(0.6,)),
            ChildSpec("clients", worker, args=(60.0,), restart=Restart.TRANSIENT),
        ],
        name="shop",
        strategy=Strategy.REST_FOR_ONE,
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(supervisor.run)
        print(render_tree(supervisor.snapshot()), end="\n\n")
        await trio.sleep(1.0)
        print(render_tree(supervisor.snapshot()))
        supervisor.stop()


if __name__ == "__main__":
    trio.run(main, clock=MockClock(autojump_threshold=0))
