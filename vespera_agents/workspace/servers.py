"""How the processes on one workspace know each other: a record and a lock for each.

A server is alive exactly as long as the kernel holds its lock, so a SIGKILL or a power cut needs no clean-up and a
reused process id cannot deceive anybody. Claims name the server that made them; a claim of a dead server is released.
Not a lease between machines: that comes with a store that more than one machine can reach.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import secrets
from collections.abc import Callable, Generator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, final

from vespera_agents.workspace.directory import Workspace
from vespera_agents.workspace.errors import WorkspaceError

__all__ = [
    "Fronted",
    "ServerRecord",
    "announce_server",
    "elder_server",
    "guardian_lock",
    "is_announced",
    "live_servers",
    "runtime_directory",
    "server_alive",
    "server_record",
    "session_lock",
]

_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
"""How a write fails where there is no room."""
_SOCKET_PATH_MAX: Final = 100
"""Bytes of a Unix socket's path that every platform takes (Linux ends at 107, macOS at 103)."""


@final
@dataclass(frozen=True, slots=True)
class ServerRecord:
    """One process that serves a workspace."""

    id: str
    """`srv_` and 12 hex digits: the name under which it claims tasks and keys its commands."""
    kind: str
    """`run` or `serve`."""
    pid: int
    socket: str
    """Where it answers questions about itself, a path."""
    schema: int = 0
    """The newest schema of the database that it knows; no server migrates it while one knows less."""


@final
@dataclass(frozen=True, slots=True)
class Fronted:
    """The name of a server whose processes follow one another while its front lives."""

    id: str
    keep_lock: Callable[[str, int], object]
    """Hears of a lock that was taken, by the path of its file and its descriptor: the front shall hold it, too."""
    is_gone: Callable[[], bool]
    """Says whether the front has ended; else the record stays for the next process."""


@contextlib.contextmanager
def announce_server(
    workspace: Workspace, kind: str, fronted: Fronted | None = None, *, schema: int = 0
) -> Generator[ServerRecord]:
    """Be a server of this workspace while the block lasts.

    Args:
        workspace: which.
        kind: `run` or `serve`.
        fronted: the name to be known by, where a front keeps it; else it is a new one.
        schema: the newest schema of the database that this server knows.

    Raises:
        WorkspaceError: the record cannot be written.
    """
    identifier = f"srv_{secrets.token_hex(6)}" if fronted is None else fronted.id
    record = ServerRecord(identifier, kind, os.getpid(), str(_socket_path(workspace, identifier)), schema)
    with contextlib.ExitStack() as stack:
        try:
            # Undone in reverse order: while there is a record its lock is held.
            stack.callback(_forget_lock, workspace, identifier)
            lock = stack.enter_context(_lock_path(workspace, identifier).open("w"))
            _hold(lock.fileno(), workspace, identifier, fronted)
            stack.callback(_leave, workspace, record, fronted)
            _write_record(workspace, record)
        except OSError as error:
            raise WorkspaceError(
                f"{error.filename or workspace.servers} cannot be written ({error.strerror}). "
                "Free some space or check the permissions."
            ) from error
        yield record


def is_announced(workspace: Workspace, record: ServerRecord) -> bool:
    """Say whether a record is still that of its server: another process may have taken its place behind a front."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        return ServerRecord(**json.loads(server_record(workspace, record.id).read_bytes())) == record
    return False


def server_alive(workspace: Workspace, identifier: str) -> bool:
    """Say whether the server of that id still runs, by asking the kernel for its lock."""
    return _locked(_lock_path(workspace, identifier))


def live_servers(workspace: Workspace) -> list[ServerRecord]:
    """List the servers that run on this workspace now, in the order of their ids."""
    records: list[ServerRecord] = []
    for path in sorted(workspace.servers.glob("srv_*.json")):
        if not server_alive(workspace, path.stem):
            continue
        # The record may vanish or be half-written while its server ends or begins: then it does not count.
        with contextlib.suppress(OSError, ValueError, TypeError):
            records.append(ServerRecord(**json.loads(path.read_text())))
    return records


def elder_server(workspace: Workspace, schema: int, ours: str | None = None) -> str | None:
    """Name a server of this workspace, other than ours, that knows only an older schema of the database."""
    for server in live_servers(workspace):
        if server.id != ours and server.schema < schema:
            return f"the server {server.id} (process {server.pid}, schema {server.schema})"
    return None


def guardian_lock(workspace: Workspace, identifier: str) -> Path:
    """Name the lock that a server's guardian holds until every command of that server is gone."""
    return workspace.servers / f"{identifier}.guardian"


