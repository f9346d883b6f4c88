"""Queries that stay cheap: what does a page of 50 tasks cost among a million, beside a small store and bare SQLite?

Ours is `await store.read(queries.task_page, ...)`: the way to a reading thread and back, the total, and 50 models.
Two stores hold the same 500 tasks for each filter among 10,000 and among 1,000,000 others, which are spread over many
cells. The first rows compare the two stores; the others compare the large one with one thread that reads the same 50
rows by their primary key from the same file: the cheapest way to them that there is, if only somebody knew which they
are. Both sides run in turns. A quick run takes 100,000 tasks for the large store.
"""

from __future__ import annotations

import itertools
import random
import sqlite3
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, final

import trio

from benchmarks.harness import Options, Row, row_of
from vespera_agents.store import queries
from vespera_agents.store.derived import rebuild
from vespera_agents.store.queries import TaskFilter
from vespera_agents.store.rows import TASK_COLUMNS
from vespera_agents.store.schema import migrate
from vespera_agents.store.store import Store
from vespera_agents.store.writer import connect
from vespera_agents.work.models import Task

SMALL, LARGE = 10_000, 1_000_000
MATCHING: Final = 500
"""Tasks that pass each filter, in both stores."""
PAGE: Final = 50
PAGES_PER_ROUND: Final = 20
SWITCH_INTERVAL_SECONDS: Final = 5e-5
"""What the worker sets."""
SESSION: Final = "session_000000000001"
BOX, DEEP = "task_f00000000001", "task_f00000000002"
"""Containers of 500 tasks: directly, and two levels below."""
_DEEP_BOXES: Final = 10
_WORDS: Final = (
    "alpha", "beta", "gamma", "login", "cache", "parser", "index", "query", "write", "read", "build", "deploy", "token",
    "stream", "queue", "lock", "report", "page",
)  # fmt: skip
_INSERT: Final = (
    "INSERT INTO task(id, session_id, parent_id, position, title, description, task_type, complexity, specialist,"
    " status, summary, children, open_dependencies, created, updated) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
)

_RECENTLY: Final = 2_000_000_000.0
"""When the tasks were changed that a filter by the last change means."""


@final
@dataclass(frozen=True, slots=True)
class Case:
    """One filter, and whether it combines several."""

    name: str
    wanted: TaskFilter
    combined: bool = False


