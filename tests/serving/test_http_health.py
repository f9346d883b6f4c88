"""The pages of health beside MCP: who may see which, and what a front says while no worker can."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import AsyncExitStack, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import trio

from tests.serving.http_kit import BEHIND, Opened, open_door, until
from tests.serving.kit import Place, http_client, http_server, new_place, refuse, succeed
from vespera_agents.front.http import probes
from vespera_agents.front.http.limits import Limits
from vespera_agents.health.checks import Grade, Reason, worst_of
from vespera_agents.health.model import HealthModel
from vespera_agents.serving import judging
from vespera_agents.serving.judging import judged
from vespera_agents.serving.transports.http.health import health_pages
from vespera_agents.specialists import jobs
from vespera_agents.specialists.orchestrator import Orchestrator
from vespera_agents.specialists.runtime import open_runtime
from vespera_agents.store import StoreError, readers

TOKEN = "t" * 32
PATHS = ("/livez", "/readyz", "/healthz")


@pytest.fixture
def place() -> Iterator[Place]:
    with new_place() as made:
        yield made


@pytest.fixture(params=[False, True], ids=["in process", "behind a front"])
def both(request: pytest.FixtureRequest) -> Iterator[None]:
    """Everything here holds with a front and without one."""
    token = BEHIND.set(request.param)
    yield
    BEHIND.reset(token)


def ill(*reasons: Reason) -> HealthModel:
    model = HealthModel()
    model._verdict = worst_of(reasons)
    return model


def secret(path: Path) -> Path:
    path.write_text(TOKEN)
    path.chmod(0o600)
    return path


async def ask(opened: Opened, path: str, method: str = "GET", **headers: str) -> tuple[int, str]:
    """Give status and text; the base of its client is the endpoint, and this is beside it."""
    async with opened.client(headers=headers) as client:
        answer = await client.request(method, opened.url.removesuffix("/mcp") + path)
        return answer.status_code, answer.text


FULL = Reason(Grade.UNHEALTHY, "mailbox writer", "its mailbox is 100% full")


@pytest.mark.usefixtures("both")
async def test_the_pages_are_beside_the_endpoint_and_only_read(tmp_path: Path) -> None:
    async with open_door(tmp_path, pages=health_pages(ill(FULL))) as opened:
        assert await ask(opened, "/livez") == (200, "ok\n")
        # Nobody bound the model to a server: it has not begun to serve.
        assert await ask(opened, "/readyz") == (503, "not ready: it starts\n")
        status, text = await ask(opened, "/healthz?verbose=1")
        assert status == 503
        assert json.loads(text)["reasons"] == [
            {"grade": "unhealthy", "component": "mailbox writer", "what": "its mailbox is 100% full"}
        ]
        assert (await ask(opened, "/healthz", "HEAD")) == (503, "")
        assert (await ask(opened, "/healthz", "POST"))[0] == 405
        assert (await ask(opened, "/healthz/more"))[0] == 404
        assert (await ask(opened, "/health"))[0] == 404
        # What it serves otherwise it goes on serving.
        assert (await ask(opened, "/mcp", "DELETE"))[0] in {400, 404}


@pytest.mark.usefixtures("both")
async def test_what_names_anybody_needs_the_token_and_no_foreign_page_may_ask(tmp_path: Path) -> None:
    async with open_door(tmp_path, pages=health_pages(ill(FULL)), token_file=secret(tmp_path / "tokens")) as opened:
        for path in ("/livez", "/readyz"):
            status, text = await ask(opened, path)
            assert status in {200, 503}
            assert "writer" not in text
            assert str(tmp_path) not in text
            assert (await ask(opened, path + "/"))[0] == 401, "only exactly these"
        status, text = await ask(opened, "/healthz")
        assert (status, "writer" in text) == (401, False)
        status, text = await ask(opened, "/healthz", authorization=f"Bearer {TOKEN}")
        assert (status, "writer" in text) == (503, True)
        for path in PATHS:
            assert (await ask(opened, path, origin="https://evil.example"))[0] == 403
            assert (await ask(opened, path, host="evil.example"))[0] == 421


@pytest.mark.usefixtures("both")
async def test_a_server_with_too_much_to_do_still_says_that_it_lives(tmp_path: Path) -> None:
    async with open_door(tmp_path, Limits(exchanges_max=0), pages=health_pages(ill())) as opened:
        assert (await ask(opened, "/livez"))[0] == 200
        assert (await ask(opened, "/readyz")) == (503, "not ready: it starts\n")
        assert (await ask(opened, "/healthz"))[0] == 503
        assert "requests are open already" in (await ask(opened, "/healthz"))[1]


async def test_the_front_answers_while_no_worker_is_ready_and_does_not_wait_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_door(tmp_path, pages=health_pages(ill()), behind=True) as opened:
        assert await ask(opened, "/livez") == (200, "ok\n")
        assert await ask(opened, "/healthz") != (503, "")
        await opened.kill()
        with trio.fail_after(10):
            assert await ask(opened, "/livez") == (200, f"ok: the front lives; {probes._NO_WORKER}\n")
            assert await ask(opened, "/readyz") == (503, f"not ready: {probes._NO_WORKER}\n")
            status, text = await ask(opened, "/healthz")
            assert (status, json.loads(text)["reasons"]) == (
                503,
                [{"grade": "unhealthy", "component": "front", "what": probes._NO_WORKER}],
            )
            assert await ask(opened, "/readyz", "HEAD") == (503, "")
        await opened.start()
        assert await ask(opened, "/healthz") != (503, "")
        assert (await ask(opened, "/healthz"))[0] == 200


async def test_the_front_answers_for_a_worker_that_is_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "PROBE_SECONDS", 0.1)

    async def silent(*_: Any) -> None:
        await trio.sleep_forever()

    async with open_door(tmp_path, pages=dict.fromkeys(PATHS, silent), behind=True) as opened:
        with trio.fail_after(10):
            assert await ask(opened, "/livez") == (200, "ok\n")
            status, text = await ask(opened, "/readyz")
            assert (status, "the worker did not answer" in text) == (503, True)
            assert (await ask(opened, "/healthz"))[0] == 503
            assert opened.front is not None
            front = opened.front
            await until(lambda: front.busy() is False)


# ---- what our own components say of themselves


async def test_a_door_with_hardly_any_room_says_so(tmp_path: Path) -> None:
    async with open_door(tmp_path, Limits(connections_max=10), behind=False) as opened:
        assert await opened.door.check_health() is None
        async with AsyncExitStack() as stack:
            for _ in range(9):
                await stack.enter_async_context(await trio.open_tcp_stream("127.0.0.1", opened.port))
            await until(lambda: opened.door.statistics().connections == 9)
            found = await opened.door.check_health()
            assert found is not None
            assert (found[0], "9 of 10 connections" in found[1]) == ("degraded", True)


async def test_jobs_without_room_and_a_store_that_failed_say_so(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_runtime("serve", registry=place.registry) as runtime:
        opened = await runtime.workspace(place.project)
        model = HealthModel()
        model.bind(runtime)
        judged(model, Orchestrator(runtime, place.project), opened, None, [])
        assert model.readiness().words == "not ready: its door is not open"
        async with trio.open_nursery() as nursery:
            assert await model.checks.ask(nursery) == ()
            monkeypatch.setattr(jobs, "JOBS_MAX", 0)
            # A query that cannot be is a read that failed, and counted as one.
            with pytest.raises(StoreError):
                await opened.store.read(lambda connection: connection.execute("SELECT * FROM nothing"))
            told = {one.component: one.what for one in await model.checks.ask(nursery)}
            assert told == {
                "component jobs": "0 jobs are at work, and no other can begin",
                "component store": "1 commits or reads failed in the last 2 minutes",
            }
            again = {one.component: one.what for one in await model.checks.ask(nursery)}
            assert again == told, "who asked first hides nothing from the others"


async def test_failures_of_the_store_count_for_some_minutes_for_everybody(place: Place) -> None:
    async with open_runtime("serve", registry=place.registry) as runtime:
        opened = await runtime.workspace(place.project)
        now = 0.0
        failures = judging._Failures(opened, clock=lambda: now)
        for at in range(300):
            now = at / 10
            with pytest.raises(StoreError):
                await opened.store.read(lambda connection: connection.execute("SELECT * FROM nothing"))
            assert await failures.check_health() == (
                "degraded",
                f"{at + 1} commits or reads failed in the last 2 minutes",
            )
        assert len(failures._found) == 30, "one entry for each second"
        now = judging.LATELY_SECONDS + 28.5
        assert await failures.check_health() == ("degraded", "10 commits or reads failed in the last 2 minutes")
        now = judging.LATELY_SECONDS + 29
        assert await failures.check_health() is None


async def test_a_probe_of_a_workspace_that_runs_does_not_ask_the_disk(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    async with open_runtime("serve", registry=place.registry) as runtime:
        opened = await runtime.workspace(place.project)
        model = HealthModel()
        model.bind(runtime)
        judged(model, Orchestrator(runtime, place.project), opened, None, [])
        with monkeypatch.context() as patched:
            patched.setattr(readers, "identity_of", asked.append)
            assert model.readiness().words == "not ready: its door is not open"
    assert asked == []


# ---- a real server


def get(base: str, path: str, **headers: str) -> tuple[int, str]:
    parts = urlsplit(base)
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=20)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def health(place: Place, *words: str) -> subprocess.CompletedProcess[str]:
    command = [*place.command[: place.command.index("serve")], "health", "--workspace", str(place.project), *words]
    return subprocess.run(
        command, env=place.environment, capture_output=True, text=True, timeout=60, check=False, cwd=place.root
    )


async def test_a_real_server_tells_the_same_everywhere(place: Place) -> None:
    tokens = secret(place.root / "tokens")
    lenient = "loop_lag_seconds = [20, 30]\nstall_seconds = [20, 30]\ncommit_seconds = [20, 30]\n"
    config = place.workspace.config
    config.parent.mkdir()
    config.write_text(f"[health]\n{lenient}disk_free_bytes = [0, 0]\nexamine_seconds = 0.2\n")
    options = ("--token-file", str(tokens), "--metrics", "127.0.0.1:0")
    async with http_server(place, *options) as server:
        with trio.fail_after(20):
            while (await trio.to_thread.run_sync(get, server.url, "/readyz"))[0] != 200:
                pass
        done = await trio.to_thread.run_sync(health, place)
        assert (done.returncode, ": healthy\n" in done.stdout) == (0, True), done.stdout + done.stderr
        # What cannot be: more room than any disk has.
        config.write_text(f"[health]\n{lenient}disk_free_bytes = [1e17, 0]\nexamine_seconds = 0.2\n")
        done = await trio.to_thread.run_sync(health, place)
        assert done.returncode == 1
        assert f"degraded: disk {place.project}: " in done.stdout
        config.write_text(f"[health]\n{lenient}disk_free_bytes = [1e17, 1e17]\nexamine_seconds = 0.2\n")
        done = await trio.to_thread.run_sync(health, place, "--json")
        assert done.returncode == 2
        (shown,) = json.loads(done.stdout)["servers"]
        assert shown["health"]["grade"] == "unhealthy"
        assert shown["health"]["changes"][-1]["grade"] == "unhealthy"
        told = [one["component"] for one in shown["health"]["reasons"]]
        assert told == [f"disk {place.project}"]
        status, text = await trio.to_thread.run_sync(
            lambda: get(server.url, "/healthz", Authorization=f"Bearer {TOKEN}")
        )
        assert (status, [one["component"] for one in json.loads(text)["reasons"]]) == (503, told)
        assert (await trio.to_thread.run_sync(get, server.url, "/healthz"))[0] == 401
        # What is declared about it is done, for clients to hear and for everybody to see.
        ill = f"[health]\n{lenient}disk_free_bytes = [1e17, 1e17]\nexamine_seconds = 0.2\n"
        config.write_text(f'{ill}[[health.recovery]]\nwhen = "disk"\naction = "shed_load"\nfor_seconds = 0\n')
        async with http_client(server.url, token=TOKEN) as client:
            await succeed(client, "orchestrator_initialize_session")
            await succeed(client, "orchestrator_health_check")
            assert "disk is unhealthy" in await refuse(
                client, "orchestrator_plan_task", "overloaded", title="a", description="b"
            )
            told = await succeed(client, "orchestrator_health_check")
            # How much is free is another number by now, where others write to the same disk.
            (recovery,) = told["recoveries"]
            words = f"shed_load, because disk {re.escape(str(place.project))}: [0-9]+ MiB are free: done"
            assert re.fullmatch(words, recovery), told
        # A worker that is stopped in the middle: the front lives, and sends nobody there.
        os.kill(shown["pid"], signal.SIGSTOP)
        try:
            assert (await trio.to_thread.run_sync(get, server.url, "/livez"))[0] == 200
            status, text = await trio.to_thread.run_sync(get, server.url, "/readyz")
            assert (status, "worker" in text) == (503, True)
        finally:
            # After probes that took long the front has replaced it.
            with suppress(ProcessLookupError):
                os.kill(shown["pid"], signal.SIGCONT)
