"""Group commit, command keys, and what happens when a batch cannot be written."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from vespera_agents.store import holding
from vespera_agents.store.commands import ClaimTask, FinishTask, OpenSession, PlanTasks, SetSessionStatus
from vespera_agents.store.errors import KeyConflict, SchemaTooNew, StoreLost, StoreUnavailable
from vespera_agents.store.store import Store
from vespera_agents.store.transaction import CommandKey, StatusChange, Transaction
from vespera_agents.store.writer import connect
from vespera_agents.work.errors import Conflict, NotFound
from vespera_agents.work.models import SessionStatus, TaskStatus


def key(name: str) -> CommandKey:
    return CommandKey("test", name)


@dataclass(frozen=True)
class Execute:
    """A command that executes one statement, and then fails if it is told to."""

    sql: str
    parameters: tuple[Any, ...] = ()
    failure: Exception | None = None
    by: str = "test"

    def fingerprint(self) -> bytes:
        return repr((self.sql, self.parameters)).encode()

    def apply(self, transaction: Transaction) -> str:
        transaction.execute(self.sql, self.parameters)
        if self.failure is not None:
            raise self.failure
        return self.sql


@dataclass(frozen=True)
class Hold:
    """A command that stays in the writer until it may go, so that others queue up behind it."""

    begun: threading.Event = field(default_factory=threading.Event)
    go: threading.Event = field(default_factory=threading.Event)
    by: str = "test"

    def fingerprint(self) -> bytes:
        return b"hold"

    def apply(self, transaction: Transaction) -> str:
        transaction.event("held")
        self.begun.set()
        assert self.go.wait(30)
        return "held"


class Results(dict[str, Any]):
    """What each caller got: a result, or the exception."""

    async def take(self, store: Store, command: Any, name: str, at: CommandKey | None = None) -> None:
        try:
            self[name] = await store.execute(command, at or key(name))
        except Exception as error:
            self[name] = error


async def open_session(store: Store, name: str = "open") -> str:
    return (await store.execute(OpenSession("test", "/somewhere"), key(name)))["session_id"]


async def held(store: Store, nursery: trio.Nursery, results: Results) -> Hold:
    """Fill the writer with a command that waits."""
    hold = Hold()
    nursery.start_soon(results.take, store, hold, "hold")
    assert await trio.to_thread.run_sync(hold.begun.wait, 30)
    return hold


async def test_one_batch_gives_each_caller_its_own_outcome_and_keeps_what_was_allowed(running, draft, look) -> None:
    results = Results()
    fault = Execute("INSERT INTO session(id) VALUES (?)", (object(),))
    halfway = Execute("INSERT INTO event(at, actor, what) VALUES (1, 'x', 'half')", (), Conflict("no", "Stop."))
    async with running() as store:
        session_id = await open_session(store)
        before = store.statistics().commits
        async with trio.open_nursery() as nursery:
            hold = await held(store, nursery, results)
            for number in range(3):
                plan = PlanTasks("test", session_id, (draft(f"t{number}"),))
                nursery.start_soon(results.take, store, plan, f"good {number}")
            nursery.start_soon(results.take, store, PlanTasks("test", "session_no", (draft("t"),)), "refused")
            nursery.start_soon(results.take, store, halfway, "half")
            nursery.start_soon(results.take, store, fault, "fault")
            nursery.start_soon(results.take, store, Execute("INSERT INTO session(id) VALUES (1)"), "integrity")
            nursery.start_soon(results.take, store, PlanTasks("test", session_id, (draft("t"),)), "last")
            await wait_all_tasks_blocked()
            hold.go.set()
        assert store.statistics().commits == before + 2
    assert isinstance(results["refused"], NotFound)
    assert isinstance(results["half"], Conflict)
    assert isinstance(results["fault"], sqlite3.ProgrammingError)
    assert isinstance(results["integrity"], sqlite3.IntegrityError)
    titles = {"t0", "t1", "t2", "t"}
    assert {title for (title,) in look("SELECT title FROM task")} == titles
    assert look("SELECT count(*) FROM event WHERE what = 'half'") == [(0,)]
    assert {name for (name,) in look("SELECT key FROM command")} == {
        "open",
        "hold",
        "good 0",
        "good 1",
        "good 2",
        "last",
    }
    for number in range(3):
        assert results[f"good {number}"]["ids"].keys() == {f"t{number}"}


async def test_a_command_alone_that_is_refused_after_it_wrote_leaves_nothing(running, look) -> None:
    halfway = Execute("INSERT INTO event(at, actor, what) VALUES (1, 'x', 'half')", (), Conflict("no", "Stop."))
    async with running() as store:
        with pytest.raises(Conflict):
            await store.execute(halfway, key("half"))
        await open_session(store)
    assert look("SELECT what FROM event") == [("session_created",)]


async def test_the_same_key_gives_the_first_result_in_the_same_batch_and_later_and_after_a_restart(
    running, draft, look
) -> None:
    results = Results()
    async with running() as store:
        session_id = await open_session(store)
        plan = PlanTasks("test", session_id, (draft("t"),))
        async with trio.open_nursery() as nursery:
            hold = await held(store, nursery, results)
            for number in range(3):
                nursery.start_soon(results.take, store, plan, str(number), key("same"))
            await wait_all_tasks_blocked()
            hold.go.set()
        again = await store.execute(plan, key("same"))
        assert results["0"] == results["1"] == results["2"] == again
    async with running() as store:
        from_another_server = PlanTasks("somebody else", session_id, (draft("t"),))
        assert await store.execute(from_another_server, key("same")) == again
        assert await open_session(store) == session_id
    assert look("SELECT count(*) FROM task") == [(1,)]
    assert look("SELECT count(*) FROM event WHERE what = 'created'") == [(1,)]


def look_up(connection: sqlite3.Connection, result: Any) -> tuple[Any, int]:
    return result, connection.execute("SELECT count(*) FROM event WHERE what != 'held'").fetchone()[0]


async def test_a_query_reads_the_effect_of_its_command_and_nothing_later(running) -> None:
    hold = Hold()
    insert = Execute("INSERT INTO event(at, actor, what) VALUES (1, 'x', 'y')")
    seen: dict[str, Any] = {}

    async def take(store: Store, name: str) -> None:
        seen[name] = await store.execute_and_read(insert, key(name), look_up)

    async with running() as store:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.execute, hold, key("hold"))
            assert await trio.to_thread.run_sync(hold.begun.wait, 30)
            for name in ("one", "two", "three"):
                nursery.start_soon(take, store, name)
                await wait_all_tasks_blocked()
            hold.go.set()
        # All three were in one commit, and each saw what stood when it was applied.
        assert seen == {name: (insert.sql, (insert.sql, n)) for n, name in enumerate(("one", "two", "three"), 1)}
        assert store.statistics().commits == 2
        # The result of a key stays; what is read is what stands now.
        assert await store.execute_and_read(insert, key("one"), look_up) == (insert.sql, (insert.sql, 3))


async def test_what_a_query_raises_is_its_callers_alone_and_nothing_of_its_command_is_kept(running, look) -> None:
    hold = Hold()
    insert = Execute("INSERT INTO event(at, actor, what) VALUES (1, 'x', 'y')")
    results = Results()

    def fail(_connection: sqlite3.Connection, _result: str) -> None:
        raise NotFound("it is gone", "Look again.")

    async with running() as store:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.execute, hold, key("hold"))
            assert await trio.to_thread.run_sync(hold.begun.wait, 30)
            nursery.start_soon(results.take, store, insert, "before")
            await wait_all_tasks_blocked()

            async def read() -> None:
                with pytest.raises(NotFound, match="it is gone"):
                    await store.execute_and_read(insert, key("read"), fail)

            nursery.start_soon(read)
            await wait_all_tasks_blocked()
            nursery.start_soon(results.take, store, insert, "after")
            await wait_all_tasks_blocked()
            hold.go.set()
        assert results == {"before": insert.sql, "after": insert.sql}
        assert look("SELECT count(*) FROM event WHERE what = 'y'") == [(2,)]
        assert await store.recorded(key("read")) is None
        assert await store.execute_and_read(insert, key("read"), look_up) == (insert.sql, (insert.sql, 3))


async def test_the_same_key_with_another_wish_is_refused_and_changes_nothing(running, draft, look) -> None:
    async with running() as store:
        session_id = await open_session(store)
        await store.execute(PlanTasks("test", session_id, (draft("t"),)), key("same"))
        for other in (
            PlanTasks("test", session_id, (draft("u"),)),
            PlanTasks("test", session_id, (draft("t"),), "task_000000000000"),
            SetSessionStatus("test", session_id, SessionStatus.CLOSED),
        ):
            with pytest.raises(KeyConflict, match="new key"):
                await store.execute(other, key("same"))
        await store.execute(PlanTasks("test", session_id, (draft("u"),)), CommandKey("other origin", "same"))
        await store.execute(PlanTasks("test", session_id, (draft("u"),)), key("same").step(2))
    assert [title for (title,) in look("SELECT title FROM task ORDER BY seq")] == ["t", "u", "u"]


async def test_a_refusal_is_not_remembered_so_the_same_key_may_succeed_later(running, draft) -> None:
    async with running() as store:
        session_id = await open_session(store)
        await store.execute(SetSessionStatus("test", session_id, SessionStatus.CLOSED), key("close"))
        plan = PlanTasks("test", session_id, (draft("t"),))
        with pytest.raises(Conflict, match="is closed"):
            await store.execute(plan, key("plan"))
        await store.execute(SetSessionStatus("test", session_id, SessionStatus.OPEN), key("reopen"))
        assert (await store.execute(plan, key("plan")))["ids"]


async def test_a_cancelled_callers_command_is_skipped_if_it_has_not_begun(running, draft, look) -> None:
    results = Results()
    async with running() as store:
        session_id = await open_session(store)
        async with trio.open_nursery() as nursery:
            hold = await held(store, nursery, results)
            with trio.CancelScope() as scope:
                nursery.start_soon(results.take, store, PlanTasks("test", session_id, (draft("other"),)), "other")
                await wait_all_tasks_blocked()
                scope.cancel()
                await store.execute(PlanTasks("test", session_id, (draft("skipped"),)), key("skipped"))
            async with trio.open_nursery() as callers:
                callers.start_soon(results.take, store, PlanTasks("test", session_id, (draft("gone"),)), "gone")
                await wait_all_tasks_blocked()
                callers.cancel_scope.cancel()
            hold.go.set()
    assert [title for (title,) in look("SELECT title FROM task")] == ["other"]
    assert "gone" not in results


async def test_who_is_cancelled_in_the_round_of_its_call_leaves_nothing_and_holds_up_nobody(
    running, draft, look
) -> None:
    """The first one to submit in a round hands over for all of them."""
    results = Results()
    async with running() as store:
        session_id = await open_session(store)
        for turn in range(5):
            async with trio.open_nursery() as nursery:
                scope = trio.CancelScope()

                async def gone(turn: int = turn, scope: trio.CancelScope = scope) -> None:
                    with scope:
                        await store.execute(PlanTasks("test", session_id, (draft("gone"),)), key(f"gone {turn}"))

                async def cancel(turn: int = turn, scope: trio.CancelScope = scope) -> None:
                    scope.cancel()
                    await results.take(
                        store, PlanTasks("test", session_id, (draft("stays"),)), f"stays {turn}", key(f"stays {turn}")
                    )

                nursery.start_soon(gone)
                nursery.start_soon(cancel)
            assert results[f"stays {turn}"]["ids"]
        assert store.statistics().queue_depth == 0
    # Where the one that is cancelled comes second, its own call ends before it has begun.
    assert look("SELECT DISTINCT title FROM task") == [("stays",)]


async def test_a_cancelled_callers_command_that_has_begun_keeps_its_effect(running, look) -> None:
    async with running() as store:
        async with trio.open_nursery() as nursery:
            hold = Hold()
            nursery.start_soon(store.execute, hold, key("hold"))
            assert await trio.to_thread.run_sync(hold.begun.wait, 30)
            nursery.cancel_scope.cancel()
        hold.go.set()
        assert await store.execute(hold, key("hold")) == "held"
    assert look("SELECT count(*) FROM event WHERE what = 'held'") == [(1,)]


async def test_a_full_disk_fails_the_whole_batch_and_the_store_goes_on_when_there_is_space(
    running, draft, look
) -> None:
    results = Results()
    async with running() as store:
        session_id = await open_session(store)
        big = "x" * 20_000
        await store.execute(Execute("PRAGMA max_page_count = 1"), key("shrink"))  # it stays at what is used now
        async with trio.open_nursery() as nursery:
            hold = await held(store, nursery, results)
            for number in range(5):
                plan = PlanTasks("test", session_id, (draft(f"t{number}", description=big),))
                nursery.start_soon(results.take, store, plan, f"plan {number}")
            await wait_all_tasks_blocked()
            hold.go.set()
        for number in range(5):
            assert isinstance(results[f"plan {number}"], StoreUnavailable)
            assert "Free some disk space" in str(results[f"plan {number}"])
        assert look("SELECT count(*) FROM task") == [(0,)]
        assert look("SELECT count(*) FROM command WHERE key LIKE 'plan%'") == [(0,)]
        assert store.statistics().errors["commit", "unavailable"] == 1
        await store.execute(Execute("PRAGMA max_page_count = 1000000"), key("grow"))
        plan = PlanTasks("test", session_id, (draft("t0", description=big),))
        assert (await store.execute(plan, key("plan 0")))["ids"]
    assert look("PRAGMA integrity_check") == [("ok",)]


FULL = """
import resource, sys
from pathlib import Path
import trio
from vespera_agents.store.commands import ClaimTask, FinishTask, OpenSession, PlanTasks
from vespera_agents.store.errors import StoreUnavailable
from vespera_agents.store.store import Store
from vespera_agents.store.transaction import CommandKey
from vespera_agents.work.drafts import TaskDraft

