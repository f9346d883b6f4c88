"""Readers and queries: committed state only, every filter alone and together, pages that stay true."""

from __future__ import annotations

import itertools
import re
import sqlite3
import threading
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from outcome import Value

from vespera_agents.store import queries, readers
from vespera_agents.store.commands import (
    AddArtifacts,
    CancelTask,
    ClaimTask,
    FinishTask,
    NewArtifact,
    OpenSession,
    SetSessionStatus,
    UpdateTask,
)
from vespera_agents.store.errors import StoreClosed, StoreUnavailable
from vespera_agents.store.queries import EXACT_TOTAL_MAX, TaskFilter
from vespera_agents.store.readers import GIVE_WAY_SECONDS, READERS_MAX, Readers
from vespera_agents.store.transaction import CommandKey, Transaction
from vespera_agents.work.errors import InvalidInput, NotFound
from vespera_agents.work.models import ArtifactKind, CommandLine, SessionStatus, Task, TaskStatus


def key(name: str) -> CommandKey:
    return CommandKey("test", name)


@dataclass(frozen=True)
class WriteAndHold:
    """A command that has written when it waits."""

    written: threading.Event = field(default_factory=threading.Event)
    go: threading.Event = field(default_factory=threading.Event)
    by: str = "test"

    def fingerprint(self) -> bytes:
        return b""

    def apply(self, transaction: Transaction) -> str:
        transaction.event("held")
        self.written.set()
        assert self.go.wait(30)
        return "held"


def count_events(connection: sqlite3.Connection) -> int:
    return connection.execute("SELECT count(*) FROM event").fetchone()[0]


def endless(connection: sqlite3.Connection) -> int:
    sql = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"
    return connection.execute(sql).fetchone()[0]


async def test_readers_see_what_is_committed_and_do_not_wait_for_the_writer(running) -> None:
    hold = WriteAndHold()
    async with running() as store, trio.open_nursery() as nursery:
        nursery.start_soon(store.execute, hold, key("hold"))
        assert await trio.to_thread.run_sync(hold.written.wait, 30)
        assert await store.read(count_events) == 0
        hold.go.set()
        await store.execute(OpenSession("test", "/somewhere"), key("open"))
        assert await store.read(count_events) == 2


async def test_a_query_sees_one_state_from_beginning_to_end(running) -> None:
    async with running() as store:
        between, go = threading.Event(), threading.Event()

        def twice(connection: sqlite3.Connection) -> tuple[int, int]:
            first = count_events(connection)
            between.set()
            assert go.wait(30)
            return first, count_events(connection)

        results: list[tuple[int, int]] = []

        async def read() -> None:
            results.append(await store.read(twice))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            assert await trio.to_thread.run_sync(between.wait, 30)
            await store.execute(OpenSession("test", "/somewhere"), key("open"))
            go.set()
        assert results == [(0, 0)]
        assert await store.read(count_events) == 1


async def test_a_cancelled_query_is_interrupted_and_its_connection_is_used_again(running) -> None:
    async with running() as store:
        for _ in range(2 * READERS_MAX):
            with trio.move_on_after(0.01) as scope:
                await store.read(endless)
            assert scope.cancelled_caught
        with trio.fail_after(10):
            assert await store.read(count_events) == 0
            # Only when the endless ones have ended is there room for all of these at once.
            async with trio.open_nursery() as nursery:
                for _ in range(READERS_MAX):
                    nursery.start_soon(store.read, count_events)


async def test_who_waits_gets_the_rows_whether_the_loop_stood_aside_long_enough_or_not(running) -> None:
    def after(connection: sqlite3.Connection, seconds: float) -> tuple[float, int]:
        threading.Event().wait(seconds)
        return seconds, count_events(connection)

    async with running() as store:
        for _ in range(50):
            # Around the moment for which the loop stands aside, so that each order of the two threads comes up.
            for part in (0.0, 0.8, 0.95, 1.0, 1.05, 1.2, 4.0):
                seconds = part * GIVE_WAY_SECONDS
                with trio.fail_after(10):
                    assert await store.read(after, seconds) == (seconds, 0)
        assert store._readers._limiter.borrowed_tokens == 0


