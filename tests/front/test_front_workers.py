"""Real fronts with toy workers: replaced when they die, hang or start badly; and never two at once."""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import signal

import pytest

from tests.front.kit import JUDGED, JUDGED_WHEN_TOLD, SECONDS, started, state

WAYS = {"forked": {"forker": True, "spare": True}, "waiting": {"spare": True}, "cold": {}}
"""The kinds of processes that take over."""


def generations(front):
    return [activation["generation"] for activation in front.activations()]


@pytest.mark.parametrize("way", WAYS)
def test_a_worker_that_dies_in_a_call_is_replaced_and_the_call_is_answered(way):
    with started(**WAYS[way]) as front:
        assert front.call("echo", "x")["generation"] == 1
        if way != "cold":
            front.spare_waits()
        assert front.call("die", {"in": [1]}) == {"generation": 2}
        first, second = front.activations()
        assert (first["reason"], second["reason"]) == ("start", "crash")
        assert first["server"] == second["server"]
        assert first["server"].startswith("srv_")
        assert first["log"] == str(front.logs()[0])
        assert ["2", "2", "repeated"] in [row[:3] for row in front.heard()]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_a_worker_that_is_killed_while_nobody_calls_is_replaced(number):
    with started(forker=True, spare=True) as front:
        pid = front.call("echo")["pid"]
        front.spare_waits()
        os.kill(pid, number)
        assert front.call("echo")["generation"] == 2
        standing = front.call("standing")
        (crash,) = standing["crashes"]
        assert (crash["generation"], crash["pid"], crash["ready"]) == (1, pid, True)
        assert crash["status"] == -number


def test_a_burst_of_deaths_is_covered_and_the_processes_stay_few():
    with started(forker=True, spare=True) as front:
        front.call("echo")
        front.spare_waits()
        most = 0
        for number in range(12):
            front.until(lambda n=number: len(front.activations()) == n + 1)
            os.kill(front.activations()[-1]["pid"], signal.SIGKILL)
            most = max(most, len(front.processes()))
        assert front.call("echo")["generation"] == 13
        # Whoever made it, the front hears at once how it ended.
        assert [crash["status"] for crash in front.call("standing")["crashes"]] == [-signal.SIGKILL] * 12
        assert front.log().count(f"ended with signal {signal.SIGKILL:d}") == 12
        assert most <= 8
        assert "forker" in front.log()


def test_an_answer_that_was_written_before_the_death_counts_and_is_given_once():
    with started() as front:
        assert front.call("answer_and_die") == {"generation": 1}
        assert front.call("echo")["generation"] == 2
        assert [row[:2] for row in front.heard()] == [["1", "1"], ["2", "2"]]


def test_a_torn_answer_is_no_answer():
    with started() as front:
        assert front.call("torn") == {"generation": 2}


def test_what_is_kept_is_told_to_every_new_worker_before_what_is_unanswered():
    with started() as front:
        assert front.call("keep", {"slot": "init"})["generation"] == 1
        front.ask("keep", {"slot": "listen", "answer": False})
        assert front.call("echo")["generation"] == 1
        for generation in (2, 3):
            os.kill(front.call("echo")["pid"], signal.SIGKILL)
            front.until(lambda g=generation: generations(front)[-1] == g)
            assert front.call("echo")["generation"] == generation
            repeated = [row[1] for row in front.heard() if row[0] == str(generation) and row[2] == "repeated"]
            assert repeated == ["1", "2"]
        front.call("unkeep", {"slot": "listen"})
        os.kill(front.call("echo")["pid"], signal.SIGKILL)
        assert front.call("echo")["generation"] == 4
        repeated = [row[1] for row in front.heard() if row[0] == "4" and row[2] == "repeated"]
        assert repeated[0] == "1"
        assert "2" not in repeated


def test_progress_goes_on_above_what_the_client_has_seen():
    with started() as front:
        front.ask("progress", {"values": {"1": [1, 5], "2": [1, 5, 6]}})
        seen = [front.read() for _ in range(4)]
        assert [one["params"]["progress"] for one in seen[:3]] == [1, 5, 6]
        assert seen[3]["result"] == {"generation": 2}


