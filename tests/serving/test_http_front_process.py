"""`vespera serve --http` with the SDK's own clients, while its workers are killed with SIGKILL."""

from __future__ import annotations

import json
import os
import re
import signal
import ssl
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest
import trio
import trustme
from mcp import types
from mcp.shared.exceptions import MCPDeprecationWarning

from tests.serving.http_kit import HEADERS, call, handshake, request, until
from tests.serving.kit import ERAS, HttpServer, Place, http_client, http_server, new_place, serving_process, succeed

_READY = re.compile(r"worker (\d+) \(pid (\d+)\) is ready")
WAIT_SECONDS = 60.0


@pytest.fixture(name="place")
def a_place() -> Iterator[Place]:
    with new_place(spare=True) as found:
        yield found


def workers_of(place: Place) -> list[int]:
    """Give the process ids of the workers that became ready, in order: the front's log names them."""
    logs = (place.root / "state" / "vespera" / "logs").glob("*.log")
    return [int(pid) for log in logs for _, pid in _READY.findall(log.read_text())]


async def kill(place: Place, number: int = signal.SIGKILL) -> None:
    """Kill the worker, and wait until the next one is there."""
    before = workers_of(place)
    os.kill(before[-1], number)
    with trio.fail_after(WAIT_SECONDS):
        while len(workers_of(place)) == len(before):  # noqa: ASYNC110 - the front tells nobody
            await trio.sleep(0.01)


@asynccontextmanager
async def serving(place: Place, *options: str) -> AsyncIterator[HttpServer]:
    async with http_server(place, *options) as server:
        yield server


@pytest.mark.parametrize("era", ERAS)
async def test_the_sdks_client_notices_nothing_of_workers_that_are_killed(place: Place, era: str) -> None:
    async with serving(place) as server, http_client(server.url, era) as client:
        session = await succeed(client, "orchestrator_initialize_session", name="over deaths")
        for _ in range(3):
            await kill(place)
            status = await succeed(client, "orchestrator_get_status", session=session["id"])
            assert session["id"] in json.dumps(status)
        assert len(set(workers_of(place))) == 4
    assert place.rows("SELECT name FROM session") == [("over deaths",)]


@pytest.mark.parametrize("era", ERAS)
async def test_no_call_of_many_clients_fails_or_takes_effect_twice_while_workers_are_killed(
    place: Place, era: str
) -> None:
    """20 clients, 4 kills: what each client was told is what is in the store, once."""
    told: list[str] = []
    ended = trio.Event()

    async def work(number: int) -> None:
        async with http_client(server.url, era, f"client-{number}") as client:
            while not ended.is_set():
                name = f"number {len(told)} by {number}"
                session = await succeed(client, "orchestrator_initialize_session", name=name)
                told.append(session["id"])
                await succeed(client, "orchestrator_get_status", session=session["id"])

    async with serving(place) as server, trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(work, number)
        for _ in range(4):
            before = len(told)
            await until(lambda before=before: len(told) >= before + 40, seconds=100)
            await kill(place)
        ended.set()
    kept = [row[0] for row in place.rows("SELECT id FROM session")]
    assert sorted(kept) == sorted(told)
    assert len(set(told)) == len(told)


async def test_who_listens_goes_on_hearing_after_a_kill(place: Place) -> None:
    heard: list[object] = []
    async with serving(place) as server, trio.open_nursery() as nursery:

        async def listen(*, task_status: trio.TaskStatus[None]) -> None:
            async with http_client(server.url, "auto") as client, client.listen(resources_list_changed=True) as events:
                task_status.started()
                async for event in events:
                    heard.append(event)  # noqa: PERF401 - one after another, while others look

        await nursery.start(listen)
        async with http_client(server.url, "auto", "other") as other:
            for number in range(3):
                before = len(heard)
                await succeed(other, "orchestrator_initialize_session", name=f"number {number}")
                await until(lambda before=before: len(heard) > before)
                before = len(heard)
                await kill(place)
                # What changed between two workers was told to nobody: it is told to read again.
                await until(lambda before=before: len(heard) > before)
        nursery.cancel_scope.cancel()


async def test_subscriptions_of_the_handshake_era_outlive_a_worker(place: Place) -> None:
    heard: list[str] = []

    async def hear(message: object) -> None:
        if isinstance(message, types.ResourceUpdatedNotification):
            heard.append(message.params.uri)

    async with serving(place) as server, http_client(server.url, "legacy", message_handler=hear) as client:
        session = await succeed(client, "orchestrator_initialize_session", name="watched")
        listed = await client.list_resources()
        uri = next(str(one.uri) for one in listed.resources if session["id"] in str(one.uri))
        with pytest.warns(MCPDeprecationWarning, match="removed as of 2026-07-28"):
            await client.subscribe_resource(uri)
        await kill(place)
        before = len(heard)
        with trio.fail_after(WAIT_SECONDS):
            while len(heard) == before:
                await succeed(client, "orchestrator_plan_task", session=session["id"], title="one", description="two")
                await trio.sleep(0.3)
        assert set(heard) == {uri}


