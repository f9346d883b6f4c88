"""Restarts that are asked for: fresh code, phases, and the old worker or the spare where the new one fails."""

from __future__ import annotations

import json
import os
import pty
import signal

import pytest

from tests.front.kit import JUDGED_WHEN_TOLD, TOY, Front, new_place, program, spawn_front, started

_KILL_AT = """
import os, signal
from vespera_agents.front import fleet, log
fresh, say, start = [], log.Log.say, fleet.Fleet.start
def start_and_note(self, command, variable, what):
    process = start(self, command, variable, what)
    if what == "fresh worker":
        fresh.append(process)
    return process
def say_and_kill(self, text):
    say(self, text)
    if %r in text and len(fresh) == 1:
        fresh.append(fresh[0])
        fresh[0].kill()
        # Until the kernel has it: what comes next finds it dead.
        os.waitid(os.P_PID, fresh[0].pid, os.WEXITED | os.WNOWAIT)
fleet.Fleet.start, log.Log.say = start_and_note, say_and_kill
"""
"""Has the front kill the first fresh process at a moment."""


_SLOW = """
import trio
kill, destroy = fleet.Fleet.kill, fleet.Fleet.destroy
async def kill_late(self, process):
    await kill(self, process)
    with trio.CancelScope(shield=True):
        await trio.sleep(0.2)
async def destroy_late(self, process):
    await trio.sleep(0.5)
    await destroy(self, process)
fleet.Fleet.kill, fleet.Fleet.destroy = kill_late, destroy_late
"""
"""Has the front come to know late that a worker is dead, and later still be done with a process that it destroys."""


def restart(front, **wish):
    return front.ask("restart", {"wish": {"mode": "graceful", "timeout": 5, "reason": "an upgrade", **wish}})


def standings(front):
    return [json.loads(line) for line in front.notes("standing")]


def restarts(front):
    return [standing["restarting"] for standing in standings(front) if standing["restarting"]]


@pytest.mark.parametrize("way", [{}, {"spare": True, "forker": True}], ids=["cold", "forked"])
@pytest.mark.parametrize("mode", ["graceful", "immediate"])
def test_a_fresh_process_takes_over_and_answers_the_wish(mode, way):
    with started(**way) as front:
        front.call("echo")
        if way:
            front.spare_waits()
        wish = restart(front, mode=mode)
        answer = front.read()
        assert answer["id"] == wish
        assert answer["result"]["generation"] == 2
        activation = answer["result"]["activation"]
        assert activation["reason"] == "restart"
        told = activation["restart"]
        assert (told["key"], told["mode"], told["reason"], told["error"]) == ("2", mode, "an upgrade", None)
        names = ["start", "drain", "stop", "activate"] if mode == "graceful" else ["start", "stop", "activate"]
        front.until(lambda: restarts(front) and len(restarts(front)[-1]["phases"]) == len(names))
        assert [phase["name"] for phase in restarts(front)[-1]["phases"]] == names
        assert all(phase["seconds"] >= 0 for phase in restarts(front)[-1]["phases"])
        front.until(lambda: standings(front)[-1]["restarting"] is None)
        assert front.notes("control") == (["1 drain 5"] if mode == "graceful" else [])
        assert front.call("standing")["crashes"] == []
        if way:
            # The process that forks has old code: a fresh one takes its place.
            front.spare_waits(2)
            assert front.log().count("forker (pid") == 3


def test_sighup_restarts_in_order():
    with started() as front:
        front.call("echo")
        wish = front.ask("silent")
        front.process.send_signal(signal.SIGHUP)
        front.until(lambda: len(front.activations()) == 2)
        activation = front.activations()[1]
        assert (activation["reason"], activation["restart"]["reason"]) == ("restart", "SIGHUP")
        assert activation["restart"]["mode"] == "graceful"
        front.until(lambda: "restart is done" in front.log())
        assert front.call("echo")["generation"] == 2
        assert [row[2:3] for row in front.heard() if row[:2] == ["2", str(wish)]] == [["repeated"]]


def test_sighup_before_a_worker_is_ready_only_says_so():
    with started(failing={"start": "hang"}) as front:
        front.until(lambda: "worker 1" in front.log())
        front.process.send_signal(signal.SIGHUP)
        front.until(lambda: "SIGHUP restarts nothing: no worker is ready yet" in front.errors())
        front.process.terminate()
        assert front.wait() == 0


def test_the_end_of_its_terminal_is_the_end_of_a_front():
    ours, theirs = pty.openpty()
    with new_place() as place:
        text = program(place, forker=False, worker="", spare=False)
        front = Front(place, spawn_front(place, text, terminal=theirs))
        os.close(theirs)
        with front.process:
            front.call("echo")
            front.process.send_signal(signal.SIGHUP)
            front.until(lambda: len(front.activations()) == 2)
            front.until(lambda: "restart is done" in front.log())
            os.close(ours)
            # Its client is still there.
            assert front.wait() == 0
            front.until(lambda: not front.processes())
            assert "ends: SIGHUP" in front.log()