def test_the_question_of_a_dead_worker_is_taken_back():
    with started() as front:
        front.ask("question", {"id": 77})
        assert front.read()["method"] == "ask"
        cancelled = front.read()
        assert (cancelled["method"], cancelled["params"]["requestId"]) == ("notifications/cancelled", 77)
        assert front.read()["method"] == "ask"
        assert front.read()["result"] == {"generation": 2}


def test_a_settled_question_is_not_taken_back():
    with started() as front:
        front.ask("question", {"id": 77, "settle": True})
        assert [front.read().get("method") for _ in range(3)] == ["ask", "ask", None]


def test_a_request_that_kills_its_worker_three_times_is_answered_with_where_to_look():
    with started() as front:
        poison = front.ask("die", {"in": list(range(100))})
        error = front.read()
        assert error["id"] == poison
        assert str(front.logs()[0]) in error["error"]["message"]
        assert front.call("echo")["generation"] == 4
        assert max(generations(front)) == 4


def test_of_two_suspects_the_innocent_one_is_answered():
    with started() as front:
        front.send(b"\n".join(_request(name, "die", {"in": deaths}) for name, deaths in (("a", [1, 2, 3]), ("b", []))))
        # b is answered by the first worker only if a is not read first; it was, and both are in flight.
        answers = {answer["id"]: answer for answer in (front.read(), front.read())}
        assert "error" in answers["a"]
        assert answers["b"]["result"]["generation"] == 4


def test_other_traffic_goes_on_while_suspects_take_their_turns():
    with started() as front:
        front.send(_request("a", "die", {"in": [1, 2]}) + b"\n" + _request("b", "silent", None))
        assert front.read()["id"] == "a"
        front.until(lambda: [row for row in front.heard() if row[:2] == ["3", "2"]])
        assert front.call("echo")["generation"] == 3
        assert ["3", "2", "new"] in [row[:3] for row in front.heard()], "the second suspect comes after the first"


def _request(identifier, method, params):
    return json.dumps({"jsonrpc": "2.0", "id": identifier, "method": method, "params": params}).encode()


# ---- starts that fail


def test_a_worker_that_cannot_start_is_tried_again_for_ever_and_requests_wait():
    with started() as front:
        pid = front.call("echo")["pid"]
        front.fail("start", 3, times=8)
        os.kill(pid, signal.SIGKILL)
        assert front.call("echo")["generation"] == 10
        assert len(front.notes("failed")) == 8
        crashes = front.call("standing")["crashes"]
        assert [(crash["ready"], crash["status"]) for crash in crashes] == [(True, -9)] + [(False, 3)] * 8
        assert "told to fail at start" in front.log()


def test_starts_that_fail_wait_longer_each_time():
    with started() as front:
        pid = front.call("echo")["pid"]
        front.fail("start", 3, times=4)
        os.kill(pid, signal.SIGKILL)
        front.call("echo")
        moments = [line.split("Z", 1)[0] for line in front.log().splitlines() if "takes over: crash" in line]
        seconds = [float(moment.rpartition(":")[2]) for moment in moments]
        waits = [(later - earlier) % 60 for earlier, later in itertools.pairwise(seconds)]
        # The settings of these tests say 0.05 s, doubled up to 0.2 s; each start takes some time itself.
        assert waits[0] >= 0.05
        assert waits[3] >= 0.2


def test_a_request_that_finds_no_worker_is_answered_with_why_and_since_when():
    with started(wait_seconds=0.6, start_seconds=SECONDS) as front:
        # A client that asked before would have waited for no more than 0.6 s.
        front.until(lambda: "is ready after" in front.log())
        pid = front.call("echo")["pid"]
        front.fail("start", 3, times=1000)
        os.kill(pid, signal.SIGKILL)
        front.until(lambda: front.notes("failed"))
        waiting = front.ask("echo")
        front.send(b'{"jsonrpc":"2.0","method":"notifications/x"}', b"no JSON")
        errors = {answer["id"]: answer["error"] for answer in (front.read(), front.read())}
        message = errors[waiting]["message"]
        assert "no worker has been ready for 0.6 s" in message
        assert "before it was ready (printed last: told to fail at start)" in message
        assert " UTC" in message
        assert str(front.logs()[0]) in message
        assert errors[None]["code"] == -32700
        assert front.silent()

        def ready_again():
            # Each time: a worker that fails just then writes down how often others shall.
            (front.place / "fail-start").unlink(missing_ok=True)
            return front.log().count("is ready after") == 2

        front.until(ready_again)
        assert front.call("echo")["generation"] > 2


