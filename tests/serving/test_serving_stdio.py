"""The wire over standard input and output: torn and huge lines, stray prints, and every way of ending it.

The first half drives the wire over pipes in this process, the second half real server processes.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any, cast

import pytest
import trio
from mcp.shared.message import ServerMessageMetadata, SessionMessage
from mcp_types import JSONRPCNotification, JSONRPCRequest, JSONRPCResponse

from supervisors import ChildSpec, Restart
from tests.serving.kit import complaints, new_place
from tests.serving.raw_process import END_SECONDS, INITIALIZE, call, processes_in, say, serving, started
from vespera_agents.serving.protocol.server import build_server
from vespera_agents.serving.serve import StdioDoor
from vespera_agents.serving.tools.catalogue import TOOLS
from vespera_agents.serving.transports import stdio
from vespera_agents.serving.transports.ends import ReadEnd, WriteEnd
from vespera_agents.serving.transports.stdio import StdioWire, open_stdio
from vespera_agents.specialists.orchestrator import Orchestrator
from vespera_agents.specialists.runtime import open_runtime
from vespera_agents.workspace import live_servers


class Ends:
    """A wire in this process, with the client's two ends of it."""

    def __init__(self, line_bytes_max: int = 1_000) -> None:
        self.server_in, self.client_out = os.pipe()
        self.client_in, self.server_out = os.pipe()
        for descriptor in (self.server_in, self.server_out, self.client_in):
            os.set_blocking(descriptor, False)
        self.wire = StdioWire(self.server_in, self.server_out, line_bytes_max=line_bytes_max)

    def say(self, data: bytes) -> None:
        assert os.write(self.client_out, data) == len(data)

    def request(self, identifier: int) -> None:
        self.say(json.dumps({"jsonrpc": "2.0", "id": identifier, "method": "ping"}).encode() + b"\n")

    def hear(self) -> list[dict[str, Any]]:
        try:
            return [json.loads(line) for line in os.read(self.client_in, 1 << 20).splitlines()]
        except BlockingIOError:
            return []

    def hang_up(self) -> None:
        os.close(self.client_out)
        self.client_out = -1


@contextmanager
def ends(line_bytes_max: int = 1_000) -> Iterator[Ends]:
    found = Ends(line_bytes_max)
    try:
        yield found
    finally:
        for descriptor in (found.server_in, found.client_out, found.client_in, found.server_out):
            if descriptor >= 0:
                os.close(descriptor)


def answer(identifier: int) -> SessionMessage:
    return SessionMessage(JSONRPCResponse(jsonrpc="2.0", id=identifier, result={}))


async def test_messages_arrive_whole_however_they_are_cut() -> None:
    with ends() as pipe:
        text = b'{"jsonrpc":"2.0","id":1,"method":"ping"}\n\n  \n{"jsonrpc":"2.0","method":"notifications/initialized"}'
        received: list[SessionMessage | None] = []

        async def read() -> None:
            received.extend([await pipe.wire.receive() for _ in range(3)])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            for byte in text:
                pipe.say(bytes([byte]))
                await trio.testing.wait_all_tasks_blocked()
            pipe.hang_up()
        assert received[0] is not None
        assert isinstance(received[0].message, JSONRPCRequest)
        assert received[1] is not None
        assert isinstance(received[1].message, JSONRPCNotification)
        assert received[2] is None
        assert pipe.wire.requests == 1


