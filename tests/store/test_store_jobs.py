"""Jobs as rows: their intent, their way, and an outcome that stands."""

from __future__ import annotations

import pytest
import trio

from vespera_agents.store import CommandKey, Store, jobs
from vespera_agents.store.commands import AdoptJob, AnswerJob, AskJob, EndJob, NoteJob, StartJob, StopJob, kept_id
from vespera_agents.store.commands.jobs import TTL_SECONDS
from vespera_agents.store.jobs import JobStatus
from vespera_agents.work.errors import NotFound


class Desk:
    """Submits commands, each under a key of its own."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.number = 0

    async def do(self, command, key: str | None = None):
        self.number += 1
        return await self.store.execute(command, CommandKey("desk", key or str(self.number)))

    async def start(self, **more) -> str:
        return (await self.do(StartJob("mcp:test", "srv_1", "tool", **more)))["job_id"]

    async def read(self, job_id: str) -> jobs.Job:
        return await self.store.read(jobs.job, job_id)


async def test_a_job_begins_as_an_intent_and_a_repeated_wish_is_the_same_job(running) -> None:
    async with running() as store:
        desk = Desk(store)
        command = StartJob("mcp:test", "srv_1", "tool", "session_1", "task_1", 3.0)
        first, again = await desk.do(command, "wish"), await desk.do(command, "wish")
        assert first == again
        job = await desk.read(first["job_id"])
        assert (job.status, job.server, job.task_id, job.total) == (JobStatus.WORKING, "srv_1", "task_1", 3.0)
        assert len(job.id) == len("job_") + 36
        assert [one.id for one in await store.read(jobs.live_jobs)] == [job.id]
        assert [one.id for one in await store.read(jobs.jobs_of_session, "session_1", 5)] == [job.id]


@pytest.mark.parametrize("first", [JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED])
async def test_the_first_outcome_stands_whoever_comes_after(running, look, first) -> None:
    async with running() as store:
        desk = Desk(store)
        job_id = await desk.start()
        await desk.do(EndJob("job", job_id, first, "so it is", {"answer": 1} if first is JobStatus.COMPLETED else None))
        before = await desk.read(job_id)
        for late in (
            EndJob("job", job_id, JobStatus.FAILED, "no", error={"kind": "late"}),
            NoteJob("job", job_id, 9, 9, "late"),
            AskJob("job", job_id, {"q": {}}),
            AnswerJob("mcp:test", job_id, {"q": {}}),
            StopJob("mcp:test", job_id, "late"),
        ):
            assert (await desk.do(late))["status"] == first
        assert await desk.read(job_id) == before
        assert before.ended
        assert look("SELECT count(*) FROM event WHERE what='job_ended'") == [(1,)]
        assert await store.read(jobs.live_jobs) == []


async def test_questions_are_answered_one_by_one_and_each_once(running) -> None:
    async with running() as store:
        desk = Desk(store)
        job_id = await desk.start()
        await desk.do(AskJob("job", job_id, {"a": "A?", "b": "B?"}))
        assert (await desk.do(AnswerJob("mcp:test", job_id, {"a": 1, "other": 2})))["status"] == "input_required"
        await desk.do(AnswerJob("mcp:test", job_id, {"a": "again"}))
        job = await desk.read(job_id)
        assert (dict(job.asked), dict(job.answers)) == ({"b": "B?"}, {"a": 1})
        assert (await desk.do(AnswerJob("mcp:test", job_id, {"b": 2})))["status"] == "working"
        assert dict((await desk.read(job_id)).answers) == {"a": 1, "b": 2}


async def test_kept_questions_and_answers_outlive_the_process_and_the_next_of_their_thread_drops_them(running) -> None:
    async with running() as store:
        desk = Desk(store)
        job_id = await desk.start()
        one, two, other = kept_id("a", "1"), kept_id("a", "2"), kept_id("b", "1")
        await desk.do(AskJob("job", job_id, {one: "1?", other: "?", "once": "?"}))
        await desk.do(AnswerJob("mcp:test", job_id, {one: "yes", "once": "lost"}))
        assert (await desk.do(AdoptJob("supervision", job_id, "srv_1", 3)))["status"] == "input_required"
        job = await desk.read(job_id)
        assert (dict(job.asked), dict(job.answers)) == ({other: "?"}, {one: "yes"})
        # An answer may come before the next process asks again, and what is answered is not asked again.
        assert (await desk.do(AnswerJob("mcp:test", job_id, {other: "no"})))["status"] == "working"
        assert (await desk.do(AskJob("job", job_id, {one: "1?"}, (kept_id("a"),))))["status"] == "working"
        assert (await desk.do(AskJob("job", job_id, {two: "2?"}, (kept_id("a"),))))["status"] == "input_required"
        job = await desk.read(job_id)
        assert (dict(job.asked), dict(job.answers)) == ({two: "2?"}, {other: "no"})


async def test_what_ended_long_ago_is_forgotten_and_what_runs_never_is(running, database) -> None:
    now = [1_000_000.0]
    store = Store(database, database.parent / "artifacts", clock=lambda: now[0])
    async with running(store):
        desk = Desk(store)
        live, ended = await desk.start(), await desk.start()
        await desk.do(EndJob("job", ended, JobStatus.COMPLETED, result={}))
        now[0] += TTL_SECONDS - 1
        await desk.start()
        await desk.read(ended)
        now[0] += 2
        await desk.start()
        with pytest.raises(NotFound, match=ended):
            await desk.read(ended)
        assert (await desk.read(live)).status is JobStatus.WORKING
    await trio.lowlevel.checkpoint()
