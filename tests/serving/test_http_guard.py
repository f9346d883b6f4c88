"""What an HTTP request passes before anybody looks into it, and what breaks or holds up a connection.

The door is in this process, with limits small enough to reach; hostile clients are raw sockets.
"""

from __future__ import annotations

import json
import os
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import httpx2
import pytest
import trio
import trustme
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.serving.http_kit import (
    BEHIND,
    MODERN_META,
    Opened,
    call,
    handshake,
    modern,
    open_door,
    post,
    raw,
    request,
    status_of,
)
from vespera_agents.front.http.entrance import Hosts
from vespera_agents.front.http.errors import AddressRefused, CertificateRefused, TokenFileRefused
from vespera_agents.front.http.limits import Limits
from vespera_agents.front.http.listening import listen
from vespera_agents.front.http.tokens import read_tokens
from vespera_agents.front.http.wishes import HttpWish

PING = json.dumps(request("ping")).encode()
ALICE, BOB = "a" * 32, "b" * 32
IDLE_SECONDS = 10.0
"""Long enough that no client is late on a slow machine; whoever waits for its end has the clock jump."""


@pytest.fixture(autouse=True, params=[False, True], ids=["in process", "behind a front"])
def _both(request: pytest.FixtureRequest) -> Iterator[None]:
    """Everything here holds with a front and without one."""
    token = BEHIND.set(request.param)
    yield
    BEHIND.reset(token)


def secret(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


LOOPBACK = Hosts(loopback=True, names=frozenset({"localhost", "127.0.0.1"}))
OPEN = Hosts(loopback=False, names=frozenset({"box.example.org", "0.0.0.0"}))  # noqa: S104 - a name, nothing is bound


@pytest.mark.parametrize(
    ("hosts", "host", "served"),
    [
        (LOOPBACK, "127.0.0.1:8765", True),
        (LOOPBACK, "LOCALHOST", True),
        (LOOPBACK, "[::1]:80", True),
        (LOOPBACK, "127.8.9.1:1", True),
        (LOOPBACK, "evil.example", False),
        (LOOPBACK, "localhost.evil.example", False),
        (LOOPBACK, "127.0.0.1.evil.example:80", False),
        (LOOPBACK, "evil@127.0.0.1", False),
        (LOOPBACK, "10.0.0.7:80", False),
        (LOOPBACK, "", False),
        (LOOPBACK, None, False),
        (LOOPBACK, "127.0.0.1:80:80", False),
        (OPEN, "box.example.org:8765", True),
        (OPEN, "10.0.0.7:80", True),
        (OPEN, "evil.example", False),
    ],
)
def test_a_host_header_must_name_us(hosts: Hosts, host: str | None, *, served: bool) -> None:
    assert hosts.serves(host) is served


@pytest.mark.parametrize(
    ("hosts", "origin", "trusted"),
    [
        (LOOPBACK, None, True),
        (LOOPBACK, "http://localhost:5173", True),
        (LOOPBACK, "https://127.0.0.1", True),
        (LOOPBACK, "http://[::1]:99", True),
        (LOOPBACK, "null", False),
        (LOOPBACK, "", False),
        (LOOPBACK, "http://evil.example", False),
        (LOOPBACK, "file://localhost", False),
        (LOOPBACK, "http://localhost.evil.example", False),
        (OPEN, "https://box.example.org", True),
        (OPEN, "http://10.0.0.7", False),
        (OPEN, "http://localhost", False),
    ],
)
def test_a_page_must_be_ours(hosts: Hosts, origin: str | None, *, trusted: bool) -> None:
    assert hosts.trusts(origin) is trusted


@pytest.mark.parametrize(
    ("headers", "path", "status"),
    [
        (["Host: 127.0.0.1"], "/", 404),
        (["Host: 127.0.0.1"], "/mcp/more", 404),
        (["Host: 127.0.0.1"], "/%2e%2e/mcp", 404),
        (["Host: evil.example"], "/mcp", 421),
        (["Host: 127.0.0.1", "Origin: http://evil.example"], "/mcp", 403),
        (["Host: 127.0.0.1", "Host: evil.example"], "/mcp", 400),
        ([], "/mcp", 400),
    ],
)
async def test_who_does_not_mean_us_is_refused(tmp_path: Path, headers: list[str], path: str, status: int) -> None:
    async with open_door(tmp_path) as opened:
        answer = await raw(opened.port, post(PING, *headers, path=path))
        assert status_of(answer) == status
        if status != 400:  # hypercorn's own answer has no body
            assert "/mcp" in answer.decode() or "--allowed-host" in answer.decode()
            assert (opened.front or opened.door).tree_detail()["refused"] == 1
        assert opened.door.tree_detail()["requests"] == 0


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/mcp", {}, 401),
        ("/mcp", {"authorization": f"Bearer {BOB}"}, 401),
        ("/mcp", {"authorization": f"Bearer {ALICE}", "host": "evil.example"}, 421),
        ("/mcp", {"authorization": f"Bearer {ALICE}", "origin": "http://evil.example"}, 403),
        ("/other", {"authorization": f"Bearer {ALICE}"}, 404),
    ],
)
async def test_who_may_not_come_in_is_told_so_before_its_body_is_read(
    tmp_path: Path, path: str, headers: dict[str, str], status: int
) -> None:
    """Of a body that never comes: whoever waits for it does not answer."""
    tokens = secret(tmp_path / "tokens", f"alice:{ALICE}\n")
    async with open_door(tmp_path, Limits(body_seconds=600.0), token_file=tokens) as opened:
        about = {"host": "localhost", "content-length": "1000000"} | headers
        lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in about.items())]
        with trio.fail_after(20):
            async with await trio.open_tcp_stream("127.0.0.1", opened.port) as stream:
                await stream.send_all("\r\n".join(lines).encode() + b"\r\n\r\n" + b"x" * 10_000)
                assert status_of(bytes(await stream.receive_some())) == status
                if opened.front is not None:
                    assert opened.front.statistics().bodies_bytes == 0


