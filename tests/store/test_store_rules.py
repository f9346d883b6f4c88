"""What single commands do and refuse, where the model of `test_store_model` does not look."""

from __future__ import annotations

import itertools
import json
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from vespera_agents.store import queries
from vespera_agents.store.commands import (
    AddArtifacts,
    CancelTask,
    ClaimTask,
    DeleteTask,
    FinishTask,
    GatesFirst,
    NewArtifact,
    NoteTask,
    OpenSession,
    PlanTasks,
    ReleaseClaims,
    SetSessionStatus,
    UpdateTask,
)
from vespera_agents.store.records import recorded_result
from vespera_agents.store.transaction import CommandKey
from vespera_agents.work.drafts import DependencyDraft
from vespera_agents.work.errors import BadTransition, Conflict, Cycle, InvalidInput, NotFound, Refusal, StaleVersion
from vespera_agents.work.models import (
    ArtifactKind,
    CommandLine,
    DependencyKind,
    DependencyState,
    SessionStatus,
    Task,
    TaskStatus,
)

S = TaskStatus


def task(bench, identifier: str) -> Task:
    return queries.task(bench.connection, identifier)


def claim(bench, identifier: str, server: str = "srv") -> Any:
    return bench.apply(ClaimTask("test", identifier, server))


def finish(bench, identifier: str, status: TaskStatus = S.COMPLETED, **more: Any) -> Any:
    return bench.apply(FinishTask("test", identifier, more.pop("server", "srv"), status, **more))


def do(bench, identifier: str, status: TaskStatus = S.COMPLETED, **more: Any) -> Any:
    claim(bench, identifier)
    return finish(bench, identifier, status, **more)


def update(bench, identifier: str, **more: Any) -> Any:
    return bench.apply(UpdateTask("test", identifier, "srv", **more))


def state_of(bench, identifier: str) -> list[str]:
    return [one.state for one in queries.dependencies_of(bench.connection, [identifier])]


def artifact(name: str = "a") -> NewArtifact:
    return NewArtifact(ArtifactKind.GENERAL, name, "text/plain", 1, "ab" * 32)


# ---- sessions


def test_a_session_is_found_again_by_id_by_name_or_as_the_only_open_one(bench) -> None:
    first = bench.session_id
    assert bench.apply(OpenSession("test", "/x")) == {"session_id": first, "created": False}
    named = bench.apply(OpenSession("test", "/x", "named"))
    assert named["created"]
    assert bench.apply(OpenSession("test", "/x", "named")) == {**named, "created": False}
    fresh = bench.apply(OpenSession("test", "/x", "named", fresh=True))
    assert fresh["created"]
    assert bench.apply(OpenSession("test", "/x"))["created"], "several are open: which one is a guess"
    bench.apply(SetSessionStatus("test", first, SessionStatus.CLOSED))
    bench.apply(SetSessionStatus("test", first, SessionStatus.CLOSED))
    assert bench.apply(OpenSession("test", "/x", session_id=first)) == {"session_id": first, "created": False}
    assert queries.session(bench.connection, first).status is SessionStatus.OPEN
    assert queries.session(bench.connection, first).version == 3


def test_a_wrong_session_is_refused(bench) -> None:
    for name in (" ", "x" * 201):
        with pytest.raises(InvalidInput, match="1 to 200"):
            bench.apply(OpenSession("test", "/x", name))
    with pytest.raises(NotFound):
        bench.apply(OpenSession("test", "/x", session_id="session_no"))
    with pytest.raises(NotFound):
        bench.apply(SetSessionStatus("test", "session_no", SessionStatus.CLOSED))


# ---- planning


def test_a_breakdown_gets_places_after_what_was_there_even_after_a_deletion(bench, draft) -> None:
    bench.plan(draft("a"))
    root, *below = bench.plan(draft("root", subtasks=tuple(draft(name) for name in "xyz")))
    bench.apply(DeleteTask("test", below[0], delete=True, force=True))
    bench.apply(DeleteTask("test", below[1], delete=True, force=True))
    bench.plan(draft("new"), draft("newer"), parent=root)
    bench.plan(draft("b"))
    tasks = queries.session_tasks(bench.connection, bench.session_id)
    assert [one.title for one in tasks] == ["a", "root", "z", "new", "newer", "b"]
    assert [one.position for one in tasks] == [0, 1, 2, 3, 4, 2]


