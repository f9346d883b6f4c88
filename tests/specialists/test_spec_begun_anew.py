"""A job whose process has ended is begun anew once, however many ask for it, and not when it has ended since."""

from __future__ import annotations

import trio

from tests.specialists.one_front import one_front
from vespera_agents.specialists.jobs import RunningJob
from vespera_agents.store.commands import StartJob
from vespera_agents.store.jobs import Job, JobStatus, live_jobs
from vespera_agents.store.jobs import job as job_of

KIND = "a kind of work"


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
