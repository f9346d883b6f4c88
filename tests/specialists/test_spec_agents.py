"""Work that the server carries out by itself, where a call or a job is cancelled at the wrong moment."""

from __future__ import annotations

import threading

import pytest
import trio
import trio.testing

from vespera_agents.specialists import jobs
from vespera_agents.specialists.conducting import run_lock
from vespera_agents.store import queries
from vespera_agents.store.commands import ClaimTask
from vespera_agents.workspace import WorkspaceError

COMMAND = "until test -e go; do sleep 0.02; done"


async def planned(h, draft, sh) -> tuple[str, str, str]:
    """Open a session with one task that waits for a file; gives the ids of both, and the session's name."""
    session = await h.begin()
    task = (await h.plan(draft("a", run=sh(COMMAND))))["a"]
    return session, task, (await h.opened.store.read(queries.session, session)).name


async def ended(h, task: str) -> None:
    """Wait in a thread until no job works on a task: the clock of the test stands still."""
    over = threading.Event()
    h.opened.store.subscribe_commits(
        lambda: over.set() if h.opened.jobs.working_on("orchestrator_execute_task", task) is None else None
    )
    with trio.fail_after(60):
        while h.opened.jobs.working_on("orchestrator_execute_task", task) is not None:
            await trio.to_thread.run_sync(over.wait, 0.05, abandon_on_cancel=True)


async def test_a_call_that_is_cancelled_once_its_job_began_does_not_open_the_session_to_a_second_one(
    house, home, draft, sh, allow
):
    allow(COMMAND, shells=True)
    async with house() as h:
        _, task, name = await planned(h, draft, sh)
        with trio.CancelScope() as scope:
            # The first commit is that of the job; what the call does next is where it is cancelled.
            stop = h.opened.store.subscribe_commits(scope.cancel)
            await h.orchestrator.agents.execute(h.call(), task)
        stop()
        assert scope.cancelled_caught
        assert h.opened.jobs.working_on("orchestrator_execute_task", task) is not None
        with pytest.raises(WorkspaceError), run_lock(h.opened, name):
            pass
        (home / "go").touch()
        await ended(h, task)
        assert (await h.show(task)).status == "completed"
        with run_lock(h.opened, name):
            pass


async def test_a_job_that_is_stopped_while_its_conductor_starts_leaves_no_conductor_behind(
    house, home, draft, sh, allow, monkeypatch
):
    # A disk that is slow for longer than usual leaves no end of the job unwritten.
    monkeypatch.setattr(jobs, "_END_SECONDS", 60.0)
    allow(COMMAND, shells=True)
    async with house() as h:
        session, task, _ = await planned(h, draft, sh)
        live = await h.opened.session(session)
        commits = 0

        def hear() -> None:
            # The job's own commit is the first, the second comes from a conductor that begins.
            nonlocal commits
            commits += 1
            job = h.opened.jobs.working_on("orchestrator_execute_task", task)
            if commits == 2 and job is not None:
                h.opened.jobs.running(job).stop("not wanted any more")

        h.opened.store.subscribe_commits(hear)
        await h.orchestrator.agents.execute(h.call(), task)
        await ended(h, task)
        assert {child.id for child in live.supervisor.which_children()} == {"specialists"}
        assert (await h.show(task)).status == "pending"
        (job,) = await h.orchestrator.jobs.of_session(h.opened, session)
        assert (job.status, job.message) == ("cancelled", "not wanted any more")


async def test_a_job_that_is_stopped_while_a_claim_is_written_gives_the_task_back(house, draft, sh, allow, monkeypatch):
    apply, begun, go = ClaimTask.apply, threading.Event(), threading.Event()

    def hold(claim, transaction):
        begun.set()
        assert go.wait(60)
        return apply(claim, transaction)

    monkeypatch.setattr(ClaimTask, "apply", hold)
    allow(COMMAND, shells=True)
    async with house() as h:
        _, task, _ = await planned(h, draft, sh)
        await h.orchestrator.agents.execute(h.call(), task)
        assert await trio.to_thread.run_sync(begun.wait, 60)
        h.opened.jobs.running(h.opened.jobs.working_on("orchestrator_execute_task", task)).stop("not wanted any more")
        await trio.testing.wait_all_tasks_blocked()
        go.set()
        await ended(h, task)
        assert (await h.show(task)).status == "pending"
        assert (await h.claim(task)).task.status == "in_progress"
