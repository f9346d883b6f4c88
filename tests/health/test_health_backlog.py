"""The backlog is read from the database without making, holding or harming anything."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.health.kit import open_session, plan, watched_runtime
from vespera_agents.health.metrics import backlog as module
from vespera_agents.health.metrics.backlog import read_backlog, size_bytes
from vespera_agents.store import StoreUnavailable
from vespera_agents.store.commands import AskRestart, BeginGeneration, Death, NoteDeaths, NoteRestart
from vespera_agents.work.drafts import TaskDraft


def listing(place: Path) -> list[str]:
    return sorted(path.name for path in place.iterdir())


async def test_the_backlog_counts_tasks_by_status_and_role(tmp_path: Path) -> None:
    async with watched_runtime(tmp_path) as watched:
        opened = await watched.workspace()
        session = await open_session(opened)
        container = TaskDraft(key="c", title="c", subtasks=(TaskDraft(key="b", title="b", specialist="tester"),))
        await plan(opened, session, [TaskDraft(key="a", title="a"), container])
        database = opened.workspace.database
        before = listing(database.parent)
        found = read_backlog(database)
        assert sorted(found.counts) == [("pending", "generic", 1), ("pending", "tester", 1)]
        assert [status for status, _ in found.oldest] == ["pending"]
        assert listing(database.parent) == before
        assert size_bytes(database) > 4_096


async def test_the_workers_of_a_front_and_its_restarts_are_read_and_nobody_elses(tmp_path: Path) -> None:
    async with watched_runtime(tmp_path) as watched:
        opened = await watched.workspace()
        front, other = "srv_00000000000a", "srv_00000000000b"

        async def begins(server: str, number: int, reason: str) -> None:
            command = BeginGeneration("supervision", server, number, reason, 1, "v", {})
            await opened.store.execute(command, opened.key())

        await begins(front, 1, "start")
        await begins(other, 1, "start")
        wish = AskRestart("tester", front, 1, "why", "graceful", preserve_state=True, timeout_seconds=1.0)
        asked = await opened.store.execute(wish, opened.key())
        await begins(front, 2, "restart")
        phases = (("drain", 0.5), ("activate", 0.25))
        await opened.store.execute(NoteRestart("supervision", asked["restart"], phases=phases), opened.key())
        killed = Death(3, 100.0, 1, "signal 9 before it was ready")
        await opened.store.execute(NoteDeaths("supervision", front, (killed,)), opened.key())
        database = opened.workspace.database
        found = read_backlog(database, front)
        assert sorted(found.generations) == [("", 1), ("restart", 1), ("start", 1)]
        assert found.restarts == ((2, phases),)
        assert read_backlog(database).generations == read_backlog(database, "srv_00000000000c").generations == ()


def test_a_database_that_is_missing_or_closed_is_refused_and_nothing_is_made(tmp_path: Path) -> None:
    database = tmp_path / "a #?% b.db"
    with pytest.raises(StoreUnavailable, match="is not open"):
        read_backlog(database)
    assert listing(tmp_path) == []
    assert size_bytes(database) == 0
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE t(a)")
    with pytest.raises(StoreUnavailable, match="is not open"):
        read_backlog(database)
    assert listing(tmp_path) == [database.name]


def test_a_database_that_was_removed_under_its_shared_memory_is_not_made_anew(tmp_path: Path) -> None:
    (tmp_path / "vespera.db-shm").touch()
    with pytest.raises(StoreUnavailable, match="cannot be read"):
        read_backlog(tmp_path / "vespera.db")
    assert listing(tmp_path) == ["vespera.db-shm"]


@pytest.mark.parametrize("content", [b"", b"no database at all" * 100])
def test_a_file_that_is_no_store_is_refused(tmp_path: Path, content: bytes) -> None:
    database = tmp_path / "vespera.db"
    database.write_bytes(content)
    (tmp_path / "vespera.db-shm").touch()
    with pytest.raises(StoreUnavailable, match="cannot be read"):
        read_backlog(database)
    assert database.read_bytes() == content


def test_a_database_that_somebody_holds_is_given_up_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BUSY_SECONDS", 0.01)
    database = tmp_path / "vespera.db"
    (tmp_path / "vespera.db-shm").touch()
    with closing(sqlite3.connect(database, isolation_level=None)) as holder:
        holder.execute("CREATE TABLE t(a)")
        holder.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreUnavailable, match="locked"):
            read_backlog(database)
