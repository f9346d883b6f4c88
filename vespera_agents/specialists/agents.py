"""Work that this server carries out by itself: a task that is a command, or a task with everything below it.

The call that asks for it is answered at once with a job. Commands run for a client only as far as the workspace's
owner allows them: that is looked at for all of them before any begins, and again for each before it begins, because a
task may be changed meanwhile. On tasks without a command a specialist works with a model where a provider is
configured; else they are prepared and wait for a client, as in `vespera run`.
Neighbours: `conducting` has the work done, `job_tools` keeps the job, `work_tools` is for clients that work themselves.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, final

from vespera_agents.specialists.answers import ClaimAnswer, task_view
from vespera_agents.specialists.calls import Call, Lookup
from vespera_agents.specialists.claims import conductor_name
from vespera_agents.specialists.conducting import CONCURRENCY_DEFAULT, conduct, run_lock
from vespera_agents.specialists.conductor import Conductor, RunEvent, RunEventKind
from vespera_agents.specialists.job_tools import JobTools
from vespera_agents.specialists.jobs import JobFailed, JobStopped, RunningJob
from vespera_agents.specialists.sessions import OpenSession, OpenWorkspace
from vespera_agents.specialists.standing import counts_of, outcome_of
from vespera_agents.store import queries
from vespera_agents.store.commands import ReleaseClaims
from vespera_agents.store.jobs import Job
from vespera_agents.work.errors import Conflict, InvalidInput, NotFound
from vespera_agents.work.machine import LIVE, TERMINAL
from vespera_agents.work.models import CommandLine, Task, TaskStatus
from vespera_agents.workspace import WorkspaceError

if TYPE_CHECKING:
    from vespera_agents.providers.client import Lender

__all__ = ["EXECUTE_KIND", "Agents"]

EXECUTE_KIND: Final = "orchestrator_execute_task"
"""The kind of these jobs: the tool that begins them."""


@final
class Agents:
    """What the server's own specialists do for a client."""

    def __init__(self, lookup: Lookup, jobs: JobTools) -> None:
        self._lookup = lookup
        self._jobs = jobs
        self.lender: Callable[[RunningJob], Lender | None] = _nobody
        """Gives who answers with the model of a job's client; the face that knows clients puts it here."""
        jobs.decide(EXECUTE_KIND, _judge)
        jobs.begin_anew(EXECUTE_KIND, self._begin_anew)

    async def execute(self, call: Call, task_id: str, session: str | None = None) -> ClaimAnswer:
        """Begin to carry out a task, with everything below it, and answer at once.

        Raises:
            NotFound: there is none of that id.
            InvalidInput: it is no command, and no model provider is configured.
            Conflict: nothing of it can begin, a command of it is not allowed, or somebody works on this session.
        """
        opened, root = await self._lookup.task(task_id, session)
        recorded = await opened.store.recorded(call.key.step(1))
        with contextlib.ExitStack() as refused:
            work = _Work(self._lookup, opened, root, contextlib.ExitStack(), self.lender)
            if recorded is None:
                tasks = await opened.store.read(queries.session_tasks, root.session_id, root.id)
                lends = call.model is not None
                self._check(opened, root, tasks, lends=lends)
                found = await opened.store.read(queries.session, root.session_id)
                refused.callback(work.abandon)
                _enter(work, found.name)
                work.total = sum(_for_us(opened, task, lends=lends) and task.status in LIVE for task in tasks)
            job = await self._jobs.start(
                call,
                EXECUTE_KIND,
                work.carry_out,
                opened=opened,
                session_id=root.session_id,
                task_id=root.id,
                total=work.total,
                intent=call.intent(model=call.model),
            )
            refused.pop_all()
        call.job = job.id
        return _answer(
            root,
            job.status,
            "The specialists of this server work on it. Look after it with orchestrator_get_status; "
            f"orchestrator_cancel_task(task_id={root.id!r}) ends it.",
        )

    async def _begin_anew(self, opened: OpenWorkspace, job: Job) -> bool:
        """Go on with what an earlier process of this server carried out."""
        assert job.task_id is not None, "these jobs work on a task"
        root = await opened.store.read(queries.task, job.task_id)
        found = await opened.store.read(queries.session, root.session_id)
        with contextlib.ExitStack() as refused:
            progress = int(job.total or 0), int(job.done)
            work = _Work(self._lookup, opened, root, contextlib.ExitStack(), self.lender, *progress)
            refused.callback(work.abandon)
            _enter(work, found.name)
            await opened.jobs.resume(job, work.carry_out)
            refused.pop_all()
        return True

    def _check(self, opened: OpenWorkspace, root: Task, tasks: Sequence[Task], *, lends: bool) -> None:
        label = f"task {root.id} ({root.title})"
        if not root.is_container and not _for_us(opened, root, lends=lends):
            raise InvalidInput(
                "no model provider is configured, your client offers no model of its own (sampling), and "
                f"{label} is no command that could run without one",
                f"Do the work yourself: orchestrator_execute_task(task_id={root.id!r}, mode='client').",
            )
        if not root.is_container and not root.ready:
            waits = " and waits for other tasks" if root.open_dependencies else ""
            raise Conflict(
                f"{label} is {root.status}{waits}: it cannot begin",
                "Take another ready task (orchestrator_query_tasks ready=true), or set this one to pending with "
                "orchestrator_update_task.",
            )
        if not any(task.status is TaskStatus.PENDING and not task.is_container for task in tasks):
            raise Conflict(
                f"nothing below {label} is still to be done",
                "Gather what came of it with orchestrator_synthesize_results, or set tasks to pending again.",
            )
        for task in tasks:
            if _for_us(opened, task, lends=lends) and task.status in LIVE:
                reason = _refusal(opened, task)
                if reason is not None:
                    raise Conflict(
                        reason,
                        "Ask the workspace's owner to allow it, then call again; or do the tasks yourself with "
                        "mode='client'.",
                    )


