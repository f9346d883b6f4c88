"""The log of a real server, and how its entries are found: what blocked it, what crashed, and whose work that was."""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
from typing import Any

import pytest

from vespera_agents.cli.entries import LINE_CHARACTERS_MAX, Sieve, wanted_values
from vespera_agents.front.log import Log
from vespera_agents.work.errors import InvalidInput

SECONDS_MAX = 120.0
HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "reader", "version": "1"}}
BODY = "the words of a task that nobody else shall read"
HOOK = """
import sys
if "vespera_agents.serving.worker" in sys.orig_argv:
    import logging, threading, time
    from vespera_agents.health.watchdog import watchdog
    from vespera_agents.specialists import briefing
    plain, evidence_of, seen = briefing.brief, watchdog.evidence_of, threading.Event()
    def evidence_and_tell(glimpse):
        evidence = evidence_of(glimpse)
        seen.set()
        return evidence
    watchdog.evidence_of = evidence_and_tell
    def brief(role, task, around):
        logging.getLogger("inside").warning("inside a handler")
        if task.title == "block":
            seen.clear()
            time.sleep(0.6), seen.wait(20)  # what blocks, until it was seen
        if task.title == "crash":
            raise RuntimeError("planned \\x1b[31m")
        return plain(role, task, around)
    briefing.brief = brief
"""
BLOCKS = next(at for at, line in enumerate(HOOK.splitlines(), 1) if "# what blocks" in line)


def _id(kind: str, answer: dict[str, Any]) -> str:
    return re.search(rf"{kind}_[0-9a-f]{{12}}", answer["content"][0]["text"])[0]


class Server:
    """`vespera serve` with specialists that block, or crash, when a task is called so."""

    def __init__(self, vespera, tmp_path, *words: str) -> None:
        hook = tmp_path / "hook"
        hook.mkdir()
        (hook / "sitecustomize.py").write_text(HOOK)
        path = os.pathsep.join([str(hook), vespera.environment["PYTHONPATH"]])
        self.process = vespera.start(
            "serve", "--no-spare", *words, stdin=subprocess.PIPE, env={**vespera.environment, "PYTHONPATH": path}
        )
        self.guard = threading.Timer(SECONDS_MAX, self.process.kill)
        self.guard.start()
        self.number = 0
        self.ask("initialize", **HELLO)
        self.session = _id("session", self.call("initialize_session"))

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        self.number += 1
        line = json.dumps({"jsonrpc": "2.0", "id": self.number, "method": method, "params": params})
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        while (answer := json.loads(self.process.stdout.readline())).get("id") != self.number:
            pass
        return answer["result"]

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        return self.ask("tools/call", name=f"orchestrator_{tool}", arguments=arguments)

    def work_on(self, title: str) -> str:
        """Have a specialist write the briefing of a task, and give its id."""
        task = _id("task", self.call("plan_task", title=title, description=BODY))
        self.call("execute_task", task_id=task)
        return task

    def end(self) -> str:
        _, errors = self.process.communicate(timeout=SECONDS_MAX)
        self.guard.cancel()
        return errors


@pytest.fixture
def serve(vespera, tmp_path):
    started = []

    def start(*words: str) -> Server:
        started.append(Server(vespera, tmp_path, *words))
        return started[-1]

    yield start
    for server in started:
        server.guard.cancel()


def test_a_server_says_in_json_what_blocked_it_what_crashed_and_whose_work_it_was(vespera, serve):
    server = serve("--log-format", "json", "--log-level", "info")
    blocking = server.work_on("block")
    crashing = server.work_on("crash")
    errors = server.end()
    lines = [json.loads(line) for line in errors.splitlines()]
    assert all({"at", "level", "logger", "event"} <= line.keys() for line in lines)

    inside = [line for line in lines if line["logger"] == "inside"]
    assert {line["task"] for line in inside} == {blocking, crashing}
    assert {line["session"] for line in inside} == {server.session}
    assert {line["tool"] for line in inside} == {"orchestrator_execute_task"}
    assert all(isinstance(line["request"], int) for line in inside)

    # A busy machine may have held up others as well.
    stalls = [line for line in lines if line["event"] == "event loop was blocked"]
    (blocked,) = [line for line in stalls if "in brief" in (line["line"] or "")]
    assert blocked["seconds"] >= 0.6
    assert server.session[-6:] in blocked["actor"]
    assert f"sitecustomize.py:{BLOCKS} in brief" in blocked["line"]

    reports = [line for line in lines if line["logger"] == "vespera_agents.supervision"]
    assert all({"supervisor", "context", "reason", "offender"} <= line.keys() for line in reports)
    (crashed, *_) = [line for line in reports if line["kind"] == "child_crashed"]
    assert crashed["offender"]["type"] == "worker"
    assert crashed["error"]["traceback"][-1] == "RuntimeError: planned \x1b[31m"
    assert not any(line["kind"] == "shutdown_error" for line in reports)

    calls = [line for line in lines if line["logger"] == "vespera_agents.calls"]
    assert [line["request"] for line in calls] == list(range(2, server.number + 1))
    assert BODY not in errors

    # The same from the file, for people, and searched.
    shown = vespera("logs", "--lines", "1000").stdout
    assert "RuntimeError: planned \\x1b[31m" in shown.splitlines()
    assert "\x1b" not in shown
    found = vespera("logs", "--where", f"task={blocking}", "--where", "logger=inside").stdout.splitlines()
    assert [line.split(": ", 1)[1].split(" session")[0] for line in found] == ["inside a handler"]
    assert "event loop was blocked" in vespera("logs", "--level", "error").stdout
    assert "child_started" not in vespera("logs", "--level", "error").stdout