@contextlib.contextmanager
def session_lock(workspace: Workspace, session_id: str) -> Generator[None]:
    """Be the only conductor of a session while the block lasts.

    Raises:
        WorkspaceError: another process conducts it.
    """
    path = workspace.servers / f"{session_id}.conductor"
    try:
        # Not through a link: what it leads to would be emptied.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise WorkspaceError(f"{path} cannot be written ({error.strerror}). Remove it.") from error
    with os.fdopen(descriptor, "a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            holder = lock.read().strip() or "unknown"
            raise WorkspaceError(
                f"the session is already being run by process {holder}. Wait for it to end, or use another --session."
            ) from error
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def _hold(lock: int, workspace: Workspace, identifier: str, fronted: Fronted | None) -> None:
    """Take a server's lock, unless its front has it from an earlier process of the same name."""
    if fronted is not None and server_record(workspace, identifier).exists():
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
    else:
        # The first process of a server tidies up after others; to a later one its client looks forward.
        _forget_dead(workspace)
        fcntl.flock(lock, fcntl.LOCK_EX)
    if fronted is not None:
        fronted.keep_lock(str(_lock_path(workspace, identifier)), lock)


def _write_record(workspace: Workspace, record: ServerRecord) -> None:
    """Replace the record whole: somebody may read the one of the process before."""
    path = server_record(workspace, record.id)
    new = path.with_suffix(f".{record.pid}")
    text = json.dumps(asdict(record))
    try:
        new.write_text(text)
        new.replace(path)
    except OSError as problem:
        _remove(new)
        if problem.errno not in _FULL or not path.exists():
            raise
        # Who takes over behind a front finds the record of the process before it: it takes no more room than that.
        with path.open("r+") as file:
            file.write(text)
            file.truncate()


def _leave(workspace: Workspace, record: ServerRecord, fronted: Fronted | None) -> None:
    """Be no server any more; behind a front that lives the next process goes on under the name."""
    if fronted is None or (fronted.is_gone() and is_announced(workspace, record)):
        _forget_guardian(guardian_lock(workspace, record.id))
        handed_over = workspace.servers / f"{record.id}.handover"
        for path in (server_record(workspace, record.id), Path(record.socket), handed_over):
            _remove(path)


def _forget_lock(workspace: Workspace, identifier: str) -> None:
    if not server_record(workspace, identifier).exists():
        _remove(_lock_path(workspace, identifier))


def _remove(path: Path) -> None:
    """Remove what an ended server leaves, if that can be written; who finds it sees that nobody holds its lock."""
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


def server_record(workspace: Workspace, identifier: str) -> Path:
    """Name the file that holds a server's record."""
    return workspace.servers / f"{identifier}.json"


def _lock_path(workspace: Workspace, identifier: str) -> Path:
    return workspace.servers / f"{identifier}.lock"


def _locked(path: Path) -> bool:
    try:
        # A shared lock is refused only while a server holds its own; two askers do not disturb each other.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)) as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _forget_dead(workspace: Workspace) -> None:
    for path in workspace.servers.glob("srv_*.json"):
        if server_alive(workspace, path.stem) or _locked(guardian_lock(workspace, path.stem)):
            continue
        # Not the path that the record names: a record is a file in somebody's directory and may name anything.
        _socket_path(workspace, path.stem).unlink(missing_ok=True)
        for suffix in (".handover", ".handover-new", ".lock", ".json"):
            path.with_suffix(suffix).unlink(missing_ok=True)
    for path in workspace.servers.glob("srv_*.guardian"):
        if not path.with_suffix(".json").exists():
            _forget_guardian(path)


def _forget_guardian(path: Path) -> None:
    """Remove a guardian's lock, unless it still ends the commands of its server: others must see that."""
    if not _locked(path):
        _remove(path)


def _socket_path(workspace: Workspace, identifier: str) -> Path:
    beside = workspace.servers / f"{identifier}.sock"
    if len(os.fsencode(beside)) <= _SOCKET_PATH_MAX:
        return beside
    return runtime_directory() / f"{identifier}.sock"


def runtime_directory() -> Path:
    """Give the directory for sockets of this user, made where it is missing: its name is short and it is private.

    Raises:
        WorkspaceError: it cannot be made, or is not private.
    """
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    base = Path(runtime) if runtime.startswith("/") else Path("/tmp")  # noqa: S108 - made private just below
    private = base / f"vespera-{os.getuid()}"
    try:
        private.mkdir(mode=0o700, exist_ok=True)
        status = private.lstat()
    except OSError as error:
        raise WorkspaceError(f"{private} cannot be made ({error.strerror}). Set XDG_RUNTIME_DIR.") from error
    if status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise WorkspaceError(f"{private} is not private to you. Remove it, or set XDG_RUNTIME_DIR.")
    return private
