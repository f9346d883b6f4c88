"""The life of a claim: a holder takes a task, works, and ends it one way or another; or dies and loses it.

A claim is the `claimed_by` of a task in progress and names its holder: a server (`srv_x`), one client of a server that
has several (`srv_x/<client>`), or somebody who outlives every server and holds it by a lease (`cli:<user>`). Two
holders cannot both get a task, because the status is read and set in one transaction. Neighbours: `leases` ends the
claims of those who are not heard of any more, `workspace.servers` says which servers live.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypedDict, final

from vespera_agents.store.changes import set_status
from vespera_agents.store.rows import TASK_COLUMNS, task_of
from vespera_agents.store.transaction import Transaction, fingerprint_of
from vespera_agents.work.errors import BadTransition, Conflict, Refusal
from vespera_agents.work.machine import TERMINAL, TRANSITIONS
from vespera_agents.work.models import ArtifactKind, DependencyState, Task, TaskStatus

__all__ = [
    "AddArtifacts",
    "ClaimTask",
    "Claimed",
    "FinishTask",
    "Finished",
    "GatesFirst",
    "NewArtifact",
    "NoteTask",
    "ReleaseClaims",
    "Released",
    "check_may_finish",
    "release",
]

_HOLDERS_SHOWN: Final = 5
_BEGUN: Final = frozenset({TaskStatus.IN_PROGRESS, TaskStatus.REVIEW, TaskStatus.BLOCKED})
"""From where work can end. A pending task has lost its claim: its old holder ends nothing."""


@final
class GatesFirst(Refusal):
    """The task has gates, and whoever hands in its work did not know."""


@final
@dataclass(frozen=True, slots=True)
class NewArtifact:
    """An artifact whose bytes are already durable."""

    kind: ArtifactKind
    name: str
    mime_type: str
    size: int
    """Bytes."""
    sha256: str


class Claimed(TypedDict):
    """The result of ClaimTask."""

    task_id: str
    version: int
    already: bool
    """This holder had claimed it before."""
    reason: str | None
    """For which it waited until now."""


class Finished(TypedDict):
    """The result of FinishTask."""

    task_id: str
    status: str
    """As it was handed in."""
    standing: str
    """What the task is now: a strategy may have sent it back, or passed it over."""
    version: int
    artifact_ids: list[str]
    ready: list[str]
    """Tasks that can be claimed now and could not before."""


class Released(TypedDict):
    """The result of ReleaseClaims."""

    task_ids: list[str]


@final
@dataclass(frozen=True, slots=True)
class ClaimTask:
    """Take a ready task, or one in review, and begin it."""

    by: str
    task: str
    """An id or a unique prefix."""
    holder: str
    session_id: str | None = None
    certain: bool = True
    """Whether nobody else goes by the holder's name; else a claim under it need not be the caller's own."""

    def fingerprint(self) -> bytes:
        """Give what tells this command from another."""
        return fingerprint_of(self)

    def apply(self, transaction: Transaction) -> Claimed:
        """Claim it.

        Raises:
            NotFound: there is no such task.
            Conflict: it is a container, is not ready, is completed, or somebody else works on it.
            BadTransition: it failed, was cancelled, or is archived.
        """
        task = transaction.task(self.task, self.session_id)
        label = f"task {task.id} ({task.title})"
        if task.is_container:
            raise Conflict(
                f"{label} has subtasks and is never worked on itself", "Claim one of its ready subtasks instead."
            )
        if task.status is TaskStatus.IN_PROGRESS:
            if task.claimed_by == self.holder and self.certain:
                return {"task_id": task.id, "version": task.version, "already": True, "reason": None}
            if task.claimed_by == self.holder:
                raise Conflict(
                    f"{label} is already being worked on by a client of your name ({self.holder})",
                    "If this is your own claim, go on and complete it; to begin again, set it to pending with "
                    "orchestrator_update_task.",
                )
            raise Conflict(
                f"{label} is already being worked on by {task.claimed_by or 'somebody'}",
                "Take another ready task (orchestrator_query_tasks ready=true).",
            )
        if task.status is TaskStatus.BLOCKED:
            raise Conflict(
                f"{label} is blocked: {task.status_reason or 'no reason was given'}",
                "When the reason is gone, set it to pending with orchestrator_update_task.",
            )
        if task.status is TaskStatus.PENDING and task.open_dependencies:
            raise Conflict(
                f"{label} is not ready: it waits for {', '.join(_holders(transaction, task))}",
                "Finish those first, or take another ready task (orchestrator_query_tasks ready=true).",
            )
        if task.status is TaskStatus.COMPLETED:
            raise Conflict(
                f"{label} is completed already",
                "To do it again, reopen it with orchestrator_update_task(status=in_progress, reason=...).",
            )
        detail = f"claimed by {self.holder}"
        set_status(transaction, task, TaskStatus.IN_PROGRESS, claimed_by=self.holder, detail=detail)
        return {"task_id": task.id, "version": task.version + 1, "already": False, "reason": task.status_reason}


@final
@dataclass(frozen=True, slots=True)
class FinishTask:
    """End a claim: the work is done, failed, needs a review, is blocked, was waived, or is given back."""

    by: str
    task: str
    holder: str
    """Who ends it; refused when somebody else holds the claim now."""
    status: TaskStatus
    """completed, review, blocked, failed, cancelled, or pending to give it back."""
    reason: str | None = None
    summary: str | None = None
    waived: bool = False
    artifacts: tuple[NewArtifact, ...] = ()
    session_id: str | None = None
    ungated: bool = False
    """Only if the task has no gates: its work is handed in by somebody who has not looked."""

    def fingerprint(self) -> bytes:
        """Give what tells this command from another."""
        # Where it is looked for, and what is known of it, is no part of the wish.
        return fingerprint_of(self, "session_id", "ungated")

    def apply(self, transaction: Transaction) -> Finished:
        """End it.

        Raises:
            NotFound: there is no such task.
            Conflict: it is a container, nobody or somebody else holds it, or it came to wait for something.
            BadTransition: it is not being worked on.
            GatesFirst: it has gates, against expectation.
        """
        task = transaction.task(self.task, self.session_id)
        if self.ungated and task.gates:
            raise GatesFirst(f"task {task.id} ({task.title}) has gates", "Run them first.")
        check_may_finish(self.holder, task, self.status)
        if self.status is TaskStatus.COMPLETED and task.open_dependencies:
            raise Conflict(
                f"task {task.id} ({task.title}) came to wait for {', '.join(_holders(transaction, task))}",
                "Finish or waive those first, or give the task back.",
            )
        artifact_ids = insert_artifacts(transaction, task.session_id, task.id, self.artifacts)
        set_status(transaction, task, self.status, reason=self.reason, waived=self.waived, summary=self.summary)
        # Where a strategy sends work back or passes it over, this is not where it ends up.
        after = task if self.status in TERMINAL - {TaskStatus.FAILED} else transaction.task(task.id)
        return {
            "task_id": task.id,
            "status": self.status,
            "standing": self.status if after is task else after.status,
            "version": task.version + 1 if after is task else after.version,
            "artifact_ids": artifact_ids,
            "ready": newly_ready(transaction),
        }


def check_may_finish(holder: str, task: Task, status: TaskStatus) -> None:
    """Refuse what cannot be the end of a holder's work on a task, as far as the task alone tells. Pure.

    Raises:
        Conflict: it is a container, nobody holds it, or somebody else does.
        BadTransition: it is not being worked on, or does not end so.
    """
    label = f"task {task.id} ({task.title})"
    if task.is_container:
        raise Conflict(f"{label} has subtasks: its status follows them", "Complete its subtasks instead.")
    if task.status is TaskStatus.PENDING:
        what = "was given back, and is claimed by nobody" if task.attempts else "was not claimed"
        raise Conflict(f"{label} {what}", "Call orchestrator_execute_task first, then complete it.")
    if task.status not in _BEGUN or status not in TRANSITIONS[task.status]:
        raise BadTransition(label, task.status, status, TRANSITIONS[task.status])
    if task.status is TaskStatus.IN_PROGRESS and task.claimed_by not in {None, holder}:
        raise Conflict(
            f"{label} is held by {task.claimed_by}, not by you",
            "Nothing was recorded. Take a ready task instead (orchestrator_query_tasks ready=true).",
        )


@final
@dataclass(frozen=True, slots=True)
class AddArtifacts:
    """Keep artifacts beside a task, or beside the session, without changing any status."""

    by: str
    session_id: str
    task_id: str | None
    artifacts: tuple[NewArtifact, ...]

    def fingerprint(self) -> bytes:
        """Give what tells this command from another."""
        return fingerprint_of(self)

    def apply(self, transaction: Transaction) -> list[str]:
        """Insert them and give their ids."""
        return insert_artifacts(transaction, self.session_id, self.task_id, self.artifacts)


@final
@dataclass(frozen=True, slots=True)
class NoteTask:
    """Write on a task in progress why it did not go on, without changing its status, and keep what shows it."""

    by: str
    task_id: str
    what: str
    """The event's name, as `gates_failed`."""
    reason: str
    artifacts: tuple[NewArtifact, ...] = ()

    def fingerprint(self) -> bytes:
        """Give what tells this command from another."""
        return fingerprint_of(self)

    def apply(self, transaction: Transaction) -> list[str]:
        """Note it and give the ids of the artifacts."""
        task = transaction.task(self.task_id)
        transaction.execute(
            "UPDATE task SET status_reason=?, updated=?, version=version+1 WHERE id=?",
            (self.reason, transaction.now, task.id),
        )
        transaction.event(self.what, session_id=task.session_id, task_id=task.id, detail=self.reason)
        return insert_artifacts(transaction, task.session_id, task.id, self.artifacts)


