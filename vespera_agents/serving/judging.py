"""What only a server knows of its own health: its front, its door, its jobs, the settings of its workspace.

Given to the model of `health`, which knows none of them. Neighbours: `serve` calls it once everything is open, the tool
and the control socket ask the model.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Collection
from functools import partial
from typing import Final, Protocol, final, runtime_checkable

import trio

from supervisors import ChildState, SupervisorError
from vespera_agents.health.model import HealthModel
from vespera_agents.health.settings_file import SettingsFile
from vespera_agents.health.subtree import model_of
from vespera_agents.serving.lifecycle.reporting import front_vital
from vespera_agents.specialists.orchestrator import Orchestrator
from vespera_agents.specialists.runtime import Runtime
from vespera_agents.specialists.sessions import OpenWorkspace

__all__ = ["DOOR", "judged", "model_for", "starting"]

DOOR = "mcp"
"""The child of the doors that clients come through."""
LATELY_SECONDS: Final = 120.0
"""For how long a failure of the store counts."""
_MOMENT_SECONDS: Final = 1.0
"""Failures nearer to each other than this are kept as one entry, so that who asks often fills no memory."""


@runtime_checkable
class _HasCheck(Protocol):
    check_health: Callable[[], Awaitable[tuple[str, str] | None]]


def starting() -> str | None:
    """Say why a server is not ready that has not begun to serve."""
    return "it starts"


def judged(
    model: HealthModel, orchestrator: Orchestrator, opened: OpenWorkspace, door: object, work: Collection[str]
) -> None:
    """Tell the model what it is to know of a server that serves.

    Args:
        model: the model.
        orchestrator: who works.
        opened: the workspace that is served.
        door: what clients come through.
        work: the tools that begin new work.
    """
    runtime = orchestrator.runtime
    model.read = SettingsFile(opened.workspace, runtime.registry, work).read
    model.front = partial(front_vital, orchestrator)
    model.unready = partial(_unready, runtime, opened)
    if isinstance(door, _HasCheck):
        model.checks.attach("door", door.check_health)
    model.checks.attach("jobs", opened.jobs.check_health)
    model.checks.attach("store", _Failures(opened).check_health)


def model_for(orchestrator: Orchestrator) -> HealthModel:
    """Give the model of a server's health; where nobody keeps one, one that only measures when it is asked."""
    model = model_of(orchestrator.runtime)
    if model.front is None:
        model.front = partial(front_vital, orchestrator)
    return model


def _unready(runtime: Runtime, opened: OpenWorkspace) -> str | None:
    # Where its database was removed or replaced a call is answered with that, and opens what is there.
    # The disk is asked only where it does not run: probes come often, and a disk that hangs would block the loop.
    if not opened.runs and opened.store.holds_its_file():
        return "its workspace is not open"
    try:
        serves = runtime.doors.which_child(DOOR).state is ChildState.RUNNING
    except SupervisorError:
        serves = False
    return None if serves else "its door is not open"


@final
class _Failures:
    """Whether the store of a workspace failed at anything lately: the same for whoever asks, however often."""

    def __init__(self, opened: OpenWorkspace, clock: Callable[[], float] = trio.current_time) -> None:
        self._opened = opened
        self._clock = clock
        self._known = 0
        self._found: deque[tuple[float, int]] = deque()

    async def check_health(self) -> tuple[str, str] | None:
        """Say how many commits and reads were found to have failed in the last minutes."""
        await trio.lowlevel.checkpoint()
        now, errors = self._clock(), sum(self._opened.store.statistics().errors.values())
        new, self._known = errors - self._known, errors
        if new > 0:
            if self._found and now - self._found[-1][0] < _MOMENT_SECONDS:
                at, before = self._found.pop()
                self._found.append((at, before + new))
            else:
                self._found.append((now, new))
        while self._found and now - self._found[0][0] >= LATELY_SECONDS:
            self._found.popleft()
        lately = sum(count for _, count in self._found)
        if not lately:
            return None
        return "degraded", f"{lately} commits or reads failed in the last {LATELY_SECONDS / 60:.0f} minutes"