@pytest.mark.parametrize(
    ("line", "identifier", "code"),
    [
        (b"hello", None, -32700),
        (b'{"jsonrpc":"2.0","id":3,"meth', None, -32700),
        (b"\xff\xfe\x00", None, -32700),
        (b"[" * 900, None, -32700),
        (b'{"id":7,"method":"ping"}', 7, -32600),
        (b'{"jsonrpc":"2.0","id":true,"method":"ping"}', None, -32600),
        (b'{"jsonrpc":"2.0","id":4.5,"method":"ping"}', None, -32600),
        (b'{"jsonrpc":"1.0","id":"x","method":"ping"}', "x", -32600),
        (b'{"jsonrpc":"2.0","id":9}', None, -32600),
        (b"[]", None, -32600),
        (b"7", None, -32600),
    ],
)
async def test_a_line_that_is_no_message_is_answered_and_the_next_one_read(
    line: bytes, identifier: object, code: int
) -> None:
    with ends() as pipe:
        pipe.say(line + b"\n")
        pipe.request(5)
        message = await pipe.wire.receive()
        assert message is not None
        assert cast("JSONRPCRequest", message.message).id == 5
        said = pipe.hear()
        assert [(one["id"], one["error"]["code"]) for one in said] == [(identifier, code)]
        assert "Traceback" not in str(said)
        assert pipe.wire.refused == 1


@pytest.mark.parametrize("cut", [1, 400, 1_500, 5_000])
async def test_a_line_that_is_too_long_is_refused_once_and_the_next_one_read(cut: int) -> None:
    with ends() as pipe:
        text = b'{"x":"' + b"y" * 5_000 + b'"}\n{"jsonrpc":"2.0","id":5,"method":"ping"}\n'

        async def say() -> None:
            for start in range(0, len(text), cut):
                pipe.say(text[start : start + cut])
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(say)
            message = await pipe.wire.receive()
        assert message is not None
        assert cast("JSONRPCRequest", message.message).id == 5
        said = pipe.hear()
        assert [one["error"]["code"] for one in said] == [-32600]
        assert "1000 bytes" in said[0]["error"]["message"]


async def test_the_rest_of_a_line_that_is_too_long_is_nothing() -> None:
    with ends() as pipe:
        pipe.say(b"x" * 1_500)
        pipe.hang_up()
        assert await pipe.wire.receive() is None
        assert len(pipe.hear()) == 1


async def test_a_cancelled_writer_tears_no_line() -> None:
    """The pipe is full when the writer is cancelled in the middle of its line; the next writer sends the rest first."""
    with ends() as pipe:
        big = SessionMessage(JSONRPCResponse(jsonrpc="2.0", id=1, result={"text": "x" * 300_000}))
        with trio.move_on_after(0.01):
            await pipe.wire.send(big)
        heard = bytearray()

        async def read() -> None:
            while not heard.endswith(b'"id":2,"result":{}}\n'):
                await trio.lowlevel.wait_readable(pipe.client_in)
                heard.extend(os.read(pipe.client_in, 1 << 20))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await pipe.wire.send(answer(2))
        assert [json.loads(line)["id"] for line in heard.splitlines()] == [1, 2]


async def test_nobody_writes_into_the_line_of_another_who_waits() -> None:
    """The client has just made room, and the writer who waited for it has not woken up yet."""
    with ends() as pipe:
        big = SessionMessage(JSONRPCResponse(jsonrpc="2.0", id=1, result={"text": "x" * 300_000}))
        heard = bytearray()

        async def read() -> None:
            while heard.count(b"\n") < 2:
                await trio.lowlevel.wait_readable(pipe.client_in)
                heard.extend(os.read(pipe.client_in, 1 << 20))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(pipe.wire.send, big)
            await trio.testing.wait_all_tasks_blocked()
            heard += os.read(pipe.client_in, 1 << 17)
            # Awaited right here, where nobody else runs in between; a later read makes room for both.
            nursery.start_soon(read)
            await pipe.wire.send(answer(2))
        assert [json.loads(line)["id"] for line in heard.splitlines()] == [1, 2]


async def test_a_flood_of_lines_lets_others_run_in_between() -> None:
    with ends() as pipe:
        count = 10 * stdio.AT_ONCE_MAX
        pipe.say(b'{"jsonrpc":"2.0","method":"notifications/none"}\n' * count)
        runs = [0]

        async def read() -> None:
            for _ in range(count):
                assert await pipe.wire.receive() is not None
                runs[-1] += 1
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            while True:
                await trio.lowlevel.checkpoint()
                runs.append(0)
        assert sum(runs) == count
        # In one round the reader may come last, and in the next one first.
        assert max(runs) <= 2 * stdio.AT_ONCE_MAX