async def test_what_comes_in_the_moment_when_the_loop_waits_no_longer_is_not_lost() -> None:
    limiter = trio.CapacityLimiter(1)
    reading = readers._Reading(limiter)
    await limiter.acquire_on_behalf_of(reading)
    lock = reading._done

    class JustTooLate:
        def release(self) -> None:
            lock.release()

        def acquire(self, *, blocking: bool = True, timeout: float = -1) -> bool:
            if blocking:
                assert timeout == GIVE_WAY_SECONDS
                reading.deliver(Value(7))
                return False
            return lock.acquire(blocking=False)

    reading._done = JustTooLate()
    reading.stand_aside()
    with trio.fail_after(5):
        assert await reading.answer() == 7
    assert limiter.borrowed_tokens == 0


async def test_the_loop_goes_on_while_a_query_takes_long(running) -> None:
    go = threading.Event()
    async with running() as store, trio.open_nursery() as nursery:
        nursery.start_soon(store.read, lambda _: go.wait(30))
        with trio.fail_after(10):
            for _ in range(100):
                await store.execute(OpenSession("test", "/somewhere"), key("open"))
                await store.read(count_events)
        go.set()


async def test_where_no_thread_can_be_had_the_reader_is_not_lost(running, monkeypatch) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    async with running() as store:
        for _ in range(READERS_MAX + 1):
            with monkeypatch.context() as patched:
                patched.setattr(readers, "start_thread_soon", refuse)
                with pytest.raises(RuntimeError, match="start new thread"):
                    await store.read(count_events)
        with trio.fail_after(10):
            assert await store.read(count_events) == 0


def test_a_query_that_was_given_up_may_end_after_the_run() -> None:
    async def main() -> readers._Reading:
        reading = readers._Reading(trio.CapacityLimiter(1))
        reading.stand_aside()
        with trio.move_on_after(0):
            await reading.answer()
        assert reading.is_abandoned()
        return reading

    trio.run(main).deliver(Value(1))


async def test_a_query_cannot_write(running) -> None:
    async with running() as store:
        with pytest.raises(StoreUnavailable, match="readonly"):
            await store.read(lambda connection: connection.execute("DELETE FROM event"))
        assert store.statistics().errors["read", "unavailable"] == 1
        with pytest.raises(NotFound):
            await store.read(queries.session, "session_no")
        assert store.statistics().errors["read", "unavailable"] == 1


async def test_a_store_that_stops_lets_a_running_query_end(running) -> None:
    begun, go = threading.Event(), threading.Event()

    def slow(connection: sqlite3.Connection) -> int:
        begun.set()
        assert go.wait(30)
        return count_events(connection)

    results: list[int] = []
    async with trio.open_nursery() as nursery:
        async with running() as store:

            async def read() -> None:
                results.append(await store.read(slow))

            nursery.start_soon(read)
            assert await trio.to_thread.run_sync(begun.wait, 30)
        go.set()
    assert results == [0]


async def test_closed_readers_refuse(database) -> None:
    with pytest.raises(StoreClosed, match="stopped before"):
        await Readers(database).read(count_events)


# ---- queries


def page(bench, limit: int = 50, cursor: str | None = None, **wanted: Any) -> queries.TaskPage:
    return queries.task_page(bench.connection, TaskFilter(**wanted), limit, cursor)


def titles(bench, **wanted: Any) -> list[str]:
    return [task.title for task in page(bench, **wanted).tasks]


@pytest.fixture
def varied(bench, draft):
    """A bench with one task of each sort: `kept` maps the titles to ids."""
    inner = draft("inner", specialist="coder", task_type="testing", complexity="trivial")
    deep = draft("deep", subtasks=(draft("deepest"),))
    drafts = (
        draft("root", subtasks=(inner, deep)),
        draft("Ärger 100%", description="Über_all gibt es STRASSE", specialist="tester"),
        draft("waits", "root", task_type="review", complexity="complex"),
        draft("done", specialist="tester", done=True),
        draft("busy"),
    )
    names = ("root", "inner", "deep", "deepest", "umlaut", "waits", "done", "busy")
    bench.kept = dict(zip(names, bench.plan(*drafts), strict=True))
    bench.apply(ClaimTask("test", bench.kept["busy"], "srv"))
    other = bench.apply(OpenSession("test", "/elsewhere", fresh=True))["session_id"]
    bench.other, bench.session_id = other, bench.session_id
    return bench


