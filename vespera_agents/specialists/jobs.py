"""Jobs at work: what goes on after the call that asked for it, as children of the workspace.

A job's row is committed before its work begins, its outcome when it ends, whoever still listens. Here is what runs in
this server: progress on its way into the row, questions and their answers, the wish to stop, which may come from
another server. Not what a job does (`agents`, the faces), not what becomes of a job whose server is gone (`job_tools`).
"""

from __future__ import annotations

import json
import math
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol, cast, final

import trio

from supervisors import AnySupervisor, ChildSpec, Restart, Supervisor, SupervisorError
from vespera_agents.store import CommandKey, Store, StoreError
from vespera_agents.store.commands import AdoptJob, AskJob, EndJob, NoteJob, StartJob, kept_id
from vespera_agents.store.jobs import Job, JobStatus, job
from vespera_agents.work.errors import Conflict, NotFound, Refusal
from vespera_agents.workspace import Workspace

__all__ = ["REFUSED", "JobFailed", "JobStopped", "Jobs", "RunningJob"]

LOOK_SECONDS: Final = 0.5
"""How often a job's row is written and read: progress of ours goes out, answers and wishes of others come in."""
ANSWER_SECONDS: Final = 3_600.0
"""How long a job waits for the answers to its questions."""
JOBS_MAX: Final = 64
"""Jobs of one workspace at work in one server."""
ATTEMPTS_MAX: Final = 3
"""How often a job is begun whose process ends again and again: it may be the one that ends it."""
RESULT_BYTES_MAX: Final = 1024 * 1024
_END_SECONDS: Final = 2.0
"""How long a job that is being stopped tries to write its end; else it is found by its server's absence."""
_MESSAGE_MAX: Final = 500

REFUSED: Final = "refusal"
"""Below which key of a failed job's error the refusal lies that ended it: its class, what, and the next action."""

Result = dict[str, object]
"""What a job came to, as JSON can carry it."""


@final
class JobFailed(Exception):
    """Raised by the work of a job: it could not be done, and this says why."""

    def __init__(self, message: str, error: Mapping[str, object]) -> None:
        super().__init__(message)
        self.error = dict(error)
        """For programs."""


@final
class JobStopped(Exception):
    """Raised by the work of a job: what it worked on was cancelled."""


class _Place(Protocol):
    """What jobs need of the workspace they run in."""

    workspace: Workspace

    @property
    def store(self) -> Store: ...

    @property
    def server(self) -> str: ...

    def key(self) -> CommandKey: ...

    def goes_on(self) -> bool: ...


@final
@dataclass(frozen=True, slots=True)
class _End:
    status: JobStatus
    message: str | None = None
    result: Result | None = None
    error: Result | None = None


def _failed(kind: str, message: str) -> _End:
    return _End(JobStatus.FAILED, message, error={"kind": kind, "message": message})


_INTERRUPTED: Final = _failed("interrupted", "the server that worked on it was stopped or restarted")
_FAULT: Final = _failed("internal_error", "a fault of the server ended it; the log on its standard error tells more")


