"""Stopping a run, looking at one, and two at once: signals, sockets and locks between real processes."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import signal
import sqlite3
import subprocess

import pytest

SLOW = """
# Slow things
## Phase 1: First
### slow
```yaml
specialist: generic
run: |
  echo begun >>ledger; echo up; until test -e go; do sleep 0.02; done; echo ended >>ledger
shell: true
```
## Phase 2: Second
### after
```yaml
run: sh -c "echo after >>ledger"
```
"""


def begun(vespera, *words):
    """Start a run and wait until its first command is at work."""
    vespera.write("plan.md", SLOW)
    process = vespera.start("run", "plan.md", *words)
    lines = []
    for line in process.stdout:
        lines.append(line)
        if "slow: up" in line:
            return process
    raise AssertionError("".join(lines) + process.stderr.read())


def wait_for(process, text):
    for line in process.stdout:
        if text in line:
            return
    raise AssertionError(f"{text!r} never came: {process.stderr.read()}")


def statuses(vespera) -> dict[str, str]:
    with sqlite3.connect(vespera.workspace / ".vespera" / "vespera.db") as connection:
        return dict(connection.execute("SELECT title, status FROM task WHERE children=0"))


def ledger(vespera) -> list[str]:
    return (vespera.workspace / "ledger").read_text().split()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_drains_and_resume_goes_on(vespera, number):
    process = begun(vespera)
    process.send_signal(number)
    wait_for(process, "Stopping: nothing new begins")
    assert process.poll() is None
    vespera.write("go", "")
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 130, out + errors
    assert "Interrupted: 1 completed, 1 pending." in out
    assert statuses(vespera) == {"slow": "completed", "after": "pending"}
    typed = re.fullmatch(r"Go on with: vespera (.+)\n", errors)
    assert typed is not None
    resumed = vespera(*shlex.split(typed[1]))
    assert resumed.returncode == 0, resumed.stderr
    assert ledger(vespera) == ["begun", "ended", "after"]


def test_the_second_signal_kills_and_gives_back(vespera):
    process = begun(vespera, "--session", "a name")
    process.send_signal(signal.SIGINT)
    wait_for(process, "Stopping")
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 130, out + errors
    assert "Killing what is at work" in out
    assert "Traceback" not in errors
    assert statuses(vespera) == {"slow": "pending", "after": "pending"}
    assert "--session 'a name'" in errors
    vespera.write("go", "")
    resumed = vespera("run", "plan.md", "--resume", "--session", "a name")
    assert resumed.returncode == 0, resumed.stderr
    # The killed command wrote nothing more.
    assert ledger(vespera) == ["begun", "begun", "ended", "after"]


def test_a_run_that_is_stopped_when_all_is_done_is_not_called_interrupted(vespera):
    process = begun(vespera)
    vespera.write("plan.md", SLOW)
    process.send_signal(signal.SIGINT)
    wait_for(process, "Stopping")
    vespera.write("go", "")
    process.communicate(timeout=60)
    last = vespera("run", "plan.md", "--resume", "--json")
    assert json.loads(last.stdout)["outcome"] == "completed"
    again = vespera("run", "plan.md", "--resume")
    assert again.returncode == 0, "a finished run that is resumed reports once more"
    assert ledger(vespera) == ["begun", "ended", "after"]


def test_a_second_run_of_a_session_is_refused_and_another_session_is_not(vespera):
    process = begun(vespera)
    for words in ([], ["--resume"]):
        refused = vespera("run", "plan.md", *words)
        assert refused.returncode == 2
        assert f"already being run by process {process.pid}" in refused.stderr
    vespera.write("other.md", "# Other\n### quick\n```yaml\nrun: echo quick\n```\n")
    assert vespera("run", "other.md").returncode == 0
    vespera.write("go", "")
    assert process.wait(60) == 0
    assert ledger(vespera) == ["begun", "ended", "after"]


def test_a_run_that_goes_on_can_be_looked_at(vespera):
    process = begun(vespera)
    tree = vespera("tree")
    assert tree.returncode == 0, tree.stderr
    assert tree.stdout.startswith("run srv_")
    assert f"(process {process.pid})" in tree.stdout
    for name in ("root", "workspaces", "doors", "control of", "store", "conductor", "specialists", "generic-"):
        assert name in tree.stdout
    document = json.loads(vespera("tree", "--json").stdout)
    assert [server["pid"] for server in document["servers"]] == [process.pid]
    assert [child["id"] for child in document["servers"][0]["tree"]["children"]] == ["workspaces", "doors"]
    status = vespera("status")
    assert f"Served by vespera run (process {process.pid})" in status.stdout
    assert re.search(r"in progress +task_\w+  slow: by srv_", status.stdout)
    vespera.write("go", "")
    assert process.wait(60) == 0
    gone = vespera("tree")
    assert gone.returncode == 2
    assert "no server runs on" in gone.stderr


def test_the_drain_of_a_json_run_speaks_on_standard_error_alone(vespera):
    vespera.write("plan.md", SLOW)
    process = vespera.start("run", "plan.md", "--json")
    mark = vespera.workspace / "ledger"
    while not mark.exists():
        # There is no line to wait for: looking again is bounded by the end of the process.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.02)
            raise AssertionError(process.stderr.read())
    process.send_signal(signal.SIGINT)
    assert "Stopping" in process.stderr.readline()
    vespera.write("go", "")
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    document = json.loads(out)
    assert document["outcome"] == "interrupted"
    assert document["exit_status"] == 130
    assert "Go on with: vespera run plan.md --resume" in errors