async def test_writers_take_turns() -> None:
    with ends() as pipe:
        heard = bytearray()

        async def write(identifier: int) -> None:
            message = JSONRPCResponse(jsonrpc="2.0", id=identifier, result={"text": "x" * 100_000})
            await pipe.wire.send(SessionMessage(message))

        async with trio.open_nursery() as nursery:
            for identifier in range(5):
                nursery.start_soon(write, identifier)
            while heard.count(b"\n") < 5:
                await trio.lowlevel.wait_readable(pipe.client_in)
                heard.extend(os.read(pipe.client_in, 1 << 20))
        assert sorted(json.loads(line)["id"] for line in heard.splitlines()) == list(range(5))


async def test_a_client_that_no_longer_reads_is_gone_and_nothing_is_raised() -> None:
    with ends() as pipe:
        pipe.request(1)
        assert await pipe.wire.receive() is not None
        received: list[SessionMessage | None] = []

        async def read() -> None:
            received.append(await pipe.wire.receive())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await trio.testing.wait_all_tasks_blocked()
            os.close(pipe.client_in)
            await pipe.wire.send(answer(1))
            await pipe.wire.send(answer(2))
        assert received == [None]
        pipe.client_in = -1


async def test_a_wire_that_ends_does_not_wait_for_a_reader_that_does_not_read() -> None:
    with ends() as pipe:
        pipe.wire.hasten()
        big = SessionMessage(JSONRPCResponse(jsonrpc="2.0", id=1, result={"text": "x" * 300_000}))
        with trio.fail_after(5):
            await pipe.wire.send(big)
            await pipe.wire.send(big)


async def test_no_further_line_is_read_while_too_many_requests_are_in_flight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stdio, "REQUESTS_MAX", 2)
    with ends() as pipe:
        for identifier in range(4):
            pipe.request(identifier)
        first, second = await pipe.wire.receive(), await pipe.wire.receive()
        assert first is not None
        assert second is not None
        assert pipe.wire.in_flight == 2
        more: list[SessionMessage | None] = []

        async def read() -> None:
            more.extend([await pipe.wire.receive(), await pipe.wire.receive()])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await trio.testing.wait_all_tasks_blocked()
            assert more == []
            await pipe.wire.send(answer(0))
            # A request that was cancelled has no answer, but is over all the same.
            assert isinstance(second.metadata, ServerMessageMetadata)
            assert second.metadata.on_request_unanswered is not None
            await second.metadata.on_request_unanswered()
        assert len(more) == 2


async def test_the_end_waits_a_moment_for_the_answers_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    # The moment must not pass while this thread waits for the processor.
    monkeypatch.setattr(stdio, "LAST_ANSWERS_SECONDS", 10.0)
    with ends() as pipe:
        pipe.request(1)
        pipe.hang_up()
        reader, writer = ReadEnd(pipe.wire.receive), WriteEnd(pipe.wire.send)
        got: list[str] = []

        async def read() -> None:
            async with reader:
                async for message in reader:
                    assert isinstance(message, SessionMessage)
                    got.append("request")
            got.append("end")

        async with trio.open_nursery() as nursery, writer:
            nursery.start_soon(read)
            await trio.testing.wait_all_tasks_blocked()
            assert got == ["request"]
            await writer.send(answer(1))
        assert got == ["request", "end"]
        with pytest.raises(EOFError):
            await reader.receive()


def test_standard_output_is_the_wires_alone_from_the_beginning_on(capfd: pytest.CaptureFixture[str]) -> None:
    saved = os.dup(0), os.dup(1)
    blocking = os.get_blocking(saved[1])
    try:
        with open_stdio():
            os.write(1, b"stray\n")
            assert os.read(0, 10) == b""
        os.write(1, b"late\n")
        assert os.get_blocking(saved[1]) == blocking
    finally:
        for descriptor, number in zip(saved, (0, 1), strict=True):
            os.dup2(descriptor, number)
            os.close(descriptor)
    assert capfd.readouterr() == ("", "stray\nlate\n")


