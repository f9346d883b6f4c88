"""A soak: do many workflows come through while their server is killed every few seconds, and does nothing grow?

Ten workflows of twenty tasks each, over and over, over one connection: each task waits for the one before it, is
claimed, worked on for two seconds by the client, and handed in; every fourth has a gate. The worker behind the front is
killed every two to five seconds. What the orchestrator costs a task is what the client spent waiting for answers, the
gate's own time left out. Flat is what is no larger in the last third of the run than in the first, each its median.

`python -m benchmarks soak --minutes 30` is `make soak`; without a length it runs for one minute.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast, final

import trio
from mcp import Client

from benchmarks.harness import Options, Row, row_of
from benchmarks.killing.calls import Calls
from benchmarks.killing.killer import Killer, Watch, roles_of
from benchmarks.killing.places import Place, gone, new_place, talking
from benchmarks.killing.processes import Family
from benchmarks.killing.record import Record

WORKFLOWS: Final = 10
TASKS: Final = 20
WORK_SECONDS: Final = (1.5, 2.5)
"""How long a client works on a task."""
GATE_EVERY: Final = 4
GATE_SECONDS: Final = 0.1
KILL_SECONDS: Final = (2.0, 5.0)
"""Between two kills."""
IN_TIME_SECONDS: Final = 2.0
"""An answer is in time until here, kills and gates included."""
LOOK_SECONDS: Final = 2.0
PROCESSES_MAX: Final = 10
"""Processes of ours at one time: front, forker, worker, spare, one on its way, and their guardians."""


@final
@dataclass(slots=True)
class Figures:
    """What is looked at every two seconds."""

    at: list[float] = field(default_factory=list[float])
    front_bytes: list[float] = field(default_factory=list[float])
    front_files: list[float] = field(default_factory=list[float])
    front_threads: list[float] = field(default_factory=list[float])
    worker_bytes: list[float] = field(default_factory=list[float])
    worker_files: list[float] = field(default_factory=list[float])
    worker_threads: list[float] = field(default_factory=list[float])

    def look(self, family: Family) -> None:
        """Look at the front and at the worker of the moment; not while one of them is missing."""
        roles = roles_of(family)
        front, worker = roles.front, roles.worker
        if front is None or worker is None:
            return
        values = [
            *(front.resident_bytes(), front.descriptors(), front.threads),
            *(worker.resident_bytes(), worker.descriptors(), worker.threads),
        ]
        if not all(values):
            return
        self.at.append(time.perf_counter())
        for series, value in zip(self.series().values(), values, strict=True):
            series.append(value)

    def series(self) -> dict[str, list[float]]:
        """Give what was seen, by its name."""
        return {
            "memory of the front": self.front_bytes,
            "open files of the front": self.front_files,
            "threads of the front": self.front_threads,
            "memory of the workers": self.worker_bytes,
            "open files of the workers": self.worker_files,
            "threads of the workers": self.worker_threads,
        }


@final
@dataclass(slots=True)
class Workflows:
    """The client's work."""

    calls: Calls
    record: Record
    rounds: int
    """How often each workflow is gone through."""
    pace: float
    """By how much longer or shorter the work on a task takes, so that these rounds fill the time."""
    planned: int = 0
    completed: int = 0
    waited_seconds: float = 0.0
    """For answers, gates left out."""
    task_seconds: float = 0.0
    """From a claim's beginning to the end of its hand-in."""
    call_seconds: list[float] = field(default_factory=list[float])

    async def run(self, client: Client) -> None:
        """Run all workflows side by side until it is time."""
        async with trio.open_nursery() as nursery:
            for number in range(WORKFLOWS):
                nursery.start_soon(self._repeat, client, number)

    async def _repeat(self, client: Client, number: int) -> None:
        chance = random.Random(number)
        opened = await self._timed(client, "orchestrator_initialize_session", {"name": f"workflow {number}"})
        if opened is None:
            return
        for one in range(self.rounds):
            await self._round(client, str(opened["id"]), f"{number}.{one + 1}", chance)

    async def _round(self, client: Client, session: str, name: str, chance: random.Random) -> None:
        subtasks = [
            {
                "title": f"{name}.{index}",
                "key": f"t{index}",
                "dependencies": [f"t{index - 1}"] if index else [],
                "gates": [f"sleep {GATE_SECONDS}"] if index % GATE_EVERY == 0 else [],
            }
            for index in range(TASKS)
        ]
        answer = await self._timed(
            client, "orchestrator_plan_task", {"title": name, "subtasks": subtasks, "session": session}
        )
        if answer is None:
            return
        found = cast("list[dict[str, Any]]", answer["tasks"])
        self.record.planned.update({str(one["title"]): str(one["id"]) for one in found})
        self.planned += TASKS
        for index, one in enumerate(found[1:]):
            if not await self._task(client, session, str(one["id"]), chance, gated=index % GATE_EVERY == 0):
                return

    async def _task(self, client: Client, session: str, task: str, chance: random.Random, *, gated: bool) -> bool:
        began = time.perf_counter()
        about = {"task_id": task, "session": session}
        if await self._timed(client, "orchestrator_execute_task", about) is None:
            return False
        self.record.claimed.add(task)
        await trio.sleep(self.pace * chance.uniform(*WORK_SECONDS))
        work = {**about, "summary": "done", "detailed_work": f"The work on {task}.", "next_action": "complete"}
        answer = await self._timed(client, "orchestrator_complete_task", work)
        if answer is None or answer["outcome"] != "completed":
            return False
        if gated:
            self.waited_seconds -= GATE_SECONDS
        self.task_seconds += time.perf_counter() - began
        self.completed += 1
        (self.record.completed if gated else self.record.finished).add(task)
        return True

    async def _timed(self, client: Client, tool: str, arguments: Mapping[str, object]) -> dict[str, Any] | None:
        began = time.perf_counter()
        answer = await self.calls.call(client, tool, arguments)
        seconds = time.perf_counter() - began
        self.call_seconds.append(seconds)
        if tool in {"orchestrator_execute_task", "orchestrator_complete_task"}:
            self.waited_seconds += seconds
        return answer


