"""The facade's part on jobs: begin one, look at one, answer its questions, cancel it.

A job whose server is gone is decided from the rows, by whoever looks next: what it asked for may have happened all the
same. One whose server goes on in another process is begun anew: what it does is done at least once. Neighbours: `jobs`
runs them, `agents` and the faces say what a job does.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Final, cast, final
from weakref import WeakValueDictionary

import trio

from vespera_agents.specialists.calls import Call, Lookup
from vespera_agents.specialists.jobs import RunningJob
from vespera_agents.specialists.sessions import OpenWorkspace
from vespera_agents.store import jobs as job_queries
from vespera_agents.store.commands import AnswerJob, EndJob, JobState, StartJob, StopJob
from vespera_agents.store.jobs import Job, JobStatus
from vespera_agents.work.errors import NotFound, Refusal
from vespera_agents.workspace import WorkspaceError, server_alive

__all__ = ["JobTools", "job_line"]

log = logging.getLogger(__name__)

STOP_SECONDS: Final = 15.0
"""How long cancelling waits until the work has really ended: killed commands, tasks given back."""
_SHOWN: Final = 20

Beginner = Callable[[OpenWorkspace, Job], Awaitable[bool]]
"""Begins the work of a job anew, whose process has ended; False where its last change was made already."""
Verdict = Callable[[OpenWorkspace, Job], Awaitable[Mapping[str, object] | None]]
"""Says from the rows what a job came to whose server is gone; None when it did not come to its end."""


@final
class JobTools:
    """What a client can do with jobs."""

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup
        self._verdicts: dict[str, Verdict] = {}
        self._beginners: dict[str, Beginner] = {}
        self._adopting = WeakValueDictionary[str, trio.Lock]()
        """By the ids of the jobs that are begun anew just now: their commits share the disk."""

    def begin_anew(self, kind: str, beginner: Beginner) -> None:
        """Say how a kind of job is begun anew whose process has ended while its server goes on."""
        self._beginners[kind] = beginner

    async def adopt_all(self, opened: OpenWorkspace) -> None:
        """Begin anew what an earlier process of this server worked on, or end what came to its end."""
        for one in await opened.store.read(job_queries.live_jobs):
            await self.adopt(opened, one)

    async def adopt(self, opened: OpenWorkspace, found: Job) -> None:
        """Begin a job anew if an earlier process of this server had begun it, or end it if it came to its end."""
        if await opened.jobs.abandoned(found):
            await self._settle(opened, found)

    def decide(self, kind: str, verdict: Verdict) -> None:
        """Say how a kind of job is judged when its server is gone."""
        self._verdicts[kind] = verdict

    async def start(
        self,
        call: Call,
        kind: str,
        work: Callable[[RunningJob], Awaitable[dict[str, object]]],
        *,
        opened: OpenWorkspace | None = None,
        session_id: str | None = None,
        task_id: str | None = None,
        total: float | None = None,
        poll_seconds: float = 1.0,
        intent: Mapping[str, object] | None = None,
    ) -> Job:
        """Begin a job, or give the one that this call began before.

        Args:
            call: who asks.
            kind: what for: the name of a tool.
            work: what to do.
            opened: the workspace; the server's own unless given.
            session_id: the session that it works in.
            task_id: the task that it works on.
            total: how much there is to do, if that is known.
            poll_seconds: how often it is worth asking for it.
            intent: what another process needs to begin it anew.

        Raises:
            Conflict: too many jobs are at work.
            StoreError: it could not be written.
        """
        place = opened or await self._lookup.home_workspace()
        key = call.step()
        recorded = await place.store.recorded(key)
        if isinstance(recorded, dict):
            return await self.get(cast("JobState", recorded)["job_id"])
        new = StartJob(
            call.by, place.record.id, kind, session_id, task_id, total, None, poll_seconds=poll_seconds, intent=intent
        )
        running = await place.jobs.start(new, key, work)
        return await place.store.read(job_queries.job, running.id)

    async def get(self, job_id: str) -> Job:
        """Give a job as it stands.

        Raises:
            NotFound: there is none of that id.
        """
        opened, found = await self._find(job_id)
        return await self._settled(opened, found)

    async def wait(self, job_id: str, report: Callable[[float, float | None, str], None]) -> Job:
        """Wait until a job has ended, telling how far it is, and give it.

        Raises:
            NotFound: there is none of that id.
        """
        while True:
            opened, found = await self._find(job_id)
            found = await self._settled(opened, found)
            report(found.done, found.total, found.message or "working")
            if found.ended:
                return found
            running = opened.jobs.running(job_id)
            with trio.move_on_after(found.poll_seconds):
                # One of another server ends unheard.
                await (trio.Event() if running is None else running.ended).wait()

    async def of_session(self, opened: OpenWorkspace, session_id: str) -> list[Job]:
        """List the newest jobs of a session as they stand, the newest first; of one task's, the last."""
        found = await opened.store.read(job_queries.jobs_of_session, session_id, _SHOWN)
        # An earlier attempt at the same work says nothing any more.
        newest: dict[tuple[str, str], Job] = {}
        for one in found:
            newest.setdefault((one.kind, one.task_id or one.id), one)
        return [await self._settled(opened, one) for one in newest.values()]

    async def cancel(self, by: str, job_id: str, reason: str) -> Job:
        """Cancel a job: commands at work are killed, tasks given back, and only then is it cancelled.

        A job of another server is cancelled by that server, within a second; an ended one stays what it is.

        Raises:
            NotFound: there is none of that id.
        """
        opened, found = await self._find(job_id)
        if found.ended:
            return found
        await opened.store.execute(StopJob(by, found.id, reason), opened.key())
        running = opened.jobs.running(found.id)
        if running is not None:
            running.stop(reason)
            with trio.move_on_after(STOP_SECONDS):
                await running.ended.wait()
        return await self.get(job_id)

    async def answer(self, by: str, job_id: str, answers: Mapping[str, object]) -> Job:
        """Answer questions of a job; ids that it did not ask are passed over.

        Raises:
            NotFound: there is none of that id.
        """
        opened, found = await self._find(job_id)
        await opened.store.execute(AnswerJob(by, found.id, dict(answers)), opened.key())
        running = opened.jobs.running(found.id)
        if running is not None:
            running.look()
        return await self.get(job_id)

    async def cancel_work_on(
        self, by: str, opened: OpenWorkspace, kind: str, task_ids: Collection[str], reason: str
    ) -> None:
        """Cancel the jobs of a kind that work on any of these tasks, and wait until they have ended."""
        for one in await opened.store.read(job_queries.live_jobs):
            if one.kind == kind and one.task_id in task_ids:
                await self.cancel(by, one.id, reason)

    async def _find(self, job_id: str) -> tuple[OpenWorkspace, Job]:
        missing: NotFound | None = None
        for opened in await self._lookup.open_ones():
            try:
                return opened, await opened.store.read(job_queries.job, job_id)
            except NotFound as error:
                missing = missing or error
        assert missing is not None, "the server's own workspace is always open"
        raise missing

    async def _settled(self, opened: OpenWorkspace, found: Job) -> Job:
        """Decide a job that nobody works on any more; gives it as it stands then."""
        return await opened.store.read(job_queries.job, found.id) if await self._settle(opened, found) else found

    async def _settle(self, opened: OpenWorkspace, found: Job) -> bool:
        """Decide a job that nobody works on any more; say whether that has changed it."""
        if found.ended:
            return False
        gone = found.server != opened.server and not server_alive(opened.workspace, found.server)
        if not gone and not await opened.jobs.abandoned(found):
            return False
        why = f"the server that worked on it ({found.server}) ended before it was done; ask for it again to go on"
        if gone:
            # First what it had begun is over: then the rows say what came of it.
            await opened.release_dead_claims()
        else:
            try:
                if await self._adopted(opened, found):
                    return True
            except (Refusal, WorkspaceError) as error:
                log.warning("job %s could not be begun anew: %s", found.id, error)
                why = str(error).rstrip(".")
        await opened.store.execute(await self._verdict(opened, found, why), opened.key())
        return True

    async def _adopted(self, opened: OpenWorkspace, found: Job) -> bool:
        """Begin a job anew that an earlier process of this server had begun; say whether it goes on.

        Raises:
            Refusal, WorkspaceError: it cannot be.
        """
        beginner = self._beginners.get(found.kind)
        if beginner is None or found.intent is None or found.stop is not None:
            return False
        async with self._adopting.setdefault(found.id, trio.Lock()):
            if not await opened.jobs.abandoned(found):
                return True
            # Another call of this process may have begun and ended it since it was read: the commit says so.
            return not await opened.jobs.adopt(found) or await beginner(opened, found)

    async def _verdict(self, opened: OpenWorkspace, found: Job, why: str) -> EndJob:
        verdict = self._verdicts.get(found.kind)
        result = None if verdict is None else await verdict(opened, found)
        if result is not None:
            return EndJob("supervision", found.id, JobStatus.COMPLETED, result=result)
        if found.stop is not None:
            return EndJob("supervision", found.id, JobStatus.CANCELLED, found.stop)
        error = {"kind": "interrupted", "message": why}
        return EndJob("supervision", found.id, JobStatus.FAILED, why, error=error)


def job_line(found: Job) -> str:
    """Say in a line what a job works on and how far it is."""
    of = "" if found.total is None else f" {found.done:g}/{found.total:g}"
    message = f": {found.message}" if found.message else ""
    return f"{found.task_id or found.id} {found.status}{of}{message}"
