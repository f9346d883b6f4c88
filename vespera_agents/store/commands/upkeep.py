"""Commands that keep a workspace in order: put sessions away, give back stale tasks, remove what nobody names.

Each judges again what it was asked for, in its own transaction: what changed since somebody looked is left alone. None
touches work that somebody is at. Neighbours: `strays` says which files may go, `specialists.upkeep.tools` looks.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal, TypedDict, final

from vespera_agents.store.changes import set_status, set_statuses, subtree_of
from vespera_agents.store.commands.claims import Released
from vespera_agents.store.commands.sessions import close_session
from vespera_agents.store.rows import TASK_COLUMNS, task_of
from vespera_agents.store.strays import remove_stray, restore_aside
from vespera_agents.store.transaction import Transaction, fingerprint_of
from vespera_agents.work.models import SessionStatus, Task, TaskStatus

__all__ = [
    "Choose",
    "CleanSession",
    "Cleaned",
    "Reason",
    "ReleaseStale",
    "RemoveOrphans",
    "RemoveStrays",
    "Removed",
    "Standing",
    "finished_roots",
    "orphaned_artifacts",
    "reasons_of",
    "stale_tasks",
    "standings",
]

Reason = Literal["orphaned", "old", "completed"]

EMPTY_SECONDS: Final = 3_600.0
"""How long a session without tasks is left to whoever has just opened it."""
_ARCHIVED_MAX: Final = 5_000
"""Tasks that one command archives; the next call takes the rest."""
_WORKED_ON: Final = "conductor/"
"""What stands behind the first slash of a claim that a server itself works on, and ends by itself; no client's name
has a slash."""


@final
@dataclass(frozen=True, slots=True)
class Standing:
    """How a session stands, as far as putting it away goes."""

    session_id: str
    name: str
    directory: str
    open: bool
    touched: float
    """When it or any of its tasks was changed last."""
    tasks: int
    """Containers left out."""
    live: int
    """Of these, where work is still to come."""
    at_work: int
    """Of these, in somebody's hands, and jobs that go on."""


class Cleaned(TypedDict):
    """The result of CleanSession."""

    session_id: str
    reasons: list[str]
    """Empty when it was left alone."""
    closed: bool
    tasks_archived: int
    artifacts_removed: int


class Removed(TypedDict):
    """The result of RemoveOrphans and RemoveStrays."""

    names: list[str]
    size: int
    """Bytes."""


def standings(connection: sqlite3.Connection, session_id: str | None = None) -> list[Standing]:
    """Read how sessions stand, the oldest first."""
    rows = connection.execute(
        "SELECT session.id, session.name, session.directory, session.status,"
        " max(session.updated, coalesce(max(task.updated), 0)), count(task.id),"
        " coalesce(sum(task.status IN ('pending', 'in_progress', 'blocked', 'review')), 0),"
        " coalesce(sum(task.status = 'in_progress'), 0) + (SELECT count(*) FROM job WHERE job.session_id = session.id"
        " AND job.status IN ('working', 'input_required'))"
        " FROM session LEFT JOIN task ON task.session_id = session.id AND task.children = 0"
        " WHERE ? IS NULL OR session.id = ? GROUP BY session.id ORDER BY session.created, session.id",
        (session_id, session_id),
    ).fetchall()
    return [Standing(row[0], row[1], row[2], row[3] == SessionStatus.OPEN, *row[4:]) for row in rows]


def reasons_of(standing: Standing, now: float, older_seconds: float, *, gone: bool) -> list[Reason]:
    """Say why a session may be put away; never while somebody is at one of its tasks. Pure.

    orphaned: it has no tasks, and nobody touched it for an hour; or its directory is gone and no work is left in it.
    completed: it has tasks, and all of them have ended. old: nothing was changed in it for so long.

    Args:
        standing: how it stands.
        now: seconds since the epoch.
        older_seconds: what is old.
        gone: whether its directory is no longer there.
    """
    if standing.at_work:
        return []
    idle = now - standing.touched
    reasons: list[Reason] = []
    if (not standing.tasks and idle >= EMPTY_SECONDS) or (gone and not standing.live):
        reasons.append("orphaned")
    if standing.tasks and not standing.live:
        reasons.append("completed")
    if idle >= older_seconds:
        reasons.append("old")
    return reasons


@final
@dataclass(frozen=True, slots=True)
class CleanSession:
    """Put a session away if any of these reasons holds: close it; an old one's finished tasks are archived, too."""

    by: str
    session_id: str
    wanted: tuple[Reason, ...]
    older_seconds: float
    gone: bool

    def fingerprint(self) -> bytes:
        """Give what tells this command from another."""
        return fingerprint_of(self)

    def apply(self, transaction: Transaction) -> Cleaned:
        """Do it, or leave the session alone."""
        result: Cleaned = {
            "session_id": self.session_id, "reasons": [], "closed": False, "tasks_archived": 0, "artifacts_removed": 0
        }  # fmt: skip
        for standing in standings(transaction.connection, self.session_id):
            found = reasons_of(standing, transaction.now, self.older_seconds, gone=self.gone)
            reasons = [reason for reason in found if reason in self.wanted]
            if not reasons:
                continue
            result["reasons"] = [*reasons]
            if "old" in reasons:
                for root in finished_roots(transaction.connection, self.session_id):
                    members = subtree_of(transaction, root)
                    rest = [one for one in members if one.is_container or one.status is not TaskStatus.ARCHIVED]
                    set_statuses(transaction, rest, TaskStatus.ARCHIVED)
                    result["tasks_archived"] += sum(not one.is_container for one in rest)
            result["artifacts_removed"] = transaction.execute(
                f"DELETE FROM artifact WHERE session_id=? AND {_ORPHANED}", (self.session_id,)
            ).rowcount
            if standing.open:
                close_session(transaction, self.session_id)
                result["closed"] = True
            if result["closed"] or result["tasks_archived"] or result["artifacts_removed"]:
                transaction.event("cleaned", session_id=self.session_id, detail=", ".join(reasons))
        return result


