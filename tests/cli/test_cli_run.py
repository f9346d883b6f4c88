"""`vespera run`: what it prints, where, and how it ends."""

from __future__ import annotations

import json
import os
import re
import sqlite3
from pathlib import Path

import pytest

GOOD = """
# Good things
## Phase 1: First
### one
```yaml
run: echo hello from one
```
### two
```yaml
when: test -d nowhere
run: echo never
```
## Phase 2: Second
### three
```yaml
run: echo three
```
"""
BAD = """
# Mixed things
## Phase 1: First
### fine
```yaml
run: echo fine
```
### broken
```yaml
run: sh -c "echo the reason; exit 3"
```
## Phase 2: Second
### after
```yaml
depends: [broken]
run: echo never
```
### aside
```yaml
depends: [fine]
run: echo aside
```
"""
WAITING = """
# Waiting things
## Phase 1: First
### command
```yaml
run: echo done
```
### thought
```yaml
depends: [command]
```
Think about it.
### afterthought
```yaml
depends: [thought]
run: echo never yet
```
"""
CYCLE = """
# Round
### a
```yaml
depends: [b]
run: echo a
```
### b
```yaml
depends: [a]
run: echo b
```
"""


def outcomes(document) -> dict[str, str]:
    return {task["title"]: task["outcome"] for task in document["tasks"]}


def test_a_piped_run_prints_a_line_per_event_then_the_table_and_the_report(vespera):
    vespera.write("plan.md", GOOD)
    done = vespera.process("run", "plan.md")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "\x1b" not in done.stdout
    events, _, table = done.stdout.partition("\nTask")
    lines = [re.sub(r"^ *[\d.]+ s  ", "", line) for line in events.splitlines()]
    assert lines[0].startswith("planned     3 tasks in session_")
    assert "began       one" in lines
    assert "output      one: hello from one" in lines
    assert any(line.startswith("completed   one: `echo hello from one`: exit status 0") for line in lines)
    assert any(line.startswith("waived      two: its condition did not hold: `test -d nowhere`") for line in lines)
    assert lines.index("began       three") > lines.index("output      one: hello from one")
    assert re.search(r"one +Phase 1: First +completed +\d", table)
    assert "two waived: its condition" in table
    assert "Done: 2 completed, 1 waived." in table
    report = re.search(r"^Report: (.+)$", table, re.MULTILINE)
    assert report is not None
    assert "**Outcome: completed.**" in (vespera.workspace / report[1]).read_text()


