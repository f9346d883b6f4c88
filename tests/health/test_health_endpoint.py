"""`/metrics` over real HTTP: addresses, limits, its place in the tree, and a scrape while the loop is blocked."""

from __future__ import annotations

import json
import socket
import threading
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
import trio
from prometheus_client import CollectorRegistry

from supervisors import ChildSpec, ReportKind, StartFailed, Supervisor, render_tree
from tests.health.kit import fetch, numbers, patient_scrapes, watched_runtime
from vespera_agents.health import (
    AddressRefused,
    Health,
    HealthError,
    MetricsEndpoint,
    metrics_child,
    parse_address,
)
from vespera_agents.health.checks import Grade, Reason, worst_of
from vespera_agents.health.metrics import endpoint as module
from vespera_agents.health.model import HealthModel
from vespera_agents.specialists.runtime import open_runtime
from vespera_agents.workspace import Registry


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:9464", ("127.0.0.1", 9464)),
        ("localhost:0", ("localhost", 0)),
        (":9464", ("127.0.0.1", 9464)),
        ("[::1]:65535", ("::1", 65_535)),
        (" 0.0.0.0:80 ", ("0.0.0.0", 80)),  # noqa: S104 - read, not listened on
    ],
)
def test_an_address_is_host_and_port(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "", "9464", "localhost", "localhost:", "localhost:http", "localhost:-1", "localhost:65536", "localhost:٣",
        "::1:9464", "[::1]", "[]:9464", "a b:80", "http://localhost:9464", "localhost:9464/metrics", "x:" + "9" * 5_000,
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused_with_the_form(text: str) -> None:
    with pytest.raises(AddressRefused, match="Write HOST:PORT"):
        parse_address(text)


async def test_only_metrics_is_served_and_only_to_get(tmp_path: Path) -> None:
    async with watched_runtime(tmp_path) as watched:
        url = watched.endpoint.url
        for path in ("/", "/metrics/", "/other", "/metricsx"):
            status, text = await trio.to_thread.run_sync(fetch, url.removesuffix("/metrics") + path)
            assert (status, text) == (404, "there is only /metrics, /livez, /readyz, /healthz here\n")
        status, text = await trio.to_thread.run_sync(fetch, url + "?x=1")
        assert status == 200
        assert "# TYPE vespera_tasks gauge" in text
        status, text = await trio.to_thread.run_sync(fetch, url, "application/openmetrics-text; version=1.0.0")
        assert status == 200
        assert text.endswith("# EOF\n")
        status, text = await trio.to_thread.run_sync(fetch, url + "?name[]=vespera_store_queue_depth")
        assert list(numbers(text)) == ["vespera_store_queue_depth"]


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])  # noqa: S104 - for the length of a test
async def test_names_are_told_on_loopback_alone(host: str) -> None:
    model = HealthModel()
    model._verdict = worst_of([Reason(Grade.UNHEALTHY, "mailbox writer", "its mailbox is 100% full"), *_TWO])
    async with trio.open_nursery() as nursery:
        endpoint = await nursery.start(metrics_child, CollectorRegistry, f"{host}:0", model)
        url = f"http://127.0.0.1:{endpoint.port}"
        status, text = await trio.to_thread.run_sync(fetch, url + "/healthz")
        document = json.loads(text)
        assert (status, document["grade"]) == (503, "unhealthy")
        assert ("writer" in text, "secret" in text, "changes" in document) == (host == "127.0.0.1",) * 3
        if host != "127.0.0.1":
            assert document["reasons"] == [
                {"grade": "unhealthy", "component": "mailbox"},
                {"grade": "degraded", "component": "store"},
            ]
        for path in ("/livez", "/readyz"):
            assert "writer" not in (await trio.to_thread.run_sync(fetch, url + path))[1]
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])  # noqa: S104 - for the length of a test
async def test_a_page_whose_name_was_rebound_to_loopback_reads_nothing(address: str) -> None:
    async with trio.open_nursery() as nursery:
        endpoint = await nursery.start(metrics_child, CollectorRegistry, f"{address}:0", HealthModel())
        for host, status in (
            ("rebound.example.com", 421),
            (f"rebound.example.com:{endpoint.port}", 421),
            ("127.0.0.1, rebound.example.com", 421),
            ("", 421),
            ("localhost", 200),
            (f"127.0.0.1:{endpoint.port}", 200),
            ("[::1]:80", 200),
            (None, 200),
        ):
            for path in ("/metrics", "/healthz", "/livez"):
                head = "" if host is None else f"Host: {host}\r\n"
                request = f"GET {path} HTTP/1.0\r\n{head}\r\n".encode()
                answer = await trio.to_thread.run_sync(_exchange, endpoint.port, request)
                # Who listens for others has names that nobody knows here.
                expected = status if address == "127.0.0.1" else 200
                assert answer.startswith(f"HTTP/1.0 {expected} ".encode()), (host, path)
        nursery.cancel_scope.cancel()