async def test_a_token_opens_and_names_its_principal(tmp_path: Path) -> None:
    tokens = secret(tmp_path / "tokens", f"# ours\nalice:{ALICE}\n\n{BOB}\n")
    async with open_door(tmp_path, token_file=tokens) as opened:
        wrong = ({}, {"authorization": "Bearer " + "c" * 32}, {"authorization": f"Basic {ALICE}"})
        for headers in (*wrong, {"authorization": "Bearer"}, {"authorization": f"Bearer alice:{ALICE}"}):
            async with opened.client(headers=headers) as client:
                answer = await client.post("", json=request("initialize"))
                assert answer.status_code == 401
                assert answer.headers["www-authenticate"].startswith("Bearer")
        async with (
            opened.client(headers={"authorization": f"Bearer {ALICE}"}) as alice,
            opened.client(headers={"authorization": f"bearer {BOB}"}) as bob,
        ):
            alice.headers.update(hers := await handshake(alice))
            bob.headers.update(await handshake(bob))
            for client in (alice, bob):
                assert (await client.post("", json=call("quick"))).status_code == 200
            # Her session is not his, and he does not learn that there is one.
            assert (await bob.post("", json=call("quick"), headers=hers)).status_code == 404
        assert [who.principal for who in opened.bench.identities] == ["alice", "token"]
        assert all(who.connection and who.transport == "http" for who in opened.bench.identities)


@pytest.mark.parametrize(
    ("text", "mode", "words"),
    [
        (ALICE, 0o640, "chmod 600"),
        (ALICE, 0o602, "chmod 600"),
        ("", 0o600, "has 0 tokens"),
        ("short\n", 0o600, "line 1"),
        (f"{ALICE}\nbad name:{BOB}\n", 0o600, "line 2"),
        (f"{ALICE}\x00\n", 0o600, "line 1"),
    ],
)
def test_a_token_file_that_is_not_ours_alone_or_not_well_formed_is_refused(
    tmp_path: Path, text: str, mode: int, words: str
) -> None:
    path = tmp_path / "tokens"
    path.write_text(text)
    path.chmod(mode)
    with pytest.raises(TokenFileRefused, match=words) as found:
        read_tokens(path)
    assert ALICE not in str(found.value)
    assert "short" not in str(found.value)


def test_a_token_file_that_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "missing", Path("/dev/null")):
        with pytest.raises(TokenFileRefused):
            read_tokens(path)


@pytest.mark.parametrize(
    "address", ["", "8765", "127.0.0.1", "127.0.0.1:99999", "::1:80", "a b:80", "no.such.invalid:80"]
)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(AddressRefused), listen(HttpWish(address)):
        pass


