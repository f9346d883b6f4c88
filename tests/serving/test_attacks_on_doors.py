"""Attacks on what comes before the tools: hosts, pages, tokens, heads, names of clients, forged state, guessed jobs.

Each is turned away or means nothing, and no answer or log tells a secret. Neighbours: `test_attacks`, on one ground.
"""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from functools import partial

import pytest
import trio

from tests.serving.attack_ground import CONTROL, ENVIRONMENT, TOKEN, Ground, assert_nothing_leaked, new_ground
from tests.serving.fuzz.bodies import exchange
from tests.serving.fuzz.messages import call
from tests.serving.kit import http_client, http_server, succeed

ATTACK_SECONDS = 20.0


@pytest.fixture
def ground() -> Iterator[Ground]:
    with new_ground() as ground:
        yield ground


def _head(port: int, *lines: str, body: bytes = b"") -> bytes:
    about = ["POST /mcp HTTP/1.1", "Content-Type: application/json", "Accept: application/json, text/event-stream",
             f"Content-Length: {len(body)}", "Connection: close", *lines]  # fmt: skip
    if not any(line.lower().startswith("host:") for line in lines):
        about.append(f"Host: 127.0.0.1:{port}")
    return "\r\n".join(about).encode() + b"\r\n\r\n" + body


HEADS: dict[str, tuple[tuple[str, ...], set[bytes]]] = {
    "another host": (("Host: evil.example",), {b"421"}),
    "a host that begins like ours": (("Host: 127.0.0.1.evil.example",), {b"421"}),
    "a host with ours in its user": (("Host: 127.0.0.1@evil.example",), {b"421"}),
    "two hosts": (("Host: 127.0.0.1", "Host: evil.example"), {b"400", b"421"}),
    "a page of another host": (("Origin: http://evil.example",), {b"403"}),
    "a page of nowhere": (("Origin: null",), {b"403"}),
    "a page that begins like ours": (("Origin: http://localhost.evil.example",), {b"403"}),
    "no token": ((), {b"401"}),
    "a wrong token": (("Authorization: Bearer guessed",), {b"401"}),
    "a token in the query": (("X-Token: " + TOKEN,), {b"401"}),
    "two tokens": ((f"Authorization: Bearer {TOKEN}", "Authorization: Bearer x"), {b"401", b"400"}),
    "another's session": ((f"Authorization: Bearer {TOKEN}", "Mcp-Session-Id: " + "0" * 32), {b"404"}),
    "a session that is a path": ((f"Authorization: Bearer {TOKEN}", "Mcp-Session-Id: ../../etc"), {b"404"}),
    "a line break in a name": ((f"Authorization: Bearer {TOKEN}", "Mcp-Name: x\r\n y: z"), {b"400"}),
    "two lengths": ((f"Authorization: Bearer {TOKEN}", "Content-Length: 3"), {b"400"}),
    "a length and chunks": ((f"Authorization: Bearer {TOKEN}", "Transfer-Encoding: chunked"), {b"400"}),
}


async def test_what_comes_over_http_from_elsewhere_is_turned_away(ground: Ground) -> None:
    body = json.dumps(call("legacy", 1, "initialize_session", {"name": "no"})).encode()
    async with http_server(ground, "--token-file", str(ground.token_file)) as server:
        port = int(server.url.rsplit(":", 1)[1].partition("/")[0])
        for name, (lines, statuses) in HEADS.items():
            with trio.fail_after(ATTACK_SECONDS):
                answer = await exchange(port, _head(port, *lines, body=body))
            assert answer[9:12] in statuses, f"{name}: {answer[:300]!r}"
            assert_nothing_leaked(answer.decode())
            assert b"evil" not in answer, f"{name} is told back"
        assert ground.rows("SELECT name FROM session") == []
        assert await server.end(signal.SIGTERM) == 0
        assert_nothing_leaked("\n".join(server.errors))


async def test_names_of_clients_write_no_lines_of_their_own_into_logs_and_rows(ground: Ground) -> None:
    name = "x\n2026-01-01 ERROR forged\r\n\x1b[31m; DROP TABLE task"
    async with http_server(ground) as server:
        async with http_client(server.url, "auto", name) as client:
            await succeed(client, "orchestrator_initialize_session", name="x")
            task = await succeed(client, "orchestrator_plan_task", title="t")
            await succeed(client, "orchestrator_execute_task", task_id=task.get("id") or task["tasks"][0]["id"])
        assert not [line for line in server.errors if "forged" in line]
    for (who,) in ground.rows("SELECT claimed_by FROM task WHERE claimed_by IS NOT NULL"):
        assert CONTROL.search(who) is None
        assert "\n" not in who
    for row in ground.rows("SELECT origin, key FROM command") + ground.rows("SELECT claimed_by, id FROM task"):
        assert not any("\n" in str(value) or CONTROL.search(str(value)) for value in row), row


async def test_forged_state_and_guessed_jobs_come_to_nothing(ground: Ground) -> None:
    (ground.project / "notes.txt").write_text("notes")
    messages = [
        call("modern", number, "initialize_session", {})
        | {"params": {**call("modern", number, "initialize_session", {})["params"], "requestState": state}}
        for number, state in enumerate(("x", "AAAA.BBBB", "eyJyb290IjoiL2V0YyJ9.x", "a" * 100_000, "\0", "..", "é"))
    ]
    for number, identifier in enumerate(("job_1", "../../x", "' OR 1=1 --", "%", "")):
        messages += [
            {**call("modern", f"{method} {number}", "x", {}), "method": method}
            | {"params": {**call("modern", 0, "x", {})["params"], "taskId": identifier}}
            for method in ("tasks/get", "tasks/cancel", "tasks/update", "tasks/result")
        ]
    lines = b"".join(json.dumps(message).encode() + b"\n" for message in messages)
    with trio.fail_after(60):
        told, complained = await _said_to_all(ground, lines, len(messages))
    answers = [json.loads(line) for line in told.splitlines()]
    assert len(answers) == len(messages)
    for answer in answers:
        refused = "error" in answer or answer["result"].get("isError")
        assert refused or answer["id"] in range(7), f"a forgery was taken: {answer}"
    # A state that we did not sign is as good as none: the session is in the server's own workspace.
    assert set(ground.rows("SELECT directory FROM session")) <= {(str(ground.project),)}
    assert_nothing_leaked((told + complained).decode())
    assert ENVIRONMENT in ground.environment.values(), "the canary was never there"


async def _said_to_all(ground: Ground, lines: bytes, count: int) -> tuple[bytes, bytes]:
    """Send lines to a server process and end it once it has answered so many; gives all that it wrote."""
    told, complained, answered = bytearray(), bytearray(), trio.Event()
    async with trio.open_nursery() as nursery:
        run = partial(trio.run_process, ground.command, env=ground.environment, check=False)
        pipes = partial(run, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        process: trio.Process = await nursery.start(pipes)
        stdin, stdout, stderr = process.stdin, process.stdout, process.stderr
        assert stdin is not None
        assert stdout is not None
        assert stderr is not None

        async def ask() -> None:
            await stdin.send_all(lines)
            # Whoever closes its end at once is told only what is ready within a second or two.
            await answered.wait()
            await stdin.aclose()

        async def complain() -> None:
            async for chunk in stderr:
                complained.extend(chunk)

        nursery.start_soon(ask)
        nursery.start_soon(complain)
        async for chunk in stdout:
            told.extend(chunk)
            if told.count(b"\n") >= count:
                answered.set()
        answered.set()
    return bytes(told), bytes(complained)
