"""Durable work: how fast is plan_task beside bare SQLite, and how long does it take while the loop is busy?

Ours are callers that each await `store.execute(PlanTasks(one draft))` with a fresh key. The reference is one thread
without trio, models, keys or refusals: it replays the very statements and values that our writer executed, on the
same schema, in batches of the size that ours just had.

Where the loop is busy, 40 tasks ask an actor that does nothing and each durable call is a task of its own, as in the
server; the reference makes the same commits in the trio thread, which stops the loop for each. The writing thread
needs a processor beside the loop's: where other programs take it, the kernel lets the thread wait for whole ticks of
4 ms, and the last row measures those programs.
"""

from __future__ import annotations

import functools
import itertools
import secrets
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Generator, Iterable, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

import trio

from benchmarks.harness import Options, Row, compare
from vespera_agents.actors import Actor, MailboxSpec, Request, open_system, receives
from vespera_agents.store.commands import OpenSession, PlanTasks
from vespera_agents.store.records import apply_once
from vespera_agents.store.schema import migrate
from vespera_agents.store.store import Store
from vespera_agents.store.transaction import CommandKey, Transaction
from vespera_agents.store.writer import connect
from vespera_agents.work.drafts import TaskDraft

COMMANDS = {1: 2_000, 20: 8_000, 200: 8_000}
"""Commands in one round, by the number of callers."""
NO_OP_CALLS = 40
PLANS_BESIDE = 400
"""Durable calls in one round beside the no-op calls."""
SWITCH_INTERVAL_SECONDS = 5e-5
"""What the worker sets: with Python's 5 ms the writing thread waits that long after every step of SQLite."""

Statement = tuple[str, tuple[object, ...]]
RECORDED: list[Statement] = []


@final
class Recorder(sqlite3.Connection):
    """A connection that writes down what it executes."""

    def execute(self, sql: str, parameters: Sequence[object] = ()) -> sqlite3.Cursor:
        """Execute and write it down."""
        RECORDED.append((sql, tuple(parameters)))
        return super().execute(sql, parameters)


async def run(options: Options) -> list[Row]:
    """Measure the rate by callers, then the latency beside no-op calls."""
    rows: list[Row] = []
    for callers, count in COMMANDS.items():
        rates = Rates(callers, options.scaled(count))
        rows.append(
            await compare(
                f"durable plan_task, {callers} caller{'s' * (callers > 1)}",
                unit="commands/s",
                ours=rates.ours,
                reference="bare sqlite3, same statements, same batches",
                measure_reference=rates.bare,
                goal=0.45,
                options=options,
            )
        )
    plans = options.scaled(PLANS_BESIDE)
    rows.append(
        await compare(
            f"p99 of plan_task beside {NO_OP_CALLS} no-op calls",
            unit="ms",
            ours=lambda: p99_beside_calls(plans, inline=False),
            reference="the same commit made on the loop",
            measure_reference=lambda: p99_beside_calls(plans, inline=True),
            goal=2.0,
            goal_is="at most",
            options=options,
        )
    )
    return rows


@final
@dataclass(slots=True)
class Rates:
    """Ours and the reference for one number of callers; the reference takes the batch size of ours before it."""

    callers: int
    count: int
    batch_size: float = 1.0
    statements: list[list[Statement]] = field(default_factory=list[list[Statement]])
    """One list of data statements for each command, as our writer executed them."""

    async def ours(self) -> float:
        """Plan with so many callers at once; commands per second."""
        if not self.statements:
            with recorded_connections():
                await self._plan_all()
            self.statements = by_command(RECORDED)
            RECORDED.clear()
        return await self._plan_all()

    async def _plan_all(self) -> float:
        drafts = [draft(number) for number in range(self.count)]
        numbers = iter(range(self.count))
        async with open_store() as (store, session_id):

            async def caller() -> None:
                for number in numbers:
                    key = CommandKey("benchmark", str(number))
                    await store.execute(PlanTasks("benchmark", session_id, (drafts[number],)), key)

            before = store.statistics().commits
            started = time.perf_counter()
            async with trio.open_nursery() as nursery:
                for _ in range(self.callers):
                    nursery.start_soon(caller)
            seconds = time.perf_counter() - started
            self.batch_size = self.count / (store.statistics().commits - before)
        return self.count / seconds

    def bare(self) -> float:
        """Replay the statements in batches of the same size; commands per second."""
        first, *commands = self.statements
        with scratch() as directory:
            connection = connect(directory / "bare.db")
            migrate(connection)
            replay(connection, [first])
            started = time.perf_counter()
            for batch in batches(commands, self.batch_size):
                replay(connection, batch)
            seconds = time.perf_counter() - started
            connection.close()
        return len(commands) / seconds