def test_a_breakdown_is_created_whole_or_not_at_all(bench, draft) -> None:
    with pytest.raises(InvalidInput, match=r"'b' depends on 'missing'.*Known keys: a, b"):
        bench.plan(draft("a"), draft("b", "a", "missing"))
    many = [draft(f"k{number}") for number in range(20)]
    with pytest.raises(InvalidInput, match=r"k11, and 9 more"):
        bench.plan(*many, draft("last", "missing"))
    assert queries.session_tasks(bench.connection, bench.session_id) == []


def test_where_a_breakdown_cannot_go_is_said(bench, draft) -> None:
    (busy,) = bench.plan(draft("busy"))
    claim(bench, busy)
    with pytest.raises(Conflict, match="is in_progress and cannot get subtasks"):
        bench.plan(draft("x"), parent=busy)
    container, inner = bench.plan(draft("container", subtasks=(draft("inner"),)))
    bench.apply(DeleteTask("test", container))
    assert task(bench, container).status is S.ARCHIVED
    with pytest.raises(Conflict, match="is archived"):
        bench.plan(draft("x"), parent=container)
    with pytest.raises(Conflict, match="cannot get subtasks"):
        bench.plan(draft("x"), parent=inner)
    (command,) = bench.plan(draft("command", run=CommandLine(text="true")))
    with pytest.raises(Conflict, match="is a command"):
        bench.plan(draft("x"), parent=command)
    with pytest.raises(NotFound, match="there is no session"):
        bench.apply(PlanTasks("test", "session_no", (draft("x"),)))
    other = bench.apply(OpenSession("test", "/x", fresh=True))["session_id"]
    with pytest.raises(NotFound, match="another session"):
        bench.apply(PlanTasks("test", other, (draft("x"),), busy))
    with pytest.raises(InvalidInput, match="nor a task of this session"):
        bench.apply(PlanTasks("test", other, (draft("x", busy),)))


def test_new_subtasks_reopen_a_container_that_was_done_and_wait_as_it_waits(bench, draft) -> None:
    gate, root, _ = bench.plan(draft("gate"), draft("root", "gate", subtasks=(draft("one", done=True),)))
    assert task(bench, root).status is S.COMPLETED
    (new,) = bench.plan(draft("new"), parent=root)
    assert task(bench, root).status is S.IN_PROGRESS
    assert task(bench, new).open_dependencies == 1
    with pytest.raises(Conflict, match=r"waits for .*\(gate: pending\)"):
        claim(bench, new)
    assert do(bench, gate)["ready"] == [new]


def test_a_container_cannot_come_to_wait_for_what_is_in_it(bench, draft) -> None:
    root, inner, after = bench.plan(draft("root", subtasks=(draft("inner"),)), draft("after", "root"))
    with pytest.raises(Cycle, match=r"inner -> after -> root -> inner|after -> root -> inner -> after"):
        update(bench, inner, add=(DependencyDraft(on=after),))
    with pytest.raises(Cycle):
        update(bench, root, add=(DependencyDraft(on=inner),))
    with pytest.raises(Cycle):
        bench.plan(draft("x", after), parent=root)
    update(bench, inner, add=(DependencyDraft(on=after, kind=DependencyKind.RELATED),))
    assert task(bench, inner).ready


# ---- claims


def test_a_claim_is_one_servers_until_it_ends(bench, draft) -> None:
    (one,) = bench.plan(draft("one"))
    assert claim(bench, one) == {"task_id": one, "version": 2, "already": False, "reason": None}
    assert claim(bench, one[:-1])["already"]
    with pytest.raises(Conflict, match="already being worked on by srv"):
        claim(bench, one, "other")
    with pytest.raises(Conflict, match="held by srv"):
        finish(bench, one, server="other")
    done = finish(bench, one, summary="It is done", artifacts=(artifact(),))
    assert task(bench, one).version == done["version"] == 3
    assert (task(bench, one).summary, task(bench, one).attempts) == ("It is done", 1)
    assert [found.id for found in queries.artifacts_of(bench.connection, [one])] == done["artifact_ids"]


@pytest.mark.parametrize(
    ("status", "refusal"),
    [(S.COMPLETED, "completed already"), (S.FAILED, "cannot become in_progress"), (S.CANCELLED, "cannot become")],
)
def test_what_has_ended_is_not_claimed(bench, draft, status: TaskStatus, refusal: str) -> None:
    (one,) = bench.plan(draft("one"))
    do(bench, one, status)
    with pytest.raises(Refusal, match=refusal):
        claim(bench, one)


