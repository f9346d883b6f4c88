"""A restart that is killed at any of its steps: the client stays connected, or the next start finds all it was told.

The front stands still at each moment of a restart while one of its processes is killed: the worker that goes, the one
that comes, the forker, and the front itself. Workers are killed around every transaction and file of a restart, too.
Whatever dies, the call that asked for the restart has an answer, everything acknowledged is there once, and the file is
sound. That the moments below are all there are is a test of its own.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from inspect import getsource

import pytest
import trio
from mcp import Client, MCPError
from mcp_types import TextContent

from benchmarks.killing.faults import Faults
from benchmarks.killing.faulty_front import MOMENTS
from benchmarks.killing.faulty_worker import RESTART_POINTS
from benchmarks.killing.killer import roles_of
from benchmarks.killing.places import Place, gone, new_place, talking, talking_http
from benchmarks.killing.processes import Family, Member
from benchmarks.killing.record import Record
from benchmarks.killing.waiting import until
from vespera_agents.front import restarting

pytestmark = pytest.mark.unmeasured

WAIT_SECONDS = 60.0
VICTIMS = {
    "old": ("begins", "start", "drain", "stop"),
    "new": ("drain", "stop", "takes-over", "activate", "ready", "done"),
    "forker": tuple(MOMENTS),
}
"""Whom to kill when; who is not there at a moment cannot be killed then."""
HALF = len(RESTART_POINTS) // 2


@dataclass
class Told:
    """A client that plans and asks for restarts, and its book."""

    faults: Faults
    client: Client
    record: Record

    @property
    def family(self) -> Family:
        return self.faults.place.family()

    async def plan(self) -> None:
        """Plan one more task, and write it down."""
        title = f"task {len(self.record.planned)}"
        answer = await self.client.call_tool("orchestrator_plan_task", {"title": title})
        assert not answer.is_error, answer.content
        assert answer.structured_content is not None
        self.record.planned[title] = answer.structured_content["tasks"][0]["id"]

    async def claim(self) -> None:
        """Begin work on the task that was planned last, and write it down."""
        task = [*self.record.planned.values()][-1]
        answer = await self.client.call_tool("orchestrator_execute_task", {"task_id": task})
        assert not answer.is_error, answer.content
        self.record.claimed.add(task)

    async def restart(self) -> str:
        """Ask for a restart; gives the text of the answer, whatever it is."""
        answer = await self.client.call_tool("orchestrator_restart_server", {"reason": "a test", "timeout": 10})
        assert isinstance(answer.content[0], TextContent)
        return answer.content[0].text

    async def restart_in_vain(self) -> None:
        """Ask for a restart of a server that dies."""
        with suppress(MCPError, trio.BrokenResourceError, trio.ClosedResourceError):
            await self.restart()

    async def spare(self) -> None:
        """Wait until a spare waits, and so a forker."""
        with trio.fail_after(WAIT_SECONDS):
            await until(lambda: None not in {(roles := roles_of(self.family)).worker, roles.spare, roles.forker})

    def member(self, victim: str) -> Member:
        """Find whom to kill."""
        roles = roles_of(self.family)
        if victim == "forker":
            assert roles.forker is not None
            return roles.forker
        assert roles.front is not None
        found = roles.worker if victim == "old" else max(roles.fresh, key=lambda one: one.started)
        assert found is not None
        return found


@asynccontextmanager
async def told(place: Place, record: Record) -> AsyncIterator[Told]:
    """Start a server whose front can stand still, and talk to it."""
    faults = Faults(place, restarts=True)
    async with talking(place, "auto", faults.command, faults.environment) as client:
        opened = await client.call_tool("orchestrator_initialize_session", {})
        assert not opened.is_error
        one = Told(faults, client, record)
        await one.plan()
        yield one


def judge(place: Place, record: Record) -> None:
    verdict = record.judge(place.database)
    assert verdict.sound, str(verdict)


@pytest.mark.parametrize("victim", VICTIMS)
async def test_a_client_stays_connected_whoever_dies_in_a_restart(victim: str) -> None:
    with new_place() as place:
        record = Record()
        async with told(place, record) as one:
            for moment in VICTIMS[victim]:
                await one.spare()
                fired = one.faults.arm(moment)
                with trio.fail_after(WAIT_SECONDS):
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(one.restart)
                        await until(fired.exists)
                        os.kill(one.member(victim).pid, signal.SIGKILL)
                        fired.unlink()
                        one.faults.arm(f"{moment}.over")
                    await one.plan()
        assert await gone(place.family(), WAIT_SECONDS) == []
        judge(place, record)


@pytest.mark.parametrize("points", [RESTART_POINTS[:HALF], RESTART_POINTS[HALF:]], ids=["rows", "files"])
async def test_a_client_stays_connected_where_a_worker_dies_in_a_restart(points: tuple[str, ...]) -> None:
    with new_place() as place:
        record = Record()
        async with told(place, record) as one:
            for point in points:
                await one.spare()
                # Only who works on something has something to hand over, and who died has handed nothing over.
                await one.claim()
                fired = one.faults.arm(point)
                with trio.fail_after(WAIT_SECONDS):
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(one.restart)
                        await until(fired.exists)
                    await one.plan()
        assert await gone(place.family(), WAIT_SECONDS) == []
        judge(place, record)


async def test_the_next_start_recovers_from_a_front_that_died_in_a_restart() -> None:
    with new_place() as place:
        family = place.family()
        record = Record()
        for moment in MOMENTS:
            async with told(place, record) as one:
                status = await one.client.call_tool("orchestrator_restart_status", {"include_history": True})
                assert not status.is_error
                fired = one.faults.arm(moment)
                with trio.fail_after(WAIT_SECONDS):
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(one.restart_in_vain)
                        await until(fired.exists)
                        front = roles_of(family).front
                        assert front is not None
                        os.kill(front.pid, signal.SIGKILL)
            assert await gone(family, WAIT_SECONDS) == []
            fired.unlink()
            judge(place, record)


async def test_calls_over_http_outlive_a_worker_that_dies_before_it_is_ready() -> None:
    with new_place() as place:
        faults = Faults(place)
        # Without a spare the next worker has to import first.
        async with talking_http(place, [*faults.command, "--no-spare"], faults.environment) as client:
            fired = faults.arm("takes-over")
            first = roles_of(place.family()).worker
            assert first is not None
            os.kill(first.pid, signal.SIGKILL)
            with trio.fail_after(WAIT_SECONDS):
                await until(fired.exists)
            os.kill(max(roles_of(place.family()).fresh, key=lambda one: one.started).pid, signal.SIGKILL)
            faults.arm("takes-over.over")
            with trio.fail_after(WAIT_SECONDS / 3):
                answer = await client.call_tool("orchestrator_initialize_session", {})
            assert not answer.is_error
        assert await gone(place.family(), WAIT_SECONDS) == []


def test_every_phase_of_a_restart_has_its_moment() -> None:
    phases = set(re.findall(r'_begin\(restart, "(\w+)"', getsource(restarting)))
    assert phases
    assert phases <= set(MOMENTS)