def test_under_nohup_neither_its_terminal_nor_a_signal_matters():
    ours, theirs = pty.openpty()
    with new_place() as place:
        text = program(place, forker=False, worker="", spare=False)
        front = Front(place, spawn_front(place, text, terminal=theirs, hangup=signal.SIG_IGN))
        os.close(theirs)
        with front.process:
            front.call("echo")
            os.close(ours)
            front.process.send_signal(signal.SIGHUP)
            for _ in range(3):
                assert front.call("echo")["generation"] == 1
            front.close()
            assert front.wait() == 0
            assert "SIGHUP" not in front.log()


def test_what_is_unanswered_at_the_old_worker_is_repeated_to_the_new_one():
    with started() as front:
        front.call("keep", {"slot": "init"})
        front.send(json.dumps({"jsonrpc": "2.0", "id": "s", "method": "silent"}).encode())
        restart(front)
        assert front.read()["result"]["generation"] == 2
        assert [row[1:3] for row in front.heard() if row[0] == "2"] == [
            ["1", "repeated"],
            ["2", "repeated"],
            ["3", "repeated"],
        ]


def test_deaths_that_were_asked_for_are_nobodys_fault():
    with started() as front:
        front.send(json.dumps({"jsonrpc": "2.0", "id": "s", "method": "silent"}).encode())
        for generation in (1, 2, 3, 4):
            front.ask("restart", {"wish": {"mode": "immediate"}, "generation": generation})
            assert front.read()["result"]["generation"] == generation + 1
        assert front.call("echo")["generation"] == 5


def test_a_new_process_that_dies_before_it_waits_leaves_the_old_one_at_work():
    with started() as front:
        front.call("echo")
        front.fail("warm", 4)
        restart(front)
        front.until(lambda: restarts(front) and restarts(front)[-1]["error"])
        assert "ended before it could take over (printed last: told to fail at warm)" in restarts(front)[-1]["error"]
        assert front.call("echo")["generation"] == 1
        # The status goes on to say so, until another one is tried.
        assert front.call("ask", {"ask": "standing"})["restarting"]["error"]
        front.ask("restart", {"wish": {}, "generation": 1})
        assert {front.read()["result"]["generation"], front.read()["result"]["generation"]} == {2}


def test_a_new_process_that_hangs_leaves_the_old_one_at_work():
    # Only the new process has no more than that; the first worker may take what it takes.
    with started(patch=JUDGED_WHEN_TOLD, start_seconds=0.7) as front:
        front.call("echo")
        front.fail("warm", "hang")
        restart(front)
        front.until(lambda: restarts(front) and restarts(front)[-1]["error"])
        assert front.call("echo")["generation"] == 1
        front.until(lambda: len(front.workers()) == 1)


def test_a_new_process_that_dies_while_the_old_one_is_drained_has_it_resumed():
    with started() as front:
        front.call("echo")
        (front.place / "slow-drain").write_text("")
        restart(front)
        front.until(lambda: front.notes("control") == ["1 drain 5"])
        (fresh,) = [pid for pid in front.workers() if pid != front.activations()[0]["pid"]]
        os.kill(fresh, signal.SIGKILL)
        front.until(lambda: front.notes("control") == ["1 drain 5", "1 resume"])
        front.until(lambda: restarts(front)[-1]["error"])
        assert front.call("echo")["generation"] == 1


def test_who_takes_over_is_told_of_a_failed_restart_before_what_failed_is_buried():
    with started(patch=_KILL_AT % "restart: stop" + _SLOW) as front:
        front.call("echo")
        restart(front, mode="immediate")
        front.until(lambda: len(front.activations()) > 1)
        assert "before it could take over" in front.activations()[-1]["restart"]["error"]


