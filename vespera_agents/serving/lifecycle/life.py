"""What a worker owes its front: a child of the tree, which is there only where a front is.

It writes down that this generation works and what became of those before, lets specialists hold what the last ones
held, tells clients whose lists changed, and keeps what the front says of itself. When it is to be replaced it lets
nothing begin, waits for what is under way, and writes down what specialists hold. Neighbours: `restarting` and
`reporting` ask it; the transport calls `drain` and `resume`.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast, final

import trio

from supervisors import Backoff, ChildSpec, SupervisorError
from vespera_agents.serving.lifecycle.standing import Standing, standing_of
from vespera_agents.specialists.conducting import CONDUCTOR_CHILD
from vespera_agents.specialists.conductor import Conductor
from vespera_agents.specialists.front import Front
from vespera_agents.specialists.handing_over import forget, hand_over, take_over
from vespera_agents.specialists.orchestrator import Orchestrator
from vespera_agents.specialists.sessions import OpenWorkspace
from vespera_agents.store import CommandKey, StoreClosed, StoreError
from vespera_agents.store import lifecycle as rows
from vespera_agents.store.commands import BeginGeneration, BegunGeneration, Death, NoteDeaths, NoteRestart
from vespera_agents.workspace import WorkspaceError

__all__ = ["Life", "LifeStatistics", "Told", "at_work", "life_of", "life_spec"]

_CHILD: Final = "life"
_SNAPSHOT_SHARE: Final = 0.2
"""Of the time for a drain, kept for writing down what specialists hold."""
_SNAPSHOT_SECONDS_MAX: Final = 3.0
_LOOK_SECONDS: Final = 0.05
"""How often a drain looks whether commands have ended; calls say so themselves."""
_PAUSE_SECONDS: Final = 0.5
_PAUSE_SECONDS_MAX: Final = 30.0
_GO_ON_SECONDS: Final = 0.25
"""How long requests that are repeated have the loop for themselves."""
_WRITTEN_DOWN_SECONDS: Final = 2.0
_LIFE_SECONDS: Final = 10.0
_BACKOFF: Final = Backoff(_PAUSE_SECONDS, _PAUSE_SECONDS_MAX)

log = logging.getLogger(__name__)

Renew = Callable[[Iterable[str]], None]


@final
@dataclass(frozen=True, slots=True)
class LifeStatistics:
    """What it did so far."""

    generation: int
    drains: int
    contexts_taken_over: int
    contexts_rebuilt: int


@final
@dataclass(frozen=True, slots=True)
class Told:
    """What is written down of a worker."""

    reason: str
    """Why it began: start, crash, wedged or restart."""
    version: str
    surface: Mapping[str, str]
    """What its lists hold, as `surface_of` gives it."""
    restart: Mapping[str, object] | None = None
    """The restart that the front was at work on, or that had failed, when it began."""

    @property
    def asked(self) -> str | None:
        """The request that asked for the restart that led to it, if one did."""
        return None if self.restart is None or self.reason != "restart" else str(self.restart.get("key"))


@final
class Life:
    """One generation of a server. Made by `life_spec`."""

    def __init__(self, orchestrator: Orchestrator, front: Front, told: Told, renew: Renew) -> None:
        self.front: Final = front
        self.told: Final = told
        self.begun: Final = trio.Event()
        """Set when it is written down that this generation works."""
        self.settled: Final = trio.Event()
        """Set when specialists hold what they can of what the last ones held."""
        self._orchestrator = orchestrator
        self._renew = renew
        self._hurry = trio.Event()
        """Set when somebody asks for what is written down of us."""
        self._heard = trio.Event()
        self._asked: rows.Restart | None = None
        self._phases: tuple[tuple[str, float], ...] = ()
        self._noted_phases = self._phases
        self._noted: dict[int, Death] = {}
        self._drains = 0
        self._taken = 0
        self._rebuilt = 0
        # From now on and not when it runs: what the front says of a restart that is over it says once.
        front.at_standing = self._hear
        self._hear()

    @property
    def standing(self) -> Standing:
        """How the front fares, as it said last."""
        return standing_of(self.front.standing)

    async def run(self, *, task_status: trio.TaskStatus[Life]) -> None:
        """Be that child, until cancelled."""
        opened = await self._orchestrator.home_workspace()
        task_status.started(self)
        if self.told.reason != "restart":
            # What was repeated comes first: its clients wait.
            with trio.move_on_after(_GO_ON_SECONDS):
                await self._hurry.wait()
        begun = await self._begin(opened)
        await self._settle(opened, begun)
        while True:
            heard = self._heard
            try:
                await self._note(opened, begun["restart"])
            except StoreError as problem:
                # The next change, or the next generation, writes it down.
                log.warning("what the front says could not be written down: %s", problem)
            await heard.wait()

    async def written_down(self) -> None:
        """Have it written down now that we work, and wait for that; not for long, for a full disk takes nothing."""
        self._hurry.set()
        with trio.move_on_after(_WRITTEN_DOWN_SECONDS):
            await self.begun.wait()

    async def standing_changed(self) -> None:
        """Wait until the front says something about itself."""
        await self._heard.wait()

    @property
    def restart_is_over(self) -> bool:
        """Whether the front has said the last about the restart that it told of."""
        restarting = self.standing.restarting
        return restarting is None or restarting.is_over

    @property
    def phases(self) -> tuple[tuple[str, float], ...]:
        """The phases of the restart that led to us, as far as the front has told."""
        return self._phases

    def about(self, asked: rows.Restart | None) -> None:
        """Know which restart this worker's drain will be for; None for one that could not be written down."""
        self._asked = asked

    async def drain(self, seconds: float) -> dict[str, object]:
        """Let nothing begin, wait for what is under way, write down what specialists hold; give what could not end.

        Cancelled: nothing begins until `resume`.
        """
        self._drains += 1
        admission = self._orchestrator.runtime.admission
        admission.drain()
        snapshot_seconds = min(_SNAPSHOT_SECONDS_MAX, seconds * _SNAPSHOT_SHARE)
        with trio.move_on_after(max(0.0, seconds - snapshot_seconds)):
            while admission.waited_for() or at_work(self._orchestrator):
                with trio.move_on_after(_LOOK_SECONDS):
                    await admission.until_left()
        left: dict[str, object] = {
            "calls": [f"{call.what} of {call.by}" for call in admission.waited_for()],
            "work": at_work(self._orchestrator),
        }
        with trio.move_on_after(snapshot_seconds):
            left |= await self._snapshot()
        asked = self._asked
        if asked is not None:
            with trio.move_on_after(snapshot_seconds):
                opened = await self._orchestrator.home_workspace()
                await opened.store.execute(NoteRestart("supervision", asked.seq, left_behind=left), opened.key())
        return left

    def resume(self) -> None:
        """Go on: the drain was called off."""
        self._asked = None
        self._orchestrator.runtime.admission.resume()

    def statistics(self) -> LifeStatistics:
        """Count what was done so far."""
        return LifeStatistics(self.front.generation, self._drains, self._taken, self._rebuilt)

    def tree_detail(self) -> dict[str, str | int | float]:
        """Say what the tree shows of it."""
        return {"generation": self.front.generation, "crashes": len(self.standing.crashes)}

    async def _begin(self, opened: OpenWorkspace) -> BegunGeneration:
        """Write down that we work, and have clients told whose lists are others now."""
        front, told = self.front, self.told
        key = CommandKey(front.server, f"generation/{front.generation}")
        pause = _PAUSE_SECONDS
        while True:
            deaths = tuple(self._deaths())
            command = BeginGeneration(
                "supervision",
                front.server,
                front.generation,
                told.reason,
                os.getpid(),
                told.version,
                told.surface,
                deaths,
                *_came_of(told),
            )
            try:
                begun = await opened.store.execute(command, key)
            except StoreError as problem:
                # A disk that is full keeps nobody from reading; it is written down when there is room.
                log.warning("that this worker works could not be written down: %s", problem)
                await trio.sleep(pause)
                pause = min(2 * pause, _PAUSE_SECONDS_MAX)
                continue
            self._noted.update((death.generation, death) for death in deaths)
            known = begun["surface"]
            self._renew([name for name, now in told.surface.items() if known and known.get(name) != now])
            self.begun.set()
            return begun

    def _hear(self) -> None:
        restarting = self.standing.restarting
        if restarting is not None and restarting.error is None:
            self._phases = tuple((phase.name, phase.seconds) for phase in restarting.phases)
        self._heard.set()
        self._heard = trio.Event()

    async def _settle(self, opened: OpenWorkspace, begun: BegunGeneration) -> None:
        """Let specialists hold what was handed over; what cannot be is reported, and nothing depends on it."""
        asked = None if begun["restart"] is None else await opened.store.read(rows.restart, begun["restart"])
        try:
            if asked is not None and asked.preserve_state:
                contexts = cast("Mapping[str, list[str]]", asked.left_behind.get("contexts", {}))
                told = await self._take_over({Path(place): tasks for place, tasks in contexts.items()})
                note = NoteRestart("supervision", asked.seq, handed_over=told)
                await opened.store.execute(note, opened.key())
            elif self._orchestrator.runtime.admission.prepared_since is not None:
                await self._take_over({opened.workspace.directory: None})
            else:
                forget(opened.workspace, opened.server)
        except (StoreError, WorkspaceError) as problem:
            log.warning("what was handed over could not be taken over: %s", problem)
        finally:
            self.settled.set()

    async def _take_over(self, expected: Mapping[Path, list[str] | None]) -> dict[str, list[str]]:
        taken: list[str] = []
        rebuilt: list[str] = []
        problems: list[str] = []
        for directory, tasks in expected.items():
            opened = await self._orchestrator.runtime.workspace(directory)
            found = await take_over(opened, tasks)
            taken += found.taken
            rebuilt += found.rebuilt
            problems += found.problems
        for problem in (*rebuilt, *problems):
            log.warning("a context was made anew: %s", problem)
        self._taken += len(taken)
        self._rebuilt += len(rebuilt)
        return {"taken_over": taken, "rebuilt": rebuilt, "problems": problems}

    async def _snapshot(self) -> dict[str, Any]:
        """Write down what specialists hold, unless whoever asked for this wants none of it kept."""
        contexts: dict[str, list[str]] = {}
        problems: list[str] = []
        wanted = self._asked is None or self._asked.preserve_state
        for directory, opened in list(self._orchestrator.runtime.workspaces.items()):
            if not opened.is_open:
                continue
            if not wanted:
                forget(opened.workspace, opened.server)
                continue
            try:
                handed = await hand_over(opened)
            except WorkspaceError as problem:
                problems.append(str(problem))
                continue
            if handed.task_ids:
                contexts[str(directory)] = list(handed.task_ids)
            problems += handed.left_out
        return {"contexts": contexts, "problems": problems}

    async def _note(self, opened: OpenWorkspace, restart: int | None) -> None:
        """Write down what the front says of deaths, and of the phases of the restart that led to us."""
        new = tuple(death for death in self._deaths() if self._noted.get(death.generation) != death)
        if new:
            await opened.store.execute(NoteDeaths("supervision", self.front.server, new), opened.key())
            self._noted.update((death.generation, death) for death in new)
        if restart is not None and self._phases != self._noted_phases:
            self._noted_phases = self._phases
            await opened.store.execute(NoteRestart("supervision", restart, phases=self._phases), opened.key())

    def _deaths(self) -> Iterable[Death]:
        for crash in self.standing.crashes:
            before = "" if crash.ready else " before it was ready"
            yield Death(crash.generation, crash.at, crash.pid, f"{crash.ending}{before}")


