"""Queries among whatever rows random commands leave: what is derived stays true, and every filter tells the truth.

The model is a filter in plain Python over all rows. Words are looked for as whole words, whatever their case.
"""

from __future__ import annotations

import re
import sqlite3
from collections import Counter
from contextlib import closing
from functools import partial
from typing import Any

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from vespera_agents.specialists.standing import blocked_tasks
from vespera_agents.store import pages, queries
from vespera_agents.store.checks import CHECKS, CheckBudget, check_structure
from vespera_agents.store.commands import (
    CancelTask,
    ClaimTask,
    DeleteTask,
    FinishTask,
    OpenSession,
    PlanTasks,
    ReleaseClaims,
    UpdateTask,
)
from vespera_agents.store.derived import UNLEARNED, WORDS_SCRIPT, index_words, rebuild
from vespera_agents.store.queries import TaskFilter
from vespera_agents.store.texts import TEXT_WORDS_MAX, match_of
from vespera_agents.store.transaction import CommandKey
from vespera_agents.work.drafts import DependencyDraft, TaskDraft
from vespera_agents.work.errors import InvalidInput, Refusal
from vespera_agents.work.models import Complexity, Task, TaskStatus, TaskType

WORDS = ["parser", "Ärger", "login", "10", "数据库", "re-do", "STRASSE"]
SPECIALISTS = ["generic", "tester", "reviewer"]
TYPES = [TaskType.STANDARD, TaskType.TESTING]
COMPLEXITIES = [Complexity.MODERATE, Complexity.SIMPLE]
texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(" ".join)
fields = st.fixed_dictionaries(
    {"title": texts},
    optional={
        "description": texts,
        "specialist": st.sampled_from(SPECIALISTS),
        "task_type": st.sampled_from(TYPES),
        "complexity": st.sampled_from(COMPLEXITIES),
    },
)


def some(values: Any) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(st.sampled_from(values), min_size=1, max_size=2, unique=True).map(tuple)


def filters(times: list[float], ids: list[str]) -> st.SearchStrategy[dict[str, Any]]:
    at = st.sampled_from(times)
    return st.fixed_dictionaries(
        {},
        optional={
            "session_id": st.sampled_from(["here", "there"]),
            "status": some(list(TaskStatus)),
            "task_type": some(TYPES),
            "specialist": some([*SPECIALISTS, "nobody"]),
            "complexity": some(COMPLEXITIES),
            "ready": st.booleans(),
            "leaves": st.just(True),
            "parent_id": st.sampled_from(ids),
            "include_children": st.booleans(),
            "text": st.sampled_from([*WORDS, "login parser", "lo*", "数据", "redo", "ÄRG*", "arger"]),
            "created_after": at,
            "created_before": at,
            "updated_after": at,
            "updated_before": at,
        },
    )


def has_words(task: Task, text: str) -> bool:
    """Whether all words stand there; the known words have known spellings."""
    plain = f" {task.title} {task.description} {task.summary or ''} ".casefold().replace("ä", "a")
    plain = re.sub("([数据库-])", r" \1 ", plain)
    for word in text.casefold().replace("ä", "a").split():
        spaced = re.sub(" +", " ", re.sub("([数据库-])", r" \1 ", word.rstrip("*"))).strip()
        ends = "" if word.endswith("*") else " "
        if f" {spaced}{ends}" not in re.sub(" +", " ", plain):
            return False
    return True


def passes(task: Task, wanted: TaskFilter, parents: dict[str, str | None]) -> bool:
    above = [task.parent_id]
    while wanted.include_children and above[-1] is not None:
        above.append(parents[above[-1]])
    return (
        wanted.session_id in {None, task.session_id}
        and all(
            getattr(task, name) in (getattr(wanted, name) or {getattr(task, name)})
            for name in ("status", "task_type", "specialist", "complexity")
        )
        and wanted.ready in {None, task.ready}
        and not (wanted.leaves and task.is_container)
        and (wanted.parent_id is None or wanted.parent_id in above)
        and (wanted.text is None or has_words(task, wanted.text))
        and (wanted.created_after is None or task.created >= wanted.created_after)
        and (wanted.created_before is None or task.created < wanted.created_before)
        and (wanted.updated_after is None or task.updated >= wanted.updated_after)
        and (wanted.updated_before is None or task.updated < wanted.updated_before)
    )


