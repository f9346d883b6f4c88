"""Looking after what is inside a workspace: what is left over, whether it holds together, what people read of it.

Four actions, each of which says what it found and what it changed; with dry_run it changes nothing. Neighbours:
`tools` is the tool, `cleaning` puts whole sessions away, `store.commands.upkeep` makes the changes.
"""

from __future__ import annotations

import hashlib
import re
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, cast, final

import trio

from vespera_agents.specialists.calls import Call
from vespera_agents.specialists.gathering import BRIEFING_NAME, HANDOVER_NAME, artifact_files, read_rows
from vespera_agents.specialists.sessions import OpenWorkspace
from vespera_agents.specialists.standing import blocked_tasks
from vespera_agents.specialists.synthesis import synthesize
from vespera_agents.specialists.upkeep.answers import Action, MaintenanceAnswer
from vespera_agents.specialists.upkeep.cleaning import shortened
from vespera_agents.specialists.upkeep.documents import replace_document
from vespera_agents.specialists.upkeep.handover import HandoverRows, write_handover
from vespera_agents.store import ArtifactFiles, queries
from vespera_agents.store.checks import CheckBudget, check_structure
from vespera_agents.store.commands import AddArtifacts, NewArtifact, ReleaseStale, RemoveOrphans, RemoveStrays
from vespera_agents.store.commands.upkeep import (
    EMPTY_SECONDS,
    Choose,
    orphaned_artifacts,
    reasons_of,
    stale_tasks,
    standings,
)
from vespera_agents.store.strays import Stray, find_strays
from vespera_agents.work.models import Artifact, ArtifactKind, Session, SessionStatus, Task

__all__ = ["Job", "maintain"]

STALE_SECONDS: Final = 24 * 3_600.0
"""A task in progress at which nothing happened for so long is stale."""
HASHED_SECONDS: Final = 60.0
"""How long a full validation reads artifacts."""
_ARTIFACTS_SHOWN: Final = 100
_DECISIONS_SHOWN: Final = 100
_SAFE_NAME: Final = re.compile(r"session_[0-9a-f]{12}")


@final
@dataclass(frozen=True, slots=True)
class Job:
    """What is to be done, where, and for whom."""

    call: Call
    opened: OpenWorkspace
    sessions: tuple[Session, ...]
    """Those that it is about."""
    session_id: str | None
    """The one that it is about, None for all."""
    full: bool
    """Whether a validation reads everything."""
    dry_run: bool


@final
@dataclass(slots=True)
class _Told:
    findings: list[str] = field(default_factory=list[str])
    changes: list[str] = field(default_factory=list[str])
    uris: list[str] = field(default_factory=list[str])


async def maintain(action: Action, job: Job) -> MaintenanceAnswer:
    """Carry out one action.

    Raises:
        StoreError: the database cannot be read or written.
        WorkspaceError: a document cannot be written.
    """
    told = _Told()
    if action == "scan_cleanup":
        await _scan_cleanup(job, told)
    elif action == "validate_structure":
        await _validate(job, told)
    elif action == "update_documentation":
        await _update_documentation(job, told)
    else:
        await _prepare_handover(job, told)
    return MaintenanceAnswer(
        action=action,
        dry_run=job.dry_run,
        findings=shortened(told.findings),
        changes=shortened(told.changes),
        uris=told.uris,
        next_action=_next_action(action, job, told),
    )


def _next_action(action: Action, job: Job, told: _Told) -> str:
    if job.dry_run and told.changes:
        return "Nothing was changed: call again with dry_run=false to do this."
    if action == "validate_structure" and told.findings:
        return "The database was not changed. Keep a copy of .vespera, then report these findings."
    if action == "prepare_handover" and told.uris:
        return f"Give {told.uris[0]} to whoever goes on, or read it with `vespera artifact`."
    return "There is nothing more to do."


