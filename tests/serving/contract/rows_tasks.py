"""The contract's rows on tasks as plans: plan, update, query, cancel, delete."""

from __future__ import annotations

from typing import Any

from tests.serving.contract.table import (
    BAD_VALUE,
    NO_SESSION,
    TWO_CLIENTS,
    UNKNOWN,
    WRONG_STATE,
    Check,
    Row,
    no,
    ok,
)
from tests.serving.contract.world import World

PLAN = "plan_task"
UPDATE = "update_task"
QUERY = "query_tasks"
CANCEL = "cancel_task"
DELETE = "delete_task"
COUNT = "SELECT count(*) FROM task WHERE session_id=? AND title=?"


def _created(**titles: str | None) -> Check:
    """Check that tasks of these titles are rows, each below the task of that name or at the top."""

    def check(world: World, answer: dict[str, Any]) -> None:
        assert len(answer["tasks"]) >= len(titles)
        for title, above in titles.items():
            rows = world.place.rows(
                "SELECT parent_id FROM task WHERE session_id=? AND title=?", world.ids["session"], title
            )
            assert len(rows) == 1, title
            if above is not None:
                parent = world.ids.get(above) or world.place.rows(
                    "SELECT id FROM task WHERE session_id=? AND title=?", world.ids["session"], above
                )[0][0]  # fmt: skip
                assert rows == [(parent,)], title
        assert "sqlite_sequence" not in answer

    return check


def _has(column: str, name: str, value: object) -> Check:
    def check(world: World, _: dict[str, Any]) -> None:
        sql = f"SELECT {column} FROM task WHERE id=?"  # noqa: S608 - our own names
        assert world.value(sql, name) == value

    return check


def _edge(name: str, on: str, state: str | None) -> Check:
    def check(world: World, _: dict[str, Any]) -> None:
        rows = world.place.rows(
            "SELECT state FROM dependency WHERE task_id=? AND on_task_id=?", world.ids[name], world.ids[on]
        )
        assert rows == ([] if state is None else [(state,)])

    return check


def _finds(*names: str) -> Check:
    def check(world: World, answer: dict[str, Any]) -> None:
        assert [task["id"] for task in answer["tasks"]] == [world.ids[name] for name in names]
        assert (answer["total"], answer["has_more"]) == (len(names), False)

    return check


def _pages(world: World, answer: dict[str, Any]) -> None:
    (total,) = world.place.rows("SELECT count(*) FROM task WHERE session_id=?", world.ids["session"])[0]
    assert (len(answer["tasks"]), answer["total"], answer["has_more"]) == (2, total, True)
    assert answer["next_cursor"]


def _linked(world: World, answer: dict[str, Any]) -> None:
    assert world.ids["artifact"] in str(answer["tasks"][0]["artifacts"])


def _gone(*names: str) -> Check:
    def check(world: World, answer: dict[str, Any]) -> None:
        for name in names:
            assert world.status(name) is None
            assert world.value("SELECT count(*) FROM dependency WHERE ? IN (task_id, on_task_id)", name) == 0
            assert world.ids[name] in answer["deleted"]

    return check


def _no_artifacts(name: str) -> Check:
    def check(world: World, answer: dict[str, Any]) -> None:
        assert world.value("SELECT count(*) FROM artifact WHERE task_id=?", name) == 0
        assert answer["dropped_artifacts"]

    return check


_CIRCLE = [{"key": "a", "title": "A", "dependencies": ["b"]}, {"key": "b", "title": "B", "dependencies": ["a"]}]
_TREE = [{"key": "x", "title": "X"}, {"title": "Y", "dependencies": ["x"], "subtasks": [{"title": "Z"}]}]
S = {"session": "@session"}

