"""The command that creates tasks: one, or a whole breakdown, in one transaction.

The drafts were made by a caller or by the plan reader; here they get ids and places. This is the store's hot path:
one task costs six statements. Neighbours: `work.drafts` checks a breakdown in itself, `changes` its place among rows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypedDict, final

from pydantic import TypeAdapter

from vespera_agents.store.changes import add_dependency, check_no_path, order_children, roll_up, set_status
from vespera_agents.store.commands.editing import DeleteTask
from vespera_agents.store.plans import live_root
from vespera_agents.store.rows import command_json, commands_json
from vespera_agents.store.transaction import StatusChange, Transaction, only_open_session, resolve_task_id
from vespera_agents.work.drafts import DependencyDraft, TaskDraft, check_drafts, walk_drafts
from vespera_agents.work.errors import Conflict, InvalidInput, NotFound
from vespera_agents.work.models import DependencyKind, SessionStatus, Task, TaskStatus

__all__ = ["ChosenRole", "PlanTasks", "PlannedTasks"]

_INSERT_TASK = (
    "INSERT INTO task(seq, id, session_id, parent_id, key, position, title, description, task_type, complexity,"
    " specialist, estimated_effort, due, status, run, condition, gates, strategy, strategy_n, children,"
    " open_dependencies, created, updated)"
    # Never the number of one that was deleted: cursors and the full-text index go by it. Not by AUTOINCREMENT, whose
    # table is one more page to write for every commit.
    " VALUES (1 + max(coalesce((SELECT max(seq) FROM task), 0), (SELECT deleted FROM task_mark)),"
    "?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,"
    # Never before the task that was created last, even when the clock was set back: a range of times is one of rows.
    "max(?, coalesce((SELECT created FROM task ORDER BY seq DESC LIMIT 1), 0)),?)"
)
_DRAFTS: Final = TypeAdapter(tuple[TaskDraft, ...]).serializer


class ChosenRole(TypedDict):
    """A role that was chosen for a task, and why: kept with the result, because by now another might be chosen."""

    role: str
    confidence: float | None
    """The chance that it is the right one, 0 to 1; None where nobody chose."""
    reasons: list[str]
    alternatives: dict[str, float]
    """The next best, with their chances."""


_NOBODY_CHOSE: Final[ChosenRole] = {"role": "generic", "confidence": None, "reasons": [], "alternatives": {}}


class PlannedTasks(TypedDict):
    """The result of PlanTasks."""

    session_id: str
    ids: dict[str, str]
    """The new task's id for each key, in the order of the breakdown."""
    parent_id: str | None
    """The container that they were put in."""
    ready: list[str]
    """The new tasks that can be claimed now, in the same order."""
    replaced: str | None
    """The task that they took the place of."""
    chosen: dict[str, ChosenRole]
    """For each key whose draft named no specialist, the role it was given, and why."""


