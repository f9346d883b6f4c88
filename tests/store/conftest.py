"""What the store's tests share: a running store, drafts, keys, and a connection that commands are applied on."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Callable, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
import trio

from vespera_agents.store.artifacts import ArtifactFiles
from vespera_agents.store.commands import OpenSession, PlanTasks
from vespera_agents.store.derived import index_words
from vespera_agents.store.records import apply_once
from vespera_agents.store.schema import migrate
from vespera_agents.store.store import Store
from vespera_agents.store.transaction import Command, CommandKey, Transaction
from vespera_agents.store.writer import connect
from vespera_agents.work.drafts import DependencyDraft, TaskDraft


class Bench:
    """Applies commands one by one on a database of their own, each in its own transaction."""

    def __init__(self, database: Path) -> None:
        self.connection = connect(database)
        self.files = ArtifactFiles(database.parent)
        # Power cuts are not what these tests are about, and thousands of commits are.
        self.connection.execute("PRAGMA synchronous=OFF")
        migrate(self.connection)
        self.numbers = itertools.count(1)
        self.now = 1_000.0
        self.changed: list[Any] = []
        self.audience: dict[str, tuple[str, ...]] = {}
        self.session_id = self.apply(OpenSession("test", str(database.parent)))["session_id"]

    def apply(self, command: Command[Any], key: str | None = None) -> Any:
        """Apply it and commit; a refusal is rolled back and raised."""
        self.now += 1
        transaction = Transaction(self.connection, self.now, lambda: f"{next(self.numbers):012x}", self.audience)
        named = CommandKey("test", key or f"key {next(self.numbers)}")
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            result = apply_once(transaction, command, named, self.files)
        except BaseException:
            self.connection.execute("ROLLBACK")
            raise
        self.connection.execute("COMMIT")
        # Every other time, as a writer that is busy does: what is not indexed must be found, too.
        if next(self.numbers) % 2:
            index_words(self.connection)
        self.changed = transaction.changed
        return result

    def plan(self, *drafts: TaskDraft, parent: str | None = None) -> list[str]:
        """Plan a breakdown and give its ids in order."""
        return list(self.apply(PlanTasks("test", self.session_id, drafts, parent))["ids"].values())


def draft(key: str, *on: str, subtasks: tuple[TaskDraft, ...] = (), **fields: Any) -> TaskDraft:
    """Make a draft whose title is its key and that waits for these."""
    dependencies = tuple(DependencyDraft(on=name) for name in on)
    return TaskDraft(key=key, dependencies=dependencies, subtasks=subtasks, **{"title": key, **fields})


@pytest.fixture(name="draft")
def draft_fixture() -> Callable[..., TaskDraft]:
    return draft


@pytest.fixture
def bench(tmp_path: Path) -> Generator[Bench]:
    made = Bench(tmp_path / "bench.db")
    with closing(made.connection):
        yield made


@pytest.fixture
def new_bench(tmp_path: Path) -> Generator[Callable[[], Bench]]:
    """Make one bench after another, each with its own file."""
    made: list[Bench] = []

    def new() -> Bench:
        made.append(Bench(tmp_path / f"bench {len(made)}.db"))
        return made[-1]

    yield new
    for one in made:
        one.connection.close()


@pytest.fixture
def database(tmp_path: Path) -> Path:
    (tmp_path / "artifacts").mkdir()
    return tmp_path / "vespera.db"


@pytest.fixture
def running(database: Path) -> Callable[..., AbstractAsyncContextManager[Store]]:
    """Open a store on this test's database, or the given one; the block ends with a cancelled, closed store."""

    @asynccontextmanager
    async def run(store: Store | None = None):
        opened = store or Store(database, database.parent / "artifacts")
        async with trio.open_nursery() as nursery:
            await nursery.start(opened.run)
            yield opened
            nursery.cancel_scope.cancel()

    return run


@pytest.fixture
def look(database: Path) -> Callable[..., list[Any]]:
    """Run one statement on a connection of its own and give its rows."""

    def rows(sql: str, *parameters: object) -> list[Any]:
        with closing(sqlite3.connect(database)) as connection:
            return connection.execute(sql, parameters).fetchall()

    return rows