@final
@dataclass(frozen=True, slots=True)
class ReleaseClaims:
    """Give back what holders which are gone had claimed."""

    by: str
    holders: tuple[str, ...]
    why: str = "it is gone"
    """Why each of them holds nothing any more, for the audit trail."""
    tasks: tuple[str, ...] | None = None
    """Only these, where a holder may have come back meanwhile and taken others."""

    def fingerprint(self) -> bytes:
        """Give what tells this command from another."""
        return fingerprint_of(self)

    def apply(self, transaction: Transaction) -> Released:
        """Release the claims."""
        released: list[str] = []
        for holder in self.holders:
            released += release(transaction, holder, self.why, self.tasks)
        return {"task_ids": released}


def release(transaction: Transaction, holder: str, why: str, only: tuple[str, ...] | None = None) -> list[str]:
    """Give back what a holder has claimed, or only these tasks of it; the audit trail says from whom and why."""
    rows = transaction.execute(
        f"SELECT {TASK_COLUMNS} FROM task WHERE claimed_by=? AND status='in_progress'", (holder,)
    ).fetchall()
    tasks = [task for task in map(task_of, rows) if only is None or task.id in only]
    for task in tasks:
        set_status(transaction, task, TaskStatus.PENDING, detail=f"released from {holder}: {why}")
    return [task.id for task in tasks]