@final
@dataclass(slots=True)
class _Work:
    """One job: a subtree that is carried out."""

    lookup: Lookup
    opened: OpenWorkspace
    root: Task
    lock: contextlib.ExitStack
    """Held while the work goes on: one conductor of a session at a time."""
    lender: Callable[[RunningJob], Lender | None]
    total: int = 0
    done: int = 0
    begun: bool = False

    def abandon(self) -> None:
        """Let others work, if this will not begin: a call that is cancelled once it did leaves the job to itself."""
        if not self.begun:
            self.lock.close()

    async def carry_out(self, job: RunningJob) -> dict[str, object]:
        """Conduct until nothing more can be done, and say what came of it."""
        self.begun = True
        with self.lock, self.opened.model_source.lent(self.root.session_id, self.lender(job)):
            try:
                await conduct(self.opened, self.root.session_id, partial(self._conductor, job))
            except WorkspaceError as error:
                raise JobFailed(str(error), {"kind": "workspace_error", "message": str(error)}) from error
        answer = await _outcome(self.opened, self.root.id)
        if answer is None:
            raise JobStopped("its task was deleted")
        if answer.task.status in {TaskStatus.CANCELLED, TaskStatus.ARCHIVED}:
            raise JobStopped(f"its task was {answer.task.status}")
        return answer.model_dump(mode="json")

    def _conductor(self, job: RunningJob, live: OpenSession) -> Conductor:
        return Conductor(
            live,
            concurrency=CONCURRENCY_DEFAULT,
            listener=partial(self._hear, job),
            root=self.root.id,
            refusal=partial(_refusal, self.opened),
        )

    def _hear(self, job: RunningJob, event: RunEvent) -> None:
        if event.task is None:
            return
        if event.kind is RunEventKind.CLAIMED:
            job.report(self.done, self.total, f"working on {event.task.title}")
        elif event.kind is RunEventKind.FINISHED:
            self.done += event.status in TERMINAL
            # What a review sends back is done twice.
            self.total = max(self.total, self.done)
            job.report(self.done, self.total, f"{event.task.title}: {event.status}")
        elif event.kind is RunEventKind.PREPARED:
            job.report(self.done, self.total, f"{event.task.title} {event.text}")


def _nobody(_: RunningJob) -> Lender | None:
    return None


def _enter(work: _Work, name: str) -> None:
    try:
        work.lock.enter_context(run_lock(work.opened, name))
    except WorkspaceError as error:
        raise Conflict(
            f"specialists work in session {work.root.session_id} ({name}) already, or it is being run",
            "Wait until they are done (orchestrator_get_status), or cancel the task that they work on.",
        ) from error


def _for_us(opened: OpenWorkspace, task: Task, *, lends: bool) -> bool:
    """Say whether the specialists of this server can do a task: it is a command, or there are models to ask."""
    if task.is_container:
        return False
    return task.run is not None or lends or opened.model_source.models_for(task.session_id) is not None


def _refusal(opened: OpenWorkspace, task: Task) -> str | None:
    """Say which command of a task may not run for a client, and why."""
    lines: list[CommandLine] = [line for line in (task.when, task.run, *task.gates) if line is not None]
    for line in lines:
        refusal = opened.refusal(line)
        if refusal is not None:
            return f"the command `{line.text}` of task {task.id} ({task.title}) may not run: {refusal}"
    return None


async def _judge(opened: OpenWorkspace, job: Job) -> Mapping[str, object] | None:
    """Say what a job of a dead server came to, if nothing is left that this server could do."""
    assert job.task_id is not None, "these jobs work on a task"
    assert job.session_id is not None
    await _give_back(opened, job.session_id)
    answer = await _outcome(opened, job.task_id)
    if answer is None:
        return None
    tasks = await opened.store.read(queries.session_tasks, answer.task.session_id, answer.task.id)
    lends = (job.intent or {}).get("model") is not None
    if any(_for_us(opened, task, lends=lends) and task.status is TaskStatus.PENDING for task in tasks):
        return None
    return answer.model_dump(mode="json")


async def _give_back(opened: OpenWorkspace, session_id: str) -> None:
    """Give back what a conductor of this server holds that nobody brings back; another one does so when it begins."""
    with contextlib.suppress(WorkspaceError, NotFound):
        found = await opened.store.read(queries.session, session_id)
        with run_lock(opened, found.name):
            name = conductor_name(opened.record.id, session_id)
            await opened.store.execute(ReleaseClaims("supervision", (name,), "its work was given up"), opened.key())


async def _outcome(opened: OpenWorkspace, root_id: str) -> ClaimAnswer | None:
    """Say how a subtree stands; None when it is gone."""
    try:
        root = await opened.store.read(queries.task, root_id)
    except NotFound:
        return None
    tasks = await opened.store.read(queries.session_tasks, root.session_id, root.id)
    counts = counts_of(tasks)
    told = ", ".join(f"{number} {name}" for name, number in counts.items() if number)
    advice = (
        "Gather it with orchestrator_synthesize_results."
        if root.status in TERMINAL
        else "See what is left with orchestrator_get_status."
    )
    return _answer(root, outcome_of(counts), f"{told[:1].upper()}{told[1:]}. {advice}")


def _answer(root: Task, outcome: str, next_action: str) -> ClaimAnswer:
    return ClaimAnswer(
        task=task_view(root, full=True),
        already_yours=False,
        prompt="",
        context_tokens=0,
        context_tokens_max=0,
        left_out=[],
        gates=[gate.text for gate in root.gates],
        dependency_artifacts=[],
        outcome=outcome,
        next_action=next_action,
    )
