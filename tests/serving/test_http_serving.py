"""`vespera serve --http`: real server processes, the SDK's own client in both eras, many at once, and every end."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import httpx2
import pytest
import trio
from mcp import Client
from mcp.client.subscriptions import SubscriptionLost

from tests.serving.http_kit import HEADERS, call, handshake, until
from tests.serving.kit import ERAS, Place, connected, http_client, http_server, new_place, refuse, succeed, text_of
from vespera_agents.front.http.limits import ORDINARY

CLIENTS = 50
TASKS = CLIENTS + 2
HOW = ([], ["--in-process"])
"""Through a front, and without one."""
END_SECONDS = 10.0
"""A loaded machine measures coverage while it ends; alone it takes 0.1 s, and 1.2 s with requests under way."""
ENDS_MAX = 3
"""How many servers end, until one does as promptly as it would alone: in 0.1 s."""


@pytest.fixture(name="place")
def a_place() -> Iterator[Place]:
    with new_place() as found:
        yield found


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("how", HOW)
async def test_a_client_is_served_over_http(place: Place, era: str, how: list[str]) -> None:
    async with http_server(place, *how) as server:
        assert server.url.startswith("http://127.0.0.1:")
        async with http_client(server.url, era) as client:
            session = await succeed(client, "orchestrator_initialize_session", name="Over HTTP")
            before = place.state()
            await refuse(client, "orchestrator_get_status", "not_found", session="nope")
            assert place.state() == before
        assert place.rows("SELECT id FROM session") == [(session["id"],)]
        assert await server.end() == 0
        assert server.errors == []


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("how", HOW)
async def test_a_server_ends_in_good_order_while_streams_are_open(
    place: Place, era: str, number: int, how: list[str]
) -> None:
    for _ in range(ENDS_MAX):
        streams, took_seconds = await _end_beside_streams(place, era, number, how)
        if era == "legacy" or "lost" not in streams:
            return
        # One that a busy machine leaves waiting for longer cuts its streams, as it shall.
        assert took_seconds > ORDINARY.last_answers_seconds
    raise AssertionError("no server ends its streams")


async def _end_beside_streams(place: Place, era: str, number: int, how: list[str]) -> tuple[list[str], float]:
    """Have a server end; gives how the streams of its clients ended, and how long it took."""
    async with http_server(place, *how) as server, trio.open_nursery() as nursery:

        async def listen(*, task_status: trio.TaskStatus[None]) -> None:
            stream = "lost"
            # What the end of the server does to its clients is their library's business.
            try:
                async with http_client(server.url, era) as client:
                    await succeed(client, "orchestrator_initialize_session")
                    if era == "legacy":
                        task_status.started()
                        await trio.sleep_forever()
                    async with client.listen(resources_list_changed=True) as heard:
                        task_status.started()
                        async for _ in heard:
                            pass
                    stream = "in order"
            except* (httpx2.TransportError, SubscriptionLost):
                pass
            ended.append(stream)

        ended: list[str] = []
        for _ in range(3):
            await nursery.start(listen)
        begun = trio.current_time()
        with trio.fail_after(END_SECONDS):
            assert await server.end(number) == 0
        took_seconds = trio.current_time() - begun
        if era != "legacy":
            await until(lambda: len(ended) == 3)
        nursery.cancel_scope.cancel()
    assert server.errors == []
    return ended, took_seconds


@pytest.mark.parametrize("how", HOW)
async def test_a_cancelled_call_leaves_no_traceback(place: Place, how: list[str]) -> None:
    """In both eras, cancelled in mid-call and by a client that is killed."""
    async with http_server(place, *how) as server:
        for era in ERAS:
            async with http_client(server.url, era) as client:
                for _ in range(5):
                    with trio.move_on_after(0.01):
                        await client.call_tool("orchestrator_list_sessions", {})
                await succeed(client, "orchestrator_list_sessions")
        async with httpx2.AsyncClient(base_url=server.url, headers=HEADERS) as client:
            about = await handshake(client)
            with trio.move_on_after(0.005):
                await client.post("", json=call("orchestrator_list_sessions"), headers=about)
        assert await server.end() == 0
        assert server.errors == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--http", "127.0.0.1:{taken}"], "port 0 takes a free one"),
        (["--http", "nonsense"], "is not an address"),
        (["--http", "0.0.0.0:0"], "--token-file"),
        (["--http", "127.0.0.1:0", "--token-file", "missing"], "cannot be read"),
        (["--http", "127.0.0.1:0", "--tls-cert", "cert.pem"], "--tls-key"),
        (["--token-file", "tokens"], "--http HOST:PORT"),
    ],
)
def test_a_wish_that_cannot_be_had_ends_with_what_to_do(place: Place, options: list[str], words: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        given = [option.format(taken=taken.getsockname()[1]) for option in options]
        done = subprocess.run(
            [*place.command, *given],
            env=place.environment,
            cwd=place.root,
            capture_output=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 2
    assert words in done.stderr.decode()
    assert "Traceback" not in done.stderr.decode()
    assert done.stdout == b""


async def test_over_ipv6_and_with_a_token_a_client_is_served(place: Place) -> None:
    tokens = place.root / "tokens"
    tokens.write_text("alice:" + "a" * 40)
    tokens.chmod(0o600)
    async with http_server(place, "--token-file", str(tokens), address="[::1]:0") as server:
        assert server.url.startswith("http://[::1]:")
        async with http_client(server.url, token="a" * 40) as client:
            await succeed(client, "orchestrator_initialize_session")
        async with httpx2.AsyncClient(headers=HEADERS) as stranger:
            assert (await stranger.post(server.url, json=call("x"))).status_code == 401
        assert await server.end() == 0
        assert server.errors == []
    # A token is nowhere in what a server says or keeps.
    assert not [path for path in place.project.rglob("*") if path.is_file() and b"a" * 40 in path.read_bytes()]


async def test_a_command_key_belongs_to_a_principal(place: Place) -> None:
    tokens = place.root / "tokens"
    tokens.write_text(f"alice:{'a' * 40}\nbob:{'b' * 40}\n")
    tokens.chmod(0o600)
    async with http_server(place, "--token-file", str(tokens)) as server:
        created: list[str] = []
        for letter in "aab":
            async with http_client(server.url, token=letter * 40) as client:
                result = await client.call_tool(
                    "orchestrator_initialize_session", {"name": f"work of {letter}"}, meta={"io.vespera/key": "one"}
                )
                assert not result.is_error, text_of(result)
                assert result.structured_content is not None
                created.append(result.structured_content["id"])
        assert created[0] == created[1] != created[2]
        origins = {row[0] for row in place.rows("SELECT origin FROM command WHERE key LIKE 'one%'")}
        assert origins == {"client:alice:tester", "client:bob:tester"}


async def test_the_tree_shows_the_door(place: Place) -> None:
    async with http_server(place) as server, http_client(server.url, "legacy"):
        shown = await trio.run_process(
            [sys.executable, "-m", "vespera_agents", "tree", "--workspace", str(place.project)],
            env=place.environment,
            capture_stdout=True,
        )
        assert server.url.encode() in shown.stdout


async def test_many_clients_over_http_and_pipes_share_the_work(place: Place) -> None:
    """50 clients in both eras and two more over pipes of their own: each task is claimed once, each call answered."""
    claimed: list[str] = []
    refused: list[str] = []
    tasks: list[str] = []
    done = trio.Event()

    async def work(client: Client, first: int) -> None:
        # Each task is wanted by three clients.
        for number in range(first, first + 3):
            task = tasks[number % TASKS]
            result = await client.call_tool("orchestrator_execute_task", {"task_id": task})
            (refused if result.is_error else claimed).append(task)
        # A client that goes gives back what it claimed.
        if len(claimed) + len(refused) == 3 * (CLIENTS + 2):
            done.set()
        await done.wait()

    async def over_http(url: str, number: int) -> None:
        async with http_client(url, ERAS[number % 2], name=f"client-{number}") as client:
            await work(client, number)

    async def over_a_pipe(number: int) -> None:
        async with connected(place, ERAS[number % 2], name=f"pipe-{number}") as client:
            await work(client, CLIENTS + number)

    async with http_server(place) as server:
        async with http_client(server.url) as client:
            await succeed(client, "orchestrator_initialize_session")
            drafts = [{"title": f"Task {number}", "description": "Something to do"} for number in range(TASKS)]
            await succeed(client, "orchestrator_plan_task", title="Much", description="Many tasks", subtasks=drafts)
        tasks.extend(row[0] for row in place.rows("SELECT id FROM task WHERE children=0 ORDER BY seq"))
        async with trio.open_nursery() as nursery:
            for number in range(CLIENTS):
                nursery.start_soon(over_http, server.url, number)
            for number in range(2):
                nursery.start_soon(over_a_pipe, number)
        assert await server.end() == 0
        assert server.errors == []
    assert sorted(claimed) == sorted(tasks)
    assert place.rows("SELECT count(*) FROM task WHERE children=0 AND status='in_progress'") == [(TASKS,)]
