"""Several processes on one database: claims, migrations, and a writer that is killed."""

from __future__ import annotations

import itertools
import random
import signal
import sqlite3
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from vespera_agents.store.commands import OpenSession, PlanTasks
from vespera_agents.store.schema import MIGRATIONS
from vespera_agents.store.transaction import CommandKey
from vespera_agents.work.drafts import TaskDraft

OPEN = """
import sys
from pathlib import Path
import trio
from vespera_agents.store import queries
from vespera_agents.store.commands import ClaimTask, OpenSession, PlanTasks
from vespera_agents.store.store import Store
from vespera_agents.store.transaction import CommandKey
from vespera_agents.work.drafts import TaskDraft
from vespera_agents.work.errors import Refusal
directory, name = Path(sys.argv[1]), sys.argv[2]
store = Store(directory / "vespera.db", directory / "artifacts")
def barrier():
    print("ready", flush=True)
    sys.stdin.readline()
async def run():
    async with trio.open_nursery() as nursery:
        await nursery.start(store.run)
        await main()
        nursery.cancel_scope.cancel()
"""

CLAIM = f"""{OPEN}
async def main():
    session, = await store.read(queries.sessions)
    ready = [task.id for task in await store.read(queries.ready_tasks, session.id, 1000)]
    barrier()
    async def worker(ids):
        for task in ids:
            try:
                await store.execute(ClaimTask(name, task, name), CommandKey(name, task))
                print(task)
            except Refusal:
                pass
    ids = iter(ready)
    async with trio.open_nursery() as workers:
        for _ in range(10):
            workers.start_soon(worker, ids)
trio.run(run)
"""

MIGRATE = f"""{OPEN}
from vespera_agents.store.schema import migrate
from vespera_agents.store.writer import connect
from vespera_agents.store.transaction import Transaction
barrier()
for number in range(10):
    connection = connect(directory / str(number))
    migrate(connection)
    Transaction(connection, 1.0, lambda: "").event(name)
    connection.close()
"""

WRITE = f"""{OPEN}
async def main():
    opened = await store.execute(OpenSession(name, "/somewhere", "one"), CommandKey(name, "open"))
    async def writer(number):
        while True:
            number += 8
            title = f"{{name}} {{number}}"
            subtasks = (TaskDraft(key="a", title=title), TaskDraft(key="b", title=title))
            draft = TaskDraft(key="c", title=title, subtasks=subtasks)
            await store.execute(PlanTasks(name, opened["session_id"], (draft,)), CommandKey(name, title))
            print(title, flush=True)
    async with trio.open_nursery() as writers:
        for number in range(8):
            writers.start_soon(writer, number)
trio.run(run)
"""


def started(stack: ExitStack, script: str, directory: Path, name: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", script, str(directory), name]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    stack.enter_context(process)
    stack.callback(process.kill)
    return process


def at_once(script: str, directory: Path, *names: str) -> list[list[str]]:
    """Run the script in several processes that begin together; give what each printed after that."""
    with ExitStack() as stack:
        processes = [started(stack, script, directory, name) for name in names]
        assert [process.stdout.readline() for process in processes] == ["ready\n"] * len(names)
        for process in processes:
            process.stdin.write("go\n")
            process.stdin.flush()
        printed = [process.communicate(timeout=60)[0].split() for process in processes]
        assert [process.returncode for process in processes] == [0] * len(names)
        return printed


@pytest.mark.unmeasured
async def test_two_processes_that_claim_at_once_get_each_task_exactly_once(running, database, look) -> None:
    """Acceptance 6."""
    async with running() as store:
        opened = await store.execute(OpenSession("test", "/somewhere"), CommandKey("test", "open"))
        drafts = tuple(TaskDraft(key=f"t{number}", title="t") for number in range(200))
        planned = await store.execute(PlanTasks("test", opened["session_id"], drafts), CommandKey("test", "plan"))
    one, two = at_once(CLAIM, database.parent, "srv_one", "srv_two")
    assert sorted(one + two) == sorted(planned["ids"].values())
    claimed = look("SELECT id, claimed_by, attempts FROM task WHERE status = 'in_progress'")
    assert sorted(claimed) == sorted([(task, "srv_one", 1) for task in one] + [(task, "srv_two", 1) for task in two])
    assert look("SELECT count(*) FROM event WHERE what = 'status'") == [(200,)]


@pytest.mark.unmeasured
def test_processes_that_open_a_new_database_at_once_migrate_it_once(tmp_path: Path) -> None:
    assert at_once(MIGRATE, tmp_path, "one", "two", "three") == [[], [], []]
    for number in range(10):
        connection = sqlite3.connect(tmp_path / str(number))
        assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
        assert sorted(connection.execute("SELECT what FROM event")) == [("one",), ("three",), ("two",)]
        connection.close()


@pytest.mark.unmeasured
def test_a_writer_that_is_killed_leaves_whole_commands_and_all_that_it_had_answered(database: Path, look) -> None:
    answered: set[str] = set()
    for number in range(4):
        name = f"srv_{number}"
        with ExitStack() as stack:
            process = started(stack, WRITE, database.parent, name)
            # A different moment each time, from right after the first answers to the middle of many batches.
            lines = itertools.islice(process.stdout, random.randrange(1, 200))
            answered |= {line.strip() for line in lines}
            process.send_signal(signal.SIGKILL)
            answered |= {line.strip() for line in process.stdout if line.endswith("\n")}
            assert process.wait(10) == -signal.SIGKILL
        assert look("PRAGMA integrity_check") == [("ok",)]
        recorded = {key for (key,) in look("SELECT key FROM command WHERE key != 'open'")}
        assert answered <= recorded
        assert len(answered) > number
        assert dict(look("SELECT title, count(*) FROM task GROUP BY title")) == dict.fromkeys(recorded, 3)
        created = look("SELECT detail, count(*) FROM event WHERE what = 'created' GROUP BY detail")
        assert dict(created) == dict.fromkeys(recorded, 3)
        assert look("SELECT roots FROM session") == [(len(recorded),)]
