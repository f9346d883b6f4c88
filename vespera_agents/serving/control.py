"""The private socket of a server: where `vespera tree` asks a running process about itself, and how it asks.

One JSON object on a line, answered by one JSON object on a line; `observe` by one each second, until its asker
goes. Only the owner of the server can connect. It answers questions and changes nothing. Not the way of MCP
clients (they come through the transports), not `/metrics` (which answers while the loop is blocked; this does not).
Neighbours: `workspace.servers` names the socket, `watching` answers who observes.
"""

from __future__ import annotations

import json
import socket
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final, cast, final

import trio

from supervisors import ChildSpec, ChildType, TreeNode
from vespera_agents.health.pages import health_document
from vespera_agents.health.subtree import health_of, model_of
from vespera_agents.serving.watching import observed, watch
from vespera_agents.specialists.runtime import Runtime
from vespera_agents.specialists.sessions import OpenWorkspace
from vespera_agents.workspace import (
    ServerNotFound,
    ServerRecord,
    Workspace,
    WorkspaceError,
    is_announced,
    live_servers,
)

__all__ = [
    "EXAMINATION_SECONDS",
    "METRICS",
    "OPEN_METRICS",
    "SCRAPE_SECONDS",
    "ControlSocket",
    "ask_server",
    "control_child",
    "control_spec",
    "read_line",
    "tree_of",
]

QUESTION_BYTES_MAX: Final = 4_096
QUESTION_SECONDS: Final = 10.0
"""How long a connection may be silent, and how long its peer may take to read an answer."""
CONNECTIONS_MAX: Final = 16
"""Askers at once; one more is told to try again."""
OBSERVERS_MAX: Final = 10
"""Those of them that may stay and watch: there is always room for who only asks."""
ANSWER_BYTES_MAX: Final = 64 * 1024 * 1024
"""A tree of a hundred thousand children and more."""
ANSWER_SECONDS: Final = 5.0
"""How long a server may take to answer before it counts as stuck."""
RECORD_SECONDS: Final = 1.0
"""How often the socket is compared with the server's record."""
_CHUNK_BYTES: Final = 64 * 1024
EXAMINATION_SECONDS: Final = 15.0
"""How long an examination of its health may take: a disk that hangs is given up on after ten."""
SCRAPE_SECONDS: Final = 10.0
"""How long metrics may take, the import of what writes them included: as long as Prometheus waits."""
METRICS: Final = "metrics"
OPEN_METRICS: Final = "openmetrics"
_QUESTIONS: Final = (
    'Ask {"ask": "tree"}, "health", "metrics", "openmetrics", "ping", "observe", "stacks", '
    '{"ask": "actor", "key": KEY} or {"ask": "session", "id": ID}, one JSON object on a line.'
)

Answer = dict[str, object]


@final
class ControlSocket:
    """What is known of a listening control socket."""

    def __init__(self, opened: OpenWorkspace) -> None:
        self._opened = opened

    def tree_detail(self) -> dict[str, str | int | float]:
        """Say what the tree shows of it."""
        return {"socket": self._opened.record.socket}


# ---- the server's side


def control_spec(runtime: Runtime, opened: OpenWorkspace) -> ChildSpec:
    """Give the spec of a workspace's control socket, for a supervisor such as `runtime.doors`."""
    return ChildSpec(f"control of {opened.workspace.directory}", control_child, args=(runtime, opened))


async def control_child(
    runtime: Runtime, opened: OpenWorkspace, *, task_status: trio.TaskStatus[ControlSocket]
) -> None:
    """Answer questions on the socket of a server's record until cancelled: a child for a supervisor.

    Raises:
        OSError: the socket cannot be made.
    """
    places, observers = trio.Semaphore(CONNECTIONS_MAX), trio.Semaphore(OBSERVERS_MAX)
    record = opened.record
    listener = _listen(record)
    task_status.started(ControlSocket(opened))
    while True:
        serve = partial(_serve_peer, runtime, record, places, observers)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(partial(trio.serve_listeners, serve, [listener]))
                await _replaced(opened, record)
                nursery.cancel_scope.cancel(reason="the server has another record")
        finally:
            front = opened.front
            # Behind a front another worker may listen there by now.
            if front is None or (front.is_gone() and is_announced(opened.workspace, record)):
                _remove(record)
        record = opened.record
        listener = _listen(record)


async def _replaced(opened: OpenWorkspace, record: ServerRecord) -> None:
    """Wait until the workspace, started again by its supervisor, is another server; only its record says so."""
    while True:
        await trio.sleep(RECORD_SECONDS)
        if opened.record is not record:
            return


