"""The records of commands: large ones in files, forgotten when they were answered, pruned when nobody asks any more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trio

from vespera_agents.specialists import pruning as pruning_module
from vespera_agents.specialists.pruning import KEPT_SECONDS, Pruning
from vespera_agents.store import ArtifactMissing, CommandKey, KeyMissing, Owner, Store
from vespera_agents.store import writer as writer_module
from vespera_agents.store.commands import OpenSession
from vespera_agents.store.commands.records import PRUNED_MAX
from vespera_agents.store.records import RECORD_BYTES_MAX
from vespera_agents.store.strays import find_strays, remove_stray
from vespera_agents.store.transaction import Transaction
from vespera_agents.workspace import Leadership, Workspace, announce_server, leader_of, open_workspace


@dataclass(frozen=True)
class Tell:
    """Notes that it was applied, and gives a text."""

    size: int
    by: str = "test"

    def fingerprint(self) -> bytes:
        return str(self.size).encode()

    def apply(self, transaction: Transaction) -> str:
        transaction.event("told")
        return "x" * self.size


async def eventually(condition: Callable[[], bool]) -> None:
    with trio.fail_after(20):
        while not condition():  # noqa: ASYNC110 - a thread brings it about
            await trio.sleep(0.01)


@pytest.mark.parametrize("size", [RECORD_BYTES_MAX - 2, RECORD_BYTES_MAX - 1, 500_000])
async def test_a_large_result_lies_in_a_file_and_is_given_again(running, look, database: Path, size: int) -> None:
    key = CommandKey("test", "large")
    async with running() as store:
        first = await store.execute(Tell(size), key)
        assert await store.execute(Tell(size), key) == first == "x" * size
        assert await store.recorded(key) == first
        assert await store.recorded(CommandKey("test", "other")) is None
    assert look("SELECT count(*) FROM event WHERE what='told'") == [(1,)]
    ((text, file),) = look("SELECT result, file FROM command")
    if size + 2 <= RECORD_BYTES_MAX:
        assert (len(text), file) == (size + 2, None)
    else:
        assert text == ""
        assert (database.parent / "artifacts" / file[:2] / file).stat().st_size == size + 2


async def test_the_file_of_a_record_is_no_stray_as_long_as_the_record_is_there(
    running, bench, database: Path, look
) -> None:
    bench.apply(Tell(100_000), "large")
    (file,) = bench.connection.execute("SELECT file FROM command WHERE file IS NOT NULL").fetchone()
    old = 1e12
    directory = database.parent
    assert find_strays(bench.connection, directory, old) == []
    assert remove_stray(bench.connection, directory, file, old) is None
    assert bench.files.path(file).exists()
    bench.connection.execute("DELETE FROM command")
    assert [stray.name for stray in find_strays(bench.connection, directory, old)] == [file]
    assert remove_stray(bench.connection, directory, file, old) == 100_002


async def test_a_record_whose_file_is_gone_is_neither_repeated_nor_made_up(running, database: Path, look) -> None:
    key = CommandKey("test", "large")
    async with running() as store:
        await store.execute(Tell(100_000), key)
        ((file,),) = look("SELECT file FROM command")
        (database.parent / "artifacts" / file[:2] / file).unlink()
        with pytest.raises(ArtifactMissing, match="the change was made before"):
            await store.execute(Tell(100_000), key)
    assert look("SELECT count(*) FROM event WHERE what='told'") == [(1,)]


@pytest.mark.parametrize("key", [CommandKey("", "1"), CommandKey("srv", ""), CommandKey("", "")])
async def test_a_command_without_a_name_is_refused(running, look, key: CommandKey) -> None:
    async with running() as store:
        with pytest.raises(KeyMissing, match="OpenSession came without a key"):
            await store.execute(OpenSession("test", "/somewhere"), key)
    assert look("SELECT * FROM session") == []


async def keys_left(store: Store) -> list[tuple[str, str]]:
    return await store.read(lambda connection: connection.execute("SELECT origin, key FROM command").fetchall())


async def test_answered_calls_are_forgotten_with_their_steps_in_a_pause_and_nothing_else_is(
    running, database: Path, monkeypatch
) -> None:
    monkeypatch.setattr(writer_module, "PAUSE_SECONDS", 0.01)
    store = Store(database, database.parent, owner=Owner("srv", 1))
    async with running(store):
        mine = [CommandKey("srv", key) for key in ("1", "2", "10", "1/1", "1/about/it", "own/1", "10/1", "3")]
        others = [CommandKey("client:me", "1"), CommandKey("srv_other", "1")]
        for key in (*mine, *others):
            await store.execute(Tell(1), key)
        # 4 read only, so there is nothing to forget; 3 was not answered yet.
        store.forget(["1", "2", "4"])
        await store.execute(Tell(1), CommandKey("srv", "5"))
        while len(left := await keys_left(store)) > 7:  # noqa: ASYNC110 - a thread brings it about
            await trio.sleep(0.01)
    assert set(left) == {
        ("srv", "10"), ("srv", "10/1"), ("srv", "own/1"), ("srv", "3"), ("srv", "5"),
        ("client:me", "1"), ("srv_other", "1"),
    }  # fmt: skip


async def test_forgetting_takes_no_commit_of_its_own_while_calls_come(
    running, database: Path, look, monkeypatch
) -> None:
    # However slowly the calls come here, there is no pause between them.
    monkeypatch.setattr(writer_module, "PAUSE_SECONDS", 1_000.0)
    store = Store(database, database.parent, owner=Owner("srv", 1))
    async with running(store):
        for number in range(50):
            await store.execute(Tell(1), CommandKey("srv", str(number)))
            store.forget([str(number)])
        assert look("SELECT count(*) FROM command") == [(50,)]
        assert store.statistics().commits == 50


async def test_where_calls_leave_no_pause_forgetting_is_done_after_so_many(
    running, database: Path, look, monkeypatch
) -> None:
    monkeypatch.setattr(writer_module, "PAUSE_SECONDS", 1_000.0)
    monkeypatch.setattr(writer_module, "UNTIDIED_MAX", 20)
    # The index learns more often than that, and takes nothing from it.
    monkeypatch.setattr(writer_module, "COMMITS_MAX", 8)
    store = Store(database, database.parent, owner=Owner("srv", 1))
    async with running(store):
        for number in range(61):
            await store.execute(Tell(1), CommandKey("srv", str(number)))
            store.forget([str(number)])
        # The last time was after the 60th, whose answer may not have been written then.
        ((left,),) = look("SELECT count(*) FROM command")
        assert left <= 2


async def test_without_a_front_nothing_is_forgotten(running, monkeypatch) -> None:
    monkeypatch.setattr(writer_module, "PAUSE_SECONDS", 0.01)
    async with running() as store:
        await store.execute(Tell(1), CommandKey("srv", "1"))
        store.forget(["1"])
        await store.execute(Tell(1), CommandKey("srv", "2"))
        await trio.sleep(0.1)
        assert len(await keys_left(store)) == 2


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    (tmp_path / "project").mkdir()
    return open_workspace(tmp_path / "project")


def pruning_of(workspace: Workspace, store: Store, clock: Clock) -> Pruning:
    numbers = iter(range(1_000))
    key = lambda: CommandKey("pruning", str(next(numbers)))
    return Pruning(workspace, store, leads=lambda: True, key=key, clock=clock)


async def test_records_are_kept_for_a_day_and_those_of_the_living_for_an_hour_more_of_looks(
    running, workspace: Workspace
) -> None:
    clock = Clock()
    store = Store(workspace.database, workspace.artifacts, clock=clock)
    async with running(store):
        with announce_server(workspace, "serve") as record:
            names = [CommandKey("client:me", "1"), CommandKey("srv_dead", "1"), CommandKey(record.id, "1")]
            for name in names:
                await store.execute(Tell(1), name)
            clock.now += KEPT_SECONDS - 1
            pruning = pruning_of(workspace, store, clock)
            await pruning.prune()
            assert {tuple(one) for one in await keys_left(store)} == {(one.origin, one.key) for one in names}
            clock.now += 2
            await pruning.prune()
            left = {origin for origin, _ in await keys_left(store)}
            assert left == {record.id, "pruning"}, "what a server that lives may be asked again stays one look longer"
            await pruning.prune()
            assert {origin for origin, _ in await keys_left(store)} == {"pruning"}
    assert (pruning.statistics().removed, pruning.statistics().looks) == (3, 3)


async def test_a_clock_that_is_set_takes_no_record_of_a_call_that_is_under_way(running, workspace: Workspace) -> None:
    clock = Clock()
    store = Store(workspace.database, workspace.artifacts, clock=clock)
    async with running(store):
        with announce_server(workspace, "serve") as record:
            pruning = pruning_of(workspace, store, clock)
            await pruning.prune()
            await store.execute(Tell(1), CommandKey(record.id, "under way"))
            # Two days forward, and all the way back: neither makes an hour of what was just written.
            clock.now += 2 * KEPT_SECONDS
            await pruning.prune()
            clock.now -= 3 * KEPT_SECONDS
            await pruning.prune()
            await pruning.prune()
            assert await keys_left(store) == [(record.id, "under way")]


async def test_many_records_are_pruned_a_few_at_a_time_and_owners_go_with_their_fronts(
    running, workspace: Workspace, look
) -> None:
    clock = Clock()
    store = Store(workspace.database, workspace.artifacts, clock=clock)

    def many(connection: Any) -> None:
        rows = [("client:me", f"{number:05}", b"", "1", 1.0) for number in range(2 * PRUNED_MAX + 7)]
        connection.executemany("INSERT INTO command(origin, key, fingerprint, result, at) VALUES (?,?,?,?,?)", rows)

    @dataclass(frozen=True)
    class Fill:
        by: str = "test"

        def fingerprint(self) -> bytes:
            return b"fill"

        def apply(self, transaction: Transaction) -> None:
            many(transaction.connection)

    async with running(store):
        with announce_server(workspace, "serve") as record:
            await store.execute(Fill(), CommandKey("test", "fill"))
            for front in (record.id, "srv_gone"):
                rows = f"INSERT INTO owner VALUES ('{front}', 1)"  # noqa: S608 - our own names
                await store.execute(Run(rows), CommandKey("test", front))
            pruning = pruning_of(workspace, store, clock)
            await pruning.prune()
            assert pruning.statistics().removed == 2 * PRUNED_MAX + 7
            owners = await store.read(lambda connection: connection.execute("SELECT front FROM owner").fetchall())
            assert owners == [(record.id,)]


@dataclass(frozen=True)
class Run:
    sql: str
    by: str = "test"

    def fingerprint(self) -> bytes:
        return self.sql.encode()

    def apply(self, transaction: Transaction) -> None:
        transaction.execute(self.sql)


async def test_only_the_leader_prunes_and_the_next_one_goes_on_when_it_is_gone(
    running, workspace: Workspace, monkeypatch
) -> None:
    for name in ("_FIRST_LOOK_SECONDS", "_LEADER_SECONDS"):
        monkeypatch.setattr(pruning_module, name, 0.01)
    store = Store(workspace.database, workspace.artifacts)
    asked = {"srv_first": 0, "srv_second": 0}
    places = {name: Leadership(workspace) for name in asked}
    keys = iter(range(1_000))

    def pruning_as(name: str) -> Pruning:
        def leads() -> bool:
            asked[name] += 1
            return places[name].lead(name)

        return Pruning(workspace, store, leads=leads, key=lambda: CommandKey(name, str(next(keys))))

    async with running(store), trio.open_nursery() as nursery:
        first, second = (pruning_as(name) for name in asked)
        assert places["srv_first"].lead("srv_first")
        await nursery.start(first.run)
        await nursery.start(second.run)
        await eventually(lambda: min(asked.values()) > 5)
        assert (first.statistics().looks, second.statistics().looks) == (1, 0)
        places["srv_first"].resign()
        monkeypatch.setattr(first, "_leads", lambda: False)
        await eventually(lambda: second.statistics().looks == 1)
        assert leader_of(workspace) == "srv_second"
        nursery.cancel_scope.cancel()
    places["srv_second"].resign()
    assert leader_of(workspace) is None
