"""The chaos benchmark's own judges: every loss and every double that is planted into a store is found."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
import trio
from mcp import Client
from trio.testing import MockClock

from benchmarks.killing.calls import Calls
from benchmarks.killing.killer import roles_of
from benchmarks.killing.load import Load
from benchmarks.killing.places import new_place, talking
from benchmarks.killing.processes import MARK_VARIABLE, Family
from benchmarks.killing.record import Record, doubled_titles
from benchmarks.killing.waiting import until

CALLS = 60
PLANTED = {
    "a task is gone": ("DELETE FROM task WHERE id=:task", "lost", "task"),
    "a task is there twice": (
        (
            "INSERT INTO task SELECT seq + 100000, id || 'b', session_id, parent_id, key, position, {rest} FROM task"
            " WHERE id=:task"
        ),
        "doubled",
        "task",
    ),
    "a creation was not written down": ("DELETE FROM event WHERE what='created' AND task_id=:task", "lost", "creation"),
    "a completion is written down twice": (
        (
            "INSERT INTO event(at, session_id, task_id, actor, what, before, after)"
            " SELECT at, session_id, task_id, actor, what, before, after FROM event"
            " WHERE what='status' AND after='completed' AND task_id=:task"
        ),
        "doubled",
        "completion",
    ),
    "a completion was taken back": ("UPDATE task SET status='in_progress' WHERE id=:task", "lost", "completed task"),
    "work is kept twice": (
        (
            "INSERT INTO artifact(id, session_id, task_id, kind, name, mime_type, size, sha256, created)"
            " SELECT id || 'b', session_id, task_id, kind, name, mime_type, size, sha256, created FROM artifact"
            " WHERE task_id=:task LIMIT 1"
        ),
        "doubled",
        "artifacts",
    ),
    "results were gathered once less": ("DELETE FROM artifact WHERE task_id=:gathered", "lost", "artifacts"),
    "a change is not written down": ("DELETE FROM event WHERE what='updated'", "lost", "change"),
    "gates were recorded as ended twice": (
        "INSERT INTO job SELECT seq + 100000, id || 'b', {job} FROM job WHERE task_id=:task",
        "doubled",
        "gates",
    ),
    "another id stands for it": ("UPDATE task SET id='task_000000000000' WHERE id=:task", "damaged", "was told"),
}
"""What is done to the rows, which kind of finding it is, and a word of it."""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Record, Path]:
    """What a real client was told by a real server that nobody killed, and a copy of the store."""
    kept = tmp_path_factory.mktemp("chaos") / "vespera.db"
    calls, record = Calls(), Record()

    async def run() -> None:
        with new_place() as place:
            async with talking(place, "modern") as client:
                load = Load(calls, record, "planted", CALLS, lanes=3)
                await load.run(client)
                assert not load.misread
            with contextlib.closing(sqlite3.connect(place.database)) as connection:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            shutil.copy(place.database, kept)

    trio.run(run)
    assert not calls.failures
    assert calls.answered == calls.begun == CALLS
    return record, kept


def test_a_store_that_fits_the_book_is_found_sound(told: tuple[Record, Path]) -> None:
    record, database = told
    assert record.completed
    assert record.updated
    assert record.gathered
    verdict = record.judge(database)
    assert verdict.sound, str(verdict)
    assert doubled_titles(database) == 0


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_is_found(fault: str, told: tuple[Record, Path], tmp_path: Path) -> None:
    record, sound = told
    sql, kind, word = PLANTED[fault]
    database = tmp_path / "vespera.db"
    shutil.copy(sound, database)
    names = {"task": min(record.completed), "gathered": next(iter(record.gathered))}
    with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as connection:
        rest = _columns(connection, "task", after="position")
        job = _columns(connection, "job", after="id")
        before = connection.total_changes
        connection.execute(sql.format(rest=rest, job=job), {key: names[key] for key in names if f":{key}" in sql})
        assert connection.total_changes > before
    verdict = record.judge(database)
    found = getattr(verdict, kind)
    assert any(word in one for one in found), str(verdict)
    assert not verdict.sound
    if fault == "a task is there twice":
        assert doubled_titles(database) == 1


def test_a_damaged_file_is_found(told: tuple[Record, Path], tmp_path: Path) -> None:
    record, sound = told
    database = tmp_path / "vespera.db"
    shutil.copy(sound, database)
    with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema=ON")
        taken = "SELECT rootpage FROM sqlite_schema WHERE name='cell_task_by_seq'"
        connection.execute(f"UPDATE sqlite_schema SET rootpage=({taken}) WHERE name='cell_task_updated'")  # noqa: S608
    assert record.judge(database).damaged


class Silent:
    """A client whose calls fail after five seconds."""

    async def call_tool(self, _: str, __: dict[str, object]) -> object:
        await trio.sleep(5)
        raise OSError("gone")


async def test_a_call_that_met_two_deaths_is_not_hit_again(autojump_clock: MockClock) -> None:
    calls = Calls()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(calls.call, cast("Client", Silent()), "any", {})
        await trio.sleep(1)
        assert calls.may_meet(2)
        first = calls.killed("SIGKILL", spare=False)
        assert first.in_flight == 1
        assert calls.may_meet(1)
        assert not calls.may_meet(2)
        calls.killed("SIGKILL", spare=False)
        assert not calls.may_meet(1)
        began = trio.current_time()
        await calls.fit()
        # The call has ended, and that it failed is noted.
        assert trio.current_time() - began >= 4
        assert len(calls.failures) == 1
        assert first.gap_seconds is None


async def test_a_call_that_was_made_before_a_death_was_noticed_may_have_met_it(autojump_clock: MockClock) -> None:
    calls = Calls()
    calls.killed("SIGKILL", spare=False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(calls.call, cast("Client", Silent()), "any", {})
        await trio.sleep(1)
        assert calls.may_meet(1)
        assert not calls.may_meet(2)


async def test_who_carries_a_mark_is_found_and_nobody_else() -> None:
    mark = os.urandom(8).hex()
    family = Family(mark, Path("/nowhere"))
    with _sleeping(mark) as ours, _sleeping(os.urandom(8).hex()):
        with trio.fail_after(10):
            await until(lambda: bool(family.members()))
        found = family.members()
        assert [one.pid for one in found] == [ours.pid]
        assert found[0].parent == os.getpid()
        assert not found[0].python
        ours.kill()
        ours.wait()
        assert not family.members()


FRONT = """
import os, sys, time
if not os.fork():
    os.open(sys.argv[1], os.O_RDONLY)
    # Younger also as the kernel counts: in hundredths of a second.
    time.sleep(0.05)
    if not os.fork():
        # What is to become a command, and has not executed it yet: in all that it has it is the worker's copy.
        print("there", flush=True)
    sys.stdin.read()
    os._exit(0)
sys.stdin.read()
"""


def test_what_a_worker_has_forked_for_a_command_is_not_taken_for_the_worker(tmp_path: Path) -> None:
    store, mark = (tmp_path / "store").resolve(), os.urandom(8).hex()
    store.touch()
    with subprocess.Popen(
        [sys.executable, "-c", FRONT, str(store)],
        env={**os.environ, MARK_VARIABLE: mark},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as front:
        assert front.stdout is not None
        assert front.stdout.readline() == b"there\n"
        roles = roles_of(Family(mark, store))
        holders = [one for one in roles.everybody if one.holds(store)]
        assert len(holders) == 2
        assert roles.front is not None
        assert roles.front.pid == front.pid
        assert roles.worker is not None
        assert roles.worker.parent == front.pid
        front.communicate()


@contextlib.contextmanager
def _sleeping(mark: str) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"], env={**os.environ, MARK_VARIABLE: mark}) as process:
        try:
            yield process
        finally:
            process.kill()


def _columns(connection: sqlite3.Connection, table: str, *, after: str) -> str:
    names = [str(row[1]) for row in connection.execute(f"PRAGMA table_info({table})")]
    return ", ".join(names[names.index(after) + 1 :])
