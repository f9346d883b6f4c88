"""Who blocks the loop: from the stack of its thread to the trio task, the actor, and the line to look at.

Read in another thread, while the loop is blocked. The running task is a local variable of trio's scheduler, which is
private to trio: where it is not found there, the stack is still told. No frame is kept.
"""

from __future__ import annotations

import os
import re
import sys
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple, cast, final

import trio
from trio.lowlevel import Task

import supervisors
from vespera_agents import actors
from vespera_agents.actors.waits import CALLERS

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType, FrameType

__all__ = ["FRAMES_MAX", "Evidence", "Glimpse", "actor_of", "evidence_of", "glimpse"]

FRAMES_MAX: Final = 32
"""Frames that are told of one stack: the innermost ones."""
_SCHEDULER: Final = "unrolled_run"
_ANCESTORS_MAX: Final = 100
_FRAMES: Final = cast("Callable[[], dict[int, FrameType]]", vars(sys)["_current_frames"])
"""Documented in spite of its name, and the only way to see what another thread does."""


@final
class Glimpse(NamedTuple):
    """What a thread was seen to run; short-lived, because it holds a task."""

    lines: list[tuple[CodeType, int]]
    """Code and line, the innermost first."""
    task: Task | None
    """The trio task, where it could be found."""


@final
class Evidence(NamedTuple):
    """What ran in a thread at one moment; `Stall` says what each of these is."""

    task: str | None
    actor: str | None
    stack: tuple[str, ...]
    line: str | None


def glimpse(thread: int) -> Glimpse:
    """Note what runs in the thread with this identifier; not the one that asks.

    Quick, because a call that had kept the interpreter for itself may have returned just now: what blocked is then
    still in sight, and in 50 us it may not be.
    """
    lines: list[tuple[CodeType, int]] = []
    frame = _FRAMES().get(thread)
    while frame is not None:
        code = frame.f_code
        if code.co_name == _SCHEDULER:
            return Glimpse(lines, _running(frame))
        lines.append((code, frame.f_lineno))
        frame = frame.f_back
    return Glimpse(lines, None)


def evidence_of(seen: Glimpse) -> Evidence:
    """Put into words what was seen."""
    actor = None if seen.task is None else actor_of(seen.task)
    shown = [_told(*each) for each in reversed(seen.lines[:FRAMES_MAX])]
    return Evidence(None if seen.task is None else seen.task.name, actor, tuple(shown), _line_of(seen.lines))


def actor_of(task: Task) -> str | None:
    """Give the actor whose task this is, or in a nursery of whose handler it runs."""
    above: Task | None = task
    for _ in range(_ANCESTORS_MAX):
        if above is None:
            return None
        party = CALLERS.get(above)
        if party is not None:
            return party.actor.name
        above = None if above.parent_nursery is None else above.parent_nursery.parent_task
    return None


def _running(scheduler: FrameType) -> Task | None:
    """Read the running task from the frame of trio's scheduler."""
    variables = scheduler.f_locals
    task = variables.get("task")
    if type(variables) is dict and scheduler.f_trace is None:
        # Before Python 3.13 the frame keeps this copy, and with it a task that may have ended. Under a debugger it is
        # written back, and must stay whole.
        cast("dict[str, object]", variables).clear()
    return task if isinstance(task, Task) else None


def _line_of(lines: list[tuple[CodeType, int]]) -> str | None:
    """Choose the line to look at, from lines with the innermost first."""
    for strangers in ((_RUNTIME, _LIBRARY, _INSTALLED), (_RUNTIME, _LIBRARY), ()):
        for code, line in lines:
            if _place(code.co_filename) not in strangers:
                return _told(code, line)
    return None


def _told(code: CodeType, line: int) -> str:
    return f"{code.co_filename}:{line} in {code.co_qualname}"


_RUNTIME: Final = "runtime"
_LIBRARY: Final = "library"
_INSTALLED: Final = "installed"


def _folder(path: str | None) -> str:
    return os.path.join(os.path.dirname(path or ""), "")  # noqa: PTH118, PTH120 - code objects know no path objects


_RUNTIME_FOLDERS: Final = tuple(_folder(each.__file__) for each in (trio, supervisors, actors))
_LIBRARY_FOLDER: Final = _folder(os.__file__)
_INSTALLED_FOLDER: Final = re.compile(r"[\\/](?:site|dist)-packages[\\/]")


@lru_cache(maxsize=4_096)
def _place(file: str) -> str:
    """Say whose a source file is; empty if it is the program's own."""
    if file.startswith(_RUNTIME_FOLDERS):
        return _RUNTIME
    if _INSTALLED_FOLDER.search(file):
        return _INSTALLED
    return _LIBRARY if file.startswith((_LIBRARY_FOLDER, "<frozen ")) else ""