def all_tasks(connection: sqlite3.Connection) -> list[Task]:
    ids = [row[0] for row in connection.execute("SELECT id FROM task ORDER BY seq")]
    return queries.tasks(connection, ids)


def read_all(
    connection: sqlite3.Connection, wanted: TaskFilter, limit: int
) -> tuple[list[Task], set[tuple[int, bool]]]:
    found: list[Task] = []
    totals: set[tuple[int, bool]] = set()
    cursor = None
    while True:
        page = queries.task_page(connection, wanted, limit, cursor)
        assert len(page.tasks) == limit or page.next_cursor is None
        found.extend(page.tasks)
        totals.add((page.total, page.total_is_exact))
        if (cursor := page.next_cursor) is None:
            return found, totals


class QueryMachine(RuleBasedStateMachine):
    """Changes a store with commands that may be refused, and asks it everything."""

    def __init__(self, new_bench) -> None:
        super().__init__()
        self.bench = new_bench()
        self.sessions = {"here": self.bench.session_id}
        self.sessions["there"] = self.bench.apply(OpenSession("test", "/there", fresh=True))["session_id"]

    def apply(self, command: Any) -> None:
        try:
            self.bench.apply(command)
        except Refusal:
            return

    def ids(self) -> list[str]:
        return [row[0] for row in self.bench.connection.execute("SELECT id FROM task ORDER BY seq")]

    def pick(self, data: Any) -> str:
        return data.draw(st.sampled_from(self.ids()))

    @rule(
        where=st.sampled_from(["here", "there"]), roots=st.lists(fields, min_size=1, max_size=3), inner=fields,
        later=st.integers(-5, 5), waits=st.booleans(), data=st.data(),
    )  # fmt: skip
    def plan(
        self, where: str, roots: list[dict[str, Any]], inner: dict[str, Any], later: int, waits: bool, data: Any
    ) -> None:
        # The clock may be set back.
        self.bench.now += later
        drafts = [TaskDraft(key=f"k{number}", **root) for number, root in enumerate(roots)]
        drafts[0] = drafts[0].model_copy(update={"subtasks": (TaskDraft(key="inner", **inner),)})
        if waits and len(drafts) > 1:
            drafts[1] = drafts[1].model_copy(update={"dependencies": (DependencyDraft(on="k0"),)})
        parent = self.pick(data) if self.ids() and data.draw(st.booleans()) else None
        self.apply(PlanTasks("test", self.sessions[where], tuple(drafts), parent))

    @precondition(lambda self: self.ids())
    @rule(data=st.data(), edit=fields)
    def edit(self, data, edit: dict[str, Any]) -> None:
        self.apply(UpdateTask("test", self.pick(data), "srv", edit=edit))

    @precondition(lambda self: self.ids())
    @rule(data=st.data(), status=st.sampled_from(list(TaskStatus)))
    def set_status(self, data, status: TaskStatus) -> None:
        self.apply(UpdateTask("test", self.pick(data), "srv", status=status, reason="why not"))

    @precondition(lambda self: self.ids())
    @rule(data=st.data(), summary=texts, waived=st.booleans())
    def work(self, data, summary: str, waived: bool) -> None:
        name = self.pick(data)
        status = TaskStatus.CANCELLED if waived else TaskStatus.COMPLETED
        self.apply(ClaimTask("test", name, "srv"))
        self.apply(FinishTask("test", name, "srv", status, summary=summary, waived=waived, reason="so"))

    @precondition(lambda self: self.ids())
    @rule(data=st.data(), delete=st.booleans())
    def remove(self, data, delete: bool) -> None:
        self.apply(CancelTask("test", self.pick(data), "because", cascade=True))
        self.apply(DeleteTask("test", self.pick(data), delete=delete, force=True))

    @rule()
    def release(self) -> None:
        self.apply(ReleaseClaims("test", ("srv",)))

    @rule()
    def come_to_rest(self) -> None:
        index_words(self.bench.connection)

    @precondition(lambda self: self.ids())
    @rule(data=st.data(), limit=st.integers(1, 4))
    def ask(self, data, limit: int) -> None:
        everything = all_tasks(self.bench.connection)
        times = [one for task in everything for one in (task.created, task.updated)]
        drawn = data.draw(filters(times, self.ids()))
        if "session_id" in drawn:
            drawn["session_id"] = self.sessions[drawn["session_id"]]
        wanted = TaskFilter(**drawn)
        parents = {task.id: task.parent_id for task in everything}
        expected = [task for task in everything if passes(task, wanted, parents)]
        found, totals = read_all(self.bench.connection, wanted, limit)
        assert found == expected
        for total, exact in totals:
            assert total == len(expected) if exact else total <= len(expected)
        assert len(everything) > pages.CANDIDATES_MAX or totals == {(len(expected), True)}
        assert queries.first_tasks(self.bench.connection, wanted, limit) == expected[:limit]

    @invariant()
    def everything_that_is_derived_is_what_follows_from_the_tasks(self) -> None:
        assert check_structure(self.bench.connection, CheckBudget(integrity=False)) == []

    @invariant()
    def counts_are_those_of_the_tasks(self) -> None:
        leaves = [task for task in all_tasks(self.bench.connection) if not task.is_container]
        counts = Counter((str(task.status), task.specialist, task.waived) for task in leaves)
        rows = queries.status_counts(self.bench.connection)
        assert {row[:3]: row[3] for row in rows} == counts
        live = ("pending", "in_progress", "blocked", "review")
        oldest = {
            name: min(task.updated for task in leaves if task.status == name)
            for name in live
            if any(task.status == name for task in leaves)
        }
        assert dict(queries.oldest_waiting(self.bench.connection)) == oldest
        took: dict[str, list[float]] = {}
        for task in leaves:
            if task.status == "completed" and task.started is not None and task.finished is not None:
                took.setdefault(task.specialist, []).append(task.finished - task.started)
        past = queries.past_durations(self.bench.connection, 1_000)
        assert {role: sorted(known) for role, known in past.items() if known} == {
            role: sorted(known) for role, known in took.items()
        }
        for session_id in self.sessions.values():
            mine = [task for task in leaves if task.session_id == session_id]
            ended = sorted(
                (task for task in mine if task.status == "completed"), key=lambda task: -(task.finished or 0)
            )
            latest = queries.latest_completed(self.bench.connection, session_id, 2)
            assert [task.finished for task in latest] == [task.finished for task in ended[:2]]
            stuck = blocked_tasks(*queries.stuck_tasks(self.bench.connection, session_id))
            whole = queries.session_tasks(self.bench.connection, session_id)
            all_stuck = blocked_tasks(
                whole, queries.dependencies_of(self.bench.connection, [task.id for task in whole])
            )
            assert sorted(map(repr, stuck)) == sorted(map(repr, all_stuck))


