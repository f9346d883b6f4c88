"""The front: what does it add to a round trip, when is it ready, and what do a start and an end cost through it?

The same server runs behind a front and in one process; beside what the front adds stands a bare echo, a process that
only copies bytes from one pipe to another, with the same lines. They take turns call by call, so that each is woken
after the same rest. Waking a process on another processor takes many times as long as on one's own (50 us there and
back against 7), and of two processes the kernel keeps both on one, of four it does not. So echo and server are compared
on the same ground: each where the kernel wants it, but the echo away from its client, as servers are; and all on one
processor, which shows the front's own work and has no goal. A front is ready when it has passed on an answer; its
worker for that is a program without imports that is there long before it. The rows of a start and an end are those of
`mcp`, which start the real command and so go through the front.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from typing import Final

from benchmarks.harness import Options, Row, row_of
from benchmarks.mcp import in_turns, slices_of, start_rows
from benchmarks.serving.clients import ERAS, LineClient, environment, process, request
from benchmarks.serving.starting import read_line

CALLS: Final = 1_000
"""Round trips of each way in one round; their median counts."""
METHODS: Final = {"legacy": "ping", "modern": "server/discover"}
"""What costs a server the least."""
ECHO: Final = """
import os
while chunk := os.read(0, 1 << 16):
    os.write(1, chunk)
"""
"""Copies bytes, and imports nothing for it."""
PROCESSORS: Final = tuple(sorted(os.sched_getaffinity(0)))
"""Those that we may use. Linux only, as the benchmark is."""
READY: Final = "benchmarks.killing.stub_front"


async def run(options: Options) -> list[Row]:
    """Measure the relay in both eras, the front's own start, and starts and ends through it."""
    with environment() as surroundings:
        rows = [
            row
            for era in ERAS
            for apart in (False, True)[: len(PROCESSORS)]
            for row in await relay_rows(options, surroundings, era, apart=apart)
        ]
        rows.append(await ready_row(options, surroundings))
        return rows + await start_rows(options, surroundings)


async def relay_rows(options: Options, surroundings: Mapping[str, str], era: str, *, apart: bool) -> list[Row]:
    """Measure the median round trip with and without the front, and that of the echo.

    Args:
        options: how often.
        surroundings: the servers' environment.
        era: of the protocol.
        apart: whether servers run where the kernel wants them and the echo away from the client; else all are on one
            processor.
    """
    found: dict[str, list[float]] = {"with": [], "without": [], "echo": []}
    home, *others = PROCESSORS
    where = f"{ERAS[era]}, {'several processors' if apart else 'one processor'}"
    with ExitStack() as stack:
        stack.callback(os.sched_setaffinity, 0, PROCESSORS)
        os.sched_setaffinity(0, PROCESSORS if apart else {home})
        ways = {
            "with": _round_trip(stack, surroundings, era, []),
            "without": _round_trip(stack, surroundings, era, ["--in-process"]),
            "echo": _echo(stack, surroundings, request(1, METHODS[era], {}, era) + b"\n", others if apart else {home}),
        }
        os.sched_setaffinity(0, {home})
        _medians(ways, CALLS)
        for _ in range(options.rounds):
            for name, median in _medians(ways, options.scaled(CALLS)).items():
                found[name].append(median)
    added = [behind - alone for behind, alone in zip(found["with"], found["without"], strict=True)]
    return [
        row_of(
            f"what the front adds to a round trip, {where}",
            unit="us",
            ours=added,
            reference="an echo between two pipes",
            references=found["echo"],
            goal=3.0 if apart else None,
            goal_is="at most",
        ),
        row_of(
            f"a round trip through the front, {where}",
            unit="us",
            ours=found["with"],
            reference="the same server in one process",
            references=found["without"],
            goal=None,
            goal_is="at most",
        ),
    ]


def _round_trip(
    stack: ExitStack, surroundings: Mapping[str, str], era: str, more: Sequence[str]
) -> Callable[[], object]:
    workspace = stack.enter_context(tempfile.TemporaryDirectory(prefix="vsp-"))
    command = ["-m", "vespera_agents", "serve", "--workspace", workspace, *more]
    client = LineClient(stack.enter_context(process(command, surroundings)), era)
    return lambda: client.ask(METHODS[era], {})


def _echo(
    stack: ExitStack, surroundings: Mapping[str, str], line: bytes, processors: Collection[int]
) -> Callable[[], object]:
    server = stack.enter_context(process(["-c", ECHO], surroundings))
    os.sched_setaffinity(server.pid, processors)
    assert server.stdin is not None
    assert server.stdout is not None
    put, get = server.stdin.fileno(), server.stdout.fileno()

    def once() -> bytes:
        os.write(put, line)
        return read_line(get)

    return once


def _medians(ways: Mapping[str, Callable[[], object]], count: int) -> dict[str, float]:
    """Take the ways in turns, call by call, so that each is woken after the same rest; gives each one's median."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(count):
        for name, once in ways.items():
            started = time.perf_counter()
            once()
            seconds[name].append(time.perf_counter() - started)
    return {name: 1e6 * statistics.median(values) for name, values in seconds.items()}


async def ready_row(options: Options, surroundings: Mapping[str, str]) -> Row:
    """Measure from the start of a front's process to the first answer that it passes on."""
    found = await in_turns(
        options,
        {"import": lambda: _seconds_to_import_trio(surroundings), "ready": lambda: _seconds_to_ready(surroundings)},
        slices=slices_of(options),
    )
    return row_of(
        "from the start of a front to what it passes on first",
        unit="ms",
        ours=found["ready"],
        reference='python -c "import trio"',
        references=found["import"],
        goal=1.4,
        goal_is="at most",
    )


def _seconds_to_import_trio(surroundings: Mapping[str, str]) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import trio"], env=surroundings, check=True)
    return 1000 * (time.perf_counter() - started)


def _seconds_to_ready(surroundings: Mapping[str, str]) -> float:
    started = time.perf_counter()
    with process(["-m", READY], surroundings) as front:
        assert front.stdin is not None
        assert front.stdout is not None
        front.stdin.write(b"anything\n")
        read_line(front.stdout.fileno())
        answered = time.perf_counter()
        front.stdin.close()
        front.wait(20)
    return 1000 * (answered - started)
