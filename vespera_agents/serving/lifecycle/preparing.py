"""A shutdown that is prepared: nothing new begins, what is under way ends, and what holds it up is named.

It is remembered for the server and not for its process: a worker that takes over from one that crashed begins nothing
either. It ends with `undo`, with a requested restart, which somebody asks for who wants work done, and with the server.
What only reads, ends or gives back goes on meanwhile. Neighbours: `specialists.admission` keeps the door.
"""

from __future__ import annotations

import sqlite3
from typing import Final

import trio

from vespera_agents.serving.lifecycle.life import at_work
from vespera_agents.specialists.answers import Answer, iso
from vespera_agents.specialists.calls import Call
from vespera_agents.specialists.handing_over import forget, hand_over
from vespera_agents.specialists.orchestrator import Orchestrator
from vespera_agents.store import jobs as job_queries
from vespera_agents.store.commands import PrepareShutdown
from vespera_agents.work.models import TaskStatus

__all__ = ["Blocker", "Preparedness", "prepare"]

DRAIN_SECONDS: Final = 5.0
"""How long a call waits for what is under way; whoever wants to wait longer calls again."""
_LOOK_SECONDS: Final = 0.05

Blocker = tuple[str, str, str | None]
"""What holds a shutdown up, whose it is, and since when."""


class Preparedness(Answer):
    """Whether this server can be shut down."""

    ready: bool
    """Nothing is under way, and nothing begins."""
    prepared_since: str | None
    """None: new work begins as ever."""
    blockers: list[Blocker]
    next_action: str


async def prepare(orchestrator: Orchestrator, call: Call, *, undo: bool) -> Preparedness:
    """Begin nothing new from now on, wait a moment for what is under way, and say what still is; or undo that.

    Raises:
        StoreError: it could not be written down; nothing changed.
    """
    admission = orchestrator.runtime.admission
    opened = await orchestrator.home_workspace()
    prepared = await opened.store.execute(PrepareShutdown(call.by, opened.server, undo=undo), call.step())
    # Not what this call came to once: repeated after the death of a worker, it may have been followed by another.
    stands = await opened.store.read(_since, opened.server)
    if stands is None:
        admission.undo()
    else:
        admission.prepare(stands)
    if undo:
        for one in await orchestrator.lookup.open_ones() if stands is None else ():
            forget(one.workspace, one.server)
        return Preparedness(
            ready=False,
            prepared_since=None,
            blockers=[],
            next_action="New work begins again: ask orchestrator_get_status what is ready.",
        )
    since = prepared["since"]
    assert since is not None, "it was prepared just now, or before"
    with trio.move_on_after(DRAIN_SECONDS):
        while admission.waited_for() or at_work(orchestrator):
            with trio.move_on_after(_LOOK_SECONDS):
                await admission.until_left()
    for one in await orchestrator.lookup.open_ones():
        await hand_over(one)
    blockers = await _blockers(orchestrator)
    return Preparedness(
        ready=not blockers,
        prepared_since=iso(since),
        blockers=blockers,
        next_action=(
            "Finish them (orchestrator_complete_task) or give them back (orchestrator_update_task status=pending), "
            "then call again."
            if blockers
            else "End the server, call orchestrator_restart_server, or undo=true to go on."
        ),
    )


async def _blockers(orchestrator: Orchestrator) -> list[Blocker]:
    found: list[Blocker] = [
        (f"call {one.what}", one.by, iso(one.since)) for one in orchestrator.runtime.admission.waited_for()
    ]
    for opened in await orchestrator.lookup.open_ones():
        for task_id, title, holder, started in await opened.store.read(_held, opened.server):
            found.append((f"{task_id} {title}", holder, iso(started)))
        # What works on a task is told with the task.
        found += [
            (f"{job.kind} {job.id}", job.principal, iso(job.created))
            for job in await opened.store.read(job_queries.live_jobs)
            if job.server == opened.server and job.task_id is None
        ]
    return found


def _since(connection: sqlite3.Connection, server: str) -> float | None:
    """Say since when the shutdown of a server is prepared, None when it is not."""
    row = connection.execute("SELECT at FROM shutdown WHERE server=?", (server,)).fetchone()
    return None if row is None else float(row[0])


def _held(connection: sqlite3.Connection, server: str) -> list[tuple[str, str, str, float | None]]:
    """List the tasks that a server or a client of it works on, the oldest claim first."""
    return connection.execute(
        "SELECT id, title, claimed_by, started FROM task WHERE status=? AND (claimed_by=? OR claimed_by LIKE ? || '/%')"
        " ORDER BY started, seq",
        (TaskStatus.IN_PROGRESS, server, server),
    ).fetchall()
