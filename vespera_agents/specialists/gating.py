"""The gates between handed-in work and a completed task.

They run in a child of the session, so that they go on when the caller stops waiting; what came of them is stored
either way: the task completes, or it is noted on the task why not. Cancelling the task, or taking it away, kills them.
Not the rules of who may hand in what (`work_tools`), not the running of a command (`specialist`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Final, cast, final

import trio

from supervisors import AlreadyPresent, AlreadyStarted, ChildSpec, Restart, SupervisorError
from vespera_agents.actors import ActorError
from vespera_agents.specialists.calls import Call
from vespera_agents.specialists.handed_in import told
from vespera_agents.specialists.jobs import JobStopped, RunningJob
from vespera_agents.specialists.outcomes import GateReport
from vespera_agents.specialists.recalling import Outcome, read_outcome
from vespera_agents.specialists.sessions import GATES_CHILD, OpenWorkspace
from vespera_agents.specialists.specialist import CheckGates
from vespera_agents.store import StoreError, queries
from vespera_agents.store.commands import Finished, FinishTask, NewArtifact, NoteTask, StartJob, check_may_finish
from vespera_agents.store.jobs import Job
from vespera_agents.work.errors import Conflict, NotFound, Refusal
from vespera_agents.work.models import ArtifactKind, CommandLine, Task, TaskStatus

__all__ = [
    "GATES_KIND",
    "HandedIn",
    "check_may_hand_in",
    "finish",
    "gates_anew",
    "gates_running",
    "interrupted",
    "job_of_gates",
    "joined",
    "judge_gates",
    "pass_gates",
]

GATE_GRACE_SECONDS: Final = 60.0
"""What a gate may take beyond its own timeout, the wait for a free specialist included."""
LOOK_SECONDS: Final = 0.5
"""How often we look whether the task was cancelled or taken away while its gates run."""
_BEGINNING_SECONDS: Final = 0.005
KILL_SECONDS: Final = 10.0
"""How long we wait for the command of gates that were called off to be gone."""
GATES_KIND: Final = "orchestrator_complete_task"
"""The kind of these jobs: the tool that begins them."""


_Ending = tuple[Finished, Outcome] | Refusal | StoreError


@final
@dataclass(frozen=True, slots=True)
class HandedIn:
    """Work that was handed in, its artifacts durable but not yet named by any row."""

    call: Call
    opened: OpenWorkspace
    task: Task
    status: TaskStatus
    """What the task becomes if nothing speaks against it."""
    summary: str
    artifacts: tuple[NewArtifact, ...]
    begun: Job | None = None
    """The job of these gates, where an earlier process had begun it."""


def gates_running(opened: OpenWorkspace, task: Task) -> bool:
    """Say whether gates of earlier handed-in work still run for a task."""
    live = opened.sessions.get(task.session_id)
    return live is not None and _name(task) in {info.id for info in live.supervisor.which_children()}


def check_may_hand_in(holder: str, task: Task, status: TaskStatus) -> None:
    """Refuse early what the store would refuse after files were kept and gates have run.

    Raises:
        Conflict, BadTransition: as `check_may_finish`; or it came to wait for something since it was claimed.
    """
    check_may_finish(holder, task, status)
    if status is TaskStatus.COMPLETED and task.open_dependencies:
        raise Conflict(
            f"task {task.id} ({task.title}) came to wait for other tasks",
            "Finish or waive its dependencies first; orchestrator_query_tasks(detail=full) shows them.",
        )


async def finish(work: HandedIn, more: tuple[NewArtifact, ...] = ()) -> tuple[Finished, Outcome]:
    """Give the task its new status, and its artifacts in the same transaction; give also what there is to tell of it.

    Raises:
        Refusal: the rows do not allow it now.
        StoreError: it could not be written.
    """
    command = FinishTask(
        work.call.by,
        work.task.id,
        work.opened.claims.name(work.call.holder),
        work.status,
        reason=None if work.status is TaskStatus.COMPLETED else work.summary,
        summary=work.summary,
        artifacts=(*work.artifacts, *more),
    )

    def outcome(connection: sqlite3.Connection, finished: Finished) -> Outcome:
        return read_outcome(connection, work.task, finished)

    return await work.opened.store.execute_and_read(command, work.call.step(), outcome)


async def pass_gates(work: HandedIn, wait_seconds: float) -> tuple[Finished, Outcome] | None:
    """Run the gates of handed-in work and complete the task if they succeed; None when they take longer.

    Cancelled: the gates go on, and their outcome is stored: whoever handed in work wants it done, and a client that
    gave up waiting asks for the task later. Cancelling the task, or the job of its gates, kills them.

    Args:
        work: what was handed in.
        wait_seconds: how long to wait for them.

    Raises:
        AlreadyPresent, AlreadyStarted: those of what was handed in a moment earlier run.
        Conflict: a gate did not succeed, or the gates were interrupted.
        Refusal: the task was cancelled or taken over meanwhile.
        StoreError: the outcome could not be written.
    """
    live = await work.opened.session(work.task.session_id)
    send, receive = trio.open_memory_channel[_Ending](1)
    spec = ChildSpec(_name(work.task), partial(_gate, work, send), restart=Restart.TEMPORARY, shutdown_seconds=10.0)
    try:
        await live.supervisor.start_child(spec)
    except (AlreadyPresent, AlreadyStarted):
        raise
    except SupervisorError as error:
        raise interrupted(work.task) from error
    with trio.move_on_after(wait_seconds):
        try:
            outcome = await receive.receive()
        except trio.EndOfChannel:
            raise interrupted(work.task) from None
        if isinstance(outcome, Exception):
            raise outcome
        return outcome
    return None


def interrupted(task: Task) -> Conflict:
    """Say that gates came to no outcome."""
    return Conflict(
        f"the gates of task {task.id} were interrupted: they were cancelled, or the session was restarted",
        "Nothing was recorded. Call orchestrator_complete_task again.",
    )


async def judge_gates(opened: OpenWorkspace, job: Job) -> Mapping[str, object] | None:
    """Say what gates came to whose server is gone: the task completed with them, or nothing was recorded."""
    assert job.task_id is not None, "these jobs run the gates of a task"
    try:
        task = await opened.store.read(queries.task, job.task_id)
    except NotFound:
        return None
    if task.status is not TaskStatus.COMPLETED or (task.finished or 0.0) < job.created:
        return None
    kept = [artifact.id for artifact in await opened.store.read(queries.artifacts_of, [task.id])]
    finished = Finished(
        task_id=task.id, status=task.status, standing=task.status, version=task.version, artifact_ids=kept, ready=[]
    )
    return told(task, finished, await opened.store.read(read_outcome, task, finished)).model_dump(mode="json")


async def gates_anew(opened: OpenWorkspace, job: Job) -> bool:
    """Run gates again that an earlier process of this server had begun; False if the task was completed by them.

    Args:
        opened: where.
        job: theirs.

    Raises:
        Refusal: the task is no longer what it was when the work was handed in.
        StoreError: the rows could not be read.
    """
    assert job.task_id is not None, "these jobs run the gates of a task"
    intent = job.intent or {}
    task = await opened.store.read(queries.task, job.task_id)
    call = Call.again(intent)
    if task.status is TaskStatus.COMPLETED:
        # That process died between this and the end of the job: two transactions.
        return False
    check_may_hand_in(opened.claims.name(call.holder), task, TaskStatus.COMPLETED)
    kept = cast("list[dict[str, Any]]", intent["artifacts"])
    artifacts = tuple(replace(NewArtifact(**one), kind=ArtifactKind(one["kind"])) for one in kept)
    summary = str(intent["summary"])
    work = HandedIn(call, opened, task, TaskStatus.COMPLETED, summary, artifacts, job)
    try:
        await pass_gates(work, 0.0)
    except (AlreadyPresent, AlreadyStarted) as error:
        raise Conflict(f"other gates of task {task.id} run already", "Wait for their outcome.") from error
    return True


async def job_of_gates(opened: OpenWorkspace, task: Task) -> RunningJob | None:
    """Give the job as which the gates of a task run; None when none run. Waits while its row is just being written."""
    while gates_running(opened, task):
        identifier = opened.jobs.working_on(GATES_KIND, task.id)
        running = None if identifier is None else opened.jobs.running(identifier)
        if running is not None:
            return running
        await trio.sleep(_BEGINNING_SECONDS)
    return None


async def joined(call: Call, opened: OpenWorkspace, task: Task, wait_seconds: float) -> bool:
    """Wait for gates that this very call had begun; say whether they have ended. Not for those of another call."""
    with trio.move_on_after(wait_seconds):
        running = await job_of_gates(opened, task)
        if running is not None and (running.intent.get("origin"), running.intent.get("key")) == (
            call.key.origin,
            call.key.key,
        ):
            await running.ended.wait()
            return True
    return False


async def _gate(work: HandedIn, answer: trio.MemorySendChannel[_Ending], *, task_status: trio.TaskStatus[None]) -> None:
    """Be the child: run the gates, store what came of them, and tell whoever still waits."""
    task_status.started()
    opened, task = work.opened, work.task

    outcome: _Ending | None = None

    async def pass_them(running: RunningJob) -> dict[str, object]:
        nonlocal outcome
        report = await _run_gates(work, running)
        try:
            outcome = await _store_outcome(work, report)
        except (Refusal, StoreError) as error:
            outcome = error
        if report.called_off:
            raise JobStopped(str(outcome))
        if isinstance(outcome, Exception):
            raise outcome
        running.report(len(task.gates), len(task.gates), "its gates have succeeded")
        return told(task, *outcome).model_dump(mode="json")

    # Closed however this ends, so that nobody waits for what will not come.
    with answer:
        try:
            if work.begun is None:
                begun = StartJob(
                    work.call.by,
                    opened.record.id,
                    GATES_KIND,
                    task.session_id,
                    task.id,
                    len(task.gates),
                    "running its gates",
                    intent=work.call.intent(summary=work.summary, artifacts=[asdict(one) for one in work.artifacts]),
                )
                await opened.jobs.run_here(begun, opened.key(), pass_them)
            else:
                await opened.jobs.resume_here(work.begun, pass_them)
        except (Refusal, StoreError) as error:
            outcome = error
        if outcome is not None:
            answer.send_nowait(outcome)


async def _store_outcome(work: HandedIn, report: GateReport) -> _Ending:
    task = work.task
    if report.called_off:
        return Conflict(
            f"task {task.id} was cancelled, changed or taken over while its gates ran",
            "Your work was not recorded. Read the task again before you go on.",
        )
    if report.failure is None:
        return await finish(work, report.artifacts)
    artifacts = (*work.artifacts, *report.artifacts)
    note = NoteTask(work.call.by, task.id, "gates_failed", report.failure, artifacts)
    await work.opened.store.execute(note, work.call.step())
    return Conflict(
        f"task {task.id} did not complete: {report.failure}",
        "Correct the work and call orchestrator_complete_task again; the gate's output is an artifact of the task.",
    )


async def _run_gates(work: HandedIn, running: RunningJob) -> GateReport:
    opened, task = work.opened, work.task
    limit = sum(gate.timeout_seconds + GATE_GRACE_SECONDS for gate in task.gates)
    report = GateReport(called_off=True)
    scope = trio.CancelScope()

    def on_gate(number: int, gate: CommandLine) -> None:
        for report_to in (running.report, work.call.report):
            report_to(number, len(task.gates), f"gate `{gate.text}`")

    async def call_off() -> None:
        try:
            await _call_off_cancelled(work, scope)
        finally:
            # Also when this is cancelled: the command is killed first, and only then is it over.
            scope.cancel("nobody waits for these gates")
            patience.deadline = trio.current_time() + KILL_SECONDS

    async with trio.open_nursery() as nursery:
        with trio.CancelScope(shield=True) as patience:
            nursery.start_soon(call_off)
            try:
                live = await opened.session(task.session_id)
                async with live.borrow(opened.role(task.specialist)) as specialist:
                    report = await specialist.ask(CheckGates(task, scope, on_gate), timeout_seconds=limit)
            except (ActorError, Refusal, StoreError) as error:
                report = GateReport(f"its gates could not be run: {error}")
        nursery.cancel_scope.cancel("the gates have ended")
    return report


async def _call_off_cancelled(work: HandedIn, scope: trio.CancelScope) -> None:
    """Kill the gates once the task is no longer what it was when the work was handed in."""
    before = work.task
    while True:
        await trio.sleep(LOOK_SECONDS)
        try:
            now = await work.opened.store.read(queries.task, before.id)
        except NotFound:
            now = None
        except StoreError:
            continue
        same = (before.status, before.claimed_by, before.attempts)
        if now is None or (now.status, now.claimed_by, now.attempts) != same:
            scope.cancel("the task was cancelled")
            return


def _name(task: Task) -> str:
    return f"{GATES_CHILD}{task.id}"
