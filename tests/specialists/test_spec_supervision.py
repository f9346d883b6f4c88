"""The tree at run time, and what becomes of the work when parts of it break: restarts, isolation, clear ends."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import trio

from supervisors import ChildNotFound, ChildState, Supervisor, TreeNode
from vespera_agents.specialists import PlanRun, RunOptions, claims, lending, sessions, specialist
from vespera_agents.specialists.runtime import open_runtime
from vespera_agents.store import Store, StoreClosed, StoreError, StoreLost, queries
from vespera_agents.work.errors import Conflict
from vespera_agents.work.models import TaskStatus
from vespera_agents.work.plans import read_plan
from vespera_agents.workspace import Workspace, WorkspaceError, guardian_lock

DOOMED = Path(__file__).with_name("doomed_server.py")
ROOT = Path(__file__).parents[2]
BORROWERS = 24
"""Who want a specialist of one role, each a round of the loop after the one before."""


def plan(*tasks: tuple[str, str], concurrency: int = 4) -> str:
    head = f"---\nid: DEMO\nconcurrency: {concurrency}\n---\n## Phase 1: All\n"
    return head + "\n".join(f"### {name}\n```yaml\nrun: {run!r}\nshell: true\n```\n" for name, run in tasks)


def lives(pid: str) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


def outline(node: TreeNode) -> dict[str, object]:
    return {child.id: outline(child) for child in node.children}


class Clock:
    """The store's clock; it breaks the writing thread when it is told to."""

    def __init__(self) -> None:
        self.faults = 0

    def __call__(self) -> float:
        if self.faults:
            self.faults -= 1
            raise RuntimeError("the clock stopped")
        return time.time()


@pytest.fixture
def clock(monkeypatch) -> Clock:
    broken = Clock()
    monkeypatch.setattr(sessions, "Store", partial(Store, clock=broken))
    return broken


@pytest.fixture
def long_memory(monkeypatch) -> None:
    """Let supervisors count restarts for longer: on a slow machine four of them may take more than the usual 5 s."""
    monkeypatch.setattr(sessions, "Supervisor", partial(Supervisor, period_seconds=600.0))


async def test_the_tree_at_run_time_is_the_designed_one(house, home, eventually):
    async with house() as h:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(h.run, plan(("long", "touch begun; until test -e go; do sleep 0.02; done"))))
            await eventually((home / "begun").exists)
            root = h.runtime.root.snapshot()
            (home / "go").touch()
        (session,) = h.opened.sessions
        name = f"generic-{session[-6:]}.1"
        assert outline(root) == {
            "workspaces": {
                str(home.resolve()): {
                    "store": {},
                    "sessions": {session: {"specialists": {name: {}}, "conductor": {}}},
                    "jobs": {},
                    "claims": {},
                    "records": {},
                    "callbacks": {"outbox": {}},
                }
            },
            "doors": {},
        }
        workspaces, doors = root.children
        (workspace,) = workspaces.children
        strategies = [node.detail["strategy"] for node in (root, workspaces, workspace, doors)]
        assert strategies == ["one_for_one", "one_for_one", "rest_for_one", "rest_for_one"]
        store, live, _, claims_child, records, told = workspace.children
        assert records.detail == {"removed": 0}
        assert told.children[0].detail == {"targets": 0}
        assert claims_child.detail == {"clients": 0, "released": 0}
        assert set(store.detail) >= {"waiting", "commits"}
        assert live.children[0].children[1].detail == {"at_work": 1, "concurrency": 4}
        detail = live.children[0].children[0].children[0].detail
        context = {"role", "context_tokens", "context_tokens_max", "context_fill"}
        assert set(detail) == {"kind", "mailbox", "handled", "task"} | context
        assert (detail["kind"], detail["task"]) == ("Specialist", next(e.task.id for e in h.events if e.task))
        after = outline(h.opened.sessions[session].supervisor.snapshot())
        assert after == {"specialists": {name: {}}}, "the conductor goes when the run is over"