def test_a_worker_that_hangs_in_its_start_is_replaced():
    with started(patch=JUDGED_WHEN_TOLD, start_seconds=0.7) as front:
        pid = front.call("echo")["pid"]
        front.fail("start", "hang")
        os.kill(pid, signal.SIGKILL)
        front.until(lambda: front.notes("failed"))
        front.judge(0.7)
        assert front.call("echo")["generation"] == 3
        assert "is not ready after 0.7 s" in front.log()


def test_a_first_worker_that_refuses_its_words_ends_the_front_with_its_status_and_words():
    text = "import sys; sys.stderr.write('Error: no such place'); sys.exit(2)"
    with started(worker=f"(sys.executable, '-c', {text!r})", spare=True) as front:
        assert front.wait() == 2
        assert front.errors().startswith("Error: no such place")


def test_a_first_worker_that_fails_otherwise_is_tried_again():
    with started(worker="(sys.executable, '-c', 'import sys; sys.exit(3)')") as front:
        front.until(lambda: front.log().count("ended with status 3") >= 3)
        assert front.process.poll() is None
        front.close()
        assert front.wait() == 0


def test_a_program_that_does_not_exist_is_tried_again_too():
    with started(worker="('/nowhere/at/all',)") as front:
        assert front.wait() != 0, "the first worker could not even be started"
        assert "FileNotFoundError" in front.errors()


def test_later_a_refusal_is_a_crash_like_any_other():
    with started() as front:
        pid = front.call("echo")["pid"]
        front.fail("start", 2, times=2)
        os.kill(pid, signal.SIGKILL)
        assert front.call("echo")["generation"] == 4


# ---- wedged


def test_a_worker_whose_loop_is_blocked_is_dumped_and_replaced():
    with started(**JUDGED) as front:
        front.ask("sleep", 60)
        front.until(front.heard)
        front.judge(0.5)
        # Not before it has been scheduled for its dump.
        front.until(lambda: "do_sleep" in front.log())
        front.judge(0.2)
        assert front.read()["result"] == {"generation": 2}
        assert front.activations()[1]["reason"] == "wedged"
        log = front.log()
        assert "did not answer within 0.5 s" in log
        assert "Current thread" in log
        assert "do_sleep" in log, "the dump says where it was"


def test_a_worker_that_is_stopped_by_a_signal_is_replaced():
    with started(forker=True, spare=True, **JUDGED) as front:
        pid = front.call("echo")["pid"]
        front.spare_waits()
        front.ask("stop")
        front.until(lambda: state(pid) == "T")
        front.judge(0.5)
        front.judge(0.2)
        assert front.read()["result"] == {"generation": 2}
        assert front.activations()[1]["reason"] == "wedged"


def test_a_worker_that_answers_late_stays():
    with started(pong_seconds=0.3, dump_seconds=SECONDS) as front:
        (front.place / "slow-call").write_text("")
        front.ask("linger")
        front.until(lambda: "did not answer" in front.log())
        (front.place / "slow-call").unlink()
        assert front.read()["result"] == {"generation": 1}
        front.until(lambda: "has answered after all and stays" in front.log())
        assert front.call("echo")["generation"] == 1


def test_a_front_that_was_stopped_itself_does_not_blame_its_worker():
    with started(patch=JUDGED_WHEN_TOLD, pong_seconds=1.5) as front:
        pid = front.call("echo")["pid"]
        # It answers a ping while the front is stopped, which finds the deadline passed and the answer unread.
        os.kill(pid, signal.SIGSTOP)
        front.judge(1.5)
        front.until(lambda: front.judges(1.5))
        front.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, front.process.pid, os.WSTOPPED | os.WNOWAIT)
        os.kill(pid, signal.SIGCONT)
        front.silent(1.5)
        front.until(lambda: state(pid) == "S")
        front.process.send_signal(signal.SIGCONT)
        assert front.call("echo")["generation"] == 1
        assert "did not answer" not in front.log()