def test_a_task_in_review_is_claimed_again_and_a_blocked_one_is_not(bench, draft) -> None:
    (one,) = bench.plan(draft("one"))
    do(bench, one, S.REVIEW)
    assert claim(bench, one, "reviewer")["already"] is False
    finish(bench, one, S.BLOCKED, server="reviewer", reason="no electricity")
    with pytest.raises(Conflict, match="blocked: no electricity"):
        claim(bench, one)
    update(bench, one, status=S.PENDING)
    claim(bench, one)
    assert task(bench, one).attempts == 3


def test_a_container_is_neither_claimed_nor_finished(bench, draft) -> None:
    root, _ = bench.plan(draft("root", subtasks=(draft("inner"),)))
    with pytest.raises(Conflict, match="never worked on itself"):
        claim(bench, root)
    with pytest.raises(Conflict, match="follows them"):
        finish(bench, root)
    with pytest.raises(Conflict, match="follows them"):
        update(bench, root, status=S.BLOCKED, reason="x")


def test_a_claim_that_was_released_is_lost_to_its_old_holder(bench, draft) -> None:
    one, two = bench.plan(draft("one"), draft("two"))
    claim(bench, one, "dead")
    claim(bench, two, "alive")
    assert bench.apply(ReleaseClaims("test", ("dead", "unknown"))) == {"task_ids": [one]}
    for status in (S.COMPLETED, S.CANCELLED, S.BLOCKED, S.PENDING):
        with pytest.raises(Conflict, match="was given back, and is claimed by nobody"):
            finish(bench, one, status, server="dead")
    claim(bench, one, "alive")
    finish(bench, one, S.FAILED, server="alive")
    with pytest.raises(BadTransition):
        finish(bench, one, S.PENDING, server="dead")


def test_whoever_knows_of_no_gates_ends_nothing_that_has_some_and_wishes_the_same_as_who_looked(bench, draft) -> None:
    gated, plain = bench.plan(draft("gated", gates=(CommandLine(text="true"),)), draft("plain"))
    claim(bench, gated)
    claim(bench, plain)
    for status in (S.COMPLETED, S.REVIEW, S.BLOCKED):
        with pytest.raises(GatesFirst, match="has gates"):
            finish(bench, gated, status, ungated=True)
    assert task(bench, gated).status is S.IN_PROGRESS
    assert finish(bench, plain, ungated=True)["status"] == S.COMPLETED
    wish = FinishTask("test", plain, "srv", S.COMPLETED)
    assert replace(wish, session_id=bench.session_id, ungated=True).fingerprint() == wish.fingerprint()
    assert replace(wish, summary="something else").fingerprint() != wish.fingerprint()


def test_work_whose_dependency_was_reopened_cannot_be_completed(bench, draft) -> None:
    one, two = bench.plan(draft("one"), draft("two", "one"))
    do(bench, one)
    claim(bench, two)
    update(bench, one, status=S.IN_PROGRESS, reason="it was wrong")
    with pytest.raises(Conflict, match=r"came to wait for .*\(one: in_progress\)"):
        finish(bench, two)
    finish(bench, one)
    assert finish(bench, two)["status"] == "completed"


def test_the_first_holders_are_named_and_the_rest_counted(bench, draft) -> None:
    *_, last = bench.plan(*(draft(f"t{n}") for n in range(7)), draft("last", *(f"t{n}" for n in range(7))))
    with pytest.raises(Conflict, match=r"\(t4: pending\), 2 more"):
        claim(bench, last)


def test_a_waived_task_lets_its_dependents_go_on_and_a_failed_one_does_not(bench, draft) -> None:
    one, two, after = bench.plan(draft("one"), draft("two"), draft("after", "one", "two"))
    do(bench, one, S.CANCELLED, waived=True, reason="no tests here")
    assert do(bench, two, S.FAILED, reason="broke")["ready"] == []
    assert sorted(state_of(bench, after)) == ["failed", "waived"]
    update(bench, two, status=S.PENDING)
    assert do(bench, two)["ready"] == [after]
    update(bench, one, status=S.PENDING)
    assert not task(bench, after).ready
    assert not task(bench, one).waived


