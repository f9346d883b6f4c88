"""A worker as its front sees it: what it says on the link, what it leaves, and how it ends. Real processes."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.serving.kit import Place, new_place
from tests.serving.worker_kit import (
    MODERN,
    SERVER,
    Worker,
    calling,
    handshake,
    line_of,
    started_forker,
    started_worker,
)
from vespera_agents.workspace import live_servers

GONE_SECONDS = 10.0
"""How long a process may take to end; alone it takes 0.03 s, and two seconds are promised."""


def open_files(worker: Worker) -> set[str]:
    """List what a process has open beside its standard streams."""
    found: set[str] = set()
    for entry in Path(f"/proc/{worker.pid}/fd").iterdir():
        if int(entry.name) > 2:
            found.add(str(entry.readlink()))
    return found


def result_of(line: str) -> Any:
    return json.loads(line[line.index("{") :])["result"]


def test_a_handshake_is_kept_and_the_lock_is_handed_over() -> None:
    with new_place() as place, started_worker(place) as worker:
        worker.activate(1, *handshake())
        greeting = json.loads(worker.until("+ ")[-1][2:])
        assert greeting["pid"] == worker.pid
        assert {"version", "surface", "http"} <= greeting.keys()
        assert result_of(worker.until("K 1 init ")[-1])["serverInfo"]["name"] == "vespera-agents"
        assert worker.until("K 2 ")[-1] == "K 2 initialized "
        worker.send(line_of(3, id=1, method="logging/setLevel", params={"level": "error"}))
        worker.until("K 3 level ")
        (record,) = live_servers(place.workspace)
        assert (record.id, record.pid) == (SERVER, worker.pid)
        (lock,) = worker.descriptors
        worker.kill()
        (still,) = live_servers(place.workspace)
        assert still == record, "the front holds the lock, so the server lives"
        with started_worker(place) as second:
            second.activate(2, *handshake(), reason="crash")
            second.until("+ ")
            assert not second.descriptors, "the front has the lock already"
            (now,) = live_servers(place.workspace)
            assert (now.id, now.pid, now.socket) == (SERVER, second.pid, record.socket)
            fcntl.flock(lock, fcntl.LOCK_UN)
            second.socket.close()
            assert second.process is not None
            assert second.process.wait(GONE_SECONDS) == 0
            left = {path.name for path in place.workspace.servers.iterdir()}
            assert not {name for name in left if name.startswith(SERVER)}, "the front ended, and so did the server"


def test_subscriptions_are_kept_until_they_are_given_up() -> None:
    with new_place() as place, started_worker(place) as worker:
        worker.activate(1, *handshake())
        worker.until("K 2 ")
        worker.send(calling(3, "initialize_session", meta={}))
        uri = f"vespera://session/{worker.answer(3)['structuredContent']['id']}"
        about = {"params": {"uri": uri}}
        worker.send(line_of(4, id=4, method="resources/subscribe", **about))
        slot = worker.until("K 4 ", "R 4 ")[-1].split(" ")[2]
        assert slot.startswith("sub:")
        assert " " not in slot
        worker.send(line_of(5, id=5, method="resources/unsubscribe", **about))
        lines = worker.until("R 5 ")
        assert lines[-2] == f"U {slot}"


def test_lines_that_are_no_messages_are_answered_under_their_numbers() -> None:
    with new_place() as place, started_worker(place) as worker:
        worker.activate()
        worker.send("1 this is not JSON", '2 {"jsonrpc":"2.0","id":true,"method":"ping"}')
        assert worker.answer(1)["code"] == -32700
        assert worker.answer(2)["code"] == -32600
        worker.send("? 17")
        assert worker.until("?")[-1] == "? 17"


def test_a_listener_hears_its_acknowledgement_as_progress_and_is_not_answered_by_a_worker_that_ends() -> None:
    with new_place() as place, started_worker(place) as worker:
        worker.activate()
        wanted = {"notifications": {"resourcesListChanged": True}, "_meta": MODERN}
        worker.send(line_of(1, id="ear", method="subscriptions/listen", params=wanted))
        heard = worker.until("P 1 0 ")
        assert "acknowledged" in heard[-1]
        assert heard[-2] == "K 1 listen:1 ", "nobody waits for its answer, and its deaths are nobody's fault"
        # A fifth of the time, and at most 3 s, is for the contexts.
        worker.send("= drain 30")
        left = json.loads(worker.until("- ")[-1][2:])
        nothing: dict[str, list[str]] = {name: [] for name in ("requests", "jobs", "calls", "work", "problems")}
        assert left == {**nothing, "contexts": {}}
        os.kill(worker.pid, signal.SIGTERM)
        assert not [line for line in worker.rest() if line.startswith("R 1")]


def test_a_listener_is_answered_by_a_worker_whose_front_ends() -> None:
    with new_place() as place, started_worker(place) as worker:
        worker.activate()
        wanted = {"notifications": {"resourcesListChanged": True}, "_meta": MODERN}
        worker.send(line_of(1, id="ear", method="subscriptions/listen", params=wanted))
        worker.until("P 1 0 ")
        worker.socket.shutdown(socket.SHUT_WR)
        assert [line for line in worker.rest() if line.startswith("R 1")]


def test_a_cancelled_request_is_done_and_one_that_is_repeated_with_its_cancel_never_begins() -> None:
    cancel = line_of(999, method="notifications/cancelled", params={"requestId": "id-7", "_meta": MODERN})
    with new_place() as place, started_worker(place) as worker:
        place.workspace.make()
        # So many lie between them that what came first would have begun, and ended.
        between = [
            line_of(number, id=number, method="tools/list", params={"_meta": MODERN}) for number in range(50, 999)
        ]
        worker.activate(2, calling(7, "initialize_session", name="never"), *between, cancel)
        done = {worker.until("D ")[-1], worker.until("D ")[-1]}
        assert done == {"D 7", "D 999"}
        worker.until("R 998 ")
        assert not worker.call(1000, "initialize_session", name="after")["isError"]
        assert place.rows("SELECT name FROM session") == [("after",)]
        # While it is under way: the last word on both numbers, in any order.
        wanted = {"notifications": {"resourcesListChanged": True}, "_meta": MODERN}
        worker.send(line_of(9, id="ear", method="subscriptions/listen", params=wanted))
        worker.until("P 9 0 ")
        worker.send(line_of(10, method="notifications/cancelled", params={"requestId": "ear", "_meta": MODERN}))
        assert {worker.until("D ")[-1], worker.until("D ")[-1]} == {"D 9", "D 10"}


def test_a_drained_worker_begins_nothing_and_goes_on_when_the_drain_is_called_off() -> None:
    with new_place() as place, started_worker(place) as worker:
        worker.activate()
        worker.call(1, "initialize_session")
        worker.send("= drain 5")
        assert json.loads(worker.until("- ")[-1][2:])["requests"] == []
        worker.send(
            calling(2, "plan_task", title="held"),
            calling(3, "plan_task", title="held, too"),
            line_of(4, method="notifications/cancelled", params={"requestId": "id-3", "_meta": MODERN}),
            "? 5",
        )
        lines = worker.until("? 5", "R 2")
        # As often as a request takes to be answered, and oftener.
        lines += [line for _ in range(50) for line in worker.ping()]
        assert not [line for line in lines if line.startswith("R 2")]
        assert {"D 3", "D 4"} <= {*lines, *worker.until_done({"D 3", "D 4"} - set(lines))}
        assert not place.rows("SELECT * FROM task")
        worker.send("= resume")
        assert not worker.answer(2)["isError"]
        assert place.rows("SELECT title FROM task") == [("held",)]


def test_a_question_has_the_generation_in_its_id_and_only_its_answer_is_heard() -> None:
    hello = {
        "protocolVersion": "2025-11-25",
        "capabilities": {"elicitation": {}},
        "clientInfo": {"name": "r", "version": "1"},
    }
    with new_place() as place, started_worker(place) as worker:
        worker.activate(3, line_of(1, id=0, method="initialize", params=hello), handshake()[1])
        worker.until("K 2 ")
        assert not worker.call(3, "initialize_session", meta={})["isError"]
        worker.send(calling(4, "plan_task", meta={}, title="doomed"))
        task = worker.answer(4)["structuredContent"]["tasks"][0]["id"]
        worker.send(calling(5, "delete_task", meta={}, task_id=task, mode="delete", force=True))
        asked = worker.until("Q ")[-1].split(" ", 2)
        identifier = json.loads(asked[1])
        assert identifier.startswith("g3-")
        assert json.loads(asked[2])["id"] == identifier
        accept = {"action": "accept", "content": {"confirm": True}}
        worker.send(line_of(6, id=identifier.replace("g3-", "g2-"), result=accept))
        # That there is a new session is told some moment later, be it now.
        assert worker.until("D ", "A ", "R ")[-1] == "D 6", "an answer to an earlier worker's question is nobody's"
        worker.send(line_of(7, id=identifier, result={"action": "decline"}))
        lines = worker.until("R 5 ")
        assert f'A "{identifier}"' in lines
        assert result_of(lines[-1])["isError"], "the user said no"
        assert place.rows("SELECT status FROM task") == [("pending",)]


def test_a_workspace_that_cannot_be_one_ends_the_worker_with_the_status_for_bad_input() -> None:
    with new_place() as place, started_worker(place) as worker:
        place.project.rmdir()
        worker.activate()
        assert worker.gone() == 2


def test_a_spare_has_nothing_open_and_serves_when_it_is_told_to() -> None:
    with new_place() as place, started_forker(place) as forks:
        spare = forks.fork()
        spare.send("w")
        assert spare.until("w") == ["w"]
        (link,) = open_files(spare)
        assert link.startswith("socket:")
        assert not place.workspace.dot.exists()
        assert not place.registry.path.exists()
        spare.activate(1, calling(1, "initialize_session"))
        assert not spare.answer(1)["isError"]
        assert os.getsid(spare.pid) == spare.pid
        another = forks.fork()
        spare.kill()
        another.activate(2, calling(2, "plan_task", title="one"), reason="crash")
        assert not another.answer(2)["isError"]
        assert forks.process is not None
        forks.process.kill()
        forks.process.wait()
        assert not another.call(3, "plan_task", title="two")["isError"], "it does not die with its forker"
        with open(os.pidfd_open(another.pid), "rb") as ended:  # noqa: PTH123 - a descriptor
            another.socket.close()
            assert select.select([ended], [], [], GONE_SECONDS)[0], "it ends with its front"


def test_a_worker_ends_with_its_front_though_its_loop_is_blocked() -> None:
    with new_place() as place:
        hook = place.root / "hook"
        hook.mkdir()
        (hook / "sitecustomize.py").write_text(
            "import signal, time\nsignal.signal(signal.SIGUSR1, lambda *_: time.sleep(600))\n"
        )
        path = f"{hook}{os.pathsep}{place.environment['PYTHONPATH']}"
        with started_worker(place, PYTHONPATH=path) as worker:
            worker.activate(1, calling(1, "initialize_session"))
            worker.answer(1)
            os.kill(worker.pid, signal.SIGUSR1)
            worker.send("? 1")
            try:
                worker.until("? 1", seconds=0.3)
                raise AssertionError("a blocked loop answers nothing")
            except TimeoutError:
                pass
            began = time.monotonic()
            worker.socket.close()
            assert worker.process is not None
            worker.process.wait(GONE_SECONDS)
            assert time.monotonic() - began < GONE_SECONDS


GATE = "sh -c 'echo > begun; until test -e go; do sleep 0.05; done'"
"""Says that it has begun, and goes on until it may end."""


def gated(place: Place, worker: Worker, gate: str) -> str:
    """Claim a task with a gate, and give its id."""
    place.workspace.make()
    place.trust('[commands]\nallow = ["sh -c"]\n')
    worker.activate()
    worker.call(1, "initialize_session")
    made = worker.call(2, "plan_task", title="gated", gates=[{"command": gate, "shell": False}])
    task = made["structuredContent"]["tasks"][0]["id"]
    assert not worker.call(3, "execute_task", task_id=task)["isError"]
    return task


@contextlib.contextmanager
def pipe(place: Place) -> Iterator[int]:
    """Make a pipe named `begun` that a command can say something into."""
    path = place.project / "begun"
    os.mkfifo(path)
    descriptor = os.open(path, os.O_RDWR)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def heard(descriptor: int) -> bytes:
    """Wait until a command says something."""
    assert select.select([descriptor], [], [], GONE_SECONDS)[0], "no command has begun"
    return os.read(descriptor, 100)


def test_gates_whose_worker_died_are_run_again_for_the_repeated_call() -> None:
    with new_place() as place, pipe(place) as begun, started_worker(place) as first:
        task = gated(place, first, GATE)
        line = calling(4, "complete_task", task_id=task, summary="done", next_action="complete")
        first.send(line)
        assert heard(begun) == b"\n"
        first.kill()
        (place.project / "go").touch()
        with started_worker(place) as second:
            second.activate(2, line, reason="crash")
            answer = second.answer(4)
            assert answer["structuredContent"]["outcome"] == "completed", answer
        assert place.rows("SELECT status FROM task") == [("completed",)]
        assert place.rows("SELECT status, attempts FROM job") == [("completed", 2)]
        assert heard(begun) == b"\n", "once for each worker"


def test_a_job_whose_worker_died_between_its_last_change_and_its_end_is_ended() -> None:
    with new_place() as place:
        with started_worker(place) as first:
            task = gated(place, first, "sh -c true")
            line = calling(4, "complete_task", task_id=task, summary="done", next_action="complete")
            first.send(line)
            assert first.answer(4)["structuredContent"]["outcome"] == "completed"
            first.kill()
        with contextlib.closing(sqlite3.connect(place.workspace.database)) as store, store:
            store.execute("UPDATE job SET status='working', result=NULL")
        with started_worker(place) as second:
            second.activate(2, line, reason="crash")
            assert second.answer(4)["structuredContent"]["outcome"] == "completed"
            deadline = time.monotonic() + GONE_SECONDS
            while place.rows("SELECT status FROM job") != [("completed",)]:
                assert time.monotonic() < deadline
                threading.Event().wait(0.01)
        assert place.rows("SELECT result IS NULL FROM job") == [(0,)]


def test_work_that_goes_on_after_its_call_is_begun_anew_by_the_next_worker() -> None:
    with new_place() as place, pipe(place) as begun, started_worker(place) as first:
        task = gated(place, first, GATE)
        tasks = {"io.modelcontextprotocol/tasks": {}}
        meta = {**MODERN, "io.modelcontextprotocol/clientCapabilities": {"extensions": tasks}}
        line = calling(4, "complete_task", task_id=task, summary="done", next_action="complete", meta=meta)
        first.send(line)
        assert heard(begun) == b"\n"
        # Even one that ends in order only hands it on: the call is not answered with that, nor the work given up.
        os.kill(first.pid, signal.SIGTERM)
        assert not [told for told in first.rest() if told.startswith("R 4")]
        assert place.rows("SELECT status FROM job") == [("working",)]
        (place.project / "go").touch()
        with started_worker(place) as second:
            # Nobody repeats what was answered with a handle.
            second.activate(2, reason="crash")
            second.until("+ ")
            deadline = time.monotonic() + GONE_SECONDS
            # Nor does anybody ask for it: a ping only passes the time.
            while place.rows("SELECT status FROM job") != [("completed",)]:
                assert time.monotonic() < deadline, place.rows("SELECT * FROM job")
                second.ping()
        assert place.rows("SELECT status FROM task") == [("completed",)]
