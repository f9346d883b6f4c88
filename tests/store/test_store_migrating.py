"""A database that is brought to a newer schema: killed at every step, while older servers work, and seen by those."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import trio

from tests.store.migrating_process import NEXT
from vespera_agents.specialists.runtime import open_runtime
from vespera_agents.store import CommandKey, SchemaTooNew, Store, StoreUnavailable, queries, schema
from vespera_agents.store.checks import check_structure
from vespera_agents.store.commands import OpenSession
from vespera_agents.store.schema import MIGRATIONS
from vespera_agents.store.writer import connect
from vespera_agents.workspace import Registry, Workspace, announce_server, open_workspace

ROOT = Path(__file__).resolve().parent.parent.parent
SECONDS = 30.0
SESSIONS = ("one", "two", "three")


def migrate(database: Path, point: int = 0) -> subprocess.CompletedProcess[str]:
    """Let a process of the next version open the database, and be killed there."""
    command = [sys.executable, "-m", "tests.store.migrating_process", str(database), str(point)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=False)


@pytest.fixture
def before(database: Path) -> Path:
    """Make a database of this version with acknowledged sessions, as a killed server leaves it: with its log."""
    kept = database.parent / "before"
    kept.mkdir()

    async def make() -> None:
        store = Store(database, database.parent / "artifacts")
        async with trio.open_nursery() as nursery:
            await nursery.start(store.run)
            for name in SESSIONS:
                await store.execute(OpenSession("test", "/somewhere", name, fresh=True), CommandKey("test", name))
            for path in database.parent.glob("vespera.db*"):
                shutil.copy(path, kept / path.name)
            nursery.cancel_scope.cancel()

    trio.run(make)
    return kept


def copies(kept: Path, directory: Path) -> Iterator[Path]:
    for number in range(1_000):
        place = directory / f"copy {number}"
        shutil.copytree(kept, place)
        (place / "artifacts").mkdir()
        yield place / "vespera.db"


@pytest.mark.unmeasured
def test_a_migration_that_is_killed_at_any_step_is_done_by_the_next_start_and_loses_nothing(
    before: Path, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(schema, "MIGRATIONS", NEXT)
    places = copies(before, tmp_path)
    whole = migrate(next(places))
    assert whole.returncode == 0, whole.stderr
    found, *statements = whole.stdout.splitlines()
    assert found == str(len(SESSIONS))
    # The enumeration itself: each transaction of a migration, its statements, its number, its commit; then a command.
    assert statements.count("BEGIN IMMEDIATE") == statements.count("COMMIT") == len(NEXT) - len(MIGRATIONS) + 1
    assert [one for one in statements if one.startswith("PRAGMA user_version =")] == [
        f"PRAGMA user_version = {number}" for number in range(len(MIGRATIONS) + 1, len(NEXT) + 1)
    ]
    versions: list[int] = []
    for point in range(1, len(statements) + 1):
        database = next(places)
        killed = migrate(database, point)
        assert killed.returncode == -signal.SIGKILL, (point, killed)
        with closing(sqlite3.connect(database)) as connection:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            names = [name for (name,) in connection.execute("SELECT name FROM session ORDER BY created, id")]
            assert sorted(names) == sorted(SESSIONS), (point, statements[point - 1])
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
            assert ("extra" in tables) == (version > len(MIGRATIONS)), "a migration is whole or not there"
        versions.append(version)
        with closing(connect(database)) as connection:
            assert schema.migrate(connection) == version
            assert connection.execute("PRAGMA user_version").fetchone() == (len(NEXT),)
            assert connection.execute("SELECT count(*) FROM extra WHERE note = upper(name)").fetchone() == (3,)
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        shutil.rmtree(database.parent)
    assert versions == sorted(versions)
    assert set(versions) == set(range(len(MIGRATIONS), len(NEXT) + 1))


async def test_a_server_whose_database_was_migrated_meanwhile_stops_writing_and_reading_and_says_so(
    running, database: Path, look
) -> None:
    async with running() as store:
        await store.execute(OpenSession("test", "/somewhere", "before"), CommandKey("test", "before"))
        done = await trio.to_thread.run_sync(migrate, database)
        assert done.returncode == 0, done.stderr
        for number in range(2):
            with pytest.raises(SchemaTooNew, match=f"has schema {len(NEXT)}, .* Restart this server"):
                await store.execute(OpenSession("test", "/somewhere", f"{number}"), CommandKey("test", f"{number}"))
            with pytest.raises(SchemaTooNew, match="Restart this server"):
                await store.read(queries.sessions)
    assert look("SELECT name FROM session") == [("before",)]
    # Not even the index was taught anything.
    assert look("SELECT count(*) FROM command WHERE origin='test' AND key IN ('0', '1')") == [(0,)]


async def test_a_migration_waits_for_servers_of_an_older_version_and_names_the_one_that_stays(
    tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(schema, "MIGRATION_WAIT_SECONDS", 0.2)
    (tmp_path / "project").mkdir()
    workspace = open_workspace(tmp_path / "project")
    with closing(connect(workspace.database)) as connection:
        schema.migrate(connection)
    registry = Registry(tmp_path / "registry")
    with announce_server(workspace, "serve", schema=len(MIGRATIONS)) as elder:
        monkeypatch.setattr(schema, "MIGRATIONS", NEXT)
        monkeypatch.setattr("vespera_agents.specialists.sessions.MIGRATIONS", NEXT)
        async with open_runtime("serve", registry=registry) as runtime:
            named = rf"brought to schema {len(NEXT)}, and the server {elder.id} \(process {elder.pid}"
            with pytest.raises(StoreUnavailable, match=named):
                await runtime.workspace(workspace.directory)
            assert version_of(workspace) == len(MIGRATIONS)
    async with open_runtime("serve", registry=registry) as runtime:
        opened = await runtime.workspace(workspace.directory)
        assert version_of(workspace) == len(NEXT)
        assert await opened.store.read(check_structure) == []


async def test_a_migration_goes_on_as_soon_as_the_older_server_has_left(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(schema, "MIGRATION_WAIT_SECONDS", SECONDS)
    names: list[str | None] = ["the server srv_old", "the server srv_old", None]
    asked = threading.Event()

    def elder(version: int) -> str | None:
        assert version == len(NEXT)
        asked.set()
        return names.pop(0)

    with closing(connect(tmp_path / "vespera.db")) as connection:
        schema.migrate(connection)
    monkeypatch.setattr(schema, "MIGRATIONS", NEXT)
    with closing(connect(tmp_path / "vespera.db")) as connection:
        assert schema.migrate(connection, elder) == len(MIGRATIONS)
        assert schema.check_version(connection) == len(NEXT)
    assert asked.is_set()
    assert names == []


def version_of(workspace: Workspace) -> int:
    with closing(sqlite3.connect(workspace.database)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])
