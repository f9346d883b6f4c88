"""`kill -9` of a run at any moment, then `--resume`: nothing lives on, nothing is lost, nothing is done twice.

Every command of the plan writes into a ledger when it begins and when it ends, and leaves a process behind that only
its group's end removes. The database is read between the death and the resume: what it says was committed counts.
"""

from __future__ import annotations

import contextlib
import json
import random
import signal
import sqlite3
import subprocess
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tests.unmeasured import unmeasured

WATCHED_RUN = Path(__file__).with_name("watched_run.py")
SECONDS_MAX = 120
AT_ONCE = 4
"""Stories at the same time; each is a run in a workspace of its own."""
MOMENTS = 20
SEED = 20_250_801

WORK = """#!/bin/sh
# The work of one task: key, seconds. It leaves a process behind in its group.
echo "begin $1" >>ledger
sleep 300 >/dev/null 2>&1 &
echo "at work"
sleep "$2"
echo "end $1" >>ledger
"""
TASKS = {
    "one": (0.05, []),
    "two": (0.1, []),
    "three": (0.15, []),
    "four": (0.05, ["one"]),
    "five": (0.1, ["one", "two"]),
    "six": (0.05, ["four"]),
    "seven": (0.1, ["five", "three"]),
    "eight": (0.05, ["six", "seven"]),
}
PLAN = "---\nconcurrency: 3\n---\n# To be killed\n" + "".join(
    f"### {key}\n```yaml\nrun: ./work.sh {key} {seconds}\ndepends: [{', '.join(after)}]\n```\n"
    for key, (seconds, after) in TASKS.items()
)

NAMED_POINTS = {
    "the tasks are there and nothing was claimed": ("planned", 1),
    "before the first claim": ("claiming", 1),
    "before a later claim": ("claiming", 5),
    "after the first claim": ("claimed", 1),
    "after a later claim": ("claimed", 4),
    "in the first command": ("line", 1),
    "in a later command": ("line", 6),
    "between a command's exit and the commit": ("exited", 1),
    "between a later command's exit and the commit": ("exited", 7),
    "after the last commit": ("finished", 8),
    "before the report": ("reporting", 1),
    "in the report": ("reported", 1),
}


@dataclass
class Story:
    """One death and what came after it."""

    name: str
    place: Path
    environment: dict[str, str]
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    killed: bool = False

    def prepare(self) -> None:
        self.place.mkdir()
        (self.place / "plan.md").write_text(PLAN)
        script = self.place / "work.sh"
        script.write_text(WORK)
        script.chmod(0o755)
        (self.place / "ledger").touch()

    def run(self, *words: str, **extra) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, *words],
            cwd=self.place,
            env={**self.environment, "VESPERA_TEST_MARK": self.mark},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **extra,
        )

    def ledger(self) -> list[str]:
        return (self.place / "ledger").read_text().splitlines()

    def rows(self, statement: str) -> list[tuple]:
        database = self.place / ".vespera" / "vespera.db"
        if not database.exists():
            return []
        with contextlib.closing(sqlite3.connect(database, timeout=30)) as connection:
            return connection.execute(statement).fetchall()


def sessions(story: Story) -> int:
    """Count the sessions; a run that died in its first moments may not even have made the table."""
    try:
        return story.rows("SELECT count(*) FROM session")[0][0]
    except (IndexError, sqlite3.OperationalError):
        return 0