def test_every_filter_works_alone(varied) -> None:
    assert titles(varied) == ["root", "inner", "deep", "deepest", "Ärger 100%", "waits", "done", "busy"]
    assert titles(varied, session_id=varied.session_id) == titles(varied)
    assert titles(varied, session_id=varied.other) == []
    assert titles(varied, status=("completed", "in_progress")) == ["done", "busy"]
    assert titles(varied, task_type=("testing", "review")) == ["inner", "waits"]
    assert titles(varied, specialist=("tester",)) == ["Ärger 100%", "done"]
    assert titles(varied, specialist=("implementer",)) == ["inner"]
    assert titles(varied, complexity=("trivial", "complex")) == ["inner", "waits"]
    assert titles(varied, parent_id=varied.kept["root"]) == ["inner", "deep"]
    assert titles(varied, parent_id=varied.kept["root"], include_children=True) == ["inner", "deep", "deepest"]
    assert titles(varied, ready=True) == ["inner", "deepest", "Ärger 100%"]
    assert titles(varied, ready=False) == ["root", "deep", "waits", "done", "busy"]
    assert titles(varied, text="DEEP") == ["deep"]
    assert titles(varied, text="DEEP*") == ["deep", "deepest"]
    created = page(varied).tasks[0].created
    assert len(titles(varied, created_after=created, created_before=created + 0.1)) == 8
    assert titles(varied, created_before=created) == []
    assert titles(varied, updated_after=created + 0.1) == ["busy"]
    assert len(titles(varied, updated_before=created + 0.1)) == 7


@pytest.mark.parametrize("text", ["ärger", "ÄRGER", "arger", "100%", "über_all", "straße", "100 gibt"])
def test_words_are_found_whatever_their_case_accents_and_order(varied, text: str) -> None:
    assert titles(varied, text=text) == ["Ärger 100%"]


def test_text_is_found_in_summaries_and_wildcards_are_only_letters(varied) -> None:
    finish = FinishTask("test", varied.kept["busy"], "srv", TaskStatus.COMPLETED, summary="All went well")
    varied.apply(finish)
    assert titles(varied, text="went") == ["busy"]
    assert titles(varied, text="%_%") == []
    assert titles(varied, text="wen") == []


FILTERS = st.fixed_dictionaries(
    {},
    optional={
        "status": st.lists(st.sampled_from(TaskStatus), min_size=1, max_size=2).map(tuple),
        "task_type": st.lists(st.sampled_from(["standard", "testing", "review"]), min_size=1, max_size=2).map(tuple),
        "specialist": st.lists(st.sampled_from(["generic", "tester", "nobody"]), min_size=1, max_size=2).map(tuple),
        "complexity": st.lists(st.sampled_from(["moderate", "trivial"]), min_size=1, max_size=2).map(tuple),
        "ready": st.booleans(),
        "text": st.sampled_from(["e*", "deep*", "ä*"]),
        "parent": st.tuples(st.sampled_from(["root", "deep"]), st.booleans()),
    },
)


def words_of(task: Task) -> list[str]:
    return re.findall("[a-zäöü]+", f"{task.title} {task.description}".casefold())


def test_filters_work_together_and_pages_of_any_size_hold_everything_once(varied) -> None:
    everything = page(varied).tasks
    below = {"root": ({"inner", "deep"}, {"inner", "deep", "deepest"}), "deep": ({"deepest"}, {"deepest"})}

    def passes(task: Task, wanted: dict[str, Any]) -> bool:
        parent, deeply = wanted.get("parent", (None, False))
        return (
            all(getattr(task, name) in wanted[name] for name in wanted.keys() & {"status", "task_type", "specialist"})
            and task.complexity in wanted.get("complexity", (task.complexity,))
            and task.ready == wanted.get("ready", task.ready)
            and any(word.startswith(wanted.get("text", "")[:-1]) for word in words_of(task))
            and (parent is None or task.title in below[parent][deeply])
        )

    @settings(max_examples=150, deadline=None)
    @given(FILTERS, st.integers(1, 4))
    def check(wanted: dict[str, Any], limit: int) -> None:
        chosen = dict(wanted)
        if "parent" in chosen:
            name, deeply = chosen.pop("parent")
            chosen |= {"parent_id": varied.kept[name], "include_children": deeply}
        expected = [task for task in everything if passes(task, wanted)]
        found: list[Task] = []
        cursor = None
        for _ in range(10):
            got = page(varied, limit, cursor, **chosen)
            assert (got.total, got.total_is_exact) == (len(expected), True)
            found.extend(got.tasks)
            if (cursor := got.next_cursor) is None:
                break
        assert found == expected

    check()