async def test_specialists_are_used_again_and_as_many_as_are_at_work_at_once(house, draft):
    async with house() as h:
        session = await h.begin()
        ids = await h.plan(*(draft(f"t{number}", specialist="tester") for number in range(4)), draft("other"))
        for key in ("t0", "t1", "other"):
            await h.claim(ids[key])
        live = h.opened.sessions[session]
        assert len(live.specialists.which_children()) == 2
        role = h.opened.role("tester")
        async with live.borrow(role) as one, live.borrow(role) as two:
            assert one.name != two.name
            assert live.busy() == {one.name: 1, two.name: 1}
        assert live.busy() == {}


async def test_at_the_limit_of_specialists_idle_ones_make_room_and_busy_ones_are_shared(house, monkeypatch):
    monkeypatch.setattr(lending, "SPECIALISTS_MAX", 2)
    async with house() as h:
        live = await h.opened.session(await h.begin())
        roles = [h.opened.role(name) for name in ("tester", "reviewer", "analyst")]
        for role in roles:
            async with live.borrow(role):
                assert len(live.specialists.which_children()) <= 2
        names = {info.id.partition("-")[0] for info in live.specialists.which_children()}
        assert names == {"reviewer", "analyst"}
        async with live.borrow(roles[2]) as one, live.borrow(roles[1]), live.borrow(roles[2]) as shared:
            assert shared is one
            assert live.busy()[one.name] == 2
        assert live.busy() == {}


async def test_who_comes_while_a_specialist_is_started_does_not_get_the_one_that_another_waits_for(house):
    async with house() as h:
        live = await h.opened.session(await h.begin())
        role, lent, enough = h.opened.role("tester"), list[str](), trio.Event()

        async def have(rounds: int) -> None:
            for _ in range(rounds):
                await trio.lowlevel.checkpoint()
            async with live.borrow(role) as specialist:
                lent.append(specialist.name)
                if len(lent) == BORROWERS:
                    enough.set()
                await enough.wait()

        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                for rounds in range(BORROWERS):
                    nursery.start_soon(have, rounds)
        assert len(set(lent)) == BORROWERS


async def test_thirty_two_tasks_whose_specialists_crash_fail_and_nothing_else_does(house, home):
    text = plan(*((f"t{number}", "echo out") for number in range(32)), concurrency=32).replace("shell: true", "")
    async with house() as h:
        other = await h.begin("other")

        def hear(event) -> None:
            h.hear(event)
            if event.kind == "line":
                raise RuntimeError("broken")

        run = PlanRun(h.opened, hear)
        with trio.fail_after(110):
            result = await run.run(read_plan(text, name="p.md"), RunOptions())
        assert result.counts == {"failed": 32}
        assert result.report.exists()
        live = h.opened.sessions[result.session_id]
        restarted = sum(node.restarts for node in live.specialists.snapshot().children)
        assert restarted == 96
        workspace = h.runtime.root.snapshot().children[0].children[0]
        assert [child.restarts for child in workspace.children] == [0] * 6
        assert live.supervisor.snapshot().children[0].restarts == 0
        assert not h.opened.sessions[other].ended.is_set()


async def test_a_conductor_that_crashes_is_restarted_and_takes_up_where_it_was(house, home):
    async with house() as h:
        crashes = [RuntimeError("once"), RuntimeError("twice")]

        def hear(event) -> None:
            h.hear(event)
            if event.kind == "claimed" and crashes:
                raise crashes.pop()

        text = plan(("a", "echo a >> log"), ("b", "echo b >> log"))
        with trio.fail_after(60):
            result = await PlanRun(h.opened, hear).run(read_plan(text, name="p.md"), RunOptions())
        assert result.outcome == "completed"
        assert sorted((home / "log").read_text().split()) == ["a", "b"], "nothing ran twice"