async def test_a_token_and_tls_hold_over_a_kill(place: Place) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("localhost", "127.0.0.1")
    certificate, key, tokens = (place.root / name for name in ("cert.pem", "key.pem", "tokens"))
    certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(key)
    tokens.write_text("alice:" + "a" * 40)
    tokens.chmod(0o600)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    options = ["--token-file", str(tokens), "--tls-cert", str(certificate), "--tls-key", str(key)]
    async with serving(place, *options) as server:
        assert server.url.startswith("https://")
        async with http_client(server.url, "legacy", token="a" * 40, verify=context) as client:
            await succeed(client, "orchestrator_initialize_session", name="hers")
            await kill(place)
            await succeed(client, "orchestrator_initialize_session", name="hers, too")
        async with httpx2.AsyncClient(headers=HEADERS, verify=context) as stranger:
            assert (await stranger.post(server.url, json=call("x"))).status_code == 401
            evil = {"host": "evil.example", "authorization": "Bearer " + "a" * 40}
            assert (await stranger.post(server.url, json=call("x"), headers=evil)).status_code == 421
            page = {"origin": "https://evil.example", "authorization": "Bearer " + "a" * 40}
            assert (await stranger.post(server.url, json=call("x"), headers=page)).status_code == 403
    # Neither what is kept nor what is logged has a token in it.
    files = [path for path in (*place.project.rglob("*"), *(place.root / "state").rglob("*")) if path.is_file()]
    assert files
    assert not [path for path in files if b"a" * 40 in path.read_bytes()]


async def test_a_deleted_session_stays_deleted_and_an_old_one_is_known_over_kills(place: Place) -> None:
    async with (
        serving(place) as server,
        httpx2.AsyncClient(base_url=server.url, headers=HEADERS, timeout=WAIT_SECONDS) as client,
    ):
        gone, kept = await handshake(client), await handshake(client)
        assert (await client.delete("", headers=gone)).status_code == 200
        await kill(place)
        assert (await client.post("", json=request("tools/list"), headers=gone)).status_code == 404
        assert (await client.post("", json=request("tools/list"), headers=kept)).status_code == 200


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes as Linux shows them")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_nobody_is_left_when_the_front_of_http_clients_ends(place: Place, number: int) -> None:
    async with serving(place) as server, http_client(server.url) as client:
        await succeed(client, "orchestrator_initialize_session")
        await kill(place)
        pids = workers_of(place)
        await server.end(number)
        with trio.fail_after(10):
            while any(alive(pid) for pid in pids):  # noqa: ASYNC110 - nobody tells
                await trio.sleep(0.01)
    sockets = [*(place.root / "runtime").rglob("http-*.sock")]
    assert sockets == [] or number == signal.SIGKILL


WEDGING = """
import sys
from tests.serving.calm_front import judge_only_the_stopped
from vespera_agents.front import settings
from vespera_agents.__main__ import main

judge_only_the_stopped()

class Quick(settings.Settings):
    def __new__(cls, **words):
        return super().__new__(cls, ping_seconds=0.1, pong_seconds=1.0, dump_seconds=0.2, **words)

import vespera_agents.front.front as front
front.Settings = Quick
sys.exit(main())
"""


@pytest.mark.parametrize("era", ERAS)
async def test_a_worker_that_is_stopped_is_replaced_and_its_clients_notice_nothing(place: Place, era: str) -> None:
    """SIGSTOP: nothing breaks, and nothing answers; the front's pings find it."""
    command = [sys.executable, "-c", WEDGING, *place.command[place.command.index("serve") :], "--http", "127.0.0.1:0"]
    found: list[str] = []

    async def plan(name: str) -> None:
        found.append((await succeed(client, "orchestrator_initialize_session", name=name))["id"])

    async with serving_process(place, command) as server, http_client(server.url, era) as client:
        await plan("before")
        for number in range(2):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(kill, place, signal.SIGSTOP)
                for other in range(3):
                    nursery.start_soon(plan, f"{number} {other}")
        await plan("after")
    assert sorted(row[0] for row in place.rows("SELECT id FROM session")) == sorted(found)
    logs = (place.root / "state" / "vespera" / "logs").glob("*.log")
    assert sum(log.read_text().count("did not answer within 1 s") for log in logs) >= 2