def test_a_cursor_stays_true_while_tasks_are_added_and_changed(bench, draft) -> None:
    first = bench.plan(*(draft(str(number)) for number in range(5)))
    one = page(bench, 2, status=("pending",))
    bench.plan(draft("new"))
    bench.apply(CancelTask("test", first[0], "no"))
    two = page(bench, 2, one.next_cursor, status=("pending",))
    three = page(bench, 2, two.next_cursor, status=("pending",))
    assert [task.title for task in (*one.tasks, *two.tasks, *three.tasks)] == ["0", "1", "2", "3", "4", "new"]
    assert three.next_cursor is None


@pytest.mark.parametrize(
    "cursor", ["", "x", "Ä", "dGFzazp4", "dGFzazotMQ==", "b3RoZXI6NQ==", "dGFzazo5OTk5OTk5OTk5OTk5OTk5OTk5OTk="]
)
def test_a_cursor_that_was_never_given_out_is_refused(bench, cursor: str) -> None:
    with pytest.raises(InvalidInput, match="Leave it out"):
        page(bench, cursor=cursor)


def test_totals_are_counted_up_to_a_limit(bench, draft) -> None:
    bench.plan(*(draft(str(number)) for number in range(EXACT_TOTAL_MAX)))
    assert (page(bench, 1).total, page(bench, 1).total_is_exact) == (EXACT_TOTAL_MAX, True)
    bench.plan(draft("one more"))
    assert (page(bench, 1).total, page(bench, 1).total_is_exact) == (EXACT_TOTAL_MAX, False)


def test_a_task_is_read_whole_by_id_and_by_unique_prefix(bench, draft) -> None:
    line = CommandLine(text="make 'all of it'", timeout_seconds=5)
    shell = CommandLine(text="a | b", shell=True)  # noqa: S604 - not run
    (identifier,) = bench.plan(
        draft("t", description="text", run=line, when=shell, gates=(line, shell), due=5.0, estimated_effort="1 day")
    )
    task = queries.task(bench.connection, identifier)
    assert (task.run, task.when, task.gates) == (line, shell, (line, shell))
    assert (task.description, task.due, task.estimated_effort, task.key) == ("text", 5.0, "1 day", "t")
    assert Task.model_validate(task.model_dump()) == task
    assert queries.task(bench.connection, identifier[:-1]) == queries.task(bench.connection, identifier[5:]) == task
    assert queries.tasks(bench.connection, ["task_no", identifier]) == [task]


def test_an_ambiguous_or_unknown_task_is_refused_with_what_is_near(bench, draft) -> None:
    one, two = bench.plan(draft("sweep the floor"), draft("b"))
    with pytest.raises(NotFound, match="several task ids") as several:
        queries.task(bench.connection, "task_000")
    assert one in str(several.value)
    assert two in str(several.value)
    with pytest.raises(NotFound, match=f"Near it: {one}"):
        queries.task(bench.connection, "floor")
    with pytest.raises(NotFound, match=r"Near it: .*Find it") as near:
        queries.task(bench.connection, f"{one[:-1]}f")
    assert one in str(near.value)
    for nothing in ("", "task_", "task_fffffffff"):
        with pytest.raises(NotFound):
            queries.task(bench.connection, nothing)
    with pytest.raises(NotFound, match="List them"):
        queries.task(bench.connection, "ffffffff")
    with pytest.raises(NotFound):
        queries.task(bench.connection, one, "session_other")


