"""What the OTP conformance tests share: children that do what a test says, and OTP's way of asking about them."""

from __future__ import annotations

import trio

from supervisors import AnySupervisor, ChildSpec, Ignore

DOWN, RUNNING, RESTARTING = "down", "running", "restarting"


def counts(supervisor: AnySupervisor) -> list[int]:
    """Return OTP's four numbers: specs, active, supervisors, workers."""
    counted = supervisor.count_children()
    return [counted.specs, counted.active, counted.supervisors, counted.workers]


def states(supervisor: AnySupervisor) -> dict[str, str]:
    """Return the state of each child, in start order."""
    return {info.id: info.state.value for info in supervisor.which_children()}


async def ignoring(*_: object, task_status: trio.TaskStatus[object]) -> None:
    """Do not want to run."""
    raise Ignore


async def failing(*_: object, task_status: trio.TaskStatus[object]) -> None:
    """Never become ready."""
    raise ValueError("no start")


async def waiting(value: object = None, *, task_status: trio.TaskStatus[object]) -> None:
    """Be ready, and wait for the end."""
    task_status.started(value)
    await trio.sleep_forever()


async def deaf(seconds: float = 200.0, *, task_status: trio.TaskStatus[object]) -> None:
    """Be ready, and do not listen to cancellation for that long."""
    task_status.started()
    with trio.CancelScope(shield=True):
        await trio.sleep(seconds)


def spec(name: str = "child", start=waiting, **options: object) -> ChildSpec:
    """Return the spec of a child that waits, unless told otherwise."""
    return ChildSpec(name, start, **options)


class Deadlock:
    """OTP's supervisor_deadlock: its first life runs until `restart()`, and then each start fails after two seconds."""

    def __init__(self) -> None:
        self.fail_start = False
        self.crash = trio.Event()

    async def child(self, *_: object, task_status: trio.TaskStatus[object]) -> None:
        if self.fail_start:
            await trio.sleep(2)
            raise ValueError("error")
        self.crash = trio.Event()
        task_status.started()
        await self.crash.wait()
        raise ValueError("error")

    def restart(self) -> None:
        """Let it crash, and fail from now on."""
        self.fail_start = True
        self.crash.set()
