"""The server as a process behind a pipe: clients that do not read, huge and torn lines, noise at the very end."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import threading
from typing import Any

import pytest
import trio

from tests.serving.kit import Place, new_place
from tests.serving.raw_process import END_SECONDS, INITIALIZE, call, processes_in, say, serving, started
from vespera_agents.serving.control import ask_server
from vespera_agents.serving.transports.stdio import LINE_BYTES_MAX
from vespera_agents.workspace import live_servers

WHERE = {"behind a front": (), "in process": ("--in-process",)}
ANSWER_BYTES_MIN = 2_000
"""Every answer with the list of tools is longer than this."""


def flood(process: subprocess.Popen[bytes], count: int) -> None:
    """Ask for the list of tools so often, and read none of the answers."""
    assert process.stdin is not None
    request = {"jsonrpc": "2.0", "method": "tools/list", "params": {}}
    for number in range(count):
        process.stdin.write(json.dumps({**request, "id": number}).encode() + b"\n")
    process.stdin.flush()


def read_answers(process: subprocess.Popen[bytes], count: int) -> list[dict[str, Any]]:
    assert process.stdout is not None
    return [json.loads(process.stdout.readline()) for _ in range(count)]


def in_flight(place: Place) -> int:
    """Ask the server over its private socket how many requests it has in flight."""

    async def ask() -> object:
        with trio.fail_after(30):
            # Its loop has up to a thousand lists of tools to write before.
            return await ask_server(place.workspace, "tree", answer_seconds=20.0)

    found = re.findall(r"'in_flight': (\d+)", str(trio.run(ask)))
    return int(found[0])


@pytest.mark.parametrize("where", WHERE)
def test_a_client_that_does_not_read_holds_up_nobody_else_and_loses_nothing(where: str) -> None:
    count = 100
    with new_place() as place, serving(place, *WHERE[where]) as process:
        # So that the server has a record to be found by.
        assert not say(process, call(2, "orchestrator_initialize_session"))["result"]["isError"]
        flood(process, count)
        # The loop answers others while the answers wait for their reader; a front has taken them.
        if where == "in process":
            assert in_flight(place) > 0
        answers = read_answers(process, count)
        assert {answer["id"] for answer in answers} == set(range(count))
        assert all(len(json.dumps(answer)) > ANSWER_BYTES_MIN for answer in answers)
        assert say(process, {"jsonrpc": "2.0", "id": "last", "method": "ping"})["id"] == "last"


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("how", ["eof", "SIGTERM", "SIGINT"])
def test_a_client_that_does_not_read_cannot_keep_the_server_from_ending(how: str, where: str) -> None:
    with new_place() as place, serving(place, *WHERE[where]) as process:
        assert not say(process, call(2, "orchestrator_initialize_session"))["result"]["isError"]
        flood(process, 100)
        if where == "in process":
            assert in_flight(place) > 0
        if how == "eof":
            assert process.stdin is not None
            process.stdin.close()
        else:
            process.send_signal(signal.Signals[how])
        assert process.wait(timeout=END_SECONDS) == 0
        # However much time the machine took: no part of it had to be made to end.
        assert process.stderr is not None
        assert b"stopped by force" not in process.stderr.read()
        assert live_servers(place.workspace) == []
        assert processes_in(place) == []


def test_a_thousand_requests_are_in_flight_at_most() -> None:
    """Whoever sends more without reading is left waiting with what the pipe takes; nothing of it is lost."""
    count = 3_000
    with new_place() as place, serving(place) as process:
        assert not say(process, call(2, "orchestrator_initialize_session"))["result"]["isError"]
        sending = threading.Thread(target=flood, args=(process, count), daemon=True)
        sending.start()
        assert in_flight(place) <= 1_000
        answers = read_answers(process, count)
        assert {answer["id"] for answer in answers} == set(range(count))
        sending.join(END_SECONDS)
        assert not sending.is_alive()


def test_a_line_up_to_the_limit_is_read() -> None:
    with new_place() as place, serving(place) as process:
        assert process.stdin is not None
        head, tail = b'{"jsonrpc":"2.0","id":2,"method":"ping","params":{"_meta":{"filler":"', b'"}}}'
        line = head + b"x" * (LINE_BYTES_MAX - len(head) - len(tail)) + tail
        assert say(process, line + b"\n") == {"jsonrpc": "2.0", "id": 2, "result": {}}
        assert say(process, line[:-1] + b" }\n")["error"]["code"] == -32600


def test_a_torn_last_line_is_refused_and_ends_the_server_well() -> None:
    with new_place() as place, serving(place) as process:
        out, err = process.communicate(b'{"jsonrpc":"2.0","id":2,"meth', timeout=END_SECONDS)
        assert json.loads(out)["error"]["code"] == -32700
        assert (process.returncode, err) == (0, b"")


def test_a_whole_last_line_without_its_end_is_answered() -> None:
    with new_place() as place, serving(place) as process:
        out, _ = process.communicate(b'{"jsonrpc":"2.0","id":2,"method":"ping"}', timeout=END_SECONDS)
        assert json.loads(out) == {"jsonrpc": "2.0", "id": 2, "result": {}}


def test_a_file_as_standard_input_is_read_to_its_end() -> None:
    with new_place() as place:
        script = place.root / "said"
        lines = [INITIALIZE, *({"jsonrpc": "2.0", "id": number, "method": "ping"} for number in range(2, 50))]
        script.write_text("".join(json.dumps(line) + "\n" for line in lines))
        with script.open("rb") as file:
            done = subprocess.run(
                place.command, env=place.environment, stdin=file, capture_output=True, timeout=30, check=True
            )
        assert {json.loads(line)["id"] for line in done.stdout.splitlines()} == set(range(1, 50))


def test_what_is_printed_at_the_very_end_never_reaches_the_client() -> None:
    """By Python when the interpreter ends, and by a C library whose buffer is written out even later."""
    with new_place() as place:
        hook = place.root / "hook"
        hook.mkdir()
        (hook / "sitecustomize.py").write_text(
            "import atexit, ctypes, sys\n"
            "def noise():\n"
            "    if 'vespera_agents.serving.transports.stdio' in sys.modules:\n"
            "        print('python at exit', flush=True)\n"
            "        ctypes.CDLL(None).puts(b'c at exit')\n"
            "atexit.register(noise)\n"
        )
        path = f"{hook}{os.pathsep}{place.environment['PYTHONPATH']}"
        with started(place, PYTHONPATH=path) as process:
            say(process, INITIALIZE)
            out, err = process.communicate(timeout=END_SECONDS)
            assert (process.returncode, out) == (0, b"")
            assert b"python at exit" in err
            assert b"c at exit" in err


def test_the_answers_of_one_call_come_in_their_order() -> None:
    """Progress of a call, then its answer, with other calls in between."""
    with new_place() as place, serving(place) as process:
        assert not say(process, call(2, "orchestrator_initialize_session"))["result"]["isError"]
        assert process.stdin is not None
        assert process.stdout is not None
        plans = [call(number, "orchestrator_plan_task", title=f"T{number}") for number in range(3, 203)]
        process.stdin.write(b"".join(json.dumps(plan).encode() + b"\n" for plan in plans))
        process.stdin.flush()
        answers = read_answers(process, len(plans))
        assert {answer["id"] for answer in answers} == set(range(3, 203))
        # Not in the order of the lines, but their effects are.
        titles = [row[0] for row in place.rows("SELECT title FROM task ORDER BY seq")]
        assert titles == [f"T{number}" for number in range(3, 203)]
        assert select.select([process.stdout], [], [], 0)[0] == []
