"""The write-ahead log is short when a breath was taken, and whatever keeps it long loses nothing."""

from __future__ import annotations

import itertools
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import trio

from vespera_agents.store import writer as writer_module
from vespera_agents.store.commands import OpenSession, PlanTasks
from vespera_agents.store.derived import UNLEARNED
from vespera_agents.store.store import Store
from vespera_agents.store.transaction import CommandKey
from vespera_agents.store.writer import Writer
from vespera_agents.work.drafts import TaskDraft

PAGE = 4096
NUMBERS = itertools.count()


@pytest.fixture(autouse=True)
def breaths(monkeypatch) -> list[Writer]:
    """Let nothing be learned but after a breath, and note when one was taken.

    Whoever looks into the database for it may keep the log from beginning anew: a reader at the wrong moment does.
    """
    taken: list[Writer] = []
    shorten = Writer._shorten_log

    def noted(self: Writer, connection: sqlite3.Connection) -> None:
        shorten(self, connection)
        taken.append(self)

    monkeypatch.setattr(writer_module, "PAUSE_SECONDS", 1_000.0)
    monkeypatch.setattr(Writer, "_shorten_log", noted)
    return taken


def frames(database: Path) -> int:
    """Count the pages that a successor would read: those that carry the salt of the log's head."""
    content = database.with_name(f"{database.name}-wal").read_bytes()
    salt = content[16:24]
    starts = range(32, len(content), 24 + PAGE)
    return sum(1 for _ in itertools.takewhile(lambda start: content[start + 8 : start + 16] == salt, starts))


