"""One generation of a front's workers writes, and never two: with real processes that are stopped, killed, resumed."""

from __future__ import annotations

import os
import select
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.store.worker_process import FENCED
from vespera_agents.store import CommandKey, Fenced, Owner, Store, StoreUnavailable
from vespera_agents.store.commands import OpenSession
from vespera_agents.store.transaction import Transaction
from vespera_agents.store.writer import connect

ROOT = Path(__file__).resolve().parent.parent.parent
SECONDS = 30.0


class Worker:
    """A worker process, spoken to line by line."""

    def __init__(self, directory: Path, generation: int, front: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.store.worker_process", str(directory), front, str(generation)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")

    def hear(self) -> str:
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], SECONDS)
        assert ready, "it says nothing"
        return self.process.stdout.readline().strip()

    def ask(self, line: str) -> str:
        self.tell(line)
        return self.hear()

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def wait_until_stopped(self) -> None:
        """Wait until the kernel says that it stands still: before, it may still be on its way there."""
        deadline = time.monotonic() + SECONDS
        while Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
            assert time.monotonic() < deadline, "it does not stop"
            select.select([], [], [], 0.01)


@pytest.fixture
def worker(database: Path) -> Generator[Callable[..., Worker]]:
    """Start workers on this test's database; they are killed at the end."""
    started: list[Worker] = []

    def start(generation: int, front: str = "srv_front") -> Worker:
        started.append(Worker(database.parent, generation, front))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.communicate(timeout=SECONDS)


def names(look: Callable[..., list[Any]]) -> list[str]:
    return [name for (name,) in look("SELECT name FROM session ORDER BY name")]


def test_a_worker_that_was_stopped_and_resumed_after_its_successor_wrote_commits_nothing_and_ends(
    worker: Callable[..., Worker], look: Callable[..., list[Any]]
) -> None:
    old = worker(1)
    assert old.hear() == "ready"
    assert old.ask("open first") == "done"
    old.send(signal.SIGSTOP)
    old.wait_until_stopped()
    new = worker(2)
    assert new.hear() == "ready"
    assert new.ask("open second") == "done"
    old.send(signal.SIGCONT)
    # Its caller is told, or the process ends before it can be: both is the end of it.
    old.tell("open third")
    said = {old.hear(), old.hear()}
    assert "fenced" in said
    assert "done" not in said
    assert old.process.wait(SECONDS) == FENCED
    assert new.ask("open fourth") == "done"
    assert names(look) == ["first", "fourth", "second"]
    assert look("SELECT front, generation FROM owner") == [("srv_front", 2)]
    assert look("PRAGMA integrity_check") == [("ok",)]


def test_a_worker_that_is_killed_while_it_is_stopped_inside_a_transaction_leaves_nothing_of_it(
    worker: Callable[..., Worker], look: Callable[..., list[Any]]
) -> None:
    old = worker(1)
    assert old.hear() == "ready"
    assert old.ask("open first") == "done"
    assert old.ask("stop half") == "stopping"
    old.wait_until_stopped()
    # The successor opens at once; what it wants to write waits for the lock that the stopped one holds.
    new = worker(2)
    assert new.hear() == "ready"
    new.tell("open second")
    assert select.select([new.process.stdout], [], [], 0.3)[0] == []
    old.send(signal.SIGKILL)
    assert new.hear() == "done"
    assert names(look) == ["first", "second"]
    assert look("PRAGMA integrity_check") == [("ok",)]


def test_what_a_worker_commits_before_its_successor_writes_the_successor_sees(
    worker: Callable[..., Worker], look: Callable[..., list[Any]]
) -> None:
    """A transaction that was stopped and goes on before anybody else wrote is whole, and so is its key."""
    old = worker(1)
    assert old.hear() == "ready"
    assert old.ask("stop same") == "stopping"
    old.wait_until_stopped()
    new = worker(2)
    assert new.hear() == "ready"
    new.tell("stop same")
    old.send(signal.SIGCONT)
    # The same command under the same key, from the successor: it is not applied again, so it does not stop.
    assert new.hear() == "done"
    assert names(look) == ["same"]