_ORPHANED: Final = "task_id IS NOT NULL AND task_id NOT IN (SELECT id FROM task)"


def finished_roots(connection: sqlite3.Connection, session_id: str) -> list[Task]:
    """Read the tasks at the top of a session below which everything was completed or called off, the oldest first.

    What failed is left out: it can still be tried again, an archived task never.
    """
    rows = connection.execute(
        "WITH RECURSIVE below(root, id) AS (SELECT id, id FROM task WHERE session_id=? AND parent_id IS NULL"
        " AND status != 'archived' UNION ALL SELECT root, task.id FROM task JOIN below ON task.parent_id = below.id)"
        f" SELECT {TASK_COLUMNS} FROM task WHERE id IN (SELECT root FROM below JOIN task AS one ON one.id = below.id"
        " WHERE one.children = 0 GROUP BY root"
        " HAVING sum(one.status NOT IN ('completed', 'cancelled', 'archived')) = 0)"
        " ORDER BY seq LIMIT ?",
        (session_id, _ARCHIVED_MAX),
    ).fetchall()
    return [task_of(row) for row in rows]


@final
@dataclass(frozen=True, slots=True)
class Choose:
    """Write down what a call is about, which has a command for each: repeated, it is about the same."""

    by: str
    what: str
    names: tuple[str, ...]
    """What it was about when the call was made first; no part of the wish, because by now it would be others."""

    def fingerprint(self) -> bytes:
        """Give what tells this command from another."""
        return fingerprint_of(replace(self, names=()))

    def apply(self, transaction: Transaction) -> list[str]:  # noqa: ARG002 - it changes nothing
        """Give the names: the recorded result is all that this leaves."""
        return list(self.names)


@final
@dataclass(frozen=True, slots=True)
class ReleaseStale:
    """Give back tasks at which nothing happened for long, whoever holds them."""

    by: str
    seconds: float
    session_id: str | None = None
    spared: tuple[str, ...] = ()
    """Tasks that are being worked on all the same."""

    def fingerprint(self) -> bytes:
        """Give what tells this command from another."""
        return fingerprint_of(self)

    def apply(self, transaction: Transaction) -> Released:
        """Give them back."""
        stale = stale_tasks(transaction.connection, transaction.now - self.seconds, self.session_id, self.spared)
        for task in stale:
            idle = (transaction.now - task.updated) / 3_600
            detail = f"released from {task.claimed_by}: nothing happened for {idle:.0f} hours"
            set_status(transaction, task, TaskStatus.PENDING, detail=detail)
        return {"task_ids": [task.id for task in stale]}


def stale_tasks(
    connection: sqlite3.Connection, before: float, session_id: str | None, spared: Collection[str]
) -> list[Task]:
    """Read the tasks in progress that were not changed since `before`, but those that a server itself works on."""
    rows = connection.execute(
        f"SELECT {TASK_COLUMNS} FROM task WHERE status='in_progress' AND children=0 AND updated <= ?"
        " AND (? IS NULL OR session_id = ?) ORDER BY seq",
        (before, session_id, session_id),
    ).fetchall()
    tasks = [task for task in map(task_of, rows) if task.id not in spared]
    return [task for task in tasks if not (task.claimed_by or "").partition("/")[2].startswith(_WORKED_ON)]


@final
@dataclass(frozen=True, slots=True)
class RemoveOrphans:
    """Remove the rows of artifacts whose session or task does not exist."""

    by: str

    def fingerprint(self) -> bytes:
        """Give what tells this command from another."""
        return fingerprint_of(self)

    def apply(self, transaction: Transaction) -> Removed:
        """Remove them; their files are strays from then on."""
        rows = orphaned_artifacts(transaction.connection)
        for identifier, _ in rows:
            transaction.execute("DELETE FROM artifact WHERE id=?", (identifier,))
        if rows:
            transaction.event("artifacts_removed", detail=f"{len(rows)} without an owner")
        return {"names": [name for name, _ in rows], "size": sum(size for _, size in rows)}


def orphaned_artifacts(connection: sqlite3.Connection) -> list[tuple[str, int]]:
    """Read ids and sizes of artifacts whose session or task does not exist."""
    return connection.execute(
        f"SELECT id, size FROM artifact WHERE session_id NOT IN (SELECT id FROM session) OR ({_ORPHANED}) ORDER BY seq"
    ).fetchall()


@final
@dataclass(frozen=True, slots=True)
class RemoveStrays:
    """Remove artifact files that no row names.

    The one command that touches files: inside its transaction no process can name one of them.
    """

    by: str
    directory: str
    names: tuple[str, ...]

    def fingerprint(self) -> bytes:
        """Give what tells this command from another."""
        return fingerprint_of(self)

    def apply(self, transaction: Transaction) -> Removed:
        """Remove those that still are left over; what was cut off before is brought back where a row names it."""
        directory = Path(self.directory)
        removed: Removed = {"names": [], "size": 0}
        try:
            restore_aside(transaction.connection, directory)
            for name in self.names:
                size = remove_stray(transaction.connection, directory, name, transaction.now)
                if size is not None:
                    removed["names"].append(name)
                    removed["size"] += size
        except OSError as error:
            # What is gone is gone, and was nobody's; the rest is found by the next look.
            transaction.event("strays_kept", detail=f"{error.strerror}: {error.filename}")
        if removed["names"]:
            transaction.event(
                "strays_removed", detail=f"{len(removed['names'])} artifact files of {removed['size']} bytes"
            )
        return removed