@final
@dataclass(frozen=True, slots=True)
class PlanTasks:
    """Create a breakdown, whole or not at all."""

    by: str
    session_id: str | None
    """None for the only open one."""
    drafts: tuple[TaskDraft, ...]
    parent: str | None = None
    """The container to put it in: an id or a unique prefix."""
    replaces: str | None = None
    """The task whose place it takes: that one is archived with everything below it, its live work cancelled first.
    What a repeated call would replace is what the first one made, so this is no part of the wish."""
    alone: bool = False
    """Refuse while a live task of the session bears the key and the title of the first draft, but for `replaces`."""
    chosen: Mapping[str, ChosenRole] = field(default_factory=dict[str, ChosenRole])
    """Roles by key, for drafts that name none: no part of the wish, because by now another would be chosen."""

    def fingerprint(self) -> bytes:
        """Give what tells this command from another."""
        # Not fingerprint_of(): the repr of a draft takes three times as long as its JSON.
        digest = hashlib.blake2b(_DRAFTS.to_json(self.drafts), digest_size=16)
        digest.update(f"{self.session_id}\n{self.parent}".encode())
        return digest.digest()

    def apply(self, transaction: Transaction) -> PlannedTasks:
        """Create every task.

        Raises:
            InvalidInput: keys, bounds or dependencies are wrong in themselves.
            NotFound: the session, the parent or a dependency does not exist.
            Conflict: the session is closed, or several are open; the parent cannot hold subtasks now; or it shall be
                alone and is there already.
            Cycle: the new tasks would wait for themselves.
        """
        if self.session_id is None:
            return replace(self, session_id=only_open_session(transaction.connection)).apply(transaction)
        drafts = check_drafts(self.drafts)
        if self.alone:
            self._check_alone(transaction, self.session_id)
        if self.replaces is not None:
            DeleteTask(self.by, self.replaces, self.session_id, force=True).apply(transaction)
        parent = None if self.parent is None else self._container(transaction, self.parent)
        first = self._places(transaction, parent)
        ids = {key: f"task_{transaction.mint()}" for key in drafts}
        held = 0 if parent is None else parent.open_dependencies
        for draft, above, position in walk_drafts(self.drafts):
            identifier = ids[draft.key]
            parent_id = ids[above.key] if above else (parent.id if parent else None)
            place = position if above else first + position
            transaction.execute(_INSERT_TASK, self._row(transaction, draft, identifier, parent_id, place, held))
            transaction.event(
                "created", session_id=self.session_id, task_id=identifier, after=TaskStatus.PENDING, detail=draft.title
            )
            transaction.changed.append(
                StatusChange(self.session_id, identifier, self._role(draft), None, TaskStatus.PENDING, waived=False)
            )
        self._connect(transaction, drafts, ids, parent)
        for key in [key for key, draft in drafts.items() if draft.strategy is not None and draft.subtasks]:
            order_children(transaction, transaction.task(ids[key]))
        if parent is not None:
            order_children(transaction, parent)
            roll_up(transaction, parent.id)
        return {
            "session_id": self.session_id,
            "ids": ids,
            "parent_id": None if parent is None else parent.id,
            "ready": _ready(
                transaction, drafts, ids, held=held, ordered=parent is not None and parent.strategy is not None
            ),
            "replaced": self.replaces,
            "chosen": {key: self._chosen(draft) for key, draft in drafts.items() if draft.specialist is None},
        }

    def _check_alone(self, transaction: Transaction, session_id: str) -> None:
        first = self.drafts[0]
        there = live_root(transaction.connection, session_id, first.key, first.title)
        if there is not None and there.id != self.replaces:
            raise Conflict(
                f"{first.title!r} is in this session already, as task {there.id}, {there.status}",
                f"Go on with it (orchestrator_query_tasks parent_task_id={there.id!r}), or archive it with "
                f"orchestrator_delete_task(task_id={there.id!r}) and plan again.",
            )

    def _container(self, transaction: Transaction, reference: str) -> Task:
        parent = transaction.task(reference, self.session_id)
        if not parent.is_container and parent.status is not TaskStatus.PENDING:
            raise Conflict(
                f"task {parent.id} ({parent.title}) is {parent.status} and cannot get subtasks",
                "Release or reopen it first (orchestrator_update_task status=pending), or choose another parent.",
            )
        if parent.status is TaskStatus.ARCHIVED:
            raise Conflict(f"task {parent.id} ({parent.title}) is archived", "Choose another parent.")
        if parent.run is not None:
            raise Conflict(
                f"task {parent.id} ({parent.title}) is a command and cannot get subtasks", "Choose another parent."
            )
        return parent

    def _places(self, transaction: Transaction, parent: Task | None) -> int:
        """Count the new roots into the session and the container, and give the first one's position."""
        number = len(self.drafts)
        row = transaction.execute(
            "UPDATE session SET roots=roots+?, updated=? WHERE id=? RETURNING roots, status",
            (0 if parent else number, transaction.now, self.session_id),
        ).fetchone()
        if row is None:
            raise NotFound(
                f"there is no session {self.session_id!r} in this workspace",
                "Call orchestrator_initialize_session first, or list them with orchestrator_list_sessions.",
            )
        if row[1] != SessionStatus.OPEN:
            raise Conflict(
                f"the session {self.session_id} is {row[1]}",
                "Reopen it with orchestrator_initialize_session(session_id=...).",
            )
        if parent is None:
            return int(row[0]) - number
        # Not the number of children: after a deletion that would be somebody's place. The last one created is the last.
        last = transaction.execute(
            "SELECT position FROM task WHERE parent_id=? ORDER BY seq DESC LIMIT 1", (parent.id,)
        ).fetchone()
        transaction.execute(
            "UPDATE task SET children=children+?, updated=?, version=version+1 WHERE id=?",
            (number, transaction.now, parent.id),
        )
        return 0 if last is None else int(last[0]) + 1

    def _row(
        self,
        transaction: Transaction,
        draft: TaskDraft,
        identifier: str,
        parent_id: str | None,
        position: int,
        held: int,
    ) -> tuple[object, ...]:
        return (
            identifier, self.session_id, parent_id, draft.key, position, draft.title, draft.description,
            draft.task_type, draft.complexity, self._role(draft), draft.estimated_effort, draft.due,
            TaskStatus.PENDING, command_json(draft.run), command_json(draft.when), commands_json(draft.gates),
            draft.strategy, draft.strategy_n, len(draft.subtasks), held, transaction.now, transaction.now,
        )  # fmt: skip

    def _role(self, draft: TaskDraft) -> str:
        return draft.specialist or self._chosen(draft)["role"]

    def _chosen(self, draft: TaskDraft) -> ChosenRole:
        return self.chosen.get(draft.key, _NOBODY_CHOSE)

    def _connect(
        self, transaction: Transaction, drafts: dict[str, TaskDraft], ids: dict[str, str], parent: Task | None
    ) -> None:
        for key, draft in drafts.items():
            for dependency in draft.dependencies:
                on_id = ids.get(dependency.on) or self._existing(transaction, dependency, draft)
                if dependency.on not in ids and parent and dependency.kind is not DependencyKind.RELATED:
                    check_no_path(transaction, on_id, [parent.id])
                add_dependency(
                    transaction, ids[key], transaction.task(on_id), dependency.kind, mandatory=dependency.mandatory
                )
        for key in [key for key, draft in drafts.items() if draft.done and not draft.subtasks]:
            task = transaction.task(ids[key])
            for status in (TaskStatus.IN_PROGRESS, TaskStatus.COMPLETED):
                set_status(transaction, task, status, detail="the plan says that it is done")
                task = transaction.task(ids[key])

    def _existing(self, transaction: Transaction, dependency: DependencyDraft, draft: TaskDraft) -> str:
        try:
            return resolve_task_id(transaction.connection, dependency.on, self.session_id)
        except NotFound as error:
            raise InvalidInput(
                f"{draft.key!r} depends on {dependency.on!r}, which is neither a key of this breakdown nor a task of "
                f"this session",
                f"Known keys: {', '.join(keys_shown(self.drafts))}. {error.next_action}",
            ) from None


def _ready(
    transaction: Transaction, drafts: Mapping[str, TaskDraft], ids: Mapping[str, str], *, held: int, ordered: bool
) -> list[str]:
    """Say which of the new tasks can be claimed now."""
    if held:
        return []
    leaves = [ids[key] for key, draft in drafts.items() if not draft.subtasks]
    # What waits for nothing is ready: the rows need not be asked, which is most calls.
    if not any(draft.dependencies or draft.done or draft.strategy for draft in drafts.values()) and not ordered:
        return leaves
    rows = transaction.execute(
        "SELECT id FROM task WHERE id IN (SELECT value FROM json_each(?)) AND status=? AND open_dependencies=0",
        (json.dumps(leaves), TaskStatus.PENDING),
    )
    ready = {row[0] for row in rows}
    return [identifier for identifier in leaves if identifier in ready]


def keys_shown(drafts: Sequence[TaskDraft], most: int = 12) -> list[str]:
    """List the first keys of a breakdown, for a message."""
    keys = [draft.key for draft, _, _ in walk_drafts(drafts)]
    return keys if len(keys) <= most else [*keys[:most], f"and {len(keys) - most} more"]
