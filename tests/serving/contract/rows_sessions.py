"""The contract's rows on sessions and on how the work stands."""

from __future__ import annotations

from typing import Any

from tests.serving.contract.table import BAD_VALUE, NO_SESSION, TWO_CLIENTS, UNKNOWN, Row, no, ok
from tests.serving.contract.world import World

INITIALIZE = "initialize_session"
LIST = "list_sessions"
RESUME = "resume_session"
SHOW = "session_status"
STATUS = "get_status"


def _made_anew(world: World, answer: dict[str, Any]) -> None:
    assert answer["created_now"]
    assert world.place.rows("SELECT name, status FROM session WHERE id=?", answer["id"]) == [("brand new", "open")]


def _reopened(world: World, answer: dict[str, Any]) -> None:
    assert not answer["created_now"]
    assert answer["id"] == world.ids["session"]
    assert world.value("SELECT status FROM session WHERE id=?", "session") == "open"


def _below_the_project(world: World, answer: dict[str, Any]) -> None:
    assert answer["created_now"]
    assert (world.place.project / "inner" / ".vespera" / "vespera.db").exists()


def _lists_this_one(world: World, answer: dict[str, Any]) -> None:
    listed = {line["id"] for line in answer["sessions"]}
    assert {row[0] for row in world.place.rows("SELECT id FROM session")} <= listed
    assert (answer["total"], answer["has_more"]) == (len(listed), False)


def _one_page(_: World, answer: dict[str, Any]) -> None:
    assert len(answer["sessions"]) == 1


def _open_work(world: World, answer: dict[str, Any]) -> None:
    tasks = answer["tasks"]
    assert {task["id"] for task in tasks if task["ready"]} == {world.ids["ready"], world.ids["inside"]}
    begun = {task["id"] for task in tasks if task["status"] == "in_progress"}
    assert begun == {world.ids[name] for name in ("mine", "gated", "locked", "theirs")}
    assert {task["id"] for task in tasks if "blocked_by" in task} == {world.ids["blocked"], world.ids["behind"]}


def _open_work_and_servers(world: World, answer: dict[str, Any]) -> None:
    _open_work(world, answer)
    words = [word for server in answer["servers"] for word in server.split()[3:]]
    assert sorted(words) == ["leads", "this"]


def _none(_: World, answer: dict[str, Any]) -> None:
    assert (answer["sessions"], answer["total"]) == ([], 0)


def _same(world: World, answer: dict[str, Any]) -> None:
    assert answer["id"] == world.ids["session"]
    assert dict(answer["counts"])["completed"] == 1


ROWS: tuple[Row, ...] = (
    ok(INITIALIZE, "a name that is new", None, _made_anew, name="brand new"),
    ok(INITIALIZE, "the id of a session", None, _reopened, session_id="@session"),
    ok(INITIALIZE, "a directory below the server's own", None, _below_the_project, working_directory="inner"),
    ok(INITIALIZE, "an id from a second client", None, _reopened, kind=TWO_CLIENTS, session_id="@session",
       first=((INITIALIZE, {"session_id": "@session"}),)),
    no(INITIALIZE, UNKNOWN, "an id that names no session", "not_found", "session_0", session_id="session_0"),
    no(INITIALIZE, BAD_VALUE, "the machine's own directory", "workspace_error", "belongs to the system",
       working_directory="/etc"),
    no(INITIALIZE, BAD_VALUE, "a directory that is not there", "workspace_error", "no-such-place",
       working_directory="no-such-place"),
    no(INITIALIZE, BAD_VALUE, "a file", "workspace_error", "is a file", working_directory="notes.txt"),
    no(INITIALIZE, BAD_VALUE, "our own directory", "workspace_error", ".vespera", working_directory=".vespera"),
    no(INITIALIZE, BAD_VALUE, "a NUL character", "invalid_input", "NUL", working_directory="a\0b"),
    ok(LIST, "no filter", None, _lists_this_one, limit=200),
    ok(LIST, "a limit", None, _one_page, limit=1, status="open"),
    no(LIST, BAD_VALUE, "a cursor that was not given out", "invalid_input", "nonsense", cursor="nonsense"),
    ok(LIST, "no session anywhere", None, _none, kind=NO_SESSION, empty=True),
    ok(RESUME, "a session with open work", None, _open_work, session="@session"),
    no(RESUME, BAD_VALUE, "a budget that is too small for any answer", "invalid_arguments", "500",
       session="@session", context_tokens_max=10),
    no(RESUME, UNKNOWN, "an id that names no session", "not_found", "session_0", session="session_0"),
    no(RESUME, NO_SESSION, "no session is open", "not_found", "orchestrator_initialize_session", empty=True),
    ok(STATUS, "a session with open work", None, _open_work_and_servers, session="@session"),
    no(STATUS, UNKNOWN, "an id that names no session", "not_found", "session_0", session="session_0"),
    no(STATUS, NO_SESSION, "no session is open", "not_found", "orchestrator_initialize_session", empty=True),
    no(STATUS, NO_SESSION, "several are open and none is named", "conflict", "@session", "session"),
    ok(SHOW, "a session", None, _same, session="@session"),
    no(SHOW, UNKNOWN, "an id that names no session", "not_found", "session_0", session="session_0"),
    no(SHOW, NO_SESSION, "no session is open", "not_found", "orchestrator_initialize_session", empty=True),
    no(SHOW, NO_SESSION, "several are open and none is named", "conflict", "@session", "session"),
)  # fmt: skip
