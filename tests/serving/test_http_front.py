"""A front between HTTP clients and workers that are killed: what a client sees of it, and what it never sees.

The front, its workers and their deaths are in this process, so that each moment can be met; `test_http_front_process`
kills real ones. Clients speak HTTP by hand, because the SDK's own hides what these promises are about.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trio
import trio.testing

from tests.serving.http_kit import (
    LEGACY,
    MODERN_META,
    Opened,
    call,
    handshake,
    message_of,
    modern,
    open_door,
    post,
    raw,
    request,
    status_of,
    streaming,
    until,
)
from vespera_agents.front.http.limits import Limits
from vespera_agents.serving.transports.http.keeping import Keeping, name_of
from vespera_agents.store import CommandKey
from vespera_agents.store.commands.streaming import KeepStreamEvents
from vespera_agents.store.stream_events import StreamEvent

TOKEN = 7
"""A progress token."""
ALICE, BOB = "a" * 32, "b" * 32


@asynccontextmanager
async def fronted(root: Path, limits: Limits | None = None, **wish: Any) -> AsyncIterator[Opened]:
    async with open_door(root, limits or Limits(), behind=True, **wish) as opened:
        yield opened


def progress_of(data: Any) -> object:
    return data.get("params", {}).get("progress")


# ---- sessions


async def test_the_next_worker_knows_a_session_by_its_old_id(tmp_path: Path) -> None:
    async with fronted(tmp_path) as opened, opened.client() as client:
        about = await handshake(client)
        for _ in range(3):
            await opened.replace()
            answer = await client.post("", json=call("quick"), headers=about)
            assert answer.status_code == 200
            assert answer.headers["mcp-session-id"] == about["mcp-session-id"]
        [who] = opened.bench.identities
        assert who.connection == about["mcp-session-id"]
        assert who.repeated is False


async def test_a_session_whose_handshake_is_not_over_goes_on_with_it_at_the_next_worker(tmp_path: Path) -> None:
    async with fronted(tmp_path) as opened, opened.client() as client:
        who = {"name": "raw", "version": "1"}
        hello = request("initialize", 0, protocolVersion=LEGACY, capabilities={}, clientInfo=who)
        answer = await client.post("", json=hello)
        about = {"mcp-session-id": answer.headers["mcp-session-id"], "mcp-protocol-version": LEGACY}
        await opened.replace()
        done = await client.post("", json={"jsonrpc": "2.0", "method": "notifications/initialized"}, headers=about)
        assert done.status_code == 202
        assert (await client.post("", json=call("quick"), headers=about)).status_code == 200


async def test_two_clients_and_many_requests_at_once_find_their_sessions_restored_once(tmp_path: Path) -> None:
    async with fronted(tmp_path) as opened, opened.client() as client:
        abouts = [await handshake(client) for _ in range(2)]
        await opened.replace()
        async with trio.open_nursery() as nursery:

            async def ask(about: dict[str, str], number: int) -> None:
                answer = await client.post("", json=call("quick", number), headers=about)
                assert message_of(answer)["result"]["content"][0]["text"] == "quick is done", answer.text

            for number in range(10):
                for about in abouts:
                    nursery.start_soon(ask, about, number)
        assert opened.door.tree_detail()["sessions"] == 2


async def test_a_session_that_is_deleted_is_unknown_to_the_next_worker(tmp_path: Path) -> None:
    async with fronted(tmp_path) as opened, opened.client() as client:
        kept, gone = await handshake(client), await handshake(client)
        assert (await client.delete("", headers=gone)).status_code == 200
        await opened.replace()
        assert (await client.post("", json=call("quick"), headers=gone)).status_code == 404
        assert (await client.post("", json=call("quick"), headers=kept)).status_code == 200
        await opened.replace()
        # Deleted before anybody used it there.
        assert (await client.delete("", headers=kept)).status_code == 200
        assert (await client.post("", json=call("quick"), headers=kept)).status_code == 404


async def test_a_session_is_nobody_elses_at_the_next_worker_either(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(f"alice:{ALICE}\nbob:{BOB}\n")
    tokens.chmod(0o600)
    async with fronted(tmp_path, token_file=tokens) as opened:
        async with (
            opened.client(headers={"authorization": f"Bearer {ALICE}"}) as alice,
            opened.client(headers={"authorization": f"Bearer {BOB}"}) as bob,
            opened.client() as stranger,
        ):
            hers = await handshake(alice)
            await opened.replace()
            for _ in range(2):
                assert (await bob.post("", json=call("quick"), headers=hers)).status_code == 404
                assert (await bob.delete("", headers=hers)).status_code == 404
                assert (await stranger.post("", json=call("quick"), headers=hers)).status_code == 401
                assert (await alice.post("", json=call("quick"), headers=hers)).status_code == 200
        assert [who.principal for who in opened.bench.identities] == ["alice", "alice"]


async def test_the_file_of_the_store_holds_no_session_id(tmp_path: Path) -> None:
    async with fronted(tmp_path) as opened, opened.client() as client:
        about = await handshake(client)
        async with streaming(client, "POST", json=call("count", progressToken=TOKEN), headers=about) as stream:
            assert len([event async for event in stream]) == 5
        await until(lambda: not opened.door.statistics().events.pending)
        read = await opened.store.read(lambda one: one.execute("SELECT * FROM http_session").fetchall())
        assert len(read) == 1
    files = await trio.to_thread.run_sync(lambda: [path.read_bytes() for path in tmp_path.glob("events.db*")])
    kept = b"".join(files)
    assert len(kept) > 1_000
    assert about["mcp-session-id"].encode() not in kept


async def test_sessions_of_earlier_workers_count_and_the_one_that_was_idle_longest_makes_room(tmp_path: Path) -> None:
    async with fronted(tmp_path, Limits(sessions_max=3)) as opened, opened.client() as client:
        first, second, third = [await handshake(client) for _ in range(3)]
        await opened.replace()
        assert (await client.post("", json=call("quick"), headers=first)).status_code == 200
        assert opened.door.tree_detail()["sessions"] == 3
        fourth = await handshake(client)
        assert opened.door.tree_detail()["sessions"] == 3
        found = [
            (await client.post("", json=call("quick"), headers=about)).status_code
            for about in (first, second, third, fourth)
        ]
        assert found == [200, 404, 200, 200]


async def test_a_session_that_nobody_used_for_long_is_unknown_to_the_next_worker(tmp_path: Path) -> None:
    async with fronted(tmp_path, Limits(session_seconds=0.05)) as opened, opened.client() as client:
        about = await handshake(client)
        await opened.kill()
        await trio.sleep(0.1)
        await opened.start()
        assert (await client.post("", json=call("quick"), headers=about)).status_code == 404


async def test_the_sessions_own_stream_goes_on_and_its_client_is_told_to_read_again(tmp_path: Path) -> None:
    async with fronted(tmp_path) as opened, opened.client() as client:
        about = await handshake(client)
        async with streaming(client, "GET", headers=about) as stream:
            assert (await anext(stream)).id == "0-0"
            await client.post("", json=call("announce"), headers=about)
            assert (await anext(stream)).data["method"] == "notifications/tools/list_changed"
            await opened.replace()
            seen: list[Any] = []
            await client.post("", json=call("announce", 2), headers=about)
            methods: set[str] = set()
            while methods < {"notifications/resources/list_changed", "notifications/tools/list_changed"}:
                seen.append(await anext(stream))
                methods |= {event.data["method"] for event in seen if event.data}
            numbers = [int(str(event.id).partition("-")[2]) for event in seen]
            assert numbers == sorted(numbers)
            assert numbers[-1] > 1


async def test_what_a_session_is_told_before_its_client_listens_again_it_hears_then(tmp_path: Path) -> None:
    """After an upgrade: a call of the session comes to the next worker before its stream does."""
    async with fronted(tmp_path) as opened, opened.client() as client:
        about = await handshake(client)
        await client.post("", json=call("announce"), headers=about)
        await opened.replace()
        for number in range(2):
            await client.post("", json=call("announce", number), headers=about)
        async with streaming(client, "GET", headers=about) as stream:
            assert (await anext(stream)).data is None
            assert (await anext(stream)).data["method"] == "notifications/tools/list_changed"
            await client.post("", json=call("announce"), headers=about)
            assert (await anext(stream)).id == "0-2"


async def test_what_a_killed_worker_kept_and_did_not_send_any_more_the_next_one_sends(tmp_path: Path) -> None:
    async with fronted(tmp_path) as opened, opened.client() as client:
        about = await handshake(client)
        async with streaming(client, "GET", headers=about) as stream:
            await anext(stream)
            await client.post("", json=call("announce"), headers=about)
            assert (await anext(stream)).id == "0-1"
            await until(lambda: not opened.door.statistics().events.pending)
            await opened.kill()
            missed = json.dumps({"jsonrpc": "2.0", "method": "notifications/prompts/list_changed"})
            event = StreamEvent(f"{name_of(about['mcp-session-id'])}/0", 2, missed)
            await opened.store.execute(KeepStreamEvents("test", "http_x", (event,)), CommandKey("http_x", "1"))
            await opened.start()
            while (found := await anext(stream)).data is None:
                pass
            assert (found.id, found.data["method"]) == ("0-2", "notifications/prompts/list_changed")


# ---- requests under way


async def ask(
    client: httpx2.AsyncClient, message: object, headers: dict[str, str], found: list[httpx2.Response]
) -> None:
    found.append(await client.post("", json=message, headers=headers))


@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_a_call_whose_worker_is_killed_is_answered_by_the_next_one(tmp_path: Path, era: str) -> None:
    async with fronted(tmp_path) as opened, opened.client() as client:
        legacy = era == "legacy"
        headers = await handshake(client) if legacy else modern("wait")
        message = call("wait") if legacy else call("wait", **MODERN_META)
        found: list[httpx2.Response] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, client, message, headers, found)
            await opened.bench.until(opened.bench.begun, 1)
            first = opened.bench.identities[0]
            await opened.replace()
            await opened.bench.until(opened.bench.begun, 1)
            again = opened.bench.identities[0]
            assert (first.repeated, again.repeated) == (False, True)
            assert first.sequence == again.sequence is not None
            opened.bench.go.set()
        assert message_of(found[0])["result"]["content"][0]["text"] == "wait is done"
        assert opened.front is not None
        assert opened.front.statistics().repeated == 1
        assert int(str(again.sequence)) in opened.workers.answered


@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_a_stream_that_had_begun_goes_on_without_a_second_head_or_old_progress(tmp_path: Path, era: str) -> None:
    async with fronted(tmp_path) as opened, opened.client() as client:
        legacy = era == "legacy"
        headers = await handshake(client) if legacy else modern("count_and_wait")
        meta = {"progressToken": TOKEN} | ({} if legacy else MODERN_META)
        async with streaming(client, "POST", json=call("count_and_wait", **meta), headers=headers) as stream:
            seen: list[Any] = []
            while not seen or seen[-1].data is None or progress_of(seen[-1].data) != 2:
                seen.append(await anext(stream))
            await opened.replace()
            await opened.bench.until(opened.bench.begun, 1)
            opened.bench.go.set()
            seen += [event async for event in stream]
        values = [progress_of(event.data) for event in seen if event.data and "method" in event.data]
        assert values == [1, 2, 3, 4]
        assert seen[-1].data["result"]["content"][0]["text"] == "count_and_wait is done"
        if legacy:
            assert [event for event in seen if event.data is None] == seen[:1]
            numbers = [int(str(event.id).partition("-")[2]) for event in seen]
            assert numbers == sorted(set(numbers))
            assert len({str(event.id).partition("-")[0] for event in seen}) == 1


async def test_a_question_of_a_killed_worker_is_taken_back_and_asked_anew(tmp_path: Path) -> None:
    async with fronted(tmp_path) as opened, opened.client() as client:
        about = await handshake(client, elicitation={"form": {}})
        async with streaming(client, "POST", json=call("ask"), headers=about) as stream:
            await anext(stream)
            first = (await anext(stream)).data
            assert first["method"] == "elicitation/create"
            await opened.replace()
            back, second = (await anext(stream)).data, (await anext(stream)).data
            assert back["method"] == "notifications/cancelled"
            assert back["params"]["requestId"] == first["id"]
            assert second["method"] == "elicitation/create"
            assert second["id"] != first["id"]
            # An answer to the first one comes too late, and is no answer to the second one.
            for number, action in ((first["id"], "decline"), (second["id"], "accept")):
                reply = {"jsonrpc": "2.0", "id": number, "result": {"action": action, "content": {}}}
                assert (await client.post("", json=reply, headers=about)).status_code == 202
            last = [event.data async for event in stream][-1]
        assert last["result"]["content"][0]["text"] == "ask is done"
        assert opened.bench.answers == ["accept"]


async def test_who_hung_up_and_comes_back_after_a_kill_gets_the_answer(tmp_path: Path) -> None:
    async with fronted(tmp_path) as opened, opened.client() as client:
        about = await handshake(client)
        message = call("count_and_wait", progressToken=TOKEN)
        async with streaming(client, "POST", json=message, headers=about) as stream:
            seen = [await anext(stream), await anext(stream)]
        last = str(seen[-1].id)
        await opened.replace()
        await opened.bench.until(opened.bench.begun, 1)
        async with streaming(client, "GET", headers=about | {"last-event-id": last}) as stream:
            opened.bench.go.set()
            found = [event.data async for event in stream if event.data]
        assert found[-1]["result"]["content"][0]["text"] == "count_and_wait is done"
        # And once more, killed while it waits for the rest.
        opened.bench.go = trio.Event()
        async with streaming(client, "POST", json=message | {"id": 2}, headers=about) as stream:
            seen = [await anext(stream), await anext(stream)]
        async with streaming(client, "GET", headers=about | {"last-event-id": str(seen[-1].id)}) as stream:
            await anext(stream)
            await opened.replace()
            await opened.bench.until(opened.bench.begun, 1)
            opened.bench.go.set()
            found = [event.data async for event in stream if event.data]
        assert found[-1]["id"] == 2
        assert found[-1]["result"]["content"][0]["text"] == "count_and_wait is done"


async def test_a_stream_that_the_tool_closes_is_repeated_although_nobody_reads_it(tmp_path: Path) -> None:
    """SEP-1699: the client of a stream that was closed early comes back, to whichever worker there is."""
    async with fronted(tmp_path) as opened, opened.client() as client:
        about = await handshake(client)
        async with streaming(client, "POST", json=call("close_and_wait"), headers=about) as stream:
            [primer] = [event async for event in stream]
        await opened.bench.until(opened.bench.begun, 1)
        await opened.replace()
        await opened.bench.until(opened.bench.begun, 1)
        opened.bench.go.set()
        async with streaming(client, "GET", headers=about | {"last-event-id": str(primer.id)}) as stream:
            found = [event.data async for event in stream if event.data]
        assert found[-1]["result"]["content"][0]["text"] == "close_and_wait is done"


async def test_a_modern_call_ends_with_its_connection_though_it_names_a_session(tmp_path: Path) -> None:
    async with fronted(tmp_path) as opened, opened.client() as client:
        headers = {**await handshake(client), **modern("wait")}
        async with opened.client() as other, trio.open_nursery() as nursery:
            nursery.start_soon(ask, other, call("wait", **MODERN_META), headers, [])
            await opened.bench.until(opened.bench.begun, 1)
            nursery.cancel_scope.cancel()
        await opened.bench.until(opened.bench.cancelled, 1)


async def test_a_modern_client_that_hangs_up_while_there_is_no_worker_is_forgotten(tmp_path: Path) -> None:
    async with fronted(tmp_path) as opened, opened.client() as client:
        assert opened.front is not None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, client, call("wait", **MODERN_META), modern("wait"), [])
            await opened.bench.until(opened.bench.begun, 1)
            await opened.kill()
            nursery.cancel_scope.cancel()
        front = opened.front
        await until(lambda: front.statistics().connections == 0)
        await opened.start()
        about = await handshake(client)
        assert (await client.post("", json=call("quick"), headers=about)).status_code == 200
        assert opened.bench.begun == ["quick"]


async def test_a_request_that_ends_three_workers_is_answered_with_where_to_read_why(tmp_path: Path) -> None:
    async with fronted(tmp_path) as opened, opened.client() as client:
        found: list[httpx2.Response] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, client, call("wait", 42, **MODERN_META), modern("wait"), found)
            for _ in range(3):
                await opened.bench.until(opened.bench.begun, 1)
                await opened.replace()
        answer = message_of(found[0])
        assert answer["id"] == 42
        assert "vespera logs" in answer["error"]["message"]
        assert opened.bench.begun == []
        about = await handshake(client)
        assert (await client.post("", json=call("quick"), headers=about)).status_code == 200


async def test_two_suspects_are_never_at_a_worker_together(tmp_path: Path) -> None:
    async with fronted(tmp_path) as opened, opened.client() as client:
        found: list[httpx2.Response] = []
        async with trio.open_nursery() as nursery:
            for number in (1, 2):
                nursery.start_soon(ask, client, call("wait", number, **MODERN_META), modern("wait"), found)
            for _ in range(2):
                await opened.bench.until(opened.bench.begun, 2)
                await opened.replace()
            await opened.bench.until(opened.bench.begun, 1)
            # Others are served meanwhile, and the second one waits.
            about = await handshake(client)
            assert (await client.post("", json=call("quick"), headers=about)).status_code == 200
            assert opened.bench.begun == ["wait", "quick"]
            opened.bench.go.set()
        assert sorted(message_of(one)["id"] for one in found) == [1, 2]
        assert all("result" in message_of(one) for one in found)


async def test_a_request_that_finds_no_worker_is_told_why_after_a_while(tmp_path: Path) -> None:
    async with fronted(tmp_path) as opened, opened.client() as client:
        about = await handshake(client)
        await opened.kill()
        found: list[httpx2.Response] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, client, call("quick", 9), about, found)
            await until(lambda: opened.front is not None and opened.front.busy())
            opened.workers.before_seconds = trio.current_time()
            opened.workers.change(None)
        [answer] = found
        assert answer.status_code == 503
        assert answer.json()["id"] == 9
        assert "since 12:00" in answer.json()["error"]["message"]
        assert int(answer.headers["retry-after"]) > 0
        await opened.start()
        assert (await client.post("", json=call("quick", 9), headers=about)).status_code == 200


@pytest.mark.unmeasured
async def test_many_clients_call_while_workers_are_killed_and_none_fails(tmp_path: Path) -> None:
    """24 clients of both eras, 25 kills."""
    async with fronted(tmp_path) as opened:
        answered: list[int] = []
        ended = trio.Event()

        async def work(number: int) -> None:
            async with opened.client() as client:
                legacy = number % 2 == 0
                about = await handshake(client) if legacy else modern("count")
                meta: dict[str, Any] = {} if legacy else dict(MODERN_META)
                while not ended.is_set():
                    token = {"progressToken": len(answered)} if number % 3 == 0 else {}
                    answer = await client.post("", json=call("count", **token, **meta), headers=about)
                    assert answer.status_code == 200, answer.text
                    assert "count is done" in answer.text, answer.text
                    answered.append(number)

        async with trio.open_nursery() as nursery:
            for number in range(24):
                nursery.start_soon(work, number)
            for _ in range(25):
                before = len(answered)
                # Each of them: a request that is in flight at three deaths is not repeated any more.
                await until(lambda before=before: len(answered) > before + 60 and len(set(answered[before:])) == 24)
                await opened.replace()
            ended.set()
        assert set(answered) == set(range(24))


async def test_a_drain_lets_what_is_under_way_end_and_begins_nothing(tmp_path: Path) -> None:
    """A restart in good order: what came during the drain is the next worker's, and streams notice nothing."""
    async with fronted(tmp_path) as opened, opened.client() as client:
        about = await handshake(client)
        link = opened.worker.link
        assert link is not None
        old = opened.bench
        found: list[httpx2.Response] = []
        left: list[list[str]] = []

        async def drain() -> None:
            left.append(await opened.door.drained())

        async with streaming(client, "GET", headers=about) as stream:
            await anext(stream)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask, client, call("wait", 1), about, found)
                await old.until(old.begun, 1)
                link.hear(b"= drain 20.0")
                nursery.start_soon(drain)
                nursery.start_soon(ask, client, call("quick", 2), about, found)
                front = opened.front
                await until(lambda: front is not None and front.statistics().busy == 3)
                await trio.testing.wait_all_tasks_blocked(0.05)
                assert left == []
                old.go.set()
                await until(lambda: left == [[]])
                assert old.begun == ["wait"]
                await opened.replace()
            assert sorted(message_of(one)["id"] for one in found) == [1, 2]
            assert all("result" in message_of(one) for one in found)
            assert opened.bench.begun == ["quick"]
            await client.post("", json=call("announce", 3), headers=about)
            while (event := await anext(stream)).data is None or "tools" not in event.data["method"]:
                pass


