"""The contract's rows on work: claim a task, hand work in, gather results."""

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

EXECUTE = "execute_task"
COMPLETE = "complete_task"
SYNTHESIZE = "synthesize_results"
UPDATE = "update_task"
WORK: dict[str, Any] = {"summary": "what came of it", "detailed_work": "# The work", "next_action": "complete"}


def _briefed(world: World, answer: dict[str, Any]) -> None:
    assert answer["prompt"]
    assert world.value("SELECT claimed_by FROM task WHERE id=?", "ready")


def _begun(world: World, answer: dict[str, Any]) -> None:
    assert answer["outcome"] == "working"
    assert world.value("SELECT count(*) FROM job WHERE task_id=?", "box") == 1


def _kept(name: str, *artifacts: str) -> Check:
    def check(world: World, answer: dict[str, Any]) -> None:
        rows = world.place.rows("SELECT name, sha256 FROM artifact WHERE task_id=? ORDER BY seq", world.ids[name])
        assert [row[0] for row in rows] == list(artifacts)
        for _, sha256 in rows:
            assert (world.place.workspace.artifacts / sha256[:2] / sha256).is_file()
        assert len(answer["artifacts"]) == len(artifacts)

    return check


def _gathered(world: World, answer: dict[str, Any]) -> None:
    assert world.place.rows("SELECT count(*) FROM artifact WHERE sha256=?", answer["artifact"].rpartition("/")[2]) == [
        (1,)
    ]


ROWS: tuple[Row, ...] = (
    ok(EXECUTE, "a ready task", {"ready": "in_progress"}, _briefed, task_id="@ready"),
    ok(EXECUTE, "a task in review", {"review": "in_progress"}, task_id="@review"),
    ok(EXECUTE, "a ready task by its prefix", {"ready": "in_progress"}, _briefed, task_id="@ready:14"),
    ok(EXECUTE, "mode=agent and a container, whose tasks without a command are prepared", {"inside": "pending"}, _begun,
       task_id="@box", mode="agent"),
    no(EXECUTE, WRONG_STATE, "mode=agent and a task that is no command", "invalid_input", "no model provider",
       task_id="@ready", mode="agent"),
    no(EXECUTE, WRONG_STATE, "a task that waits", "conflict", "Ready to begin", task_id="@waiting"),
    no(EXECUTE, WRONG_STATE, "a blocked task", "conflict", "no key", task_id="@blocked"),
    no(EXECUTE, WRONG_STATE, "a completed task", "conflict", "completed", task_id="@done"),
    no(EXECUTE, WRONG_STATE, "a failed task", "bad_transition", "failed", task_id="@failed"),
    no(EXECUTE, WRONG_STATE, "a cancelled task", "bad_transition", "cancelled", task_id="@cancelled"),
    no(EXECUTE, WRONG_STATE, "an archived task", "bad_transition", "archived", task_id="@archived"),
    no(EXECUTE, WRONG_STATE, "a container", "conflict", "subtasks", task_id="@box"),
    no(EXECUTE, TWO_CLIENTS, "a task that another client works on", "conflict", "being worked on", task_id="@theirs"),
    no(EXECUTE, TWO_CLIENTS, "a task that another client was faster to claim", "conflict", "being worked on",
       task_id="@ready", first=((EXECUTE, {"task_id": "@ready"}),)),
    no(EXECUTE, UNKNOWN, "an id that names no task", "not_found", "task_none", task_id="task_none"),
    no(EXECUTE, NO_SESSION, "no session is open", "not_found", task_id="task_none", empty=True),
    ok(COMPLETE, "a claimed task", {"mine": "completed"}, _kept("mine", "work on Claimed by one"), task_id="@mine",
       **WORK),
    ok(COMPLETE, "a file of the workspace with it", {"mine": "completed"},
       _kept("mine", "work on Claimed by one", "notes.txt"), task_id="@mine", file_paths="notes.txt", **WORK),
    ok(COMPLETE, "no work but a summary", {"mine": "completed"}, _kept("mine"), task_id="@mine", summary="done",
       next_action="continue"),
    ok(COMPLETE, "a review is wanted", {"mine": "review"}, task_id="@mine", summary="look",
       next_action="needs_revision"),
    ok(COMPLETE, "it is stuck", {"mine": "blocked"}, task_id="@mine", summary="no key", next_action="blocked"),
    no(COMPLETE, WRONG_STATE, "a task that was not claimed", "conflict", "not claimed", task_id="@ready", **WORK),
    no(COMPLETE, WRONG_STATE, "a task that has ended", "bad_transition", "completed", task_id="@done", **WORK),
    no(COMPLETE, WRONG_STATE, "a container", "conflict", "follows", task_id="@box", **WORK),
    no(COMPLETE, WRONG_STATE, "a gate that did not succeed", "conflict", "test -f gate.txt", task_id="@gated",
       notes=True, **WORK),
    no(COMPLETE, WRONG_STATE, "a gate that may not run", "conflict", "not allowed", task_id="@locked", **WORK),
    no(COMPLETE, TWO_CLIENTS, "a task that another client works on", "conflict", "is held by", task_id="@theirs",
       **WORK),
    no(COMPLETE, BAD_VALUE, "a blank summary", "invalid_input", "summary", task_id="@mine", summary="  ",
       next_action="complete"),
    no(COMPLETE, BAD_VALUE, "a file outside the workspace", "workspace_error", "leads outside", task_id="@mine",
       file_paths=["../home/x"], **WORK),
    no(COMPLETE, BAD_VALUE, "a file that is not there", "workspace_error", "none.txt", task_id="@mine",
       file_paths=["none.txt"], **WORK),
    no(COMPLETE, UNKNOWN, "an id that names no task", "not_found", "task_none", task_id="task_none", **WORK),
    no(COMPLETE, NO_SESSION, "no session is open", "not_found", task_id="task_none", empty=True, **WORK),
    ok(SYNTHESIZE, "a whole session", None, _gathered, session="@session"),
    ok(SYNTHESIZE, "a container", None, _gathered, parent_task_id="@box"),
    no(SYNTHESIZE, UNKNOWN, "an id that names no task", "not_found", "task_none", parent_task_id="task_none"),
    no(SYNTHESIZE, UNKNOWN, "an id that names no session", "not_found", "session_0", session="session_0"),
    no(SYNTHESIZE, NO_SESSION, "no session is open", "not_found", "orchestrator_initialize_session", empty=True),
    no(SYNTHESIZE, NO_SESSION, "several are open and none is named", "conflict", "@session"),
)  # fmt: skip
