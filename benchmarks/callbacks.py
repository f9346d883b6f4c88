"""Callbacks: is everybody told at least once and in order, whoever fails, hangs or is killed meanwhile?

A real `vespera serve` delivers to a receiver that fails 30 % of the requests, hangs, breaks off, answers twice and is
killed itself; the worker that delivers is killed, too. The reference of a count is what had to come.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import trio

from benchmarks.calling.changing import change_tasks
from benchmarks.calling.judging import Verdict, judge
from benchmarks.harness import Options, Row, row_of
from benchmarks.killing.places import Place, new_place
from benchmarks.killing.processes import Family, Member
from benchmarks.killing.waiting import until
from vespera_agents.store.visiting import visit
from vespera_agents.workspace import Workspace

CALLBACKS: Final = 100_000
QUICK_CALLBACKS: Final = 1_500
KILLS: Final = 20
QUICK_KILLS: Final = 3
RECEIVER_RESTARTS: Final = 5
PROMISES: Final = ("delivered at least once", "told in order", "signed", "one id")
"""In the names of the rows that say whether a promise holds."""
_CONFIGURATION: Final = """
[callbacks.bench]
url = "http://127.0.0.1:{port}/hook"
events = ["on_task_start", "on_task_complete"]
secret_file = "{secret}"
allow_private = true
timeout_seconds = 1.0
attempts_max = 60
concurrency = 32
backoff_seconds = 0.02
backoff_seconds_max = 1.0
"""
_SECONDS_MAX: Final = 3_600.0
_STALLED_SECONDS: Final = 60.0


@dataclass(slots=True)
class _Outcome:
    verdict: Verdict
    seconds: float
    """From the first change to the last delivery."""
    kills: int
    restarts: int
    dead: int


async def run(options: Options) -> list[Row]:
    """Have it all happen at once."""
    callbacks = QUICK_CALLBACKS if options.quick else CALLBACKS
    kills = QUICK_KILLS if options.quick else KILLS
    with new_place() as place:
        outcome = await _deliver(place, callbacks // 2, kills, 1 if options.quick else RECEIVER_RESTARTS)
    verdict = outcome.verdict
    print(
        f"{verdict.received} of {verdict.expected} delivered at least once, {len(verdict.lost)} lost, "
        f"{len(verdict.disordered)} order violations, {verdict.duplicates} duplicates, {outcome.dead} dead letters, "
        f"{verdict.attempts} attempts in {outcome.seconds:.1f} s, {outcome.kills} kills of the worker, "
        f"{outcome.restarts} of the receiver"
    )
    tasks = verdict.expected // 2
    return [
        _count("callbacks delivered at least once", verdict.received, "happened", verdict.expected),
        _count("tasks told in order", tasks - len(verdict.disordered), "tasks", tasks),
        _count("callbacks that came under one id", verdict.expected - len(verdict.two_ids), "of", verdict.expected),
        _count("callbacks signed", verdict.expected - verdict.forged, "of", verdict.expected),
        _count("dead letters", outcome.dead, "of", verdict.expected, None),
        _count("duplicates, recognisable by id", verdict.duplicates, "attempts", verdict.attempts, None),
        _count("kills of the worker", outcome.kills, "asked for", kills),
        row_of(
            "callbacks delivered in a second",
            unit="1/s",
            ours=[verdict.expected / outcome.seconds],
            reference="attempts in a second",
            references=[verdict.attempts / outcome.seconds],
            goal=None,
        ),
    ]


def _count(name: str, ours: float, reference: str, wanted: float, goal: float | None = 1.0) -> Row:
    return row_of(name, unit="", ours=[ours], reference=reference, references=[wanted], goal=goal, clock="none")


async def _deliver(place: Place, tasks: int, kills: int, restarts: int) -> _Outcome:
    workspace = Workspace(place.project)
    secret, received = place.root / "secret", place.root / "received"
    secret.write_text(secrets.token_hex(32))
    received.touch()
    port = _free_port()
    place.trust(_CONFIGURATION.format(port=port, secret=secret))
    done: list[str] = []
    with _Receiver(place, port, received, secret) as receiver:
        async with _serving(place), trio.open_nursery() as nursery:
            with trio.fail_after(30):
                await until(lambda: bool(_ask(place, "SELECT count(*) FROM callback_target")))
            began = time.perf_counter()

            async def change() -> None:
                done.extend(await visit(workspace, lambda store: change_tasks(workspace, store, tasks)))

            nursery.start_soon(change)
            killed = await _kill(place, receiver, received, 2 * tasks, kills, restarts)
            with trio.fail_after(_SECONDS_MAX):
                await _until_nothing_waits(place, received, lambda: len(done) == tasks)
            seconds = time.perf_counter() - began
        dead = _ask(place, "SELECT count(*) FROM callback WHERE status='dead'") or 0
    lines = received.read_text().splitlines()
    return _Outcome(judge(done, lines), seconds, killed, receiver.restarts, dead)


async def _kill(place: Place, receiver: _Receiver, received: Path, expected: int, kills: int, restarts: int) -> int:
    """Kill the worker, and now and then the receiver, spread over all that is delivered; counts the former."""
    family, killed = place.family(), 0
    moments = sorted(
        [((number + 1) / (kills + 2), True) for number in range(kills)]
        + [((number + 1.5) / (restarts + 2), False) for number in range(restarts)]
    )
    with trio.move_on_after(_SECONDS_MAX):
        for share, worker in moments:
            await until(lambda share=share: _lines(received) >= share * 1.4 * expected, 0.02)
            if not worker:
                receiver.restart()
                continue
            with trio.fail_after(60):
                await until(lambda: bool(_workers(family)), 0.02)
            for one in _workers(family)[:1]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(one.pid, signal.SIGKILL)
                    killed += 1
            await trio.sleep(0.2)
    return killed


def _workers(family: Family) -> list[Member]:
    """Find who has the store open: the worker, not its spare."""
    return [one for one in family.members() if one.python and one.holds(family.database)]


async def _until_nothing_waits(place: Place, received: Path, changed: Callable[[], bool]) -> None:
    """Wait until everything has ended one way or another; what makes no progress for a minute is what came of it."""
    last, since = -1, time.perf_counter()
    while not changed() or _ask(place, "SELECT count(*) FROM callback WHERE status='pending'"):
        if (now := _lines(received)) != last:
            last, since = now, time.perf_counter()
        if time.perf_counter() - since > _STALLED_SECONDS:
            return
        await trio.sleep(0.1)


def _lines(received: Path) -> int:
    """Estimate how many lines a file has: all are as long."""
    size = received.stat().st_size
    return size // _LINE_BYTES


_LINE_BYTES: Final = len(f"callback_{'0' * 24} task_{'0' * 12} on_task_complete\n")


def _ask(place: Place, question: str) -> int | None:
    """Read one number of the store; None while it cannot be read."""
    try:
        with contextlib.closing(sqlite3.connect(f"file:{place.database}?mode=ro", uri=True)) as connection:
            return int(connection.execute(question).fetchone()[0])
    except sqlite3.Error:
        return None


@asynccontextmanager
async def _serving(place: Place) -> AsyncIterator[None]:
    """Have a real server, whose client says nothing."""
    process = await trio.lowlevel.open_process(
        list(place.command),
        env=place.environment,
        cwd=place.root,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        with trio.CancelScope(shield=True):
            assert process.stdin is not None
            await process.stdin.aclose()
            with trio.move_on_after(20) as patience:
                await process.wait()
            if patience.cancelled_caught:
                process.kill()
                await process.wait()


class _Receiver:
    """The receiver's process, which can be killed and begun anew."""

    def __init__(self, place: Place, port: int, received: Path, secret: Path) -> None:
        self._command = [sys.executable, "-m", "benchmarks.calling.receiver", str(port), str(received), str(secret)]
        self._environment = place.environment
        self._process: subprocess.Popen[bytes] | None = None
        self.restarts = 0

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def restart(self) -> None:
        self.restarts += 1
        self._end()
        self._start()

    def _start(self) -> None:
        command = [*self._command, str(self.restarts)]
        self._process = subprocess.Popen(command, env=self._environment, stdin=subprocess.DEVNULL)

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])
