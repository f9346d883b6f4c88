"""The handshake era over HTTP: plain answers, streams, what is resumed from the store, and how a session ends.

The door is in this process; the client speaks HTTP by hand, because the SDK's own hides what these promises are about.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trio

from tests.serving.http_kit import BEHIND, LEGACY, Opened, call, handshake, open_door, request, streaming, until
from vespera_agents.front.http.limits import Limits
from vespera_agents.serving.transports.http import answering
from vespera_agents.serving.transports.http.events import FLUSH_SECONDS, EventLog
from vespera_agents.store import Store
from vespera_agents.store.stream_events import EVENT_SECONDS, StreamEvent

TOKEN = 7
"""A progress token."""


@pytest.fixture(autouse=True, params=[False, True], ids=["in process", "behind a front"])
def _both(request: pytest.FixtureRequest) -> Iterator[None]:
    """Everything here holds with a front and without one."""
    token = BEHIND.set(request.param)
    yield
    BEHIND.reset(token)


async def kept(opened: Opened) -> list[tuple[Any, ...]]:
    """Read what is in the store for clients that resume, when everything is written."""
    await until(lambda: (written := opened.door.statistics().events).commands and not written.pending)
    return await opened.store.read(lambda connection: connection.execute("SELECT * FROM stream_event").fetchall())


async def test_an_answer_that_is_all_there_is_comes_as_plain_json_and_leaves_no_trace(tmp_path: Path) -> None:
    async with open_door(tmp_path) as opened, opened.client() as client:
        about = await handshake(client)
        for message in (request("tools/list"), call("quick"), request("ping")):
            answer = await client.post("", json=message, headers=about)
            assert answer.status_code == 200
            assert answer.headers["content-type"] == "application/json"
            assert answer.headers["mcp-session-id"] == about["mcp-session-id"]
            assert answer.json()["id"] == 1
        missing = await client.post("", json=request("no/such"), headers=about)
        assert missing.json()["error"]["code"] == -32601
        assert await kept(opened) == []


async def test_progress_makes_a_stream_whose_numbers_go_up(tmp_path: Path) -> None:
    async with open_door(tmp_path) as opened, opened.client() as client:
        about = await handshake(client)
        async with streaming(client, "POST", json=call("count", progressToken=TOKEN), headers=about) as stream:
            found = [event async for event in stream]
        primer, *rest = found
        assert primer.data is None
        assert primer.retry is not None
        stream_number, _, _ = str(primer.id).partition("-")
        assert [event.id for event in found] == [f"{stream_number}-{number}" for number in range(5)]
        assert [event.data["params"]["progress"] for event in rest[:3]] == [1, 2, 3]
        assert rest[3].data["result"]["content"][0]["text"] == "count is done"


async def test_a_client_of_before_priming_gets_no_event_without_data(tmp_path: Path) -> None:
    async with open_door(tmp_path) as opened, opened.client() as client:
        about = await handshake(client, "2025-06-18")
        async with streaming(client, "POST", json=call("count", progressToken=TOKEN), headers=about) as stream:
            assert all([event.data is not None async for event in stream])


async def test_a_slow_answer_comes_over_a_stream_that_shows_signs_of_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answering, "JSON_SECONDS", 0.02)
    monkeypatch.setattr(answering, "PING_SECONDS", 0.02)
    async with open_door(tmp_path) as opened, opened.client() as client:
        about = await handshake(client)
        async with client.stream("POST", "", json=call("wait"), headers=about) as response:
            assert response.headers["content-type"] == "text/event-stream"
            lines = response.aiter_lines()
            first = await anext(lines)
            assert first.startswith("id: ")
            assert first.endswith("-0")
            async for line in lines:
                if line == ": ping":
                    break
            opened.bench.go.set()
            assert any(["wait is done" in line async for line in lines])


async def test_a_stream_that_the_tool_closes_at_once_is_primed_and_goes_on_after_the_client_comes_back(
    tmp_path: Path,
) -> None:
    """SEP-1699: the server may close a stream early; the priming event must not be lost."""
    async with open_door(tmp_path) as opened, opened.client() as client:
        about = await handshake(client)
        async with streaming(client, "POST", json=call("hang_up"), headers=about) as stream:
            [primer] = [event async for event in stream]
        assert primer.data is None
        assert primer.id is not None
        async with streaming(client, "GET", headers=about | {"last-event-id": primer.id}) as stream:
            found = [event async for event in stream]
        assert [event.data["id"] for event in found if event.data] == [1]


async def test_a_dropped_stream_goes_on_where_it_was(tmp_path: Path) -> None:
    async with open_door(tmp_path) as opened, opened.client() as client:
        about = await handshake(client)
        message = call("count_and_wait", progressToken=TOKEN)
        async with streaming(client, "POST", json=message, headers=about) as stream:
            seen = [await anext(stream), await anext(stream)]
        assert seen[1].data["params"]["progress"] == 1
        last = str(seen[1].id)
        async with streaming(client, "GET", headers=about | {"last-event-id": last}) as stream:
            assert (await anext(stream)).data is None
            assert [(await anext(stream)).data["params"]["progress"] for _ in range(2)] == [2, 3]
            opened.bench.go.set()
            assert (await anext(stream)).data["params"]["progress"] == 4
            assert (await anext(stream)).data["result"]["content"][0]["text"] == "count_and_wait is done"
        assert opened.bench.cancelled == []
        # Again, now that the request is answered: everything comes from the store.
        async with streaming(client, "GET", headers=about | {"last-event-id": last}) as stream:
            found = [event.data async for event in stream if event.data]
        assert [one.get("params", {}).get("progress") for one in found] == [2, 3, 4, None]
        assert len(await kept(opened)) == 5


async def test_what_is_kept_no_more_is_said_to_be_gone(tmp_path: Path) -> None:
    async with open_door(tmp_path) as opened, opened.client() as client:
        about = await handshake(client)
        for last, status in (("77-3", 404), ("nonsense", 400), ("1-99999999999999999999", 400)):
            answer = await client.get("", headers=about | {"last-event-id": last})
            assert answer.status_code == status
            assert answer.json()["error"]["message"].endswith(("again.", "received it."))


async def test_another_sessions_events_cannot_be_had(tmp_path: Path) -> None:
    async with open_door(tmp_path) as opened, opened.client() as client:
        mine, other = await handshake(client), await handshake(client)
        async with streaming(client, "POST", json=call("count", progressToken=TOKEN), headers=mine) as stream:
            found = [event async for event in stream]
        answer = await client.get("", headers=other | {"last-event-id": str(found[0].id)})
        assert answer.status_code == 404


async def test_what_is_old_is_pruned(tmp_path: Path) -> None:
    async with open_door(tmp_path, clock=lambda: time.time() - EVENT_SECONDS - 1) as opened, opened.client() as client:
        about = await handshake(client)
        async with streaming(client, "POST", json=call("count", progressToken=TOKEN), headers=about) as stream:
            assert len([event async for event in stream]) == 5
        assert len(await kept(opened)) == 4
    async with open_door(tmp_path) as opened, opened.client() as client:
        await handshake(client)
        assert await kept(opened) == []


async def test_what_belongs_to_no_request_comes_over_the_sessions_own_stream(tmp_path: Path) -> None:
    async with open_door(tmp_path) as opened, opened.client() as client:
        about = await handshake(client)
        # Nobody listens yet: it is not kept for anybody.
        assert (await client.post("", json=call("announce"), headers=about)).status_code == 200
        async with streaming(client, "GET", headers=about) as stream:
            primer = await anext(stream)
            assert primer.id == "0-0"
            answer = await client.get("", headers=about)
            assert answer.status_code == 409
            await client.post("", json=call("announce"), headers=about)
            assert (await anext(stream)).data["method"] == "notifications/tools/list_changed"
        await client.post("", json=call("announce", 2), headers=about)
        async with streaming(client, "GET", headers=about | {"last-event-id": "0-1"}) as stream:
            await anext(stream)
            again = await anext(stream)
            assert again.id == "0-2"
            assert again.data["method"] == "notifications/tools/list_changed"


async def test_a_client_that_hangs_up_does_not_cancel_and_one_that_says_so_does(tmp_path: Path) -> None:
    async with open_door(tmp_path) as opened, opened.client() as client:
        about = await handshake(client)

        async def ask(identifier: int, *, task_status: trio.TaskStatus[trio.CancelScope]) -> None:
            with trio.CancelScope() as scope:
                task_status.started(scope)
                answers.append(await client.post("", json=call("wait", identifier), headers=about))

        answers: list[httpx2.Response] = []
        async with trio.open_nursery() as nursery:
            gone = await nursery.start(ask, 1)
            await opened.bench.until(opened.bench.begun, 1)
            gone.cancel()
            await nursery.start(ask, 2)
            await opened.bench.until(opened.bench.begun, 2)
            assert opened.bench.cancelled == []
            said = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 2}}
            assert (await client.post("", json=said, headers=about)).status_code == 202
            await opened.bench.until(opened.bench.cancelled, 1)
        assert answers[0].json()["error"]["code"] == -32800
        assert opened.bench.ended == []
        opened.bench.go.set()
        await opened.bench.until(opened.bench.ended, 1)


async def test_a_session_that_is_deleted_is_gone_with_what_it_worked_on(tmp_path: Path) -> None:
    async with open_door(tmp_path) as opened, opened.client() as client:
        about = await handshake(client)
        answers: list[httpx2.Response] = []

        async def ask() -> None:
            answers.append(await client.post("", json=call("wait"), headers=about))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await opened.bench.until(opened.bench.begun, 1)
            assert (await client.delete("", headers=about)).status_code == 200
            await opened.bench.until(opened.bench.cancelled, 1)
        assert answers[0].status_code in {200, 404}
        assert "error" in answers[0].json()
        for again in (client.post("", json=call("quick"), headers=about), client.get("", headers=about)):
            answer = await again
            assert answer.status_code == 404
            assert "Initialize a new one" in answer.json()["error"]["message"]
        assert opened.door.tree_detail()["sessions"] == 0


async def test_without_a_session_only_a_handshake_is_answered(tmp_path: Path) -> None:
    async with open_door(tmp_path) as opened, opened.client() as client:
        for version in ({}, {"mcp-protocol-version": LEGACY}):
            assert (await client.post("", json=call("quick"), headers=version)).status_code == 400
            assert (await client.get("", headers=version)).status_code == 400
            assert (await client.delete("", headers=version)).status_code == 400
            assert (await client.put("", json={}, headers=version)).status_code == 405
        unknown = await client.post("", json=call("quick"), headers={"mcp-session-id": "0" * 32})
        assert unknown.status_code == 404
        # A handshake that fails opens nothing.
        failed = await client.post("", json=request("initialize", 1))
        assert "error" in failed.json()
        assert "mcp-session-id" not in failed.headers
        await until(lambda: opened.door.tree_detail()["sessions"] == 0)
        assert opened.bench.begun == []


async def test_a_request_id_in_use_is_refused_and_numbers_and_texts_differ(tmp_path: Path) -> None:
    async with open_door(tmp_path) as opened, opened.client() as client:
        about = await handshake(client)
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                answer = await client.post("", json=call("wait"), headers=about)
                assert answer.json()["id"] == 1

            nursery.start_soon(ask)
            await opened.bench.until(opened.bench.begun, 1)
            again = await client.post("", json=call("quick"), headers=about)
            assert again.status_code == 400
            assert "Use another id" in again.json()["error"]["message"]
            text = await client.post("", json=call("quick") | {"id": "1"}, headers=about)
            assert text.json()["id"] == "1"
            opened.bench.go.set()


async def test_the_session_that_was_idle_longest_makes_room(tmp_path: Path) -> None:
    async with open_door(tmp_path, Limits(sessions_max=2)) as opened, opened.client() as client:
        first, second = await handshake(client), await handshake(client)
        assert (await client.post("", json=call("quick"), headers=first)).status_code == 200
        third = await handshake(client)
        assert (await client.post("", json=call("quick"), headers=second)).status_code == 404
        assert (await client.post("", json=call("quick"), headers=first)).status_code == 200
        # Sessions at work are not thrown out: then there is no room.
        async with trio.open_nursery() as nursery:
            for about in (first, third):
                nursery.start_soon(lambda about=about: client.post("", json=call("wait"), headers=about))
            await opened.bench.until(opened.bench.begun, 4)
            hello = request("initialize", 0, protocolVersion=LEGACY, capabilities={}, clientInfo={})
            full = await client.post("", json=hello)
            assert full.status_code == 503
            assert int(full.headers["retry-after"]) > 0
            opened.bench.go.set()


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", -32700),
        (b"hello", -32700),
        (b'{"jsonrpc":"2.0","id":3,"meth', -32700),
        (b"\xff\xfe", -32700),
        (b"[" * 5_000, -32700),
        (b"[]", -32600),
        (b"7", -32600),
        (b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]', -32600),
        (b'{"id":7,"method":"ping"}', -32600),
        (b'{"jsonrpc":"2.0","id":true,"method":"ping"}', -32600),
        (b'{"jsonrpc":"2.0","id":null,"method":"ping"}', -32600),
    ],
)
async def test_what_is_no_message_is_refused_and_the_session_goes_on(tmp_path: Path, body: bytes, code: int) -> None:
    async with open_door(tmp_path) as opened, opened.client() as client:
        about = await handshake(client)
        for headers in (about, {}):
            answer = await client.post("", content=body, headers=headers)
            assert answer.status_code == 400
            assert answer.json()["error"]["code"] == code
        assert (await client.post("", json=call("quick"), headers=about)).status_code == 200
        for headers, status in (({"accept": "application/json"}, 406), ({"content-type": "text/plain"}, 415)):
            refused = await client.post("", json=call("quick"), headers=about | headers)
            assert refused.status_code == status
        assert (await client.get("", headers=about | {"accept": "application/json"})).status_code == 406


async def test_nobody_who_resumes_waits_for_messages_that_a_restarted_door_was_about_to_keep(
    tmp_path: Path, autojump_clock: object
) -> None:
    log = EventLog(Store(tmp_path / "never-opened.db", tmp_path))
    log.append(StreamEvent("s/1", 1, "{}"))
    with trio.move_on_after(2 * FLUSH_SECONDS - 1):
        # The store does not run: the first write is given up after five seconds, the second is cut off.
        await log.run()
    assert log.statistics().pending == 0
    begun = trio.current_time()
    await log.flush()
    assert trio.current_time() == begun
