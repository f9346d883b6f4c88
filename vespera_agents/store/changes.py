"""The steps that several commands share: a task's status and everything that follows from it.

Setting a status goes through the machine of `work/`, then lets the dependents and the containers follow, all in the
same transaction. Nothing else in the project writes `task.status`, `dependency.state` or `task.open_dependencies`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from vespera_agents.store.outbox import tell_status
from vespera_agents.store.rows import TASK_COLUMNS, holds, task_of
from vespera_agents.store.transaction import StatusChange, Transaction
from vespera_agents.work.errors import Cycle, NotFound
from vespera_agents.work.machine import TERMINAL, check_again, check_transition, container_status, dependency_state
from vespera_agents.work.models import DependencyKind, DependencyState, Strategy, Task, TaskStatus
from vespera_agents.work.strategies import Again, Decision, Fail, decision, edges, steps

__all__ = [
    "BY_CONDITION",
    "add_dependency",
    "check_no_path",
    "children_of",
    "order_children",
    "remove_dependency",
    "roll_up",
    "set_status",
    "set_statuses",
    "subtree_of",
    "waive_dependency",
]

BY_CONDITION = "when"
"""`dependency.waived_by` of an edge that was waived because the task's own condition did not hold."""
_STEERED = frozenset({Strategy.REVIEW, Strategy.CONSENSUS})
_WORKED_ON = frozenset({TaskStatus.IN_PROGRESS, TaskStatus.BLOCKED, TaskStatus.REVIEW})
"""From where an end is the end of a claim's work."""


def set_status(
    transaction: Transaction,
    task: Task,
    wanted: TaskStatus,
    *,
    reason: str | None = None,
    waived: bool = False,
    claimed_by: str | None = None,
    summary: str | None = None,
    detail: str | None = None,
) -> None:
    """Move a task along one edge of the machine, and let dependents and containers follow.

    Args:
        transaction: the transaction of the command.
        task: the row as it is now.
        wanted: the status to reach.
        reason: why, kept on the task; None clears it.
        waived: with cancelled: its condition did not hold, dependents go on.
        claimed_by: with in_progress: who works on it.
        summary: what came of it; None keeps what is there.
        detail: extra text for the event alone.

    Raises:
        BadTransition: there is no such edge.
    """
    _move(
        transaction,
        task,
        wanted,
        reason=reason,
        waived=waived,
        claimed_by=claimed_by,
        summary=summary,
        detail=detail or reason,
    )
    if task.parent_id is not None:
        roll_up(transaction, task.parent_id)


def set_statuses(
    transaction: Transaction, members: Sequence[Task], wanted: TaskStatus, *, reason: str | None = None
) -> None:
    """Move several tasks of one subtree; each container then follows once, the deepest first.

    One by one the containers would pass through statuses that depend on the order, and their dependents with them.

    Args:
        transaction: the transaction of the command.
        members: the subtree as `subtree_of` gives it; containers in it follow, the others move.
        wanted: the status to reach.
        reason: why; None keeps what stands on each task.

    Raises:
        BadTransition: there is no such edge from one of them.
    """
    for member in members:
        if not member.is_container:
            kept = member.status_reason if reason is None else reason
            _move(transaction, member, wanted, reason=kept, waived=False, detail=reason)
    for member in reversed(members):
        if member.is_container:
            _refresh(transaction, member.id)
    if members and members[0].parent_id is not None:
        roll_up(transaction, members[0].parent_id)


