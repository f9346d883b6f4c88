"""The client's pipe: whatever it sends, however slowly it reads, whatever its descriptors are."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.front.kit import JUDGED, JUDGED_WHEN_TOLD, new_place, program, spawn_front, started, state

REFUSED = {
    "jsonrpc": "2.0",
    "id": None,
    "error": {"code": -32600, "message": "a line has more than 5000 bytes: send less"},
}


def test_lines_in_flight_at_once_are_answered_each_and_blank_ones_are_no_lines():
    with started() as front:
        front.send(b"", b"  ", *(_echo(number) for number in range(500)), b"\r", b"")
        assert [front.read()["id"] for _ in range(500)] == list(range(500))
        assert len(front.heard()) == 500


def test_a_line_may_come_in_pieces_and_the_last_one_needs_no_end():
    with started() as front:
        assert front.process.stdin is not None
        for piece in (_echo(1)[:20], _echo(1)[20:] + b"\n" + _echo(2)[:5], _echo(2)[5:]):
            front.process.stdin.write(piece)
            front.process.stdin.flush()
            front.silent(0.05)
        front.close()
        assert [front.read()["id"], front.read()["id"]] == [1, 2]
        assert front.wait() == 0


def test_only_the_lines_that_are_too_long_are_refused():
    with started(line_bytes_max=5_000) as front:
        front.send(b"x" * 5_001)
        assert front.read() == REFUSED
        front.send(b"y" * 3_000_000)
        assert front.read() == REFUSED
        assert front.call("echo", "z" * 4_000)["params"] == "z" * 4_000
        assert front.silent()


def test_a_line_that_is_too_long_is_not_kept_in_memory():
    with started(line_bytes_max=1_000_000) as front:
        front.call("echo")
        before = _memory_bytes(front.process.pid, "VmHWM")
        assert front.process.stdin is not None
        for _ in range(200):
            front.process.stdin.write(b"x" * 1_000_000)
        front.process.stdin.write(b"\n")
        front.process.stdin.flush()
        assert front.read()["error"]["code"] == -32600
        front.call("echo")
        assert _memory_bytes(front.process.pid, "VmHWM") - before < 20_000_000


def test_no_line_raises_in_the_front():
    rng = random.Random(20)
    hostile = [
        b"\x00",
        b"{",
        b"[]",
        b"null",
        b"[" * 50_000,
        b'{"id":' + b"9" * 5000 + b"}",
        b"\xff\xfe",
        b"R 1 x",
        b"! 5",
    ]
    hostile += [bytes(rng.randrange(256) for _ in range(rng.randrange(1, 200))).replace(b"\n", b"") for _ in range(300)]
    with started() as front:
        front.send(*hostile)
        answer = front.ask("echo", "still there")
        while front.read().get("id") != answer:
            pass
        os.kill(front.activations()[0]["pid"], signal.SIGKILL)
        assert front.call("echo")["generation"] == 2
        assert "crashed" not in front.log()


def test_with_too_much_in_flight_no_further_line_is_read():
    with started(requests_max=10) as front:
        front.send(*(_request(number, "silent") for number in range(10)))
        front.until(lambda: len(front.heard()) == 10)
        front.send(*(_echo(number) for number in range(10, 30)))
        assert front.silent(0.3)
        assert len(front.heard()) == 10
        # A death changes nothing about that: they are repeated, and no others come.
        os.kill(front.activations()[0]["pid"], signal.SIGKILL)
        front.until(lambda: len(front.heard()) == 20)
        assert front.silent(0.2)


def test_with_too_many_bytes_in_flight_no_further_line_is_read():
    with started(bytes_max=100_000) as front:
        front.send(_request(1, "silent", "x" * 100_000), _echo(2))
        front.until(front.heard)
        assert front.silent(0.3)
        assert len(front.heard()) == 1


def test_room_in_flight_is_used_again():
    with started(requests_max=3) as front:
        front.send(*(_echo(number) for number in range(300)))
        assert [front.read()["id"] for _ in range(300)] == list(range(300))


def test_a_client_that_does_not_read_holds_up_neither_pings_nor_the_replacement_of_its_worker():
    with started(**JUDGED) as front:
        pid = front.call("echo")["pid"]
        front.send(_request(1, "big", 8_000_000))
        front.until(lambda: not front.silent(0))
        os.kill(pid, signal.SIGSTOP)
        front.until(lambda: state(pid) == "T")
        front.judge(0.5)
        front.judge(0.2)
        front.until(lambda: len(front.activations()) == 2)
        assert front.activations()[1]["reason"] == "wedged"
        assert len(front.read()["result"]) == 8_000_000


def test_a_client_that_does_not_read_cannot_make_the_front_grow_and_its_worker_is_not_blamed():
    with started(**{**JUDGED, "patch": f"{JUDGED_WHEN_TOLD}{_STUFFED}"}) as front:
        front.call("echo")
        before = _memory_bytes(front.process.pid)
        front.send(_request(1, "flood", {"count": 2_000, "size": 100_000}))
        front.until((front.place / "stuffed").exists)
        front.judge(0.2)
        front.judge(0.5)
        front.until(lambda: not (front.place / "judge-0.5").exists())
        _wait(0.5)
        assert "did not answer" not in front.log()
        assert len(front.activations()) == 1
        assert _memory_bytes(front.process.pid) - before < 100_000_000
        for _ in range(2_000):
            assert front.read()["method"] == "flood"
        assert front.read()["id"] == 1
        assert front.call("echo")["generation"] == 1


_STUFFED = """
from vespera_agents.front.stdio import StdioDoor
wait_taken = StdioDoor.wait_taken
async def tell_and_wait(self):
    open('stuffed', 'w').close()
    await wait_taken(self)
