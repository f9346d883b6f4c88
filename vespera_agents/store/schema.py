"""The tables of a workspace's database, as numbered migrations.

`PRAGMA user_version` holds the number of the last migration applied. A migration is a script that runs inside one
transaction; released ones are never edited, only followed. What is asked of one kind of row only (a change of status,
an open session) has an index of these alone: every index that a new task enters is a page in its commit. Not here: what
rows mean (`rows`) and who may change them (`changes`). Source of the shape: DESIGN "Durable work".
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Generator
from typing import Final

from vespera_agents.store import derived, outbox
from vespera_agents.store.errors import SchemaTooNew, StoreUnavailable

__all__ = ["MIGRATIONS", "check_version", "migrate"]

MIGRATION_WAIT_SECONDS: Final = 5.0
"""How long a migration waits for servers of an older version to leave; they end within two seconds when asked to."""
_LOOK_SECONDS: Final = 0.05

MIGRATIONS: Final = (
    """
    CREATE TABLE session (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL,
        directory TEXT NOT NULL,
        status TEXT NOT NULL,
        roots INTEGER NOT NULL DEFAULT 0,
        created REAL NOT NULL,
        updated REAL NOT NULL,
        version INTEGER NOT NULL DEFAULT 1
    ) WITHOUT ROWID;
    CREATE INDEX session_open ON session(created DESC) WHERE status = 'open';
    CREATE TABLE task (
        seq INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        session_id TEXT NOT NULL,
        parent_id TEXT,
        key TEXT,
        position INTEGER NOT NULL,
        title TEXT NOT NULL,
        description TEXT NOT NULL,
        task_type TEXT NOT NULL,
        complexity TEXT NOT NULL,
        specialist TEXT NOT NULL,
        estimated_effort TEXT,
        due REAL,
        status TEXT NOT NULL,
        status_reason TEXT,
        waived INTEGER NOT NULL DEFAULT 0,
        summary TEXT,
        run TEXT,
        condition TEXT,
        gates TEXT,
        strategy TEXT,
        strategy_n INTEGER,
        rounds INTEGER NOT NULL DEFAULT 0,
        children INTEGER NOT NULL DEFAULT 0,
        open_dependencies INTEGER NOT NULL DEFAULT 0,
        claimed_by TEXT,
        attempts INTEGER NOT NULL DEFAULT 0,
        created REAL NOT NULL,
        updated REAL NOT NULL,
        started REAL,
        finished REAL,
        version INTEGER NOT NULL DEFAULT 1
    );
    CREATE INDEX task_by_parent ON task(parent_id) WHERE parent_id IS NOT NULL;
    CREATE INDEX task_container ON task(parent_id) WHERE parent_id IS NOT NULL AND children > 0;
    CREATE INDEX task_claimed ON task(claimed_by) WHERE claimed_by IS NOT NULL;
    CREATE INDEX task_due ON task(due)
        WHERE due IS NOT NULL AND status IN ('pending', 'in_progress', 'blocked', 'review');
    CREATE TABLE dependency (
        task_id TEXT NOT NULL,
        on_task_id TEXT NOT NULL,
        kind TEXT NOT NULL,
        mandatory INTEGER NOT NULL,
        state TEXT NOT NULL,
        waived_by TEXT,
        waived_why TEXT,
        PRIMARY KEY (task_id, on_task_id)
    ) WITHOUT ROWID;
    CREATE INDEX dependency_by_target ON dependency(on_task_id);
    CREATE TABLE artifact (
        seq INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        session_id TEXT NOT NULL,
        task_id TEXT,
        kind TEXT NOT NULL,
        name TEXT NOT NULL,
        mime_type TEXT NOT NULL,
        size INTEGER NOT NULL,
        sha256 TEXT NOT NULL,
        created REAL NOT NULL
    );
    CREATE INDEX artifact_by_task ON artifact(task_id);
    CREATE INDEX artifact_by_session ON artifact(session_id, seq);
    CREATE INDEX artifact_by_hash ON artifact(sha256);
    CREATE TABLE event (
        seq INTEGER PRIMARY KEY,
        at REAL NOT NULL,
        session_id TEXT,
        task_id TEXT,
        actor TEXT NOT NULL,
        what TEXT NOT NULL,
        before TEXT,
        after TEXT,
        detail TEXT
    );
    CREATE INDEX event_decision ON event(session_id, seq)
        WHERE what = 'status' AND detail IS NOT NULL AND after != 'completed' AND actor != 'supervision'
        AND detail != 'follows its subtasks' AND detail NOT LIKE 'claimed by %';
    CREATE INDEX event_archived ON event(task_id, seq) WHERE what = 'status' AND after = 'archived';
    CREATE TABLE command (
        origin TEXT NOT NULL,
        key TEXT NOT NULL,
        fingerprint BLOB NOT NULL,
        result TEXT NOT NULL,
        at REAL NOT NULL,
        file TEXT,
        PRIMARY KEY (origin, key)
    ) WITHOUT ROWID;
    CREATE INDEX command_file ON command(file) WHERE file IS NOT NULL;
    CREATE TABLE owner (
        front TEXT PRIMARY KEY,
        generation INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE stream_event (
        stream TEXT NOT NULL,
        number INTEGER NOT NULL,
        at REAL NOT NULL,
        message TEXT NOT NULL,
        PRIMARY KEY (stream, number)
    );
    CREATE INDEX stream_event_by_age ON stream_event(at);
    CREATE TABLE http_session (
        server TEXT NOT NULL,
        name TEXT NOT NULL,
        principal TEXT,
        state TEXT NOT NULL,
        used REAL NOT NULL,
        PRIMARY KEY (server, name)
    ) WITHOUT ROWID;
    CREATE TABLE lease (
        holder TEXT PRIMARY KEY,
        boot TEXT NOT NULL,
        renewed REAL NOT NULL,
        expires REAL NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE job (
        seq INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        kind TEXT NOT NULL,
        principal TEXT NOT NULL,
        server TEXT NOT NULL,
        session_id TEXT,
        task_id TEXT,
        status TEXT NOT NULL,
        done REAL NOT NULL DEFAULT 0,
        total REAL,
        message TEXT,
        asked TEXT,
        answers TEXT,
        stop TEXT,
        result TEXT,
        error TEXT,
        intent TEXT,
        attempts INTEGER NOT NULL DEFAULT 1,
        got_on INTEGER NOT NULL DEFAULT 0,
        ttl_seconds REAL NOT NULL,
        poll_seconds REAL NOT NULL,
        created REAL NOT NULL,
        updated REAL NOT NULL
    );
    CREATE INDEX job_live ON job(server) WHERE status IN ('working', 'input_required');
    CREATE INDEX job_by_session ON job(session_id, seq) WHERE session_id IS NOT NULL;
    CREATE INDEX job_ended ON job(updated) WHERE status NOT IN ('working', 'input_required');
    CREATE TABLE generation (
        seq INTEGER PRIMARY KEY,
        front TEXT NOT NULL,
        number INTEGER NOT NULL,
        reason TEXT,
        pid INTEGER,
        version TEXT,
        surface TEXT,
        started REAL,
        ended REAL,
        ending TEXT,
        UNIQUE (front, number)
    );
    CREATE TABLE restart (
        seq INTEGER PRIMARY KEY,
        front TEXT NOT NULL,
        generation INTEGER NOT NULL,
        actor TEXT NOT NULL,
        reason TEXT NOT NULL,
        mode TEXT NOT NULL,
        preserve_state INTEGER NOT NULL,
        asked REAL NOT NULL,
        status TEXT NOT NULL,
        following INTEGER,
        ended REAL,
        phases TEXT NOT NULL DEFAULT '[]',
        left_behind TEXT NOT NULL DEFAULT '{}',
        handed_over TEXT NOT NULL DEFAULT '{}',
        error TEXT
    );
    CREATE INDEX restart_open ON restart(front) WHERE status = 'asked';
    CREATE TABLE step (
        task_id TEXT NOT NULL,
        attempt INTEGER NOT NULL,
        number INTEGER NOT NULL,
        session_id TEXT NOT NULL,
        kind TEXT NOT NULL,
        intent TEXT NOT NULL,
        result TEXT,
        file TEXT,
        repeats INTEGER NOT NULL DEFAULT 0,
        provider TEXT,
        model TEXT,
        input_tokens INTEGER NOT NULL DEFAULT 0,
        output_tokens INTEGER NOT NULL DEFAULT 0,
        cost_micro_usd INTEGER,
        begun REAL NOT NULL,
        ended REAL,
        PRIMARY KEY (task_id, attempt, number)
    ) WITHOUT ROWID;
    CREATE INDEX step_by_session ON step(session_id);
    CREATE INDEX step_file ON step(file) WHERE file IS NOT NULL;
    CREATE TABLE note (
        session_id TEXT NOT NULL,
        name TEXT NOT NULL,
        owner TEXT NOT NULL,
        version INTEGER NOT NULL,
        size INTEGER NOT NULL,
        visible_to TEXT NOT NULL,
        text TEXT NOT NULL,
        sha256 TEXT,
        created REAL NOT NULL,
        updated REAL NOT NULL,
        PRIMARY KEY (session_id, name)
    ) WITHOUT ROWID;
    CREATE TABLE correction (
        task_id TEXT PRIMARY KEY,
        at REAL NOT NULL,
        before TEXT NOT NULL,
        chosen TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX note_file ON note(sha256) WHERE sha256 IS NOT NULL;
    CREATE TABLE reservation (
        purpose TEXT PRIMARY KEY,
        session_id TEXT NOT NULL,
        day TEXT NOT NULL,
        micro_usd INTEGER NOT NULL,
        at REAL NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE spending (
        session_id TEXT NOT NULL,
        day TEXT NOT NULL,
        provider TEXT NOT NULL,
        model TEXT NOT NULL,
        calls INTEGER NOT NULL DEFAULT 0,
        unpriced INTEGER NOT NULL DEFAULT 0,
        input_tokens INTEGER NOT NULL DEFAULT 0,
        output_tokens INTEGER NOT NULL DEFAULT 0,
        micro_usd INTEGER NOT NULL DEFAULT 0,
        doubtful_micro_usd INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (session_id, day, provider, model)
    ) WITHOUT ROWID;
    CREATE INDEX spending_by_day ON spending(day);
    CREATE TABLE shutdown (
        server TEXT PRIMARY KEY,
        actor TEXT NOT NULL,
        at REAL NOT NULL
    ) WITHOUT ROWID;
    """
    + derived.SCRIPT
    + outbox.SCRIPT,
)
"""Each entry brings a database from the version of its index to the next."""


def _nobody(_: int) -> str | None:
    """Know of no other server."""
    return None


def migrate(connection: sqlite3.Connection, elder: Callable[[int], str | None] = _nobody) -> int:
    """Bring a database to the newest schema and give the version it had before.

    Each migration is one transaction, so one that is cut off anywhere has done nothing; two processes that open a new
    workspace at once take turns.

    Args:
        connection: to the database.
        elder: given a version, names a server on this workspace that knows only an older one, None if none does.

    Raises:
        SchemaTooNew: the database is from a newer version.
        StoreUnavailable: a server of an older version does not leave.
    """
    before = check_version(connection)
    if 0 < before < len(MIGRATIONS):
        _outwait(elder)
    for number, script in enumerate(MIGRATIONS, 1):
        if number <= before:
            continue
        connection.execute("BEGIN IMMEDIATE")
        try:
            # Another process may have migrated while this one waited for the lock.
            if _version(connection) < number:
                for statement in _statements(script):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {number}")
            connection.execute("COMMIT")
        except sqlite3.Error:
            connection.execute("ROLLBACK")
            raise
    return before


def _outwait(elder: Callable[[int], str | None]) -> None:
    """Wait until nobody is at work who does not know the newest schema."""
    deadline = time.monotonic() + MIGRATION_WAIT_SECONDS
    pause = threading.Event()
    while (name := elder(len(MIGRATIONS))) is not None:
        if time.monotonic() > deadline:
            raise StoreUnavailable(
                f"the database has to be brought to schema {len(MIGRATIONS)}, and {name} of an older version still "
                "works with it. End or restart that server, then try again."
            )
        pause.wait(_LOOK_SECONDS)


def check_version(connection: sqlite3.Connection) -> int:
    """Give the version of a database's schema.

    Raises:
        SchemaTooNew: it is newer than what we know.
    """
    found = _version(connection)
    if found > len(MIGRATIONS):
        raise SchemaTooNew(
            f"the database has schema {found}, this server knows {len(MIGRATIONS)}. Restart this server if "
            "vespera-agents was upgraded since it was started; else upgrade vespera-agents."
        )
    return found


def _statements(script: str) -> Generator[str]:
    """Cut a script into its statements; a trigger holds several and is one."""
    statement = ""
    for part in script.split(";")[:-1]:
        statement += f"{part};"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])
