"""What the database derives from its tasks, so that a query stays cheap among a million: cells and words.

A cell counts the tasks that agree in every facet (session, status, ...). `cell_task` says of each task in which cell it
is, and lists the tasks of a cell in the order of their creation and of their last change: a total is a sum over cells,
a page a merge of them. Triggers keep all of it true, whoever writes `task`. `task_words` is a full-text index that
the writer teaches when it comes to rest: all beyond `task_mark.learned`, and what is in `task_reworded`, where triggers
keep the words by which the index still knows them. A new task needs no note, and so one page less to be written.
Neighbours: `pages` and `texts` read all this, `checks` compares it with the tasks.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from typing import Final

__all__ = ["FACETS", "SCRIPT", "UNLEARNED", "WORDS_SCRIPT", "facets_of", "index_words", "rebuild", "spaced_words"]

FACETS: Final = ("session_id", "status", "waived", "container", "ready", "task_type", "specialist", "complexity")
"""The columns of `cell` that tell one from another."""

UNLEARNED: Final = (
    "SELECT seq FROM task WHERE seq > (SELECT learned FROM task_mark) UNION ALL SELECT seq FROM task_reworded"
)
"""Selects the numbers of the tasks that the full-text index has to learn; of those deleted, it has to forget them."""
_ALL_LEARNED: Final = "UPDATE task_mark SET learned = (SELECT coalesce(max(seq), 0) FROM task)"

_UNSPACED: Final = re.compile(
    "["
    "\u0e00-\u0eff"  # Thai, Lao
    "\u1000-\u109f\u1780-\u17ff"  # Burmese, Khmer
    "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"  # Japanese, Chinese, Korean
    "\U00020000-\U0003ffff"
    "]"
)


def spaced_words(text: str | None) -> str:
    """Write a text so that the tokenizer of the full-text index finds its words, letter case aside.

    Scripts that put no spaces between words, and Korean, whose particles stick to the word before, become words of
    one letter: a phrase of them is found wherever it stands. SQLite calls this function as `words`, so what it gives
    for a text may never change without a migration.
    """
    if not text:
        return ""
    if text.isascii():
        # The tokenizer lowers these itself.
        return text
    return _UNSPACED.sub(r" \g<0> ", text.casefold())


def _always(_: sqlite3.Connection) -> None:
    """Find nothing in the way of writing."""


def index_words(connection: sqlite3.Connection, check: Callable[[sqlite3.Connection], object] = _always) -> None:
    """Bring the full-text index up to what was committed, in a transaction of its own that `check` may refuse.

    Not in the command's transaction, where it would take 85 microseconds more for each; and least of all in a trigger:
    a statement with triggers opens a savepoint, at each of which FTS5 writes out what it has gathered.
    """
    if connection.execute(f"SELECT 1 WHERE EXISTS ({UNLEARNED})").fetchone() is None:
        return
    connection.execute("BEGIN IMMEDIATE")
    check(connection)
    connection.execute(
        "INSERT INTO task_words(task_words, rowid, title, description, summary)"
        " SELECT 'delete', seq, words(title), words(description), words(summary) FROM task_reworded"
    )
    connection.execute(
        "INSERT INTO task_words(rowid, title, description, summary)"
        f" SELECT seq, words(title), words(description), words(summary) FROM task WHERE seq IN ({UNLEARNED})"
    )
    connection.execute("DELETE FROM task_reworded")
    connection.execute(_ALL_LEARNED)
    connection.execute("COMMIT")


def rebuild(connection: sqlite3.Connection) -> None:
    """Derive everything anew from the tasks, in the transaction that is open; what was derived before is forgotten."""
    for table in ("cell", "cell_task", "task_reworded"):
        connection.execute(f"DELETE FROM {table}")
    connection.execute("INSERT INTO task_words(task_words) VALUES ('delete-all')")
    facets = ", ".join(FACETS)
    connection.execute(
        f"INSERT INTO cell({facets}, n) SELECT {facets_of('task')}, count(*) FROM task GROUP BY {facets_of('task')}"
    )
    connection.execute(
        "INSERT INTO cell_task(seq, cell, updated)"
        f" SELECT seq, (SELECT id FROM cell WHERE ({facets}) = ({facets_of('task')})), updated FROM task ORDER BY seq"
    )
    connection.execute(
        "INSERT INTO task_words(rowid, title, description, summary)"
        " SELECT seq, words(title), words(description), words(summary) FROM task"
    )
    connection.execute(_ALL_LEARNED)


def facets_of(row: str) -> str:
    """Give the expressions of FACETS over `old` or `new` of a trigger, or over `task`."""
    ready = f"{row}.status='pending' AND {row}.children=0 AND {row}.open_dependencies=0"
    return (
        f"{row}.session_id, {row}.status, {row}.waived, {row}.children>0, {ready},"
        f" {row}.task_type, {row}.specialist, {row}.complexity"
    )


_ENTER: Final = f"""
    INSERT INTO cell({", ".join(FACETS)}, n) VALUES ({facets_of("new")}, 1)
        ON CONFLICT({", ".join(FACETS)}) DO UPDATE SET n = n + 1;