async def test_a_drain_that_is_called_off_lets_begin_what_was_held_back(tmp_path: Path) -> None:
    async with fronted(tmp_path) as opened, opened.client() as client:
        about = await handshake(client)
        link = opened.worker.link
        assert link is not None
        link.hear(b"= drain 0.01")
        assert await opened.door.drained() == []
        found: list[httpx2.Response] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, client, call("quick"), about, found)
            await trio.testing.wait_all_tasks_blocked(0.05)
            assert opened.bench.begun == []
            link.hear(b"= resume")
        assert "result" in message_of(found[0])


# ---- what a client cannot do


async def test_headers_of_the_front_cannot_be_set_by_a_client(tmp_path: Path) -> None:
    async with fronted(tmp_path) as opened, opened.client() as client:
        about = await handshake(client)
        forged = {"vespera-seq": "1", "Vespera-Replay": "1", "vespera-client": "6.6.6.6 66", "vespera-scheme": "x"}
        assert (await client.post("", json=call("quick"), headers=about | forged)).status_code == 200
        [who] = opened.bench.identities
        assert who.repeated is False
        assert who.sequence is not None
        assert int(who.sequence) > 1
        [(host, port)] = [peer for peer in opened.bench.peers if isinstance(peer, tuple)]
        assert host == "127.0.0.1"
        assert port not in {66, opened.port}