@final
class RunningJob:
    """A job at work in this server."""

    def __init__(
        self, job_id: str, new: StartJob | Job, place: _Place, work: Callable[[RunningJob], Awaitable[Result]]
    ) -> None:
        self.id: Final = job_id
        self.kind: Final = new.kind
        self.task_id: Final = new.task_id
        self.intent: Final = new.intent or {}
        self.ended: Final = trio.Event()
        """Set when its outcome is in the store, or could not be written."""
        self._place = place
        self._work = work
        self._scope = trio.CancelScope()
        self._stopped: str | None = None
        done = new.done if isinstance(new, Job) else 0.0
        self._progress: tuple[float, float | None, str | None] = (done, new.total, new.message)
        self._written = self._progress
        self._waiting: dict[str, trio.Event] = {}
        """By the ids of the questions that somebody here waits for."""
        self._answers: Mapping[str, object] = {}
        self._taken: list[str] = []
        """Ids whose answers were taken: the next question drops them."""
        self._wake = trio.Event()

    def report(self, done: float, total: float | None, doing: str) -> None:
        """Say how far it is; the row follows within half a second, and never goes back."""
        before, known, _ = self._progress
        self._progress = (max(before, done), known if total is None else total, doing[:_MESSAGE_MAX])

    def stop(self, reason: str) -> None:
        """Cancel it; the reason of the first who does stands."""
        if self._stopped is None:
            self._stopped = reason
            self._scope.cancel(reason)

    def look(self) -> None:
        """Read the row now, because it was changed here."""
        self._wake.set()

    async def ask(self, questions: Mapping[str, object]) -> dict[str, object]:
        """Ask whoever asked for the job, and wait for all answers.

        Args:
            questions: what to ask, by names of the caller's; as JSON can carry it.

        Returns:
            the answers by the same names.

        Raises:
            JobFailed: nobody answered in time.
        """
        # The ids are used once: a late answer to an earlier question must not answer this one.
        ids = {f"{name}-{secrets.token_hex(4)}": name for name in questions}
        answers: dict[str, object] | None = None
        with trio.move_on_after(ANSWER_SECONDS):
            answers = await self._asked({identifier: questions[name] for identifier, name in ids.items()})
        self._taken += ids
        if answers is None:
            text = f"nobody answered within {ANSWER_SECONDS:.0f} s"
            raise JobFailed(text, {"kind": "unanswered", "message": text})
        return {ids[identifier]: answer for identifier, answer in answers.items()}

    async def ask_kept(self, thread: str, name: str, question: object) -> object:
        """Ask one question whose answer is kept: put again under the same name, by whichever process, it is there.

        Cancelled: the question stays open, and a late answer counts.

        Args:
            thread: whose questions follow one another; its next one drops the answers to those before.
            name: of the question, unique within the thread.
            question: as JSON can carry it.
        """
        identifier = kept_id(thread, name)
        return (await self._asked({identifier: question}, kept_id(thread)))[identifier]

    async def _asked(self, questions: Mapping[str, object], *forgotten: str) -> dict[str, object]:
        """Put questions, and wait until all are answered."""
        events = {identifier: trio.Event() for identifier in questions}
        self._waiting |= events
        try:
            command = AskJob("job", self.id, questions, (*forgotten, *self._taken))
            self._taken.clear()
            await self._place.store.execute(command, self._place.key())
            # What was answered before, to the process before this one, is there already.
            self.look()
            for event in events.values():
                await event.wait()
        finally:
            self._waiting = {key: event for key, event in self._waiting.items() if event is not events.get(key)}
        return {identifier: self._answers[identifier] for identifier in questions}

    def tree_detail(self) -> dict[str, str | int | float]:
        """Say what the tree shows of it."""
        done, total, _ = self._progress
        return {"done": done} if total is None else {"done": done, "total": total}

    async def run(self, *, task_status: trio.TaskStatus[RunningJob] = trio.TASK_STATUS_IGNORED) -> None:
        """Do the work and write down what came of it: a child for the supervisor of jobs."""
        task_status.started(self)
        end: _End | None = None
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._keep_looking)
                    end = await self._outcome()
                    nursery.cancel_scope.cancel()
        finally:
            if end is None and self._stopped is not None:
                end = _End(JobStatus.CANCELLED, self._stopped)
            # Without an outcome and without a wish: somebody above stops us, or the work has crashed.
            above_stops = trio.current_effective_deadline() == -math.inf
            try:
                # Behind a front the next process goes on with it.
                if end is not None or not above_stops or not self._place.goes_on():
                    await self._write_end(end or (_INTERRUPTED if above_stops else _FAULT))
            finally:
                self.ended.set()

    async def _outcome(self) -> _End:
        try:
            result = await self._work(self)
        except JobStopped as stopped:
            return _End(JobStatus.CANCELLED, str(stopped))
        except JobFailed as failed:
            return _End(JobStatus.FAILED, str(failed), error=failed.error)
        except Refusal as refusal:
            told = {"kind": type(refusal).__name__, "what": refusal.what, "next_action": refusal.next_action}
            error: Result = {"kind": "refused", REFUSED: told}
            return _End(JobStatus.FAILED, str(refusal), error=error)
        except StoreError as problem:
            return _failed("store", str(problem))
        size = len(json.dumps(result))
        if size > RESULT_BYTES_MAX:
            text = f"its result has {size} bytes, more than {RESULT_BYTES_MAX} are not kept; what it changed is stored"
            return _failed("too_large", text)
        return _End(JobStatus.COMPLETED, None, result)

    async def _write_end(self, end: _End) -> None:
        done, total, doing = self._progress
        message = end.message or doing
        with trio.CancelScope(shield=True), trio.move_on_after(_END_SECONDS):
            try:
                note = NoteJob("job", self.id, done, total, doing)
                if self._progress != self._written:
                    await self._place.store.execute(note, self._place.key())
                command = EndJob("job", self.id, end.status, message and message[:_MESSAGE_MAX], end.result, end.error)
                await self._place.store.execute(command, self._place.key())
            except (StoreError, NotFound):
                # Whoever asks for it next finds it without anybody at work on it, and decides then.
                return

    async def _keep_looking(self) -> None:
        while True:
            with trio.move_on_after(LOOK_SECONDS):
                await self._wake.wait()
            self._wake = trio.Event()
            try:
                await self._exchange()
            except StoreError:
                # The store is being restarted; what is to be said is said the next time.
                continue

    async def _exchange(self) -> None:
        """Write how far the work is, and read what others wrote."""
        if self._progress != self._written:
            progress = self._progress
            await self._place.store.execute(NoteJob("job", self.id, *progress), self._place.key())
            self._written = progress
        try:
            row = await self._place.store.read(job, self.id)
        except NotFound:
            self.stop("it was deleted")
            return
        if row.stop is not None:
            self.stop(row.stop)
        self._answers = row.answers
        for identifier, waits in self._waiting.items():
            if identifier in row.answers:
                waits.set()


