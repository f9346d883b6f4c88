"""A supervision tree without agents: three children, one crash, a picture of the tree before and after."""

import trio

from supervisors import ChildSpec, Restart, Strategy, Supervisor, render_tree


async def worker(seconds: float, *, task_status: trio.TaskStatus[None]) -> None:
    """Be ready at once, then work until something happens."""
    task_status.started()
    await trio.sleep(seconds)
    raise RuntimeError("the worker broke")


async def main() -> None:
    supervisor = Supervisor(
        [
            ChildSpec("database", worker, args=(60.0,)),
            ChildSpec("cache", worker, args=(0.05,)),
            ChildSpec("clients", worker, args=(60.0,), restart=Restart.TRANSIENT),
        ],
        name="shop",
        strategy=Strategy.REST_FOR_ONE,
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(supervisor.run)
        print(render_tree(supervisor.snapshot()), end="\n\n")
        await trio.sleep(0.08)  # the cache breaks once: it and what was started after it begin anew
        print(render_tree(supervisor.snapshot()))
        supervisor.stop()


trio.run(main)
