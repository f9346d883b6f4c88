"""Putting sessions away, over every known workspace: which may go is decided by `store.commands.upkeep`.

A workspace that is not open is read as it lies there, and only one that has something to put away is opened, for that
moment. Neighbours: `tools` is the tool, `maintenance` looks after what is inside a workspace.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, final

import trio

from vespera_agents.specialists.calls import Call
from vespera_agents.specialists.runtime import Runtime
from vespera_agents.specialists.upkeep.answers import CleanupAnswer
from vespera_agents.store import Store, StoreError
from vespera_agents.store.commands import Cleaned, CleanSession
from vespera_agents.store.commands.upkeep import Reason, Standing, finished_roots, reasons_of, standings
from vespera_agents.store.visiting import visit
from vespera_agents.store.writer import connect
from vespera_agents.workspace import Workspace, WorkspaceError, open_workspace

__all__ = ["Wish", "clean"]

LINES_MAX: Final = 100
"""Sentences of each kind in an answer."""


@final
@dataclass(frozen=True, slots=True)
class Wish:
    """What shall be put away."""

    reasons: tuple[Reason, ...]
    older_seconds: float
    dry_run: bool
    session_id: str | None = None
    """Only this one."""


@final
@dataclass(slots=True)
class _Tally:
    """What came of it so far."""

    sessions: int = 0
    tasks: int = 0
    artifacts: int = 0
    changes: list[str] = field(default_factory=list[str])
    skipped: list[str] = field(default_factory=list[str])

    def count(self, standing: Standing, cleaned: Cleaned) -> None:
        self.sessions += cleaned["closed"]
        self.tasks += cleaned["tasks_archived"]
        self.artifacts += cleaned["artifacts_removed"]
        done = [
            *(["closed"] if cleaned["closed"] else []),
            *([f"{cleaned['tasks_archived']} tasks archived"] if cleaned["tasks_archived"] else []),
            *([f"{cleaned['artifacts_removed']} artifacts removed"] if cleaned["artifacts_removed"] else []),
        ]
        if done:
            left = f"; {standing.live} unfinished tasks stay" if standing.live else ""
            name = f"{standing.session_id} ({standing.name}) in {standing.directory}"
            self.changes.append(f"{name}: {', '.join(cleaned['reasons'])}: {', '.join(done)}{left}")


@final
@dataclass(frozen=True, slots=True)
class _Candidate:
    """A session that may be put away, as it was when we looked."""

    standing: Standing
    reasons: list[Reason]
    gone: bool
    archivable: int
    orphaned: int

    @property
    def changes_nothing(self) -> bool:
        return not (self.standing.open or self.archivable or self.orphaned)


async def clean(runtime: Runtime, call: Call, wish: Wish, directories: Sequence[Path]) -> CleanupAnswer:
    """Look at workspaces one after the other, and put away what may go."""
    tally = _Tally()
    for number, directory in enumerate(directories, 1):
        call.report(number - 1, len(directories), f"looking at {directory}")
        try:
            found, busy = await trio.to_thread.run_sync(_look, Workspace(directory), wish, time.time())
            tally.skipped += busy
            for candidate in found:
                if candidate.changes_nothing:
                    continue
                tally.count(candidate.standing, await _put_away(runtime, call, wish, directory, candidate))
        except (StoreError, WorkspaceError, sqlite3.Error, OSError, ValueError) as error:
            # ValueError: rows of another version.
            tally.skipped.append(f"{directory} cannot be read or changed: {error}")
    call.report(len(directories), len(directories), "done")
    return CleanupAnswer(
        dry_run=wish.dry_run,
        sessions=tally.sessions,
        tasks=tally.tasks,
        artifacts=tally.artifacts,
        changes=shortened(tally.changes),
        skipped=shortened(tally.skipped),
        next_action=_next_action(wish, tally),
    )


def _next_action(wish: Wish, tally: _Tally) -> str:
    if not tally.changes:
        return "There is nothing to put away."
    if wish.dry_run:
        return "Nothing was changed: call again with dry_run=false to do this."
    return "A closed session is opened again by orchestrator_initialize_session(session_id=...)."


def shortened(lines: Sequence[str]) -> list[str]:
    """Give the first of many lines, and how many more there are."""
    if len(lines) <= LINES_MAX:
        return list(lines)
    return [*lines[:LINES_MAX], f"and {len(lines) - LINES_MAX} more"]


def _look(workspace: Workspace, wish: Wish, now: float) -> tuple[list[_Candidate], list[str]]:
    """Read which sessions of a workspace may go, and which may not because somebody is at work there."""
    if not workspace.database.exists():
        return [], []
    found: list[_Candidate] = []
    busy: list[str] = []
    with contextlib.closing(connect(workspace.database, read_only=True)) as connection:
        for standing in standings(connection, wish.session_id):
            if standing.at_work:
                idle = now - standing.touched
                if wish.session_id is not None or ("old" in wish.reasons and idle >= wish.older_seconds):
                    busy.append(f"{standing.session_id} ({standing.name}): {standing.at_work} at work")
                continue
            gone = not Path(standing.directory).is_dir()
            reasons = reasons_of(standing, now, wish.older_seconds, gone=gone)
            wanted: list[Reason] = [reason for reason in reasons if reason in wish.reasons]
            if wanted:
                archivable = _archivable(connection, standing.session_id) if "old" in wanted else 0
                orphaned = connection.execute(
                    "SELECT count(*) FROM artifact WHERE session_id=? AND task_id IS NOT NULL"
                    " AND task_id NOT IN (SELECT id FROM task)",
                    (standing.session_id,),
                ).fetchone()[0]
                found.append(_Candidate(standing, wanted, gone, archivable, orphaned))
    return found, busy


def _archivable(connection: sqlite3.Connection, session_id: str) -> int:
    """Count the tasks that are no containers below finished tops and are not archived yet."""
    total = 0
    for root in finished_roots(connection, session_id):
        total += connection.execute(
            "WITH RECURSIVE below(id) AS (SELECT ? UNION ALL SELECT task.id FROM task JOIN below"
            " ON task.parent_id = below.id) SELECT count(*) FROM task JOIN below USING (id)"
            " WHERE children=0 AND status != 'archived'",
            (root.id,),
        ).fetchone()[0]
    return total


async def _put_away(runtime: Runtime, call: Call, wish: Wish, directory: Path, candidate: _Candidate) -> Cleaned:
    """Put one session away, or say what that would do."""
    standing = candidate.standing
    if wish.dry_run:
        return {
            "session_id": standing.session_id,
            "reasons": [*candidate.reasons],
            "closed": standing.open,
            "tasks_archived": candidate.archivable,
            "artifacts_removed": candidate.orphaned,
        }
    command = CleanSession(call.by, standing.session_id, wish.reasons, wish.older_seconds, candidate.gone)

    async def act(store: Store) -> Cleaned:
        return await store.execute(command, call.about(standing.session_id))

    opened = runtime.workspaces.get(directory)
    if opened is not None and opened.is_open:
        return await act(opened.store)
    return await visit(open_workspace(directory), act)