def _move(
    transaction: Transaction,
    task: Task,
    wanted: TaskStatus,
    *,
    reason: str | None,
    waived: bool,
    claimed_by: str | None = None,
    summary: str | None = None,
    detail: str | None = None,
    by_strategy: bool = False,
) -> None:
    check = check_again if by_strategy else check_transition
    check(f"task {task.id} ({task.title})", task.status, wanted)
    now = transaction.now
    archives = wanted is TaskStatus.ARCHIVED
    # Archiving keeps the mark: what depends on the task later must still see that it was waived.
    waived = task.waived if archives else waived
    begins = wanted is TaskStatus.IN_PROGRESS
    ends = wanted in TERMINAL
    transaction.execute(
        "UPDATE task SET status=?, status_reason=?, waived=?, claimed_by=?, summary=coalesce(?, summary),"
        " attempts=attempts+?, started=CASE WHEN ? THEN ? ELSE started END,"
        # Never before it began, even when the clock was set back.
        " finished=CASE WHEN ? THEN max(?, coalesce(started, 0)) WHEN ? THEN finished ELSE NULL END,"
        " updated=?, version=version+1 WHERE id=?",
        (
            wanted, reason, waived, claimed_by if begins else None, summary,
            begins, begins, now,
            ends and not archives, now, archives, now, task.id,
        ),
    )  # fmt: skip
    _follow(transaction, task, wanted, waived=waived, detail=detail)


def roll_up(transaction: Transaction, container_id: str) -> None:
    """Bring a container, and the containers above it, to the status that follows from their children."""
    current: str | None = container_id
    while current is not None:
        current = _refresh(transaction, current)


def _refresh(transaction: Transaction, container_id: str) -> str | None:
    """Bring one container to the status that follows from its children; gives its own container if it changed."""
    container = task_of(transaction.execute(f"SELECT {TASK_COLUMNS} FROM task WHERE id=?", (container_id,)).fetchone())
    decided = _steer(transaction, container) if container.strategy in _STEERED else None
    counts = {
        (TaskStatus(row[0]), bool(row[1])): int(row[2])
        for row in transaction.execute(
            "SELECT status, waived, count(*) FROM task WHERE parent_id=? GROUP BY status, waived", (container_id,)
        )
    }
    status, waived = container_status(counts) if decided is None else (decided.status, False)
    if status is TaskStatus.ARCHIVED:
        waived = container.waived
    if (status, waived) == (container.status, container.waived):
        return None
    now, begun, ended = transaction.now, status is TaskStatus.IN_PROGRESS, status in TERMINAL
    transaction.execute(
        "UPDATE task SET status=?, waived=?, status_reason=?, summary=coalesce(?, summary), updated=?,"
        " version=version+1,"
        " started=coalesce(started, CASE WHEN ? THEN ? END),"
        " finished=CASE WHEN ? THEN coalesce(finished, max(?, coalesce(started, 0))) END"
        " WHERE id=?",
        (status, waived, *_told(decided), now, begun, now, ended, now, container_id),
    )
    _follow(transaction, container, status, waived=waived, detail="follows its subtasks")
    return container.parent_id


def _steer(transaction: Transaction, container: Task) -> Decision | None:
    """Do what the strategy of a container makes of how its subtasks stand; give what a vote came to."""
    members = children_of(transaction, container.id)
    taken = steps(container, members)
    by_id = {member.id: member for member in members}
    for step in taken:
        member, reason = by_id[step.task_id], step.reason
        if isinstance(step, Fail):
            _move(transaction, member, TaskStatus.FAILED, reason=reason, waived=False, detail=reason)
        elif isinstance(step, Again):
            _move(transaction, member, TaskStatus.PENDING, reason=reason, waived=False, detail=reason, by_strategy=True)
        else:
            _move(
                transaction, member, TaskStatus.CANCELLED, reason=reason, waived=True, detail=reason, by_strategy=True
            )
    if any(isinstance(step, Again) for step in taken):
        transaction.execute("UPDATE task SET rounds=rounds+1 WHERE id=?", (container.id,))
    return decision(container, children_of(transaction, container.id) if taken else members)


def _told(decided: Decision | None) -> tuple[str | None, str | None]:
    """Give the reason and the summary of a container."""
    if decided is None:
        return None, None
    return (None, decided.text) if decided.status is TaskStatus.COMPLETED else (decided.text, None)


