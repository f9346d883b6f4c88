"""How far a session is: phases, what is at work, what waits for what, and how long the rest may take. Pure.

Rows in, facts out; the clock is an argument. How long the rest takes is guessed from past tasks of the same roles, and
where there are none it is said that nobody knows. Neighbours: `monitor` reads the rows and shows the facts.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import quantiles
from typing import Final, final

from vespera_agents.specialists.standing import blocked_tasks, counts_of, edges_of
from vespera_agents.work.machine import LIVE, TERMINAL
from vespera_agents.work.models import Dependency, Session, SessionStatus, Task, TaskStatus

__all__ = ["Estimate", "Phase", "Progress", "Waiting", "progress_of"]

RANGE_TASKS_MIN: Final = 4
"""With fewer past tasks of a role than this the spread of their durations says nothing."""
_QUARTERS: Final = (0, 1, 2)
_AT_WORK: Final = frozenset({TaskStatus.IN_PROGRESS, TaskStatus.REVIEW})


@final
@dataclass(frozen=True, slots=True)
class Phase:
    """A container, or what lies in none."""

    title: str
    total: int
    """Its tasks that are no containers themselves."""
    ended: int
    at_work: int
    failed: int
    waived: int


@final
@dataclass(frozen=True, slots=True)
class Waiting:
    """A task that cannot begin yet, or never will by itself."""

    task: Task
    on: tuple[str, ...]
    """What it waits for: titles, or who is to blame."""
    stuck: bool
    """Whether that will not come by itself."""


@final
@dataclass(frozen=True, slots=True)
class Estimate:
    """How long the rest may take."""

    seconds: tuple[float, float, float] | None
    """If all goes as fast as the fastest quarter of the past, as usual, as slowly as the slowest; None: unknown."""
    past_tasks: int
    """From how many past tasks this is known."""
    is_range: bool
    """Whether there were enough of them to tell fast from slow."""
    unknown_roles: tuple[str, ...]
    """Roles of which nothing was done before."""
    overdue: tuple[str, ...]
    """Titles of tasks that take longer than any past one did."""


@final
@dataclass(frozen=True, slots=True)
class Progress:
    """A session at one moment."""

    session: Session
    counts: Mapping[str, int]
    """Tasks that are no containers by status."""
    total: int
    ended: int
    leaves: tuple[Task, ...]
    """All tasks that are no containers, in the order of the plan."""
    phases: tuple[Phase, ...]
    at_work: tuple[Task, ...]
    """The one that began first first."""
    ready: tuple[Task, ...]
    """What could begin now."""
    waiting: tuple[Waiting, ...]
    estimate: Estimate
    at: float
    """Seconds of the epoch."""

    @property
    def finished(self) -> bool:
        """Whether nothing more happens by itself: the session is closed, or all that is left is held up for good."""
        if self.session.status is SessionStatus.CLOSED:
            return True
        stuck = sum(waiting.stuck for waiting in self.waiting)
        return self.total > 0 and self.ended + stuck == self.total

    @property
    def well(self) -> bool:
        """Whether nothing has failed, and nothing is held up for good."""
        return not self.counts.get("failed") and not any(waiting.stuck for waiting in self.waiting)


def progress_of(
    session: Session,
    tasks: Sequence[Task],
    dependencies: Sequence[Dependency],
    past: Mapping[str, Sequence[float]],
    now: float,
) -> Progress:
    """Say how far a session is.

    Args:
        session: which.
        tasks: all of it, containers before what is in them.
        dependencies: theirs.
        past: seconds that completed tasks took, by role.
        now: seconds of the epoch.
    """
    tasks = [task for task in tasks if task.status is not TaskStatus.ARCHIVED]
    leaves = [task for task in tasks if not task.is_container]
    edges = edges_of(tasks, dependencies)
    blame = {blocked.id: tuple(blocked.blocked_by) for blocked in blocked_tasks(tasks, dependencies)}
    by_id = {task.id: task for task in tasks}
    waiting: list[Waiting] = []
    for task in leaves:
        if task.id in blame:
            waiting.append(Waiting(task, blame[task.id], stuck=True))
        elif task.status is TaskStatus.PENDING and task.open_dependencies:
            on = dict.fromkeys(by_id[one].title for one in edges[task.id] if one in by_id)
            waiting.append(Waiting(task, tuple(on), stuck=False))
    left = [task for task in leaves if task.status in LIVE and task.id not in blame]
    return Progress(
        session=session,
        counts=counts_of(leaves),
        total=len(leaves),
        ended=sum(task.status in TERMINAL for task in leaves),
        leaves=tuple(leaves),
        phases=_phases(tasks),
        at_work=tuple(sorted((task for task in leaves if task.status in _AT_WORK), key=lambda task: task.started or 0)),
        ready=tuple(task for task in leaves if task.ready),
        waiting=tuple(waiting),
        estimate=_estimate(tasks, left, edges, past, now),
        at=now,
    )


def _phases(tasks: Sequence[Task]) -> tuple[Phase, ...]:
    """Count by the containers that hold tasks directly, in the order of the plan."""
    members: dict[str | None, list[Task]] = {}
    for task in tasks:
        if not task.is_container:
            members.setdefault(task.parent_id, []).append(task)
    titles: dict[str | None, str] = {None: "Tasks"}
    titles.update({task.id: task.title for task in tasks if task.is_container})
    return tuple(
        Phase(
            title=titles[place],
            total=len(members[place]),
            ended=sum(task.status in TERMINAL for task in members[place]),
            at_work=sum(task.status in _AT_WORK for task in members[place]),
            failed=sum(task.status is TaskStatus.FAILED for task in members[place]),
            waived=sum(task.waived for task in members[place]),
        )
        for place in titles
        if place in members
    )


# ---- how long the rest takes


def _estimate(
    tasks: Sequence[Task],
    left: Sequence[Task],
    edges: Mapping[str, Sequence[str]],
    past: Mapping[str, Sequence[float]],
    now: float,
) -> Estimate:
    guesses: dict[str, tuple[float, float, float]] = {}
    overdue: list[str] = []
    unknown: dict[str, None] = {}
    for task in left:
        known = past.get(task.specialist, ())
        begun = task.started if task.status in _AT_WORK else None
        worked = 0.0 if begun is None else max(0.0, now - begun)
        # Of a task that has worked for a while, those that were done sooner say nothing.
        longer = [seconds - worked for seconds in known if seconds > worked]
        if longer:
            guesses[task.id] = _spread(longer)
        elif known:
            overdue.append(task.title)
        else:
            unknown[task.specialist] = None
    roles = {task.specialist for task in left}
    known_roles = [role for role in roles if past.get(role)]
    seconds: tuple[float, float, float] | None = None
    if len(guesses) == len(left):
        width = max(1, _most_at_once(tasks, now))
        fast, usual, slow = (
            _makespan(tasks, left, edges, {one: guess[quarter] for one, guess in guesses.items()}, width)
            for quarter in _QUARTERS
        )
        seconds = fast, usual, slow
    return Estimate(
        seconds=seconds,
        past_tasks=sum(len(past[role]) for role in known_roles),
        is_range=all(len(past[role]) >= RANGE_TASKS_MIN for role in known_roles),
        unknown_roles=tuple(unknown),
        overdue=tuple(overdue),
    )


def _spread(durations: Sequence[float]) -> tuple[float, float, float]:
    if len(durations) == 1:
        return durations[0], durations[0], durations[0]
    fast, usual, slow = quantiles(durations, n=4, method="inclusive")
    return fast, usual, slow


def _most_at_once(tasks: Sequence[Task], now: float) -> int:
    """Count how many tasks of the session have ever been at work at the same time."""
    steps: list[tuple[float, int]] = []
    for task in tasks:
        if not task.is_container and task.started is not None:
            ended = task.finished if task.status in TERMINAL else now if task.status in _AT_WORK else None
            if ended is not None:
                steps += [(task.started, 1), (ended, -1)]
    most = current = 0
    for _, step in sorted(steps):
        current += step
        most = max(most, current)
    return most


def _makespan(
    tasks: Sequence[Task],
    left: Sequence[Task],
    edges: Mapping[str, Sequence[str]],
    seconds: Mapping[str, float],
    width: int,
) -> float:
    """Say when all is done if so many tasks are at work at once and each begins as soon as it may, in order."""
    open_boxes = {task.id for task in tasks if task.is_container and task.status in LIVE}
    undone = {task.id for task in left} | open_boxes
    holds: dict[str, set[str]] = {
        one: {other for other in edges.get(one, ()) if other in undone and other != one} for one in undone
    }
    held_by: dict[str, list[str]] = {}
    for one, others in holds.items():
        for other in others:
            held_by.setdefault(other, []).append(one)
    place = {task.id: number for number, task in enumerate(left)}
    running = [(seconds[task.id], task.id) for task in left if task.status in _AT_WORK]
    begun = {one for _, one in running}
    ready = [place[task.id] for task in left if task.id not in begun and not holds[task.id]]
    heapq.heapify(running)
    heapq.heapify(ready)
    now = 0.0
    while ready or running:
        while ready and len(running) < width:
            one = left[heapq.heappop(ready)].id
            heapq.heappush(running, (now + seconds[one], one))
        now, done = heapq.heappop(running)
        ended = [done]
        while ended:
            one = ended.pop()
            for other in held_by.get(one, ()):
                holds[other].discard(one)
                if holds[other] or other in begun:
                    continue
                if other in place:
                    heapq.heappush(ready, place[other])
                else:
                    ended.append(other)
    return now
