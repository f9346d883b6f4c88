"""Looking at a workspace without touching it: how its work stands, who serves it, what a task has left.

Status and artifacts are read straight from the database, read-only and without becoming one of its servers; a tree is
asked of a running server. Neighbours: `store.queries` reads, `serving.control` asks.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import sys
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import click
import trio

from supervisors import TreeNode, render_tree
from vespera_agents.cli.outcomes import EXIT_DONE
from vespera_agents.cli.wording import counted, one_line
from vespera_agents.serving.control import ask_server, tree_of
from vespera_agents.specialists.answers import SessionLine, StatusAnswer
from vespera_agents.specialists.gathering import read_standing
from vespera_agents.specialists.session_tools import read_sessions, status_answer
from vespera_agents.store import ArtifactFiles, queries
from vespera_agents.store.errors import StoreUnavailable
from vespera_agents.store.writer import connect
from vespera_agents.work.errors import InvalidInput, NotFound
from vespera_agents.work.models import Session, SessionStatus, Task, TaskStatus
from vespera_agents.work.plain import printable
from vespera_agents.workspace import (
    ServerNotFound,
    ServerRecord,
    Workspace,
    WorkspaceError,
    leader_of,
    live_servers,
    open_workspace,
)

__all__ = ["choose_session", "reading", "show_artifact", "show_status", "show_tree", "tree_text"]

_TOLD_ELSEWHERE: Final = {"next_action", "servers"}
_SHOWN: Final = 20
"""Tasks of a kind, and sessions, that are listed for people."""
_NAME_MAX: Final = 200
"""Letters of a name in a tree: all lines become as long as the longest."""


def show_status(directory: Path, reference: str | None, *, as_json: bool) -> int:
    """Print how the work in a workspace stands; give the exit status.

    Args:
        directory: the workspace.
        reference: the id or name of a session; the newest open one unless given, else the newest.
        as_json: print one JSON document.

    Raises:
        WorkspaceError: the directory cannot be a workspace.
        NotFound: there is no such session.
        StoreError: the database cannot be read.
    """
    workspace = open_workspace(directory, make=False)
    servers = live_servers(workspace)
    leader = leader_of(workspace)
    answer: StatusAnswer | None = None
    tasks: list[Task] = []
    lines: list[SessionLine] = []
    if workspace.database.exists():
        with reading(workspace) as connection:
            found = queries.sessions(connection)
            session = choose_session(found, reference)
            if session is not None:
                tasks = queries.session_tasks(connection, session.id)
                standing = read_standing(connection, session.id, len(tasks))
                answer = status_answer(session, standing, now=time.time(), limit=len(tasks))
        lines = [line for _, line in read_sessions(workspace)]
    elif reference is not None:
        raise NotFound(f"there is no session in {workspace.directory} yet", "Run a plan: `vespera run PLAN`.")
    if as_json:
        document = {
            "workspace": str(workspace.directory),
            "servers": [_server(server) | {"leads": server.id == leader} for server in servers],
            "sessions": [line.model_dump(mode="json") for line in lines],
            "status": answer.model_dump(mode="json", exclude=_TOLD_ELSEWHERE) if answer is not None else None,
        }
        click.echo(json.dumps(document, ensure_ascii=False, indent=2))
    else:
        click.echo("\n".join(_status_lines(workspace, _serving(servers, leader), lines, answer, tasks)))
    return EXIT_DONE


def show_tree(directory: Path, *, as_json: bool) -> int:
    """Print the supervision tree of every server that runs on a workspace; give the exit status.

    Raises:
        ServerNotFound: none runs.
        WorkspaceError: the directory cannot be a workspace, or a server does not answer.
    """
    workspace = open_workspace(directory, make=False)
    servers = live_servers(workspace)
    if not servers:
        raise ServerNotFound(
            f"no server runs on {workspace.directory}. Start one with `vespera serve`, or look while a `vespera run` "
            "goes on."
        )
    trees = [(server, trio.run(ask_server, workspace, "tree", server.id)["tree"]) for server in servers]
    if as_json:
        document = [_server(server) | {"tree": tree_of(tree).to_dict()} for server, tree in trees]
        click.echo(json.dumps({"workspace": str(workspace.directory), "servers": document}, indent=2))
        return EXIT_DONE
    for number, (server, tree) in enumerate(trees):
        if number:
            click.echo()
        click.echo(f"{server.kind} {server.id} (process {server.pid})")
        click.echo(tree_text(tree_of(tree)))
    return EXIT_DONE


def tree_text(tree: TreeNode) -> str:
    """Draw a tree with one line for each node, whatever names and facts hold."""
    return render_tree(_on_a_line(tree))


def _on_a_line(node: TreeNode) -> TreeNode:
    facts = {one_line(key): one_line(value) if isinstance(value, str) else value for key, value in node.detail.items()}
    name = one_line(node.id)
    return replace(
        node,
        id=name if len(name) <= _NAME_MAX else f"{name[:_NAME_MAX]}…",
        state=one_line(node.state),
        detail=facts,
        children=tuple(map(_on_a_line, node.children)),
    )


def show_artifact(directory: Path, reference: str, output: Path | None) -> int:
    """Write the bytes of an artifact to a file or to standard output; give the exit status.

    Raises:
        NotFound: there is no such artifact.
        InvalidInput: it is binary, and standard output is a terminal.
        ArtifactMissing: its file is gone or damaged.
        WorkspaceError: the directory cannot be a workspace, or the output cannot be written.
    """
    workspace = open_workspace(directory, make=False)
    if not workspace.database.exists():
        raise NotFound(f"there is no artifact in {workspace.directory} yet", "Run a plan: `vespera run PLAN`.")
    with reading(workspace) as connection:
        artifact = queries.artifact(connection, reference)
    data = trio.run(ArtifactFiles(workspace.artifacts).read, artifact.sha256)
    if output is not None:
        try:
            output.write_bytes(data)
        except OSError as error:
            raise WorkspaceError(
                f"{output} cannot be written ({error.strerror}). Name a file in a directory that exists."
            ) from error
        return EXIT_DONE
    if sys.stdout.isatty():
        click.echo(_for_terminal(data, artifact.name), nl=False)
    else:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    return EXIT_DONE


@contextlib.contextmanager
def reading(workspace: Workspace) -> Generator[sqlite3.Connection]:
    """Read the database in one transaction, so that several queries see one state."""
    try:
        with contextlib.closing(connect(workspace.database, read_only=True)) as connection:
            connection.execute("BEGIN")
            yield connection
    except sqlite3.Error as error:
        raise StoreUnavailable.because(error) from error


def choose_session(sessions: Sequence[Session], reference: str | None) -> Session | None:
    """Find the session that is meant; they come the newest first."""
    if reference is not None:
        for session in sessions:
            if reference in {session.id, session.name}:
                return session
        known = ", ".join(f"{session.name} ({session.id})" for session in sessions[:5]) or "none yet"
        raise NotFound(f"there is no session {reference!r} in this workspace", f"These are: {known}.")
    return next((one for one in sessions if one.status is SessionStatus.OPEN), sessions[0] if sessions else None)


def _server(server: ServerRecord) -> dict[str, object]:
    return {"id": server.id, "kind": server.kind, "pid": server.pid}


def _serving(servers: Sequence[ServerRecord], leader: str | None) -> str:
    leads = {server.id: ", leads" if server.id == leader and len(servers) > 1 else "" for server in servers}
    return ", ".join(f"vespera {one.kind} (process {one.pid}{leads[one.id]})" for one in servers) or "nobody now"


def _status_lines(
    workspace: Workspace,
    serving: str,
    sessions: Sequence[SessionLine],
    answer: StatusAnswer | None,
    tasks: Sequence[Task],
) -> Iterator[str]:
    yield f"Workspace {one_line(str(workspace.directory))}"
    yield f"Served by {serving}"
    if answer is None:
        yield "No session yet. Run a plan: vespera run PLAN"
        return
    session = answer.session
    yield ""
    yield f"Session {one_line(session.name)} ({session.id}), {session.status}: {counted(session.counts)}"
    blame = {task.id: ", ".join(task.blocked_by) for task in answer.blocked}
    waiting = [task for task in tasks if task.ready]
    groups = (
        ("in progress", [(task, f"by {task.claimed_by}") for task in tasks if _is(task, TaskStatus.IN_PROGRESS)]),
        ("failed", [(task, task.status_reason or "") for task in tasks if _is(task, TaskStatus.FAILED)]),
        ("in review", [(task, task.status_reason or "") for task in tasks if _is(task, TaskStatus.REVIEW)]),
        ("blocked", [(task, f"by {blame[task.id]}") for task in tasks if task.id in blame]),
        ("ready", [(task, "waits for a client" if task.run is None else "") for task in waiting]),
    )
    for word, members in groups:
        for task, why in members[:_SHOWN]:
            yield f"  {word:<12} {task.id}  {one_line(task.title)}" + (f": {one_line(why)}" if why else "")
        if len(members) > _SHOWN:
            yield f"  {word:<12} and {len(members) - _SHOWN} more"
    others = [line for line in sessions if line.id != session.id]
    if others:
        yield from ("", "Other sessions")
        for line in others[:_SHOWN]:
            yield f"  {line.id}  {line.status:<6}  {one_line(line.name)}: {counted(line.counts)}"
        if len(others) > _SHOWN:
            yield f"  and {len(others) - _SHOWN} more"


def _is(task: Task, status: TaskStatus) -> bool:
    return not task.is_container and task.status is status


def _for_terminal(data: bytes, name: str) -> str:
    try:
        if b"\0" not in data:
            return printable(data.decode())
    except UnicodeDecodeError:
        pass
    raise InvalidInput(f"{name} is binary and would garble the terminal", "Write it to a file with --output FILE.")
