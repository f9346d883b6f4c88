"""A task carried out whole by Claude Code, as a client of the server sees it: gates, revision, budget, a killed worker.

The program is the one that behaves like it; the lines `fake:` of a task's description are what it does.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import trio
from mcp import Client

from tests.serving.kit import ROOT, Place, connected, in_memory, new_place, succeed
from tests.serving.test_sampling_agent import kill_worker
from vespera_agents.providers.claude_code import fake

EXECUTE = "orchestrator_execute_task"


@pytest.fixture
def place():
    with new_place() as made:
        program = made.root / "claude"
        program.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m {fake.__name__} "$@"\n')
        program.chmod(0o755)
        made.workspace.dot.mkdir()
        roles = made.workspace.dot / "roles"
        roles.mkdir()
        tools = "tools: [read_file, write_file, run_command]"
        (roles / "builder.yaml").write_text(
            f"builder:\n  role_definition: You build.\n  model: claude-code\n  {tools}\n"
        )
        made.trust(
            '[commands]\nallow = ["test -e", "git diff"]\n'
            f'[providers.claude-code]\nkind = "claude-code"\nprogram = "{program}"\nspend_usd_per_task = 1.0\n'
        )
        yield made


async def worked_on(place: Place, client: Client, *lines: str, gates: tuple[str, ...] = ()) -> str:
    """Have a task worked on until the work has ended; gives what became of it."""
    await begun(place, client, *lines, gates=gates)
    return await ended(place)


async def begun(place: Place, client: Client, *lines: str, gates: tuple[str, ...] = ()) -> None:
    await succeed(client, "orchestrator_initialize_session", working_directory=str(place.project))
    description = "\n".join(["Build it.", *(f"fake: {line}" for line in lines)])
    answer = await succeed(
        client,
        "orchestrator_plan_task",
        title="Build",
        description=description,
        specialist="builder",
        gates=list(gates),
    )
    await succeed(client, EXECUTE, task_id=answer["tasks"][0]["id"], mode="agent")


async def ended(place: Place) -> str:
    with trio.fail_after(40):
        while (status := place.status("Build")) in {"pending", "in_progress"} or live(place):  # noqa: ASYNC110 - rows
            await trio.sleep(0.02)
    return status


def live(place: Place) -> bool:
    return bool(place.rows("SELECT 1 FROM job WHERE status IN ('working', 'input_required')"))


def runs(place: Place) -> list[dict[str, Any]]:
    """Give what the steps kept of each run."""
    rows = place.rows("SELECT result FROM step WHERE provider='claude-code' ORDER BY number")
    return [json.loads(row[0])["run"] for row in rows]


async def test_a_whole_task_is_done_in_its_own_copy_gated_and_accounted_for(place):
    async with in_memory(place) as (client, _):
        lines = ("write made.txt hello", "use Bash rm -rf .", "say It is built.")
        assert await worked_on(place, client, *lines, gates=("test -e made.txt",)) == "completed"
        assert place.rows("SELECT summary FROM task WHERE title='Build'") == [("It is built.",)]
        (run,) = runs(place)
        assert (run["denied"], run["turns"], run["ended"]) == (["Bash rm -rf ."], 3, "done")
        assert place.rows("SELECT model, cost_micro_usd FROM step WHERE provider IS NOT NULL") == [
            ("fake-model", 30_000)
        ]
        assert not (place.project / "made.txt").exists(), "the user's own files are nobody's working copy"
        artifacts = place.rows("SELECT name FROM artifact")
        assert any(name.endswith(".patch") for (name,) in artifacts)


async def test_what_the_gates_refuse_is_told_to_the_same_run(place):
    async with in_memory(place) as (client, _):
        # The first time it does nothing; told again, it goes on, for it finds its own note of the first time.
        assert await worked_on(place, client, "say Nothing.", gates=("test -e made.txt",)) == "failed"
        told = runs(place)
        assert len(told) > 1
        assert {run["run_id"] for run in told} == {told[0]["run_id"]}
        assert [run["resumed"] for run in told] == [False] + [True] * (len(told) - 1)


async def test_a_task_that_would_cost_too_much_waits_for_its_owner(place):
    async with in_memory(place) as (client, _):
        assert await worked_on(place, client, "cost 5", "say more", "say done") == "blocked"
        (reason,) = place.rows("SELECT status_reason FROM task WHERE title='Build'")[0]
        assert "spend_usd_per_task" in reason


SLOW_ONCE = f"""#!{sys.executable}
import sys
sys.path.insert(0, {str(ROOT)!r})
from {fake.__package__} import fake
if "--resume" in sys.argv:
    fake._Fake._wait = lambda *_: None
sys.exit(fake.main())
"""
"""The program, which takes long only where it is not gone on with: it is under way until somebody kills it."""


async def test_a_run_whose_worker_is_killed_is_gone_on_with_by_the_next(place):
    (place.root / "claude").write_text(SLOW_ONCE)
    async with connected(place) as client:
        await begun(place, client, "say Begun.", "slow 300", "say It is built.")
        home = place.workspace.dot / "claude-code"
        with trio.fail_after(30):
            while not list(home.rglob("*.jsonl")):  # noqa: ASYNC110 - a program tells nobody that it has begun
                await trio.sleep(0.02)
        pids = programs(place)
        kill_worker(place)
        await succeed(client, "orchestrator_get_status")
        assert await ended(place) == "completed"
        assert pids
        assert not set(pids) & set(programs(place))
        (run,) = runs(place)
        assert run["resumed"]
        assert place.rows("SELECT repeats FROM step WHERE provider='claude-code'") == [(1,)]


def programs(place: Place) -> list[int]:
    """List the processes that work on tasks of a place."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                environ = (entry / "environ").read_bytes()
            except OSError:
                continue
            if f"CLAUDE_CONFIG_DIR={place.project}".encode() in environ and int(entry.name) != os.getpid():
                found.append(int(entry.name))
    return found
