"""Running a plan from its text to its report: what `vespera run` does, without a terminal.

Opens or resumes the session, creates the tasks, lets the conductor work, gathers the result, and writes the report
where people find it. Every step is a row or a file that is replaced whole, so a run that was killed at any moment is
resumed by running it again. Neighbours: `conductor` walks the graph, `synthesis` writes the report, `cli` shows it.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, final

import trio

from vespera_agents.specialists.conducting import CONCURRENCY_DEFAULT, CONCURRENCY_MAX, conduct, run_lock
from vespera_agents.specialists.conductor import Conductor, RunEvent, RunEventKind, RunListener
from vespera_agents.specialists.gathering import REPORT_NAME, artifact_files, read_rows
from vespera_agents.specialists.plan_files import plan_container
from vespera_agents.specialists.planned import chosen_roles
from vespera_agents.specialists.routing.choosing import Chooser
from vespera_agents.specialists.sessions import OpenSession, OpenWorkspace
from vespera_agents.specialists.standing import outcome_of
from vespera_agents.specialists.synthesis import Synthesis, WorkRows, outcome_word, synthesize
from vespera_agents.specialists.upkeep.documents import replace_document
from vespera_agents.store import queries
from vespera_agents.store.commands import AddArtifacts, NewArtifact, PlanTasks, SetSessionStatus, UpdateTask
from vespera_agents.store.commands import OpenSession as OpenSessionCommand
from vespera_agents.work.errors import NotFound
from vespera_agents.work.models import ArtifactKind, Session, SessionStatus, Task, TaskStatus
from vespera_agents.work.plans import Plan

__all__ = ["PlanRun", "RunOptions", "RunResult", "TaskOutcome"]


@final
@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a plan is run."""

    session_name: str | None = None
    """The plan's id unless given."""
    resume: bool = False
    """Go on with the open session of that name; failed tasks are tried again."""
    concurrency: int | None = None
    """Tasks at work at once; the plan's own number unless given."""


@final
@dataclass(frozen=True, slots=True)
class TaskOutcome:
    """What came of one task, for the summary."""

    id: str
    key: str | None
    title: str
    phase: str | None
    outcome: str
    """completed, failed, waived, blocked, cancelled, waiting, pending, in_progress or review."""
    reason: str | None
    duration_seconds: float | None
    artifacts: tuple[str, ...]
    """Content hashes."""


@final
@dataclass(frozen=True, slots=True)
class RunResult:
    """What came of a run."""

    session_id: str
    session_name: str
    root_task_id: str
    outcome: Literal["completed", "failed", "waiting", "interrupted", "cancelled"]
    counts: dict[str, int]
    tasks: tuple[TaskOutcome, ...]
    report: Path
    """The Markdown report, below `.vespera/reports`."""