async def test_a_conductor_that_cannot_work_ends_the_run_with_the_reason_and_spares_the_server(house, long_memory):
    async with house() as h:
        other = await h.begin("other")

        def hear(event) -> None:
            if event.kind == "claiming":
                raise RuntimeError("this will never work")

        with trio.fail_after(60), pytest.raises(WorkspaceError, match=r"never work.*--resume"):
            await PlanRun(h.opened, hear).run(read_plan(plan(("a", "true")), name="p.md"), RunOptions())
        assert not h.opened.sessions[other].ended.is_set()
        assert (await h.run(plan(("a", "true")), resume=True)).outcome == "completed"


async def test_a_store_that_crashes_under_a_running_plan_is_restarted_and_the_run_goes_on(
    house, home, clock, eventually
):
    text = plan(
        ("one", "echo one >> log"),
        ("long", "test -e again || { touch again; touch begun; sleep 60; }; echo long >> log"),
        ("two", "echo two >> log"),
        concurrency=1,
    )
    async with house() as h:

        async def break_it() -> None:
            await eventually((home / "begun").exists)
            clock.faults = 1
            with pytest.raises(StoreError):
                await h.opened.store.execute(h.reopen(), h.opened.key())

        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(break_it)
                result = await h.run(text)
        assert result.outcome == "completed"
        assert sorted((home / "log").read_text().split()) == ["long", "one", "two"]
        workspace = h.runtime.root.snapshot().children[0].children[0]
        assert [(child.id, child.restarts) for child in workspace.children] == [
            ("store", 1),
            ("sessions", 1),
            ("jobs", 1),
            ("claims", 1),
            ("records", 1),
            ("callbacks", 1),
        ]


@pytest.mark.parametrize("how", ["removed", "replaced"])
async def test_a_database_that_vanishes_under_a_running_plan_ends_the_run_with_a_clear_error(
    house, home, eventually, how
):
    text = plan(("long", "touch begun; until test -e go; do sleep 0.02; done"), ("next", "true"), concurrency=1)
    async with house() as h:

        async def take_it() -> None:
            await eventually((home / "begun").exists)
            database = home / ".vespera" / "vespera.db"
            database.rename(home / "elsewhere")
            if how == "replaced":
                database.write_bytes((home / "elsewhere").read_bytes())
            (home / "go").touch()

        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(take_it)
                with pytest.raises(StoreLost, match="removed or replaced"):
                    await h.run(text)


async def test_a_call_during_a_restart_of_the_store_waits_for_it(house, draft, clock):
    async with house() as h:
        session = await h.begin()
        ids = await h.plan(draft("a"))
        clock.faults = 1
        with pytest.raises(StoreError):
            await h.opened.store.execute(h.reopen(), h.opened.key())
        claim = await h.claim(ids["a"])
        assert claim.task.status == TaskStatus.IN_PROGRESS
        assert (await h.sessions.get_status(session)).in_progress[0].id == ids["a"]


async def test_a_workspace_that_gives_up_is_opened_anew_by_the_next_call_and_takes_no_other_with_it(
    house, home, tmp_path, draft, clock, long_memory, eventually
):
    calm = tmp_path / "calm"
    calm.mkdir()
    async with house() as h:
        session = await h.begin()
        await h.plan(draft("a"))
        theirs = await h.sessions.initialize(h.call(), str(calm))
        record = h.opened.record
        async with trio.open_nursery() as nursery:

            async def pester() -> None:
                while h.opened.is_open:
                    clock.faults = 1
                    with trio.move_on_after(1):
                        try:
                            await h.opened.store.execute(h.reopen(), h.opened.key())
                        except StoreError:
                            continue

            nursery.start_soon(pester)
            await eventually(lambda: not h.opened.is_open, seconds=60)
            clock.faults = 0
        with pytest.raises(StoreClosed, match="not running"):
            await h.opened.session(session)
        assert [task.title for task in (await h.sessions.get_status(session)).ready] == ["a"]
        assert h.opened.record is not record
        assert h.runtime.workspaces[home.resolve()] is h.opened, "whoever holds it goes on"
        assert not h.runtime.workspaces[calm.resolve()].sessions[theirs.id].ended.is_set()