def _remove(record: ServerRecord) -> None:
    Path(record.socket).unlink(missing_ok=True)


def _listen(record: ServerRecord) -> trio.SocketListener:
    path = Path(record.socket)
    _remove(record)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        bound.bind(record.socket)
        # Nobody can connect before listen(), so there is no moment at which others could.
        path.chmod(0o600)
        bound.listen(CONNECTIONS_MAX)
    except OSError:
        bound.close()
        raise
    return trio.SocketListener(trio.socket.from_stdlib_socket(bound))


async def _serve_peer(
    runtime: Runtime,
    record: ServerRecord,
    places: trio.Semaphore,
    observers: trio.Semaphore,
    stream: trio.SocketStream,
) -> None:
    """Answer one connection's questions; whatever its peer does ends this connection alone."""
    async with stream:
        try:
            places.acquire_nowait()
        except trio.WouldBlock:
            with suppress(trio.BrokenResourceError, trio.TooSlowError):
                await _send(stream, {"error": f"{CONNECTIONS_MAX} others are asking already. Try again."})
            return
        try:
            with suppress(trio.BrokenResourceError, trio.TooSlowError):
                await _converse(runtime, record, observers, stream)
        finally:
            places.release()


async def _converse(
    runtime: Runtime, record: ServerRecord, observers: trio.Semaphore, stream: trio.SocketStream
) -> None:
    buffer = bytearray()
    while True:
        try:
            with trio.fail_after(QUESTION_SECONDS):
                line = await read_line(stream, buffer, QUESTION_BYTES_MAX)
        except ValueError as error:
            await _send(stream, {"error": f"{error}. {_QUESTIONS}"})
            return
        if line is None:
            return
        try:
            request = _object(line)
        except ValueError as error:
            await _send(stream, {"error": f"{error}. {_QUESTIONS}"})
            continue
        if request.get("ask") == "observe":
            await _observe(runtime, request, observers, stream)
            return
        answer = await observed(runtime, request)
        if answer is None:
            await _send(stream, await _answer(runtime, record, request))
        else:
            await _send_line(stream, answer)


async def _send(stream: trio.SocketStream, answer: Answer) -> None:
    await _send_line(stream, json.dumps(answer).encode())


async def _send_line(stream: trio.SocketStream, line: bytes) -> None:
    with trio.fail_after(QUESTION_SECONDS):
        await stream.send_all(line + b"\n")


async def _answer(runtime: Runtime, record: ServerRecord, request: Answer) -> Answer:
    match request.get("ask"):
        case "tree":
            return {"tree": runtime.root.snapshot().to_dict()}
        case "health":
            model = model_of(runtime)
            return {"health": health_document(model, await model.examine())}
        case "metrics" | "openmetrics" as wanted:
            return await _metrics(runtime, "application/openmetrics-text" if wanted == OPEN_METRICS else "")
        case "ping":
            return {"pong": {"id": record.id, "kind": record.kind, "pid": record.pid}}
        case "actor" | "stacks" | "session" as asked:
            return {"error": f"there is no such {asked} here."}
        case unknown:
            return {"error": f"there is no question {str(unknown)[:80]!r}. {_QUESTIONS}"}


async def _observe(runtime: Runtime, request: Answer, observers: trio.Semaphore, stream: trio.SocketStream) -> None:
    """Let the peer watch until it has gone or does not read."""
    try:
        observers.acquire_nowait()
    except trio.WouldBlock:
        await _send(stream, {"error": f"{OBSERVERS_MAX} others watch already. Close one of them, and try again."})
        return
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_until_gone, stream, nursery.cancel_scope)
            with suppress(trio.BrokenResourceError, trio.TooSlowError):
                await watch(runtime, request, partial(_send_line, stream))
            nursery.cancel_scope.cancel(reason="there is no more to tell")
    finally:
        observers.release()


async def _until_gone(stream: trio.SocketStream, scope: trio.CancelScope) -> None:
    """End when the peer does; what it still says is not for us."""
    with suppress(trio.BrokenResourceError):
        while await stream.receive_some(QUESTION_BYTES_MAX):
            pass
    scope.cancel(reason="the viewer has gone")


async def _metrics(runtime: Runtime, accept: str) -> Answer:
    health = health_of(runtime)
    if health is None or health.measured is None:
        return {"error": "this server measures nothing: only a `vespera serve` does"}
    # In a thread: what only the loop knows is asked of it.
    found = await trio.to_thread.run_sync(health.measured.scrape, accept)
    return {"metrics": found.body.decode(), "content_type": found.content_type}


