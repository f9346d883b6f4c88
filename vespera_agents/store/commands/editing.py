"""Commands by which somebody changes, cancels, archives or deletes a task.

Not the life of a claim (`claims`), not creation (`planning`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final, TypedDict, cast, final

from vespera_agents.store.changes import (
    add_dependency,
    check_no_path,
    children_of,
    order_children,
    remove_dependency,
    roll_up,
    set_status,
    set_statuses,
    subtree_of,
    waive_dependency,
)
from vespera_agents.store.commands.claims import newly_ready
from vespera_agents.store.corrections import note_correction
from vespera_agents.store.rows import commands_json
from vespera_agents.store.transaction import Transaction, fingerprint_of, resolve_task_id
from vespera_agents.work.drafts import DependencyDraft
from vespera_agents.work.errors import Conflict, InvalidInput, NotFound, StaleVersion
from vespera_agents.work.machine import LIVE
from vespera_agents.work.models import CommandLine, DependencyKind, Task, TaskStatus
from vespera_agents.work.strategies import check_strategy, edges

__all__ = ["CancelTask", "Cancelled", "DeleteTask", "Deleted", "TaskEdit", "UpdateTask", "Updated"]

_SHOWN: Final = 20
"""Dependents that a message or result names."""


class TaskEdit(TypedDict, total=False):
    """The fields that an update may set; what is absent stays as it is."""

    title: str
    description: str
    task_type: str
    complexity: str
    specialist: str
    estimated_effort: str | None
    due: float | None
    strategy: str | None
    strategy_n: int | None


class Updated(TypedDict):
    """The result of UpdateTask."""

    task_id: str
    version: int
    changed: dict[str, list[str | float | None]]
    """Each changed field with what it was and what it is."""
    ready: list[str]


class Cancelled(TypedDict):
    """The result of CancelTask."""

    task_ids: list[str]
    blocked_dependents: list[str]
    dropped_artifacts: int


class Deleted(TypedDict):
    """The result of DeleteTask."""

    archived: list[str]
    deleted: list[str]
    cancelled: list[str]
    released_dependents: list[str]


@final
@dataclass(frozen=True, slots=True)
class UpdateTask:
    """Change fields, dependencies or the status of a task."""

    by: str
    task: str
    holder: str
    """Who would hold the claim, if the status becomes in_progress."""
    session_id: str | None = None
    expected_version: int | None = None
    edit: TaskEdit | None = None
    status: TaskStatus | None = None
    reason: str | None = None
    gates: tuple[CommandLine, ...] | None = None
    add: tuple[DependencyDraft, ...] = ()
    remove: tuple[str, ...] = ()
    waive: tuple[str, ...] = ()
    """Dependencies, by the id of the task waited for, that shall hold it no longer; needs a reason."""

    def fingerprint(self) -> bytes:
        """Give what tells this command from another."""
        return fingerprint_of(self)

    def apply(self, transaction: Transaction) -> Updated:
        """Make the changes, all or none.

        Raises:
            NotFound: there is no such task or dependency.
            StaleVersion: somebody changed it first.
            BadTransition: the machine has no such edge.
            InvalidInput: a reason is missing, or the status has its own tool.
            Conflict: it is a container, is not ready, or shall begin while somebody else works on it.
            Cycle: a new dependency would close a circle.
        """
        task = transaction.task(self.task, self.session_id)
        if self.expected_version is not None and self.expected_version != task.version:
            raise StaleVersion(f"task {task.id} ({task.title})", self.expected_version, task.version)
        self._check_holder(task)
        changed = self._set_fields(transaction, task)
        changed |= self._set_dependencies(transaction, task)
        if self.status is not None and self.status is not task.status:
            self._check_status(transaction, task, self.status)
            set_status(transaction, task, self.status, reason=self.reason, claimed_by=self.holder)
            changed["status"] = [task.status, self.status]
        after = transaction.task(task.id)
        if after.ready and not task.ready:
            transaction.released.append(task.id)
        return {
            "task_id": task.id,
            "version": after.version,
            "changed": changed,
            "ready": newly_ready(transaction),
        }

    def _check_holder(self, task: Task) -> None:
        """Refuse to begin what somebody else is at: that nothing changed would look like a claim."""
        if self.status is not TaskStatus.IN_PROGRESS or task.status is not TaskStatus.IN_PROGRESS:
            return
        if not task.is_container and task.claimed_by not in {None, self.holder}:
            raise Conflict(
                f"task {task.id} ({task.title}) is already being worked on by {task.claimed_by}",
                "Take another ready task (orchestrator_query_tasks ready=true); to take this one over, set it to "
                "pending first.",
            )

    def _set_fields(self, transaction: Transaction, task: Task) -> dict[str, list[str | float | None]]:
        before = cast("dict[str, str | float | None]", task.model_dump())
        edit = cast("dict[str, str | float | None]", self.edit or {})
        changed = {name: [before[name], value] for name, value in edit.items() if before[name] != value}
        columns: dict[str, object] = {name: pair[1] for name, pair in changed.items()}
        if self.gates is not None and self.gates != task.gates:
            columns["gates"] = commands_json(self.gates)
            changed["gates"] = [
                "; ".join(line.text for line in task.gates),
                "; ".join(line.text for line in self.gates),
            ]
        if columns:
            # The names come from TaskEdit and this function, never from a caller.
            assignments = ", ".join(f"{name}=?" for name in columns)
            transaction.execute(
                f"UPDATE task SET {assignments}, updated=?, version=version+1 WHERE id=?",
                (*columns.values(), transaction.now, task.id),
            )
            if "specialist" in changed:
                note_correction(transaction, task.id, task.specialist, str(columns["specialist"]))
            if "strategy" in columns or "strategy_n" in columns:
                _reorder(transaction, task)
            transaction.event(
                "updated", session_id=task.session_id, task_id=task.id, detail=json.dumps(changed, default=str)
            )
        return changed

    def _set_dependencies(self, transaction: Transaction, task: Task) -> dict[str, list[str | float | None]]:
        changed: dict[str, list[str | float | None]] = {}
        for reference in self.remove:
            on_id = resolve_task_id(transaction.connection, reference, task.session_id)
            if not remove_dependency(transaction, task.id, on_id):
                raise NotFound(f"task {task.id} does not depend on {on_id}", "Read the task to see its dependencies.")
            changed[f"dependency {on_id}"] = ["waited for", None]
        for reference in self.waive:
            on_id = resolve_task_id(transaction.connection, reference, task.session_id)
            if not self.reason:
                raise InvalidInput("a dependency is waived only with a reason", "Say why in `reason`.")
            waive_dependency(transaction, task.id, on_id, by=self.by, why=self.reason)
            changed[f"dependency {on_id}"] = ["waited for", "waived"]
        for dependency in self.add:
            on = transaction.task(dependency.on, task.session_id)
            below = [member.id for member in subtree_of(transaction, task)]
            if dependency.kind is not DependencyKind.RELATED:
                check_no_path(transaction, on.id, below)
            add_dependency(transaction, task.id, on, dependency.kind, mandatory=dependency.mandatory)
            changed[f"dependency {on.id}"] = [None, dependency.kind]
        if changed:
            transaction.execute("UPDATE task SET updated=?, version=version+1 WHERE id=?", (transaction.now, task.id))
            transaction.event("dependencies", session_id=task.session_id, task_id=task.id, detail=json.dumps(changed))
        return changed

    def _check_status(self, transaction: Transaction, task: Task, wanted: TaskStatus) -> None:
        label = f"task {task.id} ({task.title})"
        if task.is_container and wanted is not TaskStatus.ARCHIVED:
            raise Conflict(f"{label} has subtasks: its status follows them", "Change its subtasks instead.")
        if wanted is TaskStatus.COMPLETED:
            raise InvalidInput(
                "a task is completed with its work and its gates, not by an update",
                "Call orchestrator_complete_task.",
            )
        if wanted is TaskStatus.ARCHIVED:
            raise InvalidInput("a task is archived with its subtasks", "Call orchestrator_delete_task.")
        if wanted is TaskStatus.IN_PROGRESS:
            if task.status is TaskStatus.COMPLETED and not self.reason:
                raise InvalidInput("a completed task is reopened only with a reason", "Say why in `reason`.")
            if transaction.task(task.id).open_dependencies:
                raise Conflict(
                    f"{label} is not ready: it waits for others", "Call orchestrator_execute_task to see for which."
                )
        if wanted is TaskStatus.BLOCKED and not self.reason:
            raise InvalidInput("a task is blocked only with a reason", "Say in `reason` what it waits for.")


@final
@dataclass(frozen=True, slots=True)
class CancelTask:
    """Cancel a task, on request with everything below it."""

    by: str
    task: str
    reason: str
    session_id: str | None = None
    cascade: bool = False
    preserve_work: bool = True

    def fingerprint(self) -> bytes:
        """Give what tells this command from another."""
        return fingerprint_of(self)

    def apply(self, transaction: Transaction) -> Cancelled:
        """Cancel it.

        Raises:
            NotFound: there is no such task.
            Conflict: it has live subtasks and cascade was not asked for.
            BadTransition: it has ended already.
        """
        task = transaction.task(self.task, self.session_id)
        members = subtree_of(transaction, task)
        live = [member for member in members if member.status in LIVE and not member.is_container]
        if task.is_container and not self.cascade:
            raise Conflict(
                f"task {task.id} ({task.title}) has {len(live)} live subtasks",
                "Cancel them too with cascade=true, or cancel single subtasks.",
            )
        if task.is_container and not live:
            raise Conflict(f"task {task.id} ({task.title}) has no live subtasks left", "There is nothing to cancel.")
        moved = _live(members) if task.is_container else members
        set_statuses(transaction, moved, TaskStatus.CANCELLED, reason=self.reason)
        cancelled = [member.id for member in live] if task.is_container else [task.id]
        dropped = 0
        if not self.preserve_work:
            for identifier in cancelled:
                dropped += transaction.execute("DELETE FROM artifact WHERE task_id=?", (identifier,)).rowcount
            transaction.event("artifacts_dropped", session_id=task.session_id, task_id=task.id, detail=str(dropped))
        return {
            "task_ids": cancelled,
            "blocked_dependents": [row[0] for row in _dependents(transaction, [*cancelled, task.id])],
            "dropped_artifacts": dropped,
        }


@final
@dataclass(frozen=True, slots=True)
class DeleteTask:
    """Archive a task and everything below it, or delete them for good."""

    by: str
    task: str
    session_id: str | None = None
    delete: bool = False
    """Delete the rows instead of archiving; only with `force`."""
    force: bool = False

    def fingerprint(self) -> bytes:
        """Give what tells this command from another."""
        return fingerprint_of(self)

    def apply(self, transaction: Transaction) -> Deleted:
        """Do it.

        Raises:
            NotFound: there is no such task.
            InvalidInput: deleting needs force.
            Conflict: live tasks depend on it and force was not given; it is archived already.
        """
        task = transaction.task(self.task, self.session_id)
        if self.delete and not self.force:
            raise InvalidInput(
                "deleting a task removes it and its artifacts for good",
                "Call again with force=true, or archive it instead (mode=archive).",
            )
        if not self.delete and task.status is TaskStatus.ARCHIVED:
            raise Conflict(f"task {task.id} ({task.title}) is archived already", "There is nothing to do.")
        members = subtree_of(transaction, task)
        ids = [member.id for member in members]
        inside = set(ids)
        dependents = [row for row in _dependents(transaction, ids) if row[0] not in inside]
        if dependents and not self.force:
            names = ", ".join(f"{row[0]} ({row[1]})" for row in dependents[:_SHOWN])
            raise Conflict(
                f"live tasks depend on {task.id} ({task.title}): {names}",
                "Change those first, or call again with force=true.",
            )
        parent = None if task.parent_id is None else transaction.task(task.parent_id)
        cancelled = [member.id for member in members if member.status in LIVE and not member.is_container]
        set_statuses(transaction, _live(members), TaskStatus.CANCELLED, reason="archived or deleted")
        released: list[str] = []
        if self.delete:
            released = self._delete(transaction, task, ids, parent)
        else:
            now = subtree_of(transaction, transaction.task(task.id))
            kept = [member for member in now if member.is_container or member.status is not TaskStatus.ARCHIVED]
            set_statuses(transaction, kept, TaskStatus.ARCHIVED)
        return {
            "archived": [] if self.delete else ids,
            "deleted": ids if self.delete else [],
            "cancelled": cancelled,
            "released_dependents": released,
        }

    def _delete(self, transaction: Transaction, task: Task, ids: list[str], parent: Task | None) -> list[str]:
        deleted = set(ids)
        transaction.released.clear()
        for identifier in ids:
            edges = transaction.execute(
                "SELECT task_id, on_task_id FROM dependency WHERE on_task_id=? OR task_id=?", (identifier, identifier)
            ).fetchall()
            for dependent, on_id in edges:
                remove_dependency(transaction, dependent, on_id)
        released = [dependent for dependent in dict.fromkeys(transaction.released) if dependent not in deleted]
        for identifier in ids:
            transaction.execute("DELETE FROM artifact WHERE task_id=?", (identifier,))
            transaction.execute("DELETE FROM step WHERE task_id=?", (identifier,))
            transaction.execute("DELETE FROM correction WHERE task_id=?", (identifier,))
            transaction.execute("DELETE FROM task WHERE id=?", (identifier,))
            transaction.event("deleted", session_id=task.session_id, task_id=identifier)
        if parent is not None:
            transaction.execute(
                "UPDATE task SET children=children-1, updated=?, version=version+1 WHERE id=?",
                (transaction.now, parent.id),
            )
            # Without subtasks it is a task of its own: to be done if it was live, else what it had come to.
            if parent.children > 1 or parent.status in LIVE:
                roll_up(transaction, parent.id)
        return released


def _reorder(transaction: Transaction, before: Task) -> None:
    """Let the subtasks of a container wait for each other as its new strategy says, not as the old one did."""
    after = transaction.task(before.id)
    check_strategy(after.title, after.strategy, after.strategy_n)
    members = children_of(transaction, after.id)
    for task_id, on_id in set(edges(before.strategy, members)) - set(edges(after.strategy, members)):
        remove_dependency(transaction, task_id, on_id)
    order_children(transaction, after)
    if after.is_container:
        roll_up(transaction, after.id)


def _dependents(transaction: Transaction, ids: list[str]) -> list[tuple[str, str]]:
    """List the live tasks, with their titles, that these hold up."""
    # json_each takes any number of ids; a mark for each ends at SQLite's limit of variables.
    return transaction.execute(
        "SELECT DISTINCT task.id, task.title FROM dependency JOIN task ON task.id = dependency.task_id"
        " WHERE on_task_id IN (SELECT value FROM json_each(?)) AND mandatory AND dependency.state IN ('open', 'failed')"
        " AND task.status IN ('pending', 'in_progress', 'blocked', 'review') ORDER BY task.seq",
        (json.dumps(ids),),
    ).fetchall()


def _live(members: list[Task]) -> list[Task]:
    """Leave out the tasks of a subtree that have ended; its containers stay, they follow."""
    return [member for member in members if member.is_container or member.status in LIVE]