async def test_a_session_that_ended_is_started_anew_and_shows_no_specialists_meanwhile(house, draft):
    async with house() as h:
        session = await h.begin()
        ids = await h.plan(draft("a"))
        await h.claim(ids["a"])
        first = await h.opened.session(session)
        first.supervisor.stop()
        await first.ended.wait()
        assert (await h.sessions.get_status(session)).specialists == []
        second = await h.opened.session(session)
        assert second is not first
        assert (await h.claim(ids["a"])).already_yours


async def test_a_specialist_is_not_lent_while_it_is_being_restarted(house):
    async with house() as h:
        live = await h.opened.session(await h.begin())
        role = h.opened.role("generic")
        async with live.borrow(role) as ref:
            pass
        await live.specialists.terminate_child(ref.name)
        assert [info.state for info in live.specialists.which_children()] == [ChildState.DOWN]
        async with live.borrow(role) as other:
            assert other.name != ref.name
        with pytest.raises(ChildNotFound):
            live.specialists.child_value("nobody")


async def test_what_a_killed_server_had_claimed_is_free_once_its_commands_are_gone(house, home):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = await trio.lowlevel.open_process(
        [sys.executable, str(DOOMED), str(home)], stdout=subprocess.PIPE, cwd=home, env=environment
    )
    assert process.stdout is not None
    line = b""
    with trio.fail_after(60):
        while not line.endswith(b"\n"):
            piece = await process.stdout.receive_some(1000)
            assert piece, "the server ended before it was killed"
            line += piece
    session, claimed, server = line.decode().split()
    pid = (home / "pid").read_text().strip()
    async with house() as h:
        with pytest.raises(Exception, match=f"already being worked on by {server}"):
            await h.claim(claimed)
        assert lives(pid)
        os.kill(process.pid, signal.SIGKILL)
        await process.wait()
        await process.stdout.aclose()
        claim = await h.claim(claimed)
        assert not lives(pid), "the commands of the dead server are gone before its tasks are free"
        assert (claim.task.claimed_by, claim.task.attempts) == (h.opened.record.id, 2)
        answer = await h.sessions.initialize(h.call(), None, "DOOMED")
        assert [task.title for task in answer.ready] == ["long"]
        assert answer.counts == {"pending": 1}
        assert (await h.tasks.show(claimed, session)).status == "in_progress"


async def test_claims_are_not_freed_while_the_commands_of_their_dead_server_still_run(house, home, draft, monkeypatch):
    monkeypatch.setattr(claims, "DEAD_COMMANDS_SECONDS", 0.1)
    async with house() as other:
        await other.begin()
        ids = await other.plan(draft("a"))
        await other.claim(ids["a"])
        dead = other.opened.record.id
    with guardian_lock(Workspace(home), dead).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        async with open_runtime("serve") as runtime:
            with pytest.raises(WorkspaceError, match="what a dead server had begun still runs"):
                await runtime.workspace(home)
            opened = await runtime.workspace(home)
            assert (await opened.store.read(queries.task, ids["a"])).claimed_by == dead
            fcntl.flock(lock, fcntl.LOCK_UN)
            assert await opened.release_dead_claims() == [ids["a"]]


async def test_a_briefing_that_nobody_can_write_is_told_and_the_claim_stays(house, draft, monkeypatch):
    def broken(*_: object) -> None:
        raise RuntimeError("out of ink")

    async with house() as h:
        session = await h.begin()
        ids = await h.plan(draft("a"))
        with monkeypatch.context() as patch:
            patch.setattr(specialist, "brief", broken)
            with pytest.raises(Conflict, match=r"yours, but its briefing could not be written.*out of ink"):
                await h.claim(ids["a"])
        assert (await h.claim(ids["a"])).already_yours
        (node,) = h.opened.sessions[session].specialists.snapshot().children
        assert node.restarts == 1
