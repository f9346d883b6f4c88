"""The conductor: walks the graph of one session and has its ready tasks carried out, so many at a time.

It reads what is ready, claims it, borrows a specialist, and commits what came of the work. A task that is a command is
carried out; on one that is none a specialist works by itself where there are models to ask, else it is prepared (its
briefing becomes an artifact) and waits for a client. It holds no state of its own beyond what runs: killed at any
moment, the next one goes on from the rows. Neighbours: `running` starts it for `vespera run`, `specialist` does the
work, the store decides what is ready.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, final

import trio

from vespera_agents.actors import ActorCrashed, ActorError
from vespera_agents.logs import correlated
from vespera_agents.specialists.claims import conductor_name
from vespera_agents.specialists.gathering import BRIEFING_NAME, surroundings_of
from vespera_agents.specialists.outcomes import WorkOutcome
from vespera_agents.specialists.roles import Role
from vespera_agents.specialists.sessions import OpenSession
from vespera_agents.specialists.specialist import CarryOut, WriteBriefing
from vespera_agents.store import StatusChange, StoreError, queries
from vespera_agents.store.commands import (
    AddArtifacts,
    ClaimTask,
    EndAttempt,
    FinishTask,
    NewArtifact,
    ReleaseClaims,
)
from vespera_agents.store.plans import ready_below
from vespera_agents.store.steps import steps_recorded
from vespera_agents.work.errors import Refusal
from vespera_agents.work.models import Artifact, ArtifactKind, Task, TaskStatus

if TYPE_CHECKING:
    from vespera_agents.specialists.agent.assigning import Assignment

__all__ = ["Conductor", "RunEvent", "RunEventKind", "RunListener"]

POLL_SECONDS: Final = 0.5
"""How often it looks for what other processes changed; our own changes wake it at once."""
ATTEMPTS_MAX: Final = 3
"""How often a task is tried when its specialist crashes; a command that fails is not tried again."""
RETRY_PAUSE_SECONDS: Final = 0.25
"""How long a task rests after a crash of its specialist: what broke it may pass, and crashes come at a bounded rate."""
_GIVE_BACK_SECONDS: Final = 2.0
"""How long a stopping conductor tries to give a task back; the next one releases what this one could not."""
_GRACE_SECONDS: Final = 60.0
_READY_READ: Final = 200


class RunEventKind(StrEnum):
    """What happened in a run."""

    PLANNED = "planned"
    RELEASED = "released"
    CLAIMING = "claiming"
    CLAIMED = "claimed"
    LINE = "line"
    EXITED = "exited"
    FINISHED = "finished"
    PREPARED = "prepared"
    DRAINING = "draining"
    REPORTING = "reporting"
    REPORTED = "reported"


@final
@dataclass(frozen=True, slots=True)
class RunEvent:
    """One thing that happened in a run."""

    kind: RunEventKind
    task: Task | None = None
    text: str = ""
    """The line of output, the reason, the path."""
    status: TaskStatus | None = None
    """With exited and finished: what came of the task."""
    waived: bool = False
    tasks: tuple[Task, ...] = ()
    """With planned: every task of the session as it stands, containers before their contents."""


RunListener = Callable[[RunEvent], None]
"""Hears what happens, at once and in order; must not raise."""


@final
class Conductor:
    """Carries out what is ready in one session."""

    def __init__(
        self,
        session: OpenSession,
        *,
        concurrency: int,
        listener: RunListener,
        root: str | None = None,
        refusal: Callable[[Task], str | None] = lambda _: None,
    ) -> None:
        """Get ready to conduct.

        Args:
            session: the live session.
            concurrency: tasks at work at once, at least 1.
            listener: hears what happens.
            root: the task that is carried out with everything below it; the whole session unless given.
            refusal: says why the commands of a task may not run, None when they may; a task may be changed after
                whoever began this looked at it.
        """
        assert concurrency > 0, "at least one task runs at a time"
        self._session = session
        self._opened = session.opened
        self._concurrency = concurrency
        self._listener = listener
        self._root = root
        self._refusal = refusal
        self._name = conductor_name(session.opened.record.id, session.session_id)
        self._at_work: dict[str, trio.CancelScope] = {}
        self._claiming: set[str] = set()
        self._prepared: set[str] = set()
        self._crashes: Counter[str] = Counter()
        self._reached: dict[str, int] = {}
        self._alone: dict[str, Assignment] = {}
        self._draining = False
        self._stopping = False
        self._wake = trio.Event()
        self.done = trio.Event()
        """Set when nothing more can be done here."""

    @property
    def at_work(self) -> list[str]:
        """The tasks that it has claimed, or is about to, and whose outcome is not committed yet."""
        return sorted({*self._at_work, *self._claiming})

    def drain(self) -> None:
        """Begin nothing new; what is at work ends by itself."""
        self._draining = True
        self._listener(RunEvent(RunEventKind.DRAINING))
        self._wake.set()

    def tree_detail(self) -> dict[str, str | int | float]:
        """Say what the tree shows of it."""
        return {"at_work": len(self._at_work), "concurrency": self._concurrency}

    async def run(self, *, task_status: trio.TaskStatus[Conductor]) -> None:
        """Conduct until nothing is at work and nothing more can begin: a child for the session's supervisor.

        Cancelled: the commands at work are killed and their tasks given back, within bounds, before it ends.
        """
        self._wake = trio.Event()
        self._at_work.clear()
        self._stopping = False
        unsubscribe = self._opened.store.subscribe(self._hear)
        try:
            # What an earlier incarnation of ours had claimed is not being worked on by anybody.
            await self._opened.store.execute(ReleaseClaims("conductor", (self._name,)), self._opened.key())
            task_status.started(self)
            async with trio.open_nursery() as workers:
                try:
                    await self._conduct(workers)
                finally:
                    self._stopping = True
                    for scope in self._at_work.values():
                        scope.cancel("the conductor stops")
        finally:
            unsubscribe()
        self.done.set()

    async def _conduct(self, workers: trio.Nursery) -> None:
        while True:
            self._wake = trio.Event()
            # Asked before looking: work that ends while we look may have made something ready that we did not see.
            idle = not self._at_work
            admitted = self._opened.admission.is_open
            begun = await self._begin_ready(workers) if admitted and not self._draining else 0
            if idle and not begun:
                if admitted or self._draining:
                    return
                # What is left is for later: for this process, or for the one that replaces it.
                with trio.move_on_after(POLL_SECONDS):
                    await self._opened.admission.until_open()
                continue
            with trio.move_on_after(POLL_SECONDS):
                await self._wake.wait()
            await self._call_off_cancelled()

    async def _begin_ready(self, workers: trio.Nursery) -> int:
        """Claim and begin what is ready, as far as there is room; prepare what waits for a client."""
        begun = 0
        alone = self._opened.model_source.usable(self._session.session_id) is not None
        while True:
            # What is prepared stays ready: it must not take the place of what can be carried out.
            limit = _READY_READ + len(self._prepared)
            ready = await self._ready(limit)
            for task in ready:
                if task.run is None and not alone:
                    if task.id not in self._prepared:
                        self._prepared.add(task.id)
                        await self._prepare(task)
                elif task.id in self._at_work:
                    # It was given back while we work on it: it can begin anew when that has ended.
                    self._at_work[task.id].cancel("the task was given back")
                elif len(self._at_work) < self._concurrency and await self._claim(task):
                    scope = self._at_work[task.id] = trio.CancelScope()
                    workers.start_soon(self._carry_out, task, scope, name=f"work on {task.id}")
                    begun += 1
            if len(ready) < limit or _READY_READ + len(self._prepared) == limit:
                return begun

    async def _ready(self, limit: int) -> list[Task]:
        if self._root is not None:
            return await self._opened.store.read(ready_below, self._root, limit)
        return await self._opened.store.read(queries.ready_tasks, self._session.session_id, limit)

    async def _claim(self, task: Task) -> bool:
        if not self._opened.admission.is_open:
            return False
        self._listener(RunEvent(RunEventKind.CLAIMING, task))
        self._claiming.add(task.id)
        try:
            await trio.lowlevel.checkpoint_if_cancelled()
            # Whoever is cancelled while it is written would not know whether the task is ours, to be given back.
            with trio.CancelScope(shield=True):
                await self._opened.store.execute(ClaimTask("conductor", task.id, self._name), self._opened.key())
        except Refusal:
            # Another process was faster, or changed the task meanwhile; what is ready is read again anyway.
            return False
        finally:
            self._claiming.discard(task.id)
        self._listener(RunEvent(RunEventKind.CLAIMED, task))
        return True

    async def _carry_out(self, task: Task, scope: trio.CancelScope) -> None:
        # Shielded: when the conductor is cancelled, `scope` ends the command, and the outcome is still committed.
        with trio.CancelScope(shield=True), correlated(session=task.session_id, task=task.id):
            try:
                outcome = await self._ask_specialist(task, scope)
                why = outcome.reason or outcome.summary or ""
                self._listener(RunEvent(RunEventKind.EXITED, task, why, outcome.status, outcome.waived))
                await self._commit(task, outcome)
                if (assignment := self._alone.pop(task.id, None)) is not None:
                    await assignment.tidy(outcome)
            finally:
                del self._at_work[task.id]
                self._wake.set()

    async def _ask_specialist(self, task: Task, scope: trio.CancelScope) -> WorkOutcome:
        lines = [line for line in (task.when, task.run, *task.gates) if line is not None]
        limit = sum(line.timeout_seconds + _GRACE_SECONDS for line in lines)

        def on_line(text: str) -> None:
            self._listener(RunEvent(RunEventKind.LINE, task, text))

        refused = self._refusal(task)
        if refused is not None:
            return WorkOutcome(TaskStatus.FAILED, reason=refused)
        try:
            role = self._opened.role(task.specialist)
        except Refusal as refusal:
            # A role file that cannot be read now will not be read a moment later.
            return WorkOutcome(TaskStatus.FAILED, reason=str(refusal))
        try:
            if task.run is None:
                return await self._let_work_alone(task, role, on_line, scope)
            async with self._session.borrow(role) as specialist:
                return await specialist.ask(CarryOut(task, on_line, scope), timeout_seconds=limit)
        except (ActorError, StoreError) as error:
            crashed = isinstance(error, ActorCrashed)
            return await self._after_crash(task, f"its specialist crashed: {error.cause}" if crashed else str(error))

    async def _let_work_alone(
        self, task: Task, role: Role, say: Callable[[str], None], scope: trio.CancelScope
    ) -> WorkOutcome:
        from vespera_agents.specialists.agent.assigning import Assignment  # noqa: PLC0415 - most servers ask no models

        models = self._opened.model_source.usable(self._session.session_id)
        if models is None:
            return WorkOutcome(TaskStatus.PENDING, reason="no provider of models is configured any more")
        assignment = self._alone[task.id] = Assignment(
            self._session, task, role, models, holder=self._name, say=say, goes_on=self._goes_on
        )

        def renew() -> trio.CancelScope:
            fresh = self._at_work[task.id] = trio.CancelScope()
            return fresh

        outcome = await assignment.work(scope, renew)
        if outcome.status is TaskStatus.PENDING and self._goes_on():
            # It came back without an end, and nobody wanted that: it is not begun again at once, nor for ever.
            return await self._after_crash(task, outcome.reason or "it came back without an end")
        return outcome

    def _goes_on(self) -> bool:
        """Say whether a specialist that works by itself may take another step."""
        return self._opened.admission.is_open and not self._draining and not self._stopping

    async def _after_crash(self, task: Task, reason: str) -> WorkOutcome:
        """Decide whether a task is tried again whose specialist was lost."""
        scope = self._at_work[task.id]
        if scope.cancel_called:
            return WorkOutcome(TaskStatus.PENDING, reason="called off")
        with contextlib.suppress(StoreError):
            reached = await self._opened.store.read(steps_recorded, task.id)
            if self._reached.get(task.id) != reached:
                # It got on since the last crash: this is another one.
                self._reached[task.id] = reached
                self._crashes[task.id] = 0
        # After a timeout the command may still run; two at once would be one too many.
        scope.cancel("its specialist was lost")
        self._crashes[task.id] += 1
        crashes = self._crashes[task.id]
        if crashes >= ATTEMPTS_MAX:
            return WorkOutcome(TaskStatus.FAILED, reason=f"tried {crashes} times, and each time {reason}")
        await trio.sleep(RETRY_PAUSE_SECONDS)
        return WorkOutcome(TaskStatus.PENDING, reason=reason)

    async def _commit(self, task: Task, outcome: WorkOutcome) -> None:
        finish = FinishTask(
            by=f"specialist:{task.specialist}",
            task=task.id,
            holder=self._name,
            status=outcome.status,
            reason=outcome.reason,
            summary=outcome.summary,
            waived=outcome.waived,
            artifacts=outcome.artifacts,
        )
        command = finish if outcome.closes is None else EndAttempt(finish.by, finish, outcome.closes)
        status = outcome.status
        try:
            if outcome.status is TaskStatus.PENDING and self._stopping:
                with trio.move_on_after(_GIVE_BACK_SECONDS), contextlib.suppress(StoreError):
                    await self._opened.store.execute(command, self._opened.key())
            else:
                result = await self._opened.store.execute(command, self._opened.key())
                # What a strategy sends back, or passes over, does not end as it was handed in.
                status = TaskStatus(result["standing"])
        except Refusal as refusal:
            # Somebody cancelled, deleted or took over the task while it was being worked on: their word stands.
            now = await self._opened.store.read(queries.tasks, [task.id])
            status = now[0].status if now else TaskStatus.CANCELLED
            text = (now[0].status_reason if now else "it was deleted") or str(refusal)
            self._listener(RunEvent(RunEventKind.FINISHED, task, text, status))
            return
        text = outcome.reason or outcome.summary or ""
        waived = outcome.waived or status is TaskStatus.CANCELLED
        self._listener(RunEvent(RunEventKind.FINISHED, task, text, status, waived))

    async def _prepare(self, task: Task) -> None:
        """Write the briefing of a task that a client has to carry out, unless it is there already."""
        store = self._opened.store
        try:
            task, around = await store.read(surroundings_of, task.id)
            async with self._session.borrow(self._opened.role(task.specialist)) as specialist:
                briefing = await specialist.ask(WriteBriefing(task, around))
            data = briefing.prompt.encode()
            sha256 = await store.artifacts.save(data)
            if sha256 not in await store.read(_briefings, task.id):
                new = NewArtifact(ArtifactKind.GENERAL, BRIEFING_NAME, "text/markdown", len(data), sha256)
                await store.execute(AddArtifacts("conductor", task.session_id, task.id, (new,)), self._opened.key())
        except (Refusal, ActorError) as error:
            # The client gets its briefing when it claims the task, or hears then what is wrong with the role.
            text = f"waits for a client, without a briefing: {error}"
            self._listener(RunEvent(RunEventKind.PREPARED, task, text))
            return
        self._listener(RunEvent(RunEventKind.PREPARED, task, "waits for a client"))

    async def _call_off_cancelled(self) -> None:
        """Kill the work on tasks that somebody, here or in another process, has cancelled or taken away."""
        if not self._at_work:
            return
        found = await self._opened.store.read(queries.tasks, list(self._at_work))
        ours = {task.id for task in found if task.status is TaskStatus.IN_PROGRESS and task.claimed_by == self._name}
        for task_id, scope in self._at_work.items():
            # A deleted task is not found at all.
            if task_id not in ours:
                scope.cancel("the task was cancelled")

    def _hear(self, changes: list[StatusChange]) -> None:
        if any(change.session_id == self._session.session_id for change in changes):
            self._wake.set()


def _briefings(connection: sqlite3.Connection, task_id: str) -> set[str]:
    artifacts: list[Artifact] = queries.artifacts_of(connection, [task_id])
    return {artifact.sha256 for artifact in artifacts if artifact.name == BRIEFING_NAME}