PLANNING: tuple[Row, ...] = (
    ok(PLAN, "one task", None, _created(New=None), title="New", **S),
    ok(PLAN, "a breakdown below one task", None, _created(Whole=None, X="Whole", Y="Whole", Z="Y"), title="Whole",
       subtasks=_TREE, **S),
    ok(PLAN, "several tasks side by side", None, _created(X=None, Y=None, Z="Y"), subtasks=_TREE, **S),
    ok(PLAN, "a task in a container", None, _created(New="box"), title="New", parent_task_id="@box", **S),
    ok(PLAN, "a dependency on a task by its prefix", None, _created(New=None), title="New", dependencies="@mine:14",
       **S),
    ok(PLAN, "a plan file", None, _created(first=None, second=None), plan_path="plan.md", **S),
    no(PLAN, BAD_VALUE, "a circle", "cycle", "a -> ", title="Circle", subtasks=_CIRCLE, **S),
    no(PLAN, BAD_VALUE, "a dependency that names nothing", "invalid_input", "nowhere", title="New",
       dependencies=["nowhere"], **S),
    no(PLAN, BAD_VALUE, "a key twice", "invalid_input", "twice",
       subtasks=[{"key": "k", "title": "A"}, {"key": "k", "title": "B"}], **S),
    no(PLAN, BAD_VALUE, "neither a title nor subtasks nor a plan", "invalid_input", "no title", **S),
    no(PLAN, BAD_VALUE, "a gate that is no command", "invalid_input", "cannot be split", title="New",
       gates=["echo 'open"], **S),
    no(PLAN, WRONG_STATE, "a plan file whose tasks are there already", "conflict", "A small plan",
       first=((PLAN, {"plan_path": "plan.md", **S}),), plan_path="plan.md", **S),
    no(PLAN, BAD_VALUE, "a plan file beside a title", "invalid_input", "plan_path", title="New", plan_path="plan.md",
       **S),
    no(PLAN, BAD_VALUE, "a plan file outside the workspace", "workspace_error", "leads outside",
       plan_path="../../etc/passwd", **S),
    no(PLAN, BAD_VALUE, "a plan file that is not there", "workspace_error", "none.md", plan_path="none.md", **S),
    no(PLAN, WRONG_STATE, "a container that has ended", "conflict", "is completed", title="New",
       parent_task_id="@done", **S),
    no(PLAN, WRONG_STATE, "a container that is being worked on", "conflict", "in_progress", title="New",
       parent_task_id="@mine", **S),
    no(PLAN, UNKNOWN, "a container that is not there", "not_found", "task_none", title="New",
       parent_task_id="task_none", **S),
    no(PLAN, UNKNOWN, "an id that names no session", "not_found", "session_0", title="New", session="session_0"),
    no(PLAN, NO_SESSION, "no session is open", "not_found", "orchestrator_initialize_session", title="New", empty=True),
    no(PLAN, NO_SESSION, "several are open and none is named", "conflict", "@session", title="New"),
)  # fmt: skip

