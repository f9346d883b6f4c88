"""Metrics in every way of serving: behind a front and without, over a pipe and over HTTP, and at the command line."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx2
import pytest
import trio
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics

from tests.health.kit import numbers
from tests.serving.kit import Place, http_client, http_server, new_place, succeed
from tests.serving.raw_process import INITIALIZE, call, say, started
from tests.serving.test_http_front_process import kill, workers_of
from vespera_agents.serving.control import ask_server
from vespera_agents.workspace import WorkspaceError

OPEN_METRICS = {"accept": "application/openmetrics-text; version=1.0.0"}
SECRET = "s" * 32
WAIT_SECONDS = 20.0


@pytest.fixture(name="place")
def a_place() -> Iterator[Place]:
    with new_place(spare=True) as found:
        yield found


def tokens_of(place: Place) -> Path:
    tokens = place.root / "tokens"
    tokens.write_text(f"{SECRET}\n")
    tokens.chmod(0o600)
    return tokens


@pytest.fixture(name="port")
def a_port() -> Iterator[int]:
    """Keep a port for the servers of one test: nobody else is given it, and who asks for reuse may listen there."""
    with reusing() as kept:
        kept.bind(("127.0.0.1", 0))
        yield kept.getsockname()[1]


def reusing() -> socket.socket:
    found = socket.socket()
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return found


def scrape(port: int) -> dict[str, float]:
    """Scrape, as soon as somebody listens there."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=WAIT_SECONDS) as answer:
                return numbers(answer.read().decode())
        except urllib.error.URLError:
            assert time.monotonic() < deadline, "nobody listens there"
            select.select([], [], [], 0.005)


