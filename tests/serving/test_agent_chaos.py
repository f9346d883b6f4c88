"""Twelve tasks in agent mode, while provider, specialists, store and worker process fall at random.

A real `vespera serve` behind its front, the SDK's client, and the scripted provider from a file, which writes a line
for each answer that was paid before it is given. What is counted there is compared with the steps that are recorded.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from collections import Counter
from pathlib import Path

import pytest
import trio
from mcp import Client, StdioServerParameters
from mcp_types import CallToolResult, Implementation

from tests.serving.falling_worker import DATABASE_VARIABLE, FOLDER_VARIABLE
from tests.serving.kit import Place, new_place
from tests.unmeasured import pausing_coverage

TASKS = 12
CONCURRENCY = 4
DEPENDS = {3: (1,), 4: (1, 2), 6: (3, 5), 8: (7,), 9: (4, 6), 11: (8,), 12: (9, 10)}
FALLS = ("worker", "worker", "unrecorded", "specialist", "specialist", "store")
"""Each falls so often; VESPERA_FALLS_TIMES multiplies that."""
ROUNDS = int(os.environ.get("VESPERA_ROUNDS", "1"))
"""How often all of it happens: `make agents` wants it often."""
SPEND_USD = 1.0
SECONDS_MAX = 300.0
"""What hangs takes longer; it takes ten seconds where it has a processor to itself."""
EXECUTE = "orchestrator_execute_task"
CONFIG = """\
[commands]
allow = ["test -e"]
[providers]
environment = false
retry_min_seconds = 0.01
retry_max_seconds = 0.05
breaker_failures_max = 1000
spend_usd_per_session = {spend}
[providers.scripted]
kind = "scripted"
script = "{script}"
paid = "{paid}"
"""
ROLE = """\
maker:
  role_definition: You make files.
  tools: [read_file, write_file]
  revisions_max: 2
