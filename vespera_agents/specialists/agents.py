"""Work that this server carries out by itself: a task that is a command, or a task with everything below it.

The call that asks for it is answered at once with a job. Commands run for a client only as far as the workspace's
owner allows them: that is looked at for all of them before any begins, and again for each before it begins, because a
task may be changed meanwhile. Tasks without a command are prepared and wait for a client, as in `vespera run`.
Neighbours: `conducting` has the work done, `job_tools` keeps the job, `work_tools` is for clients that work themselves.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, final

from vespera_agents.specialists.answers import ClaimAnswer, task_view
from vespera_agents.specialists.calls import Call, Lookup
from vespera_agents.specialists.conducting import CONCURRENCY_DEFAULT, conduct, run_lock
from vespera_agents.specialists.conductor import Conductor, RunEvent, RunEventKind
from vespera_agents.specialists.job_tools import JobTools
from vespera_agents.specialists.jobs import JobFailed, JobStopped, RunningJob
from vespera_agents.specialists.sessions import OpenSession, OpenWorkspace
from vespera_agents.specialists.standing import counts_of, outcome_of
from vespera_agents.store import queries
from vespera_agents.store.jobs import Job
from vespera_agents.work.errors import Conflict, InvalidInput, NotFound
from vespera_agents.work.machine import LIVE, TERMINAL
from vespera_agents.work.models import CommandLine, Task, TaskStatus
from vespera_agents.workspace import WorkspaceError, load_settings

__all__ = ["EXECUTE_KIND", "Agents"]

EXECUTE_KIND: Final = "orchestrator_execute_task"
"""The kind of these jobs: the tool that begins them."""


@final
class Agents:
    """What the server's own specialists do for a client."""

    def __init__(self, lookup: Lookup, jobs: JobTools) -> None:
        self._lookup = lookup
        self._jobs = jobs
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
            work = _Work(self._lookup, opened, root, contextlib.ExitStack())
            if recorded is None:
                tasks = await opened.store.read(queries.session_tasks, root.session_id, root.id)
                self._check(opened, root, tasks)
                found = await opened.store.read(queries.session, root.session_id)
                refused.callback(work.abandon)
                _enter(work, found.name)
                work.total = sum(task.run is not None and task.status in LIVE for task in tasks)
            job = await self._jobs.start(
                call,
                EXECUTE_KIND,
                work.carry_out,
                opened=opened,
                session_id=root.session_id,
                task_id=root.id,
                total=work.total,
                intent=call.intent(),
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
            work = _Work(self._lookup, opened, root, contextlib.ExitStack(), int(job.total or 0), int(job.done))
            refused.callback(work.abandon)
            _enter(work, found.name)
            await opened.jobs.resume(job, work.carry_out)
            refused.pop_all()
        return True

    def _check(self, opened: OpenWorkspace, root: Task, tasks: Sequence[Task]) -> None:
        label = f"task {root.id} ({root.title})"
        if not root.is_container and root.run is None:
            raise InvalidInput(
                f"no model provider is configured, and {label} is no command that could run without one",
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
            if task.run is not None and task.status in LIVE:
                reason = _refusal(self._lookup, opened, task)
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
        with self.lock:
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
            refusal=partial(_refusal, self.lookup, self.opened),
        )

    def _hear(self, job: RunningJob, event: RunEvent) -> None:
        if event.task is None:
            return
        if event.kind is RunEventKind.CLAIMED:
            job.report(self.done, self.total, f"working on {event.task.title}")
        elif event.kind is RunEventKind.FINISHED and event.status in TERMINAL:
            self.done += 1
            job.report(self.done, self.total, f"{event.task.title}: {event.status}")
        elif event.kind is RunEventKind.PREPARED:
            job.report(self.done, self.total, f"{event.task.title} {event.text}")


def _enter(work: _Work, name: str) -> None:
    try:
        work.lock.enter_context(run_lock(work.opened, name))
    except WorkspaceError as error:
        raise Conflict(
            f"specialists work in session {work.root.session_id} ({name}) already, or it is being run",
            "Wait until they are done (orchestrator_get_status), or cancel the task that they work on.",
        ) from error


def _refusal(lookup: Lookup, opened: OpenWorkspace, task: Task) -> str | None:
    """Say which command of a task may not run for a client, and why."""
    try:
        settings = load_settings(opened.workspace, lookup.runtime.registry)
    except WorkspaceError as error:
        return str(error)
    lines: list[CommandLine] = [line for line in (task.when, task.run, *task.gates) if line is not None]
    for line in lines:
        refusal = settings.refusal(line.text, shell=line.shell)
        if refusal is not None:
            return f"the command `{line.text}` of task {task.id} ({task.title}) may not run: {refusal}"
    return None


async def _judge(opened: OpenWorkspace, job: Job) -> Mapping[str, object] | None:
    """Say what a job of a dead server came to, if nothing is left that this server could do."""
    assert job.task_id is not None, "these jobs work on a task"
    answer = await _outcome(opened, job.task_id)
    if answer is None:
        return None
    tasks = await opened.store.read(queries.session_tasks, answer.task.session_id, answer.task.id)
    if any(task.run is not None and task.status is TaskStatus.PENDING for task in tasks):
        return None
    return answer.model_dump(mode="json")


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