StdioDoor.wait_taken = tell_and_wait
"""
"""Has the front tell when it does not listen to its worker, because the client has left too much unread."""


def _wait(seconds):
    threading.Event().wait(seconds)


def test_a_client_that_does_not_read_gets_no_further_line_read():
    with started() as front:
        front.call("echo")
        front.send(_request(1, "big", 8_000_000))
        front.until(lambda: not front.silent(0))
        front.send(_echo(2))
        _wait(0.3)
        assert len(front.heard()) == 2
        assert front.read()["id"] == 1
        assert front.read()["id"] == 2


def test_a_client_that_closes_its_reading_end_ends_the_front():
    with started() as front:
        front.call("echo")
        assert front.process.stdout is not None
        front.process.stdout.close()
        front.ask("echo")
        assert front.wait() == 0


def test_input_from_a_file_is_served_to_its_end():
    with new_place() as place:
        (place / "in").write_bytes(b"".join(_echo(number) + b"\n" for number in range(50)))
        with (place / "in").open("rb") as stdin, (place / "out").open("wb") as stdout:
            process = spawn_front(
                place, program(place, forker=False, worker="", spare=False), stdin=stdin, stdout=stdout
            )
            assert process.wait(20) == 0
        answers = [json.loads(line) for line in (place / "out").read_bytes().splitlines()]
        assert [answer["id"] for answer in answers] == list(range(50))


@pytest.mark.parametrize("closed", ["<&-", "2>&-", "<&- 2>&-", "<&- >&- 2>&-"])
def test_closed_descriptors_are_no_trap(closed):
    """The socket to the worker must not become descriptor 0, 1 or 2."""
    with new_place() as place:
        text = program(place, forker=False, worker="", spare=False)
        (place / "front.py").write_text(text)
        feed = f"echo '{_echo(7).decode()}' | " if "<&-" not in closed else ""
        line = f"{feed}{sys.executable} front.py {closed}"
        environment = {
            **os.environ,
            "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
            "XDG_STATE_HOME": str(place),
        }
        done = subprocess.run(
            ["sh", "-c", line], cwd=place, env=environment, capture_output=True, timeout=30, check=False
        )
        assert done.returncode == 0, done.stderr
        answers = [json.loads(answer)["id"] for answer in done.stdout.splitlines()]
        assert answers == ([7] if feed else [])


def test_the_descriptors_block_again_when_the_front_has_ended():
    with new_place() as place:
        reading, writing = os.pipe()
        output, answers = os.pipe()
        process = spawn_front(
            place, program(place, forker=False, worker="", spare=False), stdin=reading, stdout=answers
        )
        os.write(writing, _echo(1) + b"\n")
        assert json.loads(os.read(output, 65536))["id"] == 1
        assert not os.get_blocking(reading)
        os.close(writing)
        assert process.wait(20) == 0
        assert os.get_blocking(reading)
        assert os.get_blocking(answers)
        for descriptor in (reading, output, answers):
            os.close(descriptor)


def test_what_is_printed_in_the_front_does_not_reach_the_client():
    with new_place() as place:
        text = program(place, forker=False, worker="", spare=False).replace(
            "sys.exit(",
            "import atexit, os\natexit.register(lambda: (print('stray'), os.system('echo strayed')))\nsys.exit(",
        )
        process = spawn_front(place, text)
        out, _ = process.communicate(_echo(1) + b"\n", timeout=20)
        assert [json.loads(line)["id"] for line in out.splitlines()] == [1]
        assert "stray" in (place / "stderr").read_text()


def _memory_bytes(pid, what="VmRSS"):
    text = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith(what))


def _request(identifier, method, params=None):
    return json.dumps({"jsonrpc": "2.0", "id": identifier, "method": method, "params": params}).encode()


def _echo(identifier):
    return _request(identifier, "echo")
