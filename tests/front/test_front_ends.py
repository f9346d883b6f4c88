"""The end: by the client, by signals, by force. Nothing is left behind, and nobody waits."""

from __future__ import annotations

import os
import signal
import time

import pytest

from tests.front.kit import SECONDS, started

GONE_SECONDS = SECONDS
"""Within which everything is gone, whatever happened: whoever does not end by himself here would take 60 s."""
ALL = {"forker": True, "spare": True}


def gone(front):
    front.until(lambda: not front.processes(), GONE_SECONDS)


def test_it_ends_when_the_client_closes_its_end_and_answers_what_was_asked_before():
    with started(**ALL) as front:
        for number in range(5):
            front.ask("echo", number)
        front.close()
        assert [front.read()["id"] for _ in range(5)] == [1, 2, 3, 4, 5]
        assert front.wait() == 0
        gone(front)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_at_a_signal(number):
    with started(**ALL) as front:
        front.call("echo")
        front.spare_waits()
        front.process.send_signal(number)
        assert front.wait() == 0
        gone(front)


def test_at_rest_it_ends_at_once():
    with started(**ALL, end_seconds=60.0) as front:
        front.call("echo")
        front.spare_waits()
        before = time.monotonic()
        front.close()
        assert front.wait() == 0
        # Bounded by what a worker may take, and far below: the goal of 0.2 s is for benchmarks.
        assert time.monotonic() - before < GONE_SECONDS


def test_a_worker_that_does_not_end_is_killed():
    with started(end_seconds=0.3) as front:
        front.call("echo")
        front.ask("sleep", 60)
        front.until(lambda: len(front.heard()) == 2)
        front.close()
        assert front.wait(GONE_SECONDS) == 0
        gone(front)


def test_a_stopped_worker_does_not_hold_up_the_end():
    with started(**ALL, end_seconds=0.3, pong_seconds=60.0) as front:
        os.kill(front.call("echo")["pid"], signal.SIGSTOP)
        front.process.send_signal(signal.SIGTERM)
        assert front.wait(GONE_SECONDS) == 0
        gone(front)


def test_a_second_signal_does_not_wait():
    with started(end_seconds=60.0, pong_seconds=60.0) as front:
        front.call("echo")
        front.ask("sleep", 60)
        front.until(lambda: len(front.heard()) == 2)
        front.process.send_signal(signal.SIGINT)
        front.until(lambda: "ends: SIGINT" in front.log())
        front.process.send_signal(signal.SIGINT)
        assert front.wait(GONE_SECONDS) == 0
        gone(front)


def test_a_front_that_is_killed_takes_everything_with_it():
    with started(**ALL) as front:
        front.call("echo")
        front.spare_waits()
        front.process.kill()
        front.wait()
        gone(front)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_an_end_before_the_worker_is_ready_leaves_nothing(number):
    with started(failing={"ready": "hang"}) as front:
        front.until(lambda: front.notes("failed"))
        front.process.send_signal(number)
        assert front.wait() == (-number if number == signal.SIGKILL else 0)
        if number != signal.SIGKILL:
            gone(front)
        else:
            # The toy hangs, and has no thread that watches its link; the program has one.
            os.kill(int(front.notes("failed")[0].split()[1]), signal.SIGKILL)


def test_a_client_that_goes_before_the_worker_is_ready_still_gets_its_answers():
    with started() as front:
        front.ask("echo", "early")
        front.close()
        assert front.read()["result"]["params"] == "early"
        assert front.wait() == 0


def test_a_client_that_goes_while_no_worker_starts_ends_the_front():
    with started() as front:
        pid = front.call("echo")["pid"]
        front.fail("start", 3, times=1000)
        os.kill(pid, signal.SIGKILL)
        front.until(lambda: len(front.notes("failed")) >= 3)
        front.close()
        assert front.wait(GONE_SECONDS) == 0


def test_an_end_in_the_middle_of_a_restart_leaves_nothing():
    with started(**ALL) as front:
        front.call("echo")
        front.spare_waits()
        (front.place / "slow-warm").write_text("")
        front.ask("restart", {"wish": {}})
        front.until(lambda: len(front.notes("warming")) >= 2)
        front.close()
        assert front.wait(GONE_SECONDS) == 0
        gone(front)