def insert_artifacts(
    transaction: Transaction, session_id: str, task_id: str | None, artifacts: tuple[NewArtifact, ...]
) -> list[str]:
    """Insert the rows of artifacts whose files are durable, and give their ids."""
    ids: list[str] = []
    for new in artifacts:
        identifier = f"artifact_{transaction.mint()}"
        transaction.execute(
            "INSERT INTO artifact(id, session_id, task_id, kind, name, mime_type, size, sha256, created)"
            " VALUES (?,?,?,?,?,?,?,?,?)",
            (identifier, session_id, task_id, new.kind, new.name, new.mime_type, new.size, new.sha256, transaction.now),
        )
        transaction.event("artifact", session_id=session_id, task_id=task_id, after=new.sha256, detail=new.name)
        ids.append(identifier)
    return ids


def newly_ready(transaction: Transaction) -> list[str]:
    """List the tasks that became ready through this command, in the order in which they were created."""
    found: dict[str, int] = {}
    for released in dict.fromkeys(transaction.released):
        rows = transaction.execute(
            "WITH RECURSIVE below(id) AS"
            " (SELECT ? UNION ALL SELECT task.id FROM task JOIN below ON task.parent_id = below.id)"
            " SELECT task.id, task.seq FROM task JOIN below USING (id)"
            " WHERE status='pending' AND open_dependencies=0 AND children=0",
            (released,),
        )
        found.update(rows.fetchall())
    return sorted(found, key=lambda identifier: found[identifier])


def _holders(transaction: Transaction, task: Task) -> list[str]:
    """Describe what holds a task, its own dependencies and those of its containers."""
    rows = transaction.execute(
        "WITH RECURSIVE above(id) AS"
        " (SELECT ? UNION SELECT parent_id FROM task JOIN above USING (id) WHERE parent_id IS NOT NULL)"
        " SELECT task.id, task.title, task.status FROM dependency JOIN above ON dependency.task_id = above.id"
        " JOIN task ON task.id = dependency.on_task_id WHERE mandatory AND state IN (?, ?) ORDER BY task.seq",
        (task.id, DependencyState.OPEN, DependencyState.FAILED),
    ).fetchall()
    shown = [f"{row[0]} ({row[1]}: {row[2]})" for row in rows[:_HOLDERS_SHOWN]]
    return shown if len(rows) <= _HOLDERS_SHOWN else [*shown, f"{len(rows) - _HOLDERS_SHOWN} more"]
