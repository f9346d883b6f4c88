"""Coordination: what does a task cost from plan to claim to complete, without a model, beside three bare commits?

Ours are the calls that a client makes, through the orchestrator: each is durable, is checked, and answers with a
briefing and with what became ready. The reference is one thread without any of that: three transactions of bare SQLite
that write and sync one row each, on the same disk in the same run. Work is handed in as a summary; where it has a text
as well, that becomes a file before its row: one synced file more stands beside that, without a goal.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import trio

from benchmarks.harness import Options, Row, compare
from vespera_agents.specialists.calls import Call
from vespera_agents.specialists.claims import Holder
from vespera_agents.specialists.orchestrator import Orchestrator
from vespera_agents.specialists.runtime import open_runtime
from vespera_agents.store import CommandKey
from vespera_agents.work.drafts import TaskDraft
from vespera_agents.workspace import Registry

TASKS = {1: 200, 20: 600}
"""Tasks in one round, by the number of callers."""
GOAL = 3.0
SWITCH_INTERVAL_SECONDS = 5e-5
"""What the worker sets."""
TITLE = "Check the totals of report {number}"
DESCRIPTION = "What is to be done, in some words. " * 4
SUMMARY = "Done, and checked against the numbers of last year."
WORK = "What was found, line by line. " * 60


async def run(options: Options) -> list[Row]:
    """Measure by callers, then with a text that is handed in, then with a specialist that has to be chosen."""
    rows: list[Row] = []
    for callers, count in TASKS.items():
        rows.append(await _row(options, f"{callers} caller{'s' * (callers > 1)}", callers, options.scaled(count)))
    count = options.scaled(TASKS[1])
    rows.append(await _row(options, "1 caller, the specialist is chosen", 1, count, specialist=None))
    rows.append(await _row(options, "1 caller, with a text handed in", 1, count, work=WORK))
    return rows


async def _row(
    options: Options, name: str, callers: int, count: int, *, specialist: str | None = "tester", work: str = ""
) -> Row:
    return await compare(
        f"plan, claim, complete: {name}",
        unit="ms/task",
        ours=lambda: ours(callers, count, specialist, work),
        reference=f"three bare synced commits{' and one synced file' if work else ''}, one thread",
        measure_reference=lambda: bare(count, work),
        goal=None if work else GOAL,
        goal_is="at most",
        options=options,
    )


async def ours(callers: int, count: int, specialist: str | None, work: str) -> float:
    """Carry tasks through with so many clients at once; milliseconds for each."""
    async with open_orchestrator() as orchestrator:
        opened = await orchestrator.sessions.initialize(_call("open", 0))
        numbers = iter(range(count))

        async def client(place: int) -> None:
            holder = None if callers == 1 else Holder(f"client-{place}")
            for number in numbers:
                await _carry(orchestrator, number, specialist, work, holder)

        await _carry(orchestrator, count, specialist, work, None)
        started = time.perf_counter()
        async with trio.open_nursery() as nursery:
            for place in range(callers):
                nursery.start_soon(client, place)
        seconds = time.perf_counter() - started
        done = (await orchestrator.sessions.status(opened.id)).counts
    assert done == {"completed": count + 1}, done
    return 1000 * seconds / count


async def _carry(
    orchestrator: Orchestrator, number: int, specialist: str | None, work: str, holder: Holder | None
) -> None:
    draft = TaskDraft(
        key=f"t{number}", title=TITLE.format(number=number), description=DESCRIPTION, specialist=specialist
    )
    planned = await orchestrator.tasks.plan(_call("plan", number, holder), [draft])
    task_id = planned.ready[0]
    await orchestrator.work.execute(_call("claim", number, holder), task_id)
    done = await orchestrator.work.complete(
        _call("complete", number, holder), task_id, summary=SUMMARY, detailed_work=work, next_action="complete"
    )
    assert done.outcome == "completed", done.outcome


def _call(what: str, number: int, holder: Holder | None = None) -> Call:
    return Call("benchmark", CommandKey("benchmark", f"{what}/{number}"), holder=holder, repeated=False)


def bare(count: int, work: str) -> float:
    """Commit three times for each task, and sync a file where work has a text; milliseconds for each."""
    with scratch() as directory:
        connection = sqlite3.connect(directory / "bare.db", isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("CREATE TABLE task(id INTEGER PRIMARY KEY, title TEXT, description TEXT, status TEXT)")
        started = time.perf_counter()
        for number in range(count):
            _commit(connection, "INSERT INTO task VALUES (?,?,?,'pending')", number, f"Task {number}", DESCRIPTION)
            _commit(connection, "UPDATE task SET status='in_progress' WHERE id=?", number)
            if work:
                _sync(directory / str(number), work)
            _commit(connection, "UPDATE task SET status='completed', description=? WHERE id=?", SUMMARY, number)
        seconds = time.perf_counter() - started
        connection.close()
    return 1000 * seconds / count


def _commit(connection: sqlite3.Connection, sql: str, *values: object) -> None:
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(sql, values)
    connection.execute("COMMIT")


def _sync(path: Path, text: str) -> None:
    with path.open("xb") as file:
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())
    descriptor = os.open(path.parent, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


@asynccontextmanager
async def open_orchestrator() -> AsyncGenerator[Orchestrator]:
    """Open the facade on a fresh workspace, with the worker's switch interval."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)
    try:
        with scratch() as directory:
            home = directory / "workspace"
            home.mkdir()
            async with open_runtime("serve", registry=Registry(directory / "state")) as runtime:
                yield Orchestrator(runtime, home)
    finally:
        sys.setswitchinterval(before)


@contextmanager
def scratch() -> Generator[Path]:
    with tempfile.TemporaryDirectory(prefix="vespera-benchmark-") as directory:
        yield Path(directory)
