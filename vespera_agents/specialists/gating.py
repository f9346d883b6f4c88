"""The gates between handed-in work and a completed task.

They run in a child of the session, so that they go on when the caller stops waiting; what came of them is stored
either way: the task completes, or it is noted on the task why not. Cancelling the task, or taking it away, kills them.
Not the rules of who may hand in what (`work_tools`), not the running of a command (`specialist`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, final

import trio

from supervisors import AlreadyPresent, AlreadyStarted, ChildSpec, Restart, SupervisorError
from vespera_agents.actors import ActorError
from vespera_agents.specialists.answers import CompleteAnswer
from vespera_agents.specialists.calls import Call
from vespera_agents.specialists.jobs import JobStopped, RunningJob
from vespera_agents.specialists.sessions import GATES_CHILD, OpenWorkspace
from vespera_agents.specialists.specialist import CheckGates, GateReport
from vespera_agents.store import StoreError, queries
from vespera_agents.store.commands import Finished, FinishTask, NewArtifact, NoteTask, StartJob
from vespera_agents.work.errors import Conflict, NotFound, Refusal
from vespera_agents.work.models import CommandLine, Task, TaskStatus

__all__ = ["GATES_KIND", "HandedIn", "finish", "gates_running", "pass_gates"]

GATE_GRACE_SECONDS: Final = 60.0
"""What a gate may take beyond its own timeout, the wait for a free specialist included."""
LOOK_SECONDS: Final = 0.5
"""How often we look whether the task was cancelled or taken away while its gates run."""
KILL_SECONDS: Final = 10.0
"""How long we wait for the command of gates that were called off to be gone."""
GATES_KIND: Final = "orchestrator_complete_task"
"""The kind of these jobs: the tool that begins them."""


_Outcome = Finished | Refusal | StoreError


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
    answer: Callable[[Finished], Awaitable[CompleteAnswer]]
    """Makes the answer of what was finished, for whoever asks for it later."""


def gates_running(opened: OpenWorkspace, task: Task) -> bool:
    """Say whether gates of earlier handed-in work still run for a task."""
    live = opened.sessions.get(task.session_id)
    return live is not None and _name(task) in {info.id for info in live.supervisor.which_children()}


async def finish(work: HandedIn, more: tuple[NewArtifact, ...] = ()) -> Finished:
    """Give the task its new status, and its artifacts in the same transaction.

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
    return await work.opened.store.execute(command, work.call.step())


async def pass_gates(work: HandedIn, wait_seconds: float) -> Finished | None:
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
    send, receive = trio.open_memory_channel[_Outcome](1)
    spec = ChildSpec(_name(work.task), partial(_gate, work, send), restart=Restart.TEMPORARY, shutdown_seconds=10.0)
    interrupted = Conflict(
        f"the gates of task {work.task.id} were interrupted: they were cancelled, or the session was restarted",
        "Nothing was recorded. Call orchestrator_complete_task again.",
    )
    try:
        await live.supervisor.start_child(spec)
    except (AlreadyPresent, AlreadyStarted):
        raise
    except SupervisorError as error:
        raise interrupted from error
    with trio.move_on_after(wait_seconds):
        try:
            outcome = await receive.receive()
        except trio.EndOfChannel:
            raise interrupted from None
        if isinstance(outcome, Exception):
            raise outcome
        return outcome
    return None


async def _gate(
    work: HandedIn, answer: trio.MemorySendChannel[_Outcome], *, task_status: trio.TaskStatus[None]
) -> None:
    """Be the child: run the gates, store what came of them, and tell whoever still waits."""
    task_status.started()
    opened, task = work.opened, work.task

    outcome: _Outcome | None = None

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
        return (await work.answer(outcome)).model_dump(mode="json")

    # Closed however this ends, so that nobody waits for what will not come.
    with answer:
        begun = StartJob(
            work.call.by, opened.record.id, GATES_KIND, task.session_id, task.id, len(task.gates), "running its gates"
        )
        try:
            await opened.jobs.run_here(begun, opened.key(), pass_them)
        except (Refusal, StoreError) as error:
            outcome = error
        if outcome is not None:
            answer.send_nowait(outcome)


async def _store_outcome(work: HandedIn, report: GateReport) -> _Outcome:
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
