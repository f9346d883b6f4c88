"""`vespera call`: any tool from a shell, its arguments, its exit status, and claims that outlive the process."""

from __future__ import annotations

import getpass
import json
import sqlite3
import subprocess
from contextlib import closing

import pytest

HOLDER = f"cli:{getpass.getuser()}"


def rows(vespera, sql: str) -> list[tuple]:
    with closing(sqlite3.connect(vespera.workspace / ".vespera" / "vespera.db")) as connection:
        return connection.execute(sql).fetchall()


def call(vespera, tool: str, *words: str, **more) -> dict:
    done = vespera("call", tool, "--json", *words, **more)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def task(vespera) -> str:
    call(vespera, "initialize_session")
    return call(vespera, "plan_task", "--arg", "title=2024")["ready"][0]


def test_without_a_tool_they_are_listed(vespera) -> None:
    done = vespera("call")
    assert done.returncode == 0
    assert "execute_task " in done.stdout
    assert not (vespera.workspace / ".vespera").exists()


@pytest.mark.parametrize("tool", ["shutdown_prepare", "orchestrator_restart_server"])
def test_what_is_about_a_server_is_not_done_to_the_process_of_the_call(vespera, tool: str) -> None:
    done = vespera("call", tool)
    assert done.returncode == 1
    assert "`kill -HUP PROCESS` restarts a server" in done.stderr
    assert f"{tool.removeprefix('orchestrator_')} " not in vespera("call").stdout
    assert not (vespera.workspace / ".vespera").exists()


def test_a_claim_outlives_its_call_and_is_completed_by_a_later_one(vespera, task) -> None:
    claimed = vespera("call", "orchestrator_execute_task", "--arg", f"task_id={task}")
    assert (claimed.returncode, claimed.stderr) == (0, "")
    assert claimed.stdout.startswith(f"Claimed: {task} 2024.")
    assert rows(vespera, "SELECT status, claimed_by FROM task") == [("in_progress", HOLDER)]
    assert call(vespera, "execute_task", "--arg", f"task_id={task[:8]}")["already_yours"]
    work = json.dumps({"task_id": task, "summary": "wrong", "next_action": "complete"})
    done = call(vespera, "complete_task", "--args-json", "-", "--arg", "summary=right", stdin=work)
    assert done["outcome"] == "completed"
    assert rows(vespera, "SELECT status, summary, claimed_by FROM task") == [("completed", "right", None)]
    actors = {actor for (actor,) in rows(vespera, "SELECT actor FROM event")}
    assert actors == {HOLDER}


def test_beside_a_running_server_a_shell_claims_and_the_server_keeps_out(vespera, task) -> None:
    server = vespera.start("serve", stdin=subprocess.PIPE)
    assert server.stdin is not None
    assert server.stdout is not None

    def ask(number: int, method: str, **params) -> dict:
        line = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
        server.stdin.write(json.dumps(line) + "\n")
        server.stdin.flush()
        # Between its answers the server tells of changes.
        answers = (json.loads(told) for told in server.stdout)
        return next(told["result"] for told in answers if told.get("id") == number)

    ask(1, "initialize", protocolVersion="2025-06-18", capabilities={}, clientInfo={"name": "x", "version": "1"})
    server.stdin.write('{"jsonrpc": "2.0", "method": "notifications/initialized"}\n')
    call(vespera, "execute_task", "--arg", f"task_id={task}")
    arguments = {"task_id": task}
    refused = ask(2, "tools/call", name="orchestrator_execute_task", arguments=arguments)
    assert refused["isError"]
    assert f"already being worked on by {HOLDER}" in refused["content"][0]["text"]
    work = {**arguments, "summary": "stolen", "next_action": "complete"}
    stolen = ask(3, "tools/call", name="orchestrator_complete_task", arguments=work)
    assert f"held by {HOLDER}" in stolen["content"][0]["text"]
    call(vespera, "complete_task", "--arg", f"task_id={task}", "--arg", "summary=mine", "--arg", "next_action=complete")
    assert rows(vespera, "SELECT status, summary FROM task") == [("completed", "mine")]


def test_arguments_are_json_where_they_are_some_and_texts_where_texts_are_taken(vespera, task) -> None:
    call(vespera, "update_task", "--arg", f"task_id={task}", "--arg", 'title="quoted"', "--arg", "description=null")
    assert rows(vespera, "SELECT title, description FROM task") == [("quoted", "null")]
    found = call(
        vespera, "query_tasks", "--arg", "status=pending", "--arg", "status=blocked", "--arg", "limit=1",
        "--arg", "ready=true",
    )  # fmt: skip
    assert [one["id"] for one in found["tasks"]] == [task]
    assert call(vespera, "query_tasks", "--arg", 'status=["blocked"]')["tasks"] == []
    subtasks = json.dumps([{"title": "below", "dependencies": []}])
    planned = call(vespera, "plan_task", "--arg", "title=above", "--arg", f"subtasks={subtasks}")
    assert len(planned["tasks"]) == 2