def order_children(transaction: Transaction, container: Task) -> None:
    """Let the subtasks of a container wait for each other as its strategy says; what waits already stays so.

    Raises:
        Cycle: one waits for another the other way round.
    """
    wanted = edges(container.strategy, children_of(transaction, container.id)) if container.strategy else ()
    for task_id, on_id in wanted:
        there = transaction.execute(
            "SELECT 1 FROM dependency WHERE task_id=? AND on_task_id=?", (task_id, on_id)
        ).fetchone()
        task = transaction.task(task_id)
        if there is None and task.status is TaskStatus.PENDING:
            check_no_path(transaction, on_id, [task_id])
            add_dependency(transaction, task_id, transaction.task(on_id), DependencyKind.COMPLETION, mandatory=True)


def _follow(transaction: Transaction, task: Task, status: TaskStatus, *, waived: bool, detail: str | None) -> None:
    """Record a change of status and bring the dependencies on the task to what they become."""
    transaction.event(
        "status", session_id=task.session_id, task_id=task.id, before=task.status, after=status, detail=detail
    )
    ended = status in TERMINAL and task.status in _WORKED_ON
    worked = max(0.0, transaction.now - task.started) if task.started is not None and ended else None
    claimed = status is TaskStatus.IN_PROGRESS and not task.attempts and not task.is_container
    queued = max(0.0, transaction.now - task.created) if claimed else None
    transaction.changed.append(
        StatusChange(task.session_id, task.id, task.specialist, task.status, status, waived, queued, worked)
    )
    if transaction.audience:
        tell_status(transaction, task, status)
    state = dependency_state(status, waived=waived)
    if state is None:
        return
    edges = transaction.execute(
        "SELECT task_id, mandatory, state, waived_by FROM dependency WHERE on_task_id=?", (task.id,)
    ).fetchall()
    for dependent, mandatory, before, waived_by in edges:
        if before == state or (before == DependencyState.WAIVED and waived_by != BY_CONDITION):
            continue
        waiver = (BY_CONDITION, detail) if state is DependencyState.WAIVED else (None, None)
        transaction.execute(
            "UPDATE dependency SET state=?, waived_by=?, waived_why=? WHERE task_id=? AND on_task_id=?",
            (state, *waiver, dependent, task.id),
        )
        held, holding = holds(bool(mandatory), DependencyState(before)), holds(bool(mandatory), state)
        if held != holding:
            _hold(transaction, dependent, 1 if holding else -1)
            if not holding:
                transaction.released.append(dependent)


def _hold(transaction: Transaction, task_id: str, change: int) -> None:
    """Add to the count of what holds a task and, as its container, everything below it."""
    transaction.execute(
        "WITH RECURSIVE below(id) AS"
        " (SELECT ? UNION ALL SELECT task.id FROM task JOIN below ON task.parent_id = below.id)"
        " UPDATE task SET open_dependencies = open_dependencies + ? WHERE id IN (SELECT id FROM below)",
        (task_id, change),
    )


def add_dependency(transaction: Transaction, task_id: str, on: Task, kind: str, *, mandatory: bool) -> None:
    """Let one task wait for another; an edge that exists is replaced.

    The caller has checked for cycles.
    """
    remove_dependency(transaction, task_id, on.id)
    state = dependency_state(on.status, waived=on.waived)
    if state is None:
        state = _reached_before_archiving(transaction, on)
    binding = mandatory and kind != "related"
    transaction.execute(
        "INSERT INTO dependency(task_id, on_task_id, kind, mandatory, state, waived_by) VALUES (?,?,?,?,?,?)",
        (task_id, on.id, kind, binding, state, BY_CONDITION if state is DependencyState.WAIVED else None),
    )
    if holds(binding, state):
        _hold(transaction, task_id, 1)