async def _scan_cleanup(job: Job, told: _Told) -> None:
    """Find stale claims, orphans and files that nobody names; give back and remove what may go."""
    opened, store = job.opened, job.opened.store
    spared = opened.worked_on()
    now = time.time()
    if not job.dry_run:
        released = await opened.release_dead_claims()
        told.changes += [f"{task_id}: released, its holder is gone" for task_id in released]
    stale, orphaned, empty = await store.read(_look_over, now, job.session_id, spared)
    for task in stale:
        told.findings.append(
            f"{task.id} ({task.title}): in progress with {task.claimed_by}, untouched for "
            f"{(now - task.updated) / 3_600:.0f} hours"
        )
    told.findings += [f"artifact {name}: its task or session does not exist" for name, _ in orphaned]
    told.findings += [f"{name}: orphaned; orchestrator_cleanup_sessions puts it away" for name in empty]
    if job.dry_run:
        told.changes += [f"{task.id}: would be given back" for task in stale]
        told.changes += [f"artifact {name}: its row would be removed" for name, _ in orphaned]
    elif stale or orphaned:
        command = ReleaseStale(job.call.by, STALE_SECONDS, job.session_id, tuple(sorted(spared)))
        given_back = await store.execute(command, job.call.about("stale"))
        told.changes += [f"{task_id}: given back" for task_id in given_back["task_ids"]]
        if job.session_id is None:
            removed = await store.execute(RemoveOrphans(job.call.by), job.call.about("orphans"))
            told.changes += [f"artifact {name}: its row was removed" for name in removed["names"]]
    if job.session_id is None:
        await _remove_strays(job, told, now)


async def _remove_strays(job: Job, told: _Told, now: float) -> None:
    store = job.opened.store
    report = _reporter(job.call, "looking for artifact files that nobody names")
    directory = store.artifacts.directory
    strays: list[Stray] = await store.read(find_strays, directory, now, report)
    if not strays:
        return
    size = sum(stray.size for stray in strays)
    told.findings.append(f"{len(strays)} artifact files of {size} bytes are named by nobody")
    if job.dry_run:
        told.changes.append(f"{len(strays)} artifact files would be removed")
        return
    command = RemoveStrays(job.call.by, str(directory), tuple(stray.name for stray in strays))
    removed = await store.execute(command, job.call.about("strays"))
    told.changes.append(f"{len(removed['names'])} artifact files of {removed['size']} bytes were removed")


def _look_over(
    connection: sqlite3.Connection, now: float, session_id: str | None, spared: frozenset[str]
) -> tuple[list[Task], list[tuple[str, int]], list[str]]:
    stale = stale_tasks(connection, now - STALE_SECONDS, session_id, spared)
    empty = [
        f"{one.session_id} ({one.name})"
        for one in standings(connection, session_id)
        if one.open and "orphaned" in reasons_of(one, now, EMPTY_SECONDS, gone=not Path(one.directory).is_dir())
    ]
    return stale, orphaned_artifacts(connection) if session_id is None else [], empty


async def _validate(job: Job, told: _Told) -> None:
    """Check the rows, and that the files of artifacts are there and, in full, what they were."""
    store = job.opened.store
    job.call.report(0, None, "checking the database")
    for finding in await store.read(check_structure, CheckBudget(integrity=job.full)):
        row = f" {finding.row}" if finding.row else ""
        told.findings.append(f"{finding.check}{row}: {finding.message}")
    report = _reporter(job.call, "looking at the files of artifacts")
    told.findings += await store.read(_check_files, store.artifacts, job.session_id, job.full, report)


def _check_files(
    connection: sqlite3.Connection,
    files: ArtifactFiles,
    session_id: str | None,
    full: bool,
    report: Callable[[int, int], None],
) -> list[str]:
    rows = connection.execute(
        "SELECT DISTINCT sha256, size FROM artifact WHERE ? IS NULL OR session_id = ? ORDER BY sha256",
        (session_id, session_id),
    ).fetchall()
    found: list[str] = []
    deadline = time.monotonic() + HASHED_SECONDS
    for number, (sha256, size) in enumerate(rows, 1):
        path = files.path(sha256)
        try:
            there = path.stat().st_size
            if there != size:
                found.append(f"artifact_file {sha256}: it has {there} bytes, not {size}")
            elif full and time.monotonic() < deadline and _hash_of(path) != sha256:
                found.append(f"artifact_file {sha256}: its bytes are not what they were")
        except OSError as error:
            found.append(f"artifact_file {sha256}: it cannot be read ({error.strerror})")
        report(number, len(rows))
    if full and time.monotonic() >= deadline:
        found.append(f"not_checked: the contents of some artifact files, for want of time ({HASHED_SECONDS:.0f} s)")
    return found


def _hash_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