@final
class Jobs:
    """The jobs of one workspace that are at work in this server."""

    def __init__(self, place: _Place) -> None:
        self._place = place
        self._running: dict[str, RunningJob] = {}
        self._beginning: dict[object, trio.Event] = {}
        self._supervisor: Supervisor | None = None

    def supervisor(self) -> AnySupervisor:
        """Make the dynamic supervisor below which the jobs run, once for each incarnation."""
        self._supervisor = Supervisor(name=f"jobs of {self._place.workspace.directory}")
        return self._supervisor

    def running(self, job_id: str) -> RunningJob | None:
        """Give a job if it is at work here."""
        found = self._running.get(job_id)
        return None if found is None or found.ended.is_set() else found

    def working_on(self, kind: str, task_id: str) -> str | None:
        """Give the id of a job of that kind that is at work here on a task."""
        mine = (one for one in self._running.values() if (one.kind, one.task_id) == (kind, task_id))
        return next((one.id for one in mine if not one.ended.is_set()), None)

    async def abandoned(self, found: Job) -> bool:
        """Say whether a job is in this server's name although nobody works on it here, as of when its row was read."""
        if found.server != self._place.server:
            return False
        # A row is there a moment before its job is known here; one that begins later is not the one that was read.
        for known in [*self._beginning.values()]:
            await known.wait()
        return self.running(found.id) is None

    async def start(
        self, new: StartJob, key: CommandKey, work: Callable[[RunningJob], Awaitable[Result]]
    ) -> RunningJob:
        """Commit that a job begins, and begin it.

        Args:
            new: what is written down.
            key: the name of the wish; the caller sees to it that one that is repeated does not come here again.
            work: what to do; cancelled when the job is, and it cleans up then.

        Raises:
            Conflict: too many are at work, or the workspace is being restarted.
            StoreError: it could not be written.
        """
        running = await self._begin(new, key, work)
        await self._start(running)
        return running

    async def resume(self, found: Job, work: Callable[[RunningJob], Awaitable[Result]]) -> None:
        """Begin a job anew that `adopt` took over.

        Raises:
            Conflict: the workspace is being restarted.
        """
        running = self._running[found.id] = RunningJob(found.id, found, self._place, work)
        await self._start(running)

    async def resume_here(self, found: Job, work: Callable[[RunningJob], Awaitable[Result]]) -> None:
        """Do the work of a job that `adopt` took over in the calling task."""
        running = self._running[found.id] = RunningJob(found.id, found, self._place, work)
        await running.run()

    async def adopt(self, found: Job) -> bool:
        """Commit that a job whose process has ended begins anew here; False if it has ended meanwhile.

        Raises:
            Conflict: it was begun too often.
            StoreError: it could not be written.
        """
        command = AdoptJob("supervision", found.id, self._place.server, ATTEMPTS_MAX)
        state = await self._place.store.execute(command, self._place.key())
        return state["status"] == JobStatus.WORKING

    async def _start(self, running: RunningJob) -> None:
        spec = ChildSpec(running.id, running.run, restart=Restart.TEMPORARY, shutdown_seconds=20.0)
        try:
            supervisor = cast("Supervisor", self._supervisor)
            # A start that has begun is finished whoever waits for it; cancelled, it would go on unknown.
            with trio.CancelScope(shield=True):
                await supervisor.start_child(spec)
        except SupervisorError as error:
            del self._running[running.id]
            raise Conflict(
                "the workspace is just being restarted", "Call again; what was begun is told as failed."
            ) from error

    async def run_here(self, new: StartJob, key: CommandKey, work: Callable[[RunningJob], Awaitable[Result]]) -> None:
        """Commit that a job begins, and do its work in the calling task, which is somewhere else in the tree.

        Raises:
            Conflict, StoreError: as for `start`.
        """
        await (await self._begin(new, key, work)).run()

    async def check_health(self) -> tuple[str, str] | None:
        """Say whether there is room for another job: a grade and a sentence when there is none."""
        await trio.lowlevel.checkpoint()
        at_work = sum(not one.ended.is_set() for one in self._running.values()) + len(self._beginning)
        return None if at_work < JOBS_MAX else ("degraded", f"{at_work} jobs are at work, and no other can begin")

    async def _begin(
        self, new: StartJob, key: CommandKey, work: Callable[[RunningJob], Awaitable[Result]]
    ) -> RunningJob:
        self._running = {name: one for name, one in self._running.items() if not one.ended.is_set()}
        if len(self._running) + len(self._beginning) >= JOBS_MAX:
            raise Conflict(
                f"{JOBS_MAX} jobs are at work in this workspace already", "Wait until one of them has ended."
            )
        begins = object()
        known = self._beginning[begins] = trio.Event()
        try:
            started = await self._place.store.execute(new, key)
            running = self._running[started["job_id"]] = RunningJob(started["job_id"], new, self._place, work)
        finally:
            del self._beginning[begins]
            known.set()
        return running