def test_a_session_is_read_in_the_order_of_its_plan(varied, draft) -> None:
    ordered = ["root", "inner", "deep", "deepest", "Ärger 100%", "waits", "done", "busy"]
    assert [task.title for task in queries.session_tasks(varied.connection, varied.session_id)] == ordered
    varied.plan(draft("late"), parent=varied.kept["root"])
    subtree = queries.session_tasks(varied.connection, varied.session_id, varied.kept["root"])
    assert [task.title for task in subtree] == ["root", "inner", "deep", "deepest", "late"]
    ready = queries.ready_tasks(varied.connection, varied.session_id, 2)
    assert [task.title for task in ready] == ["inner", "deepest"]


def test_sessions_are_read_the_newest_first(bench) -> None:
    closed = bench.apply(OpenSession("test", "/x", "second"))["session_id"]
    bench.apply(SetSessionStatus("test", closed, SessionStatus.CLOSED))
    found = queries.sessions(bench.connection)
    assert [one.id for one in found] == [closed, bench.session_id]
    assert queries.sessions(bench.connection, 1) == found[:1]
    assert queries.session(bench.connection, closed).status is SessionStatus.CLOSED
    with pytest.raises(NotFound, match="List them"):
        queries.session(bench.connection, "session_no")


def test_dependencies_of_any_number_of_tasks_are_read(varied) -> None:
    (one,) = queries.dependencies_of(varied.connection, [varied.kept["waits"]])
    assert one.on_task_id == varied.kept["root"]
    assert (one.state, one.mandatory) == ("open", True)
    many = [f"task_{number}" for number in range(1_200)]
    assert queries.dependencies_of(varied.connection, [*many, varied.kept["waits"]]) == [one]


def test_artifacts_are_found_by_task_by_session_and_by_prefix(bench, draft) -> None:
    (task,) = bench.plan(draft("t"))

    def new(name: str, sha256: str) -> NewArtifact:
        return NewArtifact(ArtifactKind.TEST, name, "text/plain", 5, sha256)

    ids = [
        bench.apply(AddArtifacts("test", bench.session_id, on, (new(name, sha256),)))[0]
        for on, name, sha256 in ((task, "a", "ab" * 32), (None, "b", "ac" * 32), (task, "c", "ab" * 32))
    ]
    assert [one.name for one in queries.artifacts_of(bench.connection, [task])] == ["a", "c"]
    assert [one.name for one in queries.latest_artifacts(bench.connection, bench.session_id, 2)] == ["c", "b"]
    assert queries.artifact(bench.connection, ids[0]).name == "a"
    assert queries.artifact(bench.connection, "abab").name == "c"
    assert queries.artifact(bench.connection, "ac" * 32).name == "b"
    for reference, message in (("ac", "too short"), ("artifact_", "several"), ("dddd", "there is no artifact")):
        with pytest.raises(NotFound, match=message):
            queries.artifact(bench.connection, reference)


def test_the_standing_of_a_workspace_is_counted(varied) -> None:
    counts = dict.fromkeys(queries.status_counts(varied.connection))
    assert counts.keys() == {
        ("pending", "implementer", False, 1),
        ("pending", "generic", False, 2),
        ("pending", "tester", False, 1),
        ("completed", "tester", False, 1),
        ("in_progress", "generic", False, 1),
    }
    assert queries.status_counts(varied.connection, varied.other) == []
    since = dict(queries.oldest_waiting(varied.connection))
    assert since.keys() == {"pending", "in_progress"}
    assert queries.claims(varied.connection) == {"srv": [varied.kept["busy"]]}


def test_events_are_read_page_by_page(varied) -> None:
    whole = queries.events_of(varied.connection, varied.session_id)
    assert [event.seq for event in whole] == sorted(event.seq for event in whole)
    pages = itertools.chain.from_iterable(
        queries.events_of(varied.connection, varied.session_id, after, 1) for after in [0, *(one.seq for one in whole)]
    )
    assert list(pages) == whole
    claimed = [event for event in whole if event.task_id == varied.kept["busy"]][-1]
    assert (claimed.what, claimed.before, claimed.after, claimed.actor) == ("status", "pending", "in_progress", "test")


def test_a_filter_is_a_value() -> None:
    assert replace(TaskFilter(), ready=True) == TaskFilter(ready=True)
    assert UpdateTask("a", "b", "c") == UpdateTask("a", "b", "c")