@contextmanager
def recorded_connections() -> Generator[None]:
    """Let every connection that is opened meanwhile write down what it executes."""
    connect_plainly = sqlite3.connect
    sqlite3.connect = functools.partial(connect_plainly, factory=Recorder)
    try:
        yield
    finally:
        sqlite3.connect = connect_plainly


def by_command(recorded: Iterable[Statement]) -> list[list[Statement]]:
    """Sort recorded statements by command, without what opens the database or steers transactions."""
    data = ("SELECT fingerprint", "INSERT", "UPDATE")
    commands: list[list[Statement]] = []
    for sql, parameters in recorded:
        if sql.startswith(data):
            # Every command begins by looking for its key.
            if sql.startswith("SELECT fingerprint"):
                commands.append([])
            commands[-1].append((sql, parameters))
    return commands


def batches(commands: Sequence[list[Statement]], size: float) -> Generator[Sequence[list[Statement]]]:
    """Cut into batches whose mean is `size`, which need not be whole."""
    start = 0
    for number in itertools.count(1):
        end = round(number * size)
        if start >= len(commands):
            return
        yield commands[start:end]
        start = end


def replay(connection: sqlite3.Connection, batch: Iterable[list[Statement]]) -> None:
    """Execute the statements of several commands in one transaction."""
    execute = connection.execute
    execute("BEGIN IMMEDIATE")
    for statements in batch:
        for sql, parameters in statements:
            execute(sql, parameters).fetchone()
    execute("COMMIT")


@final
class NoOp(Request[int]):
    """Ask for nothing."""

    __slots__ = ()


@final
class Idle(Actor):
    """Answers no-op calls."""

    @receives
    def nothing(self, message: NoOp) -> int:  # noqa: ARG002 - the type chooses the method
        """Do nothing."""
        return 0


async def p99_beside_calls(plans: int, *, inline: bool) -> float:
    """Make durable calls one after another while others ask for nothing; milliseconds that 99 of 100 stay below."""
    async with open_store() as (store, session_id), open_system(name="benchmark") as system:
        idle = await system.start(Idle, name="idle", mailbox=MailboxSpec(capacity=2 * NO_OP_CALLS))
        connection = connect(store.database) if inline else None

        async def plan(number: int) -> None:
            command = PlanTasks("benchmark", session_id, (draft(number),))
            key = CommandKey("benchmark", str(number))
            if connection is None:
                await store.execute(command, key)
                return
            connection.execute("BEGIN IMMEDIATE")
            transaction = Transaction(connection, time.time(), lambda: secrets.token_hex(6))
            apply_once(transaction, command, key, store.artifacts)
            connection.execute("COMMIT")

        async def ask() -> None:
            question = NoOp()
            while True:
                await idle.ask(question, timeout_seconds=60)

        seconds: list[float] = []

        async def call(number: int, answered: trio.Event) -> None:
            await plan(number)
            answered.set()

        async with trio.open_nursery() as nursery:
            for _ in range(NO_OP_CALLS):
                nursery.start_soon(ask)
            for number in range(plans):
                started = time.perf_counter()
                answered = trio.Event()
                nursery.start_soon(call, number, answered)
                await answered.wait()
                seconds.append(time.perf_counter() - started)
            nursery.cancel_scope.cancel()
        if connection is not None:
            connection.close()
    return 1000 * statistics.quantiles(seconds, n=100)[-1]


def draft(number: int) -> TaskDraft:
    return TaskDraft(key=f"t{number}", title=f"Task {number}", description="What is to be done, in some words. " * 4)


@asynccontextmanager
async def open_store() -> AsyncGenerator[tuple[Store, str]]:
    """Open a store on a fresh file, with a session, and with the worker's switch interval."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)
    try:
        with scratch() as directory:
            store = Store(directory / "vespera.db", directory / "artifacts")
            async with trio.open_nursery() as nursery:
                await nursery.start(store.run)
                opened = await store.execute(OpenSession("benchmark", str(directory)), CommandKey("benchmark", "open"))
                yield store, opened["session_id"]
                nursery.cancel_scope.cancel()
    finally:
        sys.setswitchinterval(before)


@contextmanager
def scratch() -> Generator[Path]:
    with tempfile.TemporaryDirectory(prefix="vespera-benchmark-") as directory:
        yield Path(directory)