@final
class PlanRun:
    """One run of a plan in a workspace."""

    def __init__(self, opened: OpenWorkspace, listener: RunListener) -> None:
        self._opened = opened
        self._listener = listener
        self._conductor: Conductor | None = None
        self._drained = False

    def drain(self) -> None:
        """Begin nothing new; the run ends when what is at work has ended, and can be resumed."""
        self._drained = True
        if self._conductor is not None:
            self._conductor.drain()

    async def run(self, plan: Plan, options: RunOptions) -> RunResult:
        """Run a plan to its end, or as far as it goes.

        Cancelled: the commands at work are killed and their tasks given back, within bounds.

        Raises:
            WorkspaceError: another process runs this session.
            PlanError: the plan cannot be carried out.
            NotFound: there is nothing to resume.
            StoreError: the disk is full.
        """
        name = options.session_name or plan.id
        # A plan that cannot be carried out is refused before anything is written, as is a configuration of providers.
        plan_container(plan)
        self._opened.models()
        # For the whole of the run.
        with run_lock(self._opened, name):
            session, root = await self._open_session(name, resume=options.resume)
            if root is None:
                root = await self._create_tasks(plan, session)
            else:
                await self._retry_failed(session)
            tasks = await self._opened.store.read(queries.session_tasks, session.id)
            self._listener(RunEvent(RunEventKind.PLANNED, text=session.id, tasks=tuple(tasks)))
            concurrency = options.concurrency or plan.concurrency or CONCURRENCY_DEFAULT
            await self._conduct(session, min(concurrency, CONCURRENCY_MAX))
            return await self._report(session, root)

    async def _open_session(self, name: str, *, resume: bool) -> tuple[Session, str | None]:
        """Open the session to run in, and find the task of the plan in it if it is there already."""
        store = self._opened.store
        same = [one for one in await store.read(queries.sessions) if one.name == name]
        if resume:
            # A run that was killed after its last commit is closed already: reporting it again is all that is left.
            latest = next((one for one in same if one.status is SessionStatus.OPEN), same[0] if same else None)
            if latest is None:
                raise NotFound(
                    f"there is no run of {name!r} in {self._opened.workspace.directory}",
                    "Run the plan without --resume.",
                )
            if latest.status is not SessionStatus.OPEN:
                await store.execute(SetSessionStatus("run", latest.id, SessionStatus.OPEN), self._opened.key())
            roots = await store.read(_roots, latest.id)
            return latest, roots[0] if roots else None
        # A new run takes the place of earlier ones of its name, so that one session is the open one.
        for old in same:
            if old.status is SessionStatus.OPEN:
                await store.execute(SetSessionStatus("run", old.id, SessionStatus.CLOSED), self._opened.key())
        directory = str(self._opened.workspace.directory)
        result = await store.execute(OpenSessionCommand("run", directory, name, fresh=True), self._opened.key())
        return await store.read(queries.session, result["session_id"]), None

    async def _create_tasks(self, plan: Plan, session: Session) -> str:
        draft = plan_container(plan)
        found = await Chooser(self._opened).choose((draft,), session.id)
        command = PlanTasks("run", session.id, (draft,), chosen=chosen_roles(found))
        result = await self._opened.store.execute(command, self._opened.key())
        return result["ids"][draft.key]

    async def _retry_failed(self, session: Session) -> None:
        tasks = await self._opened.store.read(queries.session_tasks, session.id)
        for task in tasks:
            if task.status in {TaskStatus.FAILED, TaskStatus.BLOCKED} and not task.is_container:
                command = UpdateTask("run", task.id, self._opened.record.id, status=TaskStatus.PENDING)
                await self._opened.store.execute(command, self._opened.key())
                self._listener(RunEvent(RunEventKind.RELEASED, task, f"{task.status} before: tried again"))

    async def _conduct(self, session: Session, concurrency: int) -> None:
        """Let a conductor work until nothing more can be done."""

        def make(live: OpenSession) -> Conductor | None:
            self._conductor = Conductor(live, concurrency=concurrency, listener=self._listener)
            return None if self._drained else self._conductor

        await conduct(self._opened, session.id, make)

    async def _report(self, session: Session, root: str) -> RunResult:
        """Gather the results, keep them as an artifact, and write the report for people."""
        self._listener(RunEvent(RunEventKind.REPORTING, text=session.id))
        store = self._opened.store
        rows = await store.read(read_rows, session.id, root, session.name)
        rows = replace(rows, files=artifact_files(rows.artifacts))
        result = await self._gathered(session, rows)
        data = result.text.encode()
        new = NewArtifact(
            ArtifactKind.DOCUMENTATION, REPORT_NAME, "text/markdown", len(data), await store.artifacts.save(data)
        )
        await store.execute(AddArtifacts("run", session.id, root, (new,)), self._opened.key())
        path = self._opened.workspace.reports / f"{_file_name(session.name)}.md"
        await trio.to_thread.run_sync(replace_document, path, data)
        self._listener(RunEvent(RunEventKind.REPORTED, text=str(path)))
        outcome = outcome_of(result.counts)
        if outcome in {"completed", "cancelled"}:
            await store.execute(SetSessionStatus("run", session.id, SessionStatus.CLOSED), self._opened.key())
        return RunResult(
            session_id=session.id,
            session_name=session.name,
            root_task_id=root,
            outcome=self._outcome(outcome, rows.tasks),
            counts=result.counts,
            tasks=tuple(_outcomes(rows)),
            report=path,
        )

    async def _gathered(self, session: Session, rows: WorkRows) -> Synthesis:
        """Gather the results, in prose too where there is a model to ask; who wants the run to stop waits for none."""
        if self._drained or self._opened.model_source.usable(session.id) is None:
            return synthesize(rows)
        from vespera_agents.specialists.agent.telling import told_in_prose  # noqa: PLC0415 - most runs ask no models

        return await told_in_prose(self._opened, session.id, rows, f"report/{session.id}/{session.version}")

    def _outcome(
        self, outcome: str, tasks: Sequence[Task]
    ) -> Literal["completed", "failed", "waiting", "interrupted", "cancelled"]:
        # A run that was asked to stop when it could go no further anyway was not cut short.
        alone = self._opened.models() is not None
        if self._drained and any(task.ready and (alone or task.run is not None) for task in tasks):
            return "interrupted"
        for known in ("completed", "failed", "cancelled"):
            if outcome == known:
                return known
        return "waiting"


def _roots(connection: sqlite3.Connection, session_id: str) -> list[str]:
    return [task.id for task in queries.session_tasks(connection, session_id) if task.parent_id is None]


def _outcomes(rows: WorkRows) -> list[TaskOutcome]:
    """Say what came of each task that is no container, in the order of the plan."""
    titles = {task.id: task.title for task in rows.tasks}
    blame = rows.blame()
    hashes: dict[str, list[str]] = {}
    for artifact in rows.artifacts:
        hashes.setdefault(artifact.task_id or "", []).append(artifact.sha256)
    return [
        TaskOutcome(
            id=task.id,
            key=task.key,
            title=task.title,
            phase=titles.get(task.parent_id or ""),
            outcome=outcome_word(task, blame),
            reason=blame.get(task.id, task.status_reason),
            duration_seconds=_duration(task),
            artifacts=tuple(hashes.get(task.id, ())),
        )
        for task in rows.tasks
        if not task.is_container
    ]


def _duration(task: Task) -> float | None:
    return None if task.started is None or task.finished is None else task.finished - task.started


def _file_name(name: str) -> str:
    """Make a file name of a session's name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:100] or "report"
