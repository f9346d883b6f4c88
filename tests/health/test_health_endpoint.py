"""`/metrics` over real HTTP: addresses, limits, its place in the tree, and a scrape while the loop is blocked."""

from __future__ import annotations

import socket
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest
import trio
from prometheus_client import CollectorRegistry

from supervisors import ChildSpec, ReportKind, StartFailed, Supervisor, render_tree
from tests.health.kit import fetch, numbers, watched_runtime
from vespera_agents.health import (
    AddressRefused,
    HealthError,
    MetricsEndpoint,
    SupervisionFigures,
    metrics_child,
    parse_address,
    start_health,
)
from vespera_agents.health import endpoint as module
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
            assert (status, text) == (404, "there is only /metrics here\n")
        status, text = await trio.to_thread.run_sync(fetch, url + "?x=1")
        assert status == 200
        assert "# TYPE vespera_tasks gauge" in text
        status, text = await trio.to_thread.run_sync(fetch, url, "application/openmetrics-text; version=1.0.0")
        assert status == 200
        assert text.endswith("# EOF\n")
        status, text = await trio.to_thread.run_sync(fetch, url + "?name[]=vespera_store_queue_depth")
        assert list(numbers(text)) == ["vespera_store_queue_depth"]


async def test_the_tree_shows_the_address(tmp_path: Path) -> None:
    async with watched_runtime(tmp_path) as watched:
        assert watched.endpoint.port > 0
        assert f"address={watched.endpoint.url}" in render_tree(watched.runtime.root.snapshot())


@pytest.mark.parametrize(("address", "begin"), [("[::1]:0", "http://[::1]:"), ("localhost:0", "http://")])
async def test_other_loopback_addresses_are_served(address: str, begin: str) -> None:
    if address.startswith("[") and not _has_ipv6_loopback():
        pytest.skip("this machine has no IPv6 loopback address")
    async with trio.open_nursery() as nursery:
        endpoint = await nursery.start(metrics_child, CollectorRegistry(), address)
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
                await supervisor.start_child(ChildSpec("metrics", metrics_child, args=(CollectorRegistry(), address)))
            assert isinstance(failed.value.__cause__, AddressRefused)
            supervisor.stop()
        async with open_runtime("serve", registry=Registry(tmp_path)) as runtime:
            before = [child.id for child in runtime.root.which_children()]
            for refused, why in ((address, "Free it, or give another HOST:PORT"), ("nonsense", "Write HOST:PORT")):
                with pytest.raises(AddressRefused, match=why):
                    await start_health(runtime, SupervisionFigures(), refused)
            assert [child.id for child in runtime.root.which_children()] == before


async def test_a_host_that_is_not_ours_or_cannot_exist_is_refused() -> None:
    for address in ("192.0.2.1:0", f"{'x' * 70}.invalid:0"):
        with pytest.RaisesGroup(AddressRefused):
            async with trio.open_nursery() as nursery:
                await nursery.start(metrics_child, CollectorRegistry(), address)


async def test_it_ends_even_while_clients_hang() -> None:
    with ExitStack() as stack:
        async with trio.open_nursery() as nursery:
            endpoint = await nursery.start(metrics_child, CollectorRegistry(), "127.0.0.1:0")
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
        endpoint = await nursery.start(metrics_child, CollectorRegistry(), "127.0.0.1:0")
        address = (endpoint.host, endpoint.port)
        with ExitStack() as stack:
            clients = [stack.enter_context(socket.create_connection(address)) for _ in range(module.CONNECTIONS_MAX)]
            extra = stack.enter_context(socket.create_connection(address))
            extra.settimeout(10)
            assert await trio.to_thread.run_sync(extra.recv, 1) == b""
            for client in clients:
                client.settimeout(10)
                assert await trio.to_thread.run_sync(client.recv, 1) == b""
        assert (await trio.to_thread.run_sync(fetch, endpoint.url))[0] == 200
        nursery.cancel_scope.cancel()
    assert capfd.readouterr() == ("", "")


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
        await watched.runtime.doors.start_child(ChildSpec("door", crash_once))
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
        watched.figures.watch_starts(
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