@pytest.mark.unmeasured
@pytest.mark.parametrize("few", [pages.CANDIDATES_MAX, 2], ids=["few tasks", "many tasks"])
def test_every_filter_says_what_a_look_at_all_rows_says_after_any_commands(new_bench, monkeypatch, few: int) -> None:
    # What counts as few: with 2 nearly every question is answered as among a million.
    monkeypatch.setattr(pages, "CANDIDATES_MAX", few)
    run_state_machine_as_test(
        partial(QueryMachine, new_bench),
        settings=settings(
            max_examples=40,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
        ),
    )


def found(bench, text: str) -> list[str]:
    return [task.title for task in queries.task_page(bench.connection, TaskFilter(text=text), 50, None).tasks]


@pytest.mark.parametrize("indexed", [True, False], ids=["indexed", "not yet indexed"])
@pytest.mark.parametrize(
    ("text", "titles"),
    [
        ("login", ["Fix the login"]),
        ("LOGIN fix", ["Fix the login"]),
        ("log", []),
        ("log*", ["Fix the login"]),
        ("*", []),
        ("l*n", []),
        ("login -fix", ["Fix the login"]),
        ("NEAR(fix login)", []),
        ("fix NEAR login", []),
        ("fix OR nothing", []),
        ("fix AND login", []),
        ("title:login", []),
        ('"the login"', ["Fix the login"]),
        ('the "login', ["Fix the login"]),
        ("login\0the", ["Fix the login"]),
        ("^Fix", ["Fix the login"]),
        ("{fix} (the) [login]", ["Fix the login"]),
        ("'; DROP TABLE task; --", []),
        ("re-do", ["re-do naïve work"]),
        ("redo", []),
        ("naive", ["re-do naïve work"]),
        ("数据", ["修复数据库"]),
        ("库", ["修复数据库"]),
        ("据数", []),
        ("한국", ["한국어 작업"]),
        ("🙂", []),
        ("\ud800", []),
        ("?!", []),
        (" ", ["Fix the login", "re-do naïve work", "修复数据库", "한국어 작업"]),
    ],
)
def test_a_text_is_words_and_never_a_syntax(bench, draft, text: str, titles: list[str], *, indexed: bool) -> None:
    for title in ("Fix the login", "re-do naïve work", "修复数据库", "한국어 작업"):
        bench.plan(draft("k", title=title))
    if indexed:
        index_words(bench.connection)
    else:
        bench.connection.execute("UPDATE task SET title = title || '!'")
        bench.connection.execute("UPDATE task SET title = substr(title, 1, length(title) - 1)")
    assert found(bench, text) == titles


