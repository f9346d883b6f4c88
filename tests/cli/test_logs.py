"""`vespera logs`: what it shows of servers that were killed and that could not start, and that nothing in it steers."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from vespera_agents.cli import logs
from vespera_agents.cli.crashes import find_crashes
from vespera_agents.cli.logs import Follower, _End, _read
from vespera_agents.front.log import FILES_MAX, Log

SECONDS_MAX = 120.0
PAUSE = threading.Event()
"""Never set: what real processes do cannot be waited for on trio's clock."""
SERVER = "srv_0123456789ab"
OTHER = "srv_0123ffffffff"
HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "reader", "version": "1"}}


@contextlib.contextmanager
def served(vespera, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Start a server that is killed in time, so that no test waits for ever for what it says."""
    process = vespera.start(
        "serve", stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, env={**vespera.environment, **environment}
    )
    watchdog = threading.Timer(SECONDS_MAX, process.kill)
    watchdog.start()
    try:
        yield process
    finally:
        watchdog.cancel()


def ask(process: subprocess.Popen[str], number: int, method: str, **params: Any) -> dict[str, Any]:
    process.stdin.write(json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}) + "\n")
    process.stdin.flush()
    while (answer := json.loads(process.stdout.readline())).get("id") != number:
        pass
    return answer


def closed(process: subprocess.Popen[str]) -> int:
    process.stdin.close()
    process.stdin = None
    return process.wait(SECONDS_MAX)


def until(found: Callable[[], object]) -> Any:
    """Wait for a file to hold something."""
    end = time.monotonic() + SECONDS_MAX
    while not (value := found()):
        assert time.monotonic() < end, "it did not come in time"
        PAUSE.wait(0.02)
    return value


def worker_pid(vespera) -> int:
    """Ask the record which process works now: it is the one of `vespera tree`."""
    (record,) = (vespera.workspace / ".vespera" / "servers").glob("srv_*.json")
    return json.loads(record.read_text())["pid"]


@pytest.fixture
def written(vespera, tmp_path: Path) -> Iterator[Callable[..., Log]]:
    """Write logs as a front does: the lines of its processes through a pipe."""
    read, write = os.pipe()

    def make(server: str = SERVER, workspace: Path | None = None, bytes_max: int = 1 << 20) -> Log:
        path = vespera.state / "vespera" / "logs" / f"{server}.log"
        head = f"server {server} (pid 7) serves {json.dumps(str(workspace or vespera.workspace))}"
        log = Log(str(path), read, bytes_max=bytes_max, head=head)

        def printed(data: bytes) -> None:
            # A pipe has room for 64 KiB.
            for start in range(0, len(data), 1 << 15):
                os.write(write, data[start : start + (1 << 15)])
                log.take_printed()

        log.printed = printed
        return log

    yield make
    os.close(read)
    os.close(write)


def replaced(vespera, process, number) -> int:
    """Have the first worker end by a signal and the next one answer; gives who has ended."""
    ask(process, 1, "initialize", **HELLO)
    killed = worker_pid(vespera)
    os.kill(killed, number)
    ask(process, 2, "tools/list")
    return killed


def without_delays(shown: str) -> list[str]:
    """Leave out what was printed of a loop that a busy machine held up."""
    said = re.compile(r" *\S+Z [A-Z]+ vespera_agents\.(?:health|watchdog): ")
    return [line for line in shown.splitlines() if not said.match(line)]


def test_the_log_of_a_killed_server_tells_its_death_and_what_came_after(vespera):
    with served(vespera) as process:
        killed = replaced(vespera, process, signal.SIGKILL)
        logs = vespera("logs")
        assert logs.returncode == 0
        assert f'serves "{vespera.workspace}"' in logs.stdout.splitlines()[0]
        death = f"worker 1 (pid {killed}) ended with signal 9"
        shown = [line.partition("front: ")[2] for line in logs.stdout.splitlines()]
        assert shown.index(death) < next(at for at, line in enumerate(shown) if line.startswith("worker 2"))
        crashes = vespera("logs", "--crashes")
        (headline,) = without_delays(crashes.stdout)
        assert crashes.returncode == 0
        assert headline.endswith(f"Z {death}")
        listed = vespera("logs", "--list")
        assert re.search(rf"process {process.pid} +{re.escape(str(vespera.workspace))}\n", listed.stdout)
        assert closed(process) == 0
    # An end that was asked for is no crash, and the log is still there.
    assert vespera("logs", "--crashes").stdout == crashes.stdout
    assert "ends: the client has closed its end" in vespera("logs").stdout
    assert re.search(rf"ended +{re.escape(str(vespera.workspace))}\n", vespera("logs", "--list").stdout)


def test_a_crash_of_native_code_leaves_the_stack_of_every_thread_before_its_death(vespera):
    with served(vespera) as process:
        killed = replaced(vespera, process, signal.SIGSEGV)
        headline, *lines = without_delays(vespera("logs", "--crashes", "--lines", "200").stdout)
        assert headline.endswith(f"worker 1 (pid {killed}) ended with signal 11")
        assert lines[0] == "  Fatal Python error: Segmentation fault"
        stacks = [line for line in lines if "(most recent call first)" in line]
        assert len(stacks) >= 2
        assert any("serving/worker.py" in line and "in work" in line for line in lines)
        assert closed(process) == 0


def test_a_server_that_cannot_start_leaves_its_traceback_before_each_death(vespera, tmp_path):
    # Not `mcp` itself: it is run only when somebody asks for a name in it.
    broken = tmp_path / "broken" / "mcp_types"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise RuntimeError('half an upgrade')\n")
    path = os.pathsep.join([str(broken.parent), vespera.environment["PYTHONPATH"]])
    with served(vespera, PYTHONPATH=path) as process:
        crashes = until(
            lambda: (
                text if (text := vespera("logs", "--crashes").stdout).count("ended with status 1 before") > 1 else ""
            )
        )
        assert closed(process) == 0
    first, second = crashes.split("\n\n")[:2]
    for number, crash in ((1, first), (2, second)):
        headline, *lines = crash.splitlines()
        assert f"worker {number} (pid " in headline
        assert headline.endswith("ended with status 1 before it was ready")
        assert lines[0] == "  Traceback (most recent call last):"
        assert "  RuntimeError: half an upgrade" in lines
    shutil.rmtree(broken)


def test_a_workspace_whose_first_worker_refused_it_leaves_the_reason(vespera):
    (vespera.workspace / ".vespera").write_text("no directory")
    with served(vespera) as process:
        assert process.wait(SECONDS_MAX) == 2
    crashes = vespera("logs", "--crashes")
    assert "ended with status 2 before it was ready" in crashes.stdout
    assert "Error: " in crashes.stdout


def test_without_a_log_it_says_so_and_what_to_do(vespera, written, tmp_path):
    for words in ((), ("--crashes",), ("--list",), ("--server", SERVER)):
        none = vespera("logs", *words)
        assert (none.returncode, none.stdout) == (2, "")
        assert "has left a log" in none.stderr
        assert "vespera" in none.stderr.partition("has left a log")[2]
    elsewhere = tmp_path / "else where"
    elsewhere.mkdir()
    written(workspace=elsewhere).say("hello")
    assert f"no server of {vespera.workspace} has left a log" in vespera("logs").stderr
    assert "hello" in vespera("logs", "--workspace", elsewhere).stdout
    assert "hello" in vespera("logs", "--server", SERVER).stdout
    refused = vespera("logs", "--follow", "--crashes")
    assert (refused.returncode, refused.stdout) == (2, "")


def test_the_newest_server_of_the_workspace_is_meant_unless_another_is_named(vespera, written, tmp_path):
    for age, (server, workspace) in enumerate([(OTHER, None), (SERVER, None), ("srv_ffffffffffff", tmp_path)]):
        log = written(server, workspace)
        log.say(f"this is {server}")
        os.utime(log.path, (1000 + age, 1000 + age))
    assert f"this is {SERVER}" in vespera("logs").stdout
    assert f"this is {OTHER}" in vespera("logs", "--server", "srv_0123f").stdout
    several = vespera("logs", "--server", "srv_0123")
    assert (several.returncode, several.stdout) == (2, "")
    assert f"{SERVER}, {OTHER}" in several.stderr
    assert [line[:16] for line in vespera("logs", "--list").stdout.splitlines()] == ["srv_ffffffffffff", SERVER, OTHER]


def test_what_processes_print_cannot_steer_a_terminal(vespera, written):
    log = written()
    log.printed(b"\x1b]0;title\x07\x1b[31mred\x1b[0m \x1b[2J\x9b5n\r\x08gone\xe2\x80\xae \x00\xff\xfe\n")
    log.printed(b"\x1bP" + b"q" * 10 + b"\n" + b"x" * 1_000_000 + b"\n")
    log.say("after \x1b[7m it")
    for words in (("logs",), ("logs", "--crashes")):
        shown = vespera(*words).stdout
        assert not any((ord(one) < 32 and one != "\n") or 127 <= ord(one) < 160 for one in shown)
        assert "\u202e" not in shown
        assert all(len(line) < 2_100 for line in shown.splitlines())
    shown = vespera("logs").stdout
    assert "red" in shown
    assert "[... of 1000000 bytes]" in shown
    assert "after  it" in shown


def test_lines_are_counted_from_the_end_and_across_both_files(vespera, written):
    log = written(bytes_max=1_200)
    for number in range(40):
        log.say(f"event {number}")
    assert Path(f"{log.path}.1").exists()
    shown = [line.partition("front: ")[2] for line in vespera("logs", "--lines", 25).stdout.splitlines()]
    # Each file begins with whose it is.
    events = [line for line in shown if line.startswith("event")]
    assert (len(shown), shown[-1]) == (25, "event 39")
    assert events == [f"event {number}" for number in range(40 - len(events), 40)]
    assert vespera("logs", "--lines", 0).stdout == ""
    log.printed(b"not ended")
    assert vespera("logs", "--lines", 1).stdout == "not ended\n"


def test_following_goes_on_in_the_next_file_and_ends_with_ctrl_c_or_its_reader(vespera, written):
    log = written(bytes_max=2_000)
    log.say("before")
    process = vespera.start("logs", "--follow", "--lines", 1)
    watchdog = threading.Timer(SECONDS_MAX, process.kill)
    watchdog.start()
    assert "front: before" in process.stdout.readline()
    seen: list[str] = []
    for number in range(60):
        log.say(f"event {number}")
        PAUSE.wait(0.01)
    while not seen or seen[-1] != "event 59":
        line = process.stdout.readline()
        assert line, f"it ended after {seen}"
        seen.append(line.rstrip("\n").partition("front: ")[2])
    assert [line for line in seen if line.startswith("event")] == [f"event {number}" for number in range(60)]
    assert Path(f"{log.path}.1").exists()
    process.send_signal(signal.SIGINT)
    assert process.wait(SECONDS_MAX) == 130
    assert "Traceback" not in process.stderr.read()
    second = vespera.start("logs", "--follow")
    assert second.stdout.readline()
    second.stdout.close()
    second.stdout = None
    log.say("nobody reads this")
    assert second.wait(SECONDS_MAX) == 0
    watchdog.cancel()


def test_a_follower_reads_each_line_once_also_when_it_came_in_pieces(tmp_path):
    path = tmp_path / "a.log"
    path.write_bytes(b"old\nhal")
    status = path.stat()
    follower = Follower(path, _End(b"", 4, (status.st_dev, status.st_ino)))
    assert [*follower.read()] == []
    with path.open("ab") as file:
        file.write(b"f\nwhole\n")
    assert [*follower.read()] == [b"half", b"whole"]
    path.write_bytes(b"cut\n")
    assert [*follower.read()] == [b"cut"]
    path.rename(tmp_path / "a.log.1")
    assert [*follower.read()] == []
    path.write_bytes(b"new\n")
    assert [*follower.read()] == [b"new"]
    assert [*follower.read()] == []


def test_what_gets_the_older_name_before_it_is_followed_is_read_to_its_end(tmp_path):
    path = tmp_path / "a.log"
    path.write_bytes(b"old\n")
    end = _read(path)
    with path.open("ab") as file:
        file.write(b"late\n")
    path.rename(tmp_path / "a.log.1")
    path.write_bytes(b"new\n")
    follower = Follower(path, end)
    assert [*follower.read()] == [b"late", b"new"]


def test_a_file_that_gets_the_older_name_while_both_are_read_is_shown_once(monkeypatch, tmp_path):
    path = tmp_path / "srv_000000000000.log"
    path.write_bytes(b"one\n")
    rotated = iter((True, False))

    def read(which: Path) -> _End | None:
        end = _read(which)
        if next(rotated):
            path.rename(f"{path}.1")
        return end

    monkeypatch.setattr(logs, "_read", read)
    older, newer = logs._read_both(logs.ServerLog("srv_000000000000", path, 0.0, None, 0))
    assert (older, newer and newer.data) == (None, b"one\n")


def test_old_logs_are_removed_and_what_is_no_log_is_passed_over(vespera, written, tmp_path):
    directory = vespera.state / "vespera" / "logs"
    directory.mkdir(parents=True)
    for number in range(FILES_MAX + 5):
        (directory / f"srv_{number:012x}.log").write_text("no head\n")
    (directory / "srv_111111111111.log.1").mkdir()
    (directory / "srv_aaaaaaaaaaaa.log").symlink_to(tmp_path)
    (directory / "notes.txt").write_text("mine")
    written().say("newest")
    listed = vespera("logs", "--list").stdout.splitlines()
    assert len(listed) <= FILES_MAX
    assert sum(line.startswith(SERVER) for line in listed) == 1
    assert all("?" in line for line in listed if not line.startswith(SERVER))
    assert (directory / "notes.txt").exists()


LOG = """\
2026-11-20T20:00:00.000Z front: worker 1 (pid 10) starts
a warning
2026-11-20T20:00:01.000Z front: worker 1 (pid 10) is ready after 900.0 ms
another
2026-11-20T20:00:02.000Z front: worker 10 did not answer within 10 s: where its threads are follows
Current thread 0x0001 (most recent call first):
2026-11-20T20:00:03.000Z front: worker 1 (pid 10) ended with signal 9
2026-11-20T20:00:03.100Z front: worker 2 (pid 11, spare) takes over: wedged
2026-11-20T20:00:04.000Z front: spare 12 died while it waited; the next one comes in 0.2 s
2026-11-20T20:00:05.000Z front: worker 2 (pid 11) ended with signal 11 before it was ready
2026-11-20T20:00:05.200Z front: restart (graceful) begins: new code
2026-11-20T20:00:05.200Z front: restart: stop
2026-11-20T20:00:05.300Z front: worker 3 (pid 13) ended with status 0
2026-11-20T20:00:05.300Z front: restart: activate
2026-11-20T20:00:05.500Z front: restart is done: stop 100 ms
2026-11-20T20:00:05.600Z front: worker 4 (pid 14) ended with status 3
2026-11-20T20:00:05.610Z front: restart (graceful) begins: newer code
2026-11-20T20:00:05.620Z front: restart: start
SyntaxError
2026-11-20T20:00:05.630Z front: restart failed: the new process ended
2026-11-20T20:00:05.700Z front: log of the front has crashed and is started anew
Traceback (most recent call last):
ValueError
2026-11-20T20:00:06.000Z front: ends: SIGTERM
2026-11-20T20:00:07.000Z front: worker 5 (pid 15) ended with status 0
""".splitlines()


def test_a_crash_has_what_was_printed_before_it_and_how_it_ended():
    crashes = find_crashes(LOG, 3)
    assert [crash.pid for crash in crashes] == ["10", "12", "11", "14", None, None]
    wedged, spare, killed, _, fresh, part = crashes
    assert (wedged.lines, wedged.left_out) == (["another", *LOG[4:6]], 1)
    assert (spare.lines, killed.lines) == ([], [])
    assert killed.headline == "2026-11-20T20:00:05.000Z worker 2 (pid 11) ended with signal 11 before it was ready"
    assert fresh.lines == ["SyntaxError"]
    assert part.lines == ["Traceback (most recent call last):", "ValueError"]
    assert find_crashes([], 3) == []


def test_what_a_process_printed_comes_before_the_event_that_it_explains(vespera):
    read, write = os.pipe()
    log = Log(str(vespera.state / "vespera" / "logs" / f"{SERVER}.log"), read, bytes_max=1 << 20, head="mine")
    os.write(write, b"Traceback\n")
    log.say("worker 1 (pid 7) ended with status 1")
    assert log_lines(log) == ["mine", "Traceback", "worker 1 (pid 7) ended with status 1"]
    os.close(read)
    os.close(write)


def log_lines(log: Log) -> list[str]:
    return [line.rpartition("front: ")[2] for line in Path(log.path).read_text().splitlines()]