def test_an_address_that_others_reach_wants_a_token(tmp_path: Path) -> None:
    with pytest.raises(AddressRefused, match="--token-file"), listen(HttpWish("0.0.0.0:0")):
        pass
    with listen(HttpWish("0.0.0.0:0", secret(tmp_path / "tokens", ALICE))) as listening:
        assert listening.entrance is not None
        assert listening.entrance.tokens is not None
        assert listening.entrance.tokens.count == 1


def test_a_taken_port_is_refused() -> None:
    with listen(HttpWish("127.0.0.1:0")) as first:
        address = f"127.0.0.1:{first.socket.getsockname()[1]}"
        with pytest.raises(AddressRefused, match="port 0 takes a free one"), listen(HttpWish(address)):
            pass


async def test_over_tls_a_client_that_trusts_the_certificate_is_served(tmp_path: Path) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("localhost", "127.0.0.1")
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(key)
    async with open_door(tmp_path, tls_cert=certificate, tls_key=key) as opened:
        assert opened.url.startswith("https://")
        context = ssl.create_default_context()
        authority.configure_trust(context)
        async with opened.client(verify=context) as client:
            about = await handshake(client)
            assert (await client.post("", json=call("quick"), headers=about)).status_code == 200
        async with opened.client() as stranger:
            with pytest.raises(httpx2.ConnectError):
                await stranger.post("", json=request("ping"))
        # Plain words over the encrypted port, and silence, end that connection alone.
        assert b"HTTP/1.1 2" not in await raw(opened.port, post(PING, "Host: 127.0.0.1"))
        async with opened.client(verify=context) as client:
            await handshake(client)
    other = authority.issue_cert("localhost")
    other.private_key_pem.write_to_path(tmp_path / "other.pem")
    for wish in (
        HttpWish("127.0.0.1:0", tls_cert=certificate),
        HttpWish("127.0.0.1:0", tls_key=key),
        HttpWish("127.0.0.1:0", tls_cert=certificate, tls_key=tmp_path / "other.pem"),
        HttpWish("127.0.0.1:0", tls_cert=certificate, tls_key=tmp_path / "missing.pem"),
        HttpWish("127.0.0.1:0", tls_cert=key, tls_key=key),
    ):
        with pytest.raises(CertificateRefused, match="Give"), listen(wish):
            pass


async def test_a_body_that_is_too_long_or_too_slow_is_refused(tmp_path: Path) -> None:
    async with open_door(tmp_path, Limits(body_bytes_max=1_000)) as opened, opened.client() as client:
        about = await handshake(client)
        for size in (1_001, 3_000):
            answer = await client.post("", content=b"x" * size, headers=about)
            assert answer.status_code == 413
            assert "Send less" in answer.json()["error"]["message"]

        async def much() -> AsyncIterator[bytes]:
            for _ in range(20):
                yield b"x" * 500

        # What goes on and on is not listened to for ever, so the answer may be lost on the way.
        with suppress(httpx2.TransportError):
            assert (await client.post("", content=much(), headers=about)).status_code == 413
        assert (await client.post("", json=call("quick"), headers=about)).status_code == 200
    async with open_door(tmp_path, Limits(body_seconds=0.2)) as opened:
        host = f"Host: 127.0.0.1:{opened.port}"
        slow = await raw(opened.port, f"POST /mcp HTTP/1.1\r\n{host}\r\nContent-Length: 9\r\n\r\nabc".encode())
        assert status_of(slow) == 408


async def test_a_head_that_is_too_long_or_too_slow_ends_its_connection(tmp_path: Path, jump_clock: MockClock) -> None:
    async with open_door(tmp_path, Limits(idle_seconds=IDLE_SECONDS)) as opened:
        assert status_of(await raw(opened.port, b"GET /mcp HTTP/1.1\r\nX: " + b"x" * 100_000)) == 431
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_keep_answer, opened, b"", answers := list[bytes]())
            await wait_all_tasks_blocked(0.02)
            jump_clock.jump(2 * IDLE_SECONDS)
        assert answers == [b""]
        async with await trio.open_tcp_stream("127.0.0.1", opened.port) as stream:
            # A byte now and then does not buy more time.
            with pytest.raises(trio.BrokenResourceError):
                for byte in b"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"x" * 100:
                    await stream.send_all(bytes([byte]))
                    jump_clock.jump(IDLE_SECONDS / 10)
                    await trio.sleep(0.02)
        async with opened.client() as client:
            await handshake(client)


