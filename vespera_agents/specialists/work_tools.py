"""The facade's tools on work: claim a task, hand work in, gather results.

What is handed in becomes artifacts before any status changes. Neighbours: `task_tools` plans and edits, `gating` runs
the gates before a task completes, `specialist` writes briefings, `gathering` reads and `synthesis` writes the text.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Final, Literal, cast, final

import trio

from supervisors import AlreadyPresent, AlreadyStarted
from vespera_agents.actors import ActorError, ActorStopped
from vespera_agents.specialists.answers import (
    ClaimAnswer,
    CompleteAnswer,
    SynthesisAnswer,
    artifact_link,
    task_view,
)
from vespera_agents.specialists.briefing import Briefing, Surroundings
from vespera_agents.specialists.calls import Call, Lookup, deleted_since, read_task
from vespera_agents.specialists.gathering import SYNTHESIS_NAME, read_rows, surroundings_of
from vespera_agents.specialists.gating import (
    GATES_KIND,
    HandedIn,
    check_may_hand_in,
    finish,
    gates_anew,
    gates_running,
    interrupted,
    job_of_gates,
    joined,
    judge_gates,
    pass_gates,
)
from vespera_agents.specialists.handed_in import told, told_deleted
from vespera_agents.specialists.job_tools import JobTools
from vespera_agents.specialists.keeping import keep_work
from vespera_agents.specialists.recalling import (
    Before,
    Outcome,
    check_same_work,
    read_before,
    read_outcome,
    recorded_work,
    used_for_something_else,
)
from vespera_agents.specialists.roles import Role, role_of
from vespera_agents.specialists.sessions import OpenWorkspace
from vespera_agents.specialists.specialist import WriteBriefing
from vespera_agents.specialists.synthesis import Synthesis, WorkRows, synthesize
from vespera_agents.store import queries
from vespera_agents.store.commands import (
    AddArtifacts,
    Claimed,
    ClaimTask,
    Finished,
    FinishTask,
    GatesFirst,
    NewArtifact,
)
from vespera_agents.work.errors import Conflict, InvalidInput, NotFound
from vespera_agents.work.models import Artifact, ArtifactKind, Task, TaskStatus
from vespera_agents.workspace import load_settings

__all__ = ["GATES_WAIT_SECONDS", "WorkTools"]

GATES_WAIT_SECONDS: Final = 20.0
"""How long a caller waits for gates; beyond, it gets a handle and the outcome is stored when they end."""
_BRIEFING_TRIES: Final = 3
_RESTART_SECONDS: Final = 1.0
"""How long a try waits for a session that is going down."""
_PREVIEW_MAX: Final = 1_000
"""Characters, so at most 4 KB of an artifact: the rest is a resource."""
_ARTIFACTS_SHOWN: Final = 50
_FIRST_COUNTS: Final = "What was handed in first counts; this call recorded nothing. "

NextAction = Literal["complete", "continue", "needs_revision", "blocked"]
_STATUS: Final[dict[NextAction, TaskStatus]] = {
    "complete": TaskStatus.COMPLETED,
    "continue": TaskStatus.COMPLETED,
    "needs_revision": TaskStatus.REVIEW,
    "blocked": TaskStatus.BLOCKED,
}


@final
class WorkTools:
    """What a client can do to carry tasks out."""

    def __init__(self, lookup: Lookup, jobs: JobTools, *, gates_wait_seconds: float = GATES_WAIT_SECONDS) -> None:
        self._lookup = lookup
        jobs.decide(GATES_KIND, judge_gates)
        jobs.begin_anew(GATES_KIND, gates_anew)
        self._jobs = jobs
        self._gates_wait_seconds = gates_wait_seconds

    async def execute(self, call: Call, task_id: str, session: str | None = None) -> ClaimAnswer:
        """Claim a ready task, or one in review, and give everything needed to carry it out.

        Raises:
            NotFound: there is none of that id.
            Conflict: it is not ready, or another server works on it.
            InvalidInput: a role file of the workspace is not valid.
        """
        opened, session_id = await self._lookup.place_of(task_id, session)
        # What may be wrong with the roles is found before the task is taken.
        roles = opened.roles()
        name = await opened.claims.begin(call.holder)
        certain = call.holder is None or call.holder.certain
        claim = ClaimTask(call.by, task_id, name, session_id, certain=certain)

        def around_it(connection: sqlite3.Connection, claimed: Claimed) -> tuple[Task, Surroundings]:
            return surroundings_of(connection, claimed["task_id"])

        # Both tries are the same wish; what is refused is not recorded.
        key = call.step()
        try:
            claimed, (task, around) = await opened.store.execute_and_read(claim, key, around_it)
        except NotFound as missing:
            await self._lookup.done_before(call, missing)
            raise deleted_since(task_id) from missing
        except Conflict:
            # Whoever holds it may have died since this server began.
            if not await opened.release_dead_claims():
                raise
            claimed, (task, around) = await opened.store.execute_and_read(claim, key, around_it)
        # The claim clears the reason for which the task waited; whoever takes it must know that reason.
        reason = task.status_reason or claimed["reason"]
        waited = task if reason is None else task.model_copy(update={"status_reason": reason})
        briefing = await _brief(opened, role_of(roles, task.specialist), waited, around)
        return ClaimAnswer(
            task=task_view(task, full=True, dependencies=around.dependencies),
            already_yours=claimed["already"],
            prompt=briefing.prompt,
            context_tokens=briefing.context_tokens,
            context_tokens_max=briefing.context_tokens_max,
            left_out=[f"{entry.name} ({entry.context_tokens} tokens)" for entry in briefing.dropped],
            gates=[gate.text for gate in task.gates],
            dependency_artifacts=[artifact_link(one) for one in around.artifacts][:_ARTIFACTS_SHOWN],
            next_action=f"Do the work, then call orchestrator_complete_task(task_id={task.id!r}, ...).",
        )

    async def complete(
        self,
        call: Call,
        task_id: str,
        *,
        summary: str,
        detailed_work: str,
        next_action: NextAction,
        file_paths: Sequence[str] = (),
        artifact_type: ArtifactKind = ArtifactKind.GENERAL,
        session: str | None = None,
    ) -> CompleteAnswer:
        """Hand in the work of a task: keep it as artifacts, run the gates, then change the status.

        Raises:
            NotFound: there is none of that id.
            Conflict: somebody else holds it, or a gate did not succeed or may not run.
            BadTransition: the task was not being worked on.
            WorkspaceError: a file leads outside the workspace or cannot be read.
            KeyConflict: the call's key was used for another call.
            StoreUnavailable: the disk is full; nothing was changed.
        """
        status = _STATUS[next_action]
        if not summary.strip():
            raise InvalidInput("work is handed in with a summary", "Say in `summary` what was done.")
        if not (call.repeated or detailed_work.strip() or file_paths):
            with suppress(GatesFirst):
                return await self._finish_at_once(call, task_id, session, status, summary)
        known = partial(read_before, key=call.key.step(1), kind=GATES_KIND)
        try:
            opened, task, before = await self._lookup.task_with(task_id, session, known)
        except NotFound as missing:
            return told_deleted(task_id, status, await self._lookup.done_before(call, missing))
        over = False
        if call.repeated and (before.jobs or gates_running(opened, task)):
            over = await self._begun_before(call, opened, task, before)
            # They may have come to their end since it was read.
            task, before = await read_task(opened, task.id, None, known)
        given = (summary, detailed_work, tuple(file_paths))
        recorded = recorded_work(before, task, status)
        if recorded is not None:
            finished, outcome = recorded
            check_same_work(task, finished, outcome.artifacts, given)
            return told(task, finished, outcome)
        if over:
            raise interrupted(task)
        return await self._hand_in(call, opened, task, status, given, artifact_type)

    async def _finish_at_once(
        self, call: Call, task_id: str, session: str | None, status: TaskStatus, summary: str
    ) -> CompleteAnswer:
        """Hand in work of which nothing is to be kept or checked before, without reading its task first.

        Raises:
            GatesFirst: the task has gates.
        """
        opened, session_id = await self._lookup.place_of(task_id, session)
        reason = None if status is TaskStatus.COMPLETED else summary
        command = FinishTask(
            call.by, task_id, opened.claims.name(call.holder), status, reason, summary,
            session_id=session_id, ungated=True,
        )  # fmt: skip

        def outcome(connection: sqlite3.Connection, finished: Finished) -> tuple[Task, Outcome]:
            task = queries.task(connection, finished["task_id"])
            return task, read_outcome(connection, task, finished)

        finished, (task, around) = await opened.store.execute_and_read(command, call.key.step(1), outcome)
        return told(task, finished, around)

    async def _begun_before(self, call: Call, opened: OpenWorkspace, task: Task, before: Before) -> bool:
        """Let gates of a task go on that an earlier process had begun; say whether this call's own have ended."""
        for job in before.jobs:
            await self._jobs.adopt(opened, job)
        return await joined(call, opened, task, self._gates_wait_seconds)

    async def _hand_in(
        self,
        call: Call,
        opened: OpenWorkspace,
        task: Task,
        status: TaskStatus,
        given: tuple[str, str, tuple[str, ...]],
        artifact_type: ArtifactKind,
    ) -> CompleteAnswer:
        if gates_running(opened, task):
            if status is TaskStatus.COMPLETED:
                return await _gating(call, opened, task, _FIRST_COUNTS)
            raise Conflict(
                f"the gates of task {task.id} ({task.title}) still run on what was handed in before",
                "Wait for their outcome (orchestrator_query_tasks), or cancel the task.",
            )
        check_may_hand_in(opened.claims.name(call.holder), task, status)
        runs_gates = status is TaskStatus.COMPLETED and bool(task.gates)
        if runs_gates:
            self._check_gates_allowed(opened, task)
        summary, detailed_work, file_paths = given
        artifacts = await keep_work(opened, task, detailed_work, file_paths, artifact_type)
        work = HandedIn(call, opened, task, status, summary, artifacts)
        if not runs_gates:
            return told(task, *await finish(work))
        try:
            passed = await pass_gates(work, self._gates_wait_seconds)
        except (AlreadyPresent, AlreadyStarted):
            # Another call handed work in while the files of this one were kept.
            return await _gating(call, opened, task, _FIRST_COUNTS)
        return await _gating(call, opened, task) if passed is None else told(task, *passed)

    async def synthesize(
        self, call: Call, parent_task_id: str | None = None, session: str | None = None
    ) -> SynthesisAnswer:
        """Gather what came of a task and everything below it, or of the whole session, into one artifact.

        Raises:
            NotFound: there is no such task or session.
            KeyConflict: the call's key was used for another call.
            StoreUnavailable: the disk is full.
        """
        key = call.step()
        recorded = await self._lookup.recorded(key) if call.repeated else None
        ids = cast("list[str]", recorded) if isinstance(recorded, list) else []
        if parent_task_id is None:
            if ids and session is None:
                # Meanwhile others may have been opened: it is about the one that it was about.
                opened, made = await self._lookup.artifact(ids[0])
                session = made.session_id
            opened, found = await self._lookup.session(session)
            session_id, root, title = found.id, None, found.name
        else:
            opened, task = await self._lookup.task(parent_task_id, session)
            session_id, root, title = task.session_id, task.id, task.title
        call.report(0, 3, f"reading what came of {title}")
        rows = await opened.store.read(read_rows, session_id, root, title)
        call.report(1, 3, f"gathering {len(rows.tasks)} tasks")
        begun_before = bool(ids)
        result = await _gather(call, opened, session_id, rows, anew=not ids)
        if not ids:
            data = result.text.encode()
            sha256 = await opened.store.artifacts.save(data)
            name = f"{SYNTHESIS_NAME}{title}"
            new = NewArtifact(ArtifactKind.DOCUMENTATION, name, "text/markdown", len(data), sha256)
            ids = await opened.store.execute(AddArtifacts(call.by, session_id, root, (new,)), key)
        call.report(2, 3, "keeping the text")
        artifact = await opened.store.read(queries.artifact, ids[0])
        if (artifact.session_id, artifact.task_id) != (session_id, root):
            raise used_for_something_else()
        return SynthesisAnswer(
            task_id=root,
            artifact=artifact_link(artifact),
            outcome=result.outcome,
            counts=result.counts,
            open_questions=result.open_questions,
            preview=(await _beginning(opened, artifact) if begun_before else result.text)[:_PREVIEW_MAX],
        )

    def _check_gates_allowed(self, opened: OpenWorkspace, task: Task) -> None:
        settings = load_settings(opened.workspace, self._lookup.runtime.registry)
        for gate in task.gates:
            refusal = settings.refusal(gate.text, shell=gate.shell)
            if refusal is not None:
                raise Conflict(
                    f"the gate `{gate.text}` of task {task.id} may not run: {refusal}",
                    "Ask the workspace's owner to allow it, or hand the work in with next_action=needs_revision.",
                )


