"""`vespera monitor` and `vespera tree --watch`: how far a session is said to be, how long it may take, how they end."""

from __future__ import annotations

import json
import re
import signal
import sqlite3
import subprocess
import sys

import pytest

from supervisors import render_tree
from vespera_agents.cli.outlook import estimate_text
from vespera_agents.cli.progress import Progress, progress_of
from vespera_agents.cli.watching import changes_between
from vespera_agents.serving.control import tree_of
from vespera_agents.work.models import Dependency, DependencyState, Session, SessionStatus, Task, TaskStatus

NOW = 1_000.0
PLAN = """
# Demo
## Phase 1: First
### quick
```yaml
run: echo quick
```
### bad
```yaml
depends: [quick]
run: sh -c "while [ ! -e go ]; do sleep 0.05; done; exit 3"
```
## Phase 2: Second
### late
```yaml
depends: [bad]
run: echo never
```
"""


def task(name: str, status: str = "pending", role: str = "tester", **other) -> Task:
    known = {"id": name, "session_id": "s", "title": f"the {name}", "created": 0.0, "updated": 0.0}
    return Task(**known, status=TaskStatus(status), specialist=role, **other)


def done(name: str, began: float, ended: float, **other) -> Task:
    return task(name, "completed", started=began, finished=ended, **other)


def at_work(name: str, began: float, **other) -> Task:
    return task(name, "in_progress", started=began, claimed_by="somebody", **other)


def progress(*tasks: Task, past=None, waits=(), status: str = "open") -> Progress:
    session = Session(id="s", name="work", directory="/x", status=SessionStatus(status), created=0.0, updated=0.0)
    by_id = {one.id: one for one in tasks}
    dependencies = [
        Dependency(
            task_id=one,
            on_task_id=on,
            state=DependencyState.SATISFIED if by_id[on].status is TaskStatus.COMPLETED else DependencyState.OPEN,
        )
        for one, on in waits
    ]
    held = {one for one, on in waits if by_id[on].status is not TaskStatus.COMPLETED}
    known = [one.model_copy(update={"open_dependencies": int(one.id in held)}) for one in tasks]
    return progress_of(session, known, dependencies, past or {}, NOW)


def seconds(found: Progress) -> tuple[float, float, float] | None:
    return found.estimate.seconds and tuple(round(one, 3) for one in found.estimate.seconds)


def test_phases_and_what_waits_for_what():
    found = progress(
        task("one", children=2),
        done("a", 900, 910, parent_id="one"),
        at_work("b", 980, parent_id="one"),
        task("two", children=2),
        task("c", parent_id="two"),
        task("d", parent_id="two"),
        task("alone"),
        waits=[("c", "b"), ("d", "one")],
    )
    assert [(phase.title, phase.ended, phase.total, phase.at_work) for phase in found.phases] == [
        ("Tasks", 0, 1, 0),
        ("the one", 1, 2, 1),
        ("the two", 0, 2, 0),
    ]
    assert [(one.task.id, one.on, one.stuck) for one in found.waiting] == [
        ("c", ("the b",), False),
        ("d", ("the one",), False),
    ]
    assert [one.id for one in found.ready] == ["alone"]
    assert not found.finished


def test_what_is_held_up_for_good_ends_the_session_and_not_well():
    found = progress(task("a", "failed"), task("b"), done("c", 1, 2), waits=[("b", "a")])
    assert (found.finished, found.well) == (True, False)
    assert [(one.task.id, one.on, one.stuck) for one in found.waiting] == [("b", ("a the a: failed",), True)]
    assert estimate_text(found) == ""


@pytest.mark.parametrize(
    ("tasks", "status", "finished", "well"),
    [
        ([], "open", False, True),
        ([done("a", 1, 2)], "open", True, True),
        ([done("a", 1, 2), task("b")], "open", False, True),
        ([done("a", 1, 2), task("b")], "closed", True, True),
        ([task("a", "failed")], "closed", True, False),
        ([task("a", "cancelled", waived=True)], "open", True, True),
        ([task("a", "archived")], "open", False, True),
    ],
)
def test_when_a_session_is_finished(tasks, status, finished, well):
    found = progress(*tasks, status=status)
    assert (found.finished, found.well) == (finished, well)


