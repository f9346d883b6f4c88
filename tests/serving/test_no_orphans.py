"""Whatever ends a server behind its front, nobody of it is left after two seconds.

Neither workers nor spares, commands nor guardians: everybody who begins in a place carries its mark in the environment,
and is counted by that. Each way to end is tried with the command of a gate running, and with a worker that is stopped
and cannot end by itself. A busy machine takes its time, so here everybody ends, and what they may wait for on purpose
adds up to less than two seconds; `make chaos` measures.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio

from benchmarks.killing.killer import Roles, roles_of
from benchmarks.killing.places import GONE_SECONDS, Place, gone, new_place
from benchmarks.killing.processes import Family, Member
from benchmarks.killing.waiting import until
from benchmarks.serving.clients import LineClient, request
from vespera_agents.front.lives import LAST_SECONDS
from vespera_agents.front.settings import Settings
from vespera_agents.serving.worker import END_SECONDS

pytestmark = pytest.mark.unmeasured

GATE = "sleep 300"
WAIT_SECONDS = 30.0
"""How long a server may take to get where a test wants it; alone it takes 2 s."""
PATIENCE_SECONDS = 8.0
"""How long everybody may take to be gone on a busy machine; alone it takes 1.6 s at most.

What is wrongly left does not end by itself in that time: a gate sleeps for 300 s, and a stopped worker counts as wedged
after 10 s.
"""


class Gating:
    """A client that hands in work whose gate does not end."""

    def __init__(self, front: subprocess.Popen[bytes]) -> None:
        self.gated = False
        self._front = front
        self._client = LineClient(front, "modern")
        self._client.call("orchestrator_initialize_session", {})

    def run_gate(self) -> None:
        """Hand in work, and do not wait for the answer."""
        planned = self._client.call("orchestrator_plan_task", {"title": "gated", "gates": [GATE]})
        task = planned["structuredContent"]["tasks"][0]["id"]
        self._client.call("orchestrator_execute_task", {"task_id": task})
        work = {"task_id": task, "summary": "done", "next_action": "complete"}
        params = {"name": "orchestrator_complete_task", "arguments": work}
        assert self._front.stdin is not None
        os.write(self._front.stdin.fileno(), request(100, "tools/call", params, "modern") + b"\n")
        self.gated = True


@dataclass(frozen=True)
class Served:
    """A server behind its front whose gate runs and whose spare waits."""

    place: Place
    family: Family
    front: subprocess.Popen[bytes]
    client: Gating

    async def roles(self) -> Roles:
        """Wait until everybody is there: a worker, a spare, and a command."""
        with trio.fail_after(WAIT_SECONDS):
            await self.spare()
            if not self.client.gated:
                self.client.run_gate()
            await until(lambda: any(map(_is_gate, self.family.members())))
            await self.spare()
        return roles_of(self.family)

    async def spare(self) -> None:
        """Wait for a worker and a spare; one is made as soon as no client waits for anything."""
        await until(lambda: None not in {(roles := roles_of(self.family)).worker, roles.spare})

    async def without(self, members: tuple[Member, ...]) -> list[str]:
        """Wait until none of these lives; gives those that do after the time."""
        pids = {one.pid for one in members}
        with trio.move_on_after(PATIENCE_SECONDS):
            await until(lambda: not any(one.pid in pids for one in self.family.members()))
        left = [one for one in self.family.members() if one.pid in pids]
        return [f"{one.pid} {' '.join(one.command)[:100]}" for one in left]


@contextmanager
def served() -> Iterator[Served]:
    """Start a server, have a gate run on it, and leave nobody whatever happens."""
    with new_place() as place:
        place.trust(f'[commands]\nallow = ["{GATE}"]\n')
        family = place.family()
        with subprocess.Popen(
            place.command, env=place.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        ) as front:
            try:
                yield Served(place, family, front, Gating(front))
            finally:
                front.kill()
                for one in family.members():
                    with _gone_already():
                        os.kill(one.pid, signal.SIGKILL)


@contextmanager
def _gone_already() -> Iterator[None]:
    try:
        yield
    except ProcessLookupError:
        return


def _is_gate(one: Member) -> bool:
    # The guardian names the program by its whole path.
    return " ".join(one.command).endswith(GATE)


def _dead_children(pid: int) -> list[str]:
    command = ["ps", "-o", "pid=,stat=,args=", "--ppid", str(pid)]
    listed = subprocess.run(command, capture_output=True, text=True, check=False)
    return [line for line in listed.stdout.splitlines() if line.split()[1].startswith("Z")]


def close_pipe(front: subprocess.Popen[bytes]) -> None:
    assert front.stdin is not None
    front.stdin.close()


_IMPORTS_FOR_EVER = """
import sys, time
from pathlib import Path
class _Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "vespera_agents.serving.warming":
            Path(__file__).with_name("imports").touch()
            time.sleep(300)