UPDATING: tuple[Row, ...] = (
    ok(UPDATE, "a new title", None, _has("title", "ready", "Better"), task_id="@ready", title="Better"),
    ok(UPDATE, "a role by its other name", None, _has("specialist", "ready", "implementer"), task_id="@ready",
       specialist="coder"),
    ok(UPDATE, "the version that it has", None, _has("complexity", "ready", "complex"), task_id="@ready",
       complexity="complex", expected_version=1),
    ok(UPDATE, "a due date, and its removal by the next call", None, _has("due", "ready", None), task_id="@ready",
       clear=["due"], first=((UPDATE, {"task_id": "@ready", "due": "2030-01-01"}),)),
    ok(UPDATE, "one more dependency", None, _edge("ready", "mine", "open"), task_id="@ready",
       add_dependencies=["@mine"]),
    ok(UPDATE, "a dependency fewer", None, _edge("waiting", "ready", None), task_id="@waiting",
       remove_dependencies=["@ready"]),
    ok(UPDATE, "a dependency waived, with a reason", None, _edge("behind", "failed", "waived"), task_id="@behind",
       waive_dependencies=["@failed"], reason="not needed"),
    ok(UPDATE, "a failed task to be tried again", {"failed": "pending"}, task_id="@failed", status="pending"),
    ok(UPDATE, "a claimed task given back", {"mine": "pending"}, task_id="@mine", status="Pending"),
    ok(UPDATE, "a task blocked, with a reason", {"ready": "blocked"}, task_id="@ready", status="blocked",
       reason="rain"),
    ok(UPDATE, "a completed task reopened, with a reason", {"done": "in_progress"}, task_id="@done",
       status="in_progress", reason="a bug"),
    no(UPDATE, TWO_CLIENTS, "a version that another client left behind", "stale_version", "version 2", task_id="@ready",
       title="Mine", expected_version=1, first=((UPDATE, {"task_id": "@ready", "title": "Theirs"}),)),
    no(UPDATE, BAD_VALUE, "nothing to change", "invalid_input", "nothing to change", task_id="@ready"),
    no(UPDATE, BAD_VALUE, "a circle", "cycle", "Ready to begin", task_id="@ready", add_dependencies=["@waiting"]),
    no(UPDATE, BAD_VALUE, "a task blocked without a reason", "invalid_input", "reason", task_id="@ready",
       status="blocked"),
    no(UPDATE, BAD_VALUE, "a dependency waived without a reason", "invalid_input", "reason", task_id="@behind",
       waive_dependencies=["@failed"]),
    no(UPDATE, WRONG_STATE, "completed by an update", "invalid_input", "orchestrator_complete_task", task_id="@mine",
       status="completed"),
    no(UPDATE, WRONG_STATE, "archived by an update", "invalid_input", "orchestrator_delete_task", task_id="@done",
       status="archived"),
    no(UPDATE, WRONG_STATE, "an edge that the machine does not have", "bad_transition", "pending", task_id="@done",
       status="pending"),
    no(UPDATE, WRONG_STATE, "begun while it waits", "conflict", "not ready", task_id="@waiting", status="in_progress"),
    no(UPDATE, WRONG_STATE, "a container's status", "conflict", "follows", task_id="@box", status="in_progress"),
    no(UPDATE, WRONG_STATE, "an archived task", "bad_transition", "archived", task_id="@archived", status="pending"),
    no(UPDATE, UNKNOWN, "an id that names no task", "not_found", "task_none", task_id="task_none", title="New"),
    no(UPDATE, UNKNOWN, "a task of another session", "not_found", task_id="@ready", title="New", session="session_0"),
    no(UPDATE, UNKNOWN, "a dependency that is not there", "not_found", "task_none", task_id="@ready",
       add_dependencies=["task_none"]),
    no(UPDATE, NO_SESSION, "no session is open", "not_found", task_id="task_none", title="New", empty=True),
)  # fmt: skip

FINDING: tuple[Row, ...] = (
    ok(QUERY, "ready tasks", None, _finds("ready", "inside"), ready=True, **S),
    ok(QUERY, "a status, written kindly", None, _finds("review"), status="Review", **S),
    ok(QUERY, "several statuses", None, _finds("failed", "cancelled"), status=["failed", "cancelled"], **S),
    ok(QUERY, "a kind of work", None, _finds("ready"), task_type=["research"], **S),
    ok(QUERY, "a role", None, _finds("done"), specialist=["tester"], **S),
    ok(QUERY, "a complexity", None, _finds("waiting"), complexity="simple", **S),
    ok(QUERY, "words of the title", None, _finds("behind"), text="behind", **S),
    ok(QUERY, "a container's subtasks", None, _finds("inside"), parent_task_id="@box", **S),
    ok(QUERY, "filters that all must hold", None, _finds("ready"), ready=True, specialist="architect",
       task_type="research", created_after="2020-01-01", **S),
    ok(QUERY, "a time before all of them", None, _finds(), created_before="2020-01-01", **S),
    ok(QUERY, "a page", None, _pages, limit=2, **S),
    ok(QUERY, "links to artifacts", None, _linked, status="completed", include_artifacts=True, **S),
    no(QUERY, BAD_VALUE, "a cursor that was not given out", "invalid_input", "nonsense", cursor="nonsense", **S),
    no(QUERY, UNKNOWN, "a container that is not there", "not_found", "task_none", parent_task_id="task_none", **S),
    no(QUERY, UNKNOWN, "an id that names no session", "not_found", "session_0", session="session_0"),
    no(QUERY, NO_SESSION, "no session is open", "not_found", "orchestrator_initialize_session", empty=True),
    no(QUERY, NO_SESSION, "several are open and none is named", "conflict", "@session"),
)  # fmt: skip