def test_what_was_never_done_before_takes_nobody_knows_how_long():
    found = progress(task("a"), task("b", role="devops"), past={"tester": [10.0]})
    assert seconds(found) is None
    assert estimate_text(found) == "time left unknown: no such task was done before (devops)"


def test_one_after_another_or_side_by_side_as_in_the_past_of_the_session():
    past = {"tester": [60.0] * 12}
    chain = progress(task("a"), task("b"), task("c"), past=past, waits=[("b", "a"), ("c", "b")])
    assert seconds(chain) == (180.0, 180.0, 180.0)
    alone = progress(task("a"), task("b"), past=past)
    assert seconds(alone) == (120.0, 120.0, 120.0), "nobody has ever done two at once"
    before = [done("x", 100, 200), done("y", 150, 160)]
    assert seconds(progress(*before, task("a"), task("b"), past=past)) == (60.0, 60.0, 60.0)
    side_by_side = progress(*before, task("a"), task("b"), task("c"), past=past, waits=[("b", "a"), ("c", "b")])
    assert seconds(side_by_side) == (180.0, 180.0, 180.0), "what waits for another one is not done beside it"
    assert estimate_text(chain) == "about 3 min left once somebody takes it, from 12 past tasks"


def test_a_container_is_waited_for_until_all_in_it_is_done():
    box = [task("box", children=2), task("a", parent_id="box"), task("b", parent_id="box")]
    found = progress(*box, task("after"), past={"tester": [60.0]}, waits=[("after", "box")])
    assert seconds(found) == (180.0, 180.0, 180.0)
    assert estimate_text(found).endswith("from the one past task")
    two = [done("x", 100, 200), done("y", 150, 160)]
    beside = progress(*two, *box, task("after"), past={"tester": [60.0]}, waits=[("after", "box")])
    assert seconds(beside) == (120.0, 120.0, 120.0)
    before = progress(task("first"), *box, past={"tester": [60.0]}, waits=[("box", "first")])
    assert seconds(before) == (180.0, 180.0, 180.0)


def test_what_is_at_work_is_measured_against_those_that_took_longer():
    past = {"tester": [10.0, 60.0, 120.0, 180.0]}
    found = progress(at_work("a", NOW - 30), past=past)
    assert seconds(found) == (60.0, 90.0, 120.0)
    assert estimate_text(found) == "about 2 min (1 min to 2 min) left, from 4 past tasks"
    late = progress(at_work("a", NOW - 500), past=past)
    assert estimate_text(late) == "time left unknown: longer at work than any of 4 past tasks: the a"
    few = progress(at_work("a", NOW), past={"tester": [10.0, 3_600.0]})
    assert estimate_text(few) == "about 30 min left, from 2 past tasks", "two tell nothing of the spread"


def test_changes_of_a_tree_are_told_by_path():
    before = {"s/root": ("running", 0), "s/root/a": ("running", 0), "s/root/b": ("running", 1)}
    now = {"s/root": ("running", 0), "s/root/b": ("running", 2), "s/root/c": ("starting", 0)}
    assert list(changes_between(before, now)) == [
        "restarted  s/root/b (2 restarts, running)",
        "new        s/root/c (starting)",
        "gone       s/root/a",
    ]
    assert list(changes_between({"x": ("running", 0)}, {"x": ("stopping", 0)})) == ["stopping   x (was running)"]


# ---- the commands


