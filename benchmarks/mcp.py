"""The MCP server: what do a call, a durable call, a start and an end cost beside the bare library and a bare commit?

All servers are processes of their own, driven by the same hand-written clients in turns. The reference of a round trip
is the MCP library's own low-level server with a tool that does nothing, over its own transport; ours is the same tool
behind our whole stack. A durable call is `orchestrator_plan_task` of the real server on a real file; beside it stands
the sum of what it cannot do without, our own call that does nothing and one synced commit of bare SQLite on the same
disk, both measured in the same round. The rows of `queries` come last.
"""

from __future__ import annotations

import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

from mcp import Client, StdioServerParameters

from benchmarks import queries
from benchmarks.harness import Clock, Measure, Options, Row, measured, row_of
from benchmarks.serving.clients import (
    ERAS,
    NO_OP,
    HttpClient,
    LineClient,
    environment,
    free_port,
    process,
    wait_for_port,
)
from benchmarks.serving.listing import list_rows
from benchmarks.serving.starting import ENDS, seconds_to_import, seconds_to_start_and_end

CALLS: Final = 30
"""Calls of the tool that does nothing in one slice."""
PLANS: Final = 20
"""Durable calls in one slice."""
SLICES: Final = 9
"""Of one round."""
AT_ONCE: Final = 10
"""Calls in flight on one connection."""
END_SECONDS_MAX: Final = 0.2
RAW: Final = "benchmarks.serving.raw"
OURS: Final = "benchmarks.serving.ours"
TASK: Final = {"title": "A task", "description": "What is to be done, in some words. " * 4}
PARTS: Final = {
    "stdio": "the library's own server and transport",
    "untraced": "without its tracing middleware",
    "wire": "and on our wire: no threads, no queues",
    "direct": "and without the relay before its dispatcher",
}
"""What stands between the library's own server and ours, one after another."""


async def run(options: Options) -> list[Row]:
    """Measure round trips, durable calls, HTTP, starts with their ends, the list of tools, and queries."""
    rows: list[Row] = []
    with environment() as surroundings:
        for era in ERAS:
            rows += await stdio_rows(options, surroundings, era)
        rows += await durable_rows(options, surroundings)
        for era in ERAS:
            rows += await http_rows(options, surroundings, era)
        rows += await start_rows(options, surroundings)
        rows += await list_rows(surroundings)
    return rows + await queries.run(options)


async def in_turns(options: Options, measures: Mapping[str, Measure], *, slices: int = 1) -> dict[str, list[float]]:
    """Measure all of them in turns, after one round that warms up and is not counted.

    A round is cut into slices, in each of which everybody has a turn, and its value is the median slice: what other
    programs take of the processors and the disk then falls on all alike.
    """
    found: dict[str, list[float]] = {name: [] for name in measures}
    for number in range(options.rounds + 1):
        sliced: dict[str, list[float]] = {name: [] for name in measures}
        for _ in range(slices):
            for name, measure in measures.items():
                sliced[name].append(await measured(measure))
        for name, values in sliced.items() if number else ():
            found[name].append(statistics.median(values))
    return found


def slices_of(options: Options) -> int:
    """Cut a quick round less often."""
    return 3 if options.quick else SLICES


async def stdio_rows(options: Options, surroundings: Mapping[str, str], era: str) -> list[Row]:
    """Measure the tool that does nothing over stdio, with the minimal client and with the library's own."""
    with ExitStack() as stack:
        measures: dict[str, Measure] = {}
        for name, arguments in {**{way: ["-m", RAW, way] for way in PARTS}, "ours": ours(stack)}.items():
            client = LineClient(stack.enter_context(process(arguments, surroundings)), era)
            measures[name] = lambda client=client: 1e6 * client.calls(CALLS, NO_OP, {})
            if name in {"stdio", "ours"}:
                measures[f"{name} processor"] = lambda client=client: 1e6 * client.processor_seconds(CALLS, NO_OP, {})
        async with AsyncExitStack() as clients:
            for name, arguments in {"their stdio": ["-m", RAW, "stdio"], "their ours": ours(stack)}.items():
                measures[name] = await clients.enter_async_context(sdk_client(arguments, surroundings, era))
            found = await in_turns(options, measures, slices=slices_of(options))

    def row(name: str, mine: str, reference: str, goal: float | None, clock: Clock = "wall") -> Row:
        return row_of(
            f"{name}, {ERAS[era]}",
            unit="us",
            ours=found[mine],
            reference=PARTS["stdio"],
            references=found[reference],
            goal=goal,
            goal_is="at most",
            clock=clock,
        )

    return [
        row("stdio round trip", "ours", "stdio", 0.5),
        row("the server's processor time for it", "ours processor", "stdio processor", None, "processor"),
        row("the same with the library's client", "their ours", "their stdio", None),
        *(row(f"part: {PARTS[way]}", way, "stdio", None) for way in list(PARTS)[1:]),
    ]


def ours(stack: ExitStack) -> list[str]:
    """Say how our server with the tool that does nothing is started, on a directory of its own."""
    return ["-m", OURS, "stdio", stack.enter_context(tempfile.TemporaryDirectory(prefix="vsp-"))]


@asynccontextmanager
async def sdk_client(
    arguments: Sequence[str], surroundings: Mapping[str, str], era: str
) -> AsyncGenerator[Callable[[], Awaitable[float]]]:
    """Give the way to measure with the library's own client, which stays connected."""
    parameters = StdioServerParameters(command=sys.executable, args=list(arguments), env=dict(surroundings))
    async with Client(parameters, mode="legacy" if era == "legacy" else "auto") as client:
        await client.list_tools()

        async def measure() -> float:
            started = time.perf_counter()
            for _ in range(CALLS):
                answer = await client.call_tool(NO_OP, {})
                assert not answer.is_error
            return 1e6 * (time.perf_counter() - started) / CALLS

        yield measure