def test_artifacts_can_be_added_without_a_change_of_status(bench, draft) -> None:
    (one,) = bench.plan(draft("one"))
    ids = bench.apply(AddArtifacts("test", bench.session_id, one, (artifact("a"), artifact("b"))))
    assert [found.id for found in queries.artifacts_of(bench.connection, [one])] == ids
    assert task(bench, one).status is S.PENDING


def test_a_note_says_why_work_does_not_go_on_without_ending_it(bench, draft) -> None:
    (one,) = bench.plan(draft("one"))
    claim(bench, one)
    (kept,) = bench.apply(NoteTask("test", one, "gates_failed", "ruff found 3 faults", (artifact(),)), "note")
    assert (task(bench, one).status, task(bench, one).status_reason) == (S.IN_PROGRESS, "ruff found 3 faults")
    assert queries.events_of(bench.connection, bench.session_id)[-2].what == "gates_failed"
    assert recorded_result(bench.connection, CommandKey("test", "note"), bench.files) == [kept]
    assert recorded_result(bench.connection, CommandKey("test", "never"), bench.files) is None
    with pytest.raises(NotFound):
        bench.apply(NoteTask("test", "task_no", "gates_failed", "x"))


# ---- updates


def test_an_update_says_what_changed_and_a_stale_one_is_refused(bench, draft) -> None:
    (one,) = bench.plan(draft("one"))
    line = CommandLine(text="make test")
    result = update(bench, one, edit={"title": "two", "specialist": "generic", "due": 5.0}, gates=(line,))
    assert result["changed"] == {"title": ["one", "two"], "due": [None, 5.0], "gates": ["", "make test"]}
    assert result["version"] == task(bench, one).version == 2
    assert task(bench, one).gates == (line,)
    assert update(bench, one, edit={"title": "two"}, gates=(line,))["changed"] == {}
    assert task(bench, one).version == 2
    with pytest.raises(StaleVersion, match="at version 2, not 1") as stale:
        update(bench, one, edit={"title": "three"}, expected_version=1)
    assert stale.value.current == 2
    assert update(bench, one, gates=(), expected_version=2)["changed"] == {"gates": ["make test", ""]}
    details = [
        event.detail for event in queries.events_of(bench.connection, bench.session_id) if event.what == "updated"
    ]
    assert json.loads(details[0] or "")["title"] == ["one", "two"]


def test_a_failed_update_changes_nothing_at_all(bench, draft) -> None:
    one, two = bench.plan(draft("one"), draft("two", "one"))
    with pytest.raises(NotFound, match="does not depend"):
        update(bench, two, edit={"title": "x"}, remove=(one,), waive=(one,), reason="r")
    with pytest.raises(NotFound, match="does not depend"):
        update(bench, one, remove=(two,))
    with pytest.raises(InvalidInput, match="only with a reason"):
        update(bench, two, edit={"title": "x"}, waive=(one,))
    assert task(bench, two).title == "two"
    assert state_of(bench, two) == ["open"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"status": S.COMPLETED}, "orchestrator_complete_task"),
        ({"status": S.ARCHIVED}, "orchestrator_delete_task"),
        ({"status": S.BLOCKED}, "only with a reason"),
        ({"status": S.REVIEW}, "cannot become review"),
    ],
)
def test_a_status_that_an_update_may_not_set_is_refused(bench, draft, fields, message: str) -> None:
    (one,) = bench.plan(draft("one"))
    with pytest.raises(Refusal, match=message):
        update(bench, one, **fields)


def test_a_completed_task_is_reopened_only_with_a_reason_and_holds_its_dependents_again(bench, draft) -> None:
    root, one, after = bench.plan(draft("root", subtasks=(draft("one"),)), draft("after", "root"))
    assert do(bench, one)["ready"] == [after]
    with pytest.raises(InvalidInput, match="reopened only with a reason"):
        update(bench, one, status=S.IN_PROGRESS)
    update(bench, one, status=S.IN_PROGRESS, reason="it leaks")
    assert task(bench, one).claimed_by == "srv"
    assert task(bench, root).status is S.IN_PROGRESS
    assert not task(bench, after).ready


def test_an_update_to_in_progress_waits_like_a_claim(bench, draft) -> None:
    _, two = bench.plan(draft("one"), draft("two", "one"))
    with pytest.raises(Conflict, match="is not ready"):
        update(bench, two, status=S.IN_PROGRESS)