def test_a_refusal_is_status_1_and_says_what_to_do_next(vespera, task) -> None:
    before = rows(vespera, "SELECT * FROM task")
    words = ("complete_task", "--arg", f"task_id={task}", "--arg", "summary=x", "--arg", "next_action=complete")
    done = vespera("call", *words)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: task ")
    assert "\nNext: Call orchestrator_execute_task first" in done.stderr
    done = vespera("call", "--json", *words)
    assert done.returncode == 1
    assert json.loads(done.stdout)["error"]["kind"] == "conflict"
    assert rows(vespera, "SELECT * FROM task") == before


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("exec_task",), "there is no tool 'exec_task'.\nNext: Call one of: orchestrator_execute_task"),
        (("execute_task",), "task_id is missing"),
        (("execute_task", "--arg", "task=x"), "'task' is not a parameter; did you mean task_id?"),
        (("query_tasks", "--arg", "limit=many"), "limit must be a whole number, not 'many'"),
        (("query_tasks", "--arg", "limit"), "'limit' is no key=value"),
        (("query_tasks", "--arg", "=3"), "'=3' is no key=value"),
        (("query_tasks", "--args-json", "none.json"), "'none.json' cannot be read"),
        (("query_tasks", "--args-json", "list.json"), "holds no object of arguments"),
        (("query_tasks", "--args-json", "broken.json"), "holds no JSON"),
        (("query_tasks", "--args-json", "deep.json"), "holds no JSON"),
        (("query_tasks", "--args-json", "binary.json"), "cannot be read"),
        (("query_tasks", "--workspace", "/etc"), "belongs to the system"),
    ],
)
def test_bad_usage_is_status_2_and_nothing_is_done(vespera, words, complaint) -> None:
    vespera.write("list.json", "[1]")
    vespera.write("broken.json", '{"a"')
    vespera.write("deep.json", "[" * 100_000)
    (vespera.workspace / "binary.json").write_bytes(b"\xff\xfe")
    done = vespera("call", *words)
    assert done.returncode == 2, done.stderr
    assert complaint in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


def test_a_process_of_its_own_ends_clean_and_shows_no_escape_sequences(vespera) -> None:
    call(vespera, "initialize_session", "--arg", "name=\x1b[31mred")
    done = vespera.process("call", "session_status")
    assert (done.returncode, done.stderr) == (0, "")
    assert "red" in done.stdout
    assert "\x1b" not in done.stdout


def test_gates_are_waited_for_because_they_end_with_the_process(vespera) -> None:
    call(vespera, "initialize_session")
    vespera.write(".vespera/config.toml", '[commands]\nallow = ["true"]\n')
    assert vespera("trust", "--yes").returncode == 0
    task = call(vespera, "plan_task", "--arg", "title=a", "--arg", "gates=true")["ready"][0]
    call(vespera, "execute_task", "--arg", f"task_id={task}")
    work = ("--arg", f"task_id={task}", "--arg", "summary=x", "--arg", "next_action=complete")
    assert call(vespera, "complete_task", *work)["outcome"] == "completed"


def test_what_the_server_would_do_by_itself_is_done_before_the_call_ends(vespera) -> None:
    call(vespera, "initialize_session")
    make, fail = "### make\n```yaml\nrun: touch made\n```\n", '### break\n```yaml\nrun: "false"\n```\n'
    plan = f"---\nid: ONE\n---\n## Phase 1: Only\n{make}{fail}"
    (vespera.workspace / "plan.md").write_text(plan)
    root = call(vespera, "plan_task", "--arg", "plan_path=plan.md")["tasks"][0]["id"]
    words = ("--arg", f"task_id={root}", "--arg", "mode=agent")
    refused = vespera("call", "execute_task", *words)
    assert (refused.returncode, "touch made" in refused.stderr) == (1, True)
    (vespera.workspace / ".vespera" / "config.toml").write_text('[commands]\nallow = ["touch", "false"]\n')
    assert vespera("trust", "--yes").returncode == 0
    assert call(vespera, "execute_task", *words)["outcome"] == "failed"
    assert (vespera.workspace / "made").exists()
    assert rows(vespera, "SELECT status FROM job") == [("completed",)]
    assert dict(rows(vespera, "SELECT title, status FROM task WHERE run IS NOT NULL")) == {
        "make": "completed",
        "break": "failed",
    }