def test_a_successor_that_never_wrote_leaves_its_predecessor_the_right_to(
    worker: Callable[..., Worker], look: Callable[..., list[Any]]
) -> None:
    old = worker(1)
    assert old.hear() == "ready"
    assert old.ask("open first") == "done"
    new = worker(2)
    assert new.hear() == "ready"
    assert new.ask("read") == "1"
    new.send(signal.SIGKILL)
    assert old.ask("open second") == "done"
    assert look("SELECT generation FROM owner") == [(1,)]


def test_fronts_and_processes_without_one_write_beside_each_other(
    worker: Callable[..., Worker], look: Callable[..., list[Any]]
) -> None:
    workers = [worker(5, "srv_a"), worker(2, "srv_b"), worker(0)]
    for number in range(2):
        for index, one in enumerate(workers):
            if number == 0:
                assert one.hear() == "ready"
            assert one.ask(f"open {index}.{number}") == "done"
    assert len(names(look)) == 6
    assert look("SELECT front, generation FROM owner ORDER BY front") == [("srv_a", 5), ("srv_b", 2)]


@dataclass(frozen=True)
class Breaking:
    """Fails as the disk does: the whole batch is rolled back."""

    by: str = "test"

    def fingerprint(self) -> bytes:
        return b"breaking"

    def apply(self, _: Transaction) -> object:
        raise sqlite3.OperationalError("database or disk is full")


async def open_session(store: Store, name: str) -> None:
    await store.execute(OpenSession("test", "/somewhere", name, fresh=True), CommandKey("srv", name))


async def test_a_fenced_store_fails_its_callers_for_good_says_so_once_and_is_not_restarted(database: Path) -> None:
    fenced: list[str] = []
    store = Store(database, database.parent, owner=Owner("srv", 1, lambda: fenced.append("fenced")))
    ended = trio.Event()

    async def run(*, task_status: trio.TaskStatus[Store]) -> None:
        try:
            await store.run(task_status=task_status)
        finally:
            ended.set()

    async with trio.open_nursery() as nursery:
        await nursery.start(run)
        await open_session(store, "mine")
        with closing(connect(database)) as other:
            other.execute("UPDATE owner SET generation = 2")
        for name in ("first", "second"):
            with pytest.raises(Fenced, match="replaced by generation 2"):
                await open_session(store, name)
        with pytest.raises(Fenced):
            await store.read(lambda connection: connection)
        await trio.testing.wait_all_tasks_blocked()
        assert fenced == ["fenced"]
        assert not ended.is_set()
        nursery.cancel_scope.cancel()
    with pytest.raises(Fenced):
        await store.run()


async def test_a_worker_of_an_older_generation_does_not_even_open(database: Path, running) -> None:
    async with running(Store(database, database.parent, owner=Owner("srv", 2))) as store:
        await open_session(store, "newer")
        heard: list[str] = []
        with pytest.RaisesGroup(pytest.RaisesExc(Fenced, match="generation 1 .* replaced by generation 2")):
            async with running(Store(database, database.parent, owner=Owner("srv", 1, lambda: heard.append("told")))):
                pytest.fail("it must not open")
        assert heard == ["told"]


async def test_an_ownership_whose_transaction_was_rolled_back_is_taken_by_the_next_one(
    database: Path, running, look
) -> None:
    async with running(Store(database, database.parent, owner=Owner("srv", 3))) as store:
        with pytest.raises(StoreUnavailable):
            await store.execute(Breaking(), CommandKey("srv", "breaking"))
        assert look("SELECT generation FROM owner") == []
        await open_session(store, "mine")
        assert look("SELECT generation FROM owner") == [(3,)]