def resumed(story: Story) -> list[str]:
    """Resume after the death and give everything that is wrong."""
    known = sessions(story)
    committed = {key for (key,) in story.rows("SELECT key FROM task WHERE status='completed'")} if known else set()
    before = len(story.ledger())
    mark = story.mark
    story.mark = uuid.uuid4().hex
    if known:
        process = story.run(str(WATCHED_RUN), "resume", mark)
    else:
        # It died before there was anything to go on with, and says so.
        refused = story.run("-m", "vespera_agents", "run", "plan.md", "--resume")
        _, errors = refused.communicate(timeout=SECONDS_MAX)
        if refused.returncode != 2 or "Run the plan without --resume" not in errors:
            return [f"resume without a session ended with {refused.returncode}: {errors}"]
        process = story.run("-m", "vespera_agents", "run", "plan.md", "--json")
    out, errors = process.communicate(timeout=SECONDS_MAX)
    if process.returncode != 0:
        return [f"it ended with {process.returncode}: {out}{errors}"]
    after = story.ledger()
    begun_again = {line.removeprefix("begin ") for line in after[before:] if line.startswith("begin ")}
    outcomes = {task["key"]: task["outcome"] for task in json.loads(out)["tasks"]}
    wrong = []
    if errors:
        wrong.append(errors)
    if twice := begun_again & committed:
        wrong.append(f"committed, and done again: {twice}")
    if outcomes != dict.fromkeys(TASKS, "completed"):
        wrong.append(f"outcomes: {outcomes}")
    if missing := {key for key in TASKS if f"end {key}" not in after}:
        wrong.append(f"never carried out: {missing}")
    if (check := story.rows("PRAGMA integrity_check")) != [("ok",)]:
        wrong.append(f"integrity: {check}")
    if not Path(json.loads(out)["report"]).read_text().startswith("# "):
        wrong.append("no report")
    if living := [line for mark_ in (mark, story.mark) for line in living_of(mark_)]:
        wrong.append(f"alive in the end: {living}")
    return wrong


def living_of(mark: str) -> list[str]:
    """List the commands of a run that live, by the marks in their environment."""
    wanted = f"VESPERA_TEST_MARK={mark}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                if wanted in (entry / "environ").read_bytes().split(b"\0") and "guardian_process" not in command:
                    found.append(command)
    return found


def stories(vespera, names) -> list[Story]:
    environment = unmeasured(vespera.environment)
    made = [Story(name, vespera.workspace / str(number), environment) for number, name in enumerate(names)]
    for story in made:
        story.prepare()
    return made


def tell(told: list[tuple[Story, list[str]]]) -> None:
    """Fail with everything that is wrong in any story."""
    bad = [f"{story.name}: {complaint}" for story, wrong in told for complaint in wrong]
    assert not bad, "\n" + "\n".join(bad)


def test_a_run_that_is_killed_at_a_named_point_goes_on_where_it_was(vespera):
    def live(story: Story) -> tuple[Story, list[str]]:
        kind, number = NAMED_POINTS[story.name]
        process = story.run(str(WATCHED_RUN), "die", kind, str(number))
        _, errors = process.communicate(timeout=SECONDS_MAX)
        if process.returncode != -signal.SIGKILL:
            return story, [f"it did not die but ended with {process.returncode}: {errors}"]
        return story, resumed(story)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        tell(list(pool.map(live, stories(vespera, NAMED_POINTS))))


def test_a_run_that_is_killed_at_a_random_moment_goes_on_where_it_was(vespera):
    chance = random.Random(SEED)
    made = stories(vespera, ["the measured one", *(f"moment {number}" for number in range(MOMENTS))])

    def begin(story: Story) -> subprocess.Popen[str]:
        """Start a run and wait until its tasks are there."""
        process = story.run("-m", "vespera_agents", "run", "plan.md")
        assert "planned" in process.stdout.readline(), process.stderr.read()
        return process

    began = time.monotonic()
    measured = begin(made[0])
    start_seconds, began = time.monotonic() - began, time.monotonic()
    assert measured.communicate(timeout=SECONDS_MAX)[1] == ""
    run_seconds = time.monotonic() - began

    def live(pair: tuple[Story, float]) -> tuple[Story, list[str]]:
        nonlocal run_seconds
        story, moment = pair
        begun = None
        if moment < 0:
            process = story.run("-m", "vespera_agents", "run", "plan.md")
            moment = start_seconds * (1 + moment)
        else:
            process, begun = begin(story), time.monotonic()
            moment *= run_seconds
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(moment)
            if begun is not None:
                # The machine may have been busier when the length was measured: whoever ends sooner tells the next.
                run_seconds = min(run_seconds, time.monotonic() - begun)
        process.kill()
        process.communicate()
        story.killed = process.returncode == -signal.SIGKILL
        return story, resumed(story)

    # From shortly before there is a session until shortly after the end, one in each twentieth part of that time.
    moments = [-0.25 + 1.3 * (number + chance.random()) / MOMENTS for number in range(MOMENTS)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        told = list(pool.map(live, zip(made[1:], moments, strict=True)))
    tell(told)
    # How many depends on how busy the machine is now and was when the length was measured.
    assert sum(story.killed for story, _ in told) >= MOMENTS // 4
