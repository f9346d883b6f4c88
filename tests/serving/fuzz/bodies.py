"""Mutated bodies and headers to a real server over HTTP, and what it makes of them.

Not a test: `test_fuzzing` runs a share of it, the command all. Written on plain sockets, because no HTTP client of
good manners sends such heads. Neighbours: `lines` does the same over standard input.
"""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import h11
import trio

from tests.serving.fuzz.lines import ANSWER_SECONDS, GROWTH_BYTES_MAX, Findings, rss_bytes
from tests.serving.fuzz.messages import LEGACY, MODERN, Ids, breakdown, handshake, opening
from tests.serving.fuzz.mutations import mutated_body
from tests.serving.kit import HttpServer, Place, http_server
from vespera_agents.front.http.limits import HEAD_BYTES_MAX

BLOCK = 100
"""Bodies between two good calls."""
AT_ONCE = 8
PATIENCE_SECONDS = 0.1
"""How long more of a stream is read that no answer ends."""
_FINE = {
    100,
    200,
    202,
    400,
    401,
    403,
    404,
    405,
    406,
    408,
    409,
    411,
    413,
    414,
    415,
    417,
    421,
    426,
    429,
    431,
    501,
    503,
    505,
}
"""What may be answered. 500 is a crash of ours."""
SWITCHING = 101
SILENCE_SECONDS = 0.25
"""How long an answer to a part of a request is awaited before we say that no more of it comes."""
Headers = list[tuple[bytes, bytes]]


@dataclass
class _Door:
    """Where bodies go, and as whom."""

    port: int
    era: str
    session: bytes = b""
    """The `Mcp-Session-Id` of the handshake era."""


async def fuzz_bodies(place: Place, era: str, count: int, seed: int) -> Findings:
    """Send mutated bodies and heads of an era to one server process."""
    findings = Findings()
    source = random.Random(f"{seed} {era} http")
    started = time.monotonic()
    async with http_server(place) as server:
        try:
            await _converse(server, place, era, count, source, findings)
        except (AssertionError, trio.TooSlowError, OSError) as error:
            findings.faults.append(f"after {findings.sent} bodies (seed {seed}): {error!r}")
        status = await server.end() if server.process.returncode is None else server.process.returncode
        if status != 0:
            findings.faults.append(f"it ended with {status}")
        for line in server.errors:
            findings.look_at_log(line)
    findings.seconds = time.monotonic() - started
    return findings


async def _converse(
    server: HttpServer, place: Place, era: str, count: int, source: random.Random, findings: Findings
) -> None:
    door = _Door(int(server.url.rsplit(":", 1)[1].partition("/")[0]), era)
    session = (await _good_call(door, opening(era)))["id"]
    await _good_call(door, breakdown(era, session))
    ids = Ids(session, tuple(row[0] for row in place.rows("SELECT id FROM task ORDER BY seq")))
    blocks = max(1, count // BLOCK)
    for number in range(blocks):
        requests = [_request(source, door, ids) for _ in range(min(BLOCK, count))]
        limiter = trio.CapacityLimiter(AT_ONCE)
        async with trio.open_nursery() as nursery:
            for request in requests:
                nursery.start_soon(_send, door, request, limiter, findings)
        findings.sent += len(requests)
        await _good_call(door, opening(era, number))
        if number == min(9, blocks - 1):
            findings.rss_before = rss_bytes(server.process.pid)
    findings.rss_after = rss_bytes(server.process.pid)
    if findings.growth > GROWTH_BYTES_MAX:
        findings.faults.append(f"it holds {findings.growth} bytes more than after the first bodies")


async def _send(door: _Door, request: bytes, limiter: trio.CapacityLimiter, findings: Findings) -> None:
    """Send one request over a connection of its own, and look at what is answered."""
    async with limiter:
        try:
            with trio.fail_after(ANSWER_SECONDS):
                answer = await exchange(door.port, request)
        except (AssertionError, trio.TooSlowError) as error:
            findings.faults.append(f"no end of the answer to {request[:500]!r}: {error!r}")
            return
    text = answer.decode(errors="replace")
    findings.look_at(text, "an answer")
    for status in re.findall(r"(?m)^HTTP/1\.1 (\d+)", text):
        findings.answers += 1
        findings.errors += int(status) >= 400
        # HTTP/2 without encryption, for who asks for it: what came with it was no body then.
        switched = int(status) == SWITCHING and b"upgrade: h2c" in request.lower()
        if int(status) not in _FINE and not switched:
            findings.faults.append(f"status {status} for {request[:500]!r}: {text[:300]}")


async def exchange(port: int, request: bytes, *, ends: bool = False) -> bytes:
    """Send bytes, and read until the answer is whole, only streams, or the server closes.

    Args:
        port: where.
        request: what.
        ends: whether the answer does also when it streams, as on a slow machine any may; then it is waited for.
    """
    received = b""
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        try:
            await stream.send_all(request)
            # Who has said everything must not say that no more comes: that is hanging up, and is answered nothing.
            silent = None if _leaves_nothing_open(request) else trio.current_time() + SILENCE_SECONDS
            while not _whole(received, bodiless=request.startswith(b"HEAD ")):
                limit = PATIENCE_SECONDS if b"event-stream" in received and not ends else ANSWER_SECONDS
                with trio.move_on_after(limit) as patience:
                    if not received and silent is not None:
                        patience.deadline = silent
                    chunk = await stream.receive_some()
                if not patience.cancelled_caught:
                    received += chunk
                    if not chunk:
                        break
                elif received:
                    break
                elif silent is None:
                    raise AssertionError(f"no answer in time to {request[:300]!r}")
                else:
                    # It waits for more of the body than there is.
                    silent = None
                    await stream.send_eof()
        except trio.BrokenResourceError:
            # It closed the connection while we still wrote: it may, once it has refused.
            pass
    return received


def _leaves_nothing_open(request: bytes) -> bool:
    """Say whether a server has all of a request, or can tell that it is none."""
    http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES_MAX)
    http.receive_data(request)
    try:
        while (event := http.next_event()) is not h11.NEED_DATA:
            if isinstance(event, h11.EndOfMessage):
                return True
    except h11.RemoteProtocolError:
        return True
    return False


