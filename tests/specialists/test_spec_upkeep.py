"""Sessions put away over every known workspace, and what is looked after inside one; live work is never touched."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from vespera_agents.specialists import Holder
from vespera_agents.store import queries
from vespera_agents.store.artifacts import ArtifactFiles
from vespera_agents.store.commands import CleanSession
from vespera_agents.work.drafts import TaskDraft
from vespera_agents.work.errors import InvalidInput, NotFound
from vespera_agents.work.models import TaskStatus
from vespera_agents.workspace import Registry, Workspace

HOUR = 3_600.0
DAY = 24 * HOUR
TABLES = ("session", "task", "dependency", "artifact", "event", "command")


def change(home: Path, sql: str, *parameters: object) -> None:
    """Change the database by hand, as time or a fault would."""
    with closing(sqlite3.connect(home / ".vespera" / "vespera.db")) as connection, connection:
        connection.execute(sql, parameters)


def age(home: Path, seconds: float) -> None:
    change(home, "UPDATE task SET updated = updated - ?, created = created - ?", seconds, seconds)
    change(home, "UPDATE session SET updated = updated - ?, created = created - ?", seconds, seconds)


def state(home: Path) -> list[object]:
    with closing(sqlite3.connect(home / ".vespera" / "vespera.db")) as connection:
        return [connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall() for table in TABLES]  # noqa: S608


def statuses(home: Path) -> dict[str, str]:
    with closing(sqlite3.connect(home / ".vespera" / "vespera.db")) as connection:
        return dict(connection.execute("SELECT title, status FROM task").fetchall())


async def clean(h, which: str, **more):
    return await h.orchestrator.upkeep.cleanup(h.call(), which, **{"dry_run": False} | more)


async def look(h, action: str, **more):
    return await h.orchestrator.upkeep.maintain(h.call(), action, **more)


async def session_status(h, session: str) -> str:
    return str((await h.opened.store.read(queries.session, session)).status)


# Cleanup --------------------------------------------------------------------------------------------------------------


async def test_a_session_whose_tasks_have_all_ended_is_completed_and_a_dry_run_changes_nothing(house, home, draft):
    async with house() as h:
        session = await h.begin()
        ids = await h.plan(draft("a"), draft("b"))
        await h.do(ids["a"])
        assert (await clean(h, "completed")).sessions == 0, "b is still to be done"
        await h.do(ids["b"])
        before = state(home)
        told = await clean(h, "completed", dry_run=True)
        assert (told.dry_run, told.sessions, told.tasks, told.artifacts) == (True, 1, 0, 0)
        assert "completed: closed" in told.changes[0]
        assert "dry_run=false" in told.next_action
        assert state(home) == before
        done = await clean(h, "completed")
        assert (done.dry_run, done.sessions, done.changes) == (False, 1, told.changes)
        assert await session_status(h, session) == "closed"
        assert statuses(home) == {"a": "completed", "b": "completed"}
        assert (await clean(h, "completed")).changes == [], "once is enough"
        events = await h.opened.store.read(queries.events_of, session)
        assert [(e.what, e.actor, e.detail) for e in events][-1] == ("cleaned", "mcp:test", "completed")
        assert (await h.sessions.initialize(h.call(), None, None, session)).status == "open", "it can be opened again"


async def test_an_old_session_is_closed_and_its_finished_tasks_are_archived_and_no_others(house, home, draft):
    async with house() as h:
        session = await h.begin()
        box = TaskDraft(key="box", title="box", subtasks=(draft("in"), draft("beside")))
        half = TaskDraft(key="half", title="half", subtasks=(draft("done"), draft("open")))
        ids = await h.plan(draft("a"), draft("failed"), draft("waiting"), box, half)
        for key in ("a", "in", "done"):
            await h.do(ids[key])
        await h.tasks.cancel(h.call(), ids["beside"], "not wanted")
        await h.claim(ids["failed"])
        await h.tasks.update(h.call(), ids["failed"], status=TaskStatus.FAILED, reason="broke")
        assert (await clean(h, "old")).changes == []
        age(home, 31 * DAY)
        assert (await clean(h, "old", older_than_days=32)).changes == []
        told = await clean(h, "old", dry_run=True)
        done = await clean(h, "old")
        assert (done.sessions, done.tasks, done.artifacts) == (1, 3, 0)
        assert done.changes == told.changes
        assert "2 unfinished tasks stay" in done.changes[0]
        archived = {title for title, status in statuses(home).items() if status == "archived"}
        assert archived == {"a", "in", "beside", "box"}
        assert statuses(home)["failed"] == "failed", "it can still be tried again; an archived task never"
        assert await session_status(h, session) == "closed"


async def test_an_empty_session_is_orphaned_after_an_hour_and_one_without_its_directory_when_nothing_is_left_to_do(
    house, home, draft
):
    async with house() as h:
        empty = await h.begin("empty")
        assert (await clean(h, "orphaned")).changes == [], "somebody may be about to plan"
        change(home, "UPDATE session SET updated = updated - ?", 2 * HOUR)
        moved = await h.begin("moved")
        ids = await h.plan(draft("a"), session=moved)
        change(home, "UPDATE session SET directory = '/gone/away' WHERE id = ?", moved)
        done = await clean(h, "orphaned")
        assert done.sessions == 1
        assert empty in done.changes[0]
        assert await session_status(h, moved) == "open", "there is work left in it"
        await h.do(ids["a"])
        assert moved in (await clean(h, "orphaned")).changes[0]


@pytest.mark.parametrize("which", ["all", "old", "completed", "orphaned"])
async def test_where_somebody_is_at_work_nothing_is_touched(house, home, draft, which):
    async with house() as h:
        session = await h.begin()
        ids = await h.plan(draft("a"), draft("done"))
        await h.do(ids["done"])
        await h.claim(ids["a"])
        age(home, 400 * DAY)
        change(home, "UPDATE session SET directory = '/gone/away'")
        before = state(home)
        told = await clean(h, which, session=session)
        assert (told.sessions, told.tasks, told.changes) == (0, 0, [])
        assert f"{session} (" in told.skipped[0]
        assert state(home) == before


async def test_a_session_in_which_a_job_goes_on_is_live_work(house, home, draft):
    async with house() as h:
        session = await h.begin()
        ids = await h.plan(draft("a"))
        await h.do(ids["a"])
        change(
            home,
            "INSERT INTO job(id, kind, principal, server, session_id, status, ttl_seconds, poll_seconds, created,"
            " updated) VALUES ('job_1', 'x', 'p', 's', ?, 'working', 1, 1, 1, 1)",
            session,
        )
        assert (await clean(h, "all")).changes == []
        change(home, "UPDATE job SET status='completed'")
        assert (await clean(h, "all")).sessions == 1


async def test_what_changed_after_somebody_looked_is_judged_again_in_the_transaction(house, home, draft):
    async with house() as h:
        session = await h.begin()
        ids = await h.plan(draft("a"), draft("b"))
        await h.do(ids["a"])
        command = CleanSession("test", session, ("completed", "old"), 30 * DAY, gone=False)
        result = await h.opened.store.execute(command, h.opened.key())
        assert (result["reasons"], result["closed"]) == ([], False)
        await h.claim(ids["b"])
        age(home, 31 * DAY)
        result = await h.opened.store.execute(command, h.opened.key())
        assert (result["reasons"], result["closed"]) == ([], False)
        assert await session_status(h, session) == "open"


async def test_workspaces_that_are_not_open_are_read_as_they_lie_and_changed_without_being_served(
    house, home, draft, tmp_path
):
    away, broken = tmp_path / "away", tmp_path / "broken"
    for directory in (away, broken):
        directory.mkdir()
    async with house(away) as h:
        session = await h.begin()
        ids = await h.plan(draft("a"))
        await h.do(ids["a"])
    Workspace(broken).make()
    (broken / ".vespera" / "vespera.db").write_text("this is no database, and long enough to be looked at as one" * 9)
    Registry().remember(broken)
    async with house() as h:
        before = state(away)
        told = await clean(h, "completed", dry_run=True)
        assert session in told.changes[0]
        assert f"{broken} cannot be read" in told.skipped[0]
        assert state(away) == before
        assert (await clean(h, "completed")).sessions == 1
        assert list(h.runtime.workspaces) == [home.resolve()]
        assert not list((away / ".vespera" / "servers").glob("srv_*.json"))
    async with house(away) as h:
        assert await session_status(h, session) == "closed"
        assert (await h.opened.store.read(queries.events_of, session))[-1].actor == "mcp:test"


async def test_bad_wishes_are_refused(house):
    async with house() as h:
        for days in (0, 4_000):
            with pytest.raises(InvalidInput, match="1 to 3650 days"):
                await clean(h, "old", older_than_days=days)
        with pytest.raises(NotFound):
            await clean(h, "old", session="session_0")


# Maintenance ----------------------------------------------------------------------------------------------------------


async def test_a_scan_gives_back_what_is_stale_and_removes_what_nobody_names(house, home, draft):
    async with house() as h:
        session = await h.begin()
        ids = await h.plan(draft("stale"), draft("young"), draft("conducted"))
        for task in ids.values():
            await h.claim(task)
        change(home, "UPDATE task SET updated = updated - ? WHERE title != 'young'", 25 * HOUR)
        conductor = f"{h.opened.record.id}/conductor/{session}"
        change(home, "UPDATE task SET claimed_by = ? WHERE title = 'conducted'", conductor)
        change(
            home,
            "INSERT INTO artifact(id, session_id, task_id, kind, name, mime_type, size, sha256, created)"
            " VALUES ('artifact_x', ?, 'task_gone', 'general', 'lost', 'text/plain', 1, 'x', 1)",
            session,
        )
        stray = await h.opened.store.artifacts.save(b"nobody's")
        path = ArtifactFiles(home / ".vespera" / "artifacts").path(stray)
        os.utime(path, (1, 1))
        before = state(home)
        told = await look(h, "scan_cleanup")
        assert told.dry_run, "unless told otherwise it only looks"
        assert [line.partition(":")[0] for line in told.changes] == [
            f"{ids['stale']}",
            "artifact artifact_x",
            "1 artifact files would be removed",
        ]
        assert "untouched for 25 hours" in told.findings[0]
        assert state(home) == before
        assert path.exists()
        done = await look(h, "scan_cleanup", dry_run=False)
        assert f"{ids['stale']}: given back" in done.changes
        assert statuses(home) == {"stale": "pending", "young": "in_progress", "conducted": "in_progress"}
        assert not path.exists()
        events = await h.opened.store.read(queries.events_of, session)
        assert any(
            e.detail and "nothing happened for 25 hours" in e.detail for e in events if e.task_id == ids["stale"]
        )
        assert (await look(h, "scan_cleanup")).findings == []


async def test_a_claim_of_a_client_whose_name_sounds_like_one_of_ours_gets_stale_like_any_other(house, home, draft):
    async with house() as h:
        await h.begin()
        ids = await h.plan(draft("a"), draft("b"))
        for task, name in zip(ids.values(), ("agent-inspector#1", "conductor"), strict=True):
            await h.work.execute(h.call(holder=Holder(name)), task)
        change(home, "UPDATE task SET updated = updated - ?", 25 * HOUR)
        await look(h, "scan_cleanup", dry_run=False)
        assert statuses(home) == {"a": "pending", "b": "pending"}


async def test_a_validation_finds_what_does_not_hold_together_and_changes_nothing(house, home, draft):
    async with house() as h:
        await h.begin()
        ids = await h.plan(draft("a"), draft("b"))
        await h.do(ids["a"], detailed_work="the work")
        await h.do(ids["b"], detailed_work="more work")
        for level in ("basic", "full"):
            assert (await look(h, "validate_structure", validation_level=level)).findings == []
        (whole,), (damaged,) = [
            [one.sha256 for one in await h.opened.store.read(queries.artifacts_of, [ids[key]])] for key in ("a", "b")
        ]
        files = h.opened.store.artifacts
        files.path(whole).unlink()
        files.path(damaged).write_bytes(b"less work")
        change(home, "UPDATE task SET parent_id = 'task_gone' WHERE title = 'a'")
        before = state(home)
        basic = (await look(h, "validate_structure")).findings
        assert any("task_gone" in line for line in basic)
        assert any(whole in line and "cannot be read" in line for line in basic)
        assert not any(damaged in line for line in basic), "it has the right size"
        full = await look(h, "validate_structure", validation_level="full")
        assert any(damaged in line and "not what they were" in line for line in full.findings)
        assert full.changes == []
        assert state(home) == before


async def test_status_documents_are_written_whole_and_only_where_something_changed(house, home, draft):
    async with house() as h:
        session = await h.begin()
        other = await h.begin("other")
        ids = await h.plan(draft("a"), session=session)
        path = home.resolve() / ".vespera" / "reports" / f"status-{session}.md"
        told = await look(h, "update_documentation", scope="session", session=session, dry_run=True)
        assert not path.exists()
        assert "would be written" in told.changes[0]
        assert len((await look(h, "update_documentation")).changes) == 2
        assert (path.parent / f"status-{other}.md").exists()
        assert "waits for a client" in path.read_text()
        again = await look(h, "update_documentation")
        assert (again.changes, len(again.findings)) == ([], 2)
        await h.do(ids["a"])
        assert [str(path) in line for line in (await look(h, "update_documentation")).changes] == [True]
        assert {one.name for one in path.parent.iterdir()} == {f"status-{session}.md", f"status-{other}.md"}
        change(home, "UPDATE session SET id = '../../away' WHERE id = ?", other)
        odd = await look(h, "update_documentation")
        assert "no id of ours" in " ".join(odd.findings)


async def test_a_hand_over_tells_what_is_open_blocked_decided_and_made(house, draft):
    async with house() as h:
        session = await h.begin("the parser")
        ids = await h.plan(
            draft("mine"), draft("free"), draft("stuck"), draft("review"), draft("off"), draft("failed"),
            draft("behind", "failed"), draft("waived", "off"), draft("done"),
        )  # fmt: skip
        await h.claim(ids["mine"])
        await h.do(ids["stuck"], next_action="blocked", summary="no electricity")
        await h.do(ids["review"], next_action="needs_revision", summary="look at it")
        await h.tasks.cancel(h.call(), ids["off"], "nobody wants it")
        await h.tasks.update(h.call(), ids["waived"], waive=(ids["off"],), reason="goes without")
        await h.claim(ids["failed"])
        await h.tasks.update(h.call(), ids["failed"], status=TaskStatus.FAILED, reason="it broke")
        await h.do(ids["done"], detailed_work="the grammar")
        dry = await look(h, "prepare_handover", dry_run=True)
        assert (dry.uris, len(dry.changes)) == ([], 1)
        call = h.call("the same")
        made = await h.orchestrator.upkeep.maintain(call, "prepare_handover")
        again = await h.orchestrator.upkeep.maintain(h.call("the same"), "prepare_handover")
        assert (made.uris, made.changes) == (again.uris, again.changes)
        text = await h.text_of(made.uris[0].rpartition("/")[2])
        for words in (
            "# Hand-over: the parser",
            f"with {h.opened.record.id} since",
            "no electricity",
            "look at it",
            "nobody wants it",
            "goes without",
            "it broke",
            "work on done",
            f'orchestrator_execute_task(task_id="{ids["free"]}")',
            f'orchestrator_resume_session(session="{session}")',
        ):
            assert words in text, words
        assert "claimed by" not in text
        artifacts = await h.opened.store.read(queries.latest_artifacts, session, 10)
        assert [one.name for one in artifacts].count("hand-over of the parser") == 1
        later = await look(h, "prepare_handover")
        assert "hand-over of" not in (await h.text_of(later.uris[0].rpartition("/")[2]))
        assert "hand-over of" not in (await h.text_of((await h.work.synthesize(h.call(), None, session)).artifact.id))


async def test_long_work_tells_how_far_it_is(house, draft):
    async with house() as h:
        await h.begin()
        ids = await h.plan(draft("a"))
        await h.do(ids["a"], detailed_work="work")
        heard: list[tuple[float, float | None, str]] = []
        plain = h.call()
        call = type(plain)(plain.by, plain.key, report=lambda *told: heard.append(told))
        await h.orchestrator.upkeep.maintain(call, "validate_structure", validation_level="full")
        await h.orchestrator.upkeep.maintain(call, "scan_cleanup")
        await h.orchestrator.upkeep.cleanup(call, "all")
        told = {text for _, _, text in heard}
        assert {"checking the database", "looking at the files of artifacts", "done"} <= told
