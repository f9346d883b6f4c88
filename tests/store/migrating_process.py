"""Not a test: a process of the next version, whose schema has two migrations more, killed where it is told.

Usage: `python -m tests.store.migrating_process DATABASE POINT`: it opens the store of that database and writes into the
new tables; SIGKILL strikes before statement number POINT, none with 0. It prints how many statements
there were, and each of them.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
from dataclasses import dataclass
from pathlib import Path

import trio

from vespera_agents.store import CommandKey, Store, schema
from vespera_agents.store import writer as writer_module
from vespera_agents.store.schema import MIGRATIONS
from vespera_agents.store.transaction import Transaction

NEXT = (
    *MIGRATIONS,
    """
    CREATE TABLE extra (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
    INSERT INTO extra(name) SELECT name FROM session;
    CREATE TRIGGER session_named AFTER INSERT ON session BEGIN
        INSERT INTO extra(name) VALUES (new.name);
    END;
    """,
    """
    ALTER TABLE extra ADD COLUMN note TEXT NOT NULL DEFAULT '';
    UPDATE extra SET note = upper(name);
    """,
)
"""The schema of the next version but one: a copy of rows, a trigger, and a change of what the first one made."""


@dataclass(frozen=True)
class CountExtra:
    """Counts the rows of the new table, in a writing transaction."""

    by: str = "test"

    def fingerprint(self) -> bytes:
        return b"count"

    def apply(self, transaction: Transaction) -> int:
        return int(transaction.execute("SELECT count(*) FROM extra WHERE note = upper(name)").fetchone()[0])


async def main(database: Path, point: int) -> None:
    statements: list[str] = []

    def count(statement: str) -> None:
        # Called before a statement is carried out. Statements of triggers are announced as comments.
        if statement.startswith("--"):
            return
        statements.append(statement)
        if len(statements) == point:
            os.kill(os.getpid(), signal.SIGKILL)

    connect = writer_module.connect

    def traced(path: Path) -> sqlite3.Connection:
        connection = connect(path)
        connection.set_trace_callback(count)
        return connection

    schema.MIGRATIONS = NEXT  # pyright: ignore[reportAttributeAccessIssue]
    writer_module.connect = traced  # pyright: ignore[reportAttributeAccessIssue]
    store = Store(database, database.parent / "artifacts")
    async with trio.open_nursery() as nursery:
        await nursery.start(store.run)
        found = await store.execute(CountExtra(), CommandKey("test", f"count {point}"))
        opened = list(statements)
        nursery.cancel_scope.cancel()
    sys.stdout.write("\n".join([str(found), *(" ".join(statement.split()) for statement in opened)]))


if __name__ == "__main__":
    trio.run(main, Path(sys.argv[1]), int(sys.argv[2]))