# ---- the asker's side


async def ask_server(
    workspace: Workspace, question: str, server_id: str | None = None, answer_seconds: float | None = None
) -> Answer:
    """Ask a running server of a workspace: the first one that answers, or the one that is named.

    Args:
        workspace: whose server to ask.
        question: `tree`, `health`, METRICS, OPEN_METRICS or `ping`.
        server_id: which of its servers.
        answer_seconds: how long it may take; `ANSWER_SECONDS` unless given.

    Raises:
        ServerNotFound: none runs there.
        WorkspaceError: those that run do not answer.
    """
    seconds = ANSWER_SECONDS if answer_seconds is None else answer_seconds
    live = await trio.to_thread.run_sync(live_servers, workspace)
    servers = [server for server in live if server_id in {None, server.id}]
    if not servers:
        which = "no server runs" if server_id is None else f"no server {server_id} runs"
        raise ServerNotFound(f"{which} on {workspace.directory}: start one with `vespera serve` or `vespera run`")
    problems: list[str] = []
    for server in servers:
        try:
            with trio.fail_after(seconds):
                return await _ask(server, question)
        except trio.TooSlowError:
            problems.append(f"{server.id} (process {server.pid}): no answer within {seconds:g} s")
        except (OSError, ValueError, trio.BrokenResourceError) as error:
            problems.append(f"{server.id} (process {server.pid}): {error}")
    raise WorkspaceError(
        f"no server on {workspace.directory} answers: {'; '.join(problems)}. "
        "Try again; a server that stays silent is stuck or ends just now."
    )


async def _ask(server: ServerRecord, question: str) -> Answer:
    async with await trio.open_unix_socket(server.socket) as stream:
        await stream.send_all(json.dumps({"ask": question}).encode() + b"\n")
        line = await read_line(stream, bytearray(), ANSWER_BYTES_MAX)
    if line is None:
        raise ValueError("it closed the connection without an answer")
    return _object(line)


def tree_of(node: object) -> TreeNode:
    """Read what `TreeNode.to_dict` wrote: the value of `tree` in a server's answer.

    Raises:
        WorkspaceError: it is no tree, for example because the server is of another version.
    """
    try:
        return _node(node)
    except (KeyError, TypeError, ValueError) as error:
        raise WorkspaceError(
            f"the server's answer is not a tree ({type(error).__name__}: {error}). "
            "It may run another version: restart it."
        ) from error


def _node(node: object) -> TreeNode:
    if not isinstance(node, dict):
        raise TypeError(f"an object was expected, not {str(node)[:80]!r}")
    fields = cast("dict[str, object]", node)
    detail, children = fields["detail"], fields["children"]
    if not isinstance(detail, dict) or not isinstance(children, list):
        raise TypeError("`detail` is an object and `children` is a list")
    return TreeNode(
        id=str(fields["id"]),
        type=ChildType(str(fields["type"])),
        state=str(fields["state"]),
        restarts=int(str(fields["restarts"])),
        incarnation=int(str(fields["incarnation"])),
        lived_seconds=float(str(fields["lived_seconds"])),
        detail={
            key: value if isinstance(value, int | float) else str(value)
            for key, value in cast("dict[str, object]", detail).items()
        },
        children=tuple(_node(child) for child in cast("list[object]", children)),
    )


# ---- both sides


async def read_line(stream: trio.SocketStream, buffer: bytearray, bytes_max: int) -> bytes | None:
    """Take the next line out of a stream; None at its end. `buffer` keeps what came after the line.

    Raises:
        ValueError: the line is longer than `bytes_max`.
    """
    seen = 0
    while (end := buffer.find(b"\n", seen)) < 0 and len(buffer) <= bytes_max:
        seen = len(buffer)
        chunk = await stream.receive_some(_CHUNK_BYTES)
        if not chunk:
            return None
        buffer += chunk
    if not 0 <= end <= bytes_max:
        raise ValueError(f"a line takes at most {bytes_max} bytes")
    line = bytes(buffer[:end])
    del buffer[: end + 1]
    return line


def _object(line: bytes) -> Answer:
    """Read a line as a JSON object.

    Raises:
        ValueError: it is something else.
    """
    try:
        found = cast("object", json.loads(line))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{line[:80]!r} is not JSON") from error
    if isinstance(found, dict):
        return cast("Answer", found)
    raise ValueError(f"{line[:80]!r} is not a JSON object")
