"""A job whose process has ended is begun anew once, however many ask for it, and not when it has ended since."""

from __future__ import annotations

import trio

from tests.specialists.one_front import one_front
from vespera_agents.specialists.agents import EXECUTE_KIND
from vespera_agents.specialists.claims import conductor_name
from vespera_agents.specialists.conducting import run_lock
from vespera_agents.specialists.jobs import ATTEMPTS_MAX, RunningJob
from vespera_agents.store import queries
from vespera_agents.store.commands import AdoptJob, ClaimTask, StartJob
from vespera_agents.store.jobs import Job, JobStatus, live_jobs
from vespera_agents.store.jobs import job as job_of
from vespera_agents.work.models import CommandLine, TaskStatus

KIND = "a kind of work"


async def begun_in_vain(h, draft) -> tuple[str, Job]:
    """Leave what a process left that was killed at each attempt: a task that its conductor holds, and the job."""
    opened = h.opened
    session = await h.begin()
    (task,) = (await h.plan(draft("work", run=CommandLine(text="true")))).values()
    await opened.store.execute(ClaimTask("conductor", task, conductor_name(opened.server, session)), opened.key())
    work = StartJob("somebody", opened.server, EXECUTE_KIND, session, task, 1, "working", intent=h.call().intent())
    job_id = (await opened.store.execute(work, opened.key()))["job_id"]
    for _ in range(ATTEMPTS_MAX - 1):
        await opened.store.execute(AdoptJob("test", job_id, opened.server, ATTEMPTS_MAX), opened.key())
    return task, await opened.store.read(job_of, job_id)


async def test_what_is_begun_in_vain_too_often_is_given_back_and_says_so(house, draft) -> None:
    with one_front() as front:
        async with house(front=front) as h:
            task, found = await begun_in_vain(h, draft)
            await h.orchestrator.jobs.adopt(h.opened, found)
            ended = await h.opened.store.read(job_of, found.id)
            assert ended.status is JobStatus.FAILED
            assert "was begun 3 times, and its process ended each time" in str(ended.message)
            assert "vespera logs" in str(ended.message)
            # Nobody works on it: whoever asks again may have it.
            assert (await h.show(task)).status == TaskStatus.PENDING


async def test_what_is_given_up_takes_nothing_from_who_has_gone_on_with_it(house, draft) -> None:
    with one_front() as front:
        async with house(front=front) as h:
            task, found = await begun_in_vain(h, draft)
            session = await h.opened.store.read(queries.session, found.session_id)
            with run_lock(h.opened, session.name):
                await h.orchestrator.jobs.adopt(h.opened, found)
            assert (await h.show(task)).status == TaskStatus.IN_PROGRESS


async def test_a_job_is_begun_anew_once_however_many_ask_and_not_after_its_end(house) -> None:
    done = trio.Event()
    begun: list[str] = []

    async def work(_: RunningJob) -> dict[str, object]:
        await done.wait()
        return {}

    async def anew(opened, job: Job) -> bool:
        begun.append(job.id)
        await opened.jobs.resume(job, work)
        return True

    with one_front() as front:
        async with house(front=front) as one:
            opened, jobs = one.opened, one.orchestrator.jobs
            jobs.begin_anew(KIND, anew)
            # Written down by a process of the same front that is gone.
            await opened.store.execute(StartJob("somebody", opened.server, KIND, intent={}), opened.key())
            (found,) = await opened.store.read(live_jobs)
            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(jobs.adopt, opened, found)
            assert begun == [found.id]
            running = opened.jobs.running(found.id)
            done.set()
            with trio.fail_after(5.0):
                await running.ended.wait()
            # As it was read when it had not ended.
            await jobs.adopt(opened, found)
            assert begun == [found.id]
            now = await opened.store.read(job_of, found.id)
            assert (now.status, now.attempts) == (JobStatus.COMPLETED, 2)