if "vespera_agents.serving.forker" in sys.orig_argv:
    sys.meta_path.insert(0, _Slow())
"""
"""A `sitecustomize` by which the process that forks never gets through its imports."""


@contextmanager
def importing(patches: Path) -> Iterator[tuple[Family, subprocess.Popen[bytes]]]:
    """Start a server with a `sitecustomize`, and leave nobody whatever happens."""
    with new_place() as place:
        family = place.family()
        path = os.pathsep.join([str(patches), place.environment["PYTHONPATH"]])
        with subprocess.Popen(
            place.command, env={**place.environment, "PYTHONPATH": path}, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as front:
            try:
                yield family, front
            finally:
                front.kill()
                for one in family.members():
                    with _gone_already():
                        os.kill(one.pid, signal.SIGKILL)


async def test_a_process_that_still_imports_ends_with_its_killed_front(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(_IMPORTS_FOR_EVER)
    with importing(tmp_path) as (family, front):
        with trio.fail_after(WAIT_SECONDS):
            await until((tmp_path / "imports").exists)
        front.kill()
        with trio.fail_after(PATIENCE_SECONDS):
            await until(lambda: all(one.pid == front.pid for one in family.members()))


def test_what_an_end_waits_for_takes_less_than_two_seconds() -> None:
    settings = Settings(worker=())
    # A front waits for the last answers, and then for the worker; a worker whose front was killed for what it closes.
    assert LAST_SECONDS + settings.end_seconds < GONE_SECONDS
    assert END_SECONDS < GONE_SECONDS
    assert settings.pong_seconds > PATIENCE_SECONDS


ENDS: dict[str, Callable[[subprocess.Popen[bytes]], None]] = {
    "EOF": close_pipe,
    "SIGTERM": lambda front: front.send_signal(signal.SIGTERM),
    "SIGINT": lambda front: front.send_signal(signal.SIGINT),
    "SIGKILL": lambda front: front.kill(),
}


@pytest.mark.parametrize("stopped", [False, True], ids=["worker runs", "worker is stopped"])
@pytest.mark.parametrize("end", ENDS)
async def test_nobody_outlives_the_front(end: str, stopped: bool) -> None:
    with served() as server:
        roles = await server.roles()
        assert roles.worker is not None
        assert len(roles.everybody) >= 5, roles.everybody
        if stopped:
            os.kill(roles.worker.pid, signal.SIGSTOP)
        ENDS[end](server.front)
        assert await gone(server.family, PATIENCE_SECONDS) == []
        assert server.front.wait(1) == (-signal.SIGKILL if end == "SIGKILL" else 0)


async def test_what_a_killed_worker_had_started_ends_with_it() -> None:
    with served() as server:
        before = await server.roles()
        assert before.worker is not None
        os.kill(before.worker.pid, signal.SIGKILL)
        front, stays = before.front, {one.pid for one in (before.front, before.forker, before.spare) if one}
        assert await server.without(tuple(one for one in before.everybody if one.pid not in stays)) == []
        # The gate runs again for the repeated call, under a worker that was a spare.
        after = await server.roles()
        assert after.front == front or (front and after.front and after.front.pid == front.pid)
        assert after.worker is not None
        assert after.worker.pid != before.worker.pid
        close_pipe(server.front)
        assert await gone(server.family, PATIENCE_SECONDS) == []


@pytest.mark.parametrize("victim", ["forker", "spare"])
async def test_a_killed_forker_or_spare_leaves_nobody(victim: str) -> None:
    with served() as server:
        before = await server.roles()
        target = before.forker if victim == "forker" else before.spare
        assert target is not None
        os.kill(target.pid, signal.SIGKILL)
        ours = (target, *(before.spares if victim == "forker" else ()))
        assert await server.without(ours) == []
        # Another one takes its place.
        with trio.fail_after(WAIT_SECONDS):
            await until(lambda: roles_of(server.family).spare is not None)
        close_pipe(server.front)
        assert await gone(server.family, PATIENCE_SECONDS) == []


@pytest.mark.parametrize("forker", ["lives", "is replaced", "dies just before"])
async def test_a_stopped_worker_that_was_forked_lives_as_long_as_the_front_whatever_its_forker_does(
    forker: str,
) -> None:
    with served() as server:
        first = await server.roles()
        assert first.worker is not None
        os.kill(first.worker.pid, signal.SIGKILL)
        before = await server.roles()
        assert before.worker is not None
        assert before.forker is not None
        if forker != "lives":
            os.kill(before.forker.pid, signal.SIGKILL)
        if forker == "is replaced":
            assert await server.without((before.forker, *before.spares)) == []
            after = await server.roles()
            assert after.worker is not None
            assert after.worker.pid == before.worker.pid
            assert server.family.front() is not None
        os.kill(before.worker.pid, signal.SIGSTOP)
        server.front.kill()
        assert await gone(server.family, PATIENCE_SECONDS) == []


async def test_a_front_lets_no_dead_process_stay_behind() -> None:
    with served() as server:
        before = await server.roles()
        assert before.worker is not None
        os.kill(before.worker.pid, signal.SIGKILL)
        # What the gate of the dead worker had started ends as an orphan, of which the front is the parent.
        await server.roles()
        with trio.fail_after(WAIT_SECONDS):
            await until(lambda: not _dead_children(server.front.pid))


async def test_a_stopped_forker_or_spare_outlives_nobody() -> None:
    with served() as server:
        roles = await server.roles()
        for one in (roles.forker, roles.spare):
            assert one is not None
            os.kill(one.pid, signal.SIGSTOP)
        server.front.kill()
        assert await gone(server.family, PATIENCE_SECONDS) == []


def _crashing(command: list[str], place: Place) -> subprocess.Popen[bytes]:
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=place.environment, stdin=pipe, stdout=pipe, stderr=pipe)


@pytest.mark.parametrize("end", ENDS)
async def test_workers_that_crash_in_their_start_leave_nobody(end: str) -> None:
    crashing = ("/bin/sh", "-c", f"{GATE} & exit 70")
    program = f"""
from vespera_agents.front.front import run_front
from vespera_agents.front.settings import Settings
run_front(Settings(worker={crashing}, spare=False))
"""
    with new_place() as place:
        family = place.family()
        command = [sys.executable, "-c", program]
        with _crashing(command, place) as front:
            try:
                assert front.stderr is not None
                # One after another crashes, and what each had started is gone before the next one begins.
                told = [front.stderr.readline() for _ in range(3)]
                for number, line in enumerate(told, 1):
                    assert line.startswith(b"vespera: worker %d " % number), told
                    assert line.endswith(b" ended with status 70 before it was ready\n"), told
                assert sum(map(_is_gate, family.members())) <= 1
                ENDS[end](front)
                assert await gone(family, PATIENCE_SECONDS) == []
            finally:
                front.kill()


def test_a_start_that_cannot_succeed_leaves_nobody() -> None:
    with new_place() as place:
        place.database.mkdir()
        ended = subprocess.run(
            place.command, env=place.environment, stdin=subprocess.PIPE, capture_output=True, check=False, timeout=30
        )
        assert ended.returncode == 2, ended.stderr
        assert b"database" in ended.stderr
        assert not place.family().members()