# ---- real processes


@pytest.mark.parametrize("how", ["eof", "SIGTERM", "SIGINT"])
def test_the_server_ends_at_once_with_everything_closed(how: str) -> None:
    with new_place() as place, serving(place) as process:
        assert not say(process, call(2, "orchestrator_initialize_session"))["result"]["isError"]
        assert len(live_servers(place.workspace)) == 1
        assert processes_in(place)
        if how == "eof":
            assert process.stdin is not None
            process.stdin.close()
        else:
            process.send_signal(signal.Signals[how])
        assert process.wait(timeout=END_SECONDS) == 0
        assert process.stderr is not None
        assert complaints(process.stderr.read().splitlines()) == []
        assert live_servers(place.workspace) == []
        assert list(place.workspace.servers.iterdir()) == []
        assert processes_in(place) == []
        assert place.rows("PRAGMA integrity_check") == [("ok",)]


def test_a_server_that_works_on_something_ends_at_once_too() -> None:
    """A gate runs and a client waits when the signal comes: the command is killed, the claim is free again."""
    with new_place() as place:
        with serving(place) as process:
            say(process, call(2, "orchestrator_initialize_session"))
            place.trust('[commands]\nallow = ["sleep"]\n')
            planned = say(process, call(3, "orchestrator_plan_task", title="Slow", gates=["sleep 600"]))
            task = planned["result"]["structuredContent"]["ready"][0]
            say(process, call(4, "orchestrator_execute_task", task_id=task))
            work = {"task_id": task, "summary": "s", "next_action": "complete"}
            assert process.stdin is not None
            process.stdin.write(json.dumps(call(5, "orchestrator_complete_task", **work)).encode() + b"\n")
            process.stdin.flush()
            say(process, {"jsonrpc": "2.0", "id": 6, "method": "ping"})
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=END_SECONDS) == 0
            assert processes_in(place) == []
        with serving(place) as process:
            claimed = say(process, call(2, "orchestrator_execute_task", task_id=task))
            assert not claimed["result"]["isError"]


def test_nothing_that_is_said_to_it_stops_it() -> None:
    with new_place() as place, serving(place) as process:
        assert say(process, b"what?\n")["error"]["code"] == -32700
        assert say(process, b"\0" * 100 + b"\n")["error"]["code"] == -32700
        assert say(process, b'{"jsonrpc":"2.0","id":2,"method":"no/such"}\n')["error"]["code"] == -32601
        assert say(process, b'{"jsonrpc":"2.0","id":3,"method":"tools/call","params":[]}\n')["error"]["code"] == -32600
        assert say(process, b'{"jsonrpc":"2.0","id":4,"method":"tools/call","params":{}}\n')["error"]["code"] == -32602
        assert say(process, call(5, "orchestrator_no"))["result"]["isError"]
        huge = say(process, b'"' + b"x" * (stdio.LINE_BYTES_MAX + 10) + b'"\n')
        assert "bytes" in huge["error"]["message"]
        assert say(process, {"jsonrpc": "2.0", "id": 6, "method": "ping"}) == {
            "jsonrpc": "2.0", "id": 6, "result": {}
        }  # fmt: skip