def test_a_session_is_watched_until_it_is_finished_and_the_outcome_decides(vespera):
    assert vespera("monitor").returncode == 2
    vespera.write("plan.md", PLAN)
    run = vespera.start("run", "plan.md")
    assert any("began" in line and "bad" in line for line in run.stdout)
    shown = vespera("monitor")
    assert shown.returncode == 0
    assert re.search(r"Phase 1: First +\S+ +1/2 1 at work", shown.stdout)
    assert re.search(r"at work +bad \(\w+\) by srv_\w+/conductor\S* for [\d.]+ s", shown.stdout)
    assert re.search(r"waits +late \(\w+\) for bad", shown.stdout)
    assert re.search(r"time left unknown|about \d", shown.stdout)
    watcher = vespera.start("monitor", "--watch")
    tree = vespera.start("tree", "--watch")
    assert "session" in watcher.stdout.readline()
    assert any("conductor" in line for line in tree.stdout)
    (vespera.workspace / "go").touch()
    lines = watcher.communicate(timeout=60)[0].splitlines()
    assert watcher.returncode == 1
    assert re.search(r"failed +bad: .*exit status 3", lines[0])
    assert re.search(r"failed +2/3 tasks; .*1 cannot go on", lines[-1])
    assert any(re.search(r"gone +srv_\w+/|no server runs on", line) for line in tree.stdout)
    tree.send_signal(signal.SIGINT)
    tree.communicate(timeout=60)
    assert tree.returncode == 130
    assert run.wait(60) == 1
    document = json.loads(vespera("monitor", "--json", "--session", "demo").stdout)
    assert (document["finished"], document["ended"], document["waiting"][0]["stuck"]) == (True, 2, True)
    assert vespera("monitor", "--watch", "--json").returncode == 1
    assert vespera("monitor", "--session", "other").returncode == 2


def test_a_session_that_goes_well_ends_well_and_shows_hostile_names_harmlessly(vespera):
    vespera.write("plan.md", "# P\n### ok\n```yaml\nrun: echo fine\n```\n")
    assert vespera("run", "plan.md").returncode == 0
    with sqlite3.connect(vespera.workspace / ".vespera" / "vespera.db") as connection:
        connection.execute("UPDATE task SET title='[red]x\x1b[31m\n\u202ey' WHERE title='ok'")
    finished = vespera("monitor", "--watch")
    assert (finished.returncode, finished.stderr) == (0, "")
    assert "finished     1/1 tasks; 1 completed" in finished.stdout
    assert "\x1b" not in finished.stdout + vespera("monitor").stdout
    # A past task of the same role makes the next one known.
    vespera.write("plan.md", "# Q\n### again\n```yaml\nrun: sleep 30\n```\n")
    run = vespera.start("run", "plan.md")
    assert any("began" in line for line in run.stdout)
    assert re.search(r"about \d+ s left, from|longer at work than", vespera("monitor").stdout)
    watcher = vespera.start("monitor", "--watch", stdout=subprocess.PIPE)
    assert "session" in watcher.stdout.readline()
    watcher.send_signal(signal.SIGINT)
    assert "".join(watcher.communicate(timeout=60)).strip() == ""
    assert watcher.returncode == 130
    run.kill()


def test_a_database_that_goes_away_ends_the_watching_with_a_reason(vespera):
    vespera.write("plan.md", "# P\n### idea\n```yaml\nspecialist: architect\n```\n")
    assert vespera("run", "plan.md").returncode == 0
    watcher = vespera.start("monitor", "--watch")
    assert "session" in watcher.stdout.readline()
    for path in (vespera.workspace / ".vespera").glob("vespera.db*"):
        path.unlink()
    errors = watcher.communicate(timeout=60)[1]
    assert watcher.returncode == 2
    assert "Traceback" not in errors
    assert errors.startswith("Error: ")


def test_a_tree_shows_mailboxes_and_how_full_a_context_is(vespera):
    vespera.write("plan.md", "# P\n### wait\n```yaml\nrun: sleep 300\n```\n")
    run = vespera.start("run", "plan.md")
    assert any("began" in line for line in run.stdout)
    shown = vespera("tree").stdout
    assert re.search(r"generic-\w+\.\d +running .*context_fill=0.* kind=Specialist mailbox=\d+ handled=\d+", shown)
    document = json.loads(vespera("tree", "--json").stdout)
    assert "mailbox=" in render_tree(tree_of(document["servers"][0]["tree"]))
    assert vespera("tree", "--watch", "--json").returncode == 2
    closed = subprocess.run(
        f"{sys.executable} -m vespera_agents tree --watch | head -1",
        shell=True, cwd=vespera.workspace, env=vespera.environment, capture_output=True, text=True, timeout=300,
        check=True,
    )  # fmt: skip
    # The second picture, which finds nobody to read it, comes after 50 times as long as the first took to get.
    assert closed.stdout.startswith("run srv_")
    assert closed.stderr == ""
    run.kill()
    assert vespera("tree", "--watch", "--workspace", str(vespera.state.parent)).returncode == 2