"""


def plan() -> str:
    """Write the plan: each task makes a file, which its gate looks for."""
    parts = ["---\nid: CHAOS\n---\n# Chaos\n## Phase 1: All\n"]
    for number in range(1, TASKS + 1):
        depends = ", ".join(f"t{one}" for one in DEPENDS.get(number, ()))
        parts.append(
            f"### t{number}\n```yaml\nspecialist: maker\ndepends: [{depends}]\ngates: ['test -e t{number}.txt']\n```\n"
        )
    return "\n".join(parts)


def script(seed: int) -> str:
    """Write what the model answers: it makes the file, reads it, and hands in; some hand in too early first."""
    rules: list[dict[str, object]] = [{"chance": 0.1, "fails": {"kind": "unavailable"}}]
    for number in range(1, TASKS + 1):
        mine, path = f"## Your task\n\nt{number} (task", f"t{number}.txt"
        hand_in = {"name": "hand_in", "arguments": {"summary": f"made t{number}", "next_action": "complete"}}
        write = {"name": "write_file", "arguments": {"path": path, "text": f"canary {number}\n"}}
        read = {"name": "read_file", "arguments": {"path": path}}
        # "written", or "replaced" where it was written before its process died, and nobody had noted that.
        written = f"{path}: "
        slow = {"seconds": 0.1}
        if number % 4 == 0:
            rules.append({"contains": [mine], "lacks": [written, "was refused"], "calls": [hand_in], **slow})
        rules += [
            {"contains": [mine], "lacks": [written], "calls": [write], **slow},
            {
                "contains": [mine, written],
                "lacks": [f"canary {number}\n\n## Step"],
                "calls": [read],
                "times_max": 1,
                **slow,
            },
            {"contains": [mine, written], "calls": [hand_in], **slow},
        ]
    return json.dumps({"rules": rules, "price": {"input_usd": 1.0, "output_usd": 2.0}, "seed": seed})


class Chaos:
    """One place with a server that falls."""

    def __init__(self, place: Place, seed: int) -> None:
        self.place = place
        self.paid = place.root / "paid.jsonl"
        self.falls = place.root / "falls"
        self.dice = random.Random(seed)
        self.happened: Counter[str] = Counter()
        self.falls.mkdir()
        (place.root / "script.json").write_text(script(seed))
        (place.project / "plan.md").write_text(plan())
        roles = place.project / ".vespera" / "roles"
        roles.mkdir(parents=True)
        (roles / "maker.yaml").write_text(ROLE)
        place.trust(CONFIG.format(spend=SPEND_USD, script=place.root / "script.json", paid=self.paid))

    def client(self) -> Client:
        words = self.place.command[6:]
        told = {FOLDER_VARIABLE: str(self.falls), DATABASE_VARIABLE: str(self.place.workspace.database)}
        parameters = StdioServerParameters(
            command=sys.executable,
            args=["-m", "tests.serving.falling_front", *words],
            env={**self.place.environment, **told},
            cwd=self.place.root,
        )
        return Client(parameters, client_info=Implementation(name="chaos", version="1"))

    def statuses(self) -> Counter[str]:
        return Counter(row[0] for row in self.place.rows("SELECT status FROM task WHERE children=0"))

    @property
    def over(self) -> bool:
        return self.statuses()["completed"] == TASKS

    async def fall_at_random(self) -> None:
        """Let one thing after the other fall, while there is work."""
        begun = "SELECT 1 FROM step LIMIT 1"
        while not self.place.workspace.database.exists() or not self.place.rows(begun):  # noqa: ASYNC110 - another process
            await trio.sleep(0.05)
        order = list(FALLS) * int(os.environ.get("VESPERA_FALLS_TIMES", "1"))
        self.dice.shuffle(order)
        for what in order:
            await trio.sleep(self.dice.uniform(0.1, 0.5))
            if self.over:
                return
            if self._killed() if what == "worker" else await self._fell(what):
                self.happened[what] += 1

    def _killed(self) -> bool:
        """Kill the worker that works now, as far as it has said who it is."""
        (row,) = self.place.rows("SELECT pid FROM generation ORDER BY seq DESC LIMIT 1")
        try:
            os.kill(row[0], signal.SIGKILL)
        except ProcessLookupError:
            return False
        return True

    async def _fell(self, what: str) -> bool:
        (self.falls / what).touch()
        with trio.move_on_after(3.0):
            while (self.falls / what).exists():  # noqa: ASYNC110 - another process takes it away
                await trio.sleep(0.01)
            return True
        (self.falls / what).unlink(missing_ok=True)
        return False


async def keep_working(client: Client, chaos: Chaos) -> None:
    """Ask for the work, and again where its job was given up because its process died too often."""
    await call(client, "orchestrator_initialize_session", working_directory=str(chaos.place.project))
    planned = await call(client, "orchestrator_plan_task", plan_path="plan.md")
    assert planned.structured_content is not None
    root = planned.structured_content["tasks"][0]["id"]
    while not chaos.over:
        jobs = chaos.place.rows("SELECT status FROM job ORDER BY seq DESC LIMIT 1")
        if not jobs or jobs[0][0] not in {"working", "input_required"}:
            await call(client, EXECUTE, task_id=root, mode="agent")
        await call(client, "orchestrator_get_status")
        await trio.sleep(0.1)


async def call(client: Client, tool: str, **arguments: object) -> CallToolResult:
    """Call a tool; what it refuses is looked at by whoever called."""
    return await client.call_tool(tool, arguments)


@pytest.mark.unmeasured
@pytest.mark.parametrize("round_", range(ROUNDS))
async def test_twelve_tasks_come_through_whatever_falls_and_nothing_recorded_is_paid_for_again(capsys, round_):
    assert round_ < ROUNDS
    seed = int(os.environ.get("VESPERA_SEED") or random.randrange(2**32))
    with new_place(spare=True) as place, pausing_coverage():
        chaos = Chaos(place, seed)
        with trio.fail_after(SECONDS_MAX):
            async with chaos.client() as client, trio.open_nursery() as nursery:
                nursery.start_soon(chaos.fall_at_random)
                await keep_working(client, chaos)
                told = await call(client, "orchestrator_get_status")
                nursery.cancel_scope.cancel()
        judge(chaos, told, seed, capsys)


def judge(chaos: Chaos, told: CallToolResult, seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Compare what was paid with what is recorded."""
    place = chaos.place
    recorded = {
        f"{task}/{attempt}/{number}": repeats
        for task, attempt, number, repeats in place.rows(
            "SELECT task_id, attempt, number, repeats FROM step WHERE provider IS NOT NULL"
        )
    }
    paid = Counter(json.loads(line)["purpose"] for line in chaos.paid.read_text().splitlines())
    unrecorded = paid.total() - len(recorded)
    falls = chaos.happened.total()
    with capsys.disabled():
        sys.stdout.write(
            f"\nseed {seed}: {dict(chaos.happened)} fell; {len(recorded)} answers recorded, {paid.total()} paid, "
            f"{unrecorded} of them not recorded, {sum(recorded.values())} requests made again\n"
        )
    assert chaos.happened["worker"] + chaos.happened["unrecorded"] >= 1
    assert unrecorded >= chaos.happened["unrecorded"]
    assert recorded.keys() <= paid.keys(), "whatever is recorded was paid"
    again = {purpose: times for purpose, times in paid.items() if times > 1 + recorded.get(purpose, 0)}
    assert again == {}, "no recorded step is paid for again"
    assert unrecorded <= sum(recorded.values()), "each is counted"
    assert unrecorded <= falls * CONCURRENCY, "at most one for each fall and specialist at work"
    per_task = Counter(purpose.split("/")[0] for purpose in paid.elements())
    per_task.subtract(purpose.split("/")[0] for purpose in recorded)
    assert max(per_task.values()) <= falls
    judge_work(place, chaos, told, recorded)


def judge_work(place: Place, chaos: Chaos, told: CallToolResult, recorded: dict[str, int]) -> None:
    """Look at what came of the tasks."""
    assert chaos.statuses() == {"completed": TASKS}
    refused = place.rows(
        "SELECT count(*) FROM step WHERE kind='gates' AND json_extract(result, '$.failure') IS NOT NULL"
    )
    assert refused[0][0] == TASKS // 4
    last = place.rows(
        "SELECT json_extract(result, '$.failure') FROM step AS one WHERE kind='gates' AND number ="
        " (SELECT max(number) FROM step WHERE kind='gates' AND task_id = one.task_id AND attempt = one.attempt)"
    )
    assert last == [(None,)] * TASKS, "each task completed through its gates"
    patches = place.rows("SELECT sha256 FROM artifact WHERE name LIKE '%.patch'")
    assert len(patches) == TASKS
    made = {
        line for (sha256,) in patches for line in artifact(place, sha256).splitlines() if line.startswith("+canary")
    }
    assert made == {f"+canary {number}" for number in range(1, TASKS + 1)}
    ((spent, set_aside),) = place.rows(
        "SELECT (SELECT coalesce(sum(micro_usd + doubtful_micro_usd), 0) FROM spending),"
        " (SELECT coalesce(sum(micro_usd), 0) FROM reservation)"
    )
    assert spent + set_aside <= SPEND_USD * 1_000_000
    assert told.structured_content is not None
    (line,) = told.structured_content["models"]
    assert line.startswith(f"scripted/scripted-1: {len(recorded)} calls, {sum(recorded.values())} repeated, ")


def artifact(place: Place, sha256: str) -> str:
    return (Path(place.workspace.artifacts) / sha256[:2] / sha256).read_text()