def test_what_is_printed_never_reaches_the_client() -> None:
    """A thread of the server's own process prints as soon as the wire is taken, as a stray library might."""
    with new_place() as place:
        hook = place.root / "hook"
        hook.mkdir()
        (hook / "sitecustomize.py").write_text(
            "import threading\n"
            "def noise():\n"
            "    import os, time\n"
            "    for _ in range(200):\n"
            "        print('stray print', flush=True); os.write(1, b'stray write\\n'); time.sleep(0.005)\n"
            "def later():\n"
            "    import sys, time\n"
            "    while 'vespera_agents.serving.transports.stdio' not in sys.modules: time.sleep(0.01)\n"
            "    from vespera_agents.serving.transports import stdio\n"
            "    while os_inode() == START: time.sleep(0.01)\n"
            "    noise()\n"
            "import os\n"
            "def os_inode(): return os.fstat(1).st_ino\n"
            "START = os_inode()\n"
            "threading.Thread(target=later, daemon=True).start()\n"
        )
        path = f"{hook}{os.pathsep}{place.environment['PYTHONPATH']}"
        with started(place, "--in-process", PYTHONPATH=path) as process:
            say(process, INITIALIZE)
            for identifier in range(2, 30):
                assert say(process, {"jsonrpc": "2.0", "id": identifier, "method": "ping"})["id"] == identifier
            assert process.stderr is not None
            # Of four hundred lines these are enough, also where the watchdog has something to say in between.
            assert {b"stray print\n", b"stray write\n"} <= set(islice(process.stderr, 20))
            out, _ = process.communicate(timeout=END_SECONDS)
            assert out == b""


def test_a_server_without_standard_error_works_too() -> None:
    with new_place() as place:
        command = ["sh", "-c", 'exec "$@" 2>&-', "sh", *place.command]
        with subprocess.Popen(command, env=place.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            say(process, INITIALIZE)
            assert not say(process, call(2, "orchestrator_initialize_session"))["result"]["isError"]
            assert process.communicate(timeout=END_SECONDS) == (b"", None)
            assert process.returncode == 0


def test_metrics_are_served_where_asked_for_and_a_wrong_place_is_told() -> None:
    with new_place() as place, socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        command = [*place.command, "--metrics", f"127.0.0.1:{port}"]
        done = subprocess.run(command, env=place.environment, input=b"", capture_output=True, timeout=20, check=False)
        assert (done.returncode, done.stdout) == (2, b"")
        assert str(port).encode() in done.stderr
        assert b"Traceback" not in done.stderr
        # From now on whoever asks for reuse may listen there, and still nobody else is given the port.
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with started(place, "--metrics", f"127.0.0.1:{port}") as process:
            say(process, INITIALIZE)
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
                assert b"vespera_build_info{" in answer.read()


def test_a_directory_that_cannot_be_a_workspace_is_told() -> None:
    with new_place() as place:
        command = [*place.command[:-1], "/etc"]
        done = subprocess.run(command, env=place.environment, input=b"", capture_output=True, timeout=20, check=False)
        assert (done.returncode, done.stdout) == (2, b"")
        assert b"/etc" in done.stderr
        assert b"Traceback" not in done.stderr


async def test_a_door_that_is_restarted_goes_on_with_the_next_line() -> None:
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "raw", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    with new_place() as place, ends(1_000_000) as pipe:
        async with open_runtime("serve", registry=place.registry) as runtime:
            door = StdioDoor(build_server(Orchestrator(runtime, place.project)), pipe.wire)
            await runtime.doors.start_child(ChildSpec("mcp", door.run, restart=Restart.TRANSIENT))
            for identifier in (1, 2):
                request = {"jsonrpc": "2.0", "id": identifier, "method": "tools/list", "params": {"_meta": meta}}
                pipe.say(json.dumps(request).encode() + b"\n")
                heard = b""
                while not heard.endswith(b"\n"):
                    await trio.lowlevel.wait_readable(pipe.client_in)
                    heard += os.read(pipe.client_in, 1 << 20)
                assert len(json.loads(heard)["result"]["tools"]) == len(TOOLS)
                assert door.tree_detail() == {"requests": identifier, "in_flight": 0, "refused_lines": 0}
                assert not door.ended.is_set()
                if identifier == 1:
                    await runtime.doors.terminate_child("mcp")
                    await runtime.doors.restart_child("mcp")
            pipe.hang_up()
            await door.ended.wait()