def test_json_is_one_document_with_every_task_and_nothing_else(vespera):
    vespera.write("plans/plan.md", GOOD)
    elsewhere = vespera.workspace / "elsewhere"
    elsewhere.mkdir()
    done = vespera.process("run", "plans/plan.md", "--workspace", "elsewhere", "--session", "mine", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    assert document["outcome"] == "completed"
    assert document["exit_status"] == 0
    assert document["session_name"] == "mine"
    assert document["workspace"] == str(elsewhere)
    assert document["counts"] == {"completed": 2, "waived": 1}
    assert outcomes(document) == {"one": "completed", "two": "waived", "three": "completed"}
    one = document["tasks"][0]
    assert one["phase"] == "Phase 1: First"
    assert one["duration_seconds"] >= 0
    assert len(one["artifacts"]) == 1
    assert Path(document["report"]).is_file()
    assert Path(document["report"]).is_relative_to(elsewhere / ".vespera")
    assert not (vespera.workspace / ".vespera").exists()


def test_a_failed_task_blocks_its_dependents_alone_and_ends_with_status_1(vespera):
    vespera.write("plan.md", BAD)
    done = vespera("run", "plan.md", "--json")
    assert done.returncode == 1
    document = json.loads(done.stdout)
    assert outcomes(document) == {"fine": "completed", "broken": "failed", "after": "blocked", "aside": "completed"}
    reasons = {task["title"]: task["reason"] for task in document["tasks"]}
    assert "exit status 3" in reasons["broken"]
    assert "the reason" in reasons["broken"]
    assert "broken: failed" in reasons["after"]
    assert "**after** is blocked by" in Path(document["report"]).read_text()
    vespera.write("plan.md", BAD.replace("exit 3", "exit 0"))
    shown = vespera("run", "plan.md")
    assert shown.returncode == 0, "a new run takes the plan as it is now"


def test_what_failed_is_tried_again_by_resume_and_what_was_done_is_not(vespera):
    flag = vespera.workspace / "repaired"
    plan = BAD.replace("echo the reason; exit 3", "test -e repaired").replace("echo fine", "sh -c 'echo x >>ledger'")
    vespera.write("plan.md", plan)
    assert vespera("run", "plan.md").returncode == 1
    flag.touch()
    again = vespera("run", "plan.md", "--resume")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "again       broken: failed before: tried again" in again.stdout
    assert (vespera.workspace / "ledger").read_text() == "x\n"


def test_what_waits_for_a_client_is_said_plainly_and_is_no_failure(vespera):
    vespera.write("plan.md", WAITING)
    done = vespera("run", "plan.md")
    assert done.returncode == 0, done.stderr
    assert "prepared    thought: waits for a client" in done.stdout
    assert re.search(r"thought +Phase 1: First +waits for a client", done.stdout)
    assert "1 task waits for a client to carry out: connect one with `vespera serve`." in done.stdout
    document = json.loads(vespera("run", "plan.md", "--json").stdout)
    assert document["outcome"] == "waiting"
    assert outcomes(document) == {"command": "completed", "thought": "waiting", "afterthought": "pending"}


def test_the_report_of_a_run_in_another_directory_is_named_by_its_whole_path(vespera, tmp_path):
    vespera.write("plan.md", GOOD)
    here = tmp_path / "here"
    here.mkdir()
    done = vespera("run", vespera.workspace / "plan.md", "--workspace", vespera.workspace, cwd=here)
    assert f"Report: {vespera.workspace}/.vespera/reports/" in done.stdout
    assert list(here.iterdir()) == []


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


BAD_INPUT = {
    "no such file": (["run", "missing.md"], "there is no file missing.md"),
    "a directory": (["run", "folder"], "folder is a directory"),
    "a pipe": (["run", "pipe"], "pipe is not a regular file"),
    "an empty file": (["run", "empty.md"], "is empty"),
    "a binary": (["run", "binary.md"], "binary"),
    "text without a plan": (["run", "prose.md"], "holds no plan"),
    "a cycle": (["run", "cycle.md"], "form a cycle"),
    "a command that cannot be read": (["run", "quote.md"], "cannot be carried out"),
    "no such workspace": (["run", "plan.md", "--workspace", "nowhere"], "not a directory that can be opened"),
    "a system directory": (["run", "plan.md", "--workspace", "/etc"], "belongs to the system"),
    "the root": (["run", "plan.md", "--workspace", "/"], "belongs to the system"),
    "a file as workspace": (["run", "plan.md", "--workspace", "plan.md"], "is a file"),
    "a link as .vespera": (["run", "plan.md", "--workspace", "linked"], "symbolic link"),
    "nothing to resume": (["run", "plan.md", "--resume"], "Run the plan without --resume"),
    "a session's name that is too long": (["run", "plan.md", "--session", "x" * 201], "1 to 200 characters"),
    "no tasks at once": (["run", "plan.md", "--concurrency", "0"], "0 is not in the range"),
    "no plan at all": (["run"], "Missing argument"),
    "an unknown option": (["run", "plan.md", "--fast"], "No such option"),
    "an unknown command": (["fly"], "No such command"),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_ends_with_status_2_and_says_what_to_do(vespera, case):
    words, message = BAD_INPUT[case]
    vespera.write("plan.md", GOOD)
    vespera.write("empty.md", " \n")
    vespera.write("prose.md", "Just a word.\n")
    vespera.write("cycle.md", CYCLE)
    vespera.write("quote.md", GOOD.replace("echo three", "echo 'three"))
    (vespera.workspace / "binary.md").write_bytes(b"# Plan\0\xff")
    (vespera.workspace / "folder").mkdir()
    (vespera.workspace / "linked").mkdir()
    (vespera.workspace / "linked" / ".vespera").symlink_to(vespera.workspace / "folder")
    make_pipe(vespera.workspace / "pipe")
    done = vespera(*words)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stdout == ""
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert list((vespera.workspace / "folder").iterdir()) == []


def test_a_plan_that_cannot_be_carried_out_leaves_nothing_behind(vespera):
    vespera.write("cycle.md", CYCLE)
    assert vespera("run", "cycle.md", "--json").returncode == 2
    assert [path.name for path in vespera.workspace.iterdir()] == ["cycle.md"]


def test_a_database_that_is_none_is_refused_and_left_alone(vespera):
    vespera.write("plan.md", GOOD)
    vespera.write(".vespera/vespera.db", "this is no database, and it is long enough to be looked at closely\n" * 20)
    before = (vespera.workspace / ".vespera/vespera.db").read_bytes()
    for words in (["run", "plan.md"], ["status"], ["artifact", "abcdef"]):
        done = vespera(*words)
        assert done.returncode == 2, (words, done.stderr)
        assert "Traceback" not in done.stderr
    assert (vespera.workspace / ".vespera/vespera.db").read_bytes() == before


def test_output_that_steers_terminals_is_made_harmless(vespera):
    vespera.write("plan.md", "# P\n### paint\n```yaml\nrun: printf '\\033[2Jred\\033]0;title\\007\\n'\n```\n")
    done = vespera("run", "plan.md")
    assert done.returncode == 0
    assert "paint: red" in done.stdout
    assert not set(done.stdout) & {"\x1b", "\x07"}


def test_a_reader_that_goes_away_does_not_end_the_run(vespera):
    vespera.write("plan.md", GOOD)
    process = vespera.start("run", "plan.md")
    assert "planned" in process.stdout.readline()
    process.stdout.close()
    assert process.wait(60) == 0
    assert process.stderr.read() == ""
    process.stdout = None
    with sqlite3.connect(vespera.workspace / ".vespera" / "vespera.db") as connection:
        assert connection.execute("SELECT status FROM session").fetchall() == [("closed",)]


def test_the_picture_shows_the_run_and_needs_nothing_from_elsewhere(vespera):
    vespera.write("plan.md", BAD)
    done = vespera("run", "plan.md", "--svg", "run.svg")
    assert done.returncode == 1
    picture = (vespera.workspace / "run.svg").read_text()
    for text in ("vespera&#160;run&#160;plan.md", "Mixed&#160;things", "broken", "Report:"):
        assert text in picture
    assert "url(" not in picture.replace("url(#", "")
    assert str(vespera.workspace) not in picture
    assert "svg" not in vespera("run", "--help").stdout
    missing = vespera("run", "plan.md", "--svg", "no/such/folder.svg")
    assert missing.returncode == 2
    assert "cannot be written" in missing.stderr