async def test_without_a_front_nobody_believes_its_headers(tmp_path: Path) -> None:
    async with open_door(tmp_path, behind=False) as opened, opened.client() as client:
        about = await handshake(client)
        forged = {"vespera-seq": "1", "vespera-replay": "1", "vespera-client": "6.6.6.6 66"}
        for _ in range(2):
            assert (await client.post("", json=call("quick"), headers=about | forged)).status_code == 200
        assert [(who.sequence, who.repeated) for who in opened.bench.identities] == [(None, False)] * 2
        assert not [peer for peer in opened.bench.peers if isinstance(peer, tuple) and peer[0] != "127.0.0.1"]


PING = json.dumps(request("ping")).encode()


@pytest.mark.parametrize(
    "head",
    [
        ["Content-Length: 5", "Content-Length: 6"],
        ["Content-Length: 5, 6"],
        ["Content-Length: 5", "Transfer-Encoding: chunked"],
        ["Transfer-Encoding: chunked", "Content-Length: 5"],
        ["Transfer-Encoding: gzip, chunked"],
        ["Transfer-Encoding: xchunked"],
        ["Content-Length: +5"],
        ["Content-Length : 5"],
        ["X: a\rvespera-seq: 1"],
        ["X: a\nvespera-seq: 1"],
        ["X: a\x00b"],
        ["vespera-seq\t: 1"],
    ],
)
async def test_what_can_be_read_in_two_ways_is_not_passed_on(tmp_path: Path, head: list[str]) -> None:
    """Request smuggling: the body hides a request of its own, with a number that only the front may give."""
    async with fronted(tmp_path) as opened:
        hidden = b"0\r\n\r\nPOST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nvespera-seq: 7\r\nContent-Length: 0\r\n\r\n"
        lines = ["POST /mcp HTTP/1.1", "Host: 127.0.0.1", "Connection: close", *head]
        answer = await raw(opened.port, "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + hidden)
        statistics = opened.door.statistics().guard
        assert statistics is not None
        if b"X: a\nvespera" in "\r\n".join(lines).encode():
            # A bare line feed ends a line, as robust servers have it: then it is a header, and it is taken away.
            assert all(who.sequence != "1" for who in opened.bench.identities)
        else:
            assert statistics.requests == 0
            assert status_of(answer) in {400, 501}
        assert answer.count(b"HTTP/1.1") == 1


async def test_a_folded_header_is_one_header_at_the_worker(tmp_path: Path) -> None:
    async with fronted(tmp_path) as opened, opened.client() as client:
        about = await handshake(client)
        lines = ["Host: 127.0.0.1", "Accept: */*", "Content-Type: application/json", "X-Fold: a\r\n vespera-seq: 99"]
        body = json.dumps(call("quick")).encode()
        answer = await raw(opened.port, post(body, *lines, *(f"{name}: {value}" for name, value in about.items())))
        assert status_of(answer) == 200
        assert [who.sequence for who in opened.bench.identities] != ["99"]


async def test_two_requests_in_one_write_are_answered_one_after_another(tmp_path: Path) -> None:
    async with fronted(tmp_path) as opened, opened.client() as client:
        about = await handshake(client)
        lines = ["Host: 127.0.0.1", "Accept: */*", "Content-Type: application/json"]
        lines += [f"{name}: {value}" for name, value in about.items()]
        first, second = (post(json.dumps(call("quick", number)).encode(), *lines) for number in (1, 2))
        answer = await raw(opened.port, first.replace(b"Connection: close\r\n", b"") + second)
        assert answer.count(b"HTTP/1.1 200") == 2
        assert answer.index(b'"id":1') < answer.index(b'"id":2')


async def test_who_asks_before_it_sends_a_body_is_told_to_go_on(tmp_path: Path) -> None:
    async with fronted(tmp_path, Limits(body_bytes_max=1_000)) as opened:
        with trio.fail_after(20):
            async with await trio.open_tcp_stream("127.0.0.1", opened.port) as stream:
                head = "POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
                await stream.send_all((head % len(PING)).encode())
                assert (await stream.receive_some()).startswith(b"HTTP/1.1 100")
                await stream.send_all(PING)
                assert status_of(bytes(await stream.receive_some())) == 406
        long = await raw(opened.port, (head % 5_000).encode())
        assert status_of(long) == 413


async def test_bodies_of_all_are_bounded_together(tmp_path: Path) -> None:
    async with fronted(tmp_path, Limits(bodies_bytes_max=4_000)) as opened, opened.client() as client:
        about = await handshake(client)
        big = call("wait", 1) | {"padding": "x" * 3_000}
        found: list[httpx2.Response] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, client, big, about, found)
            await opened.bench.until(opened.bench.begun, 1)
            full = await client.post("", json=big | {"id": 2}, headers=about)
            assert full.status_code == 503
            assert int(full.headers["retry-after"]) > 0
            assert (await client.post("", json=call("quick", 3), headers=about)).status_code == 200
            opened.bench.go.set()
        assert found[0].status_code == 200
        assert opened.front is not None
        assert opened.front.statistics().bodies_bytes == 0
        assert (await client.post("", json=big | {"id": 4}, headers=about)).status_code == 200