async def _update_documentation(job: Job, told: _Told) -> None:
    """Write how each session stands into `.vespera/reports/status-<session id>.md`, where that has changed."""
    for number, session in enumerate(job.sessions, 1):
        job.call.report(number, len(job.sessions), f"writing of {session.name}")
        if not _SAFE_NAME.fullmatch(session.id):
            told.findings.append(f"{session.id!r} is no id of ours: no document was written")
            continue
        rows = await job.opened.store.read(read_rows, session.id, None, session.name)
        text = synthesize(replace(rows, files=artifact_files(rows.artifacts))).text
        path = job.opened.workspace.reports / f"status-{session.id}.md"
        if await trio.to_thread.run_sync(_holds, path, text.encode()):
            told.findings.append(f"{path.name} is as it should be")
            continue
        if not job.dry_run:
            await trio.to_thread.run_sync(replace_document, path, text.encode())
        told.changes.append(f"{path} {'would be' if job.dry_run else 'was'} written")


def _holds(path: Path, data: bytes) -> bool:
    try:
        return path.is_file() and not path.is_symlink() and path.read_bytes() == data
    except OSError:
        return False


async def _prepare_handover(job: Job, told: _Told) -> None:
    """Write a hand-over of each session, and keep it as an artifact of the session."""
    store, sessions = job.opened.store, job.sessions
    if not job.dry_run:
        choice = Choose(job.call.by, "handover", tuple(session.id for session in sessions))
        chosen = await store.execute(choice, job.call.about("chosen"))
        everything = {one.id: one for one in await store.read(queries.sessions)}
        sessions = tuple(everything[name] for name in chosen if name in everything)
    for number, session in enumerate(sessions, 1):
        job.call.report(number, len(sessions), f"writing of {session.name}")
        rows = await store.read(_handover_rows, session)
        open_tasks = [task for task in rows.tasks if not task.is_container and task.finished is None]
        told.findings.append(
            f"{session.id} ({session.name}): {len(open_tasks)} open tasks, {len(rows.blocked)} blocked, "
            f"{len(rows.decisions)} decisions, {len(rows.artifacts)} artifacts"
        )
        name = f"{HANDOVER_NAME}{session.name}"
        if job.dry_run:
            told.changes.append(f"an artifact {name!r} would be made")
            continue
        key = job.call.about(f"handover/{session.id}")
        # The same call again made what it made then.
        recorded = await store.recorded(key)
        ids = cast("list[str]", recorded) if isinstance(recorded, list) else []
        if not ids:
            data = write_handover(rows).encode()
            sha256 = await store.artifacts.save(data)
            new = NewArtifact(ArtifactKind.DOCUMENTATION, name, "text/markdown", len(data), sha256)
            ids = await store.execute(AddArtifacts(job.call.by, session.id, None, (new,)), key)
        artifact = await store.read(queries.artifact, ids[0])
        told.changes.append(f"{artifact.id}: {name}")
        told.uris.append(f"vespera://artifact/{artifact.sha256}")


def _handover_rows(connection: sqlite3.Connection, session: Session) -> HandoverRows:
    tasks = queries.session_tasks(connection, session.id)
    dependencies = queries.dependencies_of(connection, [task.id for task in tasks])
    newest: dict[tuple[str | None, str], Artifact] = {}
    for one in queries.latest_artifacts(connection, session.id, _ARTIFACTS_SHOWN):
        if one.name != BRIEFING_NAME and not one.name.startswith(HANDOVER_NAME):
            newest.setdefault((one.task_id, one.name), one)
    return HandoverRows(
        session,
        tasks,
        dependencies,
        blocked_tasks(tasks, dependencies),
        list(newest.values()),
        queries.decisions(connection, session.id, _DECISIONS_SHOWN),
    )


def _reporter(call: Call, doing: str) -> Callable[[int, int], None]:
    """Pass on how far a thread is, a few times a second; made in the event loop."""
    token = trio.lowlevel.current_trio_token()
    last = [0.0]

    def report(done: int, total: int) -> None:
        now = time.monotonic()
        if now - last[0] >= 0.2 or done == total:  # noqa: PLR2004 - five times a second is enough for anybody
            last[0] = now
            trio.from_thread.run_sync(call.report, done, total, doing, trio_token=token)

    return report


def open_ones(sessions: list[Session]) -> tuple[Session, ...]:
    """Give the open sessions."""
    return tuple(one for one in sessions if one.status is SessionStatus.OPEN)