def _whole(received: bytes, *, bodiless: bool) -> bool:
    """Say whether an answer has arrived, as far as its head tells."""
    head, end, rest = received.partition(b"\r\n\r\n")
    if head.startswith(b"HTTP/1.1 100"):
        return _whole(rest, bodiless=bodiless)
    if bodiless and end:
        return True
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    if length is not None:
        return len(rest) >= int(length[1])
    return bool(end) and rest.endswith(b"0\r\n\r\n")


async def _good_call(door: _Door, message: dict[str, Any]) -> dict[str, Any]:
    """See that a good call is answered well, whatever came before."""
    if door.era == "legacy":
        # A mutated request may have ended the session, as a client may.
        head, _ = await _ask(door, handshake())
        found = re.search(rb"(?i)mcp-session-id: *(\S+)", head)
        assert found, f"a handshake was refused: {head[:500]!r}"
        door.session = found[1]
    _, answer = await _ask(door, message)
    result = answer.get("result", {"isError": True})
    assert not result.get("isError", False), f"a good call was refused: {answer}"
    return result["structuredContent"]


async def _ask(door: _Door, message: dict[str, Any]) -> tuple[bytes, dict[str, Any]]:
    body = json.dumps(message).encode()
    request = _written(b"POST", b"/mcp", _headers(door, message, len(body)), body)
    with trio.fail_after(ANSWER_SECONDS):
        answer = await exchange(door.port, request, ends=True)
    head, _, rest = answer.partition(b"\r\n\r\n")
    found = re.findall(rb"(?m)^(?:data: )?(\{.*\})\r?$", rest)
    assert found, f"no answer to a good call: {answer[:500]!r}"
    return head, json.loads(found[-1])


def _headers(door: _Door, message: dict[str, Any] | None, length: int) -> Headers:
    """Give the headers that belong to a message, as an honest client sends them."""
    about: Headers = [
        (b"host", f"127.0.0.1:{door.port}".encode()),
        (b"content-type", b"application/json"),
        (b"accept", b"application/json, text/event-stream"),
        (b"content-length", str(length).encode()),
        (b"mcp-protocol-version", (MODERN if door.era == "modern" else LEGACY).encode()),
        (b"connection", b"close"),
    ]
    if door.era == "modern" and isinstance(message, dict) and isinstance(message.get("method"), str):
        params = message.get("params")
        name = (params.get("name") or params.get("uri") or params.get("taskId")) if isinstance(params, dict) else None
        about.append((b"mcp-method", message["method"].encode(errors="replace")))
        if isinstance(name, str):
            about.append((b"mcp-name", name.encode(errors="replace")))
    if door.session and (message or {}).get("method") != "initialize":
        about.append((b"mcp-session-id", door.session))
    return about


def _written(method: bytes, target: bytes, headers: Headers, body: bytes) -> bytes:
    head = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
    return method + b" " + target + b" HTTP/1.1\r\n" + head + b"\r\n" + body