def cases(count: int) -> list[Case]:
    """Give the filters; the range of creation is in the middle of so many tasks."""
    one = TaskFilter(session_id=SESSION)
    created = {"created_after": float(count // 2), "created_before": float(count // 2 + MATCHING)}
    return [
        Case("no filter", one),
        Case("status", replace(one, status=("failed",))),
        Case("task_type", replace(one, task_type=("research",))),
        Case("specialist", replace(one, specialist=("debugger",))),
        Case("complexity", replace(one, complexity=("very_complex",))),
        Case("ready", replace(one, ready=True)),
        Case("parent", replace(one, parent_id=BOX)),
        Case("parent, all below", replace(one, parent_id=DEEP, include_children=True)),
        Case("created", replace(one, **created)),
        Case("updated", replace(one, updated_after=_RECENTLY)),
        Case("text", replace(one, text="zebrafish")),
        Case(
            "status and specialist",
            replace(one, status=("completed", "in_progress"), specialist=("debugger", "documenter")),
            combined=True,
        ),
        Case("text and status", replace(one, text="zebrafish", status=("completed", "review")), combined=True),
        Case("parent and not ready", replace(one, parent_id=BOX, ready=False), combined=True),
        Case("created and specialist", replace(one, specialist=("generic", "tester"), **created), combined=True),
        Case("updated and not ready", replace(one, updated_after=_RECENTLY, ready=False), combined=True),
    ]


async def run(options: Options) -> list[Row]:
    """Build both stores and measure every filter."""
    large = options.scaled(LARGE)
    with tempfile.TemporaryDirectory(prefix="vespera-benchmark-") as directory:
        started = time.perf_counter()
        for count in (SMALL, large):
            await trio.to_thread.run_sync(build, Path(directory) / f"{count}.db", count)
        seconds = time.perf_counter() - started
        rows = await measure(Path(directory), large, options)
    building = row_of(
        f"building the stores of {SMALL:,} and {large:,} tasks",
        unit="s",
        ours=[seconds],
        reference="",
        references=[],
        goal=None,
    )
    return [*rows, building]


async def measure(directory: Path, large: int, options: Options) -> list[Row]:
    """Measure every filter in turns: among many, among few, and bare."""
    rows: list[Row] = []
    async with AsyncExitStack() as stack:
        before = sys.getswitchinterval()
        stack.callback(sys.setswitchinterval, before)
        sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)
        few = await stack.enter_async_context(opened(directory / f"{SMALL}.db"))
        many = await stack.enter_async_context(opened(directory / f"{large}.db"))
        bare = stack.enter_context(closing(connect(directory / f"{large}.db", read_only=True)))
        for small, big in zip(cases(SMALL), cases(large), strict=True):
            rows.extend(await measure_case(small, big, few, many, bare, large, options))
    return rows


async def measure_case(
    small: Case, big: Case, few: Store, many: Store, bare: sqlite3.Connection, large: int, options: Options
) -> list[Row]:
    page = await many.read(queries.task_page, big.wanted, PAGE, None)
    other = await few.read(queries.task_page, small.wanted, PAGE, None)
    assert len(page.tasks) == len(other.tasks) == PAGE, (big.name, len(page.tasks), len(other.tasks))
    raw = bare_read(bare, page.tasks)
    mine: list[float] = []
    theirs: list[float] = []
    raws: list[float] = []
    for number in range(options.rounds + 1):
        ours = await pages(many, big.wanted), await pages(few, small.wanted), repeated(raw)
        # The first round warms up.
        if number:
            for values, value in zip((mine, theirs, raws), ours, strict=True):
                values.append(value)
    return [
        row_of(
            f"{big.name}: {PAGE} of {large:,} tasks",
            unit="µs",
            ours=mine,
            reference=f"the same among {SMALL:,}",
            references=theirs,
            goal=2.5,
            goal_is="at most",
        ),
        row_of(
            f"{big.name}: {PAGE} of {large:,} tasks",
            unit="µs",
            ours=mine,
            reference="bare sqlite3, the same rows by primary key",
            references=raws,
            goal=10.0 if big.combined else 6.0,
            goal_is="at most",
        ),
    ]


async def pages(store: Store, wanted: TaskFilter) -> float:
    """Read the first page some times; microseconds of the quickest, which waited least for a processor."""
    seconds: list[float] = []
    for _ in range(PAGES_PER_ROUND):
        started = time.perf_counter()
        await store.read(queries.task_page, wanted, PAGE, None)
        seconds.append(time.perf_counter() - started)
    return 1e6 * min(seconds)


def repeated(read: Callable[[], object]) -> float:
    """Call it some times; microseconds of the quickest."""
    seconds: list[float] = []
    for _ in range(PAGES_PER_ROUND):
        started = time.perf_counter()
        read()
        seconds.append(time.perf_counter() - started)
    return 1e6 * min(seconds)


def bare_read(connection: sqlite3.Connection, tasks: tuple[Task, ...]) -> Callable[[], object]:
    """Prepare the bare read of these rows."""
    seqs = [connection.execute("SELECT seq FROM task WHERE id = ?", (task.id,)).fetchone()[0] for task in tasks]
    marks = ",".join("?" * len(seqs))
    statement = f"SELECT {TASK_COLUMNS} FROM task WHERE seq IN ({marks}) ORDER BY seq"  # noqa: S608 - marks only
    return lambda: connection.execute(statement, seqs).fetchall()


@asynccontextmanager
async def opened(database: Path) -> AsyncGenerator[Store]:
    store = Store(database, database.parent)
    async with trio.open_nursery() as nursery:
        await nursery.start(store.run)
        yield store
        nursery.cancel_scope.cancel()


def build(database: Path, count: int) -> None:
    """Make a store of so many tasks: without triggers, and with what is derived made at once, in half the time."""
    with closing(connect(database)) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("PRAGMA cache_size=-300000")
        migrate(connection)
        connection.execute("BEGIN")
        triggers = connection.execute("SELECT name, sql FROM sqlite_master WHERE type='trigger'").fetchall()
        for name, _ in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute("INSERT INTO session VALUES (?, 'work', '/work', 'open', 0, 0, 0, 1)", (SESSION,))
        connection.executemany(_INSERT, filler(count))
        rebuild(connection)
        for _, statement in triggers:
            connection.execute(statement)
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def filler(count: int) -> Generator[tuple[object, ...]]:
    """Give the rows: of each `count / 500` in a row, one passes each filter, and each time another.

    What no filter means is spread over three statuses, four types, four complexities and four specialists.
    """
    chosen = random.Random(1)
    stride = count // MATCHING
    boxes = [f"task_f000000000{10 + number}" for number in range(_DEEP_BOXES)]
    containers = ((BOX, None), (DEEP, None), *((box, DEEP) for box in boxes))
    for number, (identifier, parent) in enumerate(containers):
        children = MATCHING if identifier == BOX else _DEEP_BOXES if identifier == DEEP else MATCHING // _DEEP_BOXES
        yield (
            identifier, SESSION, parent, number, f"Container {number}", "", "breakdown", "moderate", "coordinator",
            "in_progress", None, children, 0, 0.0, 0.0,
        )  # fmt: skip
    below = itertools.cycle(boxes)
    for number in range(len(containers), count):
        turn = number % stride
        status = "failed" if turn == 1 else ("completed", "in_progress", "review")[number % 3]
        status = "pending" if turn == 2 else status
        yield (
            f"task_{number:012x}",
            SESSION,
            BOX if turn == 3 else next(below) if turn == 4 else None,
            number,
            f"Task {number} {chosen.choice(_WORDS)}",
            " ".join(chosen.choices(_WORDS, k=22)) + (" zebrafish" if turn == 5 else ""),
            "research" if turn == 6 else ("standard", "implementation", "testing", "documentation")[number // 3 % 4],
            "very_complex" if turn == 7 else ("trivial", "simple", "moderate", "complex")[number // 12 % 4],
            "debugger" if turn == 8 else ("generic", "tester", "implementer", "documenter")[number // 48 % 4],
            status,
            None,
            0,
            0,
            float(number),
            _RECENTLY + number if turn == 9 else float(number),
        )