async def test_head_and_other_paths_are_the_workers_to_answer(tmp_path: Path) -> None:
    async with fronted(tmp_path) as opened, opened.client() as client:
        for method, path, status in (("HEAD", "", 400), ("GET", "/../other", 404), ("OPTIONS", "", 405)):
            answer = await client.request(method, opened.url.removesuffix("/mcp") + (path or "/mcp"))
            assert answer.status_code in {status, 405}
            if method == "HEAD":
                assert answer.content == b""
        about = await handshake(client)
        assert (await client.post("", json=call("quick"), headers=about)).status_code == 200


async def test_one_who_does_not_read_its_stream_holds_up_nobody(tmp_path: Path) -> None:
    async with fronted(tmp_path, Limits(send_seconds=0.2)) as opened, opened.client() as client:
        about = await handshake(client)
        huge = json.dumps({**request("no/such"), "id": "x" * 8_000_000}).encode()
        lines = ["Host: 127.0.0.1", "Accept: */*", "Content-Type: application/json"]
        lines += [f"{name}: {value}" for name, value in about.items()]
        stream = await trio.open_tcp_stream("127.0.0.1", opened.port)
        await stream.send_all(post(huge, *lines))
        front = opened.front
        assert front is not None
        for number in range(20):
            assert (await client.post("", json=call("quick", number), headers=about)).status_code == 200
        await until(lambda: front.statistics().busy <= 1)
        await trio.aclose_forcefully(stream)