ENDING: tuple[Row, ...] = (
    ok(CANCEL, "a task that is ready", {"ready": "cancelled", "waiting": "pending"}, task_id="@ready", reason="no"),
    ok(CANCEL, "a task in review", {"review": "cancelled"}, task_id="@review", reason="no"),
    ok(CANCEL, "its artifacts with it", {"review": "cancelled"}, _no_artifacts("review"), task_id="@review",
       reason="no", preserve_work=False),
    ok(CANCEL, "a container and all in it", {"box": "cancelled", "inside": "cancelled"}, task_id="@box", reason="no",
       cascade=True),
    no(CANCEL, WRONG_STATE, "a task that has ended", "bad_transition", "completed", task_id="@done", reason="no"),
    no(CANCEL, WRONG_STATE, "a container without cascade", "conflict", "cascade", task_id="@box", reason="no"),
    no(CANCEL, BAD_VALUE, "a blank reason", "invalid_input", "reason", task_id="@ready", reason="   "),
    no(CANCEL, UNKNOWN, "an id that names no task", "not_found", "task_none", task_id="task_none", reason="no"),
    no(CANCEL, NO_SESSION, "no session is open", "not_found", task_id="task_none", reason="no", empty=True),
    no(CANCEL, TWO_CLIENTS, "a task that another client cancelled first", "bad_transition", "cancelled",
       task_id="@ready", reason="no", first=((CANCEL, {"task_id": "@ready", "reason": "no"}),)),
    ok(DELETE, "a task that has ended", {"done": "archived"}, task_id="@done"),
    ok(DELETE, "a task that is live: it is cancelled first", {"blocked": "archived"}, task_id="@blocked"),
    ok(DELETE, "a container and all in it", {"box": "archived", "inside": "archived"}, task_id="@box"),
    ok(DELETE, "one that others wait for, with force", {"ready": "archived", "waiting": "pending"}, task_id="@ready",
       force=True),
    ok(DELETE, "for good", None, _gone("done"), task_id="@done", mode="delete", force=True),
    ok(DELETE, "for good, with a dependent", {"waiting": "pending"}, _gone("ready"), task_id="@ready", mode="delete",
       force=True),
    no(DELETE, WRONG_STATE, "one that live tasks wait for", "conflict", "@waiting", task_id="@ready"),
    no(DELETE, WRONG_STATE, "an archived one", "conflict", "archived already", task_id="@archived"),
    no(DELETE, BAD_VALUE, "for good without force", "invalid_input", "force", task_id="@done", mode="delete"),
    no(DELETE, UNKNOWN, "an id that names no task", "not_found", "task_none", task_id="task_none"),
    no(DELETE, NO_SESSION, "no session is open", "not_found", task_id="task_none", empty=True),
    no(DELETE, TWO_CLIENTS, "a task that another client archived first", "conflict", "archived already",
       task_id="@done", first=((DELETE, {"task_id": "@done"}),)),
)  # fmt: skip

ROWS = (*PLANNING, *UPDATING, *FINDING, *ENDING)