@pytest.mark.unmeasured
@pytest.mark.parametrize("way", [{}, {"spare": True, "forker": True}], ids=["cold", "forked"])
@pytest.mark.parametrize("mode", ["graceful", "immediate"])
@pytest.mark.parametrize("moment", ["restart: drain", "is drained", "restart: stop", "takes over", "restart: activate"])
def test_whenever_the_new_process_dies_the_restart_ends_at_once(moment, mode, way):
    """Killed by the front itself at that moment: as if it died just then, before the loop could hear of it."""
    drains = moment in {"restart: drain", "is drained"}
    if drains and mode == "immediate":
        return
    with started(patch=_KILL_AT % moment, **way) as front:
        front.call("echo")
        if way:
            front.spare_waits()
        wish = restart(front, mode=mode)
        front.until(lambda: "restart failed: " in front.log() or "restart is done" in front.log(), 10)
        if drains:
            front.until(lambda: front.notes("control")[-1:] == ["1 resume"])
        else:
            assert front.read()["id"] == wish
        generation = front.call("echo")["generation"]
        assert (generation == 1) == drains
        if moment == "restart: stop":
            code = "from before the restart" if way else "that is on disk"
            error = front.activations()[-1]["restart"]["error"]
            assert error.endswith(f"; worker {generation} serves, with the code {code}")
        # Killed later, it may have become ready before. Either way the next restart is carried out.
        done = front.log().count("restart is done")
        front.ask("restart", {"wish": {"mode": mode}, "generation": generation})
        front.until(lambda: front.log().count("restart is done") > done)


@pytest.mark.parametrize("way", [{}, {"spare": True, "forker": True}], ids=["cold", "forked"])
def test_after_a_new_worker_that_dies_before_it_is_ready_the_spare_of_the_old_code_serves_on(way):
    with started(**way) as front:
        front.call("echo")
        if way:
            front.spare_waits()
        front.fail("ready", 5)
        wish = restart(front)
        answer = front.read()
        assert answer["id"] == wish
        assert answer["result"]["generation"] == 3
        assert "before it was ready" in answer["result"]["activation"]["restart"]["error"]
        assert front.call("echo")["generation"] == 3
        assert "is started anew" not in front.log(), "what was there before need not wait"
        if way:
            assert front.log().count("forker (pid") == 1, "the one with the old code stays"


def test_a_drain_that_takes_too_long_is_ended():
    with started() as front:
        front.call("echo")
        (front.place / "slow-drain").write_text("never")
        restart(front, timeout=0)
        assert front.read(10)["result"]["generation"] == 2


def test_a_worker_that_dies_while_it_is_drained_is_taken_over_from_at_once():
    with started() as front:
        front.call("echo")
        front.fail("drain", 9)
        restart(front)
        answer = front.read()["result"]
        assert answer["generation"] == 2
        assert answer["activation"]["reason"] == "restart"
        assert front.notes("warming") == [str(front.activations()[1]["pid"])], "it is the fresh one that takes over"


def test_a_worker_that_dies_while_the_new_process_starts_is_replaced_and_the_restart_goes_on():
    with started() as front:
        front.call("echo")
        (front.place / "slow-warm").write_text("")
        restart(front)
        front.until(lambda: front.notes("warming"))
        os.kill(front.activations()[0]["pid"], signal.SIGKILL)
        front.until(lambda: len(front.activations()) == 2)
        assert front.activations()[1]["reason"] == "crash"
        (front.place / "slow-warm").unlink()
        front.until(lambda: len(front.activations()) == 3)
        assert front.activations()[2]["reason"] == "restart"
        front.read()
        assert front.call("echo")["generation"] == 3


def test_one_restart_at_a_time_and_only_sensible_ones():
    with started() as front:
        front.call("echo")
        assert "graceful, immediate" in front.call("ask", {"ask": "restart", "mode": "now"})["error"]
        for timeout in (-1, 1e9, "soon", True, None):
            assert "number of seconds" in front.call("ask", {"ask": "restart", "timeout": timeout})["error"]
        (front.place / "slow-warm").write_text("")
        accepted = front.call("ask", {"ask": "restart", "mode": "graceful", "timeout": 3, "seq": 5})
        assert accepted == {"accepted": True, "key": "5", "mode": "graceful", "timeout": 3}
        assert "under way already" in front.call("ask", {"ask": "restart"})["error"]
        under_way = front.call("ask", {"ask": "standing"})["restarting"]
        assert under_way["phases"][0]["name"] == "start"
        assert 0 <= under_way["phases"][0]["percent"] < 100
        (front.place / "slow-warm").unlink()
        front.until(lambda: len(front.activations()) == 2)


def test_a_restart_imports_what_is_on_disk_now():
    program = (
        "import os, runpy, sys, time\n"
        "while not os.path.exists('installed.py'): time.sleep(0.01)\n"
        "sys.argv[1:] = ['.']\n"
        "runpy.run_path('installed.py', run_name='__main__')\n"
    )
    with started(worker=f"(sys.executable, '-c', {program!r})") as front:
        installed = front.place / "installed.py"
        _replace(installed, TOY.read_text())
        assert front.call("echo")["generation"] == 1
        _replace(installed, TOY.read_text().replace("def do_echo", "def do_news"))
        restart(front)
        assert front.read()["result"]["generation"] == 2
        assert front.call("news")["generation"] == 2


def _replace(path, text):
    path.with_suffix(".new").write_text(text)
    path.with_suffix(".new").replace(path)