def _exchange(port: int, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(request)
        return b"".join(iter(partial(connection.recv, 65_536), b""))


_TWO = [Reason(Grade.DEGRADED, f"store /{name}/secret", "a commit took 0.3 s") for name in ("a", "b")]


async def test_the_tree_shows_the_address(tmp_path: Path) -> None:
    async with watched_runtime(tmp_path) as watched:
        assert watched.endpoint.port > 0
        assert f"address={watched.endpoint.url}" in render_tree(watched.runtime.root.snapshot())


@pytest.mark.parametrize(("address", "begin"), [("[::1]:0", "http://[::1]:"), ("localhost:0", "http://")])
async def test_other_loopback_addresses_are_served(address: str, begin: str) -> None:
    if address.startswith("[") and not _has_ipv6_loopback():
        pytest.skip("this machine has no IPv6 loopback address")
    async with trio.open_nursery() as nursery:
        endpoint = await nursery.start(metrics_child, CollectorRegistry, address)
        assert isinstance(endpoint, MetricsEndpoint)
        assert endpoint.url.startswith(begin)
        assert (await trio.to_thread.run_sync(fetch, endpoint.url))[0] == 200
        nursery.cancel_scope.cancel()


def _has_ipv6_loopback() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


async def test_a_taken_port_is_an_error_of_the_start_that_says_what_to_do(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        address = f"127.0.0.1:{holder.getsockname()[1]}"
        async with trio.open_nursery() as nursery:
            supervisor = Supervisor(name="health")
            await nursery.start(supervisor.run)
            with pytest.raises(StartFailed) as failed:
                await supervisor.start_child(ChildSpec("metrics", metrics_child, args=(CollectorRegistry, address)))
            assert isinstance(failed.value.__cause__, AddressRefused)
            supervisor.stop()
        async with open_runtime("serve", registry=Registry(tmp_path)) as runtime:
            before = [child.id for child in runtime.root.which_children()]
            for refused, why in ((address, "Free it, or give another HOST:PORT"), ("nonsense", "Write HOST:PORT")):
                with pytest.raises(AddressRefused, match=why):
                    await Health().start(runtime, refused)
            assert [child.id for child in runtime.root.which_children()] == before


async def test_a_host_that_is_not_ours_or_cannot_exist_is_refused() -> None:
    for address in ("192.0.2.1:0", f"{'x' * 70}.invalid:0"):
        with pytest.RaisesGroup(AddressRefused):
            async with trio.open_nursery() as nursery:
                await nursery.start(metrics_child, CollectorRegistry, address)


async def test_it_ends_even_while_clients_hang() -> None:
    with ExitStack() as stack:
        async with trio.open_nursery() as nursery:
            endpoint = await nursery.start(metrics_child, CollectorRegistry, "127.0.0.1:0")
            for _ in range(3):
                stack.enter_context(socket.create_connection((endpoint.host, endpoint.port)))
            assert (await trio.to_thread.run_sync(fetch, endpoint.url))[0] == 200
            nursery.cancel_scope.cancel()
        with pytest.raises(OSError, match="refused"):
            socket.create_connection((endpoint.host, endpoint.port))


async def test_more_clients_than_there_are_places_are_closed_and_silent_ones_give_theirs_back(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert module._Exchange.timeout == module.CLIENT_SECONDS
    monkeypatch.setattr(module._Exchange, "timeout", 0.2)
    async with trio.open_nursery() as nursery:
        endpoint = await nursery.start(metrics_child, CollectorRegistry, "127.0.0.1:0")
        address = (endpoint.host, endpoint.port)
        with ExitStack() as stack:
            clients = [stack.enter_context(socket.create_connection(address)) for _ in range(module.CONNECTIONS_MAX)]
            extra = stack.enter_context(socket.create_connection(address))
            extra.settimeout(10)
            assert await trio.to_thread.run_sync(extra.recv, 1) == b""
            for client in clients:
                client.settimeout(10)
                assert await trio.to_thread.run_sync(client.recv, 1) == b""
        monkeypatch.setattr(module._Exchange, "timeout", module.CLIENT_SECONDS)
        assert (await trio.to_thread.run_sync(fetch, endpoint.url))[0] == 200
        nursery.cancel_scope.cancel()
    assert capfd.readouterr() == ("", "")


async def test_clients_for_whom_no_thread_can_be_started_give_their_places_back(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    start, refused = threading.Thread.start, 0

    def start_unless_full(thread: threading.Thread) -> None:
        nonlocal refused
        if "process_request_thread" in thread.name and refused <= module.CONNECTIONS_MAX:
            refused += 1
            raise RuntimeError("can't start new thread")
        start(thread)

    async with trio.open_nursery() as nursery:
        endpoint = await nursery.start(metrics_child, CollectorRegistry, "127.0.0.1:0")
        monkeypatch.setattr(threading.Thread, "start", start_unless_full)
        for _ in range(module.CONNECTIONS_MAX + 1):
            with socket.create_connection((endpoint.host, endpoint.port)) as client:
                client.settimeout(10)
                assert await trio.to_thread.run_sync(client.recv, 1) == b""
        assert (await trio.to_thread.run_sync(fetch, endpoint.url))[0] == 200
        nursery.cancel_scope.cancel()
    assert caplog.text.count("can't start new thread") == refused == module.CONNECTIONS_MAX + 1


async def test_a_request_that_comes_letter_by_letter_gives_its_place_back(monkeypatch: pytest.MonkeyPatch) -> None:
    async with trio.open_nursery() as nursery:
        endpoint = await nursery.start(metrics_child, CollectorRegistry, "127.0.0.1:0")
        with monkeypatch.context() as patch:
            patch.setattr(module, "REQUEST_SECONDS", 0.3)
            assert await trio.to_thread.run_sync(_drip, endpoint.port)
        assert (await trio.to_thread.run_sync(fetch, endpoint.url))[0] == 200
        nursery.cancel_scope.cancel()


def _drip(port: int) -> bool:
    """Send a request a letter at a time; whether we were cut before the end of it."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.settimeout(0.05)
        for _ in range(200):
            try:
                connection.sendall(b"x")
                if connection.recv(1) == b"":
                    return True
            except TimeoutError:
                continue
            except OSError:
                return True
    return False


async def test_a_scrape_is_answered_while_the_loop_is_blocked(tmp_path: Path) -> None:
    """Also when restarts were seen, whose windows only the loop can read."""

    async def crash_once(*, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        if not seen:
            seen.append(1)
            raise RuntimeError("planned")
        await trio.sleep_forever()

    seen: list[int] = []
    async with watched_runtime(tmp_path) as watched:
        await watched.workspace()
        # The restart still counts when it is looked for, however late that is.
        await watched.runtime.doors.change(period_seconds=600.0)
        await watched.runtime.doors.start_child(ChildSpec("door", crash_once))
        with patient_scrapes():
            free = await watched.numbers()
        assert free['vespera_supervisor_intensity_used_ratio{supervisor="doors"}'] == pytest.approx(1 / 3)
        answers: list[tuple[int, str]] = []
        scraper = threading.Thread(target=lambda: answers.extend([fetch(watched.endpoint.url)] * 2))
        scraper.start()
        scraper.join(20)  # This is the loop's thread: until the scraper is done, the loop does nothing else.
        assert [status for status, _ in answers] == [200, 200]
        blocked = numbers(answers[0][1])
        assert blocked.keys() == free.keys()
        assert blocked['vespera_supervisor_intensity_used_ratio{supervisor="doors"}'] == pytest.approx(1 / 3)


async def test_a_serving_thread_that_breaks_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def broken(server: module._Server, token: trio.lowlevel.TrioToken, ended: trio.Event) -> None:
        server.serve_forever = lambda _: None
        monkeypatch.setattr(module, "_serve", serve)
        # What shutdown() waits for is set by a loop that ran.
        server._BaseServer__is_shut_down.set()
        serve(server, token, ended)

    serve = module._serve
    monkeypatch.setattr(module, "_serve", broken)
    restarted = trio.Event()
    async with watched_runtime(tmp_path) as watched:
        watched.health.supervision.watch_starts(
            lambda report: restarted.set() if report.kind is ReportKind.CHILD_RESTARTED else None
        )
        with trio.fail_after(10):
            await restarted.wait()
        health = watched.runtime.root.child_value("health")
        assert isinstance(health, Supervisor)
        endpoint = health.child_value("metrics")
        assert isinstance(endpoint, MetricsEndpoint)
        found = numbers((await trio.to_thread.run_sync(fetch, endpoint.url))[1])
        restarts = 'vespera_supervisor_restarts_total{kind="worker",reason="crashed",supervisor="health"}'
        assert found[restarts] == 1


def test_errors_have_one_root() -> None:
    assert issubclass(AddressRefused, HealthError)