async def run(options: Options) -> list[Row]:
    """Soak for as long as wished, and judge the store afterwards."""
    with new_place() as place:
        return await soaked(place, 60 * options.minutes)


async def soaked(place: Place, seconds: float) -> list[Row]:
    """Run workflows and kill workers for about so long."""
    calls, record, figures = Calls(), Record(), Figures()
    family = place.family()
    watch = Watch(family)
    round_seconds = TASKS * statistics.mean(WORK_SECONDS)
    rounds = max(1, round(seconds / round_seconds))
    work = Workflows(calls, record, rounds, pace=seconds / (rounds * round_seconds))
    async with talking(place, "auto") as client, trio.open_nursery() as nursery:
        nursery.start_soon(watch.run)
        nursery.start_soon(_look, family, figures)
        nursery.start_soon(_kill, Killer(family, calls, client))
        await work.run(client)
        nursery.cancel_scope.cancel()
    left = await gone(family)
    verdict = record.judge(place.database)
    problems = [*calls.failures, *left, *(() if verdict.sound else (str(verdict),))]
    if problems:
        raise RuntimeError(f"{len(problems)} problems, the first of them: {'; '.join(problems[:3])}")
    return rows_of(calls, work, watch, figures)


async def _look(family: Family, figures: Figures) -> None:
    while True:
        await trio.sleep(LOOK_SECONDS)
        figures.look(family)


async def _kill(killer: Killer) -> None:
    chance = random.Random(7)
    while True:
        await trio.sleep(chance.uniform(*KILL_SECONDS))
        await killer.kill()


def rows_of(calls: Calls, work: Workflows, watch: Watch, figures: Figures) -> list[Row]:
    """Put what was measured beside what older plans asked for."""
    in_time = sum(one <= IN_TIME_SECONDS for one in work.call_seconds)
    recovered = [kill for kill in calls.kills if kill.answered is not None]
    # The last kill may be followed by nothing that anybody asked.
    kills = len(calls.kills) - (bool(calls.kills) and calls.kills[-1].answered is None)
    asked = "what older plans asked for"
    rows = [
        _percent("tasks completed of those planned", work.completed / work.planned, asked, 99.9),
        _percent(f"calls answered within {IN_TIME_SECONDS:g} s", in_time / len(work.call_seconds), asked, 99.5),
        _percent(f"{kills} deaths after which an answer came", len(recovered) / max(kills, 1), asked, 100.0),
        row_of(
            "what the orchestrator takes of a task's time",
            unit="%",
            ours=[100 * work.waited_seconds / work.task_seconds],
            reference=asked,
            references=[2.0],
            goal=1.0,
            goal_is="at most",
        ),
        row_of(
            "processes of ours at one time",
            unit="processes",
            ours=[watch.python_max],
            reference="the ceiling",
            references=[PROCESSES_MAX],
            goal=1.0,
            goal_is="at most",
            clock="none",
        ),
    ]
    if gaps := calls.gaps():
        rows.append(
            row_of(
                "from a kill to the next answer",
                unit="ms",
                ours=[1000 * gap for gap in gaps],
                reference="the longest",
                references=[1000 * max(gaps)] * len(gaps),
                goal=None,
            )
        )
    return rows + [_flat(name, series, figures.at) for name, series in figures.series().items() if len(series) >= 3]


def _percent(name: str, share: float, reference: str, wanted: float) -> Row:
    return row_of(name, unit="%", ours=[100 * share], reference=reference, references=[wanted], goal=1.0, clock="none")


def _flat(name: str, series: Sequence[float], at: Sequence[float]) -> Row:
    """Compare the last third of a run with its first, and name the slope."""
    third = len(series) // 3
    memory = name.startswith("memory")
    scale: Callable[[float], float] = (lambda value: value / 2**20) if memory else float
    slope = statistics.linear_regression(at, series).slope * 60
    return row_of(
        f"{name} at the end ({scale(slope):+.3f} a minute)",
        unit="MiB" if memory else name.split(maxsplit=1)[0] if not name.startswith("open") else "files",
        ours=[scale(statistics.median(series[-third:]))],
        reference="at the beginning",
        references=[scale(statistics.median(series[:third]))],
        goal=1.1,
        goal_is="at most",
        clock="none",
    )
