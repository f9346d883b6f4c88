"""The facade's tools on sessions: initialize, list, resume, status; and how a call finds its session."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest
import trio

from vespera_agents.context import estimate_tokens
from vespera_agents.specialists import Orchestrator
from vespera_agents.specialists.runtime import open_runtime
from vespera_agents.store.queries import TaskFilter
from vespera_agents.work.errors import Conflict, InvalidInput, NotFound
from vespera_agents.work.models import ROLE_NAMES, TaskStatus
from vespera_agents.workspace import Registry, WorkspaceError


def written_outside(home: Path, tmp_path: Path) -> list[str]:
    return sorted(
        str(path.relative_to(tmp_path))
        for path in tmp_path.rglob("*")
        if path.is_file() and not path.is_relative_to(home / ".vespera")
    )


async def test_initialize_creates_a_session_and_tells_what_a_client_needs(house, home, tmp_path):
    (home / ".git").mkdir()
    (home / "pyproject.toml").touch()
    (home / "package").mkdir()
    async with house(home) as h:
        answer = await h.sessions.initialize(h.call(), None, "release")
        assert answer.created_now
        assert (answer.name, answer.status, answer.counts) == ("release", "open", {})
        assert answer.working_directory == str(home.resolve())
        assert answer.roles == list(ROLE_NAMES)
        assert answer.git_root == str(home.resolve())
        assert answer.markers == ["pyproject.toml"]
        assert "orchestrator_plan_task" in answer.next_action
        again = await h.sessions.initialize(h.call(), str(home))
        assert (again.id, again.created_now) == (answer.id, False), "the only open one is meant"
        by_id = await h.sessions.initialize(h.call(), None, None, answer.id)
        assert by_id.id == answer.id
        relative = await h.sessions.initialize(h.call(), "package")
        assert relative.working_directory == str(home.resolve() / "package")
    outside = written_outside(home, tmp_path)
    assert [one for one in outside if "package/.vespera" not in one] == [
        "project/pyproject.toml",
        "state/vespera/workspaces.json",
        "state/vespera/workspaces.lock",
    ]


async def test_a_repeated_initialize_creates_one_session(house):
    async with house() as h:
        first = await h.sessions.initialize(h.call("wish"), None, "a")
        second = await h.sessions.initialize(h.call("wish"), None, "a")
        assert (first.id, first.created_now) == (second.id, second.created_now)
        assert len((await h.sessions.list()).sessions) == 1


async def test_initialize_refuses_what_cannot_be_a_workspace_and_makes_nothing(house, home):
    (home / "a file").touch()
    async with house() as h:
        before = sorted(home.rglob("*"))
        for directory in (
            "/", "/etc", "/proc/self", "/usr/lib", "/home", "nowhere", "a file", "~nobody-here/x", "nul\0", ".vespera",
        ):  # fmt: skip
            with pytest.raises((WorkspaceError, InvalidInput)) as refusal:
                await h.sessions.initialize(h.call(), directory)
            assert "Give" in str(refusal.value), "the message says what to do"
        assert sorted(home.rglob("*")) == before
        assert (await h.sessions.list()).total == 0


async def test_initialize_refuses_an_unknown_session_and_a_long_name(house, home):
    async with house() as h:
        with pytest.raises(NotFound, match="orchestrator_list_sessions"):
            await h.sessions.initialize(h.call(), None, None, "session_000000000000")
        with pytest.raises(NotFound):
            await h.sessions.initialize(h.call(), str(home), None, "session_000000000000")
        with pytest.raises(InvalidInput, match="1 to 200 characters"):
            await h.sessions.initialize(h.call(), None, "x" * 201)
        assert (await h.sessions.list()).total == 0


async def test_a_session_of_another_workspace_is_found_by_its_id_even_where_that_is_not_open(house, home, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    async with house(other) as h:
        session = await h.begin("theirs")
    async with house(home) as h:
        await h.begin("ours")
        assert list(h.runtime.workspaces) == [home.resolve()]
        answer = await h.sessions.initialize(h.call(), None, None, session)
        assert (answer.id, answer.working_directory) == (session, str(other.resolve()))
        assert (await h.sessions.status(session)).name == "theirs"
        with pytest.raises(NotFound, match="any known workspace"):
            await h.sessions.status("session_ffffffffffff")


async def test_without_a_session_the_only_open_one_is_meant_and_of_several_one_must_be_named(house, draft):
    async with house() as h:
        with pytest.raises(NotFound, match="orchestrator_initialize_session"):
            await h.sessions.status()
        first = await h.begin("a")
        assert (await h.sessions.status()).id == first
        second = await h.begin("b")
        assert second != first
        with pytest.raises(Conflict) as refusal:
            await h.plan(draft("x"))
        assert first in str(refusal.value)
        assert second in str(refusal.value)
        ids = await h.plan(draft("x"), session=second)
        with pytest.raises(NotFound, match=r"Near|List"):
            await h.tasks.show(ids["x"], first)
        assert (await h.show(ids["x"])).session_id == second, "a task's id says which session is meant"


async def test_two_sessions_keep_apart(house, draft):
    async with house() as h:
        one, two = await h.begin("one"), await h.begin("two")
        a = await h.plan(draft("a"), session=one)
        b = await h.plan(draft("b"), session=two)
        with pytest.raises(InvalidInput, match="neither a key"):
            await h.plan(draft("c", b["b"]), session=one)
        await h.claim(a["a"])
        await h.claim(b["b"])
        live = h.opened.sessions
        assert set(live) == {one, two}
        assert [len(live[each].specialists.which_children()) for each in (one, two)] == [1, 1]
        assert (await h.sessions.get_status(one)).in_progress[0].id == a["a"]
        assert [view.title for view in (await h.tasks.query(TaskFilter(), session=two)).tasks] == ["b"]


async def test_list_sessions_covers_every_known_workspace_in_pages_newest_first(house, home, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    async with house(other) as h:
        theirs = [await h.begin(name) for name in ("t1", "t2")]
    async with house(home) as h:
        ours = [await h.begin(name) for name in ("o1", "o2", "o3")]
        everything = await h.sessions.list()
        assert [line.id for line in everything.sessions] == [*reversed(ours), *reversed(theirs)]
        assert (everything.total, everything.total_is_exact, everything.has_more) == (5, True, False)
        page = await h.sessions.list(2)
        seen = [line.id for line in page.sessions]
        newest = await h.begin("o4")
        while page.has_more:
            page = await h.sessions.list(2, page.next_cursor)
            seen += [line.id for line in page.sessions]
        assert seen == [*reversed(ours), *reversed(theirs)], "what comes meanwhile neither repeats nor hides a session"
        assert (await h.sessions.list(1)).sessions[0].id == newest
        assert (await h.sessions.list(status="closed")).sessions == []
        assert list(h.runtime.workspaces) == [home.resolve()], "looking at a workspace opens nothing"


async def test_a_cursor_that_was_not_given_out_and_a_limit_out_of_range_are_refused(house):
    async with house() as h:
        await h.begin()
        for cursor in ("x", "", "c2Vzc2lvbjp4", "dGFzazox", "\N{PLAYING CARD ACE OF SPADES}", "c2Vzc2lvbjoxOjI6Mw=="):
            with pytest.raises(InvalidInput, match="first page"):
                await h.sessions.list(cursor=cursor)
        for limit in (0, -1, 201):
            with pytest.raises(InvalidInput, match="1 to 200"):
                await h.sessions.list(limit)
            with pytest.raises(InvalidInput, match="1 to 200"):
                await h.sessions.get_status(limit=limit)
            with pytest.raises(InvalidInput, match="1 to 200"):
                await h.tasks.query(TaskFilter(), limit=limit)


async def test_a_workspace_that_cannot_be_read_is_named_and_hides_no_other(house, home, tmp_path):
    broken, foreign = tmp_path / "broken", tmp_path / "foreign"
    for directory in (broken, foreign):
        (directory / ".vespera").mkdir(parents=True)
        Registry().remember(directory)
    (broken / ".vespera" / "vespera.db").write_bytes(b"this is no database" * 100)
    async with house(foreign) as h:
        await h.begin()
    with sqlite3.connect(foreign / ".vespera" / "vespera.db") as connection:
        connection.execute("UPDATE session SET status='hibernating'")
    connection.close()
    async with house(home) as h:
        mine = await h.begin()
        answer = await h.sessions.list()
        assert [line.id for line in answer.sessions] == [mine]
        assert sorted(line.split(":")[0] for line in answer.unreadable) == [str(broken), str(foreign)]
        with pytest.raises(NotFound, match="any known workspace"):
            await h.sessions.status("session_ffffffffffff")


async def test_get_status_tells_totals_ready_blocked_specialists_and_waits(house, draft):
    async with house() as h:
        await h.begin()
        ids = await h.plan(
            draft("a"),
            draft("b", "a"),
            draft("c", "b"),
            draft("stuck"),
            draft("free"),
            draft("box", subtasks=(draft("in"),)),
        )
        await h.claim(ids["a"])
        await h.tasks.update(h.call(), ids["stuck"], status=TaskStatus.BLOCKED, reason="no key")
        status = await h.sessions.get_status()
        assert status.session.counts == {"blocked": 1, "in_progress": 1, "pending": 4}, "containers are not counted"
        assert [task.title for task in status.ready] == ["free", "in"]
        assert [(task.title, task.blocked_by) for task in status.blocked] == [("stuck", ["no key"])]
        assert [task.id for task in status.in_progress] == [ids["a"]]
        assert status.in_progress[0].claimed_by == h.opened.record.id
        (specialist,) = status.specialists
        assert specialist.name.startswith("generic-")
        assert (specialist.state, specialist.mailbox) == ("running", 0)
        assert 0 < specialist.context_fill < 1, "it holds the briefing"
        assert set(status.oldest_waiting_seconds) == {"blocked", "in_progress", "pending"}
        assert status.at is not None
        assert status.at.endswith("Z")
        assert len((await h.sessions.get_status(limit=1)).ready) == 1
        await h.tasks.cancel(h.call(), ids["a"], "not needed")
        blocked = {task.title: task.blocked_by for task in (await h.sessions.get_status()).blocked}
        assert blocked["b"] == blocked["c"] == [f"{ids['a']} a: cancelled"], "the root of it is named"


async def test_status_names_the_next_thing_to_do_in_every_state(house, draft):
    async with house() as h:
        await h.begin()
        (task,) = (await h.plan(draft("a"))).values()
        said = [(await h.sessions.status()).next_action]
        await h.claim(task)
        said.append((await h.sessions.status()).next_action)
        await h.hand_in(task, next_action="needs_revision")
        said.append((await h.sessions.status()).next_action)
        await h.do(task)
        said.append((await h.sessions.status()).next_action)
        (other,) = (await h.plan(draft("b"))).values()
        await h.tasks.update(h.call(), other, status=TaskStatus.BLOCKED, reason="x")
        said.append((await h.sessions.status()).next_action)
    words = ["orchestrator_execute_task", "orchestrator_complete_task", "Review", "synthesize_results", "update_task"]
    assert [word in text for word, text in zip(words, said, strict=True)] == [True] * 5


async def test_resume_gives_a_second_server_the_working_context(house, draft):
    async with house() as h:
        session = await h.begin()
        ids = await h.plan(
            draft("done"), draft("mine"), draft("next", "done"), draft("later", "mine"), draft("looked at")
        )
        await h.do(ids["done"], detailed_work="what was found")
        await h.do(ids["looked at"], next_action="needs_revision", summary="please look")
        await h.claim(ids["mine"])
    async with house() as h:
        answer = await h.sessions.resume(session)
        assert [task.title for task in answer.ready] == ["mine", "next"], "what the dead server had claimed is free"
        assert answer.in_progress == []
        assert [(task.title, task.status_reason) for task in answer.in_review] == [("looked at", "please look")]
        assert [task.title for task in answer.recently_completed] == ["done"]
        assert [artifact.name for artifact in answer.recent_artifacts] == ["work on done"]
        assert await h.text_of(answer.recent_artifacts[0].id) == "what was found"
        assert answer.left_out == []


async def test_resume_keeps_its_budget_whatever_the_session_holds_and_names_what_is_missing(house, draft):
    whole = {
        "in_progress": 1, "in_review": 1, "ready": 116, "blocked": 30, "recent_artifacts": 1, "recently_completed": 1,
    }  # fmt: skip
    async with house() as h:
        await h.begin("ü" * 50)
        many = [draft(f"k{number}", title=f"{number} " + "long title ü" * 18) for number in range(120)]
        ids = await h.plan(*many, *(draft(f"after {number}", "k0") for number in range(30)))
        await h.do(ids["k1"], detailed_work="text")
        await h.do(ids["k2"], next_action="needs_revision", summary="why " * 300)
        await h.claim(ids["k3"])
        await h.tasks.cancel(h.call(), ids["k0"], "no")
        for budget in (300, 500, 1_000, 3_000, 8_000, 100_000):
            answer = await h.sessions.resume(None, budget)
            real = estimate_tokens(answer.model_dump_json())
            assert abs(answer.context_tokens - real) <= 1, "the number itself may take a digit more or less"
            assert answer.context_tokens <= budget
            shown = {name: len(getattr(answer, name)) for name in whole}
            missing = [f"{whole[name] - number} of {name}" for name, number in shown.items() if number < whole[name]]
            assert sorted(answer.left_out) == sorted(missing)
            assert bool(missing) == (budget < 60_000)
            if budget >= 1_000:
                assert shown["in_progress"] == 1, "what is being worked on goes last"
            if budget == 8_000:
                assert answer.context_tokens > 7_000, "no room is given away"


async def test_resume_refuses_a_budget_that_nothing_fits_and_says_which_would(house):
    async with house() as h:
        await h.begin("x" * 200)
        with pytest.raises(InvalidInput, match=r"context_tokens_max=(\d+)") as refusal:
            await h.sessions.resume(None, 50)
        enough = int(str(refusal.value).rpartition("=")[2].split()[0])
        assert (await h.sessions.resume(None, enough)).context_tokens <= enough


async def test_a_workspace_that_is_open_is_opened_once_whoever_asks_at_once(house, home):
    async with house() as h:
        found = []

        async def ask() -> None:
            found.append(await h.runtime.workspace(home))

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(ask)
        assert set(map(id, found)) == {id(h.opened)}


async def test_a_caller_that_is_cancelled_while_a_workspace_opens_leaves_it_usable(house, home, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    async with house() as h:
        for seconds in (0, 0.001, 0.01, 0.03):
            with trio.move_on_after(seconds):
                await h.sessions.initialize(h.call(), str(other))
        assert (await h.sessions.initialize(h.call(), str(other))).working_directory == str(other.resolve())


async def test_a_workspace_whose_database_is_unusable_is_refused_with_the_reason_and_harms_no_other(
    house, home, tmp_path
):
    broken = tmp_path / "broken"
    (broken / ".vespera").mkdir(parents=True)
    (broken / ".vespera" / "vespera.db").write_bytes(b"no database at all" * 100)
    async with house() as h:
        await h.begin()
        for _ in range(5):
            with pytest.raises(Exception, match="not a database") as refusal:
                await h.sessions.initialize(h.call(), str(broken))
            assert type(refusal.value).__name__ == "StoreUnavailable"
        assert (await h.sessions.status()).status == "open"
        (broken / ".vespera" / "vespera.db").unlink()
        assert (await h.sessions.initialize(h.call(), str(broken))).created_now


async def test_a_state_directory_that_cannot_be_written_is_refused_each_time_with_what_to_do(
    home, monkeypatch, tmp_path
):
    (tmp_path / "in the way").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "in the way"))
    async with open_runtime("serve") as runtime:
        for _ in range(2):
            with pytest.raises(WorkspaceError, match="Repair it or move it away"):
                await Orchestrator(runtime, home).home_workspace()
        assert runtime.workspaces == {}


async def test_a_copy_of_a_workspace_with_the_same_sessions_works_beside_it(house, home, tmp_path, draft):
    async with house() as h:
        session = await h.begin()
        ids = await h.plan(draft("a"))
    copy = tmp_path / "copy"
    os.system(f"cp -r {home} {copy}")  # noqa: ASYNC221 - nothing else runs
    async with house() as h:
        await h.claim(ids["a"])
        opened = await h.runtime.workspace(copy)
        live = await opened.session(session)
        async with live.borrow(opened.role("generic")) as specialist:
            assert specialist.name.endswith(".2"), "the name .1 is taken by the original's"
        with pytest.raises(NotFound, match="several workspaces"):
            await h.show(ids["a"])
