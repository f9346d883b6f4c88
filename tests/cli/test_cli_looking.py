"""`vespera status`, `tree` and `artifact`: what they show, and that they write nothing."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import re
import sqlite3
import subprocess
import sys

from supervisors import ChildType, TreeNode
from vespera_agents.cli.looking import tree_text

PLAN = """
# Things
## Phase 1: First
### good
```yaml
run: printf 'plain \\033[31mred\\033[0m\\n'
```
### bad
```yaml
run: sh -c "echo why; exit 4"
```
### bytes
```yaml
run: printf 'a\\000b'
```
### idea
```yaml
specialist: architect
```
## Phase 2: Second
### late
```yaml
depends: [bad]
run: echo never
```
"""


def listing(vespera) -> dict[str, str]:
    """Every file of the project with its hash; the write-ahead log's own shared memory is no content."""
    return {
        str(path.relative_to(vespera.workspace)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(vespera.workspace.rglob("*"))
        if path.is_file() and path.suffix not in {".db-shm", ".db-wal"}
    }


def artifacts(vespera) -> dict[str, str]:
    with sqlite3.connect(vespera.workspace / ".vespera" / "vespera.db") as connection:
        return dict(connection.execute("SELECT name, sha256 FROM artifact"))


def after_a_run(vespera):
    vespera.write("plan.md", PLAN)
    assert vespera("run", "plan.md").returncode == 1
    return vespera


def test_a_directory_without_work_has_no_status_and_gets_nothing(vespera):
    done = vespera("status")
    assert done.returncode == 0
    assert "No session yet. Run a plan: vespera run PLAN" in done.stdout
    assert json.loads(vespera("status", "--json").stdout)["sessions"] == []
    assert vespera("status", "--session", "x").returncode == 2
    assert vespera("artifact", "abcdef").returncode == 2
    assert vespera("tree").returncode == 2
    ill = vespera("health")
    assert (ill.returncode, ill.stdout, "no server runs on" in ill.stderr) == (2, "", True)
    assert list(vespera.workspace.iterdir()) == []
    assert not vespera.state.exists()


def test_the_status_tells_what_failed_what_is_blocked_and_what_is_ready(vespera):
    after_a_run(vespera)
    before = listing(vespera)
    done = vespera("status")
    assert done.returncode == 0, done.stderr
    assert f"Workspace {vespera.workspace}" in done.stdout
    assert "Served by nobody now" in done.stdout
    assert "open: 2 completed, 1 failed, 2 pending" in done.stdout
    assert re.search(r"failed +task_\w+  bad: .*exit status 4", done.stdout)
    assert re.search(r"blocked +task_\w+  late: by task_\w+ bad: failed", done.stdout)
    assert re.search(r"ready +task_\w+  idea: waits for a client", done.stdout)
    assert listing(vespera) == before


def test_the_status_as_json_is_the_answer_of_the_orchestrator(vespera):
    after_a_run(vespera)
    document = json.loads(vespera("status", "--json").stdout)
    assert document["workspace"] == str(vespera.workspace)
    assert document["servers"] == []
    assert document["status"]["session"] == document["sessions"][0]
    assert [task["title"] for task in document["status"]["ready"]] == ["idea"]
    assert [task["title"] for task in document["status"]["blocked"]] == ["late"]


def test_a_session_is_chosen_by_id_or_name_and_others_are_listed(vespera):
    after_a_run(vespera)
    vespera.write("more.md", "# More\n### x\n```yaml\nrun: echo x\n```\n")
    assert vespera("run", "more.md", "--session", "second one").returncode == 0
    newest_open = vespera("status").stdout
    assert "Session things (" in newest_open
    assert re.search(r"Other sessions\n  session_\w+  closed  second one: 1 completed", newest_open)
    named = vespera("status", "--session", "second one", "--json")
    identifier = json.loads(named.stdout)["status"]["session"]["id"]
    assert f"Session second one ({identifier}), closed" in vespera("status", "--session", identifier).stdout
    wrong = vespera("status", "--session", "third")
    assert wrong.returncode == 2
    assert "there is no session 'third'" in wrong.stderr
    assert "second one" in wrong.stderr


def test_bad_workspaces_are_refused_by_everything_that_looks(vespera):
    for words in (["status"], ["tree"], ["artifact", "abcdef"], ["trust"]):
        done = vespera(*words, "--workspace", "nowhere")
        assert done.returncode == 2
        assert "not a directory that can be opened" in done.stderr


def test_an_artifact_comes_out_byte_by_byte_by_hash_prefix_and_into_a_file(vespera):
    after_a_run(vespera)
    known = artifacts(vespera)
    raw = subprocess.run(
        [sys.executable, "-m", "vespera_agents", "artifact", known["output of bytes"]],
        cwd=vespera.workspace, env=vespera.environment, capture_output=True, timeout=60, check=True,
    ).stdout  # fmt: skip
    assert b"a\0b" in raw
    assert hashlib.sha256(raw).hexdigest() == known["output of bytes"]
    assert vespera("artifact", known["output of good"][:12]).stdout.startswith("$ printf")
    assert vespera("artifact", known["output of bytes"], "--output", "out.bin").returncode == 0
    assert (vespera.workspace / "out.bin").read_bytes() == raw
    assert "# things" in vespera("artifact", known["report"]).stdout


def test_artifacts_that_are_not_there_are_refused(vespera):
    after_a_run(vespera)
    known = artifacts(vespera)
    for words, message in (
        (["artifact", "ab"], "too short"),
        (["artifact", "0123456789"], "there is no artifact"),
        (["artifact", known["report"], "--output", "no/folder/x"], "cannot be written"),
    ):
        done = vespera(*words)
        assert done.returncode == 2
        assert message in done.stderr
    sha256 = known["output of good"]
    (vespera.workspace / ".vespera" / "artifacts" / sha256[:2] / sha256).write_bytes(b"changed")
    damaged = vespera("artifact", sha256)
    assert damaged.returncode == 2
    assert "are not what they were" in damaged.stderr


def test_each_node_of_a_tree_has_one_line_whatever_it_is_called():
    names = ("\x1b[2Jred\nnew line", "\u202ertl", "z" * 10_000)
    children = tuple(
        TreeNode(name, ChildType.WORKER, "running", 0, 1, 1.0, {"task": "a\nb\x1b[1m", "mailbox": 3}) for name in names
    )
    shown = tree_text(TreeNode("root", ChildType.SUPERVISOR, "running", 0, 1, 1.0, {}, children)).split("\n")
    assert [line.split()[1] for line in shown[1:3]] == ["red", "rtl"]
    assert len(shown) == 4
    assert all("mailbox=3" in line and "\x1b" not in line and len(line) < 300 for line in shown[1:])


def on_a_terminal(vespera, *words) -> tuple[int, str, str]:
    """Run `vespera` with a terminal as its standard output."""
    terminal, inner = pty.openpty()
    process = vespera.start(*words, stdout=inner)
    os.close(inner)
    shown = b""
    try:
        while chunk := os.read(terminal, 4096):
            shown += chunk
    except OSError:
        pass  # Linux says EIO when the other end is closed.
    os.close(terminal)
    errors = process.stderr.read()
    return process.wait(60), shown.decode(), errors


def test_a_terminal_gets_text_without_escapes_and_no_binary(vespera):
    after_a_run(vespera)
    known = artifacts(vespera)
    status, shown, _ = on_a_terminal(vespera, "artifact", known["output of good"])
    assert status == 0
    assert "plain red" in shown
    status, shown, errors = on_a_terminal(vespera, "artifact", known["output of bytes"])
    assert (status, shown) == (2, "")
    assert "binary and would garble the terminal" in errors
    assert "--output FILE" in errors
