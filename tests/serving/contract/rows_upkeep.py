"""The contract's rows on keeping the house: cleanup, maintenance, health."""

from __future__ import annotations

from typing import Any

from tests.serving.contract.table import NO_SESSION, UNKNOWN, WRONG_STATE, Row, no, ok
from tests.serving.contract.world import World

CLEANUP = "cleanup_sessions"
MAINTAIN = "maintenance_coordinator"
HEALTH = "health_check"


def _left_open(world: World, answer: dict[str, Any]) -> None:
    assert (answer["sessions"], answer["tasks"], answer["artifacts"], answer["changes"]) == (0, 0, 0, [])
    assert world.value("SELECT status FROM session WHERE id=?", "session") == "open"


def _at_work(world: World, answer: dict[str, Any]) -> None:
    _left_open(world, answer)
    assert world.ids["session"] in answer["skipped"][0]


def _nothing(_: World, answer: dict[str, Any]) -> None:
    assert answer["changes"] == []


def _looked(world: World, answer: dict[str, Any]) -> None:
    assert (answer["action"], answer["dry_run"], answer["changes"]) == ("scan_cleanup", True, [])
    assert world.status("mine") == "in_progress"


def _sound(_: World, answer: dict[str, Any]) -> None:
    assert answer["findings"] == []


def _documented(world: World, answer: dict[str, Any]) -> None:
    path = world.place.workspace.reports / f"status-{world.ids['session']}.md"
    assert str(path) in answer["changes"][0]
    assert "Claimed by one" in path.read_text()


def _not_documented(world: World, answer: dict[str, Any]) -> None:
    assert "would be written" in answer["changes"][0]
    assert not (world.place.workspace.reports / f"status-{world.ids['session']}.md").exists()


def _handed_over(world: World, answer: dict[str, Any]) -> None:
    (uri,) = answer["uris"]
    rows = world.place.rows("SELECT name, task_id FROM artifact WHERE sha256=?", uri.rpartition("/")[2])
    assert rows[0][0].startswith("hand-over of ")
    assert rows[0][1] is None


def _measured(world: World, answer: dict[str, Any]) -> None:
    assert answer["status"] in {"healthy", "degraded", "unhealthy"}
    assert (answer["status"] == "healthy") == (answer["reasons"] == [])
    assert str(world.place.project) in dict(answer["commit_seconds"])
    assert dict(answer["disk_free_bytes"])[str(world.place.project)] > 0
    assert answer["providers"] == []
    assert answer["recoveries"] == []
    assert "front" not in answer or dict(answer["front"])["generation"] >= 1


ROWS: tuple[Row, ...] = (
    ok(CLEANUP, "everything, only to look", None, _left_open, which="all", session="@session"),
    ok(CLEANUP, "everything, where somebody is at work", None, _at_work, kind=WRONG_STATE, which="all", dry_run=False,
       session="@session"),
    ok(CLEANUP, "no session anywhere", None, _nothing, kind=NO_SESSION, empty=True, which="all", dry_run=False),
    no(CLEANUP, UNKNOWN, "an id that names no session", "not_found", "session_0", which="old", session="session_0"),
    ok(MAINTAIN, "a scan, only to look", None, _looked, action="scan_cleanup", session="@session"),
    ok(MAINTAIN, "a check of rows and files", None, _sound, action="validate_structure", validation_level="full",
       session="@session"),
    ok(MAINTAIN, "status documents", None, _documented, action="update_documentation", scope="session",
       session="@session"),
    ok(MAINTAIN, "status documents, only to look", None, _not_documented, action="update_documentation",
       scope="session", dry_run=True, session="@session"),
    ok(MAINTAIN, "a hand-over", None, _handed_over, action="prepare_handover", scope="session", session="@session"),
    no(MAINTAIN, UNKNOWN, "an id that names no session", "not_found", "session_0", action="scan_cleanup",
       session="session_0"),
    no(MAINTAIN, NO_SESSION, "one session, and none is open", "not_found", "orchestrator_initialize_session",
       empty=True, action="prepare_handover", scope="session"),
    no(MAINTAIN, NO_SESSION, "one session, and several are open", "conflict", "@session", action="prepare_handover",
       scope="session"),
    ok(HEALTH, "nothing", None, _measured),
)  # fmt: skip