async def _gather(call: Call, opened: OpenWorkspace, session_id: str, rows: WorkRows, *, anew: bool) -> Synthesis:
    """Gather what came of the work, in prose too where there is a model to ask and nothing was written before."""
    if not anew or opened.model_source.usable(session_id) is None:
        # In a thread, because a hundred thousand tasks take seconds, and nobody else shall wait for them.
        return await trio.to_thread.run_sync(synthesize, rows)
    from vespera_agents.specialists.agent.telling import told_in_prose  # noqa: PLC0415 - most servers ask no models

    return await told_in_prose(opened, session_id, rows, f"synthesis/{call.key.origin}/{call.key.key}")


async def _beginning(opened: OpenWorkspace, artifact: Artifact) -> str:
    """Read the beginning of a text that was kept when the call came first: what a model wrote, it writes but once."""
    return (await opened.store.artifacts.read(artifact.sha256, 0, 4 * _PREVIEW_MAX)).decode(errors="ignore")


async def _brief(opened: OpenWorkspace, role: Role, task: Task, around: Surroundings) -> Briefing:
    """Have a specialist write the briefing; while its subtree is being restarted, wait for that."""
    problem: ActorError | None = None
    for _ in range(_BRIEFING_TRIES):
        live = await opened.session(task.session_id)
        try:
            async with live.borrow(role) as specialist:
                return await specialist.ask(WriteBriefing(task, around))
        except ActorStopped as error:
            problem = error
            with trio.move_on_after(_RESTART_SECONDS):
                await live.ended.wait()
        except ActorError as error:
            problem = error
            break
    told = str(problem).rstrip(".")
    raise Conflict(
        f"task {task.id} is yours, but its briefing could not be written: {told}",
        "Call orchestrator_execute_task again.",
    ) from problem


async def _gating(call: Call, opened: OpenWorkspace, task: Task, remark: str = "") -> CompleteAnswer:
    running = await job_of_gates(opened, task)
    call.job = None if running is None else running.id
    now = await opened.store.read(queries.task, task.id)
    return CompleteAnswer(
        task_id=now.id,
        outcome="gating",
        version=now.version,
        artifacts=[],
        ready=[],
        parent_task_id=now.parent_id,
        parent_status=None,
        parent_done=0,
        parent_total=0,
        next_action=(
            f"{remark}The gates still run: look at task {now.id} with orchestrator_query_tasks in a while. It is then "
            "completed, or in progress with the reason."
        ),
    )
