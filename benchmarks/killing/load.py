"""Mixed calls, several in flight, half of them long: what a client with many lanes does to one server, and books.

A round of a lane plans some tasks whose gate is a command that sleeps, claims each and hands its work in, gathers the
results of a large plan, changes a task at a version that it knows, and reads what it wrote. Handing in waits for the
gate, 60 to 300 ms; gathering goes over more than a thousand tasks. What was acknowledged must be seen by the next read
at once. Neighbours: `calls` makes the calls and `record` keeps the book; nothing here kills anybody.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast, final

import trio
from mcp import Client

from benchmarks.killing.calls import Calls
from benchmarks.killing.record import Record

__all__ = ["ALLOWED", "Load"]

ALLOWED: Final = '[commands]\nallow = ["sleep"]\n'
"""What the owner of the workspace must have trusted."""
TASKS: Final = 24
"""Tasks in the plan of one round: as many short claims and long hand-ins."""
GATHERINGS: Final = 5
"""How often a round gathers the large plan: long calls that make up for its short ones. Few, because they work and do
not wait: what a new worker computes for one client delays its answers to others."""
LARGE: Final = (450, 450, 450)
"""Tasks of the large plan, call by call."""
GATE_SECONDS: Final = (0.06, 0.3)


@final
@dataclass(slots=True)
class Load:
    """The work of one client's lanes on one session."""

    calls: Calls
    record: Record
    name: str
    """Begins every title, so that several loads can share a store."""
    calls_max: int
    """No call is begun after so many."""
    lanes: int = 3
    seed: int = 1
    begun: trio.Event = field(default_factory=trio.Event)
    """Set when there is something to be asked for: before that there is no session."""
    enough: trio.Event = field(default_factory=trio.Event)
    """Set it, and no call is begun any more."""
    misread: list[str] = field(default_factory=list[str])
    """Reads that did not show what had been acknowledged before them."""
    _session: str = ""
    _large: str = ""

    async def run(self, client: Client) -> None:
        """Make all calls, and return when the last one has its answer."""
        if not await self.prepare(client):
            return
        async with trio.open_nursery() as nursery:
            for lane in range(self.lanes):
                nursery.start_soon(self._lane, client, lane)

    async def prepare(self, client: Client) -> bool:
        """Open the session and plan the large plan; says whether that succeeded."""
        if not await self.open(client):
            return False
        for number, count in enumerate(LARGE):
            subtasks: list[dict[str, object]] = [{"title": f"{self.name} large {number}.{one}"} for one in range(count)]
            planned = await self.plan(client, f"{self.name} large {number}", subtasks, below=self._large)
            if planned is None:
                return False
            self._large = self._large or planned[0]
        self.begun.set()
        return True

    async def open(self, client: Client) -> bool:
        """Open the session; says whether that succeeded."""
        opened = await self.calls.call(client, "orchestrator_initialize_session", {"name": self.name})
        self._session = "" if opened is None else str(opened["id"])
        return opened is not None

    async def plan(
        self, client: Client, title: str, subtasks: Sequence[dict[str, object]], below: str = ""
    ) -> Sequence[str] | None:
        """Plan a task with others below it; gives all ids, the first one's first."""
        arguments: dict[str, object] = {"title": title, "subtasks": list(subtasks), "session": self._session}
        if below:
            arguments["parent_task_id"] = below
        answer = await self.calls.call(client, "orchestrator_plan_task", arguments)
        if answer is None:
            return None
        found = cast("list[dict[str, Any]]", answer["tasks"])
        self.record.planned.update({str(one["title"]): str(one["id"]) for one in found})
        return [str(one["id"]) for one in found]

    async def _lane(self, client: Client, lane: int) -> None:
        chance = random.Random(f"{self.seed}-{lane}")
        number = 0
        while not self._over:
            number += 1
            await self._round(client, f"{self.name} {lane}.{number}", chance)

    async def _round(self, client: Client, title: str, chance: random.Random) -> None:
        subtasks: list[dict[str, object]] = [
            {"title": f"{title}.{index}", "gates": [f"sleep {chance.uniform(*GATE_SECONDS):.3f}"]}
            for index in range(TASKS)
        ]
        planned = await self.plan(client, title, subtasks)
        if planned is None:
            return
        parent, *tasks = planned
        gatherings = chance.sample(range(TASKS), GATHERINGS)
        changed = chance.randrange(TASKS)
        done = 0
        for index, task in enumerate(tasks):
            if self._over:
                return
            await self._work(client, task, change=index == changed)
            done += 1
            if index in gatherings and not self._over:
                await self._gather(client)
        if not self._over:
            await self._look(client, parent, tasks[:done])

    async def _work(self, client: Client, task: str, *, change: bool) -> None:
        claim = {"task_id": task, "session": self._session}
        if await self.calls.call(client, "orchestrator_execute_task", claim) is None:
            return
        self.record.claimed.add(task)
        if change and not self._over:
            # A claim makes version 2 of a new task: applied twice, this would be refused.
            update = {**claim, "description": f"changed once: {task}", "expected_version": 2}
            if await self.calls.call(client, "orchestrator_update_task", update) is not None:
                self.record.updated[task] += 1
        if self._over:
            return
        work = {
            **claim,
            "summary": "done",
            "detailed_work": f"The work on {task}. " + "It took some words to say. " * 40,
            "next_action": "complete",
        }
        answer = await self.calls.call(client, "orchestrator_complete_task", work)
        if answer is None:
            return
        if answer["outcome"] == "completed":
            self.record.completed.add(task)
        else:
            self.record.uncertain.add(task)
            self.misread.append(f"{task} was handed in and is {answer['outcome']}")

    async def _gather(self, client: Client) -> None:
        arguments = {"parent_task_id": self._large, "session": self._session}
        if await self.calls.call(client, "orchestrator_synthesize_results", arguments) is not None:
            self.record.gathered[self._large] += 1

    async def _look(self, client: Client, parent: str, tasks: Sequence[str]) -> None:
        arguments = {"parent_task_id": parent, "session": self._session, "limit": 200}
        answer = await self.calls.call(client, "orchestrator_query_tasks", arguments)
        if answer is None:
            return
        shown = {str(one["id"]): str(one["status"]) for one in cast("list[dict[str, Any]]", answer["tasks"])}
        expected = {one: "completed" for one in tasks if one in self.record.completed}
        for task, status in expected.items():
            if shown.get(task) != status:
                self.misread.append(f"{task} was acknowledged as {status} and is {shown.get(task)}")

    @property
    def _over(self) -> bool:
        return self.enough.is_set() or self.calls.begun >= self.calls_max
