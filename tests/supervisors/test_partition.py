"""N copies of a child, routed to by key. Source of the rules: Elixir's PartitionSupervisor."""

from __future__ import annotations

import subprocess
import sys

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from supervisors import ChildNotRunning, ChildSpec, SpecError, Supervisor, render_tree, supervisor_spec
from supervisors.partition import PartitionSupervisor


class Copies:
    """Partitions that can be told to crash."""

    def __init__(self) -> None:
        self.crash: dict[int, trio.Event] = {}
        self.hold = trio.Event()
        self.hold.set()

    def spec(self, number: int) -> ChildSpec:
        return ChildSpec(f"copy {number}", self.run, args=(number,))

    async def run(self, number: int, *, task_status: trio.TaskStatus[str]) -> None:
        await self.hold.wait()
        self.crash[number] = trio.Event()
        task_status.started(f"copy {number}")
        await self.crash[number].wait()
        raise ValueError(f"copy {number} broke")


@pytest.fixture
def copies() -> Copies:
    """Partitions."""
    return Copies()


async def test_one_key_always_leads_to_one_partition_and_all_have_their_share(autojump_clock, copies, running) -> None:
    supervisor = PartitionSupervisor(copies.spec, partitions=4, name="desks")
    async with running(supervisor):
        assert [info.id for info in supervisor.which_children()] == ["0", "1", "2", "3"]
        assert supervisor.route(6) == supervisor.route(-6) == "copy 2"
        assert {supervisor.route(f"customer {number}") for number in range(50)} == {f"copy {n}" for n in range(4)}
        assert supervisor.partition_of("é") == supervisor.partition_of("é".encode())
        assert supervisor.partition_of((1, 2)) == supervisor.partition_of((1, 2))
        assert "desks" in render_tree(supervisor.snapshot())


def test_a_key_leads_to_the_same_partition_in_every_process() -> None:
    program = (
        "from supervisors import ChildSpec\nfrom supervisors.partition import PartitionSupervisor\n"
        "p = PartitionSupervisor(lambda n: ChildSpec(str(n), print), partitions=97, name='p')\n"
        "print([p.partition_of(f'key {n}') for n in range(20)])"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", program], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True, timeout=60
        ).stdout
        for seed in ("1", "2")
    }
    assert len(said) == 1


async def test_a_partition_that_crashes_restarts_alone_and_has_no_value_meanwhile(
    autojump_clock, copies, running
) -> None:
    supervisor = PartitionSupervisor(copies.spec, partitions=2, name="desks")
    async with running(supervisor):
        copies.hold = trio.Event()
        copies.crash[1].set()
        await wait_all_tasks_blocked()
        assert supervisor.route(0) == "copy 0"
        with pytest.raises(ChildNotRunning):
            supervisor.route(1)
        copies.hold.set()
        await wait_all_tasks_blocked()
        assert supervisor.route(1) == "copy 1"
        assert [node.restarts for node in supervisor.snapshot().children] == [0, 1]


async def test_it_is_a_child_like_any_supervisor(autojump_clock, copies, running) -> None:
    spec = supervisor_spec("desks", lambda: PartitionSupervisor(copies.spec, partitions=2, name="desks"))
    supervisor = Supervisor([spec], name="root")
    async with running(supervisor):
        desks = supervisor.child_value("desks")
        assert isinstance(desks, PartitionSupervisor)
        assert desks.route(1) == "copy 1"


@pytest.mark.parametrize("partitions", [0, -1, 10_001])
def test_a_number_of_partitions_that_makes_no_sense_is_refused(copies, partitions) -> None:
    with pytest.raises(SpecError, match="partitions"):
        PartitionSupervisor(copies.spec, partitions=partitions, name="desks")
