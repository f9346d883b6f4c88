"""The contract's rows on the life of the server: a shutdown that is prepared, restarts, round trips."""

from __future__ import annotations

from typing import Any

from tests.serving.contract.table import NO_SESSION, UNKNOWN, WRONG_STATE, Calls, Row, no, ok
from tests.serving.contract.world import World

PREPARE = "shutdown_prepare"
RESTART = "restart_server"
STATUS = "restart_status"
RECONNECT = "reconnect_test"
PREPARED: Calls = ((PREPARE, {}),)
UNDONE: Calls = ((PREPARE, {"undo": True}),)


def _prepared(world: World, answer: dict[str, Any]) -> None:
    assert not answer["ready"]
    assert answer["prepared_since"]
    blockers = {what.split()[0]: (by, since) for what, by, since in answer["blockers"]}
    by, since = blockers[world.ids["mine"]]
    assert by == world.value("SELECT claimed_by FROM task WHERE id=?", "mine")
    assert since
    assert world.ids["done"] not in blockers
    assert world.value("SELECT count(*) FROM shutdown") == 1


def _not_prepared(world: World, answer: dict[str, Any]) -> None:
    assert not answer["ready"]
    assert "prepared_since" not in answer
    assert answer["blockers"] == []
    assert world.value("SELECT count(*) FROM shutdown") == 0


def _restarted(world: World, answer: dict[str, Any]) -> None:
    status, generation, following = world.place.rows(
        "SELECT status, generation, following FROM restart ORDER BY seq DESC LIMIT 1"
    )[0]
    assert (status, following) == ("done", generation + 1)
    assert answer["from_worker"].startswith(f"generation {generation}, process ")
    assert answer["to_worker"].startswith(f"generation {following}, process ")
    assert world.status("mine") == "in_progress"


def _handed_over(world: World, answer: dict[str, Any]) -> None:
    _restarted(world, answer)
    assert f"context of {world.ids['ready']}: goes on" in answer["handed_over"]
    assert answer["phases"]


def _stands(_: World, answer: dict[str, Any]) -> None:
    assert (answer["phase"], answer["percent"]) == ("serving", 100.0)
    assert "history" not in answer


def _remembers(_: World, answer: dict[str, Any]) -> None:
    assert all(at and what for at, what in answer["history"])
    assert bool(answer["history"]) == bool(answer["generation"])


def _reached(_: World, answer: dict[str, Any]) -> None:
    hops = dict(answer["hops"])
    assert {"worker", "store write", "store read"} <= hops.keys()
    assert ("front" in hops) == bool(answer["generation"])
    assert all(0 <= seconds < 30 for seconds in hops.values())


def _reached_session(world: World, answer: dict[str, Any]) -> None:
    _reached(world, answer)
    assert "session" in dict(answer["hops"])


ROWS: tuple[Row, ...] = (
    ok(PREPARE, "nothing, while tasks are being worked on", None, _prepared, after=UNDONE),
    ok(PREPARE, "`undo`, where nothing is prepared", None, _not_prepared, kind=WRONG_STATE, undo=True),
    ok(PREPARE, "`undo`, after a shutdown was prepared", None, _not_prepared, before=PREPARED, undo=True),
    no("plan_task", WRONG_STATE, "a task, while a shutdown is prepared", "conflict", "orchestrator_shutdown_prepare",
       before=PREPARED, after=UNDONE, title="New", session="@session"),
    no("execute_task", WRONG_STATE, "a ready task, while a shutdown is prepared", "conflict",
       "orchestrator_shutdown_prepare", before=PREPARED, after=UNDONE, task_id="@ready"),
    no("synthesize_results", WRONG_STATE, "nothing, while a shutdown is prepared", "conflict",
       "orchestrator_shutdown_prepare", before=PREPARED, after=UNDONE, session="@session"),
    ok("complete_task", "work, while a shutdown is prepared", {"mine": "completed"}, kind=WRONG_STATE, before=PREPARED,
       after=UNDONE, task_id="@mine", summary="done", next_action="complete"),
    no(RESTART, WRONG_STATE, "nothing, where no front is", "conflict", "no front", "vespera serve", front=False),
    ok(RESTART, "nothing, behind a front", None, _handed_over, front=True,
       before=(("execute_task", {"task_id": "@ready"}),)),
    ok(RESTART, "`graceful=false`", None, _restarted, front=True, graceful=False, reason="at once"),
    ok(RESTART, "`preserve_state=false`, while a shutdown is prepared", None, _restarted, kind=WRONG_STATE, front=True,
       before=PREPARED, after=UNDONE, preserve_state=False),
    ok(STATUS, "nothing", None, _stands),
    ok(STATUS, "`include_history`", None, _remembers, include_history=True),
    ok(RECONNECT, "nothing", None, _reached),
    ok(RECONNECT, "a session", None, _reached_session, session_id="@session"),
    ok(RECONNECT, "no session anywhere", None, _reached, kind=NO_SESSION, empty=True),
    no(RECONNECT, UNKNOWN, "an id that names no session", "not_found", "session_0", session_id="session_0"),
)  # fmt: skip