@given(st.text(max_size=40))
def test_any_text_is_a_query_that_the_index_takes(text: str) -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(WORDS_SCRIPT)
        match = match_of(text)
        if match:
            assert (
                connection.execute("SELECT rowid FROM task_words WHERE task_words MATCH ?", (match,)).fetchall() == []
            )


def test_a_text_of_too_many_words_is_refused(bench) -> None:
    many = " ".join(f"w{number}" for number in range(TEXT_WORDS_MAX + 1))
    with pytest.raises(InvalidInput, match="33 words"):
        found(bench, many)
    assert found(bench, " ".join(["again"] * 100)) == []


def test_words_are_found_before_the_index_has_learned_of_a_change_and_after(bench, draft) -> None:
    (one,) = bench.plan(draft("k", title="before"))
    index_words(bench.connection)
    bench.connection.execute("UPDATE task SET title='between' WHERE id=?", (one,))
    bench.connection.execute("UPDATE task SET title='after' WHERE id=?", (one,))
    for _ in range(2):
        assert (found(bench, "before"), found(bench, "between"), found(bench, "after")) == ([], [], ["after"])
        index_words(bench.connection)
    bench.connection.execute("DELETE FROM task")
    for _ in range(2):
        assert found(bench, "after") == []
        index_words(bench.connection)
    assert check_structure(bench.connection) == []


async def test_a_store_that_opens_teaches_the_index_what_is_left(running, draft, look) -> None:
    async with running() as store:
        opened = await store.execute(OpenSession("test", "/here"), CommandKey("test", "open"))
        for number in range(5):
            command = PlanTasks("test", opened["session_id"], (draft("k", title=f"word {number}"),))
            await store.execute(command, CommandKey("test", f"plan {number}"))
            page = await store.read(queries.task_page, TaskFilter(text=f"word {number}"), 10, None)
            assert [task.title for task in page.tasks] == [f"word {number}"]
    # What was not learned before the store stopped is learned when it opens again.
    async with running() as store:
        await store.execute(OpenSession("test", "/there"), CommandKey("test", "open again"))
        # In its first pause, for whoever opens it wants an answer first.
        with trio.fail_after(20):
            while look(UNLEARNED):  # noqa: ASYNC110 - a thread brings it about
                await trio.sleep(0.02)
    assert look("SELECT learned FROM task_mark") == [(5,)]
    assert look(UNLEARNED) == []


def _unlearned(connection: sqlite3.Connection) -> int:
    return len(connection.execute(UNLEARNED).fetchall())


def _plan_unlearned(bench, title: str, draft) -> str:
    """Plan a task that the index has not learned; of what a bench plans it learns every other at once."""
    while True:
        (identifier,) = bench.plan(draft("k", title=title))
        if _unlearned(bench.connection):
            return identifier
        bench.apply(DeleteTask("test", identifier, delete=True, force=True))