def _request(source: random.Random, door: _Door, ids: Ids) -> bytes:
    """Make a request of a mutated body, and now and then of mutated headers."""
    body = mutated_body(source, door.era, ids)
    try:
        message = json.loads(body)
    except (ValueError, RecursionError):
        message = None
    headers = _headers(door, message if isinstance(message, dict) else None, len(body))
    # What a line break in a name would do is for the attacks: here it would only be a head of its own.
    headers = [(name, re.sub(rb"[\r\n\0]", b"", value)) for name, value in headers]
    method, target = b"POST", b"/mcp"
    if source.random() < 0.35:
        for _ in range(source.choice((1, 1, 2))):
            headers = source.choice(_ON_HEADERS)(source, headers)
    if source.random() < 0.04:
        method = source.choice((b"GET", b"DELETE", b"PUT", b"OPTIONS", b"HEAD", b"post", b"P\0ST", b"X" * 500))
    if source.random() < 0.03:
        target = source.choice(
            (b"/", b"/mcp/", b"/mcp?x=1", b"//mcp", b"/mcp/../mcp", b"/%6dcp", b"/m\xffcp", b"*", b"/" * 9_000)
        )
    request = _written(method, target, headers, body)
    if source.random() < 0.02:
        request = request[: source.randrange(1, len(request))]
    return request


def _set(name: bytes, *values: bytes) -> Callable[[random.Random, Headers], Headers]:
    def change(source: random.Random, headers: Headers) -> Headers:
        kept = [one for one in headers if one[0] != name]
        return [*kept, (name, source.choice(values))]

    return change


def _doubled(source: random.Random, headers: Headers) -> Headers:
    return [*headers, source.choice(headers)]


def _dropped(source: random.Random, headers: Headers) -> Headers:
    spared = source.choice(headers)
    return [one for one in headers if one is not spared]


def _contradicting(source: random.Random, headers: Headers) -> Headers:
    name, _ = source.choice(headers)
    return [*headers, (name, source.choice((b"x", b"", b"0", b"-1", b"\xff\xfe")))]


def _oversized(source: random.Random, headers: Headers) -> Headers:
    return [*headers, (b"x-large", b"a" * source.choice((1_000, 70_000, 300_000)))]


def _many(source: random.Random, headers: Headers) -> Headers:
    return [*headers, *((b"x-%d" % number, b"1") for number in range(source.choice((50, 2_000))))]


def _broken(source: random.Random, headers: Headers) -> Headers:
    return [
        *headers,
        source.choice(
            ((b"", b"x"), (b"a b", b"x"), (b"x\0", b"y"), (b"x", b"a\0b"), (b"\xff", b"\xff"), (b"x", b"a\rb"))
        ),
    ]


_ON_HEADERS: tuple[Callable[[random.Random, Headers], Headers], ...] = (
    _doubled, _dropped, _contradicting, _oversized, _many, _broken,
    _set(b"mcp-protocol-version", b"", b"2024-11-05", b"2099-01-01", b"\xff", b"2026-07-28, 2025-11-25", b"x" * 5_000),
    _set(b"mcp-method", b"", b"ping", b"tools/call", b"=?base64?!!?=", b"\xff", b"x" * 5_000),
    _set(b"mcp-name", b"", b"=?base64?AAAA?=", b"=?base64?//8=?=", b"=?base64?=", b"orchestrator_health_check"),
    _set(b"mcp-session-id", b"", b"0" * 32, b"../../etc", b"' OR 1=1 --", b"\xff", b"x" * 5_000),
    _set(b"accept", b"", b"*/*", b"text/html", b"application/json", b"application/json;q=x, text/event-stream;q=2"),
    _set(b"content-type", b"", b"text/plain", b"application/json; charset=utf-16", b"multipart/form-data; boundary=x"),
    _set(b"content-length", b"0", b"1", b"-1", b"99999999999999999999", b"abc", b"1, 2"),
    _set(b"transfer-encoding", b"chunked", b"identity", b"gzip, chunked", b"x"),
    _set(b"content-encoding", b"gzip", b"x"),
    _set(b"host", b"", b"evil.example", b"127.0.0.1:1", b"[::1", b"a" * 3_000, b"\xff"),
    _set(b"origin", b"null", b"http://evil.example", b"http://127.0.0.1:99999999", b"x", b"http://[::1"),
    _set(b"authorization", b"", b"Bearer", b"Bearer \xff", b"Basic eDp5"),
    _set(b"last-event-id", b"", b"1/1", b"-1/0", b"9" * 400 + b"/1", b"x", b"0/99999999999999999999"),
    _set(b"expect", b"100-continue", b"x"),
    _set(b"connection", b"keep-alive", b"upgrade", b"Upgrade, HTTP2-Settings", b"x"),
    _set(b"upgrade", b"websocket", b"h2c", b"x"),
)  # fmt: skip