def test_a_server_says_for_people_only_what_went_wrong(vespera, serve):
    server = serve()
    server.work_on("crash")
    errors = server.end()
    assert "child_started" not in errors
    assert "kind=child_crashed" in errors
    assert "Traceback (most recent call last):" in errors.splitlines()
    assert errors == "\n".join(line for line in errors.split("\n") if line.isprintable())
    found = vespera("logs", "--level", "error").stdout
    assert "RuntimeError: planned" in found


def test_what_the_front_says_to_a_reader_of_json_is_json(capfd, tmp_path):
    read, write = os.pipe()
    log = Log(str(tmp_path / "log"), read, bytes_max=1 << 20, says_json=True)
    log.tell('restart failed: "a\nb" \x1b[31m \ud800')
    os.close(read)
    os.close(write)
    (line,) = map(json.loads, capfd.readouterr().err.splitlines())
    assert line["event"] == 'restart failed: "a\nb" \x1b[31m \ud800'
    assert (line["level"], line["logger"]) == ("warning", "vespera_agents.front")
    # In the file it is as ever: `vespera logs` finds deaths and restarts by it.
    assert b"Z front: restart failed: " in (tmp_path / "log").read_bytes()


def entry(**fields: object) -> bytes:
    known = {"at": "2026-01-01T00:00:00.000Z", "level": "info", "logger": "a", "event": "e"}
    return json.dumps(known | fields).encode()


def test_an_entry_is_shown_with_what_follows_it_or_not_at_all():
    lines = [
        b"printed before anything",
        b"2026-01-01T00:00:00.000Z front: worker 1 (pid 5) starts",
        b"2026-01-01T00:00:00.000Z ERROR a: failed task=t1",
        b"Traceback (most recent call last):",
        b"2026-01-01T00:00:00.000Z INFO a: went well task=t1",
        b"  printed by somebody",
        entry(level="warning", event="odd", task="t2", offender={"id": "store"}),
        b"2026-01-01T00:00:00.000Z front: worker 1 (pid 5) ended with signal 9",
    ]

    def shown(sieve: Sieve) -> list[str]:
        return [line.partition("Z ")[2] or line for raw in lines for line in sieve.take(raw)]

    everything = shown(Sieve())
    assert everything[0] == "printed before anything"
    assert everything[6] == 'WARNING a: odd task=t2 offender={"id": "store"}'
    assert len(everything) == 8
    assert shown(Sieve("error")) == [
        "printed before anything",
        "ERROR a: failed task=t1",
        "Traceback (most recent call last):",
        "front: worker 1 (pid 5) ended with signal 9",
    ]
    assert shown(Sieve("warning", {"task": "t1"})) == ["ERROR a: failed task=t1", "Traceback (most recent call last):"]
    assert shown(Sieve(where={"offender.id": "store"})) == [everything[6]]
    assert shown(Sieve(where={"task": "t"})) == []
    assert len(shown(Sieve(where={"logger": "a"}))) == 5


def test_what_only_looks_like_an_entry_is_a_line_like_any_other():
    sieve = Sieve()
    for raw in (b"{", b"{}", b"[1]", b'{"at": 1}', b"{" + b"[" * 100_000, b'{"at":' + b"1" * 5_000):
        assert len(sieve.take(raw)) == 1
    (line,) = sieve.take(entry(text="x" * 50_000, words="\x1b[2J\n"))
    assert len(line) < LINE_CHARACTERS_MAX + 100
    assert "\x1b" not in line
    assert sieve.take(entry(error={"traceback": ["one\ntwo", 3]}, level=5))[1:] == ["one\\ntwo", "3"]
    assert len(sieve.take(entry(error=7))) == 1


def test_values_are_named(vespera):
    assert wanted_values(("a=b=c", "d=")) == {"a": "b=c", "d": ""}
    for pair in ("a", "=b", ""):
        with pytest.raises(InvalidInput, match="KEY=VALUE"):
            wanted_values((pair,))
    refused = vespera("logs", "--crashes", "--level", "error")
    assert refused.returncode == 2
    assert "Leave out --crashes" in refused.stderr