@pytest.mark.parametrize("also_after", [False, True], ids=["before it was learned", "before and after"])
@pytest.mark.parametrize("deleted", [False, True], ids=["reworded", "deleted"])
def test_a_change_of_what_the_index_has_not_learned_leaves_no_trace_in_it(
    bench, draft, *, deleted: bool, also_after: bool
) -> None:
    one = _plan_unlearned(bench, "first", draft)
    if also_after:
        index_words(bench.connection)
    bench.connection.execute("UPDATE task SET title='second' WHERE id=?", (one,))
    noted = bench.connection.execute("SELECT title FROM task_reworded").fetchall()
    assert noted == ([("first",)] if also_after else [])
    if deleted:
        bench.connection.execute("DELETE FROM task WHERE id=?", (one,))
    for _ in range(2):
        assert (found(bench, "first"), found(bench, "second")) == ([], [] if deleted else ["second"])
        assert check_structure(bench.connection) == []
        index_words(bench.connection)
    assert _unlearned(bench.connection) == 0


def test_the_number_of_a_deleted_task_is_never_given_again(bench, draft) -> None:
    """The index may still know the one by it when it has to learn the other, and a cursor may point at it."""
    for learned in (True, False):
        (one,) = bench.plan(draft("k", title="gone"))
        if learned:
            index_words(bench.connection)
        (number,) = bench.connection.execute("SELECT seq FROM task WHERE id=?", (one,)).fetchone()
        bench.connection.execute("DELETE FROM task WHERE id=?", (one,))
        (other,) = bench.plan(draft("k", title="new"))
        assert bench.connection.execute("SELECT seq > ? FROM task WHERE id=?", (number, other)).fetchone() == (1,)
        assert found(bench, "gone") == []
        assert check_structure(bench.connection) == []


@pytest.mark.parametrize(
    "mistake",
    [
        "UPDATE task_mark SET learned = 0",
        "UPDATE task_mark SET learned = (SELECT min(seq) FROM task WHERE seq > learned)",
    ],
    ids=["too few", "too many"],
)
def test_a_mark_that_is_wrong_about_what_the_index_has_learned_is_found(bench, draft, mistake: str) -> None:
    bench.plan(draft("k", title="learned"))
    index_words(bench.connection)
    _plan_unlearned(bench, "unlearned", draft)
    assert check_structure(bench.connection) == []
    bench.connection.execute(mistake)
    assert [finding.check for finding in check_structure(bench.connection)] == ["words"]


def test_what_is_derived_anew_forgets_a_mark_beyond_all_tasks(bench, draft) -> None:
    """No check can see such a mark before there is a task that it hides."""
    bench.connection.execute("UPDATE task_mark SET learned = 1000")
    rebuild(bench.connection)
    bench.plan(draft("k", title="later"))
    assert found(bench, "later") == ["later"]
    assert check_structure(bench.connection) == []


def test_an_index_that_could_not_learn_everything_keeps_its_mark(bench, draft) -> None:
    """A crash between the commit and the learning, or amid the learning, only leaves more to be learned."""
    _plan_unlearned(bench, "word", draft)
    before = _unlearned(bench.connection)
    bench.connection.execute("CREATE TRIGGER no BEFORE UPDATE ON task_mark BEGIN SELECT raise(ABORT, 'no'); END")
    with pytest.raises(sqlite3.IntegrityError):
        index_words(bench.connection)
    bench.connection.execute("ROLLBACK")
    bench.connection.execute("DROP TRIGGER no")
    assert (_unlearned(bench.connection), found(bench, "word")) == (before, ["word"])
    assert check_structure(bench.connection) == []
    index_words(bench.connection)
    assert (_unlearned(bench.connection), found(bench, "word")) == (0, ["word"])


async def test_a_writer_teaches_the_index_in_the_first_pause(running, draft) -> None:
    async with running() as store:
        opened = await store.execute(OpenSession("test", "/here"), CommandKey("test", "open"))
        for number in range(5):
            command = PlanTasks("test", opened["session_id"], (draft("k", title=f"word {number}"),))
            await store.execute(command, CommandKey("test", f"plan {number}"))
        # Each look takes its time in a thread, so this waits for the writer and no longer than it needs.
        with trio.fail_after(30):
            while await store.read(_unlearned):
                pass
        page = await store.read(queries.task_page, TaskFilter(text="word 3"), 10, None)
        assert [task.title for task in page.tasks] == ["word 3"]