def listen_as_soon_as_possible(taken: socket.socket, port: int) -> None:
    """Listen on a port as soon as who listens there is dead."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            taken.bind(("127.0.0.1", port))
        except OSError:
            assert time.monotonic() < deadline, "somebody still listens there"
            select.select([], [], [], 0.005)
            continue
        taken.listen()
        return


def until_logged(place: Place, words: str) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not any(words in log.read_text() for log in place.root.glob("state/vespera/logs/*.log")):
        assert time.monotonic() < deadline, f"nobody says {words!r}"
        select.select([], [], [], 0.005)


async def answers(place: Place) -> None:
    """Wait until a server answers on its private socket: one that took over does so a moment after it serves."""
    with trio.fail_after(WAIT_SECONDS):
        while True:
            with suppress(WorkspaceError):
                await ask_server(place.workspace, "ping")
                return
            await trio.sleep(0.01)


def vespera_metrics(place: Place, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "vespera_agents", "metrics", "--workspace", str(place.project), *options]
    return subprocess.run(
        command, env=place.environment, capture_output=True, text=True, timeout=WAIT_SECONDS, check=False
    )


def test_a_worker_that_takes_over_from_a_killed_one_serves_metrics_on_the_same_port(place: Place, port: int) -> None:
    with started(place, "--metrics", f"127.0.0.1:{port}") as process:
        say(process, INITIALIZE)
        say(process, call(2, "orchestrator_initialize_session"))
        first = scrape(port)
        assert first['vespera_runtime_phase{phase="running"}'] == 1
        assert first["vespera_last_restart_timestamp_seconds"] == first["vespera_recovery_duration_seconds"] == 0
        assert first['vespera_mcp_requests_total{outcome="succeeded",tool="orchestrator_initialize_session"}'] == 1
        before = time.time()
        os.kill(workers_of(place)[-1], signal.SIGKILL)
        say(process, call(3, "orchestrator_get_status"))
        second = scrape(port)
        assert second.keys() == first.keys()
        assert second['vespera_mcp_requests_total{outcome="succeeded",tool="orchestrator_get_status"}'] == 1
        assert 0 < second["vespera_recovery_duration_seconds"] < WAIT_SECONDS
        assert before < second["vespera_last_restart_timestamp_seconds"] < time.time()
        crashes = 'vespera_front_generations_total{reason="crash"}'
        deadline = time.monotonic() + WAIT_SECONDS
        while not (found := scrape(port))[crashes]:
            assert time.monotonic() < deadline, "it is not written down"
        # One that died before it had written down why it began is counted as well.
        assert sum(found[f'vespera_front_generations_total{{reason="{why}"}}'] for why in ("start", "other")) == 1


def test_a_port_that_somebody_took_meanwhile_keeps_no_worker_from_serving(place: Place, port: int) -> None:
    with started(place, "--metrics", f"127.0.0.1:{port}") as process:
        say(process, INITIALIZE)
        say(process, call(2, "orchestrator_initialize_session"))
        scrape(port)
        with reusing() as taken:
            # A front that is stopped lets nobody take over, who might listen there before we do.
            process.send_signal(signal.SIGSTOP)
            try:
                os.kill(workers_of(place)[-1], signal.SIGKILL)
                listen_as_soon_as_possible(taken, port)
            finally:
                process.send_signal(signal.SIGCONT)
            assert not say(process, call(3, "orchestrator_get_status"))["result"]["isError"]
            # A worker that took over tries to listen a moment after it serves.
            until_logged(place, "It is tried again every")
            assert not say(process, call(4, "orchestrator_get_status"))["result"]["isError"]
            assert len(workers_of(place)) == 2
        assert scrape(port)['vespera_runtime_phase{phase="running"}'] == 1


def test_one_process_serves_metrics_too(place: Place, port: int) -> None:
    with started(place, "--in-process", "--metrics", f"127.0.0.1:{port}") as process:
        say(process, INITIALIZE)
        found = scrape(port)
        assert found['vespera_runtime_phase{phase="running"}'] == 1
        assert (
            found[
                'mcp_server_operation_duration_seconds_count{error_type="",gen_ai_tool_name="",mcp_method_name="initialize"}'
            ]
            == 1
        )
        assert sum(found[f'vespera_front_generations_total{{reason="{why}"}}'] for why in ("start", "crash")) == 0


@pytest.mark.parametrize("front", [True, False])
async def test_metrics_are_beside_mcp_for_who_may_come_in(place: Place, front: bool) -> None:
    """Without `--metrics`, with the token alone, with exemplars; the command line tells the same."""
    mode = () if front else ("--in-process",)
    async with (
        http_server(place, "--token-file", str(tokens_of(place)), *mode) as server,
        httpx2.AsyncClient(timeout=WAIT_SECONDS) as stranger,
        httpx2.AsyncClient(timeout=WAIT_SECONDS, headers={"authorization": f"Bearer {SECRET}"}) as client,
    ):
        url = server.url.removesuffix("/mcp") + "/metrics"
        assert (await stranger.get(url)).status_code == 401
        assert (await client.get(url, headers={"origin": "http://evil.example"})).status_code == 403
        assert (await client.get(url, headers={"host": "evil.example"})).status_code == 421
        assert (await client.post(url)).status_code == 405
        assert (await client.get(f"{url}/x")).status_code == 404
        async with http_client(server.url, "legacy", token=SECRET) as mcp:
            await succeed(mcp, "orchestrator_initialize_session", name="beside")
            planned = await succeed(mcp, "orchestrator_plan_task", title="one")
            task = planned["tasks"][0]["id"]
            await succeed(mcp, "orchestrator_execute_task", task_id=task)
            await succeed(mcp, "orchestrator_complete_task", task_id=task, summary="done", next_action="complete")
            if front:
                await kill(place)
                await succeed(mcp, "orchestrator_get_status")
        answer = await client.get(url, headers=OPEN_METRICS)
        assert answer.headers["content-type"].startswith("application/openmetrics-text")
        assert answer.headers["content-encoding"] == "gzip"
        found = {family.name: family for family in read_openmetrics(answer.text)}
        assert not [name for name in found if name.endswith("_created")]
        reconnects = {sample.labels["reason"]: sample.value for sample in found["vespera_mcp_reconnects"].samples}
        assert reconnects == {"stream": 0, "worker": int(front), "door": 0}
        if not front:
            exemplars = {
                tuple(sample.exemplar.labels.items())
                for name in ("vespera_task_duration_seconds", "mcp_server_operation_duration_seconds")
                for sample in found[name].samples
                if sample.exemplar is not None
            }
            assert exemplars == {(("task_id", task),)}
        plain = await client.get(url, params={"name[]": "vespera_runtime_phase"})
        assert list(numbers(plain.text)) == [
            f'vespera_runtime_phase{{phase="{phase}"}}'
            for phase in ("starting", "running", "prepared", "draining", "stopping")
        ]
        await answers(place)
        told = await trio.to_thread.run_sync(vespera_metrics, place)
        assert numbers(told.stdout).keys() == numbers((await client.get(url)).text).keys()
        told = await trio.to_thread.run_sync(vespera_metrics, place, "--openmetrics")
        assert told.stdout.endswith("# EOF\n")
        assert list(read_openmetrics(told.stdout))


def test_the_command_says_that_no_server_runs(place: Place) -> None:
    for options, words in (((), "no `vespera serve` runs"), (("--server", "srv_1"), "no `vespera serve` srv_1 runs")):
        done = vespera_metrics(place, *options)
        assert (done.returncode, done.stdout) == (2, "")
        assert words in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("words", "shown"), [(["--metrics", ":0"], True), ([], False)])
def test_what_writes_metrics_is_imported_before_a_takeover_only_where_they_are_asked_for(
    words: list[str], shown: bool
) -> None:
    program = (
        "import sys; from vespera_agents.serving.wishes import plain_serve; from vespera_agents.serving.worker import "
        "load; load(plain_serve(sys.argv[1:])); print('prometheus_client' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "serve", *words], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == f"{shown}\n"