def test_dependencies_that_go_make_ready_each_task_named_once(bench, draft) -> None:
    one, two, root, inner = bench.plan(
        draft("one"), draft("two", "one"), draft("root", "one", subtasks=(draft("inner"),))
    )
    assert update(bench, two, remove=(one,))["ready"] == [two]
    assert update(bench, root, waive=(one,), reason="r")["ready"] == [inner]
    assert update(bench, two, add=(DependencyDraft(on=one, mandatory=False),))["ready"] == []
    assert update(bench, two, remove=(one,))["ready"] == []
    (waived,) = queries.dependencies_of(bench.connection, [root])
    assert (waived.state, waived.waived_by, waived.waived_why) == (DependencyState.WAIVED, "test", "r")
    do(bench, one)
    assert state_of(bench, root) == ["waived"]


@pytest.mark.parametrize(
    ("end", "state"),
    [
        ({"status": S.COMPLETED, "reason": "with a remark"}, DependencyState.SATISFIED),
        ({"status": S.FAILED}, DependencyState.FAILED),
        ({"status": S.CANCELLED}, DependencyState.FAILED),
        ({"status": S.CANCELLED, "waived": True}, DependencyState.WAIVED),
        (None, DependencyState.FAILED),
    ],
)
@pytest.mark.parametrize("inside", [False, True])
def test_a_new_dependency_on_archived_work_is_what_that_work_had_come_to(bench, draft, end, state, inside) -> None:
    container, one, two = bench.plan(draft("container", subtasks=(draft("one"),)), draft("two"))
    if end:
        do(bench, one, **end)
    target = container if inside else one
    bench.apply(DeleteTask("test", target))
    update(bench, two, add=(DependencyDraft(on=target),))
    assert state_of(bench, two) == [state]


def test_what_the_audit_trail_is_asked_for_takes_no_longer_for_all_else_that_is_in_it(bench, draft) -> None:
    one, two = bench.plan(draft("one"), draft("two"))
    bench.apply(DeleteTask("test", one))

    def steps(ask: Callable[[], object]) -> int:
        taken = itertools.count()
        bench.connection.set_progress_handler(lambda: next(taken) < 0, 1)
        ask()
        bench.connection.set_progress_handler(None, 0)
        return next(taken)

    def depend() -> None:
        update(bench, two, add=(DependencyDraft(on=one),))

    def decide() -> None:
        queries.decisions(bench.connection, bench.session_id, 10)

    depend()
    before = steps(depend), steps(decide)
    bench.connection.executemany(
        "INSERT INTO event(at, session_id, task_id, actor, what, after, detail) VALUES (0,?,?,'a','status',?,?)",
        [(bench.session_id, one, S.IN_PROGRESS, "claimed by srv")] * 1_000
        + [(bench.session_id, one, S.COMPLETED, None)],
    )
    assert all(later < 500 + once for later, once in zip((steps(depend), steps(decide)), before, strict=True))


# ---- ends


def test_a_container_is_cancelled_only_with_everything_in_it(bench, draft) -> None:
    root, one, two, after = bench.plan(draft("root", subtasks=(draft("one"), draft("two"))), draft("after", "root"))
    bench.apply(AddArtifacts("test", bench.session_id, one, (artifact(),)))
    with pytest.raises(Conflict, match="2 live subtasks"):
        bench.apply(CancelTask("test", root, "no"))
    result = bench.apply(CancelTask("test", root, "no", cascade=True, preserve_work=False))
    assert result == {"task_ids": [one, two], "blocked_dependents": [after], "dropped_artifacts": 1}
    assert [task(bench, name).status for name in (root, one, two)] == [S.CANCELLED] * 3
    assert task(bench, one).status_reason == "no"
    with pytest.raises(Conflict, match=r"nothing to cancel|no live subtasks"):
        bench.apply(CancelTask("test", root, "no", cascade=True))
    with pytest.raises(BadTransition):
        bench.apply(CancelTask("test", one, "no"))