def test_a_clock_that_is_set_back_leaves_the_order_of_creation_true(bench, draft) -> None:
    bench.plan(draft("a"))
    bench.now -= 500
    bench.plan(draft("b"))
    first, second = all_tasks(bench.connection)
    assert first.created == second.created
    assert check_structure(bench.connection) == []


def test_a_cursor_stays_true_when_what_it_points_at_and_all_after_it_is_deleted(bench, draft) -> None:
    ids = bench.plan(*(draft(str(number)) for number in range(4)))
    page = queries.task_page(bench.connection, TaskFilter(), 2, None)
    for identifier in ids[1:]:
        bench.apply(DeleteTask("test", identifier, delete=True, force=True))
    bench.plan(draft("new"))
    rest = queries.task_page(bench.connection, TaskFilter(), 2, page.next_cursor)
    assert [task.title for task in rest.tasks] == ["new"]


BREAKS = {
    "task_session": "UPDATE task SET session_id='session_none' WHERE title='lone'",
    "task_parent": "UPDATE task SET parent_id='task_none' WHERE title='lone'",
    "dependency_ends": "INSERT INTO dependency VALUES ('task_none', 'task_no', 'completion', 1, 'open', NULL, NULL)",
    "artifact_owner": "INSERT INTO artifact VALUES (1, 'a', 'session_none', NULL, 'data', 'n', 't', 1, 'x', 1)",
    "claims": "UPDATE task SET claimed_by='srv' WHERE title='lone'",
    "children": "UPDATE task SET children=5 WHERE title='box'",
    "open_dependencies": "UPDATE task SET open_dependencies=3 WHERE title='lone'",
    "dependency_states": "UPDATE dependency SET state='satisfied'",
    "container_statuses": "UPDATE task SET status='completed' WHERE title='box'",
    "circles": "INSERT INTO dependency SELECT box.id, after.id, 'completion', 0, 'open', NULL, NULL"
    " FROM task AS box, task AS after WHERE box.title='inner' AND after.title='after'",
    "created_order": "UPDATE task SET created=1 WHERE title='after'",
    "cells": "UPDATE cell_task SET cell=cell+1",
    "cell_counts": "UPDATE cell SET n=n+1",
    "words": "INSERT INTO task_words(rowid, title) VALUES (1, 'stray')",
}


@pytest.mark.parametrize("name", [*BREAKS, "no trigger", "integrity"])
def test_each_check_finds_what_it_is_there_for(bench, draft, name: str) -> None:
    bench.plan(draft("lone"), draft("box", subtasks=(draft("inner"),)), draft("after", "box"))
    index_words(bench.connection)
    assert check_structure(bench.connection) == []
    if name == "no trigger":
        bench.connection.execute("DROP TRIGGER task_moved")
        bench.connection.execute("UPDATE task SET specialist='tester' WHERE title='lone'")
        name = "cells"
    elif name == "integrity":
        bench.connection.execute("PRAGMA writable_schema=ON")
        bench.connection.execute(
            "UPDATE sqlite_master SET sql='CREATE INDEX event_archived ON event(what)' WHERE name='event_archived'"
        )
        bench.connection.execute("PRAGMA writable_schema=RESET")
    else:
        bench.connection.execute(BREAKS[name])
    findings = check_structure(bench.connection)
    assert name in {finding.check for finding in findings}
    assert all(finding.message for finding in findings)


def test_what_is_derived_can_be_made_anew(bench, draft) -> None:
    bench.plan(draft("lone"), draft("box", subtasks=(draft("inner"),)), draft("after", "box"))
    bench.connection.execute("UPDATE cell SET n=n+1")
    bench.connection.execute("DELETE FROM cell_task")
    bench.connection.execute("BEGIN")
    rebuild(bench.connection)
    bench.connection.execute("COMMIT")
    assert check_structure(bench.connection) == []
    bench.plan(draft("more"))
    assert found(bench, "more") == ["more"]
    assert check_structure(bench.connection) == []


def test_a_check_without_time_says_so(bench) -> None:
    bench.connection.execute(
        "CREATE TABLE many AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM n LIMIT 99999) SELECT x FROM n"
    )
    findings = check_structure(bench.connection, CheckBudget(seconds=0.0))
    assert {finding.check for finding in findings} <= {"not_checked"}
    assert set(BREAKS) | {"integrity"} == set(CHECKS)