async def test_streams_end_in_good_order_with_the_front(tmp_path: Path) -> None:
    async with fronted(tmp_path) as opened, opened.client() as client:
        about = await handshake(client)
        found: list[httpx2.Response] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, client, call("wait"), about, found)
            await opened.bench.until(opened.bench.begun, 1)
            async with streaming(client, "GET", headers=about) as stream:
                await anext(stream)
                with trio.fail_after(10):
                    nursery.start_soon(opened.stop)
                    opened.bench.go.set()
                    assert [event async for event in stream] == []
        assert found[0].status_code == 200


async def test_of_a_session_that_its_worker_forgot_a_stream_ends_so_that_its_client_asks(tmp_path: Path) -> None:
    """The row is gone: the stream is cut, and the client hears 404 when it comes back."""
    async with fronted(tmp_path) as opened, opened.client() as client:
        about = await handshake(client, LEGACY)
        message = call("count_and_wait", progressToken=TOKEN)
        with pytest.raises(httpx2.TransportError):
            async with streaming(client, "POST", json=message, headers=about) as stream:
                await anext(stream)
                await opened.kill()
                await forget_all(opened)
                await opened.start()
                async for _ in stream:
                    pass
        assert (await client.post("", json=call("quick"), headers=about)).status_code == 404


async def forget_all(opened: Opened) -> None:
    names = await opened.store.read(lambda one: one.execute("SELECT name FROM http_session").fetchall())
    await Keeping(opened.store, "srv_0", 1e9).end(*(name for (name,) in names))
