"""Where the log goes: a reader that does not read stops nobody, and no flood gets through."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import subprocess
import sys
import termios
import threading
import time

import pytest

from vespera_agents.logs import LogFormat, Output, Throttle, configure_logs, log_event

SECONDS_MAX = 20.0


@pytest.fixture
def pipe():
    read, write = os.pipe()
    yield read, write
    os.close(read)
    os.close(write)


@pytest.fixture
def logger():
    found = logging.getLogger("test of output")
    found.propagate = False
    found.setLevel(logging.DEBUG)
    yield found
    found.handlers.clear()


def read_all(file: int) -> bytes:
    os.set_blocking(file, False)
    data = b""
    try:
        while chunk := os.read(file, 1 << 16):
            data += chunk
    except BlockingIOError:
        os.set_blocking(file, True)
    return data


def test_a_reader_that_reads_nothing_stops_nobody_and_hears_what_it_missed(pipe, logger):
    read, write = pipe
    output = Output(LogFormat.JSON, write)
    logger.addHandler(output)
    began = time.monotonic()
    for number in range(500):
        log_event(logger, logging.INFO, "much", number=number, text="x" * 1_900)
    # It waits for the first that is not taken, and then for none.
    assert time.monotonic() - began < SECONDS_MAX
    assert output.dropped > 300
    first = read_all(read)
    lines = [json.loads(line) for line in first.splitlines()[:-1]]
    assert [line["number"] for line in lines] == list(range(len(lines)))
    log_event(logger, logging.INFO, "again")
    told, again = [json.loads(line) for line in read_all(read).splitlines() if line.startswith(b"{")][-2:]
    assert f"{output.dropped} lines of the log were not taken" in told["event"]
    assert again["event"] == "again"
    log_event(logger, logging.INFO, "and again")
    (last,) = read_all(read).splitlines()
    assert json.loads(last)["event"] == "and again"


def test_a_reader_that_dawdles_is_not_waited_for_again_and_again_within_one_line(pipe, logger):
    read, write = pipe
    output = Output(LogFormat.JSON, write)
    logger.addHandler(output)
    done = threading.Event()

    page, most = 4_096, fcntl.fcntl(write, fcntl.F_GETPIPE_SZ)

    def dawdle() -> None:
        # Only while the pipe is full: a writer that has no processor for a while must not find it empty.
        while not done.wait(0.005):
            if int.from_bytes(fcntl.ioctl(read, termios.FIONREAD, bytes(4)), sys.byteorder) > most - page:
                os.read(read, page)

    reader = threading.Thread(target=dawdle)
    reader.start()
    try:
        # Twice what a pipe holds: each part of it would be taken within a patience of its own.
        log_event(logger, logging.INFO, "long", lines=["x" * 2_000] * 64)
    finally:
        done.set()
        reader.join()
    assert output.dropped == 1


def test_a_line_that_was_cut_off_does_not_hide_the_next(pipe, logger):
    read, write = pipe
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 8192)
    output = Output(LogFormat.JSON, write)
    logger.addHandler(output)
    log_event(logger, logging.INFO, "long", values=["x" * 1_900] * 20)
    assert output.dropped == 1
    assert b"\n" not in read_all(read)
    log_event(logger, logging.INFO, "next")
    rest = read_all(read)
    assert rest.startswith(b"\n")
    told, following = map(json.loads, rest.splitlines()[1:])
    assert "1 lines of the log were not taken" in told["event"]
    assert following["event"] == "next"


def test_a_file_takes_everything(tmp_path, logger):
    with (tmp_path / "log").open("wb") as file:
        logger.addHandler(Output(LogFormat.CONSOLE, file.fileno()))
        for number in range(100):
            log_event(logger, logging.INFO, "line", number=number, text="y" * 1_900)
    assert len((tmp_path / "log").read_bytes().splitlines()) == 100


def test_a_closed_descriptor_is_no_error(logger, capsys):
    read, write = os.pipe()
    os.close(read)
    output = Output(LogFormat.CONSOLE, write)
    logger.addHandler(output)
    log_event(logger, logging.INFO, "to nobody")
    os.close(write)
    log_event(logger, logging.INFO, "to nowhere")
    assert output.dropped == 2
    assert capsys.readouterr().err == ""


def test_whoever_has_configured_logging_keeps_their_configuration():
    before = logging.getLogger().handlers[:]
    assert before, "pytest catches logs"
    configure_logs(LogFormat.JSON, "info")
    assert logging.getLogger().handlers == before


def test_a_process_logs_to_its_standard_error_from_the_level_on():
    program = (
        "import logging, sys; from vespera_agents.logs import *;"
        "configure_logs(LogFormat.JSON, sys.argv[1])\n"
        "for name in ('mcp', 'vespera_agents.a', 'supervisors'):\n"
        "    logger = logging.getLogger(name); logger.debug('body'); log_event(logger, logging.INFO, 'quiet')\n"
        "    logger.warning('loud %s', 1)"
    )
    seen = {}
    for level in ("info", "warning", "error"):
        done = subprocess.run([sys.executable, "-c", program, level], capture_output=True, check=True, timeout=60)
        seen[level] = [(line["logger"], line["event"]) for line in map(json.loads, done.stderr.splitlines())]
        assert done.stdout == b""
    # Of libraries only what went wrong: what they say beside it may hold the bodies of messages.
    ours = ("vespera_agents.a", "supervisors")
    both = [(name, event) for name in ours for event in ("quiet", "loud 1")]
    assert seen == {
        "info": [("mcp", "loud 1"), *both],
        "warning": [(name, "loud 1") for name in ("mcp", *ours)],
        "error": [],
    }


def test_a_throttle_lets_so_many_through_and_counts_the_rest():
    now = [0.0]
    throttle = Throttle(3, 60.0, clock=lambda: now[0])
    assert [throttle.lets() for _ in range(5)] == [True, True, True, False, False]
    assert throttle.take_held_back() == 2
    assert throttle.take_held_back() == 0
    now[0] = 20.0
    assert [throttle.lets() for _ in range(2)] == [True, False]
    now[0] = 10_000.0
    assert [throttle.lets() for _ in range(4)] == [True, True, True, False]
    assert throttle.held_back == 4
