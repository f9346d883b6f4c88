"""A front between an HTTP client and workers that end at every byte of their answer: the client gets it whole, once.

The workers are scripts, so that each byte can be the last; `test_http_front` kills those that serve.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest
import trio

from tests.serving.http_kit import (
    HEADERS,
    Opened,
    Workers,
    call,
    handshake,
    message_of,
    modern,
    open_door,
    streaming,
)
from tests.serving.http_kit import MODERN_META as META
from vespera_agents.front.http.door import FrontDoor
from vespera_agents.front.http.listening import listen
from vespera_agents.front.http.wishes import HttpWish
from vespera_agents.front.http.workers import HttpWorker

STREAM = b"HTTP/1.1 200 \r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
PRIMING = b"id: 1-0\r\nretry: 500\r\ndata: \r\n\r\n"
EVENTS = [
    b'id: 1-1\r\ndata: {"method":"p","progress":1}\r\n\r\n',
    b'id: 1-2\r\ndata: {"method":"p","progress":2}\r\n\r\n',
    b'id: 1-3\r\ndata: {"id":1,"result":{}}\r\n\r\n',
]
MARKS = [b": P 1\r\n", b": P 2\r\n", b": R\r\n"]
WHOLE = PRIMING + b"".join(EVENTS)
PARTS = [PRIMING, *(mark + event for mark, event in zip(MARKS, EVENTS, strict=True))]
BODY = b"".join(PARTS)
END = b"0\r\n\r\n"
ANSWERED = len(BODY)
DOCUMENT = b'{"jsonrpc":"2.0","id":1,"result":{}}'
PLAIN = b"HTTP/1.1 200 \r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(DOCUMENT), DOCUMENT)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data) if data else b""


STREAMED = STREAM + b"".join(map(chunk, PARTS)) + END


class Script:
    """Workers that answer each request as a script says, and then are gone."""

    def __init__(self, root: Path) -> None:
        self.path = str(root / "worker.sock")
        self.workers = Workers()
        self.first = b""
        self.again: Callable[[bytes], bytes] = lambda _: b""
        self.asked: list[bytes] = []

    def begin(self, first: bytes, again: Callable[[bytes], bytes]) -> None:
        """Let the first worker write these bytes and end; `again` makes the answer of the next from its request."""
        self.first, self.again, self.asked = first, again, []
        self.workers.change(HttpWorker(self.path))

    async def serve(self, stream: trio.SocketStream) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += bytes(await stream.receive_some())
        self.asked.append(head)
        if len(self.asked) > 1:
            await stream.send_all(self.again(head))
            await stream.receive_some()
            return
        await stream.send_all(self.first)
        await stream.aclose()
        worker = self.workers.current()
        assert worker is not None
        worker.end(blamed=False, why="it was told to")
        self.workers.change(HttpWorker(self.path))


@asynccontextmanager
async def scripted(root: Path) -> AsyncIterator[tuple[Script, httpx2.AsyncClient]]:
    script = Script(root)
    socket = trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM)
    await socket.bind(script.path)
    socket.listen(100)
    with listen(HttpWish("127.0.0.1:0")) as listening:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, script.serve, [trio.SocketListener(socket)])
            door = FrontDoor(listening, script.workers)
            await nursery.start(door.run)
            async with httpx2.AsyncClient(base_url=listening.url, headers=HEADERS, timeout=20) as client:
                yield script, client
            door.stop()
            await door.ended.wait()
            nursery.cancel_scope.cancel()


def resumed(head: bytes) -> bytes:
    """Answer as a worker does to which a request is repeated: what primes the client is not sent twice."""
    parts = PARTS[1:] if b"last-event-id: 1-" in head else PARTS
    return STREAM + b"".join(map(chunk, parts)) + END


async def test_a_worker_that_dies_at_any_byte_of_a_stream_leaves_no_half_event(tmp_path: Path) -> None:
    answered = STREAMED.index(EVENTS[-1]) + len(EVENTS[-1])
    async with scripted(tmp_path) as (script, client):
        for length in range(len(STREAMED)):
            script.begin(STREAMED[:length], resumed)
            answer = await client.post("", json=call("x"))
            assert answer.content == WHOLE, (length, answer.content)
            if length < answered:
                assert len(script.asked) == 2, length


async def test_a_stream_that_ends_in_good_order_before_its_answer_is_repeated(tmp_path: Path) -> None:
    async with scripted(tmp_path) as (script, client):
        for length in range(len(BODY) + 1):
            script.begin(STREAM + chunk(BODY[:length]) + END, resumed)
            answer = await client.post("", json=call("x"))
            assert answer.content == WHOLE, (length, answer.content)
            assert len(script.asked) == (2 if length < ANSWERED else 1), length


async def test_a_worker_that_dies_at_any_byte_of_a_document_leaves_nothing_of_it(tmp_path: Path) -> None:
    async with scripted(tmp_path) as (script, client):
        for length in range(len(PLAIN)):
            script.begin(PLAIN[:length], lambda _: PLAIN)
            answer = await client.post("", json=call("x"))
            assert (answer.status_code, answer.content) == (200, DOCUMENT), length
            assert len(script.asked) == 2


async def test_a_library_that_breaks_off_without_a_word_is_no_answer(tmp_path: Path) -> None:
    async with scripted(tmp_path) as (script, client):
        script.begin(b"HTTP/1.1 500 \r\ncontent-length: 0\r\nconnection: close\r\n\r\n", lambda _: PLAIN)
        assert (await client.post("", json=call("x"))).content == DOCUMENT


async def test_where_a_worker_says_that_a_stream_ends_without_its_answer_nothing_is_repeated(tmp_path: Path) -> None:
    async with scripted(tmp_path) as (script, client):
        script.begin(STREAM + chunk(PARTS[0] + b": E\r\n\r\n") + END, resumed)
        assert (await client.post("", json=call("x"))).content == PRIMING
        assert len(script.asked) == 1


# ---- a worker that is replaced in good order


async def replaced_in_order(opened: Opened) -> None:
    """Let another worker take over, as a restart does: the old one is told to end, and does so by itself."""
    worker = opened.worker
    assert worker.link is not None
    assert worker.about is not None
    worker.link.hear(b"= drain 0.01")
    await worker.door.drained()
    # The end of the link, which to one that was drained is not the end of the front.
    worker.link.close()
    worker.door.stop()
    with trio.fail_after(20):
        await worker.gone.wait()
    worker.about.end(blamed=False, why="it was replaced")
    opened.workers.change(None)
    await opened.start()


@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_a_stream_that_is_open_when_its_worker_is_replaced_goes_on_to_its_answer(
    tmp_path: Path, era: str
) -> None:
    async with open_door(tmp_path, behind=True) as opened, opened.client() as client:
        legacy = era == "legacy"
        headers = await handshake(client) if legacy else modern("count_and_wait")
        message = call("count_and_wait", progressToken=7, **({} if legacy else META))
        async with streaming(client, "POST", json=message, headers=headers) as stream:
            seen = [await anext(stream) for _ in range(4 if legacy else 3)]
            for _ in range(3):
                await replaced_in_order(opened)
                await opened.bench.until(opened.bench.begun, 1)
            opened.bench.go.set()
            seen += [event async for event in stream]
        said = [event.data for event in seen if event.data]
        assert [one["params"]["progress"] for one in said[:-1]] == [1, 2, 3, 4]
        assert said[-1]["result"]["content"][0]["text"] == "count_and_wait is done"


@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_a_call_that_is_open_when_its_worker_is_replaced_is_answered(tmp_path: Path, era: str) -> None:
    async with open_door(tmp_path, behind=True) as opened, opened.client() as client:
        legacy = era == "legacy"
        headers = await handshake(client) if legacy else modern("wait")
        found: list[httpx2.Response] = []

        async def ask() -> None:
            found.append(await client.post("", json=call("wait", **({} if legacy else META)), headers=headers))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await opened.bench.until(opened.bench.begun, 1)
            for _ in range(3):
                await replaced_in_order(opened)
                await opened.bench.until(opened.bench.begun, 1)
            opened.bench.go.set()
        assert message_of(found[0])["result"]["content"][0]["text"] == "wait is done"


async def test_the_sessions_own_stream_does_not_end_with_a_worker_that_is_replaced(tmp_path: Path) -> None:
    async with open_door(tmp_path, behind=True) as opened, opened.client() as client:
        about = await handshake(client)
        async with streaming(client, "GET", headers=about) as stream:
            await anext(stream)
            for number in range(3):
                await replaced_in_order(opened)
                await client.post("", json=call("announce", number), headers=about)
                while (event := await anext(stream)).data is None or "tools" not in event.data["method"]:
                    pass


async def test_the_way_to_the_private_socket_and_back_is_gone_and_says_so(tmp_path: Path) -> None:
    async with open_door(tmp_path, behind=True) as opened:
        assert opened.front is not None
        assert await opened.front.reach(b"there and back") is None
        worker = opened.worker
        assert worker.about is not None
        await trio.Path(worker.about.path).unlink()
        opened.front._pool.close()
        assert "broke" in str(await opened.front.reach(b"there and back"))
        await opened.kill()
        assert "no worker" in str(await opened.front.reach(b"there and back"))