def _came_of(told: Told) -> tuple[bool, str | None]:
    """Say of a restart that was asked for whether it goes on without this worker, and why this is not its outcome."""
    error = None if told.restart is None else told.restart.get("error")
    if error is not None:
        return False, str(error)
    if told.reason == "restart":
        return False, None
    return told.restart is not None, "the worker that was asked died before the front replaced it"


def at_work(orchestrator: Orchestrator) -> list[str]:
    """Name what this process itself works on now: commands of tasks, gates."""
    found: list[str] = []
    for opened in orchestrator.runtime.workspaces.values():
        found += [f"gates of {task_id}" for task_id in sorted(opened.worked_on())]
        for session in opened.sessions.values():
            with contextlib.suppress(SupervisorError):
                found += cast("Conductor", session.supervisor.child_value(CONDUCTOR_CHILD)).at_work
    return found


async def life_of(orchestrator: Orchestrator) -> Life | None:
    """Give the life of this process behind its front; None where there is no front.

    Raises:
        StoreClosed: it did not come back in time.
    """
    runtime = orchestrator.runtime
    if runtime.front is None:
        return None
    with trio.move_on_after(_LIFE_SECONDS):
        while True:
            with contextlib.suppress(SupervisorError):
                return cast("Life", runtime.doors.child_value(_CHILD))
            # It is the last to begin: a request that was repeated to this process may be faster.
            await trio.sleep(_LOOK_SECONDS)
    raise StoreClosed("this process does not know its front. Try again; if it stays so, restart the server.")


def life_spec(orchestrator: Orchestrator, front: Front, told: Told, renew: Renew) -> ChildSpec:
    """Give the spec of that child, for the doors.

    Args:
        orchestrator: who works here.
        front: the front that started us.
        told: what is written down of us.
        renew: has clients told that these lists are others now: those that come back in a moment, too.
    """
    life = Life(orchestrator, front, told, renew)
    return ChildSpec(_CHILD, life.run, backoff=_BACKOFF)