"""
_LEAVE: Final = """
    UPDATE cell SET n = n - 1 WHERE id = (SELECT cell FROM cell_task WHERE seq = old.seq);
"""
_CELL: Final = f"(SELECT id FROM cell WHERE ({', '.join(FACETS)}) = ({facets_of('new')}))"
_REWORDED: Final = """
    INSERT OR IGNORE INTO task_reworded(seq, title, description, summary)
        SELECT old.seq, old.title, old.description, old.summary WHERE old.seq <= (SELECT learned FROM task_mark);
"""

WORDS_SCRIPT: Final = """
    CREATE VIRTUAL TABLE task_words USING fts5(
        title, description, summary, content='', columnsize=0, tokenize='unicode61 remove_diacritics 2'
    );
    CREATE VIRTUAL TABLE task_words_places USING fts5vocab(task_words, instance);
"""
"""The full-text index, without the texts themselves and what only a ranking would need, and a view of it for checks."""

SCRIPT: Final = f"""
    CREATE TABLE cell (
        id INTEGER PRIMARY KEY,
        session_id TEXT NOT NULL,
        status TEXT NOT NULL,
        waived INTEGER NOT NULL,
        container INTEGER NOT NULL,
        ready INTEGER NOT NULL,
        task_type TEXT NOT NULL,
        specialist TEXT NOT NULL,
        complexity TEXT NOT NULL,
        n INTEGER NOT NULL,
        UNIQUE ({", ".join(FACETS)})
    );
    CREATE TABLE cell_task (seq INTEGER PRIMARY KEY, cell INTEGER NOT NULL, updated REAL NOT NULL);
    CREATE INDEX cell_task_by_seq ON cell_task(cell);
    CREATE INDEX cell_task_by_updated ON cell_task(cell, updated);
    CREATE INDEX cell_task_updated ON cell_task(updated, cell);
    {WORDS_SCRIPT}
    CREATE TABLE task_mark (learned INTEGER NOT NULL, deleted INTEGER NOT NULL);
    INSERT INTO task_mark VALUES (0, 0);
    CREATE TABLE task_reworded (
        seq INTEGER PRIMARY KEY,
        title TEXT NOT NULL,
        description TEXT NOT NULL,
        summary TEXT
    );
    CREATE TRIGGER task_inserted AFTER INSERT ON task BEGIN
        {_ENTER}
        INSERT INTO cell_task(seq, cell, updated) VALUES (new.seq, {_CELL}, new.updated);
    END;
    CREATE TRIGGER task_deleted AFTER DELETE ON task BEGIN
        {_LEAVE}
        DELETE FROM cell_task WHERE seq = old.seq;
        UPDATE task_mark SET deleted = max(deleted, old.seq);
        {_REWORDED}
    END;
    CREATE TRIGGER task_moved AFTER UPDATE OF
        status, waived, children, open_dependencies, task_type, specialist, complexity ON task
        WHEN ({facets_of("old")}) IS NOT ({facets_of("new")})
    BEGIN
        {_LEAVE}
        {_ENTER}
        UPDATE cell_task SET cell = {_CELL}, updated = new.updated WHERE seq = new.seq;
    END;
    CREATE TRIGGER task_touched AFTER UPDATE OF updated ON task
        WHEN old.updated IS NOT new.updated AND ({facets_of("old")}) IS ({facets_of("new")})
    BEGIN
        UPDATE cell_task SET updated = new.updated WHERE seq = new.seq;
    END;
    CREATE TRIGGER task_rewritten AFTER UPDATE OF title, description, summary ON task
        WHEN (old.title, old.description, old.summary) IS NOT (new.title, new.description, new.summary)
    BEGIN
        {_REWORDED}
    END;
"""
"""The tables and their triggers, a part of the first migration."""