def test_cancelling_names_the_dependents_and_keeps_the_work(bench, draft) -> None:
    one, after, _ = bench.plan(draft("one"), draft("after", "one"), draft("related"))
    bench.apply(AddArtifacts("test", bench.session_id, one, (artifact(),)))
    result = bench.apply(CancelTask("test", one, "no"))
    assert result == {"task_ids": [one], "blocked_dependents": [after], "dropped_artifacts": 0}
    assert len(queries.artifacts_of(bench.connection, [one])) == 1


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_an_archived_container_passes_through_no_other_status(bench, draft, order) -> None:
    root, *below = bench.plan(draft("root", subtasks=(draft("a"), draft("b"))), draft("after", "root"))
    done, cancelled = (below[index] for index in order)
    do(bench, done)
    bench.apply(CancelTask("test", cancelled, "not needed"))
    bench.apply(DeleteTask("test", root))
    trail = [
        (event.before, event.after)
        for event in queries.events_of(bench.connection, bench.session_id)
        if event.task_id == root and event.what == "status"
    ]
    assert trail == [("pending", "in_progress"), ("in_progress", "completed"), ("completed", "archived")]
    assert state_of(bench, below[2]) == ["satisfied"]


def test_work_that_others_wait_for_is_archived_only_by_force(bench, draft) -> None:
    one, after = bench.plan(draft("one"), draft("after", "one"))
    with pytest.raises(Conflict, match=rf"live tasks depend on .*{after} \(after\)"):
        bench.apply(DeleteTask("test", one))
    result = bench.apply(DeleteTask("test", one, force=True))
    assert result == {"archived": [one], "deleted": [], "cancelled": [one], "released_dependents": []}
    assert state_of(bench, after) == ["failed"]
    with pytest.raises(Conflict, match="archived already"):
        bench.apply(DeleteTask("test", one))


def test_deleted_work_is_gone_and_holds_nobody(bench, draft) -> None:
    root, inner, after, _ = bench.plan(
        draft("root", subtasks=(draft("inner"),)), draft("after", "inner"), draft("unheld", "after")
    )
    bench.apply(AddArtifacts("test", bench.session_id, inner, (artifact(),)))
    with pytest.raises(InvalidInput, match="force=true"):
        bench.apply(DeleteTask("test", root, delete=True))
    result = bench.apply(DeleteTask("test", root, delete=True, force=True))
    assert result == {"archived": [], "deleted": [root, inner], "cancelled": [inner], "released_dependents": [after]}
    assert task(bench, after).ready
    assert queries.artifacts_of(bench.connection, [inner]) == []
    with pytest.raises(NotFound):
        task(bench, inner)
    assert [e.what for e in queries.events_of(bench.connection, bench.session_id) if e.task_id == inner][
        -1
    ] == "deleted"


@pytest.mark.parametrize(("done", "status"), [(False, S.PENDING), (True, S.COMPLETED)])
def test_a_container_whose_last_subtask_is_deleted_is_a_task_again(bench, draft, done: bool, status) -> None:
    outer, root, inner = bench.plan(draft("outer", subtasks=(draft("root", subtasks=(draft("inner", done=done),)),)))
    bench.apply(DeleteTask("test", inner, delete=True, force=True))
    assert task(bench, root).status is task(bench, outer).status is status
    assert task(bench, root).ready is not done
    assert not task(bench, root).is_container


def test_an_archived_container_stays_archived_when_its_subtasks_are_deleted(bench, draft) -> None:
    root, one, two = bench.plan(draft("root", subtasks=(draft("one"), draft("two"))))
    bench.apply(DeleteTask("test", root))
    for name in (one, two):
        bench.apply(DeleteTask("test", name, delete=True, force=True))
    assert task(bench, root).status is S.ARCHIVED


def test_subtrees_of_any_size_are_archived_and_what_waits_for_them_is_found(bench, draft) -> None:
    """SQLite takes at most 32,766 values in one statement; here it takes 30."""
    bench.connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 30)
    names = [f"t{number}" for number in range(50)]
    chain = [draft(name, *([] if name == "t0" else [names[names.index(name) - 1]])) for name in names]
    root, *below, after = bench.plan(draft("root", subtasks=tuple(chain)), draft("after", "t49"))
    with pytest.raises(Conflict, match=after):
        bench.apply(DeleteTask("test", root))
    with pytest.raises(Cycle) as circle:
        update(bench, below[0], add=(DependencyDraft(on=below[-1]),))
    assert len(circle.value.path) == 51
    assert bench.apply(CancelTask("test", root, "no", cascade=True))["blocked_dependents"] == [after]
    assert len(bench.apply(DeleteTask("test", root, force=True))["archived"]) == 51