async def main(directory):
    store = Store(directory / "vespera.db", directory / "artifacts")
    answers = []
    async def plan(name):
        draft = TaskDraft(key=name, title=name, description="x" * 20_000)
        try:
            await store.execute(PlanTasks("test", session_id, (draft,)), CommandKey("test", name))
            answers.append("kept")
        except StoreUnavailable:
            answers.append("unavailable")
    async with trio.open_nursery() as nursery:
        await nursery.start(store.run)
        opened = await store.execute(OpenSession("test", "/somewhere"), CommandKey("test", "open"))
        session_id = opened["session_id"]
        used = (directory / "vespera.db-wal").stat().st_size
        # Nothing may be written behind this: SQLite learns of it when it commits.
        resource.setrlimit(resource.RLIMIT_FSIZE, (used + 10_000, resource.RLIM_INFINITY))
        async with trio.open_nursery() as callers:
            for number in range(5):
                callers.start_soon(plan, f"full {number}")
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        await plan("after")
        nursery.cancel_scope.cancel()
    print(*answers)

trio.run(main, Path(sys.argv[1]))
"""


def test_a_commit_that_the_disk_refuses_is_nobodys_commit(database: Path, look) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(database.parent)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["unavailable"] * 5 + ["kept"]
    assert look("SELECT title FROM task") == [("after",)]
    assert sorted(look("SELECT key FROM command")) == [("after",), ("open",)]
    assert look("PRAGMA integrity_check") == [("ok",)]


def take_away(database: Path, *, replace: bool) -> None:
    database.rename(database.with_name("before.db"))
    if replace:
        connect(database).close()


@pytest.mark.parametrize("how", ["replaced", "removed"])
async def test_a_database_file_that_is_no_longer_ours_is_not_written(running, draft, database: Path, how: str) -> None:
    async with running() as store:
        session_id = await open_session(store)
        take_away(database, replace=how == "replaced")
        with pytest.raises(StoreLost, match="removed or replaced"):
            await store.execute(PlanTasks("test", session_id, (draft("t"),)), key("plan"))
        with pytest.raises(StoreLost):
            await store.read(lambda connection: connection.execute("SELECT 1").fetchone())
        if how == "removed":
            assert [path.name for path in database.parent.glob("vespera.db")] == []


async def test_a_database_of_a_newer_version_is_left_alone(running, database: Path, look) -> None:
    connection = connect(database)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.RaisesGroup(pytest.RaisesExc(SchemaTooNew, match="upgrade")):
        async with running():
            pytest.fail("it must not open")
    assert look("PRAGMA user_version") == [(99,)]
    assert look("SELECT * FROM sqlite_master") == []


@pytest.mark.parametrize("what", ["garbage", "directory", "missing directory"])
async def test_what_is_no_database_cannot_be_opened(running, tmp_path: Path, what: str) -> None:
    database = tmp_path / "strange.db"
    if what == "garbage":
        database.write_bytes(b"This is no database. " * 500)
    elif what == "directory":
        database.mkdir()
    else:
        database = tmp_path / "nowhere" / "strange.db"
    with pytest.RaisesGroup(StoreUnavailable):
        async with running(Store(database, tmp_path)):
            pytest.fail("it must not open")


async def test_another_process_that_keeps_the_lock_too_long_is_said(running, database, monkeypatch) -> None:
    monkeypatch.setattr("vespera_agents.store.writer.BUSY_TIMEOUT_SECONDS", 0.05)
    async with running() as store:
        await open_session(store)
        with sqlite3.connect(database, isolation_level=None) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreUnavailable, match="try again"):
                await open_session(store, "second")
            other.execute("ROLLBACK")
        assert await open_session(store, "second")
        other.close()


async def test_a_result_that_json_cannot_carry_is_a_fault_of_that_command(running, look) -> None:
    @dataclass(frozen=True)
    class Strange:
        by: str = "test"

        def fingerprint(self) -> bytes:
            return b""

        def apply(self, transaction: Transaction) -> object:
            transaction.event("strange")
            return object()

    async with running() as store:
        with pytest.raises(ValueError, match="serialize"):
            await store.execute(Strange(), key("strange"))
    assert look("SELECT * FROM event") == []


async def test_what_is_submitted_in_one_round_of_the_loop_shares_a_commit(running, draft) -> None:
    async with running() as store:
        session_id = await open_session(store)
        before = store.statistics().commits
        interval = sys.getswitchinterval()
        # A loop that is held up while it hands over, as on a busy machine, lets the thread begin with what is there.
        sys.setswitchinterval(60.0)
        try:
            async with trio.open_nursery() as nursery:
                for number in range(40):
                    plan = PlanTasks("test", session_id, (draft(f"t{number}"),))
                    nursery.start_soon(store.execute, plan, key(f"plan {number}"))
        finally:
            sys.setswitchinterval(interval)
        assert store.statistics().commits == before + 1


async def test_a_plan_without_a_session_means_the_only_open_one(running, draft) -> None:
    async with running() as store:
        plan = PlanTasks("test", None, (draft("a"), draft("b", "a"), draft("c", done=True), draft("d", "c")))
        with pytest.raises(NotFound, match="no session is open"):
            await store.execute(plan, key("too early"))
        session_id = await open_session(store)
        planned = await store.execute(plan, key("plan"))
        ids = planned["ids"]
        assert (planned["session_id"], planned["parent_id"]) == (session_id, None)
        assert planned["ready"] == [ids["a"], ids["d"]]
        below = await store.execute(PlanTasks("test", None, (draft("e"),), ids["b"]), key("below"))
        assert (below["parent_id"], below["ready"]) == (ids["b"], [])
        await store.execute(OpenSession("test", "/elsewhere", "second", fresh=True), key("second session"))
        with pytest.raises(Conflict, match=r"several sessions are open: .*second"):
            await store.execute(plan, key("ambiguous"))
        # The same wish again has its first result, whatever has happened since.
        assert await store.execute(plan, key("plan")) == planned


@dataclass(frozen=True)
class Unlinking:
    """A command that removes a file of the database while it is applied."""

    path: Path
    by: str = "test"

    def fingerprint(self) -> bytes:
        return str(self.path).encode()

    def apply(self, transaction: Transaction) -> str:
        transaction.event("unlinked")
        self.path.unlink()
        return "done"


@pytest.mark.parametrize("directory", ["new", "settled", "of whole seconds"])
@pytest.mark.parametrize("suffix", ["", "-wal"])
async def test_a_change_that_goes_into_a_file_without_a_name_is_not_acknowledged(
    running, monkeypatch, database: Path, suffix: str, directory: str
) -> None:
    if directory == "of whole seconds":
        second = time.time_ns() // 10**9 * 10**9
        monkeypatch.setattr(holding, "_listing_of", lambda _: (1, 2, second))
    store = Store(database, database.parent)
    async with running(store):
        await open_session(store)
        if directory != "new":
            # From here on only the directory is asked, if that tells.
            await trio.sleep(2e-9 * holding.TICK_NANOSECONDS)
            await open_session(store, "later")
        with pytest.raises(StoreLost, match="removed or replaced"):
            await store.execute(Unlinking(database.with_name(f"vespera.db{suffix}")), key("unlink"))
        with pytest.raises(StoreLost):
            await open_session(store, "second")
        assert not store.holds_its_file()
        assert store.statistics().queue_depth == 0
    # Opened anew it goes on with what is there.
    async with running(store):
        assert store.holds_its_file()
        assert (await open_session(store, "third")).startswith("session_")


@pytest.fixture
def linked_to(database: Path) -> Path:
    """Where a link leads that stands for the database."""
    elsewhere = database.parent / "elsewhere"
    elsewhere.mkdir()
    database.symlink_to(elsewhere / "vespera.db")
    return elsewhere / "vespera.db"


async def test_a_database_behind_a_link_is_missed_though_nothing_changed_beside_the_link(
    running, linked_to: Path
) -> None:
    async with running() as store:
        await open_session(store)
        await trio.sleep(2e-9 * holding.TICK_NANOSECONDS)
        await open_session(store, "later")
        with pytest.raises(StoreLost, match="removed or replaced"):
            await store.execute(Unlinking(linked_to), key("unlink"))


async def test_those_who_wait_behind_a_lost_database_are_told_at_once(running, database: Path) -> None:
    results = Results()
    async with running() as store:
        async with trio.open_nursery() as nursery:
            hold = await held(store, nursery, results)
            for number in range(3):
                nursery.start_soon(results.take, store, OpenSession("test", "/s", f"{number}"), f"{number}")
            await wait_all_tasks_blocked()
            take_away(database, replace=False)
            hold.go.set()
        assert {type(results[f"{number}"]) for number in range(3)} == {StoreLost}


async def test_a_clock_that_is_set_back_makes_no_negative_times(running, draft, database: Path, look) -> None:
    now = 10_000.0
    heard: list[StatusChange] = []
    async with running(Store(database, database.parent, clock=lambda: now)) as store:
        store.subscribe(heard.extend)
        session_id = await open_session(store)
        planned = await store.execute(PlanTasks("test", session_id, (draft("a"),)), key("plan"))
        (task,) = planned["ids"].values()
        now -= 3_600
        await store.execute(ClaimTask("test", task, "srv"), key("claim"))
        now -= 3_600
        await store.execute(FinishTask("test", task, "srv", TaskStatus.COMPLETED, summary="s"), key("finish"))
    assert [change.queued_seconds for change in heard] == [None, 0.0, None]
    assert [change.worked_seconds for change in heard] == [None, None, 0.0]
    assert look("SELECT finished >= started FROM task") == [(1,)]
    assert look("SELECT at FROM event ORDER BY seq DESC LIMIT 1") == [(2_800.0,)], "the audit trail tells what it was"