def recovered_titles(database: Path, copy: Path) -> set[str]:
    """Read what a successor finds after a kill now: the files as they lie there, without what their users share."""
    copy.mkdir()
    for suffix in ("", "-wal"):
        shutil.copy(database.with_name(f"{database.name}{suffix}"), copy / f"copy{suffix}")
    with closing(sqlite3.connect(copy / "copy")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return titles(connection)


def titles(connection: sqlite3.Connection) -> set[str]:
    return {title for (title,) in connection.execute("SELECT title FROM task")}


async def open_session(store: Store) -> str:
    opened = await store.execute(OpenSession("test", "/somewhere"), CommandKey("test", f"open {next(NUMBERS)}"))
    return opened["session_id"]


async def plan(store: Store, draft: Callable[..., TaskDraft], count: int) -> set[str]:
    """Plan tasks one after the other and give their titles."""
    session_id = await open_session(store)
    planned = {f"t{next(NUMBERS)}" for _ in range(count)}
    for title in planned:
        command = PlanTasks("test", session_id, (draft(title),))
        await store.execute(command, CommandKey("test", title))
    return planned


async def breath_taken(store: Store, breaths: list[Writer], look: Callable[..., list[object]]) -> None:
    """Wait for it; where a slow machine took one already, commands that teach nothing bring about the next."""
    before, looks = len(breaths), 0
    with trio.fail_after(20):
        while len(breaths) == before:
            looks += 1
            if looks % 2 == 0:
                await open_session(store)
            await trio.sleep(0.01)
    assert look(UNLEARNED) == []


async def first_breath_taken(breaths: list[Writer]) -> None:
    """Wait for the breath that follows the first command, whatever comes after it."""
    with trio.fail_after(20):
        while not breaths:  # noqa: ASYNC110 - a thread brings it about
            await trio.sleep(0.01)


async def test_after_a_breath_the_log_begins_anew(
    running, draft, look, breaths, database: Path, tmp_path: Path
) -> None:
    async with running() as store:
        planned = await plan(store, draft, 3 * writer_module.LOGGED_MAX)
        await breath_taken(store, breaths, look)
        planned |= await plan(store, draft, writer_module.LOGGED_MAX)
        await breath_taken(store, breaths, look)
        # What the index learned, and nothing else.
        assert 0 < frames(database) < 40
        planned |= await plan(store, draft, 1)
        assert frames(database) < 60
        assert recovered_titles(database, tmp_path / "copy") == planned


async def test_a_client_that_leaves_no_breath_writes_over_the_same_log_again_and_again(
    running, draft, monkeypatch, database: Path, tmp_path: Path
) -> None:
    monkeypatch.setattr(writer_module, "BREATH_SECONDS", 1_000.0)
    monkeypatch.setattr(writer_module, "PAUSE_SECONDS", 1_000.0)
    monkeypatch.setattr(writer_module, "COMMITS_MAX", 10)
    async with running() as store:
        planned = await plan(store, draft, 50)
        # A commit is of some ten pages.
        assert frames(database) < 250
        assert recovered_titles(database, tmp_path / "copy") == planned


async def test_what_a_killed_process_left_is_copied_after_the_first_command(
    running, draft, look, breaths, bench, database: Path
) -> None:
    for _ in range(writer_module.LOGGED_MAX):
        bench.plan(draft("t"))
    left = frames(Path(bench.connection.execute("PRAGMA database_list").fetchone()[2]))
    for suffix in ("", "-wal"):
        shutil.copy(database.with_name(f"bench.db{suffix}"), database.with_name(f"vespera.db{suffix}"))
    async with running() as store:
        # One command and no other: a breath between two would leave the second one unlearned.
        command = PlanTasks("test", bench.session_id, (draft("first"),))
        await store.execute(command, CommandKey("test", "first"))
        await first_breath_taken(breaths)
        assert look(UNLEARNED) == []
        assert frames(database) < 40 < left


async def test_a_reader_of_an_old_state_keeps_the_log_and_loses_nothing(
    running, draft, look, breaths, monkeypatch, database: Path, tmp_path: Path
) -> None:
    # No breath but the first before the reader has begun: where the log is copied already, a reader does not keep it.
    monkeypatch.setattr(writer_module, "LOGGED_MAX", 1_000)
    monkeypatch.setattr(writer_module, "BREATH_SECONDS", 0.001)
    async with running() as store:
        await open_session(store)
        await first_breath_taken(breaths)
        before = await plan(store, draft, 5)
        with closing(sqlite3.connect(database, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            assert titles(reader) == before
            monkeypatch.setattr(writer_module, "LOGGED_MAX", 2)
            planned = before.copy()
            length = 0
            for _ in range(5):
                length = frames(database)
                planned |= await plan(store, draft, 5)
                await breath_taken(store, breaths, look)
                assert frames(database) > length
            assert titles(reader) == before
            assert recovered_titles(database, tmp_path / "copy") == planned
        planned |= await plan(store, draft, 2)
        await breath_taken(store, breaths, look)
        assert frames(database) < length
        assert recovered_titles(database, tmp_path / "second") == planned


REFUSED = """
import resource, signal, sys, threading
from pathlib import Path
import trio
from vespera_agents.store import writer
from vespera_agents.store.commands import OpenSession, PlanTasks
from vespera_agents.store.store import Store
from vespera_agents.store.transaction import CommandKey
from vespera_agents.work.drafts import TaskDraft

refused = threading.Event()
signal.signal(signal.SIGXFSZ, lambda *_: refused.set())
writer.PAUSE_SECONDS = writer.BREATH_SECONDS = 1000.0

async def main(directory):
    store = Store(directory / "vespera.db", directory / "artifacts")
    async with trio.open_nursery() as nursery:
        await nursery.start(store.run)
        async def open_session():
            command = OpenSession("test", "/somewhere")
            return (await store.execute(command, CommandKey("test", "open")))["session_id"]
        async def plan(name):
            command = PlanTasks("test", await open_session(), (TaskDraft(key=name, title=name),))
            await store.execute(command, CommandKey("test", name))
        await plan("first")
        # The database takes no page more. A command that repeats one writes nothing, and brings the next breath.
        limit = (directory / "vespera.db").stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        writer.LOGGED_MAX, writer.BREATH_SECONDS = 1, 0.005
        await open_session()
        with trio.fail_after(20):
            while not refused.is_set():
                await trio.sleep(0.01)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        await plan("second")
        nursery.cancel_scope.cancel()

trio.run(main, Path(sys.argv[1]))
"""


def test_a_copy_that_the_disk_refuses_loses_nothing_and_the_writer_goes_on(database: Path, look) -> None:
    done = subprocess.run(
        [sys.executable, "-c", REFUSED, str(database.parent)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert look("SELECT title FROM task ORDER BY seq") == [("first",), ("second",)]
    assert look("PRAGMA integrity_check") == [("ok",)]