def test_a_worker_that_speaks_another_language_is_replaced():
    with started() as front:
        front.ask("raw", {"lines": ["Z nonsense"], "in": [1]})
        front.until(lambda: len(generations(front)) > 1)
        assert "speaks another language" in front.log()


# ---- never two


def test_the_whole_group_of_the_old_worker_is_dead_before_the_new_one_is_told():
    with started() as front:
        pid = front.call("child")
        os.kill(front.call("echo")["pid"], signal.SIGKILL)
        assert front.call("alive", pid) is False


def test_what_a_replaced_worker_still_says_is_not_heard():
    """A child of the old worker keeps the link open and goes on talking; its group is killed, and the link is gone."""
    with started() as front:
        front.ask("babbler")
        front.until(lambda: front.read().get("method") == "babble")
        os.kill(front.activations()[0]["pid"], signal.SIGKILL)
        answer = front.ask("echo")
        while (line := front.read()).get("id") != answer:
            assert line.get("method") == "babble" or line.get("id") == 1
        assert line["result"]["generation"] == 2
        assert front.silent(0.3)


def test_a_lock_is_held_by_the_front_across_workers_and_ends_with_it():
    with started() as front:
        assert front.call("lock") == "taken"
        os.kill(front.call("echo")["pid"], signal.SIGKILL)
        assert front.call("lock") == "held"
        front.close()
        assert front.wait() == 0
        with (front.place / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_workers_have_sessions_of_their_own_and_no_input():
    with started() as front:
        facts = front.call("facts")
        assert facts["session"] == facts["pid"]
        assert facts["group"] == facts["pid"]
        assert facts["stdin"] == os.devnull
        assert facts["open"] == facts["expected"], "a worker has no other descriptor of the front's"


def test_spares_and_forkers_that_die_are_replaced():
    with started(forker=True, spare=True) as front:
        front.call("echo")
        front.spare_waits()
        for count in (2, 3):
            others = [pid for pid in front.workers() if pid != front.activations()[-1]["pid"]]
            os.kill(max(others), signal.SIGKILL)
            front.spare_waits(count)
        forker = next(line for line in front.log().splitlines() if "forker (pid" in line)
        os.kill(int(forker.partition("(pid ")[2].partition(")")[0]), signal.SIGKILL)
        front.until(lambda: front.log().count("forker (pid") >= 3)
        front.spare_waits(4)
        os.kill(front.call("echo")["pid"], signal.SIGKILL)
        assert front.call("echo")["generation"] == 2


def test_no_spare_means_one_process():
    with started(forker=True, spare=False) as front:
        front.call("echo")
        assert front.silent(0.3)
        assert len(front.workers()) == 1


def test_the_number_of_processes_has_a_ceiling():
    with started(forker=True, spare=True, processes_max=1) as front:
        front.call("echo")
        front.until(lambda: "no more may" in front.log())
        assert len(front.workers()) == 1
        os.kill(front.call("echo")["pid"], signal.SIGKILL)
        assert front.call("echo")["generation"] == 2


def test_what_workers_print_goes_to_standard_error_and_into_the_log():
    with started() as front:
        front.call("print", "a word from a worker")
        front.until(lambda: "a word from a worker" in front.log() and "a word from a worker" in front.errors())


def test_a_worker_can_ask_the_front():
    with started() as front:
        assert front.call("ask", {"ask": "echo", "text": "x" * 5000})["text"] == "x" * 5000
        standing = front.call("ask", {"ask": "standing"})
        assert standing["generation"] == 1
        assert standing["restarting"] is None
        assert standing["processes"] == 1
        assert "no question 'dinner'" in front.call("ask", {"ask": "dinner"})["error"]
        assert "error" in front.call("ask", [1, 2])


def test_the_worker_hears_which_answers_were_written():
    with started() as front:
        for _ in range(3):
            front.call("echo")
        front.until(lambda: " ".join(front.notes("written")).split() == ["1", "2", "3"])