def _reached_before_archiving(transaction: Transaction, task: Task) -> DependencyState:
    """Say what a new dependency on an archived task is: its audit trail knows what it was archived from."""
    row = transaction.execute(
        "SELECT before FROM event WHERE task_id=? AND what='status' AND after=? ORDER BY seq DESC LIMIT 1",
        (task.id, TaskStatus.ARCHIVED),
    ).fetchone()
    state = dependency_state(TaskStatus(row[0]), waived=task.waived) if row else None
    return state or DependencyState.FAILED


def remove_dependency(transaction: Transaction, task_id: str, on_task_id: str) -> bool:
    """Let a task no longer wait for another; says whether it did."""
    row = transaction.execute(
        "DELETE FROM dependency WHERE task_id=? AND on_task_id=? RETURNING mandatory, state", (task_id, on_task_id)
    ).fetchone()
    if row is None:
        return False
    if holds(bool(row[0]), DependencyState(row[1])):
        _hold(transaction, task_id, -1)
        transaction.released.append(task_id)
    return True


def waive_dependency(transaction: Transaction, task_id: str, on_task_id: str, *, by: str, why: str) -> None:
    """Let a dependency hold its task no longer, by somebody's decision.

    Raises:
        NotFound: there is no such dependency.
    """
    row = transaction.execute(
        "SELECT mandatory, state FROM dependency WHERE task_id=? AND on_task_id=?", (task_id, on_task_id)
    ).fetchone()
    if row is None:
        raise NotFound(f"task {task_id} does not depend on {on_task_id}", "Read the task to see its dependencies.")
    transaction.execute(
        "UPDATE dependency SET state=?, waived_by=?, waived_why=? WHERE task_id=? AND on_task_id=?",
        (DependencyState.WAIVED, by, why, task_id, on_task_id),
    )
    if holds(bool(row[0]), DependencyState(row[1])):
        _hold(transaction, task_id, -1)
        transaction.released.append(task_id)


def children_of(transaction: Transaction, task_id: str) -> list[Task]:
    """Read the direct children of a container in their order."""
    rows = transaction.execute(
        f"SELECT {TASK_COLUMNS} FROM task WHERE parent_id=? ORDER BY position, seq",
        (task_id,),
    ).fetchall()
    return [task_of(row) for row in rows]


def subtree_of(transaction: Transaction, task: Task) -> list[Task]:
    """Read a task and everything below it, containers before what they contain."""
    found = [task]
    for current in found:
        if current.children:
            found.extend(children_of(transaction, current.id))
    return found


def check_no_path(transaction: Transaction, start: str, goals: Sequence[str]) -> None:
    """Check that `start` does not come to wait for any of `goals`.

    A task waits for its dependencies, for those of its containers, and, as a container, for its children.

    Raises:
        Cycle: with the titles along the circle that a new edge from a goal to `start` would close.
    """
    came_from: dict[str, str | None] = {start: None}
    queue = [start]
    for current in queue:
        if current in goals:
            path: list[str] = []
            step: str | None = current
            while step is not None:
                path.append(step)
                step = came_from[step]
            raise Cycle(_titles(transaction, [current, *reversed(path)]))
        rows = transaction.execute(
            "WITH RECURSIVE above(id) AS (SELECT ? UNION SELECT parent_id FROM task JOIN above USING (id)"
            " WHERE parent_id IS NOT NULL)"
            " SELECT on_task_id FROM dependency JOIN above ON task_id = above.id WHERE kind != 'related'"
            " UNION SELECT id FROM task WHERE parent_id = ?",
            (current, current),
        )
        for (following,) in rows.fetchall():
            if following not in came_from:
                came_from[following] = current
                queue.append(following)


def _titles(transaction: Transaction, ids: Sequence[str]) -> list[str]:
    # json_each takes any number of ids; a mark for each ends at SQLite's limit of variables.
    titles: dict[str, str] = dict(
        transaction.execute(
            "SELECT id, title FROM task WHERE id IN (SELECT value FROM json_each(?))", (json.dumps(ids),)
        ).fetchall()
    )
    return [titles.get(identifier, identifier) for identifier in ids]
