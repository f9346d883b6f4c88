"""The private socket of a server: who may ask, what is answered, and what a rude asker can do."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import trio

from supervisors import ChildSpec, Supervisor, TreeNode, render_tree
from vespera_agents.serving import control as module
from vespera_agents.serving.control import ask_server, control_child, control_spec, tree_of
from vespera_agents.specialists.runtime import Runtime, open_runtime
from vespera_agents.specialists.sessions import OpenWorkspace
from vespera_agents.workspace import (
    Registry,
    ServerNotFound,
    Workspace,
    WorkspaceError,
    announce_server,
    open_workspace,
)


@asynccontextmanager
async def serving(place: Path, kind: str = "serve") -> AsyncGenerator[tuple[Runtime, OpenWorkspace]]:
    directory = place / "project"
    directory.mkdir(exist_ok=True)
    async with open_runtime(kind, registry=Registry(place / "state")) as runtime:
        opened = await runtime.workspace(directory)
        await runtime.doors.start_child(control_spec(runtime, opened))
        yield runtime, opened


async def say(stream: trio.SocketStream, text: bytes) -> dict[str, object]:
    await stream.send_all(text)
    received = b""
    while not received.endswith(b"\n"):
        chunk = await stream.receive_some()
        assert chunk, "the connection was closed without an answer"
        received += chunk
    return json.loads(received)


async def pong_at_last(workspace: Workspace) -> object:
    while True:
        try:
            return (await ask_server(workspace, "ping"))["pong"]
        except WorkspaceError:
            await trio.sleep(0.01)


def shape(node: TreeNode) -> tuple[object, ...]:
    return (node.id, node.type, node.state, node.restarts, node.incarnation, *map(shape, node.children))


async def test_a_server_tells_its_tree_and_who_it_is(tmp_path: Path) -> None:
    async with serving(tmp_path) as (runtime, opened):
        await opened.session("session_0123456789ab")
        answer = await ask_server(opened.workspace, "tree")
        tree = tree_of(answer["tree"])
        assert shape(tree) == shape(runtime.root.snapshot())
        text = render_tree(tree)
        assert "session_0123456789ab" in text
        assert f"socket={opened.record.socket}" in text
        pong = {"id": opened.record.id, "kind": "serve", "pid": os.getpid()}
        assert await ask_server(opened.workspace, "ping") == {"pong": pong}
        # Nobody keeps the health of this runtime: it is measured for whoever asks.
        health = (await ask_server(opened.workspace, "health"))["health"]
        assert isinstance(health, dict)
        assert health["grade"] in {"healthy", "degraded", "unhealthy"}
        assert (health["recoveries"], health["at"] > 0) == ([], True)


async def test_only_the_owner_can_connect_and_the_file_goes_with_the_child(tmp_path: Path) -> None:
    async with serving(tmp_path) as (runtime, opened):
        path = trio.Path(opened.record.socket)
        status = await path.stat()
        assert stat.S_ISSOCK(status.st_mode)
        assert stat.S_IMODE(status.st_mode) == 0o600
        await runtime.doors.terminate_child(control_spec(runtime, opened).id)
        assert not await path.exists()


@pytest.mark.parametrize(
    "question",
    [b"nonsense", b"", b"[]", b'"tree"', b"{}", b'{"ask": "stop"}', b'{"ask": ["tree"]}', b"\xff\xfe", b"[" * 4_000],
)
async def test_anything_else_is_answered_with_what_can_be_asked_and_the_next_question_is_served(
    tmp_path: Path, question: bytes
) -> None:
    async with serving(tmp_path) as (_, opened), await trio.open_unix_socket(opened.record.socket) as stream:
        answer = await say(stream, question + b"\n")
        assert list(answer) == ["error"]
        assert '{"ask": "tree"}' in str(answer["error"])
        assert "pong" in await say(stream, b'{"ask": "ping"}\n')


async def test_a_question_has_a_bounded_length(tmp_path: Path) -> None:
    async with serving(tmp_path) as (_, opened):
        for text in (b"x" * 4_097, b"x" * 4_097 + b"\n"):
            async with await trio.open_unix_socket(opened.record.socket) as stream:
                answer = await say(stream, text)
                assert "at most 4096 bytes" in str(answer["error"])
                assert await stream.receive_some() == b"", "it was closed"
        async with await trio.open_unix_socket(opened.record.socket) as flood:
            with pytest.raises(trio.BrokenResourceError):
                await flood.send_all(b"x" * 10_000_000)
        assert "pong" in await ask_server(opened.workspace, "ping")


async def test_an_asker_that_falls_silent_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUESTION_SECONDS", 0.05)
    async with serving(tmp_path) as (_, opened), await trio.open_unix_socket(opened.record.socket) as stream:
        await stream.send_all(b'{"ask": ')
        with trio.fail_after(10):
            assert await stream.receive_some() == b""


async def test_more_askers_than_there_are_places_are_told_to_try_again(tmp_path: Path) -> None:
    async with serving(tmp_path) as (_, opened), AsyncExitStack() as stack:
        for _ in range(module.CONNECTIONS_MAX):
            stream = await stack.enter_async_context(await trio.open_unix_socket(opened.record.socket))
            await say(stream, b'{"ask": "ping"}\n')
        assert "Try again" in str((await ask_server(opened.workspace, "ping"))["error"])
        await stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert "pong" in await ask_server(opened.workspace, "ping")


async def test_an_asker_that_goes_away_harms_nobody(tmp_path: Path) -> None:
    async with serving(tmp_path) as (runtime, opened):
        for text in (b"", b'{"ask": "tree"}\n' * 50):
            stream = await trio.open_unix_socket(opened.record.socket)
            await stream.send_all(text)
            await stream.aclose()
        assert "pong" in await ask_server(opened.workspace, "ping")
        assert {child.restarts for child in runtime.doors.tree_children()} == {0}


async def test_without_a_server_the_error_says_how_to_start_one(tmp_path: Path) -> None:
    workspace = open_workspace(tmp_path)
    with pytest.raises(ServerNotFound) as caught:
        await ask_server(workspace, "tree")
    assert str(caught.value) == f"no server runs on {tmp_path}: start one with `vespera serve` or `vespera run`"


async def test_the_server_that_is_named_is_asked_and_no_other(tmp_path: Path) -> None:
    async with serving(tmp_path) as (_, first), serving(tmp_path, "run") as (_, second):
        for opened in (first, second):
            answer = await ask_server(opened.workspace, "ping", opened.record.id)
            assert answer["pong"] == {"id": opened.record.id, "kind": opened.record.kind, "pid": os.getpid()}
        with pytest.raises(ServerNotFound, match="no server srv_x runs on"):
            await ask_server(first.workspace, "ping", "srv_x")


async def test_a_server_without_a_socket_is_passed_over_for_one_that_answers(tmp_path: Path) -> None:
    workspace = open_workspace(tmp_path)
    with announce_server(workspace, "run") as silent:
        with pytest.raises(WorkspaceError, match=rf"no server on .* answers: {silent.id} \(process {os.getpid()}\)"):
            await ask_server(workspace, "tree")
        async with open_runtime("serve", registry=Registry(tmp_path / "state")) as runtime:
            opened = await runtime.workspace(tmp_path)
            await runtime.doors.start_child(control_spec(runtime, opened))
            assert "pong" in await ask_server(workspace, "ping")


@pytest.mark.parametrize(
    ("reply", "problem"),
    [(None, "no answer within 0.05 s"), (b"", "without an answer"), (b"[1]\n", "not a JSON object"), (b"x\n", "JSON")],
)
async def test_a_server_that_is_stuck_or_talks_nonsense_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reply: bytes | None, problem: str
) -> None:
    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            if reply is None:
                await trio.sleep_forever()
            await stream.send_all(reply or b"")

    if reply is None:
        monkeypatch.setattr(module, "ANSWER_SECONDS", 0.05)
    workspace = open_workspace(tmp_path)
    with announce_server(workspace, "serve") as record:
        listener = module._listen(record)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, serve, [listener])
            with pytest.raises(WorkspaceError, match=problem):
                await ask_server(workspace, "tree")
            nursery.cancel_scope.cancel()


async def test_a_workspace_that_was_started_again_is_asked_on_its_new_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RECORD_SECONDS", 0.01)
    async with serving(tmp_path) as (runtime, opened):
        before = opened.record
        workspaces = runtime.root.child_value("workspaces")
        assert isinstance(workspaces, Supervisor)
        await workspaces.terminate_child(str(opened.workspace.directory))
        with pytest.raises(ServerNotFound):
            await ask_server(opened.workspace, "ping")
        assert await runtime.workspace(opened.workspace.directory) is opened
        assert opened.record.id != before.id
        with trio.fail_after(10):
            pong = await pong_at_last(opened.workspace)
        assert pong == {"id": opened.record.id, "kind": "serve", "pid": os.getpid()}


async def test_a_socket_that_cannot_be_made_is_an_error_of_the_start(tmp_path: Path) -> None:
    async with open_runtime("serve", registry=Registry(tmp_path / "state")) as runtime:
        opened = await runtime.workspace(tmp_path)
        path = trio.Path(opened.record.socket)
        await path.mkdir()
        try:
            with pytest.raises(Exception, match="failed to start"):
                await runtime.doors.start_child(ChildSpec("control", control_child, args=(runtime, opened)))
        finally:
            await path.rmdir()


async def test_a_path_that_is_too_long_leaves_no_socket_open(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    workspace.make()
    with announce_server(workspace, "serve") as record:
        long = type(record)(record.id, record.kind, record.pid, str(tmp_path / ("x" * 200)))
        with pytest.raises(OSError, match="too long"):
            module._listen(long)


@pytest.mark.parametrize("node", [None, [], "tree", {}, {"id": "a"}], ids=repr)
def test_what_is_no_tree_is_refused(node: object) -> None:
    with pytest.raises(WorkspaceError, match="is not a tree"):
        tree_of(node)


def test_fields_of_a_wrong_kind_are_refused_and_right_ones_are_read_back() -> None:
    good = {
        "id": "a\n", "type": "worker", "state": "running", "restarts": 2, "incarnation": 3, "lived_seconds": 1.5,
        "detail": {"depth": 4, "ratio": 0.5, "address": "x"}, "children": [],
    }  # fmt: skip
    assert tree_of(good).to_dict() == good
    assert tree_of({**good, "children": [good]}).children == (tree_of(good),)
    for field, wrong in (("type", "planet"), ("restarts", "many"), ("detail", []), ("children", {}), ("children", [1])):
        with pytest.raises(WorkspaceError, match="is not a tree"):
            tree_of({**good, field: wrong})