async def durable_rows(options: Options, surroundings: Mapping[str, str]) -> list[Row]:
    """Measure plan_task beside the sum of a call that does nothing and a bare commit."""
    with ExitStack() as stack:
        workspace = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vsp-")))
        # Without a front, as the call that does nothing beside it: what the front adds is measured by `front`.
        serve = ["-m", "vespera_agents", "serve", "--in-process", "--workspace", str(workspace)]
        plans = LineClient(stack.enter_context(process(serve, surroundings)), "modern")
        nothing = LineClient(stack.enter_context(process(ours(stack), surroundings)), "modern")
        plans.call("orchestrator_initialize_session", {"working_directory": str(workspace)})
        commits = bare_database(workspace / "bare.db")
        stack.callback(commits.close)
        found = await in_turns(
            options,
            {
                "nothing": lambda: 1e6 * nothing.calls(PLANS, NO_OP, {}),
                "commit": lambda: 1e6 * bare_commits(commits, PLANS),
                "plan": lambda: 1e6 * plans.calls(PLANS, "orchestrator_plan_task", TASK),
                "plans": lambda: 1e6 * plans.calls_in_flight(PLANS, AT_ONCE, "orchestrator_plan_task", TASK),
            },
            slices=slices_of(options),
        )
    least = [call + commit for call, commit in zip(found["nothing"], found["commit"], strict=True)]
    reference = "our call that does nothing + a bare synced commit"
    return [
        row_of(
            "durable plan_task over stdio",
            unit="us",
            ours=found["plan"],
            reference=reference,
            references=least,
            goal=1.75,
            goal_is="at most",
        ),
        row_of(
            f"plan_task, {AT_ONCE} in flight on one connection, each",
            unit="us",
            ours=found["plans"],
            reference=reference,
            references=least,
            goal=1.3,
            goal_is="at most",
        ),
        row_of(
            "durable plan_task, its time",
            unit="ms",
            ours=[value / 1000 for value in found["plan"]],
            reference="what was promised",
            references=[10.0] * len(found["plan"]),
            goal=1.0,
            goal_is="at most",
        ),
        row_of(
            "a bare synced commit",
            unit="us",
            ours=found["commit"],
            reference="our call that does nothing",
            references=found["nothing"],
            goal=None,
        ),
    ]


def bare_database(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE task(id INTEGER PRIMARY KEY, title TEXT, description TEXT)")
    return connection


def bare_commits(connection: sqlite3.Connection, count: int) -> float:
    """Commit one row at a time; seconds for each."""
    started = time.perf_counter()
    for _ in range(count):
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO task(title, description) VALUES (:title, :description)", TASK)
        connection.execute("COMMIT")
    return (time.perf_counter() - started) / count


async def http_rows(options: Options, surroundings: Mapping[str, str], era: str) -> list[Row]:
    """Measure the tool that does nothing over HTTP."""
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="vsp-"))
        measures: dict[str, Measure] = {}
        for name, arguments in {"ours": ["-m", OURS, "http", directory], "raw": ["-m", RAW, "http"]}.items():
            port = free_port()
            stack.enter_context(process([*arguments, str(port)], surroundings))
            await wait_for_port(port)
            client = HttpClient(port, era)
            stack.callback(client.close)
            measures[name] = lambda client=client: 1e6 * client.calls(CALLS, NO_OP, {})
        found = await in_turns(options, measures, slices=slices_of(options))
    return [
        row_of(
            f"HTTP round trip, {ERAS[era]}",
            unit="us",
            ours=found["ours"],
            reference="the library's own server on hypercorn",
            references=found["raw"],
            goal=1.1,
            goal_is="at most",
        )
    ]


async def start_rows(options: Options, surroundings: Mapping[str, str]) -> list[Row]:
    """Measure from the start of the process to its first answer, and each way of ending it."""
    ends: dict[str, list[float]] = {how: [] for how in ENDS}
    turns = iter(range(1_000))

    def start() -> float:
        how = ENDS[next(turns) % len(ENDS)]
        started, ended = seconds_to_start_and_end(surroundings, how)
        ends[how].append(1000 * ended)
        return 1000 * started

    found = await in_turns(options, {"import": lambda: 1000 * seconds_to_import(surroundings), "start": start})
    return [
        row_of(
            "from the start of the process to its first answer",
            unit="ms",
            ours=found["start"],
            reference='python -c "import mcp.server"',
            references=found["import"],
            goal=1.4,
            goal_is="at most",
        ),
        *(
            row_of(
                f"end after {how}",
                unit="ms",
                ours=values,
                reference="the limit",
                references=[1000 * END_SECONDS_MAX] * len(values),
                goal=1.0,
                goal_is="at most",
            )
            for how, values in ends.items()
        ),
    ]


def notes() -> str:
    """Say how to read the tables."""
    return """How to read it:

- A round trip goes from the client's write to its parsed answer, one after another, over pipes or one kept connection.
- The parts are the library's own server with our parts put in one after another; the last of them, with our tools and
  their errors, arguments and keys on top, is ours.
- A durable call has written, synced and answered. The bare commit is one row in one table without an index.
- The time of a start ends with the answer of the first tool; the reference is the whole process that only imports.
- A disk shared with others is the noise of the durable rows.
- A list is counted in exact o200k tokens, as compact JSON. A model sees names, descriptions and input schemas of it."""