@pytest.mark.parametrize(
    "data",
    [
        b"hello\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
        b"POST /mcp HTTP/9.9\r\n\r\n",
        b"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nzzz\r\n",
        b"POST /m\xffcp HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        (
            b"GET /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        ),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 64,
        b"GET /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: h2c\r\nHTTP2-Settings: !!\r\nConnection: Upgrade\r\n\r\n",
        b"\x00" * 5_000,
    ],
)
async def test_garbage_ends_its_connection_alone(
    tmp_path: Path, data: bytes, caplog: pytest.LogCaptureFixture, jump_clock: MockClock
) -> None:
    async with open_door(tmp_path, Limits(idle_seconds=IDLE_SECONDS)) as opened, opened.client() as client:
        about = await handshake(client)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_keep_answer, opened, data, answers := list[bytes]())
            await wait_all_tasks_blocked(0.02)
            assert (await client.post("", json=call("quick"), headers=about)).status_code == 200
            # What may be the beginning of something is waited for no longer; nor is our client, as idle by then.
            jump_clock.jump(2 * IDLE_SECONDS)
        assert b"Traceback" not in answers[0]
        async with opened.client() as other:
            assert (await other.post("", json=call("quick"), headers=about)).status_code == 200
    assert not caplog.records, caplog.text


async def _keep_answer(opened: Opened, data: bytes, answers: list[bytes]) -> None:
    """Send bytes, and keep what is answered until the server closes."""
    answers.append(await raw(opened.port, data, seconds=10 * IDLE_SECONDS))


async def test_one_connection_or_request_too_many_is_told_to_come_again(tmp_path: Path) -> None:
    async with open_door(tmp_path, Limits(connections_max=3, exchanges_max=2)) as opened, opened.client() as client:
        about = await handshake(client)
        async with trio.open_nursery() as nursery:
            for number in (1, 2):
                nursery.start_soon(lambda number=number: client.post("", json=call("wait", number), headers=about))
            await opened.bench.until(opened.bench.begun, 2)
            full = await client.post("", json=call("quick", 3), headers=about)
            assert full.status_code == 503
            assert full.headers["retry-after"] == "1"
            turned_away = await raw(opened.port, b"")
            assert status_of(turned_away) == 503
            assert json.loads(turned_away.partition(b"\r\n\r\n")[2])["error"]["message"].endswith("Try again.")
            opened.bench.go.set()
        assert (await client.post("", json=call("quick"), headers=about)).status_code == 200


async def test_a_peer_that_reads_nothing_holds_up_nobody_and_not_the_end(tmp_path: Path) -> None:
    limits = Limits(send_seconds=60.0, last_answers_seconds=0.1)
    async with open_door(tmp_path, limits) as opened:
        stream = await trio.open_tcp_stream("127.0.0.1", opened.port)
        stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        huge = json.dumps({**request("no/such"), "id": "x" * 8_000_000}).encode()
        hello = request(
            "initialize", 0, protocolVersion="2025-11-25", capabilities={}, clientInfo={"name": "r", "version": "1"}
        )
        async with opened.client() as client:
            about = await handshake(client)
            lines = [
                "Host: 127.0.0.1",
                "Accept: */*",
                "Content-Type: application/json",
                *(f"{k}: {v}" for k, v in about.items()),
            ]
            await stream.send_all(post(huge, *lines))
            with trio.fail_after(20):
                while not (await client.post("", json=hello)).is_success:
                    pass
        with trio.fail_after(10):
            opened.door.stop()
            await opened.door.ended.wait()
        await trio.aclose_forcefully(stream)


async def test_a_modern_client_that_hangs_up_cancels_its_call(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with open_door(tmp_path) as opened, opened.client() as client:
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                await client.post("", json=call("wait", **MODERN_META), headers=modern("wait"))

            nursery.start_soon(ask)
            await opened.bench.until(opened.bench.begun, 1)
            assert opened.bench.identities[0].connection is None
            nursery.cancel_scope.cancel()
        await opened.bench.until(opened.bench.cancelled, 1)
    assert not caplog.records, caplog.text
